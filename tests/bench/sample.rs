//! Samples the cost of a running recording: CPU and memory of every process that it started, by
//! group.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::support::processes::{Group, Seen, family};
use crate::support::recorder::Recorder;

/// How often processes are looked at; one that lives for less is not counted.
const EVERY: Duration = Duration::from_millis(500);

/// Costs over a window of a recording.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    /// CPU seconds a second, by group.
    pub(crate) cores: BTreeMap<&'static str, f64>,
    pub(crate) cores_in_all: f64,
    /// The highest sum of all processes' proportional set sizes, in bytes.
    pub(crate) pss_peak: u64,
}

/// Watches a recorder's processes for a while.
pub(crate) fn sample(recorder: &mut Recorder, window: Duration) -> Costs {
    let begin = Instant::now();
    let key = |seen: &Seen| (seen.pid, seen.start);
    let before: HashMap<_, f64> = family(recorder.pid()).iter().map(|seen| (key(seen), seen.cpu)).collect();
    let mut last: HashMap<(i32, u64), Seen> = HashMap::new();
    let mut pss_peak = 0;
    let mut looks = 0;
    let elapsed = loop {
        recorder.run_for(EVERY);
        let now = family(recorder.pid());
        let elapsed = begin.elapsed();
        // Reading memory maps costs the kernel time, in which the watched processes wait.
        if looks % 4 == 0 {
            pss_peak = pss_peak.max(now.iter().map(Seen::pss).sum());
        }
        looks += 1;
        last.extend(now.into_iter().map(|seen| (key(&seen), seen)));
        if elapsed >= window {
            break elapsed.as_secs_f64();
        }
    };
    let mut cores: BTreeMap<&'static str, f64> =
        Group::ALL.into_iter().map(|group| (group.name(), 0.0)).collect();
    for (key, seen) in &last {
        // What was not there before began at zero.
        let used = seen.cpu - before.get(key).copied().unwrap_or_default();
        *cores.get_mut(seen.group.name()).expect("all groups are in it") += used / elapsed;
    }
    Costs { cores_in_all: cores.values().sum(), cores, pss_peak }
}
