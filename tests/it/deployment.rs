//! The parts of an image that can be tested without a container: entry point, health check, and the
//! browser's sandbox behind the seccomp profile.
//!
//! Programs run as in a container: as an unprivileged user, in directories of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::page_server::PageServer;
use crate::support::slots;
use crate::support::tool::{Finished, Tool, command};

/// Debian's `nobody`.
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(120);

/// Directories and programs of an unprivileged user. Everybody can read its files.
struct UnprivilegedUser {
    home: tempfile::TempDir,
}

impl UnprivilegedUser {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("weir-somebody").tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { home }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// Copies a file of the project to a place that the user can read: the project may be readable
    /// by root only.
    fn copy(&self, file: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let to = self.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    }

    /// Prepares a command of that user, without privileges and without a way to gain any.
    fn command<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        let mut command = command("setpriv");
        if nix::unistd::geteuid().is_root() {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"]);
        }
        command.args(["--inh-caps=-all", "--no-new-privs", "--"]).args(words);
        command.env_clear().env("HOME", self.path()).env("PATH", "/usr/bin:/bin").current_dir(self.path());
        command
    }
}

/// Runs the entry point with a stand-in for `weir` that prints how it was called.
struct EntryPoint {
    somebody: UnprivilegedUser,
    script: PathBuf,
}

impl EntryPoint {
    fn new() -> Self {
        let somebody = UnprivilegedUser::new();
        let script = somebody.copy("docker/entrypoint.sh");
        let weir = somebody.path().join("weir");
        let tells =
            "#!/bin/sh\necho \"words $*\"\necho \"pid $$\"\necho \"files $(ulimit -S -n)\"\nexec env\n";
        fs::write(&weir, tells).unwrap();
        fs::set_permissions(&weir, fs::Permissions::from_mode(0o755)).unwrap();
        Self { somebody, script }
    }

    /// The user's own state directory; creates it if it is missing.
    fn state(&self) -> PathBuf {
        self.somebody.path().join("state")
    }

    fn run(&self, words: &[&str], set: &[(&str, &str)]) -> (i32, Finished) {
        let script = self.script.to_str().unwrap();
        let mut command = self.somebody.command(&[&[script], words].concat());
        command
            .env("PATH", format!("{}:/usr/bin:/bin", self.somebody.path().display()))
            .env("STATE_DIRECTORY", self.state())
            .envs(set.iter().copied());
        let tool = Tool::start(command, None);
        (tool.pid(), tool.finish(PATIENCE))
    }
}

