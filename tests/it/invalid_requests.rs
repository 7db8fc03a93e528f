//! Requests and pages that can't be recorded.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::page_server::PageServer;
use crate::support::ports;
use crate::support::recorder::{Ended, Recorder, page, weir};
use crate::support::slots;
use crate::support::tool::succeed;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hides all programs from a recorder: a refusal must come before any of them is looked for.
pub(crate) fn without_programs(command: &mut Command) {
    command.env("PATH", "/nowhere");
}

/// All entries below a directory.
fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Asserts that `weir record` refuses with exit code 2 and names `words`, starts nothing, and
/// leaves nothing.
#[track_caller]
fn check(arguments: &[&str], words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a-file"), "").unwrap();
    let ended = Recorder::start_with(dir.path(), arguments, without_programs).finish(PATIENCE);
    assert_eq!(ended.status.code(), Some(2), "{arguments:?}:\n{}", ended.log);
    for word in words {
        assert!(ended.log.contains(word), "{arguments:?}: no word of {word:?} in:\n{}", ended.log);
    }
    assert_eq!(entries(dir.path()), ["a-file"], "{arguments:?} leaves nothing");
}

#[test]
fn an_invalid_request_is_refused_with_its_field() {
    let _slot = slots::light();
    let page = page("clock.html");
    let web = |more: &[&'static str]| -> Vec<String> {
        ["web", page.as_str()].iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let table: &[(&[&str], &[&str])] = &[
        (&["--file", "a.mp4", "--preset", "h264-721p-30"], &["preset", "h264-720p-30"]),
        (&["--file", "a.mp4", "--size", "1281x720"], &["width"]),
        (&["--file", "a.mp4", "--size", "1280x721"], &["height"]),
        (&["--file", "a.mp4", "--size", "8x8"], &["width"]),
        (&["--file", "a.mp4", "--fps", "0"], &["framerate"]),
        (&["--file", "a.ogg"], &["a.ogg"]),
        (&["--segments", "hls/a", "--audio-codec", "opus"], &["audio_codec"]),
        (&[], &["output"]),
        (&["--file", "a.ogg", "--audio-only", "--video-only"], &["--audio-only", "--video-only"]),
        (&["--images", "a", "--audio-only"], &["images"]),
        (&["--stream", "ftp://example.com/a"], &["ftp"]),
        (&["--stream", "rtmp://example.com"], &["rtmp"]),
        (&["--file", "a-file/a.mp4"], &["a-file"]),
        (&["--file", "/proc/a.mp4"], &["/proc"]),
    ];
    for (more, words) in table {
        let arguments = web(more);
        check(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    }
    check(&["web", "gopher://example.com", "--file", "a.mp4"], &["gopher"]);
    check(&["web", "not a url", "--file", "a.mp4"], &["url"]);
}

#[test]
fn a_request_in_json_is_refused_with_the_path_of_its_fault() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("request.json");
    for (json, words) in [
        (r#"{"url": "https://example.com", "fileOutputs": [{"filepath": "a.mp4", "colour": 1}]}"#, "colour"),
        (r#"{"url": "https://example.com", "fileOutputs": [{"filepath": 7}]}"#, "ile"),
        (r#"{"url": "https://example.com", "#, "line 1"),
    ] {
        std::fs::write(&file, json).unwrap();
        check(&["request", file.to_str().unwrap()], &[words]);
    }
}

#[test]
fn plan_prints_the_recording_and_starts_nothing() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let planned = weir(
        dir.path(),
        &["plan", "web", "https://example.com/", "--file", "a.mp4", "--preset", "h264-1080p-30"],
    );
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.status.success(), "{}", planned.stderr);
    for word in ["a.mp4", "1920", "1080", "4500"] {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
    assert!(entries(dir.path()).is_empty());
}

/// Records a page that can't be recorded; the reason must contain `words`.
#[track_caller]
fn fails(url: &str, more: &[&str], words: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let arguments = [&["web", url, "--file", "a.mp4", "--duration", "5s"], more].concat();
    let ended = Recorder::start(dir.path(), &arguments).finish(PATIENCE + PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{url}:\n{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_FAILED", "{url}: {}", ended.info);
    let error = ended.info["error"].as_str().unwrap_or_default();
    let said = format!("{error}\n{}", ended.log);
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "{url}: no word of {word:?} in:\n{said}");
    }
    assert!(!dir.path().join("a.mp4").exists(), "{url}: no file of a page that never came");
    ended
}

#[test]
fn a_missing_page_fails_with_its_status() {
    let _slot = slots::light();
    fails(&PageServer::start().url("/status/404"), &[], &["404"]);
}

#[test]
fn a_server_error_of_the_page_fails_with_its_status() {
    let _slot = slots::light();
    fails(&PageServer::start().url("/status/503"), &[], &["503"]);
}

#[test]
fn a_refused_connection_to_the_page_is_named() {
    let _slot = slots::light();
    fails(&format!("{}/", ports::nobody()), &[], &["refused"]);
}

#[test]
fn an_unknown_host_of_the_page_is_named() {
    let _slot = slots::light();
    fails("http://no-such-host.invalid/", &[], &["name"]);
}

#[test]
fn an_error_shown_by_the_page_is_in_the_failure() {
    let _slot = slots::light();
    fails(&PageServer::start().url("/pages/error.html"), &[], &["The room is closed."]);
}

#[test]
fn an_untrusted_certificate_is_refused() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    succeed(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
        None,
    );
    let [port] = ports::free();
    let mut server = crate::support::tool::command("openssl");
    server.args([
        "s_server",
        "-quiet",
        "-www",
        "-accept",
        &port.to_string(),
        "-key",
        &key,
        "-cert",
        &certificate,
    ]);
    let mut server = crate::support::tool::Tool::start(server, None);
    server.until("openssl listens", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    fails(&format!("https://localhost:{port}/"), &[], &["cert"]);
}

#[test]
fn a_start_that_fails_shows_the_page_s_own_words_and_a_screenshot() {
    let _slot = slots::encoder();
    let server = PageServer::start();
    let dir = tempfile::tempdir().unwrap();
    let url = server.url("/pages/waits.html");
    let arguments = ["web", &url, "--await-start-signal", "--file", "a.mp4"];
    let steps = |command: &mut Command| {
        command.env("WEIR_LOG", "info,weir=debug,chromiumoxide=error");
    };
    let mut recorder = Recorder::start_with(dir.path(), &arguments, steps);
    recorder.until_logged("the page is loaded");
    let is_answered = || server.was_requested("/pages/clock.html").then_some(());
    recorder.until("the page has its answer", is_answered);
    // The recorder hears of it meanwhile, which is visible only at the end.
    recorder.run_for(Duration::from_secs(2));
    recorder.signal(nix::sys::signal::Signal::SIGINT);
    let ended = recorder.finish(PATIENCE);
    assert_ne!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(ended.info["status"], "EGRESS_ABORTED", "{}", ended.info);
    assert_eq!(ended.info["error"], "Start signal not received", "{}", ended.info);
    let said = format!("{}\n{}", ended.stdout, ended.log);
    for words in ["Start signal not received", "the gate keeper is not at home", "503"] {
        assert!(said.contains(words), "no word of {words:?} in:\n{said}");
    }
    let mut folders = vec![dir.path().to_owned()];
    let mut screenshots = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.extension().and_then(|extension| extension.to_str()) {
                _ if entry.is_dir() => folders.push(entry),
                Some("png" | "jpeg") => screenshots += 1,
                _ => {}
            }
        }
    }
    assert_eq!(screenshots, 1, "a screenshot in the work directory");
}
