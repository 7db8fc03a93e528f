//! Tests that wait for the real clock.

use super::*;

#[tokio::test]
async fn a_stall_is_too_slow() {
    let server = Server::start(|_, _| Reply::Stall).await;
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), 10);
    let slow = open(&server, impatient()).put(&object(), &file, &Sent::default()).await.unwrap_err();
    assert_eq!(slow.kind(), StoreErrorKind::TooSlow, "{slow}");
}
