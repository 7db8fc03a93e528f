//! Tests with a real display, audio server and browser, and a web server of our own.

mod site;
mod with_processes;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal as Kill, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use url::Url;

use super::address::Address;
use super::browser_session::SessionEvent;
use super::health::{News, Part};
use super::*;
use crate::media::Timeline;
use crate::plan::encoding::Cadence;
use crate::plan::page::{Page, RoomPage, Template};
use crate::plan::request::CaptureKind;
use crate::plan::room::{RoomAccess, RoomEntry};
use crate::plan::source::BrowserSettings;
use crate::secret::Secret;
use crate::source::Pacing;
use crate::source::SourceError;
use crate::source::standstill::STALL;
use site::{Answer, Site};

/// A recording's environment, which must be empty afterwards.
struct Scene {
    run_dir: tempfile::TempDir,
    report_dir: tempfile::TempDir,
    events: mpsc::UnboundedReceiver<SourceEvent>,
    context: SourceContext,
}

impl Scene {
    fn new() -> Self {
        crate::media::init().unwrap();
        let run_dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let report_dir = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let context = SourceContext {
            timeline: Timeline::new(),
            video: Some(Feed::new("video")),
            audio: Some(Feed::new("audio")),
            published: Default::default(),
            pacing: Pacing { cadence: Cadence::Grid, fps: 30, key_interval: Duration::from_secs(4) },
            counters: Default::default(),
            run_dir: run_dir.path().to_owned(),
            report_dir: report_dir.path().to_owned(),
            events: sender,
        };
        Self { run_dir, report_dir, events, context }
    }

    async fn event(&mut self) -> SourceEvent {
        let event = tokio::time::timeout(Duration::from_secs(120), self.events.recv()).await;
        event.expect("an event within two minutes").expect("a source")
    }

