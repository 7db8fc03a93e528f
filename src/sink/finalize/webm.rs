//! WebM: a recording that was killed has no length and no index, and may end in half a cluster.
//! Muxed again it has both.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::beside::Content;
use super::damage::Damage;
use super::remux::{self, Remux, head_of};
use super::{FinalizeError, Finalized, io as failed, nothing_readable};

/// A segment's id, and a size that is not known yet (RFC 8794 §6.2): the muxer writes the real one
/// at the end.
const UNFINISHED: &[u8] = &[0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Ids of elements (RFC 9559 §5.1).
const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_ae6b;
const CLUSTER: u32 = 0x1f43_b675;
const TIMESTAMP: u8 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
/// The header of the file; seek head, information, tracks, cues, tags, chapters, attachments of a
/// segment; timestamp, position and previous size of a cluster; empty room and checksums anywhere.
const OTHERS: [u32; 13] = [
    0x1a45_dfa3,
    0x114d_9b74,
    0x1549_a966,
    TRACKS,
    0x1c53_bb6b,
    0x1254_c367,
    0x1043_a770,
    0x1941_a469,
    TIMESTAMP as u32,
    0xa7,
    0xab,
    0xec,
    0xbf,
];

pub(super) fn finalize(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Finalized, FinalizeError> {
    let head = head_of(recorded)?;
    let file = File::open(recorded).map_err(failed("opening", recorded))?;
    let len = file.metadata().map_err(failed("reading", recorded))?.len();
    let elements = Elements::of(&mut BufReader::new(file), len).map_err(failed("reading", recorded))?;
    if elements.blocks == 0 || !elements.has_tracks && !elements.damage.is_none() {
        return Err(match elements.blocks == 0 && elements.damage.is_none() && !elements.is_cut_in_block {
            true => FinalizeError::Empty { path: recorded.to_owned() },
            false => nothing_readable(recorded, elements.damage),
        });
    }
    let is_unfinished = head.windows(UNFINISHED.len()).any(|at| at == UNFINISHED);
    let again =
        (is_unfinished || !elements.damage.is_none()).then_some(["matroskademux", "webmmux"].as_slice());
    // Without length and index it plays as well.
    let bearable =
        |error: &_| matches!(error, FinalizeError::NoSpaceLeft { .. } | FinalizeError::Remux { .. });
    remux::finalize(Remux { elements: again, bearable, damage: elements.damage }, recorded, whole, stop)
}

/// The readable content of a file.
pub(super) fn content(path: &Path) -> Result<Content, FinalizeError> {
    let file = File::open(path).map_err(failed("opening", path))?;
    let len = file.metadata().map_err(failed("reading", path))?.len();
    let elements = Elements::of(&mut BufReader::new(file), len).map_err(failed("reading", path))?;
    let Elements { blocks, has_tracks, is_cut_in_block, damage } = elements;
    let is_readable = has_tracks || damage.is_none();
    Ok(Content {
        amount: if is_readable { blocks } else { 0 },
        damage: damage.described(),
        is_cut: is_cut_in_block,
    })
}

/// The elements of a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Elements {
    /// Frames, and pieces of sound.
    blocks: u64,
    /// Whether it describes its tracks.
    has_tracks: bool,
    /// The file ends in one of them.
    is_cut_in_block: bool,
    damage: Damage,
}

impl Elements {
    fn of(source: &mut (impl Read + Seek), len: u64) -> io::Result<Self> {
        let mut elements = Self::default();
        // Where the cluster ends that is being read, if it says so.
        let (mut at, mut cluster_end) = (0, u64::MAX);
        while at < len {
            let Some(element) = Element::read(source, at, len)? else {
                // A header that the file was cut off in has some bytes at most.
                if len - at < 12 && names_an_element(source, at, len)? {
                    break;
                }
                at = elements.lose(source, at, len)?;
                cluster_end = u64::MAX;
                continue;
            };
            match element.id {
                SEGMENT => at = element.content,
                CLUSTER => {
                    cluster_end = element.end.unwrap_or(u64::MAX);
                    at = element.content;
                }
                _ => match element.end {
                    Some(end) if end <= len && (at >= cluster_end || end <= cluster_end) => {
                        elements.blocks += u64::from(element.is_block());
                        elements.has_tracks |= element.id == TRACKS;
                        at = end;
                    }
                    // The file was cut off in its last element, if no cluster begins in what is
                    // left.
                    Some(end) if end > len && next_cluster(source, at + 1, len)?.is_none() => {
                        elements.is_cut_in_block |= element.is_block();
                        break;
                    }
                    _ => {
                        at = elements.lose(source, at, len)?;
                        cluster_end = u64::MAX;
                    }
                },
            }
        }
        Ok(elements)
    }

    /// Counts what can't be read up to the next cluster, and gives where that begins.
    fn lose(&mut self, source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<u64> {
        let next = next_cluster(source, at + 1, len)?.unwrap_or(len);
        self.damage.add(at, next);
        Ok(next)
    }
}

/// An element's header (RFC 8794 §5, §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Element {
    id: u32,
    content: u64,
    /// `None`: not known yet.
    end: Option<u64>,
}

impl Element {
    /// The one at a place; `None` where none of ours is.
    fn read(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<Option<Self>> {
        source.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        source.take((len - at).min(12)).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes, at))
    }

    fn parse(bytes: &[u8], at: u64) -> Option<Self> {
        let id_len = vint_len(*bytes.first()?).filter(|len| *len <= 4)?;
        let id = bytes.get(..id_len)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let first = *bytes.get(id_len)?;
        let size_len = vint_len(first)?;
        let rest = bytes.get(id_len + 1..id_len + size_len)?;
        let marked = u64::from(first) & ((1 << (8 - size_len)) - 1);
        let size = rest.iter().fold(marked, |size, byte| size << 8 | u64::from(*byte));
        let is_known = size != (1 << (7 * size_len)) - 1;
        let content = at + (id_len + size_len) as u64;
        let end = if is_known { Some(content.checked_add(size)?) } else { None };
        let is_ours = match id {
            SEGMENT | CLUSTER => true,
            SIMPLE_BLOCK | BLOCK_GROUP => is_known,
            id => is_known && OTHERS.contains(&id) && size <= largest(id),
        };
        is_ours.then_some(Self { id, content, end })
    }

    const fn is_block(&self) -> bool {
        matches!(self.id, SIMPLE_BLOCK | BLOCK_GROUP)
    }
}

