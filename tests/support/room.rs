//! Participants in a real room, in a Chromium of their own, and checks of who is visible and
//! audible in a recording of it.
//!
//! The participants' page is `web/src/publisher`: each shows a colour and a number and plays a
//! tone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::handler::HandlerConfig;
use chromiumoxide::{Browser, Page};
use futures::StreamExt;
use livekit_token::{AccessToken, VideoGrants};
use tokio::runtime::Runtime;
use weir::secret::Secret;
use weir::token::Signer;

use super::layout::Region;
use super::livekit::LiveKitServer;
use super::measure::audio::{self, level};
use super::measure::frames::{Snapshot, colour_distance};
use super::page_server::PageServer;
use super::tool::{Tool, command, run};

/// Deadline for sixteen participants to join and publish on a busy machine.
const JOINED_WITHIN: Duration = Duration::from_secs(120);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The page's default colours, by a participant's place.
const PALETTE: [[u8; 3]; 9] = [
    [0xc0, 0x20, 0x20],
    [0x20, 0xa0, 0x20],
    [0x20, 0x40, 0xd0],
    [0xc0, 0xa0, 0x00],
    [0xa0, 0x20, 0xa0],
    [0x00, 0xa0, 0xa0],
    [0xd0, 0x60, 0x00],
    [0x60, 0x70, 0x80],
    [0x20, 0x40, 0x20],
];

/// The colour of participant 1, 2, …
pub(crate) fn colour(number: u32) -> [u8; 3] {
    PALETTE[(number as usize - 1) % PALETTE.len()]
}

/// The tone of participant 1, 2, … in hertz.
pub(crate) fn tone(number: u32) -> f64 {
    440.0 + 110.0 * f64::from(number - 1)
}

/// Serves a built page of `web/dist-test` with its assets under its name: `/publisher/`.
pub(crate) fn serve(pages: &PageServer, name: &str) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web/dist-test").join(name);
    let index = root.join("index.html");
    assert!(
        index.exists(),
        "{} is missing: run `make {}`",
        index.display(),
        "web/dist-test/publisher/index.html"
    );
    pages.serve(&format!("/{name}/"), index);
    for asset in std::fs::read_dir(root.join("assets")).unwrap().map(Result::unwrap) {
        pages.serve(&format!("/{name}/assets/{}", asset.file_name().display()), asset.path());
    }
}

/// Participants of one room on one page; the first is number 0 here and shows 1.
#[derive(Debug)]
pub(crate) struct Publishers {
    page: Page,
    // The connection ends with them.
    _devtools: Browser,
    runtime: Runtime,
    _chromium: Tool,
    _profile: tempfile::TempDir,
}

impl Publishers {
    /// Lets them join in the order of their identities. `options`: more of the page's query, such
    /// as `codec=h264&beep=1`.
    pub(crate) fn join(
        livekit: &LiveKitServer,
        pages: &PageServer,
        room: &str,
        identities: &[&str],
        options: &str,
    ) -> Self {
        serve(pages, "publisher");
        let mut query = format!("/publisher/?url={}&{options}", livekit.ws_url());
        for identity in identities {
            query += &format!("&token={}", token(livekit, room, identity));
        }
        let profile = tempfile::Builder::new().prefix("weir-publishers").tempdir().unwrap();
        let mut chromium = chromium(profile.path(), options.contains("devices=1"));
        let devtools = chromium.until("Chromium listens", ANSWER_WITHIN, {
            let log = profile.path().join("DevToolsActivePort");
            move || {
                let text = std::fs::read_to_string(&log).ok()?;
                let (port, path) = text.trim().split_once('\n')?;
                Some(format!("ws://127.0.0.1:{port}{path}"))
            }
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (devtools, page) = runtime.block_on(async {
            // Each wait has its own deadline.
            let settings = HandlerConfig { request_timeout: JOINED_WITHIN, ..HandlerConfig::default() };
            let (browser, mut handler) = Browser::connect_with_config(devtools, settings).await.unwrap();
            tokio_util::task::TaskTracker::new()
                .spawn(async move { while handler.next().await.is_some() {} });
            let page = browser.new_page(pages.url(&query)).await.unwrap();
            (browser, page)
        });
        let publishers = Self { page, _devtools: devtools, runtime, _chromium: chromium, _profile: profile };
        publishers.evaluate("window.publishers.then(() => true)", JOINED_WITHIN);
        publishers
    }

    /// Calls a function of a participant's page: `camera(false)`, `shareScreen()`, `leave()`.
    pub(crate) fn act(&self, index: usize, call: &str) {
        let expression = format!("window.publishers.then((all) => all[{index}].{call}).then(() => true)");
        self.evaluate(&expression, ANSWER_WITHIN);
    }

    fn evaluate(&self, expression: &str, within: Duration) {
        let mut wanted = EvaluateParams::new(expression);
        wanted.await_promise = Some(true);
        wanted.return_by_value = Some(true);
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(within, self.page.execute(wanted)).await.map_err(|_| "no answer".to_owned())
        });
        let answer = answer.and_then(|answer| answer.map_err(|error| error.to_string()));
        match answer {
            Ok(answer) => {
                let thrown = answer.result.exception_details;
                assert!(thrown.is_none(), "{expression}: {thrown:?}");
            }
            Err(why) => panic!("{expression}: {why}"),
        }
    }
}

