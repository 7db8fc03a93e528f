//! Previews of recordings, shared by all viewers: each recording is asked at most once a second,
//! and only while somebody watches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use crate::service::error::ServiceError;
use crate::service::snapshot::ServiceView;

/// Pixels.
const WIDTH: u32 = 480;
/// Maximum age of a preview that is shown again.
const FRESH: Duration = Duration::from_secs(1);
/// Nobody looks any more.
const FORGOTTEN: Duration = Duration::from_secs(10);

pub(super) struct Previews {
    view: Arc<dyn ServiceView>,
    slots: Mutex<HashMap<String, Slot>>,
}

/// A recording's latest preview. Other viewers wait for the one that asks.
type Slot = Arc<tokio::sync::Mutex<Option<Shown>>>;

struct Shown {
    at: Instant,
    jpeg: Option<Bytes>,
}

impl Shown {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.at.elapsed() < age
    }
}

impl Previews {
    pub(super) fn new(view: Arc<dyn ServiceView>) -> Self {
        Self { view, slots: Mutex::default() }
    }

    /// The preview of a recording; `None` without video.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown egress, `deadline_exceeded` if its recorder does not answer.
    pub(super) async fn of(&self, egress_id: &str) -> Result<Option<Bytes>, ServiceError> {
        let slot = self.slot(egress_id);
        let mut shown = slot.lock().await;
        if let Some(shown) = shown.as_ref().filter(|shown| shown.is_younger_than(FRESH)) {
            return Ok(shown.jpeg.clone());
        }
        let jpeg = self.view.preview(egress_id, WIDTH).await?.map(Bytes::from);
        *shown = Some(Shown { at: Instant::now(), jpeg: jpeg.clone() });
        Ok(jpeg)
    }

    fn slot(&self, egress_id: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            // Somebody has it, or is about to.
            Arc::strong_count(slot) > 1
                || slot
                    .try_lock()
                    .is_ok_and(|shown| shown.as_ref().is_some_and(|shown| shown.is_younger_than(FORGOTTEN)))
        });
        Arc::clone(slots.entry(egress_id.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::service::snapshot::Snapshot;

    #[derive(Default)]
    struct Counting(AtomicU32);

    #[async_trait]
    impl ServiceView for Counting {
        fn snapshot(&self) -> Snapshot {
            Snapshot::default()
        }

        async fn preview(&self, egress_id: &str, _: u32) -> Result<Option<Vec<u8>>, ServiceError> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            match egress_id {
                "EG_one" => Ok(Some(vec![u8::try_from(count).unwrap()])),
                "EG_dark" => Ok(None),
                _ => Err(ServiceError::egress_not_found()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_look_ask_once_a_second() {
        let live = Arc::new(Counting::default());
        let previews = Previews::new(Arc::clone(&live) as Arc<dyn ServiceView>);
        let looks = (0..20).map(|_| previews.of("EG_one"));
        for shown in futures::future::join_all(looks).await {
            assert_eq!(shown.unwrap().unwrap(), Bytes::from_static(&[0]));
        }
        assert_eq!(live.0.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(previews.of("EG_one").await.unwrap().unwrap()[..], [0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(previews.of("EG_one").await.unwrap().unwrap()[..], [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_shows_nothing_is_asked_no_oftener_and_what_is_not_looked_at_is_forgotten() {
        let live = Arc::new(Counting::default());
        let previews = Previews::new(Arc::clone(&live) as Arc<dyn ServiceView>);
        for _ in 0..3 {
            assert_eq!(previews.of("EG_dark").await.unwrap(), None);
        }
        assert_eq!(live.0.load(Ordering::Relaxed), 1);
        for at in 0..100 {
            assert!(previews.of(&format!("EG_{at}")).await.is_err());
        }
        assert!(previews.slots.lock().unwrap().len() <= 2, "names that lead nowhere take no room");
        tokio::time::advance(FORGOTTEN).await;
        previews.of("EG_one").await.unwrap();
        assert_eq!(previews.slots.lock().unwrap().keys().collect::<Vec<_>>(), ["EG_one"]);
    }
}
