//! When the machine is full: whom to make cheaper, and, where memory runs out, whom to end
//! (docs/reference/egress.md). Pure.
//!
//! LiveKit ends the recording that takes the most. We make it cheaper: half the frames per second,
//! then a quarter. A recording that runs is never ended for its CPU. Memory is another matter: what
//! is beyond the limit takes the whole service with it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::cost::CpuCost;
use crate::service::admission::Id;

/// Ticks above the threshold before something is done.
const TICKS_TO_ACT: u32 = 10;
/// Ticks below it, one after the other, before those above are forgotten.
const TICKS_TO_FORGET: u32 = 5;
/// A recording that is ended for its memory finishes its files; until it is gone, or this has
/// passed, it is the only one.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

/// One tick's measurements.
#[derive(Debug, Clone)]
pub struct Tick<'a> {
    /// Since any moment.
    pub now: Duration,
    /// The part of our cores that is in use: 1 is all.
    pub load: f64,
    /// Cores in use, by recordings and by whatever else runs here.
    pub cores: f64,
    /// GB in use.
    pub memory: f64,
    pub recordings: &'a [Consumer],
}

/// Load of one recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Consumer {
    pub id: Id,
    /// Cores.
    pub cpu: f64,
    /// Cores that it was expected to take.
    pub expected: f64,
    /// GB.
    pub memory: f64,
}

/// How a recording is made cheaper, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Half the frames per second.
    Half,
    /// A quarter of them.
    Quarter,
}

impl Step {
    const fn after(taken: Option<Self>) -> Option<Self> {
        match taken {
            None => Some(Self::Half),
            Some(Self::Half) => Some(Self::Quarter),
            Some(Self::Quarter) => None,
        }
    }
}

/// Measures against overload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    Degrade {
        id: Id,
        step: Step,
    },
    /// `used`: GB of all that is measured.
    Kill {
        id: Id,
        used: f64,
    },
}

/// Sees to it that the machine is not full for long.
#[derive(Debug)]
pub struct Pressure {
    threshold: f64,
    /// From one measure to the next.
    pause: Duration,
    /// GB; 0: memory is not looked at.
    max_memory: f64,
    memory_grace: Duration,
    above: u32,
    below: u32,
    last: Option<Duration>,
    taken: BTreeMap<Id, Step>,
    memory_since: Option<Duration>,
    killed: Option<(Id, Duration)>,
}

impl Pressure {
    #[must_use]
    pub fn new(costs: &CpuCost) -> Self {
        let utilization = costs.max_cpu_utilization;
        Self {
            threshold: if utilization >= 0.95 { f64::midpoint(1.0, utilization) } else { 0.95 },
            pause: costs.cpu_kill_grace(),
            max_memory: costs.max_memory,
            memory_grace: costs.memory_kill_grace(),
            above: 0,
            below: 0,
            last: None,
            taken: BTreeMap::new(),
            memory_since: None,
            killed: None,
        }
    }

    /// Takes one second's measurements.
    pub fn tick(&mut self, tick: &Tick<'_>) -> Option<Measure> {
        self.taken.retain(|id, _| tick.recordings.iter().any(|recording| recording.id == *id));
        self.count(tick.load);
        self.memory(tick).or_else(|| self.cpu(tick))
    }

    fn count(&mut self, load: f64) {
        if load > self.threshold {
            self.above = self.above.saturating_add(1);
            self.below = 0;
        } else {
            self.below = self.below.saturating_add(1);
            if self.below >= TICKS_TO_FORGET {
                self.above = 0;
            }
        }
    }

    fn cpu(&mut self, tick: &Tick<'_>) -> Option<Measure> {
        let rests = self.last.is_some_and(|last| tick.now.saturating_sub(last) < self.pause);
        if self.above < TICKS_TO_ACT || tick.load <= self.threshold || rests {
            return None;
        }
        // Where others fill the machine, recordings that take less would only be worse ones; unless
        // those alone take more than what we have of it.
        let own: f64 = tick.recordings.iter().map(|recording| recording.cpu).sum();
        let available = tick.cores / tick.load;
        if own * 2.0 <= tick.cores && own <= self.threshold * available {
            return None;
        }
        // First who takes more than was expected of him, among them who takes the most.
        let weight = |recording: &Consumer| (recording.cpu > recording.expected, recording.cpu);
        let can = |recording: &&Consumer| Step::after(self.taken.get(&recording.id).copied()).is_some();
        let greatest = tick.recordings.iter().filter(can).max_by(|one, other| {
            let ((one_exceeds, one), (other_exceeds, other)) = (weight(one), weight(other));
            one_exceeds.cmp(&other_exceeds).then(one.total_cmp(&other))
        })?;
        let step = Step::after(self.taken.get(&greatest.id).copied())?;
        self.taken.insert(greatest.id, step);
        self.last = Some(tick.now);
        Some(Measure::Degrade { id: greatest.id, step })
    }

    fn memory(&mut self, tick: &Tick<'_>) -> Option<Measure> {
        if self.max_memory <= 0.0 || tick.memory <= self.max_memory {
            self.memory_since = None;
            return None;
        }
        let since = *self.memory_since.get_or_insert(tick.now);
        if tick.now.saturating_sub(since) < self.memory_grace {
            return None;
        }
        if let Some((killed, at)) = self.killed
            && tick.now.saturating_sub(at) < KILLED_WITHIN
            && tick.recordings.iter().any(|recording| recording.id == killed)
        {
            return None;
        }
        let spared = self.killed.map(|(killed, _)| killed);
        let others = tick.recordings.iter().filter(|recording| Some(recording.id) != spared);
        let greatest = others.max_by(|one, other| one.memory.total_cmp(&other.memory))?;
        self.killed = Some((greatest.id, tick.now));
        Some(Measure::Kill { id: greatest.id, used: tick.memory })
    }
}

#[cfg(test)]
mod tests;