/// The images that a recording writes each second beside its file: its current content while it
/// runs.
#[derive(Debug)]
pub(crate) struct Images {
    prefix: PathBuf,
    next: usize,
}

impl Images {
    /// `prefix`: the path of each image, up to `_00000.jpeg`.
    pub(crate) fn new(prefix: PathBuf) -> Self {
        Self { prefix, next: 0 }
    }

    /// The newest image, unless it was returned before.
    pub(crate) fn newest(&mut self) -> Option<Snapshot> {
        let path = |index: usize| PathBuf::from(format!("{}_{index:05}.jpeg", self.prefix.display()));
        let new = (self.next..).take_while(|index| path(*index).exists()).last()?;
        self.next = new + 1;
        Some(Snapshot::at(&path(new), 0.0))
    }
}

/// The audio that a recording has written so far to its one file, read while it runs.
#[derive(Debug)]
pub(crate) struct Hearing {
    dir: PathBuf,
    looked: Option<Instant>,
}

impl Hearing {
    /// Minimum time between two looks: each starts a decoder.
    const EVERY: Duration = Duration::from_secs(1);

    /// `dir`: a directory of this recording alone.
    pub(crate) fn of(dir: PathBuf) -> Self {
        Self { dir, looked: None }
    }

    /// The left channel from the file's start. `None` before the first sample, or if the last
    /// call was less than a second ago.
    pub(crate) fn so_far(&mut self) -> Option<Vec<f32>> {
        if self.looked.is_some_and(|looked| looked.elapsed() < Self::EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let file = recorded_below(&self.dir)?;
        let input = ["-v", "quiet", "-i", file.to_str().unwrap(), "-map", "0:a:0"];
        let output = ["-af", "aresample=async=1:first_pts=0,pan=mono|c0=c0", "-ar", "48000", "-f", "f32le"];
        // A file that is being written may end anywhere; this is not an error here.
        let bytes = run("ffmpeg", &[&input[..], &output[..], &["pipe:1"]].concat(), None).stdout;
        let samples: Vec<f32> =
            bytes.chunks_exact(4).map(|sample| f32::from_le_bytes(sample.try_into().unwrap())).collect();
        (!samples.is_empty()).then_some(samples)
    }

    /// Whether `seconds` are written. `None` if not yet, or if the last look was less than a second
    /// ago.
    pub(crate) fn has(&mut self, seconds: f64) -> Option<()> {
        (self.so_far()?.len() as f64 >= seconds * audio::RATE).then_some(())
    }
}

/// The growing file of a recording: `file-0.recording.mp4`.
fn recorded_below(dir: &Path) -> Option<PathBuf> {
    files_below(dir).into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("file-") && name.contains(".recording.")
    })
}

/// Every file below a directory; files that are removed meanwhile may be among them.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    files
}

/// A token for a publisher.
pub(crate) fn token(livekit: &LiveKitServer, room: &str, identity: &str) -> String {
    let grants = VideoGrants { room_join: true, room: room.to_owned(), ..VideoGrants::default() };
    let keys = livekit.keys();
    let token =
        AccessToken::with_api_key(&keys.key, &keys.secret).with_identity(identity).with_grants(grants);
    token.to_jwt().unwrap()
}

/// A recorder's token, as another program may have made it.
pub(crate) fn recorder_token(livekit: &LiveKitServer, room: &str, egress_id: &str) -> String {
    let keys = livekit.keys();
    let signer = Signer { key: keys.key.clone(), secret: Secret::new(keys.secret.clone()) };
    signer.recorder(room, egress_id).unwrap().expose().clone()
}

