//! Lines of bounded length out of a pipe.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::IpcError;

/// Longest line that is taken, in bytes. A job with a service account's key file in each of its
/// outputs has room in it.
pub const LONGEST_LINE: usize = 4 << 20;

/// Reads lines; memory stays in bounds whatever comes.
#[derive(Debug)]
pub struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    /// The rest of the line is passed over.
    too_long: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(from: R) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), too_long: false }
    }

    /// The next line, without its line feed; `None` at the end (an error of a pipe is its end). May
    /// be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, IpcError>> {
        loop {
            let bytes = self.from.fill_buf().await.ok().filter(|bytes| !bytes.is_empty());
            let Some(bytes) = bytes else {
                // What has no line feed was cut off.
                return None;
            };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = end.map_or(bytes, |end| &bytes[..end]);
            if self.line.len() + part.len() > LONGEST_LINE {
                self.too_long = true;
                self.line = Vec::new();
            } else if !self.too_long {
                self.line.extend_from_slice(part);
            }
            let read = end.map_or(bytes.len(), |end| end + 1);
            self.from.consume(read);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let too_long = std::mem::take(&mut self.too_long);
                return Some(if too_long { Err(IpcError::TooLong) } else { Ok(line) });
            }
        }
    }
}
