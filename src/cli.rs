//! The command line: subcommands, options and their parsers.
//!
//! The types here hold what was typed; [`request`] turns it into a request.

pub mod errors;
pub mod recovered;
pub mod request;
mod room;
mod stream_file;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rand::Rng;
use rand::distr::Alphanumeric;

pub use self::room::{ParticipantArgs, RoomArgs, ServerArgs, TrackArgs, TrackCompositeArgs};
use crate::config;
use crate::plan::EgressId;
use crate::plan::encoding::{PRESETS, Preset};
use crate::secret::Secret;

/// Record and stream web pages and LiveKit rooms
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record until --duration, Ctrl-C or the page's end signal
    ///
    /// Exit code: 0 complete, 1 failed, 2 bad request, 130 second Ctrl-C.
    Record {
        #[command(subcommand)]
        job: Job,
    },
    /// Print what `record` would do, without recording
    Plan {
        #[command(subcommand)]
        job: Job,
    },
    /// Check dependencies and print how to install what is missing
    Doctor,
    /// Finish the files of a killed recording
    ///
    /// Media that can't be repaired stays in the work directory and is listed. Exit code: 0 all
    /// files are finished and uploaded, 1 some files were kept.
    Recover {
        /// The recording's work directory, or a directory that contains work directories
        dir: PathBuf,
        /// Print one JSON line for each work directory, finished file, kept file and problem
        #[arg(long)]
        json: bool,
        /// Upload to this storage instead of the recording's own: YAML as for `record`
        #[arg(long, value_name = "FILE")]
        storage: Option<PathBuf>,
        /// Refuse link-local addresses, as a service does
        #[arg(long, hide = true)]
        refuse_link_local: bool,
    },
    /// Run the recording service: take requests from livekit-server through Redis, or over HTTP
    ///
    /// SIGTERM, SIGQUIT and SIGHUP drain: no new recordings; running ones continue to their end.
    /// SIGINT ends every recording now and finishes its files; a second SIGINT exits and leaves
    /// that to the recorders. Exit code: 0 ended, 1 failed, 2 bad configuration.
    Serve(ServeArgs),
    /// Print the address of the running service's console, with a one-time key
    ///
    /// Run it on the service's machine, as the service's user. The key is valid for ten minutes.
    Console(ConsoleArgs),
    /// Record one egress for `weir serve`
    #[command(hide = true)]
    Recorder,
    /// Print a shell completion script
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file: LiveKit Egress's YAML, with Weir's additions [env: EGRESS_CONFIG_FILE,
    /// or the YAML itself in EGRESS_CONFIG_BODY]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only check the configuration and list its problems, including unknown keys
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Configuration file of the running service [env: EGRESS_CONFIG_FILE, or the YAML itself in
    /// EGRESS_CONFIG_BODY]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The source to record.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Record a web page
    Web(Box<WebArgs>),
    /// Record a LiveKit room in a layout; audio only without a layout needs no browser
    Room(Box<RoomArgs>),
    /// Record one participant (camera or screen, and microphone), without a browser
    Participant(Box<ParticipantArgs>),
    /// Record one audio and one video track, or either, without a browser
    TrackComposite(Box<TrackCompositeArgs>),
    /// Record one track as published, without decoding it
    Track(Box<TrackArgs>),
    /// Record what a LiveKit request in JSON describes: any v1 request, or a v2 StartEgressRequest
    Request(RequestArgs),
}

impl Job {
    /// Returns the options that all kinds of recordings share.
    #[must_use]
    pub const fn general_args(&self) -> &GeneralArgs {
        match self {
            Self::Web(args) => &args.recording.general,
            Self::Room(args) => &args.recording.general,
            Self::Participant(args) => &args.recording.general,
            Self::TrackComposite(args) => &args.recording.general,
            Self::Track(args) => &args.general,
            Self::Request(args) => &args.general,
        }
    }

    /// Returns the options for reaching a LiveKit server, if the job records a room.
    #[must_use]
    pub const fn server_args(&self) -> Option<&ServerArgs> {
        match self {
            Self::Web(_) => None,
            Self::Room(args) => Some(&args.server),
            Self::Participant(args) => Some(&args.server),
            Self::TrackComposite(args) => Some(&args.server),
            Self::Track(args) => Some(&args.server),
            Self::Request(args) => Some(&args.server),
        }
    }

    /// Returns the options about this run, not about the recording.
    #[must_use]
    pub const fn run_args(&self) -> &RunArgs {
        match self {
            Self::Web(args) => &args.recording.run,
            Self::Room(args) => &args.recording.run,
            Self::Participant(args) => &args.recording.run,
            Self::TrackComposite(args) => &args.recording.run,
            Self::Track(args) => &args.run,
            Self::Request(args) => &args.run,
        }
    }
}

/// Selects the media of a page.
#[derive(Debug, Args, Default)]
pub struct MediaArgs {
    /// Record audio only
    #[arg(long)]
    pub audio_only: bool,
    /// Record video only
    #[arg(long)]
    pub video_only: bool,
}

/// Options of a recording that is encoded: outputs, encoding, and the general ones.
#[derive(Debug, Args)]
pub struct RecordingArgs {
    #[command(flatten)]
    pub outputs: OutputArgs,
    #[command(flatten)]
    pub encoding: EncodingArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
pub struct WebArgs {
    /// Address of the page: http://, https://, file://, data:, chrome:// or about:
    pub url: String,
    /// Start when the page logs START_RECORDING
    #[arg(long)]
    pub await_start_signal: bool,
    #[command(flatten)]
    pub media: MediaArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// File with the request, or - for standard input
    pub file: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Any number of outputs of each kind. An option of a kind is given once for all outputs of that
/// kind, or once for each.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Outputs (any number of each)")]
pub struct OutputArgs {
    /// Write an MP4, OGG or MP3 file, by its extension; {time} and {utc} are replaced
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<String>,
    /// Write HLS segments with this name prefix, and their playlist
    #[arg(long = "segments", value_name = "PREFIX")]
    pub segments: Vec<String>,
    /// Playlist name [default: the prefix]
    #[arg(long = "playlist", value_name = "NAME", requires = "segments")]
    pub playlists: Vec<String>,
    /// Also write a live playlist of the last five segments
    #[arg(long = "live-playlist", value_name = "NAME", requires = "segments")]
    pub live_playlists: Vec<String>,
    /// Segment duration in whole seconds [default: 4s]
    #[arg(long = "segment-duration", value_name = "TIME", value_parser = duration, requires = "segments")]
    pub segment_durations: Vec<Duration>,
    /// Suffix of segment names [default: index]
    #[arg(long = "segment-suffix", value_name = "SUFFIX", requires = "segments")]
    pub segment_suffixes: Vec<SegmentSuffixArg>,
    /// Stream to this address: rtmp://, rtmps://, srt://, mux://KEY or twitch://KEY
    #[arg(long = "stream", value_name = "URL", env = "WEIR_STREAM", hide_env_values = true)]
    pub streams: Vec<String>,
    /// Stream to the addresses in this file, one per line; unlike arguments, a file or WEIR_STREAM
    /// hides keys from other users
    #[arg(long = "stream-file", value_name = "FILE")]
    pub stream_files: Vec<PathBuf>,
    /// Send raw audio (S16LE, 48 kHz, stereo) to this WebSocket: ws:// or wss://; implies
    /// --audio-only. user:password@ is sent as basic authentication, bearer:TOKEN@ as a bearer
    /// token
    #[arg(long = "websocket", value_name = "URL")]
    pub websockets: Vec<String>,
    /// Write JPEG images with this name prefix
    #[arg(long = "images", value_name = "PREFIX")]
    pub images: Vec<String>,
    /// Interval between images [default: 10s]
    #[arg(long = "every", value_name = "TIME", value_parser = duration, requires = "images")]
    pub image_intervals: Vec<Duration>,
    /// Image size [default: the video's]
    #[arg(long = "image-size", value_name = "WxH", value_parser = size, requires = "images")]
    pub image_sizes: Vec<Size>,
    /// Suffix of image names [default: index]
    #[arg(long = "image-suffix", value_name = "SUFFIX", requires = "images")]
    pub image_suffixes: Vec<ImageSuffixArg>,
}

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Encoding")]
pub struct EncodingArgs {
    /// Named size, frame rate and bitrate [default: h264-720p-30]
    #[arg(long, value_name = "NAME", value_parser = preset())]
    pub preset: Option<Preset>,
    /// Size of the page and the video
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<Size>,
    /// Frame rate in frames per second
    #[arg(long, value_name = "N")]
    pub fps: Option<u32>,
    /// Video bitrate
    #[arg(long, value_name = "KBPS")]
    pub video_bitrate: Option<u32>,
    /// H.264 profile [default: main]
    #[arg(long)]
    pub profile: Option<ProfileArg>,
    /// Longest interval between key frames [default: 4s with streams, the segment duration with
    /// segments, else 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub keyframe_interval: Option<Duration>,
    /// Audio codec of files [default: aac in .mp4, opus in .ogg, mp3 in .mp3]
    #[arg(long)]
    pub audio_codec: Option<AudioCodecArg>,
    /// Audio bitrate [default: 128]
    #[arg(long, value_name = "KBPS")]
    pub audio_bitrate: Option<u32>,
}

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "General")]
pub struct GeneralArgs {
    /// Stop after this time: 30s, 1m30s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How to capture frames from the display
    #[arg(long, default_value = "framebuffer")]
    pub capture: CaptureArg,
    /// Upload outputs to this storage: YAML with `storage:` and `backup:`, as in LiveKit Egress's
    /// configuration
    #[arg(long, value_name = "FILE")]
    pub storage: Option<PathBuf>,
    /// Also upload a manifest, EGRESS_ID.json, beside each output
    #[arg(long)]
    pub manifest: bool,
    /// Timestamps of frames: the source's (variable frame rate), or a constant frame rate (grid)
    #[arg(long, default_value = "source")]
    pub frame_times: FrameTimesArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Print only the final EgressInfo, as JSON, on standard output
    #[arg(long)]
    pub json: bool,
    /// Print no progress
    #[arg(long)]
    pub quiet: bool,
    /// Directory for files that must survive a crash [default: .weir beside the first local output]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Stop when the disk has less free space: 512MB, 2GB, or a number of bytes
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "512MB")]
    pub keep_free: u64,
    /// How long to wait at the end for a storage that does not answer: 60s, 5m, or a number of
    /// seconds
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub upload_patience: Duration,
}

