use std::os::unix::fs::PermissionsExt;

use proto::EgressStatus as Status;

use super::*;

const FILE_NAME: &str = "egresses.redb";

fn info(egress_id: &str, started_at: i64, status: Status) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        started_at,
        status: status.into(),
        ended_at: i64::from(!matches!(
            status,
            Status::EgressStarting | Status::EgressActive | Status::EgressEnding
        )),
        ..proto::EgressInfo::default()
    }
}

fn in_room(room: &str, info: proto::EgressInfo) -> proto::EgressInfo {
    proto::EgressInfo { room_name: room.to_owned(), ..info }
}

/// Nothing is forgotten: what ends in these tests ended in 1970, and the first look for what is too
/// old may come at any moment.
fn kept() -> StoreOptions {
    StoreOptions { retention: Duration::MAX, ..StoreOptions::default() }
}

/// A store in a directory of its own, closed by [`Open::close`].
struct Open {
    store: Store,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn open(directory: &Path, options: StoreOptions) -> Open {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let store = Store::open(&directory.join(FILE_NAME), options, &tasks, stop.clone()).await.unwrap();
    Open { store, tasks, stop }
}

impl Open {
    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.expect("the store closes");
    }
}

fn ids(answer: &proto::ListEgressResponse) -> Vec<&str> {
    answer.items.iter().map(|info| info.egress_id.as_str()).collect()
}

#[tokio::test]
async fn what_was_kept_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    assert!(opened.store.create(&info("EG_one", 1, Status::EgressStarting)).await.unwrap());
    assert!(!opened.store.create(&info("EG_one", 9, Status::EgressActive)).await.unwrap(), "kept as it was");
    assert_eq!(opened.store.get("EG_one").unwrap().started_at, 1);
    assert_eq!(opened.store.put(info("EG_one", 1, Status::EgressActive)), Put::News);
    assert_eq!(opened.store.put(info("EG_two", 2, Status::EgressComplete)), Put::News);
    opened.close().await;

    let opened = open(dir.path(), kept()).await;
    assert_eq!(opened.store.get("EG_one"), Some(info("EG_one", 1, Status::EgressActive)));
    assert_eq!(opened.store.get("EG_two"), Some(info("EG_two", 2, Status::EgressComplete)));
    assert_eq!(opened.store.active(), [info("EG_one", 1, Status::EgressActive)]);
}

/// Its directory must stay then.
#[tokio::test]
async fn what_ends_when_the_store_has_closed_is_not_called_written() {
    let dir = tempfile::tempdir().unwrap();
    let Open { store, tasks, stop } = open(dir.path(), kept()).await;
    store.create(&info("EG_one", 1, Status::EgressActive)).await.unwrap();
    Open { store: store.clone(), tasks, stop }.close().await;
    store.put(info("EG_one", 1, Status::EgressFailed));
    assert!(store.drained().await.is_err());
}

/// A killed service finds the file as it is while the store is open.
#[tokio::test]
async fn a_killed_service_finds_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    for at in 1..=20 {
        let info = info(&format!("EG_{at:02}"), at, Status::EgressStarting);
        opened.store.create(&info).await.unwrap();
        // As it is at this moment, without anything being closed.
        let killed = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join(FILE_NAME), killed.path().join(FILE_NAME)).unwrap();
        let found = open(killed.path(), kept()).await;
        assert_eq!(found.store.active().len(), usize::try_from(at).unwrap(), "created, and on the disk");
        found.close().await;
    }
    opened.store.put(info("EG_20", 20, Status::EgressComplete));
    opened.store.drained().await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join(FILE_NAME), killed.path().join(FILE_NAME)).unwrap();
    let found = open(killed.path(), kept()).await;
    assert_eq!(found.store.get("EG_20").unwrap().status(), Status::EgressComplete);
}

#[tokio::test]
async fn what_ended_does_not_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    opened.store.create(&info("EG_one", 1, Status::EgressStarting)).await.unwrap();
    assert_eq!(opened.store.put(info("EG_one", 1, Status::EgressFailed)), Put::News);
    assert_eq!(opened.store.put(info("EG_one", 1, Status::EgressActive)), Put::Late);
    assert_eq!(opened.store.get("EG_one").unwrap().status(), Status::EgressFailed);
    let recovered =
        proto::EgressInfo { details: "recovered".to_owned(), ..info("EG_one", 1, Status::EgressFailed) };
    assert_eq!(opened.store.put(recovered.clone()), Put::Same);
    assert_eq!(opened.store.get("EG_one"), Some(recovered));
}

