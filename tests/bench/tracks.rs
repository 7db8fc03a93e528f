//! Tracks of a room, each with a recorder of its own, or all of them in one: what a track costs
//! when there are 1, 10, 50 and 200.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;

use crate::support::livekit::{LiveKitServer, Redis};
use crate::support::measure::timing::percentile;
use crate::support::processes::{self, Seen};
use crate::support::publisher::{Codec, Publisher, encoded};
use crate::support::recorder::{seconds_after, size_of};
use crate::support::tool::{Tool, command, succeed};

const ROOM: &str = "hall";
/// How many recordings of sound run at once.
const SOUNDS: [usize; 4] = [1, 10, 50, 200];
/// Numbers of copied video tracks that two processors can handle beside publishers and server.
const PICTURES: [usize; 3] = [1, 10, 50];
/// The same with audio, which is decoded and encoded.
const REMUXED: [usize; 3] = [1, 10, 25];
/// Transcoding video takes a whole processor, so more at a time would not measure one.
const DECODED: [usize; 2] = [1, 2];
/// A participant has so many tracks, which is what one thread of the bench sends with ease; and so
/// many recordings begin together.
const EACH: usize = 10;

const SETTLE: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(10);
/// Two hundred recorders end at once on two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// Request for a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Opus,
    Vp8,
    H264,
    /// H.264 and Opus as they were published, in one MP4.
    Remuxed,
    /// The same of a participant.
    ParticipantRemuxed,
    /// VP8 and Opus of a participant, decoded and encoded anew.
    Participant,
    /// Opus of everybody, decoded and mixed by one recorder.
    Mixed,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Opus,
        Self::Vp8,
        Self::H264,
        Self::Remuxed,
        Self::ParticipantRemuxed,
        Self::Participant,
        Self::Mixed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Opus => "Opus track",
            Self::Vp8 => "VP8 track 720p",
            Self::H264 => "H.264 track 720p",
            Self::Remuxed => "track composite 720p, remuxed",
            Self::ParticipantRemuxed => "participant 720p, remuxed",
            Self::Participant => "participant 720p, encoded",
            Self::Mixed => "Opus track, mixed by one recorder",
        }
    }

    const fn frame(self) -> Option<Codec> {
        match self {
            Self::Opus | Self::Mixed => None,
            Self::Vp8 | Self::Participant => Some(Codec::Vp8),
            Self::H264 | Self::Remuxed | Self::ParticipantRemuxed => Some(Codec::H264),
        }
    }

    const fn has_audio(self) -> bool {
        !matches!(self, Self::Vp8 | Self::H264)
    }

    /// Frames a second of the medium that is counted in the file.
    const fn rate(self) -> f64 {
        match self {
            Self::Opus | Self::Mixed => 50.0,
            Self::Vp8 | Self::H264 | Self::Remuxed | Self::ParticipantRemuxed | Self::Participant => 30.0,
        }
    }
}

/// One kind, so many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    kind: Kind,
    count: usize,
}

pub(crate) fn all() -> Vec<Case> {
    let counts = |kind: Kind| match kind {
        Kind::Opus | Kind::Mixed => &SOUNDS[..],
        Kind::Vp8 | Kind::H264 => &PICTURES[..],
        Kind::Remuxed | Kind::ParticipantRemuxed => &REMUXED[..],
        Kind::Participant => &DECODED[..],
    };
    Kind::ALL
        .into_iter()
        .flat_map(|kind| counts(kind).iter().map(move |&count| Case { kind, count }))
        .collect()
}

/// Media of the participants: some seconds of 1.5 Mb/s in each video codec, and of audio.
#[derive(Debug)]
pub(crate) struct Sent {
    vp8: Vec<Vec<u8>>,
    h264: Vec<Vec<u8>>,
    opus: Vec<Vec<u8>>,
}

impl Sent {
    pub(crate) fn new() -> Self {
        // Blurred noise: as many bits as an encoder is given.
        let frames = "videotestsrc num-buffers=120 pattern=snow ! video/x-raw,format=I420,width=80,height=45,framerate=30/1 ! \
                        videoscale ! video/x-raw,width=1280,height=720";
        Self {
            vp8: encoded(&format!(
                "{frames} ! vp8enc deadline=1 cpu-used=8 threads=2 target-bitrate=1500000 end-usage=cbr keyframe-max-dist=120 ! \
                 appsink name=out"
            )),
            h264: encoded(&format!(
                "{frames} ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=120 bitrate=1500 aud=false ! \
                 video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline ! appsink name=out"
            )),
            opus: Codec::Opus.frames(),
        }
    }

