//! How much a request may ask for: entries of lists, addresses, lengths of texts. Far more than
//! anybody needs, and so little that one request can't use up a machine.

use livekit_protocol as proto;
use proto::egress_info::Request;
use serde_json::Value;

use super::error::PlanError;
use super::request::{EgressRequest, OutputKind, RequestOrigin};
use super::room::RoomTicket;

/// Entries of a request's lists, by the list's name.
const ENTRIES: [(&str, usize); 9] = [
    ("webhooks", 16),
    ("file_outputs", 16),
    ("segment_outputs", 8),
    ("image_outputs", 8),
    ("stream_outputs", 16),
    ("outputs", 32),
    ("urls", ADDRESSES),
    ("include_events", 32),
    ("exclude_events", 32),
];
/// All other lists and maps, for example the headers of an object in a storage.
const OTHER_ENTRIES: usize = 64;
/// Addresses that one request streams to, and that one update adds or removes.
const ADDRESSES: usize = 32;
/// Addresses that one recording streams to at the same time.
pub const STREAMS: usize = 64;

/// Bytes of a request's texts, by their name.
const BYTES: [(&str, usize); 5] = [
    ("credentials", 64 << 10),
    ("session_token", 16 << 10),
    ("url", 16 << 10),
    ("custom_base_url", 16 << 10),
    ("layout", 16 << 10),
];
/// All other strings: file names are limited by the file system.
const OTHER_BYTES: usize = 4096;
/// A room's token, which is a header.
const TOKEN_BYTES: usize = 16 << 10;

/// Whether a request keeps within the bounds.
///
/// # Errors
/// [`PlanError`], naming the field and its limit.
pub(super) fn check(request: &EgressRequest) -> Result<(), PlanError> {
    if let RequestOrigin::Wire(wire) = &request.origin {
        walk("", "", &message(wire.expose()))?;
    }
    entries("webhooks", "webhooks", request.webhooks.len())?;
    type Kind = fn(&OutputKind) -> bool;
    let kinds: [(&str, Kind); 3] = [
        ("file_outputs", |kind| matches!(kind, OutputKind::File(_))),
        ("segment_outputs", |kind| matches!(kind, OutputKind::Segments(_))),
        ("image_outputs", |kind| matches!(kind, OutputKind::Images(_))),
    ];
    for (list, is_one) in kinds {
        entries(list, list, request.outputs.iter().filter(|output| is_one(&output.kind)).count())?;
    }
    let addresses = request.outputs.iter().map(|output| match &output.kind {
        OutputKind::Stream(stream) => stream.urls.len(),
        OutputKind::File(_) | OutputKind::Segments(_) | OutputKind::Images(_) => 0,
    });
    entries("stream_outputs: urls", "urls", addresses.sum())?;
    request.source.room().map_or(Ok(()), ticket)
}

/// Whether an update of a recording's addresses keeps within them.
///
/// # Errors
/// [`PlanError`], naming the field and its limit.
pub fn stream_update(add: &[String], remove: &[String]) -> Result<(), PlanError> {
    for (field, urls) in [("add_output_urls", add), ("remove_output_urls", remove)] {
        entries(field, "urls", urls.len())?;
        for (at, url) in urls.iter().enumerate() {
            bytes(&format!("{field}[{at}]"), url, OTHER_BYTES)?;
        }
    }
    Ok(())
}

fn ticket(ticket: &RoomTicket) -> Result<(), PlanError> {
    let RoomTicket { name, id, token, ws_url } = ticket;
    bytes("room_name", name, OTHER_BYTES)?;
    bytes("room_id", id, OTHER_BYTES)?;
    bytes("token", token.expose(), TOKEN_BYTES)?;
    bytes("ws_url", ws_url, OTHER_BYTES)
}

/// The request as a tree of values, whose names are in camel case.
fn message(request: &Request) -> Value {
    let value = match request {
        Request::Egress(request) => serde_json::to_value(request),
        Request::RoomComposite(request) => serde_json::to_value(request),
        Request::Web(request) => serde_json::to_value(request),
        Request::Participant(request) => serde_json::to_value(request),
        Request::TrackComposite(request) => serde_json::to_value(request),
        Request::Track(request) => serde_json::to_value(request),
        Request::Replay(request) => serde_json::to_value(request),
    };
    // It fails for numbers that no enum has, which are refused where they are read.
    value.unwrap_or_default()
}

