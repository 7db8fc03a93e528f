use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const SLOW_REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(600);

/// A listener on a free port; `/` answers at once, `/slow` on command, `/echo` after the whole
/// body.
struct Served {
    address: SocketAddr,
    go: Arc<Notify>,
    /// One for each request that is waiting.
    waits: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Served {
    async fn new(bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, stop, tasks) = (Arc::new(Notify::new()), CancellationToken::new(), TaskTracker::new());
        let waits = Arc::new(Semaphore::new(0));
        let told = (Arc::clone(&go), Arc::clone(&waits));
        let slow = move || {
            let (told, waits) = told.clone();
            async move {
                waits.add_permits(1);
                told.notified().await;
                "late"
            }
        };
        let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
        let echo = async |body: String| body;
        let router = Router::new().route("/", get(peer)).route("/slow", get(slow)).route("/echo", post(echo));
        tasks.spawn(serve("test", listener, router, bounds, stop.clone()));
        Self { address, go, waits, stop, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn asks(&self) -> String {
        let mut stream = self.connect().await;
        stream.write_all(REQUEST).await.unwrap();
        answer(&mut stream).await
    }
}

/// Reads the next data; empty at the end.
async fn answer(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 4096];
    // A connection that was closed with something unread is reset.
    let length = stream.read(&mut buffer).await.unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn bounds(connections: usize, head_within: Duration) -> Bounds {
    Bounds { connections, head_within }
}

#[test]
fn a_process_with_few_descriptors_keeps_most_of_them() {
    for (open_files, connections) in [(1 << 20, 256), (4096, 256), (1024, 64), (256, 16), (10, 4)] {
        assert_eq!(Bounds::of(open_files).connections, connections);
    }
    assert_eq!(Bounds::of(u64::MAX).connections, 256);
    assert_eq!(Bounds::of(1 << 20).head_within, Duration::from_secs(5));
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let served = Served::new(bounds(8, Duration::from_millis(100))).await;
    for said in [&b""[..], b"GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = served.connect().await;
        stream.write_all(said).await.unwrap();
        let heard = answer(&mut stream).await;
        assert!(!heard.contains("200 OK"), "{heard}");
        assert_eq!(answer(&mut stream).await, "", "it is closed");
    }
    assert!(served.asks().await.contains("127.0.0.1"));
}

/// Clients keep their connections, and send the next request on one that they think is open.
#[tokio::test]
async fn a_connection_is_kept_between_requests_and_the_next_head_has_its_time_too() {
    let within = Duration::from_millis(100);
    let served = Served::new(bounds(8, within)).await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        let closed = tokio::time::timeout(within * 3, answer(&mut stream)).await;
        assert!(closed.is_err(), "{closed:?}");
    }
    stream.write_all(&REQUEST[..9]).await.unwrap();
    assert_eq!(answer(&mut stream).await, "", "it is closed");
}

#[tokio::test]
async fn a_connection_that_asks_again_is_closed_after_all_others() {
    let served = Served::new(bounds(4, NEVER)).await;
    let mut kept = served.connect().await;
    kept.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 OK"));
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(served.connect().await);
    }
    assert!(served.asks().await.starts_with("HTTP/1.1 200 OK"));
    // Nor before those that asked once, and keep their place.
    for _ in 0..20 {
        let mut other = served.connect().await;
        other.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut other).await.starts_with("HTTP/1.1 200 OK"));
        held.push(other);
        kept.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 OK"));
    }
    kept.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 OK"));
}

/// 1,024 connections that said nothing took every descriptor of the service.
#[tokio::test]
async fn callers_are_answered_while_others_hold_more_connections_than_there_may_be() {
    let served = Served::new(bounds(16, NEVER)).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    for _ in 0..20 {
        assert!(served.asks().await.starts_with("HTTP/1.1 200 OK"));
    }
    // All but the newest are closed.
    assert_eq!(answer(&mut held[0]).await, "");
}

#[tokio::test]
async fn who_is_being_answered_is_not_put_out() {
    let served = Served::new(bounds(2, NEVER)).await;
    let mut asking = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(SLOW_REQUEST).await.unwrap();
        asking.push(stream);
    }
    served.waits.acquire_many(2).await.unwrap().forget();
    // Waiting with the kernel until there is room.
    let mut waiting = served.connect().await;
    waiting.write_all(REQUEST).await.unwrap();
    let heard = async {
        // `notify_one` is kept for who waits next.
        for stream in &mut asking {
            served.go.notify_one();
            served.go.notify_one();
            let heard = answer(stream).await;
            assert!(heard.ends_with("late"), "{heard}");
        }
        answer(&mut waiting).await
    };
    assert!(heard.await.starts_with("HTTP/1.1 200 OK"));
}

/// The listener may already wait for the next connection when those it has begin to ask.
#[tokio::test]
async fn connections_that_ask_again_let_in_none_above_the_bound() {
    let served = Served::new(bounds(2, NEVER)).await;
    let mut asking = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        asking.push(stream);
    }
    for stream in &mut asking {
        stream.write_all(SLOW_REQUEST).await.unwrap();
    }
    served.waits.acquire_many(2).await.unwrap().forget();
    let mut waiting = served.connect().await;
    waiting.write_all(REQUEST).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), answer(&mut waiting)).await;
    assert!(early.is_err(), "{early:?}");
    for _ in 0..2 {
        served.go.notify_one();
    }
    for stream in &mut asking {
        assert!(answer(stream).await.ends_with("late"));
    }
    assert!(answer(&mut waiting).await.starts_with("HTTP/1.1 200 OK"));
}

/// A head that promises a body is no more than half a head.
#[tokio::test]
async fn bodies_that_do_not_come_take_no_place() {
    let served = Served::new(bounds(4, NEVER)).await;
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = served.connect().await;
        stream.write_all(head).await.unwrap();
        stream.write_all(b"he").await.unwrap();
        held.push(stream);
    }
    assert!(served.asks().await.starts_with("HTTP/1.1 200 OK"));
    let mut late = served.connect().await;
    late.write_all(head).await.unwrap();
    late.write_all(b"he").await.unwrap();
    assert!(served.asks().await.starts_with("HTTP/1.1 200 OK"));
    late.write_all(b"llo").await.unwrap();
    assert!(answer(&mut late).await.ends_with("hello"));
    assert_eq!(answer(&mut held[0]).await, "");
}

#[tokio::test]
async fn stopping_answers_what_was_asked_and_closes_the_rest() {
    let served = Served::new(bounds(8, NEVER)).await;
    let mut idle = served.connect().await;
    let mut asking = served.connect().await;
    asking.write_all(SLOW_REQUEST).await.unwrap();
    served.waits.acquire().await.unwrap().forget();
    served.stop.cancel();
    assert_eq!(answer(&mut idle).await, "");
    served.go.notify_one();
    assert!(answer(&mut asking).await.ends_with("late"));
    served.tasks.close();
    served.tasks.wait().await;
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[test]
fn pauses_grow_while_there_are_no_descriptors() {
    let mut shortage = Shortage::default();
    let error = io::Error::from(Errno::EMFILE);
    assert!(!is_of_the_peer(&error));
    let pauses: Vec<u128> = (0..7).map(|_| shortage.next("test", &error).as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    assert!(is_of_the_peer(&io::Error::from(Errno::ECONNABORTED)));
}
