//! What went wrong, in words and by whose fault.

use tokio::task::JoinError;

use crate::plan::track::TrackKind;
use crate::recording::names::NameError;
use crate::report::{Failure, Fault};
use crate::sink::SinkError;
use crate::source::tracks::{RoomError, SignalError, TracksError};
use crate::source::web::WebError;
use crate::source::{Source, SourceError};

/// Why there is no source.
pub(super) struct StartFailure {
    pub(super) failure: Failure,
    /// A track of pictures was named where one of sound is wanted.
    pub(super) is_picture: bool,
}

impl From<SourceError> for StartFailure {
    fn from(error: SourceError) -> Self {
        let fault = match &error {
            SourceError::Web(WebError::Page { .. }) => Fault::User,
            SourceError::Tracks(TracksError::NotFound { .. } | TracksError::NoParticipant { .. }) => {
                Fault::NotFound
            }
            SourceError::Tracks(
                TracksError::Refused { .. }
                | TracksError::WrongKind { .. }
                | TracksError::CodecChanged { .. }
                | TracksError::Room(RoomError::Signal(
                    SignalError::Refused { .. } | SignalError::Address { .. },
                )),
            ) => Fault::User,
            // Where the room is: nothing of ours, and nothing of who asked.
            SourceError::Tracks(TracksError::Room(_) | TracksError::Lost(_)) => Fault::Destination,
            SourceError::Web(_) | SourceError::Tracks(TracksError::Render(_) | TracksError::Transcode(_)) => {
                Fault::Service
            }
        };
        let is_picture =
            matches!(&error, SourceError::Tracks(TracksError::WrongKind { kind: TrackKind::Video, .. }));
        Self { failure: Failure::new(describe(&error), fault), is_picture }
    }
}

/// A source that started, or why it did not.
pub(super) fn joined(
    started: Result<Result<Source, SourceError>, JoinError>,
) -> Result<Source, StartFailure> {
    match started {
        Ok(started) => started.map_err(StartFailure::from),
        Err(panic) => Err(StartFailure { failure: of_service(&panic), is_picture: false }),
    }
}

/// A failure that is nobody's fault but ours.
pub(super) fn of_service(error: &dyn std::error::Error) -> Failure {
    Failure::new(describe(error), Fault::Service)
}

/// Why a recording can't have its names.
pub(super) fn of_names(error: &NameError) -> Failure {
    let fault = match error {
        NameError::Registry { .. } => Fault::Service,
        NameError::Taken { .. } | NameError::Exists { .. } | NameError::Twice { .. } => Fault::User,
    };
    Failure::new(describe(error), fault)
}

/// Why a sink could not start, go on, or finish.
pub(super) fn of_sink(error: &SinkError) -> Failure {
    let fault = match error {
        // Of this installation, or of the plan: where it was to go has nothing to do with it.
        SinkError::Missing(_) | SinkError::NoFeed(_) => Fault::Service,
        SinkError::Pipeline(_)
        | SinkError::NoSpaceLeft { .. }
        | SinkError::Io { .. }
        | SinkError::Finalize(_) => Fault::Destination,
    };
    Failure::new(describe(error), fault)
}

/// An error with its causes, which its own text leaves to them.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
