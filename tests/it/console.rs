//! The operator's console of a real service: its content, its actions, its access control.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::assert_decodable;
use crate::support::measure::frames::Snapshot;
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::ports;
use crate::support::service::{Serve, keys};
use crate::support::slots;
use crate::support::tool::{Tool, command};

const PATIENCE: Duration = Duration::from_secs(60);
/// Colour of the page.
const COLOUR: [u8; 3] = [200, 30, 90];

/// A static page of one colour.
fn painted(dir: &Path, pages: &PageServer) -> String {
    let file = dir.join("painted.html");
    let [r, g, b] = COLOUR;
    let style = format!("html {{ background: rgb({r} {g} {b}); cursor: none; overflow: hidden }}");
    std::fs::write(&file, format!("<!doctype html><title>Painted</title><style>{style}</style>")).unwrap();
    pages.serve("/painted.html", file);
    pages.url("/painted.html")
}

fn recording(url: &str, file: &Path) -> Value {
    json!({
        "url": url,
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "advanced": { "width": 640, "height": 360, "framerate": 15, "video_bitrate": 800 },
    })
}

fn is_painted(rgb: [u8; 3]) -> bool {
    rgb.iter().zip(COLOUR).all(|(seen, painted)| seen.abs_diff(painted) <= 12)
}

/// Sends a request to the console with more headers; returns status and body.
fn ask(url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(180)).build().unwrap();
        let call = match body {
            Some(body) => http.post(url).json(body),
            None => http.get(url),
        };
        let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    })
}

/// Submits the start form as soon as there is room; returns the egress.
fn started(service: &mut Serve, at: &str, bearer: &str, form: &Value) -> Value {
    // The end of another recording is reported just before its room is free.
    service.until("there is room for it", PATIENCE, |_| {
        let (status, answer) =
            ask(&format!("{at}/console/api/start"), &[("authorization", bearer)], Some(form));
        let text = String::from_utf8_lossy(&answer);
        assert!(status == 200 || text.contains("not enough CPU"), "{status}: {text}");
        (status == 200).then(|| serde_json::from_slice(&answer).unwrap())
    })
}

/// Chromium, under any of the names that the recorder looks for.
fn browser() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "google-chrome", "google-chrome-stable", "chromium-browser"];
    let found = names.iter().find_map(|name| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
    });
    found.expect("Chromium is missing: `scripts/install.sh test` installs it")
}

/// Logs in as the page does, with the key printed by `weir console`; returns the session's token.
fn log_in(service: &Serve) -> String {
    let address = service.console_address();
    let (at, key) = address.split_once("/#key=").expect("it has a key");
    let begin = |key: &str| ask(&format!("{at}/console/api/session"), &[], Some(&json!({ "key": key })));
    let (status, session) = begin(key);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&session));
    assert_eq!(begin(key).0, 401, "a key is good once");
    let session: Value = serde_json::from_slice(&session).unwrap();
    format!("Bearer {}", session["token"].as_str().unwrap())
}

