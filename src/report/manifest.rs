//! The manifest of a recording: what was stored where, as LiveKit writes it
//! (docs/reference/media.md).

use std::collections::BTreeMap;

use jiff::Timestamp;
use livekit_protocol as proto;
use serde::Serialize;

use super::{Place, nanoseconds};
use crate::plan::RecordingPlan;
use crate::plan::output::{ManifestPolicy, OutputId, OutputPlan};
use crate::plan::page::Page;
use crate::plan::redact;
use crate::plan::source::{SourcePlan, WebPlan};
use crate::plan::track::{AudioFrom, Discovered, Lasts, TrackKind, TracksPlan, VideoChoice};

/// Content of a manifest besides the report itself: some hundred bytes for each segment and image.
#[derive(Debug)]
pub(super) struct Contents {
    url: String,
    subject: Subject,
    segments: BTreeMap<OutputId, Vec<Entry>>,
    images: Vec<Image>,
}

/// Publisher and tracks of a participant or track recording.
#[derive(Debug, Default, Serialize)]
struct Subject {
    #[serde(skip_serializing_if = "String::is_empty")]
    publisher_identity: String,
    /// For a single track.
    #[serde(skip_serializing_if = "String::is_empty")]
    track_id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    track_kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    track_source: &'static str,
    /// For tracks recorded together.
    #[serde(skip_serializing_if = "String::is_empty")]
    audio_track_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    video_track_id: String,
}

#[derive(Debug, Clone, Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "String::is_empty")]
    filename: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    location: String,
}

#[derive(Debug, Clone, Serialize)]
struct Image {
    filename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    location: String,
}

#[derive(Debug, Serialize)]
struct Playlist<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    location: &'a str,
    #[serde(skip_serializing_if = "<[Entry]>::is_empty")]
    segments: &'a [Entry],
}

#[derive(Debug, Serialize)]
struct File<'a> {
    egress_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    room_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    room_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: &'a str,
    started_at: i64,
    ended_at: i64,
    #[serde(flatten)]
    subject: &'a Subject,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    playlists: Vec<Playlist<'a>>,
    #[serde(skip_serializing_if = "<[Image]>::is_empty")]
    images: &'a [Image],
}

impl Subject {
    /// The names in the request.
    fn of(tracks: &TracksPlan) -> Self {
        let wanted = &tracks.wanted;
        let video = wanted.video.iter().find_map(|video| match video {
            VideoChoice::Track(sid) => Some(sid.clone()),
            VideoChoice::Participant { .. } => None,
        });
        let routes = wanted.audio.iter().flat_map(|audio| &audio.routes);
        let mut named = routes.filter_map(|route| match &route.from {
            AudioFrom::Track(sid) => Some(sid.clone()),
            AudioFrom::Participant { .. } | AudioFrom::Kind(_) => None,
        });
        // Of several, none is the one.
        let audio = named.next().filter(|_| named.next().is_none());
        let shown = wanted.video.iter().find_map(|video| match video {
            VideoChoice::Participant { identity, .. } => Some(identity.clone()),
            VideoChoice::Track(_) => None,
        });
        let publisher_identity = match &wanted.lasts {
            Lasts::Participant(identity) => identity.clone(),
            Lasts::Tracks | Lasts::Room => shown.unwrap_or_default(),
        };
        let (audio, video) = (audio.unwrap_or_default(), video.unwrap_or_default());
        // Whichever medium it is: a request for one track names it for both.
        match audio == video {
            true => Self { publisher_identity, track_id: audio, ..Self::default() },
            false => {
                Self { publisher_identity, audio_track_id: audio, video_track_id: video, ..Self::default() }
            }
        }
    }

    /// Adds the room's information about named tracks. Of two publishers, the manifest names that
    /// of the video, as file names do.
    fn note(&mut self, tracks: &[Discovered]) {
        let is_named =
            |sid: &String| [&self.track_id, &self.audio_track_id, &self.video_track_id].contains(&sid);
        let named = || tracks.iter().filter(|found| is_named(&found.track.sid));
        let first = named().find(|found| found.codec.kind() == TrackKind::Video).or_else(|| named().next());
        let Some(Discovered { track, codec }) = first else { return };
        if !self.track_id.is_empty() {
            self.track_kind = codec.kind().as_str();
            self.track_source = track.origin.as_str();
        }
        if self.publisher_identity.is_empty() {
            self.publisher_identity.clone_from(&track.publisher);
        }
    }
}

impl Contents {
    /// `None` where no output can come to want a manifest.
    pub(super) fn new(plan: &RecordingPlan) -> Option<Self> {
        let is_wanted = |output: &OutputPlan| {
            output.manifest() == Some(ManifestPolicy::Always)
                || output.storage().is_some_and(|storage| storage.backup.is_some())
        };
        // A room is known by its name.
        let url = match &plan.source {
            SourcePlan::Web(WebPlan { page: Page::Address(url), .. }) => redact::page_secrets(url.as_str()),
            SourcePlan::Web(WebPlan { page: Page::Room(_), .. }) | SourcePlan::Tracks(_) => String::new(),
        };
        let subject = match &plan.source {
            SourcePlan::Tracks(tracks) => Subject::of(tracks),
            SourcePlan::Web(_) => Subject::default(),
        };
        plan.outputs.iter().any(is_wanted).then(|| Self {
            url,
            subject,
            segments: BTreeMap::new(),
            images: Vec::new(),
        })
    }

    /// These tracks are recorded.
    pub(super) fn note_tracks(&mut self, tracks: &[Discovered]) {
        self.subject.note(tracks);
    }

    pub(super) fn segment(&mut self, output: OutputId, name: &str, location: &str) {
        let entry = Entry { filename: name.to_owned(), location: location.to_owned() };
        self.segments.entry(output).or_default().push(entry);
    }

    pub(super) fn image(&mut self, name: &str, location: &str, at: Option<Timestamp>) {
        let timestamp = at.map(|at| at.to_string());
        self.images.push(Image { filename: name.to_owned(), timestamp, location: location.to_owned() });
    }

    /// One line of JSON and a line feed.
    pub(super) fn manifest(
        &self,
        info: &proto::EgressInfo,
        places: &BTreeMap<OutputId, Place>,
        now: Timestamp,
    ) -> String {
        let stored = info.file_results.iter().filter(|file| !file.location.is_empty());
        let files = stored
            .map(|file| Entry { filename: file.filename.clone(), location: file.location.clone() })
            .collect();
        let playlists = places
            .iter()
            .filter_map(|(output, place)| match place {
                Place::Segments(at) => {
                    let result = info.segment_results.get(*at)?;
                    let segments = self.segments.get(output).map(Vec::as_slice).unwrap_or_default();
                    Some(Playlist { location: &result.playlist_location, segments })
                }
                Place::File(_) | Place::Images(_) | Place::Stream => None,
            })
            .collect();
        let file = File {
            egress_id: &info.egress_id,
            room_id: &info.room_id,
            room_name: &info.room_name,
            url: &self.url,
            started_at: info.started_at,
            ended_at: nanoseconds(now),
            subject: &self.subject,
            files,
            playlists,
            images: &self.images,
        };
        // Strings and numbers always have a JSON form.
        let json = serde_json::to_string(&file).unwrap_or_default();
        json + "\n"
    }
}
