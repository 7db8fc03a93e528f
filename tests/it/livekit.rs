//! The whole stack but for rooms: an unmodified livekit-server, Redis, Weir, and LiveKit's own clients.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::livekit::{Client, Keys, LiveKitServer, Redis};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::service::Serve;
use crate::support::webhook_receiver::WebhookReceiver;

/// For whatever takes as long as the machine's load says.
const PATIENCE: Duration = Duration::from_secs(60);

/// What livekit-server knows of an egress.
fn info(livekit: &LiveKitServer, client: Client, id: &str) -> Value {
    let listed = livekit.ask(client, "ListEgress", &json!({ "egressId": id })).unwrap();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    listed["items"][0].clone()
}

/// Asks until an egress has a status. In protobuf JSON, `EGRESS_STARTING` is not written.
fn until(livekit: &LiveKitServer, weir: &mut Serve, client: Client, id: &str, status: &str) -> Value {
    weir.until(&format!("{id} is {status}"), PATIENCE, |_| {
        let found = info(livekit, client, id);
        assert!(found["status"] == status || found["status"] != "EGRESS_FAILED", "{found}");
        (found["status"] == status).then_some(found)
    })
}

/// A page's egress, as both versions of the API have it.
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

#[test]
fn livekit_server_has_a_page_recorded() {
    let (redis, pages, rtmp) = (Redis::start(), PageServer::start(), RtmpServer::start());
    let webhooks = WebhookReceiver::start();
    let livekit = LiveKitServer::start_with(&redis, Keys::default(), &[webhooks.url()]);
    let dir = tempfile::tempdir().unwrap();
    let configuration = format!("ws_url: {}\nredis: {}\n", livekit.ws_url(), redis.config());
    let mut weir = Serve::start(dir.path(), &configuration);

    for (client, method) in
        [(Client::Python, "StartWebEgress"), (Client::Node, "StartEgress"), (Client::Rust, "StartWebEgress")]
    {
        let file = dir.path().join(format!("{client:?}.mp4"));
        let name = format!("{client:?}");
        let wanted = request(method, &pages.url("/pages/clock.html"), &file, &rtmp.url(&name));
        let started = livekit.ask(client, method, &wanted).unwrap();
        assert_eq!(started.get("status"), None, "EGRESS_STARTING: {started}");
        let id = started["egressId"].as_str().unwrap().to_owned();
        until(&livekit, &mut weir, client, &id, "EGRESS_ACTIVE");
        let active = livekit.ask(client, "ListEgress", &json!({ "active": true })).unwrap();
        assert_eq!(active["items"].as_array().map(Vec::len), Some(1), "{active}");

        let more = format!("{name}-more");
        let add = json!({ "egressId": id, "addOutputUrls": [rtmp.url(&more)] });
        let updated = livekit.ask(client, "UpdateStream", &add).unwrap();
        assert_eq!(updated["streamResults"].as_array().map(Vec::len), Some(2), "{updated}");
        let again = livekit.ask(client, "UpdateStream", &add).unwrap_err();
        assert!(again.message.contains("already"), "{again:?}");
        // A stream's key is in nothing that livekit-server knows.
        assert!(!updated.to_string().contains(&more), "{updated}");
        // Something to look at.
        std::thread::park_timeout(Duration::from_secs(3));

        let stopped = livekit.ask(client, "StopEgress", &json!({ "egressId": id })).unwrap();
        assert_eq!(stopped["status"], "EGRESS_ENDING", "{stopped}");
        let ended = until(&livekit, &mut weir, client, &id, "EGRESS_COMPLETE");
        assert_eq!(ended.get("error"), None, "{ended}");
        let result = &ended["fileResults"][0];
        assert_eq!(result["location"], file.display().to_string(), "{ended}");
        let size = std::fs::metadata(&file).unwrap().len().to_string();
        assert_eq!(result["size"], size, "{ended}");
        assert_decodable(&file);
        let told: f64 = result["duration"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
        assert!((Probe::of(&file).duration - told).abs() < 0.5, "{ended}");
        for stream in ended["streamResults"].as_array().unwrap() {
            assert_eq!(stream["status"], "FINISHED", "{ended}");
        }

        // Told once that it began and once that it ended, whoever was first to announce it.
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
    }

    // What Weir does not do, livekit-server's caller is told at once and with the reason.
    let advanced = json!({ "videoCodec": "VP8" });
    let file = json!([{ "filepath": dir.path().join("vp8").display().to_string() }]);
    let vp8 = json!({ "url": pages.url("/pages/clock.html"), "advanced": advanced, "fileOutputs": file });
    let refused = livekit.ask(Client::Python, "StartWebEgress", &vp8).unwrap_err();
    assert_eq!(refused.code, "invalid_argument", "{refused:?}");
    assert!(refused.message.contains("not yet supported"), "{refused:?}");

    let done = weir.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
