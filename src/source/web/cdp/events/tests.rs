use futures::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::source::web::cdp::connection::Connection;

/// Sends these messages and returns the events in the inbox.
async fn heard(said: &[Value]) -> Vec<PageEvent> {
    let inbox = Inbox::default();
    let mut bytes = Vec::new();
    for message in said {
        serde_json::to_writer(&mut bytes, message).unwrap();
        bytes.push(0);
    }
    let reader = std::io::Cursor::new(bytes);
    let (_connection, _running) = Connection::open(reader, tokio::io::sink(), Watch::new(inbox.clone()));
    let mut events = Vec::new();
    loop {
        match inbox.next().await {
            PageEvent::Gone(_) => return events,
            event => events.push(event),
        }
    }
}

fn target(kind: &str, url: &str, id: &str) -> Value {
    json!({"targetId": id, "type": kind, "title": "", "url": url, "attached": false})
}

fn attached() -> Value {
    let params = json!({"sessionId": "S", "targetInfo": target("page", "about:blank", "P"), "waitingForDebugger": false});
    json!({"method": "Target.attachedToTarget", "params": params})
}

fn said(session: &str, method: &str, params: Value) -> Value {
    json!({"method": method, "params": params, "sessionId": session})
}

fn log(args: Value) -> Value {
    said("S", "Runtime.consoleAPICalled", json!({"type": "log", "args": args}))
}

fn text(text: &str) -> Value {
    json!({"type": "string", "value": text})
}

/// The same for events after the page was attached.
async fn of_page(events: &[Value]) -> Vec<PageEvent> {
    let mut all = vec![attached()];
    all.extend_from_slice(events);
    let mut heard = heard(&all).await;
    assert_eq!(heard.remove(0), PageEvent::Attached { session: "S".to_owned() });
    heard
}

#[tokio::test]
async fn the_first_empty_page_is_watched_and_nothing_else() {
    let created = |kind: &str, url: &str, id: &str| json!({"method": "Target.targetCreated", "params": {"targetInfo": target(kind, url, id)}});
    let other = json!({"method": "Target.attachedToTarget", "params":
        {"sessionId": "X", "targetInfo": target("page", "chrome://omnibox/", "O"), "waitingForDebugger": false}});
    let crashed = |id: &str| json!({"method": "Target.targetCrashed", "params": {"targetId": id, "status": "", "errorCode": 1}});
    let events = heard(&[
        created("browser", "", "B"),
        created("page", "", "P"),
        other,
        log(json!([text("too early")])),
        attached(),
        created("page", "https://popup.example/", "Q"),
        said("X", "Runtime.consoleAPICalled", json!({"args": [text("of another")]})),
        crashed("Q"),
        crashed("P"),
    ])
    .await;
    let attached = PageEvent::Attached { session: "S".to_owned() };
    let appeared = PageEvent::Appeared("P".to_owned());
    assert_eq!(events, [appeared, attached, PageEvent::PartCrashed, PageEvent::Crashed]);
}

#[tokio::test]
async fn a_page_that_appears_without_an_address_is_attached_to_again() {
    let targets = |method: &str, url: &str| json!({"method": method, "params": {"targetInfo": target("page", url, "P")}});
    let early = json!({"method": "Target.attachedToTarget", "params":
        {"sessionId": "early", "targetInfo": target("page", "", "P"), "waitingForDebugger": false}});
    let events = heard(&[
        targets("Target.targetCreated", ""),
        early,
        targets("Target.targetInfoChanged", "chrome://omnibox/"),
        targets("Target.targetInfoChanged", "about:blank"),
        attached(),
        targets("Target.targetInfoChanged", "about:blank"),
    ])
    .await;
    let appeared = || PageEvent::Appeared("P".to_owned());
    assert_eq!(events, [appeared(), appeared(), PageEvent::Attached { session: "S".to_owned() }]);
}

