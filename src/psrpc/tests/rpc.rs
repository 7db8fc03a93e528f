//! Servers and clients on a bus in memory. Tests that are about time run on a clock of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use livekit_protocol::{EgressInfo, StopEgressRequest};
use proptest::prelude::*;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames;
use crate::psrpc::envelope::{ClaimResponse, Envelope, Request};
use crate::psrpc::*;

static START: Method = Method::claimed("StartEgress");
static LIST: Method = Method::broadcast("ListActiveEgress");
const SERVICE: &str = "EgressInternal";
const SOON: Duration = Duration::from_secs(20);

const AFFINITY: CallOptions =
    CallOptions { timeout: Duration::from_secs(3), selection: SelectionRules::BY_AFFINITY };

/// Offers itself as it was told, and answers with its name.
struct Named(&'static str, Offer);

#[async_trait]
impl Handler for Named {
    fn offer(&self, request: &Bytes) -> Result<Offer, Error> {
        if request[..] == *b"garbage" {
            return Err(Error::new(Code::MalformedRequest, "can't read it"));
        }
        Ok(self.1)
    }

    async fn answer(&self, call: Call) -> Result<Bytes, Error> {
        match &call.request[..] {
            b"fail" => Err(Error::new(Code::NotFound, "egress not found")),
            b"panic" => panic!("asked to"),
            b"hang" => std::future::pending().await,
            _ => Ok(self.0.into()),
        }
    }
}

struct House {
    bus: MemoryBus,
    tasks: TaskTracker,
}

impl House {
    fn new() -> Self {
        Self { bus: MemoryBus::new(), tasks: TaskTracker::new() }
    }

    fn server(&self) -> Server {
        self.server_with(ServerOptions::default())
    }

    fn server_with(&self, options: ServerOptions) -> Server {
        Server::new(Arc::new(self.bus.clone()), SERVICE, &self.tasks, options)
    }

    fn client(&self) -> Client {
        Client::new(Arc::new(self.bus.clone()), SERVICE, &self.tasks)
    }

    async fn serves(&self, method: &Method, handler: impl Handler) -> (Server, Registration) {
        let server = self.server();
        let registration = server.register(method.clone(), handler).await.unwrap();
        (server, registration)
    }

    /// Everything that was started has ended.
    async fn empties(self) {
        self.tasks.close();
        timeout(SOON, self.tasks.wait()).await.expect("no task is left");
    }
}

/// Waits for what no event tells of; lets all other tasks run meanwhile.
async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.expect("it becomes so");
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn the_busy_server_with_room_gets_the_call_at_once() {
    let house = House::new();
    let _idle = house.serves(&START, Named("idle", Offer::Affinity(0.5))).await;
    let _busy = house.serves(&START, Named("busy", Offer::Affinity(1.0))).await;
    let _full = house.serves(&START, Named("full", Offer::Affinity(-1.0))).await;
    let _silent = house.serves(&START, Named("silent", Offer::Silence)).await;
    let client = house.client();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.call(&START, bytes("x"), AFFINITY).await, Ok(bytes("busy")));
    }
    // The clock only moves when nothing is left to do.
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn idle_servers_are_taken_after_half_a_second_and_by_affinity() {
    let house = House::new();
    let _one = house.serves(&START, Named("idle", Offer::Affinity(0.5))).await;
    let _two = house.serves(&START, Named("idler", Offer::Affinity(0.6))).await;
    let client = house.client();
    let began = Instant::now();
    assert_eq!(client.call(&START, bytes("x"), AFFINITY).await, Ok(bytes("idler")));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(510), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_takes_ends_after_a_second() {
    let house = House::new();
    let (full, _registration) = house.serves(&START, Named("full", Offer::Affinity(-1.0))).await;
    let client = house.client();
    let began = Instant::now();
    let error = client.call(&START, bytes("x"), AFFINITY).await.unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Unavailable, NO_RESPONSE));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1010), "{took:?}");
    assert_eq!(full.stats().answered, 0);

    let _zero = house.serves(&START, Named("zero", Offer::Affinity(0.0))).await;
    let error = client.call(&START, bytes("x"), AFFINITY).await.unwrap_err();
    assert_eq!(error.text(), "no servers available (received 1 responses)");
}

