//! Prometheus metrics (docs/reference/egress.md): LiveKit's names, so that its dashboards continue
//! to work, and Weir's own.
//!
//! Most values are read from a snapshot on request. Totals of recordings are summed here: running
//! ones by their last progress, ended ones by their final one. A total never falls.

mod calls;
mod tally;
mod uploads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use livekit_protocol as proto;
use prometheus::core::Collector;
use prometheus::{CounterVec, Gauge, GaugeVec, IntGauge, Opts, Registry, TextEncoder};

use super::admission::cost::request_of;
use super::admission::{Kind, MEMORY_HEADROOM};
use super::registry::Watcher;
use super::snapshot::{ServiceView, Snapshot, State};
use crate::ipc::RecorderProgress;
use crate::psrpc::Observer;
use crate::upload::UploadAttempt;
use calls::Calls;
use tally::{Handling, Tally};
pub use tally::{Result as EndResult, Totals};
use uploads::Uploads;

/// Counters over the service's life.
pub struct Metrics {
    node_id: String,
    cluster_id: String,
    tally: Mutex<Tally>,
    uploads: Uploads,
    calls: Arc<Calls>,
    view: OnceLock<Weak<dyn ServiceView>>,
}

impl Watcher for Metrics {
    fn record_end(&self, info: &proto::EgressInfo) {
        Self::record_end(self, info);
    }

    fn evicted(&self, info: &proto::EgressInfo) {
        self.over(info, EndResult::DuplicateIdentity);
    }

