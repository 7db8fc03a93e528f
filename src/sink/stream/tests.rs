//! Streams to real servers, and measures what they received.

mod feed_fixture;
mod peers;
mod real_time;
mod with_processes;

use std::time::Duration;

use super::*;
use crate::ports;
use crate::sink::StreamEvent;
use feed_fixture::{FeedFixture, Picture, Received};
use peers::{DeafServer, RtmpServer, SrtServer};

const KEY: &str = "sup3r-s3cret-k3y";
const FINISH: Duration = Duration::from_secs(30);
/// For anything that is to happen soon; the machine may be busy.
const SOON: Duration = Duration::from_secs(90);

/// The default, with an outage that a test can wait for.
const QUICK: Timing = Timing {
    outage: Duration::from_secs(4),
    connect: Duration::from_secs(2),
    liveness: Duration::from_secs(2),
    settle: Duration::from_secs(1),
    look: Duration::from_millis(200),
    ..Timing::DEFAULT
};

fn url(address: impl Into<String>) -> StreamUrl {
    let address = address.into();
    let redacted = address.replace(KEY, "{sup...k3y}");
    StreamUrl::for_tests(address, redacted)
}

fn plan(transport: Transport, urls: &[&StreamUrl]) -> StreamPlan {
    StreamPlan { transport, has_video: true, has_audio: true, urls: urls.iter().copied().cloned().collect() }
}

fn open(feeds: &FeedFixture, plan: &StreamPlan, timing: Timing) -> StreamSink {
    StreamSink::open_with(OutputId(0), plan, &feeds.context, timing, "http://127.0.0.1:9/none").unwrap()
}

fn is_started(event: &StreamEvent, of: &StreamUrl) -> bool {
    matches!(event, StreamEvent::Started { url } if url == of)
}

/// For who reads the figures: `cargo test stream -- --nocapture`.
#[expect(clippy::print_stderr, reason = "a measurement, in a test")]
fn tell(what: &str, received: &impl std::fmt::Display) {
    eprintln!("{what}: {received}");
}

/// Asserts the properties of every good stream in these tests.
fn assert_whole(received: &Received, seconds: std::ops::Range<f64>) {
    assert_eq!((received.video_codec.as_str(), received.audio_codec.as_str()), ("h264", "aac"));
    assert!(seconds.contains(&received.seconds()), "{received}");
    assert!(received.begins_with_key_frame, "{received}");
    assert!(received.longest_video_step() < 0.05, "{received}");
    assert!(received.longest_audio_step() < 0.05, "{received}");
    // Where a server begins and ends to keep a medium, a busy machine says.
    assert!(received.start_offset().abs() < 2.0, "{received}");
    assert!(received.end_offset().abs() < 4.0, "{received}");
    assert_eq!(received.decoded_frames, received.video.len() as u64, "{received}");
}

/// Everything that is logged on this thread, as text.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn address(event: &StreamEvent) -> &StreamUrl {
    match event {
        StreamEvent::Connecting { url }
        | StreamEvent::Started { url }
        | StreamEvent::Retrying { url, .. }
        | StreamEvent::Failed { url, .. }
        | StreamEvent::Finished { url, .. } => url,
    }
}

/// Waits until every task and thread that streaming started has ended: no pipeline hangs for ever.
async fn all_gone(feeds: &FeedFixture) {
    feeds.context.tasks.close();
    tokio::time::timeout(SOON, feeds.context.tasks.wait()).await.expect("a connection's thread hangs");
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_starts() {
    let feeds = FeedFixture::start(Picture::Plain);
    let mut context = feeds.context.clone();
    context.audio.clear();
    let error = StreamSink::open(OutputId(0), &plan(Transport::Rtmp, &[]), &context).unwrap_err();
    assert_eq!(error.to_string(), "the output needs AAC audio, and the recording has none");
    let empty = StreamSink::open(OutputId(0), &plan(Transport::Srt, &[]), &feeds.context).unwrap();
    assert!(empty.is_empty());
}
