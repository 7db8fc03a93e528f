//! Detects disturbances of the machine during a measurement.
//!
//! Some figures depend on the machine: A/V offset, frame pacing. A host that takes the CPU away for
//! a moment changes them, and so does a foreign program. Before a test asserts such a figure,
//! [`undisturbed`] says whether the measurement is valid.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};
use procfs::{CurrentSI, KernelStats};

use super::slots;

/// Maximum number of attempts for one measurement.
const ATTEMPTS: usize = 3;

/// Largest share of CPU time that the host may steal from this machine.
const STEAL: f64 = 0.05;
/// Cores that foreign programs may use. The kernel itself, working for the tests, takes up to 0.3.
const FOREIGN: f64 = 0.5;
/// Largest wake-up delay of a sleeping thread (99th percentile).
const DELAY: Duration = Duration::from_millis(20);
/// Polling interval of that thread.
const TICK: Duration = Duration::from_millis(5);

/// A measurement with the state of the machine during it.
#[derive(Debug)]
pub(crate) struct Measured<T> {
    pub(crate) value: T,
    /// `false` if the machine was disturbed at every attempt. The value then says nothing about
    /// speed or pacing.
    pub(crate) is_calm: bool,
}

/// Measures something that depends on the machine. A measurement during which the machine was
/// disturbed is discarded and taken again, three times at most, and only if the machine is calm by
/// then; each is printed, and noted in the run's report. It is not a second chance for an
/// assertion: those come after it, and an undisturbed measurement is taken once.
///
/// Needs a slot of the whole machine ([`slots::machine`]): other tests are a disturbance, too.
pub(crate) fn undisturbed<T>(what: &str, mut measure: impl FnMut() -> T) -> Measured<T> {
    for attempt in 1.. {
        let watch = Watch::start();
        let value = measure();
        let seen = watch.end();
        let Some(why) = seen.disturbance() else {
            return Measured { value, is_calm: true };
        };
        let said = format!("{what}: measurement {attempt} of {ATTEMPTS} was disturbed: {why}");
        eprintln!("{said}");
        slots::note(&["disturbed", &slots::test_name(), &said]);
        if attempt == ATTEMPTS || !is_calm_now() {
            slots::note(&["no result", &slots::test_name(), what]);
            return Measured { value, is_calm: false };
        }
    }
    unreachable!("it returns at the last attempt")
}

/// Whether another attempt makes sense: a continuing load would disturb it, too.
fn is_calm_now() -> bool {
    let watch = Watch::start();
    std::thread::park_timeout(Duration::from_secs(1));
    watch.end().disturbance().is_none()
}

/// Load of the machine during a measurement.
#[derive(Debug, Clone, Copy)]
struct Seen {
    steal: f64,
    foreign: f64,
    delay: Duration,
}

impl Seen {
    fn disturbance(&self) -> Option<String> {
        let Self { steal, foreign, delay } = self;
        let mut all = Vec::new();
        if *steal > STEAL {
            all.push(format!("the host took {:.0} % of the CPU", steal * 100.0));
        }
        if *foreign > FOREIGN {
            all.push(format!("other programs used {foreign:.2} cores"));
        }
        if *delay > DELAY {
            all.push(format!("a thread was woken {} ms too late", delay.as_millis()));
        }
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Watches the machine until it is ended.
#[derive(Debug)]
struct Watch {
    since: Instant,
    before: Used,
    stop: mpsc::Sender<()>,
    delays: JoinHandle<Vec<Duration>>,
}

impl Watch {
    fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let delays = std::thread::spawn(move || {
            let mut delays = Vec::new();
            loop {
                let asleep = Instant::now();
                match stopped.recv_timeout(TICK) {
                    Err(RecvTimeoutError::Timeout) => delays.push(asleep.elapsed().saturating_sub(TICK)),
                    _ => return delays,
                }
            }
        });
        Self { since: Instant::now(), before: Used::now(), stop, delays }
    }

    fn end(self) -> Seen {
        let after = Used::now();
        let seconds = self.since.elapsed().as_secs_f64().max(0.001);
        self.stop.send(()).ok();
        let mut delays = self.delays.join().unwrap_or_default();
        delays.sort_unstable();
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let busy = after.busy - self.before.busy;
        let ours = after.ours.since(&self.before.ours);
        Seen {
            steal: (after.steal - self.before.steal) / seconds / cores,
            foreign: ((busy - ours) / seconds).max(0.0),
            delay: delays.get(delays.len() * 99 / 100).copied().unwrap_or_default(),
        }
    }
}

/// CPU seconds since boot, or since this program started.
#[derive(Debug, Clone)]
struct Used {
    /// Used by all programs.
    busy: f64,
    /// Used by these tests and everything they started.
    ours: Ours,
    /// Stolen by the host.
    steal: f64,
}

/// CPU ticks of this process and its descendants.
#[derive(Debug, Clone)]
struct Ours {
    /// Sum over all of them, including ended children whose parent has reaped them.
    all: u64,
    /// CPU ticks of each running process, by process id.
    each: HashMap<i32, u64>,
}

impl Ours {
    /// CPU ticks since the start of the processes.
    fn now() -> Self {
        let all = all_processes().into_iter().flatten().filter_map(Result::ok);
        let stats: Vec<_> = all.filter_map(|process: Process| process.stat().ok()).collect();
        let mut family = vec![i32::try_from(std::process::id()).unwrap_or_default()];
        let mut at = 0;
        while at < family.len() {
            let parent = family[at];
            family.extend(stats.iter().filter(|stat| stat.ppid == parent).map(|stat| stat.pid));
            at += 1;
        }
        let mut ours = Self { all: 0, each: HashMap::new() };
        for stat in stats.iter().filter(|stat| family.contains(&stat.pid)) {
            let (itself, ended) = (stat.utime + stat.stime, stat.cutime.max(0) + stat.cstime.max(0));
            ours.all += itself + u64::try_from(ended).unwrap_or_default();
            ours.each.insert(stat.pid, itself);
        }
        ours
    }

