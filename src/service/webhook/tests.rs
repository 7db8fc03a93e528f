mod receiver;

use std::time::Instant;

use proto::EgressStatus as Status;
use proto::egress_info::Request;

use super::*;
use receiver::{Receiver, SECRET};

const PATIENCE: Duration = Duration::from_secs(20);

fn keys() -> ApiKeys {
    [("devkey", SECRET), ("another", "another secret")]
        .into_iter()
        .map(|(name, secret)| (name.to_owned(), Secret::new(secret.to_owned())))
        .collect()
}

fn quick() -> Limits {
    Limits {
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(25),
        attempt: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn notifier(urls: &[&str], limits: Limits) -> (Notifier, TaskTracker) {
    let tasks = TaskTracker::new();
    let urls = urls.iter().map(|url| Secret::new(Url::parse(url).unwrap())).collect();
    let options = WebhookOptions { urls, api_key: "devkey".to_owned(), filter: Filter::default(), limits };
    (Notifier::new(options, keys(), tasks.clone()).unwrap(), tasks)
}

fn info(egress_id: &str, status: Status) -> proto::EgressInfo {
    proto::EgressInfo {
        egress_id: egress_id.to_owned(),
        status: status.into(),
        ..proto::EgressInfo::default()
    }
}

fn asking(webhooks: Vec<proto::WebhookConfig>, info: proto::EgressInfo) -> proto::EgressInfo {
    let request = Request::Web(proto::WebEgressRequest { webhooks, ..proto::WebEgressRequest::default() });
    proto::EgressInfo { request: Some(request), ..info }
}

fn webhook(url: &str, signing_key: &str) -> proto::WebhookConfig {
    proto::WebhookConfig { url: url.to_owned(), signing_key: signing_key.to_owned(), filter_params: None }
}

fn now() -> Timestamp {
    Timestamp::now()
}

#[test]
fn a_receiver_on_the_link_is_refused_by_its_field() {
    let guard = Guard::refusing(crate::plan::link_local::is_link_local);
    let webhooks = [webhook("http://10.0.0.1/", ""), webhook("http://2852039166/latest/meta-data/", "")];
    let refused = check_guarded(guard, &keys(), &webhooks).unwrap_err().to_string();
    assert!(refused.contains("webhooks[1].url") && refused.contains("allow_link_local"), "{refused}");
    check_guarded(Guard::open(), &keys(), &webhooks).unwrap();
}

#[tokio::test]
async fn a_receiver_on_the_link_is_given_up_at_once() {
    let receiver = Receiver::start().await;
    // The guard takes the loopback for the link.
    let guard = Guard::refusing(|_| true);
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    for url in [receiver.url.as_str(), &by_name, "http://169.254.169.254/latest/meta-data/"] {
        let tasks = TaskTracker::new();
        let options = WebhookOptions {
            urls: vec![Secret::new(Url::parse(url).unwrap())],
            api_key: "devkey".to_owned(),
            filter: Filter::default(),
            limits: Limits {
                longest_pause: Duration::from_secs(60),
                pause: Duration::from_secs(60),
                ..quick()
            },
        };
        let notifier = Notifier::guarded(guard, options, keys(), tasks.clone()).unwrap();
        let (settled, told) = tokio::sync::oneshot::channel();
        notifier.notify(Event::Started, &info("EG_link", Status::EgressStarting), now(), || {
            settled.send(()).ok();
        });
        let told = tokio::time::timeout(Duration::from_secs(20), told).await;
        told.expect("it is given up without another attempt").unwrap();
    }
    assert!(receiver.all().is_empty(), "nobody came");
}

#[tokio::test]
async fn a_receiver_can_check_what_it_gets() {
    let receiver = Receiver::start().await;
    let (notifier, _tasks) = notifier(&[&receiver.url], quick());
    let at = now();
    let in_room = proto::EgressInfo {
        room_id: "RM_1".to_owned(),
        room_name: "my room".to_owned(),
        started_at: 1_700_000_000_000_000_000,
        ..info("EG_one", Status::EgressStarting)
    };
    notifier.notify(Event::Started, &in_room, at, || ());
    let got = receiver.next().await;
    assert_eq!(got.signer, "devkey");
    assert_eq!(got.header("content-type"), "application/webhook+json");
    assert_eq!(got.header("user-agent"), "LiveKit");
    let body = got.json();
    assert_eq!(body["event"], "egress_started");
    assert_eq!(body["createdAt"], at.as_second().to_string());
    assert_eq!(body["room"], serde_json::json!({"sid": "RM_1", "name": "my room"}));
    assert_eq!(body["egressInfo"]["egressId"], "EG_one");
    assert_eq!(body["egressInfo"]["startedAt"], "1700000000000000000");
    let id = body["id"].as_str().unwrap().strip_prefix("EV_").unwrap();
    assert!(id.len() == 12 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");

    // A page is in no room.
    notifier.notify(Event::Ended, &info("EG_two", Status::EgressComplete), at, || ());
    let body = receiver.next().await.json();
    assert_eq!(body["egressInfo"]["status"], "EGRESS_COMPLETE");
    assert!(body.get("room").is_none(), "{body}");
}

/// As in livekit-server: a user in the address does not take the signature's place, nor stands
/// beside it.
#[tokio::test]
async fn a_user_in_the_address_is_not_sent() {
    let receiver = Receiver::start().await;
    let url = receiver.url.replace("http://", "http://user:password@");
    let (notifier, _tasks) = notifier(&[&url], quick());
    notifier.notify(Event::Started, &info("EG_one", Status::EgressStarting), now(), || ());
    let got = receiver.next().await;
    assert_eq!((got.signer.as_str(), got.signatures), ("devkey", 1));
}

#[tokio::test]
async fn a_receiver_reads_no_secret_of_another() {
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let (notifier, _tasks) = notifier(&[], quick());
    let webhooks = vec![webhook(&one.url, ""), webhook(&other.url, "")];
    let asked = asking(webhooks, info("EG_one", Status::EgressActive));
    notifier.notify(Event::Updated, &asked, now(), || ());
    for receiver in [&one, &other] {
        let body = String::from_utf8(receiver.next().await.body.to_vec()).unwrap();
        assert!(body.contains("/hook?token={...}") && !body.contains("hush"), "{body}");
    }
}

#[tokio::test]
async fn events_of_one_egress_arrive_in_order_once_each() {
    let receiver = Receiver::start().await;
    // Every second attempt fails.
    receiver.answer_with([500, 200].into_iter().cycle());
    let (notifier, _tasks) = notifier(&[&receiver.url], quick());
    for at in 0..20 {
        let info = proto::EgressInfo { updated_at: at, ..info("EG_one", Status::EgressActive) };
        notifier.notify(Event::Updated, &info, now(), || ());
    }
    notifier.drained().await;
    let all = receiver.all();
    let taken: Vec<String> = all
        .iter()
        .filter(|got| got.answer == 200)
        .map(|got| got.json()["egressInfo"]["updatedAt"].as_str().unwrap_or("0").to_owned())
        .collect();
    assert_eq!(taken, (0..20).map(|at| at.to_string()).collect::<Vec<_>>());
    // The second attempt is the same event, for whoever took the first and could not say so.
    assert_eq!(all.len(), 40);
    assert!(all.chunks(2).all(|pair| pair[0].body == pair[1].body));
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_what_it_missed() {
    let receiver = Receiver::start().await;
    let url = receiver.url.clone();
    let address = receiver.stop().await;
    let (notifier, _tasks) = notifier(&[&url], quick());
    notifier.notify(Event::Ended, &info("EG_one", Status::EgressFailed), now(), || ());
    // Long enough for attempts that are refused.
    assert!(
        tokio::time::timeout(Duration::from_millis(150), notifier.shared.ended.notified()).await.is_err()
    );
    let receiver = Receiver::start_at(address).await;
    assert_eq!(receiver.next().await.json()["event"], "egress_ended");
    notifier.drained().await;
}

#[tokio::test]
async fn what_the_receiver_refuses_is_not_sent_again() {
    for (status, attempts) in [(400, 1), (401, 1), (404, 1), (301, 1), (408, 2), (429, 2), (503, 2)] {
        let receiver = Receiver::start().await;
        receiver.answer_with([status].into_iter().chain(std::iter::repeat(200)));
        let (notifier, _tasks) = notifier(&[&receiver.url], quick());
        notifier.notify(Event::Ended, &info("EG_one", Status::EgressComplete), now(), || ());
        notifier.drained().await;
        assert_eq!(receiver.all().len(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_slow_receiver_delays_nobody_else() {
    let slow = Receiver::start().await;
    slow.hold();
    let fast = Receiver::start().await;
    let limits = Limits { attempt: 2 * PATIENCE, ..quick() };
    let (notifier, _tasks) = notifier(&[&slow.url, &fast.url], limits);
    let begin = Instant::now();
    for at in 0..50 {
        notifier.notify(Event::Updated, &info(&format!("EG_{}", at % 5), Status::EgressActive), now(), || ());
    }
    for _ in 0..50 {
        fast.next().await;
    }
    assert!(begin.elapsed() < PATIENCE, "less than one attempt at the slow one");
    assert_eq!(slow.answered(), 0);
    slow.release();
    notifier.drained().await;
    // Five lanes, each with its attempt.
    assert_eq!(slow.all().iter().filter(|got| got.answer == 200).count(), 50);
}

#[tokio::test]
async fn a_request_names_receivers_keys_and_events_of_its_own() {
    let (all, own) = (Receiver::start().await, Receiver::start().await);
    let (notifier, _tasks) = notifier(&[&all.url], quick());
    let filtered = proto::WebhookConfig {
        filter_params: Some(proto::FilterParams {
            include_events: vec!["egress_ended".to_owned()],
            exclude_events: Vec::new(),
        }),
        ..webhook(&own.url, "another")
    };
    let begins = asking(vec![filtered.clone()], info("EG_one", Status::EgressStarting));
    let ends = asking(vec![filtered], info("EG_one", Status::EgressComplete));
    notifier.notify(Event::Started, &begins, now(), || ());
    notifier.notify(Event::Ended, &ends, now(), || ());
    notifier.drained().await;
    let events = |receiver: &Receiver| {
        let told =
            |got: &receiver::Got| (got.json()["event"].as_str().unwrap().to_owned(), got.signer.clone());
        receiver.all().iter().map(told).collect::<Vec<_>>()
    };
    let told = |event: &str, signer: &str| (event.to_owned(), signer.to_owned());
    assert_eq!(events(&all), [told("egress_started", "devkey"), told("egress_ended", "devkey")]);
    assert_eq!(events(&own), [told("egress_ended", "another")]);
}

#[tokio::test]
async fn the_operators_filter_holds_for_the_operators_receivers() {
    let (all, own) = (Receiver::start().await, Receiver::start().await);
    let filter = Filter { exclude_events: vec!["egress_updated".to_owned()], ..Filter::default() };
    let options = WebhookOptions {
        urls: vec![Secret::new(Url::parse(&all.url).unwrap())],
        api_key: String::new(),
        filter,
        limits: quick(),
    };
    let tasks = TaskTracker::new();
    let notifier = Notifier::new(options, keys(), tasks.clone()).unwrap();
    let runs = asking(vec![webhook(&own.url, "")], info("EG_one", Status::EgressActive));
    notifier.notify(Event::Updated, &runs, now(), || ());
    notifier.drained().await;
    assert!(all.all().is_empty());
    assert_eq!(own.all()[0].signer, "another", "the first key, where the operator names none");
}

#[test]
fn a_key_that_does_not_exist_is_found_at_the_start() {
    let asked = vec![webhook("http://x/", ""), webhook("http://x/", "nobody")];
    let refused = check(&keys(), &asked).unwrap_err();
    assert_eq!(refused.code, super::super::error::Code::InvalidArgument);
    assert!(refused.message.contains("webhooks[1].signing_key"), "{refused}");
    assert_eq!(check(&keys(), &asked[..1]), Ok(()));

    let options = |urls: Vec<&str>| WebhookOptions {
        urls: urls.into_iter().map(|url| Secret::new(Url::parse(url).unwrap())).collect(),
        api_key: "nobody".to_owned(),
        filter: Filter::default(),
        limits: Limits::default(),
    };
    assert!(Notifier::new(options(vec!["http://x/"]), keys(), TaskTracker::new()).is_err());
    assert!(Notifier::new(options(vec![]), keys(), TaskTracker::new()).is_ok());
}

#[tokio::test]
async fn of_too_many_that_wait_the_beginning_and_the_end_stay() {
    let receiver = Receiver::start().await;
    receiver.hold();
    let (notifier, _tasks) = notifier(&[&receiver.url], Limits { depth: 5, ..quick() });
    let told = |at: i64, status| proto::EgressInfo { updated_at: at, ..info("EG_one", status) };
    // One that is on its way, so that all others wait.
    notifier.notify(Event::Updated, &told(0, Status::EgressActive), now(), || ());
    receiver.arrived(1).await;
    notifier.notify(Event::Started, &told(1, Status::EgressStarting), now(), || ());
    for at in 2..100 {
        notifier.notify(Event::Updated, &told(at, Status::EgressActive), now(), || ());
    }
    notifier.notify(Event::Ended, &told(100, Status::EgressComplete), now(), || ());
    receiver.release();
    notifier.drained().await;
    let times: Vec<String> = receiver
        .all()
        .iter()
        .map(|got| got.json()["egressInfo"]["updatedAt"].as_str().unwrap_or("0").to_owned())
        .collect();
    assert_eq!(times, ["0", "1", "97", "98", "99", "100"]);
}

#[tokio::test]
async fn what_is_not_taken_in_time_is_given_up() {
    let receiver = Receiver::start().await;
    receiver.answer_with(std::iter::repeat(503));
    let limits = Limits { age: Duration::from_millis(150), ..quick() };
    let (notifier, tasks) = notifier(&[&receiver.url], limits);
    notifier.notify(Event::Ended, &info("EG_one", Status::EgressComplete), now(), || ());
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("it is given up");
    assert!(receiver.all().len() > 1);
}

#[tokio::test]
async fn a_service_that_ends_does_not_wait_for_ever() {
    let receiver = Receiver::start().await;
    receiver.answer_with(std::iter::repeat(503));
    let limits = Limits { flush: Duration::from_millis(150), ..quick() };
    let (notifier, tasks) = notifier(&[&receiver.url], limits);
    notifier.notify(Event::Ended, &info("EG_one", Status::EgressComplete), now(), || ());
    let begin = Instant::now();
    notifier.drained().await;
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("nothing is left behind");
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert!(!receiver.all().is_empty());
}

/// One request with 20,000 receivers opened 36,082 connections.
#[tokio::test]
async fn a_host_gets_so_many_connections_at_the_same_time_and_no_more() {
    let receiver = Receiver::start().await;
    receiver.hold();
    let limits = Limits { to_one_host: 2, attempt: 2 * PATIENCE, ..quick() };
    let (notifier, _tasks) = notifier(&[&receiver.url], limits);
    let urls: Vec<String> = (0..10).map(|at| format!("{}&at={at}", receiver.url)).collect();
    for (at, url) in urls.iter().enumerate() {
        let info = asking(vec![webhook(url, "")], info(&format!("EG_{at}"), Status::EgressComplete));
        notifier.notify(Event::Ended, &info, now(), || ());
    }
    receiver.arrived(2).await;
    // Nothing else is sent before one of them is answered.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.arrivals(), 2);
    receiver.release();
    notifier.drained().await;
    assert_eq!(receiver.all().len(), 20);
}

#[tokio::test]
async fn all_hosts_get_so_many_connections_at_the_same_time_and_no_more() {
    let mut receivers = Vec::new();
    for _ in 0..10 {
        let receiver = Receiver::start().await;
        receiver.hold();
        receivers.push(receiver);
    }
    let urls: Vec<&str> = receivers.iter().map(|receiver| receiver.url.as_str()).collect();
    let limits = Limits { connections: 3, attempt: 2 * PATIENCE, ..quick() };
    let (notifier, _tasks) = notifier(&urls, limits);
    notifier.notify(Event::Ended, &info("EG_one", Status::EgressComplete), now(), || ());
    let arrivals = || receivers.iter().map(Receiver::arrivals).sum::<usize>();
    let arriving = async {
        while arrivals() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, arriving).await.expect("webhooks arrive");
    // Nothing else is sent before one of them is answered.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(arrivals(), 3);
    receivers.iter().for_each(Receiver::release);
    notifier.drained().await;
    assert_eq!(receivers.iter().map(Receiver::answered).sum::<usize>(), 10);
}

#[test]
fn a_host_and_all_of_them_have_a_bound() {
    let Limits { connections, to_one_host, .. } = Limits::default();
    assert_eq!((connections, to_one_host), (64, 8));
}

#[tokio::test]
async fn of_all_egresses_only_so_many_events_wait() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let receiver = Receiver::start().await;
    let (notifier, _tasks) = notifier(&[&receiver.url], Limits { waiting: 5, ..quick() });
    let settled = Arc::new(AtomicUsize::new(0));
    let tell = |event, id: String, status| {
        let settled = Arc::clone(&settled);
        notifier.notify(event, &info(&id, status), now(), move || {
            settled.fetch_add(1, Ordering::Relaxed);
        });
    };
    // Nothing is sent before somebody waits.
    for at in 0..50 {
        tell(Event::Updated, format!("EG_{at}"), Status::EgressActive);
    }
    assert_eq!(settled.load(Ordering::Relaxed), 45, "so many are given up");
    tell(Event::Ended, "EG_end".to_owned(), Status::EgressComplete);
    notifier.drained().await;
    assert_eq!(receiver.all().len(), 5);
    assert_eq!(settled.load(Ordering::Relaxed), 50, "the end is left to the next run");
}
