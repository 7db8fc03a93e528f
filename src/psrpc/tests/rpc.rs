//! Calls, on a bus in memory. Tests that are about time run on a clock of their own.

use std::time::Duration;

use bytes::Bytes;
use livekit_protocol::{EgressInfo, StopEgressRequest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bus_fixture::{AFFINITY, House, LIST, Named, START, bytes, until};
use crate::psrpc::*;

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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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
