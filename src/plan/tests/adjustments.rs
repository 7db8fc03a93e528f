//! Requests that LiveKit takes though their values are out of range: what is recorded in their
//! place, and how it is reported.

use super::plan;
use crate::plan::RecordingPlan;
use crate::plan::codec::AudioCodec;
use crate::plan::encoding::AudioEncoding;
use crate::plan::output::OutputPlan;

/// A page with these options and outputs.
fn planned(rest: &str) -> RecordingPlan {
    plan(&format!(r#"{{"url":"https://x/",{rest}}}"#)).unwrap_or_else(|error| panic!("{rest}: {error}"))
}

fn advanced(options: &str, outputs: &str) -> RecordingPlan {
    planned(&format!(r#""advanced":{{{options}}},{outputs}"#))
}

const MP4: &str = r#""file_outputs":[{"filepath":"a.mp4"}]"#;
const MP3: &str = r#""audio_only":true,"file_outputs":[{"filepath":"a.mp3","file_type":"MP3"}]"#;

#[test]
fn a_frame_rate_is_at_most_120() {
    for (asked, fps, notes) in [
        (120, 120, &[][..]),
        (121, 120, &["framerate: 121 was requested, 120 is recorded, the highest possible"]),
        (240, 120, &["framerate: 240 was requested, 120 is recorded, the highest possible"]),
    ] {
        let plan = advanced(&format!(r#""framerate":{asked}"#), MP4);
        assert_eq!(plan.video.unwrap().fps, fps);
        assert_eq!(plan.adjustments, notes);
    }
}

#[test]
fn audio_has_a_rate_and_a_bit_rate_that_its_codec_has() {
    for (options, outputs, codec, rate_hz, bitrate_kbps, notes) in [
        (r#""audio_frequency":48000"#, MP4, AudioCodec::Aac, 48_000, 128, 0),
        (r#""audio_frequency":11025"#, MP4, AudioCodec::Aac, 11_025, 128, 0),
        // At 8 kHz AAC has 96 kbit/s at most, whatever was said.
        (r#""audio_frequency":8000"#, MP4, AudioCodec::Aac, 8000, 96, 1),
        (r#""audio_frequency":8000,"audio_bitrate":64"#, MP4, AudioCodec::Aac, 8000, 64, 0),
        (r#""audio_frequency":8000,"audio_bitrate":320"#, MP4, AudioCodec::Aac, 8000, 96, 1),
        (r#""audio_frequency":96000"#, MP4, AudioCodec::Aac, 48_000, 128, 1),
        (r#""audio_frequency":88200"#, MP4, AudioCodec::Aac, 48_000, 128, 1),
        (r#""audio_frequency":22000"#, MP4, AudioCodec::Aac, 22_050, 128, 1),
        (r#""audio_frequency":7350"#, MP4, AudioCodec::Aac, 8000, 96, 2),
        // Opus has one rate, and takes a request for another as one for other codecs.
        (r#""audio_frequency":96000,"audio_codec":"OPUS""#, MP4, AudioCodec::Opus, 48_000, 128, 0),
        (r#""audio_frequency":8000"#, MP3, AudioCodec::Mp3, 32_000, 128, 1),
        (r#""audio_frequency":96000"#, MP3, AudioCodec::Mp3, 48_000, 128, 1),
        (r#""audio_bitrate":100"#, MP3, AudioCodec::Mp3, 44_100, 96, 1),
        // LiveKit takes any codec for an MP3 file, and writes MP3.
        (r#""audio_codec":"AAC""#, MP3, AudioCodec::Mp3, 44_100, 128, 1),
        (r#""audio_codec":"OPUS""#, MP3, AudioCodec::Mp3, 44_100, 128, 1),
    ] {
        let plan = advanced(options, outputs);
        assert_eq!(plan.audio, [AudioEncoding { codec, bitrate_kbps, rate_hz }], "{options}");
        assert_eq!(plan.adjustments.len(), notes, "{options}: {:?}", plan.adjustments);
        for note in &plan.adjustments {
            assert!(note.starts_with("audio_") && !note.contains(';'), "{note}");
        }
    }
}

#[test]
fn a_mistake_is_refused_all_the_same() {
    for (options, field) in [
        (r#""audio_frequency":1"#, "audio_frequency"),
        (r#""audio_frequency":44100000"#, "audio_frequency"),
        // Bits, and not kilobits.
        (r#""audio_bitrate":128000"#, "audio_bitrate"),
        (r#""audio_bitrate":1"#, "audio_bitrate"),
        (r#""video_bitrate":3000000"#, "video_bitrate"),
    ] {
        let error = plan(&format!(r#"{{"url":"https://x/","advanced":{{{options}}},{MP4}}}"#)).unwrap_err();
        assert_eq!(error.field(), field, "{options}: {error}");
    }
}

#[test]
fn key_frames_are_at_most_ten_minutes_apart() {
    for (asked, seconds) in [(600.0, 600.0), (1000.0, 600.0), (0.01, 0.1)] {
        let plan = advanced(&format!(r#""key_frame_interval":{asked:?}"#), MP4);
        assert_eq!(plan.video.unwrap().key_interval.as_secs_f64(), seconds);
        assert_eq!(plan.adjustments.len(), usize::from(asked != seconds), "{:?}", plan.adjustments);
    }
}

#[test]
fn a_segment_may_be_longer_than_ten_minutes() {
    for (asked, key_interval) in [(600, 600.0), (601, 6.01), (100_000, 10.0)] {
        let plan =
            planned(&format!(r#""segment_outputs":[{{"playlist_name":"p","segment_duration":{asked}}}]"#));
        let [OutputPlan::Segments(segments)] = plan.outputs.as_slice() else { panic!("{plan:?}") };
        assert_eq!(segments.duration.as_secs(), asked);
        assert_eq!(plan.video.unwrap().key_interval.as_secs_f64(), key_interval);
        assert_eq!(plan.adjustments, [""; 0]);
    }
}

#[test]
fn a_file_has_the_ending_of_its_container() {
    for (file_type, media, path, name) in [
        ("MP4", "", "a.webm", "a.mp4"),
        ("MP4", "", "a.ogg", "a.mp4"),
        ("MP4", "", "d/a.mp3", "d/a.mp4"),
        ("MP4", "", "a.ts", "a.mp4"),
        ("MP4", "", "a.mov", "a.mov.mp4"),
        ("MP4", r#""audio_only":true,"#, "a.ogg", "a.mp4"),
        ("MP4", r#""video_only":true,"#, "a.webm", "a.mp4"),
        ("MP3", r#""audio_only":true,"#, "a.ogg", "a.mp3"),
        ("OGG", r#""audio_only":true,"#, "a.mp4", "a.ogg"),
        ("DEFAULT_FILETYPE", "", "a.ogg", "a.mp4"),
    ] {
        let plan =
            planned(&format!(r#"{media}"file_outputs":[{{"file_type":"{file_type}","filepath":"{path}"}}]"#));
        let [OutputPlan::File(file)] = plan.outputs.as_slice() else { panic!("{plan:?}") };
        assert_eq!(file.name.as_str(), name, "{file_type} {path}");
    }
}

#[test]
fn an_address_that_is_there_twice_gets_one_stream() {
    for urls in [
        r#""rtmp://h/a/streamkey","rtmp://h/a/streamkey""#,
        r#""rtmp://h/a/streamkey","RTMP://H/a/streamkey live=1","rtmp://h/a/streamkey""#,
        r#""mux://streamkey","rtmps://global-live.mux.com:443/app/streamkey""#,
        r#""srt://h:1?streamid=streamkey","srt://H:1?streamid=streamkey""#,
    ] {
        let plan = planned(&format!(r#""stream_outputs":[{{"urls":[{urls}]}}]"#));
        let [OutputPlan::Stream(stream)] = plan.outputs.as_slice() else { panic!("{plan:?}") };
        assert_eq!(stream.urls.len(), 1, "{urls}");
        assert_eq!(plan.adjustments.len(), urls.matches(',').count(), "{:?}", plan.adjustments);
        for note in &plan.adjustments {
            assert!(note.contains("is there twice") && !note.contains("streamkey"), "{note}");
        }
    }
}
