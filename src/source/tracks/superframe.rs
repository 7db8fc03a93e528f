//! Joins the spatial layers of a VP9 frame into a superframe, as files need it (VP9 bitstream
//! specification, Annex B). Pure.
//!
//! RTP carries each layer as a frame of its own without an index. Without an index, a decoder shows
//! the smallest layer.

use std::sync::Arc;

/// The upper three bits of an index's first and last byte.
const MARKER: u8 = 0b1100_0000;
/// Greatest number of frames in an index.
const MOST: usize = 8;

/// Appends an index to the frames of one instant. `ends` are their ends in `frames`, the last one
/// at its end. A single frame needs no index; invalid input is returned unchanged.
pub(super) fn indexed(frames: Arc<[u8]>, ends: &[usize]) -> Arc<[u8]> {
    match index(frames.len(), ends) {
        Some(index) => [&*frames, &index].concat().into(),
        None => frames,
    }
}

fn index(len: usize, ends: &[usize]) -> Option<Vec<u8>> {
    if !(2..=MOST).contains(&ends.len()) || ends.last() != Some(&len) {
        return None;
    }
    let starts = [0].into_iter().chain(ends.iter().copied());
    let sizes: Option<Vec<usize>> =
        starts.zip(ends).map(|(start, end)| end.checked_sub(start).filter(|size| *size > 0)).collect();
    let sizes = sizes?;
    let largest = u32::try_from(*sizes.iter().max()?).ok()?;
    let bytes = (1..=4).find(|bytes| u64::from(largest) < 1 << (8 * bytes))?;
    // Both values are written minus one.
    let head = MARKER | u8::try_from((bytes - 1) << 3 | (sizes.len() - 1)).ok()?;
    let mut index = vec![head];
    for size in sizes {
        index.extend(&size.to_le_bytes()[..bytes]);
    }
    index.push(head);
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_layers_get_an_index() {
        let frames: Arc<[u8]> = vec![0x82; 10 + 300 + 70_000].into();
        let made = indexed(Arc::clone(&frames), &[10, 310, 70_310]);
        let (kept, index) = made.split_at(frames.len());
        assert_eq!(kept, &*frames);
        // Three sizes of three bytes each.
        let head = 0b1101_0010;
        assert_eq!(index, [head, 10, 0, 0, 0x2c, 1, 0, 0x70, 0x11, 1, head]);
        let small = indexed(vec![0x82; 5].into(), &[2, 5]);
        assert_eq!(small[5..], [0b1100_0001, 2, 3, 0b1100_0001]);
    }

    #[test]
    fn single_frames_and_invalid_input_are_unchanged() {
        let frames: Arc<[u8]> = vec![0x82; 5].into();
        for ends in [&[][..], &[5], &[2, 4], &[2, 6], &[3, 2, 5], &[2, 2, 5], &[1, 2, 3, 4, 5, 5, 5, 5, 5]] {
            assert_eq!(indexed(Arc::clone(&frames), ends), frames, "{ends:?}");
        }
    }
}
