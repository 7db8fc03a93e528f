//! The plan's consequences for this machine: encoder settings, and the inputs of each output.
//!
//! Plain values; `encode` and `sink` turn them into elements.

use std::time::Duration;

use super::codec::AudioCodec;
use super::encoding::{AudioEncoding, Cadence, H264Profile, VideoEncoding};
use super::output::{OutputId, OutputPlan};
use super::recording_plan::RecordingPlan;
use super::stream_url::Transport;

/// Resources of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// This recording's share of the machine, in cores: a control group's quota where there is one,
    /// not the host's number.
    pub cores: f32,
    /// Threads of the H.264 encoder, where an operator decided; 0: by the share.
    pub encoder_threads: u32,
}

/// A recording's encoders and branches.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphPlan {
    pub video: Option<X264Plan>,
    pub audio: Vec<AudioEncoding>,
    /// One for each output, in the plan's order.
    pub branches: Vec<Branch>,
}

/// The settings of the one H.264 encoder. Every field is a property of `x264enc`, or of the caps
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X264Plan {
    pub profile: H264Profile,
    /// kbit/s.
    pub bitrate_kbps: u32,
    /// `superfast` without B-frames, with a short look-ahead and macroblock trees: better quality
    /// than `veryfast` at half its cost.
    pub speed_preset: &'static str,
    pub b_frames: u32,
    pub rc_lookahead: u32,
    pub mb_tree: bool,
    pub threads: u32,
    /// Frames. Key frames are forced by time; this is what remains should one not come.
    pub key_int_max: u32,
    /// Milliseconds of the bit rate that one frame may use in advance.
    pub vbv_buf_capacity_ms: u32,
    /// Options that have no property, as x264 writes them.
    pub option_string: String,
}

/// The inputs of one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    pub output: OutputId,
    pub video: Option<VideoFeed>,
    pub audio: Option<AudioFeed>,
}

/// The video input of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoFeed {
    /// Unencoded, from the capture.
    Raw,
    /// Behind the encoder.
    H264,
}

/// The audio input of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioFeed {
    /// Unencoded, from the capture.
    Raw,
    /// Behind an encoder.
    Encoded(AudioCodec),
}

impl GraphPlan {
    /// The graph of a plan of which less is encoded than was planned.
    #[must_use]
    pub fn reduced_to(&self, plan: &RecordingPlan) -> Self {
        let Self { video, branches, .. } = self.clone();
        Self { video: video.filter(|_| plan.video.is_some()), audio: plan.audio.clone(), branches }
    }

    #[must_use]
    pub fn new(plan: &RecordingPlan, machine: Machine) -> Self {
        let branches: Vec<Branch> = plan
            .outputs
            .iter()
            .enumerate()
            .map(|(at, output)| Branch {
                output: OutputId(at),
                video: video_feed(output),
                audio: audio_feed(output),
            })
            .collect();
        let is_encoded = branches.iter().any(|branch| branch.video == Some(VideoFeed::H264));
        let video = plan.video.as_ref().filter(|_| is_encoded);
        Self { video: video.map(|video| x264(video, plan, machine)), audio: plan.audio.clone(), branches }
    }
}

const fn audio_feed(output: &OutputPlan) -> Option<AudioFeed> {
    match (output, output.audio()) {
        (OutputPlan::WebSocket(_), _) => Some(AudioFeed::Raw),
        (_, Some(codec)) => Some(AudioFeed::Encoded(codec)),
        (_, None) => None,
    }
}

fn video_feed(output: &OutputPlan) -> Option<VideoFeed> {
    let encoded = match output {
        OutputPlan::Images(_) => return Some(VideoFeed::Raw),
        OutputPlan::File(file) => file.has_video,
        OutputPlan::Segments(segments) => segments.has_video,
        OutputPlan::Stream(stream) => stream.has_video,
        OutputPlan::WebSocket(_) => false,
    };
    encoded.then_some(VideoFeed::H264)
}

fn x264(video: &VideoEncoding, plan: &RecordingPlan, machine: Machine) -> X264Plan {
    let has_rtmp = plan
        .outputs
        .iter()
        .any(|output| matches!(output, OutputPlan::Stream(stream) if stream.transport == Transport::Rtmp));
    let segment = plan
        .outputs
        .iter()
        .filter_map(|output| match output {
            OutputPlan::Segments(segments) => Some(segments.duration),
            OutputPlan::File(_)
            | OutputPlan::Stream(_)
            | OutputPlan::WebSocket(_)
            | OutputPlan::Images(_) => None,
        })
        .min();
    // A key frame comes when its time has come, so the encoder must not put one where a scene
    // changes.
    let mut options = vec!["scenecut=0"];
    if has_rtmp {
        // Servers that meter a stream want it at one rate.
        options.push("nal-hrd=cbr");
    }
    X264Plan {
        profile: video.profile,
        bitrate_kbps: video.bitrate_kbps,
        speed_preset: "superfast",
        b_frames: 0,
        rc_lookahead: lookahead(video),
        mb_tree: true,
        threads: threads(video, machine),
        key_int_max: key_int_max(video),
        vbv_buf_capacity_ms: segment.map_or(2000, |segment| millis(segment).min(10_000)),
        option_string: options.join(":"),
    }
}

/// Two threads keep up with 1080p30; more pixels want more, as far as the machine's share goes.
fn threads(video: &VideoEncoding, machine: Machine) -> u32 {
    // x264 takes up to 128.
    const MOST: u32 = 128;
    if machine.encoder_threads > 0 {
        return machine.encoder_threads.min(MOST);
    }
    const PIXELS_FOR_TWO: u64 = 1920 * 1080 * 30;
    let pixels = u64::from(video.width) * u64::from(video.height) * u64::from(video.fps);
    let wanted = u32::try_from(pixels.div_ceil(PIXELS_FOR_TWO).max(1) * 2).unwrap_or(u32::MAX);
    // A share below one core, or none that is a number, is one thread.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lies in 1..=128")]
    let share = if machine.cores >= 1.0 { machine.cores.min(128.0) as u32 } else { 1 };
    wanted.min(share)
}

/// Look-ahead of the rate control in frames. Frames in the encoder are lost when the recorder is
/// killed, and audio with them (a muxer waits for both media): on a static page this must be a
/// second, not six.
fn lookahead(video: &VideoEncoding) -> u32 {
    const AHEAD: u32 = 10;
    match video.cadence {
        // With the one frame that waits in a thread, a second.
        Cadence::AsDrawn { at_least } => at_least.saturating_sub(1).clamp(1, AHEAD),
        Cadence::Grid => AHEAD,
    }
}

/// One second more than the forced interval takes, so that rounding never puts a second key frame
/// beside a forced one.
fn key_int_max(video: &VideoEncoding) -> u32 {
    let frames = u128::from(video.fps) * video.key_interval.as_millis().div_ceil(1000);
    u32::try_from(frames).unwrap_or(u32::MAX).saturating_add(video.fps)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
