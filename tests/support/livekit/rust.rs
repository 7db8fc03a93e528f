//! LiveKit's client for Rust, a crate: called in this process.

use livekit::StartEgressRequest;
use livekit::web_egress_request::Options;
use livekit_api::services::egress::{
    EgressClient, EgressListFilter, EgressListOptions, EgressOutput, WebOptions, encoding,
};
use livekit_api::services::{ServerError, ServiceError};
use livekit_protocol as livekit;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Keys, PATIENCE, Refusal};

/// Calls one method: see [`super::ask`].
pub(super) fn ask(url: &str, keys: &Keys, method: &str, request: &Value) -> Result<Value, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = EgressClient::with_api_key(url, &keys.key, &keys.secret).with_request_timeout(PATIENCE);
    runtime.block_on(call(&client, method, request)).map_err(refusal)
}

async fn call(client: &EgressClient, method: &str, request: &Value) -> Result<Value, ServiceError> {
    let info = match method {
        "StartWebEgress" => {
            let request: livekit::WebEgressRequest = read(request);
            let (url, outputs, options) = web(request);
            client.start_web_egress(&url, outputs, options).await?
        }
        "StartEgress" => client.start_egress(read::<StartEgressRequest>(request)).await?,
        "ListEgress" => {
            let livekit::ListEgressRequest { room_name, egress_id, active, page_token } = read(request);
            let filter = match (room_name.as_str(), egress_id.as_str()) {
                ("", "") => EgressListFilter::All,
                ("", _) => EgressListFilter::Egress(egress_id),
                _ => EgressListFilter::Room(room_name),
            };
            let items = client.list_egress(EgressListOptions { filter, active, page_token }).await?;
            return Ok(json!({ "items": items }));
        }
        "UpdateStream" => {
            let livekit::UpdateStreamRequest { egress_id, add_output_urls, remove_output_urls } =
                read(request);
            client.update_stream(&egress_id, add_output_urls, remove_output_urls).await?
        }
        "UpdateLayout" => {
            let livekit::UpdateLayoutRequest { egress_id, layout } = read(request);
            client.update_layout(&egress_id, &layout).await?
        }
        "StopEgress" => client.stop_egress(&read::<livekit::StopEgressRequest>(request).egress_id).await?,
        other => panic!("{other} is not called by any test"),
    };
    Ok(serde_json::to_value(info).unwrap())
}

/// Converts a request to the types of the crate, which has no presets.
fn web(request: livekit::WebEgressRequest) -> (String, Vec<EgressOutput>, WebOptions) {
    let files = request.file_outputs.into_iter().map(EgressOutput::File);
    let streams = request.stream_outputs.into_iter().map(EgressOutput::Stream);
    let segments = request.segment_outputs.into_iter().map(EgressOutput::Segments);
    let images = request.image_outputs.into_iter().map(EgressOutput::Image);
    let outputs = files.chain(streams).chain(segments).chain(images).collect();
    let encoding = match request.options {
        Some(Options::Advanced(advanced)) => encoding::EncodingOptions {
            width: advanced.width,
            height: advanced.height,
            depth: advanced.depth,
            framerate: advanced.framerate,
            audio_codec: advanced.audio_codec.try_into().unwrap(),
            audio_bitrate: advanced.audio_bitrate,
            audio_frequency: advanced.audio_frequency,
            video_codec: advanced.video_codec.try_into().unwrap(),
            video_bitrate: advanced.video_bitrate,
            keyframe_interval: advanced.key_frame_interval,
            ..Default::default()
        },
        Some(Options::Preset(_)) => panic!("the crate sends no preset; say `advanced`"),
        None => encoding::EncodingOptions::default(),
    };
    let options = WebOptions {
        encoding,
        audio_only: request.audio_only,
        video_only: request.video_only,
        await_start_signal: request.await_start_signal,
    };
    (request.url, outputs, options)
}

fn read<T: DeserializeOwned>(request: &Value) -> T {
    serde_json::from_value(request.clone()).unwrap()
}

fn refusal(error: ServiceError) -> Refusal {
    match error {
        ServiceError::Twirp(ServerError::Twirp(error)) => {
            Refusal { code: error.code, message: error.msg, status: None }
        }
        // An answer without Twirp's body.
        ServiceError::Twirp(ServerError::Request(error)) if error.is_decode() => {
            Refusal { code: "unknown".to_owned(), message: error.to_string(), status: None }
        }
        other => panic!("it can't talk to the API: {other}"),
    }
}
