//! A future that may wait for a file system, and keeps nothing else waiting.
//!
//! A recorder's runtime has two workers, and they drive its timers. Two lanes that hang with a disk
//! would stop everything else, the reports to its service included, which takes a recorder that
//! says nothing for a dead one.

use std::pin::pin;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Runs a future; while it blocks, another thread does its worker's work. Costs some microseconds
/// each time it is polled.
pub(super) async fn off_worker<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| may_block(|| future.as_mut().poll(context))).await
}

fn may_block<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        // The one thread of a test's runtime has nobody to hand over to.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_disk_that_hangs_holds_up_its_own_lane_alone() {
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (begins, has_begun) = tokio::sync::oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(off_worker(async move {
            begins.send(()).unwrap();
            may_go_on.recv_timeout(Duration::from_secs(60)).is_ok()
        }));
        has_begun.await.unwrap();
        // The runtime's only worker is in there.
        let mut others = JoinSet::new();
        others.spawn(tokio::time::sleep(Duration::from_millis(10)));
        others.join_next().await.unwrap().unwrap();
        go_on.send(()).unwrap();
        assert!(tasks.join_next().await.unwrap().unwrap(), "others went on meanwhile");
    }
}
