//! Kinds of requests and their costs (docs/reference/egress.md). Pure.

use livekit_protocol as proto;
use proto::start_egress_request::{Encoding, Source};

use crate::config::cost::CpuCost;
use crate::protocol as rpc;
use rpc::start_egress_request::Request;

/// A request as metrics tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    RoomComposite,
    Web,
    Participant,
    TrackComposite,
    Track,
    Template,
    Media,
    Unknown,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::RoomComposite,
        Self::Web,
        Self::Participant,
        Self::TrackComposite,
        Self::Track,
        Self::Template,
        Self::Media,
        Self::Unknown,
    ];

    /// A request that passes a track through is a `track`, whatever its words.
    #[must_use]
    pub fn of(request: &rpc::StartEgressRequest) -> Self {
        match &request.request {
            Some(Request::RoomComposite(_)) => Self::RoomComposite,
            Some(Request::Web(_)) => Self::Web,
            Some(Request::Participant(_)) => Self::Participant,
            Some(Request::TrackComposite(_)) => Self::TrackComposite,
            Some(Request::Track(_)) => Self::Track,
            Some(Request::Egress(proto::StartEgressRequest { source, encoding, .. })) => match source {
                Some(Source::Template(_)) => Self::Template,
                Some(Source::Web(_)) => Self::Web,
                Some(Source::Media(_)) if passes_through(*encoding) => Self::Track,
                Some(Source::Media(_)) => Self::Media,
                None => Self::Unknown,
            },
            Some(Request::Replay(_)) | None => Self::Unknown,
        }
    }

    /// The label that LiveKit's metrics have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoomComposite => "room_composite",
            Self::Web => "web",
            Self::Participant => "participant",
            Self::TrackComposite => "track_composite",
            Self::Track => "track",
            Self::Template => "template",
            Self::Media => "media",
            Self::Unknown => "unknown",
        }
    }
}

/// Expected cost of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Cores.
    pub cpu: f64,
    /// GB of 2^30 bytes.
    pub memory: f64,
}

/// Cost of a request's recording by the operator's table. An unknown request costs no CPU: it is
/// refused elsewhere.
#[must_use]
pub fn cost(request: &rpc::StartEgressRequest, table: &CpuCost) -> Cost {
    let (cpu, memory) = match work(request) {
        Work::Composite => (table.room_composite_cpu_cost, table.memory_cost),
        Work::AudioComposite => (table.audio_room_composite_cpu_cost, table.memory_cost),
        Work::MixedAudio => {
            (table.sdk_audio_room_composite_cpu_cost, table.sdk_audio_room_composite_memory_cost)
        }
        Work::Page => (table.web_cpu_cost, table.memory_cost),
        Work::AudioPage => (table.audio_web_cpu_cost, table.memory_cost),
        Work::Participant => (table.participant_cpu_cost, table.memory_cost),
        Work::TrackComposite => (table.track_composite_cpu_cost, table.memory_cost),
        Work::Track => (table.track_cpu_cost, table.memory_cost),
        Work::Unknown => (0.0, table.memory_cost),
    };
    Cost { cpu, memory }
}

/// Rebuilds a request from a report, complete enough for kind and cost: reports are redacted.
#[must_use]
pub fn request_of(info: &proto::EgressInfo) -> rpc::StartEgressRequest {
    use proto::egress_info::Request as Reported;
    let request = info.request.clone().map(|request| match request {
        Reported::RoomComposite(room) => Request::RoomComposite(room),
        Reported::Web(web) => Request::Web(web),
        Reported::Participant(participant) => Request::Participant(participant),
        Reported::TrackComposite(tracks) => Request::TrackComposite(tracks),
        Reported::Track(track) => Request::Track(track),
        Reported::Egress(egress) => Request::Egress(egress),
        Reported::Replay(replay) => Request::Replay(replay),
    });
    rpc::StartEgressRequest { egress_id: info.egress_id.clone(), request, ..Default::default() }
}

/// The table's rows.
enum Work {
    Composite,
    AudioComposite,
    /// Audio only, without parts that only a browser could mix.
    MixedAudio,
    Page,
    AudioPage,
    Participant,
    TrackComposite,
    Track,
    Unknown,
}

fn work(request: &rpc::StartEgressRequest) -> Work {
    let composite = |audio_only, layout: &str, base: &str| match audio_only {
        false => Work::Composite,
        true if layout.is_empty() && base.is_empty() => Work::MixedAudio,
        true => Work::AudioComposite,
    };
    let page = |audio_only| if audio_only { Work::AudioPage } else { Work::Page };
    match &request.request {
        Some(Request::RoomComposite(room)) => composite(room.audio_only, &room.layout, &room.custom_base_url),
        Some(Request::Web(web)) => page(web.audio_only),
        Some(Request::Participant(_)) => Work::Participant,
        Some(Request::TrackComposite(_)) => Work::TrackComposite,
        Some(Request::Track(_)) => Work::Track,
        Some(Request::Egress(proto::StartEgressRequest { source, encoding, .. })) => match source {
            Some(Source::Template(room)) => composite(room.audio_only, &room.layout, &room.custom_base_url),
            Some(Source::Web(web)) => page(web.audio_only),
            Some(Source::Media(_)) if passes_through(*encoding) => Work::Track,
            Some(Source::Media(_)) => Work::Participant,
            None => Work::Unknown,
        },
        Some(Request::Replay(_)) | None => Work::Unknown,
    }
}

/// The cheapest and the dearest that a table knows, in cores.
#[must_use]
pub fn range(table: &CpuCost) -> (f64, f64) {
    let costs = [
        table.room_composite_cpu_cost,
        table.audio_room_composite_cpu_cost,
        table.sdk_audio_room_composite_cpu_cost,
        table.web_cpu_cost,
        table.audio_web_cpu_cost,
        table.participant_cpu_cost,
        table.track_composite_cpu_cost,
        table.track_cpu_cost,
    ];
    costs.iter().fold((f64::INFINITY, 0.0), |(least, most), cost| (cost.min(least), cost.max(most)))
}

fn passes_through(encoding: Option<Encoding>) -> bool {
    let passthrough = proto::EncodingOptionsPreset::Passthrough as i32;
    matches!(encoding, Some(Encoding::Preset(preset)) if preset == passthrough)
}
