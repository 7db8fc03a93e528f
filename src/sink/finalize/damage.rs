//! Parts of a recorded file that can't be understood, or contradict others.

use std::fmt;

/// How much of a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Damage {
    pub(super) places: u64,
    pub(super) bytes: u64,
    /// Offset of the first damaged part.
    pub(super) first: u64,
}

impl Damage {
    pub(super) const fn is_none(&self) -> bool {
        self.places == 0
    }

    pub(super) fn add(&mut self, start: u64, end: u64) {
        self.first = if self.is_none() { start } else { self.first.min(start) };
        self.places += 1;
        self.bytes = self.bytes.saturating_add(end.saturating_sub(start));
    }

    /// Description of the damage; `None` without any.
    pub(super) fn described(&self) -> Option<String> {
        (!self.is_none()).then(|| self.to_string())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { places, bytes, first } = self;
        match places {
            0 => write!(f, "not damaged"),
            1 => write!(f, "damaged at byte {first}: {bytes} bytes can't be read"),
            _ => write!(f, "damaged in {places} places from byte {first} on: {bytes} bytes can't be read"),
        }
    }
}