fn said(done: &Finished) -> Vec<String> {
    String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_entry_point_prepares_and_becomes_weir() {
    let _slot = slots::light();
    let entry = EntryPoint::new();
    let (pid, done) = entry.run(&[], &[("EGRESS_CONFIG_BODY", "redis: {address: a}")]);
    let done = done.succeeded();
    let lines = said(&done);
    assert_eq!(lines[0], "words serve");
    // The shell is gone and has become the service, so that signals reach it.
    assert_eq!(lines[1], format!("pid {pid}"));
    let files: u64 = lines[2].strip_prefix("files ").unwrap().parse().unwrap();
    assert!(files >= 4096, "{files}");
    assert!(lines.contains(&format!("STATE_DIRECTORY={}", entry.state().display())), "{lines:?}");
    assert!(lines.contains(&"EGRESS_CONFIG_BODY=redis: {address: a}".to_owned()), "{lines:?}");
    assert!(entry.state().is_dir());

    // The arguments of LiveKit Egress's image.
    let (_, done) = entry.run(&["--config", "/etc/egress.yaml"], &[]);
    assert_eq!(said(&done)[0], "words serve --config /etc/egress.yaml");
    let (_, done) = entry.run(&["record", "web", "https://example.com"], &[]);
    assert_eq!(said(&done)[0], "words record web https://example.com");

    // A user unknown to the image has `/` as home.
    let (_, done) = entry.run(&["serve"], &[("HOME", "/")]);
    assert!(said(&done).contains(&format!("HOME={}", entry.state().display())), "{:?}", said(&done));
}

#[test]
fn the_entry_point_leaves_what_a_killed_recording_left() {
    let _slot = slots::light();
    let entry = EntryPoint::new();
    let left = entry.state().join("EG_left/0");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("media"), b"media").unwrap();
    for dir in [entry.state(), entry.state().join("EG_left"), left.clone()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let (_, done) = entry.run(&["serve"], &[]);
    assert_eq!(said(&done.succeeded())[0], "words serve");
    assert_eq!(fs::read(left.join("media")).unwrap(), b"media");
}

#[test]
fn the_entry_point_names_missing_parts() {
    let _slot = slots::light();
    let entry = EntryPoint::new();
    // No user may write there.
    let (_, done) = entry.run(&["serve"], &[("STATE_DIRECTORY", "/proc/weir")]);
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("can't write to /proc/weir: mount a volume"), "{}", done.stderr);
    assert!(said(&done).is_empty(), "weir was started all the same");

    let shm = entry.somebody.path().to_str().unwrap().to_owned();
    let (_, done) = entry.run(&["serve"], &[("WEIR_SHM", &shm)]);
    assert!(done.stderr.contains(&format!("{shm} is not a tmpfs")), "{}", done.stderr);
    assert_eq!(said(&done.succeeded())[0], "words serve");
}

#[test]
fn the_health_check_believes_200_alone() {
    let _slot = slots::light();
    let somebody = UnprivilegedUser::new();
    let script = somebody.copy("docker/healthcheck.sh");
    let server = PageServer::start();
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    let check = || {
        let mut command = somebody.command(&[&script]);
        command.env("WEIR_HEALTH_PORT", &port);
        Tool::start(command, None).finish(PATIENCE)
    };
    let unwell = check();
    assert_eq!((unwell.status.code(), unwell.stdout.as_slice()), (Some(1), b"404\n".as_slice()));
    let page = somebody.path().join("well");
    fs::write(&page, "{}").unwrap();
    server.serve("/healthz", page);
    assert_eq!(check().succeeded().stdout, b"200\n");
    drop(server);
    assert_eq!(check().status.code(), Some(1));
}

#[test]
fn the_browser_has_its_sandbox_behind_the_seccomp_profile() {
    let _slot = slots::browser();
    let somebody = UnprivilegedUser::new();
    let confined = somebody.copy("tests/support/confined.py").display().to_string();
    let profile = somebody.copy("docker/chromium-seccomp.json").display().to_string();
    let confined = |words: &[&str]| {
        let all = [&["/usr/bin/python3", &confined, &profile], words].concat();
        Tool::start(somebody.command(&all), None).finish(PATIENCE)
    };
    // The profile is in force: it forbids what Docker forbids, for example to mount in one's own
    // namespace.
    let mounts = ["unshare", "--user", "--map-root-user", "--mount", "/bin/true"];
    Tool::start(somebody.command(&mounts), None).finish(PATIENCE).succeeded();
    let refused = confined(&mounts);
    assert!(refused.stderr.contains("Operation not permitted"), "{} {}", refused.status, refused.stderr);

    // The recorder uses this to find out whether a sandbox is possible.
    confined(&["unshare", "--user", "--map-root-user", "--pid", "--fork", "/bin/true"]).succeeded();
    // Chromium does not start without a sandbox unless it is asked to.
    let profile_dir = format!("--user-data-dir={}", somebody.path().join("browser").display());
    let browser = ["chromium", "--headless", "--disable-gpu", "--disable-dev-shm-usage", &profile_dir];
    let page = ["--dump-dom", "data:text/html,<p>well"];
    let shown = confined(&[&browser[..], &page[..]].concat()).succeeded();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("<p>well</p>"), "{}", shown.stderr);
}
