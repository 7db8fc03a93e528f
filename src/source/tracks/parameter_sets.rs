//! Joins H.265 parameter sets that arrive as a frame of their own with the frame that they belong
//! to. Pure.
//!
//! A publisher may set RTP's marker after the parameter sets (VPS, SPS, PPS), which have the time
//! of the next frame. By themselves they can't be shown, and the next frames can't be shown without
//! them.

use std::sync::Arc;

const START: &[u8] = &[0, 0, 0, 1];
/// The first NAL unit type that is not a slice of a frame (H.265 §7.4.2.2, table 7-1).
const FIRST_NON_VCL: u8 = 32;

/// Holds the parameter sets that wait for their frame.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    waiting: Option<Arc<[u8]>>,
}

impl ParameterSets {
    /// Returns the frame with the parameter sets before it; `None` if it has parameter sets only,
    /// which wait for the next frame.
    pub(super) fn complete(&mut self, frame: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let complete = match self.waiting.take() {
            Some(before) => [&*before, &*frame].concat().into(),
            None => frame,
        };
        if has_slice(&complete) {
            return Some(complete);
        }
        self.waiting = Some(complete);
        None
    }
}

/// Whether a byte stream with start codes of four bytes contains a slice.
fn has_slice(frame: &[u8]) -> bool {
    let mut rest = frame;
    while let Some(at) = rest.windows(START.len()).position(|window| window == START) {
        rest = &rest[at + START.len()..];
        if rest.first().is_some_and(|header| (header >> 1) & 0x3f < FIRST_NON_VCL) {
            return true;
        }
    }
    // Anything but a byte stream passes.
    !frame.starts_with(START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(types: &[u8]) -> Arc<[u8]> {
        types.iter().flat_map(|kind| [0, 0, 0, 1, kind << 1, 1, 0x80]).collect()
    }

    #[test]
    fn parameter_sets_wait_for_their_frame() {
        let mut parameters = ParameterSets::default();
        assert_eq!(parameters.complete(units(&[32, 33])), None);
        assert_eq!(parameters.complete(units(&[34, 39])), None);
        assert_eq!(parameters.complete(units(&[20])), Some(units(&[32, 33, 34, 39, 20])));
        assert_eq!(parameters.complete(units(&[1])), Some(units(&[1])));
        assert_eq!(parameters.complete(units(&[35, 32, 33, 34, 19])), Some(units(&[35, 32, 33, 34, 19])));
        assert_eq!(parameters.complete(Arc::from([])), Some(Arc::from([])));
    }
}
