//! Splits a byte stream into messages: JSON texts, each ended by a NUL. Pure.

/// Longest message in bytes, unless a call allows a longer answer. Pages decide how long most
/// messages are.
pub(super) const LIMIT: usize = 1 << 20;
/// First bytes of a message, from which an answer or a paused request is recognized.
const HEAD: usize = 160;

/// The bytes between two NULs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Message(&'a [u8]),
    /// A message longer than allowed was dropped.
    TooLong {
        head: &'a [u8],
        bytes: usize,
    },
}

/// Splits a stream into messages. Holds at most one of them.
#[derive(Debug)]
pub(super) struct Splitter {
    held: Vec<u8>,
    allowed: usize,
    /// Bytes so far of a message that is being dropped; 0: none is. `held` has its head then.
    skipped: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { held: Vec::new(), allowed: LIMIT, skipped: 0 }
    }
}

impl Splitter {
    /// Takes the next bytes. `allowed`: the longest message with this head, in bytes.
    pub(super) fn feed(
        &mut self,
        read: &[u8],
        allowed: impl Fn(&[u8]) -> usize,
        mut take: impl FnMut(Piece<'_>),
    ) {
        let mut parts = read.split(|byte| *byte == 0).peekable();
        while let Some(part) = parts.next() {
            self.hold(part, &allowed);
            // The last part has no NUL yet.
            if parts.peek().is_some() {
                self.end(&mut take);
            }
        }
    }

    fn hold(&mut self, part: &[u8], allowed: impl Fn(&[u8]) -> usize) {
        if self.skipped > 0 {
            self.skipped = self.skipped.saturating_add(part.len());
            return;
        }
        let length = self.held.len().saturating_add(part.len());
        if length > self.allowed {
            let missing = HEAD.saturating_sub(self.held.len()).min(part.len());
            let mut head = self.held[..self.held.len().min(HEAD)].to_vec();
            head.extend_from_slice(&part[..missing]);
            self.allowed = self.allowed.max(allowed(&head));
            if length > self.allowed {
                self.held = head;
                self.skipped = length;
                return;
            }
        }
        self.held.extend_from_slice(part);
    }

    fn end(&mut self, take: &mut impl FnMut(Piece<'_>)) {
        if self.skipped > 0 {
            take(Piece::TooLong { head: &self.held, bytes: self.skipped });
        } else if !self.held.is_empty() {
            take(Piece::Message(&self.held));
        }
        self.held.clear();
        self.held.shrink_to(LIMIT);
        (self.allowed, self.skipped) = (LIMIT, 0);
    }
}

/// The id of the call that a message answers, from its first bytes; `None`: it is an event.
pub(super) fn answered(head: &[u8]) -> Option<u64> {
    let digits = head.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The id of a request that waits for us, from the first bytes of its event. `event`:
/// `requestPaused`.
pub(super) fn paused_request(head: &[u8], event: &str) -> Option<String> {
    let begin = format!("{{\"method\":\"Fetch.{event}\",\"params\":{{\"requestId\":\"");
    let id = head.strip_prefix(begin.as_bytes())?;
    let end = id.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&id[..end]).ok().map(str::to_owned)
}

/// JSON in which halves of characters (lone surrogates) are replaced by U+FFFD: pages may log them,
/// and no `String` holds them. `None`: it has none.
pub(super) fn well_formed(json: &[u8]) -> Option<Vec<u8>> {
    let mut whole = json.to_vec();
    let (mut at, mut is_changed) = (0, false);
    while let Some(next) = whole.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += next;
        match code_unit(&whole[at..]) {
            Some(0xd800..=0xdbff) if matches!(code_unit(&whole[at + 6..]), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                whole[at + 2..at + 6].copy_from_slice(b"fffd");
                is_changed = true;
                at += 6;
            }
            Some(_) => at += 6,
            // Another escape: a backslash and one character.
            None => at += 2,
        }
    }
    is_changed.then_some(whole)
}

/// The UTF-16 code unit of an escape at the beginning of a text: `\ud83d`.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(reads: &[&[u8]], allowed: impl Fn(&[u8]) -> usize) -> Vec<String> {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for read in reads {
            splitter.feed(read, &allowed, |piece| {
                found.push(match piece {
                    Piece::Message(bytes) if bytes.len() > 20 => format!("{} bytes", bytes.len()),
                    Piece::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Piece::TooLong { head, bytes } => {
                        format!("too long {bytes} {}", String::from_utf8_lossy(&head[..8]))
                    }
                });
            });
            assert!(splitter.held.capacity() <= 4 * LIMIT, "{}", splitter.held.capacity());
        }
        found
    }

    #[test]
    fn messages_come_torn_and_together() {
        let none = |_: &[u8]| 0;
        assert_eq!(pieces(&[b"{}\0{\"a\":1}\0"], none), ["{}", "{\"a\":1}"]);
        assert_eq!(pieces(&[b"{", b"}", b"\0", b"{\"a\"", b":1}\0{"], none), ["{}", "{\"a\":1}"]);
        assert_eq!(pieces(&[b"\0\0{}\0\0", b"", b"\0"], none), ["{}"], "an empty message is ignored");
        assert_eq!(pieces(&[b"\xff\xfe rubbish\0ok\0"], none)[1], "ok");
        assert!(pieces(&[b"never ended"], none).is_empty());
    }

    #[test]
    fn a_message_that_is_too_long_is_left_out_and_the_next_one_is_not() {
        let long = vec![b'x'; 300_000];
        let mut reads: Vec<&[u8]> = vec![b"{\"method\""];
        reads.extend((0..200).map(|_| long.as_slice()));
        reads.push(b"\0{}\0");
        assert_eq!(pieces(&reads, |_| 0), ["too long 60000009 {\"method", "{}"]);
        // Also in one read.
        let mut whole = vec![b'y'; LIMIT + 1];
        whole.extend_from_slice(b"\0{}\0");
        assert_eq!(pieces(&[&whole], |_| 0), ["too long 1048577 yyyyyyyy", "{}"]);
        assert_eq!(pieces(&[&whole[1..]], |_| 0), ["1048576 bytes", "{}"]);
    }

    #[test]
    fn an_answer_may_be_longer_where_it_is_allowed() {
        let allowed = |head: &[u8]| if answered(head) == Some(7) { 3 << 20 } else { 0 };
        let of = |id: u64, length: usize| {
            let mut message = format!("{{\"id\":{id},\"result\":").into_bytes();
            message.resize(length, b' ');
            message.push(0);
            message
        };
        assert_eq!(pieces(&[&of(7, 3 << 20)], allowed), ["3145728 bytes"]);
        assert_eq!(pieces(&[&of(7, (3 << 20) + 1)], allowed), ["too long 3145729 {\"id\":7,"]);
        assert_eq!(pieces(&[&of(8, 2 << 20)], allowed), ["too long 2097152 {\"id\":8,"]);
        assert_eq!(pieces(&[&of(7, 2 << 20), &of(8, 2 << 20)], allowed).len(), 2, "one allowance each");
    }

    #[test]
    fn halves_of_characters_are_replaced_and_nothing_else() {
        for (json, whole) in [
            (r#"["a","\ud83d\ude00","\n\\ud83d"]"#, None),
            (r#"["\ud83d"]"#, Some(r#"["\ufffd"]"#)),
            (r#"["\uDE00\ud83d\ud83d\ude00x"]"#, Some(r#"["\ufffd\ufffd\ud83d\ude00x"]"#)),
            (r#"["\\\ud83d\n"]"#, Some(r#"["\\\ufffd\n"]"#)),
            (r#"["\ud8"#, None),
            ("\\", None),
            ("", None),
        ] {
            let found = well_formed(json.as_bytes()).map(|whole| String::from_utf8(whole).unwrap());
            assert_eq!(found.as_deref(), whole, "{json}");
        }
    }

    #[test]
    fn an_answer_is_known_by_its_first_bytes() {
        assert_eq!(answered(b"{\"id\":12,\"result\":{}}"), Some(12));
        for event in
            ["{\"method\":\"a\"}", "{\"id\":12", "{\"id\":\"1\"}", "{\"id\":99999999999999999999}", ""]
        {
            assert_eq!(answered(event.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn a_paused_request_is_known_by_its_first_bytes() {
        let head =
            b"{\"method\":\"Fetch.requestPaused\",\"params\":{\"requestId\":\"interception-job-7.0\",\"requ";
        assert!(head.len() < HEAD);
        assert_eq!(paused_request(head, "requestPaused").as_deref(), Some("interception-job-7.0"));
        assert_eq!(paused_request(head, "authRequired"), None);
        assert_eq!(paused_request(&head[..60], "requestPaused"), None, "cut within the id");
    }
}
