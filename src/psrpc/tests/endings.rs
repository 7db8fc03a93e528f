//! Limits, and what goes on when a registration, a server or a client ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use livekit_protocol::{EgressInfo, StopEgressRequest};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::bus_fixture::{AFFINITY, House, Named, SOON, START, bytes, request, send, until};
use crate::psrpc::envelope::{ClaimResponse, Envelope, Request};
use crate::psrpc::*;

/// Claims, and answers on command.
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

#[tokio::test(start_paused = true)]
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
