//! Bounded queue of a page's events.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::events::PageEvent;
use super::progress::Progress;
use super::reply::Reply;

/// Limits of the queue: bytes of texts, and events.
const BYTES: usize = 64 << 10;
const EVENTS: usize = 512;
/// Replies that wait to be sent. The browser holds a request, a target or a dialog for each.
const REPLIES: usize = 4096;

/// Events on their way from the reading task to the tab. When it is full, the oldest console line
/// or failed request is dropped first; a signal or a crash never.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    came: Notify,
    replies: Mutex<VecDeque<Reply>>,
    asked: Notify,
    progress: Progress,
    keeps_page: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PageEvent>,
    bytes: usize,
    /// Why the connection ended.
    gone: Option<String>,
}

impl Inbox {
    pub(super) fn push(&self, event: PageEvent) {
        {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                PageEvent::Gone(why) => {
                    state.gone.get_or_insert(why);
                }
                event => state.push(event),
            }
        }
        self.0.came.notify_one();
    }

    /// Waits for the next event. After the end it returns [`PageEvent::Gone`] every time. Nothing
    /// is lost when the future is dropped. For one waiting task.
    pub(super) async fn next(&self) -> PageEvent {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.0.came.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<PageEvent> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pop(0).or_else(|| state.gone.clone().map(PageEvent::Gone))
    }

    /// Has the browser told what it waits for.
    pub(super) fn reply(&self, reply: Reply) {
        {
            let mut replies = self.0.replies.lock().unwrap_or_else(PoisonError::into_inner);
            if replies.len() >= REPLIES {
                tracing::warn!("the browser waits for too much at once; something of it has no answer");
                return;
            }
            replies.push_back(reply);
        }
        self.0.asked.notify_one();
    }

    /// Waits for the next reply to the browser. For one waiting task.
    pub(super) async fn next_reply(&self) -> Reply {
        loop {
            let next = self.0.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(reply) = next {
                return reply;
            }
            self.0.asked.notified().await;
        }
    }

    /// The requests of the page that is being loaded.
    pub(super) fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// Whether the page that is shown is kept when a navigation of it fails.
    pub(super) fn keeps_page(&self) -> bool {
        self.0.keeps_page.load(Ordering::Relaxed)
    }

    pub(super) fn set_keeps_page(&self, keeps_page: bool) {
        self.0.keeps_page.store(keeps_page, Ordering::Relaxed);
    }
}

impl State {
    fn push(&mut self, event: PageEvent) {
        if event.is_once() && self.waiting.contains(&event) {
            return;
        }
        self.bytes += event.bytes();
        self.waiting.push_back(event);
        while self.bytes > BYTES || self.waiting.len() > EVENTS {
            let talk = self.waiting.iter().position(PageEvent::is_talk);
            let oldest = talk.or_else(|| self.waiting.iter().position(|event| !event.is_once()));
            let Some(oldest) = oldest else { break };
            self.pop(oldest);
        }
    }

    fn pop(&mut self, at: usize) -> Option<PageEvent> {
        let event = self.waiting.remove(at)?;
        self.bytes -= event.bytes();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::web::page::Signal;

    fn said(text: &str) -> PageEvent {
        PageEvent::Said { line: text.to_owned(), more: 0 }
    }

    #[test]
    fn a_page_that_talks_without_end_takes_no_more_room() {
        let inbox = Inbox::default();
        inbox.push(PageEvent::Signal(Signal::Start));
        inbox.push(PageEvent::Crashed);
        for number in 0..100_000 {
            inbox.push(said(&format!("{number} {}", "x".repeat(number % 9000))));
            inbox.push(PageEvent::Signal(Signal::Start));
            inbox.push(PageEvent::PartCrashed);
        }
        inbox.push(said("99999 "));
        let state = inbox.0.state.lock().unwrap();
        assert!(state.bytes <= BYTES && state.waiting.len() <= EVENTS);
        assert_eq!(state.bytes, state.waiting.iter().map(PageEvent::bytes).sum::<usize>());
        drop(state);
        assert_eq!(inbox.try_next(), Some(PageEvent::Signal(Signal::Start)), "what matters stays");
        assert_eq!(inbox.try_next(), Some(PageEvent::Crashed));
        let last = std::iter::from_fn(|| inbox.try_next()).last();
        assert!(matches!(last, Some(PageEvent::Said { line, .. }) if line.starts_with("99999 ")));
    }

    #[test]
    fn what_happens_without_end_takes_no_more_room_either() {
        let inbox = Inbox::default();
        inbox.push(PageEvent::Signal(Signal::End));
        inbox.push(PageEvent::Crashed);
        for number in 0..10_000 {
            inbox.push(PageEvent::Document(format!("loader {number}")));
            inbox.push(PageEvent::Signal(Signal::InRoom(format!("RM_{number}"))));
            inbox.push(PageEvent::Requested { origin: format!("http://{number}.test") });
        }
        assert!(inbox.0.state.lock().unwrap().waiting.len() <= EVENTS);
        assert_eq!(inbox.try_next(), Some(PageEvent::Signal(Signal::End)), "what matters stays");
        assert_eq!(inbox.try_next(), Some(PageEvent::Crashed));
    }

    #[tokio::test]
    async fn the_end_comes_last_and_stays() {
        let inbox = Inbox::default();
        let waiting = inbox.clone();
        let (first, ()) = tokio::join!(waiting.next(), async { inbox.push(said("a")) });
        assert_eq!(first, said("a"));
        inbox.push(PageEvent::Gone("killed".to_owned()));
        inbox.push(PageEvent::Gone("again".to_owned()));
        inbox.push(said("b"));
        assert_eq!(inbox.next().await, said("b"));
        for _ in 0..2 {
            assert_eq!(inbox.next().await, PageEvent::Gone("killed".to_owned()));
        }
    }
}
