//! The frames of a room's tracks, each put in its place in time and handed on to where the plan wants it.
//!
//! ```text
//! frame ─► TrackClock ─► (held until the recording has begun) ─┬─► VideoPath ─► Feed
//!                                                              └─► AudioPath ───► Feed
//! ```
//!
//! The recording begins with the first frame that can be shown or heard. When it begins, what it waits for and when it is over
//! is `presence`'s affair.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, UNIX_EPOCH};

use gstreamer as gst;
use tokio::sync::watch;

use super::codec::{TrackCodec, TrackKind};
use super::media_path::{AudioPath, Rest, VideoPath};
use super::peer::{Frame, SenderReport};
use super::presence::{Awaited, Presence, PresenceState};
use super::room::{RoomEnd, RoomEvent, RoomRequests};
use super::sync::{PublisherClock, TrackClock};
use super::{SETTLED, TracksError, caps};
use crate::media::Timeline;
use crate::plan::track::{
    AudioHandling, Channel, Discovered, Lasts, PublishedTrack, TracksPlan, VideoHandling,
};
use crate::source::{SourceContext, SourceEvent};

/// A recording begins milliseconds after its first frame. More than this is one that never will.
const MOST_HELD: usize = 10_000;
/// From the first frame: what has not shown its codec until then is not waited for.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// A room in which somebody publishes audio and nothing is heard is recorded all the same.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct TrackRouter {
    plan: TracksPlan,
    context: SourceContext,
    presence: Presence,
    presence_state: watch::Sender<PresenceState>,
    /// Whether all has come that belongs in a recording that has ended.
    whole: watch::Sender<bool>,
    /// It was said that the recording may begin.
    has_announced: bool,
    /// Since when there are tracks; `None`: there is none.
    tracks_since: Option<Instant>,
    tracks: BTreeMap<String, Track>,
    /// Of everybody who published a track that was found.
    publishers: HashMap<String, PublisherClock>,
    /// With their running times, until the recording has begun.
    held: Vec<(Frame, gst::ClockTime)>,
    video_path: VideoPath,
    audio_path: AudioPath,
    /// How many tracks of sound no route fitted.
    turns: usize,
    requests: RoomRequests,
    /// Whether all sound there is was muted when it was last told.
    is_silent: bool,
    ended: bool,
}

/// One track that is there.
#[derive(Debug)]
struct Track {
    published: PublishedTrack,
    clock: Option<TrackClock<Frame>>,
    /// Of its first frame that can be shown or heard.
    codec: Option<TrackCodec>,
    /// Where in a mix it is heard.
    channel: Channel,
    /// Running time of its last frame, and when that had its place.
    reached: Option<(Duration, Instant)>,
}

impl TrackRouter {
    /// `presence_state` is set when everybody who is waited for is there, and when that can't be.
    ///
    /// # Errors
    /// When what the plan does to media can't be had.
    pub(super) fn new(
        plan: &TracksPlan,
        context: SourceContext,
        presence_state: watch::Sender<PresenceState>,
    ) -> Result<Self, TracksError> {
        Ok(Self {
            plan: plan.clone(),
            presence: Presence::new(&plan.wanted),
            presence_state,
            whole: watch::Sender::new(false),
            has_announced: false,
            tracks_since: None,
            tracks: BTreeMap::new(),
            publishers: HashMap::new(),
            held: Vec::new(),
            video_path: VideoPath::new(plan.video, &plan.wanted, &context)?,
            audio_path: AudioPath::new(plan.audio, &context)?,
            context,
            turns: 0,
            requests: RoomRequests::default(),
            is_silent: false,
            ended: false,
        })
    }

