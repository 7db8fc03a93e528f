//! With a fake browser at the other ends of two pipes in memory.

use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Writes down what a listener gets.
struct Notes(mpsc::UnboundedSender<String>);

impl Listener for Notes {
    fn on(&mut self, said: Said<'_>) {
        let note = match said {
            Said::Event(event) => {
                let params = event.params::<Value>();
                format!("{} {:?} {}", event.method, event.session, params.unwrap_or_default())
            }
            Said::TooLong { bytes, .. } => format!("too long: {bytes}"),
            Said::Ended(why) => format!("ended: {why}"),
        };
        drop(self.0.send(note));
    }
}

/// The browser's ends.
struct Peer {
    calls: DuplexStream,
    to: DuplexStream,
    notes: mpsc::UnboundedReceiver<String>,
}

impl Peer {
    fn connect() -> (Connection, Running, Self) {
        let (ours, calls) = duplex(1 << 16);
        let (to, theirs) = duplex(1 << 16);
        let (sender, notes) = mpsc::unbounded_channel();
        let (connection, running) = Connection::open(theirs, ours, Notes(sender));
        (connection, running, Self { calls, to, notes })
    }

    async fn call(&mut self) -> Value {
        let mut message = Vec::new();
        loop {
            match timeout(SOON, self.calls.read_u8()).await.unwrap().unwrap() {
                0 => return serde_json::from_slice(&message).unwrap(),
                byte => message.push(byte),
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        timeout(SOON, self.to.write_all(bytes)).await.unwrap().unwrap();
    }

    async fn note(&mut self) -> String {
        timeout(SOON, self.notes.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_call_is_answered_by_its_number_whatever_comes_between() {
    let (connection, _running, mut peer) = Peer::connect();
    let first = connection.call::<Value>(None, "A.first", json!({"a": "\0"}));
    let second = connection.call::<Value>(Some("S1"), "A.second", json!({}));
    let browser = async {
        let one = peer.call().await;
        assert_eq!(one, json!({"id": 1, "method": "A.first", "params": {"a": "\0"}}));
        let two = peer.call().await;
        assert_eq!(two, json!({"id": 2, "method": "A.second", "sessionId": "S1", "params": {}}));
        // Both answers and two events, in torn reads, with invalid messages between them.
        let said = "{\"id\":2,\"result\":{\"n\":2},\"sessionId\":\"S1\"}\0\0rubbish\0{\"method\":\"B.said\",\
                    \"params\":{\"x\":[1]},\"sessionId\":\"S1\"}\0{}\0[1]\0{\"id\":\"1\"}\0{\"id\":99,\"result\":{}}\0\
                    {\"method\":\"C.said\",\"params\":{}}\0{\"id\":1,\"result\":{\"n\":1}}\0";
        for part in said.as_bytes().chunks(7) {
            peer.say(part).await;
        }
    };
    let (first, second, ()) = tokio::join!(first, second, browser);
    assert_eq!((first.unwrap(), second.unwrap()), (json!({"n": 1}), json!({"n": 2})));
    assert_eq!(peer.note().await, "B.said Some(\"S1\") {\"x\":[1]}");
    assert_eq!(peer.note().await, "C.said None {}");
}

#[tokio::test]
async fn a_refusal_and_an_unreadable_answer_name_their_call() {
    let (connection, _running, mut peer) = Peer::connect();
    let refused = connection.call::<Value>(None, "A.b", json!({}));
    let (refused, ()) = tokio::join!(refused, async {
        peer.say(b"{\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no\\u001b[2J frame\"}}\0").await;
    });
    assert_eq!(refused.unwrap_err().to_string(), "the browser's DevTools: A.b: no\\u{1b}[2J frame");
    for answer in ["{\"id\":2,\"result\":\"text\"}\0", "{\"id\":3}\0"] {
        let call = connection.call::<HashMap<String, u8>>(None, "A.c", json!({}));
        let (unreadable, ()) = tokio::join!(call, peer.say(answer.as_bytes()));
        assert!(matches!(unreadable, Err(DevToolsError::Unreadable { method: "A.c", .. })), "{unreadable:?}");
    }
}

#[tokio::test]
async fn all_calls_fail_when_the_browser_is_gone() {
    let (connection, _running, mut peer) = Peer::connect();
    let call = connection.call::<Value>(None, "A.b", json!({}));
    let (failed, ()) = tokio::join!(call, async {
        peer.call().await;
        // In the middle of a message.
        peer.say(b"{\"id\":1,\"res").await;
        let (_, gone) = duplex(1);
        peer.to = gone;
    });
    assert!(matches!(&failed, Err(DevToolsError::Ended(why)) if why.contains("closed")), "{failed:?}");
    assert!(peer.note().await.starts_with("ended: "));
    let late = timeout(SOON, connection.call::<Value>(None, "A.b", json!({}))).await.unwrap();
    assert!(matches!(late, Err(DevToolsError::Ended(_))), "{late:?}");
}

/// One that only writes is of no use: whoever listens has to know.
#[tokio::test]
async fn a_browser_that_takes_nothing_any_more_is_gone() {
    let (connection, _running, mut peer) = Peer::connect();
    (peer.calls, _) = duplex(1);
    connection.post(None, "A.b", json!({})).await.unwrap();
    let note = peer.note().await;
    assert!(note.starts_with("ended: the browser can't be written to"), "{note}");
}

#[tokio::test]
async fn calls_end_with_the_connection() {
    let (connection, running, _peer) = Peer::connect();
    let call = connection.call::<Value>(None, "A.b", json!({}));
    let (failed, ()) = tokio::join!(call, async { drop(running) });
    assert!(matches!(failed, Err(DevToolsError::Ended(_))), "{failed:?}");
}

#[tokio::test]
async fn a_browser_that_reads_nothing_holds_calls_up_and_no_more() {
    let (connection, _running, peer) = Peer::connect();
    let text = "x".repeat(1 << 15);
    let mut sent = 0;
    while timeout(Duration::from_millis(100), connection.post(None, "A.b", json!({"text": text})))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100, "they pile up");
    }
    assert!(sent >= QUEUE, "{sent}");
    // Calls that were given up are forgotten.
    let call = connection.call::<Value>(None, "A.b", json!({}));
    assert!(timeout(Duration::from_millis(20), call).await.is_err());
    assert!(connection.shared.lock().waiting.is_empty());
    drop(peer);
}

#[tokio::test]
async fn an_answer_that_is_too_long_fails_its_call_and_an_event_is_left_out() {
    let (connection, _running, mut peer) = Peer::connect();
    let long = vec![b'x'; LIMIT];
    let small = connection.call::<Value>(None, "A.small", json!({}));
    let large = connection.call_for::<Value>(2 * LIMIT, None, "A.large", json!({}));
    let browser = async {
        peer.call().await;
        peer.call().await;
        for (before, after) in [
            ("{\"id\":1,\"result\":\"", "\"}\0"),
            ("{\"method\":\"A.said\",\"params\":{\"x\":\"", "\"}}\0"),
            ("{\"id\":2,\"result\":\"", "\"}\0"),
            ("{\"method\":\"A.next\",\"params\":{}", "}\0"),
        ] {
            peer.say(before.as_bytes()).await;
            if before.contains("\"x\"") || before.contains("result") {
                peer.say(&long).await;
            }
            peer.say(after.as_bytes()).await;
        }
    };
    let (small, large, ()) = tokio::join!(small, large, browser);
    let small = small.unwrap_err().to_string();
    assert!(small.contains("A.small") && small.contains("1048576"), "{small}");
    assert_eq!(large.unwrap().as_str().map(str::len), Some(LIMIT));
    assert!(peer.note().await.starts_with("too long: "));
    assert_eq!(peer.note().await, "A.next None {}");
}
