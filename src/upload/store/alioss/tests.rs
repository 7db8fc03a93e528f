//! There is no server of Alibaba's to be had here, so that its published rules stand in: each
//! request is signed again by them.
//! (<https://www.alibabacloud.com/help/oss/developer-reference/include-signatures-in-the-authorization-header>)

mod real_time;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::plan::storage::{Backend, StorageTarget};
use crate::secret::Secret;
use crate::upload::store::testing::{Reply, Request, Server, file_of, impatient, quick};

const KEY: &str = "44CF9590006BF252F707";
const SECRET: &str = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV";

fn signature(string_to_sign: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    STANDARD.encode(hmac::sign(&key, string_to_sign.as_bytes()))
}

/// The signed text of a request, by the rules of version 1. `date` is the `Date`, or when a link
/// expires.
fn string_to_sign(request: &Request, bucket: &str, date: &str) -> String {
    let header = |name| request.header(name).unwrap_or_default();
    let mut own: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name.starts_with("x-oss-"))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    own.sort();
    let path = percent_encoding::percent_decode_str(request.path()).decode_utf8().unwrap().into_owned();
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let mut parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| ["uploads", "uploadId", "partNumber"].contains(&name.as_ref()))
        .map(|(name, value)| if value.is_empty() { name.into_owned() } else { format!("{name}={value}") })
        .collect();
    parameters.sort();
    let parameters = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    let (method, md5, mime) = (&request.method, header("content-md5"), header("content-type"));
    format!("{method}\n{md5}\n{mime}\n{date}\n{}/{bucket}{path}{parameters}", own.concat())
}

fn assert_signed(request: &Request) {
    let date = request.header("date").unwrap_or_else(|| panic!("{request:?}"));
    let expected = format!("OSS {KEY}:{}", signature(&string_to_sign(request, "rec", date)));
    assert_eq!(request.header("authorization"), Some(expected.as_str()), "{request:?}");
}

