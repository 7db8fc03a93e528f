//! Tests that wait for the real clock.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_is_said_at_once() {
    let address = format!("127.0.0.1:{}", ports::closed());
    let began = Instant::now();
    let error = RedisBus::connect(RedisOptions::single(&address), &TaskTracker::new()).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
