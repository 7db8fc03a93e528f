//! Where outputs go that say nothing themselves, and what takes over when that fails (service.md §4.5).
//!
//! The keys are LiveKit's, and so is what an empty value means: "not said". What is ours alone: `endpoint` for Azure and
//! Google Cloud Storage, for servers that speak their protocols, and `request_timeout`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::{Secret, exposed};

/// The keys of a configuration that are about storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerStorage {
    /// For outputs whose request names no storage. Without it they are kept on the local disk.
    pub storage: Option<StorageConfig>,
    /// Takes over, for the rest of an output, when an upload has failed.
    pub backup: Option<StorageConfig>,
    /// Outputs that would be kept on the local disk are refused.
    pub disallow_local_storage: bool,
    /// Keys with which roles are assumed for requests that name a role and bring no keys.
    pub s3_assume_role_key: Secret<String>,
    pub s3_assume_role_secret: Secret<String>,
    /// For requests that bring no role of their own.
    pub s3_assume_role_arn: String,
    pub s3_assume_role_external_id: Secret<String>,
}

/// One storage. Of several providers the first in the order of the fields counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Joined in front of every name.
    pub prefix: String,
    /// Results say where they are by links that are signed and valid for seven days.
    pub generate_presigned_url: bool,
    /// How long one request may take, the time for its body (at 16 KiB a second) not counted; 30 s if not said. Ours.
    #[serde(with = "duration")]
    pub request_timeout: Option<Duration>,
    pub s3: Option<S3Config>,
    pub gcp: Option<GcsConfig>,
    pub azure: Option<AzureConfig>,
    pub alioss: Option<AliOssConfig>,
}

/// S3, or a server that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    #[serde(with = "duration")]
    pub max_retry_delay: Option<Duration>,
    #[serde(with = "duration")]
    pub min_retry_delay: Option<Duration>,
    pub metadata: BTreeMap<String, String>,
    /// `key=value&key2=value2`, URL-encoded.
    pub tagging: String,
    /// Empty: `inline`.
    pub content_disposition: String,
}

/// Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcsConfig {
    /// A service account's key file. Empty: application-default credentials.
    #[serde(with = "exposed")]
    pub credentials_json: Secret<String>,
    pub bucket: String,
    #[serde(alias = "proxy")]
    pub proxy_config: Option<ProxyConfig>,
    /// Empty: Google.
    pub endpoint: String,
}

/// Azure Blob Storage, by an account's shared key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
#[serde(default, deny_unknown_fields)]
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
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// `http://host:port`
    #[serde(with = "exposed")]
    pub url: Secret<String>,
    pub username: String,
    #[serde(with = "exposed")]
    pub password: Secret<String>,
}

/// Why a text is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ConfigError {
    pub line: u64,
    pub column: u64,
    pub problem: String,
}

/// Reads the keys that are about storage out of a YAML text that has no others.
///
/// # Errors
/// At the first key that is unknown or value that is of the wrong kind, with its line. Nothing of the text is quoted but
/// keys: it has secrets in it.
pub fn parse(text: &str) -> Result<ServerStorage, ConfigError> {
    if text.trim().is_empty() {
        return Ok(ServerStorage::default());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        // The crate's text ends with the place, which stands in front already.
        let problem = error.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default().to_owned();
        ConfigError { line, column, problem }
    })
}

/// Durations as LiveKit's configuration has them: `500ms`, `1m30s`, or nanoseconds.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|value| u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Nanoseconds(u64),
            Text(String),
        }
        let Some(form) = Option::<Form>::deserialize(from)? else { return Ok(None) };
        match form {
            Form::Nanoseconds(0) => Ok(None),
            Form::Nanoseconds(nanoseconds) => Ok(Some(Duration::from_nanos(nanoseconds))),
            Form::Text(text) => {
                let parsed: Result<jiff::SignedDuration, _> = text.parse();
                parsed.ok().and_then(|parsed| Duration::try_from(parsed).ok()).map(Some).ok_or_else(|| {
                    de::Error::custom(format!("`{text}` is no duration; write it as 500ms or 1m30s"))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
