//! A small HTTP/1.1 parser and client: reads objects from a storage, and follows requests through a
//! proxy.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Size limit of a head, in bytes.
const HEAD_AT_MOST: u64 = 64 << 10;

/// The head of a request or of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// `PUT /key HTTP/1.1`, `HTTP/1.1 200 OK`
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; `None` at the end of the connection.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        let mut from = from.take(HEAD_AT_MOST);
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            match line.strip_suffix('\n') {
                Some(line) if line.trim_end().is_empty() && lines.is_empty() => {}
                Some(line) if line.trim_end().is_empty() => break,
                Some(line) => lines.push(line.trim_end().to_owned()),
                None if line.is_empty() && lines.is_empty() => return Ok(None),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no whole head")),
            }
        }
        let first = lines.remove(0);
        let split = |line: &String| line.split_once(':').map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
        Ok(Some(Self { first, headers: lines.iter().filter_map(split).collect() }))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The head in its wire format.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let lines: String = self.headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
        format!("{}\r\n{lines}\r\n", self.first).into_bytes()
    }

    /// How a request's body is delimited.
    pub(crate) fn body(&self) -> Body {
        let chunked = |value: &str| value.to_ascii_lowercase().contains("chunked");
        if self.get("transfer-encoding").is_some_and(chunked) {
            return Body::Chunked;
        }
        Body::Length(self.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0))
    }
}

/// Length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// In bytes.
    Length(u64),
    /// Chunked transfer encoding.
    Chunked,
}

impl Body {
    /// Forwards the body that follows a head, in pieces of at most `piece()` bytes, including chunk
    /// framing.
    pub(crate) fn read(
        self,
        from: &mut impl BufRead,
        mut piece: impl FnMut() -> usize,
        mut to: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Length(length) => pieces(length, from, &mut piece, &mut to),
            Self::Chunked => chunks(from, &mut piece, &mut to),
        }
    }
}

type To<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

fn pieces(
    length: u64,
    from: &mut impl BufRead,
    piece: &mut dyn FnMut() -> usize,
    to: To<'_>,
) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let most = piece().max(1).min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let n = bytes.len().min(most);
        to(&bytes[..n])?;
        from.consume(n);
        left -= n as u64;
    }
    Ok(())
}

fn chunks(from: &mut impl BufRead, piece: &mut dyn FnMut() -> usize, to: To<'_>) -> io::Result<()> {
    let mut line = String::new();
    let mut next = |from: &mut dyn BufRead, to: To<'_>| -> io::Result<String> {
        line.clear();
        from.take(HEAD_AT_MOST).read_line(&mut line)?;
        to(line.as_bytes())?;
        if line.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(line.trim_end().to_owned())
        }
    };
    loop {
        let line = next(from, to)?;
        let size = line.split(';').next().unwrap_or_default();
        match u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)? {
            0 => break,
            // Two bytes (CRLF) end the line.
            size => pieces(size + 2, from, piece, to)?,
        }
    }
    // Trailers, and the empty line that ends them.
    while !next(from, to)?.is_empty() {}
    Ok(())
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// Sends one request on a connection of its own. Uses HTTP/1.0, so that answers are not chunked.
///
/// # Errors
///
/// The connection is refused or cut, or no data arrives for ten seconds.
pub(crate) fn ask(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let more: String = headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.0\r\nHost: {addr}\r\nContent-Length: {length}\r\n{more}\r\n");
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body)?;
    let mut from = io::BufReader::new(&stream);
    let head = Head::read(&mut from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut body = Vec::new();
    match head.get("content-length").and_then(|length| length.parse().ok()) {
        Some(_) if method == "HEAD" => {}
        Some(length) => {
            body.resize(length, 0);
            from.read_exact(&mut body)?;
        }
        None => drop(from.read_to_end(&mut body)?),
    }
    let status = head.first.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, head, body })
}

/// Percent-encodes a name as one path segment.
pub(crate) fn percent(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
