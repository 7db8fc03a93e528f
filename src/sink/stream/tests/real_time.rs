//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn a_server_that_never_speaks_is_tried_for_the_outage_and_given_up() {
    let server = DeafServer::start();
    let mut studio = Studio::start(Picture::Plain);
    let deaf = url(server.url(KEY));
    let sink = open(&studio, &plan(Transport::Rtmp, &[&deaf]), QUICK);
    studio.until(SOON, |event| matches!(event, StreamEvent::Failed { .. })).await;
    assert!(studio.seen.iter().any(|event| matches!(event, StreamEvent::Retrying { .. })));
    let Some(StreamEvent::Failed { error, .. }) = studio.seen.last() else { unreachable!() };
    assert_eq!(error, "no connection within 2 s");
    drop(sink);
    all_gone(&studio).await;
}
