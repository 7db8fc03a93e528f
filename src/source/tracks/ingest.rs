//! From the frames of a room's one track into a feed: stamped with media time, described by caps, from the first key frame on.
//!
//! ```text
//! frame ─► TrackClock ─► (held until the recording has begun) ─► SoundLine, for sound ─► Feed
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use gstreamer as gst;
use tokio::sync::{mpsc, watch};

use super::codec::{TrackCodec, TrackKind};
use super::line::{Placed, SoundLine};
use super::peer::Frame;
use super::room::{RoomEnd, RoomEvent};
use super::sync::{PublisherClock, TrackClock};
use super::transcode::Transcoder;
use super::{TracksError, caps};
use crate::media::{Feed, Timeline};
use crate::plan::track::{Discovered, PublishedTrack};
use crate::source::SourceEvent;

/// Nothing waits longer than this for packets that are missing: before then, what did not come will not.
const SETTLED: Duration = Duration::from_millis(2500);
/// A recording begins milliseconds after its first frame. More than this is one that never will.
const MOST_HELD: usize = 3000;

#[derive(Debug)]
pub(super) struct Ingest {
    timeline: Timeline,
    /// Where the track goes, or where it is transcoded first.
    feed: Feed,
    transcoder: Option<Transcoder>,
    found: watch::Sender<bool>,
    events: mpsc::UnboundedSender<SourceEvent>,
    /// `None` before it was found, and when it is gone.
    track: Option<PublishedTrack>,
    publisher: PublisherClock,
    clock: Option<TrackClock>,
    codec: Option<TrackCodec>,
    caps: Option<gst::Caps>,
    /// With their running times, until the recording has begun.
    held: Vec<(Frame, gst::ClockTime)>,
    /// Of a track of sound, from its first packet on.
    line: Option<SoundLine>,
    broken: bool,
    ended: bool,
}

impl Ingest {
    pub(super) fn new(
        timeline: Timeline,
        feed: Feed,
        events: mpsc::UnboundedSender<SourceEvent>,
        found: watch::Sender<bool>,
    ) -> Self {
        Self {
            timeline,
            feed,
            transcoder: None,
            found,
            events,
            track: None,
            publisher: PublisherClock::default(),
            clock: None,
            codec: None,
            caps: None,
            held: Vec::new(),
            line: None,
            broken: false,
            ended: false,
        }
    }

