//! With a fake browser at the other ends of two pipes in memory.

mod load;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use url::Url;

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Browser {
    calls: DuplexStream,
    to: DuplexStream,
    called: Vec<Value>,
}

impl Browser {
    fn new() -> (DevTools, Self) {
        let (ours, calls) = duplex(1 << 16);
        let (to, theirs) = duplex(1 << 16);
        let inbox = Inbox::default();
        let (connection, running) = Connection::open(theirs, ours, Watch::new(inbox.clone()));
        (DevTools { connection, inbox, running }, Self { calls, to, called: Vec::new() })
    }

    async fn say(&mut self, message: &Value) {
        let mut bytes = serde_json::to_vec(message).unwrap();
        bytes.push(0);
        // Fails when the tab is gone.
        self.to.write_all(&bytes).await.ok();
    }

    /// Answers calls. `special` returns the events before an answer and its result; `None`: the
    /// default ones.
    async fn run(&mut self, mut special: impl FnMut(&str, &Value) -> Option<(Vec<Value>, Value)>) {
        let mut message = Vec::new();
        while let Ok(byte) = self.calls.read_u8().await {
            if byte != 0 {
                message.push(byte);
                continue;
            }
            let call: Value = serde_json::from_slice(&message).unwrap();
            message.clear();
            let method = call["method"].as_str().unwrap().to_owned();
            let info = json!({"targetId": "P", "type": "page", "title": "", "url": "about:blank", "attached": false});
            let usual = || match method.as_str() {
                "Target.setDiscoverTargets" => (
                    vec![json!({"method": "Target.targetCreated", "params": {"targetInfo": info}})],
                    json!({}),
                ),
                "Target.attachToTarget" => {
                    let params = json!({"sessionId": "S", "targetInfo": info, "waitingForDebugger": false});
                    let attached = json!({"method": "Target.attachedToTarget", "params": params});
                    (vec![attached], json!({"sessionId": "S"}))
                }
                "Runtime.evaluate" => (Vec::new(), json!({"result": {"type": "object", "value": null}})),
                _ => (Vec::new(), json!({})),
            };
            let (before, result) = special(&method, &call["params"]).unwrap_or_else(usual);
            for event in before {
                self.say(&event).await;
            }
            if result != Value::Null {
                let mut answer = json!({"id": call["id"], "result": result});
                if let Some(session) = call.get("sessionId") {
                    answer["sessionId"] = session.clone();
                }
                self.say(&answer).await;
            }
            self.called.push(call);
        }
    }

    async fn opens(&mut self, devtools: DevTools, emulated: Option<(u32, u32)>) -> Tab {
        tokio::select! {
            tab = Tab::open(devtools, TabTerms { emulated, has_password: false }) => tab.unwrap(),
            () = self.run(|_, _| None) => panic!("it hung up"),
        }
    }

    /// Loads a page. `navigated`: events and result of its navigation; `said`: its `div.error`.
    async fn loads(
        &mut self,
        tab: &mut Tab,
        navigated: (Vec<Value>, Value),
        said: Value,
    ) -> Result<Vec<Signal>, PageError> {
        let url: Url = "http://a.example/talk?key=s3cret".parse().unwrap();
        let address = Address::plain(url);
        let special = |method: &str, _: &Value| match method {
            "Page.navigate" => Some(navigated.clone()),
            "Runtime.evaluate" => Some((Vec::new(), json!({"result": {"value": said.clone()}}))),
            _ => None,
        };
        tokio::select! {
            loaded = tab.load(&address, LONG) => loaded,
            () = self.run(special) => panic!("it hung up"),
        }
    }
}

fn event(method: &str, params: Value) -> Value {
    json!({"method": method, "params": params, "sessionId": "S"})
}

fn lifecycle(loader: &str, name: &str) -> Value {
    event("Page.lifecycleEvent", json!({"frameId": "P", "loaderId": loader, "name": name, "timestamp": 1}))
}

fn loaded(loader: &str) -> Vec<Value> {
    vec![lifecycle(loader, "init"), lifecycle(loader, "load")]
}

fn response(status: u16) -> Value {
    let response = json!({"url": "http://a.example/talk?key=s3cret", "status": status});
    let params = json!({"requestId": "1", "type": "Document", "frameId": "P", "response": response});
    event("Network.responseReceived", params)
}

