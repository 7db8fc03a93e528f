//! Values of a request that are out of range, and what is recorded in their place.
//!
//! LiveKit Egress takes such requests, and so does a service here: it records what comes closest,
//! and `details` say so. Somebody at a terminal can correct a command at once, and gets an error.

use super::super::error::PlanError;
use super::super::request::RequestOrigin;

/// Whether values may be adjusted, and which ones were.
#[derive(Debug)]
pub(super) struct Adjustments {
    are_allowed: bool,
    made: Vec<String>,
}

impl Adjustments {
    pub(super) const fn new(origin: &RequestOrigin) -> Self {
        let are_allowed = match origin {
            RequestOrigin::CommandLine => false,
            RequestOrigin::Wire(_) => true,
        };
        Self { are_allowed, made: Vec::new() }
    }

    /// The value that is recorded in place of the requested one; `note` says so to people.
    ///
    /// # Errors
    /// `refused`, where nothing may be adjusted.
    pub(super) fn replace<T>(&mut self, by: T, note: String, refused: PlanError) -> Result<T, PlanError> {
        if !self.are_allowed {
            return Err(refused);
        }
        self.made.push(note);
        Ok(by)
    }

    /// Whether a value may be adjusted that needs no note, as the results show it anyway.
    pub(super) const fn are_allowed(&self) -> bool {
        self.are_allowed
    }

    /// The adjustments, one sentence each.
    pub(super) fn into_notes(self) -> Vec<String> {
        self.made
    }
}
