//! How long media of a room may wait (docs/reference/egress.md).

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The `latency` section. Zero only before loading. Three keys have the spelling that LiveKit's
/// parser reads.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Latency {
    #[serde(deserialize_with = "duration::deserialize")]
    pub jitter_buffer_latency: Duration,
    /// Must be longer than the jitter buffer's.
    #[serde(deserialize_with = "duration::deserialize")]
    pub audio_mixer_latency: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub pipeline_latency: Duration,
    #[serde(rename = "rtpmaxallowedtsdiff", deserialize_with = "duration::deserialize")]
    pub rtp_max_allowed_ts_diff: Duration,
    #[serde(rename = "rtpmaxdriftadjustment", deserialize_with = "duration::deserialize")]
    pub rtp_max_drift_adjustment: Duration,
    #[serde(rename = "rtpdriftadjustmentwindowpercent")]
    pub rtp_drift_adjustment_window_percent: f64,
    #[serde(deserialize_with = "duration::deserialize")]
    pub old_packet_threshold: Duration,
}

impl Latency {
    /// Replaces zeros by the defaults.
    pub(super) fn complete(&mut self) {
        let filled = |value: &mut Duration, default: u64| {
            if value.is_zero() {
                *value = Duration::from_millis(default);
            }
        };
        filled(&mut self.jitter_buffer_latency, 2_000);
        filled(&mut self.audio_mixer_latency, 2_750);
        filled(&mut self.pipeline_latency, 3_000);
        filled(&mut self.rtp_max_allowed_ts_diff, 5_000);
        filled(&mut self.rtp_max_drift_adjustment, 5);
        filled(&mut self.old_packet_threshold, 2_200);
        self.rtp_max_allowed_ts_diff = self.rtp_max_allowed_ts_diff.max(self.jitter_buffer_latency);
    }
}

/// The `latency_overrides` section: by kind of recording, each replaces the whole `latency`
/// section.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct LatencyOverrides {
    pub room_composite: Option<Latency>,
    pub web: Option<Latency>,
    pub participant: Option<Latency>,
    pub track_composite: Option<Latency>,
    pub track: Option<Latency>,
    pub template: Option<Latency>,
    pub media: Option<Latency>,
}

impl LatencyOverrides {
    /// Returns the sections that are set, with their keys.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (&'static str, &mut Latency)> {
        let Self { room_composite, web, participant, track_composite, track, template, media } = self;
        [
            ("room_composite", room_composite),
            ("web", web),
            ("participant", participant),
            ("track_composite", track_composite),
            ("track", track),
            ("template", template),
            ("media", media),
        ]
        .into_iter()
        .filter_map(|(key, latency)| Some((key, latency.as_mut()?)))
    }
}
