//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn stalls_and_absences() {
    let server = Server::reading(1000, |_, _| Reply::status(201)).await;
    let slow = put(&open(&server.url(), impatient()), 9 * 1024 * 1024).await.unwrap_err();
    assert_eq!(slow.kind(), StoreErrorKind::TooSlow, "{slow}");
    let nobody = put(&open(&nobody(), quick()), 10).await.unwrap_err();
    assert_eq!(nobody.kind(), StoreErrorKind::Unreachable, "{nobody}");
    assert!(nobody.to_string().contains("Connection refused"), "{nobody}");
}