#[tokio::test]
async fn a_limit_that_was_reached_is_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    opened.store.create(&info("EG_one", 1, Status::EgressStarting)).await.unwrap();
    // Its files are being finished.
    let limited = proto::EgressInfo { ended_at: 0, ..info("EG_one", 1, Status::EgressLimitReached) };
    assert_eq!(opened.store.put(limited.clone()), Put::News);
    assert_eq!(opened.store.active(), [limited]);
    assert!(opened.store.unreported().is_empty());
    let ended = info("EG_one", 1, Status::EgressLimitReached);
    assert_eq!(opened.store.put(ended.clone()), Put::News);
    assert_eq!(opened.store.unreported(), [ended]);
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    // As if somebody had made it for all to read.
    std::fs::write(&file, b"").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let opened = open(dir.path(), kept()).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Store::open(&file, kept(), &opened.tasks, opened.stop.clone()).await;
    assert!(matches!(again, Err(StoreError::InUse { .. })), "{again:?}");
}

/// A pipe would be waited for for ever, a link be written through.
#[tokio::test]
async fn a_store_is_a_regular_file_and_neither_a_link_nor_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let (file, victim) = (dir.path().join(FILE_NAME), dir.path().join("victim"));
    let tasks = TaskTracker::new();
    let refused = async || {
        let opened = Store::open(&file, kept(), &tasks, CancellationToken::new()).await;
        opened.unwrap_err().to_string()
    };
    std::fs::write(&victim, "").unwrap();
    std::os::unix::fs::symlink(&victim, &file).unwrap();
    let error = refused().await;
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(std::fs::metadata(&victim).unwrap().len(), 0);
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let error = refused().await;
    assert!(error.contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    let tasks = TaskTracker::new();
    let refused = async || {
        let opened = Store::open(&file, kept(), &tasks, CancellationToken::new()).await;
        opened.unwrap_err().to_string()
    };
    std::fs::write(&file, vec![7; 100_000]).unwrap();
    assert!(refused().await.contains("move the file away"));

    std::fs::remove_file(&file).unwrap();
    let opened = open(dir.path(), kept()).await;
    for at in 0..50 {
        opened.store.create(&info(&format!("EG_{at}"), at, Status::EgressActive)).await.unwrap();
    }
    opened.close().await;
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    std::fs::write(&file, &bytes).unwrap();
    assert!(refused().await.contains(FILE_NAME));

    let nowhere = Store::open(Path::new("/nowhere/at/all"), kept(), &tasks, CancellationToken::new());
    assert!(matches!(nowhere.await, Err(StoreError::File { .. })));
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap();
    let hours = |count: i64| now - count * 3_600_000_000_000;
    let ended = |egress_id: &str, at: i64| proto::EgressInfo {
        ended_at: at,
        ..info(egress_id, hours(100), Status::EgressComplete)
    };
    let opened = open(dir.path(), StoreOptions::default()).await;
    opened.store.put(ended("EG_old", hours(25)));
    opened.store.put(ended("EG_new", hours(23)));
    opened.store.put(info("EG_running", hours(100), Status::EgressActive));
    opened.close().await;
    // The first look is at the start.
    let opened = open(dir.path(), StoreOptions::default()).await;
    let gone = async {
        while opened.store.get("EG_old").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is forgotten");
    opened.close().await;
    let opened =
        open(dir.path(), StoreOptions { sweep: Duration::from_hours(1), ..StoreOptions::default() }).await;
    let all = opened.store.list(&proto::ListEgressRequest::default()).unwrap();
    assert_eq!(ids(&all), ["EG_running", "EG_new"].map(|id| id), "gone from the file, too");
}

#[tokio::test]
async fn a_list_holds_what_was_asked_for_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    let store = &opened.store;
    store.put(in_room("one", info("EG_a", 10, Status::EgressActive)));
    store.put(in_room("one", info("EG_b", 30, Status::EgressComplete)));
    store.put(in_room("two", info("EG_c", 20, Status::EgressEnding)));
    store.put(info("EG_d", 30, Status::EgressStarting));
    let list = |request: proto::ListEgressRequest| {
        ids(&store.list(&request).unwrap()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = proto::ListEgressRequest::default;
    assert_eq!(list(all()), ["EG_d", "EG_b", "EG_c", "EG_a"]);
    assert_eq!(list(proto::ListEgressRequest { active: true, ..all() }), ["EG_d", "EG_c", "EG_a"]);
    let of_one = proto::ListEgressRequest { room_name: "one".to_owned(), ..all() };
    assert_eq!(list(of_one.clone()), ["EG_b", "EG_a"]);
    assert_eq!(list(proto::ListEgressRequest { active: true, ..of_one }), ["EG_a"]);
    let of_id = |id: &str| proto::ListEgressRequest { egress_id: id.to_owned(), ..all() };
    assert_eq!(list(of_id("EG_b")), ["EG_b"]);
    assert!(list(proto::ListEgressRequest { active: true, ..of_id("EG_b") }).is_empty());
    let unknown = store.list(&of_id("EG_x")).unwrap_err();
    assert_eq!((unknown.code, unknown.message.as_str()), (Code::NotFound, "egress does not exist"));
}

#[tokio::test]
async fn pages_join_without_a_gap_while_egresses_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), StoreOptions { page: 3, ..kept() }).await;
    // Two with equal times: then the id decides.
    for at in 0..10 {
        opened.store.put(info(&format!("EG_{at}"), at / 2, Status::EgressActive));
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let request = proto::ListEgressRequest { page_token: token, ..proto::ListEgressRequest::default() };
        let answer = opened.store.list(&request).unwrap();
        seen.extend(answer.items.iter().map(|info| info.egress_id.clone()));
        opened.store.put(info(&format!("EG_new{}", seen.len()), 100, Status::EgressStarting));
        token = answer.next_page_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..10).rev().map(|at| format!("EG_{at}")).collect::<Vec<_>>());
    for rubbish in ["x", "EG_1", "äöü", "MTA"] {
        let page_token = Some(proto::TokenPagination { token: rubbish.to_owned() });
        let request = proto::ListEgressRequest { page_token, ..proto::ListEgressRequest::default() };
        assert_eq!(opened.store.list(&request).unwrap_err().code, Code::InvalidArgument, "{rubbish}");
    }
}