/// `1280x720`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SegmentSuffixArg {
    Index,
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageSuffixArg {
    Index,
    Timestamp,
    /// No suffix: each image replaces the previous one
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    Baseline,
    Main,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AudioCodecArg {
    Aac,
    Opus,
    Mp3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum CaptureArg {
    /// Read the display's framebuffer on damage
    #[default]
    Framebuffer,
    /// Capture with GStreamer's ximagesrc, at its own rate
    #[value(name = "ximagesrc")]
    XImageSrc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum FrameTimesArg {
    /// When frames were drawn, or captured by a camera; fewer while nothing changes
    #[default]
    #[value(alias = "true")]
    Source,
    /// A constant frame rate, even while nothing changes
    Grid,
}

/// Returns a new egress id: `EG_` and twelve random letters and digits.
#[must_use]
pub fn new_egress_id() -> EgressId {
    let random: String = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from).collect();
    EgressId::new(format!("EG_{random}"))
}

/// Parses `30s`, `1m30s`, `500ms`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    const FORMS: &str = "write it as 30s, 1m30s, 500ms, or a number of seconds";
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| FORMS.to_owned());
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| FORMS.to_owned())?;
    Duration::try_from(duration).map_err(|_| FORMS.to_owned())
}

/// Parses any text into a type that never prints; clap keeps the value.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn bytes(text: &str) -> Result<u64, String> {
    config::bytes::parse(text).ok_or_else(|| "write it as 512MB, 2GB, or a number of bytes".to_owned())
}

fn size(text: &str) -> Result<Size, String> {
    text.split_once(['x', 'X'])
        .and_then(|(width, height)| Some(Size { width: width.parse().ok()?, height: height.parse().ok()? }))
        .ok_or_else(|| "write it as 1280x720".to_owned())
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(PRESETS.iter().map(|row| row.name))
        .try_map(|name| Preset::by_name(&name).ok_or_else(|| format!("unknown preset `{name}`")))
}

#[cfg(test)]
mod tests;
