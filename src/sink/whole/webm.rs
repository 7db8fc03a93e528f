//! WebM: a recording that was killed has no length and no index, and may end in half a cluster. Muxed again it has both.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::remux::{self, head_of};
use super::{FinalizeError, Whole};

/// A segment's id, and a size that is not known yet (RFC 8794 §6.2): the muxer writes the real one at the end.
const UNFINISHED: &[u8] = &[0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/// It stands within the first bytes: in front of it there are some hundred.
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];

pub(super) fn make_whole(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Whole, FinalizeError> {
    let head = head_of(recorded)?;
    let contains = |what: &[u8]| head.windows(what.len()).any(|at| at == what);
    if !contains(CLUSTER) {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    let elements = contains(UNFINISHED).then_some(["matroskademux", "webmmux"].as_slice());
    // Without length and index it plays as well.
    let bearable =
        |error: &_| matches!(error, FinalizeError::NoSpaceLeft { .. } | FinalizeError::Remux { .. });
    remux::make_whole(elements, bearable, recorded, whole, stop)
}