/// Looks at all of a value. `name`: the last one of its `path`.
fn walk(path: &str, name: &str, value: &Value) -> Result<(), PlanError> {
    match value {
        Value::String(text) => {
            let most = BYTES.iter().find(|(known, _)| *known == name).map_or(OTHER_BYTES, |(_, most)| *most);
            bytes(path, text, most)
        }
        Value::Array(items) => {
            entries(path, name, items.len())?;
            let mut items = items.iter().enumerate();
            items.try_for_each(|(at, item)| walk(&format!("{path}[{at}]"), name, item))
        }
        Value::Object(fields) => {
            // A message, or a map of a caller's own.
            entries(path, "", fields.len())?;
            for (name, value) in fields {
                // A key of a map is a caller's own.
                bytes(path, name, OTHER_BYTES)?;
                let name = snake_case(name);
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, &name, value)?;
            }
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn entries(field: &str, list: &str, count: usize) -> Result<(), PlanError> {
    let most = ENTRIES.iter().find(|(known, _)| *known == list).map_or(OTHER_ENTRIES, |(_, most)| *most);
    match count > most {
        true => Err(PlanError::invalid(field, format!("{count} entries are too many; give at most {most}"))),
        false => Ok(()),
    }
}

fn bytes(field: &str, text: &str, most: usize) -> Result<(), PlanError> {
    match text.len() > most {
        true => {
            let long = text.len();
            Err(PlanError::invalid(field, format!("{long} bytes are too many; give at most {most}")))
        }
        false => Ok(()),
    }
}

/// A field's name as `.proto` files have it: `file_outputs` for `fileOutputs`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::plan::defaults::Defaults;
    use crate::plan::{EgressId, RecordingPlan, from_rpc};
    use crate::protocol::StartEgressRequest;
    use crate::protocol::start_egress_request::Request as Start;

    fn web() -> proto::WebEgressRequest {
        proto::WebEgressRequest {
            url: "https://a.example".to_owned(),
            file_outputs: vec![file("a.mp4")],
            ..proto::WebEgressRequest::default()
        }
    }

    fn file(path: &str) -> proto::EncodedFileOutput {
        proto::EncodedFileOutput { filepath: path.to_owned(), ..proto::EncodedFileOutput::default() }
    }

    fn stream(urls: usize) -> proto::StreamOutput {
        let urls = (0..urls).map(|at| format!("rtmp://a.example/app/key{at}")).collect();
        proto::StreamOutput { urls, ..proto::StreamOutput::default() }
    }

    fn segments() -> proto::SegmentedFileOutput {
        proto::SegmentedFileOutput { filename_prefix: "a".to_owned(), ..Default::default() }
    }

    /// The error of a request.
    #[track_caller]
    fn refused(request: Start) -> String {
        let request = StartEgressRequest {
            egress_id: "EG_a".to_owned(),
            request: Some(request),
            ..StartEgressRequest::default()
        };
        let request = from_rpc::start_egress(request).unwrap();
        let now = "2006-01-02T15:04:05[UTC]".parse().unwrap();
        let planned = RecordingPlan::new(&request, &Defaults::default(), EgressId::new("EG_a"), &now);
        planned.unwrap_err().to_string()
    }

    #[test]
    fn lists_have_an_end() {
        let hook = proto::WebhookConfig { url: "http://a.example".to_owned(), ..Default::default() };
        let many = |count| proto::WebEgressRequest { webhooks: vec![hook.clone(); count], ..web() };
        let error = refused(Start::Web(many(20_000)));
        assert!(error.ends_with("webhooks: 20000 entries are too many; give at most 16"), "{error}");
        for (request, field) in [
            (
                proto::WebEgressRequest { file_outputs: vec![file("a.mp4"); 17], ..web() },
                "file_outputs: 17 entries",
            ),
            (
                proto::WebEgressRequest { segment_outputs: vec![segments(); 9], ..web() },
                "segment_outputs: 9 entries",
            ),
            (
                proto::WebEgressRequest { image_outputs: vec![proto::ImageOutput::default(); 9], ..web() },
                "image_outputs: 9 entries",
            ),
            (
                proto::WebEgressRequest { stream_outputs: vec![stream(0); 17], ..web() },
                "stream_outputs: 17 entries",
            ),
            (
                proto::WebEgressRequest { stream_outputs: vec![stream(33)], ..web() },
                "stream_outputs[0].urls: 33 entries",
            ),
            (
                proto::WebEgressRequest { stream_outputs: vec![stream(20), stream(20)], ..web() },
                "stream_outputs: urls: 40 entries",
            ),
        ] {
            let error = refused(Start::Web(request));
            assert!(error.contains(field) && error.contains("give at most"), "{error}");
        }
    }

    #[test]
    fn the_same_holds_for_a_v2_request_and_its_filters() {
        let output = |config| proto::Output { storage: None, config: Some(config) };
        let source = proto::start_egress_request::Source::Web(proto::WebSource {
            url: "https://a.example".to_owned(),
            ..Default::default()
        });
        let request = |outputs| proto::StartEgressRequest {
            source: Some(source.clone()),
            outputs,
            ..Default::default()
        };
        let file = proto::output::Config::File(proto::FileOutput {
            filepath: "a.mp4".to_owned(),
            ..Default::default()
        });
        let error = refused(Start::Egress(request(vec![output(file.clone()); 33])));
        assert!(error.contains("outputs: 33 entries"), "{error}");
        let error = refused(Start::Egress(request(vec![output(file); 17])));
        assert!(error.contains("file_outputs: 17 entries"), "{error}");
        let params = proto::FilterParams { include_events: vec!["x".to_owned(); 33], ..Default::default() };
        let hook = proto::WebhookConfig {
            url: "http://a.example".to_owned(),
            filter_params: Some(params),
            ..Default::default()
        };
        let error = refused(Start::Web(proto::WebEgressRequest { webhooks: vec![hook], ..web() }));
        assert!(error.contains("webhooks[0].filter_params.include_events: 33 entries"), "{error}");
    }

    #[test]
    fn texts_have_an_end_and_are_not_quoted() {
        let long = "x".repeat(5000);
        let error = refused(Start::Web(proto::WebEgressRequest { file_outputs: vec![file(&long)], ..web() }));
        assert!(error.contains("file_outputs[0].filepath: 5000 bytes are too many"), "{error}");
        assert!(error.len() < 200);
        let s3 = proto::S3Upload {
            bucket: "b".to_owned(),
            metadata: (0..65).map(|at| (at.to_string(), String::new())).collect::<HashMap<_, _>>(),
            ..Default::default()
        };
        let file = proto::EncodedFileOutput {
            output: Some(proto::encoded_file_output::Output::S3(s3)),
            ..file("a.mp4")
        };
        let error = refused(Start::Web(proto::WebEgressRequest { file_outputs: vec![file], ..web() }));
        assert!(error.contains("metadata: 65 entries"), "{error}");
        let url = format!("https://a.example/{}", "x".repeat(20_000));
        let error = refused(Start::Web(proto::WebEgressRequest { url, ..web() }));
        assert!(error.contains("url: 20018 bytes"), "{error}");
    }

    /// A message has as many fields as it has, whatever list it stands in.
    #[test]
    fn a_message_with_all_its_fields_is_no_long_list() {
        let output = proto::SegmentedFileOutput {
            protocol: proto::SegmentedFileProtocol::HlsProtocol.into(),
            filename_prefix: "a".to_owned(),
            playlist_name: "a.m3u8".to_owned(),
            live_playlist_name: "live.m3u8".to_owned(),
            segment_duration: 4,
            filename_suffix: proto::SegmentedFileSuffix::Timestamp.into(),
            disable_manifest: true,
            output: None,
        };
        let mut value = serde_json::to_value(output).unwrap();
        for extra in ["one", "two", "three"] {
            value[extra] = Value::Bool(true);
        }
        walk("segment_outputs", "segment_outputs", &Value::Array(vec![value; 8])).unwrap();
    }

    #[test]
    fn updates_have_an_end() {
        let urls = |count| vec!["rtmp://a.example/app/key".to_owned(); count];
        stream_update(&urls(32), &urls(32)).unwrap();
        assert_eq!(stream_update(&urls(33), &[]).unwrap_err().field(), "add_output_urls");
        assert_eq!(stream_update(&[], &urls(33)).unwrap_err().field(), "remove_output_urls");
        let long = vec!["x".repeat(4097)];
        assert_eq!(stream_update(&long, &[]).unwrap_err().field(), "add_output_urls[0]");
    }
}
