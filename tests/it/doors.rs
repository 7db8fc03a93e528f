//! The two front doors side by side: whichever an application comes through, LiveKit's clients get the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::livekit::{Client, Keys, LiveKitServer, Redis, Refusal, ask};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::service::Serve;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where an application asks.
struct Door<'a> {
    name: &'static str,
    url: String,
    keys: Keys,
    weir: &'a mut Serve,
}

impl Door<'_> {
    fn ask(&self, client: Client, method: &str, request: &Value) -> Result<Value, Refusal> {
        ask(client, &self.url, &self.keys, method, request)
    }

    fn until(&mut self, client: Client, id: &str, status: &str) -> Value {
        let (url, keys) = (self.url.clone(), self.keys.clone());
        self.weir.until(&format!("{id} is {status}"), PATIENCE, |_| {
            let listed = ask(client, &url, &keys, "ListEgress", &json!({ "egressId": id })).unwrap();
            let info = listed["items"][0].clone();
            // A stream says when it began only when its server has taken it.
            let streams = info["streamResults"].as_array().cloned().unwrap_or_default();
            let all_began = streams.iter().all(|stream| stream.get("startedAt").is_some());
            (info["status"] == status && all_began).then_some(info)
        })
    }
}

/// The same life through a door: what each call answered, by its name.
fn live(
    door: &mut Door<'_>,
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
    let active = door.until(client, &id, "EGRESS_ACTIVE");
    let add = json!({ "egressId": id, "addOutputUrls": [rtmp.url(&format!("{name}-more"))] });
    let updated = door.ask(client, "UpdateStream", &add).unwrap();
    door.until(client, &id, "EGRESS_ACTIVE");
    let stopped = door.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap();
    let ended = door.until(client, &id, "EGRESS_COMPLETE");
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

/// What of an answer must be the same: which fields there are, and what is in those that say neither when, nor which, nor
/// how much.
fn shape(value: &Value) -> Value {
    const VARIES: [&str; 14] = [
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
        "lastRetryAt",
        "details",
    ];
    match value {
        Value::Object(fields) => {
            let shapes = fields.iter().map(|(name, value)| {
                let varies = VARIES.contains(&name.as_str());
                (name.clone(), if varies { json!("…") } else { shape(value) })
            });
            Value::Object(shapes.collect())
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        other => other.clone(),
    }
}

#[test]
fn both_doors_answer_livekits_clients_alike() {
    let (redis, pages, rtmp) = (Redis::start(), PageServer::start(), RtmpServer::start());
    let livekit = LiveKitServer::start(&redis);
    let (fleet, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut told: BTreeMap<(&str, &str), Vec<(&str, Value)>> = BTreeMap::new();
    for door in ["fleet", "alone"] {
        let (dir, configuration) =
            if door == "fleet" { (fleet.path(), configuration.as_str()) } else { (alone.path(), "") };
        let mut weir = Serve::start(dir, configuration);
        let (url, keys) = match door {
            "fleet" => (livekit.url(), Keys::default()),
            _ => (weir.callers().url().to_owned(), weir.callers().keys()),
        };
        for (client, name) in [(Client::Python, "Python"), (Client::Node, "Node"), (Client::Rust, "Rust")] {
            let file = dir.join(format!("{name}.mp4"));
            let mut door = Door { name: door, url: url.clone(), keys: keys.clone(), weir: &mut weir };
            let page = pages.url("/pages/clock.html");
            told.insert((door.name, name), live(&mut door, client, &page, &file, &rtmp));
        }
        assert_eq!(weir.end().status.code(), Some(0));
    }
    for client in ["Python", "Node", "Rust"] {
        for ((call, fleet), (_, alone)) in told[&("fleet", client)].iter().zip(&told[&("alone", client)]) {
            assert_eq!(shape(fleet), shape(alone), "{client}: {call}\n{fleet:#}\n{alone:#}");
        }
    }
}
