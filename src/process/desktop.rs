//! The programs of a desktop that a browser would start, replaced by this program.
//!
//! A page that leads to an address of another program (`zoommtg:`, `msteams:`, `mailto:`) has the
//! browser ask, in a dialog over the page, whether to open it. It does not where it is that program
//! itself, and asks `xdg-settings` about that: the answer is yes, and `xdg-open` opens nothing.
//! Links to this program, not scripts: the directory is on a tmpfs that may be mounted without
//! `exec`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The browser asks whether it opens addresses of a kind: `xdg-settings check
/// default-url-scheme-handler zoommtg chromium.desktop`.
const SETTINGS: &str = "xdg-settings";
const OPEN: &str = "xdg-open";

/// Makes a directory with these programs, to be the first one in the browser's `PATH`. One that is
/// there already stays.
///
/// # Errors
/// When it can't be written.
pub fn stand_in(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for name in [SETTINGS, OPEN] {
        match symlink(program(), directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}

/// The output of this program when it is started under such a name; `None` under its own name.
#[must_use]
pub fn answer(started_as: Option<&OsStr>) -> Option<&'static str> {
    let name = Path::new(started_as?).file_name()?;
    match name.to_str()? {
        SETTINGS => Some("yes\n"),
        OPEN => Some(""),
        _ => None,
    }
}

/// Unit tests have no `main` of ours: theirs would take the browser's words for names of tests.
#[cfg(test)]
fn program() -> PathBuf {
    PathBuf::from("/bin/true")
}

#[cfg(not(test))]
fn program() -> PathBuf {
    super::self_exec::program()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_takes_itself_for_the_program_of_every_address() {
        let answer = |name: &str| answer(Some(OsStr::new(name)));
        assert_eq!(answer("xdg-settings"), Some("yes\n"));
        assert_eq!(answer("/dev/shm/weir-0/a/0/programs/xdg-settings"), Some("yes\n"));
        assert_eq!(answer("xdg-open"), Some(""));
        assert_eq!(answer("/usr/local/bin/weir"), None);
        assert_eq!(answer(""), None);
        assert_eq!(super::answer(None), None);
    }

    #[test]
    fn both_programs_are_there_also_the_second_time() {
        let directory = tempfile::tempdir().unwrap();
        let programs = directory.path().join("programs");
        for _ in 0..2 {
            stand_in(&programs).unwrap();
            for name in ["xdg-settings", "xdg-open"] {
                assert!(programs.join(name).is_file(), "{name}");
            }
        }
    }
}
