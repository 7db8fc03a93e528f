//! v1 requests → [`EgressRequest`].

use livekit_protocol as proto;
use proto::web_egress_request::{Options, Output};

use super::Limits;
use super::error::PlanError;
use super::request::{
    EgressRequest, EncodingRequest, FrameTimes, Media, RequestOrigin, SourceRequest, WebRequest,
};
use super::source::CaptureKind;
use super::wire;
use crate::secret::Secret;

/// A v1 web request. Unlike LiveKit's, it may have any number of outputs of each kind.
///
/// # Errors
/// [`PlanError`], naming the field.
pub fn web(request: proto::WebEgressRequest) -> Result<EgressRequest, PlanError> {
    let origin = RequestOrigin::V1(Secret::new(Box::new(request.clone())));
    let proto::WebEgressRequest {
        url,
        audio_only,
        video_only,
        await_start_signal,
        mut file_outputs,
        mut stream_outputs,
        mut segment_outputs,
        image_outputs,
        webhooks,
        output,
        options,
    } = request;
    // The deprecated single output counts where the list of its kind is empty.
    #[expect(deprecated, reason = "old clients still send it")]
    match output {
        Some(Output::File(file)) if file_outputs.is_empty() => file_outputs.push(file),
        Some(Output::Stream(stream)) if stream_outputs.is_empty() => stream_outputs.push(stream),
        Some(Output::Segments(segments)) if segment_outputs.is_empty() => segment_outputs.push(segments),
        Some(Output::File(_) | Output::Stream(_) | Output::Segments(_)) | None => {}
    }
    let mut outputs = Vec::new();
    for (at, file) in file_outputs.into_iter().enumerate() {
        outputs.push(wire::encoded_file(format!("file_outputs[{at}]"), file)?);
    }
    for (at, segments) in segment_outputs.into_iter().enumerate() {
        outputs.push(wire::segments(format!("segment_outputs[{at}]"), segments, None)?);
    }
    for (at, stream) in stream_outputs.into_iter().enumerate() {
        outputs.push(wire::stream(format!("stream_outputs[{at}]"), stream)?);
    }
    for (at, images) in image_outputs.into_iter().enumerate() {
        outputs.push(wire::images(format!("image_outputs[{at}]"), images, None)?);
    }
    let encoding = match options {
        None => EncodingRequest::default(),
        Some(Options::Preset(preset)) => wire::preset(preset)?,
        Some(Options::Advanced(options)) => wire::advanced(options)?,
    };
    Ok(EgressRequest {
        origin,
        source: SourceRequest::Web(WebRequest {
            url,
            media: Media::from_flags(audio_only, video_only)?,
            await_start_signal,
        }),
        encoding,
        outputs,
        webhooks: wire::webhooks(webhooks)?,
        capture: CaptureKind::Framebuffer,
        frame_times: FrameTimes::AsDrawn,
        limits: Limits::default(),
        retry_count: 0,
    })
}
