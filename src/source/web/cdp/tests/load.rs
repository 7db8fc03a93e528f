//! When a page counts as loaded. In virtual time.

use tokio::time::Instant;

use super::*;

fn sent(id: &str, url: &str, kind: &str) -> Value {
    let params =
        json!({"requestId": id, "type": kind, "frameId": "P", "request": {"url": url, "method": "GET"}});
    event("Network.requestWillBeSent", params)
}

fn of_request(method: &str, id: &str) -> Value {
    event(method, json!({"requestId": id, "dataLength": 1, "encodedDataLength": 1, "timestamp": 1}))
}

fn logged(text: &str) -> Value {
    let args = json!([{"type": "string", "value": text}]);
    event("Runtime.consoleAPICalled", json!({"type": "log", "args": args}))
}

/// A document with an image that never comes, painted as far as `more` says.
fn hanging(more: &[Value]) -> (Vec<Value>, Value) {
    let mut said = vec![
        lifecycle("L1", "init"),
        sent("7", "http://a.example/counter.gif?user=s3cret", "Image"),
        sent("8", "http://a.example/poll", "Fetch"),
    ];
    said.extend_from_slice(more);
    (said, json!({"frameId": "P", "loaderId": "L1"}))
}

/// Loads it; gives also what was pending, and how long it took.
async fn load(more: &[Value]) -> (Result<Vec<Signal>, PageError>, Option<String>, Duration) {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let begun = Instant::now();
    let loaded = browser.loads(&mut tab, hanging(more), Value::Null).await;
    (loaded, tab.take_pending(), begun.elapsed())
}

const COUNTER: &str = "http://a.example/counter.gif";

#[tokio::test(start_paused = true)]
async fn a_page_that_says_it_starts_is_loaded() {
    let (loaded, pending, took) = load(&[logged("START_RECORDING")]).await;
    assert_eq!((loaded, pending), (Ok(vec![Signal::Start]), None));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_painted_and_gets_no_further_is_loaded_and_its_pending_requests_are_named() {
    let shown = [lifecycle("L1", "firstPaint"), lifecycle("L1", "DOMContentLoaded")];
    let (loaded, pending, took) = load(&shown).await;
    assert_eq!((loaded, pending.as_deref()), (Ok(Vec::new()), Some(COUNTER)));
    assert!((5..7).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_gets_further_is_waited_for() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let shown = [lifecycle("L1", "firstPaint"), lifecycle("L1", "DOMContentLoaded")];
    let (said, answer) = hanging(&shown);
    let begun = Instant::now();
    let address = Address::plain("http://a.example/talk".parse().unwrap());
    let coming = async {
        let special =
            |method: &str, _: &Value| (method == "Page.navigate").then(|| (said.clone(), answer.clone()));
        tokio::time::timeout(Duration::from_secs(1), browser.run(special)).await.ok();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            browser.say(&of_request("Network.dataReceived", "7")).await;
            // What holds up no load makes no progress.
            browser.say(&of_request("Network.dataReceived", "8")).await;
        }
        browser.run(|_, _| None).await;
    };
    let loaded = tokio::select! {
        loaded = tab.load(&address, LONG) => loaded,
        () = coming => panic!("it hung up"),
    };
    assert_eq!(loaded, Ok(Vec::new()));
    // A second, four times three seconds, and five without progress.
    let took = begun.elapsed().as_secs();
    assert!((17..20).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_painted_is_not_given_up() {
    // Its document itself has no end.
    let (loaded, pending, took) = load(&[lifecycle("L1", "firstPaint")]).await;
    assert_eq!((loaded, pending.as_deref()), (Ok(Vec::new()), Some(COUNTER)));
    assert!((20..22).contains(&took.as_secs()), "{took:?}");
    // Nothing of it was ever to be seen.
    let (loaded, pending, _) = load(&[lifecycle("L1", "DOMContentLoaded")]).await;
    let timed_out = PageError::TimedOut { url: "http://a.example/talk".to_owned(), seconds: 20 };
    assert_eq!((loaded, pending), (Err(timed_out), None));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_loaded_again_is_kept_and_says_why() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let shown = (loaded("L1"), json!({"frameId": "P", "loaderId": "L1"}));
    assert_eq!(browser.loads(&mut tab, shown, Value::Null).await, Ok(Vec::new()));
    tab.set_keeps_page(true);
    let paused = event(
        "Fetch.requestPaused",
        json!({"requestId": "1", "frameId": "P", "resourceType": "Document", "responseErrorReason": "ConnectionRefused",
            "request": {"url": "http://a.example/talk?key=s3cret", "method": "GET"}}),
    );
    // By itself.
    browser.say(&paused).await;
    let TabEvent::NavigationFailed(failed) = tab.next(false).await else { panic!("it is not told") };
    let refused = || PageError::Refused { url: "http://a.example/talk".to_owned() };
    assert_eq!(failed.error, refused());
    assert_eq!(failed.url.unwrap().expose().query(), Some("key=s3cret"));
    // And by us: Chromium says only that the navigation was given up.
    let aborted = json!({"frameId": "P", "loaderId": "L2", "errorText": "net::ERR_ABORTED"});
    let again = browser.loads(&mut tab, (vec![paused], aborted), Value::Null).await;
    assert_eq!(again, Err(refused()));
    assert_eq!(tab.document(), Some("L1"), "what was shown is shown still");
}
