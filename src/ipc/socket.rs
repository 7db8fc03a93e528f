//! The socket in a recording's directory: how the next run of a service reaches a recorder whose
//! own service is gone.
//!
//! Its directory is its owner's alone (mode 0700), so is the socket (0600), and each end looks at
//! the other's user id. An address of a socket has 108 bytes; a directory may have a longer name.
//! So both ends name it by a descriptor of the directory, in `/proc`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use nix::unistd::Uid;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

use super::egress_dir::EgressDir;
use crate::files;

/// Its name in the directory.
const SOCKET: &str = "socket";

/// The recorder's end. The socket is removed when this is dropped.
#[derive(Debug)]
pub struct RecorderSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl RecorderSocket {
    /// Listens in a recording's directory. To be called by the recorder that has entered it, within
    /// a runtime.
    ///
    /// # Errors
    /// When the file system takes no sockets, or the directory is gone.
    pub fn bind(egress_dir: &EgressDir) -> io::Result<Self> {
        let path = egress_dir.dir().join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // One of a recorder that was killed is nobody's.
            _ => {}
        }
        let dir = files::open_dir(egress_dir.dir())?;
        let listener = UnixListener::bind(address(&dir))?;
        let socket = Self { listener, path };
        fs::set_permissions(&socket.path, Permissions::from_mode(0o600))?;
        Ok(socket)
    }

    /// The next service that runs as the same user. Others are turned away. May be dropped and
    /// called again.
    ///
    /// # Errors
    /// When a connection can't be taken, as where no file descriptor is left.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            match stream.peer_cred().and_then(check) {
                Ok(()) => return Ok(stream),
                Err(error) => tracing::warn!(%error, "a connection to the recorder was refused"),
            }
        }
    }
}

impl Drop for RecorderSocket {
    fn drop(&mut self) {
        // The directory may be gone, and the socket with it.
        fs::remove_file(&self.path).ok();
    }
}

/// A connection to the recorder of a directory, with the recorder's process id.
///
/// # Errors
/// When nobody listens, or it is another user's.
pub async fn connect(egress_dir: &EgressDir) -> io::Result<(UnixStream, i32)> {
    let dir = files::open_dir(egress_dir.dir())?;
    // A symbolic link would lead to somebody else's.
    if !fs::symlink_metadata(address(&dir))?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a socket"));
    }
    let stream = UnixStream::connect(address(&dir)).await?;
    let peer = stream.peer_cred()?;
    check(peer)?;
    // In a name space of processes that is not ours it has none here.
    let pid = peer.pid().filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| io::Error::other("the recorder is in another name space of processes"))?;
    Ok((stream, pid))
}

/// The socket by a descriptor of its directory, which has to live as long as this is used.
fn address(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn check(peer: UCred) -> io::Result<()> {
    if peer.uid() == Uid::effective().as_raw() {
        return Ok(());
    }
    let why = format!("the other end runs as user {}", peer.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}