/// Many changes at once, of many egresses: each is on the disk as it was last.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_the_last_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    let makers = TaskTracker::new();
    for egress in 0..8 {
        let store = opened.store.clone();
        makers.spawn(async move {
            let id = format!("EG_{egress}");
            store.create(&info(&id, 0, Status::EgressStarting)).await.unwrap();
            for change in 1..=100 {
                store.put(info(&id, change, Status::EgressActive));
                tokio::task::yield_now().await;
            }
        });
    }
    makers.close();
    makers.wait().await;
    opened.store.drained().await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join(FILE_NAME), killed.path().join(FILE_NAME)).unwrap();
    let found = open(killed.path(), kept()).await;
    let all = found.store.list(&proto::ListEgressRequest::default()).unwrap().items;
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|info| info.started_at == 100), "{all:?}");
}

#[tokio::test]
async fn an_end_that_nobody_was_told_of_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), kept()).await;
    for id in ["EG_one", "EG_two"] {
        opened.store.create(&info(id, 1, Status::EgressStarting)).await.unwrap();
        assert!(opened.store.unreported().is_empty());
    }
    opened.store.put(info("EG_one", 1, Status::EgressComplete));
    opened.store.put(info("EG_two", 1, Status::EgressFailed));
    opened.store.mark_reported("EG_two");
    opened.store.mark_reported("EG_unknown");
    opened.close().await;

    let opened = open(dir.path(), kept()).await;
    assert_eq!(opened.store.unreported(), [info("EG_one", 1, Status::EgressComplete)]);
    opened.store.mark_reported("EG_one");
    opened.store.put(info("EG_one", 1, Status::EgressComplete));
    opened.close().await;
    assert!(open(dir.path(), kept()).await.store.unreported().is_empty());
}
