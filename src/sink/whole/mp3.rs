//! MP3: the Xing header, in the first frame, says how many frames follow. It is written last; a recording that was killed
//! has none, and players guess its length. Frames themselves are whole wherever the file ends.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::remux::remux;
use super::{FinalizeError, Layout, Whole, io, part_of};

pub(super) fn make_whole(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Whole, FinalizeError> {
    let mut head = Vec::new();
    let file = File::open(recorded).map_err(io("opening", recorded))?;
    (&file).take(4096).read_to_end(&mut head).map_err(io("reading", recorded))?;
    if head.is_empty() {
        return Err(FinalizeError::Empty { path: recorded.to_owned() });
    }
    let was_cut = !counts_its_frames(&head);
    let part = part_of(whole);
    let remuxed =
        if was_cut { Some(remux(&["mpegaudioparse", "xingmux"], recorded, &part, stop)) } else { None };
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
        // Without its count it plays as well, only its length is a guess.
        None | Some(Err(FinalizeError::NoSpaceLeft { .. })) => {
            file.sync_all().map_err(io("syncing", recorded))?;
            std::fs::rename(recorded, whole).map_err(io("renaming", recorded))?;
        }
        Some(Err(error)) => return Err(error),
    }
    let size = std::fs::metadata(whole).map_err(io("reading", whole))?.len();
    Ok(Whole { size, duration: None, layout: Layout::Ordinary, was_cut })
}

/// Whether a Xing (or Info) header is there and filled in: its first flag says that it has the number of frames.
fn counts_its_frames(head: &[u8]) -> bool {
    let tag = head.windows(12).find(|at| at.starts_with(b"Xing") || at.starts_with(b"Info"));
    tag.is_some_and(|tag| tag[7] & 1 == 1 && tag[8..12] != [0; 4])
}
