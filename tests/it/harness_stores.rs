//! The tests' storage servers, faults and proxies: they work as described, and leave nothing
//! behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::forward_proxy::ForwardProxy;
use crate::support::http1::ask;
use crate::support::processes;
use crate::support::slots;
use crate::support::stores::azurite::Azurite;
use crate::support::stores::fake_gcs::FakeGcs;
use crate::support::stores::seaweedfs::SeaweedFs;
use crate::support::stores::{Store, config_yaml};
use crate::support::tool::{Finished, Tool, command, with_clock_ahead};

/// Deadline for everything that depends on the machine's load.
const SOON: Duration = Duration::from_secs(60);

/// Drops a storage; asserts that its process, its directory and these other places are gone.
fn gone_after(store: impl Store, places: Vec<PathBuf>) {
    let port = store.addr().port().to_string();
    // Among the numbers of an argument: `-s3.port=19001`, but not `/tmp/weir-190012` of another
    // program.
    let names_it = |word: &String| word.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == port);
    let of_it = || {
        let all = processes::all().into_iter();
        // A browser of another test has numbers of all kinds in its arguments, which may match.
        let ours = all.filter(|seen| seen.group != processes::Group::Browser);
        ours.filter(|seen| seen.arguments.iter().any(names_it)).collect::<Vec<_>>()
    };
    let homes =
        of_it().into_iter().filter_map(|seen| std::fs::read_link(format!("/proc/{}/cwd", seen.pid)).ok());
    let places: Vec<PathBuf> = homes.chain(places).collect();
    assert!(!places.is_empty() && places.iter().all(|place| place.exists()), "{places:?}");
    drop(store);
    let end = Instant::now() + SOON;
    while !of_it().is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", of_it());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(!places.iter().any(|place| place.exists()), "{places:?}");
}

/// Asserts that Weir understands a storage's configuration.
fn assert_valid_config(store: &impl Store) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("storage.yaml");
    let yaml = config_yaml(&store.storage("recordings"), Some(&store.storage("backup")));
    std::fs::write(&file, yaml).unwrap();
    let storage: weir::config::storage::ServerStorage =
        serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(storage.storage.is_some() && storage.backup.is_some());
}

/// Runs `aws` with Weir's keys at an address, by default without retries.
fn aws(store: &SeaweedFs, addr: SocketAddr, arguments: &[&str], stdin: &[u8]) -> Finished {
    let mut aws = store.aws_at(addr);
    aws.env("AWS_MAX_ATTEMPTS", "1").args(arguments);
    Tool::start(aws, Some(stdin.to_vec())).finish(Duration::from_secs(120))
}

#[test]
fn seaweedfs_stores_and_refuses() {
    let _slot = slots::light();
    let store = SeaweedFs::start(&["recordings", "backup"]);
    assert_valid_config(&store);
    let addr = store.addr();

    let body = [7_u8; 100_000];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), body).unwrap();
    let put = format!("s3api put-object --bucket recordings --key a/b --body {}", file.path().display());
    let options =
        "--content-type video/mp4 --content-disposition inline --metadata room=one --tagging k=v&l=w";
    let words: Vec<&str> = put.split(' ').chain(options.split(' ')).collect();
    aws(&store, addr, &words, b"").succeeded();
    assert_eq!(store.get("recordings", "a/b"), body);
    aws(&store, addr, &["s3", "cp", "-", "s3://recordings/a/c d/e"], b"x").succeeded();
    assert_eq!(store.get("recordings", "a/c d/e"), b"x");
    assert_eq!(store.list("recordings"), ["a/b", "a/c d/e"]);
    assert!(store.list("backup").is_empty());
    let head = store.head("recordings", "a/b").unwrap();
    assert_eq!(
        (head.length, head.content_type.as_str(), head.disposition.as_str()),
        (100_000, "video/mp4", "inline")
    );
    assert_eq!(head.metadata, [("room".to_owned(), "one".to_owned())]);
    let tags = [("k", "v"), ("l", "w")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(store.tags("recordings", "a/b"), tags);
    assert_eq!(store.head("recordings", "nothing"), None);

    assert!(store.unfinished("recordings").is_empty());
    aws(&store, addr, &["s3api", "create-multipart-upload", "--bucket", "recordings", "--key", "big"], b"")
        .succeeded();
    assert_eq!(store.unfinished("recordings"), ["big"]);
    assert_eq!(store.list("recordings").len(), 2, "what is not finished is not listed");

    let missing = aws(&store, addr, &["s3", "cp", "-", "s3://missing/key"], b"x");
    assert!(missing.stderr.contains("NoSuchBucket"), "{}", missing.stderr);
    let made = aws(&store, addr, &["s3", "mb", "s3://made"], b"");
    assert!(made.stderr.contains("AccessDenied"), "{}", made.stderr);
    let mut wrong = store.aws_at(addr);
    wrong.env("AWS_SECRET_ACCESS_KEY", "wrong").args(["s3", "cp", "-", "s3://recordings/key"]);
    let wrong = Tool::start(wrong, Some(b"x".to_vec())).finish(SOON);
    assert!(wrong.stderr.contains("SignatureDoesNotMatch"), "{}", wrong.stderr);

    for seconds in [3600, -3600] {
        let mut skewed = store.aws_at(addr);
        with_clock_ahead(&mut skewed, seconds);
        skewed.args(["s3", "cp", "-", "s3://recordings/skewed"]);
        let skewed = Tool::start(skewed, Some(b"x".to_vec())).finish(SOON);
        assert!(skewed.stderr.contains("RequestTimeTooSkewed"), "{seconds}: {}", skewed.stderr);
    }
    let sockets = store.sockets();
    gone_after(store, sockets);
}

