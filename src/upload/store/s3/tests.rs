mod real_time;

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use crate::config::storage::ProxyConfig;
use crate::outbound::Guard;
use crate::plan::storage::{Backend, StorageTarget};
use crate::ports::nobody;
use crate::secret::Secret;
use crate::upload::store::testing::{Reply, Request, Server, file_of, impatient, quick};

fn secret(value: &str) -> Secret<String> {
    Secret::new(value.to_owned())
}

fn config(endpoint: &str) -> S3Config {
    S3Config {
        access_key: secret("AKIAPLANTEDKEY"),
        secret: secret("planted/secret"),
        endpoint: endpoint.to_owned(),
        bucket: "rec".to_owned(),
        force_path_style: true,
        ..S3Config::default()
    }
}

fn open_with(config: &S3Config, persistence: Persistence, peers: Peers) -> S3Store {
    let target = StorageTarget { backend: Backend::S3(config.clone()), ..StorageTarget::local() };
    S3Store::open(config, persistence, CredentialRedactor::new(&target), peers).unwrap()
}

fn open(config: &S3Config) -> S3Store {
    open_with(config, quick(), Peers::default())
}

fn object() -> Object {
    Object { key: "a b/talk.mp4".to_owned(), mime: "video/mp4" }
}

fn error(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

async fn put(store: &S3Store, size: usize) -> Result<u64, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), size);
    let sent = Sent::default();
    store.put(&object(), &file, &sent).await.map(|()| sent.bytes())
}

/// Answers as S3 does to a multipart upload.
fn multipart(request: &Request) -> Reply {
    match (request.method.as_str(), request.query("uploads"), request.query("uploadId")) {
        ("POST", Some(_), None) => Reply::body(
            200,
            "<InitiateMultipartUploadResult><UploadId>up1</UploadId></InitiateMultipartUploadResult>",
        ),
        ("PUT", None, Some(_)) => {
            Reply::status(200).with("etag", format!("\"e{}\"", request.query("partNumber").unwrap()))
        }
        ("POST", None, Some(_)) => Reply::body(
            200,
            "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>",
        ),
        ("DELETE", None, Some(_)) => Reply::status(204),
        _ => Reply::status(200),
    }
}

#[tokio::test]
async fn a_small_file_is_one_request_with_all_that_was_said() {
    let server = Server::start(|_, _| Reply::status(200)).await;
    let store = open(&S3Config {
        session_token: secret("planted-token"),
        metadata: BTreeMap::from([("room".to_owned(), "42".to_owned())]),
        tagging: "a=b&c=d%20e".to_owned(),
        ..config(&server.url())
    });
    assert_eq!(put(&store, 1000).await.unwrap(), 1000);
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.path()), ("PUT", "/rec/a%20b/talk.mp4"));
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("content-disposition", "inline"),
        ("content-length", "1000"),
        ("x-amz-meta-room", "42"),
        ("x-amz-tagging", "a=b&c=d%20e"),
        ("x-amz-security-token", "planted-token"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let authorization = request.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIAPLANTEDKEY/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
    // Oracle, and others, refuse these.
    for header in ["content-encoding", "x-amz-trailer", "transfer-encoding", "x-amz-checksum-crc32"] {
        assert_eq!(request.header(header), None, "{header}");
    }
    assert_eq!(request.body.len(), 1000);
}

