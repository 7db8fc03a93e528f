//! Reports of a recording: folds events into an `EgressInfo`. No other module makes one.

mod details;
mod error_code;
mod failure;
mod manifest;
mod streams;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use livekit_protocol as proto;
use proto::egress_info::Request;

use crate::control::EndReason;
use crate::plan::RecordingPlan;
use crate::plan::output::{OutputId, OutputPlan};
use crate::plan::source::SourcePlan;
use crate::plan::stream_url::{StreamProtocol, StreamUrl};
use crate::plan::track::Discovered;
pub use details::LocalDirs;
pub use error_code::Fault;
pub use failure::Failure;
use failure::Failures;
use manifest::Contents;
use streams::Streams;

/// Result of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Complete,
    LimitReached,
    /// Stopped before anything was recorded, without a failure.
    Aborted {
        error: &'static str,
    },
    Failed(Failure),
}

/// The growing report of one recording.
#[derive(Debug)]
pub struct Report {
    info: proto::EgressInfo,
    /// List and index of each output's result.
    places: BTreeMap<OutputId, Place>,
    streams: Streams,
    notes: Vec<String>,
    failures: Failures,
    reason: Option<EndReason>,
    /// `None`: nobody wants one.
    contents: Option<Contents>,
    /// The output whose manifest the report names.
    manifest_of: Option<OutputId>,
    dirs: LocalDirs,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    File(usize),
    Segments(usize),
    Images(usize),
    Stream,
}

impl Report {
    /// The report of a recording that is starting. `request` is the redacted request.
    #[must_use]
    pub fn new(plan: &RecordingPlan, request: Option<Request>, now: Timestamp) -> Self {
        let source_type = match plan.source {
            SourcePlan::Web(_) => proto::EgressSourceType::Web,
            SourcePlan::Tracks(_) => proto::EgressSourceType::Sdk,
        };
        let mut info = proto::EgressInfo {
            egress_id: plan.egress_id.to_string(),
            source_type: source_type.into(),
            status: proto::EgressStatus::EgressStarting.into(),
            started_at: nanoseconds(now),
            updated_at: nanoseconds(now),
            request,
            retry_count: i32::try_from(plan.retry_count).unwrap_or(i32::MAX),
            ..Default::default()
        };
        if let Some((name, id)) = plan.source.room_label() {
            name.clone_into(&mut info.room_name);
            id.clone_into(&mut info.room_id);
        }
        let mut places = BTreeMap::new();
        let mut streams = Streams::default();
        for (index, output) in plan.outputs.iter().enumerate() {
            let id = OutputId(index);
            let place = match output {
                OutputPlan::File(file) => {
                    info.file_results
                        .push(proto::FileInfo { filename: file.name.to_string(), ..Default::default() });
                    Place::File(info.file_results.len() - 1)
                }
                OutputPlan::Segments(segments) => {
                    info.segment_results.push(proto::SegmentsInfo {
                        playlist_name: format!("{}{}", segments.dir, segments.playlist),
                        live_playlist_name: segments
                            .live_playlist
                            .as_ref()
                            .map(|name| format!("{}{name}", segments.dir))
                            .unwrap_or_default(),
                        ..Default::default()
                    });
                    Place::Segments(info.segment_results.len() - 1)
                }
                OutputPlan::Images(images) => {
                    info.image_results.push(proto::ImagesInfo {
                        filename_prefix: images.prefix.clone(),
                        ..Default::default()
                    });
                    Place::Images(info.image_results.len() - 1)
                }
                OutputPlan::Stream(stream) => {
                    for url in &stream.urls {
                        info.stream_results.push(new_stream(url, now));
                        streams.add(id, url);
                    }
                    Place::Stream
                }
                OutputPlan::WebSocket(socket) => {
                    info.stream_results.push(new_stream(&socket.url, now));
                    streams.add(id, &socket.url);
                    Place::Stream
                }
            };
            places.insert(id, place);
        }
        let contents = Contents::new(plan);
        let mut report = Self {
            info,
            places,
            streams,
            notes: plan.adjustments.clone(),
            failures: Failures::default(),
            reason: None,
            contents,
            manifest_of: None,
            dirs: LocalDirs::default(),
        };
        report.fill_deprecated_result();
        report.write_details();
        report
    }

