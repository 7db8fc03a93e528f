use std::path::Path;

use clap::CommandFactory;

use super::*;
use crate::plan::RecordingPlan;
use crate::plan::defaults::Defaults;
use crate::plan::error::PlanError;
use crate::plan::graph::{GraphPlan, Machine};
use crate::plan::info;
use crate::plan::render::render;
use crate::plan::request::EgressRequest;

fn parse(line: &str) -> EgressRequest {
    request_of(&job(line)).unwrap()
}

/// `line` is what follows `weir plan`.
fn job(line: &str) -> Job {
    let words = ["weir", "plan"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command {
        Command::Plan { job } => job,
        other => panic!("{other:?}"),
    }
}

fn request_of(job: &Job) -> Result<EgressRequest, PlanError> {
    let directory = Path::new("/home/user/work");
    match job {
        Job::Web(args) => request::web(args, directory),
        Job::Room(args) => request::room(args, directory),
        Job::Participant(args) => request::participant(args, directory),
        Job::TrackComposite(args) => request::track_composite(args, directory),
        Job::Track(args) => request::track(args, directory),
        Job::Request(_) => panic!("a request is in a file"),
    }
}

fn plan(line: &str) -> Result<RecordingPlan, PlanError> {
    let now = "2006-01-02T15:04:05.789[UTC]".parse().unwrap();
    let job = job(line);
    let rooms = job.server_args().map(ServerArgs::rooms).unwrap_or_default();
    let defaults = Defaults { rooms, ..Defaults::default() };
    RecordingPlan::new(&request_of(&job)?, &defaults, EgressId::new("EG_test"), &now)
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_texts() {
    let mut cli = Cli::command();
    cli.build();
    let record = cli.find_subcommand_mut("record").unwrap();
    let web = record.find_subcommand_mut("web").unwrap().render_help();
    insta::assert_snapshot!("help_of_web", web);
    let room = record.find_subcommand_mut("room").unwrap().render_help();
    insta::assert_snapshot!("help_of_room", room);
    let participant = record.find_subcommand_mut("participant").unwrap().render_help();
    insta::assert_snapshot!("help_of_participant", participant);
}

#[test]
fn frame_times_default_to_the_sources() {
    use crate::config::frame_times::FrameTimes::{Grid, Source};
    for (option, times) in [
        ("", Source),
        ("--frame-times source", Source),
        // The option's former name.
        ("--frame-times true", Source),
        ("--frame-times grid", Grid),
    ] {
        let request = parse(&format!("web https://example.com/ --file a.mp4 {option}"));
        assert_eq!(request.frame_times, Some(times), "{option}");
    }
}

#[test]
fn durations_and_sizes() {
    for (text, millis) in [
        ("30s", 30_000),
        ("1m30s", 90_000),
        ("1m 30s", 90_000),
        ("500ms", 500),
        ("2h", 7_200_000),
        ("30", 30_000),
        ("0.5", 500),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "soon", "-1", "-5s", "NaN", "inf", "1e300", "30 parsecs"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert_eq!(size("1280x720"), Ok(Size { width: 1280, height: 720 }));
    for text in ["1280", "x720", "1280x", "-1x5", "1280x720x2", "99999999999x1"] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn plans_of_command_lines() {
    for (name, line) in [
        ("file", "https://example.com/ --file talk.mp4"),
        (
            "everything",
            "https://example.com/?token=secret --file out/{time} --segments hls/talk --live-playlist live \
             --stream rtmp://h/a/streamkey --stream srt://h:9000?passphrase=secretsecret --stream mux://muxkey123 \
             --images thumbs/t --every 5s --image-size 320x180 --preset h264-1080p-30 --duration 1m30s --await-start-signal",
        ),
        (
            "audio_only",
            "https://example.com/ --audio-only --file a.ogg --file b.mp3 --file c.mp4 --segments s",
        ),
        ("default_audio_file", "https://example.com/ --audio-only --file talk"),
        ("images_only", "file:///srv/page.html --images t --image-suffix none"),
        (
            "two_playlists",
            "https://example.com/ --segments a --segments b --segment-duration 4s --segment-duration 6s --playlist p --playlist q \
             --segment-suffix timestamp",
        ),
        (
            "own_encoding",
            "https://example.com/ --file ../x.mp4 --size 640x360 --fps 25 --profile high --keyframe-interval 2s \
             --audio-codec opus --audio-bitrate 96 --video-only --frame-times grid --capture ximagesrc",
        ),
        (
            "room",
            "stand-up --url ws://localhost:7880 --api-key devkey --api-secret secretsecret --layout speaker-light \
             --file {room_name}-{time} --preset h264-1080p-30",
        ),
        (
            "room_by_another_template",
            "stand-up --url https://livekit.example --api-key devkey --api-secret secretsecret --audio-only \
             --template-url https://layouts.example/weir?theme=dark --file sound",
        ),
        (
            "room_sound",
            "stand-up --url ws://h --api-key devkey --api-secret secretsecret --audio-only --file call.ogg",
        ),
        ("websocket", "https://x/ --websocket wss://bearer:secretsecret@ears.example/in --file a.mp4"),
        (
            "participant",
            "stand-up ann --url ws://h --api-key devkey --api-secret secretsecret --file {publisher_identity}.mp4 \
             --stream rtmp://h/a/streamkey --size 640x360",
        ),
        (
            "track-composite",
            "stand-up --audio-track TR_a --video-track TR_v --url ws://h --api-key devkey --api-secret secretsecret \
             --file {publisher_identity}.mp4 --segments hls/talk",
        ),
    ] {
        let kinds = ["room", "participant", "track-composite"];
        let kind = kinds.into_iter().find(|kind| name.starts_with(kind)).unwrap_or("web");
        let line = format!("{kind} {line}");
        let (request, plan) = (parse(&line), plan(&line).unwrap());
        let graph = GraphPlan::new(&plan, Machine { cores: 2.0, encoder_threads: 0 });
        let shown = serde_json::to_string_pretty(&RequestShown(info::redacted_request(&request))).unwrap();
        let text = format!("weir plan {line}\n\n{}\n{plan:#?}\n{graph:#?}\n{shown}\n", render(&plan, &graph));
        let (_, shown) = text.split_once("\n\n").unwrap();
        for secret in ["secretsecret", "streamkey", "muxkey123"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        insta::assert_snapshot!(format!("cli_{name}"), text);
    }
}

/// `EgressInfo.request` is not a message of its own, so it is serialized inside an `EgressInfo`.
struct RequestShown(livekit_protocol::egress_info::Request);

impl serde::Serialize for RequestShown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let info = livekit_protocol::EgressInfo {
            request: Some(self.0.clone()),
            ..livekit_protocol::EgressInfo::default()
        };
        info.serialize(serializer)
    }
}

/// Each error names its field and the option that sets it.
#[test]
fn bad_input() {
    const PAGE: &str = "https://example.com/";
    for (line, field, option, help) in [
        ("", "output", "--file", "at least one"),
        ("--file a.mp4 --size 1281x720", "width", "--size", "1280 or 1282"),
        ("--file a.mp4 --size 1280x721", "height", "--size", "720 or 722"),
        ("--file a.mp4 --size 8x720", "width", "--size", "16 or more"),
        ("--file a.mp4 --size 0x0", "width", "--size", "16 or more"),
        ("--file a.mp4 --size 99998x720", "width", "--size", "7680x4320"),
        ("--file a.mp4 --size 4294967295x4294967294", "width", "--size", "even"),
        ("--file a.mp4 --size 7680x7680", "height", "--size", "7680x4320"),
        ("--file a.mp4 --fps 0", "framerate", "--fps", "1 to 120"),
        ("--file a.mp4 --fps 240", "framerate", "--fps", "1 to 120"),
        ("--file a.mp4 --video-bitrate 0", "video_bitrate", "--video-bitrate", "10 to 100000"),
        ("--file a.mp4 --audio-bitrate 0", "audio_bitrate", "--audio-bitrate", "8 to 512"),
        ("--file a.mp4 --audio-bitrate 9999", "audio_bitrate", "--audio-bitrate", "8 to 512"),
        ("--file a.mp3 --audio-only --audio-bitrate 100", "audio_bitrate", "--audio-bitrate", "96, 112"),
        ("--file a.mp4 --keyframe-interval 0", "key_frame_interval", "--keyframe-interval", "0.1 to 600"),
        ("--file a.mp4 --duration 0", "duration", "--duration", "longer"),
        (
            "--file a.ogg",
            "file_outputs[0].file_type",
            "--file",
            "no supported codec is compatible with all outputs",
        ),
        (
            "--file a.mp3",
            "file_outputs[0].file_type",
            "--file",
            "no supported codec is compatible with all outputs",
        ),
        ("--file a.ogg --video-only", "file_outputs[0].file_type", "--file", "no supported codec"),
        ("--file a.ogg --audio-only --audio-codec aac", "audio_codec", "--audio-codec", "use Opus"),
        ("--file a.mp4 --audio-codec mp3", "audio_codec", "--audio-codec", "use AAC or Opus"),
        ("--file talk --audio-codec mp3", "file_outputs[0].file_type", "--file", "AAC or Opus"),
        ("--file a.webm", "file_outputs[0].filepath", "--file", ".mp4, .ogg, .mp3"),
        // Values that a service adjusts instead.
        ("--file a.mp3 --audio-only --audio-codec aac", "audio_codec", "--audio-codec", "use MP3"),
        ("--file a.mp4 --keyframe-interval 1000s", "key_frame_interval", "--keyframe-interval", "0.1 to 600"),
        (
            "--segments s --audio-codec opus",
            "audio_codec",
            "--audio-codec",
            "format application/x-mpegurl incompatible with codec audio/opus",
        ),
        (
            "--segments s --audio-codec mp3",
            "audio_codec",
            "--audio-codec",
            "format application/x-mpegurl incompatible with codec audio/mpeg",
        ),
        (
            "--segments s --segment-duration 500ms",
            "segment_outputs[0].segment_duration",
            "--segment-duration",
            "1 or more",
        ),
        (
            "--segments s --segment-duration 0",
            "segment_outputs[0].segment_duration",
            "--segment-duration",
            "1 or more",
        ),
        (
            "--segments s --live-playlist s",
            "segment_outputs[0].live_playlist_name",
            "--live-playlist",
            "identical",
        ),
        (
            "--segments d/s --live-playlist e/l",
            "segment_outputs[0].live_playlist_name",
            "--live-playlist",
            "same directory",
        ),
        ("--segments a --segments a", "segment_outputs[1].playlist_name", "--playlist", "its own name"),
        (
            "--segments a --segments b --playlist p",
            "segment_outputs[1].playlist_name",
            "--playlist",
            "its own name",
        ),
        (
            "--segments a --segments b --segments c --playlist p --playlist q",
            "segment_outputs[0].playlist_name",
            "--playlist",
            "once for each",
        ),
        ("--file a.mp4 --file a.mp4", "file_outputs[1].filepath", "--file", "its own name"),
        ("--file a.mp4 --file ./b/../a.mp4", "file_outputs[1].filepath", "--file", "its own name"),
        ("--file a --file a.mp4", "file_outputs[1].filepath", "--file", "its own name"),
        ("--audio-only --video-only --file a.mp4", "audio_only and video_only", "--audio-only", "excludes"),
        ("--audio-only --images t", "audio_only images", "--audio-only", "leave"),
        ("--images t --every 0", "image_outputs[0].capture_interval", "--every", "0.1 s"),
        ("--images t --image-size 4x4", "image_outputs[0].width", "--image-size", "16 to 7680"),
        ("--images t --images t", "image_outputs[1].filename_prefix", "--images", "its own name"),
        ("--stream gopher://x/", "stream url 1", "--stream", "invalid protocol"),
        ("--stream rtmp://host/key", "stream url 1", "--stream", "rtmp(s)://{host}"),
        (
            "--stream rtmp://h/a/k --stream rtmp://H/a/k",
            "stream url (stream_outputs[0].urls[1])",
            "--stream",
            "twice",
        ),
    ] {
        let error = plan(&format!("web {PAGE} {line}")).expect_err(line);
        assert_eq!(error.field(), field, "{line}: {error}");
        let shown = error.to_string();
        assert!(shown.contains(help) && shown.contains(field), "{line}: {shown}");
        let named = request::option_of(field).unwrap_or_default();
        assert!(named.starts_with(option), "{field} is set by {named}");
    }
    for (url, help) in [
        ("gopher://x/", "http://"),
        ("example.com", "https://example.com/page"),
        ("https://", "https://example.com/page"),
        ("javascript:alert(1)", "http://"),
    ] {
        let error = plan(&format!("web {url} --file a.mp4")).unwrap_err();
        assert_eq!(error.field(), "web url");
        assert!(error.to_string().contains(help), "{error}");
    }
}

/// Invalid server and template addresses.
#[test]
fn bad_input_for_rooms() {
    const SERVER: &str = "--url ws://localhost:7880 --api-key k --api-secret s";
    for (line, field, option, help) in [
        (
            "r --url localhost:7880 --api-key k --api-secret s",
            "ws_url",
            "--url, LIVEKIT_URL",
            "wss://livekit.example.com",
        ),
        (&*format!("r {SERVER} --template-url file:///x"), "template base url", "--template-url", "http://"),
        (&*format!("r {SERVER} --template-url layouts"), "template base url", "--template-url", "https://"),
    ] {
        let error = plan(&format!("room {line} --file a.mp4")).expect_err(line);
        assert_eq!(error.field(), field, "{line}: {error}");
        assert!(error.to_string().contains(help), "{line}: {error}");
        assert_eq!(request::option_of(field), Some(option));
    }
    assert_eq!(request::option_of("token or api key/secret"), Some("--api-key, --api-secret"));
}

/// The command line may record pages of its own machine.
#[test]
fn local_pages() {
    for url in ["file:///srv/page.html", "data:text/html,<h1>hi</h1>", "chrome://version", "about:blank"] {
        plan(&format!("web {url} --file a.mp4")).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn an_unknown_preset_is_refused_with_the_list_of_presets() {
    let error =
        Cli::try_parse_from(["weir", "record", "web", "https://x/", "--preset", "h264-4k"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("h264-1080p-30"), "{error}");
}

#[test]
fn the_default_bitrate_follows_the_size() {
    for (line, kbps) in [
        ("", 3000),
        ("--size 1280x720", 3000),
        ("--size 1920x1080", 4500),
        ("--size 1920x1080 --fps 60", 6000),
        ("--fps 60", 4500),
        ("--size 3840x2160", 6000),
        ("--size 1920x1080 --video-bitrate 2000", 2000),
        ("--preset h264-1080p-60 --size 640x360", 6000),
    ] {
        let plan = plan(&format!("web https://x/ --file a.mp4 {line}")).unwrap();
        assert_eq!(plan.video.unwrap().bitrate_kbps, kbps, "{line}");
    }
}

#[test]
fn names_that_lead_upwards_become_absolute() {
    for (typed, name) in [
        ("a.mp4", "a.mp4"),
        ("d/../a.mp4", "a.mp4"),
        ("../a.mp4", "/home/user/a.mp4"),
        ("d/../../a.mp4", "/home/user/a.mp4"),
        ("/srv/a.mp4", "/srv/a.mp4"),
    ] {
        let plan = plan(&format!("web https://x/ --file {typed}")).unwrap();
        let crate::plan::output::OutputPlan::File(file) = &plan.outputs[0] else { panic!() };
        assert_eq!(file.name.as_str(), name, "{typed}");
    }
}

#[test]
fn egress_ids_have_livekits_form() {
    let (one, other) = (new_egress_id(), new_egress_id());
    assert_ne!(one, other);
    let random = one.as_str().strip_prefix("EG_").unwrap();
    assert!(random.len() == 12 && random.chars().all(|c| c.is_ascii_alphanumeric()), "{one}");
}
