//! A page whose server is away: what is shown stays, and where it wanted to go is tried again.
//! Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::address::Address;
use super::page::PageError;

/// From one try to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// The same, after [`OFTEN_FOR`].
const LATE_PERIOD: Duration = Duration::from_secs(5);
const OFTEN_FOR: Duration = Duration::from_secs(60);
/// Number of outages reported with start and end. A page whose server disappears again and again
/// would fill a report.
const TOLD: u32 = 20;

/// From a navigation that failed until the page is where it wanted to be.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    /// When to try next.
    next: Instant,
    /// The page's last target.
    address: Address,
    /// The document that is shown meanwhile.
    document: Option<String>,
    is_told: bool,
}

/// Result of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something is shown that the server gave.
    Back,
    /// To be tried again.
    Away,
    /// The page itself is lost.
    Lost(String),
}

impl Outage {
    /// `before`: how many there were in this recording.
    pub(super) fn new(now: Instant, address: Address, document: Option<&str>, before: u32) -> Self {
        let document = document.map(str::to_owned);
        Self { since: now, next: now + PERIOD, address, document, is_told: before < TOLD }
    }

    /// Whether its start and end are reported; later outages are reported as stalls, which are
    /// summed up.
    pub(super) const fn is_told(&self) -> bool {
        self.is_told
    }

    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// The page wants to go elsewhere, and can't either.
    pub(super) fn redirect(&mut self, address: Address) {
        self.address = address;
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn gap(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether the page has come somewhere, by itself or by a try. `document`: what is shown now.
    pub(super) fn is_over(&self, document: Option<&str>) -> bool {
        document != self.document.as_deref()
    }

    /// Interprets a failed attempt. A server that refuses a page does so with a page of its own,
    /// which is shown then.
    pub(super) fn verdict(&self, error: &PageError, document: Option<&str>) -> Verdict {
        match error {
            PageError::Crashed { .. } => Verdict::Lost(error.to_string()),
            _ if self.is_over(document) => Verdict::Back,
            // A browser that is lost is noticed by whoever owns it.
            _ => Verdict::Away,
        }
    }

    /// Notes that a try failed.
    pub(super) fn on_failure(&mut self, now: Instant) {
        let period = if self.gap(now) < OFTEN_FOR { PERIOD } else { LATE_PERIOD };
        self.next = now + period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(now: Instant) -> Outage {
        let address = Address::plain("http://a.example/".parse().unwrap());
        Outage::new(now, address, Some("L1"), 0)
    }

    #[test]
    fn a_server_is_tried_each_second_and_later_each_five() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut outage = outage(begun);
        assert_eq!(outage.next(), at(1));
        outage.on_failure(at(30));
        assert_eq!(outage.next(), at(31));
        outage.on_failure(at(61));
        assert_eq!(outage.next(), at(66));
        assert_eq!(outage.gap(at(70)), Duration::from_secs(70));
    }

    #[test]
    fn many_are_not_told_one_by_one() {
        let address = || Address::plain("http://a.example/".parse().unwrap());
        let is_told = |before| Outage::new(Instant::now(), address(), None, before).is_told();
        assert_eq!([0, 19, 20, 5000].map(is_told), [true, true, false, false]);
    }

    #[test]
    fn a_page_that_comes_back_by_itself_is_seen_by_its_document() {
        let outage = outage(Instant::now());
        assert!(!outage.is_over(Some("L1")));
        assert!(outage.is_over(Some("L2")));
    }

    #[test]
    fn what_the_server_gives_is_shown_and_what_it_does_not_give_is_tried_again() {
        let outage = outage(Instant::now());
        let url = || "http://a.example/".to_owned();
        let gone = PageError::Status { url: url(), status: 404 };
        assert_eq!(outage.verdict(&gone, Some("L2")), Verdict::Back, "with a page about it");
        assert_eq!(outage.verdict(&gone, Some("L1")), Verdict::Away);
        assert_eq!(outage.verdict(&PageError::Refused { url: url() }, Some("L1")), Verdict::Away);
        let crashed = PageError::Crashed { url: url() };
        assert!(matches!(outage.verdict(&crashed, Some("L2")), Verdict::Lost(_)));
    }
}
