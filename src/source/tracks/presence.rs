//! Who is waited for, who is there, and when all of it is over (docs/reference/signaling.md). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::plan::track::{Lasts, TrackKind, Wanted};

/// A participant who was gone when the recorder came back into the room has so long to come back, too: what threw us out may have
/// thrown out everybody.
const RETURNS_WITHIN: Duration = Duration::from_secs(15);

/// Whether everybody who is waited for is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PresenceState {
    Awaited,
    Complete,
    /// A track that is named as one of the other medium.
    WrongKind {
        track: String,
        kind: TrackKind,
    },
}

/// Who or what is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Awaited {
    Tracks(Vec<String>),
    Participant(String),
}

#[derive(Debug)]
pub(super) struct Presence {
    lasts: Lasts,
    sids: Vec<String>,
    identities: Vec<String>,
    published: BTreeSet<String>,
    present: BTreeSet<String>,
    missing: BTreeMap<String, Instant>,
    /// Everybody was there.
    complete: bool,
}

impl Presence {
    pub(super) fn new(wanted: &Wanted) -> Self {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Self {
            lasts: wanted.lasts.clone(),
            sids: owned(wanted.sids()),
            identities: owned(wanted.identities()),
            published: BTreeSet::new(),
            present: BTreeSet::new(),
            missing: BTreeMap::new(),
            complete: false,
        }
    }

    /// A recording without this track is none.
    pub(super) fn needs(&self, sid: &str) -> bool {
        self.sids.iter().any(|named| named == sid)
    }

    pub(super) fn mark_published(&mut self, sid: &str) {
        self.published.insert(sid.to_owned());
        self.complete |= self.awaited().is_none();
    }

    pub(super) fn mark_unpublished(&mut self, sid: &str) {
        self.published.remove(sid);
    }

    pub(super) fn mark_present(&mut self, identity: String) {
        self.missing.remove(&identity);
        self.present.insert(identity);
        self.complete |= self.awaited().is_none();
    }

    pub(super) fn mark_left(&mut self, identity: &str) {
        self.missing.remove(identity);
        self.present.remove(identity);
    }

    /// They were there before the recorder lost the room, and are not now.
    pub(super) fn mark_missing(&mut self, identity: &str, now: Instant) {
        self.missing.entry(identity.to_owned()).or_insert(now);
    }

    /// Whether somebody was missing for too long: they left.
    pub(super) fn give_up_missing(&mut self, now: Instant) -> bool {
        let is_late = |since: &Instant| now.saturating_duration_since(*since) >= RETURNS_WITHIN;
        let late: Vec<String> = self
            .missing
            .iter()
            .filter(|(_, since)| is_late(since))
            .map(|(identity, _)| identity.clone())
            .collect();
        late.iter().for_each(|identity| self.mark_left(identity));
        !late.is_empty()
    }

    /// What is waited for; `None`: everything is there, or was.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        if self.complete {
            return None;
        }
        let identity = self.identities.iter().find(|identity| !self.present.contains(*identity));
        let sids: Vec<String> =
            self.sids.iter().filter(|sid| !self.published.contains(*sid)).cloned().collect();
        match identity {
            Some(identity) => Some(Awaited::Participant(identity.clone())),
            None => (!sids.is_empty()).then_some(Awaited::Tracks(sids)),
        }
    }

    /// Whether what the recording lasts for has come and gone.
    pub(super) fn is_over(&self) -> bool {
        self.complete
            && match &self.lasts {
                Lasts::Tracks => self.published.is_empty(),
                Lasts::Participant(identity) => !self.present.contains(identity),
                Lasts::Room => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::track::{AudioChoice, AudioFrom, AudioRoute, Channel, Shows, VideoChoice};

    fn of_ann(lasts: Lasts) -> Wanted {
        let from = AudioFrom::Participant { identity: "ann".to_owned(), shows: Some(Shows::Person) };
        Wanted {
            video: vec![VideoChoice::Participant { identity: "ann".to_owned(), shows: Shows::Person }],
            audio: Some(AudioChoice {
                routes: vec![AudioRoute { from, channel: Channel::Both }],
                rest: None,
            }),
            lasts,
        }
    }

    #[test]
    fn tracks_are_waited_for_together_and_over_when_the_last_one_is() {
        let mut presence = Presence::new(&Wanted::tracks(Some("TR_v"), Some("TR_a")));
        assert_eq!(presence.awaited(), Some(Awaited::Tracks(vec!["TR_a".to_owned(), "TR_v".to_owned()])));
        presence.mark_published("TR_v");
        assert_eq!(presence.awaited(), Some(Awaited::Tracks(vec!["TR_a".to_owned()])));
        // Not there together: not yet.
        presence.mark_unpublished("TR_v");
        presence.mark_published("TR_a");
        assert!(!presence.is_over() && presence.awaited().is_some());
        presence.mark_published("TR_v");
        assert_eq!(presence.awaited(), None);
        presence.mark_unpublished("TR_a");
        assert!(!presence.is_over());
        presence.mark_unpublished("TR_v");
        assert!(presence.is_over() && presence.awaited().is_none());
    }

    #[test]
    fn a_participant_without_tracks_is_there_until_they_leave() {
        let mut presence = Presence::new(&of_ann(Lasts::Participant("ann".to_owned())));
        assert_eq!(presence.awaited(), Some(Awaited::Participant("ann".to_owned())));
        assert!(!presence.is_over());
        presence.mark_present("ann".to_owned());
        presence.mark_published("TR_x");
        presence.mark_unpublished("TR_x");
        assert!(presence.awaited().is_none() && !presence.is_over());
        presence.mark_left("ann");
        assert!(presence.is_over());
    }

    #[test]
    fn who_comes_back_after_the_recorder_did_has_not_left() {
        let mut presence = Presence::new(&of_ann(Lasts::Participant("ann".to_owned())));
        let start = Instant::now();
        presence.mark_present("ann".to_owned());
        presence.mark_missing("ann", start);
        assert!(!presence.give_up_missing(start + RETURNS_WITHIN / 2) && !presence.is_over());
        presence.mark_present("ann".to_owned());
        assert!(!presence.give_up_missing(start + RETURNS_WITHIN) && !presence.is_over());
        presence.mark_missing("ann", start);
        assert!(presence.give_up_missing(start + RETURNS_WITHIN) && presence.is_over());
    }

    #[test]
    fn a_room_goes_on_without_those_it_waited_for() {
        let mut presence = Presence::new(&of_ann(Lasts::Room));
        presence.mark_present("ann".to_owned());
        presence.mark_left("ann");
        assert!(!presence.is_over() && presence.awaited().is_none());
    }
}
