//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn what_a_former_run_left_is_told_and_tidied_up() {
    let dir = tempfile::tempdir().unwrap();
    let (service, registry, tasks) = service(dir.path(), ample());
    let work = dir.path().join("work");
    let egress_dir = |id| EgressDir::of(&work, id).unwrap();
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
    use proto::EgressStatus::{EgressActive, EgressComplete, EgressFailed, EgressStarting};
    egress_dir("EG_ended").create(&info("EG_ended", EgressComplete, now)).unwrap();
    egress_dir("EG_died").create(&info("EG_died", EgressActive, 0)).unwrap();
    egress_dir("EG_alive").create(&info("EG_alive", EgressActive, 0)).unwrap();
    egress_dir("EG_told").create(&info("EG_told", EgressFailed, now)).unwrap();
    egress_dir("EG_told").mark_told().unwrap();
    std::fs::create_dir(work.join("recordings/EG_empty")).unwrap();
    registry.create(&info("EG_gone", EgressStarting, 0)).await.unwrap();
    let alive = egress_dir("EG_alive").enter().unwrap().unwrap();

    service.take_over().await.unwrap();
    service.close();
    tasks.close();
    let one_is_left = async {
        while service.active() != ["EG_alive"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), one_is_left).await.expect("the others are told");
    assert!(timeout(Duration::from_secs(1), tasks.wait()).await.is_err(), "one still lives");
    assert_eq!(service.active(), ["EG_alive"]);
    // It ends by itself, and says how.
    egress_dir("EG_alive").write_info(&info("EG_alive", EgressComplete, now)).unwrap();
    drop(alive);
    timeout(Duration::from_secs(60), tasks.wait()).await.expect("all is told");
    assert!(service.active().is_empty());

    let known = async |id: &str| service.known(id).await.unwrap();
    assert_eq!(known("EG_ended").await.status(), EgressComplete);
    assert_eq!(known("EG_alive").await.status(), EgressComplete);
    let died = known("EG_died").await;
    assert_eq!((died.status(), died.error_code), (EgressFailed, 500));
    assert_eq!(died.error, "the recorder died while the service was away");
    assert_eq!(known("EG_gone").await.status(), EgressFailed);
    assert!(service.known("EG_empty").await.is_err(), "it was never announced");
    assert!(service.known("EG_told").await.is_err(), "it is not told twice");
    assert_eq!(EgressDir::all(&work).unwrap(), [], "nothing is left");
}
