//! The cases of the bench, and the figures of one recording.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::sample::{Costs, sample};
use crate::support::layout::{self, Layout};
use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::audio::{beeps, samples};
use crate::support::measure::frames::{changes, frames};
use crate::support::measure::timing::{av_offsets, cadence, millis_since, percentile};
use crate::support::page_server::PageServer;
use crate::support::peers::RtmpServer;
use crate::support::publisher::{Codec, Publisher, encoded};
use crate::support::recorder::{Ended, Recorder};
use crate::support::room::Publishers;
use crate::support::synthetic::Synthetic;

/// Seconds of each recording; the middle twelve are measured.
const LENGTH: &str = "20s";
const SETTLE: Duration = Duration::from_secs(4);
const WINDOW: Duration = Duration::from_secs(12);

/// One page at one size with one capture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    page: Page,
    preset: &'static str,
    capture: &'static str,
    /// Whether it also goes to a server.
    live: bool,
    /// Whether its frames are on the grid, as those of a service are, and not at the times when
    /// they were drawn.
    grid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Slide,
    Clock,
    Scroll,
    Videos,
    /// Everybody in a room, in a grid. Publishers and server are not counted.
    Room(u32, Sends),
}

/// Media of a room's participants: video of 640x360 at 30 fps, and audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// A colour, a number and something small that moves: from a Chromium, which encodes on the
    /// same machine, and whose program is in memory once for both.
    Canvas,
    /// A ball on black, encoded before, so that the recording has the machine almost to itself, as
    /// it has where participants are somewhere else.
    Ball,
    /// The bench's video, in which every pixel changes; encoded before, too.
    Video,
}

impl Page {
    const fn name(self) -> &'static str {
        match self {
            Self::Slide => "slide",
            Self::Clock => "clock",
            Self::Scroll => "scroll",
            Self::Videos => "videos",
            Self::Room(4, Sends::Canvas) => "room of four",
            Self::Room(4, Sends::Ball) => "room of four from elsewhere",
            Self::Room(4, Sends::Video) => "room of four videos from elsewhere",
            Self::Room(_, Sends::Canvas) => "room of nine",
            Self::Room(_, Sends::Ball) => "room of nine from elsewhere",
            Self::Room(_, Sends::Video) => "room of nine videos from elsewhere",
        }
    }

    fn path(self) -> String {
        match self {
            Self::Room(count, _) => format!("room-of-{count}"),
            Self::Videos => "/pages/videos.html?src=/video.webm".to_owned(),
            page => format!("/pages/{}.html", page.name()),
        }
    }

    fn layout(self) -> Layout {
        match self {
            // Everybody's counters are elsewhere in each layout.
            Self::Slide | Self::Room(..) => Layout::default(),
            Self::Clock => layout::clock(),
            Self::Scroll => layout::scroll(),
            Self::Videos => layout::videos(),
        }
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for preset in ["h264-720p-30", "h264-1080p-30"] {
        for page in [Page::Slide, Page::Clock, Page::Scroll, Page::Videos] {
            for capture in ["framebuffer", "ximagesrc"] {
                cases.push(Case { page, preset, capture, live: false, grid: false });
            }
            if page == Page::Slide {
                cases.push(Case { page, preset, capture: "framebuffer", live: true, grid: false });
                cases.push(Case { page, preset, capture: "framebuffer", live: false, grid: true });
            }
        }
        for count in [4, 9] {
            for sends in [Sends::Canvas, Sends::Ball, Sends::Video] {
                let page = Page::Room(count, sends);
                cases.push(Case { page, preset, capture: "framebuffer", live: false, grid: false });
            }
        }
    }
    cases
}

/// Resources that every recording of the bench uses.
#[derive(Debug)]
pub(crate) struct Stage {
    pages: PageServer,
    /// Frames of the video, of a ball that moves, and packets of the video's sound, as participants
    /// of a room send them.
    frames: Vec<Vec<u8>>,
    ball: Vec<Vec<u8>>,
    audio: Vec<Vec<u8>>,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// Makes the video and starts the server of the pages.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("video.webm");
        let codecs = [
            "-c:v",
            "libvpx",
            "-b:v",
            "600k",
            "-deadline",
            "realtime",
            "-cpu-used",
            "6",
            "-g",
            "60",
            "-c:a",
            "libopus",
        ];
        // Longer than a recording, so that nothing depends on how a loop is joined.
        Synthetic::new(30, 40).write(&video, &codecs);
        let frames = |kind: &str, parser: &str| {
            let from = format!("filesrc location={} ! matroskademux name=demux", video.display());
            encoded(&format!("{from} demux.{kind}_0 ! {parser} ! appsink name=out"))
        };
        let (frames, audio) = (frames("video", "identity"), frames("audio", "identity"));
        let ball = encoded(
            "videotestsrc num-buffers=300 pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 ! \
             vp8enc deadline=1 cpu-used=6 target-bitrate=600000 keyframe-max-dist=60 ! appsink name=out",
        );
        let pages = PageServer::start();
        pages.serve("/video.webm", video);
        Self { pages, frames, ball, audio, _dir: dir }
    }
}

/// A room with its participants, who leave before it is closed.
struct Room {
    _painters: Option<Publishers>,
    _players: Vec<Publisher>,
    livekit: LiveKitServer,
    _redis: Redis,
}

