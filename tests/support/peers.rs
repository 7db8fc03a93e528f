//! Real servers that receive streams: nginx with its RTMP module, and srt-live-transmit.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::http1::Head;
use super::ports;
use super::shared::for_the_run;
use super::tool::{Tool, command};

/// Number of applications in nginx's configuration: the number of tests of one run that can have
/// one.
const APPLICATIONS: usize = 64;

/// nginx as an RTMP server that writes received streams to FLV files: one for all tests of a run.
#[derive(Debug)]
struct Nginx {
    tool: Tool,
    port: u16,
    home: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let home = tempfile::Builder::new().prefix("weir-rtmp").tempdir().unwrap();
        let [port] = ports::free();
        let root = home.path().display();
        // nginx knows applications only from its configuration.
        let applications: String = (0..APPLICATIONS)
            .map(|number| {
                let dir = home.path().join(number.to_string());
                std::fs::create_dir(&dir).unwrap();
                let path = dir.display();
                format!("application live-{number} {{ live on; record all; record_path {path}; record_suffix .flv; }} ")
            })
            .collect();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; pid {root}/pid; error_log stderr warn;
            events {{}}
            rtmp {{ server {{ listen 127.0.0.1:{port}; {applications} }} }}"
        );
        Self { tool: nginx(home.path(), &configuration, port), port, home }
    }

    fn shared() -> &'static Self {
        static SHARED: OnceLock<&Nginx> = OnceLock::new();
        SHARED.get_or_init(|| for_the_run(Self::start, |nginx| vec![nginx.home.path().to_owned()]))
    }
}

/// One test's own application of the RTMP server.
#[derive(Debug)]
pub(crate) struct RtmpServer {
    nginx: &'static Nginx,
    number: usize,
}

impl RtmpServer {
    pub(crate) fn start() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < APPLICATIONS, "more than {APPLICATIONS} tests want an RTMP server");
        Self { nginx: Nginx::shared(), number }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nginx.port))
    }

    /// The server's directory; removed at the end of the run.
    pub(crate) fn home(&self) -> &Path {
        self.nginx.home.path()
    }

    pub(crate) fn url(&self, key: &str) -> String {
        self.url_in(&format!("live-{}", self.number), key)
    }

    /// The address of a stream through a proxy at `addr`.
    pub(crate) fn url_at(&self, addr: SocketAddr, key: &str) -> String {
        format!("rtmp://{addr}/live-{}/{key}", self.number)
    }

    /// The address of a stream in an application that may not exist.
    pub(crate) fn url_in(&self, application: &str, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{application}/{key}", self.nginx.port)
    }

    /// The file of a stream, once the server has closed it. It stays until the end of the run.
    pub(crate) fn received(&self, key: &str) -> PathBuf {
        let file = self.nginx.home.path().join(self.number.to_string()).join(format!("{key}.flv"));
        let end = Instant::now() + Duration::from_secs(60);
        while !file.exists() || is_open_in(self.nginx.tool.pid(), &file) {
            assert!(
                Instant::now() < end,
                "{} is not finished:\n{}",
                file.display(),
                self.nginx.tool.stderr()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
        file
    }
}

/// Whether a process has a file open; there is no event for the closing of a file.
fn is_open_in(pid: i32, file: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == file)
}

/// Starts nginx with a configuration, in a directory; returns once it listens.
pub(crate) fn nginx(home: &Path, configuration: &str, port: u16) -> Tool {
    let file = home.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    // nginx dies with the thread that starts it, also when the tests are killed.
    let mut nginx = command("setpriv");
    nginx.args(["--pdeathsig", "KILL", "--", "/usr/sbin/nginx", "-p"]).arg(home).arg("-c").arg(&file);
    let mut nginx = Tool::start(nginx, None);
    let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
    nginx.until("nginx listens", Duration::from_secs(60), listens);
    nginx
}

/// nginx as an RTMP server that accepts the first publisher and rejects all others.
#[derive(Debug)]
pub(crate) struct RejectingRtmpServer {
    _nginx: Tool,
    port: u16,
    gate: SocketAddr,
    shared: Arc<Asked>,
    _home: tempfile::TempDir,
}

/// Publishers that asked for permission.
#[derive(Debug, Default)]
struct Asked {
    publishers: AtomicUsize,
    is_over: AtomicBool,
}

impl RejectingRtmpServer {
    pub(crate) fn start() -> Self {
        let gate = TcpListener::bind("127.0.0.1:0").unwrap();
        let (gate_addr, shared) = (gate.local_addr().unwrap(), Arc::new(Asked::default()));
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in gate.incoming().map_while(Result::ok) {
                    if shared.is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // nginx may disconnect in the middle.
                    answer_publisher(&stream, &shared).ok();
                }
            }
        });
        let home = tempfile::Builder::new().prefix("weir-rtmp").tempdir().unwrap();
        let [port] = ports::free();
        let root = home.path().display();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
            daemon off; master_process off; pid {root}/pid; error_log stderr warn;
            events {{}}
            rtmp {{ server {{ listen 127.0.0.1:{port};
                application live {{ live on; on_publish http://{gate_addr}/; }} }} }}"
        );
        Self { _nginx: nginx(home.path(), &configuration, port), port, gate: gate_addr, shared, _home: home }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Number of rejected publishers.
    pub(crate) fn rejected(&self) -> usize {
        self.shared.publishers.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for RejectingRtmpServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // The listener waits for a connection.
        drop(TcpStream::connect(self.gate));
    }
}

/// Accepts the first publisher and rejects all others.
fn answer_publisher(stream: &TcpStream, asked: &Asked) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    let Some(head) = Head::read(&mut from)? else { return Ok(()) };
    head.body().read(&mut from, || 64 << 10, |_| Ok(()))?;
    let is_first = asked.publishers.fetch_add(1, Ordering::Relaxed) == 0;
    let status = if is_first { "200 OK" } else { "403 Forbidden" };
    let mut to = stream;
    write!(to, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// srt-live-transmit as a listener that writes the received stream to a file.
#[derive(Debug)]
pub(crate) struct SrtServer {
    receiver: Tool,
    port: u16,
}

impl SrtServer {
    pub(crate) fn start() -> Self {
        let [port] = ports::free();
        let mut receiver = command("srt-live-transmit");
        // Packets later than the latency allows are kept: on a busy machine the receiver itself is
        // late.
        let listener = format!("srt://127.0.0.1:{port}?mode=listener&tlpktdrop=no");
        receiver.args(["-a", "no", &listener, "file://con"]);
        let mut receiver = Tool::start(receiver, None);
        let is_bound = || {
            let sockets = procfs::net::udp().unwrap_or_default();
            sockets.iter().any(|socket| socket.local_address.port() == port).then_some(())
        };
        receiver.until("srt-live-transmit listens", Duration::from_secs(60), is_bound);
        Self { receiver, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("srt://127.0.0.1:{}?mode=caller&latency=200", self.port)
    }

    /// The received MPEG-TS file. The receiver ends by itself when the sender disconnects.
    pub(crate) fn received(mut self) -> (PathBuf, tempfile::TempDir) {
        if self.receiver.exit_within(Duration::from_secs(5)).is_none() {
            self.receiver.signal(Signal::SIGINT);
        }
        let done = self.receiver.finish(Duration::from_secs(60));
        assert!(!done.stdout.is_empty(), "SRT: nothing arrived:\n{}", done.stderr);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("received.ts");
        std::fs::write(&path, done.stdout).unwrap();
        (path, dir)
    }
}
