//! Decides whether tracks in a composite are copied as published: a copy costs a hundredth of an
//! encode, and loses nothing. Only on request: a copy has the publisher's current size, profile and
//! frame rate, while a request without a preset means 1280x720 in Main profile. The codecs are
//! known when the tracks are discovered.

use super::codec::{AudioCodec, Container};
use super::error::PlanError;
use super::output::{FilePlan, OutputPlan, PassThrough};
use super::recording_plan::RecordingPlan;
use super::request::{EgressRequest, EncodingRequest, MediaOf, SourceRequest};
use super::source::SourcePlan;
use super::track::{AudioHandling, Discovered, TrackCodec, TrackKind, TracksPlan, VideoHandling};
use crate::config::frame_times::FrameTimes;

/// Prefix of the `details` of a remuxed recording …
pub const REMUXED: &str = "remuxed: ";
/// … and of one that could have been, had its tracks or its request been others.
pub const ENCODED: &str = "decoded and encoded: ";

/// Whether what is to be recorded as it is published goes where that can be had.
///
/// # Errors
/// [`PlanError`], naming what stands in its way.
pub(super) fn check(request: &EgressRequest, outputs: &[OutputPlan]) -> Result<(), PlanError> {
    if !request.encoding.as_published {
        return Ok(());
    }
    if one_mp4(outputs).is_none() {
        return Err(PlanError::invalid(
            "preset",
            "video as published needs a single MP4 file as its only output; give that output alone, or another preset",
        ));
    }
    if request.frame_times == Some(FrameTimes::Grid) {
        return Err(PlanError::invalid(
            "frame times",
            "video as published keeps its own frame times; leave the grid out",
        ));
    }
    Ok(())
}

/// Leaves the decision to the codecs, if a request copies video: into one MP4 file. Beside the
/// video of named tracks, Opus is copied, too, if it is the file's codec; a participant's is not,
/// as their next track may have another codec.
pub(super) fn leave_open(request: &EgressRequest, outputs: &[OutputPlan], tracks: TracksPlan) -> TracksPlan {
    if !request.encoding.as_published {
        return tracks;
    }
    let SourceRequest::Media(media) = &request.source else { return tracks };
    let (VideoHandling::Decoded { width, height }, Some(file)) = (tracks.video, one_mp4(outputs)) else {
        return tracks;
    };
    // The server's default is about encoded frames, and does not prevent a copy.
    if says_how(&request.encoding) || request.frame_times == Some(FrameTimes::Grid) {
        return tracks;
    }
    let audio = match (&media.of, tracks.audio, file.audio) {
        (MediaOf::Tracks, AudioHandling::Mixed, Some(AudioCodec::Opus)) => AudioHandling::ByCodec,
        // They may have several tracks of it, and one after the other.
        (MediaOf::Tracks | MediaOf::Participant(_), audio, _) => audio,
        (MediaOf::Room, _, _) => return tracks,
    };
    TracksPlan { video: VideoHandling::ByCodec { width, height }, audio, ..tracks }
}

/// The only file with video, if it is an MP4.
fn one_mp4(outputs: &[OutputPlan]) -> Option<&FilePlan> {
    match outputs {
        [OutputPlan::File(file)] if file.container == Container::Mp4 && file.has_video => Some(file),
        _ => None,
    }
}

/// Whether the request has any video option.
const fn says_how(encoding: &EncodingRequest) -> bool {
    let EncodingRequest {
        as_published: _,
        preset,
        width,
        height,
        fps,
        video_bitrate_kbps,
        profile,
        key_interval,
        audio_codec: _,
        audio_bitrate_kbps: _,
        audio_rate_hz: _,
    } = encoding;
    preset.is_some()
        || width.is_some()
        || height.is_some()
        || fps.is_some()
        || video_bitrate_kbps.is_some()
        || profile.is_some()
        || key_interval.is_some()
}

