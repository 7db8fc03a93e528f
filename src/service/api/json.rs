//! Writes answers as JSON in livekit-server's form.
//!
//! Twirp servers write names of the `.proto` file (`egress_id`) and fields without a value.
//! Programs that read LiveKit's answers without an SDK look for `status`, which a starting egress
//! would otherwise lack. (Webhooks use the usual protobuf JSON.) The request inside an `EgressInfo`
//! is written without empty fields.

use livekit_protocol::{EgressInfo, ListEgressResponse};
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::plan::{bounds, info};

/// A message that calls are answered with.
pub(in crate::service) trait Answer: Message + Send + Sized + 'static {
    /// The message as callers may see it.
    fn shown(&self) -> Self;

    /// The same as JSON.
    fn json(&self) -> Value;
}

impl Answer for EgressInfo {
    fn shown(&self) -> Self {
        info::shown(self.clone())
    }

    fn json(&self) -> Value {
        let mut value = written(&self.shown());
        complete_info(&mut value);
        value
    }
}

impl Answer for ListEgressResponse {
    fn shown(&self) -> Self {
        let items = self.items.iter().map(Answer::shown).collect();
        Self { items, next_page_token: self.next_page_token.clone() }
    }

    fn json(&self) -> Value {
        let mut value = written(&self.shown());
        if let Value::Object(fields) = &mut value {
            complete(fields, &json!({ "items": [], "next_page_token": null }));
            each(fields, "items", complete_info);
        }
        value
    }
}

/// A message of LiveKit's always becomes JSON but when an enum has a number nobody knows; there is
/// then nothing to show.
fn written(message: &impl Serialize) -> Value {
    serde_json::to_value(message).map_or(Value::Object(Map::new()), snake_case)
}

/// Adds every scalar field with its default value, except for `oneof` fields.
fn complete_info(info: &mut Value) {
    let Value::Object(fields) = info else { return };
    complete(
        fields,
        &json!({
            "egress_id": "", "room_id": "", "room_name": "", "source_type": "EGRESS_SOURCE_TYPE_WEB",
            "status": "EGRESS_STARTING", "started_at": "0", "ended_at": "0", "updated_at": "0", "stream_results": [],
            "file_results": [], "segment_results": [], "image_results": [], "error": "", "error_code": 0, "details": "",
            "manifest_location": "", "backup_storage_used": false, "retry_count": 0,
        }),
    );
    let stream = json!({
        "url": "", "duration": "0", "status": "ACTIVE", "error": "", "last_retry_at": "0", "retries": 0,
    });
    let file = json!({ "filename": "", "duration": "0", "size": "0", "location": "" });
    let segments = json!({
        "playlist_name": "", "live_playlist_name": "", "duration": "0", "size": "0", "playlist_location": "",
        "live_playlist_location": "", "segment_count": "0",
    });
    let images = json!({ "filename_prefix": "", "image_count": "0" });
    complete_results(fields, "stream_results", &stream);
    complete_results(fields, "file_results", &file);
    complete_results(fields, "segment_results", &segments);
    complete_results(fields, "image_results", &images);
    // The one result of a recording with one kind of output stands here, too.
    for (name, own) in [("file", &file), ("segments", &segments)] {
        if let Some(result) = fields.get_mut(name) {
            complete_result(result, own);
        }
    }
    if let Some(Value::Object(streams)) = fields.get_mut("stream") {
        complete_results(streams, "info", &stream);
    }
}

fn complete_results(info: &mut Map<String, Value>, list: &str, own: &Value) {
    each(info, list, |result| complete_result(result, own));
}

fn complete_result(result: &mut Value, own: &Value) {
    if let Value::Object(fields) = result {
        complete(fields, &json!({ "started_at": "0", "ended_at": "0" }));
        complete(fields, own);
    }
}

fn complete(fields: &mut Map<String, Value>, values: &Value) {
    for (name, value) in values.as_object().into_iter().flatten() {
        fields.entry(name).or_insert_with(|| value.clone());
    }
}

fn each(fields: &mut Map<String, Value>, list: &str, change: impl Fn(&mut Value)) {
    if let Some(Value::Array(items)) = fields.get_mut(list) {
        items.iter_mut().for_each(change);
    }
}

/// Converts names to those of the `.proto` file. Names below `metadata` belong to the caller and
/// stay.
fn snake_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields.into_iter().map(|(name, value)| match (name.as_str(), value) {
                ("metadata", value) => (name, value),
                // The one name that is in camel case there, too.
                ("aliOSS", value) => (name, snake_case(value)),
                (_, value) => (bounds::snake_case(&name), snake_case(value)),
            });
            Value::Object(renamed.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(snake_case).collect()),
        other => other,
    }
}