    fn of(&self, codec: Codec) -> Vec<Vec<u8>> {
        match codec {
            Codec::Vp8 => self.vp8.clone(),
            Codec::H264 => self.h264.clone(),
            _ => self.opus.clone(),
        }
    }
}

/// The figures of recordings that ran at once.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    kind: &'static str,
    count: usize,
    /// CPU seconds a second for one track, and the machine's share that nothing used.
    core: f64,
    idle: f64,
    /// Proportional set size for one track in bytes.
    pss: u64,
    /// Seconds from a command to the server's word that its track comes, median.
    subscribed: f64,
    /// Seconds from a command to the first frame in its file, median and 95th percentile.
    start: f64,
    start_p95: f64,
    /// Of the frames that were to be in the files, those that are.
    kept: f64,
}

/// A recorder that runs, and since when.
struct Running {
    tool: Tool,
    started: SystemTime,
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("{} x{}", self.kind.name(), self.count)
    }

    pub(crate) fn measure(&self, sent: &Sent) -> Measured {
        let redis = Redis::start();
        let server = LiveKitServer::start(&redis);
        let mut publishers = Vec::new();
        let requests = self.publish(&server, sent, &mut publishers);
        let dir = tempfile::tempdir().unwrap();
        let mut running: Vec<Running> = Vec::new();
        // Ten at a time: two hundred that begin at one moment keep the server from answering.
        for requests in requests.chunks(EACH) {
            let begun = running.len();
            for request in requests {
                let home = dir.path().join(running.len().to_string());
                std::fs::create_dir(&home).unwrap();
                running.push(start(&server, &home, request));
            }
            for (number, recorder) in running.iter_mut().enumerate().skip(begun) {
                let work = dir.path().join(number.to_string()).join(".weir");
                recorder.tool.until("media is written", PATIENCE, || (size_of(&work) > 1_000).then_some(()));
            }
        }
        running[0].tool.exit_within(SETTLE);
        let (cores, idle, pss) = watch(&mut running);
        for Running { tool, .. } in &mut running {
            assert!(tool.exit_within(Duration::ZERO).is_none(), "it ended by itself:\n{}", tool.stderr());
            tool.signal(Signal::SIGTERM);
        }
        let mut subscriptions = Vec::new();
        let ended: Vec<(SystemTime, Value)> = running
            .into_iter()
            .map(|Running { tool, started }| {
                let done = tool.finish(PATIENCE).succeeded();
                subscriptions.push(subscribed_after(started, &done.stderr));
                (started, serde_json::from_slice(&done.stdout).unwrap())
            })
            .collect();
        let starts: Vec<f64> = ended
            .iter()
            .map(|(started, info)| seconds_after(*started, &info["fileResults"][0]["startedAt"]))
            .collect();
        let files = ended.iter().enumerate().map(|(number, (_, info))| {
            let name = info["fileResults"][0]["filename"].as_str().unwrap();
            self.share_of_frames(&dir.path().join(number.to_string()).join(name))
        });
        let kept = files.sum::<f64>() / ended.len() as f64;
        Measured {
            kind: self.kind.name(),
            count: self.count,
            core: cores / self.count as f64,
            idle,
            pss: pss / self.count as u64,
            subscribed: percentile(&subscriptions, 0.5),
            start: percentile(&starts, 0.5),
            start_p95: percentile(&starts, 0.95),
            kept,
        }
    }

    /// Has participants publish; gives what recorders are asked for.
    fn publish(
        &self,
        server: &LiveKitServer,
        sent: &Sent,
        publishers: &mut Vec<Publisher>,
    ) -> Vec<Vec<String>> {
        let Self { kind, count } = *self;
        // A participant is recorded as a whole.
        let is_of_participant = matches!(kind, Kind::Participant | Kind::ParticipantRemuxed);
        let each = if is_of_participant { 1 } else { EACH };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut requests = Vec::new();
        for number in 0..count {
            if number % each == 0 {
                let identity = format!("participant-{number}");
                let codec = kind.frame().unwrap_or(Codec::Opus);
                publishers.push(Publisher::join(server, ROOM, &identity, codec));
            }
            let publisher = publishers.last().expect("the first one begins");
            let frame = kind.frame().map(|codec| publisher.publish(codec, sent.of(codec)));
            let audio = kind.has_audio().then(|| publisher.publish(Codec::Opus, sent.of(Codec::Opus)));
            requests.push(match (kind, frame, audio) {
                (Kind::Participant | Kind::ParticipantRemuxed, _, _) => {
                    let identity = format!("participant-{number}");
                    let as_published =
                        (kind == Kind::ParticipantRemuxed).then(|| "--as-published".to_owned());
                    let request = words(&["participant", ROOM, &identity, "--file", "out.mp4"]);
                    request.into_iter().chain(as_published).collect()
                }
                (_, Some(frame), Some(audio)) => words(&[
                    "track-composite",
                    ROOM,
                    "--audio-track",
                    &audio,
                    "--video-track",
                    &frame,
                    "--as-published",
                    "--file",
                    "out.mp4",
                ]),
                (Kind::Mixed, _, _) if number > 0 => continue,
                (Kind::Mixed, _, _) => words(&["room", ROOM, "--audio-only", "--file", "out.ogg"]),
                (_, frame, audio) => words(&["track", ROOM, &frame.or(audio).unwrap(), "--file", "out"]),
            });
        }
        requests
    }

    /// Share of expected frames, from the second one on: a composite's first frame lasts from the
    /// start of its audio.
    fn share_of_frames(&self, file: &Path) -> f64 {
        let stream = if self.kind.frame().is_none() { "a:0" } else { "v:0" };
        let entries = ["-show_entries", "packet=pts_time:format=duration"];
        let output = ["-select_streams", stream, "-of", "json", file.to_str().unwrap()];
        let said = succeed("ffprobe", &[&["-v", "error"], &entries[..], &output[..]].concat(), None);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).unwrap();
        let mut times: Vec<f64> =
            said["packets"].as_array().unwrap().iter().map(|packet| number(&packet["pts_time"])).collect();
        times.sort_by(f64::total_cmp);
        (times.len() - 1) as f64 / ((number(&said["format"]["duration"]) - times[1]) * self.kind.rate())
    }
}