impl TracksPlan {
    /// The plan with what it left open to codecs decided. A track that is not among those found is
    /// decoded, whatever it will be.
    #[must_use]
    pub fn decided(&self, found: &[Discovered]) -> Self {
        let all = |kind: TrackKind, codec: TrackCodec| {
            let mut of_kind = found.iter().filter(|found| found.track.kind == kind).peekable();
            of_kind.peek().is_some() && of_kind.all(|found| found.codec == codec)
        };
        let video = match self.video {
            VideoHandling::ByCodec { .. } if all(TrackKind::Video, TrackCodec::H264) => {
                VideoHandling::AsPublished
            }
            VideoHandling::ByCodec { width, height } => VideoHandling::Decoded { width, height },
            decided @ (VideoHandling::AsPublished | VideoHandling::Decoded { .. }) => decided,
        };
        let audio = match self.audio {
            AudioHandling::ByCodec if all(TrackKind::Audio, TrackCodec::Opus) => AudioHandling::AsPublished,
            AudioHandling::ByCodec => AudioHandling::Mixed,
            decided @ (AudioHandling::AsPublished | AudioHandling::Mixed) => decided,
        };
        Self { video, audio, ..self.clone() }
    }
}

impl RecordingPlan {
    /// Decides what was left open to the codecs of tracks: what is not encoded needs no encoder.
    pub(super) fn decide(&mut self, found: &[Discovered]) {
        let SourcePlan::Tracks(tracks) = &mut self.source else { return };
        let decided = tracks.decided(found);
        if matches!(tracks.video, VideoHandling::ByCodec { .. })
            && decided.video == VideoHandling::AsPublished
        {
            self.video = None;
            for output in &mut self.outputs {
                if let OutputPlan::File(file) = output {
                    file.pass_through = Some(PassThrough::Of(TrackCodec::H264));
                }
            }
        }
        if tracks.audio == AudioHandling::ByCodec && decided.audio == AudioHandling::AsPublished {
            self.audio.clear();
        }
        *tracks = decided;
    }

