//! A participant that publishes with LiveKit's SDK for Python. The SDK contains the WebRTC of
//! browsers, and encodes, paces and reports as browsers do.

use std::time::Duration;

use super::livekit::LiveKitServer;
use super::room;
use super::stores::{isolated, peer};
use super::synthetic::Synthetic;
use super::tool::{Tool, succeed};

/// Deadline for joining and publishing on a busy machine.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);
/// Length of the looped media, with a flash and a beep at each full second.
const SECONDS: usize = 4;

/// Sends a [`Synthetic`], 640x360 at 30 fps, until it is dropped.
#[derive(Debug)]
pub(crate) struct PythonPublisher {
    _program: Tool,
    _home: tempfile::TempDir,
    /// The sids of its tracks.
    pub(crate) frame: String,
    pub(crate) audio: String,
}

impl PythonPublisher {
    /// `codec`: its name in the SDK, `VP8`, `H264`, `VP9` or `AV1`.
    pub(crate) fn join(livekit: &LiveKitServer, room: &str, identity: &str, codec: &str) -> Self {
        let home = tempfile::Builder::new().prefix("weir-python").tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let [both, frames, audio] = ["both.nut", "pictures.yuv", "sound.s16"].map(path);
        Synthetic::new(30, SECONDS).write(both.as_ref(), &["-c:v", "rawvideo", "-c:a", "pcm_s16le"]);
        let apart = ["-v", "error", "-i", &both, "-map", "0:v", "-f", "rawvideo", &frames];
        let apart = [&apart[..], &["-map", "0:a", "-f", "s16le", &audio]].concat();
        succeed("ffmpeg", &apart, None);

        // It dies with the thread that starts it, also when the tests are killed.
        let mut program = isolated("setpriv", home.path());
        program.args(["--pdeathsig", "KILL", "--"]).arg(peer("python/bin/python"));
        program.args(["-c", include_str!("../clients/publish.py"), &livekit.ws_url()]);
        program.args([&room::token(livekit, room, identity), codec, &frames, &audio]);
        let mut program = Tool::start(program, None);
        let told = home.path().join("published");
        let told = program.until("it has published", PUBLISHED_WITHIN, || {
            let told = std::fs::read_to_string(&told).ok()?;
            let (frame, audio) = told.strip_suffix('\n')?.split_once(' ')?;
            Some((frame.to_owned(), audio.to_owned()))
        });
        let (frame, audio) = told;
        Self { _program: program, _home: home, frame, audio }
    }
}