    fn uploaded(&self, tried: &UploadAttempt) {
        Self::uploaded(self, tried);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl Metrics {
    /// `node_id`: identifies this run of the service, as a label of all metrics.
    ///
    /// # Errors
    ///
    /// A metric that Prometheus's rules forbid.
    pub fn new(node_id: impl Into<String>, cluster_id: impl Into<String>) -> prometheus::Result<Self> {
        let (node_id, cluster_id) = (node_id.into(), cluster_id.into());
        let uploads = Uploads::new(&labels(&node_id, &cluster_id))?;
        let calls = Arc::new(Calls::new(&node_id)?);
        Ok(Self { node_id, cluster_id, tally: Mutex::default(), uploads, calls, view: OnceLock::new() })
    }

    /// Sets the view that tells how far an ended recording had come. Without it, only its last
    /// report counts.
    pub fn set_view(&self, view: &Arc<dyn ServiceView>) {
        if self.view.set(Arc::downgrade(view)).is_err() {
            tracing::error!("view of metrics already set");
        }
    }

    /// Counts calls over the bus.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.calls) as _
    }

    /// A recording has offered a file to a store.
    pub fn uploaded(&self, tried: &UploadAttempt) {
        self.uploads.count(tried);
    }

    /// Counts a recording's end from its last report. A repeated report counts once.
    pub fn record_end(&self, info: &proto::EgressInfo) {
        self.over(info, EndResult::of(info));
    }

    fn over(&self, info: &proto::EgressInfo, result: EndResult) {
        let last = self.view.get().and_then(Weak::upgrade).and_then(|view| {
            let recordings = view.snapshot().recordings;
            let own = recordings.into_iter().find(|recording| recording.egress_id == info.egress_id)?;
            Some((own.kind, own.progress))
        });
        let (kind, mut progress) =
            last.unwrap_or_else(|| (Kind::of_report(info), RecorderProgress::default()));
        // What is stored last is stored after the last word about progress.
        progress.stored = progress.stored.max(stored(info));
        progress.bytes = progress.bytes.max(progress.stored);
        let mut tally = self.tally();
        tally.observe(&info.egress_id, kind, progress);
        if tally.record_end(&info.egress_id, kind, result)
            && let Some(handling) = Handling::of(info)
        {
            tally.record_handling(handling);
        }
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    ///
    /// A metric that Prometheus's rules forbid, for example a label that is not UTF-8.
    pub fn page(&self, snapshot: &Snapshot) -> prometheus::Result<String> {
        let mut tally = self.tally();
        for recording in &snapshot.recordings {
            tally.observe(&recording.egress_id, recording.kind, recording.progress);
        }
        let (totals, results, handlings) =
            (tally.totals(), tally.results().clone(), tally.handlings().clone());
        drop(tally);
        let page = Page::new(&self.node_id, &self.cluster_id)?;
        page.of_livekit(snapshot)?;
        let ends = page.counters(
            "livekit_egress_handler_results_total",
            "Recordings that are over",
            &["type", "result"],
        )?;
        for ((kind, result), count) in results {
            ends.with_label_values(&[kind.as_str(), result.as_str()]).inc_by(number(count));
        }
        let handled = page.counters(
            "weir_track_composites_total",
            "Recordings of tracks as published that are over, by what was done to their video",
            &["pictures"],
        )?;
        for handling in [Handling::Remuxed, Handling::Encoded] {
            let count = handlings.get(&handling).copied().unwrap_or_default();
            handled.with_label_values(&[handling.as_str()]).inc_by(number(count));
        }
        self.uploads.show(&page)?;
        self.calls.show(&page)?;
        page.of_ours(snapshot, &totals)?;
        TextEncoder::new().encode_to_string(&page.registry.gather())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One answer to Prometheus.
struct Page {
    registry: Registry,
    labels: [(&'static str, String); 2],
}

impl Page {
    fn new(node_id: &str, cluster_id: &str) -> prometheus::Result<Self> {
        let page = Self { registry: Registry::new(), labels: labels(node_id, cluster_id) };
        let build = page.gauges("weir_build_info", "What runs here", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(page)
    }

    fn of_livekit(&self, snapshot: &Snapshot) -> prometheus::Result<()> {
        let Snapshot { room, reading, recordings, orphans: _, state } = snapshot;
        self.flag("livekit_egress_available", "Nothing is recorded", room.is_idle)?;
        let takes = room.takes_web && *state == State::Serving;
        self.flag("livekit_egress_can_accept_request", "A page would be recorded", takes)?;
        self.flag("livekit_egress_is_disabled", "Nothing new is recorded", *state != State::Serving)?;
        self.flag("livekit_egress_is_terminating", "It is about to end", *state == State::Terminating)?;
        let requests = self.gauges("livekit_egress_requests", "Recordings that are being made", &["type"])?;
        for kind in Kind::ALL {
            let count = recordings.iter().filter(|recording| recording.kind == kind).count();
            requests.with_label_values(&[kind.as_str()]).set(number(count as u64));
        }
        self.gauge(
            "livekit_egress_proc_rss_bytes",
            "Resident memory of all processes",
            number(reading.resident),
        )?;
        let held = number(reading.cgroup.unwrap_or(0));
        self.gauge("livekit_egress_cgroup_memory_bytes", "Memory of the control group", held)?;
        self.flag(
            "livekit_egress_cgroup_read_success",
            "The control group tells its memory",
            reading.cgroup.is_some(),
        )?;
        let group_is_full =
            room.max_memory > 0.0 && held / number(1 << 30) + MEMORY_HEADROOM >= room.max_memory;
        self.flag(
            "livekit_egress_would_reject_cgroup",
            "1 if the control group has too little memory for a request",
            group_is_full,
        )?;
        // None is shared: each recording has its own server.
        self.gauge("livekit_egress_pulse_sinks", "Sinks of a shared audio server", 0.0)?;

        let segments = self.gauges(
            "livekit_egress_segments_uploads_channel_size",
            "Segments that wait for their store",
            &["egress_id"],
        )?;
        let playlists = self.gauges(
            "livekit_egress_playlist_uploads_channel_size",
            "Playlists that wait for their store",
            &["egress_id"],
        )?;
        for recording in recordings {
            let Some(queues) = recording.progress.queues else { continue };
            let egress_id = &[recording.egress_id.as_str()];
            segments.with_label_values(egress_id).set(number(queues.segments));
            playlists.with_label_values(egress_id).set(number(queues.playlists));
        }

        let of_node = [("node_id", self.labels[0].1.clone()), ("node_type", "EGRESS".to_owned())];
        let load =
            Gauge::with_opts(labelled(Opts::new("livekit_node_cpu_load", "CPU in use; 1 is all"), &of_node))?;
        load.set(reading.load);
        self.register(load)?;
        let ratios = self.gauges("livekit_load_ratio", "Taken and promised; 1 is all", &["type"])?;
        ratios.with_label_values(&["cpu"]).set(room.cpu_ratio);
        ratios.with_label_values(&["memory"]).set(room.memory_ratio.unwrap_or(0.0));
        ratios.with_label_values(&["pulse"]).set(0.0);
        Ok(())
    }

    fn of_ours(&self, snapshot: &Snapshot, totals: &BTreeMap<Kind, Totals>) -> prometheus::Result<()> {
        type Part = fn(&Totals) -> f64;
        let sums: [(&str, &str, Part); 5] = [
            ("weir_recorded_seconds_total", "Media time that was recorded", |totals| totals.seconds),
            ("weir_pictures_total", "Different frames recorded", |totals| number(totals.pictures)),
            ("weir_pictures_dropped_total", "Frames dropped because the machine was too slow", |totals| {
                number(totals.dropped)
            }),
            ("weir_written_bytes_total", "Bytes that were written", |totals| number(totals.bytes)),
            ("weir_stored_bytes_total", "Bytes that are stored where they belong", |totals| {
                number(totals.stored)
            }),
        ];
        for (name, help, part) in sums {
            let counters = self.counters(name, help, &["type"])?;
            for (kind, totals) in totals {
                counters.with_label_values(&[kind.as_str()]).inc_by(part(totals));
            }
        }
        type Now = fn(&super::snapshot::RecordingView) -> f64;
        let of_each: [(&str, &str, Now); 4] = [
            ("weir_recording_cpu_cores", "Cores that a recording takes", |recording| recording.used.cpu),
            ("weir_recording_memory_bytes", "Resident memory of a recording", |recording| {
                number(recording.used.memory)
            }),
            (
                "weir_uploads_waiting",
                "Finished files of a recording that wait for their store",
                |recording| number(recording.progress.waiting),
            ),
            ("weir_uploads_waiting_bytes", "Their bytes", |recording| {
                number(recording.progress.waiting_bytes)
            }),
        ];
        for (name, help, part) in of_each {
            let gauges = self.gauges(name, help, &["egress_id", "type"])?;
            for recording in &snapshot.recordings {
                gauges
                    .with_label_values(&[recording.egress_id.as_str(), recording.kind.as_str()])
                    .set(part(recording));
            }
        }
        let leads = self.gauges(
            "weir_recording_audio_lead_seconds",
            "How far encoded sound is ahead of encoded pictures, in media time",
            &["egress_id", "type"],
        )?;
        for recording in &snapshot.recordings {
            if let Some(lead) = recording.progress.audio_lead {
                leads.with_label_values(&[recording.egress_id.as_str(), recording.kind.as_str()]).set(lead);
            }
        }
        let orphans = u64::try_from(snapshot.orphans.len()).unwrap_or(u64::MAX);
        self.gauge(
            "weir_orphans",
            "Recordings of former runs of the service whose files are being finished",
            number(orphans),
        )?;
        self.gauge("weir_cores", "Cores that recordings may count on", snapshot.room.cores)?;
        self.gauge("weir_cores_available", "Cores that a new recording may count on", snapshot.room.available)
    }

    fn flag(&self, name: &str, help: &str, is_so: bool) -> prometheus::Result<()> {
        let flag = IntGauge::with_opts(labelled(Opts::new(name, help), &self.labels))?;
        flag.set(i64::from(is_so));
        self.register(flag)
    }

    fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(labelled(Opts::new(name, help), &self.labels))?;
        gauge.set(value);
        self.register(gauge)
    }

    fn gauges(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<GaugeVec> {
        let gauges = GaugeVec::new(labelled(Opts::new(name, help), &self.labels), by)?;
        self.register(gauges.clone()).map(|()| gauges)
    }

    fn counters(&self, name: &str, help: &str, by: &[&str]) -> prometheus::Result<CounterVec> {
        let counters = CounterVec::new(labelled(Opts::new(name, help), &self.labels), by)?;
        self.register(counters.clone()).map(|()| counters)
    }

    fn register(&self, collector: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(collector))
    }
}

/// The labels that all have.
fn labels(node_id: &str, cluster_id: &str) -> [(&'static str, String); 2] {
    [("node_id", node_id.to_owned()), ("cluster_id", cluster_id.to_owned())]
}

fn labelled(opts: Opts, labels: &[(&'static str, String)]) -> Opts {
    labels.iter().fold(opts, |opts, (name, value)| opts.const_label(*name, value))
}

/// Prometheus has no other numbers.
#[expect(clippy::cast_precision_loss, reason = "it is exact to 2^53")]
const fn number(count: u64) -> f64 {
    count as f64
}

/// Bytes that are stored, as a report has them.
fn stored(info: &proto::EgressInfo) -> u64 {
    let files = info.file_results.iter().filter(|file| !file.location.is_empty()).map(|file| file.size);
    let segments = info.segment_results.iter().map(|segments| segments.size);
    files.chain(segments).map(|size| u64::try_from(size).unwrap_or(0)).fold(0, u64::saturating_add)
}

impl Kind {
    /// As [`Kind::of`], by what a report says was asked for.
    #[must_use]
    pub fn of_report(info: &proto::EgressInfo) -> Self {
        Self::of(&request_of(info))
    }
}

#[cfg(test)]
mod tests;