    /// CPU seconds used since `before`.
    fn since(&self, before: &Self) -> f64 {
        // Nobody here reaps a process whose parent was killed, so its total is missing. The totals
        // of the others are known.
        let running: u64 = self
            .each
            .iter()
            .map(|(pid, used)| used.saturating_sub(before.each.get(pid).copied().unwrap_or_default()))
            .sum();
        running.max(self.all.saturating_sub(before.all)) as f64 / procfs::ticks_per_second() as f64
    }
}

impl Used {
    fn now() -> Self {
        let ticks = procfs::ticks_per_second() as f64;
        let all = KernelStats::current().map(|stats| stats.total);
        let all = all.unwrap_or_else(|error| panic!("/proc/stat: {error}"));
        let busy = all.user + all.nice + all.system + all.irq.unwrap_or(0) + all.softirq.unwrap_or(0);
        Self { busy: busy as f64 / ticks, ours: Ours::now(), steal: all.steal.unwrap_or(0) as f64 / ticks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Seen = Seen { steal: 0.001, foreign: 0.02, delay: Duration::from_millis(2) };

    #[test]
    fn each_kind_of_disturbance_is_named() {
        assert_eq!(CALM.disturbance(), None);
        let stolen = Seen { steal: 0.25, ..CALM }.disturbance();
        assert_eq!(stolen.as_deref(), Some("the host took 25 % of the CPU"));
        let shared = Seen { foreign: 0.9, ..CALM }.disturbance();
        assert_eq!(shared.as_deref(), Some("other programs used 0.90 cores"));
        let late = Seen { delay: Duration::from_millis(80), ..CALM }.disturbance();
        assert_eq!(late.as_deref(), Some("a thread was woken 80 ms too late"));
    }

    #[test]
    fn a_process_that_ends_unseen_is_not_counted() {
        let before = Ours { all: 1_000, each: HashMap::from([(10, 100), (11, 900)]) };
        // Process 11 has ended, and init has reaped it.
        let after = Ours { all: 250, each: HashMap::from([(10, 150), (12, 100)]) };
        let ticks = procfs::ticks_per_second() as f64;
        assert!((after.since(&before) - 150.0 / ticks).abs() < 1e-9);
    }

    /// CPU time of the tests themselves counts as theirs, while they run and after they have ended.
    #[test]
    fn a_tests_own_processes_are_no_disturbance() {
        let _slot = slots::machine();
        let watch = Watch::start();
        let begin = Instant::now();
        // Half a second of a core; it counts once the program has ended and was reaped.
        super::super::tool::succeed("bash", &["-c", "for ((i = 0; i < 300000; i++)); do :; done"], None);
        let own = Used::now().ours.since(&watch.before.ours);
        assert!(own > 0.1 && own < begin.elapsed().as_secs_f64() * 1.5 + 0.5, "{own} s of CPU");
        let seen = watch.end();
        assert!(seen.foreign >= 0.0, "{seen:?}");
    }
}
