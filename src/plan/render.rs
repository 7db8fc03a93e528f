//! A plan as text for a person: `weir plan`. Nothing secret is in it.

use std::fmt::Write as _;
use std::time::Duration;

use super::encoding::{AudioEncoding, Cadence, VideoEncoding};
use super::graph::{GraphPlan, X264Plan};
use super::output::{
    FilePlan, ImageSuffix, ImagesPlan, OutputPlan, PassThrough, SegmentSuffix, SegmentsPlan, StreamPlan,
};
use super::page::{Page, RoomPage, Template};
use super::recording_plan::RecordingPlan;
use super::redact;
use super::request::CaptureKind;
use super::room::{RoomAccess, RoomEntry};
use super::source::{SourcePlan, StartRule, WebPlan};
use super::storage::{Storage, StorageTarget};
use super::track::{
    AudioChoice, AudioFrom, AudioHandling, AudioRoute, Channel, Lasts, Rest, Shows, TracksPlan, VideoChoice,
    VideoHandling,
};

/// Prints the plan, one fact per line; ends with a line feed.
#[must_use]
pub fn render(plan: &RecordingPlan, graph: &GraphPlan) -> String {
    let mut text = Lines::default();
    match &plan.source {
        SourcePlan::Web(web) => source(&mut text, web),
        SourcePlan::Tracks(tracks) => self::tracks(&mut text, tracks),
    }
    if let Some(video) = &plan.video {
        frames(&mut text, video);
        // Images alone need no encoder.
        if let Some(encoder) = &graph.video {
            h264(&mut text, video, encoder);
        }
    }
    for audio in &plan.audio {
        self::audio(&mut text, audio);
    }
    for output in &plan.outputs {
        match output {
            OutputPlan::File(file) => self::file(&mut text, file),
            OutputPlan::Segments(segments) => self::segments(&mut text, segments),
            OutputPlan::Stream(stream) => self::stream(&mut text, stream),
            OutputPlan::WebSocket(socket) => {
                text.line("stream", &format!("{} (websocket: S16LE, 48000 Hz, stereo)", socket.url));
            }
            OutputPlan::Images(images) => self::images(&mut text, images),
        }
        if let Some(storage) = output.storage() {
            stored(&mut text, storage);
        }
    }
    let by_itself = match &plan.source {
        SourcePlan::Web(_) => "when the page logs END_RECORDING",
        SourcePlan::Tracks(tracks) => match &tracks.wanted.lasts {
            Lasts::Tracks => "when nothing of it is published any more",
            Lasts::Participant(_) => "when the participant leaves",
            Lasts::Room => "when the room is closed",
        },
    };
    let ends = match plan.limits.duration {
        Some(limit) => format!("after {}, when stopped, or {by_itself}", span(limit)),
        None => format!("when stopped, or {by_itself}"),
    };
    text.line("ends", &ends);
    for adjustment in &plan.adjustments {
        text.line("adjusted", adjustment);
    }
    text.0
}

/// `label     text`, all texts in one column; an empty label goes on with the line before.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, label: &str, text: &str) {
        // Writing to a string can't fail.
        writeln!(self.0, "{label:<10}{text}").unwrap_or_default();
    }
}

fn source(text: &mut Lines, web: &WebPlan) {
    match &web.page {
        Page::Address(url) => text.line("page", &redact::page_url(url.as_str())),
        Page::Room(page) => room(text, page),
    }
    let start = match web.start {
        StartRule::OnLoad => "when the page is loaded",
        StartRule::OnSignal => "when the page logs START_RECORDING",
    };
    text.line("starts", start);
    let capture = match web.capture {
        CaptureKind::Framebuffer => "the framebuffer, on damage",
        CaptureKind::XImageSrc => "ximagesrc",
    };
    let display = format!("{}x{}", web.width, web.height);
    match (web.has_video, web.has_audio) {
        (true, true) => text.line("captures", &format!("video ({display}, by {capture}) and audio")),
        (true, false) => text.line("captures", &format!("video only ({display}, by {capture})")),
        (false, _) => text.line("captures", "audio only"),
    }
}

fn tracks(text: &mut Lines, tracks: &TracksPlan) {
    let TracksPlan { room, identity, wanted, video, audio } = tracks;
    room_at(text, room, identity);
    if (video, audio) == (&VideoHandling::AsPublished, &AudioHandling::AsPublished) {
        text.line("track", &format!("{}, as it is published, without decoding it", wanted.sids().join(", ")));
    } else {
        for video in &wanted.video {
            text.line("shows", &shown(video));
        }
        if let Some(audio) = &wanted.audio {
            heard(text, audio);
        }
    }
    if let VideoHandling::ByCodec { .. } = video {
        let audio = if *audio == AudioHandling::ByCodec { ", and audio that is Opus" } else { "" };
        text.line("copies", &format!("video that is H.264, without decoding it{audio}"));
    }
    text.line("starts", "with the first frame");
}

fn shown(video: &VideoChoice) -> String {
    match video {
        VideoChoice::Track(sid) => format!("track {sid}"),
        VideoChoice::Participant { identity, shows: Shows::Person } => format!("the camera of {identity}"),
        VideoChoice::Participant { identity, shows: Shows::Screen } => format!("the screen of {identity}"),
    }
}