#[tokio::test(start_paused = true)]
async fn only_the_chosen_one_begins_and_the_others_forget() {
    let house = House::new();
    let (loser, _a) = house.serves(&START, Named("a", Offer::Affinity(0.5))).await;
    let (winner, _b) = house.serves(&START, Named("b", Offer::Affinity(1.0))).await;
    house.client().call(&START, bytes("x"), AFFINITY).await.unwrap();
    until(|| loser.stats().elsewhere == 1).await;
    assert_eq!((loser.stats().answered, winner.stats().answered), (0, 1));
}

#[tokio::test]
async fn errors_come_back_as_they_were_given() {
    let house = House::new();
    let (server, _registration) = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
    let client = house.client();
    let error = client.call(&START, bytes("fail"), AFFINITY).await.unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::NotFound, "egress not found"));
    let error = client.call(&START, bytes("panic"), AFFINITY).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    let soon = SelectionRules { timeout: Some(Duration::from_millis(100)), ..SelectionRules::BY_AFFINITY };
    let options = CallOptions { selection: soon, ..AFFINITY };
    let error = client.call(&START, bytes("garbage"), options).await.unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::MalformedRequest, "can't read it"));
    // And after all that it still answers.
    assert_eq!(client.call(&START, bytes("x"), AFFINITY).await, Ok(bytes("a")));
    assert_eq!(server.stats().answered, 3);
}

#[tokio::test]
async fn a_taken_call_without_answer_times_out() {
    let house = House::new();
    let _server = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
    let options = CallOptions { timeout: Duration::from_millis(100), ..AFFINITY };
    let error = house.client().call(&START, bytes("hang"), options).await.unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::DeadlineExceeded, TIMED_OUT));
}

#[tokio::test]
async fn topics_are_apart() {
    let house = House::new();
    let stop = Method::queued("StopEgress");
    let server = house.server();
    let _one = server.register(stop.clone().on("EG_1"), Named("one", Offer::Affinity(1.0))).await.unwrap();
    let two = server.register(stop.clone().on("EG_2"), Named("two", Offer::Affinity(1.0))).await.unwrap();
    let client = house.client();
    let options = CallOptions::default();
    assert_eq!(client.call(&stop.clone().on("EG_1"), bytes("x"), options).await, Ok(bytes("one")));
    assert_eq!(client.call(&stop.clone().on("EG_2"), bytes("x"), options).await, Ok(bytes("two")));

    drop(two);
    let options = CallOptions { timeout: Duration::from_millis(100), ..options };
    let error = client.call(&stop.clone().on("EG_2"), bytes("x"), options).await.unwrap_err();
    assert_eq!(error.text(), NO_RESPONSE);
    assert_eq!(client.call(&stop.on("EG_1"), bytes("x"), options).await, Ok(bytes("one")));
}

#[tokio::test]
async fn of_a_queue_one_server_takes_each_request() {
    let house = House::new();
    let update = Method::queued("UpdateEgress");
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(house.serves(&update, Named("x", Offer::Affinity(1.0))).await);
    }
    let client = house.client();
    for _ in 0..20 {
        client.call(&update, bytes("x"), CallOptions::default()).await.unwrap();
    }
    let total = || {
        let stats = servers.iter().map(|(server, _)| server.stats());
        stats.fold((0, 0, 0), |sum, stats| {
            (sum.0 + stats.received, sum.1 + stats.answered, sum.2 + stats.elsewhere)
        })
    };
    until(|| total() == (80, 20, 60)).await;
}