fn board(at: &str, bearer: &str) -> Value {
    let shown = [("authorization", bearer)];
    let (status, body) = ask(&format!("{at}/console/api/recordings"), &shown, None);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn a_recording_is_seen_and_stopped_by_who_has_a_key() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let url = painted(dir.path(), &pages);
    let mut service = Serve::start(dir.path(), "");
    let at = service.callers().url().to_owned();
    for (path, body) in [("recordings", None), ("recordings/EG_x/stop", Some(json!({})))] {
        let url = format!("{at}/console/api/{path}");
        assert_eq!(ask(&url, &[], body.as_ref()).0, 401, "{path}: nobody is let in for being here");
        let typed = [("sec-fetch-site", "none")];
        assert_eq!(ask(&url, &typed, None).0 / 100, 4, "{path}");
    }
    let bearer = log_in(&service);
    let shown = ("authorization", bearer.as_str());
    assert_eq!(board(&at, &bearer)["recordings"], json!([]));
    let file = dir.path().join("painted.mp4");
    let id = service.callers().start(&recording(&url, &file));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);

    let of = |what: &str| format!("{at}/console/api/recordings/{id}/{what}");
    // A loaded page is not yet painted.
    service.until("there is a picture of the painted page", PATIENCE, |_| {
        let (status, jpeg) = ask(&of("picture.jpg"), &[shown], None);
        if status != 200 {
            return None;
        }
        assert!(jpeg.len() < 40_000, "{} bytes", jpeg.len());
        let frame = dir.path().join("picture.jpeg");
        std::fs::write(&frame, jpeg).unwrap();
        let still = Snapshot::at(&frame, 0.0);
        assert_eq!((still.width, still.height), (480, 270));
        is_painted(still.pixel(240, 135)).then_some(())
    });

    service.until("it is shown how long it is", PATIENCE, |_| {
        let one = &board(&at, &bearer)["recordings"][0];
        assert_eq!(one["info"]["egress_id"], id, "{one}");
        one["progress"]["seconds"].as_f64()
    });
    assert_eq!(ask(&of("picture.jpg"), &[shown, ("host", "evil.example")], None).0, 401);
    assert_eq!(ask(&of("picture.jpg"), &[shown, ("x-forwarded-for", "203.0.113.9")], None).0, 401);
    let nothing = json!({});
    assert_eq!(ask(&of("stop"), &[shown, ("origin", "https://evil.example")], Some(&nothing)).0, 403);
    assert_eq!(service.callers().info(&id)["status"], "EGRESS_ACTIVE", "it goes on");

    let (status, stopped) = ask(&of("stop"), &[shown, ("origin", &at)], Some(&nothing));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&stopped));
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_decodable(&file);
    service.until("it is among the finished", PATIENCE, |_| {
        let board = board(&at, &bearer);
        (board["recordings"] == json!([]) && board["finished"][0]["egress_id"] == *id).then_some(())
    });
    service.until("there is no picture of it any more", PATIENCE, |_| {
        (ask(&of("picture.jpg"), &[shown], None).0 == 404).then_some(())
    });
    let log = service.end().stderr;
    assert!(log.contains("/#key=wk_"), "the start tells where the console is: {log}");

    // The next run still shows stored egresses; without a console in the configuration there is no
    // page.
    let next = Serve::start(dir.path(), "");
    assert_eq!(ask(&format!("{}/console/api/recordings", next.callers().url()), &[shown], None).0, 401);
    let bearer = log_in(&next);
    assert_eq!(board(next.callers().url(), &bearer)["finished"][0]["egress_id"], id);
    next.end();
    let without = Serve::start(dir.path(), "console: false");
    assert_eq!(ask(without.callers().url(), &[], None).0, 404);
    without.end();
}

