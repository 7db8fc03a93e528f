use super::*;

/// Every storage key of LiveKit Egress.
const FULL: &str = r#"
storage:
  prefix: recordings
  generate_presigned_url: true
  s3:
    access_key: AKIA_SECRET
    secret: SECRET_1
    session_token: SECRET_2
    assume_role_arn: arn:aws:iam::1:role/r
    assume_role_external_id: SECRET_3
    region: eu-central-1
    endpoint: https://s3.example.com
    bucket: b
    force_path_style: true
    proxy_config:
      url: http://proxy:3128
      username: user
      password: SECRET_4
    max_retries: 3
    max_retry_delay: 5s
    min_retry_delay: 500000000
    metadata:
      team: video
    tagging: a=b&c=d
    content_disposition: attachment
backup:
  azure:
    account_name: acc
    account_key: SECRET_5
    container_name: c
disallow_local_storage: true
s3_assume_role_key: SECRET_6
s3_assume_role_secret: SECRET_7
s3_assume_role_arn: arn:aws:iam::1:role/default
s3_assume_role_external_id: SECRET_8
"#;

#[test]
fn livekits_keys_are_read_and_secrets_do_not_print() {
    let server = parse(FULL).unwrap();
    let s3 = server.storage.as_ref().unwrap().s3.as_ref().unwrap();
    assert_eq!(s3.secret.expose(), "SECRET_1");
    assert_eq!((s3.max_retries, s3.max_retry_delay), (Some(3), Some(Duration::from_secs(5))));
    assert_eq!(s3.min_retry_delay, Some(Duration::from_millis(500)));
    assert_eq!(s3.proxy_config.as_ref().unwrap().password.expose(), "SECRET_4");
    assert_eq!(s3.metadata["team"], "video");
    assert!(server.disallow_local_storage);
    assert_eq!(server.s3_assume_role_secret.expose(), "SECRET_7");
    assert_eq!(server.backup.as_ref().unwrap().azure.as_ref().unwrap().account_key.expose(), "SECRET_5");
    assert!(!format!("{server:#?}").contains("SECRET"), "{server:#?}");
    assert_eq!(parse("").unwrap(), ServerStorage::default());
}

#[test]
fn errors_have_the_line_and_no_secret() {
    for (text, line, expected) in [
        ("storage:\n  s3:\n    secret: SECRET\n    buckets: b\n", 4, "buckets"),
        ("storage:\n  s4: {}\n", 2, "s4"),
        ("storage:\n  s3:\n    secret: [SECRET]\n", 3, "storage.s3.secret: a list is not a text"),
        ("storage:\n  s3:\n    secret: SECRET\n    max_retry_delay: soon\n", 4, "500ms"),
        ("storage:\n  s3: {secret: SECRET\n", 2, "unclosed bracket"),
        ("backup_storage: {}\n", 1, "backup_storage"),
    ] {
        let error = parse(text).unwrap_err();
        let [finding] = &error.findings[..] else { panic!("{text}: {error}") };
        assert!(
            error.to_string().contains(expected) && !error.to_string().contains("SECRET"),
            "{text}: {error}"
        );
        assert_eq!(finding.place.unwrap().line, line, "{text}: {error}");
    }
    let error = parse("a: 1\nstorage:\n  b: 2\n").unwrap_err().to_string();
    assert_eq!(error, "line 1, column 1: a: unknown key\nline 3, column 3: storage.b: unknown key");
}

#[test]
fn serialized_storage_is_read_back() {
    let server = parse(FULL).unwrap();
    let written = serde_json::to_string(&server).unwrap();
    assert_eq!(serde_json::from_str::<ServerStorage>(&written).unwrap(), server);
}