/// How large an element may be that is passed over. Ids of one byte are one flipped bit away from a
/// block's: what is larger than a number, or than room that is kept, is media.
fn largest(id: u32) -> u64 {
    match id {
        0xa7 | 0xab | 0xbf => 8,
        id if id == u32::from(TIMESTAMP) => 8,
        0xec => 64 << 10,
        _ => u64::MAX,
    }
}

/// The length of a number, by its first byte.
fn vint_len(first: u8) -> Option<usize> {
    (first != 0).then(|| first.leading_zeros() as usize + 1)
}

/// Whether the last bytes of a file are the beginning of an element of ours.
fn names_an_element(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<bool> {
    source.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    source.take(len - at).read_to_end(&mut bytes)?;
    let begins = |id: u32| {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        match bytes.get(id.len()..) {
            None | Some([]) => id.starts_with(&bytes),
            // Its size is not there to its last byte.
            Some(size) => bytes.starts_with(&id) && vint_len(size[0]).is_some_and(|len| len > size.len()),
        }
    };
    Ok([SEGMENT, CLUSTER, SIMPLE_BLOCK, BLOCK_GROUP].into_iter().chain(OTHERS).any(begins))
}

/// The next cluster at or behind a place: its id, its size, and its timestamp.
fn next_cluster(source: &mut (impl Read + Seek), from: u64, len: u64) -> io::Result<Option<u64>> {
    const STRIDE: u64 = 64 << 10;
    /// Id and size, and the id of what comes first.
    const SIZE: usize = 13;
    let (mut at, mut bytes) = (from, Vec::new());
    source.seek(SeekFrom::Start(at.min(len)))?;
    loop {
        let before = bytes.len();
        source.by_ref().take(STRIDE).read_to_end(&mut bytes)?;
        let is_cluster = |at: &[u8]| {
            at.starts_with(&CLUSTER.to_be_bytes())
                && at
                    .get(4)
                    .and_then(|first| vint_len(*first))
                    .is_some_and(|len| at.get(4 + len) == Some(&TIMESTAMP))
        };
        if let Some(found) =
            (0..bytes.len()).find(|place| is_cluster(bytes.get(*place..).unwrap_or_default()))
        {
            return Ok(Some(at + found as u64));
        }
        if bytes.len() == before {
            return Ok(None);
        }
        let done = bytes.len().saturating_sub(SIZE - 1);
        bytes.drain(..done);
        at += done as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn element(id: u32, content: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
        let size = (content.len() as u64 | 1 << 56).to_be_bytes();
        id.chain(size).chain(content.iter().copied()).collect()
    }

    fn cluster(number: u8) -> Vec<u8> {
        let blocks = (0..5).map(|at| element(SIMPLE_BLOCK, &[number * 10 + at; 300]));
        element(
            CLUSTER,
            &[element(u32::from(TIMESTAMP), &[number]), blocks.collect::<Vec<_>>().concat()].concat(),
        )
    }

    /// Its segment's size is not known yet, and that of its last cluster.
    fn file() -> Vec<u8> {
        let head = element(0x1a45_dfa3, &[1; 20]);
        let tracks = element(TRACKS, &[2; 80]);
        let mut last = cluster(4);
        last[4..12].copy_from_slice(&UNFINISHED[4..]);
        [head, UNFINISHED.to_vec(), tracks, cluster(1), cluster(2), cluster(3), last].concat()
    }

    fn read(bytes: &[u8]) -> Elements {
        Elements::of(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_not_damaged() {
        let file = file();
        assert_eq!(read(&file), Elements { blocks: 20, has_tracks: true, ..Elements::default() });
        for cut in 0..file.len() {
            let found = read(&file[..cut]);
            assert!(found.damage.is_none(), "cut at {cut}: {found:?}");
        }
    }

    #[test]
    fn damage_costs_the_cluster_that_it_is_in() {
        let mut bytes = file();
        // The id of the second cluster's second block.
        let second = bytes.len() - 3 * cluster(1).len() + 12 + 10 + 309;
        assert_eq!(bytes[second], 0xa3);
        // Also where its id is that of a number now.
        for id in [0xa1, 0xa7, 0xab, 0xbf, TIMESTAMP] {
            bytes[second] = id;
            let found = read(&bytes);
            let expected = (16, 1, 4 * 309);
            assert_eq!((found.blocks, found.damage.places, found.damage.bytes), expected, "{id:x}");
        }
    }

    #[test]
    fn a_beginning_of_zeros_is_damage_and_not_an_empty_file() {
        let mut bytes = file();
        bytes[..200].fill(0);
        let found = read(&bytes);
        assert!(found.blocks >= 15 && found.damage.places == 1 && !found.has_tracks, "{found:?}");
        bytes.fill(0);
        assert_eq!(read(&bytes).damage.bytes, bytes.len() as u64);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in any::<prop::sample::Index>()) {
            prop_assert!(read(&bytes).damage.bytes <= bytes.len() as u64);
            let mut file = file();
            let start = at.index(file.len());
            let end = (start + bytes.len()).min(file.len());
            file[start..end].copy_from_slice(&bytes[..end - start]);
            prop_assert!(read(&file).damage.bytes <= file.len() as u64);
        }
    }
}