#[tokio::test]
async fn a_page_is_loaded_when_its_document_is_another_one_and_whole() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    assert!(browser.called.iter().all(|call| call["method"] != "Emulation.setDeviceMetricsOverride"));
    let mut said = vec![lifecycle("L0", "load"), response(200)];
    let log = json!({"type": "log", "args": [{"type": "string", "value": "START_RECORDING"}]});
    said.push(event("Runtime.consoleAPICalled", log));
    said.extend(loaded("L1"));
    let navigated = (said, json!({"frameId": "P", "loaderId": "L1"}));
    let signals = browser.loads(&mut tab, navigated.clone(), Value::Null).await;
    assert_eq!(signals, Ok(vec![Signal::Start]));
    // A navigation within the document.
    let within = (Vec::new(), json!({"frameId": "P"}));
    assert_eq!(browser.loads(&mut tab, within, Value::Null).await, Ok(Vec::new()));
    // A script of the page navigates elsewhere.
    let elsewhere = (loaded("L3"), json!({"frameId": "P", "loaderId": "L2"}));
    assert_eq!(browser.loads(&mut tab, elsewhere, Value::Null).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_tab_that_is_attached_to_too_early_is_attached_to_again() {
    let (devtools, mut browser) = Browser::new();
    let mut attached = 0;
    let special = |method: &str, _: &Value| {
        if method != "Target.attachToTarget" {
            return None;
        }
        attached += 1;
        let url = if attached == 1 { "" } else { "about:blank" };
        let info = json!({"targetId": "P", "type": "page", "title": "", "url": url, "attached": true});
        let session = format!("S{attached}");
        let params = json!({"sessionId": session, "targetInfo": info, "waitingForDebugger": false});
        Some((
            vec![json!({"method": "Target.attachedToTarget", "params": params})],
            json!({"sessionId": session}),
        ))
    };
    let tab = tokio::select! {
        tab = Tab::open(devtools, TabTerms::default()) => tab.unwrap(),
        () = browser.run(special) => panic!("it hung up"),
    };
    assert_eq!(tab.page.id, "S2");
}

#[tokio::test]
async fn each_way_of_not_loading_is_its_own_error() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let url = || "http://a.example/talk".to_owned();
    let mut said = vec![response(404)];
    said.extend(loaded("L1"));
    let navigated = (said, json!({"frameId": "P", "loaderId": "L1"}));
    let error = browser.loads(&mut tab, navigated, Value::Null).await;
    assert_eq!(error, Err(PageError::Status { url: url(), status: 404 }));

    let refused = json!({"frameId": "P", "loaderId": "L2", "errorText": "net::ERR_CONNECTION_REFUSED"});
    let error = browser.loads(&mut tab, (loaded("L2"), refused), Value::Null).await;
    assert_eq!(error, Err(PageError::Refused { url: url() }));

    // A download: nothing is loaded.
    let aborted = json!({"frameId": "P", "loaderId": "L3", "errorText": "net::ERR_ABORTED"});
    let error = browser.loads(&mut tab, (Vec::new(), aborted), Value::Null).await;
    assert_eq!(error, Err(PageError::NotAPage { url: url() }));

    let said = json!(["\u{1b}[2Jno such room: http://a.example/talk?key=s3cret", 6_000_000]);
    let shown = (loaded("L4"), json!({"frameId": "P", "loaderId": "L4"}));
    let error = browser.loads(&mut tab, shown, said).await.unwrap_err().to_string();
    let told = "template error: \\u{1b}[2Jno such room: http://a.example/talk… (6000000 more characters)";
    assert_eq!(error, told);

    let crashed = json!({"method": "Target.targetCrashed", "params": {"targetId": "P"}});
    let error = browser.loads(&mut tab, (vec![crashed], Value::Null), Value::Null).await;
    assert_eq!(error, Err(PageError::Crashed { url: url() }));
    // A late event of the crash does not fail the next load.
    let crashed = json!({"method": "Target.targetCrashed", "params": {"targetId": "P"}});
    browser.say(&crashed).await;
    while !matches!(tab.inbox.next().await, PageEvent::Crashed) {}
    tab.inbox.push(PageEvent::Crashed);
    let shown = (loaded("L5"), json!({"frameId": "P", "loaderId": "L5"}));
    assert_eq!(browser.loads(&mut tab, shown, Value::Null).await, Ok(Vec::new()));

    let address = Address::plain("http://a.example/".parse().unwrap());
    drop(browser);
    let lost = tab.load(&address, LONG).await;
    assert!(matches!(lost, Err(PageError::BrowserLost { .. })), "{lost:?}");
    assert!(matches!(tab.next(false).await, TabEvent::Lost(_)));
}

