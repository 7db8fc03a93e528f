//! Tests with streaming servers.

use super::*;

#[tokio::test]
async fn an_rtmp_server_gets_it_whole_from_its_first_key_frame_to_the_last_frame() {
    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Plain);
    // A stream that is added late begins at zero all the same.
    feeds.wait_for_media(Duration::from_millis(2500)).await;
    let url = url(server.url("live", KEY));
    let sink = open(&feeds, &plan(Transport::Rtmp, &[&url]), Timing::DEFAULT);
    feeds.until(SOON, |event| is_started(event, &url)).await;
    let from = feeds.media_time();
    feeds.wait_for_media(from + Duration::from_secs(4)).await;
    let sent = sink.stats();
    let last = feeds.end().await;
    sink.finish(FINISH).await;
    feeds.until(SOON, |event| matches!(event, StreamEvent::Finished { .. })).await;

    let received = Received::read(&server.recordings()[0], &dir.path().join("copy"));
    tell("RTMP", &received);
    assert_whole(&received, 3.5..60.0);
    assert!(received.video[0] < 0.1, "{received}");
    assert!(sent[0].bytes > 50_000, "{sent:?}");
    assert_eq!(sent[0].dropped, 0);
    // Key frames are asked for, so that the media does not begin with the next regular one.
    assert!(feeds.key_frames_asked() >= 1);
    // The last frame that was made has arrived.
    assert!(received.last_unit == last, "the last frame is missing: {received}");
    assert!(server.log().contains("deleteStream"), "{}", server.log());
}

#[tokio::test]
async fn an_srt_server_gets_it_whole_and_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let server = SrtServer::start(&dir.path().join("got.ts"), &format!("&passphrase={KEY}"));
    let mut feeds = FeedFixture::start(Picture::Plain);
    feeds.wait_for_media(Duration::from_millis(1500)).await;
    let good = url(server.url(&format!("latency=200&passphrase={KEY}")));
    let other = SrtServer::start(&dir.path().join("none.ts"), "&passphrase=another-one-entirely");
    let bad = url(other.url(&format!("streamid=x&passphrase={KEY}")));
    let sink = open(&feeds, &plan(Transport::Srt, &[&good, &bad]), Timing::DEFAULT);
    feeds.until(SOON, |event| is_started(event, &good)).await;
    let from = feeds.media_time();
    let failed = |event: &StreamEvent| matches!(event, StreamEvent::Failed { url, .. } if *url == bad);
    feeds.until(SOON, failed).await;
    feeds.wait_for_media(from + Duration::from_secs(4)).await;
    assert_eq!(sink.live_count(), 1);
    let last = feeds.end().await;
    sink.finish(FINISH).await;
    drop(other);

    let received = Received::read(&server.received(), &dir.path().join("copy"));
    tell("SRT", &received);
    assert_whole(&received, 3.5..30.0);
    assert!(received.last_unit == last, "the last frame is missing: {received}");
}

#[tokio::test]
async fn an_srt_listener_waits_for_its_callers() {
    let dir = tempfile::tempdir().unwrap();
    let mut feeds = FeedFixture::start(Picture::Plain);
    let [port] = ports::free();
    let own = url(format!("srt://127.0.0.1:{port}?mode=listener&latency=100"));
    let sink = open(&feeds, &plan(Transport::Srt, &[&own]), QUICK);
    // Longer than any connection of ours may take.
    feeds.wait_for_media(QUICK.connect + QUICK.liveness).await;
    feeds.drain();
    assert!(matches!(feeds.seen.as_slice(), [StreamEvent::Connecting { .. }]), "{:?}", feeds.seen);
    let asked = feeds.key_frames_asked();
    let caller = SrtServer::call(&dir.path().join("got.ts"), port);
    feeds.until(SOON, |event| is_started(event, &own)).await;
    assert!(feeds.key_frames_asked() > asked);
    feeds.wait_for_media(feeds.media_time() + Duration::from_secs(2)).await;
    let last = feeds.end().await;
    sink.finish(FINISH).await;
    let received = Received::read(&caller.received(), &dir.path().join("copy"));
    tell("SRT, called", &received);
    assert!(received.decoded_frames >= 50, "{received}");
    assert!(received.longest_video_step() < 0.05, "{received}");
    assert!(received.last_unit == last, "the last frame is missing: {received}");
}