#[tokio::test(start_paused = true)]
async fn every_server_answers_a_broadcast() {
    let house = House::new();
    let _one = house.serves(&LIST, Named("one", Offer::Affinity(1.0))).await;
    let _two = house.serves(&LIST, Named("two", Offer::Affinity(1.0))).await;
    let _three = house.serves(&LIST, Named("three", Offer::Affinity(1.0))).await;
    let client = house.client();
    let answers = client.call_all(&LIST, bytes("x"), Duration::from_secs(3)).await.unwrap();
    let mut names: Vec<_> = answers.iter().map(|answer| answer.outcome.clone().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["one", "three", "two"]);
    assert!(answers.iter().all(|answer| answer.server_id.starts_with("SRV_")), "{answers:?}");

    let failures = client.call_all(&LIST, bytes("fail"), Duration::from_secs(3)).await.unwrap();
    assert!(failures.len() == 3 && failures.iter().all(|answer| answer.outcome.is_err()), "{failures:?}");
}

#[tokio::test]
async fn messages_are_read_and_written_by_themselves() {
    let house = House::new();
    let stop = Method::queued("StopEgress").on("EG_1");
    let handler = typed(
        |request: &StopEgressRequest| match request.egress_id.as_str() {
            "EG_1" => Offer::Affinity(1.0),
            _ => Offer::Silence,
        },
        |request: StopEgressRequest, deadline| async move {
            assert!(deadline > Instant::now());
            Ok(EgressInfo { egress_id: request.egress_id, ended_at: 7, ..EgressInfo::default() })
        },
    );
    let _server = house.serves(&stop, handler).await;
    let client = house.client();
    let request = StopEgressRequest { egress_id: "EG_1".into() };
    let info: EgressInfo = client.ask(&stop, &request, CallOptions::default()).await.unwrap();
    assert_eq!((info.egress_id.as_str(), info.ended_at), ("EG_1", 7));

    let options = CallOptions { timeout: Duration::from_millis(200), ..CallOptions::default() };
    let error = client.call(&stop, Bytes::from_static(b"\x0a\xff"), options).await.unwrap_err();
    assert_eq!(error.code(), Code::MalformedRequest);
    let other = StopEgressRequest { egress_id: "x".into() };
    let error = client.ask::<EgressInfo>(&stop, &other, options).await.unwrap_err();
    assert_eq!(error.text(), NO_RESPONSE);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_called_again_with_growing_pauses() {
    let house = House::new();
    let client = house.client();
    let retry = Retry {
        attempts: std::num::NonZeroU32::new(4),
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(60),
    };
    let cancel = CancellationToken::new();
    let began = Instant::now();
    let error = client.call_retrying(&START, bytes("x"), AFFINITY, retry, &cancel).await.unwrap_err();
    assert_eq!(error.text(), NO_RESPONSE);
    // Four attempts of a second, and 0.5 + 1 + 2 seconds between them.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(7500) && took < Duration::from_millis(7600), "{took:?}");

    // A server that comes meanwhile is found, and one that says no is believed.
    let forever = Retry { attempts: None, ..retry };
    let (late, _registration) = {
        let call = client.call_retrying(&START, bytes("fail"), AFFINITY, forever, &cancel);
        let serve = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            house.serves(&START, Named("late", Offer::Affinity(1.0))).await
        };
        let (error, server) = tokio::join!(call, serve);
        assert_eq!(error.unwrap_err().code(), Code::NotFound);
        server
    };
    assert_eq!(late.stats().answered, 1);

    cancel.cancel();
    let error = client.call_retrying(&START, bytes("hang"), AFFINITY, forever, &cancel).await.unwrap_err();
    assert_eq!(error.code(), Code::Canceled);
}

