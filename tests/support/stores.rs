//! Real servers that store: SeaweedFS for S3, fake-gcs-server for Google Cloud Storage, Azurite for
//! Azure's blobs.
//!
//! SeaweedFS and Azurite are started once for all tests (`shared`), which have buckets of their own
//! in them. A server that a test starts itself is gone when it is dropped, or when the thread that
//! started it ends. Each listens on loopback alone and keeps its objects in a directory (or a
//! memory) of its own.
//!
//! Objects are read back by other clients than Weir's.

pub(crate) mod azurite;
pub(crate) mod fake_gcs;
pub(crate) mod seaweedfs;

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::tool::{Tool, command};

/// Deadline of a storage's start on a machine that starts several at once; alone it takes half a
/// second to five.
const START: Duration = Duration::from_secs(60);

/// The common interface of all storages.
pub(crate) trait Store {
    /// Its address.
    fn addr(&self) -> SocketAddr;

    /// The section `storage:` or `backup:` of Weir's configuration for uploads to a bucket (a
    /// container), when the storage is reached at another address than its own: behind a proxy.
    fn storage_at(&self, addr: SocketAddr, bucket: &str) -> Value;

    /// The same, reached directly.
    fn storage(&self, bucket: &str) -> Value {
        self.storage_at(self.addr(), bucket)
    }

    /// The content of a `--storage` file: see [`config_yaml`].
    fn config_yaml(&self, bucket: &str) -> String {
        config_yaml(&self.storage(bucket), None)
    }

    /// The bytes under a key; panics if the key is missing.
    fn get(&self, bucket: &str, key: &str) -> Vec<u8>;

    /// All keys of a bucket, sorted.
    fn list(&self, bucket: &str) -> Vec<String>;

    /// Properties of an object; `None` if it is missing.
    fn head(&self, bucket: &str, key: &str) -> Option<Stored>;
}

/// Properties of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    pub(crate) length: u64,
    pub(crate) content_type: String,
    /// Empty if unset.
    pub(crate) disposition: String,
    /// Sorted by key.
    pub(crate) metadata: Vec<(String, String)>,
}

impl Stored {
    fn new(length: u64, content_type: &Value, disposition: &Value, metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut metadata: Vec<_> = metadata
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect();
        metadata.sort();
        Self { length, content_type: text(content_type), disposition: text(disposition), metadata }
    }
}

/// A configuration of storage and, optionally, backup. (JSON, which is YAML.)
pub(crate) fn config_yaml(storage: &Value, backup: Option<&Value>) -> String {
    let mut all = json!({ "storage": storage });
    if let Some(backup) = backup {
        all["backup"] = backup.clone();
    }
    serde_json::to_string_pretty(&all).unwrap()
}

/// Directory of `scripts/peers.sh` for programs that Debian has no package of.
pub(crate) fn peer(path: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let peers = set("WEIR_TEST_PEERS").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        cache.expect("HOME is set").join("weir/peers")
    });
    let found = peers.join("current").join(path);
    assert!(found.exists(), "{} is missing; `scripts/install.sh test` installs it", found.display());
    found
}

/// A command without the caller's environment, which may hold keys of real storages, and with
/// `home` as its home directory.
pub(super) fn isolated(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = command(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).env("TMPDIR", home).current_dir(home);
    command
}

/// Starts a server and waits until it accepts connections. It dies with the thread that starts it,
/// also when the tests are killed.
pub(super) fn start_server(
    program: &Path,
    arguments: &[String],
    home: &Path,
    set: &[(&str, &str)],
    addr: SocketAddr,
) -> Tool {
    let mut server = isolated("setpriv", home);
    server.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).envs(set.iter().copied());
    let mut server = Tool::start(server, None);
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    server.until(&format!("{name} listens"), START, || TcpStream::connect(addr).ok());
    server
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A program on the PATH, such as Node.js, which may be installed from elsewhere than Debian.
pub(super) fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is missing; `scripts/install.sh test` installs it"))
}
