//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn a_server_that_never_speaks_is_tried_for_the_outage_and_given_up() {
    let server = DeafServer::start();
    let mut feeds = FeedFixture::start(Picture::Plain);
    let deaf = url(server.url(KEY));
    let sink = open(&feeds, &plan(Transport::Rtmp, &[&deaf]), QUICK);
    feeds.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
    assert!(feeds.seen.iter().any(|event| matches!(event, StreamEvent::Retrying { .. })));
    let Some(StreamEvent::Failed { error, .. }) = feeds.seen.last() else { unreachable!() };
    assert_eq!(error, "no connection within 2 s");
    drop(sink);
    all_gone(&feeds).await;
}

#[tokio::test]
async fn a_stream_that_never_started_has_failed_whenever_it_is_ended() {
    let server = DeafServer::start();
    let nobody = url(format!("srt://127.0.0.1:{}?mode=caller", ports::closed()));
    let deaf = url(server.url(KEY));
    // While it connects, between two attempts, and when it is abandoned.
    for (retries, abandons) in [(0, false), (1, false), (0, true)] {
        let mut feeds = FeedFixture::start(Picture::Plain);
        let mut sink = open(&feeds, &plan(Transport::Rtmp, &[&deaf]), Timing { outage: SOON, ..QUICK });
        let is_there = |seen: &[StreamEvent]| {
            let count = |is_it: fn(&StreamEvent) -> bool| seen.iter().filter(|event| is_it(event)).count();
            count(|event| matches!(event, StreamEvent::Retrying { .. })) == retries
                && count(|event| matches!(event, StreamEvent::Connecting { .. })) == 1
        };
        feeds.until_all(SOON, is_there).await;
        if abandons {
            drop(sink);
        } else if retries > 0 {
            // Its feeds have not ended: it is removed.
            sink.remove(&deaf).unwrap();
        } else {
            feeds.end().await;
            sink.finish(Duration::from_millis(100)).await;
        }
        feeds.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
        let Some(StreamEvent::Failed { error, .. }) = feeds.seen.last() else { unreachable!() };
        assert!(error.starts_with("it ended before media could be sent: "), "{error}");
        assert!(!feeds.seen.iter().any(|event| is_started(event, &deaf)), "{:?}", feeds.seen);
        all_gone(&feeds).await;
    }
    let mut feeds = FeedFixture::start(Picture::Plain);
    let sink = open(&feeds, &plan(Transport::Srt, &[&nobody]), Timing { connect: SOON, ..QUICK });
    feeds.until(SOON, |event| matches!(event, StreamEvent::Connecting { .. })).await;
    feeds.end().await;
    sink.finish(Duration::from_millis(100)).await;
    feeds.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
    all_gone(&feeds).await;
}
