//! Options for recording a LiveKit room, a participant or tracks.

use clap::Args;

use super::{GeneralArgs, MediaArgs, RecordingArgs, RunArgs, secret};
use crate::plan::room::Rooms;
use crate::secret::Secret;
use crate::token::Signer;

#[derive(Debug, Args)]
pub struct RoomArgs {
    /// Room name
    pub room: String,
    /// Layout: grid, speaker, single-speaker, picture-in-picture or branded, each also with -light;
    /// options follow the name: 'branded?title=All hands'. Other templates have their own names
    /// [default: the template's]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub layout: String,
    /// Base address of a custom template: http:// or https://
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
    /// Room name
    pub room: String,
    /// Participant identity
    pub identity: String,
    /// Record the shared screen and its audio instead of camera and microphone
    #[arg(long)]
    pub screen_share: bool,
    /// Copy H.264 video as published, without encoding it; needs a single MP4 file output
    #[arg(long, conflicts_with_all = ["preset", "size", "fps", "video_bitrate", "profile", "keyframe_interval"])]
    pub as_published: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct TrackCompositeArgs {
    /// Room name
    pub room: String,
    /// Audio track id: TR_…
    #[arg(long = "audio-track", value_name = "ID", default_value = "", hide_default_value = true)]
    pub audio_track: String,
    /// Video track id: TR_…
    #[arg(long = "video-track", value_name = "ID", default_value = "", hide_default_value = true)]
    pub video_track: String,
    /// Copy H.264 video as published, without encoding it; needs a single MP4 file output
    #[arg(long, conflicts_with_all = ["preset", "size", "fps", "video_bitrate", "profile", "keyframe_interval"])]
    pub as_published: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub recording: RecordingArgs,
}

#[derive(Debug, Args)]
pub struct TrackArgs {
    /// Room name
    pub room: String,
    /// Track id: TR_…
    pub track_id: String,
    /// Output file; its extension follows the track's codec: .ogg, .mp4 or .webm. {track_id},
    /// {track_type}, {track_source}, {publisher_identity}, {room_name} and {time} are replaced
    /// [default: track id and time]
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub file: String,
    /// Send an audio track to this WebSocket instead of a file: ws:// or wss://
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub websocket: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// How to reach the LiveKit server.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "LiveKit server")]
pub struct ServerArgs {
    /// Server address: ws:// or wss://
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
    /// API key
    #[arg(
        long,
        value_name = "KEY",
        env = "LIVEKIT_API_KEY",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub api_key: String,
    /// API secret; prefer the environment variable: other users can read arguments
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
    /// Returns the defaults for rooms that these options give.
    #[must_use]
    pub fn rooms(&self) -> Rooms {
        let Self { url, api_key, api_secret } = self;
        let signer = Signer::new(api_key, api_secret);
        Rooms { ws_url: url.clone(), signer, template_base: String::new() }
    }
}
