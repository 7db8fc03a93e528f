//! Tests with a display, an audio server and a browser.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_fills_the_picture_paints_thirty_times_a_second_and_signals() {
    let site = Site::start().await;
    let page = "<body style='margin:0;background:#20c040'><script>console.log('START_RECORDING')</script>";
    let url = site.page("/page", Answer::html(page));
    let scene = Scene::new();
    let (mut session, signals) =
        BrowserSession::start(&plan(&url), &addresses(&url).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    // Logged while it loaded: it comes with the load or right behind it.
    match signals.as_slice() {
        [] => assert_eq!(session.next().await, SessionEvent::Signal(Signal::Start)),
        signals => assert_eq!(signals, [Signal::Start]),
    }

    let size = session.tab().evaluate("[innerWidth, innerHeight, devicePixelRatio]").await.unwrap();
    assert_eq!(size, serde_json::json!([640, 360, 1]));
    // XWD: a header, colours, then lines of BGRx of the screen, which is two pixels larger.
    let screen = std::fs::read(scene.run_dir.path().join("0/Xvfb_screen0")).unwrap();
    let word = |at: usize| u32::from_be_bytes(screen[4 * at..4 * at + 4].try_into().unwrap()) as usize;
    let (header, line) = (word(0) + 12 * word(19), word(12));
    let pixel = |x: usize, y: usize| &screen[header + y * line + 4 * x..][..3];
    for (x, y) in [(0, 0), (639, 0), (0, 359), (639, 359), (320, 180)] {
        assert_eq!(pixel(x, y), [0x40, 0xc0, 0x20], "at {x},{y}");
    }

    let count = "new Promise(done => { let n = 0, begun; const step = now => { begun ??= now; \
                 if (now - begun >= 2000) done(n / (now - begun) * 1000); else { n += 1; requestAnimationFrame(step); } }; \
                 requestAnimationFrame(step); })";
    let frames = session.tab().evaluate(count).await.unwrap().as_f64().unwrap();
    // A busy machine paints less often, and never more.
    assert!((5.0..31.5).contains(&frames), "{frames} frames a second");
    session.close().await;
    scene.is_empty().await;
}

/// Chromium's smallest window is 500 pixels wide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_smaller_than_any_window_is_laid_out_and_seen_whole() {
    let site = Site::start().await;
    let corners = "<body style='margin:0;background:#20c040'><style>i{position:fixed;width:20px;height:20px;\
                   background:#c02040}</style><i style='left:0;top:0'></i><i style='right:0;top:0'></i>\
                   <i style='left:0;bottom:0'></i><i style='right:0;bottom:0'></i>";
    let url = site.page("/small", Answer::html(corners));
    let scene = Scene::new();
    let plan = WebPlan { width: 320, height: 180, ..plan(&url) };
    let (session, _) =
        BrowserSession::start(&plan, &addresses(&url).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    let size =
        session.tab().evaluate("[innerWidth, innerHeight, screen.width, devicePixelRatio]").await.unwrap();
    assert_eq!(size, serde_json::json!([320, 180, 320, 1]));
    let screen = scene.run_dir.path().join("0/Xvfb_screen0");
    let shown = async {
        loop {
            let bytes = std::fs::read(&screen).unwrap();
            let word = |at: usize| u32::from_be_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap()) as usize;
            let (header, line) = (word(0) + 12 * word(19), word(12));
            let is = |x: usize, y: usize, colour: [u8; 3]| bytes[header + y * line + 4 * x..][..3] == colour;
            let corners = [(2, 2), (317, 2), (2, 177), (317, 177)];
            if corners.iter().all(|(x, y)| is(*x, *y, [0x40, 0x20, 0xc0])) && is(160, 90, [0x40, 0xc0, 0x20])
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), shown).await.expect("all four corners are seen");
    session.close().await;
    scene.is_empty().await;
}

/// A DevTools port would give the page's token and the browser to everybody on the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_us_can_speak_to_the_browser() {
    let site = Site::start().await;
    let url = site.page("/page", Answer::html("page"));
    let scene = Scene::new();
    let (session, _) =
        BrowserSession::start(&plan(&url), &addresses(&url).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    let sockets: Vec<String> = processes_of(scene.run_dir.path())
        .filter(|(_, line)| line.contains("chrom"))
        .flat_map(|(pid, _)| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten())
        .filter_map(|fd| {
            std::fs::read_link(fd.path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned)
        })
        .map(|socket| socket.trim_end_matches(']').to_owned())
        .collect();
    assert!(!sockets.is_empty(), "it speaks to its display");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        let listening = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| {
            fields.get(3) == Some(&"0A")
                && fields.get(9).is_some_and(|inode| sockets.iter().any(|socket| socket == inode))
        });
        assert_eq!(listening, None);
    }
    assert!(!scene.run_dir.path().join("0/browser/DevToolsActivePort").exists());
    session.close().await;
    scene.is_empty().await;
}

