//! Real servers to stream to: nginx with its RTMP module, `srt-live-transmit`, and a server that
//! reads nothing.
//!
//! Depends on nothing of ours, so that the integration tests can take this file as it is. Each peer
//! is a child process or socket of its own on a free port, and gone when its value is dropped.

#![allow(
    clippy::disallowed_methods,
    reason = "test peers are no part of a recording; they are killed on drop"
)]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ports;

/// A child that is killed when it is dropped.
struct Kept(Child);

impl Kept {
    fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Asks every 10 ms until it is so; `false` at the deadline.
pub(crate) fn wait_until(within: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// nginx with three applications: `live` records every publisher to a file, `denied` refuses every
/// publisher by its hook, `unlisted` drops every publisher after it was let in.
pub(crate) struct RtmpServer {
    dir: PathBuf,
    port: u16,
    process: Option<Kept>,
}

impl RtmpServer {
    /// Starts the server; its files go to `dir`, which must be empty.
    pub(crate) fn start(dir: &Path) -> Self {
        let recordings = dir.join("recordings");
        fs::create_dir(&recordings).unwrap();
        // nginx changes its user in the worker; in the foreground without a master it does not, but
        // be safe.
        let [port, hook] = ports::free();
        let conf = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
             daemon off; master_process off; error_log stderr info; pid {dir}/pid;
             events {{ worker_connections 64; }}
             rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096;
               application live {{ live on; record all; record_path {dir}/recordings; record_unique on; }}
               application denied {{ live on; on_publish http://127.0.0.1:{hook}/; }}
               application unlisted {{ live on; deny publish all; }}
             }} }}
             http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
               fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
               server {{ listen 127.0.0.1:{hook}; location / {{ return 403; }} }} }}",
            dir = dir.display(),
        );
        fs::write(dir.join("nginx.conf"), conf).unwrap();
        let mut server = Self { dir: dir.to_owned(), port, process: None };
        server.restart();
        server
    }

    /// The address of a stream in an application.
    pub(crate) fn url(&self, app: &str, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{app}/{key}", self.port)
    }

    /// Kills the server without a word to its publishers.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new("nginx")
            .args([Path::new("-p"), &self.dir, Path::new("-c"), &self.dir.join("nginx.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("install nginx and libnginx-mod-rtmp");
        self.process = Some(Kept(child));
        let listens =
            wait_until(Duration::from_secs(60), || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        assert!(listens, "nginx does not listen: {}", self.log());
    }

    /// Stops it from reading, with its connections open.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal("-STOP");
    }

    /// Lets it read again.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal("-CONT");
    }

    /// Waits until nginx has closed its recordings, and returns them, the oldest first.
    pub(crate) fn recordings(&self) -> Vec<PathBuf> {
        let recordings = self.dir.join("recordings");
        if let Some(process) = &self.process {
            let open = format!("/proc/{}/fd", process.0.id());
            let is_closed = || {
                let files = fs::read_dir(&open).unwrap().filter_map(Result::ok);
                let mut paths = files.filter_map(|file| fs::read_link(file.path()).ok());
                !paths.any(|path| path.starts_with(&recordings))
            };
            assert!(wait_until(Duration::from_secs(60), is_closed), "nginx does not end its files");
        }
        let entries = fs::read_dir(recordings).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        files
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("nginx.log")
    }
}

/// `srt-live-transmit`, writing what it gets to a file.
pub(crate) struct SrtServer {
    file: PathBuf,
    port: u16,
    query: String,
    process: Option<Kept>,
}

impl SrtServer {
    /// Listens on a free port. `query` is added to the listener's address (`&passphrase=…`), and
    /// may be empty.
    pub(crate) fn start(file: &Path, query: &str) -> Self {
        let [port] = ports::free();
        let mut server = Self { file: file.to_owned(), port, query: query.to_owned(), process: None };
        server.restart();
        server
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("srt://127.0.0.1:{}?{query}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Listens again on the same port, and goes on in the same file.
    pub(crate) fn restart(&mut self) {
        // The receiver keeps late packets: on a busy machine it is late itself.
        self.run(&format!("srt://127.0.0.1:{}?mode=listener&tlpktdrop=no{}", self.port, self.query));
        // An SRT listener has a bound UDP socket; the kernel lists it by its port in hexadecimal
        // digits.
        let socket = format!("0100007F:{:04X} ", self.port);
        let listens = || fs::read_to_string("/proc/net/udp").unwrap().contains(&socket);
        assert!(wait_until(Duration::from_secs(60), listens), "srt-live-transmit does not listen");
    }

    /// Calls a listener instead of being one.
    pub(crate) fn call(file: &Path, port: u16) -> Self {
        let mut caller = Self { file: file.to_owned(), port, query: String::new(), process: None };
        caller.run(&format!("srt://127.0.0.1:{port}?mode=caller&tlpktdrop=no"));
        caller
    }

    fn run(&mut self, from: &str) {
        let file = File::options().create(true).append(true).open(&self.file).unwrap();
        let child = Command::new("srt-live-transmit")
            .args(["-q", "-a:no", from, "file://con"])
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .expect("install srt-tools");
        self.process = Some(Kept(child));
    }

    /// Waits until the end of the stream has ended it, and all is written.
    pub(crate) fn received(mut self) -> PathBuf {
        if let Some(mut process) = self.process.take() {
            let ended = wait_until(Duration::from_secs(60), || process.0.try_wait().unwrap().is_some());
            assert!(ended, "srt-live-transmit does not see the end of the stream");
        }
        self.file
    }
}

/// Takes connections and never reads.
pub(crate) struct DeafServer {
    listener: TcpListener,
}

impl DeafServer {
    pub(crate) fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub(crate) fn url(&self, key: &str) -> String {
        format!("rtmp://{}/app/{key}", self.listener.local_addr().unwrap())
    }
}
