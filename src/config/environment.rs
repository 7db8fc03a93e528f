//! The environment as a value, read once at the edge.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::Secret;

/// Environment variables and the user id of a process. They may contain an API secret, so the type
/// does not print them.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Secret<BTreeMap<String, String>>,
    is_root: bool,
}

impl Environment {
    /// Returns this process's environment, without values that are not UTF-8.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::new(std::env::vars_os().filter_map(text), nix::unistd::geteuid().is_root())
    }

    pub fn new<N: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (N, V)>,
        is_root: bool,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables: Secret::new(variables), is_root }
    }

    /// Returns `None` if the variable is unset or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.expose().get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the default work directory: `$STATE_DIRECTORY` (systemd's), else `/var/lib/weir` for
    /// root, else `$XDG_STATE_HOME/weir`, else `$HOME/.local/state/weir`. `None` if none of them is
    /// an absolute path.
    #[must_use]
    pub fn work_dir(&self) -> Option<PathBuf> {
        let absolute = |name: &str, text: &str| {
            let path = PathBuf::from(text).join(name);
            path.is_absolute().then_some(path)
        };
        // systemd lists all directories of a unit there.
        let systemd = self.get("STATE_DIRECTORY").and_then(|list| list.split(':').next());
        if let Some(dir) = systemd.map(PathBuf::from).filter(|dir| dir.is_absolute()) {
            return Some(dir);
        }
        if self.is_root {
            return Some("/var/lib/weir".into());
        }
        let state = self.get("XDG_STATE_HOME").and_then(|dir| absolute("weir", dir));
        state.or_else(|| self.get("HOME").and_then(|dir| absolute(".local/state/weir", dir)))
    }
}
