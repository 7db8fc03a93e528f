//! The recording's own audio server: a PulseAudio daemon with one null sink.
//!
//! A shared daemon is limited to some sixty clients, keeps the sinks of dead recordings, and lets
//! one recording's overload disturb all. This one has no hardware, session bus or home directory;
//! its socket is in the session's directory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Child, Exit, PULSEAUDIO, ProcessError, Spec};

/// The null sink that the page plays to.
pub(super) const SINK: &str = "weir";
/// The source for the capture.
pub(super) const MONITOR: &str = "weir.monitor";

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Reasons why the audio server can't start.
#[derive(Debug, thiserror::Error)]
pub enum AudioServerError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("audio server settings {path}: not writable")]
    Settings { path: PathBuf, source: io::Error },
}

/// A running audio server; stopped when dropped.
#[derive(Debug)]
pub(super) struct AudioServer {
    process: Child,
    socket: PathBuf,
}

impl AudioServer {
    pub(super) async fn start(dir: &Path, log: PathBuf) -> Result<Self, AudioServerError> {
        let home = dir.join("sound");
        let write = |name: &str, text: &str| {
            let path = home.join(name);
            std::fs::write(&path, text).map_err(|source| AudioServerError::Settings { path, source })
        };
        std::fs::create_dir_all(&home)
            .map_err(|source| AudioServerError::Settings { path: home.clone(), source })?;
        write("daemon.conf", SETTINGS)?;
        let socket = dir.join("pulse");
        write("modules.pa", &modules(&socket))?;

        let spec = Spec::new(PULSEAUDIO, &home, log)
            .args(["-n", "-F"])
            .args([home.join("modules.pa")])
            .env("PULSE_CONFIG", home.join("daemon.conf"))
            // All the places where it would look for, or leave, something of the user's.
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .env("PULSE_RUNTIME_PATH", &home)
            .env("PULSE_STATE_PATH", &home)
            // It would start a session bus if it were not told of one.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .noise(&["D-Bus", "dbus", "SCHED_RR", "This program is not intended to be run as root"]);
        let mut process = Child::start(spec).await?;
        // Said after the modules are loaded, that is, when the socket takes connections.
        process.says(READY_WITHIN, |line| line.contains("Daemon startup complete").then_some(())).await?;
        Ok(Self { process, socket })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn exit(&self) -> Exit {
        self.process.exit()
    }

    pub(super) async fn close(self) {
        self.process.close(Duration::ZERO).await;
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }
}

/// The rate is that of video and of Opus, so that nothing is resampled on the way; Chromium opens
/// what the default says.
const SETTINGS: &str = "\
daemonize = no
use-pid-file = no
exit-idle-time = -1
realtime-scheduling = no
high-priority = no
flat-volumes = no
log-target = stderr
log-level = info
default-sample-format = s16le
default-sample-rate = 48000
alternate-sample-rate = 48000
default-sample-channels = 2
default-channel-map = front-left,front-right
";

/// `norewinds`: a rewinding null sink hands its monitor sound that is taken back later, some 15 ms
/// of jitter. Clients of our own user are known by their credentials, so that no cookie file is
/// needed.
fn modules(socket: &Path) -> String {
    format!(
        "load-module module-null-sink sink_name={SINK} format=s16le rate=48000 channels=2 norewinds=1\n\
         set-default-sink {SINK}\n\
         load-module module-native-protocol-unix auth-cookie-enabled=0 socket={}\n",
        socket.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests with PulseAudio.
    mod with_processes {
        use super::*;

        #[tokio::test]
        async fn comes_with_a_socket_and_goes_without_leftovers() {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let sound = AudioServer::start(dir.path(), dir.path().join("log")).await.unwrap();
            tokio::net::UnixStream::connect(sound.socket()).await.unwrap();
            let (exit, pid) = (sound.exit(), sound.pid());
            sound.close().await;
            exit.wait().await;
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
            let home: Vec<_> = std::fs::read_dir(dir.path().join("sound"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(home.len(), 2, "only our settings: {home:?}");
        }
    }
}