fn start(server: &LiveKitServer, home: &Path, request: &[String]) -> Running {
    let mut weir = command(env!("CARGO_BIN_EXE_weir"));
    weir.arg("record").args(request).arg("--json").current_dir(home);
    server.reached_by(&mut weir);
    let started = SystemTime::now();
    Running { tool: Tool::start(weir, None), started }
}

/// Time from a recorder's start to the server's confirmation of its subscription, in seconds, from
/// its log.
fn subscribed_after(started: SystemTime, log: &str) -> f64 {
    let line = log
        .lines()
        .find(|line| line.contains(" subscribed "))
        .unwrap_or_else(|| panic!("never subscribed:\n{log}"));
    let time = line.split_whitespace().next().unwrap_or_default();
    let at: jiff::Timestamp = time.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    SystemTime::from(at).duration_since(started).unwrap().as_secs_f64()
}

/// CPU seconds a second of all recorders, the share of the machine that was idle, and their bytes.
fn watch(running: &mut [Running]) -> (f64, f64, u64) {
    let pids: Vec<i32> = running.iter().map(|recorder| recorder.tool.pid()).collect();
    let seen =
        || -> Vec<Seen> { processes::all().into_iter().filter(|seen| pids.contains(&seen.pid)).collect() };
    let used = || seen().iter().map(|seen| seen.cpu).sum::<f64>();
    let (begin, before, idle_before) = (Instant::now(), used(), idle_seconds());
    for recorder in &mut *running {
        assert!(recorder.tool.exit_within(Duration::ZERO).is_none(), "{}", recorder.tool.stderr());
    }
    running[0].tool.exit_within(WINDOW);
    let (elapsed, after, idle_after) = (begin.elapsed().as_secs_f64(), used(), idle_seconds());
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    // Last, as reading memory maps costs time of the recorders'.
    let pss: u64 = seen().iter().map(Seen::pss).sum();
    ((after - before) / elapsed, (idle_after - idle_before) / elapsed / cores, pss)
}

/// Seconds in which a core had nothing to do, of all cores together.
fn idle_seconds() -> f64 {
    use procfs::CurrentSI;
    let stat = procfs::KernelStats::current().unwrap();
    stat.total.idle_ms() as f64 / 1000.0
}

/// The figures as a table.
pub(crate) fn markdown(rows: &[Measured]) -> String {
    let mut text = String::from(
        "\n| recorded | at once | **core each** | PSS each | command → subscribed | command → first frame (p95) | frames kept | \
         machine idle |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Measured { kind, count, core, idle, pss, subscribed, start, start_p95, kept } in rows {
        text += &format!(
            "| {kind} | {count} | **{:.2} %** | {:.1} MB | {:.0} ms | {:.0} ms ({:.0}) | {:.1} % | {:.0} % |\n",
            core * 100.0,
            *pss as f64 / f64::from(1 << 20),
            subscribed * 1000.0,
            start * 1000.0,
            start_p95 * 1000.0,
            kept * 100.0,
            idle * 100.0,
        );
    }
    text
}
