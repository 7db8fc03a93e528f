//! Describes stalls and died parts for the report: each of the first ones, the others summed up.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// Number of incidents of a kind with a sentence each. A page that is busy for five seconds every
/// ten would fill a report.
const TOLD: u32 = 20;

/// Incidents so far, by part.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    stalls: BTreeMap<&'static str, Count>,
    deaths: BTreeMap<&'static str, Count>,
}

#[derive(Debug, Default)]
struct Count {
    all: u32,
    /// Total time of the others.
    time: Duration,
}

impl Count {
    /// Whether this one gets a sentence.
    fn add(&mut self, time: Duration) -> bool {
        self.all = self.all.saturating_add(1);
        let is_told = self.all <= TOLD;
        if !is_told {
            self.time = self.time.saturating_add(time);
        }
        is_told
    }

    const fn rest(&self) -> u32 {
        self.all.saturating_sub(TOLD)
    }
}

impl Incidents {
    /// Records a stall of `what` between two moments of the recording. Returns its sentence.
    pub(super) fn stall(&mut self, what: &'static str, from: Duration, to: Duration) -> Option<String> {
        let is_told = self.stalls.entry(what).or_default().add(to.saturating_sub(from));
        is_told.then(|| format!("{what} from {:.0} s to {:.0} s", from.as_secs_f64(), to.as_secs_f64()))
    }

    /// Records that `what` died and was replaced. Returns its sentence.
    pub(super) fn death(&mut self, what: &'static str, at: Duration) -> Option<String> {
        let is_told = self.deaths.entry(what).or_default().add(Duration::ZERO);
        is_told.then(|| format!("{what} died at {:.1} s", at.as_secs_f64()))
    }

    /// Summary of all others, at the end.
    pub(super) fn rest(&self) -> Vec<String> {
        let many = |count: &Count| count.rest() > 0;
        let stalls = self.stalls.iter().filter(|(_, count)| many(count)).map(|(what, count)| {
            format!("{what} {} more times, for {:.0} s", count.rest(), count.time.as_secs_f64())
        });
        let deaths = self.deaths.iter().filter(|(_, count)| many(count));
        stalls.chain(deaths.map(|(what, count)| format!("{what} died {} more times", count.rest()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "the page did not respond";

    #[test]
    fn each_is_told_and_many_are_added_up() {
        let mut incidents = Incidents::default();
        let seconds = Duration::from_secs;
        let note = incidents.stall(PAGE, Duration::from_millis(12_400), Duration::from_millis(21_600));
        assert_eq!(note.as_deref(), Some("the page did not respond from 12 s to 22 s"));
        let note = incidents.death("the browser's GPU process", Duration::from_millis(2345));
        assert_eq!(note.as_deref(), Some("the browser's GPU process died at 2.3 s"));
        assert!(incidents.rest().is_empty());
        let told = (0..1000).filter_map(|at| incidents.stall(PAGE, seconds(at * 10), seconds(at * 10 + 5)));
        assert_eq!(told.count(), 19);
        assert_eq!(incidents.rest(), ["the page did not respond 981 more times, for 4905 s"]);
    }
}
