//! H.265: parameter sets that come as a frame of their own, before the picture they belong to. Pure.
//!
//! A publisher may end a packet's frame behind them; they have the picture's time. Left by themselves they look like something that
//! can't be shown, and the pictures that follow can't be shown without them.

use std::sync::Arc;

const START: &[u8] = &[0, 0, 0, 1];
/// From here on, types of units are of what is not a picture (H.265 §7.4.2.2, table 7-1).
const NO_PICTURE: u8 = 32;

/// What is waiting for the picture it belongs to.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    waiting: Option<Arc<[u8]>>,
}

impl ParameterSets {
    /// The frame with what came before it; `None` when it has no picture in it, and waits for one.
    pub(super) fn complete(&mut self, frame: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let whole = match self.waiting.take() {
            Some(before) => [&*before, &*frame].concat().into(),
            None => frame,
        };
        if has_picture(&whole) {
            return Some(whole);
        }
        self.waiting = Some(whole);
        None
    }
}

/// Of a byte stream with start codes of four bytes.
fn has_picture(frame: &[u8]) -> bool {
    let mut rest = frame;
    while let Some(at) = rest.windows(START.len()).position(|window| window == START) {
        rest = &rest[at + START.len()..];
        if rest.first().is_some_and(|header| (header >> 1) & 0x3f < NO_PICTURE) {
            return true;
        }
    }
    // What is no byte stream is for others to judge.
    !frame.starts_with(START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(types: &[u8]) -> Arc<[u8]> {
        types.iter().flat_map(|kind| [0, 0, 0, 1, kind << 1, 1, 0x80]).collect()
    }

    #[test]
    fn parameter_sets_wait_for_their_picture() {
        let mut parameters = ParameterSets::default();
        assert_eq!(parameters.complete(units(&[32, 33])), None);
        assert_eq!(parameters.complete(units(&[34, 39])), None);
        assert_eq!(parameters.complete(units(&[20])), Some(units(&[32, 33, 34, 39, 20])));
        assert_eq!(parameters.complete(units(&[1])), Some(units(&[1])));
        assert_eq!(parameters.complete(units(&[35, 32, 33, 34, 19])), Some(units(&[35, 32, 33, 34, 19])));
        assert_eq!(parameters.complete(Arc::from([])), Some(Arc::from([])));
    }
}
