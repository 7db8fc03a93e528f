//! Decides which tracks to subscribe to, as participants come and go. Pure: takes the server's
//! messages and returns changes.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol as proto;
use proto::participant_info::State;

use crate::plan::track::{ParticipantKind, PublishedTrack, TrackKind, TrackOrigin, Wanted};

/// A change of a wanted track, or of a participant whom the plan names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The track was published and has to be subscribed to.
    Found(PublishedTrack),
    Muted(String),
    Unmuted(String),
    /// The track was unpublished, or its publisher left.
    Gone(String),
    /// The plan names the track as one of the other kind.
    WrongKind {
        sid: String,
        kind: TrackKind,
    },
    /// A participant whom the plan names joined, or came back.
    Present(String),
    Left(String),
    /// The participant was there before the room was lost, and is not there now.
    Missing(String),
}

/// The wanted tracks that are in the room.
#[derive(Debug)]
pub(super) struct Subscription {
    wanted: Wanted,
    found: BTreeMap<String, Found>,
    /// Sids by identity, of the participants whom the plan names.
    present: BTreeMap<String, String>,
    /// Named tracks of the wrong kind that were reported.
    wrong: BTreeSet<String>,
}

#[derive(Debug)]
struct Found {
    track: PublishedTrack,
    participant: String,
}

impl Found {
    fn update_participant(&mut self, participant: &proto::ParticipantInfo) {
        self.participant.clone_from(&participant.sid);
        self.track.publisher.clone_from(&participant.identity);
    }
}

impl Subscription {
    pub(super) const fn new(wanted: Wanted) -> Self {
        Self { wanted, found: BTreeMap::new(), present: BTreeMap::new(), wrong: BTreeSet::new() }
    }

    /// Sids of the subscribed tracks.
    pub(super) fn sids(&self) -> Vec<String> {
        self.found.keys().cloned().collect()
    }

    pub(super) fn track(&self, sid: &str) -> Option<&PublishedTrack> {
        self.found.get(sid).map(|found| &found.track)
    }

    /// Takes an update of some participants. The others did not change.
    pub(super) fn update(&mut self, participants: &[proto::ParticipantInfo]) -> Vec<Change> {
        participants.iter().flat_map(|participant| self.update_one(participant)).collect()
    }

    /// Takes the list of all participants, after the room was rejoined.
    pub(super) fn replace(&mut self, participants: &[proto::ParticipantInfo]) -> Vec<Change> {
        let is_there = |sid: &str| {
            let mut tracks = participants.iter().flat_map(|participant| &participant.tracks);
            tracks.any(|track| track.sid == sid)
        };
        let gone: Vec<String> = self.found.keys().filter(|sid| !is_there(sid)).cloned().collect();
        let mut changes: Vec<Change> = gone.into_iter().map(|sid| self.lose(sid)).collect();
        let is_here = |identity: &String| participants.iter().any(|other| other.identity == *identity);
        let missing: Vec<String> =
            self.present.keys().filter(|identity| !is_here(identity)).cloned().collect();
        for identity in missing {
            self.present.remove(&identity);
            changes.push(Change::Missing(identity));
        }
        // A participant may have come back with another sid and the same tracks.
        for participant in participants {
            for track in &participant.tracks {
                if let Some(found) = self.found.get_mut(&track.sid) {
                    found.update_participant(participant);
                }
            }
        }
        changes.extend(self.update(participants));
        changes
    }

    fn update_one(&mut self, participant: &proto::ParticipantInfo) -> Vec<Change> {
        let has_left = participant.state() == State::Disconnected;
        let lists = |sid: &str| !has_left && participant.tracks.iter().any(|track| track.sid == sid);
        // If a participant joins again, servers report the new sid and not the end of the old one.
        let is_again = |found: &Found| !has_left && found.track.publisher == participant.identity;
        let was_theirs = |(sid, found): (&String, &Found)| {
            let is_theirs = found.participant == participant.sid || is_again(found);
            (is_theirs && !lists(sid)).then(|| sid.clone())
        };
        let gone: Vec<String> = self.found.iter().filter_map(was_theirs).collect();
        let mut changes: Vec<Change> = gone.into_iter().map(|sid| self.lose(sid)).collect();
        if has_left {
            // The participant may be back already, with another sid.
            if self.present.get(&participant.identity) == Some(&participant.sid) {
                self.present.remove(&participant.identity);
                changes.push(Change::Left(participant.identity.clone()));
            }
            return changes;
        }
        if self.wanted.identities().contains(&&*participant.identity)
            && self.present.insert(participant.identity.clone(), participant.sid.clone()).is_none()
        {
            changes.push(Change::Present(participant.identity.clone()));
        }
        for track in participant.tracks.iter().filter_map(|info| published(participant, info)) {
            if self.wanted.takes(&track) {
                changes.extend(self.see(participant, track));
            } else if self.wanted.sids().contains(&&*track.sid) && self.wrong.insert(track.sid.clone()) {
                changes.push(Change::WrongKind { sid: track.sid, kind: track.kind });
            }
        }
        changes
    }

