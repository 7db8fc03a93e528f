//! Request → plan: what was asked for, checked, completed, and fitted together.

mod collisions;
mod origin;

use std::time::Duration;

use jiff::Zoned;

pub(super) use self::collisions::nothing_is_written_twice;
use self::origin::Origin;
use super::adjust::Adjustments;
use super::bounds;
use super::codec::{AudioCodec, CONTAINERS, Container, ContainerRow, VideoCodec};
use super::defaults::Defaults;
use super::encoding::resolve::{self, Needs};
use super::encoding::{AudioEncoding, VideoEncoding};
use super::error::PlanError;
use super::filename::{self, Naming};
use super::output::{
    FilePlan, ImagesPlan, ManifestPolicy, OutputPlan, SegmentsPlan, StreamPlan, WebSocketPlan,
};
use super::pass_through;
use super::remux;
use super::request::{
    EgressRequest, FileRequest, ImagesRequest, Media, OutputKind, OutputRequest, SegmentsRequest,
    SourceRequest, StreamRequest,
};
use super::storage::{Storage, resolve as storage};
use super::stream_url::{StreamProtocol, StreamUrl, Transport};
use super::{EgressId, RecordingPlan};
use crate::config::storage::ServerStorage;

impl RecordingPlan {
    /// Decides everything about a recording. `defaults` count where the request says nothing itself; `now` gives the names
    /// their times.
    ///
    /// # Errors
    /// [`PlanError`], naming the field of the request that is at fault, and what would be right.
    pub fn new(
        request: &EgressRequest,
        defaults: &Defaults,
        egress_id: EgressId,
        now: &Zoned,
    ) -> Result<Self, PlanError> {
        bounds::check(request)?;
        if let SourceRequest::Track(track) = &request.source
            && !request.outputs.iter().any(is_websocket)
        {
            return pass_through::plan(request, track, defaults, egress_id, now);
        }
        let origin = Origin::new(request, defaults, &egress_id)?;
        if request.outputs.is_empty() {
            return Err(PlanError::invalid(
                "output",
                "there is none; give at least one file, segment, stream or image output",
            ));
        }
        let media = recorded_media(request.source.media(), &request.outputs);
        let needs = needs(request)?;
        let frame_times = request.frame_times.unwrap_or(defaults.frame_times);
        let mut adjustments = Adjustments::new(&request.origin);
        let video = media
            .has_video()
            .then(|| resolve::video(&request.encoding, frame_times, &needs, &mut adjustments))
            .transpose()?;

        let naming = Naming::new(origin::subject(&request.source), now, request.retry_count);
        let planner = OutputPlanner {
            media,
            video: video.as_ref(),
            requested: request.encoding.audio_codec,
            aac_is_needed: request.outputs.iter().any(always_aac),
            is_only_output: request.outputs.len() == 1,
            naming: &naming,
            server: &defaults.storage,
        };
        let mut outputs = Vec::with_capacity(request.outputs.len());
        for output in &request.outputs {
            if request.retry_count > 0 {
                supports_retry(output)?;
            }
            outputs.push(planner.output(output, &mut adjustments)?);
        }
        let fields: Vec<&str> = request.outputs.iter().map(|output| output.field.as_str()).collect();
        nothing_is_written_twice(&fields, &outputs)?;
        remux::check(request, &outputs)?;
        if request.limits.duration == Some(Duration::ZERO) {
            return Err(PlanError::invalid("duration", "0 s records nothing; give a longer time, or none"));
        }
        Ok(Self {
            egress_id,
            source: origin.source(request, media, video.as_ref(), &outputs),
            audio: audio_encodings(request, &outputs, &mut adjustments)?,
            video,
            outputs,
            deferred_names: origin::deferred_names(request, now),
            limits: request.limits,
            retry_count: request.retry_count,
            adjustments: adjustments.into_notes(),
        })
    }
}

/// Images have no sound: alone they need none. A websocket has no picture, and as in LiveKit's recorder nothing beside it has.
fn recorded_media(asked: Media, outputs: &[OutputRequest]) -> Media {
    let only_images = outputs.iter().all(|output| matches!(output.kind, OutputKind::Images(_)));
    match asked {
        Media::AudioAndVideo if outputs.iter().any(is_websocket) => Media::AudioOnly,
        Media::AudioAndVideo if only_images => Media::VideoOnly,
        asked => asked,
    }
}

fn is_websocket(output: &OutputRequest) -> bool {
    matches!(&output.kind, OutputKind::Stream(stream) if stream.is_websocket())
}