#[tokio::test]
async fn a_large_file_is_parts_that_are_joined_in_order() {
    let server = Server::start(|request, _| multipart(request)).await;
    let dir = tempfile::tempdir().unwrap();
    let size = 20 * 1024 * 1024 + 7;
    let (file, bytes) = file_of(dir.path(), size);
    let sent = Sent::default();
    open(&config(&server.url())).put(&object(), &file, &sent).await.unwrap();
    assert_eq!(sent.bytes(), bytes.len() as u64);
    let mut parts: Vec<_> = server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    parts.sort_by_key(|part| part.query("partNumber").unwrap().parse::<u32>().unwrap());
    assert_eq!(parts.len(), 3);
    assert!(parts.into_iter().flat_map(|part| part.body).eq(bytes));
    let last = server.requests().pop().unwrap();
    let list = String::from_utf8(last.body).unwrap();
    let at = |text: &str| list.find(text).unwrap_or_else(|| panic!("{text} in {list}"));
    assert!(at("e1") < at("e2") && at("e2") < at("e3"), "{list}");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for status in [500, 503, 429, 409, 408] {
        let server =
            Server::start(move |_, before| Reply::status(if before < 2 { status } else { 200 })).await;
        put(&open(&config(&server.url())), 10).await.unwrap();
        assert_eq!(server.requests().len(), 3, "{status}");
    }
    let server = Server::start(|_, before| if before < 2 { Reply::HangUp } else { Reply::status(200) }).await;
    put(&open(&config(&server.url())), 10).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_and_its_text_has_no_secrets() {
    let server = Server::start(|_, _| {
        Reply::body(
            403,
            error(
                "InvalidAccessKeyId",
                "no key AKIAPLANTEDKEY, planted/secret, http://x/y?X-Amz-Signature=1",
            ),
        )
    })
    .await;
    let refused = put(&open(&config(&server.url())), 10).await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert_eq!(
        refused.to_string(),
        format!(
            "InvalidAccessKeyId: no key ***, ***, http://x/y?*** (bucket rec at {}; check access_key)",
            server.address
        )
    );
    assert!(!format!("{refused:?}").contains("planted"));
}

#[tokio::test]
async fn a_multipart_upload_that_fails_is_aborted() {
    let server = Server::start(|request, _| match request.query("partNumber").as_deref() {
        Some("2") => Reply::body(403, error("AccessDenied", "Access Denied")),
        _ => multipart(request),
    })
    .await;
    let refused = put(&open(&config(&server.url())), 20 * 1024 * 1024).await.unwrap_err();
    assert!(refused.to_string().starts_with("AccessDenied: Access Denied (bucket rec"), "{refused}");
    let last = server.requests().pop().unwrap();
    assert_eq!((last.method.as_str(), last.query("uploadId").as_deref()), ("DELETE", Some("up1")));
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_no_failure() {
    let size = 9 * 1024 * 1024;
    for (there, is_ours) in [(size, true), (size - 1, false)] {
        let server = Server::start(move |request, _| match request.method.as_str() {
            "POST" if request.query("uploadId").is_some() => {
                Reply::body(404, error("NoSuchUpload", "The specified upload does not exist."))
            }
            "HEAD" => Reply::status(200).with("content-length", there.to_string()),
            _ => multipart(request),
        })
        .await;
        assert_eq!(put(&open(&config(&server.url())), size).await.is_ok(), is_ours, "{there}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let refused = put(&open(&config(&nobody())), 10).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unreachable, "{refused}");
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
    let unknown = put(&open(&config("http://no-such-host.invalid")), 10).await.unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::Unreachable, "{unknown}");
}

#[tokio::test]
async fn a_proxy_gets_its_user_and_password_and_the_server_does_not() {
    let proxy = Server::start(|request, _| match request.method.as_str() {
        "CONNECT" => Reply::status(407),
        _ => Reply::status(200),
    })
    .await;
    let through = |endpoint: &str| S3Config {
        proxy_config: Some(ProxyConfig {
            url: secret(&proxy.url()),
            username: "me".to_owned(),
            password: secret("p:w@ ü%"),
        }),
        ..config(endpoint)
    };
    put(&open(&through("http://store.example.com:9000")), 10).await.unwrap();
    let request = proxy.requests().remove(0);
    assert_eq!(request.path(), "http://store.example.com:9000/rec/a%20b/talk.mp4");
    assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6cDp3QCDDvCU="));

    let refused = put(&open(&through("https://store.example.com")), 10).await.unwrap_err();
    let request = proxy.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", "store.example.com:443"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6cDp3QCDDvCU="));
    assert_eq!(request.header("authorization"), None);
    assert!(!refused.to_string().contains("pw"), "{refused}");
}

#[tokio::test]
async fn a_wrong_clock_is_set_by_the_server_once() {
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    let date = httpdate::fmt_http_date(ahead);
    let stamp =
        |time: SystemTime| jiff::Timestamp::try_from(time).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
    // Not a second too early, which at the end of a minute, or of a day, would be another one.
    let right = stamp(ahead)..=stamp(ahead + Duration::from_secs(60));
    let server = Server::start(move |request, _| {
        if right.contains(&request.header("x-amz-date").unwrap_or_default().to_owned()) {
            Reply::status(200)
        } else {
            Reply::body(403, error("RequestTimeTooSkewed", "The difference is too large."))
                .with("date", date.clone())
        }
    })
    .await;
    let store = open(&config(&server.url()));
    put(&store, 10).await.unwrap();
    put(&store, 10).await.unwrap();
    assert_eq!(server.requests().len(), 3, "the second object is stored at once");
    let link = store.signed_url("a.mp4", Duration::from_secs(60)).await.unwrap();
    let hour = |time: SystemTime| {
        jiff::Timestamp::try_from(time).unwrap().strftime("X-Amz-Date=%Y%m%dT%H").to_string()
    };
    assert!(link.contains(&hour(ahead)) || link.contains(&hour(ahead + Duration::from_secs(60))), "{link}");

    // A server that never agrees is asked twice, not for ever.
    let server = Server::start(|_, _| {
        Reply::body(403, error("RequestTimeTooSkewed", "no")).with("date", "Sat, 01 Jan 2000 00:00:00 GMT")
    })
    .await;
    let refused = put(&open(&config(&server.url())), 10).await.unwrap_err();
    assert!(refused.to_string().contains("set this machine's clock"), "{refused}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_role_is_assumed_with_the_given_keys() {
    let sts = Server::start(|_, _| {
        Reply::body(
            200,
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
             <SecretAccessKey>rolesecret</SecretAccessKey><SessionToken>roletoken</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        )
    })
    .await;
    let server = Server::start(|_, _| Reply::status(200)).await;
    let role = S3Config {
        assume_role_arn: "arn:aws:iam::1:role/weir".to_owned(),
        assume_role_external_id: secret("ext-1"),
        ..config(&server.url())
    };
    let peers = Peers { sts: Some(sts.url()), ..Peers::default() };
    let store = open_with(&role, quick(), peers);
    put(&store, 10).await.unwrap();
    put(&store, 10).await.unwrap();
    let asked = sts.requests();
    assert_eq!(asked.len(), 1, "credentials are kept");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(form.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweir"), "{form}");
    assert!(form.contains("ExternalId=ext-1") && form.contains("RoleSessionName=weir"), "{form}");
    assert!(asked[0].header("authorization").unwrap().contains("Credential=AKIAPLANTEDKEY/"));
    let request = server.requests().remove(0);
    assert!(request.header("authorization").unwrap().contains("Credential=ASIAROLE/"));
    assert_eq!(request.header("x-amz-security-token"), Some("roletoken"));

    let sts = Server::start(|_, _| {
        Reply::body(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform sts:AssumeRole, \
             planted/secret</Message></Error></ErrorResponse>",
        )
    })
    .await;
    let peers = Peers { sts: Some(sts.url()), ..Peers::default() };
    let refused = put(&open_with(&role, quick(), peers), 10).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("sts:AssumeRole"), "{refused}");
    assert!(!refused.to_string().contains("planted"), "{refused}");
}

#[tokio::test]
async fn amazon_says_where_a_bucket_is() {
    let amazon = Server::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::status(301).with("x-amz-bucket-region", "eu-central-1"),
        _ => Reply::status(200),
    })
    .await;
    let peers = Peers { s3: Some(amazon.url()), ..Peers::default() };
    let store = open_with(&config(""), quick(), peers);
    put(&store, 10).await.unwrap();
    put(&store, 10).await.unwrap();
    let requests = amazon.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].header("authorization").unwrap().contains("/eu-central-1/s3/"));
    // Amazon gets a checksum of what it takes.
    assert!(requests[1].header("x-amz-trailer").is_some(), "{:?}", requests[1].headers);
}

