//! A file of 2 GB to an S3 server on the same machine: Weir's uploader against `aws s3 cp`, in
//! turns.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use weir::config::storage;
use weir::plan::planner::storage::of_server;
use weir::upload::store::{self, Object, Sent, StoreError};

use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::stores::{Store, config_yaml};
use crate::support::tool::Tool;

const BYTES: u64 = 2_000_000_000;
/// Each of the two sends the file so many times; the medians count.
const TURNS: usize = 4;
const BUCKET: &str = "recordings";
const KEY: &str = "upload.mp4";
/// At 10 MB/s something is wrong with the machine.
const PATIENCE: Duration = Duration::from_secs(200);

/// A measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Upload {
    pub(crate) bytes: u64,
    /// Bytes a second of each turn, in the order they were measured.
    pub(crate) weir: Vec<f64>,
    pub(crate) aws: Vec<f64>,
    /// The medians' ratio; above 1, Weir is faster.
    pub(crate) ratio: f64,
    /// How much the resident memory of the process that uploads grew, at most, in bytes.
    pub(crate) weir_memory: u64,
}

impl Upload {
    /// A table.
    pub(crate) fn markdown(&self) -> String {
        let mb = |rates: &[f64]| {
            let all: Vec<String> = rates.iter().map(|rate| format!("{:.0}", rate / 1e6)).collect();
            format!("{:.0} MB/s ({})", median(rates) / 1e6, all.join(", "))
        };
        let Self { bytes, weir, aws, ratio, weir_memory } = self;
        format!(
            "\n| a file of {:.1} GB to SeaweedFS on the same machine | Weir | `aws s3 cp` | ratio | memory it takes |\n\
             |---|--:|--:|--:|--:|\n| median (each turn) | {} | {} | {ratio:.2} | {} MB |\n",
            *bytes as f64 / 1e9,
            mb(weir),
            mb(aws),
            weir_memory >> 20,
        )
    }
}

/// Measures `aws s3 cp`, which sends ten parts of 8 MB at a time by default, and Weir's uploader in
/// turns.
pub(crate) fn compare() -> Upload {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    turns(|storage, file, key| runtime.block_on(send(storage, file, key)))
}

/// One file, as a recording sends its own.
async fn send(storage: &serde_json::Value, file: &Path, key: &str) -> Result<(), StoreError> {
    let server = storage::parse(&config_yaml(storage, None)).unwrap();
    let target = of_server(&server).unwrap().primary;
    let store = store::open(&target, Path::new("/"))?;
    store.put(&Object { key: key.to_owned(), mime: "video/mp4" }, file, &Sent::default()).await
}

/// `weir` sends a file to a key of a bucket, all of it, by a configuration as `storage:` has it.
fn turns<E: std::fmt::Display>(
    mut weir: impl FnMut(&serde_json::Value, &Path, &str) -> Result<(), E>,
) -> Upload {
    let dir = tempfile::Builder::new().prefix("weir-bench-upload").tempdir_in("/var/tmp").unwrap();
    let file = dir.path().join(KEY);
    make(&file);
    let (mut weirs, mut awss, mut weir_memory) = (Vec::new(), Vec::new(), 0);
    for turn in 0..TURNS {
        // Who comes second finds a warmer machine: each does so in turn.
        for second in [false, true] {
            // A new server each time: neither of the two shall replace what the other has stored,
            // nor fill the disk. And what was written before shall not be written back meanwhile.
            let store = SeaweedFs::start(&[BUCKET]);
            nix::unistd::sync();
            if second == (turn % 2 == 1) {
                let mut aws = store.aws_at(store.addr());
                aws.args(["s3", "cp", "--only-show-errors"]).arg(&file).arg(format!("s3://{BUCKET}/{KEY}"));
                awss.push(rate(|| drop(Tool::start(aws, None).finish(PATIENCE).succeeded())));
            } else {
                let storage = store.storage(BUCKET);
                let before = forget_peak();
                weirs.push(rate(|| {
                    weir(&storage, &file, KEY).unwrap_or_else(|error| panic!("Weir's upload: {error}"));
                }));
                weir_memory = weir_memory.max(peak().saturating_sub(before));
            }
            arrived(&store);
        }
    }
    let ratio = median(&weirs) / median(&awss);
    Upload { bytes: BYTES, weir: weirs, aws: awss, ratio, weir_memory }
}

/// Random bytes, on the disk and in the page cache.
fn make(file: &Path) {
    let mut random = File::open("/dev/urandom").unwrap().take(BYTES);
    let mut to = File::create(file).unwrap();
    io::copy(&mut random, &mut to).unwrap();
    to.sync_all().unwrap();
}

/// Bytes a second.
fn rate(send: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    send();
    BYTES as f64 / begin.elapsed().as_secs_f64()
}

fn arrived(store: &SeaweedFs) {
    assert_eq!(store.head(BUCKET, KEY).map(|stored| stored.length), Some(BYTES));
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Begins to look for this process's peak of resident memory anew; what there is now, in bytes.
fn forget_peak() -> u64 {
    // proc(5), /proc/pid/clear_refs: 5 resets the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak()
}

/// The peak of this process's resident memory since then, in bytes.
fn peak() -> u64 {
    procfs::process::Process::myself().unwrap().status().unwrap().vmhwm.expect("Linux tells it") * 1024
}
