//! Debugging files of a recording, and their storage (docs/reference/egress.md).

use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::storage::{AliOssConfig, AzureConfig, GcsConfig, S3Config, StorageConfig};

/// The `debug` section. Its storage's keys stand beside its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct DebugConfig {
    pub enable_profiling: bool,
    pub enable_track_logging: bool,
    pub enable_stream_logging: bool,
    pub enable_chrome_logging: bool,
    prefix: String,
    generate_presigned_url: bool,
    #[serde(with = "duration::optional")]
    request_timeout: Option<Duration>,
    s3: Option<S3Config>,
    gcp: Option<GcsConfig>,
    azure: Option<AzureConfig>,
    alioss: Option<AliOssConfig>,
}

impl DebugConfig {
    /// Returns the storage of debugging files.
    #[must_use]
    pub fn storage(&self) -> StorageConfig {
        StorageConfig {
            prefix: self.prefix.clone(),
            generate_presigned_url: self.generate_presigned_url,
            request_timeout: self.request_timeout,
            s3: self.s3.clone(),
            gcp: self.gcp.clone(),
            azure: self.azure.clone(),
            alioss: self.alioss.clone(),
        }
    }
}
