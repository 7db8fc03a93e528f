//! Sound cut into messages of one length, without a hole. Pure.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Of S16LE, stereo.
const FRAME: usize = 4;
const RATE: u64 = 48_000;
/// 10 ms.
pub(super) const MESSAGE: usize = 1920;
/// Times are rounded on their way; what is off by no more than 2 ms follows without a hole.
const TOLERANCE: u64 = 96;
/// A longer hole is not filled: nobody wants to hear it late.
const LONGEST_HOLE: u64 = 5 * RATE;

/// Puts sound in its place in time, from zero on: what is missing becomes silence, what is there
/// already is left out.
#[derive(Debug, Default)]
pub(super) struct Chunker {
    /// Frames that are placed.
    placed: u64,
    rest: BytesMut,
}

impl Chunker {
    /// Takes sound that begins at `at`, and gives the messages that are full.
    pub(super) fn take(&mut self, at: Option<Duration>, sound: &[u8]) -> Vec<Bytes> {
        let mut sound = &sound[..sound.len() - sound.len() % FRAME];
        let begins = at.map_or(self.placed, frames);
        if begins > self.placed + TOLERANCE {
            let hole = begins - self.placed;
            let filled = usize::try_from(hole.min(LONGEST_HOLE)).unwrap_or_default();
            self.rest.resize(self.rest.len() + filled * FRAME, 0);
            self.placed = begins;
        } else if begins + TOLERANCE < self.placed {
            let known = usize::try_from(self.placed - begins).unwrap_or(usize::MAX);
            sound = sound.get(known.saturating_mul(FRAME)..).unwrap_or_default();
        }
        self.rest.extend_from_slice(sound);
        self.placed += (sound.len() / FRAME) as u64;
        let full = self.rest.len() / MESSAGE;
        (0..full).map(|_| self.rest.split_to(MESSAGE).freeze()).collect()
    }

    /// The last message, filled with silence.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        self.rest.resize(MESSAGE, 0);
        Some(self.rest.split().freeze())
    }
}

fn frames(at: Duration) -> u64 {
    let frames = (at.as_nanos() * u128::from(RATE) + 500_000_000) / 1_000_000_000;
    u64::try_from(frames).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` frames, each with its number in it.
    fn sound(from: u32, count: u32) -> Vec<u8> {
        (from..from + count).flat_map(u32::to_le_bytes).collect()
    }

    fn numbers(messages: &[Bytes]) -> Vec<u32> {
        let bytes: Vec<u8> = messages.iter().flatten().copied().collect();
        bytes.chunks_exact(4).map(|frame| u32::from_le_bytes(frame.try_into().unwrap())).collect()
    }

    fn at(frame: u64) -> Option<Duration> {
        Some(Duration::from_nanos(frame * 1_000_000_000 / RATE))
    }

    #[test]
    fn sound_of_any_length_becomes_messages_of_one() {
        let mut cutter = Chunker::default();
        let mut messages = Vec::new();
        let (mut frame, mut length) = (0, 1);
        while frame < 48_000 {
            let count = length % 1500 + 1;
            messages.extend(cutter.take(at(frame.into()), &sound(frame, count)));
            frame += count;
            length += 577;
        }
        messages.extend(cutter.finish());
        assert!(messages.iter().all(|message| message.len() == MESSAGE));
        let found = numbers(&messages);
        assert_eq!(found[..frame as usize], (0..frame).collect::<Vec<_>>());
        assert!(found[frame as usize..].iter().all(|frame| *frame == 0));
        assert_eq!(cutter.finish(), None);
    }

    #[test]
    fn holes_become_silence_and_what_is_twice_is_there_once() {
        let mut cutter = Chunker::default();
        let mut found = numbers(&cutter.take(at(480), &sound(1, 480)));
        // Again from its middle on.
        found.extend(numbers(&cutter.take(at(720), &sound(241, 720))));
        // All of it is known.
        found.extend(numbers(&cutter.take(at(0), &sound(7, 480))));
        // Rounded, by less than what is heard.
        found.extend(numbers(&cutter.take(at(1441 + 40), &sound(961, 480))));
        let expected: Vec<u32> = std::iter::repeat_n(0, 480).chain(1..=1440).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn no_hole_is_filled_without_end() {
        let mut cutter = Chunker::default();
        let messages = cutter.take(Some(Duration::MAX), &sound(0, 480));
        assert_eq!(messages.len() as u64, LONGEST_HOLE / 480 + 1);
        // And what has no time follows.
        assert_eq!(cutter.take(None, &sound(0, 480)).len(), 1);
        assert_eq!(cutter.take(None, &[1, 2, 3]).len(), 0);
    }
}
