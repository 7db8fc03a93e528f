//! The recording's own X display.
//!
//! Xvfb picks a free number and prints it (`-displayfd`), keeps its framebuffer in a file of the
//! session's directory, and listens only on the abstract socket of that number: a killed server
//! leaves no lock or socket file.
//!
//! Any client of an X server sees everything on it and can type into it, and an abstract socket has
//! no permissions. So the server requires a cookie from the start, which only this module presents:
//! it then admits all processes of our own user, and clients work without one.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, Family, HostMode};
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::process::{Child, Exit, ProcessError, Spec, XVFB};

/// A server on a busy machine takes some hundred milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How much larger than the recorded area the screen is, each way. A Chromium window as large as
/// its screen comes out one pixel short.
const MARGIN: u32 = 2;

const COOKIE_NAME: &str = "MIT-MAGIC-COOKIE-1";

/// Reasons why the display can't start.
#[derive(Debug, thiserror::Error)]
pub enum DisplayError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("the display's cookie {path} could not be written")]
    Cookie { path: PathBuf, source: io::Error },
    /// It started, and nobody can get at it.
    #[error("display {display} does not let us in: {why}")]
    Access { display: String, why: String },
}

/// A running X server; gone when dropped.
#[derive(Debug)]
pub(super) struct Display {
    process: Child,
    name: String,
    framebuffer: PathBuf,
}

impl Display {
    /// Starts a display of `width` by `height` pixels; `dir` is on tmpfs.
    pub(super) async fn start(
        dir: &Path,
        log: PathBuf,
        width: u32,
        height: u32,
    ) -> Result<Self, DisplayError> {
        let cookie: [u8; 16] = rand::random();
        let auth = dir.join("display-cookie");
        write_cookie(&auth, &cookie).map_err(|source| DisplayError::Cookie { path: auth.clone(), source })?;

        let screen = format!("{}x{}x24", width + MARGIN, height + MARGIN);
        let spec = Spec::new(XVFB, dir, log)
            // The number comes on stdout.
            .args(["-displayfd", "1", "-screen", "0", &screen])
            .args(["-nolisten", "tcp", "-nolisten", "unix"])
            // Without it the server starts over when its last client goes: a crashed browser would
            // empty the framebuffer under the capture.
            .args(["-noreset"])
            // The framebuffer is recorded: no pointer in the middle of it.
            .args(["-nocursor"])
            // Software OpenGL, which nobody here uses, is 40 MB of LLVM.
            .args(["-extension", "GLX"])
            // No screen saver that blanks the screen after ten minutes.
            .args(["-s", "0", "-dpms"])
            .args([Path::new("-auth"), &auth, Path::new("-fbdir"), dir])
            // For the shell that runs the keyboard compiler, and its temporary file.
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", dir);
        let mut process = Child::start(spec).await?;
        let number: u32 = process.says(READY_WITHIN, |line| line.trim().parse().ok()).await?;

        let name = format!(":{number}");
        let admit = tokio::task::spawn_blocking(move || admit_our_user(number, &cookie));
        let refused = |why: String| DisplayError::Access { display: name.clone(), why };
        match tokio::time::timeout(READY_WITHIN, admit).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(refused(error.to_string())),
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused(format!("no answer within {} s", READY_WITHIN.as_secs()))),
        }
        Ok(Self { process, name, framebuffer: dir.join("Xvfb_screen0") })
    }

    /// `:17`
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn framebuffer(&self) -> &Path {
        &self.framebuffer
    }

    pub(super) fn exit(&self) -> Exit {
        self.process.exit()
    }

    pub(super) async fn close(self) {
        // Nothing of it is worth a farewell.
        self.process.close(Duration::ZERO).await;
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }
}

/// An Xauthority file of one entry. Its fields have a 16-bit length in front; family 0xffff is "any
/// address", and an empty number is any display, for the number is not known yet.
fn write_cookie(path: &Path, cookie: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let mut entry = vec![0xff, 0xff];
    for field in [&b""[..], b"", COOKIE_NAME.as_bytes(), cookie] {
        // Sixteen and eighteen bytes: the length fits.
        entry.extend_from_slice(&u16::try_from(field.len()).unwrap_or_default().to_be_bytes());
        entry.extend_from_slice(field);
    }
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&entry)
}

