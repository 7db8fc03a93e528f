//! The service in a fleet: two of them on one real Redis, with livekit-server's side of the bus in
//! the test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use nix::sys::signal::Signal;
use prost::Message;
use proto::EgressStatus;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;
use weir::protocol as rpc;
use weir::psrpc::{
    CallOptions, Client, Code, Error, LinkState, MessageBus, Method, Offer, RedisBus, RedisOptions,
    Registration, SelectionRules, Server, ServerOptions, typed,
};

use super::PATIENCE;
use crate::support::livekit::Redis;
use crate::support::measure::assert_decodable;
use crate::support::page_server::PageServer;
use crate::support::ports;
use crate::support::service::{Callers, Serve, assert_is_ending};
use crate::support::slots;

/// A report of a service.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Created,
    Updated(EgressStatus),
}

#[derive(Debug, Default)]
struct Known {
    told: BTreeMap<String, Vec<Told>>,
    infos: BTreeMap<String, proto::EgressInfo>,
}

/// livekit-server, as far as recorders know it, with its Redis.
struct Fleet {
    redis: Redis,
    runtime: Runtime,
    bus: Arc<RedisBus>,
    internal: Client,
    handler: Client,
    known: Arc<Mutex<Known>>,
    _io: (Server, Vec<Registration>),
}

impl Fleet {
    fn start() -> Self {
        let redis = Redis::start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = TaskTracker::new();
        let options = RedisOptions::single(redis.addr().to_string());
        let bus = Arc::new(runtime.block_on(RedisBus::connect(options, &tasks)).unwrap());
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&bus) as Arc<dyn MessageBus>;
        let io = runtime.block_on(serve_io(Arc::clone(&shared), &tasks, &known));
        let (internal, handler) = runtime.block_on(async {
            (
                Client::new(Arc::clone(&shared), "EgressInternal", &tasks),
                Client::new(shared, "EgressHandler", &tasks),
            )
        });
        Self { redis, runtime, bus, internal, handler, known, _io: io }
    }

    fn configuration(&self) -> String {
        format!("redis: {}\ncpu_cost: {{web_cpu_cost: 0.5}}", self.redis.config())
    }

    fn start_egress(&self, id: &str, pages: &PageServer, file: &Path) -> Result<proto::EgressInfo, Error> {
        let web = proto::WebEgressRequest {
            url: pages.url("/pages/clock.html"),
            file_outputs: vec![proto::EncodedFileOutput {
                filepath: file.display().to_string(),
                ..Default::default()
            }],
            options: Some(proto::web_egress_request::Options::Advanced(proto::EncodingOptions {
                width: 640,
                height: 360,
                framerate: 15,
                video_bitrate: 800,
                ..Default::default()
            })),
            ..Default::default()
        };
        let request = rpc::StartEgressRequest {
            egress_id: id.to_owned(),
            request: Some(rpc::start_egress_request::Request::Web(web)),
            ..Default::default()
        };
        let options = CallOptions { timeout: PATIENCE, selection: SelectionRules::BY_AFFINITY };
        let method = Method::claimed("StartEgress");
        let end = Instant::now() + PATIENCE;
        loop {
            // Services have a second to claim a request. If none does, livekit-server asks again.
            match self.runtime.block_on(self.internal.ask(&method, &request, options)) {
                Err(error) if error.text() == weir::psrpc::NO_RESPONSE && Instant::now() < end => {}
                answer => return answer,
            }
        }
    }

    fn stop_egress(&self, id: &str) -> Result<proto::EgressInfo, Error> {
        self.stop_egress_within(id, PATIENCE)
    }

    fn stop_egress_within(&self, id: &str, timeout: Duration) -> Result<proto::EgressInfo, Error> {
        let request = proto::StopEgressRequest { egress_id: id.to_owned() };
        let options = CallOptions { timeout, ..CallOptions::default() };
        self.runtime.block_on(self.handler.ask(&Method::queued("StopEgress").on(id), &request, options))
    }

    fn update_stream(&self, id: &str, add: &str) -> Result<proto::EgressInfo, Error> {
        let request = proto::UpdateStreamRequest {
            egress_id: id.to_owned(),
            add_output_urls: vec![add.to_owned()],
            ..Default::default()
        };
        let options = CallOptions { timeout: PATIENCE, ..CallOptions::default() };
        self.runtime.block_on(self.handler.ask(&Method::queued("UpdateStream").on(id), &request, options))
    }

    /// Each service's answer within two seconds.
    fn list_active(&self) -> Vec<Vec<String>> {
        let method = Method::broadcast("ListActiveEgress");
        let request = rpc::ListActiveEgressRequest {}.encode_to_vec().into();
        let answers = self.runtime.block_on(self.internal.call_all(&method, request, Duration::from_secs(2)));
        let read = |bytes| rpc::ListActiveEgressResponse::decode(bytes).unwrap().egress_ids;
        let mut lists: Vec<Vec<String>> =
            answers.unwrap().into_iter().map(|answer| read(answer.outcome.unwrap())).collect();
        lists.sort();
        lists
    }

    /// All reports about an egress, once `last` has arrived.
    fn until_reported(&self, id: &str, last: EgressStatus, within: Duration) -> Vec<Told> {
        let end = Instant::now() + within;
        loop {
            let told = self.known.lock().unwrap().told.get(id).cloned().unwrap_or_default();
            if told.contains(&Told::Updated(last)) {
                return told;
            }
            assert!(Instant::now() < end, "{id} was never {last:?}: {told:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn info(&self, id: &str) -> proto::EgressInfo {
        self.known.lock().unwrap().infos[id].clone()
    }
}

/// Answers `IOInfo`, and stores the reports.
async fn serve_io(
    bus: Arc<dyn MessageBus>,
    tasks: &TaskTracker,
    known: &Arc<Mutex<Known>>,
) -> (Server, Vec<Registration>) {
    let server = Server::new(bus, "IOInfo", tasks, ServerOptions::default());
    let note = |method: &'static str| {
        let known = Arc::clone(known);
        typed(
            |_: &proto::EgressInfo| Offer::Affinity(1.0),
            move |info: proto::EgressInfo, _| {
                let mut known = known.lock().unwrap();
                let told =
                    if method == "CreateEgress" { Told::Created } else { Told::Updated(info.status()) };
                known.told.entry(info.egress_id.clone()).or_default().push(told);
                known.infos.insert(info.egress_id.clone(), info);
                async { Ok::<(), Error>(()) }
            },
        )
    };
    let listing = Arc::clone(known);
    let list = typed(
        |_: &proto::ListEgressRequest| Offer::Affinity(1.0),
        move |_: proto::ListEgressRequest, _| {
            let items = listing.lock().unwrap().infos.values().cloned().collect();
            async move { Ok::<_, Error>(proto::ListEgressResponse { items, ..Default::default() }) }
        },
    );
    let registrations = vec![
        server.register(Method::queued("CreateEgress"), note("CreateEgress")).await.unwrap(),
        server.register(Method::queued("UpdateEgress"), note("UpdateEgress")).await.unwrap(),
        server.register(Method::queued("ListEgress"), list).await.unwrap(),
    ];
    (server, registrations)
}

