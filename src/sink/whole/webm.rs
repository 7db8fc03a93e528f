//! WebM: a recording that was killed has no length and no index, and may end in half a cluster. Muxed again it has both.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::remux::remux;
use super::{FinalizeError, Layout, Whole, io, part_of};

/// A segment's id, and a size that is not known yet (RFC 8794 §6.2): the muxer writes the real one at the end.
const UNFINISHED: &[u8] = &[0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];
/// In front of the first cluster there are some hundred bytes.
const HEAD: u64 = 4096;

pub(super) fn make_whole(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Whole, FinalizeError> {
    let mut head = Vec::new();
    let file = File::open(recorded).map_err(io("opening", recorded))?;
    (&file).take(HEAD).read_to_end(&mut head).map_err(io("reading", recorded))?;
    let contains = |what: &[u8]| head.windows(what.len()).any(|at| at == what);
    if !contains(CLUSTER) {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    let was_cut = contains(UNFINISHED);
    let part = part_of(whole);
    let remuxed = was_cut.then(|| remux(&["matroskademux", "webmmux"], recorded, &part, stop));
    if let Some(Err(_)) = &remuxed
        && let Err(error) = std::fs::remove_file(&part)
    {
        tracing::debug!(%error, part = %part.display(), "nothing to remove");
    }
    match remuxed {
        Some(Ok(())) => {
            File::open(&part).and_then(|part| part.sync_all()).map_err(io("syncing", &part))?;
            std::fs::rename(&part, whole).map_err(io("renaming", &part))?;
            // Its copy is complete and on the disk.
            std::fs::remove_file(recorded).map_err(io("removing", recorded))?;
        }
        // Without length and index it plays as well.
        None | Some(Err(FinalizeError::NoSpaceLeft { .. } | FinalizeError::Remux { .. })) => {
            file.sync_all().map_err(io("syncing", recorded))?;
            std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
        }
        Some(Err(error)) => return Err(error),
    }
    let size = std::fs::metadata(whole).map_err(io("reading", whole))?.len();
    Ok(Whole { size, duration: None, layout: Layout::Ordinary, was_cut })
}