#[test]
fn the_published_example_comes_out() {
    let request = Request {
        method: "PUT".to_owned(),
        target: "/nelson".to_owned(),
        headers: [
            ("Content-Md5", "ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM="),
            ("Content-Type", "text/html"),
            ("X-OSS-Meta-Author", "foo@bar.com"),
            ("X-OSS-Magic", "abracadabra"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        body: Vec::new(),
    };
    let text = string_to_sign(&request, "oss-example", "Thu, 17 Nov 2005 18:49:58 GMT");
    assert_eq!(signature(&text), "26NBxoKdsyly4EDv6inkoDft/yA=", "{text}");
}

fn open(server: &Server, persistence: Persistence) -> AliOssStore {
    let config = AliOssConfig {
        access_key: Secret::new(KEY.to_owned()),
        secret: Secret::new(SECRET.to_owned()),
        endpoint: format!("http://oss.test:{}", server.address.port()),
        bucket: "rec".to_owned(),
    };
    let target = StorageTarget { backend: Backend::AliOss(config.clone()), ..StorageTarget::local() };
    let endpoint = Endpoint::parse(&config.endpoint).unwrap().unwrap();
    let http =
        Http::new(None, CredentialRedactor::new(&target), "bucket rec at oss.test".to_owned()).unwrap();
    AliOssStore::with(&config, endpoint, http.resolving("rec.oss.test", server.address), persistence).unwrap()
}

fn object() -> Object {
    Object { key: "a b/ü+talk.mp4".to_owned(), mime: "video/mp4" }
}

#[tokio::test]
async fn a_small_file_is_one_signed_request() {
    let server = Server::start(|_, before| Reply::status(if before == 0 { 503 } else { 200 })).await;
    let dir = tempfile::tempdir().unwrap();
    let (file, bytes) = file_of(dir.path(), 100_000);
    open(&server, quick()).put(&object(), &file, &Sent::default()).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "busy, and again");
    let request = &requests[1];
    assert_eq!((request.method.as_str(), request.path()), ("PUT", "/a%20b/%C3%BC%2Btalk.mp4"));
    assert_eq!(request.header("host"), Some(format!("rec.oss.test:{}", server.address.port()).as_str()));
    assert_eq!(request.header("content-type"), Some("video/mp4"));
    assert!(request.body == bytes);
    assert_signed(request);
}

#[tokio::test]
async fn a_large_file_is_signed_parts() {
    let server = Server::start(|request, _| match (request.method.as_str(), request.query("partNumber")) {
        ("POST", _) if request.query("uploads").is_some() => Reply::body(
            200,
            "<InitiateMultipartUploadResult><Bucket>rec</Bucket><Key>k</Key><UploadId>up1</UploadId>\
             </InitiateMultipartUploadResult>",
        ),
        ("PUT", Some(number)) => Reply::status(200).with("etag", format!("\"e{number}\"")),
        _ => {
            Reply::body(200, "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (file, bytes) = file_of(dir.path(), 10 * 1024 * 1024 + 3);
    let sent = Sent::default();
    open(&server, quick()).put(&object(), &file, &sent).await.unwrap();
    assert_eq!(sent.bytes(), bytes.len() as u64);
    let requests = server.requests();
    requests.iter().for_each(assert_signed);
    let mut parts: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
    parts.sort_by_key(|part| part.query("partNumber"));
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().flat_map(|part| part.body.iter()).eq(bytes.iter()));
    assert!(parts.iter().all(|part| part.query("uploadId").as_deref() == Some("up1")));
    let last = requests.last().unwrap();
    assert_eq!((last.method.as_str(), last.query("uploadId").as_deref()), ("POST", Some("up1")));
    let list = String::from_utf8(last.body.clone()).unwrap();
    assert!(list.find("e1") < list.find("e2") && list.find("e2") < list.find("e3"), "{list}");
}

#[tokio::test]
async fn a_refusal_is_told_without_the_keys() {
    let body =
        format!("<Error><Code>SignatureDoesNotMatch</Code><Message>bad {SECRET} {KEY}</Message></Error>");
    let server = Server::start(move |_, _| Reply::body(403, body.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), 10);
    let refused = open(&server, quick()).put(&object(), &file, &Sent::default()).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert_eq!(server.requests().len(), 1);
    let text = refused.to_string();
    assert!(text.starts_with("SignatureDoesNotMatch: bad *** *** (bucket rec at oss.test"), "{text}");
}

#[tokio::test]
async fn a_link_is_signed() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let link = open(&server, quick()).signed_url(&object().key, Duration::from_secs(3600)).await.unwrap();
    let (before, target) = link.split_once(&format!(":{}", server.address.port())).unwrap();
    assert_eq!(before, "http://rec.oss.test");
    let request = Request {
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let expires = request.query("Expires").unwrap();
    let seconds = expires.parse::<i64>().unwrap() - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&seconds), "{seconds}");
    assert_eq!(request.query("OSSAccessKeyId").as_deref(), Some(KEY));
    assert_eq!(request.query("Signature"), Some(signature(&string_to_sign(&request, "rec", &expires))));
    assert!(!link.contains(SECRET));
}

#[tokio::test]
async fn locations() {
    let config = AliOssConfig {
        endpoint: "oss-cn-hangzhou.aliyuncs.com".to_owned(),
        bucket: "rec".to_owned(),
        access_key: Secret::new(KEY.to_owned()),
        secret: Secret::new(SECRET.to_owned()),
    };
    let store = AliOssStore::open(&config, quick(), CredentialRedactor::default()).unwrap();
    assert_eq!(store.location("a b.mp4"), "https://rec.oss-cn-hangzhou.aliyuncs.com/a%20b.mp4");
    let without = AliOssConfig { endpoint: String::new(), ..config };
    let unusable = AliOssStore::open(&without, quick(), CredentialRedactor::default()).unwrap_err();
    assert_eq!(unusable.kind(), StoreErrorKind::Unusable);
}
