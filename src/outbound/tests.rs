use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Nothing may listen on a link-local address here: one of the loopback stands for it.
const SECRET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn guard() -> Guard {
    Guard::refusing(|address| address == IpAddr::V4(SECRET) || is_link_local(address))
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    refusal_in(error).is_some_and(|refusal| refusal.to_string().contains("allow_link_local"))
}

#[tokio::test]
async fn what_is_refused_is_not_connected_to_by_number_or_by_name() {
    let listener = TcpListener::bind((SECRET, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Resolvers take numbers for names, too.
    for host in ["127.0.0.2", "169.254.169.254", "2852039166", "fe80::1", "::ffff:169.254.169.254"] {
        let refused = guard().connect(host, port).await.unwrap_err();
        assert!(is_refused(&refused), "{host}: {refused}");
    }
    Guard::open().connect("127.0.0.2", port).await.unwrap();
    drop(listener);
    let refused = guard().lookup("does-not-exist.invalid", 80).await.unwrap_err();
    assert!(!is_refused(&refused), "{refused}");
}

#[tokio::test]
async fn an_http_client_does_not_get_there_by_number_or_by_name() {
    let listener = TcpListener::bind((SECRET, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = guard().http().no_proxy().build().unwrap();
    for host in ["127.0.0.2", "169.254.169.254", "[fd00:ec2::254]", "2852039166"] {
        let refused = guard().send(client.get(format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(is_refused(&refused), "{host}: {refused}");
    }
    // A name that leads there.
    let refusing_all = Guard::refusing(|_| true);
    let client = refusing_all.http().no_proxy().build().unwrap();
    let refused = refusing_all.send(client.get(format!("http://localhost:{port}/"))).await.unwrap_err();
    assert!(is_refused(&refused), "{refused}");
    let came = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
    assert!(came.is_err(), "nobody came: {came:?}");
}

#[tokio::test]
async fn an_http_client_follows_no_redirect_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for to in ["http://169.254.169.254/latest/", "http://127.0.0.2:9/", "http://[fd00:ec2::254]/"] {
        let client = guard().http().no_proxy().build().unwrap();
        let redirects = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            assert!(peer.read(&mut request).await.unwrap() > 0);
            let answer = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            peer.write_all(answer.as_bytes()).await.unwrap();
        };
        let (refused, ()) = tokio::join!(guard().send(client.get(format!("http://{address}/"))), redirects);
        let refused = refused.unwrap_err();
        assert!(is_refused(&refused), "{to}: {refused}");
    }
}

#[test]
fn a_host_with_an_address_that_is_refused_has_only_its_others() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let both = [address("169.254.169.254:80"), address("10.0.0.1:80")];
    let (allowed, refused) = guard().sift("h", both.into_iter());
    assert_eq!(allowed, both[1..]);
    assert_eq!(refused, Some(LinkLocalError { host: "h".to_owned() }), "who connects by name must not");
    assert_eq!(guard().sift("h", both[1..].iter().copied()), (both[1..].to_vec(), None));
}

#[test]
fn addresses_of_streams_are_looked_at_too() {
    for (url, is_refused) in [
        ("rtmp://169.254.169.254/app/key", true),
        ("srt://169.254.169.254:9000", true),
        ("srt://[fe80::1]:9000", true),
        ("wss://[::ffff:169.254.169.254]/", true),
        ("srt://10.0.0.1:9000", false),
        ("rtmps://example.com/app/key", false),
    ] {
        assert_eq!(guard().check(&Url::parse(url).unwrap()).is_err(), is_refused, "{url}");
    }
}
