//! Reads stream addresses from a file, so that their keys are not among the arguments, which every
//! user of the machine can read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::plan::error::PlanError;
use crate::secret::Secret;

/// In bytes; an address has a few hundred.
const LARGEST: u64 = 64 << 10;

/// Reads the addresses in a file, one per line; empty lines and lines that begin with `#` are
/// skipped. The file may be a pipe (`--stream-file <(pass show twitch)`).
///
/// # Errors
/// When the file can't be read, is too large, or contains no address. No error quotes its content.
pub(super) fn read(path: &Path) -> Result<Vec<Secret<String>>, PlanError> {
    let shown = path.display();
    let wrong = |why: &str| PlanError::invalid("stream_file", format!("{shown}: {why}"));
    let text = text(path).map_err(|error| wrong(&format!("can't be read: {error}")))?;
    let addresses = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let addresses: Vec<_> = addresses.map(|line| Secret::new(line.to_owned())).collect();
    if addresses.is_empty() {
        return Err(wrong("no address found; write one per line"));
    }
    Ok(addresses)
}

fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {LARGEST} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_per_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("streams");
        std::fs::write(&path, "# Twitch\n\n  twitch://live_hunter2 \r\nrtmp://a/b/c live=1\n").unwrap();
        let read = read(&path).unwrap();
        let texts: Vec<&str> = read.iter().map(|url| url.expose().as_str()).collect();
        assert_eq!(texts, ["twitch://live_hunter2", "rtmp://a/b/c live=1"]);
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("streams");
        for (content, why) in [
            (b"# none\n".to_vec(), "no address"),
            (vec![b'a'; 65 << 10], "larger than 65536 bytes"),
            (b"hunter2\xff".to_vec(), "not UTF-8"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("streams") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let error = read(&dir.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("can't be read"), "{error}");
        assert_eq!(error.field(), "stream_file");
    }
}
