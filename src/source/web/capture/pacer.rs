//! The thread that passes a display's frames to the [`Presenter`], with the time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use tokio::sync::{oneshot, watch};

use super::CaptureError;
use super::alignment::PATIENCE;
use super::latest_frame::{CapturedFrame, Closing, LatestFrame};
use crate::media::Timeline;
use crate::plan::encoding::Cadence;
use crate::source::SourceContext;
use crate::source::pacing::{Format, Presenter, Progress};

/// The thread that times the recording's frames; it holds the last one while a capture is gone.
#[derive(Debug)]
pub struct Pacer {
    slot: LatestFrame,
    first: watch::Receiver<bool>,
    finished: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the pacer of a recording with frames of this size. It pushes nothing before the
    /// recording begins.
    ///
    /// # Errors
    ///
    /// Without a video feed in the context, for an unsupported size, or without a thread or memory.
    pub fn start(context: &SourceContext, width: u32, height: u32) -> Result<Self, CaptureError> {
        let feed = context.video.clone().ok_or(CaptureError::NoVideo)?;
        let format = Format::new(width, height, context.pacing.fps)?;
        let slot = LatestFrame::new(format.clone(), Arc::clone(&context.counters));
        let (done, finished) = oneshot::channel();
        let pace = Pace {
            slot: slot.clone(),
            timeline: context.timeline.clone(),
            catch_up: (context.pacing.cadence == Cadence::Grid)
                .then(|| Duration::from_secs(1) / (2 * context.pacing.fps.max(1))),
            presenter: Presenter::new(feed, format, context.pacing, Arc::clone(&context.counters))?,
        };
        let thread = std::thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || {
                pace.run();
                // Nobody listens when the pacer was dropped.
                done.send(()).ok();
            })
            .map_err(|source| CaptureError::Thread { source })?;
        let woken = slot.clone();
        context.timeline.on_begin(move || woken.begin());
        Ok(Self { first: slot.first(), slot, finished: Some(finished), thread: Some(thread) })
    }

    /// Receives the captures' frames.
    #[must_use]
    pub fn slot(&self) -> LatestFrame {
        self.slot.clone()
    }

    /// Waits for the first frame: something was drawn on the display. A page that draws nothing
    /// never has one.
    pub async fn first_frame(&self) {
        // The sender is in the slot, which we hold: the wait can't fail.
        self.first.clone().wait_for(|there| *there).await.ok();
    }

    /// Pushes the last frame once more, at the end of the recording (call it after
    /// [`Timeline::end`]), and ends the feed. It first waits for the page's last drawings, so leave
    /// the capture running; this takes less than 0.1 s.
    pub async fn finish(mut self) {
        self.slot.close(Closing::FinishAt(Instant::now() + PATIENCE));
        if let Some(finished) = self.finished.take() {
            // Also an error means that the thread has come to its end.
            finished.await.ok();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.slot.close(Closing::Abandon);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pacer's thread panicked");
        }
    }
}

/// State of the thread.
struct Pace {
    slot: LatestFrame,
    timeline: Timeline,
    presenter: Presenter,
    /// On the grid: the time between two frames while the pacer is behind, half a frame's length.
    /// If its thread did not run for a moment many frames are due, and the encoder's queue has room
    /// for a few.
    catch_up: Option<Duration>,
}

impl Pace {
    fn run(mut self) {
        let mut finish_at = None;
        loop {
            let deadline = earliest(finish_at, self.advance());
            let collected = self.slot.collect(deadline);
            match collected.closing {
                Some(Closing::Abandon) => return,
                Some(Closing::FinishAt(at)) => finish_at = Some(at),
                None => {}
            }
            if let Some(picture) = collected.newest {
                self.receive(picture);
            }
            if finish_at.is_some_and(|at| Instant::now() >= at) {
                self.finish();
                return;
            }
        }
    }

    /// Adds a frame. Until the recording begins, the newest is the current one.
    fn receive(&mut self, picture: CapturedFrame) {
        let Some(begun) = self.timeline.begun() else {
            self.presenter.adopt(picture.buffer);
            return;
        };
        match picture.drawn.checked_sub(begun) {
            None => self.presenter.adopt(picture.buffer),
            Some(media) if self.timeline.place(picture.drawn).is_some() => {
                self.presenter.add(media.nseconds(), picture.buffer);
            }
            // Drawn after the end.
            Some(_) => {}
        }
    }

    /// Does all due work; returns the time of the next if no frame arrives before.
    fn advance(&mut self) -> Option<Instant> {
        let begun = self.timeline.begun()?;
        // What fell due before the end is done by `finish` at the latest, and nothing does after
        // it.
        if self.timeline.ended().is_some() {
            return None;
        }
        let now = self.timeline.now();
        let patience = gst::ClockTime::try_from(PATIENCE).unwrap_or(gst::ClockTime::ZERO);
        let until_known = begun + patience;
        let Some(known) = now.checked_sub(until_known) else {
            return Some(Instant::now() + Duration::from(until_known - now));
        };
        loop {
            match self.presenter.step(known.nseconds()) {
                Progress::Pushed => {
                    let is_behind = |gap: &Duration| {
                        let frame = u64::try_from(2 * gap.as_nanos()).unwrap_or(u64::MAX);
                        let last = self.presenter.last().unwrap_or_default();
                        last.saturating_add(frame) <= known.nseconds()
                    };
                    if let Some(gap) = self.catch_up.filter(is_behind) {
                        return Some(Instant::now() + gap);
                    }
                }
                Progress::Waits { known: needed } => {
                    let left = needed.saturating_sub(known.nseconds());
                    return Some(Instant::now() + Duration::from_nanos(left));
                }
                Progress::Done => return None,
            }
        }
    }

    fn finish(mut self) {
        if self.timeline.begun().is_some() {
            self.presenter.end_at(self.timeline.end().nseconds());
            while self.presenter.step(u64::MAX) == Progress::Pushed {}
        }
        self.presenter.end();
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