#[tokio::test]
async fn a_growing_file_is_sent_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let part = usize::try_from(PART).unwrap();
    let (file, bytes) = file_of(dir.path(), 2 * part + 5);
    for head in [Head::Final, Head::Rewritten] {
        let server = Server::start(|request, _| multipart(request)).await;
        let mut parts = open(&config(&server.url())).begin(&object(), head).await.unwrap().unwrap();
        assert_eq!(parts.handle().as_deref(), Some("up1"));
        let mut offset = 0;
        while offset < bytes.len() as u64 {
            let len = parts.next_len().min(bytes.len() as u64 - offset);
            parts.append(FileRange { file: file.clone(), offset, len }).await.unwrap();
            offset += len;
        }
        parts.finish().await.unwrap();
        let requests = server.requests();
        let puts: Vec<_> = requests.iter().filter(|request| request.method == "PUT").collect();
        let numbers: Vec<_> = puts.iter().map(|put| put.query("partNumber").unwrap()).collect();
        if head == Head::Rewritten {
            assert_eq!(numbers.last().map(String::as_str), Some("1"), "the head is sent last");
        }
        let mut sorted = puts.clone();
        sorted.sort_by_key(|put| put.query("partNumber"));
        assert!(sorted.iter().flat_map(|put| put.body.iter()).eq(bytes.iter()));
        assert_eq!(requests.last().unwrap().method, "POST");
    }
}