    /// Fails unless every process, socket and file of the scene is gone within moments.
    async fn is_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = leftovers(self.run_dir.path());
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            tokio::task::yield_now().await;
        }
    }

    /// The processes of the scene whose command line holds all of these.
    fn pids(&self, marks: &[&str]) -> Vec<i32> {
        processes_of(self.run_dir.path())
            .filter(|(_, line)| marks.iter().all(|mark| line.contains(mark)))
            .map(|(pid, _)| pid)
            .collect()
    }

    fn kill(&self, marks: &[&str]) {
        self.signal(marks, Kill::SIGKILL);
    }

    fn signal(&self, marks: &[&str], signal: Kill) {
        let pids = self.pids(marks);
        assert!(!pids.is_empty(), "no process {marks:?}");
        for pid in pids {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
    }

    /// Waits for a loss and its cure; answers how long it took to be noticed.
    async fn cure(&mut self, since: Instant) -> Duration {
        let interrupted = self.event().await;
        assert!(matches!(interrupted, SourceEvent::Interrupted { .. }), "{interrupted:?}");
        let noticed = since.elapsed();
        match self.event().await {
            SourceEvent::Resumed { gap } => {
                assert!(gap <= since.elapsed(), "{gap:?}");
                noticed
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every process of ours has the run directory in its environment or its arguments; every socket in
/// its name.
fn leftovers(run_dir: &Path) -> Vec<String> {
    let mut left: Vec<String> =
        processes_of(run_dir).map(|(pid, line)| format!("process {pid}: {line}")).collect();
    let mark = run_dir.to_str().unwrap();
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    left.extend(sockets.lines().filter(|line| line.contains(mark)).map(|line| format!("socket: {line}")));
    left.extend(std::fs::read_dir(run_dir).unwrap().map(|entry| format!("{:?}", entry.unwrap().path())));
    left
}

fn processes_of(run_dir: &Path) -> impl Iterator<Item = (i32, String)> + use<> {
    let mark = run_dir.to_str().unwrap().to_owned();
    procfs::process::all_processes().unwrap().flatten().filter_map(move |process| {
        let line = process.cmdline().ok()?.join(" ");
        let environment = process.environ().unwrap_or_default();
        let ours =
            line.contains(&mark) || environment.values().any(|value| value.to_string_lossy().contains(&mark));
        // Our own process (and its forks, for a moment) has neither.
        (ours && !line.is_empty()).then_some((process.pid, line))
    })
}

pub(super) fn plan(url: &Url) -> WebPlan {
    WebPlan {
        page: Page::Address(url.clone()),
        room: None,
        start: StartRule::OnLoad,
        capture: CaptureKind::Framebuffer,
        width: 640,
        height: 360,
        fps: 30,
        has_video: true,
        has_audio: true,
        browser: BrowserSettings::default(),
    }
}

fn address(url: &Url) -> Address {
    Address::plain(url.clone())
}

async fn addresses(url: &Url) -> Addresses {
    Addresses::open(&Page::Address(url.clone())).await.unwrap()
}

/// A stall that lasts until the end of the recording is reported up to its end.
#[tokio::test]
async fn what_stands_still_at_the_end_is_told() {
    let scene = Scene::new();
    let url = Url::parse("http://127.0.0.1/").unwrap();
    let (timeline, mut events) = (scene.context.timeline.clone(), scene.events);
    let mut supervisor = Supervisor::new(plan(&url), Arc::new(addresses(&url).await), scene.context, None);
    timeline.begin();
    let since = Instant::now();
    supervisor.on_news(News::Stalled { part: Part::Page, since });
    supervisor.on_news(News::Stalled { part: Part::Audio, since });
    supervisor.on_news(News::Resumed { part: Part::Audio, since, until: Instant::now() });
    let SourceEvent::Stalled { what, .. } = events.recv().await.unwrap() else { panic!("nothing is told") };
    assert_eq!(what, "audio capture stood still");
    let length = Duration::from(timeline.end());
    supervisor.end_stalls();
    let SourceEvent::Stalled { what, from, to } = events.recv().await.unwrap() else {
        panic!("nothing is told")
    };
    assert_eq!((what, to), ("the page did not respond", length));
    assert!(from < to);
    supervisor.end_stalls();
    assert!(events.try_recv().is_err(), "told once");
}

/// Only a page that shows a room is evicted from it, whose end nobody hears of. Any other logs what
/// it likes.
#[tokio::test]
async fn only_a_page_that_shows_a_room_can_be_evicted() {
    let url = Url::parse("http://127.0.0.1/").unwrap();
    let room = RoomAccess {
        name: "stand-up".to_owned(),
        id: String::new(),
        server: Url::parse("ws://127.0.0.1/").unwrap(),
        entry: RoomEntry::Token(Secret::default()),
    };
    let (identity, template) = ("EG_1".to_owned(), Template::At(url.clone()));
    let room = Page::Room(Box::new(RoomPage { room, identity, layout: String::new(), template }));
    for (page, is_room) in [(room, true), (Page::Address(url.clone()), false)] {
        let scene = Scene::new();
        let (context, mut events) = (scene.context, scene.events);
        let addresses = Arc::new(Addresses::open(&page).await.unwrap());
        let mut supervisor = Supervisor::new(WebPlan { page, ..plan(&url) }, addresses, context, None);
        supervisor.on_signal(Signal::Evicted);
        supervisor.on_signal(Signal::Evicted);
        supervisor.on_signal(Signal::End);
        let told = events.try_recv().unwrap();
        assert_eq!(matches!(told, SourceEvent::Evicted), is_room, "{told:?}");
        assert_eq!(matches!(told, SourceEvent::Ended), !is_room, "{told:?}");
        assert!(events.try_recv().is_err(), "it ends once");
    }
}

/// No time is reported twice: an earlier stall ends where the recorder's begins.
#[tokio::test]
async fn what_stood_still_before_the_recorder_did_is_told_up_to_there() {
    let scene = Scene::new();
    let url = Url::parse("http://127.0.0.1/").unwrap();
    let (timeline, mut events) = (scene.context.timeline.clone(), scene.events);
    let mut supervisor = Supervisor::new(plan(&url), Arc::new(addresses(&url).await), scene.context, None);
    timeline.begin();
    let mut moments = Vec::new();
    for _ in 0..3 {
        moments.push(Instant::now());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [page, since, until] = moments[..] else { panic!("three moments") };
    supervisor.on_news(News::Stalled { part: Part::Page, since: page });
    supervisor.on_news(News::StoodStill { since, until });
    supervisor.end_stalls();
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        let SourceEvent::Stalled { what, from, to } = event else { panic!("{event:?}") };
        told.push((what, from, to));
    }
    let [(first, _, up_to), (second, from, to)] = told[..] else { panic!("{told:?}") };
    assert_eq!((first, second), ("the page did not respond", "the recorder stood still"));
    assert!(up_to.abs_diff(from) < Duration::from_millis(25), "{told:?}");
    assert!(to > from, "{told:?}");
}
