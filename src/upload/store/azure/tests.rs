mod real_time;

use super::*;
use crate::plan::storage::{Backend, StorageTarget};
use crate::ports::nobody;
use crate::secret::Secret;
use crate::upload::store::testing::{Reply, Server, file_of, impatient, quick};

/// "planted key" in base64.
const KEY: &str = "cGxhbnRlZCBrZXk=";

fn open(endpoint: &str, persistence: Persistence) -> AzureStore {
    let config = AzureConfig {
        account_name: Secret::new("acc".to_owned()),
        account_key: Secret::new(KEY.to_owned()),
        container_name: "rec".to_owned(),
        endpoint: endpoint.to_owned(),
    };
    let target = StorageTarget { backend: Backend::Azure(config.clone()), ..StorageTarget::local() };
    AzureStore::open(&config, persistence, CredentialRedactor::new(&target)).unwrap()
}

async fn put(store: &AzureStore, size: usize) -> Result<u64, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), size);
    let (object, sent) = (Object { key: "a b/talk.mp4".to_owned(), mime: "video/mp4" }, Sent::default());
    store.put(&object, &file, &sent).await.map(|()| sent.bytes())
}

#[tokio::test]
async fn a_small_file_is_one_request() {
    let server = Server::start(|_, before| Reply::status(if before == 0 { 503 } else { 201 })).await;
    assert_eq!(put(&open(&server.url(), quick()), 1000).await.unwrap(), 1000);
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "busy, and again");
    let request = &requests[1];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/rec/a%20b/talk.mp4"));
    assert_eq!(request.header("x-ms-blob-type"), Some("BlockBlob"));
    assert_eq!(request.header("content-type"), Some("video/mp4"));
    assert!(request.header("authorization").unwrap().starts_with("SharedKey acc:"));
    assert_eq!(request.body.len(), 1000);
}

#[tokio::test]
async fn a_large_file_is_blocks_and_a_list_of_them() {
    let server = Server::start(|_, _| Reply::status(201)).await;
    let size = 10 * 1024 * 1024 + 3;
    assert_eq!(put(&open(&server.url(), quick()), size).await.unwrap(), size as u64);
    let requests = server.requests();
    let (blocks, lists): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.query("comp").as_deref() == Some("block"));
    assert_eq!((blocks.len(), lists.len()), (3, 1));
    assert_eq!(blocks.iter().map(|block| block.body.len()).sum::<usize>(), size);
    assert_eq!(lists[0].query("comp").as_deref(), Some("blocklist"));
    assert_eq!(lists[0].header("x-ms-blob-content-type"), Some("video/mp4"));
}

#[tokio::test]
async fn a_refusal_is_told_once_and_without_the_key() {
    let body = format!(
        "<Error><Code>AuthenticationFailed</Code><Message>key {KEY} http://x/?sig=1\nRequestId:1</Message></Error>"
    );
    let server = Server::start(move |_, _| Reply::body(403, body.clone())).await;
    for size in [10, 5 * 1024 * 1024] {
        let refused = put(&open(&server.url(), quick()), size).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        let text = refused.to_string();
        assert!(
            text.starts_with("AuthenticationFailed: key *** http://x/?*** (container rec at 127"),
            "{text}"
        );
    }
    let server = Server::start(|_, _| Reply::body(403, "<html>go away</html>")).await;
    let refused = put(&open(&server.url(), quick()), 10).await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
    assert!(refused.to_string().starts_with("the server answered 403 Forbidden"), "{refused}");
}

#[tokio::test]
async fn places() {
    let store = open("", quick());
    assert_eq!(store.location("a b.mp4"), "https://acc.blob.core.windows.net/rec/a%20b.mp4");
    let store = open("http://127.0.0.1:10000/acc/", quick());
    assert_eq!(store.location("a b.mp4"), "http://127.0.0.1:10000/acc/rec/a%20b.mp4");
    let link = store.signed_url("a b.mp4", Duration::from_secs(60)).await.unwrap();
    assert!(link.starts_with("http://127.0.0.1:10000/acc/rec/a%20b.mp4?sv="), "{link}");
    assert!(link.contains("&sp=r&sr=b&sig="), "{link}");
}