impl Room {
    fn open(stage: &Stage, name: &str, count: u32, sends: Sends) -> Self {
        let redis = Redis::start();
        let livekit = LiveKitServer::start(&redis);
        let identities: Vec<String> = (1..=count).map(|number| format!("participant-{number}")).collect();
        let (mut painters, mut players) = (None, Vec::new());
        match sends {
            Sends::Canvas => {
                let identities: Vec<&str> = identities.iter().map(String::as_str).collect();
                painters = Some(Publishers::join(&livekit, &stage.pages, name, &identities, ""));
            }
            Sends::Ball | Sends::Video => players.extend(identities.iter().map(|identity| {
                let publisher = Publisher::join(&livekit, name, identity, Codec::Vp8);
                let frames = if sends == Sends::Ball { &stage.ball } else { &stage.frames };
                publisher.publish(Codec::Vp8, frames.clone());
                publisher.publish(Codec::Opus, stage.audio.clone());
                publisher
            })),
        }
        Self { _painters: painters, _players: players, livekit, _redis: redis }
    }
}

/// The figures of one recording.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) page: &'static str,
    pub(crate) size: &'static str,
    pub(crate) capture: &'static str,
    pub(crate) live: bool,
    pub(crate) grid: bool,
    pub(crate) costs: Costs,
    /// Seconds from the command to the first frame that is in the file.
    pub(crate) first_picture: f64,
    /// Seconds from the end of the recording to the end of the program.
    pub(crate) stop: f64,
    /// Different frames per second; `None` for a static page.
    pub(crate) distinct: Option<f64>,
    pub(crate) torn: usize,
    pub(crate) jitter_p95_ms: Option<f64>,
    /// Delay of audio behind video: median and the value furthest from zero.
    pub(crate) audio_late_ms: Option<(f64, f64)>,
    pub(crate) bytes: u64,
    /// The recorder's own words on itself.
    pub(crate) info: serde_json::Value,
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let live = if self.live { " live" } else { "" };
        let grid = if self.grid { " grid" } else { "" };
        format!("{} {} {}{live}{grid}", self.page.name(), self.size(), self.capture)
    }

    fn size(&self) -> &'static str {
        if self.preset.contains("1080") { "1080p30" } else { "720p30" }
    }

    pub(crate) fn measure(&self, stage: &Stage) -> Measured {
        let dir = tempfile::tempdir().unwrap();
        let room = match self.page {
            Page::Room(count, sends) => Some(Room::open(stage, &self.page.path(), count, sends)),
            _ => None,
        };
        let (kind, what) = match self.page {
            Page::Room(..) => ("room", self.page.path()),
            page => ("web", stage.pages.url(&page.path())),
        };
        let server = self.live.then(RtmpServer::start);
        let stream = server.as_ref().map(|server| server.url("bench"));
        let mut arguments = vec![kind, what.as_str(), "--preset", self.preset, "--capture", self.capture];
        arguments.extend(["--duration", LENGTH, "--file", "out.mp4"]);
        arguments.extend(self.grid.then_some(["--frame-times", "grid"]).into_iter().flatten());
        arguments.extend(stream.iter().flat_map(|url| ["--stream", url.as_str()]));

        let mut recorder = Recorder::start_with(dir.path(), &arguments, |weir| {
            if let Some(room) = &room {
                room.livekit.reached_by(weir);
            }
        });
        recorder.until_written(1_000);
        recorder.run_for(SETTLE);
        let costs = sample(&mut recorder, WINDOW);
        let ended = recorder.finish(Duration::from_secs(60)).complete();
        self.figures(&ended, costs)
    }

    fn figures(&self, ended: &Ended, costs: Costs) -> Measured {
        let path: PathBuf = ended.path("out.mp4");
        let layout = self.page.layout();
        let all = frames(&path, &layout);
        let steady: Vec<_> = all.iter().filter(|frame| frame.pts >= SETTLE.as_secs_f64()).cloned().collect();
        let is_counted = !matches!(self.page, Page::Slide | Page::Room(..));
        let moving = is_counted.then(|| cadence(&steady));
        let distinct = match self.page {
            Page::Room(..) => Some(steadily_different(&path)),
            _ => moving.map(|cadence| cadence.distinct),
        };

        let started = ended.started.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let in_picture = all.iter().find_map(|frame| frame.wall);
        let first_picture = in_picture.map_or_else(
            || ended.since_start(&ended.info["fileResults"][0]["startedAt"]),
            |wall| millis_since((started & 0x00ff_ffff) as u32, wall),
        );
        let audio_late_ms = layout.flash.map(|_| {
            let late: Vec<f64> = av_offsets(&all, &beeps(&samples(&path)))
                .into_iter()
                .filter(|(at, _)| *at >= SETTLE.as_secs_f64())
                .map(|(_, late)| late * 1000.0)
                .collect();
            let worst = late.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
            (percentile(&late, 0.5), worst.unwrap_or_default())
        });
        let ended_at = ended.since_start(&ended.info["endedAt"]);
        Measured {
            page: self.page.name(),
            size: self.size(),
            capture: self.capture,
            live: self.live,
            grid: self.grid,
            costs,
            first_picture,
            stop: ended.since_start(&ended.over_nanos().into()) - ended_at,
            distinct,
            // Nine videos have nine counters, which never agree.
            torn: if self.page == Page::Videos { 0 } else { moving.map_or(0, |cadence| cadence.torn) },
            jitter_p95_ms: moving.map(|cadence| cadence.jitter_p95 * 1000.0),
            audio_late_ms,
            bytes: std::fs::metadata(&path).unwrap().len(),
            info: ended.info.clone(),
        }
    }
}

/// Different frames per second while everybody is there.
fn steadily_different(path: &std::path::Path) -> f64 {
    let times = changes(path);
    let steady: Vec<f64> = times.into_iter().filter(|at| *at >= SETTLE.as_secs_f64()).collect();
    let span = steady.last().zip(steady.first()).map_or(f64::INFINITY, |(last, first)| last - first);
    (steady.len().saturating_sub(1)) as f64 / span
}
