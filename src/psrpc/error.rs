//! Errors of calls: a code, a text, and details (docs/reference/psrpc.md).

use std::fmt;

use super::envelope::Any;

/// The text of a call that nobody answered in time.
pub const TIMED_OUT: &str = "request timed out";
/// The text of a call for which no server came forward.
pub const NO_RESPONSE: &str = "no response from servers";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $text:literal, $http:literal, $twirp:literal;)*) => {
        /// Why a call failed. The texts are what is on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that stands for it; LiveKit's `error_code` of an egress.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// The code of a Twirp answer that stands for it.
            #[must_use]
            pub const fn twirp(self) -> &'static str {
                match self { $(Self::$variant => $twirp,)* }
            }

            /// Parses a code; an empty or unknown one is [`Code::Unknown`].
            #[must_use]
            pub fn from_wire(text: &str) -> Self {
                match text { $($text => Self::$variant,)* _ => Self::Unknown }
            }
        }
    };
}

codes! {
    /// The caller gave up.
    Canceled, "canceled", 503, "canceled";
    /// The request's bytes are not what the method takes.
    MalformedRequest, "malformed_request", 400, "malformed";
    /// The answer could not be written down.
    MalformedResult, "malformed_result", 500, "malformed";
    /// No answer in time.
    DeadlineExceeded, "deadline_exceeded", 503, "deadline_exceeded";
    /// Nobody takes the request now.
    Unavailable, "unavailable", 503, "unavailable";
    Unknown, "unknown", 500, "unknown";
    InvalidArgument, "invalid_argument", 400, "invalid_argument";
    NotFound, "not_found", 404, "not_found";
    NotAcceptable, "not_acceptable", 406, "unknown";
    AlreadyExists, "already_exists", 409, "already_exists";
    PermissionDenied, "permission_denied", 403, "permission_denied";
    ResourceExhausted, "resource_exhausted", 429, "resource_exhausted";
    FailedPrecondition, "failed_precondition", 412, "failed_precondition";
    Aborted, "aborted", 409, "aborted";
    OutOfRange, "out_of_range", 416, "out_of_range";
    Unimplemented, "unimplemented", 501, "unimplemented";
    Internal, "internal", 500, "internal";
    DataLoss, "data_loss", 500, "dataloss";
    Unauthenticated, "unauthenticated", 401, "unauthenticated";
    UnprocessableEntity, "unprocessable_entity", 422, "unknown";
    UpstreamServerError, "upstream_server_error", 502, "internal";
    UpstreamClientError, "upstream_client_error", 424, "invalid_argument";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that failed, here or at its server.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    code: Code,
    text: String,
    details: Vec<Any>,
    is_answer: bool,
}

/// Ignores the origin.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (self.code, &self.text, &self.details) == (other.code, &other.text, &other.details)
    }
}

impl Error {
    /// `text` goes to the caller. An empty one would count as success there, so that the code takes
    /// its place.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.is_empty() {
            code.as_str().clone_into(&mut text);
        }
        Self { code, text, details: Vec::new(), is_answer: false }
    }

    /// Adds messages that say more, such as those of `google.rpc`.
    #[must_use]
    pub fn with_details(mut self, details: Vec<Any>) -> Self {
        self.details = details;
        self
    }

    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn details(&self) -> &[Any] {
        &self.details
    }

    /// The same, as a server has said it.
    #[must_use]
    pub(super) const fn of_server(mut self) -> Self {
        self.is_answer = true;
        self
    }

    /// Whether a server has said it: it is there, whatever the code.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// Whether the same request may succeed when repeated. The result of the first one is unknown.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self.code, Code::DeadlineExceeded | Code::Unavailable)
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Code::DeadlineExceeded, TIMED_OUT)
    }

    pub(super) fn malformed(error: &dyn fmt::Display) -> Self {
        Self::new(Code::MalformedRequest, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_strange_ones_are_unknown() {
        assert_eq!(Code::ALL.len(), 22);
        for code in Code::ALL {
            assert_eq!(Code::from_wire(code.as_str()), *code);
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
        assert_eq!(Code::from_wire(""), Code::Unknown);
        assert_eq!(Code::from_wire("from_the_future"), Code::Unknown);
    }

    #[test]
    fn an_error_is_never_without_text() {
        assert_eq!(Error::new(Code::NotFound, "").text(), "not_found");
        assert_eq!(Error::new(Code::NotFound, "egress not found").to_string(), "egress not found");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let passing: Vec<_> =
            Code::ALL.iter().filter(|code| Error::new(**code, "x").is_passing()).copied().collect();
        assert_eq!(passing, [Code::DeadlineExceeded, Code::Unavailable]);
    }
}
