//! The recorded thing: a page, or tracks; and its owner.

use jiff::Zoned;

use super::super::defaults::Defaults;
use super::super::deferred_names::{DeferredNames, Owner};
use super::super::egress_id::EgressId;
use super::super::encoding::VideoEncoding;
use super::super::error::PlanError;
use super::super::filename::{Room, Subject};
use super::super::output::OutputPlan;
use super::super::page::Page;
use super::super::remux;
use super::super::request::{EgressRequest, Media, MediaOf, MediaRequest, SourceRequest};
use super::super::room::RoomTicket;
use super::super::source::{BrowserSettings, SourcePlan, StartRule, WebPlan};
use super::super::track::TracksPlan;
use super::{page, tracks};

/// The recorded thing, before its media are known.
pub(super) enum Origin {
    Page(Page),
    Tracks(Box<TracksPlan>),
}

impl Origin {
    /// The recorded thing of a request; for a track, with its audio.
    pub(super) fn new(
        request: &EgressRequest,
        defaults: &Defaults,
        egress_id: &EgressId,
    ) -> Result<Self, PlanError> {
        let plan = match &request.source {
            SourceRequest::Web(web) => return Ok(Self::Page(page::web(web, &request.origin)?)),
            SourceRequest::Room(room) if room.is_audio_only() => {
                tracks::room_audio(room, defaults, egress_id)?
            }
            SourceRequest::Room(room) => return Ok(Self::Page(page::room(room, defaults, egress_id)?)),
            SourceRequest::Media(media) => tracks::decoded(media, defaults, egress_id)?,
            SourceRequest::Track(track) => tracks::track_audio(track, defaults, egress_id)?,
        };
        Ok(Self::Tracks(Box::new(plan)))
    }

    /// The source of video and audio, for these outputs.
    pub(super) fn source(
        self,
        request: &EgressRequest,
        media: Media,
        video: Option<&VideoEncoding>,
        outputs: &[OutputPlan],
    ) -> SourcePlan {
        let page = match self {
            Self::Page(page) => page,
            Self::Tracks(plan) => {
                let size = video.map(|video| (video.width, video.height));
                let fitted = tracks::fitted(*plan, size, media.has_audio());
                return SourcePlan::Tracks(remux::leave_open(request, outputs, fitted));
            }
        };
        let start = match &request.source {
            SourceRequest::Web(web) if web.await_start_signal => StartRule::OnSignal,
            SourceRequest::Web(_) | SourceRequest::Track(_) | SourceRequest::Media(_) => StartRule::OnLoad,
            SourceRequest::Room(_) => StartRule::OnSignal,
        };
        let room = match &request.source {
            SourceRequest::Web(web) => web.room.as_ref().and_then(RoomTicket::label),
            SourceRequest::Room(_) | SourceRequest::Track(_) | SourceRequest::Media(_) => None,
        };
        // Without video the display has the minimum size.
        let (width, height, fps) = video.map_or((16, 16, 1), |video| (video.width, video.height, video.fps));
        SourcePlan::Web(WebPlan {
            page,
            room,
            start,
            capture: request.capture,
            width,
            height,
            fps,
            has_video: media.has_video(),
            has_audio: media.has_audio(),
            browser: BrowserSettings::default(),
        })
    }
}

/// The owner of the recording, for names.
pub(super) fn subject(source: &SourceRequest) -> Subject<'_> {
    let Some(ticket) = source.room() else { return Subject::Web };
    let room = Room { name: &ticket.name, id: &ticket.id };
    match source {
        SourceRequest::Media(MediaRequest { of: MediaOf::Participant(identity), .. }) => {
            Subject::Publisher { room, identity }
        }
        SourceRequest::Web(_)
        | SourceRequest::Room(_)
        | SourceRequest::Track(_)
        | SourceRequest::Media(_) => Subject::Room { room },
    }
}

/// The room provides a track's publisher, and the id of an unknown room, when it is joined.
pub(super) fn deferred_names(request: &EgressRequest, now: &Zoned) -> Option<DeferredNames> {
    let owner = match &request.source {
        SourceRequest::Media(MediaRequest { of: MediaOf::Tracks, .. }) => Owner::Publisher,
        SourceRequest::Media(MediaRequest { of: MediaOf::Participant(identity), .. }) => {
            Owner::Participant(identity.clone())
        }
        SourceRequest::Room(_) | SourceRequest::Track(_) | SourceRequest::Media(_) => Owner::Room,
        // It joins no room.
        SourceRequest::Web(_) => return None,
    };
    let has_publisher = owner != Owner::Publisher;
    let has_room_id = request.source.room().is_some_and(|room| !room.id.is_empty());
    let deferred_names = DeferredNames::new(&request.outputs, owner, now, request.retry_count);
    let is_open = (!has_publisher && deferred_names.names_publisher())
        || (!has_room_id && deferred_names.names_room_id());
    is_open.then_some(deferred_names)
}
