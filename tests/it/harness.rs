//! The tests' own tools: the watch finds leftovers, and the peers receive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::layout;
use crate::support::leftovers::Watch;
use crate::support::measure::audio::{beeps, samples};
use crate::support::measure::frames::frames;
use crate::support::measure::timing::{av_offsets, cadence};
use crate::support::page_server::PageServer;
use crate::support::peers::{RtmpServer, SrtServer};
use crate::support::ports;
use crate::support::slots;
use crate::support::synthetic::Synthetic;
use crate::support::tool::{Tool, command, succeed};

/// Runs a shell script in the role of the recorder; returns the watch's findings after its end. The
/// script gets SIGTERM when the watch has seen a process of it with the argument `seen`.
fn left_by(script: &str, seen: &str) -> Option<String> {
    let before = Watch::before();
    let mut shell = command("bash");
    shell.args(["-c", script]);
    let tool = Tool::start(shell, None);
    let watch = Watch::start(tool.pid(), before);
    watch.until_seen(seen);
    tool.signal(Signal::SIGTERM);
    tool.finish(Duration::from_secs(60));
    // Shorter than the life of the processes that the scripts leave behind.
    let look = || watch.assert_nothing_left_within(Duration::from_secs(10), || {});
    let caught = catch_unwind(AssertUnwindSafe(look));
    caught.err().map(|panic| *panic.downcast::<String>().unwrap())
}

#[test]
fn a_test_without_leftovers_passes() {
    let _slot = slots::light();
    assert_eq!(left_by("trap 'kill $!; exit' TERM; sleep 119 & wait", "119"), None);
}

#[test]
fn a_process_that_stays_is_found() {
    let _slot = slots::light();
    let script = "trap exit TERM; sleep 120 >/dev/null 2>&1 & wait";
    let found = left_by(script, "120").expect("the sleeper is found");
    assert!(found.contains("sleep 120"), "{found}");
}

#[test]
fn a_process_that_has_left_its_group_is_found() {
    let _slot = slots::light();
    let script = "trap exit TERM; setsid sleep 121 >/dev/null 2>&1 & wait";
    let found = left_by(script, "121").expect("the sleeper is found");
    assert!(found.contains("sleep 121"), "{found}");
}

#[test]
fn a_directory_that_a_child_was_given_and_that_stays_is_found() {
    let _slot = slots::light();
    let dir = tempfile::Builder::new().prefix("weir-harness").tempdir().unwrap();
    let inside = dir.path().join("made");
    // Created after the watch has begun: earlier entries are not the recorder's.
    let name = dir.path().to_str().unwrap().to_owned();
    dir.close().unwrap();
    let child = format!("--dir={}", inside.display());
    // The whole group ends, and only the directory stays.
    let script =
        format!("trap 'trap - TERM; kill 0' TERM; mkdir {name}; bash -c 'sleep 122; exit' {child} & wait");
    let found = left_by(&script, &child);
    std::fs::remove_dir(&name).unwrap();
    assert!(found.expect("the directory is found").contains(&name));
}

/// Pushes a video to an address in real time.
fn push(video: &Path, format: &str, url: &str) {
    let args = ["-v", "error", "-re", "-i", video.to_str().unwrap(), "-c", "copy", "-f", format, url];
    succeed("ffmpeg", &args, None);
}

#[track_caller]
fn assert_received(path: &Path, pictures_at_least: usize) {
    let all = frames(path, &layout::synthetic());
    let all: Vec<_> = all.into_iter().skip_while(|frame| frame.torn()).collect();
    assert!(all.len() >= pictures_at_least, "{} pictures", all.len());
    let measured = cadence(&all);
    assert!(measured.torn == 0 && (measured.distinct - 30.0).abs() < 0.2, "{measured:?}");
    for (at, late) in av_offsets(&all, &beeps(&samples(path))) {
        assert!(late.abs() < 0.003, "at {at} s: {late} s");
    }
}

#[test]
fn the_peers_receive_what_is_sent_to_them() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("video.mp4");
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "30", "-c:a", "aac"];
    Synthetic::new(30, 4).write(&video, &codecs);

    let rtmp = RtmpServer::start();
    push(&video, "flv", &rtmp.url("key"));
    let flv = rtmp.received("key");
    assert_received(&flv, 110);

    let srt = SrtServer::start();
    // A second of latency, as both may be late.
    push(&video, "mpegts", &srt.url().replace("latency=200", "latency=1000000"));
    let (ts, _dir) = srt.received();
    assert_received(&ts, 40);
}

