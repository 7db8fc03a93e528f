//! SeaweedFS as an S3 server, with `aws` to inspect it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Store, Stored, isolated, loopback, peer, start_server};
use crate::support::http1::{ask, percent};
use crate::support::ports;
use crate::support::shared::{for_the_run, unique};
use crate::support::tool::{Finished, Tool};

/// Has all rights; makes the buckets and inspects them.
const OWNER: [&str; 2] = ["OWNERKEY", "owner-secret-of-the-tests"];
/// May read, write, list and tag, but not make a bucket, so that a missing bucket is an error.
const WEIR: [&str; 2] = ["WEIRKEY", "weir-secret-of-the-tests"];

/// Go's mode bit for directories.
const GO_MODE_DIR: u64 = 1 << 31;

/// Deadline of one run of `aws`.
const PATIENCE: Duration = Duration::from_secs(300);

/// An S3 server with some buckets.
#[derive(Debug)]
pub(crate) struct SeaweedFs {
    // The process is killed before its directory is removed.
    server: Option<Tool>,
    addr: SocketAddr,
    /// The file system below, which needs no keys and answers without the second that `aws` takes.
    filer: SocketAddr,
    grpc: [u16; 4],
    dir: tempfile::TempDir,
}

impl SeaweedFs {
    /// Takes about three seconds; SeaweedFS itself waits for two.
    pub(crate) fn start(buckets: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("weir-seaweedfs").tempdir().unwrap();
        let identity = |name, [key, secret]: [&str; 2], actions: &[&str]| {
            let credentials = json!([{ "accessKey": key, "secretKey": secret }]);
            json!({ "name": name, "credentials": credentials, "actions": actions })
        };
        let identities = json!({ "identities": [
            identity("owner", OWNER, &["Admin", "Read", "Write", "List", "Tagging"]),
            identity("weir", WEIR, &["Read", "Write", "List", "Tagging"]),
        ] });
        let configuration = dir.path().join("s3.json");
        std::fs::write(&configuration, identities.to_string()).unwrap();

        let [master, volume, filer, s3] = ports::free();
        let grpc: [u16; 4] = ports::free();
        let root = dir.path().display();
        let arguments = format!(
            "-logtostderr server -dir={root} -ip=127.0.0.1 -ip.bind=127.0.0.1
             -master.port={master} -master.port.grpc={} -master.telemetry=false -master.volumeSizeLimitMB=1024
             -volume.port={volume} -volume.port.grpc={} -volume.max=2000
             -filer -filer.port={filer} -filer.port.grpc={} -filer.localSocket={root}/filer.sock
             -s3 -s3.port={s3} -s3.port.grpc={} -s3.localSocket={root}/s3.sock -s3.port.iceberg=0 -s3.port.lance=0
             -s3.config={} -s3.iam=false -s3.autoCreateBucket=false",
            grpc[0],
            grpc[1],
            grpc[2],
            grpc[3],
            configuration.display(),
        );
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let addr = loopback(s3);
        // Made before the server, so that leftovers of a panicking start are removed, too.
        let mut store = Self { server: None, addr, filer: loopback(filer), grpc, dir };
        store.server = Some(start_server(&peer("bin/weed"), &arguments, store.dir.path(), &[], addr));
        buckets.iter().for_each(|bucket| store.make(bucket));
        store
    }

