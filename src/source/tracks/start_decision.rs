//! Decides when the recording of a room's tracks begins. Pure: times are running time.
//!
//! It begins with the first frame that can be shown or heard, as soon as the codecs are known on
//! which the outputs depend. The audio of a room in which somebody publishes and everybody is muted
//! begins with silence.

use std::time::Duration;

use crate::plan::track::{AudioHandling, Lasts, TrackKind, TracksPlan, VideoHandling};

/// A recording does not wait longer than this, from its first frame, for the codecs of other
/// tracks.
const CODECS_WITHIN: Duration = Duration::from_secs(3);
/// From the first published track to a recording that begins with silence.
const AUDIO_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct StartDecision {
    /// Whether outputs depend on the codecs of video tracks.
    needs_video_codecs: bool,
    /// Whether outputs depend on the codecs of audio tracks.
    needs_audio_codecs: bool,
    /// Whether silence is enough to begin: the audio of a room is mixed and nothing else recorded.
    may_begin_in_silence: bool,
    /// Since when at least one track is published.
    tracks_since: Option<Duration>,
    has_begun: bool,
}

/// The state of the room that the decision depends on.
#[derive(Debug)]
pub(super) struct Situation<I> {
    /// Whether everybody and everything that the plan names is there.
    pub(super) is_complete: bool,
    /// The earliest frame that can be shown or heard.
    pub(super) first_frame: Option<Duration>,
    /// Each published track: its kind, and whether its codec is known.
    pub(super) tracks: I,
}

impl StartDecision {
    pub(super) fn new(plan: &TracksPlan) -> Self {
        let TracksPlan { wanted, audio, video, .. } = plan;
        let is_mixed = *audio == AudioHandling::Mixed;
        Self {
            needs_video_codecs: !matches!(video, VideoHandling::Decoded { .. }),
            needs_audio_codecs: !is_mixed,
            may_begin_in_silence: is_mixed && wanted.video.is_empty() && wanted.lasts == Lasts::Room,
            tracks_since: None,
            has_begun: false,
        }
    }

    /// Whether the decision to begin was made.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(super) fn on_track_published(&mut self, now: Duration) {
        self.tracks_since.get_or_insert(now);
    }

    /// The last published track is gone.
    pub(super) const fn on_no_tracks(&mut self) {
        self.tracks_since = None;
    }

    /// Returns the running time at which the recording begins, once.
    pub(super) fn decide(
        &mut self,
        mut situation: Situation<impl Iterator<Item = (TrackKind, bool)>>,
        now: Duration,
    ) -> Option<Duration> {
        if self.has_begun {
            return None;
        }
        let start = situation.first_frame.or_else(|| self.silent_start(situation.is_complete, now))?;
        let is_known = situation.tracks.all(|(kind, is_known)| is_known || !self.needs_codec(kind));
        if !is_known && now.saturating_sub(start) < CODECS_WITHIN {
            return None;
        }
        self.has_begun = true;
        Some(start)
    }

    const fn needs_codec(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.needs_video_codecs,
            TrackKind::Audio => self.needs_audio_codecs,
        }
    }

    fn silent_start(&self, is_complete: bool, now: Duration) -> Option<Duration> {
        let since = self.tracks_since.filter(|_| self.may_begin_in_silence && is_complete)?;
        (now.saturating_sub(since) >= AUDIO_WITHIN).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// A decision in which the codec of video matters, and that of audio does not.
    fn video_by_codec() -> StartDecision {
        StartDecision {
            needs_video_codecs: true,
            needs_audio_codecs: false,
            may_begin_in_silence: false,
            tracks_since: None,
            has_begun: false,
        }
    }

    fn situation(
        first_frame: Option<Duration>,
        tracks: &[(TrackKind, bool)],
    ) -> Situation<impl Iterator<Item = (TrackKind, bool)>> {
        Situation { is_complete: true, first_frame, tracks: tracks.iter().copied() }
    }

    #[test]
    fn begins_once_with_the_first_frame() {
        let mut decision = video_by_codec();
        assert_eq!(decision.decide(situation(None, &[]), S * 60), None);
        assert!(!decision.has_begun());
        assert_eq!(decision.decide(situation(Some(S), &[(TrackKind::Audio, false)]), S * 2), Some(S));
        assert!(decision.has_begun());
        assert_eq!(decision.decide(situation(Some(S), &[]), S * 3), None);
    }

    #[test]
    fn waits_three_seconds_for_a_codec_that_matters() {
        let mut decision = video_by_codec();
        let unknown = [(TrackKind::Audio, true), (TrackKind::Video, false)];
        let almost = S + CODECS_WITHIN - Duration::from_nanos(1);
        assert_eq!(decision.decide(situation(Some(S), &unknown), almost), None);
        assert_eq!(decision.decide(situation(Some(S), &unknown), S + CODECS_WITHIN), Some(S));
    }

    #[test]
    fn room_audio_begins_in_silence_three_seconds_after_the_first_track() {
        let mut decision =
            StartDecision { needs_video_codecs: false, may_begin_in_silence: true, ..video_by_codec() };
        let muted = [(TrackKind::Audio, false)];
        assert_eq!(decision.decide(situation(None, &[]), S * 60), None);
        decision.on_track_published(S * 60);
        decision.on_track_published(S * 62);
        assert_eq!(decision.decide(situation(None, &muted), S * 62), None);
        decision.on_no_tracks();
        assert_eq!(decision.decide(situation(None, &[]), S * 70), None);
        decision.on_track_published(S * 80);
        let absent = Situation { is_complete: false, ..situation(None, &muted) };
        assert_eq!(decision.decide(absent, S * 83), None);
        assert_eq!(decision.decide(situation(None, &muted), S * 83), Some(S * 83));
    }
}
