//! fake-gcs-server: Google Cloud Storage's JSON API without accounts.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Store, Stored, loopback, peer, start_server};
use crate::support::http1::{Answer, ask, percent};
use crate::support::ports;
use crate::support::tool::Tool;

/// A Google Cloud Storage without access control. It keeps its data in memory.
///
/// It serves one request at a time: during a stalled upload it answers neither `get` nor `list`. It
/// supports single-request and resumable uploads, but not the multipart uploads of the XML API.
#[derive(Debug)]
pub(crate) struct FakeGcs {
    _server: Tool,
    addr: SocketAddr,
    _home: tempfile::TempDir,
}

impl FakeGcs {
    pub(crate) fn start(buckets: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("weir-fake-gcs").tempdir().unwrap();
        let [port] = ports::free();
        let addr = loopback(port);
        // The public host has no port: behind a proxy clients use another one. The address at which
        // a resumable upload continues is the one the client used.
        let arguments = format!(
            "-scheme http -backend memory -host 127.0.0.1 -port {port} -public-host 127.0.0.1 -log-level error"
        );
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let server = start_server(&peer("bin/fake-gcs-server"), &arguments, home.path(), &[], addr);
        for bucket in buckets {
            let body = json!({ "name": bucket }).to_string();
            let json = ("Content-Type", "application/json");
            let made = ask(addr, "POST", "/storage/v1/b?project=tests", &[json], body.as_bytes()).unwrap();
            assert_eq!(made.status, 200, "{}", String::from_utf8_lossy(&made.body));
        }
        Self { _server: server, addr, _home: home }
    }

    fn look(&self, target: &str) -> Answer {
        ask(self.addr, "GET", target, &[], b"").unwrap()
    }
}

impl Store for FakeGcs {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Without `credentials_json`: it accepts requests without credentials.
    fn storage_at(&self, addr: SocketAddr, bucket: &str) -> Value {
        json!({ "gcp": { "bucket": bucket, "endpoint": format!("http://{addr}") } })
    }

    fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let answer = self.look(&format!("/storage/v1/b/{bucket}/o/{}?alt=media", percent(key)));
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    fn list(&self, bucket: &str) -> Vec<String> {
        let answer = self.look(&format!("/storage/v1/b/{bucket}/o"));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        let items = found["items"].as_array().into_iter().flatten();
        let mut keys: Vec<String> =
            items.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect();
        keys.sort();
        keys
    }

    fn head(&self, bucket: &str, key: &str) -> Option<Stored> {
        let answer = self.look(&format!("/storage/v1/b/{bucket}/o/{}", percent(key)));
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        let length = found["size"].as_str().and_then(|size| size.parse().ok()).expect("a size");
        Some(Stored::new(length, &found["contentType"], &found["contentDisposition"], &found["metadata"]))
    }
}
