mod real_time;

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::storage::ProxyConfig;
use crate::plan::storage::{Backend, StorageTarget};
use crate::ports::nobody;
use crate::secret::Secret;
use crate::upload::store::testing::{Reply, Request, Server, file_of, impatient, quick};

fn open_with(config: &GcsConfig, persistence: Persistence) -> GcsStore {
    let target = StorageTarget { backend: Backend::Gcs(config.clone()), ..StorageTarget::local() };
    GcsStore::open(config, persistence, CredentialRedactor::new(&target)).unwrap()
}

fn config(endpoint: &str) -> GcsConfig {
    GcsConfig { bucket: "rec".to_owned(), endpoint: endpoint.to_owned(), ..GcsConfig::default() }
}

fn open(endpoint: &str) -> GcsStore {
    open_with(&config(endpoint), quick())
}

/// A service account with a key of its own, whose tokens come from `token_uri`.
fn service_account(token_uri: &str) -> (Secret<String>, KeyPair) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'static> = key.as_der().unwrap();
    let lines: Vec<_> = STANDARD.encode(der.as_ref()).into_bytes();
    let lines: Vec<_> = lines.chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let label = ["PRIVATE", "KEY"].join(" ");
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    let json = json!({
        "type": "service_account", "client_email": "weir@project.iam.gserviceaccount.com",
        "private_key": pem, "token_uri": token_uri,
    });
    (Secret::new(json.to_string()), key)
}

fn object() -> Object {
    Object { key: "a b/talk.mp4".to_owned(), mime: "video/mp4" }
}

async fn put(store: &GcsStore, size: usize) -> Result<u64, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), size);
    let sent = Sent::default();
    store.put(&object(), &file, &sent).await.map(|()| sent.bytes())
}

/// A resumable upload as Google takes it: what arrived is in the vector.
#[derive(Debug, Clone, Default)]
struct Resumable {
    has: Arc<Mutex<Vec<u8>>>,
}

