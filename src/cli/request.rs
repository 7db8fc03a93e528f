//! Converts arguments into an [`EgressRequest`].

use std::path::Path;

use super::{
    AudioCodecArg, CaptureArg, EncodingArgs, FrameTimesArg, GeneralArgs, ImageSuffixArg, OutputArgs,
    ParticipantArgs, ProfileArg, RecordingArgs, RoomArgs, SegmentSuffixArg, Size, TrackArgs,
    TrackCompositeArgs, WebArgs, stream_file,
};
use crate::config::frame_times::FrameTimes;
use crate::plan::Limits;
use crate::plan::codec::{AudioCodec, CONTAINERS};
use crate::plan::encoding::{H264Profile, PRESETS};
use crate::plan::error::PlanError;
use crate::plan::output::{ImageSuffix, ManifestPolicy, SegmentSuffix};
use crate::plan::request::{
    AudioMixing, CaptureKind, EgressRequest, EncodingRequest, FileRequest, ImagesRequest, Media,
    MediaRequest, OutputKind, OutputRequest, RequestOrigin, RoomRequest, SegmentsRequest, SourceRequest,
    StreamRequest, TrackRequest, WebRequest,
};
use crate::plan::room::RoomTicket;
use crate::plan::stream_url::{StreamProtocol, StreamUrl};
use crate::plan::track::Shows;
use crate::secret::Secret;

/// Returns the request of `record web` and `plan web`. `directory` is the current directory: a name
/// that leads out of it (`../talk.mp4`) becomes absolute, because names in a request never lead
/// upwards. In a bucket there is nothing above.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn web(args: &WebArgs, directory: &Path) -> Result<EgressRequest, PlanError> {
    let media = Media::from_flags(args.media.audio_only, args.media.video_only)?;
    let (url, await_start_signal) = (args.url.clone(), args.await_start_signal);
    let source = SourceRequest::Web(WebRequest { room: None, url, media, await_start_signal });
    request(source, &args.recording, directory)
}

/// Returns the request of `record room` and `plan room`; names are handled as in [`web`].
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn room(args: &RoomArgs, directory: &Path) -> Result<EgressRequest, PlanError> {
    let source = SourceRequest::Room(RoomRequest {
        room: RoomTicket { name: args.room.clone(), ..RoomTicket::default() },
        layout: args.layout.clone(),
        custom_base_url: args.template_url.clone(),
        media: Media::from_flags(args.media.audio_only, args.media.video_only)?,
        audio_mixing: AudioMixing::Both,
    });
    request(source, &args.recording, directory)
}

/// Returns the request of `record participant` and `plan participant`; names are handled as in
/// [`web`].
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn participant(args: &ParticipantArgs, directory: &Path) -> Result<EgressRequest, PlanError> {
    let room = RoomTicket { name: args.room.clone(), ..RoomTicket::default() };
    let shows = if args.screen_share { Shows::Screen } else { Shows::Person };
    let source = SourceRequest::Media(MediaRequest::participant(room, args.identity.clone(), shows));
    let mut request = request(source, &args.recording, directory)?;
    request.encoding.as_published = args.as_published;
    Ok(request)
}

/// Returns the request of `record track-composite` and `plan track-composite`; names are handled as
/// in [`web`].
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn track_composite(args: &TrackCompositeArgs, directory: &Path) -> Result<EgressRequest, PlanError> {
    let room = RoomTicket { name: args.room.clone(), ..RoomTicket::default() };
    let source = SourceRequest::Media(MediaRequest::tracks(room, &args.audio_track, &args.video_track));
    let mut request = request(source, &args.recording, directory)?;
    request.encoding.as_published = args.as_published;
    Ok(request)
}