#[test]
fn a_clock_can_be_wrong() {
    let _slot = slots::light();
    let date = |ahead: Option<i64>| -> i64 {
        let mut date = command("date");
        date.arg("+%s");
        if let Some(seconds) = ahead {
            with_clock_ahead(&mut date, seconds);
        }
        let said = Tool::start(date, None).finish(SOON).succeeded().stdout;
        String::from_utf8(said).unwrap().trim().parse().unwrap()
    };
    let (now, ahead, behind) = (date(None), date(Some(3600)), date(Some(-3600)));
    // They are requested one after the other, which takes time of its own.
    assert!((3600..3720).contains(&(ahead - now)), "{ahead} {now}");
    assert!((3480..=3600).contains(&(now - behind)), "{behind} {now}");
}

#[test]
fn fake_gcs_stores() {
    let _slot = slots::light();
    let store = FakeGcs::start(&["recordings"]);
    assert_valid_config(&store);
    put(store.addr(), "a/b c", b"hello").unwrap();
    assert_eq!(store.get("recordings", "a/b c"), b"hello");
    assert_eq!(store.list("recordings"), ["a/b c"]);
    let head = store.head("recordings", "a/b c").unwrap();
    assert_eq!((head.length, head.content_type.as_str()), (5, "video/mp4"));
    assert_eq!(store.head("recordings", "nothing"), None);
    let missing =
        ask(store.addr(), "POST", "/upload/storage/v1/b/missing/o?uploadType=media&name=x", &[], b"x");
    assert_eq!(missing.unwrap().status, 404);
    gone_after(store, Vec::new());
}

#[test]
fn azurite_stores() {
    let _slot = slots::light();
    let store = Azurite::start(&["recordings"]);
    assert_valid_config(&store);
    store.put("recordings", "a/b c", b"hello");
    assert_eq!(store.get("recordings", "a/b c"), b"hello");
    assert_eq!(store.list("recordings"), ["a/b c"]);
    assert_eq!(store.head("recordings", "a/b c").unwrap().length, 5);
    assert_eq!(store.head("recordings", "nothing"), None);
    gone_after(store, Vec::new());
}

/// Uploads to a Google Cloud Storage in one request; returns the status.
fn put(addr: SocketAddr, key: &str, body: &[u8]) -> std::io::Result<u16> {
    let key = crate::support::http1::percent(key);
    let target = format!("/upload/storage/v1/b/recordings/o?uploadType=media&name={key}");
    Ok(ask(addr, "POST", &target, &[("Content-Type", "video/mp4")], body)?.status)
}