    fn see(&mut self, participant: &proto::ParticipantInfo, track: PublishedTrack) -> Option<Change> {
        let (sid, is_muted) = (track.sid.clone(), track.is_muted);
        if let Some(found) = self.found.get_mut(&sid) {
            found.update_participant(participant);
            let was_muted = std::mem::replace(&mut found.track.is_muted, is_muted);
            return match (was_muted, is_muted) {
                (false, true) => Some(Change::Muted(sid)),
                (true, false) => Some(Change::Unmuted(sid)),
                (false, false) | (true, true) => None,
            };
        }
        let found = Found { track: track.clone(), participant: participant.sid.clone() };
        self.found.insert(sid, found);
        Some(Change::Found(track))
    }

    fn lose(&mut self, sid: String) -> Change {
        self.found.remove(&sid);
        Change::Gone(sid)
    }
}

/// `None` for a track that is neither audio nor video.
fn published(participant: &proto::ParticipantInfo, info: &proto::TrackInfo) -> Option<PublishedTrack> {
    let kind = match info.r#type() {
        proto::TrackType::Audio => TrackKind::Audio,
        proto::TrackType::Video => TrackKind::Video,
        proto::TrackType::Data => return None,
    };
    let origin = match info.source() {
        proto::TrackSource::Unknown => TrackOrigin::Unknown,
        proto::TrackSource::Camera => TrackOrigin::Camera,
        proto::TrackSource::Microphone => TrackOrigin::Microphone,
        proto::TrackSource::ScreenShare => TrackOrigin::ScreenShare,
        proto::TrackSource::ScreenShareAudio => TrackOrigin::ScreenShareAudio,
    };
    Some(PublishedTrack {
        sid: info.sid.clone(),
        kind,
        origin,
        publisher: participant.identity.clone(),
        publisher_kind: kind_of(participant),
        is_muted: info.muted,
    })
}

