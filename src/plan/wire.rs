//! Converts the common parts of v1 and v2 requests, field by field.

pub(super) mod storage;

use std::time::Duration;

use livekit_protocol as proto;
use proto::{direct_file_output, encoded_file_output, image_output, segmented_file_output};

use super::codec::{AudioCodec, Container};
use super::encoding::{H264Profile, Preset};
use super::error::PlanError;
use super::output::{ImageSuffix, ManifestPolicy, SegmentSuffix};
use super::request::{
    EncodingRequest, FileRequest, ImagesRequest, OutputKind, OutputRequest, SegmentsRequest, StreamRequest,
    WebhookRequest,
};
use super::storage::Backend;
use super::stream_url::StreamProtocol;
use crate::secret::Secret;

/// In protobuf zero is "not said".
fn said(value: i32, field: &str) -> Result<Option<u32>, PlanError> {
    match u32::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => {
            Err(PlanError::invalid(field, format!("{value} is negative; leave it out for the default")))
        }
    }
}

/// A protobuf enum's number as its type; a number that the type has not is an error.
pub(super) fn known<E: TryFrom<i32>>(value: i32, field: &str) -> Result<E, PlanError> {
    E::try_from(value)
        .map_err(|_| PlanError::invalid(field, format!("{value} is not one of the values it can have")))
}

pub(super) fn preset(value: i32) -> Result<EncodingRequest, PlanError> {
    let preset = Preset::from_wire(known(value, "preset")?)?;
    Ok(EncodingRequest { preset: Some(preset), ..EncodingRequest::default() })
}

/// As [`preset`], of what may be recorded as it is published.
pub(super) fn preset_or_as_published(value: i32) -> Result<EncodingRequest, PlanError> {
    match known(value, "preset")? {
        proto::EncodingOptionsPreset::Passthrough => {
            Ok(EncodingRequest { as_published: true, ..EncodingRequest::default() })
        }
        preset => self::preset(preset.into()),
    }
}

pub(super) fn advanced(options: proto::EncodingOptions) -> Result<EncodingRequest, PlanError> {
    // Two of the fields are deprecated; they never had an effect.
    #[expect(deprecated, reason = "every field is named, so that a new one can't be forgotten")]
    let proto::EncodingOptions {
        width,
        height,
        depth,
        framerate,
        audio_codec,
        audio_bitrate,
        audio_frequency,
        video_codec,
        video_bitrate,
        key_frame_interval,
        audio_quality: _,
        video_quality: _,
    } = options;
    // The display is always 24 bits deep; the other depths that are legal on the wire change
    // nothing that is recorded.
    if !matches!(depth, 0 | 8 | 16 | 24) {
        return Err(PlanError::invalid("depth", format!("{depth} is not a depth; leave it out, or give 24")));
    }
    let audio_codec = match known(audio_codec, "audio_codec")? {
        proto::AudioCodec::DefaultAc => None,
        proto::AudioCodec::Opus => Some(AudioCodec::Opus),
        proto::AudioCodec::Aac => Some(AudioCodec::Aac),
        proto::AudioCodec::AcMp3 => Some(AudioCodec::Mp3),
    };
    let profile = match known(video_codec, "video_codec")? {
        proto::VideoCodec::DefaultVc => None,
        proto::VideoCodec::H264Baseline => Some(H264Profile::Baseline),
        proto::VideoCodec::H264Main => Some(H264Profile::Main),
        proto::VideoCodec::H264High => Some(H264Profile::High),
        proto::VideoCodec::Vp8 => {
            return Err(PlanError::not_yet(
                "video_codec",
                "encoding VP8",
                "use H264_BASELINE, H264_MAIN or H264_HIGH",
            ));
        }
    };
    Ok(EncodingRequest {
        as_published: false,
        preset: None,
        width: said(width, "width")?,
        height: said(height, "height")?,
        fps: said(framerate, "framerate")?,
        video_bitrate_kbps: said(video_bitrate, "video_bitrate")?,
        profile,
        key_interval: key_interval(key_frame_interval)?,
        audio_codec,
        audio_bitrate_kbps: said(audio_bitrate, "audio_bitrate")?,
        audio_rate_hz: said(audio_frequency, "audio_frequency")?,
    })
}

