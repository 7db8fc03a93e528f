//! Runs the service as an operator does, and calls it as its callers do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use livekit_token::{AccessToken, VideoGrants};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::leftovers::Watch;
use super::livekit::Keys;
use super::ports;
use super::slots;
use super::tool::{Finished, Tool, command_with_signals, succeed};

const KEY: &str = "test-key";
const SECRET: &str = "a-secret-that-is-long-enough-to-be-one";

/// The keys of every service, for a livekit-server that should accept the same.
pub(crate) fn keys() -> Keys {
    Keys { key: KEY.to_owned(), secret: SECRET.to_owned() }
}

/// A running service. Everything it starts is followed; see [`Watch`].
#[derive(Debug)]
pub(crate) struct Serve {
    tool: Tool,
    watch: Option<Watch>,
    callers: Callers,
    configuration: PathBuf,
}

/// An HTTP client of a service.
#[derive(Debug)]
pub(crate) struct Callers {
    runtime: Runtime,
    http: reqwest::Client,
    address: String,
    token: String,
}

/// A Twirp error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Serve {
    /// Runs `weir serve` in a directory, with its work in `work` there, and with more lines of
    /// configuration.
    pub(crate) fn start(dir: &Path, configuration: &str) -> Self {
        Self::start_with(dir, configuration, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(dir: &Path, configuration: &str, environment: &[(&str, &str)]) -> Self {
        let mut weir = command_with_signals(env!("CARGO_BIN_EXE_weir"));
        weir.envs(environment.iter().copied());
        Self::start_by(weir, dir, configuration)
    }

    /// The same, with limits of open files.
    pub(crate) fn start_with_open_files(dir: &Path, configuration: &str, soft: u64, hard: u64) -> Self {
        let mut weir = command_with_signals("prlimit");
        // The shell becomes the service (`exec`): the process is the same.
        weir.arg(format!("--nofile={soft}:{hard}")).arg(env!("CARGO_BIN_EXE_weir"));
        Self::start_by(weir, dir, configuration)
    }

    /// `weir` is a command without arguments.
    fn start_by(mut weir: Command, dir: &Path, configuration: &str) -> Self {
        slots::assert_taken();
        let [port] = ports::free();
        let work = dir.join("work");
        let file = dir.join("weir.yaml");
        let text = format!(
            "api_key: {KEY}\napi_secret: {SECRET}\nport: {port}\nwork_dir: {}\n{configuration}\n",
            work.display()
        );
        std::fs::write(&file, text).unwrap();
        let before = Watch::before();
        weir.arg("serve").arg("--config").arg(&file).current_dir(dir);
        let mut tool = Tool::start(weir, None);
        let watch = Some(Watch::start(tool.pid(), before));
        let callers = Callers::new(port);
        tool.until("the API answers", Duration::from_secs(60), || callers.list(&json!({})).ok());
        Self { tool, watch, callers, configuration: file }
    }

    /// Runs `weir console`; returns the console's address with a one-time key.
    pub(crate) fn console_address(&self) -> String {
        let file = self.configuration.to_str().unwrap();
        let done = succeed(env!("CARGO_BIN_EXE_weir"), &["console", "--config", file], None);
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.callers
    }

    pub(crate) fn pid(&self) -> i32 {
        self.tool.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.tool.stderr()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.tool.signal(signal);
    }

    /// Polls until `look` returns something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Callers) -> Option<T>,
    ) -> T {
        let callers = &self.callers;
        self.tool.until(what, within, || look(callers))
    }

    /// Waits until an egress has one of these statuses; returns its info.
    pub(crate) fn until_status(&mut self, egress_id: &str, statuses: &[&str], within: Duration) -> Value {
        self.until(&format!("{egress_id} is {statuses:?}"), within, |callers| {
            let info = callers.info(egress_id);
            let status = info["status"].as_str().unwrap_or_default();
            statuses.contains(&status).then_some(info)
        })
    }

    /// Waits until an egress has ended.
    pub(crate) fn until_over(&mut self, egress_id: &str, within: Duration) -> Value {
        const OVER: [&str; 4] =
            ["EGRESS_COMPLETE", "EGRESS_FAILED", "EGRESS_ABORTED", "EGRESS_LIMIT_REACHED"];
        self.until_status(egress_id, &OVER, within)
    }

    /// Waits for a log line that satisfies `is_it`.
    pub(crate) fn until_logged(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        let tool = &mut self.tool;
        let log = tool.log();
        tool.until(what, Duration::from_secs(60), || log.lock().unwrap().lines().any(&is_it).then_some(()));
    }

    /// Starts an egress as soon as there is room for it: the end of another is reported just before
    /// its room is free.
    pub(crate) fn start_when_there_is_room(&mut self, request: &Value) -> String {
        self.until("there is room for another", Duration::from_secs(60), |callers| {
            match callers.call("StartWebEgress", request) {
                Ok(info) => Some(id(&info)),
                Err(refused) => {
                    assert_eq!(refused.message, "not enough CPU", "{refused:?}");
                    None
                }
            }
        })
    }

    /// Ends it, and asserts that nothing is left.
    pub(crate) fn end(self) -> Finished {
        self.signal(Signal::SIGTERM);
        self.finish(Duration::from_secs(60))
    }

    /// Kills it as `kill -9` does. Its recorders continue. The returned watch asserts, after their
    /// end, that nothing is left of them.
    pub(crate) fn kill(mut self) -> Watch {
        let watch = self.watch.take().expect("taken only here");
        self.signal(Signal::SIGKILL);
        self.tool.finish(Duration::from_secs(60));
        watch
    }

    /// Waits for its exit, and asserts that nothing is left.
    pub(crate) fn finish(self, within: Duration) -> Finished {
        self.finish_and(within, || {})
    }

    /// Waits for its exit, lets `then` wait for its recorders, and asserts that nothing is left.
    pub(crate) fn finish_and(mut self, within: Duration, then: impl FnOnce()) -> Finished {
        let watch = self.watch.take().expect("taken only here");
        let done = self.tool.finish(within);
        then();
        watch.assert_nothing_left(|| {});
        done
    }
}

