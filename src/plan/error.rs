//! Why a request can't be recorded.

use super::stream_url::StreamUrlError;

/// Why a request can't become a plan. Each error knows the field at fault, and its text says what would be right.
///
/// Fields are called what the field's other software calls them (media.md §1, service.md §5.6), or by their path in a v1
/// request (`file_outputs[0].filepath`) or v2 request (`outputs[2].file.filepath`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("request has missing or invalid field: {field}: {help}")]
    Field { field: String, help: String },
    #[error("{what} is not yet supported (field {field}): {help}")]
    NotYetSupported { field: String, what: String, help: String },
    /// A codec that the output's format can't carry.
    #[error("format {format} incompatible with codec {codec} (field {field}): {help}")]
    Incompatible { field: String, format: String, codec: String, help: String },
    #[error("request has missing or invalid field: {field}: {error}")]
    StreamUrl { field: String, error: StreamUrlError },
    /// It could be had, but not here.
    #[error("{what} (field {field}): {help}")]
    Forbidden { field: String, what: String, help: String },
    /// A second try would overwrite what the first one left.
    #[error(
        "output configuration does not support retry: put `{{retry}}` into {field}, so that a second try does not \
         overwrite the first"
    )]
    NoRetry { field: String },
}

impl PlanError {
    pub(crate) fn invalid(field: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Field { field: field.into(), help: help.into() }
    }

    pub(crate) fn not_yet(
        field: impl Into<String>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::NotYetSupported { field: field.into(), what: what.into(), help: help.into() }
    }

    /// The field at fault.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Field { field, .. }
            | Self::NotYetSupported { field, .. }
            | Self::Incompatible { field, .. }
            | Self::StreamUrl { field, .. }
            | Self::Forbidden { field, .. }
            | Self::NoRetry { field } => field,
        }
    }
}
