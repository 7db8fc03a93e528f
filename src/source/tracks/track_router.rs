//! Routes the frames of a room's tracks: gives each its running time, holds it until the recording
//! has begun, and hands it to the path of its medium.
//!
//! ```text
//! frame ─► FrameClocks ─► held until the recording has begun ─┬─► VideoPath ─► Feed
//!                                                             └─► AudioPath ─► Feed
//! ```
//!
//! It asks no clock: each call says when it happens. `presence` decides who is waited for and when
//! the recording is over, `start_decision` when it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use gstreamer as gst;
use tokio::sync::watch;

use super::caps;
use super::codec::{TrackCodec, TrackKind};
use super::error::TracksError;
use super::frame_clocks::{FrameClocks, Timed};
use super::media_path::{AudioPath, OpenPaths, VideoPath};
use super::moment::Moment;
use super::peer::SenderReport;
use super::presence::{Awaited, Presence, PresenceState};
use super::room::{RoomEnd, RoomEvent, RoomRequests};
use super::start_decision::{Situation, StartDecision};
use super::sync::SETTLED;
use crate::plan::track::{Channel, Discovered, PublishedTrack, TracksPlan, VideoHandling};
use crate::source::{SourceContext, SourceEvent};

/// Frames that are held before the recording begins, at most. It begins milliseconds after the
/// first frame, or not at all.
const MOST_HELD: usize = 10_000;

#[derive(Debug)]
pub(super) struct TrackRouter {
    plan: TracksPlan,
    context: SourceContext,
    presence: Presence,
    presence_state: watch::Sender<PresenceState>,
    start: StartDecision,
    tracks: BTreeMap<String, Track>,
    clocks: FrameClocks,
    /// Frames with their running times, until the recording has begun.
    held: Vec<Timed>,
    video_path: VideoPath,
    audio_path: AudioPath,
    /// Audio tracks that no route matched, so far.
    unrouted: usize,
    requests: RoomRequests,
    /// Whether all audio tracks were muted when that was last reported.
    is_silent: bool,
    /// Whether all frames of a recording that has ended have arrived.
    complete: watch::Sender<bool>,
    has_ended: bool,
}

/// A published track.
#[derive(Debug)]
struct Track {
    published: PublishedTrack,
    /// Codec of its first frame that can be shown or heard.
    codec: Option<TrackCodec>,
    /// In which channel of a mix it is heard.
    channel: Channel,
    last_frame: Option<LastFrame>,
}

#[derive(Debug, Clone, Copy)]
struct LastFrame {
    /// Running time of the frame.
    at: Duration,
    /// Running time at which `at` was known.
    timed: Duration,
}

impl TrackRouter {
    /// `presence_state` is set when everybody who is waited for is there, and when that is
    /// impossible.
    ///
    /// # Errors
    /// If a part of the media paths can't be set up.
    pub(super) fn new(
        plan: &TracksPlan,
        context: SourceContext,
        presence_state: watch::Sender<PresenceState>,
    ) -> Result<Self, TracksError> {
        Ok(Self {
            plan: plan.clone(),
            presence: Presence::new(&plan.wanted),
            presence_state,
            start: StartDecision::new(plan),
            tracks: BTreeMap::new(),
            clocks: FrameClocks::default(),
            held: Vec::new(),
            video_path: VideoPath::new(plan.video, &plan.wanted, &context)?,
            audio_path: AudioPath::new(plan.audio, &context),
            context,
            unrouted: 0,
            requests: RoomRequests::default(),
            is_silent: false,
            complete: watch::Sender::new(false),
            has_ended: false,
        })
    }