#[tokio::test]
async fn bad_addresses_fail_alone_and_addresses_come_and_go() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());

    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Plain);
    let good = url(server.url("live", KEY));
    let bad = [
        url(format!("rtmp://no-such-host.invalid/app/{KEY}")),
        url(format!("rtmp://127.0.0.1:{}/app/{KEY}", ports::closed())),
        url(server.url("denied", KEY)),
        url(server.url("unlisted", KEY)),
        url(server.url("no-such-app", KEY)),
        url(format!("http://127.0.0.1/app/{KEY}")),
        url(format!("twitch://{KEY}")),
    ];
    let all: Vec<&StreamUrl> = std::iter::once(&good).chain(&bad).collect();
    // A refusal is one also where it is late: nothing but the question to Twitch is tried again.
    let patient = Timing { connect: Duration::from_secs(30), liveness: Duration::from_secs(30), ..QUICK };
    let mut sink = open(&feeds, &plan(Transport::Rtmp, &all), patient);
    assert_eq!(sink.add(good.clone()), Err(StreamError::Duplicate { url: good.clone() }));
    feeds.until(SOON, |event| is_started(event, &good)).await;

    // One more, which ends before the rest.
    let brief = url(server.url("live", &format!("{KEY}-2")));
    let begun = feeds.media_time();
    sink.add(brief.clone()).unwrap();
    feeds.until(SOON, |event| is_started(event, &brief)).await;
    feeds.wait_for_media(feeds.media_time() + Duration::from_secs(2)).await;
    // By what a report shows of it, its key left out.
    let shown = url(brief.redacted());
    assert_ne!(shown, brief);
    assert_eq!(sink.remove(&shown), Ok(brief.clone()));
    assert_eq!(sink.remove(&brief), Err(StreamError::Unknown { url: brief.clone() }));
    let is_finished =
        |event: &StreamEvent| matches!(event, StreamEvent::Finished { url, .. } if *url == brief);
    feeds.until(SOON, is_finished).await;

    feeds.wait_for_media(begun + Duration::from_secs(6)).await;
    let is_failure = |event: &&StreamEvent| matches!(event, StreamEvent::Failed { .. });
    feeds.until_all(SOON, |seen| seen.iter().filter(is_failure).count() == bad.len()).await;
    assert_eq!(sink.live_count(), 1);
    feeds.end().await;
    sink.finish(FINISH).await;
    feeds.drain();

    let recordings = server.recordings();
    let of = |name: &str| {
        let path = recordings.iter().find(|path| path.to_str().unwrap().contains(name)).unwrap();
        Received::read(path, &dir.path().join("copy"))
    };
    let (long, short) = (of(&format!("{KEY}-1")), of(&format!("{KEY}-2-")));
    tell("good beside bad", &long);
    tell("added and removed", &short);
    assert_whole(&long, 5.5..60.0);
    assert_whole(&short, 1.5..30.0);

    for of in &bad {
        let told: Vec<_> = feeds.seen.iter().filter(|event| address(event) == of).collect();
        let [StreamEvent::Connecting { .. }, .., StreamEvent::Failed { error, .. }] = told.as_slice() else {
            panic!("{told:#?}")
        };
        // All but the unanswered question to Twitch are refusals: nothing is tried again.
        let is_retried = told.len() > 2;
        assert_eq!(is_retried, of.expose().starts_with("twitch"), "{told:#?}");
        assert!(!error.is_empty());
    }
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap() + &format!("{:#?}", feeds.seen);
    assert!(said.contains("stream failed") && said.contains("{sup...k3y}"));
    assert!(!said.contains(KEY), "{said}");
}

#[tokio::test]
async fn a_server_that_comes_back_gets_the_stream_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut rtmp = RtmpServer::start(dir.path());
    let mut srt = SrtServer::start(&dir.path().join("got.ts"), "");
    let mut feeds = FeedFixture::start(Picture::Plain);
    let (to_rtmp, to_srt) = (url(rtmp.url("live", KEY)), url(srt.url("latency=100")));
    let rtmp_sink = open(&feeds, &plan(Transport::Rtmp, &[&to_rtmp]), Timing::DEFAULT);
    let srt_sink = open(&feeds, &plan(Transport::Srt, &[&to_srt]), Timing::DEFAULT);
    let both = [&to_rtmp, &to_srt];
    for times in 1..=2 {
        let are_started = |seen: &[StreamEvent]| {
            both.iter().all(|of| seen.iter().filter(|event| is_started(event, of)).count() >= times)
        };
        feeds.until_all(SOON, are_started).await;
        feeds.wait_for_media(feeds.media_time() + Duration::from_secs(2)).await;
        if times == 1 {
            rtmp.kill();
            srt.kill();
            let is_lost =
                |e: &StreamEvent, of: &StreamUrl| matches!(e, StreamEvent::Retrying { url, .. } if url == of);
            let are_lost = |seen: &[StreamEvent]| both.iter().all(|of| seen.iter().any(|e| is_lost(e, of)));
            feeds.until_all(SOON, are_lost).await;
            rtmp.restart();
            srt.restart();
        }
    }
    let last = feeds.end().await;
    tokio::join!(rtmp_sink.finish(FINISH), srt_sink.finish(FINISH));
    feeds.drain();
    for of in both {
        let end = feeds.seen.iter().rfind(|event| address(event) == of).unwrap();
        assert!(matches!(end, StreamEvent::Finished { .. }), "{:#?}", feeds.seen);
    }

    let recordings = rtmp.recordings();
    assert_eq!(recordings.len(), 2, "{recordings:?}");
    let again = Received::read(&recordings[1], &dir.path().join("copy"));
    tell("RTMP, after the server's death", &again);
    assert_whole(&again, 1.5..40.0);
    assert!(again.video[0] < 0.1, "a new connection begins at zero: {again}");
    assert!(again.last_unit == last, "the last frame is missing: {again}");

    // One file of two connections: its times go on, with a gap.
    let whole = Received::read(&srt.received(), &dir.path().join("copy"));
    tell("SRT, over the server's death", &whole);
    assert!(whole.video.windows(2).all(|two| two[0] < two[1]), "{whole}");
    assert!((1.0..40.0).contains(&whole.longest_video_step()), "{whole}");
    assert!(whole.last_unit == last, "the last frame is missing: {whole}");
}

