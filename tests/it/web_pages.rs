//! The built pages in a real Chromium, with a real livekit-server: runs the tests of `web/tests`.

use std::path::Path;
use std::time::Duration;

use crate::support::slots;
use crate::support::tool::{Tool, command};

#[test]
fn the_pages_pass_their_tests_in_a_browser() {
    let _slot = slots::heavy();
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    assert!(web.join("node_modules/vitest").is_dir(), "vitest is missing: `make web` installs it");
    let mut npm = command("npm");
    npm.args(["run", "test:browser"]).env("NO_COLOR", "1").current_dir(web);
    let done = Tool::start(npm, None).finish(Duration::from_secs(600));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", done.stderr);
    // `      Tests  14 passed (14)`
    let passed = said.lines().find(|line| line.contains("Tests ") && line.contains(" passed"));
    assert!(passed.is_some(), "{said}");
}
