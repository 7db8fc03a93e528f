//! A request of the command line as a v2 request.

use livekit_protocol as proto;
use proto::{output, start_egress_request};

use super::super::codec::{AudioCodec, Container};
use super::super::encoding::{H264Profile, PRESETS, Preset};
use super::super::output::{ImageSuffix, ManifestPolicy, SegmentSuffix};
use super::super::request::{
    EgressRequest, EncodingRequest, Media, OutputKind, OutputRequest, RoomRequest, WebRequest,
};
use super::super::stream_url::StreamProtocol;

pub(super) fn request(
    request: &EgressRequest,
    room_name: String,
    source: start_egress_request::Source,
) -> proto::StartEgressRequest {
    proto::StartEgressRequest {
        room_name,
        outputs: request.outputs.iter().map(output).collect(),
        storage: None,
        webhooks: Vec::new(),
        source: Some(source),
        encoding: self::encoding(&request.encoding),
    }
}

pub(super) fn web(web: &WebRequest) -> start_egress_request::Source {
    start_egress_request::Source::Web(proto::WebSource {
        url: web.url.clone(),
        audio_only: web.media == Media::AudioOnly,
        video_only: web.media == Media::VideoOnly,
        await_start_signal: web.await_start_signal,
    })
}

pub(super) fn room(room: &RoomRequest) -> start_egress_request::Source {
    start_egress_request::Source::Template(proto::TemplateSource {
        layout: room.layout.clone(),
        audio_only: room.media == Media::AudioOnly,
        video_only: room.media == Media::VideoOnly,
        custom_base_url: room.custom_base_url.clone(),
    })
}

/// The wire knows a preset or options, not both: options come with the preset's numbers in them.
pub(super) fn encoding(encoding: &EncodingRequest) -> Option<start_egress_request::Encoding> {
    if encoding.as_published {
        let preset = proto::EncodingOptionsPreset::Passthrough;
        return Some(start_egress_request::Encoding::Preset(preset.into()));
    }
    let bare = EncodingRequest { preset: encoding.preset, ..EncodingRequest::default() };
    if *encoding == bare {
        return encoding
            .preset
            .map(|preset| start_egress_request::Encoding::Preset(preset.row().wire.into()));
    }
    let base = encoding.preset.map_or(&PRESETS[0], Preset::row);
    let audio_codec = match encoding.audio_codec {
        None => proto::AudioCodec::DefaultAc,
        Some(AudioCodec::Aac) => proto::AudioCodec::Aac,
        Some(AudioCodec::Opus) => proto::AudioCodec::Opus,
        Some(AudioCodec::Mp3) => proto::AudioCodec::AcMp3,
    };
    let video_codec = match encoding.profile {
        None => proto::VideoCodec::DefaultVc,
        Some(H264Profile::Baseline) => proto::VideoCodec::H264Baseline,
        Some(H264Profile::Main) => proto::VideoCodec::H264Main,
        Some(H264Profile::High) => proto::VideoCodec::H264High,
    };
    Some(start_egress_request::Encoding::Advanced(proto::EncodingOptions {
        width: number(encoding.width.unwrap_or(base.width)),
        height: number(encoding.height.unwrap_or(base.height)),
        framerate: number(encoding.fps.unwrap_or(base.fps)),
        video_bitrate: number(encoding.video_bitrate_kbps.unwrap_or(base.bitrate_kbps)),
        video_codec: video_codec.into(),
        audio_codec: audio_codec.into(),
        audio_bitrate: encoding.audio_bitrate_kbps.map_or(0, number),
        audio_frequency: encoding.audio_rate_hz.map_or(0, number),
        key_frame_interval: encoding.key_interval.map_or(0.0, |interval| interval.as_secs_f64()),
        ..proto::EncodingOptions::default()
    }))
}

pub(super) fn output(output: &OutputRequest) -> proto::Output {
    let config = match &output.kind {
        OutputKind::File(file) => {
            let file_type = match file.container {
                // No request can name WebM: it is what a track becomes by itself.
                None | Some(Container::WebM) => proto::EncodedFileType::DefaultFiletype,
                Some(Container::Mp4) => proto::EncodedFileType::Mp4,
                Some(Container::Ogg) => proto::EncodedFileType::Ogg,
                Some(Container::Mp3) => proto::EncodedFileType::Mp3,
            };
            output::Config::File(proto::FileOutput {
                file_type: file_type.into(),
                filepath: file.path.clone(),
                disable_manifest: output.manifest == ManifestPolicy::OnlyWithBackup,
            })
        }
        OutputKind::Segments(segments) => {
            let suffix = match segments.suffix {
                SegmentSuffix::Index => proto::SegmentedFileSuffix::Index,
                SegmentSuffix::Timestamp => proto::SegmentedFileSuffix::Timestamp,
            };
            output::Config::Segments(proto::SegmentedFileOutput {
                protocol: proto::SegmentedFileProtocol::HlsProtocol.into(),
                filename_prefix: segments.prefix.clone(),
                playlist_name: segments.playlist.clone(),
                live_playlist_name: segments.live_playlist.clone(),
                segment_duration: segments.duration.map_or(0, whole_seconds),
                filename_suffix: suffix.into(),
                disable_manifest: output.manifest == ManifestPolicy::OnlyWithBackup,
                output: None,
            })
        }
        OutputKind::Stream(stream) => {
            let protocol = match stream.protocol {
                None => proto::StreamProtocol::DefaultProtocol,
                Some(StreamProtocol::Rtmp) => proto::StreamProtocol::Rtmp,
                Some(StreamProtocol::Srt) => proto::StreamProtocol::Srt,
                Some(StreamProtocol::WebSocket) => proto::StreamProtocol::Websocket,
            };
            let urls = stream.urls.iter().map(|url| url.expose().clone()).collect();
            output::Config::Stream(proto::StreamOutput { protocol: protocol.into(), urls })
        }
        OutputKind::Images(images) => {
            let suffix = match images.suffix {
                ImageSuffix::Index => proto::ImageFileSuffix::ImageSuffixIndex,
                ImageSuffix::Timestamp => proto::ImageFileSuffix::ImageSuffixTimestamp,
                ImageSuffix::NoneOverwrite => proto::ImageFileSuffix::ImageSuffixNoneOverwrite,
            };
            output::Config::Images(proto::ImageOutput {
                capture_interval: images.interval.map_or(0, whole_seconds),
                width: images.width.map_or(0, number),
                height: images.height.map_or(0, number),
                filename_prefix: images.prefix.clone(),
                filename_suffix: suffix.into(),
                image_codec: proto::ImageCodec::IcJpeg.into(),
                disable_manifest: output.manifest == ManifestPolicy::OnlyWithBackup,
                output: None,
            })
        }
    };
    proto::Output { storage: None, config: Some(config) }
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The wire has no parts of a second; zero would mean "not said".
fn whole_seconds(duration: std::time::Duration) -> u32 {
    let seconds = duration.as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
