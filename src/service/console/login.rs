//! Login to the console on the service's own machine: a one-time key is exchanged for a session of
//! limited length.
//!
//! ```text
//! weir serve, weir console ──► a key: a file in the work directory, printed with the console's address
//! page ── key ──► the file is removed ──► a session: in memory, its token in that page's tab only
//! ```
//!
//! Making a key takes write access to the work directory, which only the service's user has. Other
//! users of the machine and recorded pages can't make one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::distr::Alphanumeric;
use sha2::{Digest, Sha256};

use crate::files;
use crate::secret::Secret;

/// How long a key is valid.
pub const KEY_LASTS: Duration = Duration::from_secs(600);
/// How long a session lasts.
pub(super) const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);
/// The most sessions at once. A further one ends the oldest.
const SESSIONS: usize = 64;
/// Prefixes of keys and of sessions' tokens.
const KEY: &str = "wk_";
const SESSION: &str = "ws_";
/// Random letters and digits after the prefix: more than 256 bits.
const LENGTH: usize = 44;
/// The keys' directory in the work directory.
const DIRECTORY: &str = "console";

/// The one-time keys of a service: one file each in its work directory, named by the key's hash.
#[derive(Debug, Clone)]
pub struct OneTimeKeys {
    dir: PathBuf,
}

impl OneTimeKeys {
    #[must_use]
    pub fn of(work_dir: &Path) -> Self {
        Self { dir: work_dir.join(DIRECTORY) }
    }

    /// Creates a key that is valid once, for [`KEY_LASTS`].
    ///
    /// # Errors
    /// When the work directory is not writable, or the directory of the keys is not this user's
    /// alone.
    pub fn create(&self) -> io::Result<Secret<String>> {
        let in_dir = |error: io::Error| io::Error::new(error.kind(), format!("{DIRECTORY}: {error}"));
        files::private_dir(&self.dir).map_err(in_dir)?;
        self.remove_old()?;
        let key = random(KEY);
        files::open(&self.file(&key), files::options().write(true).create_new(true).mode(0o600))?;
        Ok(Secret::new(key))
    }

    /// Uses up a key. Returns whether it was valid.
    #[must_use]
    pub fn take(&self, key: &str) -> bool {
        let file = self.file(key);
        let is_good = is_young(&file);
        // Removing is atomic: of two requests with the same key one succeeds.
        is_key_file(&file) && fs::remove_file(&file).is_ok() && is_good
    }

    fn file(&self, key: &str) -> PathBuf {
        let hash: String = hash(key).iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(hash)
    }

    /// Removes expired keys, and nothing else.
    fn remove_old(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.dir)? {
            let path = file?.path();
            if is_key_file(&path) && !is_young(&path) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Err(_) | Ok(()) => {}
                }
            }
        }
        Ok(())
    }
}

/// Whether a path is a regular file that is named like a key: by a hash in hexadecimal digits.
fn is_key_file(path: &Path) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hash = |name: &str| name.len() == 64 && name.as_bytes().iter().all(is_digit);
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_hash)
        && files::is_regular(path).unwrap_or_default()
}

/// A file from the future counts as expired: the clock was set.
fn is_young(file: &Path) -> bool {
    let made = file.symlink_metadata().and_then(|file| file.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age <= KEY_LASTS))
}

/// Sessions by their tokens' hashes.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Instant>>);

impl Sessions {
    /// Begins a session and returns its token.
    pub(super) fn begin(&self, now: Instant) -> Secret<String> {
        let token = random(SESSION);
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, at| is_on(*at, now));
        if begun.len() >= SESSIONS
            && let Some(oldest) = begun.iter().min_by_key(|(_, at)| **at).map(|(hash, _)| *hash)
        {
            begun.remove(&oldest);
        }
        begun.insert(hash(&token), now);
        Secret::new(token)
    }

    pub(super) fn has(&self, token: &str, now: Instant) -> bool {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(&hash(token)).is_some_and(|at| is_on(*at, now))
    }
}

fn is_on(begun: Instant, now: Instant) -> bool {
    now.saturating_duration_since(begun) < SESSION_LASTS
}

/// Whether a text has the form of a session's token.
pub(super) fn is_session(token: &str) -> bool {
    token.starts_with(SESSION)
}

