//! Captures frames from the framebuffer of our own display whenever something was drawn.

use std::io::{PipeReader, PipeWriter};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::watch;

use super::convert::Converter;
use super::damage::Damage;
use super::display::{Display, Said, Woken};
use super::latest_frame::{CapturedFrame, LatestFrame};
use super::mapping::Mapping;
use super::xwd::{self, Layout};
use super::{CaptureError, ScreenArea, alignment};
use crate::media::Timeline;
use crate::plan::request::CaptureKind;

/// A display of this machine answers in less than a millisecond. One that takes so long is frozen.
const PATIENCE: Duration = Duration::from_secs(1);
/// A display that says nothing for this long is asked whether it still works: a page that does not
/// change and a display that is stopped look alike.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it has for that answer. Nothing waits for it, so that it may take longer.
const SILENCE_PATIENCE: Duration = Duration::from_secs(3);
/// How often a frame that changed during the copy is copied again, before it is used as it is.
const RETRIES: u32 = 2;

/// The thread that waits for the display.
#[derive(Debug)]
pub(super) struct FramebufferCapture {
    /// Closing it stops the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    failure: watch::Receiver<Option<String>>,
}

impl FramebufferCapture {
    pub(super) fn start(
        screen: &ScreenArea,
        slot: LatestFrame,
        timeline: &Timeline,
    ) -> Result<Self, CaptureError> {
        let (stopped, stop) = std::io::pipe().map_err(|source| CaptureError::Thread { source })?;
        let (failed, failure) = watch::channel(None);
        let (ready, set_up) = mpsc::channel();
        let (screen, timeline) = (screen.clone(), timeline.clone());
        let display = screen.display.clone();
        // Connecting may hang with the display. So the thread does that, too, and whoever waits for
        // it has a deadline.
        let thread = std::thread::Builder::new()
            .name("framebuffer".to_owned())
            .spawn(move || match Taking::new(&screen, slot, timeline, stopped) {
                Err(error) => {
                    // Nobody listens when the deadline is over.
                    ready.send(Err(error)).ok();
                }
                Ok(taking) => {
                    ready.send(Ok(())).ok();
                    if let Err(error) = taking.run() {
                        failed.send_replace(Some(error.to_string()));
                    }
                }
            })
            .map_err(|source| CaptureError::Thread { source })?;
        match set_up.recv_timeout(PATIENCE * 5) {
            Ok(Ok(())) => Ok(Self { stop: Some(stop), thread: Some(thread), failure }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CaptureError::Display { display, what: "no answer to a connection".to_owned() }),
        }
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }
}

impl Drop for FramebufferCapture {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the framebuffer's thread panicked");
        }
    }
}

/// State of the thread.
struct Taking {
    display: Display,
    screen: Mapping,
    layout: Layout,
    converter: Converter,
    painting: Damage,
    slot: LatestFrame,
    timeline: Timeline,
    /// How much earlier than its drawing a frame is stamped.
    earlier: gst::ClockTime,
    stop: PipeReader,
}

/// The capture is to stop.
struct Stopped;

impl Taking {
    fn new(
        screen: &ScreenArea,
        slot: LatestFrame,
        timeline: Timeline,
        stop: PipeReader,
    ) -> Result<Self, CaptureError> {
        let display = Display::open(&screen.display, screen.width, screen.height)?;
        let (mapping, layout) = open(&screen.framebuffer, screen.width, screen.height)?;
        let earlier = alignment::earlier(CaptureKind::Framebuffer, screen.fps);
        Ok(Self {
            display,
            screen: mapping,
            layout,
            converter: Converter::new(slot.format())?,
            painting: Damage::new(screen.fps),
            slot,
            timeline,
            earlier: gst::ClockTime::try_from(earlier).unwrap_or(gst::ClockTime::ZERO),
            stop,
        })
    }

    fn run(mut self) -> Result<(), CaptureError> {
        self.take_what_stands_there()?;
        loop {
            let now = self.now();
            self.listen(now)?;
            match self.painting.take_at() {
                Some(at) if at <= now => {
                    if let Some(Stopped) = self.take()? {
                        return Ok(());
                    }
                }
                Some(at) => {
                    if self.display.wait(&self.stop, Some(Duration::from_nanos(at - now)))? == Woken::Stopped
                    {
                        return Ok(());
                    }
                }
                None => match self.display.wait(&self.stop, Some(SILENCE))? {
                    Woken::Stopped => return Ok(()),
                    Woken::Ready => {}
                    Woken::Deadline => match self.await_answer(SILENCE_PATIENCE)? {
                        Ok(Some(at)) => self.painting.drawn(at),
                        Ok(None) => {}
                        Err(Stopped) => return Ok(()),
                    },
                },
            }
        }
    }

