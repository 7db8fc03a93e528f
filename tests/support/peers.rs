//! Real servers that receive streams: nginx with its RTMP module, and srt-live-transmit.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::tool::{Tool, command};

/// nginx as an RTMP server that writes what it receives to FLV files.
#[derive(Debug)]
pub(crate) struct RtmpServer {
    nginx: Tool,
    port: u16,
    dir: tempfile::TempDir,
}

impl RtmpServer {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = dir.path().display();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; pid {root}/pid; error_log stderr warn;
            events {{}}
            rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{
                live on; record all; record_path {root}; record_suffix .flv;
            }} }} }}"
        );
        Self { nginx: nginx(dir.path(), &configuration, port), port, dir }
    }

    pub(crate) fn url(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{key}", self.port)
    }

    /// Ends the server, which finishes the file; where it is, with the directory that holds it.
    pub(crate) fn received(self, key: &str) -> (PathBuf, tempfile::TempDir) {
        self.nginx.signal(Signal::SIGQUIT);
        self.nginx.finish(Duration::from_secs(10));
        (self.dir.path().join(format!("{key}.flv")), self.dir)
    }
}

/// nginx with this configuration, in a directory, once it listens.
pub(crate) fn nginx(home: &Path, configuration: &str, port: u16) -> Tool {
    let file = home.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut nginx = command("/usr/sbin/nginx");
    nginx.arg("-p").arg(home).arg("-c").arg(&file);
    let mut nginx = Tool::start(nginx, None);
    let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
    nginx.until("nginx listens", Duration::from_secs(10), listens);
    nginx
}

/// srt-live-transmit as a listener that keeps what it receives.
#[derive(Debug)]
pub(crate) struct SrtServer {
    receiver: Tool,
    port: u16,
}

impl SrtServer {
    pub(crate) fn start() -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut receiver = command("srt-live-transmit");
        receiver.args(["-a", "no", &format!("srt://127.0.0.1:{port}?mode=listener"), "file://con"]);
        Self { receiver: Tool::start(receiver, None), port }
    }

    pub(crate) fn url(&self) -> String {
        format!("srt://127.0.0.1:{}?mode=caller&latency=200", self.port)
    }

    /// What it received, as an MPEG-TS file. It ends by itself when the sender goes.
    pub(crate) fn received(mut self) -> (PathBuf, tempfile::TempDir) {
        if self.receiver.exit_within(Duration::from_secs(5)).is_none() {
            self.receiver.signal(Signal::SIGINT);
        }
        let done = self.receiver.finish(Duration::from_secs(5));
        assert!(!done.stdout.is_empty(), "SRT: nothing arrived:\n{}", done.stderr);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("received.ts");
        std::fs::write(&path, done.stdout).unwrap();
        (path, dir)
    }
}

/// A port of loopback on which nothing listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