    /// The server of all tests; each makes its own buckets.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<&SeaweedFs> = OnceLock::new();
        SHARED.get_or_init(|| {
            let places = |store: &Self| [store.sockets(), vec![store.dir.path().to_owned()]].concat();
            for_the_run(|| Self::start(&[]), places)
        })
    }

    /// Makes a bucket for this test alone; returns its name.
    pub(crate) fn bucket(&self, name: &str) -> String {
        let bucket = unique(name);
        self.make(&bucket);
        bucket
    }

    fn make(&self, bucket: &str) {
        // An S3 bucket is a directory in its file system; this is half a second faster than `aws`.
        let made = ask(self.filer, "POST", &format!("/buckets/{bucket}/"), &[], b"").unwrap();
        assert_eq!(made.status, 201, "{bucket}: {}", String::from_utf8_lossy(&made.body));
        // The first object of a bucket makes the server create its volumes, which can take seconds;
        // they belong to the tests.
        let first = format!("/buckets/{bucket}/first");
        let stored = ask(self.filer, "PUT", &first, &[], &[0; 64 << 10]).unwrap();
        assert_eq!(stored.status, 201, "{bucket}: {}", String::from_utf8_lossy(&stored.body));
        let removed = ask(self.filer, "DELETE", &first, &[], b"").unwrap();
        assert_eq!(removed.status, 204, "{bucket}: {}", String::from_utf8_lossy(&removed.body));
    }

    /// The paths of its sockets, which can't be configured. It removes them only on a regular exit,
    /// which takes 15 s.
    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        let roles = ["master", "volume", "filer", "s3"].into_iter().zip(self.grpc);
        roles.map(|(role, port)| PathBuf::from(format!("/tmp/seaweedfs-{role}-grpc-{port}.sock"))).collect()
    }

    /// `aws` with Weir's keys at another address: behind a proxy.
    pub(crate) fn aws_at(&self, addr: SocketAddr) -> Command {
        aws_as(WEIR, self.dir.path(), addr)
    }

    /// Runs `aws` with the owner's keys, directly.
    pub(crate) fn aws(&self, arguments: &[&str]) -> Finished {
        let mut aws = aws_as(OWNER, self.dir.path(), self.addr);
        aws.args(arguments);
        Tool::start(aws, None).finish(PATIENCE)
    }

    /// Runs `aws`, which must succeed, and parses its output; null for empty output.
    fn ask(&self, arguments: &[&str]) -> Value {
        let done = self.aws(arguments);
        assert!(done.status.success(), "aws {arguments:?}: {}", done.stderr);
        serde_json::from_slice(&done.stdout).unwrap_or(Value::Null)
    }

    /// An object's tags, sorted.
    pub(crate) fn tags(&self, bucket: &str, key: &str) -> Vec<(String, String)> {
        let found = self.ask(&["s3api", "get-object-tagging", "--bucket", bucket, "--key", key]);
        let mut tags = strings(&found["TagSet"], |tag| (text(&tag["Key"]), text(&tag["Value"])));
        tags.sort();
        tags
    }

    /// Whether a multipart upload exists that was neither completed nor aborted. For polling: it
    /// starts no program.
    pub(crate) fn has_unfinished(&self, bucket: &str) -> bool {
        let json = ("Accept", "application/json");
        let target = format!("/buckets/{bucket}/.uploads/?limit=1");
        let answer = ask(self.filer, "GET", &target, &[json], b"").unwrap();
        let found: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        found["Entries"].as_array().is_some_and(|entries| !entries.is_empty())
    }

    /// Keys of the multipart uploads that were neither completed nor aborted.
    pub(crate) fn unfinished(&self, bucket: &str) -> Vec<String> {
        let found = self.ask(&["s3api", "list-multipart-uploads", "--bucket", bucket]);
        strings(&found["Uploads"], |upload| text(&upload["Key"]))
    }
}

impl Store for SeaweedFs {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn storage_at(&self, addr: SocketAddr, bucket: &str) -> Value {
        json!({ "s3": {
            "access_key": WEIR[0],
            "secret": WEIR[1],
            "endpoint": format!("http://{addr}"),
            "bucket": bucket,
            "region": "us-east-1",
            "force_path_style": true,
        } })
    }

    fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let path = key.split('/').map(percent).collect::<Vec<_>>().join("/");
        let answer = ask(self.filer, "GET", &format!("/buckets/{bucket}/{path}"), &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    fn list(&self, bucket: &str) -> Vec<String> {
        let root = format!("/buckets/{bucket}/");
        let mut folders = vec![root.clone()];
        let mut keys = Vec::new();
        while let Some(folder) = folders.pop() {
            let path = folder.split('/').map(percent).collect::<Vec<_>>().join("/");
            let json = ("Accept", "application/json");
            let answer = ask(self.filer, "GET", &format!("{path}?limit=100000"), &[json], b"").unwrap();
            assert_eq!(answer.status, 200, "{folder}: {}", String::from_utf8_lossy(&answer.body));
            let found: Value = serde_json::from_slice(&answer.body).unwrap();
            for (path, mode) in
                strings(&found["Entries"], |entry| (text(&entry["FullPath"]), entry["Mode"].as_u64()))
            {
                let is_folder = mode.is_some_and(|mode| mode & GO_MODE_DIR != 0);
                let key = path.strip_prefix(&root).expect("it is in the bucket");
                match (is_folder, key) {
                    // Parts of an unfinished upload.
                    (true, ".uploads") => {}
                    (true, _) => folders.push(format!("{path}/")),
                    (false, key) => keys.push(key.to_owned()),
                }
            }
        }
        keys.sort();
        keys
    }

    fn head(&self, bucket: &str, key: &str) -> Option<Stored> {
        let done = self.aws(&["s3api", "head-object", "--bucket", bucket, "--key", key]);
        if !done.status.success() {
            assert!(done.stderr.contains("404"), "{key}: {}", done.stderr);
            return None;
        }
        let found: Value = serde_json::from_slice(&done.stdout).unwrap();
        let length = found["ContentLength"].as_u64().expect("a length");
        Some(Stored::new(length, &found["ContentType"], &found["ContentDisposition"], &found["Metadata"]))
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        drop(self.server.take());
        for socket in self.sockets() {
            std::fs::remove_file(socket).ok();
        }
    }
}

/// `aws` without any other configuration.
fn aws_as([key, secret]: [&str; 2], home: &std::path::Path, addr: SocketAddr) -> Command {
    let mut aws = isolated(peer("python/bin/python"), home);
    aws.env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(["-m", "awscli", "--output", "json", "--endpoint-url", &format!("http://{addr}")]);
    aws
}

fn strings<T>(list: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    list.as_array().into_iter().flatten().map(each).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