fn random(prefix: &str) -> String {
    prefix.chars().chain(rand::rng().sample_iter(Alphanumeric).take(LENGTH).map(char::from)).collect()
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_key_is_good_once_and_only_where_it_was_made() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keys = OneTimeKeys::of(dir.path());
        let (first, second) = (keys.create().unwrap(), keys.create().unwrap());
        let (first, second) = (first.expose(), second.expose());
        assert!(first.starts_with("wk_") && first.len() == 47 && first != second);
        assert!(!OneTimeKeys::of(other.path()).take(first));
        for wrong in ["", "wk_", "../lock", &first[..46], &first.to_uppercase()] {
            assert!(!keys.take(wrong), "{wrong}");
        }
        // Also by another run of the service.
        assert!(OneTimeKeys::of(dir.path()).take(first));
        assert!(!keys.take(first) && keys.take(second) && !keys.take(second));
        assert_eq!(std::fs::read_dir(dir.path().join("console")).unwrap().count(), 0);
    }

    #[test]
    fn a_key_is_for_the_services_user_and_not_named_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OneTimeKeys::of(dir.path());
        let key = keys.create().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keys.dir), 0o700);
        let file = std::fs::read_dir(&keys.dir).unwrap().next().unwrap().unwrap();
        assert_eq!(mode(&file.path()), 0o600);
        assert!(!file.file_name().to_str().unwrap().contains(key.expose()));
        assert!(!std::fs::read_to_string(file.path()).unwrap().contains(key.expose()));
    }

    #[test]
    fn a_key_that_is_old_is_none_and_is_tidied_up() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OneTimeKeys::of(dir.path());
        let now = SystemTime::now();
        let age = |key: &Secret<String>, made: SystemTime| {
            File::options().write(true).open(keys.file(key.expose())).unwrap().set_modified(made).unwrap();
        };
        let (old, early, young) = (keys.create().unwrap(), keys.create().unwrap(), keys.create().unwrap());
        age(&old, now - KEY_LASTS - Duration::from_secs(2));
        age(&early, now + Duration::from_secs(3600));
        age(&young, now - KEY_LASTS + Duration::from_secs(120));
        assert!(!keys.take(old.expose()) && !keys.take(early.expose()) && keys.take(young.expose()));
        let old = keys.create().unwrap();
        age(&old, now - KEY_LASTS - Duration::from_secs(2));
        drop(keys.create().unwrap());
        assert_eq!(std::fs::read_dir(&keys.dir).unwrap().count(), 1);
    }

    #[test]
    fn keys_are_made_and_removed_in_a_directory_of_their_own_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, keys) = (dir.path().join("victim"), OneTimeKeys::of(dir.path()));
        let precious = victim.join("0".repeat(64));
        fs::create_dir(&victim).unwrap();
        fs::write(&precious, "precious").unwrap();
        File::options().write(true).open(&precious).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        symlink(&victim, &keys.dir).unwrap();
        let refused = keys.create().unwrap_err().to_string();
        assert!(refused.contains("console: it is a symbolic link"), "{refused}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);

        fs::remove_file(&keys.dir).unwrap();
        fs::create_dir(&keys.dir).unwrap();
        fs::set_permissions(&keys.dir, PermissionsExt::from_mode(0o777)).unwrap();
        let refused = keys.create().unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn what_is_no_key_stays_however_old_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OneTimeKeys::of(dir.path());
        drop(keys.create().unwrap());
        let (other, link) = (keys.dir.join("file.txt"), keys.dir.join("0".repeat(64)));
        fs::write(&other, "precious").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        symlink(&other, &link).unwrap();
        drop(keys.create().unwrap());
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    }

    #[test]
    fn a_session_ends_by_itself_and_there_are_not_many() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let first = sessions.begin(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(is_session(first.expose()) && sessions.has(first.expose(), at(12 * 3600 - 1)));
        assert!(!sessions.has(first.expose(), at(12 * 3600)));
        assert!(!sessions.has("ws_", start) && !sessions.has("", start));
        for second in 1..=64 {
            sessions.begin(at(second));
        }
        assert!(!sessions.has(first.expose(), at(65)), "the oldest made room");
        assert_eq!(sessions.0.lock().unwrap().len(), SESSIONS);
        sessions.begin(at(24 * 3600));
        assert_eq!(sessions.0.lock().unwrap().len(), 1);
    }
}
