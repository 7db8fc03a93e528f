//! The clocks of all tracks of a room: give each frame its running time. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, UNIX_EPOCH};

use super::peer::{Frame, SenderReport};
use super::sync::{PublisherClock, TrackClock};

/// A frame and its running time.
pub(super) type Timed = (Frame, Duration);

#[derive(Debug, Default)]
pub(super) struct FrameClocks {
    /// By sid.
    tracks: BTreeMap<String, Track>,
    /// By identity, of everybody who published a track. The tracks of a publisher share its clock.
    publishers: HashMap<String, PublisherClock>,
}

#[derive(Debug)]
struct Track {
    publisher: String,
    /// `None` before the first frame.
    clock: Option<TrackClock<Frame>>,
}

impl FrameClocks {
    pub(super) fn add(&mut self, sid: &str, publisher: &str) {
        self.publishers.entry(publisher.to_owned()).or_default();
        self.tracks.insert(sid.to_owned(), Track { publisher: publisher.to_owned(), clock: None });
    }

    pub(super) fn remove(&mut self, sid: &str) {
        self.tracks.remove(sid);
    }

    /// The next frames of the track have another RTP clock.
    pub(super) fn restart(&mut self, sid: &str) {
        if let Some(track) = self.tracks.get_mut(sid) {
            track.clock = None;
        }
    }

    /// Takes a frame that was received at a running time. Returns the frames whose time is known
    /// now: none while the first ones wait for one another, and then all of them.
    pub(super) fn take(&mut self, frame: Frame, received: Duration) -> Vec<Timed> {
        let Some(track) = self.tracks.get_mut(&*frame.track) else { return Vec::new() };
        let Some(publisher) = self.publishers.get(&track.publisher) else { return Vec::new() };
        let clock = track.clock.get_or_insert_with(|| TrackClock::new(frame.clock_rate));
        let rtp_time = frame.rtp_time;
        clock.take(frame, rtp_time, received, publisher)
    }

    pub(super) fn report(&mut self, report: &SenderReport, received: Duration) {
        let Some(track) = self.tracks.get_mut(&*report.track) else { return };
        let Some(clock) = &mut track.clock else { return };
        let Some(publisher) = self.publishers.get_mut(&track.publisher) else { return };
        let wall = report.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        publisher.report(wall, received.as_secs_f64());
        clock.report(report.rtp_time, wall, received.as_secs_f64());
    }

    /// Gives times to the waiting frames of a track.
    pub(super) fn settle(&mut self, sid: &str) -> Vec<Timed> {
        let Some(track) = self.tracks.get_mut(sid) else { return Vec::new() };
        let Some(publisher) = self.publishers.get(&track.publisher) else { return Vec::new() };
        track.clock.as_mut().map(|clock| clock.settle(publisher)).unwrap_or_default()
    }

    /// Gives times to the frames that have waited long enough.
    pub(super) fn settle_overdue(&mut self, now: Duration) -> Vec<Timed> {
        let mut timed = Vec::new();
        for track in self.tracks.values_mut() {
            let Some(publisher) = self.publishers.get(&track.publisher) else { continue };
            timed.extend(track.clock.iter_mut().flat_map(|clock| clock.overdue(now, publisher)));
        }
        timed
    }
}
