//! Start and stop conditions: the participants and tracks that are waited for, those that are
//! there, and the end of the recording. Pure: times are running time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::track::{Lasts, TrackKind, Wanted};

/// A participant who is missing after the recorder reconnected counts as gone after this time. The
/// cause of the reconnect may have disconnected everybody.
const RETURNS_WITHIN: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PresenceState {
    /// Somebody or something is still waited for.
    Awaited,
    /// Everybody and everything that the plan names is there.
    Complete,
    /// The plan names a track of the other kind.
    WrongKind { track: String, kind: TrackKind },
}

/// The participant or the tracks that are not there yet.
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
    /// Since when.
    missing: BTreeMap<String, Duration>,
    /// Whether everybody and everything was there at least once.
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

    /// Whether the recording can't be made without this track.
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

    /// The participant was there before the recorder lost the room, and is not there now.
    pub(super) fn mark_missing(&mut self, identity: &str, now: Duration) {
        self.missing.entry(identity.to_owned()).or_insert(now);
    }

    /// Participants who were missing for too long have left. Returns whether there were any.
    pub(super) fn give_up_missing(&mut self, now: Duration) -> bool {
        let is_late = |since: &Duration| now.saturating_sub(*since) >= RETURNS_WITHIN;
        let late: Vec<String> = self
            .missing
            .iter()
            .filter(|(_, since)| is_late(since))
            .map(|(identity, _)| identity.clone())
            .collect();
        late.iter().for_each(|identity| self.mark_left(identity));
        !late.is_empty()
    }

    /// The participant or tracks that are waited for; `None` once everything was there.
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

    /// Whether everybody and everything was there, and the recording's subject is gone.
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
    fn tracks_are_awaited_together_and_the_recording_ends_with_the_last_one() {
        let mut presence = Presence::new(&Wanted::tracks(Some("TR_v"), Some("TR_a")));
        assert_eq!(presence.awaited(), Some(Awaited::Tracks(vec!["TR_a".to_owned(), "TR_v".to_owned()])));
        presence.mark_published("TR_v");
        assert_eq!(presence.awaited(), Some(Awaited::Tracks(vec!["TR_a".to_owned()])));
        // They were never there at the same time.
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
    fn a_participant_without_tracks_counts_until_they_leave() {
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
    fn a_participant_who_returns_after_the_recorder_has_not_left() {
        let mut presence = Presence::new(&of_ann(Lasts::Participant("ann".to_owned())));
        let start = Duration::from_secs(60);
        presence.mark_present("ann".to_owned());
        presence.mark_missing("ann", start);
        assert!(!presence.give_up_missing(start + RETURNS_WITHIN / 2) && !presence.is_over());
        presence.mark_present("ann".to_owned());
        assert!(!presence.give_up_missing(start + RETURNS_WITHIN) && !presence.is_over());
        presence.mark_missing("ann", start);
        assert!(presence.give_up_missing(start + RETURNS_WITHIN) && presence.is_over());
    }

    #[test]
    fn a_room_recording_goes_on_when_participants_leave() {
        let mut presence = Presence::new(&of_ann(Lasts::Room));
        presence.mark_present("ann".to_owned());
        presence.mark_left("ann");
        assert!(!presence.is_over() && presence.awaited().is_none());
    }
}