/// Returns the request of `record track` and `plan track`.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn track(args: &TrackArgs, directory: &Path) -> Result<EgressRequest, PlanError> {
    let directory = if args.general.storage.is_some() { Path::new("") } else { directory };
    let (field, kind) = match &args.websocket {
        Some(url) => ("websocket_url", OutputKind::Stream(websocket(url))),
        None => {
            let path = out_of_directory(&args.file, directory);
            ("file", OutputKind::File(FileRequest { path, container: None }))
        }
    };
    let request = EgressRequest {
        origin: RequestOrigin::CommandLine,
        source: SourceRequest::Track(TrackRequest {
            room: RoomTicket { name: args.room.clone(), ..RoomTicket::default() },
            track_id: args.track_id.clone(),
        }),
        encoding: EncodingRequest::default(),
        outputs: vec![OutputRequest {
            field: field.to_owned(),
            storage: None,
            manifest: ManifestPolicy::from_flag(!args.general.manifest),
            kind,
        }],
        webhooks: Vec::new(),
        capture: CaptureKind::Framebuffer,
        frame_times: None,
        limits: Limits::default(),
        retry_count: 0,
    };
    Ok(general(request, &args.general))
}

fn request(
    source: SourceRequest,
    args: &RecordingArgs,
    directory: &Path,
) -> Result<EgressRequest, PlanError> {
    let RecordingArgs { outputs, encoding, general, run: _ } = args;
    let directory = if general.storage.is_some() { Path::new("") } else { directory };
    let request = EgressRequest {
        origin: RequestOrigin::CommandLine,
        source,
        encoding: self::encoding(encoding),
        outputs: self::outputs(outputs, ManifestPolicy::from_flag(!general.manifest), directory)?,
        webhooks: Vec::new(),
        capture: CaptureKind::Framebuffer,
        frame_times: None,
        limits: Limits::default(),
        retry_count: 0,
    };
    Ok(self::general(request, general))
}

/// Applies the general options, which wire requests can't express.
#[must_use]
pub fn general(request: EgressRequest, args: &GeneralArgs) -> EgressRequest {
    let capture = match args.capture {
        CaptureArg::Framebuffer => CaptureKind::Framebuffer,
        CaptureArg::XImageSrc => CaptureKind::XImageSrc,
    };
    let frame_times = match args.frame_times {
        FrameTimesArg::Source => FrameTimes::Source,
        FrameTimesArg::Grid => FrameTimes::Grid,
    };
    let limits = Limits { duration: args.duration.or(request.limits.duration), ..request.limits };
    EgressRequest { capture, frame_times: Some(frame_times), limits, ..request }
}

/// Returns the option that sets a field of the request, to be shown beside an error about that
/// field.
#[must_use]
pub fn option_of(field: &str) -> Option<&'static str> {
    // The output's path without its index.
    let (list, part) = match field.split_once('[') {
        Some((list, rest)) => (list, rest.rsplit_once("].").map_or("", |(_, part)| part)),
        None => (field, ""),
    };
    Some(match (list, part) {
        ("width" | "height", "") => "--size",
        ("framerate", "") => "--fps",
        ("video_bitrate", "") => "--video-bitrate",
        ("audio_bitrate", "") => "--audio-bitrate",
        ("audio_codec", "") => "--audio-codec",
        ("key_frame_interval", "") => "--keyframe-interval",
        ("audio_only and video_only", "") => "--audio-only, --video-only",
        ("audio_only images", "") => "--audio-only, --images",
        ("stream_file", "") => "--stream-file",
        ("output", "") => "--file, --segments, --stream, --images, --websocket",
        ("duration", "") => "--duration",
        ("audio_track_id or video_track_id", "") => "--audio-track, --video-track",
        ("ws_url", "") => "--url, LIVEKIT_URL",
        ("token or api key/secret", "") => "--api-key, --api-secret",
        ("template base url", "") => "--template-url",
        ("file_outputs", _) | ("file" | "file.filepath", "") => "--file",
        ("segment_outputs", "playlist_name") => "--playlist",
        ("segment_outputs", "live_playlist_name") => "--live-playlist",
        ("segment_outputs", "segment_duration") => "--segment-duration",
        ("segment_outputs", "filename_suffix") => "--segment-suffix",
        ("segment_outputs", _) => "--segments",
        ("image_outputs", "capture_interval") => "--every",
        ("image_outputs", "width" | "height") => "--image-size",
        ("image_outputs", "filename_suffix") => "--image-suffix",
        ("image_outputs", _) => "--images",
        (list, _) if list.starts_with("stream") => "--stream, --websocket",
        _ => return None,
    })
}