fn needs(request: &EgressRequest) -> Result<Needs, PlanError> {
    let mut needs = Needs::default();
    for output in &request.outputs {
        match &output.kind {
            OutputKind::Segments(segments) => {
                needs.segment_durations.push(segment_duration(&output.field, segments)?);
            }
            OutputKind::Stream(stream) => needs.has_stream |= !stream.is_websocket(),
            OutputKind::File(_) | OutputKind::Images(_) => {}
        }
        needs.is_encoded |= !matches!(output.kind, OutputKind::Images(_));
    }
    Ok(needs)
}

fn segment_duration(field: &str, segments: &SegmentsRequest) -> Result<Duration, PlanError> {
    let duration = segments.duration.unwrap_or(Duration::from_secs(4));
    // As a request has it on the wire.
    let allowed = Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into());
    if !allowed.contains(&duration) || duration.subsec_nanos() != 0 {
        return Err(PlanError::invalid(
            format!("{field}.segment_duration"),
            format!("{} s; give whole seconds, 1 or more", duration.as_secs_f64()),
        ));
    }
    Ok(duration)
}

fn always_aac(output: &OutputRequest) -> bool {
    match &output.kind {
        OutputKind::Segments(_) => true,
        OutputKind::Stream(stream) => !stream.is_websocket(),
        OutputKind::File(_) | OutputKind::Images(_) => false,
    }
}

/// A second try must not overwrite the first one's file; default names have the number of the try in them.
fn supports_retry(output: &OutputRequest) -> Result<(), PlanError> {
    let field = &output.field;
    let named = match &output.kind {
        OutputKind::File(file) => Some(("filepath", &file.path)).filter(|(_, path)| is_named(path)),
        OutputKind::Segments(SegmentsRequest { prefix, .. }) if !prefix.is_empty() => {
            Some(("filename_prefix", prefix))
        }
        OutputKind::Segments(SegmentsRequest { playlist, .. }) => {
            Some(("playlist_name", playlist)).filter(|(_, playlist)| is_named(playlist))
        }
        OutputKind::Stream(_) | OutputKind::Images(_) => None,
    };
    match named {
        Some((part, name)) if !name.contains("{retry}") => {
            Err(PlanError::NoRetry { field: format!("{field}.{part}") })
        }
        _ => Ok(()),
    }
}

fn is_named(path: &str) -> bool {
    !path.is_empty() && !path.ends_with('/')
}

/// One encode for each codec that an output takes.
fn audio_encodings(
    request: &EgressRequest,
    outputs: &[OutputPlan],
    adjustments: &mut Adjustments,
) -> Result<Vec<AudioEncoding>, PlanError> {
    let mut codecs: Vec<AudioCodec> = outputs.iter().filter_map(OutputPlan::audio).collect();
    codecs.sort_unstable();
    codecs.dedup();
    codecs.into_iter().map(|codec| resolve::audio(&request.encoding, codec, adjustments)).collect()
}

/// What every output of a request is fitted to.
struct OutputPlanner<'a> {
    media: Media,
    video: Option<&'a VideoEncoding>,
    /// For files; streams and segments always have AAC.
    requested: Option<AudioCodec>,
    aac_is_needed: bool,
    is_only_output: bool,
    naming: &'a Naming,
    server: &'a ServerStorage,
}

/// Where an output is kept, and what beside it.
struct Kept {
    storage: Storage,
    manifest: ManifestPolicy,
}