    /// Local directories of the recording: `details` name files without them.
    pub fn set_local_dirs(&mut self, dirs: LocalDirs) {
        self.dirs = dirs;
        self.write_details();
    }

    /// The source is in its room, whose id the server told.
    pub fn set_room_id(&mut self, room_id: &str) {
        if self.info.room_id.is_empty() {
            room_id.clone_into(&mut self.info.room_id);
        }
    }

    /// These tracks are recorded: the manifest says whose they are.
    pub fn note_tracks(&mut self, tracks: &[Discovered]) {
        if let Some(contents) = &mut self.contents {
            contents.note_tracks(tracks);
        }
    }

    /// The source has discovered the outputs' names.
    pub fn discovered(&mut self, plan: &RecordingPlan) {
        for (index, output) in plan.outputs.iter().enumerate() {
            match (output, self.places.get(&OutputId(index))) {
                (OutputPlan::File(file), Some(Place::File(at))) => {
                    if let Some(result) = self.info.file_results.get_mut(*at) {
                        result.filename = file.name.to_string();
                    }
                }
                (OutputPlan::Segments(segments), Some(Place::Segments(at))) => {
                    if let Some(result) = self.info.segment_results.get_mut(*at) {
                        result.playlist_name = format!("{}{}", segments.dir, segments.playlist);
                        let live = segments.live_playlist.as_ref();
                        result.live_playlist_name =
                            live.map(|name| format!("{}{name}", segments.dir)).unwrap_or_default();
                    }
                }
                (OutputPlan::Images(images), Some(Place::Images(at))) => {
                    if let Some(result) = self.info.image_results.get_mut(*at) {
                        result.filename_prefix.clone_from(&images.prefix);
                    }
                }
                _ => {}
            }
        }
        self.fill_deprecated_result();
    }

    /// The report as it stands.
    #[must_use]
    pub const fn info(&self) -> &proto::EgressInfo {
        &self.info
    }

    /// The recording began. `began`: its first moment, which lies back where it was held until more
    /// was known.
    pub fn active(&mut self, began: Timestamp, now: Timestamp) {
        self.set_status(proto::EgressStatus::EgressActive, now);
        let at = nanoseconds(began);
        for file in &mut self.info.file_results {
            file.started_at = at;
        }
        for segments in &mut self.info.segment_results {
            segments.started_at = at;
        }
        for images in &mut self.info.image_results {
            images.started_at = at;
        }
        self.stamp_stream_starts(at);
        self.fill_deprecated_result();
    }

    /// The recording takes in no more; `length` of what it recorded. One that failed, or that
    /// reached a limit, has its last status from here on; it is over when `ended_at` is set.
    pub fn ending(&mut self, reason: EndReason, length: Duration, now: Timestamp) {
        self.reason = Some(reason);
        self.set_status(
            match reason {
                EndReason::LimitReached(_) => proto::EgressStatus::EgressLimitReached,
                EndReason::Failure => proto::EgressStatus::EgressFailed,
                EndReason::StopRequested
                | EndReason::Killed
                | EndReason::SourceClosed
                | EndReason::DurationReached
                | EndReason::AllStreamsStopped => proto::EgressStatus::EgressEnding,
            },
            now,
        );
        let duration = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        for file in &mut self.info.file_results {
            file.ended_at = file.started_at.saturating_add(duration);
            file.duration = duration;
        }
        for segments in &mut self.info.segment_results {
            segments.ended_at = segments.started_at.saturating_add(duration);
            segments.duration = duration;
        }
        for images in &mut self.info.image_results {
            images.ended_at = images.started_at.saturating_add(duration);
        }
        self.write_details();
        self.fill_deprecated_result();
    }