/// Lets processes of our own user in without a cookie (`xhost +si:localuser:#<uid>`).
fn admit_our_user(number: u32, cookie: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (stream, _) = DefaultStream::from_unix_stream(abstract_socket(number)?)?;
    let connection = RustConnection::connect_to_stream_with_auth_info(
        stream,
        0,
        COOKIE_NAME.as_bytes().to_vec(),
        cookie.to_vec(),
    )?;
    let user = format!("localuser\0#{}", nix::unistd::getuid());
    connection.change_hosts(HostMode::INSERT, Family::SERVER_INTERPRETED, user.as_bytes())?.check()?;
    connection.flush()?;
    Ok(())
}

/// Connects to a display by its name, `:17`. x11rb itself knows no abstract sockets, on which ours
/// listen alone; for the display of somebody else it is asked as usual.
pub(super) fn connect(display: &str) -> Result<(RustConnection, usize), x11rb::errors::ConnectError> {
    let number = display.strip_prefix(':').and_then(|number| number.parse().ok());
    match number.map(abstract_socket) {
        Some(Ok(stream)) => {
            let (stream, _) = DefaultStream::from_unix_stream(stream)?;
            Ok((RustConnection::connect_to_stream(stream, 0)?, 0))
        }
        Some(Err(_)) | None => RustConnection::connect(Some(display)),
    }
}

fn abstract_socket(number: u32) -> io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(format!("/tmp/.X11-unix/X{number}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests with Xvfb.
    mod with_processes {
        use super::*;

        #[tokio::test]
        async fn comes_with_room_for_the_window_and_goes_without_leftovers() {
            let sockets = || {
                std::fs::read_dir("/tmp/.X11-unix")
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|file| file.file_name())
            };
            let others: Vec<_> = sockets().collect();
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let (first, second) =
                tokio::join!(Display::start(dir.path(), dir.path().join("log"), 320, 180), async {
                    let other = tempfile::tempdir_in("/dev/shm").unwrap();
                    let display = Display::start(other.path(), other.path().join("log"), 64, 64).await;
                    (display.unwrap(), other)
                });
            let (first, (second, _other)) = (first.unwrap(), second);
            assert_ne!(first.name(), second.name(), "two at once get two numbers");

            // As the captures do: by name, without a cookie.
            let (connection, screen) = connect(first.name()).unwrap();
            let screen = &connection.setup().roots[screen];
            assert_eq!((screen.width_in_pixels, screen.height_in_pixels, screen.root_depth), (322, 182, 24));
            // XWD header and colours, then four bytes a pixel.
            assert!(first.framebuffer().metadata().unwrap().len() > 322 * 182 * 4);

            let number = first.name().trim_start_matches(':').to_owned();
            let (exit, pid) = (first.exit(), first.pid());
            first.close().await;
            exit.wait().await;
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
            let ours = std::ffi::OsString::from(format!("X{number}"));
            assert!(
                others.contains(&ours) || !sockets().any(|socket| socket == ours),
                "a socket file is left"
            );
            assert!(!Path::new(&format!("/tmp/.X{number}-lock")).exists());
        }

        #[tokio::test]
        async fn refuses_who_is_not_of_our_user_and_has_no_cookie() {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let display = Display::start(dir.path(), dir.path().join("log"), 64, 64).await.unwrap();
            let (connection, _) = connect(display.name()).unwrap();
            let hosts = connection.list_hosts().unwrap().reply().unwrap();
            assert_eq!(u8::from(hosts.mode), 1, "access control is on");
            let names: Vec<String> = hosts
                .hosts
                .iter()
                .map(|host| String::from_utf8_lossy(&host.address).replace('\0', ":"))
                .collect();
            assert_eq!(names, [format!("localuser:#{}", nix::unistd::getuid())]);
        }
    }
}