    pub(super) fn on_event(&mut self, event: RoomEvent, now: Moment) {
        match event {
            RoomEvent::Joined { room_id } => self.notify(SourceEvent::InRoom { room_id }),
            RoomEvent::Found(track) => self.on_found(track, now),
            RoomEvent::Started(track) => self.on_started(&track, now),
            RoomEvent::Frame(frame) => {
                let received = now.running_at(frame.received_at);
                let timed = self.clocks.take(frame, received);
                self.on_timed(timed, now);
            }
            RoomEvent::Report(report) => self.on_report(&report, now),
            RoomEvent::Muted(track) => self.on_muted(&track, true, now),
            RoomEvent::Unmuted(track) => self.on_muted(&track, false, now),
            RoomEvent::Ended(track) => self.on_track_ended(&track, now),
            RoomEvent::Refused { track, why } => {
                if self.presence.needs(&track) {
                    self.end(SourceEvent::Failed(TracksError::Refused { track, why }.into()));
                } else {
                    self.notify(SourceEvent::Lacking { what: format!("track {track}"), why: why.to_owned() });
                }
            }
            RoomEvent::WrongKind { track, kind } => {
                self.presence_state.send_replace(PresenceState::WrongKind { track, kind });
            }
            RoomEvent::Present(identity) => {
                self.presence.mark_present(identity);
                self.check_presence();
            }
            RoomEvent::Left(identity) => {
                tracing::info!(participant = identity, "participant left");
                self.presence.mark_left(&identity);
                self.check_presence();
            }
            RoomEvent::Missing(identity) => self.presence.mark_missing(&identity, now.running),
            RoomEvent::Reconnecting { why } => {
                self.notify(SourceEvent::Interrupted { why: why.to_owned() });
            }
            RoomEvent::Reconnected { gap } => {
                self.video_path.mark_discontinuity();
                self.notify(SourceEvent::Resumed { gap });
            }
        }
    }

    pub(super) fn on_end(&mut self, end: RoomEnd) {
        self.complete.send_replace(true);
        match end {
            RoomEnd::Closed(reason) => {
                tracing::info!(reason = reason.as_str_name(), "room closed");
                self.end(SourceEvent::Ended);
            }
            RoomEnd::Duplicate => self.end(SourceEvent::Evicted),
            RoomEnd::Failed(error) => {
                let error = match self.start.has_begun() {
                    true => TracksError::Lost(error),
                    false => TracksError::Room(error),
                };
                self.end(SourceEvent::Failed(error.into()));
            }
            RoomEnd::Left => {}
        }
    }

    /// Called every half second, also if no event arrives.
    pub(super) fn on_tick(&mut self, now: Moment) {
        self.presence.give_up_missing(now.running);
        // If nobody is waited for, no event says that everybody is there.
        self.check_presence();
        let timed = self.clocks.settle_overdue(now.running);
        self.on_timed(timed, now);
        if let Some(elapsed) = self.elapsed(now)
            && self.held.is_empty()
        {
            self.video_path.advance(elapsed);
            self.audio_path.advance(elapsed);
        }
    }

    /// Becomes true when all frames of the recording, which has ended, have arrived. A packet that
    /// was lost and is sent again delays all that were sent after it.
    pub(super) fn completion(&mut self, now: Moment) -> watch::Receiver<bool> {
        self.check_completion(now);
        self.complete.subscribe()
    }

