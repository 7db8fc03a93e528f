//! Tracks requests that hold up a page's load, and when one of them made progress last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Requests that are remembered.
const REQUESTS: usize = 1024;
/// Requests that are named.
const NAMED: usize = 8;

/// Requests that don't hold up the event `load`: scripts make them, or they go on for as long as
/// the page does.
const BESIDE: &[&str] = &[
    "CSPViolationReport",
    "EventSource",
    "Fetch",
    "Manifest",
    "Media",
    "Ping",
    "Preflight",
    "Prefetch",
    "WebSocket",
    "XHR",
];

/// The requests of the page that is being loaded. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Addresses without secrets, by the request's id.
    pending: BTreeMap<String, String>,
    last: Option<Instant>,
}

impl Progress {
    /// A request was sent, or sent on. `kind`: what it is for, as DevTools has it.
    pub(super) fn sent(&self, id: &str, url: &str, kind: Option<&str>) {
        if kind.is_some_and(|kind| BESIDE.contains(&kind)) {
            return;
        }
        let mut state = self.lock();
        if state.pending.len() < REQUESTS || state.pending.contains_key(id) {
            state.pending.insert(id.to_owned(), url.to_owned());
        }
        state.last = Some(Instant::now());
    }

    /// Something of an answer has come.
    pub(super) fn moved(&self, id: &str) {
        let mut state = self.lock();
        if state.pending.contains_key(id) {
            state.last = Some(Instant::now());
        }
    }

    /// All of an answer has come, or it won't.
    pub(super) fn ended(&self, id: &str) {
        let mut state = self.lock();
        if state.pending.remove(id).is_some() {
            state.last = Some(Instant::now());
        }
    }

    /// Another page is loaded.
    pub(super) fn reset(&self) {
        *self.lock() = State::default();
    }

    /// When a request got further last; `None`: none did.
    pub(super) fn last(&self) -> Option<Instant> {
        self.lock().last
    }

    /// The addresses of requests without an end: the first ones, and how many others there are.
    pub(super) fn pending(&self) -> String {
        let state = self.lock();
        let mut named: Vec<String> = state.pending.values().take(NAMED).cloned().collect();
        let others = state.pending.len() - named.len();
        if others > 0 {
            named.push(format!("{others} more"));
        }
        match named.is_empty() {
            // Frames of other sites have sessions of their own.
            true => "a part of the page".to_owned(),
            false => named.join(", "),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_holds_up_the_load_is_pending_and_makes_progress() {
        let progress = Progress::default();
        assert_eq!((progress.last(), progress.pending().as_str()), (None, "a part of the page"));
        for (id, kind) in [("1", "Fetch"), ("2", "WebSocket"), ("3", "Media")] {
            progress.sent(id, "http://a.example/beside", Some(kind));
            progress.moved(id);
            progress.ended(id);
        }
        assert_eq!(progress.last(), None);
        progress.sent("4", "http://a.example/a.png", Some("Image"));
        progress.sent("5", "http://a.example/b.css", Some("Stylesheet"));
        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        progress.moved("6");
        assert_eq!(progress.last(), Some(sent), "nobody knows it");
        progress.moved("5");
        assert_eq!(progress.last(), Some(sent + Duration::from_secs(1)));
        assert_eq!(progress.pending(), "http://a.example/a.png, http://a.example/b.css");
        progress.ended("5");
        assert_eq!(progress.pending(), "http://a.example/a.png");
        progress.reset();
        assert_eq!(progress.last(), None);
    }

    #[test]
    fn many_requests_take_no_more_room_and_are_counted() {
        let progress = Progress::default();
        for id in 0..5000 {
            progress.sent(&id.to_string(), "http://a.example/x", None);
        }
        let pending = progress.pending();
        assert!(pending.ends_with(&format!("http://a.example/x, {} more", REQUESTS - NAMED)), "{pending}");
    }
}
