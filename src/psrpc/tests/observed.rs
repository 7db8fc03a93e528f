//! Observations of a server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;

use super::bus_fixture::*;
use crate::psrpc::*;

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<String>>);

impl Seen {
    fn note(&self, rpc: Rpc<'_>, what: String) {
        assert_eq!((rpc.service, rpc.method), (SERVICE, "StartEgress"));
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Seen {
    fn received(&self, rpc: Rpc<'_>) {
        self.note(rpc, "received".into());
    }

    fn expired(&self, rpc: Rpc<'_>) {
        self.note(rpc, "expired".into());
    }

    fn claimed(&self, rpc: Rpc<'_>, outcome: ClaimOutcome, waited: Duration) {
        self.note(rpc, format!("{outcome:?} after {} ms", waited.as_millis()));
    }

    fn answered(&self, rpc: Rpc<'_>, Answered { multi, error, received, sent, .. }: Answered) {
        self.note(rpc, format!("answered {multi} {error:?} {received} {sent}"));
    }

    fn called(&self, rpc: Rpc<'_>, Answered { multi, error, received, sent, .. }: Answered) {
        self.note(rpc, format!("called {multi} {error:?} {received} {sent}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_tells_each_call_once() {
    let house = House::new();
    let (loser, _a) = house.serves(&START, Named("a", Offer::Affinity(0.5))).await;
    let (winner, _b) = house.serves(&START, Named("the winner", Offer::Affinity(0.9))).await;
    let (lost, won) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    loser.observed_by(Arc::clone(&lost) as _);
    winner.observed_by(Arc::clone(&won) as _);
    let client = house.client();
    client.call(&START, bytes("xyz"), AFFINITY).await.unwrap();
    // The choice is made after half a second, when no server is quite idle.
    assert_eq!(won.take(), ["received", "Granted after 500 ms", "answered false None 3 10"]);
    until(|| lost.0.lock().unwrap().len() == 2).await;
    assert_eq!(lost.take(), ["received", "Lost after 500 ms"]);

    client.call(&START, bytes("fail"), AFFINITY).await.unwrap_err();
    assert_eq!(won.take(), ["received", "Granted after 500 ms", "answered false Some(NotFound) 4 0"]);
    until(|| lost.take().len() == 2).await;

    send(&house, request(1)).await;
    until(|| won.0.lock().unwrap().len() == 2).await;
    assert_eq!(won.take(), ["received", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_tells_each_attempt_once() {
    let house = House::new();
    let client = house.client();
    let seen = Arc::new(Seen::default());
    client.observed_by(Arc::clone(&seen) as _);
    client.call(&START, bytes("xyz"), AFFINITY).await.unwrap_err();
    assert_eq!(seen.take(), ["called false Some(Unavailable) 0 3"]);
    let (_server, _registration) = house.serves(&START, Named("the winner", Offer::Affinity(0.9))).await;
    client.call(&START, bytes("xyz"), AFFINITY).await.unwrap();
    client.call(&START, bytes("fail"), AFFINITY).await.unwrap_err();
    assert_eq!(seen.take(), ["called false None 10 3", "called false Some(NotFound) 0 4"]);
    client.call_all(&START, bytes("xyz"), Duration::from_secs(2)).await.unwrap();
    let told = seen.take();
    assert!(told.len() == 1 && told[0].starts_with("called true None "), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_decides_on_times_out() {
    let house = House::new();
    let (server, _registration) = house.serves(&START, Named("a", Offer::Affinity(0.5))).await;
    let seen = Arc::new(Seen::default());
    server.observed_by(Arc::clone(&seen) as _);
    // Its client asks, and is gone.
    send(&house, request(i64::MAX)).await;
    let told = async {
        while seen.0.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(400), told).await.expect("it is told");
    assert_eq!(seen.take(), ["received", "TimedOut after 300000 ms"]);
}