    pub(super) fn on_event(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Found(track) => {
                self.track = Some(track);
                self.found.send_replace(true);
                self.tell(SourceEvent::Loaded);
            }
            // Its frames have another clock from here on.
            RoomEvent::Started(_) => {
                self.clock = None;
                self.broken = true;
            }
            RoomEvent::Frame(frame) => self.on_frame(frame),
            RoomEvent::Report(report) => {
                let Some(clock) = &mut self.clock else { return };
                let wall = report.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                let received = running(&self.timeline, report.received_at);
                self.publisher.report(wall, received.as_secs_f64());
                clock.report(report.rtp_time, wall);
            }
            // What is missing is filled by time, whatever the reason.
            RoomEvent::Muted(track) => tracing::info!(track, "muted"),
            RoomEvent::Unmuted(track) => tracing::info!(track, "unmuted"),
            RoomEvent::Ended(track) => {
                tracing::info!(track, "the track ended");
                self.end(SourceEvent::Ended);
            }
            RoomEvent::Refused { track, why } => {
                self.end(SourceEvent::Failed(TracksError::Refused { track, why }.into()));
            }
            RoomEvent::Reconnecting { why } => {
                self.tell(SourceEvent::Interrupted { why: why.to_owned() });
            }
            RoomEvent::Reconnected { gap } => {
                self.broken = true;
                self.tell(SourceEvent::Resumed { gap });
            }
        }
    }

    pub(super) fn on_end(&mut self, end: RoomEnd) {
        match end {
            RoomEnd::Closed(reason) => {
                tracing::info!(reason = reason.as_str_name(), "the room is over");
                self.end(SourceEvent::Ended);
            }
            RoomEnd::Duplicate => self.end(SourceEvent::Failed(TracksError::Duplicate.into())),
            RoomEnd::Failed(error) => {
                let error = match self.codec {
                    Some(_) => TracksError::Lost(error),
                    None => TracksError::Room(error),
                };
                self.end(SourceEvent::Failed(error.into()));
            }
            RoomEnd::Left => {}
        }
    }

    /// Time goes on, also when nothing comes.
    pub(super) fn on_tick(&mut self) {
        self.release();
        if let Some(elapsed) = self.timeline.elapsed()
            && self.held.is_empty()
        {
            self.fill(Duration::from(elapsed).saturating_sub(SETTLED));
        }
    }

    /// The recording is over: its sound ends where it does. Gives what is still to be emptied.
    pub(super) fn finish(&mut self) -> Option<Transcoder> {
        self.release();
        if let Some(length) = self.timeline.ended() {
            self.fill(length.into());
        }
        self.feed.end();
        self.transcoder.take()
    }

    fn on_frame(&mut self, frame: Frame) {
        let clock = self.clock.get_or_insert_with(|| TrackClock::new(frame.clock_rate));
        let received = running(&self.timeline, frame.received_at);
        let at = clock.place(frame.rtp_time, received, &self.publisher);
        let at = gst::ClockTime::try_from(at).unwrap_or(gst::ClockTime::MAX);
        if self.codec.is_none() && !self.discover(&frame, at) {
            return;
        }
        if self.codec != Some(frame.codec) {
            self.end(SourceEvent::Failed(TracksError::CodecChanged { now: frame.codec }.into()));
            return;
        }
        if self.held.len() < MOST_HELD {
            self.held.push((frame, at));
        }
        self.release();
    }

    /// The first frame that can be shown says what the track is; the recording begins with it.
    fn discover(&mut self, frame: &Frame, at: gst::ClockTime) -> bool {
        let Some(track) = self.track.clone().filter(|_| frame.is_key) else { return false };
        let Some(caps) = caps::of(frame.codec, &frame.bytes) else { return false };
        if matches!(frame.codec, TrackCodec::Pcmu | TrackCodec::Pcma) {
            match Transcoder::start(frame.codec, &self.feed) {
                Ok(transcoder) => {
                    self.feed = transcoder.source().clone();
                    self.transcoder = Some(transcoder);
                }
                Err(error) => {
                    self.end(SourceEvent::Failed(TracksError::Transcode(error).into()));
                    return false;
                }
            }
        }
        self.caps = Some(caps);
        self.codec = Some(frame.codec);
        self.tell(SourceEvent::Discovered(Discovered { track, codec: frame.codec }, at));
        true
    }

    /// Hands on what was held, once the recording has begun.
    fn release(&mut self) {
        let Some(zero) = self.timeline.begun() else { return };
        for (frame, at) in std::mem::take(&mut self.held) {
            let media = at.saturating_sub(zero);
            if self.timeline.ended().is_some_and(|end| media >= end) {
                continue;
            }
            match frame.codec.kind() {
                TrackKind::Audio => self.sound(&frame, media),
                TrackKind::Video => self.picture(&frame, media),
            }
        }
    }

    fn picture(&mut self, frame: &Frame, at: gst::ClockTime) {
        let mut buffer = gst::Buffer::from_slice(Arc::clone(&frame.bytes));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at);
            buffer.set_dts(at);
            if !frame.is_key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            if std::mem::take(&mut self.broken) || !frame.is_contiguous {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        self.push(&buffer);
    }

    fn sound(&mut self, frame: &Frame, at: gst::ClockTime) {
        let line = self.line.get_or_insert_with(|| SoundLine::new(frame.codec));
        let (before, placed) = line.packet(at.into(), &frame.bytes);
        for placed in before.into_iter().chain(placed) {
            self.push_placed(placed, &frame.bytes);
        }
    }

    fn fill(&mut self, until: Duration) {
        let filled = self.line.as_mut().map(|line| line.fill(until));
        for placed in filled.unwrap_or_default() {
            self.push_placed(placed, &Arc::default());
        }
    }

    fn push_placed(&self, placed: Placed, bytes: &Arc<[u8]>) {
        let Some(line) = &self.line else { return };
        let mut buffer = match placed.filling {
            Some(filling) => gst::Buffer::from_slice(filling),
            None => gst::Buffer::from_slice(Arc::clone(bytes)),
        };
        if let Some(buffer) = buffer.get_mut() {
            let begin = line.nanoseconds(placed.at);
            let end = line.nanoseconds(placed.at + u64::from(placed.samples));
            buffer.set_pts(gst::ClockTime::from_nseconds(begin));
            buffer.set_duration(gst::ClockTime::from_nseconds(end - begin));
        }
        self.push(&buffer);
    }

    fn push(&self, buffer: &gst::Buffer) {
        let Some(caps) = &self.caps else { return };
        self.feed.push(&gst::Sample::builder().buffer(buffer).caps(caps).build());
    }

    /// It is over, once.
    fn end(&mut self, event: SourceEvent) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tell(event);
        }
    }

    fn tell(&self, event: SourceEvent) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody listens to the source any more");
        }
    }
}

/// The running time of a moment that is not long ago.
fn running(timeline: &Timeline, at: Instant) -> Duration {
    Duration::from(timeline.now()).saturating_sub(at.elapsed())
}
