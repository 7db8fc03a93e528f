//! Chromium on the recording's display: its flags, its profile, its life.
//!
//! It runs with a window, never headless: only then does it paint to a display at its own pace, as
//! for a person. DevTools runs over two pipes: every user of the machine, and every page, could
//! find a port. All that it keeps lies in the stage's directory. Nobody needs its farewell, so it
//! is killed, not closed.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::cdp::DevTools;
use crate::plan::page::Page;
use crate::plan::request::CaptureKind;
use crate::plan::source::WebPlan;
use crate::process::{CHROMIUM, Child, Exit, ProcessError, Spec, UNSHARE, desktop};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// The smallest window in pixels. Chromium's own minimum width is 500; its minimum height depends
/// on bars that a kiosk hides.
const SMALLEST: (u32, u32) = (500, 300);

/// Shared memory for the browser, with a margin; containers often have 64 MB.
const SHARED_MEMORY: u64 = 1 << 30;

/// Reasons why the browser can't start.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the browser's profile {path} could not be written")]
    Profile { path: PathBuf, source: io::Error },
    /// A defect of Weir.
    #[error("the browser has no DevTools pipes")]
    NoPipes,
}

/// Display and audio server of a browser.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The stage's directory, on tmpfs.
    pub(super) dir: &'a Path,
    pub(super) log: PathBuf,
    /// `:17`
    pub(super) display: &'a str,
    /// Socket and sink of the audio server; `None` without audio.
    pub(super) sound: Option<(&'a Path, &'a str)>,
    /// Flags of the way out, where that is not as it comes.
    pub(super) way_out: Vec<String>,
}

/// A running browser; gone when dropped, with all its helpers.
#[derive(Debug)]
pub(super) struct Browser {
    process: Child,
    /// `None` after they were taken.
    devtools: Option<DevTools>,
}

impl Browser {
    /// Starts a browser with an empty page that fills the display, and waits until it takes
    /// commands.
    pub(super) async fn start(around: Surroundings<'_>, plan: &WebPlan) -> Result<Self, BrowserError> {
        let dir = around.dir;
        let profile = dir.join("browser");
        let in_profile = |source| BrowserError::Profile { path: profile.clone(), source };
        // An attempt before this one may have left its own.
        match std::fs::remove_dir_all(&profile) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_profile(error)),
            Err(_) | Ok(()) => {}
        }
        std::fs::create_dir_all(profile.join("Default")).map_err(in_profile)?;
        std::fs::write(profile.join("Local State"), local_state(plan)).map_err(in_profile)?;
        std::fs::write(profile.join("Default/Preferences"), PREFERENCES).map_err(in_profile)?;
        let programs = dir.join("programs");
        desktop::stand_in(&programs)
            .map_err(|source| BrowserError::Profile { path: programs.clone(), source })?;

        let mut spec = Spec::new(CHROMIUM, dir, around.log)
            .args(arguments(
                plan,
                &profile,
                sandbox_flags(dir).await,
                around.sound.is_some(),
                &around.way_out,
            ))
            // The page comes by DevTools: its address may carry a secret, and arguments are for
            // everybody to read.
            .args(["about:blank"])
            .noise(NOISE)
            .with_pipes()
            .env("DISPLAY", around.display)
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()))
            .env("HOME", dir)
            .env("TMPDIR", dir)
            // There is neither a session nor a system bus for it, whatever this machine has.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .env("DBUS_SYSTEM_BUS_ADDRESS", "disabled:")
            // No hardware: without the audio server, Chromium would fall back to ALSA.
            .env("ALSA_CONFIG_PATH", "/dev/null")
            // Without them a bar says that they are missing.
            .env("GOOGLE_API_KEY", "no")
            .env("GOOGLE_DEFAULT_CLIENT_ID", "no")
            .env("GOOGLE_DEFAULT_CLIENT_SECRET", "no");
        for name in ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            spec = spec.env(name, dir);
        }
        spec = match around.sound {
            Some((socket, sink)) => spec
                .env("PULSE_SERVER", format!("unix:{}", socket.display()))
                .env("PULSE_SINK", sink)
                // Chromium asks for as large a buffer as possible: this is the delay of audio after
                // video.
                .env("PULSE_LATENCY_MSEC", "20"),
            // It must not find the one of whoever is logged in.
            None => spec.env("PULSE_SERVER", "unix:/dev/null"),
        };
        // What a page shows depends on them: dates, and the language it is asked for in.
        for name in ["TZ", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                spec = spec.env(name, value);
            }
        }

        let mut process = Child::start(spec).await?;
        let devtools = DevTools::open(process.take_pipes().ok_or(BrowserError::NoPipes)?);
        process.await_ready(READY_WITHIN, devtools.answers()).await?;
        Ok(Self { process, devtools: Some(devtools) })
    }

    /// Takes its DevTools connection. `None`: it was taken.
    pub(super) const fn take_devtools(&mut self) -> Option<DevTools> {
        self.devtools.take()
    }

    pub(super) fn exit(&self) -> Exit {
        self.process.exit()
    }

    pub(super) async fn close(self) {
        self.process.close(Duration::ZERO).await;
    }
}

