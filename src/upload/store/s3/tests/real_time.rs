//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn a_server_that_stalls_is_too_slow() {
    let server = Server::reading(100_000, |_, _| Reply::status(200)).await;
    let store = open_with(&config(&server.url()), impatient(), Peers::default());
    let slow = put(&store, 8 * 1024 * 1024).await.unwrap_err();
    assert_eq!(slow.kind(), StoreErrorKind::TooSlow, "{slow}");
    let server = Server::start(|_, _| Reply::Stall).await;
    let store = open_with(&config(&server.url()), impatient(), Peers::default());
    let slow = put(&store, 100).await.unwrap_err();
    assert_eq!(slow.kind(), StoreErrorKind::TooSlow, "{slow}");
    assert!(slow.to_string().ends_with("tried 2 times"), "{slow}");
}