/// A kind that this version does not know counts as a standard participant.
fn kind_of(participant: &proto::ParticipantInfo) -> ParticipantKind {
    use proto::participant_info::Kind;
    match participant.kind() {
        Kind::Standard => ParticipantKind::Standard,
        Kind::Ingress => ParticipantKind::Ingress,
        Kind::Egress => ParticipantKind::Egress,
        Kind::Sip => ParticipantKind::Sip,
        Kind::Agent => ParticipantKind::Agent,
        Kind::Connector => ParticipantKind::Connector,
        Kind::Bridge => ParticipantKind::Bridge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::track::Lasts;

    fn participant(sid: &str, tracks: &[(&str, bool)]) -> proto::ParticipantInfo {
        let track = |(sid, muted): &(&str, bool)| proto::TrackInfo {
            sid: (*sid).to_owned(),
            muted: *muted,
            source: proto::TrackSource::Microphone.into(),
            r#type: if *sid == "TR_b" { proto::TrackType::Video } else { proto::TrackType::Audio }.into(),
            ..proto::TrackInfo::default()
        };
        proto::ParticipantInfo {
            sid: sid.to_owned(),
            identity: format!("identity of {sid}"),
            state: State::Active.into(),
            tracks: tracks.iter().map(track).collect(),
            ..proto::ParticipantInfo::default()
        }
    }

    /// A publisher's tracks with their mute state, and the expected changes.
    type Step<'a> = (&'a [(&'a str, bool)], &'a [&'a str]);

    fn subscription() -> Subscription {
        Subscription::new(Wanted::tracks(Some("TR_b"), Some("TR_a")))
    }

    fn names(changes: &[Change]) -> Vec<String> {
        let name = |change: &Change| match change {
            Change::Found(track) => format!("found {}", track.sid),
            Change::Muted(sid) => format!("muted {sid}"),
            Change::Unmuted(sid) => format!("unmuted {sid}"),
            Change::Gone(sid) => format!("gone {sid}"),
            Change::WrongKind { sid, kind } => format!("{} {sid}", kind.as_str()),
            Change::Present(identity) => format!("{identity} is present"),
            Change::Left(identity) => format!("{identity} left"),
            Change::Missing(identity) => format!("{identity} is missing"),
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn only_wanted_tracks_are_found_once_and_lost_with_their_publisher() {
        let mut subscription = subscription();
        let here = participant("PA_1", &[("TR_a", false), ("TR_x", false)]);
        assert_eq!(names(&subscription.update(std::slice::from_ref(&here))), ["found TR_a"]);
        assert_eq!(names(&subscription.update(&[here])), [""; 0]);
        assert_eq!(subscription.track("TR_a").unwrap().publisher, "identity of PA_1");
        let gone = proto::ParticipantInfo {
            state: State::Disconnected.into(),
            ..participant("PA_1", &[("TR_a", false)])
        };
        assert_eq!(names(&subscription.update(&[gone])), ["gone TR_a"]);
        assert!(subscription.sids().is_empty());
    }

    #[test]
    fn a_track_is_muted_unmuted_unpublished_and_published_again() {
        let mut subscription = subscription();
        let steps: &[Step] = &[
            (&[("TR_a", true)], &["found TR_a"]),
            (&[("TR_a", false)], &["unmuted TR_a"]),
            (&[("TR_a", true)], &["muted TR_a"]),
            (&[("TR_b", false)], &["gone TR_a", "found TR_b"]),
            (&[("TR_a", false), ("TR_b", false)], &["found TR_a"]),
        ];
        for (tracks, expected) in steps {
            assert_eq!(names(&subscription.update(&[participant("PA_1", tracks)])), *expected);
        }
    }

    #[test]
    fn a_track_of_the_wrong_kind_is_reported_once() {
        let mut subscription = Subscription::new(Wanted::tracks(Some("TR_a"), None));
        let here = [participant("PA_1", &[("TR_a", false)])];
        assert_eq!(names(&subscription.update(&here)), ["audio TR_a"]);
        assert_eq!(names(&subscription.update(&here)), [""; 0]);
    }

    #[test]
    fn a_named_participant_joins_leaves_and_is_missing() {
        let mut subscription = Subscription::new(Wanted {
            lasts: Lasts::Participant("ann".to_owned()),
            ..Wanted::tracks(None, None)
        });
        let ann = |sid: &str, state: State| proto::ParticipantInfo {
            identity: "ann".to_owned(),
            state: state.into(),
            ..participant(sid, &[])
        };
        let mut see = |participant| names(&subscription.update(&[participant]));
        assert_eq!(see(participant("PA_x", &[("TR_a", false)])), [""; 0]);
        assert_eq!(see(ann("PA_1", State::Joined)), ["ann is present"]);
        assert_eq!(see(ann("PA_1", State::Active)), [""; 0]);
        // The participant joins again before the former session is reported as ended.
        assert_eq!(see(ann("PA_2", State::Active)), [""; 0]);
        assert_eq!(see(ann("PA_1", State::Disconnected)), [""; 0]);
        assert_eq!(see(ann("PA_2", State::Disconnected)), ["ann left"]);
        assert_eq!(see(ann("PA_3", State::Active)), ["ann is present"]);
        assert_eq!(names(&subscription.replace(&[])), ["ann is missing"]);
        assert_eq!(names(&subscription.replace(&[ann("PA_4", State::Active)])), ["ann is present"]);
    }

    #[test]
    fn a_participant_who_joins_again_loses_the_tracks_of_the_former_session() {
        let mut subscription = subscription();
        let ann = |sid: &str, state: State, tracks: &[(&str, bool)]| proto::ParticipantInfo {
            identity: "ann".to_owned(),
            state: state.into(),
            ..participant(sid, tracks)
        };
        let mut see = |participant| names(&subscription.update(&[participant]));
        assert_eq!(see(ann("PA_1", State::Active, &[("TR_a", false)])), ["found TR_a"]);
        // Other participants change nothing.
        assert_eq!(see(participant("PA_x", &[])), [""; 0]);
        assert_eq!(see(ann("PA_2", State::Joined, &[])), ["gone TR_a"]);
        assert_eq!(see(ann("PA_2", State::Active, &[("TR_b", false)])), ["found TR_b"]);
        // A late report of the former session's end does not end the current one.
        assert_eq!(see(ann("PA_1", State::Disconnected, &[("TR_a", false)])), [""; 0]);
        // A session that was moved to another server has the same tracks.
        assert_eq!(see(ann("PA_3", State::Active, &[("TR_b", false)])), [""; 0]);
        assert_eq!(see(ann("PA_3", State::Disconnected, &[("TR_b", false)])), ["gone TR_b"]);
    }

    #[test]
    fn rejoining_loses_only_tracks_that_are_gone() {
        let mut subscription = subscription();
        subscription
            .update(&[participant("PA_1", &[("TR_a", false)]), participant("PA_2", &[("TR_b", false)])]);
        let changes = subscription.replace(&[participant("PA_3", &[("TR_b", true)])]);
        assert_eq!(names(&changes), ["gone TR_a", "muted TR_b"]);
        // The track belongs to PA_3 now.
        assert_eq!(names(&subscription.update(&[participant("PA_2", &[])])), [""; 0]);
        assert_eq!(names(&subscription.update(&[participant("PA_3", &[])])), ["gone TR_b"]);
    }
}