#[tokio::test]
async fn what_a_page_says_is_told_in_lines_without_its_secret() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let line = format!("\u{1b}]0;x\u{7} at http://a.example/talk?key=s3cret\n{}", "x".repeat(900_000));
    let log = json!({"type": "log", "args": [{"type": "string", "value": line}]});
    let mut said: Vec<Value> = (0..8).map(|_| event("Runtime.consoleAPICalled", log.clone())).collect();
    said.extend(loaded("L1"));
    let navigated = (said, json!({"frameId": "P", "loaderId": "L1"}));
    assert_eq!(browser.loads(&mut tab, navigated, Value::Null).await, Ok(Vec::new()));
    let directory = tempfile::tempdir().unwrap();
    let report = tokio::select! {
        report = tab.report(directory.path()) => report,
        () = browser.run(|_, _| None) => panic!("it hung up"),
    };
    let text = report.to_string();
    assert!(text.contains("console: log: \\u{1b}]0;x\\u{7} at http://a.example/talk\\nxxx"), "{text:.300}");
    assert!(text.contains(" more characters)") && text.len() < 64 << 10, "{}", text.len());
    assert!(!text.contains("s3cret") && !text.contains('\u{1b}'));
}

#[tokio::test]
async fn a_page_too_small_for_a_window_is_laid_out_in_its_own_size() {
    let (devtools, mut browser) = Browser::new();
    let tab = browser.opens(devtools, Some((320, 180))).await;
    let emulated = browser.called.iter().find(|call| call["method"] == "Emulation.setDeviceMetricsOverride");
    let params = &emulated.expect("it is told")["params"];
    assert_eq!((&params["width"], &params["height"]), (&json!(320), &json!(180)));
    drop(tab);
}

#[tokio::test]
async fn a_dialog_is_answered_whoever_looks_and_however_long_it_is() {
    // `method` first, as Chromium has it.
    let dialog = |kind: &str, message: &str| {
        format!(
            "{{\"method\":\"Page.javascriptDialogOpening\",\"params\":{{\"message\":\"{message}\",\
             \"type\":\"{kind}\",\"defaultPrompt\":\"Ann\"}},\"sessionId\":\"S\"}}\0"
        )
    };
    let method = "Page.handleJavaScriptDialog";
    let accepted = json!({"accept": true});
    assert_eq!(told(&dialog("confirm", "sure?"), method).await, accepted);
    assert_eq!(told(&dialog("confirm", &"x".repeat(3 << 20)), method).await, accepted);
    // As if somebody had pressed Enter.
    assert_eq!(told(&dialog("prompt", "who?"), method).await, json!({"accept": true, "promptText": "Ann"}));
}

#[tokio::test]
async fn a_request_that_is_paused_goes_on_however_long_it_is() {
    let paused = |url: &str| {
        format!(
            "{{\"method\":\"Fetch.requestPaused\",\"params\":{{\"requestId\":\"interception-job-1.0\",\"request\":\
             {{\"url\":\"{url}\",\"method\":\"GET\"}},\"frameId\":\"P\",\"responseStatusCode\":503}},\"sessionId\":\"S\"}}\0"
        )
    };
    for url in ["http://a.example/".to_owned(), format!("http://a.example/{}", "x".repeat(3 << 20))] {
        let params = told(&paused(&url), "Fetch.continueRequest").await;
        assert_eq!(params, json!({"requestId": "interception-job-1.0"}));
    }
}

/// The reply of a method to a message of the browser.
async fn told(said: &str, method: &str) -> Value {
    let (devtools, mut browser) = Browser::new();
    let _tab = browser.opens(devtools, None).await;
    browser.to.write_all(said.as_bytes()).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let answering = browser.run(|called, params| {
        if called == method {
            tell.send(params.clone()).unwrap();
        }
        None
    });
    let answer = async { tokio::time::timeout(LONG, told.recv()).await.unwrap().unwrap() };
    tokio::select! {
        params = answer => params,
        () = answering => panic!("it hung up"),
    }
}

#[tokio::test]
async fn a_tab_has_the_focus_no_authenticator_and_keeps_an_eye_on_documents_alone() {
    let of = async |has_password| {
        let (devtools, mut browser) = Browser::new();
        let terms = TabTerms { emulated: None, has_password };
        let _tab = tokio::select! {
            tab = Tab::open(devtools, terms) => tab.unwrap(),
            () = browser.run(|_, _| None) => panic!("it hung up"),
        };
        let params = |method: &str| {
            let call = browser.called.iter().find(|call| call["method"] == method);
            call.unwrap_or_else(|| panic!("{method} is not called"))["params"].clone()
        };
        assert_eq!(params("Emulation.setFocusEmulationEnabled"), json!({"enabled": true}));
        assert_eq!(params("WebAuthn.enable"), json!({"enableUI": false}));
        assert!(
            browser.called.iter().all(|call| call["method"] != "Target.setAutoAttach"),
            "what is attached to by itself is paused"
        );
        params("Fetch.enable")
    };
    let documents = json!({"urlPattern": "http*", "resourceType": "Document", "requestStage": "Response"});
    assert_eq!(of(false).await, json!({"patterns": [documents], "handleAuthRequests": false}));
    let all = json!({"urlPattern": "*", "requestStage": "Request"});
    assert_eq!(of(true).await, json!({"patterns": [documents, all], "handleAuthRequests": true}));
}

