//! A recorded page can't reach the service that records it.

use std::time::Duration;

use serde_json::json;

use super::PATIENCE;
use crate::support::layout::Region;
use crate::support::measure::frames::Snapshot;
use crate::support::page_server::PageServer;
use crate::support::ports;
use crate::support::service::Serve;
use crate::support::slots;

const YES: [u8; 3] = [40, 170, 80];

#[test]
fn a_page_reaches_what_runs_on_its_machine_but_the_services_own_ports() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let (pages, other) = (PageServer::start(), PageServer::start());
    let own: [u16; 4] = ports::free();
    let [console, health, metrics, debug] = own;
    let configuration = format!(
        "console_port: {console}\nhealth_port: {health}\nprometheus_port: {metrics}\ndebug_handler_port: {debug}\n\
         allow_link_local: true"
    );
    let mut service = Serve::start(dir.path(), &configuration);
    let api = service.callers().url().rsplit_once(':').unwrap().1.to_owned();
    let asked: Vec<String> = own.iter().map(u16::to_string).chain([api]).collect();
    let page =
        format!("/pages/own_ports.html?ports={}&other={}", asked.join(","), other.url("/pages/clock.html"));
    let file = dir.path().join("own-ports.mp4");
    let id = service.callers().start(&json!({
        "url": pages.url(&page),
        "await_start_signal": true,
        "file_outputs": [{ "filepath": file.display().to_string() }],
        "advanced": { "width": 640, "height": 360, "framerate": 15, "video_bitrate": 800 },
    }));
    service.until_status(&id, &["EGRESS_ACTIVE"], PATIENCE);
    std::thread::park_timeout(Duration::from_secs(2));
    service.callers().stop(&id).unwrap();
    let info = service.until_over(&id, PATIENCE);
    assert_eq!(info["status"], "EGRESS_COMPLETE", "{info}");
    let still = Snapshot::at(&file, 0.5);
    let log = service.end().stderr;
    for (left, what) in [(0.0, "nothing of the service answers"), (0.5, "another server does")] {
        let colour = still.colour(Region::new(left, 0.0, 0.5, 1.0));
        let is_so = colour.iter().zip(YES).all(|(seen, expected)| seen.abs_diff(expected) <= 12);
        assert!(is_so, "{what}: {colour:?}\n{log}");
    }
    for port in &asked {
        let refused =
            |line: &str| line.contains("refused: a page wants") && line.contains(&format!(":{port}"));
        assert!(log.lines().any(refused), "{port}: {log}");
    }
}

#[test]
fn a_page_that_leads_to_the_console_is_not_recorded() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let pages = PageServer::start();
    let mut service = Serve::start(dir.path(), "");
    let console = format!("{}/", service.callers().url());
    let redirect = pages.url(&format!("/redirect/{}", console.trim_start_matches("http://")));
    for url in [redirect, console.replace("127.0.0.1", "localhost")] {
        let file = dir.path().join("console.mp4").display().to_string();
        let id = service.callers().start(&json!({ "url": url, "file_outputs": [{ "filepath": file }] }));
        let info = service.until_over(&id, PATIENCE);
        assert_eq!(info["status"], "EGRESS_FAILED", "{info}");
        let error = info["error"].as_str().unwrap();
        assert!(error.contains("a port of the service that records it"), "{error}");
    }
    service.end();
}
