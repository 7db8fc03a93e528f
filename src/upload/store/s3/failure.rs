//! Converts the SDK's errors to ours.

use std::error::Error;
use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::Failed;
use crate::outbound;
use crate::upload::store::StoreErrorKind;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    /// `NoSuchBucket`; empty where the server gave none, or did not answer.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) status: Option<u16>,
    /// The server's clock, by the answer's `Date`.
    pub(super) date: Option<SystemTime>,
    /// Where the bucket is, by the answer's `x-amz-bucket-region`.
    pub(super) region: Option<String>,
}

impl Failure {
    pub(super) fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let answer = error.raw_response();
        let status = answer.map(|answer| answer.status().as_u16());
        let header = |name| answer.and_then(|answer| answer.headers().get(name));
        let said = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = said.and_then(|said| said.code()).unwrap_or_default().to_owned();
        let message = match said.and_then(|said| said.message()) {
            Some(message) => message.to_owned(),
            // Without an error document the status says more than the SDK's `unhandled error`.
            None if said.is_some() => String::new(),
            None => innermost(error),
        };
        Self {
            kind: kind(error, status, &code),
            message,
            status,
            date: header("date").and_then(|date| httpdate::parse_http_date(date).ok()),
            region: header("x-amz-bucket-region").map(str::to_owned),
            code,
        }
    }
}

fn kind<E: Error + 'static>(error: &SdkError<E>, status: Option<u16>, code: &str) -> StoreErrorKind {
    if outbound::refusal_in(error).is_some() {
        return StoreErrorKind::Unusable;
    }
    // Credentials are asked for while a request is made, by requests of their own.
    if let Some(kind) = for_want_of_credentials(error) {
        return kind;
    }
    match error {
        SdkError::ConstructionFailure(_) => StoreErrorKind::Unusable,
        SdkError::TimeoutError(_) => StoreErrorKind::TooSlow,
        SdkError::DispatchFailure(failure) if failure.is_user() => StoreErrorKind::Unusable,
        SdkError::DispatchFailure(_) => StoreErrorKind::Unreachable,
        // An invalid answer: a proxy's page, or a broken connection.
        SdkError::ResponseError(_) => match status {
            Some(status) if status >= 400 => StoreErrorKind::of_status(status),
            _ => StoreErrorKind::Unreachable,
        },
        _ => match code {
            // The server waited for the body in vain; the body was damaged on the way; or an error
            // inside of a 200.
            "RequestTimeout" | "BadDigest" | "InternalError" | "SlowDown" | "ServiceUnavailable" => {
                StoreErrorKind::Busy
            }
            _ => StoreErrorKind::of_status(status.unwrap_or(0)),
        },
    }
}

/// Explains missing credentials; `None` for other errors.
fn for_want_of_credentials<E: Error + 'static>(error: &SdkError<E>) -> Option<StoreErrorKind> {
    let causes: Vec<_> = std::iter::successors(error.source(), |cause| Error::source(*cause)).collect();
    let credentials = causes.iter().find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match credentials {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            StoreErrorKind::Unusable
        }
        CredentialsError::ProviderTimedOut(_) => StoreErrorKind::TooSlow,
        _ if causes.iter().any(|cause| cause.is::<std::io::Error>()) => StoreErrorKind::Unreachable,
        _ => StoreErrorKind::Refused,
    })
}

/// The causes of a failure without an answer, the SDK's generic ones left out.
fn innermost<E: Error + 'static>(error: &SdkError<E>) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.contains(&text)
            && !matches!(text.as_str(), "io error" | "other" | "dispatch failure" | "timeout")
        {
            texts.push(text);
        }
        next = cause.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

impl<E> From<SdkError<E>> for Failed
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        Self::Answer(Failure::of(&error))
    }
}
