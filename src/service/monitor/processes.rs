//! Measures processes: all of them, and each recorder with everything that it started.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use procfs::process::all_processes;
use procfs::{CurrentSI, KernelStats};

/// All processes at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    /// By process id.
    pub(super) processes: BTreeMap<i32, Process>,
    /// CPU time of the whole machine that was not idle; `None`: the machine does not tell.
    pub(super) busy: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) parent: i32,
    /// When it started, in ticks: an id that is used again is another process.
    pub(super) started: u64,
    pub(super) cpu: Duration,
    /// Bytes.
    pub(super) resident: u64,
}

/// Use of a recorder and everything that it started.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Use {
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: u64,
}

impl Census {
    /// Counts. A process that ends meanwhile is left out.
    ///
    /// # Errors
    /// When the machine does not show its processes.
    pub(super) fn take() -> procfs::ProcResult<Self> {
        let (tick, page) = (procfs::ticks_per_second(), procfs::page_size());
        let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(1000) / tick.max(1));
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let processes = stats.map(|stat| {
            let process = Process {
                parent: stat.ppid,
                started: stat.starttime,
                cpu: time(stat.utime.saturating_add(stat.stime)),
                resident: stat.rss.saturating_mul(page),
            };
            (stat.pid, process)
        });
        let processes = processes.collect();
        let busy = KernelStats::current().ok().map(|stats| {
            let cpu = stats.total;
            let parts = [cpu.user, cpu.nice, cpu.system, cpu.irq.unwrap_or(0), cpu.softirq.unwrap_or(0)];
            time(parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part)))
        });
        Ok(Self { processes, busy })
    }

    /// Resident bytes of all.
    pub(super) fn resident(&self) -> u64 {
        self.processes.values().map(|process| process.resident).sum()
    }

    /// Use of each of `roots` with its descendants since an earlier census. A process that is new
    /// counts from its start.
    pub(super) fn uses(&self, before: &Self, over: Duration, roots: &[i32]) -> Vec<Use> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, process) in &self.processes {
            children.entry(process.parent).or_default().push(*pid);
        }
        let used = |root: &i32| {
            let (mut cpu, mut memory) = (Duration::ZERO, 0);
            let mut left = vec![*root];
            while let Some(pid) = left.pop() {
                // Taken out, so that a circle, which there can't be, ends.
                left.extend(children.remove(&pid).unwrap_or_default());
                let Some(process) = self.processes.get(&pid) else { continue };
                let earlier = before.processes.get(&pid).filter(|earlier| earlier.started == process.started);
                let earlier = earlier.map_or(Duration::ZERO, |earlier| earlier.cpu);
                cpu += process.cpu.saturating_sub(earlier);
                memory += process.resident;
            }
            Use { cpu: cores(cpu, over), memory }
        };
        roots.iter().map(used).collect()
    }
}

/// CPU time over a time, as cores.
pub(super) fn cores(cpu: Duration, over: Duration) -> f64 {
    if over.is_zero() { 0.0 } else { cpu.as_secs_f64() / over.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: i32, started: u64, millis: u64, resident: u64) -> Process {
        Process { parent, started, cpu: Duration::from_millis(millis), resident }
    }

    #[test]
    fn a_recorder_answers_for_all_that_it_started() {
        let before = Census {
            processes: BTreeMap::from([
                (1, process(0, 0, 100, 1)),
                (10, process(1, 5, 1000, 10)),
                (11, process(10, 6, 500, 20)),
                (20, process(1, 7, 0, 40)),
                (30, process(1, 7, 9000, 40)),
            ]),
            busy: None,
        };
        let after = Census {
            processes: BTreeMap::from([
                (1, process(0, 0, 200, 1)),
                (10, process(1, 5, 1500, 11)),
                (11, process(10, 6, 1000, 22)),
                // Started meanwhile, by a child.
                (12, process(11, 99, 250, 44)),
                (20, process(1, 7, 1000, 80)),
                // The same number, and another process.
                (30, process(20, 98, 500, 160)),
            ]),
            busy: None,
        };
        let uses = after.uses(&before, Duration::from_secs(2), &[10, 20, 77]);
        let expected = [Use { cpu: 0.625, memory: 77 }, Use { cpu: 0.75, memory: 240 }, Use::default()];
        assert_eq!(uses, expected);
        assert_eq!(after.resident(), 318);
        assert_eq!(after.uses(&before, Duration::ZERO, &[10])[0].cpu, 0.0);
    }

    /// Tests that wait for the real clock.
    mod real_time {
        use super::*;

        #[test]
        fn this_process_is_counted() {
            let before = Census::take().unwrap();
            let pid = i32::try_from(std::process::id()).unwrap();
            let begun = std::time::Instant::now();
            let mut sum = 0_u64;
            while begun.elapsed() < Duration::from_millis(300) {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
            let after = Census::take().unwrap();
            let over = begun.elapsed();
            let used = after.uses(&before, over, &[pid])[0];
            // The machine may be busy with other things; all of its cores is more than there is.
            assert!(used.cpu > 0.02 && used.cpu < 1024.0, "{used:?}");
            assert!(used.memory > 1 << 20 && used.memory <= after.resident(), "{used:?}");
            assert!(after.busy > before.busy);
        }
    }
}
