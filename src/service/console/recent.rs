//! Recently ended egresses of this node, independent of the registry.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use livekit_protocol as proto;

use crate::service::registry::{Watcher, is_over};

/// More than fits on a page.
const MOST: usize = 50;

/// The latest ends, newest first. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Recent(Arc<Mutex<VecDeque<proto::EgressInfo>>>);

impl Recent {
    /// Takes what ended before, in any order: what the store of a service that stands alone has.
    pub fn fill(&self, infos: impl IntoIterator<Item = proto::EgressInfo>) {
        let mut infos: Vec<_> = infos.into_iter().filter(is_over).collect();
        infos.sort_by_key(|info| info.ended_at);
        infos.into_iter().for_each(|info| self.note(info));
    }

    pub(super) fn all(&self) -> Vec<proto::EgressInfo> {
        self.lock().iter().cloned().collect()
    }

    fn note(&self, info: proto::EgressInfo) {
        let mut ended = self.lock();
        // An end may be reported twice.
        ended.retain(|known| known.egress_id != info.egress_id);
        ended.push_front(info);
        ended.truncate(MOST);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<proto::EgressInfo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Recent {
    fn record_end(&self, info: &proto::EgressInfo) {
        self.note(info.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::registry::{MemoryRegistry, Registry, Watched};

    fn info(at: i64, status: proto::EgressStatus) -> proto::EgressInfo {
        proto::EgressInfo {
            egress_id: format!("EG_{at}"),
            status: status.into(),
            ended_at: at,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn the_latest_ends_are_known_newest_first() {
        use proto::EgressStatus::{EgressActive, EgressComplete, EgressFailed};
        let (recent, inner) = (Recent::default(), Arc::new(MemoryRegistry::new()));
        let registry = Watched::new(Arc::clone(&inner) as _, vec![Arc::new(recent.clone())]);
        recent.fill([info(2, EgressComplete), info(1, EgressFailed), info(0, EgressActive)]);
        registry.update(info(0, EgressActive));
        registry.update(info(3, EgressComplete));
        registry.update(info(2, EgressComplete));
        let ids = |recent: &Recent| -> Vec<String> {
            recent.all().into_iter().map(|info| info.egress_id).collect()
        };
        assert_eq!(ids(&recent), ["EG_2", "EG_3", "EG_1"]);
        assert_eq!(
            inner.list(proto::ListEgressRequest::default()).await.unwrap().items.len(),
            3,
            "all is passed on"
        );
        for at in 10..200 {
            registry.update(info(at, EgressComplete));
        }
        assert_eq!((ids(&recent).len(), ids(&recent)[0].as_str()), (MOST, "EG_199"));
    }
}