    pub(super) fn on_event(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Joined { room_id } => self.notify(SourceEvent::InRoom { room_id }),
            RoomEvent::Found(track) => self.on_found(track),
            // Its frames have another clock from here on.
            RoomEvent::Started(track) => {
                tracing::info!(track = track.sid, "subscribed");
                self.settle(&track.sid);
                if let Some(known) = self.tracks.get_mut(&track.sid) {
                    known.clock = None;
                }
                if track.kind == TrackKind::Video {
                    self.video_path.mark_discontinuity();
                }
            }
            RoomEvent::Frame(frame) => self.on_frame(frame),
            RoomEvent::Report(report) => self.on_report(&report),
            // What is missing is filled by time, whatever the reason.
            RoomEvent::Muted(track) => self.on_muted(&track, true),
            RoomEvent::Unmuted(track) => self.on_muted(&track, false),
            RoomEvent::Ended(track) => self.on_gone(&track),
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
                tracing::info!(participant = identity, "left");
                self.presence.mark_left(&identity);
                self.check_presence();
            }
            RoomEvent::Missing(identity) => self.presence.mark_missing(&identity, Instant::now()),
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
        self.whole.send_replace(true);
        match end {
            RoomEnd::Closed(reason) => {
                tracing::info!(reason = reason.as_str_name(), "the room is over");
                self.end(SourceEvent::Ended);
            }
            RoomEnd::Duplicate => self.end(SourceEvent::Evicted),
            RoomEnd::Failed(error) => {
                let error = match self.has_announced {
                    true => TracksError::Lost(error),
                    false => TracksError::Room(error),
                };
                self.end(SourceEvent::Failed(error.into()));
            }
            RoomEnd::Left => {}
        }
    }

    /// Time goes on, also when nothing comes.
    pub(super) fn on_tick(&mut self) {
        self.presence.give_up_missing(Instant::now());
        // Where nobody is waited for, nobody's coming tells that all are there.
        self.check_presence();
        self.settle_overdue();
        self.may_begin();
        self.release();
        if let Some(elapsed) = self.context.timeline.elapsed().map(Duration::from)
            && self.held.is_empty()
        {
            self.video_path.advance(elapsed);
            self.audio_path.advance(elapsed);
        }
        self.watch_complete();
    }

    /// Becomes true when all has come that belongs in the recording, which has ended: what was lost on its way and asked for again holds
    /// up all that was sent after it.
    pub(super) fn whole(&mut self) -> watch::Receiver<bool> {
        self.watch_complete();
        self.whole.subscribe()
    }

    fn watch_complete(&mut self) {
        let timeline = &self.context.timeline;
        let Some((zero, length)) = timeline.begun().zip(timeline.ended()) else { return };
        let (end, now) = (Duration::from(zero + length), Instant::now());
        let is_whole = |track: &Track| {
            let is_behind = |(at, when): (Duration, Instant)| at < end && now.duration_since(when) < SETTLED;
            track.published.is_muted || !track.reached.is_some_and(is_behind)
        };
        if self.tracks.values().all(is_whole) {
            self.whole.send_replace(true);
        }
    }

    /// What is waited for.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.presence.awaited()
    }

    /// What is wanted of the room since this was last asked.
    pub(super) fn requests(&mut self) -> RoomRequests {
        let mut requests = std::mem::take(&mut self.requests);
        requests.key_frames.extend(self.video_path.needs_key_frames());
        if self.context.published.take_request() {
            requests.key_frames.extend(self.video_sids());
        }
        requests.rest = self.rest();
        requests
    }

    /// What goes into a file as it was published may wait, once it is there: its times are those of its arrival. Of pictures more
    /// arrives than the kernel keeps for long.
    fn rest(&self) -> Duration {
        let is_decoded =
            matches!(self.video_path, VideoPath::Shown(_)) || matches!(self.audio_path, AudioPath::Mixed(_));
        let has_begun = self.tracks.values().all(|track| track.codec.is_some());
        if is_decoded || !has_begun || self.tracks.is_empty() {
            return Duration::ZERO;
        }
        let has_video = self.tracks.values().any(|track| track.published.kind == TrackKind::Video);
        Duration::from_millis(if has_video { 50 } else { 100 })
    }

    /// The recording is over. Gives what is still to be emptied.
    pub(super) fn finish(&mut self) -> Rest {
        let sids: Vec<String> = self.tracks.keys().cloned().collect();
        sids.iter().for_each(|sid| self.settle(sid));
        self.release();
        let length = self.context.timeline.ended().map(Duration::from);
        let video_path = std::mem::replace(&mut self.video_path, VideoPath::Nowhere);
        let audio_path = std::mem::replace(&mut self.audio_path, AudioPath::Nowhere);
        let SourceContext { published, video, audio, .. } = &self.context;
        let feeds = [&published.video, &published.audio].into_iter().chain(video).chain(audio);
        Rest::new(video_path, audio_path, feeds.cloned().collect(), length)
    }

    fn on_found(&mut self, track: PublishedTrack) {
        tracing::info!(track = track.sid, publisher = track.publisher, kind = track.kind.as_str(), "found");
        self.presence.mark_published(&track.sid);
        let channel = self.channel_of(&track);
        match track.kind {
            TrackKind::Video => self.video_path.add(&track),
            TrackKind::Audio => self.audio_path.add(&track, channel),
        }
        let sid = track.sid.clone();
        self.tracks_since.get_or_insert_with(Instant::now);
        self.publishers.entry(track.publisher.clone()).or_default();
        self.tracks.insert(sid, Track { published: track, clock: None, codec: None, channel, reached: None });
        self.report_silence();
        self.check_presence();
    }

    /// By turns, where the plan says so: each track of sound that no route fits is the next one.
    fn channel_of(&mut self, track: &PublishedTrack) -> Channel {
        let Some(audio) = self.plan.wanted.audio.as_ref().filter(|_| track.kind == TrackKind::Audio) else {
            return Channel::Both;
        };
        let channel = audio.channel(track, self.turns).unwrap_or(Channel::Both);
        if !audio.routes.iter().any(|route| route.from.fits(track)) {
            self.turns += 1;
        }
        channel
    }

    fn on_muted(&mut self, sid: &str, muted: bool) {
        tracing::info!(track = sid, muted, "muted or not");
        let Some(track) = self.tracks.get_mut(sid) else { return };
        track.published.is_muted = muted;
        match track.published.kind {
            TrackKind::Video => self.video_path.set_muted(sid, muted),
            TrackKind::Audio => self.audio_path.set_muted(sid, muted),
        }
        self.report_silence();
    }

    fn on_gone(&mut self, sid: &str) {
        tracing::info!(track = sid, "the track ended");
        // What it sent before it went is still its.
        self.settle(sid);
        match self.tracks.remove(sid).map(|track| track.published.kind) {
            Some(TrackKind::Video) => self.video_path.remove(sid),
            Some(TrackKind::Audio) => self.audio_path.remove(sid),
            None => {}
        }
        if self.tracks.is_empty() {
            self.tracks_since = None;
        }
        self.presence.mark_unpublished(sid);
        self.report_silence();
        self.check_presence();
    }

    /// Tells when all sound there is was muted, or no longer is.
    fn report_silence(&mut self) {
        let mut audio_path =
            self.tracks.values().filter(|track| track.published.kind == TrackKind::Audio).peekable();
        let is_silent = audio_path.peek().is_some() && audio_path.all(|track| track.published.is_muted);
        if std::mem::replace(&mut self.is_silent, is_silent) != is_silent {
            self.notify(SourceEvent::Muted(is_silent));
        }
    }

    /// Looks who is there, and tells when that begins or ends something.
    fn check_presence(&mut self) {
        if self.presence.is_over() {
            self.end(SourceEvent::Ended);
        }
        let (is_first, missing) =
            (*self.presence_state.borrow() == PresenceState::Awaited, self.presence.awaited());
        if missing.is_none() && is_first {
            self.presence_state.send_replace(PresenceState::Complete);
            self.notify(SourceEvent::Loaded);
            // What came of a picture before is gone.
            self.requests.key_frames.extend(self.video_sids());
        }
    }

    fn video_sids(&self) -> Vec<String> {
        let videos = self.tracks.values().filter(|track| track.published.kind == TrackKind::Video);
        videos.map(|track| track.published.sid.clone()).collect()
    }

    fn on_report(&mut self, report: &SenderReport) {
        let Some(track) = self.tracks.get_mut(&*report.track) else { return };
        let Some(clock) = &mut track.clock else { return };
        let wall = report.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let received = running(&self.context.timeline, report.received_at);
        let Some(publisher) = self.publishers.get_mut(&track.published.publisher) else { return };
        publisher.report(wall, received.as_secs_f64());
        clock.report(report.rtp_time, wall, received.as_secs_f64());
    }

    fn on_frame(&mut self, frame: Frame) {
        let Some(track) = self.tracks.get_mut(&*frame.track) else { return };
        let clock = track.clock.get_or_insert_with(|| TrackClock::new(frame.clock_rate));
        let (rtp, received) = (frame.rtp_time, running(&self.context.timeline, frame.received_at));
        let Some(publisher) = self.publishers.get(&track.published.publisher) else { return };
        let placed = clock.take(frame, rtp, received, publisher);
        self.on_placed(placed);
    }

    /// Frames of a track that wait for a place get one.
    fn settle(&mut self, sid: &str) {
        let Some(track) = self.tracks.get_mut(sid) else { return };
        let Some(publisher) = self.publishers.get(&track.published.publisher) else { return };
        let placed = track.clock.as_mut().map(|clock| clock.settle(publisher));
        self.on_placed(placed.unwrap_or_default());
    }

    /// As [`TrackRouter::settle`], where they waited long enough.
    fn settle_overdue(&mut self) {
        let (now, mut placed) = (self.context.timeline.now().into(), Vec::new());
        for track in self.tracks.values_mut() {
            let Some(publisher) = self.publishers.get(&track.published.publisher) else { continue };
            placed.extend(track.clock.iter_mut().flat_map(|clock| clock.overdue(now, publisher)));
        }
        self.on_placed(placed);
    }

    fn on_placed(&mut self, placed: Vec<(Frame, Duration)>) {
        for (frame, at) in placed {
            // Before all are there that are waited for, nothing is recorded.
            if self.presence.awaited().is_some() {
                continue;
            }
            let Some(track) = self.tracks.get_mut(&*frame.track) else { continue };
            track.reached = Some((at, Instant::now()));
            if track.codec.is_none() {
                // What comes before can be shown to nobody.
                if !frame.is_key || caps::of(frame.codec, &frame.bytes).is_none() {
                    continue;
                }
                track.codec = Some(frame.codec);
            }
            let at = gst::ClockTime::try_from(at).unwrap_or(gst::ClockTime::MAX);
            if self.held.len() < MOST_HELD {
                self.held.push((frame, at));
            }
        }
        self.may_begin();
        self.release();
        self.watch_complete();
    }

    /// Says, once, that the recording may begin: with the first frame, when the codecs of those tracks are known of which it depends on
    /// them what outputs are.
    fn may_begin(&mut self) {
        let first = self.held.iter().map(|(_, at)| *at).min().or_else(|| self.begins_in_silence());
        let Some(first) = first.filter(|_| !self.has_announced) else { return };
        let is_open = |track: &&Track| match track.published.kind {
            TrackKind::Video => !matches!(self.plan.video, VideoHandling::Decoded { .. }),
            TrackKind::Audio => self.plan.audio != AudioHandling::Mixed,
        };
        let is_known = self.tracks.values().filter(is_open).all(|track| track.codec.is_some());
        if !is_known && Duration::from(self.context.timeline.now().saturating_sub(first)) < KNOWN_WITHIN {
            return;
        }
        let known = |track: &Track| Some(Discovered { track: track.published.clone(), codec: track.codec? });
        let found: Vec<Discovered> = self.tracks.values().filter_map(known).collect();
        self.has_announced = true;
        if let Err(error) = self.decide(&found) {
            self.end(SourceEvent::Failed(error.into()));
            return;
        }
        self.notify(SourceEvent::Discovered(found, first));
    }

    /// Does what the plan says of tracks like these.
    fn decide(&mut self, found: &[Discovered]) -> Result<(), TracksError> {
        let decided = self.plan.decided(found);
        if decided.video != self.plan.video {
            self.video_path = VideoPath::new(decided.video, &decided.wanted, &self.context)?;
            if let VideoHandling::Decoded { width, height } = decided.video {
                self.requests.size = Some((width, height));
            }
            let is_video = |track: &&Track| track.published.kind == TrackKind::Video;
            for track in self.tracks.values().filter(is_video) {
                self.video_path.add(&track.published);
            }
        }
        if decided.audio != self.plan.audio {
            self.audio_path = AudioPath::new(decided.audio, &self.context)?;
            let is_audio = |track: &&Track| track.published.kind == TrackKind::Audio;
            for track in self.tracks.values().filter(is_audio) {
                self.audio_path.add(&track.published, track.channel);
            }
        }
        self.plan = decided;
        Ok(())
    }

    /// When a room's audio begins in which somebody publishes and nothing is heard: now, if it has been waited for. Without a track there
    /// is nothing to record yet.
    fn begins_in_silence(&self) -> Option<gst::ClockTime> {
        let TracksPlan { wanted, audio, .. } = &self.plan;
        let is_room_audio =
            *audio == AudioHandling::Mixed && wanted.video.is_empty() && wanted.lasts == Lasts::Room;
        let since = self.tracks_since.filter(|_| is_room_audio && self.presence.awaited().is_none())?;
        (since.elapsed() >= HEARD_WITHIN).then(|| self.context.timeline.now())
    }

    /// Hands on what was held, once the recording has begun.
    fn release(&mut self) {
        let Some(zero) = self.context.timeline.begun() else { return };
        for (frame, at) in std::mem::take(&mut self.held) {
            let media = at.saturating_sub(zero);
            if self.context.timeline.bound().is_some_and(|end| media >= end) {
                continue;
            }
            let handed = match frame.codec.kind() {
                TrackKind::Audio => self.audio_path.frame(&frame, media.into()),
                TrackKind::Video => self.video_path.frame(&frame, media.into()),
            };
            if let Err(error) = handed {
                self.end(SourceEvent::Failed(error.into()));
            }
        }
    }

    /// It is over, once.
    fn end(&mut self, event: SourceEvent) {
        if !std::mem::replace(&mut self.ended, true) {
            self.notify(event);
        }
    }

    fn notify(&self, event: SourceEvent) {
        if self.context.events.send(event).is_err() {
            tracing::debug!("nobody listens to the source any more");
        }
    }
}

/// The running time of a moment that is not long ago.
fn running(timeline: &Timeline, at: Instant) -> Duration {
    Duration::from(timeline.now()).saturating_sub(at.elapsed())
}

#[cfg(test)]
mod tests;
