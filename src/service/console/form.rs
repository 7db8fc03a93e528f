//! The form that starts a recording → LiveKit's request for it.

use livekit_protocol as proto;
use serde::Deserialize;

use crate::protocol::StartEgressRequest;
use crate::protocol::start_egress_request::Request;
use crate::secret::Secret;
use crate::service::api::new_egress_id;
use crate::service::error::ServiceError;

/// The submitted form. Empty fields are unset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    source: Source,
    #[serde(default)]
    media: Media,
    /// `H264_720P_30` and so on; empty: LiveKit's own default, which is that.
    #[serde(default)]
    preset: String,
    #[serde(default)]
    outputs: Outputs,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    Web {
        /// It may have a password in it.
        url: Secret<String>,
        /// It says itself when it is ready.
        #[serde(default)]
        await_start_signal: bool,
    },
    Room {
        room: String,
        #[serde(default)]
        layout: String,
    },
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Media {
    #[default]
    Both,
    Audio,
    Video,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Outputs {
    /// A file's name.
    file: String,
    /// Prefix of the segment names.
    segments: String,
    /// With their keys.
    streams: Secret<Vec<String>>,
    /// Addresses may be added while it runs.
    streams_later: bool,
}

impl Form {
    /// Builds the request with a new id. The planner finds invalid values.
    ///
    /// # Errors
    ///
    /// `invalid_argument`, naming the field.
    pub(super) fn request(self) -> Result<StartEgressRequest, ServiceError> {
        let Self { source, media, preset, outputs } = self;
        let preset = match preset.as_str() {
            "" => proto::EncodingOptionsPreset::default(),
            name => proto::EncodingOptionsPreset::from_str_name(name)
                .ok_or_else(|| ServiceError::invalid("preset: unknown name"))?,
        };
        let (audio_only, video_only) = (media == Media::Audio, media == Media::Video);
        let preset = preset as i32;
        let file_outputs = outputs.files();
        let segment_outputs = outputs.segments();
        let stream_outputs = outputs.streams();
        if file_outputs.is_empty() && segment_outputs.is_empty() && stream_outputs.is_empty() {
            return Err(ServiceError::invalid("outputs: give a file, segments or a stream"));
        }
        let request = match source {
            Source::Web { url, await_start_signal } => Request::Web(proto::WebEgressRequest {
                url: url.expose().clone(),
                audio_only,
                video_only,
                await_start_signal,
                file_outputs,
                segment_outputs,
                stream_outputs,
                options: Some(proto::web_egress_request::Options::Preset(preset)),
                ..proto::WebEgressRequest::default()
            }),
            Source::Room { room, layout } => {
                if room.trim().is_empty() {
                    return Err(ServiceError::invalid("room: give the room's name"));
                }
                Request::RoomComposite(proto::RoomCompositeEgressRequest {
                    room_name: room,
                    layout,
                    audio_only,
                    video_only,
                    file_outputs,
                    segment_outputs,
                    stream_outputs,
                    options: Some(proto::room_composite_egress_request::Options::Preset(preset)),
                    ..proto::RoomCompositeEgressRequest::default()
                })
            }
        };
        let egress_id = new_egress_id();
        Ok(StartEgressRequest { egress_id, request: Some(request), ..StartEgressRequest::default() })
    }
}

impl Outputs {
    fn files(&self) -> Vec<proto::EncodedFileOutput> {
        let file = |name: &str| proto::EncodedFileOutput { filepath: name.to_owned(), ..Default::default() };
        said(&self.file).map(file).into_iter().collect()
    }

    fn segments(&self) -> Vec<proto::SegmentedFileOutput> {
        let segments = |prefix: &str| proto::SegmentedFileOutput {
            filename_prefix: prefix.to_owned(),
            ..Default::default()
        };
        said(&self.segments).map(segments).into_iter().collect()
    }

    /// One output for each protocol, which is what an address that comes later needs.
    fn streams(&self) -> Vec<proto::StreamOutput> {
        let urls = self.streams.expose().iter().filter_map(|url| said(url)).map(str::to_owned);
        let (srt, rtmp): (Vec<_>, Vec<_>) =
            urls.partition(|url| url.to_ascii_lowercase().starts_with("srt:"));
        let output = |protocol: proto::StreamProtocol, urls: Vec<String>| proto::StreamOutput {
            protocol: protocol.into(),
            urls,
        };
        let mut outputs = Vec::new();
        if !rtmp.is_empty() || (self.streams_later && srt.is_empty()) {
            outputs.push(output(proto::StreamProtocol::Rtmp, rtmp));
        }
        if !srt.is_empty() {
            outputs.push(output(proto::StreamProtocol::Srt, srt));
        }
        outputs
    }
}

/// The text of a field; `None` if it is empty.
fn said(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
