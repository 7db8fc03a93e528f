//! Slots: how much of the machine each test takes.
//!
//! All tests of a run wait side by side. Each takes one slot before it starts anything, so that
//! what runs at the same time fits into the machine, and no test needs to know of another. A slot
//! counts in quarters of a core, as many as a recording of its kind computes on average, not at its
//! peak.
//!
//! Two runs at the same time, of two checkouts, share the machine, too: each quarter is a name in
//! the kernel that one process has at a time.
//!
//! Each slot adds a line to the run's report (`target/tmp/test-report.tsv`), from which
//! `scripts/report.sh` prints how long the tests took.

use std::cell::Cell;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The load of a test on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// No media, or copied media.
    Light,
    /// Decoded, mixed, or encoded media.
    Encoder,
    /// One browser, recorded or publishing.
    Browser,
    /// Two browsers, or one that paints much.
    Heavy,
    /// Exclusive: the test fills the machine, or its figures depend on the machine.
    Machine,
}

impl Need {
    const fn quarters(self, all: u32) -> u32 {
        match self {
            Self::Light => 1,
            Self::Encoder => 2,
            Self::Browser => 3,
            Self::Heavy => 5,
            Self::Machine => all,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Encoder => "encoder",
            Self::Browser => "browser",
            Self::Heavy => "heavy",
            Self::Machine => "machine",
        }
    }
}

/// For tests that decode and encode nothing: calls, uploads, copied tracks.
pub(crate) fn light() -> Slot {
    take(Need::Light)
}

/// For tests that decode, mix, or encode without a browser, also those that only measure a file,
/// and for those that record a page of at most 640 by 360 at 15 fps, one at a time: 0.35 cores on
/// average.
pub(crate) fn encoder() -> Slot {
    take(Need::Encoder)
}

/// For tests with one browser at a time.
pub(crate) fn browser() -> Slot {
    take(Need::Browser)
}

/// For tests with two browsers at a time: a publishing and a recorded one.
pub(crate) fn heavy() -> Slot {
    take(Need::Heavy)
}

/// For tests that fill the machine, and for those whose figures depend on it; see
/// [`super::disturbance`].
pub(crate) fn machine() -> Slot {
    take(Need::Machine)
}

/// Panics unless this thread's test has a slot: otherwise the load of its processes would not be
/// counted.
pub(crate) fn assert_taken() {
    assert!(TAKEN.get(), "take a slot at the start of the test: see tests/support/slots.rs");
}

thread_local! {
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// A share of the machine; returned when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    need: Need,
    test: String,
    since: Instant,
    waited: Duration,
    quarters: Vec<UnixListener>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        TAKEN.set(false);
        let result = if std::thread::panicking() { "failed" } else { "passed" };
        let took = self.since.elapsed().as_secs_f64();
        note(&[
            "test",
            &self.test,
            self.need.name(),
            &format!("{:.1}", self.waited.as_secs_f64()),
            &format!("{took:.1}"),
            result,
        ]);
        // Called before any slot of this run is taken.
        self.quarters.clear();
        SLOTS.give_back(self.need);
    }
}

/// Adds a line to the run's report.
pub(crate) fn note(fields: &[&str]) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("test-report.tsv");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write per line, so that lines of several tests do not mix. A report that can't be written
    // fails no test.
    file.and_then(|mut file| file.write_all(format!("{}\n", fields.join("\t")).as_bytes())).ok();
}

/// The name of the test that runs on this thread: `rooms::frames_arrive`.
pub(crate) fn test_name() -> String {
    std::thread::current().name().unwrap_or("a thread of a test").to_owned()
}

static SLOTS: Slots =
    Slots { state: Mutex::new(State { used: 0, waiting: Vec::new(), next: 0 }), changed: Condvar::new() };

struct Slots {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    used: u32,
    /// Load and number of each waiting test.
    waiting: Vec<(Need, u64)>,
    next: u64,
}

