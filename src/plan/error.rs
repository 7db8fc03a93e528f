//! Why a request can't be recorded.

use super::stream_url::StreamUrlError;

/// Why a request can't become a plan. Each error knows the field at fault, and its text says what
/// would be right.
///
/// Where LiveKit Egress refuses the same request, the text begins with LiveKit's
/// (docs/reference/media.md, docs/reference/egress.md); a field that it does not name is called by
/// its path in a v1 request (`file_outputs[0].filepath`) or v2 request
/// (`outputs[2].file.filepath`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("request has missing or invalid field: {field}: {help}")]
    Field { field: String, help: String },
    /// Like [`Self::Field`], if LiveKit's text differs from the field's name.
    #[error("request has missing or invalid field: {words}: {field}: {help}")]
    Worded { words: &'static str, field: String, help: String },
    #[error("{what} is not yet supported (field {field}): {help}")]
    NotYetSupported { field: String, what: String, help: String },
    /// A codec that the output's format can't carry. Both are MIME types.
    #[error("format {format} incompatible with codec {codec} (field {field}): {help}")]
    Incompatible { field: String, format: &'static str, codec: &'static str, help: String },
    /// No codec was named, and the output's format can't carry any that is recorded.
    #[error("no supported codec is compatible with all outputs (field {field}): {help}")]
    NoCodec { field: String, help: String },
    /// No format was named, and none carries the codecs that were.
    #[error("no supported file output type is compatible with the selected codecs (field {field}): {help}")]
    NoFileType { field: String, help: String },
    #[error("{error} (field {field})")]
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

    /// `words`: LiveKit's.
    pub(crate) fn worded(words: &'static str, field: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Worded { words, field: field.into(), help: help.into() }
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
            | Self::Worded { field, .. }
            | Self::NotYetSupported { field, .. }
            | Self::Incompatible { field, .. }
            | Self::NoCodec { field, .. }
            | Self::NoFileType { field, .. }
            | Self::StreamUrl { field, .. }
            | Self::Forbidden { field, .. }
            | Self::NoRetry { field } => field,
        }
    }
}
