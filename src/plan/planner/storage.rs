//! Selects the storage of an output: its own, else the request's, else the server's
//! (docs/reference/media.md, docs/reference/egress.md).

use crate::config::storage::{
    AliOssConfig, AzureConfig, GcsConfig, ProxyConfig, S3Config, ServerStorage, StorageConfig,
};
use crate::secret::Secret;

use super::super::error::PlanError;
use super::super::storage::{Backend, Links, REQUEST_TIMEOUT, RetryPolicy, Storage, StorageTarget};

/// Decides. `field` is the output's; `request` is the storage that the request names for it, the
/// nearest one.
///
/// # Errors
/// [`PlanError`], naming what is missing of a storage; local storage where the server does not
/// allow it.
pub(super) fn resolve(
    field: &str,
    request: Option<&Backend>,
    server: &ServerStorage,
) -> Result<Storage, PlanError> {
    let storage = server.storage.as_ref();
    let primary = match request {
        Some(backend) => {
            let backend = with_server_role(field, backend.clone(), server)?;
            target(&format!("{field}.storage"), backend, storage)?
        }
        None => match storage.and_then(configured) {
            Some(backend) => target("storage", backend, storage)?,
            None if server.disallow_local_storage => {
                return Err(PlanError::invalid(
                    "output",
                    format!("{field} names no storage, and the local disk is not allowed here; give it one"),
                ));
            }
            None => {
                StorageTarget { links: links(storage), prefix: prefix(storage), ..StorageTarget::local() }
            }
        },
    };
    let backup = server.backup.as_ref().map(|backup| match configured(backup) {
        Some(backend) => target("backup", backend, Some(backup)),
        None => Ok(StorageTarget {
            prefix: prefix(Some(backup)),
            links: links(Some(backup)),
            ..StorageTarget::local()
        }),
    });
    Ok(Storage { primary, backup: backup.transpose()? })
}

/// The server's storage by itself, for what was recorded before.
///
/// # Errors
/// As for a recording.
pub fn of_server(server: &ServerStorage) -> Result<Storage, PlanError> {
    resolve("storage", None, server)
}

fn configured(config: &StorageConfig) -> Option<Backend> {
    let StorageConfig { prefix: _, generate_presigned_url: _, request_timeout: _, s3, gcp, azure, alioss } =
        config.clone();
    s3.map(Backend::S3)
        .or(gcp.map(Backend::Gcs))
        .or(azure.map(Backend::Azure))
        .or(alioss.map(Backend::AliOss))
}

/// A backend with what the server says of prefix, links and retries, checked.
fn target(field: &str, backend: Backend, server: Option<&StorageConfig>) -> Result<StorageTarget, PlanError> {
    let retry = match &backend {
        Backend::S3(own) => retry(own, server.and_then(|server| server.s3.as_ref())),
        Backend::Local | Backend::Gcs(_) | Backend::Azure(_) | Backend::AliOss(_) => RetryPolicy::default(),
    };
    check(field, &backend)?;
    let request_timeout = server.and_then(|server| server.request_timeout).unwrap_or(REQUEST_TIMEOUT);
    Ok(StorageTarget { backend, prefix: prefix(server), links: links(server), retry, request_timeout })
}

fn prefix(server: Option<&StorageConfig>) -> String {
    server.map(|server| server.prefix.clone()).unwrap_or_default()
}

fn links(server: Option<&StorageConfig>) -> Links {
    match server {
        Some(server) if server.generate_presigned_url => Links::Signed,
        _ => Links::Plain,
    }
}

/// Missing values come from the server's own S3, then from LiveKit's defaults. (In LiveKit a
/// server's S3 without `max_retries` retries for ever; here it has the default, too.)
fn retry(own: &S3Config, server: Option<&S3Config>) -> RetryPolicy {
    let default = RetryPolicy::default();
    let attempts = own.max_retries.or(server.and_then(|server| server.max_retries));
    let min = own.min_retry_delay.or(server.and_then(|server| server.min_retry_delay));
    let max = own.max_retry_delay.or(server.and_then(|server| server.max_retry_delay));
    let min_delay = min.unwrap_or(default.min_delay);
    RetryPolicy {
        attempts: attempts.filter(|attempts| *attempts > 0).unwrap_or(default.attempts),
        min_delay,
        max_delay: max.unwrap_or(default.max_delay).max(min_delay),
    }
}