    /// Drawings from before the connection make no event. A black screen has no drawing yet.
    fn take_what_stands_there(&mut self) -> Result<(), CaptureError> {
        let drawn = self.timeline.now().saturating_sub(self.earlier);
        let buffer = self.converter.convert(&self.screen, &self.layout)?;
        match self.await_answer(PATIENCE)? {
            // Something is being drawn right now. It is captured when it is complete.
            Ok(Some(at)) => self.painting.drawn(at),
            Ok(None) => {
                let black = self.slot.format().black()?;
                let is_black = match (buffer.map_readable(), black.map_readable()) {
                    (Ok(buffer), Ok(black)) => buffer.as_slice() == black.as_slice(),
                    _ => true,
                };
                if !is_black {
                    self.slot.offer(CapturedFrame { buffer, drawn });
                }
            }
            // The loop sees it at once.
            Err(Stopped) => {}
        }
        Ok(())
    }

    /// Notes all that was drawn until now.
    fn listen(&mut self, now: u64) -> Result<(), CaptureError> {
        while let Some(said) = self.display.next()? {
            if said == Said::Drawn {
                self.painting.drawn(now);
            }
        }
        Ok(())
    }

    /// Captures the frame, and makes sure that nothing was drawn during the copy: the display
    /// processes requests in order, so its answer after the copy comes after all drawings during
    /// it.
    fn take(&mut self) -> Result<Option<Stopped>, CaptureError> {
        for retry in 0..=RETRIES {
            let buffer = self.converter.convert(&self.screen, &self.layout)?;
            let touched = match self.await_answer(PATIENCE)? {
                Ok(touched) => touched,
                Err(stopped) => return Ok(Some(stopped)),
            };
            if touched.is_some() && retry < RETRIES {
                // The capture time decides again whether this frame is used.
                self.painting.drawn(self.now());
                if self.painting.take_at().is_some_and(|at| at > self.now()) {
                    return Ok(None);
                }
                continue;
            }
            if let Some(drawn) = self.painting.take() {
                let drawn = gst::ClockTime::from_nseconds(drawn).saturating_sub(self.earlier);
                self.slot.offer(CapturedFrame { buffer, drawn });
            }
            if let Some(at) = touched {
                self.painting.drawn(at);
            }
            return Ok(None);
        }
        Ok(None)
    }

    /// Waits for the display to say all it did until now, at most `within`; when it last drew
    /// meanwhile.
    fn await_answer(&mut self, within: Duration) -> Result<Result<Option<u64>, Stopped>, CaptureError> {
        let asked = self.display.ask()?;
        let deadline =
            self.timeline.now() + gst::ClockTime::try_from(within).unwrap_or(gst::ClockTime::SECOND);
        let mut touched = None;
        loop {
            while let Some(said) = self.display.next()? {
                match said {
                    Said::Drawn => touched = Some(self.now()),
                    Said::Answered(number) if number == asked => return Ok(Ok(touched)),
                    Said::Answered(_) => {}
                }
            }
            let left = deadline.saturating_sub(self.timeline.now());
            if left.is_zero() {
                return Err(self.display.silent(within));
            }
            if self.display.wait(&self.stop, Some(left.into()))? == Woken::Stopped {
                return Ok(Err(Stopped));
            }
        }
    }

    fn now(&self) -> u64 {
        self.timeline.now().nseconds()
    }
}

/// Maps the framebuffer and looks whether it is what we can read.
fn open(path: &Path, width: u32, height: u32) -> Result<(Mapping, Layout), CaptureError> {
    let mapping =
        Mapping::open(path).map_err(|source| CaptureError::Framebuffer { path: path.to_owned(), source })?;
    let unreadable = |what: String| CaptureError::Header { path: path.to_owned(), what };
    let mut header = [0; xwd::HEADER];
    if !mapping.copy(0, &mut header) {
        return Err(unreadable(format!("it has {} bytes, less than a header", mapping.len())));
    }
    let layout = xwd::layout(&header).map_err(unreadable)?;
    if !layout.holds(width, height, mapping.len()) {
        let screen = format!("{}x{}", layout.width, layout.height);
        return Err(unreadable(format!("its screen of {screen} is smaller than {width}x{height}")));
    }
    Ok((mapping, layout))
}
