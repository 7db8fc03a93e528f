//! Azurite (Azure's blob service), with Microsoft's client for Python to inspect it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::{Store, Stored, isolated, loopback, peer, start_server, which};
use crate::support::ports;
use crate::support::shared::{for_the_run, unique};
use crate::support::tool::{Finished, Tool};

const ACCOUNT: &str = "weirtests";
/// An account's key is Base64.
const KEY: &[u8] = b"account-key-of-the-tests";

/// Inspects the storage: `azure.py ENDPOINT ACCOUNT KEY make|put|get|list|head CONTAINER [BLOB]`.
const CLIENT: &str = include_str!("azure.py");

/// A blob service with one account that has all rights. It keeps its data in memory.
#[derive(Debug)]
pub(crate) struct Azurite {
    _server: Tool,
    addr: SocketAddr,
    key: String,
    home: tempfile::TempDir,
}

impl Azurite {
    pub(crate) fn start(containers: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("weir-azurite").tempdir().unwrap();
        let [port] = ports::free();
        let addr = loopback(port);
        let key = BASE64_STANDARD.encode(KEY);
        let node = which("node");
        let main = peer("node_modules/azurite/dist/src/blob/main.js").display().to_string();
        let options = format!(
            "--blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --silent --disableTelemetry"
        );
        let arguments: Vec<String> =
            [main].into_iter().chain(options.split(' ').map(str::to_owned)).collect();
        let accounts = format!("{ACCOUNT}:{key}");
        let server = start_server(&node, &arguments, home.path(), &[("AZURITE_ACCOUNTS", &accounts)], addr);
        let store = Self { _server: server, addr, key, home };
        containers.iter().for_each(|container| store.make(container));
        store
    }

    /// The server of all tests; each makes its own containers.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<&Azurite> = OnceLock::new();
        SHARED.get_or_init(|| for_the_run(|| Self::start(&[]), |store| vec![store.home.path().to_owned()]))
    }

    /// Makes a container for this test alone; returns its name.
    pub(crate) fn container(&self, name: &str) -> String {
        let container = unique(name);
        self.make(&container);
        container
    }

    fn make(&self, container: &str) {
        self.client(&["make", container], None).succeeded();
    }

    fn endpoint(addr: SocketAddr) -> String {
        format!("http://{addr}/{ACCOUNT}")
    }

    /// Uploads a blob with that client.
    pub(crate) fn put(&self, container: &str, blob: &str, bytes: &[u8]) {
        self.client(&["put", container, blob], Some(bytes.to_vec())).succeeded();
    }

    fn client(&self, arguments: &[&str], stdin: Option<Vec<u8>>) -> Finished {
        let mut python = isolated(peer("python/bin/python"), self.home.path());
        python.args(["-c", CLIENT, &Self::endpoint(self.addr), ACCOUNT, &self.key]).args(arguments);
        Tool::start(python, stdin).finish(Duration::from_secs(60))
    }
}

impl Store for Azurite {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn storage_at(&self, addr: SocketAddr, bucket: &str) -> Value {
        json!({ "azure": {
            "account_name": ACCOUNT,
            "account_key": self.key,
            "container_name": bucket,
            "endpoint": Self::endpoint(addr),
        } })
    }

    fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.client(&["get", bucket, key], None).succeeded().stdout
    }

    fn list(&self, bucket: &str) -> Vec<String> {
        serde_json::from_slice(&self.client(&["list", bucket], None).succeeded().stdout).unwrap()
    }

    fn head(&self, bucket: &str, key: &str) -> Option<Stored> {
        let done = self.client(&["head", bucket, key], None).succeeded();
        let found: Value = serde_json::from_slice(&done.stdout).unwrap();
        let length = found["length"].as_u64()?;
        Some(Stored::new(length, &found["content_type"], &found["disposition"], &found["metadata"]))
    }
}