#[test]
fn faults_come_and_go() {
    let _slot = slots::light();
    let store = FakeGcs::start(&["recordings"]);
    let proxy = FaultProxy::to(store.addr());
    let put = |key: &str, body: &[u8]| put(proxy.addr(), key, body);
    let has = |key: &str| store.head("recordings", key).is_some();

    assert_eq!(put("none", &[1; 1000]).unwrap(), 200);
    let traffic = proxy.traffic();
    assert_eq!((traffic.connections, traffic.requests, traffic.bytes), (1, 1, 1000));

    // Statuses, for the requested number of requests.
    for code in [500, 503, 403] {
        proxy.set(Fault::Status { code, requests: 2 });
        assert_eq!(put("status", &[1; 1000]).unwrap(), code);
        assert_eq!(put("status", &[1; 1000]).unwrap(), code);
        assert_eq!(proxy.fault(), Fault::None);
        assert!(!has("status"));
    }
    assert_eq!(put("status", &[1; 1000]).unwrap(), 200);
    assert_eq!(proxy.traffic().answered, 6);

    // Refuses, also on open connections; then listens again at the same port.
    let mut connected = TcpStream::connect(proxy.addr()).unwrap();
    proxy.until("it is connected", SOON, |now| now.connections == 9);
    proxy.set(Fault::Refused);
    assert_eq!(put("refused", b"x").unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    connected.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(connected.read(&mut [0; 1]).unwrap(), 0);
    proxy.set(Fault::None);
    assert_eq!(put("refused", b"x").unwrap(), 200);

    // Cut at 99 %: the storage has seen nearly everything, and kept nothing.
    proxy.set(Fault::CutAt { fraction: 0.99 });
    let before = proxy.traffic().bytes;
    put("cut", &[1; 1_000_000]).unwrap_err();
    let traffic = proxy.until("it is cut", SOON, |now| now.cut == 1);
    assert_eq!(traffic.bytes - before, 990_000);
    assert!(!has("cut"));

    // Slow: 300,000 bytes at 200,000 per second.
    proxy.set(Fault::Slow { bytes_per_second: 200_000 });
    let begin = Instant::now();
    assert_eq!(put("slow", &[1; 300_000]).unwrap(), 200);
    let took = begin.elapsed().as_secs_f64();
    assert!(took >= 1.4, "{took} s");

    // Stalled and offline: nothing arrives until the fault is over, then everything does.
    let stall = Fault::Stall { after_bytes: 400_000 };
    for (fault, key, passes) in [(stall, "stalled", 400_000), (Fault::Offline, "offline", 0)] {
        proxy.set(fault);
        let before = proxy.traffic();
        std::thread::scope(|threads| {
            let storing = threads.spawn(|| put(key, &[1; 1_000_000]).unwrap());
            proxy.until("it has begun", SOON, |now| {
                now.connections > before.connections && now.bytes == before.bytes + passes
            });
            // The state must last: there is no event for the absence of traffic.
            assert_eq!(proxy.wait_for_more(Duration::from_millis(300)), None);
            assert!(!storing.is_finished());
            proxy.set(Fault::None);
            assert_eq!(storing.join().unwrap(), 200);
        });
        assert_eq!(store.get("recordings", key), [1; 1_000_000]);
    }

    // Dropped in the middle of a transfer, it is gone at once, and so are the connections.
    proxy.set(Fault::Stall { after_bytes: 10 });
    let (addr, mut client) = (proxy.addr(), TcpStream::connect(proxy.addr()).unwrap());
    client.write_all(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").unwrap();
    client.write_all(&[1; 50]).unwrap();
    let before = proxy.traffic().bytes;
    proxy.until("it is stalled", SOON, |now| now.bytes >= before.max(10));
    drop(proxy);
    client.set_read_timeout(Some(SOON)).unwrap();
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn requests_are_signed_for_the_storage_behind_a_proxy_and_chunks_pass() {
    let _slot = slots::light();
    let store = SeaweedFs::shared();
    let bucket = store.bucket("recordings");
    let at = |key: &str| format!("s3://{bucket}/{key}");
    let proxy = FaultProxy::to(store.addr());
    let body = vec![9; 20 << 20];
    aws(store, proxy.addr(), &["s3", "cp", "-", &at("big")], &body).succeeded();
    assert!(store.get(&bucket, "big") == body);
    let traffic = proxy.traffic();
    // Three parts of at most 8 MB, plus the initiating and the completing request.
    assert!(traffic.requests >= 5 && traffic.bytes >= body.len() as u64, "{traffic:?}");

    proxy.set(Fault::CutAt { fraction: 0.99 });
    let cut = aws(store, proxy.addr(), &["s3", "cp", "-", &at("cut")], &body);
    assert!(!cut.status.success() && proxy.traffic().cut > 0, "{}", cut.stderr);
    assert_eq!(store.head(&bucket, "cut"), None);

    proxy.set(Fault::Status { code: 403, requests: 1 });
    let denied = aws(store, proxy.addr(), &["s3", "cp", "-", &at("denied")], b"x");
    assert!(denied.stderr.contains("AccessDenied"), "{}", denied.stderr);
}

#[test]
fn the_forward_proxy_wants_a_password() {
    let _slot = slots::light();
    let store = FakeGcs::start(&["recordings"]);
    put(store.addr(), "key", b"hello").unwrap();
    let proxy = ForwardProxy::start("user", "pass word");
    let right = format!("Basic {}", BASE64_STANDARD.encode("user:pass word"));
    let wrong = format!("Basic {}", BASE64_STANDARD.encode("user:password"));
    let path = "/storage/v1/b/recordings/o/key?alt=media";
    let target = format!("http://{}{path}", store.addr());

    let refused = ask(proxy.addr(), "GET", &target, &[("Connection", "close")], b"");
    assert_eq!((refused.unwrap().status, proxy.refused()), (407, 1));
    let refused = ask(proxy.addr(), "GET", &target, &[("Proxy-Authorization", &wrong)], b"");
    assert_eq!((refused.unwrap().status, proxy.refused()), (407, 2));
    assert!(proxy.passed().is_empty());

    let headers = [("Proxy-Authorization", right.as_str()), ("Connection", "close")];
    let answer = ask(proxy.addr(), "GET", &target, &headers, b"").unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));

    let mut tunnel = TcpStream::connect(proxy.addr()).unwrap();
    tunnel.set_read_timeout(Some(SOON)).unwrap();
    write!(tunnel, "CONNECT {} HTTP/1.1\r\nProxy-Authorization: {right}\r\n\r\n", store.addr()).unwrap();
    write!(tunnel, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 Connection Established") && answer.ends_with("hello"),
        "{answer}"
    );
    assert_eq!(proxy.passed(), [format!("GET {target}"), format!("CONNECT {}", store.addr())]);

    let addr = proxy.addr();
    drop(proxy);
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}