/// A request's role is assumed with the request's keys, else with those the server has for it; a
/// request without a role and without keys gets the server's role.
fn with_server_role(field: &str, backend: Backend, server: &ServerStorage) -> Result<Backend, PlanError> {
    let Backend::S3(mut s3) = backend else { return Ok(backend) };
    let is_set = |secret: &Secret<String>| !secret.expose().is_empty();
    if s3.assume_role_arn.is_empty() && !server.s3_assume_role_arn.is_empty() {
        s3.assume_role_arn.clone_from(&server.s3_assume_role_arn);
        s3.assume_role_external_id = server.s3_assume_role_external_id.clone();
    }
    if !s3.assume_role_arn.is_empty() && !is_set(&s3.access_key) {
        if !is_set(&server.s3_assume_role_key) || !is_set(&server.s3_assume_role_secret) {
            return Err(PlanError::Forbidden {
                field: format!("{field}.storage.assume_role_arn"),
                what: "S3 upload using AssumeRole is disabled for this account".to_owned(),
                help: "give access_key and secret with the role".to_owned(),
            });
        }
        s3.access_key = server.s3_assume_role_key.clone();
        s3.secret = server.s3_assume_role_secret.clone();
    }
    Ok(Backend::S3(s3))
}

fn check(field: &str, backend: &Backend) -> Result<(), PlanError> {
    let given = |part: &str, value: &str| match value {
        "" => Err(PlanError::invalid(format!("{field}.{part}"), "it is missing; a storage needs it")),
        _ => Ok(()),
    };
    match backend {
        Backend::Local => Ok(()),
        Backend::S3(s3) => {
            let S3Config { access_key, secret, endpoint, bucket, proxy_config, tagging, .. } = s3;
            given("bucket", bucket)?;
            if access_key.expose().is_empty() != secret.expose().is_empty() {
                return Err(PlanError::invalid(
                    format!("{field}.access_key"),
                    "access_key and secret come together; give both, or none for the machine's own credentials",
                ));
            }
            address(field, "endpoint", endpoint)?;
            check_tagging(field, tagging)?;
            check_proxy(field, proxy_config.as_ref())
        }
        Backend::Gcs(gcs) => {
            let GcsConfig { credentials_json, bucket, proxy_config, endpoint } = gcs;
            given("bucket", bucket)?;
            check_google(field, credentials_json.expose())?;
            address(field, "endpoint", endpoint)?;
            check_proxy(field, proxy_config.as_ref())
        }
        Backend::Azure(azure) => {
            let AzureConfig { account_name, account_key, container_name, endpoint } = azure;
            given("account_name", account_name.expose())?;
            given("account_key", account_key.expose())?;
            given("container_name", container_name)?;
            address(field, "endpoint", endpoint)
        }
        Backend::AliOss(oss) => {
            let AliOssConfig { access_key, secret, endpoint, bucket } = oss;
            given("access_key", access_key.expose())?;
            given("secret", secret.expose())?;
            given("bucket", bucket)?;
            given("endpoint", endpoint)?;
            address(field, "endpoint", endpoint)
        }
    }
}

/// A key, and nothing that says where on this machine there is one. Empty: the machine's own
/// credentials.
fn check_google(field: &str, json: &str) -> Result<(), PlanError> {
    if json.is_empty() {
        return Ok(());
    }
    let invalid = |help: &str| PlanError::invalid(format!("{field}.credentials"), help);
    // The parser's own words may quote the key.
    let file: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
        .map_err(|_| invalid("not JSON; give the content of the service account's key file"))?;
    let kind = file.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
    match GcsConfig::is_key(kind) {
        true => Ok(()),
        false => Err(invalid(
            "its type is neither service_account nor authorized_user; others are taken only as the machine's own \
             (GOOGLE_APPLICATION_CREDENTIALS), with no credentials given",
        )),
    }
}

/// An address of a server, with or without its scheme; empty: none was given.
fn address(field: &str, part: &str, text: &str) -> Result<(), PlanError> {
    if text.is_empty() {
        return Ok(());
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let is_address = url::Url::parse(&with_scheme).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none()
    });
    match is_address {
        true => Ok(()),
        false => Err(PlanError::invalid(
            format!("{field}.{part}"),
            "invalid server address; write it as https://host or https://host:port",
        )),
    }
}

fn check_proxy(field: &str, proxy: Option<&ProxyConfig>) -> Result<(), PlanError> {
    let Some(proxy) = proxy else { return Ok(()) };
    // A user and a password may stand in the address itself; they are not checked, and not shown.
    let is_address = url::Url::parse(proxy.url.expose())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match is_address {
        true => Ok(()),
        false => Err(PlanError::invalid(
            format!("{field}.proxy.url"),
            "invalid proxy address; write it as http://host:port",
        )),
    }
}

/// Every tag has a name: S3 answers with no more than `InvalidArgument`.
fn check_tagging(field: &str, tagging: &str) -> Result<(), PlanError> {
    let is_tag = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    match tagging.is_empty() || tagging.split('&').all(is_tag) {
        true => Ok(()),
        false => Err(PlanError::invalid(
            format!("{field}.tagging"),
            "write tags as key=value&key2=value2, URL-encoded",
        )),
    }
}

#[cfg(test)]
mod tests;
