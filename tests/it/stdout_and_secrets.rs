//! Unprintable results are errors, and no error shows a secret from the command line.

use std::fs::File;
use std::process::Stdio;

use crate::support::recorder::weir;
use crate::support::slots;
use crate::support::tool::command;

#[test]
fn a_closed_stdout_is_an_error_without_panic() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    let configuration =
        "api_key: a-key\napi_secret: a-secret-that-is-long-enough-to-be-one\nport: 7981\nunknown: 1\n";
    std::fs::write(dir.path().join("weir.yaml"), configuration).unwrap();
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["plan", "web", "https://example.com", "--file", "a.mp4"],
        &["doctor"],
        &["recover", "."],
        &["serve", "--check", "--config", "weir.yaml"],
        &["--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut program = command(env!("CARGO_BIN_EXE_weir"));
        let done =
            program.args(arguments).current_dir(dir.path()).stdout(Stdio::from(full)).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("can't print") && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn addresses_come_from_a_file_or_the_environment_and_are_not_shown() {
    let _slot = slots::light();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("streams"), "# mine\nrtmp://a.example/app/HUNTER2KEY\n").unwrap();
    let planned = weir(dir.path(), &["plan", "web", "https://example.com", "--stream-file", "streams"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.status.success() && text.contains("a.example"), "{text}{}", planned.stderr);
    assert!(!text.contains("HUNTER2KEY"), "{text}");

    let mut program = command(env!("CARGO_BIN_EXE_weir"));
    program.args(["plan", "web", "https://example.com"]).current_dir(dir.path());
    let done = program.env("WEIR_STREAM", "rtmp://b.example/app/HUNTER2KEY").output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("b.example") && !text.contains("HUNTER2KEY"), "{text}");

    let wrong = weir(dir.path(), &["plan", "web", "https://example.com", "rtmp://a.example/app/HUNTER2KEY"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("HUNTER2KEY"), "{}", wrong.stderr);
}
