//! The signs of life of all parts, and of the watch itself. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::silence::{Change, Silence};
use super::wake::Pulse;
use super::{News, Part};
use crate::source::standstill::Woken;

#[derive(Debug)]
pub(super) struct Signs {
    silences: BTreeMap<Part, Silence>,
    pulse: Arc<Pulse>,
}

impl Signs {
    pub(super) const fn new(pulse: Arc<Pulse>) -> Self {
        Self { silences: BTreeMap::new(), pulse }
    }

    /// The watch woke. Comes before everything that is heard or looked at: what nobody listened to
    /// was not silent.
    pub(super) fn wake(&mut self, now: Instant) {
        let woken = self.pulse.wake(now);
        for silence in self.silences.values_mut() {
            match woken {
                Woken::Late(late) => silence.excuse(late),
                Woken::StoodStill(_) => silence.restart(now),
            }
        }
    }

    /// A part was heard at this moment.
    pub(super) fn heard(&mut self, part: Part, at: Instant) {
        let change = self.silences.entry(part).or_default().heard(at);
        self.tell(part, change);
    }

    /// Looks whether a part is silent for too long.
    pub(super) fn look(&mut self, part: Part, now: Instant) {
        let change = self.silences.entry(part).or_default().look(now);
        self.tell(part, change);
    }

    fn tell(&self, part: Part, change: Option<Change>) {
        match change {
            Some(Change::Stalled { since }) => self.pulse.tell(News::Stalled { part, since }),
            Some(Change::Resumed { since, until }) => self.pulse.tell(News::Resumed { part, since, until }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    const PARTS: [Part; 4] = [Part::Page, Part::Video, Part::Audio, Part::Network];

    /// A watch and its parts, in a time of their own.
    struct Scene {
        begun: Instant,
        signs: Signs,
        news: mpsc::UnboundedReceiver<News>,
    }

    impl Scene {
        fn new() -> Self {
            let (begun, (told, news)) = (Instant::now(), mpsc::unbounded_channel());
            Self { begun, signs: Signs::new(Arc::new(Pulse::new(begun, told))), news }
        }

        fn at(&self, millis: u64) -> Instant {
            self.begun + Duration::from_millis(millis)
        }

        /// Wakes at this moment. All have been heard then, but for those that are `silent`.
        fn wake(&mut self, millis: u64, silent: &[Part]) {
            let now = self.at(millis);
            self.signs.wake(now);
            for part in PARTS {
                if !silent.contains(&part) {
                    self.signs.heard(part, now);
                }
                self.signs.look(part, now);
            }
        }

        fn news(&mut self) -> Vec<News> {
            std::iter::from_fn(|| self.news.try_recv().ok()).collect()
        }
    }

    #[test]
    fn a_recorder_that_stood_still_is_told_instead_of_all_that_it_could_not_hear() {
        let mut scene = Scene::new();
        scene.wake(250, &[]);
        // Those that go on with it are heard a moment after it.
        scene.wake(22_250, &PARTS);
        scene.wake(22_500, &PARTS);
        scene.wake(22_750, &[]);
        let stall = News::StoodStill { since: scene.at(250), until: scene.at(22_250) };
        assert_eq!(scene.news(), [stall]);
    }

    #[test]
    fn a_last_sign_of_life_from_before_a_stall_of_the_recorder_is_no_news() {
        let mut scene = Scene::new();
        scene.wake(250, &[]);
        scene.signs.wake(scene.begun + Duration::from_secs(9));
        // As a capture tells it that has not gone on yet.
        for millis in [9000, 9250, 9500] {
            let (last, now) = (scene.at(250), scene.at(millis));
            scene.signs.wake(now);
            scene.signs.heard(Part::Audio, last);
            scene.signs.look(Part::Audio, now);
        }
        assert_eq!(scene.news().len(), 1);
    }

    #[test]
    fn who_is_silent_after_the_recorder_went_on_is_told_from_there_on() {
        let mut scene = Scene::new();
        scene.wake(250, &[]);
        for millis in (500..=2000).step_by(250) {
            scene.wake(millis, &[Part::Page]);
        }
        let before = News::Stalled { part: Part::Page, since: scene.at(250) };
        assert_eq!(scene.news(), [before]);
        for millis in (10_000..=12_000).step_by(250) {
            scene.wake(millis, &[Part::Page]);
        }
        let stall = News::StoodStill { since: scene.at(2000), until: scene.at(10_000) };
        let after = News::Stalled { part: Part::Page, since: scene.at(10_000) };
        assert_eq!(scene.news(), [stall, after]);
        scene.wake(12_250, &[]);
        let over = News::Resumed { part: Part::Page, since: scene.at(10_000), until: scene.at(12_250) };
        assert_eq!(scene.news(), [over]);
    }

    #[test]
    fn a_watch_that_wakes_late_calls_nobody_silent() {
        let mut scene = Scene::new();
        scene.wake(250, &[]);
        scene.wake(500, &PARTS);
        scene.wake(2050, &PARTS);
        assert!(scene.news().is_empty());
    }
}
