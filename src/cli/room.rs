//! What is typed to record a LiveKit room, or something of one.

use clap::Args;

use super::{GeneralArgs, MediaArgs, RecordingArgs, RunArgs, secret};
use crate::plan::room::Rooms;
use crate::secret::Secret;
use crate::token::Signer;

#[derive(Debug, Args)]
pub struct RoomArgs {
    /// The room's name
    pub room: String,
    /// grid, speaker, single-speaker, picture-in-picture or branded, each also as -light; options stand behind the name:
    /// 'branded?title=All hands'. Another template has names of its own [default: the template's]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub layout: String,
    /// Base address of a template in place of our own: http:// or https://
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    pub template_url: String,
    #[command(flatten)]
    pub media: MediaArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct ParticipantArgs {
    /// The room's name
    pub room: String,
    /// The participant's identity
    pub identity: String,
    /// Record what they share of their screen, and its sound, in place of camera and microphone
    #[arg(long)]
    pub screen_share: bool,
    /// Copy their pictures as they are published where they are H.264: for one MP4 file by itself
    #[arg(long, conflicts_with_all = ["preset", "size", "fps", "video_bitrate", "profile", "keyframe_interval"])]
    pub as_published: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct TrackCompositeArgs {
    /// The room's name
    pub room: String,
    /// The track of sound: TR_…
    #[arg(long = "audio-track", value_name = "ID", default_value = "", hide_default_value = true)]
    pub audio_track: String,
    /// The track of pictures: TR_…
    #[arg(long = "video-track", value_name = "ID", default_value = "", hide_default_value = true)]
    pub video_track: String,
    /// Copy the pictures as they are published where they are H.264: for one MP4 file by itself
    #[arg(long, conflicts_with_all = ["preset", "size", "fps", "video_bitrate", "profile", "keyframe_interval"])]
    pub as_published: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct TrackArgs {
    /// The room's name
    pub room: String,
    /// The track's id: TR_…
    pub track_id: String,
    /// The file; its ending is that of what holds the track's codec: .ogg, .mp4 or .webm. {track_id}, {track_type},
    /// {track_source}, {publisher_identity}, {room_name} and {time} are filled in [default: the track's id and the time]
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub file: String,
    /// A websocket to send a track of sound to in place of a file: ws:// or wss://
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub websocket: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// How a room is reached.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "LiveKit's server")]
pub struct ServerArgs {
    /// Its address: ws:// or wss://
    #[arg(
        id = "server_url",
        long = "url",
        value_name = "URL",
        env = "LIVEKIT_URL",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub url: String,
    /// Name of an API key of it
    #[arg(
        long,
        value_name = "KEY",
        env = "LIVEKIT_API_KEY",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub api_key: String,
    /// The key's secret; better in the environment, as arguments are for everybody on the machine to read
    #[arg(
        long,
        value_name = "SECRET",
        value_parser = secret,
        env = "LIVEKIT_API_SECRET",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub api_secret: Secret<String>,
}

impl ServerArgs {
    /// What they say of rooms.
    #[must_use]
    pub fn rooms(&self) -> Rooms {
        let Self { url, api_key, api_secret } = self;
        let signer = Signer::new(api_key, api_secret);
        Rooms { ws_url: url.clone(), signer, template_base: String::new() }
    }
}
