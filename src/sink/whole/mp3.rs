//! MP3: the Xing header, in the first frame, says how many frames follow. It is written last; a recording that was killed
//! has none, and players guess its length. Frames themselves are whole wherever the file ends.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::remux::{self, head_of};
use super::{FinalizeError, Whole};

pub(super) fn make_whole(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Whole, FinalizeError> {
    let head = head_of(recorded)?;
    if head.is_empty() {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    let elements = (!counts_its_frames(&head)).then_some(["mpegaudioparse", "xingmux"].as_slice());
    // Without its count it plays as well, only its length is a guess.
    let bearable = |error: &_| matches!(error, FinalizeError::NoSpaceLeft { .. });
    remux::make_whole(elements, bearable, recorded, whole, stop)
}

/// Whether a Xing (or Info) header is there and filled in: its first flag says that it has the number of frames.
fn counts_its_frames(head: &[u8]) -> bool {
    let tag = head.windows(12).find(|at| at.starts_with(b"Xing") || at.starts_with(b"Info"));
    tag.is_some_and(|tag| tag[7] & 1 == 1 && tag[8..12] != [0; 4])
}
