//! Removes the secrets of a wire request.

use livekit_protocol as proto;
use proto::egress_info::Request;
use proto::{
    direct_file_output, encoded_file_output, image_output, output, room_composite_egress_request,
    segmented_file_output, start_egress_request, storage_config, track_composite_egress_request,
    track_egress_request, web_egress_request,
};

use super::super::redact;

/// Returns the webhooks of a request of any kind.
pub(super) fn webhooks_of(request: &mut Request) -> &mut [proto::WebhookConfig] {
    match request {
        Request::Egress(request) => &mut request.webhooks,
        Request::RoomComposite(request) => &mut request.webhooks,
        Request::Web(request) => &mut request.webhooks,
        Request::Participant(request) => &mut request.webhooks,
        Request::TrackComposite(request) => &mut request.webhooks,
        Request::Track(request) => &mut request.webhooks,
        Request::Replay(request) => &mut request.webhooks,
    }
}

/// Returns the request without its secrets.
pub(super) fn redacted(mut request: Request) -> Request {
    // User and password of an address are never sent. All else stays: the receivers of an egress
    // are those of its request, also when it ends under another service. [`shown`](super::shown)
    // hides the rest.
    for webhook in webhooks_of(&mut request) {
        webhook.url = redact::user_info(&webhook.url);
    }
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
    request
}

fn redacted_track_composite(
    mut request: proto::TrackCompositeEgressRequest,
) -> proto::TrackCompositeEgressRequest {
    request.file_outputs.iter_mut().for_each(redact_file);
    request.stream_outputs.iter_mut().for_each(redact_stream);
    request.segment_outputs.iter_mut().for_each(redact_segments);
    request.image_outputs.iter_mut().for_each(redact_images);
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

/// An empty value stays empty.
fn blot(secret: &mut String, by: &str) {
    if !secret.is_empty() {
        by.clone_into(secret);
    }
}
