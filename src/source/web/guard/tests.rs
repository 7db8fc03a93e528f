use fast_socks5::client::{Config, Socks5Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ports;

/// Where something listens that a page must not reach. Nothing may listen on a link-local address here: one of the loopback stands
/// for it.
const SECRET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn is_secret(address: IpAddr) -> bool {
    address == IpAddr::V4(SECRET) || is_link_local(address)
}

async fn through(guard: &Guard, host: &str, port: u16) -> Result<TcpStream, String> {
    let proxy = (Ipv4Addr::LOCALHOST, guard.port);
    let connected = Socks5Stream::connect(proxy, host.to_owned(), port, Config::default());
    let connected = timeout(Duration::from_secs(20), connected).await.expect("it answers");
    connected.map(Socks5Stream::get_socket).map_err(|error| error.to_string())
}

fn last(guard: &Guard) -> Option<Failure> {
    *guard.last.lock().unwrap()
}

async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.ok();
    }
}

#[tokio::test]
async fn what_is_allowed_is_connected_both_ways_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(echo(listener));
    let guard = Guard::open().await.unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let mut stream = through(&guard, host, port).await.unwrap();
        let sent: Vec<u8> = (0..500_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut from, mut to) = stream.split();
        let sending = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(sending, from.read_to_end(&mut got));
        read.unwrap();
        assert!(got == sent, "{host}: {} bytes", got.len());
    }
    assert_eq!(last(&guard), None);
}

#[tokio::test]
async fn what_is_refused_is_never_connected_to_by_number_or_by_name() {
    let listener = TcpListener::bind((SECRET, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guard = Guard::refusing(is_secret).await.unwrap();
    // Resolvers take numbers for names, too.
    for host in ["127.0.0.2", "169.254.169.254", "2852039166", "::ffff:169.254.169.254", "fe80::1"] {
        let refused = through(&guard, host, port).await.unwrap_err();
        assert!(refused.to_lowercase().contains("not allowed"), "{host}: {refused}");
        assert_eq!(last(&guard), Some(Failure::LinkLocal), "{host}");
    }
    let refused = connect(TargetAddr::Domain("127.0.0.2".to_owned(), port), is_secret).await.unwrap_err();
    assert_eq!(refused, Failure::LinkLocal);
    let came = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "nobody came: {came:?}");
    // There it is, and who may gets there.
    let open = Guard::open().await.unwrap();
    through(&open, "127.0.0.2", port).await.unwrap();
}

#[tokio::test]
async fn a_page_is_told_what_stood_in_its_way() {
    let closed = ports::closed();
    let guard = Guard::open().await.unwrap();
    let url = || "http://a.test/".to_owned();
    let failed = || PageError::Network { url: url(), code: "net::ERR_SOCKS_CONNECTION_FAILED".to_owned() };
    assert_eq!(guard.explain(failed()), failed(), "nothing is known");
    for (host, port, told) in [
        ("127.0.0.1", closed, PageError::Refused { url: url() }),
        ("does-not-exist.invalid", 80, PageError::NotFound { url: url() }),
        ("169.254.1.1", 80, PageError::LinkLocal { url: url() }),
    ] {
        through(&guard, host, port).await.unwrap_err();
        assert_eq!(guard.explain(failed()), told);
    }
    let other = PageError::Network { url: url(), code: "net::ERR_EMPTY_RESPONSE".to_owned() };
    assert_eq!(guard.explain(other.clone()), other);
}

#[tokio::test]
async fn what_is_no_socks_is_let_go_and_all_ends_with_the_guard() {
    let guard = Guard::open().await.unwrap();
    let port = guard.port;
    let mut rubbish = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    rubbish.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), rubbish.read_to_end(&mut answer)).await.expect("it ends");
    assert!(answer.is_empty(), "{read:?}");
    // One that says nothing is cut off with it.
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::task::yield_now().await;
    drop(guard);
    let read = timeout(Duration::from_secs(5), silent.read_to_end(&mut answer)).await.expect("it ends");
    drop(read);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
}
