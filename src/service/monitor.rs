//! How much of the machine is in use, and by whom: measured each second, put into the
//! [`AdmissionController`], shown to metrics, and acted upon where it is too much.

mod cgroup;
pub mod pressure;
mod processes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::admission::{AdmissionController, Id, Reservation, cost};
use crate::config::cost::{CpuCost, MemorySource};
use cgroup::Cgroup;
use pressure::{Consumer, Measure, Pressure, Step, Tick};
pub use processes::Use;
use processes::{Census, cores};

/// From one measurement to the next.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Bytes of a GB, as the configuration counts.
const GB: f64 = (1_u64 << 30) as f64;

/// One second's measurements.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Cores in use: by our control group where we have a share of the machine, else by the whole
    /// machine.
    pub cores: f64,
    /// The part of our cores that is in use: 1 is all.
    pub load: f64,
    /// Bytes resident of all processes.
    pub resident: u64,
    /// Bytes that our control group holds; `None`: it does not tell.
    pub cgroup: Option<u64>,
    /// GB in use, by the source that the operator chose.
    pub memory: f64,
    pub recordings: BTreeMap<Id, Use>,
}

/// Reduces the load of an overloaded machine.
pub trait Relief: Send + Sync {
    /// A recording is to be made cheaper.
    fn degrade(&self, egress_id: &str, step: Step);

    /// A recording is to end, finish its files, and fail with a text.
    fn kill(&self, egress_id: &str, error: &str);
}

/// The cores that recordings may count on: what was requested for us, else our control group's
/// quota, else the machine's.
#[must_use]
pub fn available_cores(requested: Option<f64>) -> f64 {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let allowed = f64::from(u32::try_from(allowed).unwrap_or(u32::MAX));
    let quota = Cgroup::of_process().cores().map(|quota| within(quota, allowed));
    requested.or(quota).unwrap_or(allowed)
}

/// A quota, where not even so many cores are allowed. Where the quota is what allows no more,
/// `allowed` is it, rounded.
fn within(quota: f64, allowed: f64) -> f64 {
    let is_rounded_quota = quota.floor().max(1.0) <= allowed;
    if is_rounded_quota { quota } else { allowed }
}

/// Says in the log where a machine is too small for what it may be asked.
pub fn look_at_size(costs: &CpuCost, cores: f64) {
    let (cheapest, dearest) = cost::range(costs);
    if cores < cheapest {
        tracing::error!(
            cores,
            cheapest,
            "the machine is too small for any recording by cpu_cost; it takes one at a time"
        );
    } else if cores < dearest {
        tracing::warn!(
            cores,
            dearest,
            "the machine is too small for some recordings by cpu_cost; it takes such alone"
        );
    }
}

/// Measures.
#[derive(Debug)]
pub struct Monitor {
    gate: AdmissionController,
    source: MemorySource,
    pressure: Pressure,
    meter: Meter,
    readings: watch::Sender<Reading>,
}

impl Monitor {
    /// `requested`: as for [`available_cores`].
    #[must_use]
    pub fn new(gate: AdmissionController, costs: &CpuCost, requested: Option<f64>) -> Self {
        Self {
            gate,
            source: costs.memory_source,
            pressure: Pressure::new(costs),
            meter: Meter::new(Cgroup::of_process(), requested.is_some()),
            readings: watch::Sender::default(),
        }
    }

    /// Current readings.
    #[must_use]
    pub fn readings(&self) -> watch::Receiver<Reading> {
        self.readings.subscribe()
    }