#[test]
fn in_a_fleet_the_console_has_a_port_of_its_own() {
    let _slot = slots::browser();
    let redis = Redis::start();
    let livekit = LiveKitServer::start_with(&redis, keys(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let url = painted(dir.path(), &pages);
    let [port] = ports::free();
    let redis = redis.config();
    let configuration = format!("ws_url: {}\nredis: {redis}\nconsole_port: {port}\n", livekit.ws_url());
    let mut service = Serve::start(dir.path(), &configuration);
    assert_eq!(ask(service.callers().url(), &[], None).0, 404, "it is not at the API's");
    let at = format!("http://127.0.0.1:{port}");
    assert_eq!(ask(&at, &[], None).0, 200);
    let bearer = log_in(&service);
    let shown = [("authorization", bearer.as_str())];
    let file = dir.path().join("painted.mp4").display().to_string();
    let form = json!({ "source": { "type": "web", "url": url }, "outputs": { "file": file } });
    let web = started(&mut service, &at, &bearer, &form);
    let id = web["egress_id"].as_str().unwrap().to_owned();
    service.until("it is recorded", PATIENCE, |_| {
        (board(&at, &bearer)["recordings"][0]["info"]["status"] == "EGRESS_ACTIVE").then_some(())
    });
    let (status, _) = ask(&format!("{at}/console/api/recordings/{id}/stop"), &shown, Some(&json!({})));
    assert_eq!(status, 200);
    service.until("it is among the finished", PATIENCE, |_| {
        let finished = &board(&at, &bearer)["finished"][0];
        (finished["egress_id"] == *id && finished["status"] == "EGRESS_COMPLETE").then_some(())
    });

    // A room; its layout changes as soon as its page has joined.
    let file = dir.path().join("room.mp4").display().to_string();
    let form = json!({
        "source": { "type": "room", "room": "standup", "layout": "speaker" }, "outputs": { "file": file },
    });
    let room = started(&mut service, &at, &bearer, &form);
    assert_eq!(room["room_composite"]["layout"], "speaker", "{room}");
    let of =
        |what: &str| format!("{at}/console/api/recordings/{}/{what}", room["egress_id"].as_str().unwrap());
    service.until("it is laid out", PATIENCE, |_| {
        (ask(&of("layout"), &shown, Some(&json!({ "layout": "grid" }))).0 == 200).then_some(())
    });
    assert_eq!(board(&at, &bearer)["recordings"][0]["info"]["room_name"], "standup");
    assert_eq!(ask(&of("stop"), &shown, Some(&json!({}))).0, 200);
    service.until("it is over", PATIENCE, |_| (board(&at, &bearer)["recordings"] == json!([])).then_some(()));
    service.end();
}

#[test]
fn an_operator_sees_starts_streams_and_stops_in_a_browser() {
    let _slot = slots::heavy();
    let dir = tempfile::tempdir().unwrap();
    let (pages, rtmp) = (PageServer::start(), RtmpServer::start());
    let url = painted(dir.path(), &pages);
    // Room for two, whatever the load of the machine.
    let mut service = Serve::start_with(dir.path(), "", &[("LIVEKIT_CPU_REQUEST", "64")]);
    let at = service.callers().url().to_owned();
    let id = service.callers().start(&recording(&url, &dir.path().join("first.mp4")));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let file = dir.path().join("from-the-form.mp4");
    let asked = json!({
        "browser": browser(),
        "console": format!("{at}/"),
        "withKey": service.console_address().replace("localhost", "127.0.0.1"),
        "egress": id,
        "page": pages.url("/pages/clock.html"),
        "file": file.display().to_string(),
        "stream": rtmp.url("a-stream-key"),
        "token": service.callers().token(),
        "colour": COLOUR,
        // For inspection, and for the screenshot in the documentation.
        "shots": std::env::var("WEIR_CONSOLE_SHOTS").ok(),
    });
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    assert!(
        web.join("node_modules/playwright-core").is_dir(),
        "playwright-core is missing: `make web` installs it"
    );
    let script = web.join("tests/console.mjs");
    let mut node = command("node");
    node.arg(script).arg(asked.to_string());
    let done = Tool::start(node, None).finish(Duration::from_secs(600)).succeeded();
    let seen: Value = serde_json::from_slice(&done.stdout).unwrap();

    for frame in ["picture", "withToken"] {
        let frame = &seen[frame];
        assert_eq!((&frame["width"], &frame["height"]), (&json!(480), &json!(270)), "{seen}");
        let rgb: [u8; 3] = serde_json::from_value(frame["rgb"].clone()).unwrap();
        assert!(is_painted(rgb), "{rgb:?}");
    }
    assert_eq!((&seen["withoutKey"], &seen["again"]), (&json!(0), &json!(0)), "{seen}");
    assert_eq!((&seen["address"], &seen["cookies"]), (&json!(format!("{at}/")), &json!(0)), "{seen}");
    assert_eq!(seen["title"], url);
    assert_eq!((&seen["missing"], &seen["focus"]), (&json!(true), &json!(true)), "{seen}");
    assert_eq!(seen["wrongStream"], true, "{seen}");
    let stream = seen["stream"].as_str().unwrap();
    assert!(stream.starts_with("rtmp://") && !stream.contains("a-stream-key"), "{stream}");
    assert_eq!((&seen["overhang"], &seen["formOverhang"]), (&json!(0), &json!(0)), "a phone scrolls one way");
    assert_eq!(seen["afterCancel"], "recording");
    assert_eq!(seen["ended"], file.display().to_string());
    assert_eq!(seen["strangerSees"], 0);
    assert_eq!(seen["kept"], json!([1, 0, ""]), "a token goes with its tab");
    assert_eq!(seen["foreign"]["image"], "not shown", "{seen}");
    assert_eq!(seen["complaints"], json!([]), "nothing is against the page's own rules");

    let info = service.callers().info(seen["started"].as_str().unwrap());
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert_eq!(info["stream_results"][0]["status"], "FINISHED", "{info}");
    assert_decodable(&file);
    assert_eq!(service.callers().info(&id)["status"], "EGRESS_ACTIVE", "the other one goes on");
    service.callers().stop(&id).unwrap();
    service.until_over(&id, PATIENCE);
    service.end();
}
