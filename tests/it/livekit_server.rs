//! The whole stack except for rooms: an unmodified livekit-server, Redis, Weir, and LiveKit's own
//! clients.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::livekit::{Client, Keys, LiveKitServer, Redis, until_egress};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::recorder::size_of;
use crate::support::service::{Serve, assert_is_ending, cell};
use crate::support::slots;
use crate::support::webhook_receiver::WebhookReceiver;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request for a page's egress, in both versions of the API.
fn request(method: &str, page: &str, file: &Path, stream: &str) -> Value {
    let advanced = json!({ "width": 640, "height": 360, "framerate": 15, "videoBitrate": 800 });
    let file = json!({ "filepath": file.display().to_string() });
    let stream = json!({ "protocol": "RTMP", "urls": [stream] });
    match method {
        "StartWebEgress" => {
            json!({ "url": page, "advanced": advanced, "fileOutputs": [file], "streamOutputs": [stream] })
        }
        _ => json!({
            "web": { "url": page },
            "advanced": advanced,
            "outputs": [{ "file": file }, { "stream": stream }],
        }),
    }
}

/// A fleet of one.
struct Fleet {
    weir: Serve,
    livekit: LiveKitServer,
    webhooks: WebhookReceiver,
    pages: PageServer,
    // Dropped after everything that writes to it.
    dir: tempfile::TempDir,
    _redis: Redis,
}

impl Fleet {
    /// Starts a Redis of its own: a service accepts every request on its Redis.
    fn start() -> Self {
        let (redis, pages, webhooks) = (Redis::start(), PageServer::start(), WebhookReceiver::start());
        let livekit = LiveKitServer::start_with(&redis, Keys::default(), &[webhooks.url()]);
        let dir = tempfile::tempdir().unwrap();
        let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
        let weir = Serve::start(dir.path(), &configuration);
        Self { weir, livekit, webhooks, pages, dir, _redis: redis }
    }
}

/// The life of a page's egress, as a client sees it.
#[track_caller]
fn check_recorded(client: Client, method: &str) {
    let Fleet { _redis, dir, pages, webhooks, livekit, mut weir } = Fleet::start();
    let rtmp = RtmpServer::start();
    let file = dir.path().join(format!("{client:?}.mp4"));
    let name = format!("{client:?}");
    let wanted = request(method, &pages.url("/pages/clock.html"), &file, &rtmp.url(&name));
    let started = livekit.ask(client, method, &wanted).unwrap();
    assert_eq!(started.get("status"), None, "EGRESS_STARTING: {started}");
    let id = started["egressId"].as_str().unwrap().to_owned();
    livekit.until_status(&mut weir, client, &id, "EGRESS_ACTIVE");
    let active = livekit.ask(client, "ListEgress", &json!({ "active": true })).unwrap();
    assert_eq!(active["items"].as_array().map(Vec::len), Some(1), "{active}");

    let more = format!("{name}-more");
    let add = json!({ "egressId": id, "addOutputUrls": [rtmp.url(&more)] });
    let updated = match livekit.ask(client, "UpdateStream", &add) {
        // livekit-server repeats a request after 3 s without an answer, and then the egress exists
        // already.
        Err(refused) if refused.message.contains("already") => {
            let has_both = |found: &Value| found["stream_results"].as_array().map(Vec::len) == Some(2);
            until_egress(&mut weir, (&livekit.url(), livekit.keys()), client, &id, has_both)
        }
        answer => answer.unwrap(),
    };
    assert_eq!(updated["streamResults"].as_array().map(Vec::len), Some(2), "{updated}");
    let again = livekit.ask(client, "UpdateStream", &add).unwrap_err();
    assert!(again.message.contains("already"), "{again:?}");
    // A stream's key is in nothing that livekit-server knows.
    assert!(!updated.to_string().contains(&more), "{updated}");
    // Two seconds of media.
    let work = cell(dir.path(), &id);
    weir.until("media is written", PATIENCE, |_| (size_of(&work) > 200_000).then_some(()));

    let begin = Instant::now();
    let stopped = livekit.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap();
    assert_is_ending(&stopped, begin.elapsed());
    let ended = livekit.until_status(&mut weir, client, &id, "EGRESS_COMPLETE");
    assert_eq!(ended.get("error"), None, "{ended}");
    let result = &ended["fileResults"][0];
    assert_eq!(result["location"], file.display().to_string(), "{ended}");
    let size = std::fs::metadata(&file).unwrap().len().to_string();
    assert_eq!(result["size"], size, "{ended}");
    assert_decodable(&file);
    let told: f64 = result["duration"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
    // The last frame has the duration of the one before, which may be long on a busy machine.
    assert!((Probe::of(&file).duration - told).abs() < 3.0, "{ended}");
    for stream in ended["streamResults"].as_array().unwrap() {
        assert_eq!(stream["status"], "FINISHED", "{ended}");
    }

    // One event for its start and one for its end, whoever announced it first.
    let told = weir.until("the end is told", PATIENCE, |_| {
        let told = webhooks.of_egress(&id);
        told.iter().any(|(event, _)| event == "egress_ended").then_some(told)
    });
    let events: Vec<&str> = told.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events.first(), Some(&"egress_started"), "{events:?}");
    assert_eq!(events.last(), Some(&"egress_ended"), "{events:?}");
    let between = &events[1..events.len() - 1];
    assert!(!between.is_empty() && between.iter().all(|event| *event == "egress_updated"), "{events:?}");
    assert_eq!(told.last().map(|(_, info)| &info["status"]), Some(&json!("EGRESS_COMPLETE")), "{told:?}");

    let late = livekit.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap_err();
    assert_eq!(late.code, "failed_precondition", "{late:?}");
    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}

#[test]
fn livekit_server_has_a_page_recorded_for_python() {
    let _slot = slots::encoder();
    check_recorded(Client::Python, "StartWebEgress");
}

#[test]
fn livekit_server_has_a_page_recorded_for_node() {
    let _slot = slots::encoder();
    check_recorded(Client::Node, "StartEgress");
}

#[test]
fn livekit_server_has_a_page_recorded_for_rust() {
    let _slot = slots::encoder();
    check_recorded(Client::Rust, "StartWebEgress");
}

/// livekit-server's caller is refused at once with the reason for a request that Weir does not
/// support.
#[test]
fn livekit_server_reports_why_a_page_is_not_recorded() {
    let _slot = slots::light();
    let Fleet { _redis, dir, pages, webhooks: _webhooks, livekit, weir } = Fleet::start();
    let advanced = json!({ "videoCodec": "VP8" });
    let file = json!([{ "filepath": dir.path().join("vp8").display().to_string() }]);
    let vp8 = json!({ "url": pages.url("/pages/clock.html"), "advanced": advanced, "fileOutputs": file });
    let refused = livekit.ask(Client::Python, "StartWebEgress", &vp8).unwrap_err();
    assert_eq!(refused.code, "invalid_argument", "{refused:?}");
    assert!(refused.message.contains("not yet supported"), "{refused:?}");

    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
