use fast_socks5::client::{Config, Socks5Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ports;

/// Address of a server that a page must not reach. Nothing may listen on a link-local address here:
/// a loopback address takes its place.
const SECRET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn is_secret(address: IpAddr) -> bool {
    address == IpAddr::V4(SECRET) || is_link_local(address)
}

fn refusing(is_refused: fn(IpAddr) -> bool) -> Refusals {
    Refusals { link_local: Some(is_refused), ..Refusals::of(&BrowserSettings::default()) }
}

fn guarding(ports: &[u16]) -> Refusals {
    let own_ports = ports.iter().copied().collect();
    Refusals::of(&BrowserSettings { refuse_link_local: true, own_ports, ..BrowserSettings::default() })
}

async fn through(guard: &SsrfProxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let proxy = (Ipv4Addr::LOCALHOST, guard.port);
    let connected = Socks5Stream::connect(proxy, host.to_owned(), port, Config::default());
    let connected = timeout(Duration::from_secs(20), connected).await.expect("it answers");
    connected.map(Socks5Stream::get_socket).map_err(|error| error.to_string())
}

/// The newest failure.
fn last(guard: &SsrfProxy) -> Option<Failure> {
    guard.failures.of("http://never-asked-for.test/")
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
    let guard = SsrfProxy::open(refusing(is_link_local)).await.unwrap();
    for host in ["127.0.0.1", "localhost", "a.LocalHost."] {
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
    let guard = SsrfProxy::open(refusing(is_secret)).await.unwrap();
    // Resolvers take numbers for names, too.
    for host in ["127.0.0.2", "169.254.169.254", "2852039166", "::ffff:169.254.169.254", "fe80::1"] {
        let refused = through(&guard, host, port).await.unwrap_err();
        assert!(refused.to_lowercase().contains("not allowed"), "{host}: {refused}");
        assert_eq!(last(&guard), Some(Failure::LinkLocal), "{host}");
    }
    let refused =
        connect(TargetAddr::Domain("127.0.0.2".to_owned(), port), &refusing(is_secret)).await.unwrap_err();
    assert_eq!(refused, Failure::LinkLocal);
    let came = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "nobody came: {came:?}");
    // There it is, and who may gets there.
    let open = SsrfProxy::open(refusing(is_link_local)).await.unwrap();
    through(&open, "127.0.0.2", port).await.unwrap();
}

#[tokio::test]
async fn a_page_is_told_what_stood_in_its_way() {
    let closed = ports::closed();
    let guard = SsrfProxy::open(refusing(is_link_local)).await.unwrap();
    let url = || "http://a.test/".to_owned();
    let failed = || PageError::Network { url: url(), code: "net::ERR_SOCKS_CONNECTION_FAILED".to_owned() };
    assert_eq!(guard.explain(failed(), None), failed(), "nothing is known");
    for (host, port, told) in [
        ("127.0.0.1", closed, PageError::Refused { url: url() }),
        ("does-not-exist.invalid", 80, PageError::NotFound { url: url() }),
        ("169.254.1.1", 80, PageError::LinkLocal { url: url() }),
    ] {
        through(&guard, host, port).await.unwrap_err();
        assert_eq!(guard.explain(failed(), None), told);
    }
    let other = PageError::Network { url: url(), code: "net::ERR_EMPTY_RESPONSE".to_owned() };
    assert_eq!(guard.explain(other.clone(), None), other);
}

#[tokio::test]
async fn what_is_no_socks_is_let_go_and_all_ends_with_the_guard() {
    let guard = SsrfProxy::open(refusing(is_link_local)).await.unwrap();
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

/// This machine's address towards other machines, if it has one.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Sends nothing: the kernel only chooses a source address.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[tokio::test]
async fn the_services_own_ports_are_reached_by_no_name_and_no_number() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guard = SsrfProxy::open(guarding(&[port])).await.unwrap();
    let hosts = [
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.254",
        "localhost",
        "LOCALHOST.",
        "any.localhost",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        // Resolvers read these as addresses.
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
    ];
    let outward = outward().map(|ip| [ip.to_string(), format!("::ffff:{ip}")]);
    let hosts = hosts.iter().map(|host| (*host).to_owned()).chain(outward.into_iter().flatten());
    for host in hosts {
        let refused = through(&guard, &host, port).await.unwrap_err();
        assert!(refused.to_lowercase().contains("not allowed"), "{host}: {refused}");
        assert_eq!(last(&guard), Some(Failure::OwnPort), "{host}");
    }
    let came = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "nobody came: {came:?}");
    let url = || "http://a.test/".to_owned();
    let failed = PageError::Network { url: url(), code: "net::ERR_SOCKS_CONNECTION_FAILED".to_owned() };
    assert_eq!(guard.explain(failed.clone(), None), PageError::OwnPort { url: url() });
    // A host of Chromium's own is not found meanwhile.
    through(&guard, "does-not-exist.invalid", 443).await.unwrap_err();
    let redirected = format!("http://127.0.0.1:{port}");
    assert_eq!(guard.explain(failed, Some(&redirected)), PageError::OwnPort { url: url() });

    // Other servers on this machine are reachable.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "any.localhost"] {
        through(&guard, host, other.local_addr().unwrap().port()).await.unwrap();
    }
}

#[test]
fn only_this_machines_ports_are_its_own() {
    let refusals = guarding(&[7981]);
    let of = |address: &str| refusals.refuse(address.parse().unwrap());
    assert_eq!(of("127.0.0.1:7981"), Some(Failure::OwnPort));
    assert_eq!(of("127.0.0.1:7982"), None);
    assert_eq!(of("192.0.2.1:7981"), None, "another machine has ports, too");
    assert_eq!(of("[2001:db8::1]:7981"), None);
    assert_eq!(of("169.254.169.254:7981"), Some(Failure::LinkLocal));
    let none = Refusals::of(&BrowserSettings::default());
    assert!(none.is_empty() && !refusals.is_empty());
    assert_eq!(none.refuse("169.254.169.254:80".parse().unwrap()), None);
}

#[test]
fn an_address_that_can_not_be_looked_at_is_refused() {
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS] {
        assert!(may_be_here(&Err(errno.into())), "{errno}");
    }
    for errno in [Errno::EADDRNOTAVAIL, Errno::EINVAL, Errno::EAFNOSUPPORT] {
        assert!(!may_be_here(&Err(errno.into())), "{errno}");
    }
}

#[test]
fn a_page_that_tries_without_end_does_not_fill_the_log() {
    let refusals = guarding(&[]);
    for port in 0..10_000 {
        refusals.log(SocketAddr::new(SECRET.into(), port), Failure::LinkLocal);
        refusals.log(SocketAddr::new(SECRET.into(), 1), Failure::LinkLocal);
    }
    assert_eq!(refusals.logged.lock().unwrap().len(), LOGGED);
}

#[tokio::test]
async fn all_of_a_browsers_connections_go_through_it() {
    let guard = SsrfProxy::open(guarding(&[1])).await.unwrap();
    let [server, bypass] = guard.flags();
    assert_eq!(server, format!("--proxy-server=socks5://127.0.0.1:{}", guard.port));
    assert_eq!(bypass, "--proxy-bypass-list=<-loopback>", "nothing goes past it");
}
