use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::ChromeFlag;
use crate::config::frame_times::FrameTimes;
use crate::plan::room::Rooms;
use crate::protocol::start_egress_request::Request;
use crate::token::Signer;
use crate::upload::{Place, Status};

fn rooms() -> Rooms {
    Rooms {
        ws_url: "wss://livekit.example.com".to_owned(),
        signer: Some(Signer { key: "devkey".to_owned(), secret: Secret::new("hunter3".to_owned()) }),
        template_base: String::new(),
    }
}

fn job() -> Job {
    let web = proto::WebEgressRequest {
        url: "https://example.com/".to_owned(),
        file_outputs: vec![proto::EncodedFileOutput {
            filepath: "talk-{time}.mp4".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = StartEgressRequest {
        egress_id: "EG_1".to_owned(),
        request: Some(Request::Web(web)),
        ..Default::default()
    };
    let storage = crate::config::storage::parse(
        "storage: {s3: {bucket: recordings, access_key: key-of-mine, secret: hunter2}}",
    );
    let terms = JobTerms {
        defaults: Defaults { storage: storage.unwrap(), rooms: rooms(), frame_times: FrameTimes::Grid },
        planned_at: "2026-11-24T12:30:05.123456789+01:00[Europe/Berlin]".parse().unwrap(),
        session: SessionLimits { file: Some(Duration::from_secs(90)), ..Default::default() },
        keep_free: 512_000_000,
        upload_patience: Duration::from_secs(90),
        egress_dir: "/work/recordings/EG_1".into(),
        base: "/".into(),
        logs: Logs { filter: "info".to_owned(), json: true },
        browser: BrowserSettings {
            refuse_link_local: true,
            insecure: true,
            own_ports: [7981, 9090].into(),
            flags: [
                ("disable-gpu".to_owned(), ChromeFlag::Switch(false)),
                ("lang".to_owned(), ChromeFlag::Value("de".to_owned())),
            ]
            .into(),
        },
        video_encoder_threads: 3,
        orphan_timeout: Duration::from_secs(3600),
    };
    Job::new(&request, terms)
}

/// The plan of a request to a service that refuses link-local addresses, or does not.
fn planned_of(web: proto::WebEgressRequest, refuse_link_local: bool) -> Result<RecordingPlan, PlanError> {
    let Job { terms, .. } = job();
    let request = StartEgressRequest {
        egress_id: "EG_1".to_owned(),
        request: Some(Request::Web(web)),
        ..Default::default()
    };
    let browser = BrowserSettings { refuse_link_local, ..BrowserSettings::default() };
    Job::new(&request, JobTerms { browser, ..terms }).plan().map(|(_, plan)| plan)
}

#[test]
fn a_link_local_page_is_planned_only_where_an_operator_allows_it() {
    let file = proto::EncodedFileOutput { filepath: "a.mp4".to_owned(), ..Default::default() };
    let planned = |url: &str, refuse_link_local| {
        let web = proto::WebEgressRequest {
            url: url.to_owned(),
            file_outputs: vec![file.clone()],
            ..Default::default()
        };
        planned_of(web, refuse_link_local)
    };
    let refused = planned("http://169.254.169.254/a", true).unwrap_err().to_string();
    assert!(refused.contains("web url") && refused.contains("allow_link_local"), "{refused}");
    for (url, refuse) in [("http://169.254.169.254/a", false), ("http://10.0.0.1/a", true)] {
        planned(url, refuse).unwrap();
    }
}

#[test]
fn link_local_streams_storages_and_proxies_are_refused_by_their_fields() {
    let planned = |stream: Option<&str>, s3: Option<proto::S3Upload>, refuse_link_local| {
        let output = s3.map(proto::encoded_file_output::Output::S3);
        let file = proto::EncodedFileOutput { filepath: "a.mp4".to_owned(), output, ..Default::default() };
        let stream_output =
            |url: &str| proto::StreamOutput { urls: vec![url.to_owned()], ..Default::default() };
        let web = proto::WebEgressRequest {
            url: "http://10.0.0.1/a".to_owned(),
            file_outputs: vec![file],
            stream_outputs: stream.map(stream_output).into_iter().collect(),
            ..Default::default()
        };
        planned_of(web, refuse_link_local)
    };
    let s3 = |endpoint: &str, proxy: Option<&str>| {
        let proxy = proxy.map(|url| proto::ProxyConfig { url: url.to_owned(), ..Default::default() });
        Some(proto::S3Upload {
            access_key: "k".to_owned(),
            secret: "s".to_owned(),
            bucket: "b".to_owned(),
            endpoint: endpoint.to_owned(),
            proxy,
            ..Default::default()
        })
    };
    for (stream, s3, field) in [
        (Some("rtmp://169.254.169.254/app/key"), None, "stream_outputs[0].urls[0]"),
        (Some("srt://[fe80::1]:9000"), None, "stream_outputs[0].urls[0]"),
        (None, s3("http://169.254.169.254", None), "file_outputs[0].storage.endpoint"),
        (
            None,
            s3("s3.example.com", Some("http://169.254.169.254:3128")),
            "file_outputs[0].storage.proxy.url",
        ),
    ] {
        let refused = planned(stream, s3.clone(), true).unwrap_err().to_string();
        assert!(refused.contains(field) && refused.contains("allow_link_local"), "{refused}");
        planned(stream, s3, false).unwrap();
    }
}

#[test]
fn both_ends_have_the_same_plan() {
    let job = job();
    let line = line(&job);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let read: Job = parse(line.strip_suffix(b"\n").unwrap()).unwrap();
    let (ours, theirs) = (job.plan().unwrap().1, read.plan().unwrap().1);
    assert_eq!(ours, theirs);
    assert_eq!(theirs.limits.session, Some(Duration::from_secs(90)));
    let SourcePlan::Web(web) = &theirs.source else { panic!("{theirs:?}") };
    assert_eq!(web.browser, job.terms.browser, "an operator's terms reach the browser");
    assert!(web.browser.insecure && web.browser.flags.len() == 2 && web.browser.own_ports.contains(&9090));
    assert_eq!(read.terms.video_encoder_threads, 3);
    assert_eq!(read.terms.defaults.rooms, rooms());
    assert!(!format!("{read:?}").contains("hunter"), "a job prints no secrets");
}

#[test]
fn messages_read_back() {
    let add = Secret::new(vec!["rtmp://a/b/c".to_owned()]);
    for message in [
        ToRecorder::Stop { cause: Cause::Request },
        ToRecorder::Kill { error: "a \"text\"\nof two lines".to_owned() },
        ToRecorder::UpdateStream { id: 7, add, remove: Secret::default() },
        ToRecorder::DumpGraph { id: 8 },
        ToRecorder::Picture { id: 9, width: 480 },
    ] {
        assert_eq!(parse::<ToRecorder>(&line(&message)).as_ref(), Ok(&message));
    }
    for message in [
        FromRecorder::Ready(Info::new(&proto::EgressInfo {
            egress_id: "EG_1".to_owned(),
            ..Default::default()
        })),
        FromRecorder::Progress(RecorderProgress {
            seconds: 1.5,
            pictures: 45,
            bytes: 1 << 40,
            queues: Some(Queues { segments: 3, playlists: 1 }),
            ..RecorderProgress::default()
        }),
        FromRecorder::Uploaded(UploadAttempt {
            mime: "video/mp4".to_owned(),
            status: Status::Refused,
            custom_endpoint: true,
            ms: 250,
            place: Place::Backup,
        }),
        FromRecorder::Reply { id: 7, refusal: None },
        FromRecorder::Graph { id: 8, dot: "digraph {\n}\n".to_owned() },
        FromRecorder::Picture { id: 9, jpeg: None },
        FromRecorder::Picture { id: 10, jpeg: Picture::new(&[0xff, 0xd8, 0, 10]) },
        FromRecorder::Ended { kept: Some("/a/b".into()) },
        FromRecorder::Evicted { kept: None },
    ] {
        assert_eq!(parse::<FromRecorder>(&line(&message)).as_ref(), Ok(&message));
    }
}

#[test]
fn the_largest_picture_fits_into_a_line() {
    let jpeg = vec![0xff; LARGEST_PICTURE];
    let picture = Picture::new(&jpeg).unwrap();
    assert_eq!(picture.read().unwrap(), jpeg);
    assert!(format!("{picture:?}").len() < 40);
    assert!(line(&FromRecorder::Picture { id: u64::MAX, jpeg: Some(picture) }).len() < LONGEST_LINE);
    assert_eq!(Picture::new(&vec![0xff; LARGEST_PICTURE + 1]), None);
    let rubbish: Picture = serde_json::from_str("\"no base64!\"").unwrap();
    assert_eq!(rubbish.read(), Err(IpcError::NoMessage));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over() {
    let mut bytes = b"one\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', LONGEST_LINE + 1));
    bytes.extend(b"\ntwo\ncut off");
    let mut lines = Lines::new(bytes.as_slice());
    assert_eq!(lines.next().await, Some(Ok(b"one".to_vec())));
    assert_eq!(lines.next().await, Some(Err(IpcError::TooLong)));
    assert_eq!(lines.next().await, Some(Ok(b"two".to_vec())));
    assert_eq!(lines.next().await, None);
}

#[test]
fn only_plain_names_become_directories() {
    for name in ["EG_abc123", "a", "A-b_c"] {
        assert!(egress_dir::is_plain(name), "{name}");
    }
    for name in ["", ".", "..", "a/b", "a\0", "-rf", "ä", &"x".repeat(129)] {
        assert!(!egress_dir::is_plain(name), "{name}");
    }
}

#[test]
fn a_cell_has_one_recorder_and_always_a_whole_report() {
    let dir = tempfile::tempdir().unwrap();
    let egress_dir = egress_dir::EgressDir::of(dir.path(), "EG_1").unwrap();
    let (_, plan) = job().plan().unwrap();
    let report = crate::report::Report::new(&plan, None, jiff::Timestamp::UNIX_EPOCH);
    egress_dir.create(report.info()).unwrap();
    assert!(egress_dir.create(report.info()).is_err(), "there is one already");
    assert_eq!(egress_dir::EgressDir::all(dir.path()).unwrap(), std::slice::from_ref(&egress_dir));
    assert_eq!(egress_dir.info().as_ref(), Some(report.info()));

    let alive = egress_dir.enter().unwrap().expect("nobody is in it");
    assert!(egress_dir.enter().unwrap().is_none(), "somebody is in it");
    drop(alive);
    assert!(egress_dir.enter().unwrap().is_some());
    egress_dir.remove().unwrap();
    egress_dir.remove().unwrap();
    assert!(egress_dir::EgressDir::all(dir.path()).unwrap().is_empty());
}

#[test]
fn recordings_behind_a_link_or_a_pipe_are_none_of_the_services() {
    let dir = tempfile::tempdir().unwrap();
    let (elsewhere, recordings) = (dir.path().join("elsewhere"), dir.path().join("recordings"));
    std::fs::create_dir_all(elsewhere.join("EG_1")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &recordings).unwrap();
    let error = egress_dir::EgressDir::all(dir.path()).unwrap_err().to_string();
    assert!(error.contains("recordings: it is a symbolic link"), "{error}");
    std::fs::remove_file(&recordings).unwrap();
    nix::unistd::mkfifo(&recordings, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let error = egress_dir::EgressDir::all(dir.path()).unwrap_err().to_string();
    assert!(error.contains("recordings: it is not a directory"), "{error}");
}

#[tokio::test]
async fn a_recorder_is_reached_by_the_socket_in_its_directory_however_long_that_is_named() {
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a".repeat(100)).join("b".repeat(100));
    let egress_dir = egress_dir::EgressDir::of(&deep, &"E".repeat(128)).unwrap();
    assert!(socket::connect(&egress_dir).await.is_err(), "there is no directory");
    egress_dir.create(&proto::EgressInfo { egress_id: "E".repeat(128), ..Default::default() }).unwrap();
    assert!(socket::connect(&egress_dir).await.is_err(), "nobody listens");
    // What a recorder leaves that was killed.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("stale")).unwrap());
    std::fs::rename(dir.path().join("stale"), egress_dir.dir().join("socket")).unwrap();
    assert!(socket::connect(&egress_dir).await.is_err(), "nobody listens any more");

    let listening = socket::RecorderSocket::bind(&egress_dir).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(egress_dir.dir()), mode(&egress_dir.dir().join("socket"))), (0o700, 0o600));
    let (accepted, connected) = tokio::join!(listening.accept(), socket::connect(&egress_dir));
    let (mut recorder, (mut service, pid)) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(pid, i32::try_from(std::process::id()).unwrap());
    service.write_all(b"one").await.unwrap();
    let mut read = [0; 3];
    recorder.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"one");
    drop(listening);
    assert!(!egress_dir.dir().join("socket").exists(), "nothing is left of it");
}

proptest! {
    #[test]
    fn rubbish_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parse::<ToRecorder>(&bytes), Err(IpcError::NoMessage));
        prop_assert_eq!(parse::<FromRecorder>(&bytes), Err(IpcError::NoMessage));
        prop_assert!(parse::<Job>(&bytes).is_err());
    }
}