/// The flags that every recording has, each with its reason.
const FLAGS: &[(&str, &str)] = &[
    // The window has the size of the recording.
    ("--kiosk", "nothing but the page in the window: no tabs, no address, no bars"),
    ("--window-position=0,0", "without a window manager to place it"),
    ("--hide-crash-restore-bubble", "no `restore pages` over the page after a kill"),
    ("--noerrdialogs", "an error is reported, not shown"),
    ("--no-first-run", "no welcome"),
    ("--no-default-browser-check", "no question"),
    ("--force-color-profile=srgb", "the colours of the page are those of the recording"),
    ("--force-device-scale-factor=1", "a pixel is a pixel, whatever the display says of its size"),
    ("--ozone-platform=x11", "our display; spares the search for others"),
    ("--disable-gpu", "spares the search for a missing GPU"),
    ("--enable-unsafe-swiftshader", "WebGL in software (SwiftShader), which the flag above turns off"),
    // The page plays as if somebody watched.
    ("--autoplay-policy=no-user-gesture-required", "nobody is there to click"),
    ("--disable-background-timer-throttling", "the window has no focus, and must not be slowed for it"),
    ("--disable-backgrounding-occluded-windows", "as above"),
    ("--disable-renderer-backgrounding", "as above"),
    ("--disable-hang-monitor", "no dialog about a busy page"),
    ("--disable-prompt-on-repost", "no dialog when a page is loaded again"),
    ("--disable-search-engine-choice-screen", "no question"),
    (
        "--deny-permission-prompts",
        "camera, location, …: refused without a bubble; notifications: see PREFERENCES",
    ),
    // Nothing of ours goes out, nothing but the page comes in.
    ("--disable-background-networking", "no calls home"),
    ("--disable-component-update", "no downloads"),
    ("--disable-sync", "no account"),
    ("--disable-domain-reliability", "no reports"),
    ("--disable-client-side-phishing-detection", "no model to run on each page"),
    ("--disable-default-apps", "nothing to install into a new profile"),
    ("--disable-extensions", "a page is shown as it is"),
    ("--disable-component-extensions-with-background-pages", "as above; one process less"),
    ("--disable-breakpad", "no crash reports"),
    ("--no-pings", "no link auditing"),
    ("--metrics-recording-only", "no upload of usage figures"),
    ("--disable-quic", "UDP is often dropped without a word, and a page would wait for it"),
    ("--password-store=basic", "no keyring of whoever is logged in"),
    ("--remote-debugging-pipe", "how we speak to it: on its descriptors 3 and 4"),
    (
        "--disable-features=\
         AudioServiceOutOfProcess,\
         DialMediaRouteProvider,\
         GlobalMediaControls,\
         HttpsUpgrades,\
         LocalNetworkAccessChecks,\
         LocalNetworkAccessChecksWebRTC,\
         LocalNetworkAccessChecksWebSockets,\
         LocalNetworkAccessChecksWebTransport,\
         LocalNetworkAccessForNavigations,\
         LocalNetworkAccessForSubframeNavigations,\
         LocalNetworkAccessForWorkers,\
         MediaRouter,\
         OptimizationHints,\
         SecurePaymentConfirmationBrowser,\
         SpareRendererForSitePerProcess,\
         Translate,\
         WebUIOmniboxAimPopup,\
         WebUIOmniboxPopup",
        "sound without a further process and its start at the first beep; no search for cast devices; no media bubble; \
         an http address stays one; pages reach loopback and private networks (the guard refuses what a service must not \
         reach); no model downloads; no payment dialog; no renderer kept in reserve (80 MB); no translation bubble; no \
         renderer for the suggestions of an address bar that isn't shown (160 MB)",
    ),
];

/// Flags for the key `insecure`.
const INSECURE: &[&str] = &["--disable-web-security", "--allow-running-insecure-content"];

/// Permanent complaints of a browser without session bus and GPU.
const NOISE: &[&str] = &["dbus/", "ERROR:gpu/", "vaInitialize", "GetVSyncParametersIfAvailable"];

/// Nothing of the browser's own over the page: no bubbles about passwords, translation or
/// addresses, no print preview, no screen picker. Notifications, payment apps and accounts of other
/// sites (`webid_api`: FedCM) are denied (2) without a question; their interfaces are defined, as
/// pages use them unguarded.
const PREFERENCES: &str = r#"{"credentials_enable_service":false,"profile":{"password_manager_enabled":false,"default_content_setting_values":{"notifications":2,"payment_handler":2,"webid_api":2}},"translate":{"enabled":false},"autofill":{"profile_enabled":false,"credit_card_enabled":false},"printing":{"enabled":false},"hardware":{"screen_capture_enabled":false}}"#;

/// The authentication schemes of HTTP that the browser knows. Others (Basic, Digest, NTLM) would
/// ask for a password, in a dialog that holds up the page; a part that wants one is answered 401,
/// and that is all. This one asks for nothing.
const AUTH_SCHEMES: &str = "negotiate";

