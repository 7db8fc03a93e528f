//! Plans each output of a request.

use std::time::Duration;

use super::super::codec::{AudioCodec, CONTAINERS, Container, ContainerRow, VideoCodec};
use super::super::encoding::VideoEncoding;
use super::super::error::PlanError;
use super::super::filename::{self, Naming};
use super::super::output::{
    FilePlan, ImagesPlan, ManifestPolicy, OutputPlan, SegmentsPlan, StreamPlan, WebSocketPlan,
};
use super::super::request::{
    FileRequest, ImagesRequest, Media, OutputKind, OutputRequest, SegmentsRequest, StreamRequest,
};
use super::super::storage::Storage;
use super::super::stream_url::{StreamProtocol, StreamUrl, Transport};
use super::adjustments::Adjustments;
use super::storage;
use crate::config::storage::ServerStorage;

/// Context for the outputs of a request.
pub(super) struct OutputPlanner<'a> {
    pub(super) media: Media,
    pub(super) video: Option<&'a VideoEncoding>,
    /// For files; streams and segments always have AAC.
    pub(super) requested: Option<AudioCodec>,
    pub(super) aac_is_needed: bool,
    pub(super) is_only_output: bool,
    pub(super) naming: &'a Naming,
    pub(super) server: &'a ServerStorage,
}

/// Storage and siblings of an output.
struct Destination {
    storage: Storage,
    manifest: ManifestPolicy,
}

impl OutputPlanner<'_> {
    pub(super) fn output(
        &self,
        output: &OutputRequest,
        adjustments: &mut Adjustments,
    ) -> Result<OutputPlan, PlanError> {
        let OutputRequest { field, storage, manifest, kind } = output;
        let destination = || -> Result<Destination, PlanError> {
            let storage = storage::resolve(field, storage.as_ref(), self.server)?;
            Ok(Destination { storage, manifest: *manifest })
        };
        match kind {
            OutputKind::File(file) => {
                self.file(field, file, destination()?, adjustments).map(OutputPlan::File)
            }
            OutputKind::Segments(segments) => {
                self.segments(field, segments, destination()?).map(OutputPlan::Segments)
            }
            OutputKind::Stream(stream) => self.stream(field, stream, adjustments),
            OutputKind::Images(images) => self.images(field, images, destination()?).map(OutputPlan::Images),
        }
    }

    fn file(
        &self,
        field: &str,
        file: &FileRequest,
        destination: Destination,
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
                "{} can't hold video; record audio only (audio_only), or the file as MP4",
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
            storage: destination.storage,
            manifest: destination.manifest,
        })
    }

    /// The first container that holds what is recorded; for sound alone, one that is made for it
    /// comes first.
    fn default_container(&self, field: &str) -> Result<&'static ContainerRow, PlanError> {
        let codec = self
            .requested
            .or((self.aac_is_needed && self.media == Media::AudioOnly).then_some(AudioCodec::Aac));
        let fits = |row: &&ContainerRow| {
            let video_fits = !self.media.has_video() || row.video.contains(&VideoCodec::H264);
            let audio_fits = !self.media.has_audio() || codec.is_none_or(|codec| row.audio.contains(&codec));
            video_fits && audio_fits
        };
        let audio_only = CONTAINERS.iter().filter(|row| row.video.is_empty());
        let with_video = CONTAINERS.iter().filter(|row| !row.video.is_empty());
        audio_only.chain(with_video).find(fits).ok_or_else(|| PlanError::NoFileType {
            field: format!("{field}.file_type"),
            help: "with video the audio must be AAC or Opus; choose one of them, or leave audio_codec out"
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
        destination: Destination,
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
            storage: destination.storage,
            manifest: destination.manifest,
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
                "a websocket takes audio only; leave video_only out",
            ));
        }
        Ok(WebSocketPlan { url })
    }

    fn images(
        &self,
        field: &str,
        images: &ImagesRequest,
        destination: Destination,
    ) -> Result<ImagesPlan, PlanError> {
        let Some(video) = self.video else {
            return Err(PlanError::invalid(
                "audio_only images",
                format!("{field} needs video; leave audio_only out, or leave the images out"),
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
        let Destination { storage, manifest } = destination;
        let named = filename::origin(&images.prefix);
        Ok(ImagesPlan { interval, width, height, prefix, suffix: images.suffix, named, storage, manifest })
    }
}

pub(super) fn segment_duration(field: &str, segments: &SegmentsRequest) -> Result<Duration, PlanError> {
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

/// The requested size; a missing side follows from the video's aspect ratio.
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