/// Head and body of an answer.
fn ask(url: &str, header: &str) -> (String, Vec<u8>) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn the_page_server_serves_pages_statuses_and_parts() {
    let _slot = slots::light();
    let server = PageServer::start();
    let page = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages/clock.html")).unwrap();
    let (head, body) = ask(&server.url("/pages/clock.html?end=3"), "");
    assert!(head.starts_with("HTTP/1.1 200") && body == page, "{head}");
    assert!(ask(&server.url("/status/503"), "").0.starts_with("HTTP/1.1 503"));
    assert!(ask(&server.url("/elsewhere"), "").0.starts_with("HTTP/1.1 404"));
    let (head, body) = ask(&server.url("/pages/clock.html"), "Range: bytes=10-19\r\n");
    assert!(head.starts_with("HTTP/1.1 206") && body == page[10..20], "{head}");
}

/// A sender to a stalled server notices it within seconds, and loses nothing.
#[test]
fn a_proxy_that_is_offline_takes_little_and_passes_it_on_later() {
    let _slot = slots::light();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::of_bytes(listener.local_addr().unwrap());
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut word = [0; 5];
    client.write_all(b"there").unwrap();
    server.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"there");
    server.write_all(b"back!").unwrap();
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"back!");

    proxy.set(Fault::Offline);
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut taken = 0;
    while let Ok(more) = client.write(&[7; 4096]) {
        taken += more;
        assert!(taken < 500_000, "it goes on to take what is sent");
    }
    proxy.set(Fault::None);
    let mut all = vec![0; taken];
    server.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 7));
}

/// A child has copies of all sockets until it executes its program. With 1,000 children, some have
/// them at the moment at which a socket stops listening.
#[test]
fn a_closed_listener_has_stopped_at_once() {
    let _slot = slots::light();
    let children = std::thread::spawn(|| {
        for _ in 0..1000 {
            assert!(command("true").status().unwrap().success());
        }
    });
    let is_refused = |address: SocketAddr| {
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    };
    while !children.is_finished() {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::closed()));
        is_refused(address);
        for _ in 0..2 {
            let listener = TcpListener::bind(address).unwrap();
            ports::stop_listening(listener);
            is_refused(address);
        }
    }
    children.join().unwrap();
}

/// Marks a test that runs in a program of its own, with a part of its starter's slot. Its value is
/// `waits` if the program will be killed.
const NESTED: &str = "WEIR_TEST_NESTED";

/// A server of the run, started by the first test that needs it.
#[test]
fn a_run_has_servers_of_its_own() {
    let nested = std::env::var(NESTED);
    let _slot = nested.is_err().then(slots::light);
    let server = RtmpServer::start();
    eprintln!("nginx: {}", serde_json::json!([server.addr(), server.home()]));
    TcpStream::connect(server.addr()).unwrap();
    while nested.as_deref() == Ok("waits") {
        std::thread::park();
    }
}

#[test]
fn servers_and_their_files_are_gone_however_a_run_ends() {
    let _slot = slots::light();
    let nginx = |log: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix("nginx: "))?;
        serde_json::from_str::<(SocketAddr, PathBuf)>(line).ok()
    };
    for ends in ["by itself", "waits"] {
        let mut run = command(std::env::current_exe().unwrap());
        run.args(["--exact", "harness::a_run_has_servers_of_its_own", "--nocapture"]).env(NESTED, ends);
        let mut run = Tool::start(run, None);
        let (addr, home) = if ends == "waits" {
            let log = run.log();
            let found = run.until("nginx runs", Duration::from_secs(60), || nginx(&log.lock().unwrap()));
            run.signal(Signal::SIGKILL);
            found
        } else {
            let done = run.finish(Duration::from_secs(60));
            nginx(&done.stderr).unwrap_or_else(|| panic!("{}", done.stderr))
        };
        let end = Instant::now() + Duration::from_secs(60);
        while home.exists() || TcpStream::connect(addr).is_ok() {
            assert!(Instant::now() < end, "{ends}: {} or what listens at {addr} stays", home.display());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
