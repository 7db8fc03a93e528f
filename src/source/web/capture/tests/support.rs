//! A display, an audio server and a drawing client for the tests of captures, and a consumer that
//! stores the result. (Independent of the page source, which starts the real ones.)
#![allow(clippy::disallowed_methods, reason = "a test's own children, which end with the test")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::mpsc;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    ChangeGCAux, ChangeWindowAttributesAux, ConnectionExt, CreateGCAux, CreateWindowAux, Rectangle,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;

use crate::media::{Feed, FeedConsumer, Timeline};
use crate::plan::encoding::Cadence;
use crate::source::web::capture::ScreenArea;
use crate::source::{CaptureCounters, Pacing, SourceContext};

/// Longer than anything here takes, also on a busy machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A child that is killed when it goes.
pub(super) struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it; it still lives.
    pub(super) fn stop(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An Xvfb two pixels larger than the recorded area each way.
pub(super) fn xvfb(width: u32, height: u32, fps: u32) -> (Server, ScreenArea) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut child = Command::new("Xvfb")
        // Without `-noreset` it starts anew when its last client goes, and refuses who comes
        // meanwhile.
        .args(["-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0"])
        .arg(format!("{}x{}x24", width + 2, height + 2))
        .arg("-fbdir")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut number = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut number).unwrap();
    let display = format!(":{}", number.trim());
    let framebuffer = dir.path().join("Xvfb_screen0");
    (Server { child, dir }, ScreenArea { display, framebuffer, width, height, fps })
}

/// A PulseAudio with one null sink: its socket, and the sink's monitor.
pub(super) fn pulseaudio() -> (Server, PathBuf, &'static str) {
    crate::media::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let child = Command::new("pulseaudio")
        .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--high-priority=no"])
        .args(["-L", "module-null-sink sink_name=weir rate=48000 channels=2 format=s16le norewinds=1"])
        .args(["-L", &format!("module-native-protocol-unix auth-anonymous=1 socket={}", socket.display())])
        .env("HOME", dir.path())
        .env("XDG_RUNTIME_DIR", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, dir };
    let until = Instant::now() + DEADLINE;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "PulseAudio did not come up in {}", server.dir.path().display());
        wait_until(gst::SystemClock::obtain().time() + 5 * gst::ClockTime::MSECOND);
    }
    (server, socket, "weir.monitor")
}

/// Waits for a moment of the system's clock.
pub(super) fn wait_until(time: gst::ClockTime) {
    gst::SystemClock::obtain().new_single_shot_id(time).wait().0.ok();
}

/// Draws rectangles on a display.
pub(super) struct Painter {
    connection: RustConnection,
    window: u32,
    gc: u32,
}

impl Painter {
    pub(super) fn new(screen: &ScreenArea) -> Self {
        let (connection, n) = RustConnection::connect(Some(&screen.display)).unwrap();
        let root = connection.setup().roots[n].root;
        let (window, gc) = (connection.generate_id().unwrap(), connection.generate_id().unwrap());
        let aux = CreateWindowAux::new().override_redirect(1);
        let (width, height) = (u16::try_from(screen.width).unwrap(), u16::try_from(screen.height).unwrap());
        let class = WindowClass::INPUT_OUTPUT;
        connection.create_window(0, window, root, 0, 0, width, height, 0, class, 0, &aux).unwrap();
        connection.create_gc(gc, window, &CreateGCAux::new()).unwrap();
        connection.map_window(window).unwrap();
        Self { connection, window, gc }
    }

    /// Fills a rectangle with 0xRRGGBB. Nothing is sent before [`Painter::flush`] or
    /// [`Painter::sync`].
    pub(super) fn fill(&self, colour: u32, [x, y, width, height]: [u32; 4]) {
        let [x, y] = [x, y].map(|n| i16::try_from(n).unwrap());
        let [width, height] = [width, height].map(|n| u16::try_from(n).unwrap());
        self.connection.change_gc(self.gc, &ChangeGCAux::new().foreground(colour)).unwrap();
        let rectangle = Rectangle { x, y, width, height };
        self.connection.poly_fill_rectangle(self.window, self.gc, &[rectangle]).unwrap();
    }