    /// A file is where it belongs, by this name.
    pub fn file_stored(&mut self, output: OutputId, name: &str, location: &str, size: u64) {
        if let Some(Place::File(at)) = self.places.get(&output)
            && let Some(file) = self.info.file_results.get_mut(*at)
        {
            name.clone_into(&mut file.filename);
            location.clone_into(&mut file.location);
            file.size = i64::try_from(size).unwrap_or(i64::MAX);
        }
        self.fill_deprecated_result();
    }

    /// A segment is where it belongs; `name` is its stored name.
    pub fn segment_stored(&mut self, output: OutputId, name: &str, location: &str, size: u64) {
        if let Some(contents) = &mut self.contents {
            contents.segment(output, name, location);
        }
        if let Some(segments) = self.segments(output) {
            segments.segment_count += 1;
            segments.size = segments.size.saturating_add(i64::try_from(size).unwrap_or(i64::MAX));
        }
        self.fill_deprecated_result();
    }

    /// A playlist is where it belongs; `name` is its stored name.
    pub fn playlist_stored(&mut self, output: OutputId, name: &str, location: &str) {
        if let Some(segments) = self.segments(output) {
            if segments.live_playlist_name == name {
                location.clone_into(&mut segments.live_playlist_location);
            } else {
                location.clone_into(&mut segments.playlist_location);
            }
        }
        self.fill_deprecated_result();
    }

    /// An image is where it belongs; `name` is its stored name, `at` when it was on the screen.
    pub fn image_stored(&mut self, output: OutputId, name: &str, location: &str, at: Option<Timestamp>) {
        if let Some(contents) = &mut self.contents {
            contents.image(name, location, at);
        }
        if let Some(Place::Images(at)) = self.places.get(&output)
            && let Some(images) = self.info.image_results.get_mut(*at)
        {
            images.image_count += 1;
        }
    }

    /// The backup storage had to take something.
    pub fn backup_used(&mut self) {
        self.info.backup_storage_used = true;
    }

    /// The recording's manifest (docs/reference/media.md), as it would be if it ended now; `None`
    /// where no output wants one.
    #[must_use]
    pub fn manifest(&self, now: Timestamp) -> Option<String> {
        self.contents.as_ref().map(|contents| contents.manifest(&self.info, &self.places, now))
    }

    /// A manifest is stored beside an output. That of the first output counts, whichever is stored
    /// first.
    pub fn manifest_stored(&mut self, output: OutputId, location: &str) {
        if self.manifest_of.is_none_or(|of| output < of) {
            self.manifest_of = Some(output);
            location.clone_into(&mut self.info.manifest_location);
        }
    }

