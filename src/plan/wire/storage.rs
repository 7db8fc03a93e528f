//! The storages that a request can name.

use livekit_protocol as proto;
use proto::storage_config::Provider;

use crate::config::storage::{AliOssConfig, AzureConfig, GcsConfig, ProxyConfig, S3Config};
use crate::plan::storage::Backend;
use crate::secret::Secret;

/// `None`: the message is there, and names nothing.
pub(in crate::plan) fn of(config: proto::StorageConfig) -> Option<Backend> {
    Some(match config.provider? {
        Provider::S3(s3) => self::s3(s3),
        Provider::Gcp(gcp) => gcs(gcp),
        Provider::Azure(azure) => self::azure(azure),
        Provider::AliOss(oss) => ali_oss(oss),
    })
}

pub(in crate::plan) fn s3(s3: proto::S3Upload) -> Backend {
    let proto::S3Upload {
        access_key,
        secret,
        session_token,
        assume_role_arn,
        assume_role_external_id,
        region,
        endpoint,
        bucket,
        force_path_style,
        metadata,
        tagging,
        content_disposition,
        proxy,
    } = s3;
    Backend::S3(S3Config {
        access_key: Secret::new(access_key),
        secret: Secret::new(secret),
        session_token: Secret::new(session_token),
        assume_role_arn,
        assume_role_external_id: Secret::new(assume_role_external_id),
        region,
        endpoint,
        bucket,
        force_path_style,
        proxy_config: proxy.and_then(self::proxy),
        max_retries: None,
        max_retry_delay: None,
        min_retry_delay: None,
        metadata: metadata.into_iter().collect(),
        tagging,
        content_disposition,
    })
}

pub(in crate::plan) fn gcs(gcp: proto::GcpUpload) -> Backend {
    let proto::GcpUpload { credentials, bucket, proxy } = gcp;
    Backend::Gcs(GcsConfig {
        credentials_json: Secret::new(credentials),
        bucket,
        proxy_config: proxy.and_then(self::proxy),
        endpoint: String::new(),
    })
}

pub(in crate::plan) fn azure(azure: proto::AzureBlobUpload) -> Backend {
    let proto::AzureBlobUpload { account_name, account_key, container_name } = azure;
    Backend::Azure(AzureConfig {
        account_name: Secret::new(account_name),
        account_key: Secret::new(account_key),
        container_name,
        endpoint: String::new(),
    })
}

pub(in crate::plan) fn ali_oss(oss: proto::AliOssUpload) -> Backend {
    // The region is part of the endpoint; LiveKit does not look at the field either.
    let proto::AliOssUpload { access_key, secret, region: _, endpoint, bucket } = oss;
    Backend::AliOss(AliOssConfig {
        access_key: Secret::new(access_key),
        secret: Secret::new(secret),
        endpoint,
        bucket,
    })
}

/// An empty message counts as absent.
fn proxy(proxy: proto::ProxyConfig) -> Option<ProxyConfig> {
    let proto::ProxyConfig { url, username, password } = proxy;
    (!url.is_empty()).then(|| ProxyConfig {
        url: Secret::new(url),
        username,
        password: Secret::new(password),
    })
}
