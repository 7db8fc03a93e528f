//! Where the frames of a room go, once they have their place in time: one outlet for each medium.

use std::sync::Arc;
use std::time::Duration;

use super::mixer::Mixer;
use super::passthrough::{Beside, Passthrough};
use super::passthrough_switch::PassthroughSwitch;
use super::peer::Frame;
use super::single_view::SingleView;
use super::transcode::Transcoder;
use super::{SETTLED, TracksError};
use crate::media::Feed;
use crate::plan::track::{AudioHandling, Channel, Lasts, PublishedTrack, VideoHandling, Wanted};
use crate::source::SourceContext;

/// Where pictures go. All times are media time.
#[derive(Debug)]
pub(super) enum VideoPath {
    Nowhere,
    Published(Box<Passthrough>),
    PassthroughSwitch(Box<PassthroughSwitch>),
    Shown(Box<SingleView>),
}

/// Where sound goes. All times are media time.
#[derive(Debug)]
pub(super) enum AudioPath {
    Nowhere,
    Published(Box<Passthrough>),
    Mixed(Mixer),
}

impl VideoPath {
    /// What does to wanted pictures what the plan says; nothing, before codecs have decided it.
    ///
    /// # Errors
    /// When a part of it can't be had.
    pub(super) fn new(
        picture: VideoHandling,
        wanted: &Wanted,
        context: &SourceContext,
    ) -> Result<Self, TracksError> {
        let beside = if context.audio.is_some() { Beside::Sound } else { Beside::Nothing };
        let is_one_track = wanted.lasts == Lasts::Tracks;
        let passthrough = || Passthrough::new(context.published.video.clone(), beside);
        Ok(match picture {
            VideoHandling::AsPublished if is_one_track => Self::Published(Box::new(passthrough())),
            VideoHandling::AsPublished => {
                let SourceContext { timeline, events, .. } = context;
                Self::PassthroughSwitch(Box::new(PassthroughSwitch::new(
                    passthrough(),
                    timeline.clone(),
                    events.clone(),
                )))
            }
            VideoHandling::Decoded { width, height } => match context.video.clone() {
                Some(feed) => {
                    let SourceContext { timeline, pacing, counters, .. } = context;
                    let (counters, timeline) = (Arc::clone(counters), timeline.clone());
                    Self::Shown(Box::new(SingleView::new(
                        feed,
                        (width, height),
                        *pacing,
                        counters,
                        timeline,
                    )?))
                }
                None => Self::Nowhere,
            },
            VideoHandling::ByCodec { .. } => Self::Nowhere,
        })
    }

    /// A track is there.
    pub(super) fn add(&mut self, track: &PublishedTrack) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = track.sid, "to be seen"),
            Self::PassthroughSwitch(switch) => switch.add(track),
            Self::Shown(view) => view.add(track),
        }
    }

    pub(super) fn remove(&mut self, sid: &str) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, "no longer to be seen"),
            Self::PassthroughSwitch(switch) => switch.remove(sid),
            Self::Shown(view) => view.remove(sid),
        }
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, muted, "pictures"),
            Self::PassthroughSwitch(switch) => switch.set_muted(sid, muted),
            Self::Shown(view) => view.set_muted(sid, muted),
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Published(passthrough) => passthrough.frame(frame, at),
            Self::PassthroughSwitch(switch) => switch.frame(frame, at),
            Self::Shown(view) => {
                view.frame(frame, at);
                Ok(())
            }
        }
    }

    /// Something may be missing from here on.
    pub(super) fn mark_discontinuity(&mut self) {
        match self {
            // Its frames say so themselves.
            Self::Nowhere | Self::Shown(_) => {}
            Self::Published(passthrough) => passthrough.mark_discontinuity(),
            Self::PassthroughSwitch(switch) => switch.mark_discontinuity(),
        }
    }

    /// Time goes on.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Nowhere => {}
            Self::Published(passthrough) => passthrough.pass(now.saturating_sub(SETTLED)),
            Self::PassthroughSwitch(switch) => switch.pass(now.saturating_sub(SETTLED)),
            Self::Shown(view) => view.advance(),
        }
    }

    /// Sids of tracks that can't be shown, or go on, before their next key frame.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        match self {
            Self::Nowhere | Self::Published(_) => Vec::new(),
            Self::PassthroughSwitch(switch) => switch.needs_key_frames(),
            Self::Shown(view) => view.needs_key_frames(),
        }
    }
}

impl AudioPath {
    /// As [`VideoPath::new`].
    ///
    /// # Errors
    /// When a part of it can't be had.
    pub(super) fn new(sound: AudioHandling, context: &SourceContext) -> Result<Self, TracksError> {
        Ok(match sound {
            AudioHandling::AsPublished => {
                Self::Published(Box::new(Passthrough::new(context.published.audio.clone(), Beside::Nothing)))
            }
            AudioHandling::Mixed => {
                context.audio.clone().map_or(Self::Nowhere, |feed| Self::Mixed(Mixer::new(feed)))
            }
            AudioHandling::ByCodec => Self::Nowhere,
        })
    }

    /// A track is there, and where in a mix it is heard.
    pub(super) fn add(&mut self, track: &PublishedTrack, channel: Channel) {
        match self {
            Self::Nowhere | Self::Published(_) => {
                tracing::debug!(track = track.sid, ?channel, "to be heard");
            }
            Self::Mixed(mixer) => {
                mixer.add(&track.sid, channel);
                mixer.set_muted(&track.sid, track.is_muted);
            }
        }
    }

    pub(super) fn remove(&mut self, sid: &str) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, "no longer to be heard"),
            Self::Mixed(mixer) => mixer.remove(sid),
        }
    }

    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, muted, "sound"),
            Self::Mixed(mixer) => mixer.set_muted(sid, muted),
        }
    }

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

    /// Time goes on: what did not come until long ago is silence.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Nowhere => {}
            Self::Published(passthrough) => passthrough.fill(now.saturating_sub(SETTLED)),
            Self::Mixed(mixer) => mixer.advance(now),
        }
    }
}

/// What is left to empty when a recording is over.
#[derive(Debug)]
pub(super) struct Rest {
    video_path: VideoPath,
    audio_path: AudioPath,
    /// All that end with the recording, whoever fills them.
    feeds: Vec<Feed>,
    length: Option<Duration>,
}

impl Rest {
    /// `length`: of the recording, where it had begun.
    pub(super) const fn new(
        video_path: VideoPath,
        audio_path: AudioPath,
        feeds: Vec<Feed>,
        length: Option<Duration>,
    ) -> Self {
        Self { video_path, audio_path, feeds, length }
    }

    /// Empties it; all feeds have ended then.
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
            VideoPath::PassthroughSwitch(switch) => drop(switch.into_lane().finish(length)),
            VideoPath::Shown(view) => view.finish().await,
        }
        if let Some(transcoder) = transcoder {
            transcoder.close().await;
        }
        feeds.iter().for_each(Feed::end);
    }
}
