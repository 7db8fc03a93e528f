//! The paths of frames to their feeds once their times are known: one for video, one for audio.

use std::time::Duration;

use super::error::TracksError;
use super::mixer::Mixer;
use super::passthrough::{MuxedWith, Passthrough};
use super::passthrough_switch::PassthroughSwitch;
use super::peer::Frame;
use super::render::{self, VideoRenderer};
use super::sync::SETTLED;
use super::transcode::Transcoder;
use crate::media::Feed;
use crate::plan::track::{AudioHandling, Channel, Lasts, PublishedTrack, VideoHandling, Wanted};
use crate::source::SourceContext;

/// The path of video. All times are media time.
#[derive(Debug)]
pub(super) enum VideoPath {
    /// Video is not recorded, or the codecs that decide its path are not known yet.
    Nowhere,
    /// One track, as it was published.
    Published(Box<Passthrough>),
    /// One of several tracks at a time, as they were published.
    Switched(Box<PassthroughSwitch>),
    /// Any number of tracks, decoded and drawn.
    Rendered(Box<dyn VideoRenderer>),
}

/// The path of audio. All times are media time.
#[derive(Debug)]
pub(super) enum AudioPath {
    /// Audio is not recorded, or the codecs that decide its path are not known yet.
    Nowhere,
    /// One track, as it was published.
    Published(Box<Passthrough>),
    /// Any number of tracks, decoded and mixed.
    Mixed(Mixer),
}

impl VideoPath {
    /// # Errors
    /// If video has to be rendered and the renderer can't be started.
    pub(super) fn new(
        handling: VideoHandling,
        wanted: &Wanted,
        context: &SourceContext,
    ) -> Result<Self, TracksError> {
        let muxed_with = if context.audio.is_some() { MuxedWith::Audio } else { MuxedWith::Nothing };
        let passthrough = || Passthrough::new(context.published.video.clone(), muxed_with);
        Ok(match handling {
            VideoHandling::AsPublished if wanted.lasts == Lasts::Tracks => {
                Self::Published(Box::new(passthrough()))
            }
            VideoHandling::AsPublished => {
                Self::Switched(Box::new(PassthroughSwitch::new(passthrough(), context.events.clone())))
            }
            VideoHandling::Decoded { width, height } => match context.video.clone() {
                Some(feed) => Self::Rendered(render::start(feed, (width, height), context)?),
                None => Self::Nowhere,
            },
            VideoHandling::ByCodec { .. } => Self::Nowhere,
        })
    }

    pub(super) fn add(&mut self, track: &PublishedTrack, now: Duration) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Switched(switch) => switch.add(track, now),
            Self::Rendered(renderer) => renderer.add(track, now),
        }
    }

    pub(super) fn remove(&mut self, sid: &str, now: Duration) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Switched(switch) => switch.remove(sid, now),
            Self::Rendered(renderer) => renderer.remove(sid, now),
        }
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool, now: Duration) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Switched(switch) => switch.set_muted(sid, muted, now),
            Self::Rendered(renderer) => renderer.set_muted(sid, muted, now),
        }
    }

    /// Takes a frame with its media time `at`.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration, now: Duration) -> Result<(), TracksError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Published(passthrough) => passthrough.frame(frame, at),
            Self::Switched(switch) => switch.frame(frame, at),
            Self::Rendered(renderer) => {
                renderer.frame(frame, at, now);
                Ok(())
            }
        }
    }

    /// Frames may be missing from here on.
    pub(super) fn mark_discontinuity(&mut self) {
        match self {
            // A renderer goes by `Frame::is_contiguous`.
            Self::Nowhere | Self::Rendered(_) => {}
            Self::Published(passthrough) => passthrough.mark_discontinuity(),
            Self::Switched(switch) => switch.mark_discontinuity(),
        }
    }

    /// Lets time go on without a frame.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Nowhere => {}
            Self::Published(passthrough) => passthrough.mark_gap(now.saturating_sub(SETTLED)),
            Self::Switched(switch) => switch.mark_gap(now.saturating_sub(SETTLED)),
            Self::Rendered(renderer) => renderer.advance(now),
        }
    }

    /// Returns the sids of tracks that need a key frame before they can be shown, or go on.
    pub(super) fn take_key_frame_requests(&mut self) -> Vec<String> {
        match self {
            Self::Nowhere | Self::Published(_) => Vec::new(),
            Self::Switched(switch) => switch.take_key_frame_requests(),
            Self::Rendered(renderer) => renderer.take_key_frame_requests(),
        }
    }
}

impl AudioPath {
    pub(super) fn new(handling: AudioHandling, context: &SourceContext) -> Self {
        match handling {
            AudioHandling::AsPublished => {
                let passthrough = Passthrough::new(context.published.audio.clone(), MuxedWith::Nothing);
                Self::Published(Box::new(passthrough))
            }
            AudioHandling::Mixed => {
                context.audio.clone().map_or(Self::Nowhere, |feed| Self::Mixed(Mixer::new(feed)))
            }
            AudioHandling::ByCodec => Self::Nowhere,
        }
    }

    /// Adds a track that is heard in this channel of a mix.
    pub(super) fn add(&mut self, track: &PublishedTrack, channel: Channel) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Mixed(mixer) => {
                mixer.add(&track.sid, channel);
                mixer.set_muted(&track.sid, track.is_muted);
            }
        }
    }

    pub(super) fn remove(&mut self, sid: &str) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Mixed(mixer) => mixer.remove(sid),
        }
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        match self {
            Self::Nowhere | Self::Published(_) => {}
            Self::Mixed(mixer) => mixer.set_muted(sid, muted),
        }
    }

    /// Takes a packet with its media time `at`.
    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Published(passthrough) => passthrough.frame(frame, at),
            Self::Mixed(mixer) => {
                mixer.packet(&frame.track, frame.codec, &frame.bytes, at);
                Ok(())
            }
        }
    }

    /// Lets time go on without a packet: what is missing for long is silence.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Nowhere => {}
            Self::Published(passthrough) => passthrough.fill(now.saturating_sub(SETTLED)),
            Self::Mixed(mixer) => mixer.advance(now),
        }
    }
}

/// The paths of a recording that is over and whose feeds have not ended.
#[derive(Debug)]
pub(super) struct OpenPaths {
    video_path: VideoPath,
    audio_path: AudioPath,
    /// All feeds that end with the recording, whoever fills them.
    feeds: Vec<Feed>,
    length: Option<Duration>,
}

impl OpenPaths {
    /// `length` of the recording; `None` if it never began.
    pub(super) const fn new(
        video_path: VideoPath,
        audio_path: AudioPath,
        feeds: Vec<Feed>,
        length: Option<Duration>,
    ) -> Self {
        Self { video_path, audio_path, feeds, length }
    }

    /// Flushes the paths and ends all feeds.
    pub(super) async fn close(self) {
        let Self { video_path, audio_path, feeds, length } = self;
        let transcoder: Option<Transcoder> = match audio_path {
            AudioPath::Nowhere => None,
            AudioPath::Published(passthrough) => passthrough.finish(length),
            AudioPath::Mixed(mut mixer) => {
                mixer.finish(length.unwrap_or_default());
                None
            }
        };
        match video_path {
            VideoPath::Nowhere => {}
            VideoPath::Published(passthrough) => drop(passthrough.finish(length)),
            VideoPath::Switched(switch) => drop(switch.into_passthrough().finish(length)),
            VideoPath::Rendered(renderer) => renderer.finish().await,
        }
        if let Some(transcoder) = transcoder {
            transcoder.close().await;
        }
        feeds.iter().for_each(Feed::end);
    }
}