fn key_interval(seconds: f64) -> Result<Option<Duration>, PlanError> {
    if seconds == 0.0 {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| {
        PlanError::invalid(
            "key_frame_interval",
            format!("{seconds} is not a time; give seconds, for example 4"),
        )
    })
}

pub(super) fn file(
    field: String,
    file_type: i32,
    path: String,
    disable_manifest: bool,
    storage: Option<Backend>,
) -> Result<OutputRequest, PlanError> {
    let container = match known(file_type, &format!("{field}.file_type"))? {
        proto::EncodedFileType::DefaultFiletype => None,
        proto::EncodedFileType::Mp4 => Some(Container::Mp4),
        proto::EncodedFileType::Ogg => Some(Container::Ogg),
        proto::EncodedFileType::Mp3 => Some(Container::Mp3),
    };
    let manifest = ManifestPolicy::from_flag(disable_manifest);
    Ok(OutputRequest { field, storage, manifest, kind: OutputKind::File(FileRequest { path, container }) })
}

pub(super) fn encoded_file(
    field: String,
    output: proto::EncodedFileOutput,
) -> Result<OutputRequest, PlanError> {
    let proto::EncodedFileOutput { file_type, filepath, disable_manifest, output: storage } = output;
    let storage = storage.map(|storage| match storage {
        encoded_file_output::Output::S3(s3) => storage::s3(s3),
        encoded_file_output::Output::Gcp(gcp) => storage::gcs(gcp),
        encoded_file_output::Output::Azure(azure) => storage::azure(azure),
        encoded_file_output::Output::AliOss(oss) => storage::ali_oss(oss),
    });
    file(field, file_type, filepath, disable_manifest, storage)
}

pub(super) fn direct_file(field: String, output: proto::DirectFileOutput) -> OutputRequest {
    let proto::DirectFileOutput { filepath: path, disable_manifest, output: storage } = output;
    let storage = storage.map(|storage| match storage {
        direct_file_output::Output::S3(s3) => storage::s3(s3),
        direct_file_output::Output::Gcp(gcp) => storage::gcs(gcp),
        direct_file_output::Output::Azure(azure) => storage::azure(azure),
        direct_file_output::Output::AliOss(oss) => storage::ali_oss(oss),
    });
    let manifest = ManifestPolicy::from_flag(disable_manifest);
    OutputRequest { field, storage, manifest, kind: OutputKind::File(FileRequest { path, container: None }) }
}

/// `storage`: of the whole output in v2; in v1 it is inside of the message. (LiveKit does not look
/// there in v2; what was said is not lost here.)
pub(super) fn segments(
    field: String,
    output: proto::SegmentedFileOutput,
    storage: Option<Backend>,
) -> Result<OutputRequest, PlanError> {
    let proto::SegmentedFileOutput {
        protocol,
        filename_prefix,
        playlist_name,
        live_playlist_name,
        segment_duration,
        filename_suffix,
        disable_manifest,
        output: own_storage,
    } = output;
    match known(protocol, &format!("{field}.protocol"))? {
        proto::SegmentedFileProtocol::DefaultSegmentedFileProtocol
        | proto::SegmentedFileProtocol::HlsProtocol => {}
    }
    let suffix = match known(filename_suffix, &format!("{field}.filename_suffix"))? {
        proto::SegmentedFileSuffix::Index => SegmentSuffix::Index,
        proto::SegmentedFileSuffix::Timestamp => SegmentSuffix::Timestamp,
    };
    let own_storage = own_storage.map(|storage| match storage {
        segmented_file_output::Output::S3(s3) => storage::s3(s3),
        segmented_file_output::Output::Gcp(gcp) => storage::gcs(gcp),
        segmented_file_output::Output::Azure(azure) => storage::azure(azure),
        segmented_file_output::Output::AliOss(oss) => storage::ali_oss(oss),
    });
    let storage = storage.or(own_storage);
    let duration = (segment_duration > 0).then(|| Duration::from_secs(segment_duration.into()));
    let kind = OutputKind::Segments(SegmentsRequest {
        prefix: filename_prefix,
        playlist: playlist_name,
        live_playlist: live_playlist_name,
        duration,
        suffix,
    });
    let manifest = ManifestPolicy::from_flag(disable_manifest);
    Ok(OutputRequest { field, storage, manifest, kind })
}

