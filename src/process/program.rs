//! Programs, where they are, and who brings them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ProcessError;

/// A program of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// Names to be looked up in `PATH`, and absolute paths; the first that exists is taken.
    candidates: &'static [&'static str],
}

/// The binary itself comes first. Debian's `/usr/bin/chromium` is a shell script which sources
/// `/etc/chromium.d` (GPU rasterisation, remote extensions, Google's API keys) and looks for crash
/// reports in the home directory, all of which a recording must not have; the one useful thing it
/// does, sparing a small `/dev/shm`, the browser's flags do.
pub const CHROMIUM: Program = Program {
    name: "chromium",
    package: "chromium",
    candidates: &[
        "/usr/lib/chromium/chromium",
        "/opt/google/chrome/chrome",
        "chromium",
        "google-chrome-stable",
        "google-chrome",
    ],
};
pub const XVFB: Program = Program { name: "Xvfb", package: "xvfb", candidates: &["Xvfb"] };
pub const PULSEAUDIO: Program =
    Program { name: "pulseaudio", package: "pulseaudio", candidates: &["pulseaudio"] };
pub const SETPRIV: Program = Program { name: "setpriv", package: "util-linux", candidates: &["setpriv"] };
pub const PRLIMIT: Program = Program { name: "prlimit", package: "util-linux", candidates: &["prlimit"] };
pub const UNSHARE: Program = Program { name: "unshare", package: "util-linux", candidates: &["unshare"] };

/// Fontconfig's list of fonts. Recordings go without it.
pub const FC_LIST: Program = Program { name: "fc-list", package: "fontconfig", candidates: &["fc-list"] };

/// Every program a recording starts.
pub const PROGRAMS: &[Program] = &[CHROMIUM, XVFB, PULSEAUDIO, SETPRIV, PRLIMIT];

/// Default search path without `PATH`: that of a Debian login.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

impl Program {
    #[cfg(test)]
    pub(super) const fn of_tests(name: &'static str, candidates: &'static [&'static str]) -> Self {
        Self { name, package: "no-such-package", candidates }
    }

    /// Finds the program.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Missing`], naming the package that contains it.
    pub fn find(&self) -> Result<PathBuf, ProcessError> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        self.candidates
            .iter()
            .find_map(|candidate| match Path::new(candidate) {
                absolute if absolute.is_absolute() => is_program(absolute).then(|| absolute.to_owned()),
                name => directories.iter().map(|dir| dir.join(name)).find(|path| is_program(path)),
            })
            .ok_or(ProcessError::Missing { program: self.name, package: self.package })
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
