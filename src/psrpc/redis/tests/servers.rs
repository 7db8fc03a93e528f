//! Redis servers on free ports of loopback, gone when their values are.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::ports;

#[path = "../../../../tests/support/tool.rs"]
#[allow(dead_code, reason = "the integration tests use the rest of it")]
mod tool;

use tool::{Tool, command, succeed};

const DEADLINE: Duration = Duration::from_secs(60);

/// One redis-server, without persistence.
#[derive(Debug)]
pub(super) struct RedisServer {
    port: u16,
    args: Vec<String>,
    /// For redis-cli: TLS.
    cli: Vec<String>,
    dir: TempDir,
    tool: Mutex<Option<Tool>>,
}

impl RedisServer {
    pub(super) fn start(args: &[&str]) -> Self {
        let [port] = ports::free();
        let mut all = vec!["--port".to_owned(), port.to_string()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        Self::start_with(port, all, Vec::new())
    }

    /// With TLS alone, asking clients for a certificate; its own is called `name`.
    pub(super) fn start_tls(authority: &Authority, name: &str, args: &[&str]) -> Self {
        let [port] = ports::free();
        let (certificate, key) =
            (authority.text(&format!("{name}.crt")), authority.text(&format!("{name}.key")));
        let ca = authority.text("ca.crt");
        let port_text = port.to_string();
        let tls = [
            ["--port", "0"],
            ["--tls-port", &port_text],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &ca],
            ["--tls-auth-clients", "yes"],
        ];
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let all = [&tls.concat()[..], args].concat();
        let (certificate, key) = (authority.text("client.crt"), authority.text("client.key"));
        let cli = ["--tls", "--insecure", "--cert", &certificate, "--key", &key];
        Self::start_with(port, owned(&all), owned(&cli))
    }

    fn start_with(port: u16, args: Vec<String>, cli: Vec<String>) -> Self {
        let mut server = Self { port, args, cli, dir: tempfile::tempdir().unwrap(), tool: Mutex::new(None) };
        server.restart();
        server
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it without a word to its clients.
    pub(super) fn kill(&mut self) {
        let tool = self.tool.lock().unwrap().take().unwrap();
        tool.signal(Signal::SIGKILL);
        tool.finish(DEADLINE);
    }

    /// Starts it again on the same port.
    pub(super) fn restart(&mut self) {
        let mut redis = command("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        // What it logs is shown when a wait fails.
        redis.args(["--logfile", "/dev/stderr"]).arg("--dir").arg(self.dir.path()).args(&self.args);
        let mut tool = Tool::start(redis, None);
        let listens = || TcpStream::connect(("127.0.0.1", self.port)).ok();
        tool.until("redis-server listens", DEADLINE, listens);
        *self.tool.lock().unwrap() = Some(tool);
    }

    pub(super) fn freeze(&self) {
        self.tool.lock().unwrap().as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    pub(super) fn thaw(&self) {
        self.tool.lock().unwrap().as_ref().unwrap().signal(Signal::SIGCONT);
    }

    /// The output of redis-cli, without the last newline.
    pub(super) fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let mut all = vec!["-p", &port];
        all.extend(self.cli.iter().map(String::as_str));
        all.extend(args);
        let done = succeed("redis-cli", &all, None);
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }

    /// Looks every 20 ms until it is so.
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let mut tool = self.tool.lock().unwrap().take().unwrap();
        tool.until(what, DEADLINE, || is_so().then_some(()));
        *self.tool.lock().unwrap() = Some(tool);
    }
}

/// A sentinel that notices a dead master within a second.
#[derive(Debug)]
pub(super) struct Sentinel(RedisServer);

impl Sentinel {
    /// Watches a server by the name `main`.
    pub(super) fn watch(master: &RedisServer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ([port], watched) = (ports::free(), master.port());
        let file = dir.path().join("sentinel.conf");
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        );
        std::fs::write(&file, configuration).unwrap();
        let mut sentinel = command("redis-server");
        sentinel.arg(&file).args(["--sentinel", "--logfile", "/dev/stderr", "--dir"]).arg(dir.path());
        let mut tool = Tool::start(sentinel, None);
        let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
        tool.until("the sentinel listens", DEADLINE, listens);
        Self(RedisServer { port, args: Vec::new(), cli: Vec::new(), dir, tool: Mutex::new(Some(tool)) })
    }

    pub(super) fn address(&self) -> String {
        self.0.address()
    }

    pub(super) fn cli(&self, args: &[&str]) -> String {
        self.0.cli(args)
    }

    pub(super) fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.0.until(what, is_so);
    }
}

/// For servers that are to be a cluster.
pub(super) const CLUSTERED: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];

/// Makes a cluster of servers, all masters, which share the slots evenly.
pub(super) fn cluster(nodes: Vec<RedisServer>) -> Vec<RedisServer> {
    let size = u32::try_from(nodes.len()).unwrap();
    for (index, node) in (0..).zip(&nodes) {
        let slots = [16384 * index / size, 16384 * (index + 1) / size - 1].map(|slot| slot.to_string());
        node.cli(&["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]]);
        node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
    }
    for node in &nodes[1..] {
        node.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port().to_string()]);
    }
    let known = format!("cluster_known_nodes:{size}");
    for node in &nodes {
        node.until("the cluster is whole", || {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&known)
        });
    }
    nodes
}

/// A certificate authority, and what it signed: `server` for the name redis.test, `node` for
/// 127.0.0.1, and `client`.
#[derive(Debug)]
pub(super) struct Authority(TempDir);

impl Authority {
    pub(super) fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.certificate("ca", "authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let (certificate, key) = (authority.text("ca.crt"), authority.text("ca.key"));
        let signed = ["-CA", &certificate, "-CAkey", &key, "-addext", "basicConstraints=CA:FALSE"];
        authority.certificate(
            "server",
            "redis",
            &[&signed[..], &["-addext", "subjectAltName=DNS:redis.test"]].concat(),
        );
        authority.certificate(
            "node",
            "redis",
            &[&signed[..], &["-addext", "subjectAltName=IP:127.0.0.1"]].concat(),
        );
        authority.certificate("client", "weir", &signed);
        authority
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    fn certificate(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, certificate) = (self.text(&format!("{name}.key")), self.text(&format!("{name}.crt")));
        let subject = format!("/CN={subject}");
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        args.extend(["-days", "2", "-subj", &subject, "-keyout", &key, "-out", &certificate]);
        args.extend(more);
        succeed("openssl", &args, None);
    }
}
