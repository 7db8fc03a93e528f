//! A real livekit-server with a real Redis, and LiveKit's own clients for Python, Node.js and Rust.
//!
//! Most tests share one livekit-server ([`LiveKitServer::shared`]) and have rooms of their own in
//! it. A server that a test starts itself is gone when it is dropped, or when the thread that
//! started it ends. Each listens on loopback alone and keeps its files in a directory of its own.
//! The clients know nothing of Weir: an application can do no more with it than they can.

mod rust;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use livekit_token::{AccessToken, VideoGrants};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::http1;
use super::ports;
use super::service::{self, Serve};
use super::shared::for_the_run;
use super::stores::{isolated, loopback, peer, start_server, which};
use super::tool::Tool;

/// Deadline of one client call: livekit-server asks for a recorder up to nine times before it gives
/// up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deadline of livekit-server's start, after its first port is open.
const START: Duration = Duration::from_secs(60);

/// An API key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Default for Keys {
    fn default() -> Self {
        // LiveKit rejects secrets shorter than 32 characters.
        Self { key: "testskey".to_owned(), secret: "secret-of-the-tests-which-is-long-enough".to_owned() }
    }
}

/// A Redis without persistence.
#[derive(Debug)]
pub(crate) struct Redis {
    // The process is killed before its directory is removed.
    server: Option<Tool>,
    port: u16,
    home: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let home = tempfile::Builder::new().prefix("weir-redis").tempdir().unwrap();
        let [port] = ports::free();
        let mut redis = Self { server: None, port, home };
        redis.come_back();
        redis
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// Its working directory; removed when it is dropped.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The section `redis:` for the configuration of livekit-server and Weir.
    pub(crate) fn config(&self) -> Value {
        json!({ "address": self.addr().to_string() })
    }

    /// Kills it: connections are cut, new ones refused, and its data is lost.
    pub(crate) fn go_away(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.signal(Signal::SIGKILL);
        // The port is free again when the process is gone, not when the signal is sent.
        drop(server.finish(START));
    }

    /// Starts it again at the same address, empty.
    pub(crate) fn come_back(&mut self) {
        let port = self.port.to_string();
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
        let arguments = arguments.map(str::to_owned);
        let program = which("redis-server");
        self.server = Some(start_server(&program, &arguments, self.home.path(), &[], loopback(self.port)));
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.server.as_ref().expect("it runs").signal(Signal::SIGSTOP);
    }

    /// Lets it continue.
    pub(crate) fn thaw(&self) {
        self.server.as_ref().expect("it runs").signal(Signal::SIGCONT);
    }
}

/// An unmodified livekit-server.
#[derive(Debug)]
pub(crate) struct LiveKitServer {
    // The process is killed before its directory is removed.
    server: Option<Tool>,
    port: u16,
    keys: Keys,
    home: tempfile::TempDir,
}

