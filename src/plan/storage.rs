//! Storage of an output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::storage::{AliOssConfig, AzureConfig, GcsConfig, S3Config};
use crate::secret::Secret;

/// Storage of an output, with its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    pub primary: StorageTarget,
    pub backup: Option<StorageTarget>,
}

/// One place for outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageTarget {
    pub backend: Backend,
    /// Joined in front of every name.
    pub prefix: String,
    pub links: Links,
    pub retry: RetryPolicy,
    /// How long one request may take, the time for its body not counted.
    pub request_timeout: Duration,
}

/// The storage provider. Everything in it is validated: a bucket has a name, keys come in pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there are two for each output")]
pub enum Backend {
    /// Relative names are relative to the directory the command was started in.
    Local,
    S3(S3Config),
    Gcs(GcsConfig),
    Azure(AzureConfig),
    AliOss(AliOssConfig),
}

/// How results say where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Links {
    Plain,
    /// Signed, valid for seven days.
    Signed,
}

/// How often one request to a store is tried, and how long apart: the time doubles from `min_delay`
/// to `max_delay`, and half of it is chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The first one included; at least 1.
    pub attempts: u32,
    pub min_delay: Duration,
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    /// LiveKit's (docs/reference/media.md).
    fn default() -> Self {
        Self { attempts: 5, min_delay: Duration::from_millis(100), max_delay: Duration::from_secs(5) }
    }
}

/// If nothing else is said.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Storage {
    /// The local disk, and nothing behind it.
    #[must_use]
    pub fn local() -> Self {
        Self { primary: StorageTarget::local(), backup: None }
    }
}

impl StorageTarget {
    /// The local disk.
    #[must_use]
    pub fn local() -> Self {
        Self {
            backend: Backend::Local,
            prefix: String::new(),
            links: Links::Plain,
            retry: RetryPolicy::default(),
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.backend, Backend::Local)
    }

    /// The key of a name: the prefix joined in front. On the local disk a name may be absolute;
    /// elsewhere there is nothing above a bucket, so that no key begins with `/`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        let joined = match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => clean(&format!("{prefix}/{name}")),
        };
        match self.backend {
            Backend::Local => joined,
            _ => joined.trim_start_matches('/').to_owned(),
        }
    }

    /// Identifies this storage, whatever the keys: its server and its bucket. Not for people: it
    /// may contain the name of an Azure account.
    #[must_use]
    pub(super) fn identity(&self) -> String {
        match &self.backend {
            Backend::Local => "local".to_owned(),
            Backend::S3(s3) => format!("s3 {} {}", server(&s3.endpoint), s3.bucket),
            Backend::Gcs(gcs) => format!("gcs {} {}", server(&gcs.endpoint), gcs.bucket),
            Backend::Azure(azure) => {
                let (account, container) = (azure.account_name.expose(), &azure.container_name);
                format!("azure {} {account} {container}", server(&azure.endpoint))
            }
            Backend::AliOss(oss) => format!("oss {} {}", server(&oss.endpoint), oss.bucket),
        }
    }

    /// `s3://bucket/prefix`, for people: no credentials.
    #[must_use]
    pub fn describe(&self) -> String {
        let (scheme, place) = match &self.backend {
            Backend::Local => return "the local disk".to_owned(),
            Backend::S3(s3) => ("s3", &s3.bucket),
            Backend::Gcs(gcs) => ("gs", &gcs.bucket),
            Backend::Azure(azure) => ("azure", &azure.container_name),
            Backend::AliOss(oss) => ("oss", &oss.bucket),
        };
        let prefix = self.prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{scheme}://{place}{slash}{prefix}")
    }

    /// The server that was named instead of the provider's own, without its scheme.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let endpoint = match &self.backend {
            Backend::Local => return None,
            Backend::S3(s3) => &s3.endpoint,
            Backend::Gcs(gcs) => &gcs.endpoint,
            Backend::Azure(azure) => &azure.endpoint,
            Backend::AliOss(oss) => &oss.endpoint,
        };
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        Some(host.split('/').next().unwrap_or_default()).filter(|host| !host.is_empty())
    }

    /// Everything in it that must not be shown.
    #[must_use]
    pub fn secrets(&self) -> Vec<&Secret<String>> {
        match &self.backend {
            Backend::Local => Vec::new(),
            Backend::S3(s3) => {
                let S3Config { access_key, secret, session_token, assume_role_external_id, .. } = s3;
                let proxy = s3.proxy_config.iter().map(|proxy| &proxy.password);
                [access_key, secret, session_token, assume_role_external_id]
                    .into_iter()
                    .chain(proxy)
                    .collect()
            }
            Backend::Gcs(gcs) => {
                let proxy = gcs.proxy_config.iter().map(|proxy| &proxy.password);
                std::iter::once(&gcs.credentials_json).chain(proxy).collect()
            }
            Backend::Azure(azure) => vec![&azure.account_key],
            Backend::AliOss(oss) => vec![&oss.access_key, &oss.secret],
        }
    }
}

/// A server's address without what may be written in several ways. Empty for the provider's own
/// servers: a bucket has one name at all of them.
fn server(endpoint: &str) -> String {
    const PROVIDERS: [&str; 4] = ["amazonaws.com", "googleapis.com", "aliyuncs.com", "core.windows.net"];
    let endpoint = endpoint.to_ascii_lowercase();
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
    let rest = rest.trim_end_matches('/');
    let port = if scheme == "http" { ":80" } else { ":443" };
    let host = rest.strip_suffix(port).unwrap_or(rest);
    let is_of = |provider: &&str| host.strip_suffix(*provider).is_some_and(|name| name.ends_with('.'));
    match PROVIDERS.iter().any(is_of) {
        true => String::new(),
        false => host.to_owned(),
    }
}

/// The shortest form of a path, without `.`, `..` and doubled slashes. `..` at its beginning is
/// dropped, so that it never leads out of where it stands; a `/` at its beginning or end stays.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("{root}{}{end}", parts.join("/"))
}

/// A name in a [`StorageTarget`]: cleaned, without `..`, never empty; `/` separates directories.
/// For the local disk it may begin with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoragePath(String);

impl StoragePath {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A name from outside, cleaned; `None` where nothing of it is left, or it names a directory.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let clean = clean(name);
        let is_name = !clean.is_empty() && !clean.ends_with('/') && !clean.contains('\0');
        is_name.then_some(Self(clean))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StoragePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_is_cleaned() {
        for (name, expected) in [
            ("a/../b.mp4", Some("b.mp4")),
            ("../../b.mp4", Some("b.mp4")),
            ("/a//b.mp4", Some("/a/b.mp4")),
            ("..", None),
            ("", None),
            ("a/", None),
            ("a\0b", None),
        ] {
            assert_eq!(StoragePath::parse(name).as_ref().map(StoragePath::as_str), expected, "{name:?}");
        }
    }
}
