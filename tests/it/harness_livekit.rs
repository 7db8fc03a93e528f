//! The tests' livekit-server, Redis and LiveKit's clients: they talk to one another, and leave
//! nothing behind.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::livekit::{Client, Keys, LiveKitServer, Redis, ask};
use crate::support::processes;
use crate::support::slots;

/// Deadline for everything that depends on the machine's load.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes that run in these directories, each a server's own.
fn of_them(homes: &[PathBuf]) -> Vec<String> {
    let at_home = |pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| homes.contains(&cwd));
    let all = processes::all().into_iter().filter(|seen| at_home(seen.pid));
    all.map(|seen| seen.arguments.join(" ")).collect()
}

/// The HTTP status, if the client shows it.
fn status(client: Client, status: u64) -> Option<u64> {
    (client != Client::Rust).then_some(status)
}

#[test]
fn livekit_server_comes_up_without_a_recorder_and_goes() {
    let _slot = slots::light();
    let redis = Redis::start();
    let livekit = LiveKitServer::start(&redis);

    let web = json!({
        "url": "http://127.0.0.1:9/", "preset": "H264_1080P_30",
        "fileOutputs": [{ "filepath": "talk.mp4" }],
    });
    // No recorder answers; livekit-server says so after nine attempts, some 23 s.
    let (url, keys) = (livekit.url(), livekit.keys().clone());
    let refused = std::thread::scope(|scope| {
        let started = scope.spawn(|| ask(Client::Python, &url, &keys, "StartWebEgress", &web).unwrap_err());
        for client in Client::ALL {
            let listed = livekit.ask(client, "ListEgress", &json!({})).unwrap();
            assert!(listed["items"].as_array().is_none_or(Vec::is_empty), "{client:?}: {listed}");
            for (method, request) in [
                ("StopEgress", json!({ "egressId": "EG_none" })),
                ("UpdateStream", json!({ "egressId": "EG_none", "addOutputUrls": ["rtmp://127.0.0.1/a/b"] })),
            ] {
                let refused = livekit.ask(client, method, &request).unwrap_err();
                assert_eq!(refused.code, "not_found", "{client:?} {method}");
                assert_eq!(refused.status, status(client, 404), "{client:?} {method}");
                assert!(refused.message.ends_with("egress does not exist"), "{refused:?}");
            }
        }
        started.join().unwrap()
    });
    assert_eq!((refused.code.as_str(), refused.status), ("unavailable", Some(503)), "{refused:?}");
    assert!(refused.message.ends_with("no response from servers"), "{refused:?}");

    // Another secret is refused, so a client's keys are checked.
    let wrong = Keys { secret: "another-secret-which-is-long-enough-too".to_owned(), ..Keys::default() };
    for client in Client::ALL {
        let refused = ask(client, &url, &wrong, "ListEgress", &json!({})).unwrap_err();
        // The body is not Twirp's: each client reports it in its own words.
        assert_eq!(refused.status, status(client, 401), "{client:?}: {refused:?}");
    }

    let addrs = [redis.addr(), livekit.addr()];
    let homes = [redis.home(), livekit.home()].map(Path::to_owned);
    assert_eq!(of_them(&homes).len(), 2, "{:?}", of_them(&homes));
    drop(livekit);
    drop(redis);
    // A process with many threads may disappear from the list a moment before its sockets do.
    let left = || {
        let open = addrs.iter().filter(|addr| TcpStream::connect(addr).is_ok()).map(ToString::to_string);
        of_them(&homes).into_iter().chain(open).collect::<Vec<_>>()
    };
    let end = Instant::now() + PATIENCE;
    while !left().is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", left());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(!homes.iter().any(|home| home.exists()), "{homes:?}");
}

#[test]
fn redis_goes_away_and_comes_back() {
    let _slot = slots::light();
    let mut redis = Redis::start();
    let ping = |redis: &Redis, within| {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(redis.addr())?;
        stream.set_read_timeout(Some(within))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0_u8; 7];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    assert_eq!(&ping(&redis, PATIENCE).unwrap(), b"+PONG\r\n");

    redis.freeze();
    // The kernel still accepts the connection; nobody answers.
    let silent = ping(&redis, Duration::from_millis(300)).unwrap_err();
    assert!(
        matches!(silent.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{silent}"
    );
    redis.thaw();
    assert_eq!(&ping(&redis, PATIENCE).unwrap(), b"+PONG\r\n");

    redis.go_away();
    assert_eq!(ping(&redis, PATIENCE).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    redis.come_back();
    assert_eq!(&ping(&redis, PATIENCE).unwrap(), b"+PONG\r\n");
}
