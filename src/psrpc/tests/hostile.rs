//! Frames on a server's channels that are not calls for it.

use proptest::prelude::*;

use super::bus_fixture::{AFFINITY, House, Named, START, bytes, request, send, until};
use super::frames;
use crate::psrpc::envelope::{self, Envelope, Request};
use crate::psrpc::{MessageBus, Offer};

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
        // A well-formed decision for another server.
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