    /// Measures each second until stopped.
    pub async fn watch(mut self, relief: Arc<dyn Relief>, stop: CancellationToken) {
        let begun = Instant::now();
        let mut seconds = interval(PERIOD);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                _ = seconds.tick() => {}
                () = stop.cancelled() => return,
            }
            // Some hundred small files: nothing that a runtime's worker should wait for.
            let mut meter = std::mem::take(&mut self.meter);
            let reservations = self.gate.reservations();
            let source = self.source;
            let cores = self.gate.room().cores;
            let measuring = tokio::task::spawn_blocking(move || {
                let reading = meter.read(&reservations, cores, source);
                (meter, reservations, reading)
            });
            let Ok((meter, reservations, reading)) = measuring.await else { return };
            self.meter = meter;
            match reading {
                Ok(Some(reading)) => self.take(reading, &reservations, begun.elapsed(), &*relief),
                // The first has nothing to be compared with.
                Ok(None) => {}
                Err(error) if !told => {
                    told = true;
                    tracing::error!(%error, "process measurement failed; using the expected costs");
                }
                Err(_) => {}
            }
        }
    }

    fn take(
        &mut self,
        reading: Reading,
        reservations: &BTreeMap<Id, Reservation>,
        now: Duration,
        relief: &dyn Relief,
    ) {
        self.gate.set_measured(reading.recordings.iter().map(|(id, used)| (*id, used.cpu)), reading.memory);
        let consumers: Vec<Consumer> = reading
            .recordings
            .iter()
            .filter_map(|(id, used)| {
                let expected = reservations.get(id)?.cost.cpu;
                Some(Consumer { id: *id, cpu: used.cpu, expected, memory: gigabytes(used.memory) })
            })
            .collect();
        let tick = Tick {
            now,
            load: reading.load,
            cores: reading.cores,
            memory: reading.memory,
            recordings: &consumers,
        };
        let named = |id: &Id| reservations.get(id).map(|occupant| occupant.egress_id.as_str());
        match self.pressure.tick(&tick) {
            Some(Measure::Degrade { id, step }) => {
                if let Some(egress_id) = named(&id) {
                    tracing::warn!(
                        egress_id,
                        load = reading.load,
                        frame_rate = ?step,
                        "the machine is full: fewer frames per second"
                    );
                    relief.degrade(egress_id, step);
                }
            }
            Some(Measure::Kill { id, used }) => {
                if let Some(egress_id) = named(&id) {
                    tracing::error!(egress_id, used, "memory limit exceeded; killing the recording");
                    // LiveKit's words.
                    relief.kill(egress_id, &format!("OOM: {used:.2} GB used"));
                }
            }
            None => {}
        }
        self.readings.send_replace(reading);
    }
}

/// Reads counters, and makes rates of them.
#[derive(Debug, Default)]
struct Meter {
    cgroup: Cgroup,
    /// Whether other programs share the machine: their use does not count as ours.
    is_shared: bool,
    before: Option<(Instant, Census, Option<Duration>)>,
}

impl Meter {
    fn new(cgroup: Cgroup, is_shared: bool) -> Self {
        let is_shared = is_shared || cgroup.cores().is_some();
        Self { cgroup, is_shared, before: None }
    }

    /// `None`: it is the first.
    fn read(
        &mut self,
        reservations: &BTreeMap<Id, Reservation>,
        available: f64,
        source: MemorySource,
    ) -> procfs::ProcResult<Option<Reading>> {
        let now = Instant::now();
        let census = Census::take()?;
        let group_time = if self.is_shared { self.cgroup.cpu_time() } else { None };
        let Some((then, before, group_before)) = self.before.replace((now, census.clone(), group_time))
        else {
            return Ok(None);
        };
        let over = now.duration_since(then);
        let in_use = match (group_time.zip(group_before), census.busy.zip(before.busy)) {
            (Some((after, before)), _) | (None, Some((after, before))) => {
                cores(after.saturating_sub(before), over)
            }
            (None, None) => 0.0,
        };
        let known: Vec<(Id, i32)> =
            reservations.iter().filter_map(|(id, occupant)| Some((*id, occupant.pid?))).collect();
        let roots: Vec<i32> = known.iter().map(|(_, pid)| *pid).collect();
        let uses = census.uses(&before, over, &roots);
        let resident = census.resident();
        let cgroup = self.cgroup.memory();
        let memory = match source {
            MemorySource::ProcRss => resident,
            MemorySource::Cgroup => cgroup.unwrap_or(resident),
        };
        Ok(Some(Reading {
            cores: in_use,
            load: if available > 0.0 { in_use / available } else { 0.0 },
            resident,
            cgroup,
            memory: gigabytes(memory),
            recordings: known.into_iter().map(|(id, _)| id).zip(uses).collect(),
        }))
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is lost are bytes of petabytes")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / GB
}

#[cfg(test)]
mod tests;
