//! Where the frames of a room go, once they have their place in time: one outlet for each medium.

use std::sync::Arc;
use std::time::Duration;

use super::chosen::Chosen;
use super::lane::{Beside, Lane};
use super::mixer::Mixer;
use super::peer::Frame;
use super::screen::Screen;
use super::transcode::Transcoder;
use super::{SETTLED, TracksError};
use crate::media::Feed;
use crate::plan::track::{AudioHandling, Channel, Lasts, PublishedTrack, VideoHandling, Wanted};
use crate::source::SourceContext;

/// Where pictures go. All times are media time.
#[derive(Debug)]
pub(super) enum Pictures {
    Nowhere,
    Published(Box<Lane>),
    Chosen(Box<Chosen>),
    Shown(Box<Screen>),
}

/// Where sound goes. All times are media time.
#[derive(Debug)]
pub(super) enum Sounds {
    Nowhere,
    Published(Box<Lane>),
    Mixed(Mixer),
}

impl Pictures {
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
        let lane = || Lane::new(context.published.video.clone(), beside);
        Ok(match picture {
            VideoHandling::AsPublished if is_one_track => Self::Published(Box::new(lane())),
            VideoHandling::AsPublished => {
                let SourceContext { timeline, events, .. } = context;
                Self::Chosen(Box::new(Chosen::new(lane(), timeline.clone(), events.clone())))
            }
            VideoHandling::Decoded { width, height } => match context.video.clone() {
                Some(feed) => {
                    let SourceContext { timeline, pacing, counters, .. } = context;
                    let (counters, timeline) = (Arc::clone(counters), timeline.clone());
                    Self::Shown(Box::new(Screen::new(feed, (width, height), *pacing, counters, timeline)?))
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
            Self::Chosen(chosen) => chosen.add(track),
            Self::Shown(screen) => screen.add(track),
        }
    }

    pub(super) fn remove(&mut self, sid: &str) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, "no longer to be seen"),
            Self::Chosen(chosen) => chosen.remove(sid),
            Self::Shown(screen) => screen.remove(sid),
        }
    }

    pub(super) fn muted(&mut self, sid: &str, muted: bool) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, muted, "pictures"),
            Self::Chosen(chosen) => chosen.muted(sid, muted),
            Self::Shown(screen) => screen.muted(sid, muted),
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Published(lane) => lane.frame(frame, at),
            Self::Chosen(chosen) => chosen.frame(frame, at),
            Self::Shown(screen) => {
                screen.frame(frame, at);
                Ok(())
            }
        }
    }

    /// Something may be missing from here on.
    pub(super) fn is_broken(&mut self) {
        match self {
            // Its frames say so themselves.
            Self::Nowhere | Self::Shown(_) => {}
            Self::Published(lane) => lane.is_broken(),
            Self::Chosen(chosen) => chosen.is_broken(),
        }
    }

    /// Time goes on.
    pub(super) fn advance(&mut self, now: Duration) {
        match self {
            Self::Nowhere => {}
            Self::Published(lane) => lane.pass(now.saturating_sub(SETTLED)),
            Self::Chosen(chosen) => chosen.pass(now.saturating_sub(SETTLED)),
            Self::Shown(screen) => screen.advance(),
        }
    }

    /// Sids of tracks that can't be shown, or go on, before their next key frame.
    pub(super) fn needs_key_frames(&mut self) -> Vec<String> {
        match self {
            Self::Nowhere | Self::Published(_) => Vec::new(),
            Self::Chosen(chosen) => chosen.needs_key_frames(),
            Self::Shown(screen) => screen.needs_key_frames(),
        }
    }
}

impl Sounds {
    /// As [`Pictures::new`].
    ///
    /// # Errors
    /// When a part of it can't be had.
    pub(super) fn new(sound: AudioHandling, context: &SourceContext) -> Result<Self, TracksError> {
        Ok(match sound {
            AudioHandling::AsPublished => {
                Self::Published(Box::new(Lane::new(context.published.audio.clone(), Beside::Nothing)))
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
                mixer.muted(&track.sid, track.is_muted);
            }
        }
    }

    pub(super) fn remove(&mut self, sid: &str) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, "no longer to be heard"),
            Self::Mixed(mixer) => mixer.remove(sid),
        }
    }

    pub(super) fn muted(&mut self, sid: &str, muted: bool) {
        match self {
            Self::Nowhere | Self::Published(_) => tracing::debug!(track = sid, muted, "sound"),
            Self::Mixed(mixer) => mixer.muted(sid, muted),
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame, at: Duration) -> Result<(), TracksError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Published(lane) => lane.frame(frame, at),
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
            Self::Published(lane) => lane.fill(now.saturating_sub(SETTLED)),
            Self::Mixed(mixer) => mixer.advance(now),
        }
    }
}

/// What is left to empty when a recording is over.
#[derive(Debug)]
pub(super) struct Rest {
    pictures: Pictures,
    sounds: Sounds,
    /// All that end with the recording, whoever fills them.
    feeds: Vec<Feed>,
    length: Option<Duration>,
}

impl Rest {
    /// `length`: of the recording, where it had begun.
    pub(super) const fn new(
        pictures: Pictures,
        sounds: Sounds,
        feeds: Vec<Feed>,
        length: Option<Duration>,
    ) -> Self {
        Self { pictures, sounds, feeds, length }
    }

    /// Empties it; all feeds have ended then.
    pub(super) async fn close(self) {
        let Self { pictures, sounds, feeds, length } = self;
        let transcoder: Option<Transcoder> = match sounds {
            Sounds::Nowhere => None,
            Sounds::Published(lane) => lane.finish(length),
            Sounds::Mixed(mut mixer) => {
                mixer.finish(length.unwrap_or_default());
                None
            }
        };
        match pictures {
            Pictures::Nowhere => {}
            Pictures::Published(lane) => drop(lane.finish(length)),
            Pictures::Chosen(chosen) => drop(chosen.into_lane().finish(length)),
            Pictures::Shown(screen) => screen.finish().await,
        }
        if let Some(transcoder) = transcoder {
            transcoder.close().await;
        }
        feeds.iter().for_each(Feed::end);
    }
}
