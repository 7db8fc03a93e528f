use super::*;
use crate::config::storage;

const SERVER: &str = "
storage:
  prefix: lk
  generate_presigned_url: true
  s3: {access_key: SERVER, secret: SERVER, bucket: servers, max_retries: 7, min_retry_delay: 1s}
backup:
  gcp: {bucket: spare}
";

fn of_request(s3: S3Config) -> Option<Backend> {
    Some(Backend::S3(s3))
}

fn bucket(bucket: &str) -> S3Config {
    S3Config { bucket: bucket.to_owned(), ..S3Config::default() }
}

#[track_caller]
fn resolved(request: Option<&Backend>, server: &str) -> Storage {
    resolve("file_outputs[0]", request, &storage::parse(server).unwrap()).unwrap()
}

fn s3(target: &StorageTarget) -> &S3Config {
    match &target.backend {
        Backend::S3(s3) => s3,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_nearest_wins_and_inherits() {
    let own = resolved(of_request(bucket("own")).as_ref(), SERVER);
    assert_eq!(s3(&own.primary).bucket, "own");
    assert!(s3(&own.primary).access_key.expose().is_empty(), "the server's keys are the server's bucket's");
    assert_eq!((own.primary.prefix.as_str(), own.primary.links), ("lk", Links::Signed));
    let second = std::time::Duration::from_secs(1);
    assert_eq!((own.primary.retry.attempts, own.primary.retry.min_delay), (7, second));
    assert_eq!(own.primary.key("/a/b.mp4"), "lk/a/b.mp4");
    let backup = own.backup.unwrap();
    assert_eq!((backup.describe().as_str(), backup.links), ("gs://spare", Links::Plain));

    let servers = resolved(None, SERVER);
    assert_eq!(servers.primary.describe(), "s3://servers/lk");

    let local = resolved(None, "storage: {prefix: /srv}");
    assert!(local.primary.is_local());
    assert_eq!(local.primary.key("a.mp4"), "/srv/a.mp4");
    assert_eq!(resolved(None, ""), Storage::local());
    assert_eq!(StorageTarget::local().key("/abs/a.mp4"), "/abs/a.mp4");
}

#[test]
fn a_role_is_assumed_with_whose_keys_it_may_be() {
    let role = "s3_assume_role_arn: arn:default\ns3_assume_role_external_id: ext\n";
    let keys = "s3_assume_role_key: KEY\ns3_assume_role_secret: SECRET\n";
    let with = |arn: &str, key: &str| {
        let key = Secret::new(key.to_owned());
        of_request(S3Config {
            assume_role_arn: arn.into(),
            access_key: key.clone(),
            secret: key,
            ..bucket("b")
        })
    };
    let own = resolved(with("arn:own", "OWN").as_ref(), &format!("{role}{keys}"));
    assert_eq!(s3(&own.primary).assume_role_arn, "arn:own");
    assert_eq!(s3(&own.primary).access_key.expose(), "OWN");
    let servers_keys = resolved(with("arn:own", "").as_ref(), keys);
    assert_eq!(s3(&servers_keys.primary).access_key.expose(), "KEY");
    let servers_role = resolved(with("", "").as_ref(), &format!("{role}{keys}"));
    assert_eq!(s3(&servers_role.primary).assume_role_arn, "arn:default");
    assert_eq!(s3(&servers_role.primary).assume_role_external_id.expose(), "ext");
    let refused = resolve("f", with("arn:own", "").as_ref(), &ServerStorage::default()).unwrap_err();
    assert!(
        refused.to_string().starts_with("S3 upload using AssumeRole is disabled for this account"),
        "{refused}"
    );
}

#[test]
fn what_is_missing_or_wrong_is_named_and_no_secret_is_shown() {
    let secret = || Secret::new("SECRET".to_owned());
    let proxy = ProxyConfig { url: Secret::new("proxy:SECRET@x".into()), ..ProxyConfig::default() };
    let azure = AzureConfig { account_name: secret(), account_key: secret(), ..AzureConfig::default() };
    let oss =
        AliOssConfig { access_key: secret(), secret: secret(), bucket: "b".into(), endpoint: String::new() };
    for (backend, field) in [
        (Backend::S3(S3Config::default()), "f.storage.bucket"),
        (Backend::S3(S3Config { secret: secret(), ..bucket("b") }), "f.storage.access_key"),
        (Backend::S3(S3Config { endpoint: "http://".into(), ..bucket("b") }), "f.storage.endpoint"),
        (Backend::S3(S3Config { endpoint: "ftp://x".into(), ..bucket("b") }), "f.storage.endpoint"),
        (
            Backend::S3(S3Config { endpoint: "https://u:SECRET@x".into(), ..bucket("b") }),
            "f.storage.endpoint",
        ),
        (Backend::S3(S3Config { tagging: "a".into(), ..bucket("b") }), "f.storage.tagging"),
        (Backend::S3(S3Config { proxy_config: Some(proxy), ..bucket("b") }), "f.storage.proxy.url"),
        (
            Backend::Gcs(GcsConfig {
                credentials_json: secret(),
                bucket: "b".into(),
                ..GcsConfig::default()
            }),
            "f.storage.credentials",
        ),
        (Backend::Gcs(GcsConfig::default()), "f.storage.bucket"),
        (Backend::Azure(azure), "f.storage.container_name"),
        (Backend::AliOss(oss), "f.storage.endpoint"),
    ] {
        let error = resolve("f", Some(&backend), &ServerStorage::default()).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
    let local = storage::parse("disallow_local_storage: true").unwrap();
    assert_eq!(resolve("f", None, &local).unwrap_err().field(), "output");
    assert!(resolve("f", of_request(bucket("b")).as_ref(), &local).is_ok());
}

#[test]
fn google_s_credentials_are_a_key_and_never_say_where_one_is() {
    let with = |json: &str| {
        let credentials_json = Secret::new(json.to_owned());
        Backend::Gcs(GcsConfig { credentials_json, bucket: "b".into(), ..GcsConfig::default() })
    };
    let none = ServerStorage::default();
    for json in ["", r#"{"type":"service_account"}"#, r#"{"type":"authorized_user"}"#] {
        resolve("f", Some(&with(json)), &none).unwrap();
    }
    for json in [
        r#"{"type":"external_account","credential_source":{"file":"/SECRET"}}"#,
        r#"{"type":"external_account","credential_source":{"executable":{"command":"/SECRET"}}}"#,
        r#"{"type":"impersonated_service_account","source_credentials":{"type":"SECRET"}}"#,
        r#"{"type":"SECRET"}"#,
        r#"{"type":["service_account"]}"#,
        "{}",
    ] {
        let error = resolve("f", Some(&with(json)), &none).unwrap_err();
        assert_eq!(error.field(), "f.storage.credentials", "{json}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}