#[test]
fn two_services_share_the_work_of_a_fleet() {
    let _slot = slots::browser();
    let fleet = Fleet::start();
    let pages = PageServer::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Serve::start(one.path(), &fleet.configuration());
    let second = Serve::start(other.path(), &fleet.configuration());
    let files = tempfile::tempdir().unwrap();
    let file = |id: &str| files.path().join(format!("{id}.mp4"));

    let started = fleet.start_egress("EG_one", &pages, &file("EG_one")).unwrap();
    assert_eq!(started.status(), EgressStatus::EgressStarting);
    fleet.until_reported("EG_one", EgressStatus::EgressActive, PATIENCE);
    fleet.start_egress("EG_two", &pages, &file("EG_two")).unwrap();
    fleet.until_reported("EG_two", EgressStatus::EgressActive, PATIENCE);
    let end = Instant::now() + PATIENCE;
    let lists = loop {
        let lists = fleet.list_active();
        assert!(lists.len() <= 2 && Instant::now() < end, "each service answers: {lists:?}");
        if lists.len() == 2 {
            break lists;
        }
    };
    let mut all: Vec<String> = lists.concat();
    all.sort();
    all.dedup();
    assert_eq!(all, ["EG_one", "EG_two"]);

    let refused = fleet.update_stream("EG_two", "rtmp://127.0.0.1/live/key").unwrap_err();
    let expected = (Code::InvalidArgument, "UpdateStream called on non-streaming egress");
    assert_eq!((refused.code(), refused.text()), expected);
    let nobody = fleet.stop_egress_within("EG_nobody", Duration::from_secs(2)).unwrap_err();
    assert_eq!((nobody.code(), nobody.text()), (Code::Unavailable, weir::psrpc::NO_RESPONSE));

    for id in ["EG_one", "EG_two"] {
        let begin = Instant::now();
        let stopped = fleet.stop_egress(id).unwrap();
        let status = serde_json::json!({ "status": stopped.status().as_str_name() });
        assert_is_ending(&status, begin.elapsed());
    }
    for id in ["EG_one", "EG_two"] {
        let told = fleet.until_reported(id, EgressStatus::EgressComplete, PATIENCE);
        // Repeated if the answer was late, but before any other report.
        let created = told.iter().take_while(|told| **told == Told::Created).count();
        assert!(created > 0 && !told[created..].contains(&Told::Created), "{told:?}");
        let status = |status| told.iter().position(|told| *told == Told::Updated(status));
        let order = [EgressStatus::EgressActive, EgressStatus::EgressEnding, EgressStatus::EgressComplete];
        let order: Vec<_> = order.into_iter().filter_map(status).collect();
        assert!(order.is_sorted(), "{told:?}");
        assert_decodable(&file(id));
    }
    for service in [second, first] {
        let done = service.end();
        assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    }
}

