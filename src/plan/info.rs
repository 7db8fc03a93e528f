//! The request as an `EgressInfo` shows it: in LiveKit's form, without its secrets (docs/reference/media.md, docs/reference/egress.md).

mod as_v1;

use livekit_protocol as proto;
use proto::egress_info::Request;
use proto::{
    direct_file_output, encoded_file_output, image_output, output, room_composite_egress_request,
    segmented_file_output, start_egress_request, storage_config, track_composite_egress_request,
    track_egress_request, web_egress_request,
};

use super::codec::{AudioCodec, Container};
use super::encoding::{H264Profile, PRESETS, Preset};
use super::output::{ImageSuffix, ManifestPolicy, SegmentSuffix};
use super::redact;
use super::request::{
    EgressRequest, EncodingRequest, Media, OutputKind, OutputRequest, RequestOrigin, RoomRequest,
    SourceRequest, WebRequest,
};
use super::stream_url::StreamProtocol;

/// What `EgressInfo.request` holds: the wire request with its secrets blotted out; for a request of the command line, the
/// request that says the same: in v2 where that has words for it.
#[must_use]
pub fn redacted_request(request: &EgressRequest) -> Request {
    redacted(match (&request.origin, &request.source) {
        (RequestOrigin::Wire(wire), _) => wire.expose().as_ref().clone(),
        (RequestOrigin::CommandLine, SourceRequest::Web(web)) => {
            Request::Egress(as_v2(request, String::new(), web_as_v2(web)))
        }
        (RequestOrigin::CommandLine, SourceRequest::Room(room)) => {
            Request::Egress(as_v2(request, room.room.name.clone(), room_as_v2(room)))
        }
        (RequestOrigin::CommandLine, SourceRequest::Track(track)) => {
            Request::Track(as_v1::track(request, track))
        }
        (RequestOrigin::CommandLine, SourceRequest::Media(media)) => as_v1::media(request, media),
    })
}

/// What people and receivers see of an egress: without the values of what is named as a secret in its webhooks' addresses. Whoever
/// sends those needs them whole, also when the egress ends under another service than it began; so they are kept.
#[must_use]
pub fn shown(mut info: proto::EgressInfo) -> proto::EgressInfo {
    for webhook in webhooks_of(&mut info) {
        webhook.url = redact::page_secrets(&webhook.url);
    }
    info
}

fn webhooks_of(info: &mut proto::EgressInfo) -> &mut [proto::WebhookConfig] {
    match &mut info.request {
        None => &mut [],
        Some(Request::Egress(request)) => &mut request.webhooks,
        Some(Request::RoomComposite(request)) => &mut request.webhooks,
        Some(Request::Web(request)) => &mut request.webhooks,
        Some(Request::Participant(request)) => &mut request.webhooks,
        Some(Request::TrackComposite(request)) => &mut request.webhooks,
        Some(Request::Track(request)) => &mut request.webhooks,
        Some(Request::Replay(request)) => &mut request.webhooks,
    }
}

fn redacted(request: Request) -> Request {
    match request {
        Request::Web(web) => Request::Web(redacted_web(web)),
        Request::RoomComposite(room) => Request::RoomComposite(redacted_room_composite(room)),
        Request::Egress(egress) => Request::Egress(redacted_v2(egress)),
        Request::Track(track) => Request::Track(redacted_track(track)),
        Request::Participant(one) => Request::Participant(redacted_participant(one)),
        Request::TrackComposite(tracks) => Request::TrackComposite(redacted_track_composite(tracks)),
        // It never becomes a request of ours.
        Request::Replay(_) => Request::Replay(proto::ExportReplayRequest::default()),
    }
}

fn redacted_track(mut request: proto::TrackEgressRequest) -> proto::TrackEgressRequest {
    redact_webhooks(&mut request.webhooks);
    match &mut request.output {
        Some(track_egress_request::Output::File(file)) => match file.output.as_mut() {
            Some(direct_file_output::Output::S3(s3)) => redact_s3(s3),
            Some(direct_file_output::Output::Gcp(gcp)) => redact_gcp(gcp),
            Some(direct_file_output::Output::Azure(azure)) => redact_azure(azure),
            Some(direct_file_output::Output::AliOss(ali)) => redact_ali_oss(ali),
            None => {}
        },
        // There may be a key in it.
        Some(track_egress_request::Output::WebsocketUrl(url)) => *url = redact::stream_url(url),
        None => {}
    }
    request
}