/// Directly, and by a script of another page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_services_own_is_not_shown_and_others_of_this_machine_are() {
    let (site, own) = (Site::start().await, Site::start().await);
    let secret = own.page("/", Answer::html("everybody's pictures"));
    let port = secret.port().unwrap();
    let led = format!("<script>location.href = 'http://any.localhost:{port}/'</script>");
    let led = site.page("/led", Answer::html(&led));
    let good = site.page("/good", Answer::html("good"));
    let scene = Scene::new();
    let browser = BrowserSettings { own_ports: [port].into(), ..BrowserSettings::default() };
    let plan = WebPlan { browser, ..plan(&good) };
    let (mut session, _) =
        BrowserSession::start(&plan, &addresses(&good).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/").parse().unwrap();
        let refused = session.reload(&address(&url)).await;
        assert!(matches!(refused, Err(PageError::OwnPort { .. })), "{host}: {refused:?}");
    }
    // The result depends on what is faster, the load or the script.
    drop(session.reload(&address(&led)).await);
    assert_eq!(session.reload(&address(&good)).await, Ok(Vec::new()));
    assert_eq!(own.hits("/"), 0, "nobody came");
    session.close().await;
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_plays_to_our_sound_server_without_a_click() {
    let site = Site::start().await;
    let tone = "<script>const c = new AudioContext(), o = c.createOscillator(); o.connect(c.destination); o.start();\
                </script>";
    let url = site.page("/tone", Answer::html(tone));
    let scene = Scene::new();
    let (session, _) =
        BrowserSession::start(&plan(&url), &addresses(&url).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    let log = scene.report_dir.path().join("sound.log");
    let heard = async {
        loop {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(line) = said.lines().find(|line| line.contains("on weir with sample spec")) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(60), heard).await.expect("the page plays");
    assert!(line.contains("2ch 48000Hz"), "{line}");
    let running = session.tab().evaluate("c.state").await.unwrap();
    assert_eq!(running, "running");
    session.close().await;
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_not_loading_is_its_own_error() {
    let site = Site::start().await;
    let scene = Scene::new();
    let good = site.page("/good", Answer::html("good"));
    let (mut session, _) = BrowserSession::start(
        &plan(&good),
        &addresses(&good).await,
        &scene.context,
        None,
        0,
        Patience::START,
    )
    .await
    .unwrap();

    let missing = site.page("/missing", Answer { status: 404, ..Answer::html("not here") });
    let shown = missing.to_string();
    assert_eq!(session.reload(&address(&missing)).await, Err(PageError::Status { url: shown, status: 404 }));
    let empty = site.page("/empty", Answer { status: 503, ..Answer::html("") });
    assert!(matches!(session.reload(&address(&empty)).await, Err(PageError::Status { status: 503, .. })));
    let login = site.page("/login", Answer { status: 401, ..Answer::html("who?") });
    assert!(matches!(session.reload(&address(&login)).await, Err(PageError::Status { status: 401, .. })));
    let refused = Site::refused();
    assert!(matches!(session.reload(&address(&refused)).await, Err(PageError::Refused { .. })));
    let nowhere: Url = "http://no-such-host.invalid/?token=s3cret".parse().unwrap();
    assert_eq!(
        session.reload(&address(&nowhere)).await,
        Err(PageError::NotFound { url: "http://no-such-host.invalid/".to_owned() })
    );
    let template = site.page("/template", Answer::html("<div class=error>no such room</div>"));
    assert_eq!(
        session.reload(&address(&template)).await,
        Err(PageError::Template("no such room".to_owned()))
    );
    // After all of this, a good page loads.
    assert_eq!(session.reload(&address(&good)).await, Ok(Vec::new()));
    // Last: a navigation that ends nowhere blocks the tab, which is not used again then.
    let download = site.page("/download", Answer { mime: "application/zip", ..Answer::html("PK") });
    let loaded = session.reload(&address(&download)).await;
    assert!(matches!(loaded, Err(PageError::NotAPage { .. })), "{loaded:?}");
    session.close().await;
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_never_answers_is_tried_again_and_timed_out() {
    let site = Site::start().await;
    let url = site.page("/silent", Answer::silence());
    let scene = Scene::new();
    let patience = Patience { load: Duration::from_secs(3), attempts: 2 };
    let begun = Instant::now();
    let error = WebSource::start_with(&plan(&url), scene.context.clone(), patience).await.unwrap_err();
    assert!(matches!(error, WebError::Page { error: PageError::TimedOut { .. }, .. }), "{error}");
    // Two tries take their time, also where a busy browser gets to ask only once in it.
    assert!(begun.elapsed() >= patience.load * patience.attempts, "{:?}", begun.elapsed());
    assert!((1..=2).contains(&site.hits("/silent")), "{} times", site.hits("/silent"));
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_why() {
    let site = Site::start().await;
    let body =
        "<script src='/lost.js?key=s3cret'></script><script>console.warn('no luck', 7); boom()</script>";
    let url = site.page("/broken", Answer { status: 500, ..Answer::html(body) });
    let url = Url::parse(&format!("{url}?token=s3cret")).unwrap();
    let scene = Scene::new();
    let error = WebSource::start(&plan(&url), scene.context.clone()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("page load error: http://127.0.0.1:"), "{text}");
    assert!(text.contains("/broken answered 500 Internal Server Error"), "{text}");
    assert!(text.contains("console: log: no luck 7"), "{text}");
    assert!(text.contains("console: exception: ReferenceError: boom is not defined"), "{text}");
    assert!(text.contains("/lost.js 404"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let shot = std::fs::read(scene.report_dir.path().join("screenshot.png")).unwrap();
    assert!(shot.starts_with(b"\x89PNG"));
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_crashes_its_renderer_at_once_is_an_error() {
    let scene = Scene::new();
    let url = "chrome://crash".parse().unwrap();
    let error = WebSource::start(&plan(&url), scene.context.clone()).await.unwrap_err();
    assert!(matches!(error, WebError::Page { error: PageError::Crashed { .. }, .. }), "{error}");
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_the_pages_signal_and_brings_a_crashed_renderer_back() {
    let site = Site::start().await;
    let first = "<script>setTimeout(() => console.info('ready:', 'START_RECORDING'), 50)</script>first";
    let url = site.page("/talk", Answer::html(first));
    let mut scene = Scene::new();
    let mut plan = plan(&url);
    plan.start = StartRule::OnSignal;
    let source = WebSource::start(&plan, scene.context.clone()).await.unwrap();
    assert!(matches!(scene.event().await, SourceEvent::Loaded));
    assert!(matches!(scene.event().await, SourceEvent::Ready));

    // What the page says the second time is heard in the new renderer; that it is ready, only once.
    site.page(
        "/talk",
        Answer::html("<script>console.log('START_RECORDING'); console.log('END_RECORDING')</script>"),
    );
    let browser = scene.pids(&["--remote-debugging-pipe"]);
    let since = Instant::now();
    scene.kill(&["--type=renderer"]);
    let noticed = scene.cure(since).await;
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    assert!(matches!(scene.event().await, SourceEvent::Ended));
    assert_eq!(scene.pids(&["--remote-debugging-pipe"])[0], browser[0], "in the same browser");
    source.close().await;
    scene.is_empty().await;
}

/// A template that finds out only after a while that it can't show its room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_says_why_it_will_not_start_is_not_waited_for() {
    let site = Site::start().await;
    let says = "<body><script>setTimeout(() => document.body.insertAdjacentHTML('beforeend',\
                '<div class=error>no permission</div>'), 500)</script>";
    let url = site.page("/room", Answer::html(says));
    let mut scene = Scene::new();
    let mut plan = plan(&url);
    plan.start = StartRule::OnSignal;
    let source = WebSource::start(&plan, scene.context.clone()).await.unwrap();
    assert!(matches!(scene.event().await, SourceEvent::Loaded));
    let failed = scene.event().await;
    let SourceEvent::Failed(SourceError::Web(WebError::Page { error: PageError::Template(text), report })) =
        &failed
    else {
        panic!("{failed:?}")
    };
    assert_eq!(text, "no permission");
    assert!(report.screenshot.is_some());
    source.close().await;
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_browser_display_and_sound_back_and_gives_up_after_three() {
    let site = Site::start().await;
    let url = site.page("/page", Answer::html("page"));
    let mut scene = Scene::new();
    let source = WebSource::start(&plan(&url), scene.context.clone()).await.unwrap();
    assert!(matches!(scene.event().await, SourceEvent::Loaded));
    assert!(matches!(scene.event().await, SourceEvent::Ready));
    for marks in [&["Xvfb"][..], &["pulseaudio"], &["--remote-debugging-pipe"]] {
        let since = Instant::now();
        scene.kill(marks);
        let noticed = scene.cure(since).await;
        assert!(noticed < Duration::from_secs(2), "{marks:?} {noticed:?}");
    }
    scene.kill(&["Xvfb"]);
    assert!(matches!(scene.event().await, SourceEvent::Interrupted { .. }));
    let failed = scene.event().await;
    let SourceEvent::Failed(SourceError::Web(WebError::GaveUp { attempts: 3, why })) = &failed else {
        panic!("{failed:?}")
    };
    assert!(why.contains("display"), "{why}");
    source.close().await;
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_dropped_at_any_moment_leaves_nothing() {
    let site = Site::start().await;
    let url = site.page("/silent", Answer::silence());
    for after in [0, 15, 60, 150, 300, 700] {
        let scene = Scene::new();
        let plan = plan(&url);
        let start = WebSource::start(&plan, scene.context.clone());
        let started = tokio::time::timeout(Duration::from_millis(after), start).await;
        assert!(started.is_err(), "the page never loads");
        scene.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_dropped_leaves_nothing() {
    let site = Site::start().await;
    let url = site.page("/page", Answer::html("page"));
    let scene = Scene::new();
    let mut plan = plan(&url);
    plan.has_audio = false;
    let source = WebSource::start(&plan, scene.context.clone()).await.unwrap();
    assert!(scene.pids(&["pulseaudio"]).is_empty());
    drop(source);
    scene.is_empty().await;
}

/// Each process that a page needs is stopped for a while: nothing dies, and it gives no sign of
/// life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_still_is_noticed_and_so_is_that_it_goes_on() {
    let site = Site::start().await;
    // It shows nothing new, and is watched all the same.
    let url = site.page("/page", Answer::html("page"));
    let scene = Scene::new();
    let (mut session, _) =
        BrowserSession::start(&plan(&url), &addresses(&url).await, &scene.context, None, 0, Patience::START)
            .await
            .unwrap();
    // What was never heard is not missed. The watch has asked for a frame before this does.
    session.tab().evaluate("new Promise(done => requestAnimationFrame(() => done(0)))").await.unwrap();
    let sound = async {
        while session.audio_heartbeat().unwrap().last().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sound).await.expect("an audio server sends silence");
    for (marks, part) in [
        (&["--type=renderer"][..], Part::Page),
        (&["--type=gpu-process"], Part::Page),
        (&["network.mojom.NetworkService"], Part::Network),
        (&["pulseaudio"], Part::Audio),
    ] {
        scene.signal(marks, Kill::SIGSTOP);
        let stopped = Instant::now();
        let News::Stalled { since, .. } = news_of(&mut session, part).await else { panic!("{marks:?}") };
        // Within two seconds, and on a busy machine some more.
        assert!(stopped.elapsed() < Duration::from_secs(10), "{marks:?}: {:?}", stopped.elapsed());
        scene.signal(marks, Kill::SIGCONT);
        let News::Resumed { since: from, until, .. } = news_of(&mut session, part).await else {
            panic!("{marks:?}")
        };
        assert_eq!(from, since, "{marks:?}");
        assert!(until - since >= STALL, "{marks:?}");
    }
    session.close().await;
    scene.is_empty().await;
}

/// An audio server that is stopped answers nothing, and no goodbye either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_still_holds_up_no_end() {
    let site = Site::start().await;
    let url = site.page("/page", Answer::html("page"));
    for is_dropped in [false, true] {
        let scene = Scene::new();
        let (session, _) = BrowserSession::start(
            &plan(&url),
            &addresses(&url).await,
            &scene.context,
            None,
            0,
            Patience::START,
        )
        .await
        .unwrap();
        scene.signal(&["pulseaudio"], Kill::SIGSTOP);
        let ending = TaskTracker::new().spawn(async move {
            match is_dropped {
                true => drop(session),
                false => session.close().await,
            }
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), ending).await;
        if ended.is_err() {
            // Or the thread that waits for it would keep this test from its end.
            scene.kill(&["pulseaudio"]);
        }
        assert!(ended.is_ok(), "it waits for a server that is stopped (dropped: {is_dropped})");
        scene.is_empty().await;
    }
}

/// The next observation of this part. A busy machine may stall another one.
async fn news_of(session: &mut BrowserSession, part: Part) -> News {
    let noticed = async {
        loop {
            match session.next().await {
                SessionEvent::News(
                    news @ (News::Stalled { part: of, .. } | News::Resumed { part: of, .. }),
                ) if of == part => {
                    return news;
                }
                SessionEvent::News(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), noticed)
        .await
        .unwrap_or_else(|_| panic!("no news of {part:?}"))
}
