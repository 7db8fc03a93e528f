//! The thread that gives a display's pictures to the [`Presenter`], and tells it the time.

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

/// The thread that decides when a picture gets into the recording; it holds the last one while a capture is gone.
#[derive(Debug)]
pub struct Pacer {
    slot: LatestFrame,
    first: watch::Receiver<bool>,
    finished: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the pacer of a recording with pictures of this size. It pushes nothing before the recording begins.
    ///
    /// # Errors
    /// When the context has no video feed, the size can't be recorded, or there is no thread or memory to be had.
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

    /// Where captures leave their pictures.
    #[must_use]
    pub fn slot(&self) -> LatestFrame {
        self.slot.clone()
    }

    /// Waits until a picture is there: something was drawn on the display. A page that draws nothing never gives one.
    pub async fn first_frame(&self) {
        // The sender is in the slot, which we hold: the wait can't fail.
        self.first.clone().wait_for(|there| *there).await.ok();
    }

    /// Pushes the last picture once more, at the end of the recording (call after [`Timeline::end`]), and ends the feed.
    /// What the page drew up to the end is awaited first, so leave the capture running; that takes less than 0.1 s.
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

/// What the thread owns.
struct Pace {
    slot: LatestFrame,
    timeline: Timeline,
    presenter: Presenter,
    /// On the grid: the time between two frames while the pacer is behind, half a frame's length. If its thread did not run for a moment many
    /// frames are due, and the encoder's queue has room for a few.
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

    /// Puts a picture in its place. Until the recording begins, the newest is the current one.
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

    /// Does what is due, and says when something is due again if no picture arrives before.
    fn advance(&mut self) -> Option<Instant> {
        let begun = self.timeline.begun()?;
        // What fell due before the end is done by `finish` at the latest, and nothing does after it.
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
