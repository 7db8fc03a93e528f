//! Pages as found in the field: with workers, password-protected parts, parts that never load,
//! dialogs, and servers that disappear.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::layout::Region;
use crate::support::measure::frames::{Snapshot, colour_distance};
use crate::support::measure::{Probe, assert_decodable};
use crate::support::page_server::PageServer;
use crate::support::recorder::Recorder;
use crate::support::slots;

const PATIENCE: Duration = Duration::from_secs(120);
/// Tolerance for colours: encoders and a busy machine change them a bit.
const NEARLY: u8 = 12;

/// A non-loopback address of this machine. Without one, pages are on loopback, and reach it anyway.
pub(super) fn own_address() -> Ipv4Addr {
    // No datagram is sent.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let address = socket.connect(("192.0.2.1", 9)).and_then(|()| socket.local_addr());
    match address.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if !address.is_loopback() && !address.is_unspecified() => address,
        _ => {
            eprintln!("this machine has loopback alone: local network access is not tried");
            Ipv4Addr::LOCALHOST
        }
    }
}

#[test]
fn a_page_has_what_it_asks_for_and_nothing_of_the_browser_over_it() {
    let _slot = slots::browser();
    let dir = tempfile::tempdir().unwrap();
    let (pages, near) = (PageServer::start(), PageServer::start_on(own_address()));
    let near = near.url(&format!("/pages/field-near.html?other={}", pages.url("/pages/clock.html")));
    let near: String = url::form_urlencoded::byte_serialize(near.as_bytes()).collect();
    // A passkey needs a host name.
    let url = pages.url(&format!("/pages/field.html?near={near}")).replacen("127.0.0.1", "localhost", 1);
    let recorder = Recorder::start(
        dir.path(),
        &[
            "web",
            &url,
            "--await-start-signal",
            "--file",
            "field.mp4",
            "--size",
            "640x360",
            "--duration",
            "5s",
        ],
    );
    let ended = recorder.finish(PATIENCE).complete();
    let path = ended.path("field.mp4");
    assert_decodable(&path);
    let still = Snapshot::at(&path, 4.0);
    // In the order of the page.
    let cells = [
        "service worker",
        "workers",
        "password",
        "WebGL",
        "notification",
        "focus",
        "dialogs",
        "print",
        "screen",
        "local network",
        "fonts (those of scripts/packages.sh)",
        "other programs",
        "prompts",
    ];
    let seen = cells.iter().enumerate().map(|(at, name)| {
        let (x, y) = ((at % 5) as f64 / 5.0, (at / 5) as f64 / 3.0);
        // The last cell spans the rest of its row.
        let width = if at + 1 == cells.len() { 1.0 - x } else { 0.2 };
        (*name, still.colour(Region::new(x, y, width, 1.0 / 3.0)))
    });
    let wrong: Vec<_> = seen.filter(|(_, colour)| colour_distance(*colour, [40, 170, 80]) > NEARLY).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{}", ended.log);
}

/// The page's address also contains a user and a password.
#[test]
fn a_page_without_a_part_and_then_without_its_server_is_shown_all_the_time() {
    let _slot = slots::encoder();
    let dir = tempfile::tempdir().unwrap();
    let mut pages = PageServer::start();
    let url = pages.url("/basic/pages/gone.html").replacen("http://", "http://ann:s3cret@", 1);
    let arguments = ["web", &url, "--file", "gone.mp4", "--size", "640x360", "--fps", "15"];
    let mut recorder = Recorder::start(dir.path(), &arguments);
    recorder.until_logged("the page is shown");
    recorder.run_for(Duration::from_secs(2));
    pages.go_away();
    recorder.until_logged("a navigation of the page failed");
    recorder.run_for(Duration::from_secs(4));
    pages.come_back();
    recorder.until_logged("the page is back");
    recorder.run_for(Duration::from_secs(2));
    recorder.signal(Signal::SIGINT);
    let ended = recorder.finish(PATIENCE).complete();

    let details = ended.info["details"].as_str().unwrap_or_default();
    for words in [
        "/hang: the request was still pending",
        "interrupted at ",
        "page load error: http://127.0.0.1",
        "back after ",
    ] {
        assert!(details.contains(words), "no word of {words:?} in: {details}\n{}", ended.log);
    }
    for said in [details, &ended.log, &ended.stdout] {
        assert!(!said.contains("s3cret"), "{said}");
    }
    let path = ended.path("gone.mp4");
    assert_decodable(&path);
    let length = Probe::of(&path).duration;
    assert!(length > 8.0, "{length} s");
    // Neither a dialog nor an error page, at any time.
    for second in 0..(length - 0.5) as u32 {
        let seen = Snapshot::at(&path, f64::from(second) + 0.3).colour(Region::new(0.0, 0.0, 1.0, 0.9));
        assert!(colour_distance(seen, [40, 90, 220]) <= NEARLY, "{seen:?} at {second} s\n{}", ended.log);
    }
}