impl LiveKitServer {
    /// The server of all tests, with [`Keys::default`] and the keys of services
    /// ([`service::keys`]).
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<&LiveKitServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let redis = for_the_run(Redis::start, |redis| vec![redis.home().to_owned()]);
            for_the_run(move || Self::start(redis), |server| vec![server.home().to_owned()])
        })
    }

    pub(crate) fn start(redis: &Redis) -> Self {
        Self::start_with(redis, Keys::default(), &[])
    }

    /// `webhooks`: address for its webhooks, which are signed with the keys.
    pub(crate) fn start_with(redis: &Redis, keys: Keys, webhooks: &[String]) -> Self {
        let home = tempfile::Builder::new().prefix("weir-livekit").tempdir().unwrap();
        let [port, rtc_tcp, rtc_udp] = ports::free();
        let services = service::keys();
        let mut config = json!({
            "port": port,
            "bind_addresses": ["127.0.0.1"],
            "rtc": {
                "tcp_port": rtc_tcp,
                "udp_port": rtc_udp,
                "node_ip": "127.0.0.1",
                "use_external_ip": false,
                "enable_loopback_candidate": true,
                // Without this it listens on every address of the machine, uses each as `node_ip`,
                // and announces one of them at random: datagrams to the announced address may reach
                // a socket that does not know the sender.
                "ips": { "includes": ["127.0.0.1/32"] },
            },
            "redis": redis.config(),
            "keys": { &keys.key: &keys.secret, services.key: services.secret },
            "logging": { "level": "info", "json": true },
        });
        if !webhooks.is_empty() {
            config["webhook"] = json!({ "api_key": keys.key, "urls": webhooks });
        }
        // JSON is YAML.
        std::fs::write(home.path().join("livekit.yaml"), config.to_string()).unwrap();
        let mut server = Self { server: None, port, keys, home };
        server.come_back();
        server
    }

    /// Kills it: connections are cut, and its state is lost, except for what is in Redis.
    pub(crate) fn go_away(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.signal(Signal::SIGKILL);
        // Its ports are free again when the process is gone, not when the signal is sent.
        drop(server.finish(START));
    }

    /// Starts it again at the same addresses, with the same keys.
    pub(crate) fn come_back(&mut self) {
        let file = self.home.path().join("livekit.yaml");
        let arguments = ["--config".to_owned(), file.display().to_string()];
        let (program, address) = (peer("bin/livekit-server"), loopback(self.port));
        let mut server = start_server(&program, &arguments, self.home.path(), &[], address);
        // It listens before it is registered with Redis; it answers this call afterwards.
        server.until("livekit-server is well", START, || {
            let answer = http1::ask(address, "GET", "/", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        self.server = Some(server);
    }

    fn server(&self) -> &Tool {
        self.server.as_ref().expect("it runs")
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// Its working directory; removed when it is dropped.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Address of its APIs: `http://127.0.0.1:…`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Address for participants and Weir.
    pub(crate) fn ws_url(&self) -> String {
        format!("ws://{}", self.addr())
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Points a Weir command to this server through its environment.
    pub(crate) fn reached_by(&self, weir: &mut Command) {
        self.reached_at(&self.ws_url(), weir);
    }

    /// Points a Weir command to this server through a proxy at `url`.
    pub(crate) fn reached_at(&self, url: &str, weir: &mut Command) {
        let Keys { key, secret } = &self.keys;
        weir.env("LIVEKIT_URL", url).env("LIVEKIT_API_KEY", key).env("LIVEKIT_API_SECRET", secret);
    }

    /// Freezes it: connections stay open, nothing passes.
    pub(crate) fn freeze(&self) {
        self.server().signal(Signal::SIGSTOP);
    }

    /// Lets it continue.
    pub(crate) fn thaw(&self) {
        self.server().signal(Signal::SIGCONT);
    }

    /// Closes a room and disconnects everybody in it.
    pub(crate) fn delete_room(&self, room: &str) {
        room_service(self, room, "DeleteRoom", &json!({ "room": room }));
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.server().stderr()
    }

    /// Gives a closure access to the log without a copy: after many tests it is large.
    pub(crate) fn look_into_log<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        look(&self.server().log().lock().unwrap())
    }

    /// Waits until an egress has a status; returns it as a client gets it. Panics if the egress
    /// fails instead.
    pub(crate) fn until_status(&self, weir: &mut Serve, client: Client, id: &str, status: &str) -> Value {
        until_egress(weir, (&self.url(), &self.keys), client, id, |found| {
            let is_failed =
                ["EGRESS_FAILED", "EGRESS_ABORTED"].iter().any(|failed| found["status"] == **failed);
            assert!(found["status"] == status || !is_failed, "{found}");
            found["status"] == status
        })
    }

    /// Calls its egress API: see [`ask`].
    pub(crate) fn ask(&self, client: Client, method: &str, request: &Value) -> Result<Value, Refusal> {
        ask(client, &self.url(), &self.keys, method, request)
    }
}

/// Calls a method of livekit-server's `RoomService` for a room; returns the answer.
pub(crate) fn room_service(server: &LiveKitServer, room: &str, method: &str, body: &Value) -> Value {
    let grants =
        VideoGrants { room_admin: true, room_create: true, room: room.to_owned(), ..VideoGrants::default() };
    let method_path = format!("RoomService/{method}");
    let answer = twirp(server.addr(), server.keys(), grants, &method_path, body).unwrap();
    assert_eq!(answer.status, 200, "{method}: {}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap()
}

/// Calls a Twirp method of package `livekit` in JSON, with a token of these grants. `method`:
/// `RoomService/DeleteRoom`.
fn twirp(
    addr: SocketAddr,
    keys: &Keys,
    grants: VideoGrants,
    method: &str,
    body: &Value,
) -> std::io::Result<http1::Answer> {
    let token = AccessToken::with_api_key(&keys.key, &keys.secret).with_grants(grants).to_jwt().unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    http1::ask(addr, "POST", &format!("/twirp/livekit.{method}"), &headers, body.to_string().as_bytes())
}

/// Waits until an egress satisfies `is_so`, which gets it as JSON from HTTP with the names of the
/// `.proto` file. Returns it as a client gets it: clients are programs, and too expensive to poll
/// with.
///
/// `url` and `keys`: of an egress API, as for [`ask`].
pub(crate) fn until_egress(
    weir: &mut Serve,
    (url, keys): (&str, &Keys),
    client: Client,
    id: &str,
    mut is_so: impl FnMut(&Value) -> bool,
) -> Value {
    let addr: SocketAddr = url.strip_prefix("http://").unwrap_or(url).parse().unwrap();
    let body = json!({ "egress_id": id });
    weir.until(&format!("{id} has changed"), PATIENCE + PATIENCE, |_| {
        let grants = VideoGrants { room_record: true, ..VideoGrants::default() };
        let answer = twirp(addr, keys, grants, "Egress/ListEgress", &body).ok()?;
        let listed: Value = serde_json::from_slice(&answer.body).unwrap();
        is_so(&listed["items"][0]).then_some(())
    });
    let listed = ask(client, url, keys, "ListEgress", &json!({ "egressId": id })).unwrap();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    listed["items"][0].clone()
}

/// LiveKit's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// PyPI's `livekit-api`, which speaks protobuf.
    Python,
    /// npm's `livekit-server-sdk`, which speaks JSON.
    Node,
    /// The crate `livekit-api`, which speaks protobuf.
    Rust,
}

impl Client {
    pub(crate) const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Rust];

    /// The program with its script; `None` for a client that is not a program.
    fn words(self) -> Option<(PathBuf, Vec<&'static str>)> {
        match self {
            Self::Python => Some((peer("python/bin/python"), vec!["-c", include_str!("../clients/call.py")])),
            Self::Node => {
                let script = include_str!("../clients/call.mjs");
                Some((which("node"), vec!["--input-type=module", "--eval", script, "--"]))
            }
            Self::Rust => None,
        }
    }
}

/// An error answer of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Twirp's code: `unavailable`
    pub(crate) code: String,
    pub(crate) message: String,
    /// The HTTP status; `None` if the client does not show it.
    pub(crate) status: Option<u64>,
}

/// Calls one method of an egress API, livekit-server's or Weir's own, with a request as protobuf
/// JSON. The answer is protobuf JSON, too.
///
/// `url`: `http://127.0.0.1:7880`. Panics if the client can't reach it.
pub(crate) fn ask(
    client: Client,
    url: &str,
    keys: &Keys,
    method: &str,
    request: &Value,
) -> Result<Value, Refusal> {
    let Some((program, words)) = client.words() else { return rust::ask(url, keys, method, request) };
    let home = tempfile::Builder::new().prefix("weir-client").tempdir().unwrap();
    let mut command = isolated(program, home.path());
    // Node.js looks for modules in the `node_modules` of the working directory.
    command
        .args(words)
        .args([url, &keys.key, &keys.secret, method, &request.to_string()])
        .current_dir(peer(""));
    // The client's own deadline is PATIENCE, and a busy machine takes a while to start it.
    let done = Tool::start(command, None).finish(PATIENCE * 2);
    let Ok(answer) = serde_json::from_slice::<Value>(&done.stdout) else {
        panic!("{client:?} {method} {url}: {}: {}", done.status, done.stderr);
    };
    match answer.get("error").filter(|_| !done.status.success()) {
        None => Ok(answer),
        Some(error) => Err(Refusal {
            code: error["code"].as_str().unwrap_or_default().to_owned(),
            message: error["msg"].as_str().unwrap_or_default().to_owned(),
            status: error["status"].as_u64(),
        }),
    }
}
