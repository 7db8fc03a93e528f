//! Keeps a recording's directory up to date: from it the next run of a service learns what nobody
//! has told the former one.

use std::time::Duration;

use livekit_protocol as proto;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::ipc::egress_dir::EgressDir;

/// From a report that could not be written, as on a full disk, to the next attempt.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Writes each report that is the newest when its turn comes, the last one in any case. Comes back
/// when that is written and there will be no more.
pub(super) async fn keep(egress_dir: EgressDir, mut infos: watch::Receiver<Option<proto::EgressInfo>>) {
    let mut is_behind = false;
    while infos.changed().await.is_ok() {
        loop {
            let Some(info) = infos.borrow_and_update().clone() else { break };
            let into = egress_dir.clone();
            // A disk may hang, and nothing else is to wait for it.
            let written = spawn_blocking(move || into.write_info(&info)).await;
            let Err(error) = written.map_err(std::io::Error::other).flatten() else {
                if std::mem::take(&mut is_behind) {
                    tracing::info!("the report is written down again");
                }
                break;
            };
            if !std::mem::replace(&mut is_behind, true) {
                tracing::warn!(%error, "the report can't be written down; it is tried again");
            }
            sleep(AGAIN_AFTER).await;
        }
    }
}