impl Resumable {
    fn answer(&self, request: &Request, keeps: usize) -> Reply {
        match request.method.as_str() {
            // The address is one that only the server itself would know.
            "POST" => Reply::status(200).with("location", "http://internal:1/session?upload_id=up1"),
            "DELETE" => Reply::status(499),
            _ => {
                let mut has = self.has.lock().unwrap();
                let (range, total) =
                    request.header("content-range").unwrap()["bytes ".len()..].split_once('/').unwrap();
                if let Some((from, _)) = range.split_once('-') {
                    assert_eq!(from.parse::<usize>().unwrap(), has.len(), "{range}");
                    assert!(total != "*" || request.body.len().is_multiple_of(256 * 1024), "{range}/{total}");
                    has.extend_from_slice(&request.body[..keeps.min(request.body.len())]);
                }
                match has.len() {
                    len if total == len.to_string() => Reply::status(200),
                    0 => Reply::status(308),
                    len => Reply::status(308).with("range", format!("bytes=0-{}", len - 1)),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_small_file_is_one_request() {
    let server = Server::start(|_, before| Reply::status(if before == 0 { 503 } else { 200 })).await;
    assert_eq!(put(&open(&server.url()), 1000).await.unwrap(), 1000);
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "busy, and again");
    assert_eq!(requests[1].target, "/upload/storage/v1/b/rec/o?uploadType=media&name=a%20b%2Ftalk.mp4");
    assert_eq!(requests[1].header("content-type"), Some("video/mp4"));
    assert_eq!(requests[1].header("authorization"), None, "nobody to be");
    assert_eq!(requests[1].body.len(), 1000);
}

#[tokio::test]
async fn a_large_file_goes_on_where_the_server_is() {
    let (resumable, dir) = (Resumable::default(), tempfile::tempdir().unwrap());
    let google = resumable.clone();
    // The second chunk meets a server that is busy after it took a part; the third is taken only in
    // part.
    let server = Server::start(move |request, before| match before {
        2 => {
            google.answer(request, 1024 * 1024);
            Reply::status(503)
        }
        4 => google.answer(request, 512 * 1024),
        _ => google.answer(request, usize::MAX),
    })
    .await;
    let (file, bytes) = file_of(dir.path(), 20 * 1024 * 1024 + 7);
    let sent = Sent::default();
    open(&server.url()).put(&object(), &file, &sent).await.unwrap();
    assert!(*resumable.has.lock().unwrap() == bytes);
    assert_eq!(sent.bytes(), bytes.len() as u64);
    let requests = server.requests();
    assert_eq!(requests[0].header("x-upload-content-type"), Some("video/mp4"));
    assert_eq!(requests[0].header("x-upload-content-length"), Some(bytes.len().to_string().as_str()));
    assert!(requests[1..].iter().all(|request| request.target == "/session?upload_id=up1"));
    assert_eq!(requests[3].header("content-range"), Some(format!("bytes */{}", bytes.len()).as_str()));
}

#[tokio::test]
async fn a_server_that_keeps_nothing_is_not_asked_for_ever() {
    let resumable = Resumable::default();
    let server = Server::start(move |request, _| resumable.answer(request, 0)).await;
    let stuck = put(&open(&server.url()), 9 * 1024 * 1024).await.unwrap_err();
    assert_eq!(stuck.kind(), StoreErrorKind::Busy, "{stuck}");
    assert_eq!(server.requests().last().unwrap().method, "DELETE");
}

#[tokio::test]
async fn a_growing_file_tells_its_length_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = usize::try_from(CHUNK).unwrap();
    for size in [0, 5, chunk, 2 * chunk, 2 * chunk + 5] {
        let resumable = Resumable::default();
        let google = resumable.clone();
        let server = Server::start(move |request, _| google.answer(request, usize::MAX)).await;
        let store = open(&server.url());
        let (file, bytes) = file_of(dir.path(), size);
        let mut parts = store.begin(&object(), Head::Final).await.unwrap().unwrap();
        assert_eq!(parts.handle(), Some(format!("{}/session?upload_id=up1", server.url())));
        let mut offset = 0;
        while offset < size as u64 {
            let len = parts.next_len().min(size as u64 - offset);
            parts.append(FileRange { file: file.clone(), offset, len }).await.unwrap();
            offset += len;
        }
        parts.finish().await.unwrap();
        assert!(*resumable.has.lock().unwrap() == bytes, "{size}");
        let last = server.requests().pop().unwrap();
        assert!(last.header("content-range").unwrap().ends_with(&format!("/{size}")), "{last:?}");
    }
    let store = open("http://127.0.0.1:1");
    assert!(store.begin(&object(), Head::Rewritten).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_begun_is_let_go_of() {
    let server = Server::start(|_, _| Reply::status(499)).await;
    let session = format!("{}/session?upload_id=up1", server.url());
    open(&server.url()).discard("a", &session).await.unwrap();
    assert_eq!(server.requests()[0].method, "DELETE");
}

#[tokio::test]
async fn tokens_are_kept_and_asked_for_again_when_they_are_refused() {
    let tokens = Server::start(|_, before| {
        Reply::body(200, format!("{{\"access_token\":\"token{before}\",\"expires_in\":3600}}"))
    })
    .await;
    let server = Server::start(|request, before| match (request.header("authorization"), before) {
        (Some("Bearer token0"), 0 | 1) | (Some("Bearer token1"), _) => Reply::status(200),
        _ => Reply::status(401),
    })
    .await;
    let (credentials_json, _) = service_account(&format!("{}/token", tokens.url()));
    let store = open_with(&GcsConfig { credentials_json, ..config(&server.url()) }, quick());
    for _ in 0..3 {
        put(&store, 10).await.unwrap();
    }
    assert_eq!((tokens.requests().len(), server.requests().len()), (2, 4));
    let form = String::from_utf8(tokens.requests()[0].body.clone()).unwrap();
    assert!(form.contains("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion="), "{form}");
}

#[tokio::test]
async fn refusals_are_told_without_secrets() {
    let tokens = Server::start(|_, _| {
        Reply::body(400, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#)
    })
    .await;
    let (credentials_json, _) = service_account(&tokens.url());
    let planted = credentials_json.expose().clone();
    let store = open_with(&GcsConfig { credentials_json, ..config(&tokens.url()) }, quick());
    let refused = put(&store, 10).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("invalid_grant: Invalid JWT Signature."), "{refused}");
    assert_eq!(tokens.requests().len(), 1);

    let key: serde_json::Value = serde_json::from_str(&planted).unwrap();
    let line = key["private_key"].as_str().unwrap().lines().nth(2).unwrap().to_owned();
    let body = json!({"error": {"message": format!("{line} http://x/y?upload_id=1"), "errors": [{"reason": "forbidden"}]}});
    let server = Server::start(move |request, _| match request.path() {
        "/token" => Reply::body(200, r#"{"access_token":"t","expires_in":3600}"#),
        _ => Reply::body(403, body.to_string()),
    })
    .await;
    let own = planted.replace(&tokens.url(), &format!("{}/token", server.url()));
    let own = GcsConfig { credentials_json: Secret::new(own), ..config(&server.url()) };
    for size in [10, 9 * 1024 * 1024] {
        let text = put(&open_with(&own, quick()), size).await.unwrap_err().to_string();
        assert!(text.starts_with("forbidden: *** http://x/y?*** (bucket rec at 127.0.0.1:"), "{text}");
    }

    let none = GcsConfig { credentials_json: Secret::new("{\"private_key\": oops".to_owned()), ..config("") };
    let unusable = GcsStore::open(&none, quick(), CredentialRedactor::default()).unwrap_err();
    assert_eq!(unusable.kind(), StoreErrorKind::Unusable);
    assert!(!unusable.to_string().contains("oops"), "{unusable}");
}

#[test]
fn credentials_that_name_a_file_or_a_program_are_never_opened() {
    for source in [json!({ "file": "/etc/hostname" }), json!({ "executable": { "command": "/bin/true" } })] {
        let json = json!({
            "type": "external_account", "audience": "a", "subject_token_type": "t",
            "token_url": "http://127.0.0.1:1/${HOME}", "credential_source": source,
        });
        let named = GcsConfig { credentials_json: Secret::new(json.to_string()), ..config("") };
        let unusable = GcsStore::open(&named, quick(), CredentialRedactor::default()).unwrap_err();
        assert_eq!(unusable.kind(), StoreErrorKind::Unusable, "{unusable}");
    }
}

#[tokio::test]
async fn a_proxy_gets_its_user_and_password() {
    let proxy = Server::start(|request, _| match request.method.as_str() {
        "CONNECT" => Reply::status(407),
        _ => Reply::status(200),
    })
    .await;
    let through = |endpoint: &str| GcsConfig {
        proxy_config: Some(ProxyConfig {
            url: Secret::new(proxy.url()),
            username: "me".to_owned(),
            password: Secret::new("pw".to_owned()),
        }),
        ..config(endpoint)
    };
    put(&open_with(&through("http://gcs.example.com"), quick()), 10).await.unwrap();
    let request = proxy.requests().remove(0);
    assert_eq!(request.path(), "http://gcs.example.com/upload/storage/v1/b/rec/o");
    assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6cHc="));
    put(&open_with(&through("https://gcs.example.com"), quick()), 10).await.unwrap_err();
    let request = proxy.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", "gcs.example.com:443"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6cHc="));
}

/// <https://cloud.google.com/storage/docs/authentication/canonical-requests>
#[tokio::test]
async fn a_link_is_signed_by_the_accounts_key() {
    let (credentials_json, key) = service_account("http://127.0.0.1:1");
    let store = open_with(&GcsConfig { credentials_json, ..config("") }, quick());
    let link = store.signed_url("a b/ü.mp4", super::super::SIGNED_FOR).await.unwrap();
    let (unsigned, signature) = link.split_once("&X-Goog-Signature=").unwrap();
    let (address, query) = unsigned.split_once('?').unwrap();
    assert_eq!(address, "https://storage.googleapis.com/rec/a%20b/%C3%BC.mp4");
    assert!(query.contains("X-Goog-Expires=604800"), "{query}");
    let value = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let mut sorted: Vec<_> = query.split('&').collect();
    sorted.sort_unstable();
    let canonical = format!(
        "GET\n/rec/a%20b/%C3%BC.mp4\n{}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD",
        sorted.join("&")
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    let scope = value("X-Goog-Credential").split_once('/').unwrap().1.to_owned();
    let signed = format!("GOOG4-RSA-SHA256\n{}\n{scope}\n{}", value("X-Goog-Date"), hex(hash.as_ref()));
    let signature: Vec<u8> = (0..signature.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap())
        .collect();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public.verify(signed.as_bytes(), &signature).unwrap_or_else(|_| panic!("{canonical}\n{signed}"));

    let nobody = open("http://127.0.0.1:1").signed_url("a", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(nobody.kind(), StoreErrorKind::Unusable);
}

#[test]
fn locations() {
    assert_eq!(open("").location("a b.mp4"), "https://rec.storage.googleapis.com/a%20b.mp4");
    assert_eq!(open("http://gcs:4443").location("a b.mp4"), "http://gcs:4443/rec/a%20b.mp4");
}