#[test]
fn a_request_that_is_repeated_is_recorded_by_one_node_alone() {
    let _slot = slots::browser();
    let fleet = Fleet::start();
    let pages = PageServer::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("clock.mp4");
    let first = Serve::start(one.path(), &fleet.configuration());

    // A refused request is left to other nodes, under the same name.
    std::fs::write(files.path().join("a file"), "").unwrap();
    let refused = fleet.start_egress("EG_one", &pages, &files.path().join("a file/a.mp4")).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    fleet.start_egress("EG_one", &pages, &file).unwrap();
    fleet.until_reported("EG_one", EgressStatus::EgressActive, PATIENCE);

    // The node that has it can't claim it again; another node is idle.
    let mut second = Serve::start(other.path(), &fleet.configuration());
    first.signal(Signal::SIGSTOP);
    let again = fleet.start_egress("EG_one", &pages, &files.path().join("twice.mp4"));
    let elsewhere = fleet.start_egress("EG_two", &pages, &files.path().join("two.mp4"));
    first.signal(Signal::SIGCONT);
    let again = again.unwrap_err();
    assert_eq!((again.code(), again.text()), (Code::AlreadyExists, "egress already exists"));
    elsewhere.unwrap();
    second.until_logged("it leaves it to the other", |line| line.contains("another node has the egress"));

    for id in ["EG_one", "EG_two"] {
        fleet.until_reported(id, EgressStatus::EgressActive, PATIENCE);
        fleet.stop_egress(id).unwrap();
        fleet.until_reported(id, EgressStatus::EgressComplete, PATIENCE);
    }
    assert_decodable(&file);
    assert!(!files.path().join("twice.mp4").exists());
    for service in [second, first] {
        assert_eq!(service.end().status.code(), Some(0));
    }
}

#[test]
fn nothing_is_lost_while_redis_is_away() {
    let _slot = slots::encoder();
    check_without_redis(Duration::from_secs(4), Duration::from_secs(10));
}

/// A recording of some length begins, and ends while Redis has been away for a longer time.
#[track_caller]
pub(crate) fn check_without_redis(length: Duration, away: Duration) {
    let mut fleet = Fleet::start();
    let pages = PageServer::start();
    let dir = tempfile::tempdir().unwrap();
    let limit = format!("session_limits: {{file_output_max_duration: {}s}}", length.as_secs());
    let [health] = ports::free();
    let configuration = format!("{}\n{limit}\nhealth_port: {health}", fleet.configuration());
    let mut service = Serve::start(dir.path(), &configuration);
    let health = format!("http://127.0.0.1:{health}/healthz");
    let file = dir.path().join("clock.mp4");
    fleet.start_egress("EG_one", &pages, &file).unwrap();
    // livekit-server repeats a request with the same id when an answer is late.
    let again = fleet.start_egress("EG_one", &pages, &file).unwrap_err();
    assert_eq!((again.code(), again.text()), (Code::AlreadyExists, "egress already exists"));
    fleet.until_reported("EG_one", EgressStatus::EgressActive, PATIENCE);
    let is_healthy = |callers: &Callers| (callers.get(&health).0 == 200).then_some(());
    service.until("it is healthy", PATIENCE, is_healthy);

    // It continues, and ends, while no report can be sent.
    fleet.redis.go_away();
    let begin = Instant::now();
    service.until("it is unhealthy", PATIENCE, |callers| (callers.get(&health).0 == 503).then_some(()));
    std::thread::park_timeout(away.saturating_sub(begin.elapsed()));
    assert_eq!(service.callers().get(&health).0, 503);
    fleet.redis.come_back();
    let mut link = fleet.bus.link();
    fleet.runtime.block_on(async {
        tokio::time::timeout(PATIENCE, link.wait_for(|link| *link == LinkState::Up)).await.unwrap().unwrap();
    });

    let told = fleet.until_reported("EG_one", EgressStatus::EgressLimitReached, PATIENCE);
    assert_eq!(
        told.iter().filter(|told| **told == Told::Updated(EgressStatus::EgressLimitReached)).count(),
        1
    );
    service.until("it is healthy again", PATIENCE, is_healthy);
    let info = fleet.info("EG_one");
    assert_eq!(info.file_results[0].location, file.display().to_string());
    assert!(info.ended_at > 0);
    assert_decodable(&file);

    // New requests are accepted again.
    let end = Instant::now() + PATIENCE;
    let second = dir.path().join("second.mp4");
    while let Err(error) = fleet.start_egress("EG_two", &pages, &second) {
        assert!(error.code() == Code::Unavailable && Instant::now() < end, "{error}");
    }
    fleet.until_reported("EG_two", EgressStatus::EgressActive, PATIENCE);
    fleet.stop_egress("EG_two").unwrap();
    fleet.until_reported("EG_two", EgressStatus::EgressComplete, PATIENCE);
    let done = service.end();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
}