/// All flags, an operator's last.
fn arguments(
    plan: &WebPlan,
    profile: &Path,
    sandbox: &[&str],
    is_heard: bool,
    way_out: &[String],
) -> Vec<OsString> {
    let terms = &plan.browser;
    let is_left_out = |argument: &OsString| {
        let ours = argument.to_str().unwrap_or_default().trim_start_matches('-');
        terms.leaves_out(ours.split_once('=').map_or(ours, |(name, _)| name))
    };
    let ours = FLAGS.iter().map(|(flag, _)| OsString::from(flag));
    let mut arguments: Vec<OsString> = ours
        .chain(flags_of(plan, profile))
        .chain(sandbox.iter().chain(shared_memory_flags()).map(OsString::from))
        .chain((!is_heard).then(|| "--disable-audio-output".into()))
        .chain(way_out.iter().map(OsString::from))
        .chain(INSECURE.iter().filter(|_| terms.insecure).map(OsString::from))
        .filter(|argument| !is_left_out(argument))
        .collect();
    arguments.extend(terms.arguments().into_iter().map(OsString::from));
    arguments
}

/// The size to emulate, where the recording is smaller than the smallest window. Without it the
/// page would be laid out for the window and cut off.
pub(super) fn emulated_size(plan: &WebPlan) -> Option<(u32, u32)> {
    let is_small = plan.width < SMALLEST.0 || plan.height < SMALLEST.1;
    (plan.has_video && is_small).then_some((plan.width, plan.height))
}

fn flags_of(plan: &WebPlan, profile: &Path) -> Vec<OsString> {
    let mut user_data = OsString::from("--user-data-dir=");
    user_data.push(profile);
    vec![user_data, format!("--window-size={},{}", plan.width, plan.height).into()]
}

/// The browser's preferences.
///
/// Chromium composites at 60 Hz whatever the display does. Its battery saver (state 3: always)
/// halves that to exactly 30 Hz, and with it a page's cost. With `ximagesrc`, which captures by its
/// own clock, the two rates would drift: frames doubled and lost.
fn local_state(plan: &WebPlan) -> String {
    let mut auth = json!({"schemes": AUTH_SCHEMES});
    if let Some(origin) = password_origin(plan) {
        auth["http_auth_allowed_for_origins"] = json!([origin]);
    }
    let mut state = json!({"auth": auth});
    if plan.fps <= 30 && plan.capture == CaptureKind::Framebuffer {
        state["performance_tuning"] = json!({"battery_saver_mode": {"state": 3}});
    }
    state.to_string()
}

/// Origin of a page address with user and password: the only origin that gets the password. `None`
/// without one.
fn password_origin(plan: &WebPlan) -> Option<String> {
    let Page::Address(url) = &plan.page else { return None };
    let has_password = !url.username().is_empty() || url.password().is_some();
    (has_password && matches!(url.scheme(), "http" | "https")).then(|| url.origin().ascii_serialization())
}

/// Whether the page's address has a user or a password in it.
pub(super) fn has_password(plan: &WebPlan) -> bool {
    password_origin(plan).is_some()
}

/// On where the kernel allows it: a page is untrusted.
async fn sandbox_flags(dir: &Path) -> &'static [&'static str] {
    match sandbox_obstacle(dir).await {
        None => &[],
        Some(why) => {
            tracing::warn!(
                why,
                "the browser runs without its sandbox: a page that breaks out of it has all that we have"
            );
            &["--no-sandbox"]
        }
    }
}

async fn sandbox_obstacle(dir: &Path) -> Option<&'static str> {
    if nix::unistd::geteuid().is_root() {
        return Some("Chromium refuses to sandbox what runs as root; run as another user");
    }
    // The set-user-id helper beside the binary (package chromium-sandbox) is the older way.
    let helper = CHROMIUM.find().ok().and_then(|program| Some(program.parent()?.join("chrome-sandbox")));
    if helper.is_some_and(|helper| is_set_user_id(&helper)) {
        return None;
    }
    // Sysctls, AppArmor and a container's seccomp filter all have a say, so it is tried.
    let trial = Spec::new(UNSHARE, dir, dir.join("sandbox-trial.log")).args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "/bin/true",
    ]);
    let ended = match Child::start(trial).await {
        Ok(child) => tokio::time::timeout(Duration::from_secs(5), child.exit().wait()).await,
        Err(_) => return Some("`unshare` (package util-linux) is missing, so it can't be tried"),
    };
    match ended {
        Ok(status) if status.success() => None,
        _ => Some(
            "this kernel gives us no user namespaces: allow them, or install the package chromium-sandbox",
        ),
    }
}

fn is_set_user_id(path: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    path.metadata().is_ok_and(|file| file.uid() == 0 && file.permissions().mode() & 0o4001 == 0o4001)
}

/// A renderer that finds no room in `/dev/shm` crashes; the stage's directory serves as well.
fn shared_memory_flags() -> &'static [&'static str] {
    let room = nix::sys::statvfs::statvfs("/dev/shm")
        .map_or(0, |fs| fs.blocks_available().saturating_mul(fs.fragment_size()));
    if room < SHARED_MEMORY { &["--disable-dev-shm-usage"] } else { &[] }
}

#[cfg(test)]
mod tests;