fn redacted_room_composite(
    mut request: proto::RoomCompositeEgressRequest,
) -> proto::RoomCompositeEgressRequest {
    request.custom_base_url = redact::page_secrets(&request.custom_base_url);
    request.file_outputs.iter_mut().for_each(redact_file);
    request.stream_outputs.iter_mut().for_each(redact_stream);
    request.segment_outputs.iter_mut().for_each(redact_segments);
    request.image_outputs.iter_mut().for_each(redact_images);
    redact_webhooks(&mut request.webhooks);
    #[expect(deprecated, reason = "old clients still send it")]
    match &mut request.output {
        Some(room_composite_egress_request::Output::File(file)) => redact_file(file),
        Some(room_composite_egress_request::Output::Stream(stream)) => redact_stream(stream),
        Some(room_composite_egress_request::Output::Segments(segments)) => redact_segments(segments),
        None => {}
    }
    request
}

fn redacted_participant(mut request: proto::ParticipantEgressRequest) -> proto::ParticipantEgressRequest {
    request.file_outputs.iter_mut().for_each(redact_file);
    request.stream_outputs.iter_mut().for_each(redact_stream);
    request.segment_outputs.iter_mut().for_each(redact_segments);
    request.image_outputs.iter_mut().for_each(redact_images);
    redact_webhooks(&mut request.webhooks);
    request
}

fn redacted_track_composite(
    mut request: proto::TrackCompositeEgressRequest,
) -> proto::TrackCompositeEgressRequest {
    request.file_outputs.iter_mut().for_each(redact_file);
    request.stream_outputs.iter_mut().for_each(redact_stream);
    request.segment_outputs.iter_mut().for_each(redact_segments);
    request.image_outputs.iter_mut().for_each(redact_images);
    redact_webhooks(&mut request.webhooks);
    #[expect(deprecated, reason = "old clients still send it")]
    match &mut request.output {
        Some(track_composite_egress_request::Output::File(file)) => redact_file(file),
        Some(track_composite_egress_request::Output::Stream(stream)) => redact_stream(stream),
        Some(track_composite_egress_request::Output::Segments(segments)) => redact_segments(segments),
        None => {}
    }
    request
}

fn redacted_web(mut request: proto::WebEgressRequest) -> proto::WebEgressRequest {
    request.url = redact::page_secrets(&request.url);
    request.file_outputs.iter_mut().for_each(redact_file);
    request.stream_outputs.iter_mut().for_each(redact_stream);
    request.segment_outputs.iter_mut().for_each(redact_segments);
    request.image_outputs.iter_mut().for_each(redact_images);
    redact_webhooks(&mut request.webhooks);
    #[expect(deprecated, reason = "old clients still send it")]
    match &mut request.output {
        Some(web_egress_request::Output::File(file)) => redact_file(file),
        Some(web_egress_request::Output::Stream(stream)) => redact_stream(stream),
        Some(web_egress_request::Output::Segments(segments)) => redact_segments(segments),
        None => {}
    }
    request
}

fn redacted_v2(mut request: proto::StartEgressRequest) -> proto::StartEgressRequest {
    match &mut request.source {
        Some(start_egress_request::Source::Web(web)) => web.url = redact::page_secrets(&web.url),
        Some(start_egress_request::Source::Template(template)) => {
            template.custom_base_url = redact::page_secrets(&template.custom_base_url);
        }
        Some(start_egress_request::Source::Media(_)) | None => {}
    }
    redact_storage(request.storage.as_mut());
    redact_webhooks(&mut request.webhooks);
    for output in &mut request.outputs {
        redact_storage(output.storage.as_mut());
        match &mut output.config {
            Some(output::Config::Stream(stream)) => redact_stream(stream),
            Some(output::Config::Segments(segments)) => redact_segments(segments),
            Some(output::Config::Images(images)) => redact_images(images),
            // A v2 file has its storage beside it.
            Some(output::Config::File(_)) | None => {}
        }
    }
    request
}

/// A user and a password in the address are never sent. All else stays: the receivers of an egress are known by its request,
/// also when it ends under another service than it began. [`shown`] leaves out the rest.
fn redact_webhooks(webhooks: &mut [proto::WebhookConfig]) {
    for webhook in webhooks {
        webhook.url = redact::user_info(&webhook.url);
    }
}

fn redact_stream(stream: &mut proto::StreamOutput) {
    for url in &mut stream.urls {
        *url = redact::stream_url(url);
    }
}

