//! Why the service does not do what it was asked. One place for the code that stands for it on the bus and over HTTP.

use crate::plan::error::PlanError;
use crate::psrpc::{self, Code};

/// A request that was refused, or could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// Knows its psrpc, HTTP and Twirp forms (service.md §1.8).
    pub code: Code,
    /// For the caller: no secrets in it.
    pub message: String,
}

impl ServiceError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The egress is not here, or is over.
    #[must_use]
    pub fn egress_not_found() -> Self {
        Self::new(Code::NotFound, "egress not found")
    }

    /// An egress of this name is here already.
    #[must_use]
    pub fn egress_exists() -> Self {
        Self::new(Code::AlreadyExists, "egress already exists")
    }

    /// The service takes no more work.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(Code::Unavailable, "server is shutting down")
    }

    /// Something of ours went wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

impl From<PlanError> for ServiceError {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::Forbidden { .. } => Code::PermissionDenied,
            PlanError::NoRetry { .. } => Code::FailedPrecondition,
            PlanError::Field { .. }
            | PlanError::NotYetSupported { .. }
            | PlanError::Incompatible { .. }
            | PlanError::StreamUrl { .. } => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ServiceError> for psrpc::Error {
    fn from(error: ServiceError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl From<psrpc::Error> for ServiceError {
    fn from(error: psrpc::Error) -> Self {
        Self::new(error.code(), error.text())
    }
}
