//! Where outputs go that say nothing themselves, and what takes over when that fails (docs/reference/egress.md).
//!
//! The keys are LiveKit's, and so is what an empty value means: "not said". What is ours alone: `endpoint` for Azure and
//! Google Cloud Storage, for servers that speak their protocols, and `request_timeout`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::yaml::Tree;
use crate::secret::{Secret, exposed};

pub use super::yaml::ConfigError;

/// The keys of a configuration that are about storage.
///
/// Written down, its secrets are in it: for a pipe or a file that only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStorage {
    /// For outputs whose request names no storage. Without it they are kept on the local disk.
    pub storage: Option<StorageConfig>,
    /// Takes over, for the rest of an output, when an upload has failed.
    pub backup: Option<StorageConfig>,
    /// Outputs that would be kept on the local disk are refused.
    pub disallow_local_storage: bool,
    /// Keys with which roles are assumed for requests that name a role and bring no keys.
    #[serde(with = "exposed")]
    pub s3_assume_role_key: Secret<String>,
    #[serde(with = "exposed")]
    pub s3_assume_role_secret: Secret<String>,
    /// For requests that bring no role of their own.
    pub s3_assume_role_arn: String,
    #[serde(with = "exposed")]
    pub s3_assume_role_external_id: Secret<String>,
}

/// One storage. Of several providers the first in the order of the fields counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// Joined in front of every name.
    pub prefix: String,
    /// Results say where they are by links that are signed and valid for seven days.
    pub generate_presigned_url: bool,
    /// How long one request may take, the time for its body (at 32 KiB a second) not counted; 30 s if not said. Ours.
    #[serde(with = "duration::optional")]
    pub request_timeout: Option<Duration>,
    pub s3: Option<S3Config>,
    pub gcp: Option<GcsConfig>,
    pub azure: Option<AzureConfig>,
    pub alioss: Option<AliOssConfig>,
}

/// S3, or a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct S3Config {
    /// Without keys: the usual chain of environment, profile and instance role.
    #[serde(with = "exposed")]
    pub access_key: Secret<String>,
    #[serde(with = "exposed")]
    pub secret: Secret<String>,
    #[serde(with = "exposed")]
    pub session_token: Secret<String>,
    pub assume_role_arn: String,
    #[serde(with = "exposed")]
    pub assume_role_external_id: Secret<String>,
    /// Empty: `us-east-1`, or, at Amazon, wherever the bucket is.
    pub region: String,
    /// Empty: Amazon. Without a scheme: https.
    pub endpoint: String,
    pub bucket: String,
    pub force_path_style: bool,
    #[serde(alias = "proxy")]
    pub proxy_config: Option<ProxyConfig>,
    /// Attempts at one request, the first included.
    pub max_retries: Option<u32>,
    #[serde(with = "duration::optional")]
    pub max_retry_delay: Option<Duration>,
    #[serde(with = "duration::optional")]
    pub min_retry_delay: Option<Duration>,
    pub metadata: BTreeMap<String, String>,
    /// `key=value&key2=value2`, URL-encoded.
    pub tagging: String,
    /// Empty: `inline`.
    pub content_disposition: String,
}

/// Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GcsConfig {
    /// A service account's key file, or an authorized user's. Empty: application-default credentials.
    #[serde(with = "exposed")]
    pub credentials_json: Secret<String>,
    pub bucket: String,
    #[serde(alias = "proxy")]
    pub proxy_config: Option<ProxyConfig>,
    /// Empty: Google.
    pub endpoint: String,
}

impl GcsConfig {
    /// Whether credentials of this `type` are all that they need. Those of other types name a file, a variable, a program or a
    /// server that has the secret: of the machine that reads them, whoever sent them.
    #[must_use]
    pub fn is_key(kind: &str) -> bool {
        matches!(kind, "service_account" | "authorized_user")
    }
}

/// Azure Blob Storage, by an account's shared key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AzureConfig {
    #[serde(with = "exposed")]
    pub account_name: Secret<String>,
    #[serde(with = "exposed")]
    pub account_key: Secret<String>,
    pub container_name: String,
    /// Empty: `https://<account>.blob.core.windows.net`.
    pub endpoint: String,
}

/// Alibaba Cloud Object Storage Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AliOssConfig {
    #[serde(with = "exposed")]
    pub access_key: Secret<String>,
    #[serde(with = "exposed")]
    pub secret: Secret<String>,
    /// `oss-cn-hangzhou.aliyuncs.com`; without a scheme: https.
    pub endpoint: String,
    pub bucket: String,
}

/// An HTTP proxy. User and password go to it alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyConfig {
    /// `http://host:port`
    #[serde(with = "exposed")]
    pub url: Secret<String>,
    pub username: String,
    #[serde(with = "exposed")]
    pub password: Secret<String>,
}

/// Reads the keys that are about storage out of a YAML text that has no others.
///
/// # Errors
/// At the first value that is of the wrong kind, or for all keys that are unknown, with their lines. Nothing of the text is
/// quoted that could be a secret.
pub fn parse(text: &str) -> Result<ServerStorage, ConfigError> {
    let (server, unknown) = Tree::parse(text)?.read()?;
    if unknown.is_empty() { Ok(server) } else { Err(ConfigError { findings: unknown }) }
}

#[cfg(test)]
mod tests;
