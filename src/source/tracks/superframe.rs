//! VP9 in spatial layers: all frames of one instant in one superframe, as files want them (VP9 bitstream specification, Annex B). Pure.
//!
//! RTP carries each layer as a frame of its own and needs no index. Without one, a decoder that takes what it is given for one frame
//! shows the smallest layer.

use std::sync::Arc;

/// Three bits at the head of an index's first and last byte.
const MARKER: u8 = 0b1100_0000;
/// As many frames as an index can name.
const MOST: usize = 8;

/// The frames of one instant with an index behind them. `ends`: where each of them ends in `frames`, the last at its end. One frame
/// by itself needs none; what makes no sense stays as it is.
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
    // Both are written as one less than they are.
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
    fn layers_of_one_instant_get_an_index() {
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
    fn one_frame_and_what_makes_no_sense_stay_as_they_are() {
        let frames: Arc<[u8]> = vec![0x82; 5].into();
        for ends in [&[][..], &[5], &[2, 4], &[2, 6], &[3, 2, 5], &[2, 2, 5], &[1, 2, 3, 4, 5, 5, 5, 5, 5]] {
            assert_eq!(indexed(Arc::clone(&frames), ends), frames, "{ends:?}");
        }
    }
}