#[test]
fn pauses_double_up_to_the_longest() {
    let retry = Retry {
        attempts: None,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(60),
    };
    let pauses: Vec<_> = (1..10).map(|failed| retry.pause(failed).unwrap().as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
    assert_eq!(retry.pause(u32::MAX), Some(Duration::from_secs(60)));
}

/// A request as another program would send it.
async fn send(house: &House, request: Request) {
    house.bus.publish("EgressInternal|StartEgress|REQ", Envelope::Request(request).encode()).await.unwrap();
}

fn request(expiry: i64) -> Request {
    Request {
        request_id: "REQ_1".into(),
        client_id: "CLI_1".into(),
        sent_at: 1,
        expiry,
        raw_request: bytes("x"),
        ..Request::default()
    }
}

#[tokio::test]
async fn malformed_and_expired_frames_are_counted_and_never_stop_a_server() {
    let house = House::new();
    let (server, _registration) = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
    let mut malformed = frames("malformed.txt");
    let vectors = frames("vectors.txt").into_iter().filter(|(name, _)| name != "request");
    malformed.extend(vectors);
    malformed.push(("too long".into(), vec![b'x'; envelope::MAX_FRAME + 1].into()));
    let mut sent = 0;
    for (_, frame) in malformed {
        house.bus.publish("EgressInternal|StartEgress|REQ", frame.clone()).await.unwrap();
        sent += 1;
        // A decision for somebody else is none of ours, and well-formed.
        let is_decision = matches!(Envelope::decode(&frame), Ok(Envelope::ClaimResponse(_)));
        house.bus.publish("EgressInternal|StartEgress|RCLAIM", frame).await.unwrap();
        sent += u64::from(!is_decision);
    }
    for request in [
        Request { request_id: String::new(), ..request(i64::MAX) },
        Request { client_id: String::new(), ..request(i64::MAX) },
        Request { client_id: "x".repeat(300), ..request(i64::MAX) },
    ] {
        send(&house, request).await;
        sent += 1;
    }
    for expiry in [i64::MIN, -1, 0, 1] {
        send(&house, request(expiry)).await;
    }
    until(|| server.stats().malformed == sent && server.stats().expired == 4).await;
    assert_eq!(house.client().call(&START, bytes("x"), AFFINITY).await, Ok(bytes("a")));
    assert_eq!(server.stats().answered, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_frames_whatever_stop_a_server(
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new();
            let (_server, _registration) = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
            let valid = Envelope::Request(request(i64::MAX)).encode();
            let mutated = flips.iter().map(|(at, with)| {
                let mut frame = valid.to_vec();
                let at = at.index(frame.len());
                frame[at] ^= with;
                frame
            });
            for frame in garbage.iter().cloned().chain(mutated) {
                for channel in ["EgressInternal|StartEgress|REQ", "EgressInternal|StartEgress|RCLAIM"] {
                    house.bus.publish(channel, frame.clone().into()).await.unwrap();
                }
            }
            let answer = house.client().call(&START, bytes("x"), AFFINITY).await;
            assert_eq!(answer, Ok(bytes("a")));
        });
    }
}

/// Offers itself, and answers when it is told to.
struct Gate {
    begun: AtomicU32,
    open: Notify,
}

#[async_trait]
impl Handler for Arc<Gate> {
    fn offer(&self, _: &Bytes) -> Result<Offer, Error> {
        Ok(Offer::Affinity(1.0))
    }

    async fn answer(&self, _: Call) -> Result<Bytes, Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open.notified().await;
        Ok(bytes("done"))
    }
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate { begun: AtomicU32::new(0), open: Notify::new() })
}

#[tokio::test]
async fn no_more_requests_are_worked_on_than_allowed() {
    let house = House::new();
    let gate = gate();
    let options = ServerOptions { concurrency: 2, ..ServerOptions::default() };
    let server = house.server_with(options);
    let _registration = server.register(START.clone(), Arc::clone(&gate)).await.unwrap();
    let client = house.client();
    let options = CallOptions {
        selection: SelectionRules {
            timeout: Some(Duration::from_millis(100)),
            ..SelectionRules::BY_AFFINITY
        },
        ..AFFINITY
    };
    let first = async {
        tokio::join!(client.call(&START, bytes("1"), options), client.call(&START, bytes("2"), options))
    };
    let third = async {
        until(|| gate.begun.load(Ordering::SeqCst) == 2).await;
        let refused = client.call(&START, bytes("3"), options).await;
        gate.open.notify_one();
        gate.open.notify_waiters();
        refused
    };
    let ((one, two), three) = tokio::join!(first, third);
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!(three.unwrap_err().text(), NO_RESPONSE);
    assert_eq!(server.stats().overloaded, 1);
}