impl OutputPlanner<'_> {
    fn output(&self, output: &OutputRequest, adjustments: &mut Adjustments) -> Result<OutputPlan, PlanError> {
        let OutputRequest { field, storage, manifest, kind } = output;
        let kept = || -> Result<Kept, PlanError> {
            let storage = storage::resolve(field, storage.as_ref(), self.server)?;
            Ok(Kept { storage, manifest: *manifest })
        };
        match kind {
            OutputKind::File(file) => self.file(field, file, kept()?, adjustments).map(OutputPlan::File),
            OutputKind::Segments(segments) => {
                self.segments(field, segments, kept()?).map(OutputPlan::Segments)
            }
            OutputKind::Stream(stream) => self.stream(field, stream, adjustments),
            OutputKind::Images(images) => self.images(field, images, kept()?).map(OutputPlan::Images),
        }
    }

    fn file(
        &self,
        field: &str,
        file: &FileRequest,
        kept: Kept,
        adjustments: &mut Adjustments,
    ) -> Result<FilePlan, PlanError> {
        let name_field = format!("{field}.filepath");
        let row = match file.container {
            Some(container) => {
                // A service gives the file the ending of its container.
                if let Some(other) =
                    filename::container_of(&file.path).filter(|row| row.container != container)
                    && !adjustments.are_allowed()
                {
                    return Err(PlanError::invalid(
                        name_field,
                        format!(
                            "a name that ends in {} can't hold {container}; let it end in {}, or leave the ending out",
                            other.extension,
                            container.row().extension,
                        ),
                    ));
                }
                container.row()
            }
            None => self.default_container(field)?,
        };
        let has_video = self.media.has_video();
        // In this order, as LiveKit names the audio codec first.
        let audio = self.media.has_audio().then(|| self.file_codec(row, adjustments)).transpose()?;
        if has_video && !row.video.contains(&VideoCodec::H264) {
            let field = format!("{field}.file_type");
            let help = format!(
                "{} can't hold a picture; record sound alone (audio_only), or the file as MP4",
                shown(&file.path)
            );
            return Err(match self.requested {
                None => PlanError::NoCodec { field, help },
                Some(_) => incompatible(field, row.mime, VideoCodec::H264.mime(), help),
            });
        }
        if !has_video && row.audio.is_empty() {
            return Err(PlanError::invalid(name_field, format!("{} can't hold sound", row.name)));
        }
        Ok(FilePlan {
            container: row.container,
            has_video,
            audio,
            pass_through: None,
            name: filename::file(&name_field, &file.path, row, self.naming)?,
            named: filename::origin(&file.path),
            storage: kept.storage,
            manifest: kept.manifest,
        })
    }

    /// The first container that holds what is recorded; for sound alone, one that is made for it comes first.
    fn default_container(&self, field: &str) -> Result<&'static ContainerRow, PlanError> {
        let codec = self
            .requested
            .or((self.aac_is_needed && self.media == Media::AudioOnly).then_some(AudioCodec::Aac));
        let fits = |row: &&ContainerRow| {
            let video_fits = !self.media.has_video() || row.video.contains(&VideoCodec::H264);
            let audio_fits = !self.media.has_audio() || codec.is_none_or(|codec| row.audio.contains(&codec));
            video_fits && audio_fits
        };
        let for_sound = CONTAINERS.iter().filter(|row| row.video.is_empty());
        let for_pictures = CONTAINERS.iter().filter(|row| !row.video.is_empty());
        for_sound.chain(for_pictures).find(fits).ok_or_else(|| PlanError::NoFileType {
            field: format!("{field}.file_type"),
            help: "with pictures the sound must be AAC or Opus; choose one of them, or leave audio_codec out"
                .to_owned(),
        })
    }

    fn file_codec(&self, row: &ContainerRow, adjustments: &mut Adjustments) -> Result<AudioCodec, PlanError> {
        let codec = match self.requested {
            Some(requested) => Some(requested).filter(|codec| row.audio.contains(codec)),
            None => row.audio.first().copied(),
        };
        if let Some(codec) = codec {
            return Ok(codec);
        }
        let possible: Vec<String> = row.audio.iter().map(AudioCodec::to_string).collect();
        let refused = incompatible(
            "audio_codec".to_owned(),
            row.mime,
            self.requested.map_or("", AudioCodec::mime),
            format!("use {}, or leave audio_codec out", possible.join(" or ")),
        );
        match (row.container, self.requested) {
            // LiveKit takes every codec for a file of this name, and writes MP3.
            (Container::Mp3, Some(requested)) => {
                let note = format!(
                    "audio_codec: {requested} was requested, {} is recorded for a .mp3 file",
                    row.name
                );
                adjustments.replace(AudioCodec::Mp3, note, refused)
            }
            _ => Err(refused),
        }
    }

    fn segments(
        &self,
        field: &str,
        segments: &SegmentsRequest,
        kept: Kept,
    ) -> Result<SegmentsPlan, PlanError> {
        if self.media.has_audio()
            && let Some(codec) = self.requested.filter(|codec| *codec != AudioCodec::Aac)
        {
            return Err(incompatible(
                "audio_codec".to_owned(),
                "application/x-mpegurl",
                codec.mime(),
                "segments carry AAC; choose AAC, leave audio_codec out, or leave the segments out",
            ));
        }
        let names = (&*segments.prefix, &*segments.playlist, &*segments.live_playlist);
        let named = filename::segments_origin(names);
        let names = filename::segments(field, names, self.naming)?;
        Ok(SegmentsPlan {
            has_video: self.media.has_video(),
            audio: self.media.has_audio().then_some(AudioCodec::Aac),
            dir: names.dir,
            playlist: names.playlist,
            live_playlist: names.live_playlist,
            prefix: names.prefix,
            suffix: segments.suffix,
            duration: segment_duration(field, segments)?,
            named,
            storage: kept.storage,
            manifest: kept.manifest,
        })
    }

    fn stream(
        &self,
        field: &str,
        stream: &StreamRequest,
        adjustments: &mut Adjustments,
    ) -> Result<OutputPlan, PlanError> {
        let url_field = |at: usize| format!("stream url ({field}.urls[{at}])");
        let mut protocol = stream.protocol;
        let mut urls: Vec<StreamUrl> = Vec::with_capacity(stream.urls.len());
        for (at, url) in stream.urls.iter().enumerate() {
            let is_v1 = field.starts_with("stream_outputs[");
            if is_v1 && protocol == Some(StreamProtocol::WebSocket) && url.expose().is_empty() {
                let help = "it is empty; write it as wss://example.com/path";
                return Err(PlanError::worded("stream output type", format!("{field}.urls[{at}]"), help));
            }
            let url = StreamUrl::parse(url.expose(), protocol)
                .map_err(|error| PlanError::StreamUrl { field: url_field(at), error })?;
            // The first address decides for the others, where nothing was said.
            protocol = Some(url.protocol());
            if urls.contains(&url) {
                let refused =
                    PlanError::invalid(url_field(at), format!("{url} is there twice; give it once"));
                let note = format!("{field}.urls[{at}]: {url} is there twice, it gets one stream");
                adjustments.replace((), note, refused)?;
                continue;
            }
            urls.push(url);
        }
        let Some(protocol) = protocol else {
            return Err(PlanError::invalid(
                "stream protocol",
                format!("{field} has neither a protocol nor an address; give one of them"),
            ));
        };
        if urls.is_empty() && self.is_only_output {
            // LiveKit names another field for each version of its API.
            let name = if field.starts_with("outputs[") { "output" } else { "stream url" };
            return Err(PlanError::invalid(
                name,
                format!("{field} has no address; the only output of a recording needs one"),
            ));
        }
        let transport = match protocol {
            StreamProtocol::Rtmp => Transport::Rtmp,
            StreamProtocol::Srt => Transport::Srt,
            StreamProtocol::WebSocket => return self.websocket(field, urls).map(OutputPlan::WebSocket),
        };
        let (has_video, has_audio) = (self.media.has_video(), self.media.has_audio());
        Ok(OutputPlan::Stream(StreamPlan { transport, has_video, has_audio, urls }))
    }

    fn websocket(&self, field: &str, urls: Vec<StreamUrl>) -> Result<WebSocketPlan, PlanError> {
        let [url] = <[StreamUrl; 1]>::try_from(urls).map_err(|urls| {
            let help =
                format!("{field} has {} addresses; give each websocket an output of its own", urls.len());
            PlanError::invalid("stream url", help)
        })?;
        if !self.media.has_audio() {
            return Err(incompatible(
                field.to_owned(),
                "audio/x-raw",
                VideoCodec::H264.mime(),
                "a websocket takes sound alone; leave video_only out",
            ));
        }
        Ok(WebSocketPlan { url })
    }

    fn images(&self, field: &str, images: &ImagesRequest, kept: Kept) -> Result<ImagesPlan, PlanError> {
        let Some(video) = self.video else {
            return Err(PlanError::invalid(
                "audio_only images",
                format!("{field} needs pictures; leave audio_only out, or leave the images out"),
            ));
        };
        let interval = images.interval.unwrap_or(Duration::from_secs(10));
        if interval < Duration::from_millis(100) || interval > Duration::from_secs(86_400) {
            return Err(PlanError::invalid(
                format!("{field}.capture_interval"),
                format!("{} s; give 0.1 s to one day", interval.as_secs_f64()),
            ));
        }
        let (width, height) = image_size(images, video);
        for (name, pixels, most) in [("width", width, 7680), ("height", height, 7680)] {
            if !(16..=most).contains(&pixels) {
                return Err(PlanError::invalid(
                    format!("{field}.{name}"),
                    format!("{pixels} pixels; give 16 to {most}"),
                ));
            }
        }
        let prefix =
            filename::image_prefix(&format!("{field}.filename_prefix"), &images.prefix, self.naming)?;
        let Kept { storage, manifest } = kept;
        let named = filename::origin(&images.prefix);
        Ok(ImagesPlan { interval, width, height, prefix, suffix: images.suffix, named, storage, manifest })
    }
}

/// As asked; one side alone takes the other from the video's proportions.
fn image_size(images: &ImagesRequest, video: &VideoEncoding) -> (u32, u32) {
    let scaled = |side: u32, by: u32, of: u32| {
        let scaled = (u64::from(side) * u64::from(by)).div_ceil(u64::from(of));
        u32::try_from(scaled).unwrap_or(u32::MAX)
    };
    match (images.width, images.height) {
        (None, None) => (video.width, video.height),
        (Some(width), None) => (width, scaled(width, video.height, video.width)),
        (None, Some(height)) => (scaled(height, video.width, video.height), height),
        (Some(width), Some(height)) => (width, height),
    }
}

/// A file's name, where it has one.
fn shown(path: &str) -> &str {
    if path.is_empty() { "it" } else { path }
}

fn incompatible(
    field: String,
    format: &'static str,
    codec: &'static str,
    help: impl Into<String>,
) -> PlanError {
    PlanError::Incompatible { field, format, codec, help: help.into() }
}
