//! One medium's buffers, handed on to any number of takers that come and go.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;

/// Takes what a [`Feed`] hands on. It is called on the thread that produced the sample, under the
/// feed's lock, so it must neither block nor attach or detach: a taker puts the sample into a
/// bounded queue of its own (see [`Intake`](super::Intake)) and returns.
pub trait FeedConsumer: Send {
    /// One buffer with its caps; its times are media time.
    fn take(&mut self, sample: &gst::Sample);
    /// There will be no more.
    fn end(&mut self);
}

/// One medium in transit: raw video, raw audio, H.264, AAC, …
///
/// The only place that distributes buffers to several consumers. Samples are reference counted and
/// never copied.
#[derive(Clone)]
pub struct Feed {
    name: &'static str,
    takers: Arc<Mutex<FeedConsumers>>,
}

#[derive(Default)]
struct FeedConsumers {
    list: Vec<(u64, Box<dyn FeedConsumer>)>,
    next: u64,
    ended: bool,
}

impl Feed {
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, takers: Arc::default() }
    }

    /// The feed's medium, for logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Hands a sample to every taker. After [`Feed::end`] it goes nowhere.
    pub fn push(&self, sample: &gst::Sample) {
        let mut takers = self.lock();
        if takers.ended {
            return;
        }
        for (_, taker) in &mut takers.list {
            taker.take(sample);
        }
    }

    /// Signals the end to every consumer, once; a consumer that attaches later is notified at once.
    pub fn end(&self) {
        let mut takers = self.lock();
        if takers.ended {
            return;
        }
        takers.ended = true;
        for (_, taker) in &mut takers.list {
            taker.end();
        }
    }

    /// Adds a taker. It gets what is pushed from now on, until the attachment is dropped.
    #[must_use = "the taker is detached when the attachment is dropped"]
    pub fn attach(&self, mut taker: Box<dyn FeedConsumer>) -> Attachment {
        let mut takers = self.lock();
        let id = takers.next;
        takers.next += 1;
        if takers.ended {
            taker.end();
        }
        takers.list.push((id, taker));
        Attachment { feed: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, FeedConsumers> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A taker's place at a feed; dropping it takes the taker off.
#[derive(Debug)]
pub struct Attachment {
    feed: Feed,
    id: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let taker = {
            let mut takers = self.feed.lock();
            takers.list.iter().position(|(id, _)| *id == self.id).map(|at| takers.list.swap_remove(at))
        };
        // Outside of the lock: a taker may own a pipeline's element, and dropping that takes a
        // while.
        drop(taker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Default)]
    struct Count {
        taken: Arc<AtomicUsize>,
        ended: Arc<AtomicUsize>,
    }

    impl FeedConsumer for Count {
        fn take(&mut self, _: &gst::Sample) {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        fn end(&mut self) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn takers_come_and_go_and_are_told_of_the_end_once() {
        super::super::init().unwrap();
        let (feed, early, late) = (Feed::new("test"), Count::default(), Count::default());
        let sample = gst::Sample::builder().build();
        let attached = feed.attach(Box::new(early.clone()));
        feed.push(&sample);
        drop(attached);
        feed.push(&sample);
        assert_eq!(early.taken.load(Ordering::Relaxed), 1);

        feed.end();
        feed.end();
        let _late = feed.attach(Box::new(late.clone()));
        feed.push(&sample);
        assert_eq!((late.taken.load(Ordering::Relaxed), late.ended.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(early.ended.load(Ordering::Relaxed), 0);
    }
}
