//! Where this process spends its CPU time, in pprof's form: for `go tool pprof` and whatever else
//! reads it.
//!
//! Samples are taken by a timer of CPU time (SIGPROF), so that a process that does nothing has
//! hardly any. Threads alone are seen, children are not.

use std::io::{self, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::Message;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tokio::task::{JoinError, spawn_blocking};

/// Samples in a second of CPU time. No divisor of a second: what is done each second is not seen
/// each time or never.
const FREQUENCY_HZ: i32 = 99;

/// Libraries in which unwinding could wait for a lock of the interrupted thread.
const NOT_UNWOUND: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// How long a profile is taken: 1 s to 120 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(Duration);

impl Length {
    /// LiveKit's and Go's where nothing is said.
    pub const DEFAULT: Self = Self(Duration::from_secs(30));
    /// Seconds of the longest one.
    pub const LONGEST: u64 = 120;

    /// `None`: it is out of bounds.
    #[must_use]
    pub fn seconds(seconds: u64) -> Option<Self> {
        (1..=Self::LONGEST).contains(&seconds).then(|| Self(Duration::from_secs(seconds)))
    }

    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("another profile is being taken; try again when it is done")]
    Taken,
    #[error("the profile could not be taken: {0}")]
    Profiler(pprof::Error),
    #[error("the profile could not be written: {0}")]
    Write(#[from] io::Error),
    #[error("the profile could not be taken: {0}")]
    Join(#[from] JoinError),
}

/// Takes a profile: `perftools.profiles.Profile`, protobuf in gzip. One at a time in a process.
/// Dropped, it ends at once.
///
/// # Errors
/// [`ProfileError`]
pub async fn take(length: Length) -> Result<Vec<u8>, ProfileError> {
    let guard = spawn_blocking(begin).await??;
    // Not a wait for something: this is the time that was asked for.
    tokio::time::sleep(length.get()).await;
    // Names are looked up in the debug information, which takes its time.
    spawn_blocking(move || written(&guard)).await?
}

fn begin() -> Result<ProfilerGuard<'static>, ProfileError> {
    let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY_HZ).blocklist(&NOT_UNWOUND);
    builder.build().map_err(|error| match error {
        pprof::Error::Running => ProfileError::Taken,
        error => ProfileError::Profiler(error),
    })
}

fn written(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, ProfileError> {
    let profile = guard.report().build().and_then(|report| report.pprof()).map_err(ProfileError::Profiler)?;
    let bytes = profile.write_to_bytes().map_err(io::Error::from)?;
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(&bytes)?;
    Ok(compressed.finish()?)
}

#[cfg(test)]
mod tests;