/// A line for each route, in the order in which they count.
fn heard(text: &mut Lines, audio: &AudioChoice) {
    let on = |channel: Channel| match channel {
        Channel::Both => "",
        Channel::Left => ", on the left",
        Channel::Right => ", on the right",
    };
    let mut label = "hears";
    for AudioRoute { from, channel } in &audio.routes {
        let from = match from {
            AudioFrom::Track(sid) => format!("track {sid}"),
            AudioFrom::Participant { identity, shows: None } => identity.clone(),
            AudioFrom::Participant { identity, shows: Some(Shows::Person) } => {
                format!("the microphone of {identity}")
            }
            AudioFrom::Participant { identity, shows: Some(Shows::Screen) } => {
                format!("the screen of {identity}")
            }
            AudioFrom::Kind(kind) => kind.everybody().to_owned(),
        };
        text.line(std::mem::take(&mut label), &format!("{from}{}", on(*channel)));
    }
    let who = if audio.routes.is_empty() { "everybody" } else { "everybody else" };
    match audio.rest {
        None => {}
        Some(Rest::On(channel)) => text.line(label, &format!("{who}{}", on(channel))),
        Some(Rest::ByTurns) => text.line(label, &format!("{who}, by turns on the left and on the right")),
    }
}

fn room(text: &mut Lines, page: &RoomPage) {
    let RoomPage { room, identity, layout, template } = page;
    room_at(text, room, identity);
    let layout = if layout.is_empty() { "the page's own choice" } else { layout };
    let page = match template {
        Template::Own => String::new(),
        Template::At(url) => format!(" (by {})", redact::page_url(url.as_str())),
    };
    text.line("layout", &format!("{layout}{page}"));
}

fn room_at(text: &mut Lines, room: &RoomAccess, identity: &str) {
    let entry = match &room.entry {
        RoomEntry::Token(_) => "with the request's token".to_owned(),
        RoomEntry::Key(signer) => format!("by the key {}, as {identity}", signer.key),
    };
    text.line("room", &format!("{} at {}, {entry}", room.name, redact::page_url(room.server.as_str())));
}

fn frames(text: &mut Lines, video: &VideoEncoding) {
    let times = match video.cadence {
        Cadence::AsDrawn { at_least } if at_least == video.fps => {
            format!("{} fps, at capture times", video.fps)
        }
        Cadence::AsDrawn { at_least } => {
            format!("up to {} fps at capture times, {at_least} fps while static", video.fps)
        }
        Cadence::Grid => format!("{} fps, constant", video.fps),
    };
    text.line("frames", &times);
}

fn h264(text: &mut Lines, video: &VideoEncoding, encoder: &X264Plan) {
    let VideoEncoding { codec, profile, width, height, bitrate_kbps, key_interval, .. } = video;
    text.line(
        "video",
        &format!(
            "{codec} {profile}, {width}x{height}, {bitrate_kbps} kbit/s, a key frame every {}",
            span(*key_interval)
        ),
    );
    let threads = match encoder.threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    let X264Plan { speed_preset, option_string, vbv_buf_capacity_ms, .. } = encoder;
    text.line(
        "encoder",
        &format!("x264 {speed_preset}, {threads}, buffer {vbv_buf_capacity_ms} ms, {option_string}"),
    );
}

fn audio(text: &mut Lines, audio: &AudioEncoding) {
    let AudioEncoding { codec, bitrate_kbps, rate_hz } = audio;
    text.line("audio", &format!("{codec}, {bitrate_kbps} kbit/s, {rate_hz} Hz, stereo"));
}

fn file(text: &mut Lines, file: &FilePlan) {
    if let Some(PassThrough::Awaited) = file.pass_through {
        text.line("file", &format!("{} (OGG, MP4 or WebM, as the track's codec wants it)", file.name));
        return;
    }
    let mut media = Vec::new();
    if file.has_video {
        media.push("H.264".to_owned());
    }
    media.extend(file.audio.map(|codec| codec.to_string()));
    text.line("file", &format!("{} ({}: {})", file.name, file.container, media.join(" + ")));
}

fn segments(text: &mut Lines, segments: &SegmentsPlan) {
    let SegmentsPlan { dir, playlist, live_playlist, prefix, suffix, duration, .. } = segments;
    let suffix = match suffix {
        SegmentSuffix::Index => "00000",
        SegmentSuffix::Timestamp => "YYYYMMDDhhmmssmmm",
    };
    text.line("segments", &format!("{dir}{prefix}_{suffix}.ts, … ({} each)", span(*duration)));
    text.line("", &format!("{dir}{playlist} (playlist)"));
    if let Some(live) = live_playlist {
        text.line("", &format!("{dir}{live} (live playlist, the last five)"));
    }
}

/// Where an output is kept, unless that is where anybody would look.
fn stored(text: &mut Lines, storage: &Storage) {
    if *storage == Storage::local() {
        return;
    }
    let backup = storage.backup.as_ref().map(StorageTarget::describe);
    let backup = backup.map_or_else(String::new, |backup| format!("; if that fails, in {backup}"));
    text.line("", &format!("in {}{backup}", storage.primary.describe()));
}

fn stream(text: &mut Lines, stream: &StreamPlan) {
    if stream.urls.is_empty() {
        text.line("stream", &format!("{} (no address yet)", stream.transport));
    }
    for url in &stream.urls {
        let lookup = if url.needs_lookup() { "; Twitch is asked for its server" } else { "" };
        text.line("stream", &format!("{url} ({}{lookup})", stream.transport));
    }
}

fn images(text: &mut Lines, images: &ImagesPlan) {
    let ImagesPlan { interval, width, height, prefix, suffix, .. } = images;
    let name = match suffix {
        ImageSuffix::Index => format!("{prefix}_00000.jpeg, …"),
        ImageSuffix::Timestamp => format!("{prefix}_YYYYMMDDhhmmssmmm.jpeg, …"),
        ImageSuffix::NoneOverwrite => format!("{prefix}.jpeg, overwritten"),
    };
    text.line("images", &format!("{name} ({width}x{height}, every {})", span(*interval)));
}

/// `1m 30s`.
fn span(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{} s", duration.as_secs()), |duration| format!("{duration:#}"))
}
