//! Counts upload attempts over the service's life.

use prometheus::{CounterVec, HistogramOpts, HistogramVec, Opts};

use super::{Page, labelled, number};
use crate::upload::{Place, Status, UploadAttempt, mime};

/// Upper bounds, in milliseconds (docs/reference/egress.md).
const BUCKETS: [f64; 13] =
    [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 15_000.0, 20_000.0, 30_000.0];
const LABELS: [&str; 3] = ["type", "status", "custom_endpoint"];

#[derive(Debug)]
pub(super) struct Uploads {
    tries: CounterVec,
    times: HistogramVec,
    backups: CounterVec,
}

impl Uploads {
    pub(super) fn new(labels: &[(&'static str, String)]) -> prometheus::Result<Self> {
        let opts = |name, help| labelled(Opts::new(name, help), labels);
        // Misspelled by LiveKit.
        let times = opts("livekit_egress_pipline_upload_response_time_ms", "How long uploads take");
        let times = HistogramOpts { common_opts: times, buckets: BUCKETS.to_vec() };
        Ok(Self {
            tries: CounterVec::new(
                opts("livekit_egress_pipeline_uploads", "Files that were offered to their store"),
                &LABELS,
            )?,
            times: HistogramVec::new(times, &LABELS)?,
            backups: CounterVec::new(
                opts("livekit_egress_backup_storage_writes", "Files that a backup storage took"),
                &["output_type"],
            )?,
        })
    }

    /// Counts as LiveKit does: what the primary store says, and what the backup takes.
    pub(super) fn count(&self, tried: &UploadAttempt) {
        let UploadAttempt { mime, status, custom_endpoint, ms, place } = tried;
        // It comes from another process: no label that is not ours.
        let mime = mime::known(mime).unwrap_or("application/octet-stream");
        match place {
            Place::Primary => {
                let labels = [mime, status.as_str(), if *custom_endpoint { "true" } else { "false" }];
                self.tries.with_label_values(&labels).inc();
                self.times.with_label_values(&labels).observe(number(*ms));
            }
            Place::Backup if *status == Status::Success => self.backups.with_label_values(&[mime]).inc(),
            Place::Backup => {}
        }
    }

    pub(super) fn show(&self, page: &Page) -> prometheus::Result<()> {
        page.register(self.tries.clone())?;
        page.register(self.times.clone())?;
        page.register(self.backups.clone())
    }
}
