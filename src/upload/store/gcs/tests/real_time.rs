//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn stalls_and_absences() {
    let server = Server::start(|_, _| Reply::Stall).await;
    let slow = put(&open_with(&config(&server.url()), impatient()), 10).await.unwrap_err();
    assert_eq!(slow.kind(), StoreErrorKind::TooSlow, "{slow}");
    let nobody = put(&open(&nobody()), 10).await.unwrap_err();
    assert_eq!(nobody.kind(), StoreErrorKind::Unreachable, "{nobody}");
    assert!(nobody.to_string().contains("Connection refused"), "{nobody}");
}
