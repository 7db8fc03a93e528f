//! The way to a bucket: HTTP client, credentials, region, and the server's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::{Builder, Connector, proxy, tls};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use super::failure::Failure;
use crate::config::storage::{ProxyConfig, S3Config};
use crate::outbound::Guard;
use crate::upload::store::object_url::{self, Endpoint};
use crate::upload::store::redact::CredentialRedactor;
use crate::upload::store::{StoreError, StoreErrorKind};

const CONNECT: Duration = Duration::from_secs(10);
const DEFAULT_REGION: &str = "us-east-1";
const NANOS: i64 = 1_000_000_000;
/// How far a clock may be off before a server's refusal is laid to it, in nanoseconds. Amazon
/// allows 15 minutes.
const SKEW: i64 = 4 * 60 * NANOS;

/// Where Amazon's own services are, when not at Amazon, and what is not connected to.
#[derive(Debug, Clone, Default)]
pub(in crate::upload::store) struct Peers {
    /// The token service, for roles that are assumed.
    pub(in crate::upload::store) sts: Option<String>,
    /// S3 itself, for a configuration without an endpoint.
    pub(in crate::upload::store) s3: Option<String>,
    pub(in crate::upload::store) guard: Guard,
}

/// Settings of a client, and the client once it was needed: the region of a bucket and the default
/// credentials are found by requests.
#[derive(Debug)]
pub(super) struct Connection {
    config: S3Config,
    endpoint: Option<Endpoint>,
    http: SharedHttpClient,
    clock: Clock,
    scrub: CredentialRedactor,
    peers: Peers,
    client: OnceCell<Client>,
}

impl Connection {
    pub(super) fn new(
        config: &S3Config,
        endpoint: Option<&Endpoint>,
        scrub: CredentialRedactor,
        peers: Peers,
    ) -> Result<Self, StoreError> {
        let http = http_client(config.proxy_config.as_ref(), peers.guard)?;
        let (config, endpoint) = (config.clone(), endpoint.cloned());
        Ok(Self { config, endpoint, http, clock: Clock::default(), scrub, peers, client: OnceCell::new() })
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The client; made at the first call that succeeds.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        let client = self.client.get_or_try_init(async || {
            let credentials = self.credentials().await?;
            let region = match (self.config.region.as_str(), &self.endpoint) {
                ("", Some(_)) => DEFAULT_REGION.to_owned(),
                ("", None) => self.find_region(&credentials).await?,
                (region, _) => region.to_owned(),
            };
            Ok::<_, StoreError>(self.client_in(region, credentials))
        });
        client.await.cloned()
    }

    fn client_in(&self, region: String, credentials: SharedCredentialsProvider) -> Client {
        let mut config = aws_sdk_s3::config::Builder::from(&self.shared(region))
            .credentials_provider(credentials)
            .force_path_style(self.config.force_path_style)
            // Our clock learns for signed links, too, which the SDK's own correction leaves out.
            .disable_clock_skew_correction(true)
            .disable_s3_express_session_auth(true);
        if let Some(endpoint) = &self.endpoint {
            // Many servers know neither the checksums that Amazon asks for nor the trailers they
            // come in.
            config = config
                .endpoint_url(&endpoint.url)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        } else if let Some(s3) = &self.peers.s3 {
            config = config.endpoint_url(s3);
        }
        Client::from_conf(config.build())
    }