fn encoding(args: &EncodingArgs) -> EncodingRequest {
    let profile = args.profile.map(|profile| match profile {
        ProfileArg::Baseline => H264Profile::Baseline,
        ProfileArg::Main => H264Profile::Main,
        ProfileArg::High => H264Profile::High,
    });
    let audio_codec = args.audio_codec.map(|codec| match codec {
        AudioCodecArg::Aac => AudioCodec::Aac,
        AudioCodecArg::Opus => AudioCodec::Opus,
        AudioCodecArg::Mp3 => AudioCodec::Mp3,
    });
    EncodingRequest {
        as_published: false,
        preset: args.preset,
        width: args.size.map(|size| size.width),
        height: args.size.map(|size| size.height),
        fps: args.fps,
        video_bitrate_kbps: args.video_bitrate.or_else(|| default_bitrate(args)),
        profile,
        key_interval: args.keyframe_interval,
        audio_codec,
        audio_bitrate_kbps: args.audio_bitrate,
        audio_rate_hz: None,
    }
}

/// Returns the bitrate of the smallest preset that holds this size and frame rate, when no preset
/// was named: 1080p60 needs more than the default preset's bitrate.
fn default_bitrate(args: &EncodingArgs) -> Option<u32> {
    if args.preset.is_some() || (args.size.is_none() && args.fps.is_none()) {
        return None;
    }
    let default = &PRESETS[0];
    let Size { width, height } = args.size.unwrap_or(Size { width: default.width, height: default.height });
    let pixels = u64::from(width) * u64::from(height);
    let fps = args.fps.unwrap_or(default.fps);
    let fits = PRESETS
        .iter()
        .filter(|row| u64::from(row.width) * u64::from(row.height) >= pixels && row.fps >= fps)
        .map(|row| row.bitrate_kbps)
        .min();
    fits.or_else(|| PRESETS.iter().map(|row| row.bitrate_kbps).max())
}

fn outputs(
    args: &OutputArgs,
    manifest: ManifestPolicy,
    directory: &Path,
) -> Result<Vec<OutputRequest>, PlanError> {
    let mut outputs = Vec::new();
    let mut add = |field: String, kind| outputs.push(OutputRequest { field, storage: None, manifest, kind });
    for (at, path) in args.files.iter().enumerate() {
        let field = format!("file_outputs[{at}]");
        let file = file(&field, path, directory)?;
        add(field, OutputKind::File(file));
    }
    for (at, prefix) in args.segments.iter().enumerate() {
        let count = args.segments.len();
        let kind = OutputKind::Segments(SegmentsRequest {
            prefix: out_of_directory(prefix, directory),
            playlist: nth(&args.playlists, at, count, "segment_outputs", "playlist_name")?
                .map(|name| out_of_directory(name, directory))
                .unwrap_or_default(),
            live_playlist: nth(&args.live_playlists, at, count, "segment_outputs", "live_playlist_name")?
                .map(|name| out_of_directory(name, directory))
                .unwrap_or_default(),
            duration: nth(&args.segment_durations, at, count, "segment_outputs", "segment_duration")?
                .copied(),
            suffix: match nth(&args.segment_suffixes, at, count, "segment_outputs", "filename_suffix")? {
                None | Some(SegmentSuffixArg::Index) => SegmentSuffix::Index,
                Some(SegmentSuffixArg::Timestamp) => SegmentSuffix::Timestamp,
            },
        });
        add(format!("segment_outputs[{at}]"), kind);
    }
    let websockets = args.websockets.iter().map(|url| websocket(url));
    for (at, stream) in streams(&stream_urls(args)?)?.into_iter().chain(websockets).enumerate() {
        add(format!("stream_outputs[{at}]"), OutputKind::Stream(stream));
    }
    for (at, prefix) in args.images.iter().enumerate() {
        let count = args.images.len();
        let size = nth(&args.image_sizes, at, count, "image_outputs", "width")?;
        let kind = OutputKind::Images(ImagesRequest {
            prefix: out_of_directory(prefix, directory),
            interval: nth(&args.image_intervals, at, count, "image_outputs", "capture_interval")?.copied(),
            width: size.map(|size| size.width),
            height: size.map(|size| size.height),
            suffix: match nth(&args.image_suffixes, at, count, "image_outputs", "filename_suffix")? {
                None | Some(ImageSuffixArg::Index) => ImageSuffix::Index,
                Some(ImageSuffixArg::Timestamp) => ImageSuffix::Timestamp,
                Some(ImageSuffixArg::None) => ImageSuffix::NoneOverwrite,
            },
        });
        add(format!("image_outputs[{at}]"), kind);
    }
    Ok(outputs)
}

