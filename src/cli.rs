//! The command line: its words, and what they ask for.
//!
//! What was typed is here; what it means as a request is in [`request`].

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

/// Records and streams what a browser shows.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record, until --duration, Ctrl-C, or the end that the page signals
    ///
    /// Exit code: 0 complete, 1 failed, 2 bad request, 130 second Ctrl-C.
    Record {
        #[command(subcommand)]
        job: Job,
    },
    /// Print what `record` would do, and run nothing
    Plan {
        #[command(subcommand)]
        job: Job,
    },
    /// Is everything here that a recording needs? Each missing thing with the command that installs it
    Doctor,
    /// Finish what a killed recording left
    ///
    /// Media that can't be turned into a finished file is kept in the work directory, and named. Exit code: 0 everything is
    /// finished and stored, 1 something is kept.
    Recover {
        /// The recording's work directory, or a directory with such directories in it
        dir: PathBuf,
        /// Print a JSON line for each work directory, finished file, kept file and problem
        #[arg(long)]
        json: bool,
        /// Store by this instead of what the recording was given: YAML as for `record`
        #[arg(long, value_name = "FILE")]
        storage: Option<PathBuf>,
        /// Connect to no link-local address, as a service does not
        #[arg(long, hide = true)]
        refuse_link_local: bool,
    },
    /// Take requests, as LiveKit Egress does: from livekit-server through Redis, or over HTTP
    ///
    /// SIGTERM, SIGQUIT, SIGHUP: drain; running recordings continue to their end. SIGINT: end every recording now and finish its
    /// files; a second one leaves that to the recorders. Exit code: 0 ended, 1 failed, 2 bad configuration.
    Serve(ServeArgs),
    /// Print the address of the running service's console, with a key that opens it once
    ///
    /// Run it on the service's machine, as the service's user. The key is valid for ten minutes.
    Console(ConsoleArgs),
    /// One recording for `weir serve`
    #[command(hide = true)]
    Recorder,
    /// Print a completion script
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// LiveKit Egress's YAML, and ours [env: EGRESS_CONFIG_FILE, or the text itself in EGRESS_CONFIG_BODY]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only read the configuration, and name what is wrong with it, unknown keys included
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The configuration that the service was started with [env: EGRESS_CONFIG_FILE, or the text itself in EGRESS_CONFIG_BODY]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to record.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// A web page
    Web(Box<WebArgs>),
    /// A LiveKit room: everybody in it, in a layout; sound alone without one takes no browser
    Room(Box<RoomArgs>),
    /// One participant of a LiveKit room, as they come, show and say: no browser
    Participant(Box<ParticipantArgs>),
    /// One track of sound and one of pictures of a LiveKit room, or one of them: no browser
    TrackComposite(Box<TrackCompositeArgs>),
    /// One track of a LiveKit room, as it is published: nothing is decoded
    Track(Box<TrackArgs>),
    /// What a LiveKit request asks for, as JSON: any v1 request, or a v2 StartEgressRequest
    Request(RequestArgs),
}

impl Job {
    /// The options that every kind of recording has.
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

    /// How rooms are reached, for what records one.
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

