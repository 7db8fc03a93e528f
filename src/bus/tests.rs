//! From YAML to options.

use super::*;

fn options(yaml: &str) -> Result<RedisOptions, RedisConfigError> {
    redis_options(&serde_saphyr::from_str(yaml).unwrap())
}

#[test]
fn one_server_by_address() {
    let found = options("address: redis:6380\nusername: weir\npassword: pw\ndb: 2").unwrap();
    let expected = RedisOptions {
        username: "weir".into(),
        password: Secret::new("pw".into()),
        db: 2,
        ..RedisOptions::single("redis:6380")
    };
    assert_eq!(found, expected);
}

#[test]
fn one_server_by_url() {
    let found = options("address: rediss://weir:p%40+&w@[::1]:7000/3").unwrap();
    assert_eq!(found.topology, Topology::Single { address: "[::1]:7000".into() });
    assert_eq!((found.username.as_str(), found.password.expose().as_str()), ("weir", "p@+&w"));
    assert_eq!((found.db, found.tls), (3, Some(TlsOptions::default())));
    assert_eq!(options("address: redis://host").unwrap(), RedisOptions::single("host"));
}

#[test]
fn sentinels_come_first_and_have_their_own_timeouts() {
    let found = options(
        "address: x:1\ncluster_addresses: [y:1]\nsentinel_addresses: [a:1, b:2]\nsentinel_master_name: m\n\
         sentinel_username: su\nsentinel_password: sp\nread_timeout: 500",
    )
    .unwrap();
    let expected = Topology::Sentinel {
        addresses: vec!["a:1".into(), "b:2".into()],
        master: "m".into(),
        username: "su".into(),
        password: Secret::new("sp".into()),
    };
    assert_eq!(found.topology, expected);
    assert_eq!(found.connect_timeout, Duration::from_secs(2));
    assert_eq!(found.response_timeout, Duration::from_millis(700));
}

#[test]
fn a_cluster_comes_before_one_address() {
    let found = options("address: x:1\ncluster_addresses: [y:1]\nmax_redirects: 5\ndial_timeout: 9").unwrap();
    assert_eq!(found.topology, Topology::Cluster { addresses: vec!["y:1".into()], max_redirects: 5 });
    assert_eq!(found.connect_timeout, Duration::from_secs(5));
}

#[test]
fn tls_is_taken_when_it_is_enabled() {
    let yaml = "address: a\nuse_tls: true\ntls: {enabled: true, insecure: true, server_name: n, \
                ca_cert_file: ca, client_cert_file: c, client_key_file: k}";
    let expected = TlsOptions {
        insecure: true,
        server_name: Some("n".into()),
        ca_cert: Some("ca".into()),
        client: Some(("c".into(), "k".into())),
    };
    assert_eq!(options(yaml).unwrap().tls, Some(expected));
    assert_eq!(options("address: a\nuse_tls: true").unwrap().tls, Some(TlsOptions::default()));
    assert_eq!(options("address: a\ntls: {insecure: true}").unwrap().tls, None);
}

#[test]
fn what_cannot_work_names_its_key() {
    let cases = [
        ("{}", RedisConfigError::NoAddress),
        ("address: http://host", RedisConfigError::Address),
        ("address: 'redis://'", RedisConfigError::Address),
        ("address: redis://host/main", RedisConfigError::Address),
        ("sentinel_addresses: [a]", RedisConfigError::NoMasterName),
        ("address: a\ntls: {enabled: true, client_cert_file: c}", RedisConfigError::HalfClient),
    ];
    for (yaml, expected) in cases {
        assert_eq!(options(yaml), Err(expected), "{yaml}");
    }
}

#[test]
fn nothing_of_a_password_is_printed() {
    let yaml = "address: redis://weir:hunter2@host\npassword: hunter2\nsentinel_password: hunter2";
    let config: RedisConfig = serde_saphyr::from_str(yaml).unwrap();
    let printed = format!("{config:?} {:?}", redis_options(&config).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
    let broken: RedisConfig = serde_saphyr::from_str("address: redis://weir:hunter2@").unwrap();
    let error = redis_options(&broken).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
