//! Counts frames that a sink on the disk had to drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::{SinkContext, SinkEvent};
use crate::media::{Feed, Intake};
use crate::plan::output::OutputId;

/// The counters of a sink's queues.
#[derive(Debug)]
pub(super) struct Drops {
    output: OutputId,
    events: mpsc::UnboundedSender<SinkEvent>,
    counters: Vec<(&'static str, Arc<AtomicU64>)>,
}

impl Drops {
    pub(super) fn new(output: OutputId, context: &SinkContext) -> Self {
        Self { output, events: context.events.clone(), counters: Vec::new() }
    }

    /// Counts what an intake leaves out of a feed.
    pub(super) fn count(&mut self, feed: &Feed, intake: &Intake) {
        self.counters.push((feed.name(), intake.dropped()));
    }

    /// Reports what was left out, where something was.
    pub(super) fn report(&self) {
        for &(feed, ref counter) in &self.counters {
            let samples = counter.load(Ordering::Relaxed);
            if samples == 0 {
                continue;
            }
            tracing::warn!(
                output = self.output.0,
                feed,
                samples,
                "the disk was too slow: samples are missing"
            );
            let event = SinkEvent::Dropped { output: self.output, feed, samples };
            if self.events.send(event).is_err() {
                tracing::debug!("sink event dropped: recording already ended");
            }
        }
    }
}