#[tokio::test]
async fn what_the_page_logs_is_a_line_and_perhaps_a_signal() {
    let object = json!({"type": "object", "className": "Object", "description": "Object", "objectId": "1"});
    let events = of_page(&[
        log(json!([text("no luck"), {"type": "number", "value": 7}, object, {"type": "undefined"}])),
        log(json!([text("now:"), text("START_RECORDING")])),
        said(
            "S",
            "Runtime.exceptionThrown",
            json!({"timestamp": 1.5, "exceptionDetails": {"text": "Uncaught",
            "exception": {"type": "object", "description": "ReferenceError: boom is not defined"}}}),
        ),
    ])
    .await;
    let line = |line: &str| PageEvent::Said { line: line.to_owned(), more: 0 };
    assert_eq!(
        events,
        [
            line("log: no luck 7 Object undefined"),
            PageEvent::Signal(Signal::Start),
            line("log: now: START_RECORDING"),
            line("exception: ReferenceError: boom is not defined"),
        ]
    );
}

/// JavaScript's strings may have them, and JSON as Chromium writes it, too.
#[tokio::test]
async fn half_a_character_costs_neither_line_nor_signal() {
    let half = "{\"method\":\"Runtime.consoleAPICalled\",\"sessionId\":\"S\",\"params\":{\"type\":\"log\",\"args\":\
                [{\"type\":\"string\",\"value\":\"a\\ud83d\"},{\"type\":\"string\",\"value\":\"END_RECORDING\"}]}}\0";
    let mut bytes = serde_json::to_vec(&attached()).unwrap();
    bytes.push(0);
    bytes.extend_from_slice(half.as_bytes());
    let inbox = Inbox::default();
    let reader = std::io::Cursor::new(bytes);
    let (_connection, _running) = Connection::open(reader, tokio::io::sink(), Watch::new(inbox.clone()));
    assert!(matches!(inbox.next().await, PageEvent::Attached { .. }));
    assert_eq!(inbox.next().await, PageEvent::Signal(Signal::End));
    let line = "log: a\u{fffd} END_RECORDING".to_owned();
    assert_eq!(inbox.next().await, PageEvent::Said { line, more: 0 });
}

#[tokio::test]
async fn a_line_is_cut_and_what_is_left_of_a_secret_with_it() {
    let long = "ä".repeat(300_000);
    let events = of_page(&[log(json!([text(&long), text("END_RECORDING"), text("x")]))]).await;
    let [PageEvent::Signal(Signal::End), PageEvent::Said { line, more }] = events.as_slice() else {
        panic!("{} events", events.len())
    };
    assert!(line.len() <= LINE, "{}", line.len());
    assert_eq!(line.chars().filter(|c| *c == 'ä').count() + more, 300_000 + 14);
    let details = json!({"text": "Uncaught", "exception": {"type": "object", "description": long}});
    let thrown = json!({"timestamp": 1.5, "exceptionDetails": details});
    let events = of_page(&[said("S", "Runtime.exceptionThrown", thrown)]).await;
    let [PageEvent::Said { line, more }] = events.as_slice() else { panic!("{} events", events.len()) };
    assert!(line.starts_with("exception: ä") && line.len() <= LINE, "{}", line.len());
    assert_eq!(line.chars().filter(|c| *c == 'ä').count() + more, 300_000);
    // Spaces of more than a byte.
    for space in ['\u{a0}', '\u{3000}'] {
        let spaced = "ab".repeat(50) + &space.to_string().repeat(LINE);
        let events = of_page(&[log(json!([text(&spaced)]))]).await;
        assert!(matches!(events.as_slice(), [PageEvent::Said { line, .. }] if line.ends_with(space)));
    }
    // The cut splits a token.
    let torn =
        format!("{} at https://a.example/?token=eyJh.eyJz.{}", "x".repeat(LINE - 60), "c".repeat(5000));
    let events = of_page(&[log(json!([text(&torn)]))]).await;
    let [PageEvent::Said { line, .. }] = events.as_slice() else { panic!("{} events", events.len()) };
    assert!(line.ends_with(" at https://a.example/"), "{}", &line[line.len() - 60..]);
}

