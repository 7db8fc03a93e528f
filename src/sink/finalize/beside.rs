//! A recorded file beside the finished one that was made of it: whoever made it was killed between
//! the two.
//!
//! The finished one got its name only when it was complete and on the disk, and a power cut may
//! have damaged the other since. So what is there is not made once more, and nothing is removed
//! that is not in the file that stays.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{FinalizeError, io, mp3, mp4, ogg, part_of, remove, set_aside, webm};
use crate::plan::codec::Container;

/// The readable content of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes of media (MP4, OGG) or frames (MP3, WebM).
    pub(super) amount: u64,
    /// Description of the unreadable parts.
    pub(super) damage: Option<String>,
    /// It ends in the middle of something.
    pub(super) is_cut: bool,
}

impl Content {
    const fn is_sound(&self) -> bool {
        self.amount > 0 && self.damage.is_none() && !self.is_cut
    }
}

/// The one of the two files that is not the result, where not all of it is known to be in the other
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Description of the difference.
    pub why: String,
    /// Location of the kept file.
    pub kept: PathBuf,
}

/// Decides between a recorded file and the finished one, both of which are there. The one that
/// holds more stays under its name: the other is removed when it has nothing of its own, and set
/// aside else. Where `finalize` is gone then, it is to be made of `recorded`.
///
/// # Errors
/// When one of them can't be read or renamed. Both are still there.
pub fn settle(container: Container, recorded: &Path, whole: &Path) -> Result<Option<Beside>, FinalizeError> {
    let (before, after) = match container {
        Container::Mp4 => (mp4::recorded_content(recorded)?, mp4::finalized_content(whole)?),
        Container::Ogg => (ogg::content(recorded)?, ogg::content(whole)?),
        Container::Mp3 => (mp3::content(recorded)?, mp3::content(whole)?),
        Container::WebM => (webm::content(recorded)?, webm::content(whole)?),
    };
    let is_fuller = before.amount > after.amount.saturating_add(most_dropped(container))
        || after.amount == 0 && before.amount > 0;
    if is_fuller {
        if std::fs::metadata(whole).map_err(io("reading", whole))?.len() == 0 {
            remove(whole);
            return Ok(None);
        }
        let why = "the finished one holds less than the recorded one".to_owned();
        return Ok(Some(Beside { why, kept: set_aside(whole)? }));
    }
    // Half a copy that somebody began who was killed.
    remove(&part_of(whole));
    let has_nothing = before.amount == 0 && !before.is_cut;
    let why = match before.damage {
        Some(damage) => format!("the recorded one is {damage}"),
        None if has_nothing || after.is_sound() => {
            // The name of the one that stays is on the disk before the other one goes.
            if let Some(dir) = whole.parent() {
                File::open(dir)
                    .and_then(|dir| dir.sync_all())
                    .map_err(io("syncing the directory of", whole))?;
            }
            remove(recorded);
            return Ok(None);
        }
        None => "the finished one is damaged, or ends too early".to_owned(),
    };
    Ok(Some(Beside { why, kept: set_aside(recorded)? }))
}

/// Samples per track that a remuxed file may lack: a parser or a muxer may drop a frame at either
/// end.
const fn most_dropped(container: Container) -> u64 {
    match container {
        Container::Mp4 | Container::Ogg => 0,
        Container::Mp3 | Container::WebM => 4,
    }
}