    /// A notice that is not an error: a gap, dropped frames, a kept file. Ends up in `details`.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
        self.write_details();
    }

    /// Something failed. The first failure becomes the error at the end; the others stay in
    /// `details`.
    pub fn fail(&mut self, failure: &Failure) {
        self.failures.add(failure);
        self.write_details();
    }

    /// The recording is over. Nothing changes after this.
    pub fn end(&mut self, outcome: &Outcome, reason: EndReason, now: Timestamp) {
        self.reason = Some(reason);
        let status = match outcome {
            Outcome::Complete => proto::EgressStatus::EgressComplete,
            Outcome::LimitReached => {
                "Session limit reached".clone_into(&mut self.info.error);
                self.info.error_code = 413;
                proto::EgressStatus::EgressLimitReached
            }
            Outcome::Aborted { error } => {
                (*error).clone_into(&mut self.info.error);
                self.info.error_code = 412;
                proto::EgressStatus::EgressAborted
            }
            Outcome::Failed(failure) => {
                failure.text.clone_into(&mut self.info.error);
                self.info.error_code = failure.fault.code();
                self.failures.set_error(failure);
                proto::EgressStatus::EgressFailed
            }
        };
        self.set_status(status, now);
        self.info.ended_at = nanoseconds(now);
        let open = self.info.stream_results.iter().map(|stream| stream.ended_at == 0).collect::<Vec<_>>();
        self.end_streams(now);
        if matches!(outcome, Outcome::Failed(_)) {
            let streams = self.info.stream_results.iter_mut().zip(open).filter(|(_, is_open)| *is_open);
            streams.for_each(|(stream, _)| stream.status = proto::stream_info::Status::Failed.into());
        }
        self.write_details();
        self.fill_deprecated_result();
    }

    fn set_status(&mut self, status: proto::EgressStatus, now: Timestamp) {
        self.info.status = status.into();
        self.info.updated_at = nanoseconds(now);
    }

    fn write_details(&mut self) {
        let reason = self.reason.map(|reason| format!("End reason: {reason}"));
        let failures = self.failures.details();
        let texts = self.notes.iter().chain(&failures).map(|text| self.dirs.names_only(text));
        let parts: Vec<String> = reason.into_iter().chain(texts).collect();
        self.info.details = parts.join("; ");
    }

    fn segments(&mut self, output: OutputId) -> Option<&mut proto::SegmentsInfo> {
        match self.places.get(&output) {
            Some(Place::Segments(at)) => self.info.segment_results.get_mut(*at),
            _ => None,
        }
    }

    /// Old clients read the one result of a recording with one kind of output here, from its start
    /// on (docs/reference/media.md): each change of a result ends with this.
    #[allow(deprecated)]
    fn fill_deprecated_result(&mut self) {
        use proto::egress_info::Result;
        if !self.info.image_results.is_empty() {
            return;
        }
        let info = &self.info;
        self.info.result = match (
            info.file_results.as_slice(),
            info.segment_results.as_slice(),
            info.stream_results.as_slice(),
        ) {
            ([file], [], []) => Some(Result::File(file.clone())),
            ([], [segments], []) => Some(Result::Segments(segments.clone())),
            ([], [], [_, ..]) => {
                Some(Result::Stream(proto::StreamInfoList { info: info.stream_results.clone() }))
            }
            _ => None,
        };
    }
}

/// The report of a recording whose recorder is gone without a last word: it failed. `notes` say
/// what became of its files.
#[must_use]
pub fn died(info: proto::EgressInfo, error: &str, notes: &[String], now: Timestamp) -> proto::EgressInfo {
    failed(info, error, Fault::Service, notes, now)
}

/// The report of a recording that was refused after it had been announced.
#[must_use]
pub fn failed(
    info: proto::EgressInfo,
    error: &str,
    fault: Fault,
    notes: &[String],
    now: Timestamp,
) -> proto::EgressInfo {
    // A reason that was given before it died is not why it ended.
    let told = info.details.split("; ").filter(|note| !note.is_empty() && !note.starts_with("End reason: "));
    let notes = told.map(str::to_owned).chain(notes.iter().cloned()).collect();
    let mut report = Report {
        info,
        places: BTreeMap::new(),
        streams: Streams::default(),
        notes,
        failures: Failures::default(),
        reason: None,
        contents: None,
        manifest_of: None,
        dirs: LocalDirs::default(),
    };
    report.end(&Outcome::Failed(Failure::new(error, fault)), EndReason::Failure, now);
    report.info
}

/// An address that is not sent to yet. Only of RTMP it counts as started when media goes out
/// (docs/reference/egress.md).
fn new_stream(url: &StreamUrl, now: Timestamp) -> proto::StreamInfo {
    let started_at = match url.protocol() {
        StreamProtocol::Rtmp => 0,
        StreamProtocol::Srt | StreamProtocol::WebSocket => nanoseconds(now),
    };
    proto::StreamInfo {
        url: url.redacted().to_owned(),
        started_at,
        status: proto::stream_info::Status::Active.into(),
        ..Default::default()
    }
}

fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