#[tokio::test]
async fn a_server_that_stops_reading_is_dialled_again_given_up_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Noise);
    let frozen = url(server.url("live", KEY));
    let sink = open(&feeds, &plan(Transport::Rtmp, &[&frozen]), QUICK);
    feeds.until(SOON, |event| is_started(event, &frozen)).await;
    server.freeze();
    feeds.until(SOON, |event| matches!(event, StreamEvent::Retrying { .. })).await;
    let Some(StreamEvent::Retrying { error, .. }) = feeds.seen.last() else { unreachable!() };
    assert_eq!(error, "no outbound progress for 2 s");
    feeds.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
    assert!(sink.is_empty());
    let asked = Instant::now();
    sink.finish(FINISH).await;
    tell("given up, then finished, in ms", &asked.elapsed().as_millis());
    assert!(asked.elapsed() < FINISH, "{:?}", asked.elapsed());
    all_gone(&feeds).await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_server_that_stopped_reading() {
    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Noise);
    let frozen = url(server.url("live", KEY));
    for ends_by_drop in [false, true] {
        if ends_by_drop {
            server.thaw();
        }
        feeds.seen.clear();
        let sink = open(&feeds, &plan(Transport::Rtmp, &[&frozen]), Timing::DEFAULT);
        feeds.until(SOON, |event| is_started(event, &frozen)).await;
        server.freeze();
        // Until the network's buffers are full, and media is left out.
        let dropping = async {
            while sink.stats()[0].dropped == 0 {
                feeds.wait_for_media(feeds.media_time() + Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SOON, dropping).await.expect("frames are dropped when nobody takes them");
        let asked = Instant::now();
        if ends_by_drop {
            drop(sink);
        } else {
            sink.finish(Duration::from_secs(1)).await;
        }
        feeds.until(SOON, |event| matches!(event, StreamEvent::Finished { .. })).await;
        tell("frozen server, from the order to the end, in ms", &asked.elapsed().as_millis());
        assert!(asked.elapsed() < FINISH + Timing::DEFAULT.close, "{:?}", asked.elapsed());
    }
    all_gone(&feeds).await;
}

#[tokio::test]
async fn a_short_form_is_resolved_when_it_connects() {
    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Plain);
    let template = server.url("live", "{stream_key}");
    let ingests = twitch::test_server(format!(r#"{{"ingests":[{{"url_template":"{template}"}}]}}"#)).await;
    let short = url(format!("twitch://{KEY}"));
    let plan = plan(Transport::Rtmp, &[&short]);
    let sink = StreamSink::open_with(OutputId(3), &plan, &feeds.context, QUICK, &ingests).unwrap();
    feeds.until(SOON, |event| is_started(event, &short)).await;
    feeds.end().await;
    sink.finish(FINISH).await;
    assert!(server.recordings()[0].to_str().unwrap().contains(KEY));
}

#[tokio::test]
async fn a_server_that_reads_again_gets_the_stream_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = RtmpServer::start(dir.path());
    let mut feeds = FeedFixture::start(Picture::Noise);
    let frozen = url(server.url("live", KEY));
    // Time enough for a busy server to come back.
    let timing = Timing { outage: SOON, ..QUICK };
    let sink = open(&feeds, &plan(Transport::Rtmp, &[&frozen]), timing);
    feeds.until(SOON, |event| is_started(event, &frozen)).await;
    server.freeze();
    feeds.until(SOON, |event| matches!(event, StreamEvent::Retrying { .. })).await;
    server.thaw();
    feeds.until_all(SOON, |seen| seen.iter().filter(|event| is_started(event, &frozen)).count() == 2).await;
    feeds.end().await;
    sink.finish(FINISH).await;
    feeds.until(SOON, |event| matches!(event, StreamEvent::Finished { .. })).await;
    all_gone(&feeds).await;
}

#[tokio::test]
async fn an_srt_listener_that_nobody_calls_has_failed() {
    let mut feeds = FeedFixture::start(Picture::Plain);
    let own = url(format!("srt://127.0.0.1:{}?mode=listener&latency=100", ports::closed()));
    let sink = open(&feeds, &plan(Transport::Srt, &[&own]), QUICK);
    feeds.wait_for_media(Duration::from_secs(2)).await;
    feeds.end().await;
    sink.finish(FINISH).await;
    feeds.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
    let Some(StreamEvent::Failed { error, .. }) = feeds.seen.last() else { unreachable!() };
    assert_eq!(error, "it ended before media could be sent: nobody called");
    all_gone(&feeds).await;
}
