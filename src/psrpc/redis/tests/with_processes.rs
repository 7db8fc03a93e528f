//! Tests with redis-server.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_there_and_back() {
    let redis = RedisServer::start(&[]);
    let pair = Pair::new(&RedisOptions::single(redis.address())).await;
    assert_eq!(*pair.serving.link().borrow(), LinkState::Up);
    pair.works().await;
    assert_eq!(pair.server.stats().answered, 3);

    // Everything that was started has ended when all is dropped.
    let Pair { server, _registration, client, tasks, serving, calling } = pair;
    drop((server, _registration, client, serving, calling));
    tasks.close();
    timeout(SOON, tasks.wait()).await.expect("no task is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_is_on_the_channel_as_it_is() {
    let redis = RedisServer::start(&[]);
    let bus = connect(RedisOptions::single(redis.address())).await;
    let mut subscription = bus.subscribe("EgressInternal|StartEgress|REQ");
    subscription.standing().await.unwrap();
    assert_eq!(redis.cli(&["PUBSUB", "CHANNELS"]), "EgressInternal|StartEgress|REQ");
    redis.cli(&["PUBLISH", "EgressInternal|StartEgress|REQ", "from outside"]);
    assert_eq!(timeout(SOON, subscription.next()).await.unwrap().unwrap(), "from outside");
    let every_byte: Bytes = (0..=255).collect();
    bus.publish("EgressInternal|StartEgress|REQ", every_byte.clone()).await.unwrap();
    assert_eq!(timeout(SOON, subscription.next()).await.unwrap().unwrap(), every_byte);

    drop(subscription);
    redis.until("the subscription is gone", || redis.cli(&["PUBSUB", "CHANNELS"]).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_had_once_and_for_its_time() {
    let redis = RedisServer::start(&[]);
    let (one, other) = (
        connect(RedisOptions::single(redis.address())).await,
        connect(RedisOptions::single(redis.address())).await,
    );
    // Nothing here waits for its end, which a busy machine must not meet.
    let ttl = Duration::from_secs(120);
    assert!(one.acquire("+Kw55h/A=", ttl).await.unwrap());
    assert!(!other.acquire("+Kw55h/A=", ttl).await.unwrap());
    assert!(!one.acquire("+Kw55h/A=", ttl).await.unwrap());
    assert!(other.acquire("another", ttl).await.unwrap());
    let left: u64 = redis.cli(&["PTTL", "+Kw55h/A="]).parse().unwrap();
    assert!(left > 30_000 && left <= 120_000, "{left} ms");
    redis.cli(&["DEL", "+Kw55h/A="]);
    assert!(one.hold("held", "NE_one", ttl).await.unwrap());
    assert!(!other.hold("held", "NE_other", ttl).await.unwrap());
    assert!(one.hold("held", "NE_one", ttl).await.unwrap(), "it has it");
    other.release("held", "NE_other").await.unwrap();
    assert!(!other.hold("held", "NE_other", ttl).await.unwrap(), "who does not have it can't give it");
    one.release("held", "NE_one").await.unwrap();
    assert!(other.hold("held", "NE_other", ttl).await.unwrap());
    let (first, second) = tokio::join!(one.acquire("+Kw55h/A=", ttl), other.acquire("+Kw55h/A=", ttl));
    assert!(first.unwrap() != second.unwrap(), "exactly one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_takes_a_queued_request() {
    let redis = RedisServer::start(&[]);
    let options = RedisOptions::single(redis.address());
    let pair = Pair::new(&options).await;
    let second = Pair::new(&options).await;
    for _ in 0..10 {
        pair.works().await;
    }
    let stats = [pair.server.stats(), second.server.stats()];
    assert_eq!(stats[0].answered + stats[1].answered, 30, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_are_made_again_and_subscriptions_come_back() {
    let redis = RedisServer::start(&[]);
    let pair = Pair::new(&RedisOptions::single(redis.address())).await;
    pair.works().await;
    for kind in ["pubsub", "normal"] {
        let mut serving = pair.serving.link();
        serving.mark_unchanged();
        redis.cli(&["CLIENT", "KILL", "TYPE", kind]);
        if kind == "pubsub" {
            timeout(SOON, serving.changed()).await.expect("it says that it lost").unwrap();
        }
        pair.works_again().await;
        assert_eq!(*pair.serving.link().borrow(), LinkState::Up);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_started_again_is_survived() {
    let mut redis = RedisServer::start(&[]);
    let pair = Pair::new(&RedisOptions::single(redis.address())).await;
    pair.works().await;
    redis.kill();
    pair.is_cut().await;
    // A command in the meantime fails in time, and can be repeated.
    let options = CallOptions { timeout: Duration::from_millis(300), ..OPTIONS };
    let began = Instant::now();
    let error = pair.client.call(&stop(), Bytes::new(), options).await.unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // A subscription that is added now stands as soon as there is a server.
    let added = pair.serving.subscribe("added");
    redis.restart();
    timeout(SOON, added.standing()).await.expect("it stands").unwrap();
    pair.works_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_is_sent_when_the_server_comes_back_in_time() {
    let mut redis = RedisServer::start(&[]);
    // In time for a busy machine, too.
    let options = RedisOptions {
        response_timeout: SOON,
        connect_timeout: SOON,
        ..RedisOptions::single(redis.address())
    };
    let bus = connect(options).await;
    redis.kill();
    let publish = bus.publish("channel", Bytes::from_static(b"x"));
    let restart = async {
        tokio::task::yield_now().await;
        redis.restart();
    };
    tokio::join!(publish, restart).0.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed() {
    let redis = RedisServer::start(&[]);
    let options =
        RedisOptions { response_timeout: Duration::from_secs(1), ..RedisOptions::single(redis.address()) };
    let pair = Pair::new(&options).await;
    redis.freeze();
    let failed = pair.serving.publish("channel", Bytes::new()).await;
    assert!(failed.is_err(), "{failed:?}");
    pair.is_cut().await;
    redis.thaw();
    pair.works_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_acl_users_let_in_and_keep_out() {
    let user = "--user weir on >w3ir-pw ~* &* -@all +@pubsub +@connection +set";
    let acl: Vec<&str> = ["--requirepass", "r00t-pw"].into_iter().chain(user.split(' ')).collect();
    let redis = RedisServer::start(&acl);
    let with = |username: &str, password: &str| RedisOptions {
        username: username.into(),
        password: Secret::new(password.into()),
        ..RedisOptions::single(redis.address())
    };
    Pair::new(&with("", "r00t-pw")).await.works().await;
    Pair::new(&with("weir", "w3ir-pw")).await.works().await;
    for (username, password) in [("", ""), ("", "wr0ng-pw"), ("weir", "wr0ng-pw"), ("nobody", "wr0ng-pw")] {
        let began = Instant::now();
        let error = RedisBus::connect(with(username, password), &TaskTracker::new()).await.unwrap_err();
        assert!(matches!(error, BusError::Redis(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wr0ng-pw"), "{error:?}");
        assert!(began.elapsed() < SOON / 2, "refused, not timed out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_leaves_the_others() {
    let user = "--user default on nopass ~* resetchannels &Egress* +@all";
    let redis = RedisServer::start(&user.split(' ').collect::<Vec<_>>());
    let pair = Pair::new(&RedisOptions::single(redis.address())).await;
    let refused = pair.serving.subscribe("Other");
    assert!(timeout(Duration::from_millis(300), refused.standing()).await.is_err());
    pair.works().await;
    drop(refused);
    let fine = pair.serving.subscribe("EgressFine");
    timeout(SOON, fine.standing()).await.expect("it stands").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_certificates_on_both_sides() {
    let authority = Authority::new();
    let redis = RedisServer::start_tls(&authority, "server", &[]);
    let tls = TlsOptions {
        ca_cert: Some(authority.file("ca.crt")),
        client: Some((authority.file("client.crt"), authority.file("client.key"))),
        ..TlsOptions::default()
    };
    let with = |tls: TlsOptions| RedisOptions { tls: Some(tls), ..RedisOptions::single(redis.address()) };
    // The certificate is for `redis.test`, and not for 127.0.0.1.
    let named = TlsOptions { server_name: Some("redis.test".into()), ..tls.clone() };
    Pair::new(&with(named.clone())).await.works().await;
    let insecure = TlsOptions { insecure: true, ca_cert: None, ..tls.clone() };
    Pair::new(&with(insecure)).await.works().await;

    let refused = [
        ("another name", tls.clone()),
        ("an authority that we don't know", TlsOptions { ca_cert: None, ..named.clone() }),
        ("no certificate of ours", TlsOptions { client: None, ..named.clone() }),
    ];
    for (why, tls) in refused {
        let began = Instant::now();
        let done = RedisBus::connect(with(tls), &TaskTracker::new()).await;
        assert!(done.is_err(), "{why}");
        // What the server refuses may look like a connection that broke, which is tried again.
        let limit = if why == "no certificate of ours" { SOON } else { SOON / 2 };
        assert!(began.elapsed() < limit, "{why}: {:?}", began.elapsed());
    }
    let missing = TlsOptions { ca_cert: Some("/nowhere/ca.crt".into()), ..named.clone() };
    let error = RedisBus::connect(with(missing), &TaskTracker::new()).await.unwrap_err();
    assert!(
        matches!(error, BusError::Unusable(_)) && error.to_string().contains("/nowhere/ca.crt"),
        "{error}"
    );
    let swapped =
        TlsOptions { client: Some((authority.file("client.key"), authority.file("client.crt"))), ..named };
    let error = RedisBus::connect(with(swapped), &TaskTracker::new()).await.unwrap_err();
    assert!(matches!(error, BusError::Unusable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_leads_to_the_master_and_to_its_successor() {
    let mut first = RedisServer::start(&[]);
    let second = RedisServer::start(&["--replicaof", "127.0.0.1", &first.port().to_string()]);
    let sentinel = Sentinel::watch(&first);
    let topology = Topology::Sentinel {
        // One that is not there is passed over.
        addresses: vec![format!("127.0.0.1:{}", ports::closed()), sentinel.address()],
        master: "main".into(),
        username: String::new(),
        password: Secret::new(String::new()),
    };
    let pair = Pair::new(&RedisOptions::new(topology)).await;
    pair.works().await;
    assert!(!first.cli(&["PUBSUB", "CHANNELS"]).is_empty(), "it talks to the master");

    sentinel
        .until("it knows the replica", || sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains("slave"));
    first.kill();
    pair.is_cut().await;
    pair.works_again().await;
    assert!(!second.cli(&["PUBSUB", "CHANNELS"]).is_empty(), "it talks to the new master");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_no_sentinel_knows_is_said() {
    let redis = RedisServer::start(&[]);
    let sentinel = Sentinel::watch(&redis);
    let topology = Topology::Sentinel {
        addresses: vec![sentinel.address()],
        master: "other".into(),
        username: String::new(),
        password: Secret::new(String::new()),
    };
    let error = RedisBus::connect(RedisOptions::new(topology), &TaskTracker::new()).await.unwrap_err();
    assert!(error.to_string().contains("other"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_carries_frames_and_locks_between_its_nodes() {
    let nodes = cluster((0..2).map(|_| RedisServer::start(&CLUSTERED)).collect());
    let through = |node: &RedisServer| {
        let topology = Topology::Cluster { addresses: vec![node.address()], max_redirects: 2 };
        RedisOptions::new(topology)
    };
    let tasks = TaskTracker::new();
    let serving = Arc::new(RedisBus::connect(through(&nodes[0]), &tasks).await.unwrap());
    let calling = Arc::new(RedisBus::connect(through(&nodes[1]), &tasks).await.unwrap());
    let server =
        Server::new(Arc::<RedisBus>::clone(&serving), "EgressHandler", &tasks, ServerOptions::default());
    let _registration = server.register(stop(), Echo).await.unwrap();
    let client = Client::new(calling, "EgressHandler", &tasks);
    for number in 0..20 {
        let request = Bytes::from(vec![number]);
        assert_eq!(client.call(&stop(), request.clone(), OPTIONS).await, Ok(request));
    }
    // Keys on both nodes: each lock went to the one that owns it.
    let keys: Vec<u32> = nodes.iter().map(|node| node.cli(&["DBSIZE"]).parse().unwrap()).collect();
    assert!(keys.iter().all(|keys| *keys > 0) && keys.iter().sum::<u32>() == 20, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_s_addresses_are_tried_one_after_the_other() {
    let nodes = cluster((0..2).map(|_| RedisServer::start(&CLUSTERED)).collect());
    let topology = Topology::Cluster {
        addresses: vec![format!("127.0.0.1:{}", ports::closed()), nodes[1].address()],
        max_redirects: 2,
    };
    Pair::new(&RedisOptions::new(topology)).await.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls() {
    let authority = Authority::new();
    let args = [&CLUSTERED[..], &["--tls-cluster", "yes"]].concat();
    let nodes = cluster(vec![RedisServer::start_tls(&authority, "node", &args)]);
    let topology = Topology::Cluster { addresses: vec![nodes[0].address()], max_redirects: 2 };
    let tls = TlsOptions {
        ca_cert: Some(authority.file("ca.crt")),
        client: Some((authority.file("client.crt"), authority.file("client.key"))),
        ..TlsOptions::default()
    };
    let with = |tls: TlsOptions| RedisOptions { tls: Some(tls), ..RedisOptions::new(topology.clone()) };
    Pair::new(&with(tls.clone())).await.works().await;
    Pair::new(&with(TlsOptions { insecure: true, ca_cert: None, ..tls.clone() })).await.works().await;

    let unknown = TlsOptions { ca_cert: None, ..tls.clone() };
    assert!(RedisBus::connect(with(unknown), &TaskTracker::new()).await.is_err());
    let named = TlsOptions { server_name: Some("redis.test".into()), ..tls };
    let error = RedisBus::connect(with(named), &TaskTracker::new()).await.unwrap_err();
    assert!(error.to_string().contains("server_name"), "{error}");
}
