//! Silent connections: they cost recordings nothing, and take no place from active callers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::page_server::PageServer;
use crate::support::ports;
use crate::support::recorder::{Recorder, page};
use crate::support::service::Serve;
use crate::support::slots;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins requests and sends nothing more; reopens connections that the listener closes meanwhile.
fn hold(port: u16, count: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").ok()?;
        Some(stream)
    };
    (0..count).filter_map(open).collect()
}

#[test]
fn a_thousand_half_open_connections_stop_neither_callers_nor_recordings() {
    let _slot = slots::encoder();
    // The ends of all connections are in two processes; this one is the test's.
    weir::process::raise_open_files();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let [health] = ports::free();
    // The recorder raises its own limit to the hard limit, and inherits nothing of this process's.
    let configuration = format!("health_port: {health}");
    let mut service = Serve::start_with_open_files(dir.path(), &configuration, 1024, 4096);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let open_files: Vec<&str> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(open_files, ["4096", "4096"], "{limits}");
    let api: u16 = service.callers().url().rsplit(':').next().unwrap().parse().unwrap();
    let held = [hold(api, 1024), hold(health, 1024)];
    assert!(held.iter().all(|held| held.len() > 900), "the listeners take connections");

    // While they are open: the health page, a start, the recorder's own files, a stop.
    let (status, body) = service.callers().get(&format!("http://127.0.0.1:{health}/healthz"));
    assert_eq!((status, body.contains("ok")), (200, true), "{body}");
    let file = dir.path().join("clock.mp4");
    let id = service.callers().start(&json!({
        "url": pages.url("/pages/clock.html"),
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "advanced": { "width": 640, "height": 360, "framerate": 15, "video_bitrate": 800 },
    }));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    let more = [hold(api, 512), hold(health, 512)];
    service.callers().stop(&id).unwrap();
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    assert!(!service.log().contains("Too many open files"), "{}", service.log());
    drop((held, more));
    service.end();
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let [health] = ports::free();
    let service = Serve::start(dir.path(), &format!("health_port: {health}"));
    let mut held = hold(health, 1);
    let mut said = Vec::new();
    held[0].set_read_timeout(Some(PATIENCE)).unwrap();
    held[0].read_to_end(&mut said).expect("the connection is closed");
    assert!(!String::from_utf8_lossy(&said).contains("200 OK"));
    service.end();
}

#[test]
fn a_request_with_thousands_of_receivers_is_refused() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let service = Serve::start(dir.path(), "");
    let webhooks: Vec<_> =
        (0..20_000).map(|at| json!({ "url": format!("http://127.0.0.1:9/{at}") })).collect();
    let request = json!({
        "url": "https://example.com",
        "file_outputs": [{ "filepath": "a.mp4" }],
        "webhooks": webhooks,
    });
    let refused = service.callers().call("StartWebEgress", &request).unwrap_err();
    assert_eq!(refused.code, "invalid_argument");
    assert!(refused.message.contains("webhooks: 20000 entries"), "{refused:?}");
    service.end();
}

/// Files of other programs in `/dev/shm` and beside an output.
#[test]
fn foreign_files_in_the_way_of_a_recording_are_left_alone() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Looks like a killed recorder's directory to every start, at its current and at its old place.
    let shared = Path::new("/dev/shm");
    let own = weir::files::of_this_user(shared);
    weir::files::private_dir(&own).unwrap();
    let places = [shared.join("weir-trap"), own.join("run-trap"), own.join(".new-trap")];
    let traps: Vec<PathBuf> = places
        .iter()
        .flat_map(|place| ["link", "pipe"].map(|kind| PathBuf::from(format!("{}-{kind}", place.display()))))
        .collect();
    for trap in &traps {
        std::fs::create_dir_all(trap).unwrap();
        let lock = trap.join("lock");
        std::fs::remove_file(&lock).ok();
        match trap.to_str().unwrap().ends_with("link") {
            true => symlink(&victim, &lock).unwrap(),
            false => nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        }
    }
    let url = page("clock.html");
    let record = |file: &str| {
        let arguments = ["web", url.as_str(), "--file", file, "--duration", "2s", "--size", "640x360"];
        Recorder::start(dir.path(), &arguments).finish(PATIENCE + PATIENCE)
    };
    let ended = record("a.mp4");
    for trap in &traps {
        std::fs::remove_dir_all(trap).ok();
    }
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");

    // A directory that is a link elsewhere is refused with a message.
    symlink("/nowhere", dir.path().join(".weir")).unwrap();
    let ended = record("b.mp4");
    assert_ne!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("symbolic link"), "{}", ended.log);
}