impl Callers {
    fn new(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let grants = VideoGrants { room_record: true, ..VideoGrants::default() };
        let token = AccessToken::with_api_key(KEY, SECRET).with_grants(grants).to_jwt().unwrap();
        // The client does not run between two calls, so it would not notice which connections were
        // closed meanwhile.
        let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(60));
        let http = client.timeout(Duration::from_secs(180)).build().unwrap();
        Self { runtime, http, address: format!("http://127.0.0.1:{port}"), token }
    }

    /// The service's address: `http://127.0.0.1:…`
    pub(crate) fn url(&self) -> &str {
        &self.address
    }

    /// An access token for callers.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The API key and secret with which callers sign.
    pub(crate) fn keys(&self) -> Keys {
        keys()
    }

    /// Calls a method of `livekit.Egress`.
    pub(crate) fn call(&self, method: &str, request: &Value) -> Result<Value, Refused> {
        self.runtime.block_on(self.calling(method, request))
    }

    async fn calling(&self, method: &str, request: &Value) -> Result<Value, Refused> {
        let refused =
            |error: reqwest::Error| Refused { code: "no answer".to_owned(), message: error.to_string() };
        let call = self.http.post(format!("{}/twirp/livekit.Egress/{method}", self.address));
        let answer = call.bearer_auth(&self.token).json(request).send().await.map_err(refused)?;
        let is_success = answer.status().is_success();
        let body: Value = answer.json().await.map_err(refused)?;
        if is_success {
            return Ok(body);
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Err(Refused { code: text("code"), message: text("msg") })
    }

    /// Status and body of a page.
    pub(crate) fn get(&self, url: &str) -> (u16, String) {
        let (status, body) = self.get_bytes(url);
        (status, String::from_utf8(body).unwrap())
    }

    /// The same for a binary body.
    pub(crate) fn get_bytes(&self, url: &str) -> (u16, Vec<u8>) {
        self.runtime.block_on(async {
            let answer = self.http.get(url).send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().into())
        })
    }

    /// Starts many egresses at once; returns each answer and how long it took.
    pub(crate) fn start_all(&self, requests: &[Value]) -> Vec<(Result<String, Refused>, Duration)> {
        let start = |request: &Value| {
            let begin = Instant::now();
            let request = request.clone();
            async move {
                let done = self.calling("StartWebEgress", &request).await;
                (done.map(|info| id(&info)), begin.elapsed())
            }
        };
        self.runtime.block_on(futures::future::join_all(requests.iter().map(start)))
    }

    /// Starts an egress; returns its id.
    pub(crate) fn start(&self, request: &Value) -> String {
        let info = self.call("StartWebEgress", request).unwrap_or_else(|refused| panic!("{refused:?}"));
        assert_eq!(info["status"], "EGRESS_STARTING", "{info}");
        id(&info)
    }

    pub(crate) fn stop(&self, egress_id: &str) -> Result<Value, Refused> {
        self.call("StopEgress", &json!({ "egress_id": egress_id }))
    }

    pub(crate) fn list(&self, request: &Value) -> Result<Vec<Value>, Refused> {
        let answer = self.call("ListEgress", request)?;
        Ok(answer["items"].as_array().cloned().unwrap_or_default())
    }

    /// The `EgressInfo` of an egress.
    pub(crate) fn info(&self, egress_id: &str) -> Value {
        let mut items = self.list(&json!({ "egress_id": egress_id })).unwrap_or_default();
        items.pop().unwrap_or_default()
    }
}

fn id(info: &Value) -> String {
    info["egress_id"].as_str().unwrap_or_default().to_owned()
}

/// Asserts that the answer to a stop shows an ending egress. A stop waits 2.5 s for the recorder to
/// confirm, which a busy machine may exceed.
#[track_caller]
pub(crate) fn assert_is_ending(info: &Value, took: Duration) {
    let is_ending = match info["status"].as_str() {
        Some("EGRESS_ENDING" | "EGRESS_COMPLETE") => true,
        Some("EGRESS_ACTIVE") => took >= Duration::from_millis(2500),
        _ => false,
    };
    assert!(is_ending, "after {took:?}: {info}");
}

/// The directory of an egress in a service's work directory.
pub(crate) fn cell(dir: &Path, egress_id: &str) -> PathBuf {
    dir.join("work/recordings").join(egress_id)
}

/// The manifest of an egress in a local directory.
pub(crate) fn manifest(dir: &Path, egress_id: &str) -> Value {
    let bytes = std::fs::read(dir.join(format!("{egress_id}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
