//! Writes one track into a feed as it was published: adds caps, starts at the first key frame, and
//! leaves no gap in audio.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;

use super::caps;
use super::codec::{TrackCodec, TrackKind};
use super::error::TracksError;
use super::gap_filler::{GapFiller, Placed};
use super::peer::Frame;
use super::transcode::Transcoder;
use crate::media::Feed;

/// A video frame that lasts longer than this is followed by a gap event.
const LONG: Duration = Duration::from_secs(1);
/// Least distance of two video frames, because a file can't hold two with one time. In a new
/// session the first frames may be placed at the time of the last one before.
const APART: Duration = Duration::from_millis(1);

/// A feed of one track. A frame of another codec than the first one's is an error, because the
/// feed's consumers were configured for the first.
#[derive(Debug)]
pub(super) struct Passthrough {
    /// The track's feed, or that of the transcoder in front of it.
    feed: Feed,
    transcoder: Option<Transcoder>,
    /// The codec and caps of the first frame that could be read.
    format: Option<(TrackCodec, gst::Caps)>,
    /// Fills gaps of an audio track, from its first packet on.
    filler: Option<GapFiller>,
    /// Up to this time a frame or a gap was pushed. Used for video that is muxed with audio.
    covered: Option<Duration>,
    /// Time of the last video frame.
    last: Option<Duration>,
    is_discontinuous: bool,
}

/// The medium that a muxer holds back while it waits for this track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MuxedWith {
    Nothing,
    Audio,
}

impl Passthrough {
    pub(super) const fn new(feed: Feed, muxed_with: MuxedWith) -> Self {
        let covered = match muxed_with {
            MuxedWith::Nothing => None,
            MuxedWith::Audio => Some(Duration::ZERO),
        };
        Self {
            feed,
            transcoder: None,
            format: None,
            filler: None,
            covered,
            last: None,
            is_discontinuous: false,
        }
    }

    /// The codec of the first frame that could be read.
    pub(super) fn codec(&self) -> Option<TrackCodec> {
        self.format.as_ref().map(|(codec, _)| *codec)
    }

    /// Frames may be missing from here on.
    pub(super) const fn mark_discontinuity(&mut self) {
        self.is_discontinuous = true;
    }

    /// Pushes a frame. Frames before the first key frame that can be read are dropped.
    ///
    /// # Errors
    /// If the publisher changed its codec, or audio can't be transcoded.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match &self.format {
            None => {
                if !self.detect_format(frame)? {
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

    /// Fills audio with silence up to this media time.
    pub(super) fn fill(&mut self, until: Duration) {
        let filled = self.filler.as_mut().map(|filler| filler.fill(until));
        for placed in filled.unwrap_or_default() {
            self.push_placed(placed, &Arc::default());
        }
    }

    /// Pushes a gap of video up to this media time, so that no muxer waits for frames.
    pub(super) fn mark_gap(&mut self, until: Duration) {
        let Some(covered) = self.covered.filter(|covered| until > *covered + LONG) else { return };
        self.covered = Some(until);
        let mut gap = gst::Buffer::new();
        if let Some(gap) = gap.get_mut() {
            gap.set_pts(gst::ClockTime::try_from(covered).ok());
            gap.set_duration(gst::ClockTime::try_from(until - covered).ok());
            gap.set_flags(gst::BufferFlags::GAP);
        }
        self.push(&gap);
    }

    /// Ends the feed at the end of the recording. Returns the transcoder, which still holds audio.
    pub(super) fn finish(mut self, length: Option<Duration>) -> Option<Transcoder> {
        if let Some(length) = length {
            self.fill(length);
        }
        let left_out = self.filler.as_ref().map_or(0, GapFiller::left_out);
        if left_out > 0 {
            tracing::info!(left_out, "late audio packets dropped");
        }
        self.feed.end();
        self.transcoder
    }

    fn detect_format(&mut self, frame: &Frame) -> Result<bool, TracksError> {
        let Some(caps) = caps::of(frame.codec, &frame.bytes).filter(|_| frame.is_key) else {
            return Ok(false);
        };
        if matches!(frame.codec, TrackCodec::Pcmu | TrackCodec::Pcma) {
            let transcoder = Transcoder::start(frame.codec, &self.feed)?;
            self.feed = transcoder.source().clone();
            self.transcoder = Some(transcoder);
        }
        self.format = Some((frame.codec, caps));
        Ok(true)
    }

    fn push_video(&mut self, frame: &Frame, at: Duration) {
        let at = self.last.map_or(at, |last| at.max(last + APART));
        self.last = Some(at);
        self.covered = self.covered.map(|covered| covered.max(at));
        let at = gst::ClockTime::try_from(at).unwrap_or(gst::ClockTime::MAX);
        let mut buffer = gst::Buffer::from_slice(Arc::clone(&frame.bytes));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at);
            buffer.set_dts(at);
            if !frame.is_key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            if std::mem::take(&mut self.is_discontinuous) || !frame.is_contiguous {
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
        let Some((_, caps)) = &self.format else { return };
        self.feed.push(&gst::Sample::builder().buffer(buffer).caps(caps).build());
    }
}