#[tokio::test]
async fn a_page_that_closes_itself_is_lost() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let detached = |session: &str| json!({"method": "Target.detachedFromTarget", "params": {"sessionId": session, "targetId": "P"}});
    browser.say(&detached("another")).await;
    let log = json!({"type": "log", "args": [{"type": "string", "value": "END_RECORDING"}]});
    browser.say(&event("Runtime.consoleAPICalled", log)).await;
    browser.say(&detached("S")).await;
    let mut next = async || tokio::time::timeout(LONG, tab.next(false)).await.unwrap();
    assert_eq!(next().await, TabEvent::Signal(Signal::End));
    assert_eq!(next().await, TabEvent::Lost("the page was closed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_reads_nothing_is_lost_in_time() {
    let (devtools, mut browser) = Browser::new();
    let mut tab = browser.opens(devtools, None).await;
    let text = "x".repeat(1 << 15);
    let full = async {
        loop {
            tab.page.post("A.b", json!({"text": text})).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), full).await.is_err());
    let address = Address::plain("http://a.example/".parse().unwrap());
    let lost = tab.load(&address, LONG).await;
    assert!(matches!(lost, Err(PageError::BrowserLost { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_probe_asks_for_a_frame_and_for_the_browsers_helpers() {
    let (devtools, mut browser) = Browser::new();
    let tab = browser.opens(devtools, None).await;
    let probe = tab.probe();
    let processes = json!([
        {"type": "browser", "id": 10, "cpuTime": 1.5},
        {"type": "GPU", "id": 11, "cpuTime": 0},
        {"type": "renderer", "id": 12, "cpuTime": 0},
        {"type": "network.mojom.NetworkService", "id": 13, "cpuTime": 0},
    ]);
    let asked = async { tokio::join!(probe.clone().frame(), probe.clone().helpers()) };
    let answers = tokio::select! {
        answers = asked => answers,
        () = browser.run(|method, _| {
            (method == "SystemInfo.getProcessInfo").then(|| (Vec::new(), json!({"processInfo": processes})))
        }) => panic!("it hung up"),
    };
    assert_eq!(answers, (Answer::Alive, HelperList::Known(vec![11, 13])));
    let of_browser =
        browser.called.iter().find(|call| call["method"] == "SystemInfo.getProcessInfo").unwrap();
    assert_eq!(of_browser.get("sessionId"), None, "a page is not told of processes");

    drop(browser);
    let (frame, helpers) = tokio::join!(probe.clone().frame(), probe.helpers());
    assert_eq!((frame, helpers), (Answer::Gone, HelperList::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_does_not_list_its_helpers_in_time_can_be_asked_again() {
    let (devtools, mut browser) = Browser::new();
    let tab = browser.opens(devtools, None).await;
    assert_eq!(tab.probe().helpers().await, HelperList::Unknown);
    drop(browser);
    assert_eq!(tab.probe().helpers().await, HelperList::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_gives_no_frame_is_silent_and_one_that_goes_elsewhere_is_alive() {
    let (devtools, mut browser) = Browser::new();
    let tab = browser.opens(devtools, None).await;
    let silent = tokio::select! {
        answer = tab.probe().frame() => answer,
        () = browser.run(|method, _| (method == "Runtime.evaluate").then(|| (Vec::new(), Value::Null))) => {
            panic!("it hung up")
        }
    };
    assert_eq!(silent, Answer::Silent);
    let last = browser.called.last().unwrap()["id"].as_u64().unwrap();
    let error = json!({"code": -32000, "message": "Inspected target navigated or closed"});
    let refusal = json!({"id": last + 1, "error": error, "sessionId": "S"});
    let went = async {
        tokio::select! {
            () = browser.run(|method, _| (method == "Runtime.evaluate").then(|| (Vec::new(), Value::Null))) => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        browser.say(&refusal).await;
    };
    let (answer, ()) = tokio::join!(tab.probe().frame(), went);
    assert_eq!(answer, Answer::Alive);
}