    /// Settings common to S3 and the token service. Retries and deadlines are ours.
    fn shared(&self, region: String) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .http_client(self.http.clone())
            .time_source(self.clock.clone())
            .sleep_impl(aws_sdk_s3::config::SharedAsyncSleep::new(TokioSleep::new()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    async fn credentials(&self) -> Result<SharedCredentialsProvider, StoreError> {
        let S3Config { access_key, secret, session_token, .. } = &self.config;
        let own = if access_key.expose().is_empty() {
            let chain = aws_config::defaults(BehaviorVersion::latest()).load().await;
            chain.credentials_provider().ok_or_else(|| {
                StoreError::new(
                    StoreErrorKind::Unusable,
                    "there are no credentials for S3 in the environment",
                )
            })?
        } else {
            let token = Some(session_token.expose().clone()).filter(|token| !token.is_empty());
            let keys = Credentials::new(access_key.expose(), secret.expose(), token, None, "configuration");
            SharedCredentialsProvider::new(keys)
        };
        if self.config.assume_role_arn.is_empty() {
            return Ok(own);
        }
        let region = match self.config.region.as_str() {
            "" => DEFAULT_REGION,
            region => region,
        };
        let mut shared = self.shared(region.to_owned()).into_builder();
        if let Some(sts) = &self.peers.sts {
            shared = shared.endpoint_url(sts);
        }
        let mut role = AssumeRoleProvider::builder(&self.config.assume_role_arn)
            .configure(&shared.build())
            .session_name("weir");
        let external_id = self.config.assume_role_external_id.expose();
        if !external_id.is_empty() {
            role = role.external_id(external_id);
        }
        Ok(SharedCredentialsProvider::new(role.build_from_provider(own).await))
    }

    /// Asks Amazon where the bucket is. The answer names it whether or not these credentials may
    /// see the bucket.
    async fn find_region(&self, credentials: &SharedCredentialsProvider) -> Result<String, StoreError> {
        let client = self.client_in(DEFAULT_REGION.to_owned(), credentials.clone());
        match client.head_bucket().bucket(&self.config.bucket).send().await {
            Ok(answer) => Ok(answer.bucket_region.unwrap_or_else(|| DEFAULT_REGION.to_owned())),
            Err(error) => {
                let failure = Failure::of(&error);
                match &failure.region {
                    Some(region) => Ok(region.clone()),
                    None => Err(self.explain(failure)),
                }
            }
        }
    }

    /// The error for people.
    pub(super) fn explain(&self, failure: Failure) -> StoreError {
        let Failure { kind, code, message, status, .. } = failure;
        let said = match (code.as_str(), message.as_str(), status) {
            ("", "", Some(status)) => format!("the server answered {status}"),
            ("", message, _) => message.to_owned(),
            (code, "", Some(status)) => format!("{code} ({status})"),
            (code, message, _) => format!("{code}: {message}"),
        };
        let host = self.endpoint.as_ref().map_or("Amazon S3", |endpoint| endpoint.authority.as_str());
        let hint = match (code.as_str(), status) {
            ("InvalidAccessKeyId", _) => "; check access_key",
            ("SignatureDoesNotMatch", _) => "; check secret, and that nothing on the way rewrites requests",
            ("ExpiredToken" | "InvalidToken", _) => "; check session_token",
            ("AccessDenied", _) | ("", Some(401 | 403)) => {
                "; check that these keys may put objects (and tags, if there are any) into the bucket"
            }
            ("NoSuchBucket", _) => "; create the bucket, or check its name and the endpoint",
            (
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            ) => "; check region",
            ("RequestTimeTooSkewed", _) => "; set this machine's clock",
            _ => "",
        };
        let text = format!("{} (bucket {} at {host}{hint})", self.scrub.clean(&said), self.config.bucket);
        StoreError::new(kind, text).answered(&code, status)
    }
}

fn http_client(proxy: Option<&ProxyConfig>, guard: Guard) -> Result<SharedHttpClient, StoreError> {
    let proxy = match proxy {
        None => proxy::ProxyConfig::from_env(),
        Some(given) => {
            object_url::check_proxy(given, guard)?;
            // The library's own error would repeat the address, and a password in it.
            let all = proxy::ProxyConfig::all(given.url.expose().as_str()).map_err(|_| {
                StoreError::new(
                    StoreErrorKind::Unusable,
                    "proxy url: invalid address; write it as http://host:port",
                )
            })?;
            if given.username.is_empty() {
                all
            } else {
                // The library puts them into an address as they are, and uses no proxy, silently,
                // where that makes none.
                let word = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                all.with_basic_auth(word(&given.username), word(given.password.expose()))
            }
        }
    };
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        let connector =
            connector.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc));
        if guard.refuses_link_local() { connector.build_with_resolver(guard) } else { connector.build() }
    }))
}

/// This machine's clock, set by a server's. Signatures carry the time, and servers refuse those
/// that are off.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// Nanoseconds to add: in whole seconds the clock would run up to one behind the server's.
    offset: Arc<AtomicI64>,
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        shift(SystemTime::now(), self.offset.load(Ordering::Relaxed))
    }

    /// Takes the server's time over when the failure may be due to ours. Gives whether it did.
    pub(super) fn learn(&self, failure: &Failure) -> bool {
        let may_be = matches!(failure.code.as_str(), "RequestTimeTooSkewed" | "RequestExpired")
            || failure.status == Some(403);
        let Some(date) = failure.date.filter(|_| may_be) else { return false };
        let (was, is) = (self.offset.load(Ordering::Relaxed), nanos_between(SystemTime::now(), date));
        if is.abs_diff(was) <= SKEW.unsigned_abs() {
            return false;
        }
        tracing::warn!(
            seconds = is / NANOS,
            "the clock of this machine differs from the store's; requests carry the store's time"
        );
        self.offset.store(is, Ordering::Relaxed);
        true
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        Self::now(self)
    }
}

fn shift(time: SystemTime, nanos: i64) -> SystemTime {
    let by = Duration::from_nanos(nanos.unsigned_abs());
    let shifted = if nanos < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

fn nanos_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    }
}