#[tokio::test]
async fn what_is_too_long_to_be_read_is_told_of() {
    let events = of_page(&[log(json!([text(&"x".repeat(LIMIT))])), log(json!([text("next")]))]).await;
    let [PageEvent::Said { line, .. }, PageEvent::Said { line: next, .. }] = events.as_slice() else {
        panic!("{} events", events.len())
    };
    assert!(line.starts_with("(left out: a message of 10"), "{line}");
    assert_eq!(next, "log: next");
}

#[tokio::test]
async fn the_pages_own_request_is_told_from_its_parts() {
    let request = |id: &str, url: &str, kind: &str, frame: &str| {
        said(
            "S",
            "Network.requestWillBeSent",
            json!({"requestId": id, "type": kind, "frameId": frame,
            "request": {"url": url, "method": "GET"}}),
        )
    };
    let response = |id: &str, status: u16, kind: &str| {
        said(
            "S",
            "Network.responseReceived",
            json!({"requestId": id, "type": kind, "frameId": "P",
            "response": {"url": "https://a.example/x?key=s3cret", "status": status}}),
        )
    };
    let failed = |id: &str| {
        let reason = format!("net::ERR_FAILED{}", "!".repeat(10_000));
        said("S", "Network.loadingFailed", json!({"requestId": id, "errorText": reason}))
    };
    let data = format!("data:text/plain,{}", "x".repeat(500_000));
    let events = of_page(&[
        request("1", "https://a.example/?key=s3cret", "Document", "P"),
        response("1", 200, "Document"),
        request("2", &data, "Image", "P"),
        failed("2"),
        request("3", &format!("https://a.example/{}", "y".repeat(500_000)), "Document", "F"),
        failed("3"),
        response("4", 404, "Script"),
        failed("1"),
    ])
    .await;
    let [
        PageEvent::Requested { origin },
        PageEvent::Response { status: 200 },
        PageEvent::RequestFailed { url: data, reason, whose: Whose::Part },
        PageEvent::RequestFailed { url: long, whose: Whose::Part, .. },
        PageEvent::RequestFailed { url: script, reason: status, whose: Whose::Part },
        PageEvent::RequestFailed { url, whose: Whose::Page, .. },
    ] = events.as_slice()
    else {
        panic!("{events:.200?}")
    };
    assert_eq!((data.as_str(), script.as_str(), status.as_str()), ("data:…", "https://a.example/x", "404"));
    assert_eq!((origin.as_str(), url.as_str()), ("https://a.example", "https://a.example/x"));
    assert!(
        reason.len() <= page::REASON && long.len() < 2 * page::ADDRESS,
        "{} {}",
        reason.len(),
        long.len()
    );
}

#[tokio::test]
async fn a_reader_that_is_gone_is_told_of() {
    let inbox = Inbox::default();
    drop(Watch::new(inbox.clone()));
    assert!(matches!(inbox.next().await, PageEvent::Gone(_)));
}

#[test]
fn requests_without_an_end_are_forgotten_at_last() {
    let mut watch = Watch::new(Inbox::default());
    for id in 0..20_000 {
        watch.meet(id.to_string(), Half::Reason(String::new()));
        assert!(watch.requests.len() <= REQUESTS);
    }
}

#[tokio::test]
async fn the_main_frames_documents_are_told() {
    let lifecycle = |frame: &str, loader: &str, name: &str| {
        said(
            "S",
            "Page.lifecycleEvent",
            json!({"frameId": frame, "loaderId": loader, "name": name, "timestamp": 1}),
        )
    };
    let events = of_page(&[
        said("S", "Page.frameStartedLoading", json!({"frameId": "P"})),
        lifecycle("P", "L1", "init"),
        lifecycle("F", "L2", "load"),
        lifecycle("P", "L1", "DOMContentLoaded"),
        lifecycle("F", "L2", "firstPaint"),
        lifecycle("P", "L1", "firstPaint"),
        lifecycle("P", "L1", "load"),
        said("S", "Page.frameStoppedLoading", json!({"frameId": "F"})),
        said("S", "Page.frameStoppedLoading", json!({"frameId": "P"})),
    ])
    .await;
    assert_eq!(
        events,
        [
            PageEvent::Loading,
            PageEvent::Document("L1".to_owned()),
            PageEvent::Parsed,
            PageEvent::Painted,
            PageEvent::Loaded,
            PageEvent::Loaded
        ]
    );
}