fn redact_file(file: &mut proto::EncodedFileOutput) {
    match &mut file.output {
        Some(encoded_file_output::Output::S3(s3)) => redact_s3(s3),
        Some(encoded_file_output::Output::Gcp(gcp)) => redact_gcp(gcp),
        Some(encoded_file_output::Output::Azure(azure)) => redact_azure(azure),
        Some(encoded_file_output::Output::AliOss(ali)) => redact_ali_oss(ali),
        None => {}
    }
}

fn redact_segments(segments: &mut proto::SegmentedFileOutput) {
    match &mut segments.output {
        Some(segmented_file_output::Output::S3(s3)) => redact_s3(s3),
        Some(segmented_file_output::Output::Gcp(gcp)) => redact_gcp(gcp),
        Some(segmented_file_output::Output::Azure(azure)) => redact_azure(azure),
        Some(segmented_file_output::Output::AliOss(ali)) => redact_ali_oss(ali),
        None => {}
    }
}

fn redact_images(images: &mut proto::ImageOutput) {
    match &mut images.output {
        Some(image_output::Output::S3(s3)) => redact_s3(s3),
        Some(image_output::Output::Gcp(gcp)) => redact_gcp(gcp),
        Some(image_output::Output::Azure(azure)) => redact_azure(azure),
        Some(image_output::Output::AliOss(ali)) => redact_ali_oss(ali),
        None => {}
    }
}

fn redact_storage(storage: Option<&mut proto::StorageConfig>) {
    match storage.and_then(|storage| storage.provider.as_mut()) {
        Some(storage_config::Provider::S3(s3)) => redact_s3(s3),
        Some(storage_config::Provider::Gcp(gcp)) => redact_gcp(gcp),
        Some(storage_config::Provider::Azure(azure)) => redact_azure(azure),
        Some(storage_config::Provider::AliOss(ali)) => redact_ali_oss(ali),
        None => {}
    }
}

fn redact_s3(s3: &mut proto::S3Upload) {
    blot(&mut s3.access_key, "{access_key}");
    blot(&mut s3.secret, "{secret}");
    blot(&mut s3.session_token, "{session_token}");
    blot(&mut s3.assume_role_external_id, "{external_id}");
    redact_proxy(s3.proxy.as_mut());
}

fn redact_gcp(gcp: &mut proto::GcpUpload) {
    blot(&mut gcp.credentials, "{credentials}");
    redact_proxy(gcp.proxy.as_mut());
}

fn redact_azure(azure: &mut proto::AzureBlobUpload) {
    blot(&mut azure.account_name, "{account_name}");
    blot(&mut azure.account_key, "{account_key}");
}

fn redact_ali_oss(ali: &mut proto::AliOssUpload) {
    blot(&mut ali.access_key, "{access_key}");
    blot(&mut ali.secret, "{secret}");
}

/// LiveKit shows a proxy's password; it is a secret all the same.
fn redact_proxy(proxy: Option<&mut proto::ProxyConfig>) {
    if let Some(proxy) = proxy {
        proxy.url = redact::user_info(&proxy.url);
        blot(&mut proxy.password, "{password}");
    }
}

/// What was empty stays empty.
fn blot(secret: &mut String, by: &str) {
    if !secret.is_empty() {
        by.clone_into(secret);
    }
}

fn as_v2(
    request: &EgressRequest,
    room_name: String,
    source: start_egress_request::Source,
) -> proto::StartEgressRequest {
    proto::StartEgressRequest {
        room_name,
        outputs: request.outputs.iter().map(output_as_v2).collect(),
        storage: None,
        webhooks: Vec::new(),
        source: Some(source),
        encoding: encoding_as_v2(&request.encoding),
    }
}

fn web_as_v2(web: &WebRequest) -> start_egress_request::Source {
    start_egress_request::Source::Web(proto::WebSource {
        url: web.url.clone(),
        audio_only: web.media == Media::AudioOnly,
        video_only: web.media == Media::VideoOnly,
        await_start_signal: web.await_start_signal,
    })
}

fn room_as_v2(room: &RoomRequest) -> start_egress_request::Source {
    start_egress_request::Source::Template(proto::TemplateSource {
        layout: room.layout.clone(),
        audio_only: room.media == Media::AudioOnly,
        video_only: room.media == Media::VideoOnly,
        custom_base_url: room.custom_base_url.clone(),
    })
}

/// The wire knows a preset or options, not both: options come with the preset's numbers in them.
fn encoding_as_v2(encoding: &EncodingRequest) -> Option<start_egress_request::Encoding> {
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

fn output_as_v2(output: &OutputRequest) -> proto::Output {
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
