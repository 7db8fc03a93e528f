//! Why a request to the service failed: one code for psrpc, HTTP and Twirp alike
//! (docs/reference/psrpc.md).

use crate::plan::error::PlanError;
use crate::psrpc;
pub use crate::psrpc::Code;

/// Why a request failed. The text goes to whoever asked, so that it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    pub code: Code,
    pub message: String,
}

impl ServiceError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The egress is not here, or is over.
    #[must_use]
    pub fn egress_not_found() -> Self {
        Self::not_found("egress not found")
    }

    /// The egress is recorded, and its recorder can't be reached now. Nothing was done, so that it
    /// may be asked again.
    #[must_use]
    pub fn unreached() -> Self {
        Self::unavailable("the recorder does not answer; try again")
    }

    /// An egress of this name is here already.
    #[must_use]
    pub fn egress_exists() -> Self {
        Self::new(Code::AlreadyExists, "egress already exists")
    }

    /// The service takes no more work.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::unavailable("server is shutting down")
    }
}

impl From<PlanError> for ServiceError {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::Field { .. }
            | PlanError::Worded { .. }
            | PlanError::NotYetSupported { .. }
            | PlanError::Incompatible { .. }
            | PlanError::NoCodec { .. }
            | PlanError::NoFileType { .. }
            | PlanError::StreamUrl { .. } => Code::InvalidArgument,
            PlanError::Forbidden { .. } => Code::PermissionDenied,
            PlanError::NoRetry { .. } => Code::FailedPrecondition,
        };
        Self::new(code, error.to_string())
    }
}

impl From<psrpc::Error> for ServiceError {
    fn from(error: psrpc::Error) -> Self {
        Self::new(error.code(), error.text())
    }
}

impl From<ServiceError> for psrpc::Error {
    fn from(error: ServiceError) -> Self {
        Self::new(error.code, error.message)
    }
}

/// The HTTP status of a Twirp answer with this code (Twirp's specification, "Error Codes"). Those
/// are not the ones of [`Code::http_status`], which an `EgressInfo` shows.
#[must_use]
pub fn twirp_status(twirp_code: &str) -> u16 {
    match twirp_code {
        "invalid_argument" | "malformed" | "out_of_range" => 400,
        "unauthenticated" => 401,
        "permission_denied" => 403,
        "bad_route" | "not_found" => 404,
        "canceled" | "deadline_exceeded" => 408,
        "already_exists" | "aborted" => 409,
        "failed_precondition" => 412,
        "resource_exhausted" => 429,
        "unimplemented" => 501,
        "unavailable" => 503,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_the_bus_and_back() {
        let error = ServiceError::new(Code::AlreadyExists, "egress already exists");
        assert_eq!(ServiceError::from(psrpc::Error::from(error.clone())), error);
    }

    #[test]
    fn every_code_has_a_status() {
        for code in Code::ALL {
            let status = twirp_status(code.twirp());
            assert!((400..=599).contains(&status), "{code}");
            // Whose fault it is, both tables agree on, but for time that ran out, a malformed
            // answer of ours, and codes that Twirp has none for.
            let stray = ["canceled", "deadline_exceeded", "malformed", "unknown"].contains(&code.twirp());
            assert!(stray || status / 100 == code.http_status() / 100, "{code}: {status}");
        }
    }

    #[test]
    fn a_refused_plan_names_its_code() {
        let not_yet = PlanError::not_yet("template", "a template source", "give a `web` source");
        assert_eq!(ServiceError::from(not_yet).code, Code::InvalidArgument);
        let no_retry = PlanError::NoRetry { field: "filepath".to_owned() };
        assert_eq!(ServiceError::from(no_retry).code, Code::FailedPrecondition);
    }
}