/// `devices`: pages that ask for a camera get one that shows the time, and a microphone that beeps.
fn chromium(profile: &Path, devices: bool) -> Tool {
    let mut chromium = command("setpriv");
    // It dies with the thread that starts it, also when the tests are killed.
    chromium.args(["--pdeathsig", "KILL", "--", "/usr/bin/chromium"]).args([
        "--headless=new",
        "--no-sandbox",
        "--mute-audio",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
        "--disable-quic",
        "--no-first-run",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-background-timer-throttling",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        "about:blank",
    ]);
    if devices {
        chromium.args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]);
    }
    chromium.arg(format!("--user-data-dir={}", profile.display())).env("TMPDIR", profile);
    Tool::start(chromium, None)
}

/// The cells of a grid of `columns` by `rows`, which touch one another.
pub(crate) fn grid(columns: usize, rows: usize) -> Vec<Region> {
    let (width, height) = (1.0 / columns as f64, 1.0 / rows as f64);
    let cell = |at: usize| {
        let (column, row) = ((at % columns) as f64, (at / columns) as f64);
        Region::new(column * width, row * height, width, height)
    };
    (0..columns * rows).map(cell).collect()
}

/// The number of the participant whose video fills a tile, cropped to it; `None` if number and
/// colour do not match.
pub(crate) fn who(still: &Snapshot, tile: Region) -> Option<u32> {
    let number = number(still, cropped_frame(still, tile))?;
    let seen = still.colour(part(cropped_frame(still, tile), 0.48, 0.68, 0.04, 0.04));
    (number > 0 && is_near(seen, colour(number))).then_some(number)
}

/// Whether two colours are equal within the error of two codecs.
pub(crate) fn is_near(seen: [u8; 3], wanted: [u8; 3]) -> bool {
    colour_distance(seen, wanted) < 40
}

/// The region of a complete 16:9 frame whose middle fills a tile.
pub(crate) fn cropped_frame(still: &Snapshot, tile: Region) -> Region {
    fitted(still, tile, f64::max)
}

/// The region of a 16:9 frame that is shown completely in a tile.
pub(crate) fn fitted_frame(still: &Snapshot, tile: Region) -> Region {
    fitted(still, tile, f64::min)
}

fn fitted(still: &Snapshot, tile: Region, by: fn(f64, f64) -> f64) -> Region {
    let (all_width, all_height) = (still.width as f64, still.height as f64);
    let (width, height) = (tile.width * all_width, tile.height * all_height);
    let scale = by(width / 16.0, height / 9.0);
    let (shown_width, shown_height) = (16.0 * scale / all_width, 9.0 * scale / all_height);
    let (x, y) = (tile.x + (tile.width - shown_width) / 2.0, tile.y + (tile.height - shown_height) / 2.0);
    Region::new(x, y, shown_width, shown_height)
}

/// A part of a region, in fractions of it.
pub(crate) fn part(of: Region, x: f64, y: f64, width: f64, height: f64) -> Region {
    Region::new(of.x + of.width * x, of.y + of.height * y, of.width * width, of.height * height)
}

/// The number in a frame's bar: see `web/src/publisher/picture.ts`.
pub(crate) fn number(still: &Snapshot, frame: Region) -> Option<u32> {
    let cell = |at: usize| {
        let cell = part(frame, 0.3 + 0.05 * at as f64, 0.4, 0.05, 0.2);
        still.colour(cell).iter().map(|&value| u32::from(value)).sum::<u32>() / 3
    };
    let (white, black) = (cell(0), cell(1));
    if white < black + 80 {
        return None;
    }
    let bits: Vec<bool> = (2..8).map(|at| cell(at) > u32::midpoint(white, black)).collect();
    let is_even = bits.iter().filter(|bit| **bit).count() % 2 == 0;
    is_even.then(|| bits[..5].iter().fold(0, |number, bit| number * 2 + u32::from(*bit)))
}

/// Returns the participants of 1 to `of` that are audible from `from` to `to` seconds.
pub(crate) fn heard(samples: &[f32], from: f64, to: f64, of: u32) -> Vec<u32> {
    let part = |seconds: f64| ((seconds * audio::RATE) as usize).min(samples.len());
    let samples = &samples[part(from)..part(to)];
    // Beside a tone there is only codec noise, and stuttering audio on a busy machine.
    let levels: Vec<f64> = (1..=of).map(|number| level(samples, tone(number))).collect();
    let loudest = levels.iter().copied().fold(0.03, f64::max);
    let is_heard = |number: &u32| {
        let (tone, at) = (tone(*number), levels[*number as usize - 1]);
        at > 0.08 * loudest && at > level(samples, tone - 50.0).max(level(samples, tone + 50.0))
    };
    (1..=of).filter(is_heard).collect()
}
