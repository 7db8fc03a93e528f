//! The API and livekit-server side by side: LiveKit's clients get the same from both.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::livekit::{Client, Keys, LiveKitServer, Redis, Refusal, ask, until_egress};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::service::Serve;
use crate::support::slots;

/// An address for applications.
struct Listener<'a> {
    name: &'static str,
    url: String,
    keys: Keys,
    weir: &'a mut Serve,
}

impl Listener<'_> {
    fn ask(&self, client: Client, method: &str, request: &Value) -> Result<Value, Refusal> {
        ask(client, &self.url, &self.keys, method, request)
    }

    fn until(&mut self, client: Client, id: &str, status: &str, streams: usize) -> Value {
        until_egress(self.weir, (&self.url, &self.keys), client, id, |info| {
            // A stream has a start time only when its server has accepted it.
            let began = info["stream_results"].as_array().cloned().unwrap_or_default();
            let all_began = began.len() == streams && began.iter().all(|stream| stream["started_at"] != "0");
            info["status"] == status && all_began
        })
    }
}

/// The same egress life through one listener: the answer of each call, by name.
fn live(
    door: &mut Listener<'_>,
    client: Client,
    page: &str,
    file: &Path,
    rtmp: &RtmpServer,
) -> Vec<(&'static str, Value)> {
    let name = format!("{}-{client:?}", door.name);
    let wanted = json!({
        "url": page,
        "advanced": { "width": 320, "height": 180, "framerate": 15, "videoBitrate": 400 },
        "fileOutputs": [{ "filepath": file.display().to_string() }],
        "streamOutputs": [{ "protocol": "RTMP", "urls": [rtmp.url(&name)] }],
    });
    let started = door.ask(client, "StartWebEgress", &wanted).unwrap();
    let id = started["egressId"].as_str().unwrap().to_owned();
    let active = door.until(client, &id, "EGRESS_ACTIVE", 1);
    let add = json!({ "egressId": id, "addOutputUrls": [rtmp.url(&format!("{name}-more"))] });
    let updated = match door.ask(client, "UpdateStream", &add) {
        // livekit-server repeats a request after 3 s without an answer, and then the egress exists
        // already.
        Err(refused) if refused.message.contains("already") => door.until(client, &id, "EGRESS_ACTIVE", 2),
        answer => answer.unwrap(),
    };
    door.until(client, &id, "EGRESS_ACTIVE", 2);
    let stopped = door.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap();
    let ended = door.until(client, &id, "EGRESS_COMPLETE", 2);
    let refused = |error: Refusal| json!([error.code, error.status]);
    let late = door.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap_err();
    let wrong = door.ask(
        client,
        "StartWebEgress",
        &json!({ "url": "file:///etc/passwd", "fileOutputs": [{}],
        "advanced": {} }),
    );
    vec![
        ("started", started),
        ("active", active),
        ("updated", updated),
        ("stopped", stopped),
        ("ended", ended),
        ("stopped again", refused(late)),
        ("refused", refused(wrong.unwrap_err())),
    ]
}

/// The parts of an answer that must be equal: its fields, and the values of those that are not
/// times, ids or amounts. Zero values are left out, as chance decides whether changing values are
/// zero.
fn shape(call: &str, value: &Value) -> Value {
    // These values change while the egress runs, and while a server is slow to accept a stream.
    const CHANGES: [&str; 6] = ["startedAt", "endedAt", "updatedAt", "duration", "size", "details"];
    const ALWAYS_CHANGES: [&str; 2] = ["lastRetryAt", "retries"];
    const VARIES: [&str; 13] = [
        "egressId",
        "startedAt",
        "endedAt",
        "updatedAt",
        "duration",
        "size",
        "url",
        "urls",
        "filename",
        "filepath",
        "location",
        "manifestLocation",
        "details",
    ];
    match value {
        Value::Object(fields) => {
            let changes = |name: &str| {
                let is_over = call == "ended";
                // A busy recorder reports its end later.
                let is_early = call == "stopped" && name == "status";
                (!is_over && CHANGES.contains(&name)) || ALWAYS_CHANGES.contains(&name) || is_early
            };
            let shapes = fields.iter().filter(|(name, _)| !changes(name)).map(|(name, value)| {
                let varies = VARIES.contains(&name.as_str());
                (name.clone(), if varies { json!("…") } else { shape(call, value) })
            });
            Value::Object(shapes.collect())
        }
        Value::Array(items) => items.iter().map(|item| shape(call, item)).collect(),
        other => other.clone(),
    }
}

/// Goes through both listeners, one after the other, and compares the answers.
#[track_caller]
fn check_listeners(client: Client) {
    let (redis, pages, rtmp) = (Redis::start(), PageServer::start(), RtmpServer::start());
    let livekit = LiveKitServer::start(&redis);
    let page = pages.url("/pages/clock.html");
    let fleet = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let [fleet, alone] = [("fleet", fleet.as_str()), ("alone", "")].map(|(name, configuration)| {
        let dir = tempfile::tempdir().unwrap();
        let mut weir = Serve::start(dir.path(), configuration);
        let (url, keys) = match name {
            "fleet" => (livekit.url(), livekit.keys().clone()),
            _ => (weir.callers().url().to_owned(), weir.callers().keys()),
        };
        let mut door = Listener { name, url, keys, weir: &mut weir };
        let told = live(&mut door, client, &page, &dir.path().join("clock.mp4"), &rtmp);
        assert_eq!(weir.end().status.code(), Some(0));
        told
    });
    for ((call, fleet), (_, alone)) in fleet.iter().zip(&alone) {
        assert_eq!(shape(call, fleet), shape(call, alone), "{client:?}: {call}\n{fleet:#}\n{alone:#}");
    }
}

#[test]
fn api_and_livekit_server_answer_the_python_client_alike() {
    let _slot = slots::encoder();
    check_listeners(Client::Python);
}

#[test]
fn api_and_livekit_server_answer_the_node_client_alike() {
    let _slot = slots::encoder();
    check_listeners(Client::Node);
}

#[test]
fn api_and_livekit_server_answer_the_rust_client_alike() {
    let _slot = slots::encoder();
    check_listeners(Client::Rust);
}