/// The container follows the name's extension.
fn file(field: &str, path: &str, directory: &Path) -> Result<FileRequest, PlanError> {
    /// Extensions that people type on purpose, of formats that Weir does not write.
    const UNSUPPORTED: [&str; 14] = [
        ".webm", ".mkv", ".mov", ".avi", ".ts", ".flv", ".m4a", ".aac", ".opus", ".wav", ".flac", ".gif",
        ".jpeg", ".m3u8",
    ];
    let supported = || CONTAINERS.iter().map(|row| row.extension).collect::<Vec<_>>().join(", ");
    if let Some(other) = UNSUPPORTED.iter().find(|other| path.to_ascii_lowercase().ends_with(**other)) {
        return Err(PlanError::not_yet(
            format!("{field}.filepath"),
            format!("a {other} file"),
            format!("use one of {}", supported()),
        ));
    }
    let container = CONTAINERS.iter().find(|row| path.ends_with(row.extension)).map(|row| row.container);
    Ok(FileRequest { path: out_of_directory(path, directory), container })
}

fn websocket(url: &str) -> StreamRequest {
    StreamRequest { protocol: Some(StreamProtocol::WebSocket), urls: vec![Secret::new(url.to_owned())] }
}

/// Returns the addresses from options or the environment, then those from files.
fn stream_urls(args: &OutputArgs) -> Result<Vec<Secret<String>>, PlanError> {
    // A variable that is set but empty counts as unset.
    let typed = args.streams.iter().filter(|url| !url.is_empty());
    let mut urls: Vec<_> = typed.map(|url| Secret::new(url.clone())).collect();
    for path in &args.stream_files {
        urls.extend(stream_file::read(path)?);
    }
    Ok(urls)
}

/// Groups addresses by protocol: all servers of one protocol receive the same encode.
fn streams(urls: &[Secret<String>]) -> Result<Vec<StreamRequest>, PlanError> {
    let mut streams: Vec<StreamRequest> = Vec::new();
    for (at, text) in urls.iter().enumerate() {
        let url = StreamUrl::parse(text.expose(), None)
            .map_err(|error| PlanError::StreamUrl { field: format!("stream url {}", at + 1), error })?;
        let protocol: StreamProtocol = url.protocol();
        let secret = text.clone();
        let joins = |stream: &&mut StreamRequest| {
            stream.protocol == Some(protocol) && protocol != StreamProtocol::WebSocket
        };
        match streams.iter_mut().find(joins) {
            Some(stream) => stream.urls.push(secret),
            None => streams.push(StreamRequest { protocol: Some(protocol), urls: vec![secret] }),
        }
    }
    Ok(streams)
}

/// Returns the option's value for output `at` of `count`.
fn nth<'a, T>(
    values: &'a [T],
    at: usize,
    count: usize,
    list: &str,
    part: &str,
) -> Result<Option<&'a T>, PlanError> {
    match values.len() {
        0 => Ok(None),
        1 => Ok(values.first()),
        given if given == count => Ok(values.get(at)),
        given => Err(PlanError::invalid(
            format!("{list}[{at}].{part}"),
            format!("given {given} times for {count} outputs; give it once for all, or once for each"),
        )),
    }
}

/// Makes a name absolute if it leads upwards out of `directory`.
fn out_of_directory(name: &str, directory: &Path) -> String {
    let leads_up = |(depth, up): (i64, bool), part: &str| match part {
        ".." => (depth - 1, up || depth == 0),
        "" | "." => (depth, up),
        _ => (depth + 1, up),
    };
    let (_, up) = name.split('/').fold((0, false), leads_up);
    match directory.to_str() {
        Some(directory) if up && !directory.is_empty() && !name.starts_with('/') => {
            format!("{directory}/{name}")
        }
        _ => name.to_owned(),
    }
}