pub(super) fn stream(field: String, output: proto::StreamOutput) -> Result<OutputRequest, PlanError> {
    let proto::StreamOutput { protocol, urls } = output;
    let protocol = match known(protocol, "stream protocol")? {
        proto::StreamProtocol::DefaultProtocol => None,
        proto::StreamProtocol::Rtmp => Some(StreamProtocol::Rtmp),
        proto::StreamProtocol::Srt => Some(StreamProtocol::Srt),
        proto::StreamProtocol::Websocket => Some(StreamProtocol::WebSocket),
    };
    Ok(stream_to(field, protocol, urls))
}

/// A stream to these addresses.
pub(super) fn stream_to(field: String, protocol: Option<StreamProtocol>, urls: Vec<String>) -> OutputRequest {
    let urls = urls.into_iter().map(Secret::new).collect();
    let kind = OutputKind::Stream(StreamRequest { protocol, urls });
    OutputRequest { field, storage: None, manifest: ManifestPolicy::OnlyWithBackup, kind }
}

/// `storage`: as for [`segments`].
pub(super) fn images(
    field: String,
    output: proto::ImageOutput,
    storage: Option<Backend>,
) -> Result<OutputRequest, PlanError> {
    let proto::ImageOutput {
        capture_interval,
        width,
        height,
        filename_prefix,
        filename_suffix,
        image_codec,
        disable_manifest,
        output: own_storage,
    } = output;
    match proto::ImageCodec::try_from(image_codec) {
        Ok(proto::ImageCodec::IcDefault | proto::ImageCodec::IcJpeg) => {}
        Err(_) => {
            let help =
                format!("{image_codec} is not one of the values it can have; leave it out, or give IC_JPEG");
            return Err(PlanError::NoCodec { field: format!("{field}.image_codec"), help });
        }
    }
    // As LiveKit calls it, with the output behind it.
    let suffix = match known(filename_suffix, &format!("filename_suffix ({field})"))? {
        proto::ImageFileSuffix::ImageSuffixIndex => ImageSuffix::Index,
        proto::ImageFileSuffix::ImageSuffixTimestamp => ImageSuffix::Timestamp,
        proto::ImageFileSuffix::ImageSuffixNoneOverwrite => ImageSuffix::NoneOverwrite,
    };
    let own_storage = own_storage.map(|storage| match storage {
        image_output::Output::S3(s3) => storage::s3(s3),
        image_output::Output::Gcp(gcp) => storage::gcs(gcp),
        image_output::Output::Azure(azure) => storage::azure(azure),
        image_output::Output::AliOss(oss) => storage::ali_oss(oss),
    });
    let storage = storage.or(own_storage);
    let kind = OutputKind::Images(ImagesRequest {
        prefix: filename_prefix,
        interval: (capture_interval > 0).then(|| Duration::from_secs(capture_interval.into())),
        width: said(width, &format!("{field}.width"))?,
        height: said(height, &format!("{field}.height"))?,
        suffix,
    });
    let manifest = ManifestPolicy::from_flag(disable_manifest);
    Ok(OutputRequest { field, storage, manifest, kind })
}

/// # Errors
/// An address that nothing can be sent to.
pub(super) fn webhooks(webhooks: Vec<proto::WebhookConfig>) -> Result<Vec<WebhookRequest>, PlanError> {
    let checked = |(at, webhook): (usize, proto::WebhookConfig)| {
        let proto::WebhookConfig { url, signing_key, filter_params } = webhook;
        let field = || format!("webhooks[{at}].url");
        let address = url::Url::parse(&url).map_err(|error| {
            PlanError::invalid(field(), format!("{error}; give an http:// or https:// address"))
        })?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(PlanError::invalid(field(), "give an http:// or https:// address"));
        }
        let proto::FilterParams { include_events, exclude_events } = filter_params.unwrap_or_default();
        Ok(WebhookRequest { url: Secret::new(address), signing_key, include_events, exclude_events })
    };
    webhooks.into_iter().enumerate().map(checked).collect()
}