#[tokio::test]
async fn a_growing_file_that_stays_empty_or_fails_leaves_no_upload() {
    let server = Server::start(|request, _| multipart(request)).await;
    let parts = open(&config(&server.url())).begin(&object(), Head::Final).await.unwrap().unwrap();
    parts.finish().await.unwrap();
    let methods: Vec<_> = server.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["POST", "PUT", "DELETE"]);

    let server = Server::start(|request, _| match request.method.as_str() {
        "PUT" => Reply::body(403, error("AccessDenied", "no")),
        _ => multipart(request),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = file_of(dir.path(), 10);
    let mut parts = open(&config(&server.url())).begin(&object(), Head::Final).await.unwrap().unwrap();
    parts.append(FileRange { file, offset: 0, len: 10 }).await.unwrap();
    assert_eq!(parts.finish().await.unwrap_err().kind(), StoreErrorKind::Refused);
    assert_eq!(server.requests().last().unwrap().method, "DELETE");
}

#[tokio::test]
async fn discarding_what_is_gone_is_no_error() {
    let server = Server::start(|_, _| Reply::body(404, error("NoSuchUpload", "gone"))).await;
    open(&config(&server.url())).discard("a", "up1").await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_the_files_error() {
    let store = open(&config(&nobody()));
    let error = store.put(&object(), Path::new("/no/such/file"), &Sent::default()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::File);
    assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
}

#[test]
fn locations() {
    let at = |endpoint: &str, force_path_style| {
        let config = S3Config { force_path_style, ..config(endpoint) };
        open(&config).location("a b//c+d.mp4")
    };
    assert_eq!(at("", false), "https://rec.s3.amazonaws.com/a%20b/c%2Bd.mp4");
    assert_eq!(at("", true), "https://s3.amazonaws.com/rec/a%20b/c%2Bd.mp4");
    assert_eq!(at("minio.example.com:9000", true), "https://minio.example.com:9000/rec/a%20b/c%2Bd.mp4");
    assert_eq!(at("http://minio:9000", true), "http://minio:9000/rec/a%20b/c%2Bd.mp4");
    assert_eq!(at("https://fra.example.com/", false), "https://rec.fra.example.com/a%20b/c%2Bd.mp4");
    assert_eq!(at("http://minio:9000", false), "https://rec.minio:9000/a%20b/c%2Bd.mp4");
}

#[test]
fn parts_are_few_enough() {
    for size in [PART + 1, 100 * PART, 80_000 * MIB + 1, 1 << 40, 5 << 40] {
        let whole = FileRange { file: "a".into(), offset: 0, len: size };
        let parts: Vec<_> = ranges(&whole).collect();
        assert!(parts.len() as u64 <= MOST_PARTS, "{size}");
        assert_eq!(parts.iter().map(|(_, range)| range.len).sum::<u64>(), size);
        assert!(parts.windows(2).all(|pair| pair[0].1.offset + pair[0].1.len == pair[1].1.offset));
        assert_eq!(parts.last().map(|(number, _)| number.unsigned_abs() as usize), Some(parts.len()));
    }
}

#[tokio::test]
async fn an_endpoint_or_proxy_that_leads_to_the_link_is_refused_and_not_waited_for() {
    // The guard takes the loopback for the link.
    let guarded = || Peers { guard: Guard::refusing(|_| true), ..Peers::default() };
    let server = Server::start(|_, _| Reply::status(200)).await;
    let port = server.address.port();
    let named = open_with(&config(&format!("http://localhost:{port}")), quick(), guarded());
    let refused = put(&named, 10).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unusable, "{refused}");
    assert!(refused.to_string().contains("allow_link_local"), "{refused}");
    let through = |url: String| {
        let proxy = ProxyConfig { url: Secret::new(url), ..ProxyConfig::default() };
        S3Config { proxy_config: Some(proxy), ..config("http://s3.example.com") }
    };
    let refused = put(&open_with(&through(format!("http://localhost:{port}")), quick(), guarded()), 10).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("allow_link_local"), "{refused}");
    let persistence = quick();
    let literal = through("http://169.254.169.254:3128".to_owned());
    let refused = S3Store::open(&literal, persistence, CredentialRedactor::default(), guarded()).unwrap_err();
    assert!(refused.to_string().contains("allow_link_local"), "{refused}");
    assert!(server.requests().is_empty());
}