#[tokio::test]
async fn calls_in_the_works_outlive_their_registration_and_shutdown_waits_for_them() {
    let house = House::new();
    let gate = gate();
    let server = house.server();
    let registration = server.register(START.clone(), Arc::clone(&gate)).await.unwrap();
    let client = house.client();
    let call = client.call(&START, bytes("x"), AFFINITY);
    let end = async {
        until(|| gate.begun.load(Ordering::SeqCst) == 1).await;
        drop(registration);
        let early = timeout(Duration::from_millis(50), gate.open.notified()).await;
        assert!(early.is_err());
        gate.open.notify_one();
        assert!(server.shutdown(SOON).await);
    };
    assert_eq!(tokio::join!(call, end).0, Ok(bytes("done")));
    drop(client);
    house.empties().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let house = House::new();
    let (server, _registration) = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
    let client = house.client();
    let options = CallOptions { timeout: Duration::from_millis(300), ..AFFINITY };
    let (error, emptied) = tokio::join!(client.call(&START, bytes("hang"), options), async {
        until(|| server.stats().received == 1).await;
        server.shutdown(Duration::from_millis(100)).await
    });
    assert_eq!(error.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(!emptied, "a handler hangs");
}

#[tokio::test]
async fn who_offered_stays_for_the_decision_after_its_registration_ended() {
    let house = House::new();
    let (done, mut carried_out) = oneshot::channel::<()>();
    let done = std::sync::Mutex::new(Some(done));
    let handler = typed(
        |_: &StopEgressRequest| Offer::Affinity(0.5),
        move |_: StopEgressRequest, _| {
            done.lock().unwrap().take().map_or(Ok(()), |done| done.send(())).unwrap();
            async { Ok(EgressInfo::default()) }
        },
    );
    let (server, registration) = house.serves(&START, handler).await;
    let mut claims = house.bus.subscribe("EgressInternal|CLI_1|CLAIM");
    send(&house, Request { raw_request: Bytes::new(), ..request(i64::MAX) }).await;
    let claim = timeout(SOON, claims.next()).await.unwrap().unwrap();
    let Ok(Envelope::ClaimRequest(claim)) = Envelope::decode(&claim) else { panic!("{claim:?}") };
    assert_eq!((claim.request_id.as_str(), claim.server_id.as_str()), ("REQ_1", server.id()));

    drop(registration);
    let decision = ClaimResponse { request_id: claim.request_id, server_id: claim.server_id };
    let frame = Envelope::ClaimResponse(decision).encode();
    tokio::task::yield_now().await;
    house.bus.publish("EgressInternal|StartEgress|RCLAIM", frame).await.unwrap();
    timeout(SOON, &mut carried_out).await.expect("it is carried out").unwrap();
    drop(server);
    house.empties().await;
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_decides_on_is_forgotten_when_its_time_is_over() {
    let house = House::new();
    let (server, registration) = house.serves(&START, Named("a", Offer::Affinity(1.0))).await;
    let far = request(i64::MAX);
    let mut claims = house.bus.subscribe("EgressInternal|CLI_1|CLAIM");
    send(&house, far.clone()).await;
    timeout(SOON, claims.next()).await.unwrap().unwrap();
    // The same request again: one offer is enough.
    send(&house, far).await;
    assert!(timeout(Duration::from_secs(30), claims.next()).await.is_err());
    drop(registration);
    tokio::time::sleep(ServerOptions::default().longest).await;
    until(|| server.stats().elsewhere == 1).await;
    drop(server);
    house.empties().await;
}

#[tokio::test]
async fn a_dropped_client_and_server_leave_no_task() {
    let house = House::new();
    let both = (house.client(), house.serves(&START, Named("a", Offer::Affinity(1.0))).await);
    assert_eq!(house.tasks.len(), 2);
    drop(both);
    house.empties().await;
}