    /// The participant or tracks that are still waited for.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.presence.awaited()
    }

    /// Returns what is requested of the room since the last call.
    pub(super) fn take_requests(&mut self) -> RoomRequests {
        let mut requests = std::mem::take(&mut self.requests);
        requests.key_frames.extend(self.video_path.take_key_frame_requests());
        if self.context.published.take_request() {
            requests.key_frames.extend(self.video_sids());
        }
        requests.rest = self.rest();
        requests
    }

    /// The recording is over. Returns the paths, which still hold media.
    pub(super) fn finish(&mut self, now: Moment) -> OpenPaths {
        let sids: Vec<String> = self.tracks.keys().cloned().collect();
        sids.iter().for_each(|sid| self.settle(sid, now));
        self.release(now);
        let length = self.context.timeline.ended().map(Duration::from);
        let video_path = std::mem::replace(&mut self.video_path, VideoPath::Nowhere);
        let audio_path = std::mem::replace(&mut self.audio_path, AudioPath::Nowhere);
        let SourceContext { published, video, audio, .. } = &self.context;
        let feeds = [&published.video, &published.audio].into_iter().chain(video).chain(audio);
        OpenPaths::new(video_path, audio_path, feeds.cloned().collect(), length)
    }

    fn on_found(&mut self, track: PublishedTrack, now: Moment) {
        let (sid, kind) = (track.sid.clone(), track.kind);
        tracing::info!(track = sid, publisher = track.publisher, kind = kind.as_str(), "track found");
        self.presence.mark_published(&sid);
        let channel = self.assign_channel(&track);
        match kind {
            TrackKind::Video => self.video_path.add(&track, self.elapsed(now).unwrap_or_default()),
            TrackKind::Audio => self.audio_path.add(&track, channel),
        }
        self.start.on_track_published(now.running);
        self.clocks.add(&sid, &track.publisher);
        self.tracks.insert(sid, Track { published: track, codec: None, channel, last_frame: None });
        self.report_silence();
        self.check_presence();
    }

    fn on_started(&mut self, track: &PublishedTrack, now: Moment) {
        tracing::info!(track = track.sid, "track subscribed");
        self.settle(&track.sid, now);
        self.clocks.restart(&track.sid);
        if track.kind == TrackKind::Video {
            self.video_path.mark_discontinuity();
        }
    }

    /// Tracks that no route matches alternate between the channels, if the plan says so.
    fn assign_channel(&mut self, track: &PublishedTrack) -> Channel {
        let Some(audio) = self.plan.wanted.audio.as_ref().filter(|_| track.kind == TrackKind::Audio) else {
            return Channel::Both;
        };
        let channel = audio.channel(track, self.unrouted).unwrap_or(Channel::Both);
        if !audio.routes.iter().any(|route| route.from.fits(track)) {
            self.unrouted += 1;
        }
        channel
    }

    fn on_muted(&mut self, sid: &str, is_muted: bool, now: Moment) {
        tracing::info!(track = sid, muted = is_muted, "track mute changed");
        let elapsed = self.elapsed(now).unwrap_or_default();
        let Some(track) = self.tracks.get_mut(sid) else { return };
        track.published.is_muted = is_muted;
        match track.published.kind {
            TrackKind::Video => self.video_path.set_muted(sid, is_muted, elapsed),
            TrackKind::Audio => self.audio_path.set_muted(sid, is_muted),
        }
        self.report_silence();
    }

    fn on_track_ended(&mut self, sid: &str, now: Moment) {
        tracing::info!(track = sid, "track ended");
        // The frames that it sent before are recorded.
        self.settle(sid, now);
        self.clocks.remove(sid);
        match self.tracks.remove(sid).map(|track| track.published.kind) {
            Some(TrackKind::Video) => self.video_path.remove(sid, self.elapsed(now).unwrap_or_default()),
            Some(TrackKind::Audio) => self.audio_path.remove(sid),
            None => {}
        }
        if self.tracks.is_empty() {
            self.start.on_no_tracks();
        }
        self.presence.mark_unpublished(sid);
        self.report_silence();
        self.check_presence();
    }

    fn on_report(&mut self, report: &SenderReport, now: Moment) {
        self.clocks.report(report, now.running_at(report.received_at));
    }

    /// Reports when all audio tracks are muted, and when one no longer is.
    fn report_silence(&mut self) {
        let mut audio =
            self.tracks.values().filter(|track| track.published.kind == TrackKind::Audio).peekable();
        let is_silent = audio.peek().is_some() && audio.all(|track| track.published.is_muted);
        if std::mem::replace(&mut self.is_silent, is_silent) != is_silent {
            self.notify(SourceEvent::Muted(is_silent));
        }
    }

    /// Reports when everybody who is waited for is there, and when the recording is over.
    fn check_presence(&mut self) {
        if self.presence.is_over() {
            self.end(SourceEvent::Ended);
        }
        let was_awaited = *self.presence_state.borrow() == PresenceState::Awaited;
        if was_awaited && self.presence.awaited().is_none() {
            self.presence_state.send_replace(PresenceState::Complete);
            self.notify(SourceEvent::Loaded);
            // Key frames that came before were dropped.
            self.requests.key_frames.extend(self.video_sids());
        }
    }

    /// Gives times to the waiting frames of a track.
    fn settle(&mut self, sid: &str, now: Moment) {
        let timed = self.clocks.settle(sid);
        self.on_timed(timed, now);
    }

    fn on_timed(&mut self, timed: Vec<Timed>, now: Moment) {
        for (frame, at) in timed {
            if self.presence.awaited().is_some() {
                continue;
            }
            let Some(track) = self.tracks.get_mut(&*frame.track) else { continue };
            track.last_frame = Some(LastFrame { at, timed: now.running });
            if track.codec.is_none() {
                // Frames before the first key frame can't be shown.
                if !frame.is_key || caps::of(frame.codec, &frame.bytes).is_none() {
                    continue;
                }
                track.codec = Some(frame.codec);
            }
            if self.held.len() < MOST_HELD {
                self.held.push((frame, at));
            }
        }
        self.try_begin(now);
        self.release(now);
        self.check_completion(now);
    }

    /// Announces the beginning of the recording when it is decided.
    fn try_begin(&mut self, now: Moment) {
        let situation = Situation {
            is_complete: self.presence.awaited().is_none(),
            first_frame: self.held.iter().map(|(_, at)| *at).min(),
            tracks: self.tracks.values().map(|track| (track.published.kind, track.codec.is_some())),
        };
        let Some(start) = self.start.decide(situation, now.running) else { return };
        let discovered =
            |track: &Track| Some(Discovered { track: track.published.clone(), codec: track.codec? });
        let found: Vec<Discovered> = self.tracks.values().filter_map(discovered).collect();
        if let Err(error) = self.adapt_paths(&found, now) {
            self.end(SourceEvent::Failed(error.into()));
            return;
        }
        let start = gst::ClockTime::try_from(start).unwrap_or(gst::ClockTime::MAX);
        self.notify(SourceEvent::Discovered(found, start));
    }

    /// Sets up the paths that the plan left open until codecs are known.
    fn adapt_paths(&mut self, found: &[Discovered], now: Moment) -> Result<(), TracksError> {
        let decided = self.plan.decided(found);
        if decided.video != self.plan.video {
            self.video_path = VideoPath::new(decided.video, &decided.wanted, &self.context)?;
            if let VideoHandling::Decoded { width, height } = decided.video {
                self.requests.size = Some((width, height));
            }
            let elapsed = self.elapsed(now).unwrap_or_default();
            let is_video = |track: &&Track| track.published.kind == TrackKind::Video;
            for track in self.tracks.values().filter(is_video) {
                self.video_path.add(&track.published, elapsed);
            }
        }
        if decided.audio != self.plan.audio {
            self.audio_path = AudioPath::new(decided.audio, &self.context);
            let is_audio = |track: &&Track| track.published.kind == TrackKind::Audio;
            for track in self.tracks.values().filter(is_audio) {
                self.audio_path.add(&track.published, track.channel);
            }
        }
        self.plan = decided;
        Ok(())
    }

    /// Hands on the held frames, once the recording has begun.
    fn release(&mut self, now: Moment) {
        let Some(zero) = self.context.timeline.begun().map(Duration::from) else { return };
        let elapsed = self.elapsed(now).unwrap_or_default();
        for (frame, at) in std::mem::take(&mut self.held) {
            let media = at.saturating_sub(zero);
            if self.context.timeline.bound().is_some_and(|end| media >= Duration::from(end)) {
                continue;
            }
            let handed = match frame.codec.kind() {
                TrackKind::Audio => self.audio_path.frame(&frame, media),
                TrackKind::Video => self.video_path.frame(&frame, media, elapsed),
            };
            if let Err(error) = handed {
                self.end(SourceEvent::Failed(error.into()));
            }
        }
    }

    fn check_completion(&self, now: Moment) {
        let timeline = &self.context.timeline;
        let Some((zero, length)) = timeline.begun().zip(timeline.ended()) else { return };
        let end = Duration::from(zero + length);
        let is_behind =
            |frame: LastFrame| frame.at < end && now.running.saturating_sub(frame.timed) < SETTLED;
        let is_complete =
            |track: &Track| track.published.is_muted || !track.last_frame.is_some_and(is_behind);
        if self.tracks.values().all(is_complete) {
            self.complete.send_replace(true);
        }
    }

    /// How long received media may wait to be read. Media that is recorded as published may wait,
    /// because it carries its time of arrival; the kernel keeps less of video.
    fn rest(&self) -> Duration {
        let is_decoded = matches!(self.video_path, VideoPath::Rendered(_))
            || matches!(self.audio_path, AudioPath::Mixed(_));
        let has_begun = self.tracks.values().all(|track| track.codec.is_some());
        if is_decoded || !has_begun || self.tracks.is_empty() {
            return Duration::ZERO;
        }
        let has_video = self.tracks.values().any(|track| track.published.kind == TrackKind::Video);
        Duration::from_millis(if has_video { 50 } else { 100 })
    }

    fn video_sids(&self) -> Vec<String> {
        let videos = self.tracks.values().filter(|track| track.published.kind == TrackKind::Video);
        videos.map(|track| track.published.sid.clone()).collect()
    }

    /// Media time; `None` before the recording begins, its length after it ended.
    fn elapsed(&self, now: Moment) -> Option<Duration> {
        let timeline = &self.context.timeline;
        let running = || Some(now.running.saturating_sub(timeline.begun()?.into()));
        timeline.ended().map(Duration::from).or_else(running)
    }

    /// Reports the end, once.
    fn end(&mut self, event: SourceEvent) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.notify(event);
        }
    }

    fn notify(&self, event: SourceEvent) {
        if self.context.events.send(event).is_err() {
            tracing::debug!("source event dropped: recording already ended");
        }
    }
}

#[cfg(test)]
mod tests;
