//! The cost of recordings, and how much of the machine they may use (docs/reference/egress.md).

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// The `cpu_cost` section. CPU is in cores, memory in GB of 2^30 bytes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct CpuCost {
    /// The share of the machine's cores that recordings may use, above 0 and at most 1.
    pub max_cpu_utilization: f64,
    /// In GB; 0: memory is not limited.
    pub max_memory: f64,
    /// In GB, for one recording.
    pub memory_cost: f64,
    pub room_composite_cpu_cost: f64,
    pub audio_room_composite_cpu_cost: f64,
    /// Room audio, mixed without a browser. 0 only before loading; then the cost with a browser.
    pub sdk_audio_room_composite_cpu_cost: f64,
    /// In GB. 0 only before loading; then [`CpuCost::memory_cost`].
    pub sdk_audio_room_composite_memory_cost: f64,
    pub web_cpu_cost: f64,
    pub audio_web_cpu_cost: f64,
    pub participant_cpu_cost: f64,
    pub track_composite_cpu_cost: f64,
    pub track_cpu_cost: f64,
    /// Accepted without effect: each recording has its own audio server.
    pub max_pulse_clients: u32,
    /// How used memory is measured.
    pub memory_source: MemorySource,
    /// How long, in seconds, memory may exceed [`CpuCost::max_memory`].
    pub memory_kill_grace_sec: i64,
    /// Seconds between two measures against an overloaded CPU.
    pub cpu_kill_grace_sec: i64,
}

impl Default for CpuCost {
    fn default() -> Self {
        Self {
            max_cpu_utilization: 0.8,
            max_memory: 0.0,
            memory_cost: 0.0,
            room_composite_cpu_cost: 4.0,
            audio_room_composite_cpu_cost: 1.0,
            sdk_audio_room_composite_cpu_cost: 0.0,
            sdk_audio_room_composite_memory_cost: 0.0,
            web_cpu_cost: 4.0,
            audio_web_cpu_cost: 1.0,
            participant_cpu_cost: 2.0,
            track_composite_cpu_cost: 1.0,
            track_cpu_cost: 0.5,
            max_pulse_clients: 60,
            memory_source: MemorySource::ProcRss,
            memory_kill_grace_sec: 0,
            cpu_kill_grace_sec: 30,
        }
    }
}

impl CpuCost {
    /// Replaces invalid costs by the defaults.
    pub(super) fn complete(&mut self) {
        let defaults = Self::default();
        let filled = |value: &mut f64, default: f64| {
            if !(value.is_finite() && *value > 0.0) {
                *value = default;
            }
        };
        if !(self.max_cpu_utilization > 0.0 && self.max_cpu_utilization <= 1.0) {
            self.max_cpu_utilization = defaults.max_cpu_utilization;
        }
        filled(&mut self.max_memory, 0.0);
        filled(&mut self.memory_cost, 0.0);
        filled(&mut self.room_composite_cpu_cost, defaults.room_composite_cpu_cost);
        filled(&mut self.audio_room_composite_cpu_cost, defaults.audio_room_composite_cpu_cost);
        filled(&mut self.sdk_audio_room_composite_cpu_cost, self.audio_room_composite_cpu_cost);
        filled(&mut self.sdk_audio_room_composite_memory_cost, self.memory_cost);
        filled(&mut self.web_cpu_cost, defaults.web_cpu_cost);
        filled(&mut self.audio_web_cpu_cost, defaults.audio_web_cpu_cost);
        filled(&mut self.participant_cpu_cost, defaults.participant_cpu_cost);
        filled(&mut self.track_composite_cpu_cost, defaults.track_composite_cpu_cost);
        filled(&mut self.track_cpu_cost, defaults.track_cpu_cost);
        if self.max_pulse_clients == 0 {
            self.max_pulse_clients = defaults.max_pulse_clients;
        }
        self.memory_kill_grace_sec = self.memory_kill_grace_sec.max(0);
        if self.cpu_kill_grace_sec <= 0 {
            self.cpu_kill_grace_sec = defaults.cpu_kill_grace_sec;
        }
    }

    #[must_use]
    pub fn memory_kill_grace(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.memory_kill_grace_sec).unwrap_or_default())
    }

    #[must_use]
    pub fn cpu_kill_grace(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.cpu_kill_grace_sec).unwrap_or_default())
    }
}

/// How used memory is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemorySource {
    /// The resident memory of all processes.
    #[default]
    ProcRss,
    /// The control group's memory, without what can be reclaimed.
    Cgroup,
}

impl<'de> Deserialize<'de> for MemorySource {
    /// An unknown value becomes the default, as in LiveKit Egress; the check warns.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(if String::deserialize(from)? == "cgroup" { Self::Cgroup } else { Self::ProcRss })
    }
}
