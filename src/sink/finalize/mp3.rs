//! MP3: the Xing header, in the first frame, holds the number of frames. It is written last;
//! without it, after a kill, players guess the length. Frames are independent, wherever the file
//! ends.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::beside::Content;
use super::damage::Damage;
use super::remux::{self, Remux, head_of};
use super::{FinalizeError, Finalized, io as failed, nothing_readable};

pub(super) fn finalize(
    recorded: &Path,
    whole: &Path,
    stop: &CancellationToken,
) -> Result<Finalized, FinalizeError> {
    let head = head_of(recorded)?;
    let file = File::open(recorded).map_err(failed("opening", recorded))?;
    let frames = Frames::of(BufReader::new(file)).map_err(failed("reading", recorded))?;
    // The first frame has no sound: it is the place of the count.
    if frames.count < 2 {
        return Err(match frames.damage.is_none() && frames.cut == 0 {
            true => FinalizeError::Empty { path: recorded.to_owned() },
            false => nothing_readable(recorded, frames.damage),
        });
    }
    let elements = (!counts_its_frames(&head)).then_some(["mpegaudioparse", "xingmux"].as_slice());
    // Without its count it plays as well, only its length is a guess.
    let bearable = |error: &_| matches!(error, FinalizeError::NoSpaceLeft { .. });
    remux::finalize(Remux { elements, bearable, damage: frames.damage }, recorded, whole, stop)
}

/// The readable content of a file.
pub(super) fn content(path: &Path) -> Result<Content, FinalizeError> {
    let file = File::open(path).map_err(failed("opening", path))?;
    let Frames { count, cut, damage } = Frames::of(BufReader::new(file)).map_err(failed("reading", path))?;
    let amount = if count < 2 { 0 } else { count };
    Ok(Content { amount, damage: damage.described(), is_cut: cut > 0 })
}

/// Whether a Xing (or Info) header is there and filled in: its first flag says that it has the
/// number of frames.
fn counts_its_frames(head: &[u8]) -> bool {
    let tag = head.windows(12).find(|at| at.starts_with(b"Xing") || at.starts_with(b"Info"));
    tag.is_some_and(|tag| tag[7] & 1 == 1 && tag[8..12] != [0; 4])
}

/// The frames of a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Frames {
    count: u64,
    /// Bytes of a frame at the end that the file was cut off in.
    cut: u64,
    /// Parts that are not frames.
    damage: Damage,
}

impl Frames {
    fn of(mut file: impl Read) -> io::Result<Self> {
        let mut frames = Self::default();
        let (mut bytes, mut at, mut lost) = (Vec::new(), 0, None);
        loop {
            // Always enough for a frame and the header behind it, as far as the file goes.
            if bytes.len() < LONGEST {
                file.by_ref().take(8 * LONGEST as u64).read_to_end(&mut bytes)?;
            }
            if bytes.is_empty() {
                break;
            }
            let taken = match frame_len(&bytes) {
                // After damage, four bytes may look like a header by chance; two headers in their
                // places don't.
                Some(len) if bytes.len() >= len && (lost.is_none() || is_followed(&bytes, len)) => {
                    if let Some(lost) = lost.take() {
                        frames.damage.add(lost, at);
                    }
                    frames.count += 1;
                    len
                }
                Some(len) if bytes.len() < len && lost.is_none() => {
                    frames.cut = bytes.len() as u64;
                    break;
                }
                None if bytes.len() < 4 && bytes[0] == 0xff && lost.is_none() => {
                    frames.cut = bytes.len() as u64;
                    break;
                }
                _ => {
                    lost = lost.or(Some(at));
                    bytes.iter().skip(1).position(|byte| *byte == 0xff).map_or(bytes.len(), |next| next + 1)
                }
            };
            bytes.drain(..taken);
            at += taken as u64;
        }
        if let Some(lost) = lost {
            frames.damage.add(lost, at + bytes.len() as u64);
        }
        Ok(frames)
    }
}

/// More than the longest frame has, 1441 bytes (320 kbit/s at 32 kHz), with a header behind it.
const LONGEST: usize = 2048;

fn is_followed(bytes: &[u8], len: usize) -> bool {
    bytes.get(len..).is_some_and(|next| next.is_empty() || frame_len(next).is_some())
}

/// Length of the frame that begins here, by its header (ISO/IEC 11172-3 §2.4.2.3, 13818-3 §2.4.2.3;
/// MPEG-2.5 as commonly written); `None` if there is no frame. Free format is not supported.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    const FIRST: [usize; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const SECOND: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    let [0xff, kind, rates, ..] = bytes else { return None };
    if bytes.len() < 4 || kind & 0xe0 != 0xe0 || kind >> 1 & 3 != 1 {
        return None;
    }
    let (kbits, samples, divisor) = match kind >> 3 & 3 {
        3 => (FIRST, 144, 1),
        2 => (SECOND, 72, 2),
        0 => (SECOND, 72, 4),
        _ => return None,
    };
    let hz = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / divisor;
    let kbits = kbits[usize::from(rates >> 4)];
    (kbits > 0).then(|| samples * kbits * 1000 / hz + usize::from(rates >> 1 & 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames of MPEG-1 at 128 kbit/s and 48 kHz, of MPEG-2 at 64 kbit/s and 24 kHz, of MPEG-2.5 at
    /// 8 kbit/s and 8 kHz.
    const KINDS: [([u8; 4], usize); 3] =
        [([0xff, 0xfb, 0x94, 0xc4], 384), ([0xff, 0xf3, 0x84, 0xc4], 192), ([0xff, 0xe3, 0x18, 0xc4], 72)];

    fn frames(kind: usize, count: usize) -> Vec<u8> {
        let (header, len) = KINDS[kind];
        let frame: Vec<u8> = header.into_iter().chain(std::iter::repeat_n(0x55, len - 4)).collect();
        frame.repeat(count)
    }

    #[test]
    fn frames_are_counted_wherever_the_file_is_cut() {
        for (kind, (_, len)) in KINDS.iter().enumerate() {
            let file = frames(kind, 40);
            for cut in 0..file.len() {
                let found = Frames::of(&file[..cut]).unwrap();
                let expected =
                    Frames { count: (cut / len) as u64, cut: (cut % len) as u64, damage: Damage::default() };
                assert_eq!(found, expected, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_beginning_of_zeros_is_damage_and_not_an_empty_file() {
        let mut file = frames(0, 40);
        file[..4096].fill(0);
        let found = Frames::of(&file[..]).unwrap();
        assert_eq!((found.count, found.damage.places, found.damage.bytes), (29, 1, 11 * 384));
        file.fill(0);
        let found = Frames::of(&file[..]).unwrap();
        assert_eq!((found.count, found.damage.bytes), (0, 40 * 384));
    }

    proptest! {
        #[test]
        fn every_byte_is_in_a_frame_or_counted(
            at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..2000),
        ) {
            let mut file = frames(0, 40);
            let start = at.index(file.len());
            let end = (start + bytes.len()).min(file.len());
            file[start..end].copy_from_slice(&bytes[..end - start]);
            let found = Frames::of(&file[..]).unwrap();
            prop_assert!(found.damage.bytes + found.cut <= file.len() as u64);
            // Of the frames in front of the damage none is lost.
            prop_assert!(found.count >= (start / 384) as u64);
        }
    }
}