impl State {
    /// The waiting test to run next, if it fits: the largest one, as small ones fill the gaps.
    /// Tests that need the whole machine come first, and nothing starts while one of them waits.
    fn next_to_run(&self, all: u32) -> Option<u64> {
        let is_next = |(need, _): &&(Need, u64)| self.used + need.quarters(all) <= all;
        if let Some(first) =
            self.waiting.iter().filter(|(need, _)| *need == Need::Machine).min_by_key(|(_, n)| *n)
        {
            return is_next(&first).then_some(first.1);
        }
        let fitting = self.waiting.iter().filter(is_next);
        fitting.max_by_key(|(need, number)| (*need, u64::MAX - number)).map(|(_, number)| *number)
    }
}

impl Slots {
    fn take(&self, need: Need) {
        let all = capacity();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        state.waiting.push((need, number));
        while state.next_to_run(all) != Some(number) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.retain(|(_, waiting)| *waiting != number);
        state.used += need.quarters(all);
        // There may be room for one more.
        self.changed.notify_all();
    }

    fn give_back(&self, need: Need) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used -= need.quarters(capacity());
        self.changed.notify_all();
    }
}

/// Names of the quarters for the kernel.
const NAMES: &str = "weir-test-slot";

/// Takes quarters of the machine from all other runs of these tests. The names are abstract sockets
/// (unix(7)): they leave no file, and the kernel frees them when a process ends. There is no event
/// for a free one.
fn take_quarters(names: &str, count: u32, all: u32) -> Vec<UnixListener> {
    let take = |number| take_quarter(names, number);
    let mut taken: Vec<UnixListener> = Vec::new();
    loop {
        if count < all {
            // The names found are free again before the next look; otherwise two runs would each
            // keep a half for ever.
            taken.clear();
            taken = (0..all).filter_map(take).take(count as usize).collect();
        } else {
            // A test that needs all of them keeps those it has, as smaller tests would always come
            // first otherwise. It takes them in order, so that one of two such tests gets all.
            let next = u32::try_from(taken.len()).unwrap_or(all);
            taken.extend((next..all).map_while(take));
        }
        if taken.len() >= count as usize {
            return taken;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn take_quarter(names: &str, number: u32) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("{names}-{number}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// Quarters of a core that tests may take; `WEIR_TEST_SLOTS` overrides it. At least the largest
/// need except [`Need::Machine`].
fn capacity() -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let set = std::env::var("WEIR_TEST_SLOTS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(u32::try_from(cores).unwrap_or(2) * 4).max(4)
}

fn take(need: Need) -> Slot {
    assert!(!TAKEN.get(), "a test takes one slot");
    let begin = Instant::now();
    SLOTS.take(need);
    let quarters = take_quarters(NAMES, need.quarters(capacity()), capacity());
    TAKEN.set(true);
    Slot { need, test: test_name(), since: Instant::now(), waited: begin.elapsed(), quarters }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(used: u32, waiting: &[Need]) -> Option<u64> {
        State { used, waiting: waiting.iter().copied().zip(0..).collect(), next: 9 }.next_to_run(8)
    }

    #[test]
    fn the_largest_test_that_fits_is_next() {
        assert_eq!(next(0, &[Need::Light, Need::Browser, Need::Encoder]), Some(1));
        assert_eq!(next(6, &[Need::Light, Need::Browser, Need::Encoder]), Some(2));
        assert_eq!(next(7, &[Need::Encoder, Need::Light, Need::Light]), Some(1), "the first of its kind");
        assert_eq!(next(8, &[Need::Light]), None);
    }

    #[test]
    fn a_test_of_the_whole_machine_waits_only_for_running_tests() {
        assert_eq!(next(1, &[Need::Light, Need::Machine]), None, "nothing else begins");
        assert_eq!(next(0, &[Need::Light, Need::Machine, Need::Machine]), Some(1));
    }

    #[test]
    fn a_late_test_gets_the_returned_slots() {
        let names = format!("weir-test-of-slots-{}", std::process::id());
        let mut others: Vec<_> = (0..4).filter_map(|number| take_quarter(&names, number)).collect();
        assert_eq!(others.len(), 4);
        let (told, taken) = std::sync::mpsc::channel();
        let late = names.clone();
        std::thread::spawn(move || told.send(take_quarters(&late, 5, 8).len()));
        // The other test has the other half, and looks again.
        while take_quarter(&names, 7).is_some() {
            std::thread::yield_now();
        }
        others.clear();
        assert_eq!(taken.recv_timeout(Duration::from_secs(60)), Ok(5));
    }
}