    /// How tracks that are to be recorded as published get into the file, and why so, for people.
    /// `self` is the plan from before they were found. `None`: of other recordings there is nothing
    /// to tell.
    #[must_use]
    pub fn handling(&self, found: &[Discovered]) -> Option<String> {
        let SourcePlan::Tracks(tracks) = &self.source else { return None };
        let VideoHandling::ByCodec { .. } = tracks.video else { return None };
        let decided = tracks.decided(found);
        Some(match (decided.video, decided.audio) {
            (VideoHandling::AsPublished, _) if tracks.wanted.audio.is_none() => {
                format!("{REMUXED}H.264 as published")
            }
            (VideoHandling::AsPublished, AudioHandling::AsPublished) => {
                format!("{REMUXED}H.264 and Opus as published")
            }
            (VideoHandling::AsPublished, _) => {
                format!("{REMUXED}H.264 as published, audio decoded and encoded")
            }
            (VideoHandling::ByCodec { .. } | VideoHandling::Decoded { .. }, _) => {
                match found.iter().find(|found| found.track.kind == TrackKind::Video) {
                    Some(found) => format!("{ENCODED}the video is {}", found.codec),
                    None => format!("{ENCODED}the video's codec was unknown when the audio began"),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::defaults;
    use crate::plan::track::{ParticipantKind, PublishedTrack, TrackOrigin};
    use crate::plan::{EgressId, json};

    fn request(body: &str) -> EgressRequest {
        let body = format!(r#"{{"room_name":"r","audio_track_id":"TR_a","video_track_id":"TR_v",{body}}}"#);
        json::parse(&body).unwrap()
    }

    fn plan(request: &EgressRequest) -> Result<RecordingPlan, PlanError> {
        let now = "2006-01-02T15:04:05Z[UTC]".parse().unwrap();
        RecordingPlan::new(request, &defaults(), EgressId::new("EG_test"), &now)
    }

    fn found(codecs: &[TrackCodec]) -> Vec<Discovered> {
        let one = |codec: &TrackCodec| Discovered {
            track: PublishedTrack {
                sid: "TR_x".to_owned(),
                kind: codec.kind(),
                origin: TrackOrigin::Camera,
                publisher: "ann".to_owned(),
                publisher_kind: ParticipantKind::Standard,
                is_muted: false,
            },
            codec: *codec,
        };
        codecs.iter().map(one).collect()
    }

    const FILE: &str = r#""file_outputs":[{"filepath":"a.mp4"}]"#;

    #[test]
    fn what_is_remuxed_is_decided_by_request_and_codecs() {
        use TrackCodec::{H264, Opus, Vp8};
        let opus = format!(r#"{FILE},"advanced":{{"audio_codec":"OPUS"}}"#);
        for (body, codecs, told, video, audio) in [
            (FILE, &[H264, Opus][..], "remuxed: H.264 as published, audio decoded and encoded", true, false),
            (&*opus, &[H264, Opus], "remuxed: H.264 and Opus as published", true, true),
            (
                &opus,
                &[H264, TrackCodec::Pcmu],
                "remuxed: H.264 as published, audio decoded and encoded",
                true,
                false,
            ),
            (&opus, &[Vp8, Opus], "decoded and encoded: the video is VP8", false, true),
            (
                FILE,
                &[Opus],
                "decoded and encoded: the video's codec was unknown when the audio began",
                false,
                false,
            ),
        ] {
            let mut request = request(body);
            // A request on the wire has a preset or options, a command line both.
            request.encoding.as_published = true;
            let before = plan(&request).unwrap();
            let found = found(codecs);
            assert_eq!(before.handling(&found).as_deref(), Some(told), "{body}");
            let after = before.discovered(&found).unwrap();
            let SourcePlan::Tracks(tracks) = &after.source else { panic!("{after:?}") };
            assert_eq!(
                (tracks.video == VideoHandling::AsPublished, tracks.audio == AudioHandling::AsPublished),
                (video, audio),
                "{body}"
            );
            assert_eq!((after.video.is_none(), after.audio.is_empty()), (video, audio), "{body}");
            let OutputPlan::File(file) = &after.outputs[0] else { panic!("{after:?}") };
            assert_eq!(file.pass_through.is_some(), video, "{body}");
        }
    }

    /// Size, profile and codecs are those that a request means, whatever is published.
    #[test]
    fn nothing_is_copied_that_was_not_asked_for() {
        let found = found(&[TrackCodec::H264, TrackCodec::Opus]);
        for body in [FILE.to_owned(), format!(r#"{FILE},"advanced":{{"audio_codec":"OPUS"}}"#)] {
            let before = plan(&request(&body)).unwrap();
            assert_eq!(before.handling(&found), None, "{body}");
            let after = before.discovered(&found).unwrap();
            assert_eq!(after, before, "{body}");
            let SourcePlan::Tracks(tracks) = &after.source else { panic!("{after:?}") };
            let video = VideoHandling::Decoded { width: 1280, height: 720 };
            assert_eq!((tracks.video, tracks.audio), (video, AudioHandling::Mixed), "{body}");
        }
    }

    #[test]
    fn the_preset_of_a_composite_asks_for_it_where_it_can_be_had() {
        let preset = |outputs: &str| request(&format!(r#""preset":"PASSTHROUGH",{outputs}"#));
        let asked = plan(&preset(FILE)).unwrap();
        let SourcePlan::Tracks(tracks) = &asked.source else { panic!("{asked:?}") };
        assert!(matches!(tracks.video, VideoHandling::ByCodec { .. }), "{asked:?}");
        let hls = format!(r#"{FILE},"segment_outputs":[{{"filename_prefix":"b"}}]"#);
        for outputs in [&*hls, r#""stream_outputs":[{"urls":["rtmp://h/a/k"]}]"#] {
            let error = plan(&preset(outputs)).unwrap_err();
            assert_eq!(error.field(), "preset", "{error}");
        }
        let mut on_grid = preset(FILE);
        on_grid.frame_times = Some(FrameTimes::Grid);
        assert_eq!(plan(&on_grid).unwrap_err().field(), "frame times");
    }
}
