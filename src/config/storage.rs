//! The default storage of outputs, and its backup (docs/reference/egress.md).
//!
//! The keys are LiveKit's; an empty value means "not set". Weir only: `endpoint` for Azure and
//! Google Cloud Storage, for servers that speak their protocols, and `request_timeout`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::yaml::Tree;
use crate::secret::{Secret, exposed};

pub use super::yaml::ConfigError;

/// The storage keys of a configuration.
///
/// Serializing them exposes the secrets: only for a pipe or a file that its owner alone can read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStorage {
    /// Storage of outputs whose request names none. Without it, they stay on the local disk.
    pub storage: Option<StorageConfig>,
    /// Takes over for the rest of an output when an upload has failed.
    pub backup: Option<StorageConfig>,
    /// Refuses outputs that would stay on the local disk.
    pub disallow_local_storage: bool,
    /// Credentials for assuming roles, for requests that name a role without credentials.
    #[serde(with = "exposed")]
    pub s3_assume_role_key: Secret<String>,
    #[serde(with = "exposed")]
    pub s3_assume_role_secret: Secret<String>,
    /// Role for requests without one.
    pub s3_assume_role_arn: String,
    #[serde(with = "exposed")]
    pub s3_assume_role_external_id: Secret<String>,
}

/// One storage. If several providers are set, the first in the order of the fields applies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// Prepended to every name.
    pub prefix: String,
    /// Makes the locations in results signed links, valid for seven days.
    pub generate_presigned_url: bool,
    /// Weir only: timeout of one request, without the time for its body (at 32 KiB/s). Default: 30
    /// s.
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
    /// Without keys, the usual chain applies: environment, profile, instance role.
    #[serde(with = "exposed")]
    pub access_key: Secret<String>,
    #[serde(with = "exposed")]
    pub secret: Secret<String>,
    #[serde(with = "exposed")]
    pub session_token: Secret<String>,
    pub assume_role_arn: String,
    #[serde(with = "exposed")]
    pub assume_role_external_id: Secret<String>,
    /// Empty: `us-east-1`, or at Amazon the bucket's region.
    pub region: String,
    /// Empty: Amazon. Without a scheme: https.
    pub endpoint: String,
    pub bucket: String,
    pub force_path_style: bool,
    #[serde(alias = "proxy")]
    pub proxy_config: Option<ProxyConfig>,
    /// Attempts at one request, including the first.
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
    /// Key file of a service account, or of an authorized user. Empty: application-default
    /// credentials.
    #[serde(with = "exposed")]
    pub credentials_json: Secret<String>,
    pub bucket: String,
    #[serde(alias = "proxy")]
    pub proxy_config: Option<ProxyConfig>,
    /// Empty: Google.
    pub endpoint: String,
}

impl GcsConfig {
    /// Returns whether credentials of this `type` contain the secret themselves. Other types refer
    /// to a file, a variable, a program or a server on the machine that reads them, whoever sent
    /// them.
    #[must_use]
    pub fn is_key(kind: &str) -> bool {
        matches!(kind, "service_account" | "authorized_user")
    }
}

/// Azure Blob Storage, with an account's shared key.
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

/// An HTTP proxy. User name and password are sent to it alone.
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

/// Reads storage keys from a YAML text that has no other keys.
///
/// # Errors
/// The first value of a wrong type, or all unknown keys, with their lines. No possible secret is
/// quoted.
pub fn parse(text: &str) -> Result<ServerStorage, ConfigError> {
    let (server, unknown) = Tree::parse(text)?.read()?;
    if unknown.is_empty() { Ok(server) } else { Err(ConfigError { findings: unknown }) }
}

#[cfg(test)]
mod tests;