    pub(super) fn flush(&self) {
        self.connection.flush().unwrap();
    }

    /// Gives the window a pointer to be seen: in the middle of the screen, where Xvfb has it.
    pub(super) fn show_pointer(&self) {
        let connection = &self.connection;
        let (font, cursor) = (connection.generate_id().unwrap(), connection.generate_id().unwrap());
        connection.open_font(font, b"cursor").unwrap();
        // A black arrow, and its white shape behind it.
        let (black, white) = (0, u16::MAX);
        connection
            .create_glyph_cursor(cursor, font, font, 2, 3, black, black, black, white, white, white)
            .unwrap();
        let aux = ChangeWindowAttributesAux::new().cursor(cursor);
        connection.change_window_attributes(self.window, &aux).unwrap().check().unwrap();
    }

    /// From here to [`Painter::release`] the display serves only us.
    pub(super) fn hold(&self) {
        self.connection.grab_server().unwrap();
    }

    pub(super) fn release(&self) {
        self.connection.ungrab_server().unwrap();
        self.flush();
    }

    /// Returns when all is drawn.
    pub(super) fn sync(&self) {
        self.connection.get_input_focus().unwrap().reply().unwrap();
    }
}

/// Keeps every sample.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Default)]
struct Inside {
    samples: Vec<gst::Sample>,
    ended: bool,
}

impl FeedConsumer for Kept {
    fn take(&mut self, sample: &gst::Sample) {
        self.0.0.lock().unwrap().samples.push(sample.clone());
        self.0.1.notify_all();
    }

    fn end(&mut self) {
        self.0.0.lock().unwrap().ended = true;
        self.0.1.notify_all();
    }
}

impl Kept {
    /// Waits until the samples are as wanted, and gives them.
    pub(super) fn until(&self, wanted: impl Fn(&[gst::Sample]) -> bool) -> Vec<gst::Sample> {
        let (inside, changed) = &*self.0;
        let (inside, waited) = changed
            .wait_timeout_while(inside.lock().unwrap(), DEADLINE, |inside| !wanted(&inside.samples))
            .unwrap();
        assert!(!waited.timed_out(), "not in time, with {} samples", inside.samples.len());
        inside.samples.clone()
    }

    pub(super) fn all(&self) -> Vec<gst::Sample> {
        self.0.0.lock().unwrap().samples.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.0.lock().unwrap().ended
    }
}

/// A context with these feeds and pacing.
pub(super) fn context(video: Option<Feed>, cadence: Cadence, fps: u32) -> SourceContext {
    crate::media::init().unwrap();
    let (events, _) = mpsc::unbounded_channel();
    SourceContext {
        timeline: Timeline::new(),
        video,
        audio: None,
        published: Default::default(),
        pacing: Pacing { cadence, fps, key_interval: Duration::from_secs(2) },
        counters: Arc::<CaptureCounters>::default(),
        run_dir: PathBuf::new(),
        report_dir: PathBuf::new(),
        events,
    }
}

pub(super) fn pts(sample: &gst::Sample) -> gst::ClockTime {
    sample.buffer().and_then(gst::BufferRef::pts).unwrap()
}

/// Y, U and V of a frame's pixel.
pub(super) fn yuv_at(sample: &gst::Sample, x: u32, y: u32) -> [u8; 3] {
    let info = gstreamer_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let at = |plane: usize, row: u32, byte: u32| {
        let stride = usize::try_from(info.stride()[plane]).unwrap();
        map[info.offset()[plane] + row as usize * stride + byte as usize]
    };
    let chroma = (x / 2) * 2;
    [at(0, y, x), at(1, y / 2, chroma), at(1, y / 2, chroma + 1)]
}

/// The colour 0xRRGGBB in bt709, limited range.
pub(super) fn bt709(colour: u32) -> [u8; 3] {
    let [_, r, g, b] = colour.to_be_bytes().map(|n| f64::from(n) / 255.0);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let (u, v) = ((b - y) / 1.8556, (r - y) / 1.5748);
    [16.0 + 219.0 * y, 128.0 + 224.0 * u, 128.0 + 224.0 * v].map(|n| n.round() as u8)
}