/// Sends these messages after the page was attached; returns events and replies.
async fn answered(keeps_page: bool, said: &[Value]) -> (Vec<PageEvent>, Vec<Reply>) {
    let inbox = Inbox::default();
    inbox.set_keeps_page(keeps_page);
    let mut bytes = Vec::new();
    for message in [attached()].iter().chain(said) {
        serde_json::to_writer(&mut bytes, message).unwrap();
        bytes.push(0);
    }
    let reader = std::io::Cursor::new(bytes);
    let (_connection, _running) = Connection::open(reader, tokio::io::sink(), Watch::new(inbox.clone()));
    let mut events = Vec::new();
    loop {
        match inbox.next().await {
            PageEvent::Gone(_) => break,
            PageEvent::Attached { .. } => {}
            event => events.push(event),
        }
    }
    let mut replies = Vec::new();
    while let Some(reply) = inbox.next_reply().now_or_never() {
        replies.push(reply);
    }
    (events, replies)
}

/// Service workers, shared and nested ones, frames of other sites, pages to come (prerendered
/// ones).
#[tokio::test]
async fn whatever_is_attached_and_paused_is_resumed() {
    let paused = |kind: &str, session: &str, is_paused: bool| {
        let info = target(kind, "https://a.example/w.js", session);
        json!({"method": "Target.attachedToTarget", "params":
            {"sessionId": session, "targetInfo": info, "waitingForDebugger": is_paused}})
    };
    let mut nested = paused("worker", "N", true);
    nested["sessionId"] = json!("W1");
    let mut prerendered = paused("page", "W5", true);
    prerendered["params"]["targetInfo"]["subtype"] = json!("prerender");
    let (events, replies) = answered(
        false,
        &[
            paused("service_worker", "W1", true),
            paused("shared_worker", "W2", true),
            paused("iframe", "W3", true),
            paused("page", "W4", false),
            prerendered,
            nested,
        ],
    )
    .await;
    let resumed = |session: &str| Reply::Resume { session: session.to_owned() };
    assert_eq!(replies, ["W1", "W2", "W3", "W5", "N"].map(resumed));
    assert_eq!(events, []);
}

#[tokio::test]
async fn a_navigation_of_the_page_that_fails_is_given_up_where_the_page_is_kept() {
    let paused = |id: &str, frame: &str, more: Value| {
        let mut params = json!({"requestId": id, "frameId": frame, "resourceType": "Document",
            "request": {"url": "http://a.example/talk", "method": "GET"}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        said("S", "Fetch.requestPaused", params)
    };
    let said = [
        paused("1", "P", json!({"responseErrorReason": "ConnectionRefused"})),
        paused("2", "F", json!({"responseErrorReason": "ConnectionRefused"})),
        paused("3", "P", json!({"responseStatusCode": 503})),
        paused("4", "P", json!({"responseStatusCode": 404})),
        said("S", "Fetch.authRequired", json!({"requestId": "5", "frameId": "F"})),
        said("S", "Fetch.requestPaused", json!({"requestId": "6", "request": "of another form"})),
    ];
    let go_on = |id: &str| Reply::Continue { request: id.to_owned() };
    let give_up = |id: &str| Reply::Abort { request: id.to_owned() };
    let cancel = || Reply::CancelAuth { request: "5".to_owned() };
    let (events, replies) = answered(true, &said).await;
    assert_eq!(replies, [give_up("1"), go_on("2"), give_up("3"), go_on("4"), cancel(), go_on("6")]);
    let [PageEvent::NavigationFailed(refused), PageEvent::NavigationFailed(status)] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert!(matches!(refused.error, page::PageError::Refused { .. }), "{refused:?}");
    assert!(matches!(status.error, page::PageError::Status { status: 503, .. }), "{status:?}");
    // While it is loaded for the first time, the browser's own error says why not.
    let (events, replies) = answered(false, &said).await;
    assert_eq!(replies, [go_on("1"), go_on("2"), go_on("3"), go_on("4"), cancel(), go_on("6")]);
    assert_eq!(events, []);
}
