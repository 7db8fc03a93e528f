//! One track's frames into a feed as they were published: described by caps, from the first key frame on, sound without a hole.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;

use super::codec::{TrackCodec, TrackKind};
use super::gap_filler::{GapFiller, Placed};
use super::peer::Frame;
use super::transcode::Transcoder;
use super::{TracksError, caps};
use crate::media::Feed;

/// A feed that carries one track. Another codec than the first frame's is an error: whoever takes from it has been told one.
#[derive(Debug)]
pub(super) struct Passthrough {
    /// Where the track goes, or where it is transcoded first.
    feed: Feed,
    transcoder: Option<Transcoder>,
    described: Option<(TrackCodec, gst::Caps)>,
    /// Of a track of sound, from its first packet on.
    filler: Option<GapFiller>,
    /// Of pictures beside sound: until when something came, or was said not to come.
    told: Option<Duration>,
    /// Of the last picture.
    last: Option<Duration>,
    broken: bool,
}

/// Whether a muxer waits for these pictures with something else in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    Sound,
}

/// A picture stands for so long before it is said that none comes.
const LONG: Duration = Duration::from_secs(1);
/// No two pictures have one time, which a file could not hold: after a new session the first ones may be put where the last one was.
const APART: Duration = Duration::from_millis(1);

impl Passthrough {
    pub(super) const fn new(feed: Feed, beside: Beside) -> Self {
        let told = match beside {
            Beside::Nothing => None,
            Beside::Sound => Some(Duration::ZERO),
        };
        Self { feed, transcoder: None, described: None, filler: None, told, last: None, broken: false }
    }

    /// Of its first frame that could be read.
    pub(super) fn codec(&self) -> Option<TrackCodec> {
        self.described.as_ref().map(|(codec, _)| *codec)
    }

    /// Something may be missing from here on.
    pub(super) const fn mark_discontinuity(&mut self) {
        self.broken = true;
    }

    /// Hands a frame on. What comes before the first key frame that can be read goes nowhere.
    ///
    /// # Errors
    /// When the publisher changed its codec, or sound can't be transcoded.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match &self.described {
            None => {
                if !self.describe(frame)? {
                    return Ok(());
                }
            }
            Some((codec, _)) if *codec != frame.codec => {
                return Err(TracksError::CodecChanged { now: frame.codec });
            }
            Some(_) => {}
        }
        match frame.codec.kind() {
            TrackKind::Audio => self.push_audio(frame, at),
            TrackKind::Video => self.push_video(frame, at),
        }
        Ok(())
    }

    /// Nothing else comes until this media time.
    pub(super) fn fill(&mut self, until: Duration) {
        let filled = self.filler.as_mut().map(|filler| filler.fill(until));
        for placed in filled.unwrap_or_default() {
            self.push_placed(placed, &Arc::default());
        }
    }

    /// As [`Passthrough::fill`], of pictures: says that there is none, so that no muxer waits for it.
    pub(super) fn pass(&mut self, until: Duration) {
        let Some(told) = self.told.filter(|told| until > *told + LONG) else { return };
        self.told = Some(until);
        let mut gap = gst::Buffer::new();
        if let Some(gap) = gap.get_mut() {
            gap.set_pts(gst::ClockTime::try_from(told).ok());
            gap.set_duration(gst::ClockTime::try_from(until - told).ok());
            gap.set_flags(gst::BufferFlags::GAP);
        }
        self.push(&gap);
    }

    /// Ends the feed where the recording ends. Gives what is still to be emptied.
    pub(super) fn finish(mut self, length: Option<Duration>) -> Option<Transcoder> {
        if let Some(length) = length {
            self.fill(length);
        }
        let left_out = self.filler.as_ref().map_or(0, GapFiller::left_out);
        if left_out > 0 {
            tracing::info!(left_out, "packets of sound that there was no time for");
        }
        self.feed.end();
        self.transcoder
    }

    fn describe(&mut self, frame: &Frame) -> Result<bool, TracksError> {
        let Some(caps) = caps::of(frame.codec, &frame.bytes).filter(|_| frame.is_key) else {
            return Ok(false);
        };
        if matches!(frame.codec, TrackCodec::Pcmu | TrackCodec::Pcma) {
            let transcoder = Transcoder::start(frame.codec, &self.feed)?;
            self.feed = transcoder.source().clone();
            self.transcoder = Some(transcoder);
        }
        self.described = Some((frame.codec, caps));
        Ok(true)
    }

    fn push_video(&mut self, frame: &Frame, at: Duration) {
        let at = self.last.map_or(at, |last| at.max(last + APART));
        self.last = Some(at);
        self.told = self.told.map(|told| told.max(at));
        let at = gst::ClockTime::try_from(at).unwrap_or(gst::ClockTime::MAX);
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

    fn push_audio(&mut self, frame: &Frame, at: Duration) {
        let filler = self.filler.get_or_insert_with(|| GapFiller::new(frame.codec));
        let (before, placed) = filler.packet(at, &frame.bytes);
        for placed in before.into_iter().chain(placed) {
            self.push_placed(placed, &frame.bytes);
        }
    }

    fn push_placed(&self, placed: Placed, bytes: &Arc<[u8]>) {
        let Some(filler) = &self.filler else { return };
        let mut buffer = match placed.filling {
            Some(filling) => gst::Buffer::from_slice(filling),
            None => gst::Buffer::from_slice(Arc::clone(bytes)),
        };
        if let Some(buffer) = buffer.get_mut() {
            let begin = filler.nanoseconds(placed.at);
            let end = filler.nanoseconds(placed.at + u64::from(placed.samples));
            buffer.set_pts(gst::ClockTime::from_nseconds(begin));
            buffer.set_duration(gst::ClockTime::from_nseconds(end - begin));
        }
        self.push(&buffer);
    }

    fn push(&self, buffer: &gst::Buffer) {
        let Some((_, caps)) = &self.described else { return };
        self.feed.push(&gst::Sample::builder().buffer(buffer).caps(caps).build());
    }
}