    /// The options that are about the run and not about the recording.
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

/// Which media of a page are recorded.
#[derive(Debug, Args, Default)]
pub struct MediaArgs {
    /// Record no picture
    #[arg(long)]
    pub audio_only: bool,
    /// Record no sound
    #[arg(long)]
    pub video_only: bool,
}

/// What comes out of a recording that is encoded, how, and all that is said of any recording.
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
    /// The page: http://, https://, file://, data:, chrome:// or about:
    pub url: String,
    /// Wait for the page to log START_RECORDING
    #[arg(long)]
    pub await_start_signal: bool,
    #[command(flatten)]
    pub media: MediaArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The file with the request, or - for standard input
    pub file: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Any number of each kind. An option that belongs to a kind is given once, for all of that kind, or once for each.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Outputs (any number of each)")]
pub struct OutputArgs {
    /// A file: .mp4, or for sound alone .ogg or .mp3; {time} and {utc} are filled in
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<String>,
    /// HLS segments whose names begin with this, and their playlist
    #[arg(long = "segments", value_name = "PREFIX")]
    pub segments: Vec<String>,
    /// Name of the playlist [default: the prefix]
    #[arg(long = "playlist", value_name = "NAME", requires = "segments")]
    pub playlists: Vec<String>,
    /// Also keep a playlist of the last five segments
    #[arg(long = "live-playlist", value_name = "NAME", requires = "segments")]
    pub live_playlists: Vec<String>,
    /// Length of a segment, in whole seconds [default: 4s]
    #[arg(long = "segment-duration", value_name = "TIME", value_parser = duration, requires = "segments")]
    pub segment_durations: Vec<Duration>,
    /// What tells segments apart [default: index]
    #[arg(long = "segment-suffix", value_name = "SUFFIX", requires = "segments")]
    pub segment_suffixes: Vec<SegmentSuffixArg>,
    /// An address to stream to: rtmp://, rtmps://, srt://, mux://KEY or twitch://KEY
    #[arg(long = "stream", value_name = "URL", env = "WEIR_STREAM", hide_env_values = true)]
    pub streams: Vec<String>,
    /// The same, one address a line: keys in a file, or in WEIR_STREAM, are not among the arguments that everybody on the machine can read
    #[arg(long = "stream-file", value_name = "FILE")]
    pub stream_files: Vec<PathBuf>,
    /// A websocket to send sound to as it is, S16LE at 48 kHz, stereo: ws:// or wss://; nothing has a picture then. A user and a
    /// password in it are sent as such, one called bearer with a token as that
    #[arg(long = "websocket", value_name = "URL")]
    pub websockets: Vec<String>,
    /// JPEG images whose names begin with this
    #[arg(long = "images", value_name = "PREFIX")]
    pub images: Vec<String>,
    /// Time from one image to the next [default: 10s]
    #[arg(long = "every", value_name = "TIME", value_parser = duration, requires = "images")]
    pub image_intervals: Vec<Duration>,
    /// Size of the images [default: that of the video]
    #[arg(long = "image-size", value_name = "WxH", value_parser = size, requires = "images")]
    pub image_sizes: Vec<Size>,
    /// What tells images apart [default: index]
    #[arg(long = "image-suffix", value_name = "SUFFIX", requires = "images")]
    pub image_suffixes: Vec<ImageSuffixArg>,
}

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Encoding")]
pub struct EncodingArgs {
    /// Size, frame rate and bit rate by name [default: h264-720p-30]
    #[arg(long, value_name = "NAME", value_parser = preset())]
    pub preset: Option<Preset>,
    /// Size of the page and of the video
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<Size>,
    /// Pictures a second
    #[arg(long, value_name = "N")]
    pub fps: Option<u32>,
    /// Bit rate of the video
    #[arg(long, value_name = "KBPS")]
    pub video_bitrate: Option<u32>,
    /// H.264 profile [default: main]
    #[arg(long)]
    pub profile: Option<ProfileArg>,
    /// Longest time between two key frames [default: 4s with streams, the segment's length with segments, else 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub keyframe_interval: Option<Duration>,
    /// Sound of the files [default: aac in .mp4, opus in .ogg, mp3 in .mp3]
    #[arg(long)]
    pub audio_codec: Option<AudioCodecArg>,
    /// Bit rate of the sound [default: 128]
    #[arg(long, value_name = "KBPS")]
    pub audio_bitrate: Option<u32>,
}

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "General")]
pub struct GeneralArgs {
    /// End after this time: 30s, 1m30s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How pictures are taken from the display
    #[arg(long, default_value = "framebuffer")]
    pub capture: CaptureArg,
    /// Where outputs are stored: YAML with `storage:` and `backup:` as in LiveKit Egress's configuration
    #[arg(long, value_name = "FILE")]
    pub storage: Option<PathBuf>,
    /// Also store a list of what was recorded, EGRESS_ID.json, beside each output
    #[arg(long)]
    pub manifest: bool,
    /// Frame times: those of the source, or a constant frame rate (grid)
    #[arg(long, default_value = "source")]
    pub frame_times: FrameTimesArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Print the final EgressInfo as JSON, and nothing else, on standard output
    #[arg(long)]
    pub json: bool,
    /// Print no progress
    #[arg(long)]
    pub quiet: bool,
    /// Keep what a crash must not lose in here [default: .weir beside the first local output]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// End before the disk has less free space than this: 512MB, 2GB, or a number of bytes
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "512MB")]
    pub keep_free: u64,
    /// After the end, wait this long for a storage that does not answer: 60s, 5m, or a number of seconds
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
    /// No suffix: each image replaces the one before
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
    /// Out of the display's own memory, when something was drawn
    #[default]
    Framebuffer,
    /// GStreamer's ximagesrc, on its own clock
    #[value(name = "ximagesrc")]
    XImageSrc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum FrameTimesArg {
    /// When frames were drawn or taken by a camera; fewer while nothing changes
    #[default]
    #[value(alias = "true")]
    Source,
    /// A constant frame rate, also while nothing changes
    Grid,
}

/// A new name for a recording: `EG_` and twelve letters and digits.
#[must_use]
pub fn new_egress_id() -> EgressId {
    let random: String = rand::rng().sample_iter(Alphanumeric).take(12).map(char::from).collect();
    EgressId::new(format!("EG_{random}"))
}

/// `30s`, `1m30s`, `500ms`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    const FORMS: &str = "write it as 30s, 1m30s, 500ms, or a number of seconds";
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| FORMS.to_owned());
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| FORMS.to_owned())?;
    Duration::try_from(duration).map_err(|_| FORMS.to_owned())
}

/// Any text; clap keeps it as something that does not print.
#[expect(clippy::unnecessary_wraps, reason = "the form of a parser")]
fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn bytes(text: &str) -> Result<u64, String> {
    config::bytes::parse(text).ok_or_else(|| "write it as 512MB, 2GB, or bytes".to_owned())
}

fn size(text: &str) -> Result<Size, String> {
    text.split_once(['x', 'X'])
        .and_then(|(width, height)| Some(Size { width: width.parse().ok()?, height: height.parse().ok()? }))
        .ok_or_else(|| "write it as 1280x720".to_owned())
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(PRESETS.iter().map(|row| row.name))
        .try_map(|name| Preset::by_name(&name).ok_or_else(|| format!("no preset {name}")))
}

#[cfg(test)]
mod tests;
