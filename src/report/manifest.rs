//! The manifest of a recording: what was stored where, as LiveKit writes it (media.md §8.5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use livekit_protocol as proto;
use serde::Serialize;

use super::{Place, nanoseconds};
use crate::plan::RecordingPlan;
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::page::Page;
use crate::plan::redact;
use crate::plan::request::Manifest;
use crate::plan::source::{SourcePlan, WebPlan};

/// What a manifest lists beside the report itself: some hundred bytes for each segment and image.
#[derive(Debug)]
pub(super) struct Contents {
    url: String,
    segments: BTreeMap<OutputId, Vec<Entry>>,
    images: Vec<Image>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    playlists: Vec<Playlist<'a>>,
    #[serde(skip_serializing_if = "<[Image]>::is_empty")]
    images: &'a [Image],
}

impl Contents {
    /// `None` where no output can come to want a manifest.
    pub(super) fn new(plan: &RecordingPlan) -> Option<Self> {
        let is_wanted = |output: &OutputPlan| {
            output.manifest() == Some(Manifest::Stored)
                || output.storage().is_some_and(|storage| storage.backup.is_some())
        };
        // A room is known by its name.
        let url = match &plan.source {
            SourcePlan::Web(WebPlan { page: Page::Address(url), .. }) => redact::page_secrets(url.as_str()),
            SourcePlan::Web(WebPlan { page: Page::Room(_), .. }) | SourcePlan::Tracks(_) => String::new(),
        };
        plan.outputs.iter().any(is_wanted).then(|| Self {
            url,
            segments: BTreeMap::new(),
            images: Vec::new(),
        })
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
            files,
            playlists,
            images: &self.images,
        };
        // Strings and numbers always have a JSON form.
        let json = serde_json::to_string(&file).unwrap_or_default();
        json + "\n"
    }
}
