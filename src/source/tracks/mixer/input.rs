//! One track in a mix: its packets decoded and laid out by time.
//!
//! A packet goes behind the one before it. Where its time says otherwise by little, for no two clocks are the same, its sound is
//! made longer or shorter by half a per cent until it is right (by two, where it is far off); where it says so by much, there was a pause or a loss.

use std::collections::VecDeque;

use super::decoder::{Decoder, Stereo};
use crate::media::pcm::RATE;
use crate::plan::track::{Channel, TrackCodec};

/// Sound that is off by so many pairs is moved (2 ms) …
const OFF: u64 = 96;
/// … until it is off by no more than this (0.5 ms).
const RIGHT: u64 = 24;
/// By how much sound is made longer or shorter: one pair of so many; at the beginning of a track its clock moves faster, and then more.
const STRETCH: u64 = 200;
const FAR: u64 = 240;
const STRETCH_FAR: u64 = 50;
/// What is missing in front of a packet is a hole, and no clock that moves (20 ms).
const HOLE: u64 = 960;
/// Sound that comes so much later than its time (40 ms) is left out.
const TOO_FAR: u64 = 1920;
/// Sound begins and ends within so many pairs (2.5 ms), so that it does not click.
const FADE: usize = 120;
/// Nobody hears what happens to sound that is no louder (-50 dB).
const QUIET: f32 = 0.003;

#[derive(Debug)]
pub(super) struct MixerInput {
    channel: Channel,
    decoder: Option<Decoder>,
    /// Sound that was not mixed yet, without a hole.
    audio: VecDeque<Stereo>,
    /// Where that begins: what was mixed so far.
    begin: u64,
    /// The next packet goes behind the one before it.
    follows: bool,
    /// It is being moved.
    moves: bool,
    /// A packet of it was just left out.
    skipped: bool,
    muted: bool,
    closed: bool,
    /// Packets that came too late.
    late: u64,
}

impl MixerInput {
    /// `mixed`: how many pairs were mixed before it came.
    pub(super) const fn new(mixed: u64) -> Self {
        Self {
            channel: Channel::Both,
            decoder: None,
            audio: VecDeque::new(),
            begin: mixed,
            follows: false,
            moves: false,
            skipped: false,
            muted: false,
            closed: false,
            late: 0,
        }
    }

    pub(super) const fn open(&mut self, channel: Channel) {
        (self.channel, self.closed) = (channel, false);
    }

    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    pub(super) const fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Up to where it can be mixed; `None`: it is not to be waited for.
    pub(super) fn ready(&self) -> Option<u64> {
        if self.muted || self.closed {
            return None;
        }
        // Its end is kept until it is known whether something follows.
        Some(self.end().saturating_sub(FADE as u64).max(self.begin))
    }

    /// Whether it is gone, and all of it mixed.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.audio.is_empty()
    }

    pub(super) const fn late(&self) -> u64 {
        self.late
    }

    /// A packet that belongs at `at`.
    pub(super) fn packet(&mut self, codec: TrackCodec, bytes: &[u8], at: u64) {
        if self.decoder.as_ref().is_none_or(|decoder| decoder.codec() != codec) {
            match Decoder::new(codec) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(error) => {
                    tracing::warn!(%error, "a track that is not heard");
                    return;
                }
            }
        }
        let Some(decoder) = &mut self.decoder else { return };
        let delay = decoder.delay();
        let (at, before) = (at.saturating_sub(delay), delay.saturating_sub(at));
        let hole = at.saturating_sub(self.begin + self.audio.len() as u64);
        let is_hole = self.follows && hole >= HOLE / 2;
        if is_hole && hole <= decoder.longest_hole() {
            let made_up = decoder.conceal(hole, bytes);
            self.audio.extend(made_up);
        }
        match decoder.decode(bytes) {
            Ok(mut audio) => {
                // What would lie before the recording.
                audio.drain(..audio.len().min(usize::try_from(before).unwrap_or(usize::MAX)));
                self.lay(audio, at);
            }
            // The next one shows that something is missing.
            Err(error) => tracing::debug!(%error, "a packet of sound"),
        }
    }

    /// Adds the next pairs to a mix.
    pub(super) fn read(&mut self, into: &mut [Stereo]) {
        if self.audio.len() < into.len() + FADE {
            self.fade_out();
            self.follows = false;
        }
        let there = into.len().min(self.audio.len());
        for (sum, pair) in into.iter_mut().zip(self.audio.drain(..there)) {
            let [left, right] = pair;
            match self.channel {
                Channel::Both => *sum = [sum[0] + left, sum[1] + right],
                Channel::Left => sum[0] += f32::midpoint(left, right),
                Channel::Right => sum[1] += f32::midpoint(left, right),
            }
        }
        self.begin += into.len() as u64;
    }

    /// Sound without a codec.
    #[cfg(test)]
    pub(super) fn lay_for_test(&mut self, audio: Vec<Stereo>, at: u64) {
        self.lay(audio, at);
    }

    fn end(&self) -> u64 {
        self.begin + self.audio.len() as u64
    }

    /// Puts the sound of a packet where it belongs.
    fn lay(&mut self, mut audio: Vec<Stereo>, at: u64) {
        let end = self.end();
        let (early, hole) = (end.saturating_sub(at), at.saturating_sub(end));
        if !self.follows || hole >= HOLE {
            // It begins, or there was nothing.
            self.fade_out();
            let hole = usize::try_from(hole).unwrap_or(usize::MAX);
            // What is mixed follows what comes: nothing is ever far ahead.
            if hole > RATE as usize * 60 {
                self.late += 1;
                return;
            }
            let early = usize::try_from(early).unwrap_or(usize::MAX);
            if early >= audio.len() {
                self.late += 1;
                return;
            }
            audio.drain(..early);
            fade_in(&mut audio);
            self.audio.extend(std::iter::repeat_n(Stereo::default(), hole));
            (self.follows, self.moves) = (true, false);
            self.audio.extend(audio);
            return;
        }
        if early > TOO_FAR {
            self.late += 1;
            self.skipped = true;
            return;
        }
        if std::mem::take(&mut self.skipped) {
            self.fade_out();
            fade_in(&mut audio);
        }
        let off = early.max(hole);
        self.moves = off > OFF || (self.moves && off > RIGHT);
        if self.moves {
            let is_quiet = audio.iter().flatten().all(|sample| sample.abs() < QUIET);
            let length = audio.len() as u64;
            let most = match off {
                _ if is_quiet => length / 2,
                FAR.. => length / STRETCH_FAR,
                _ => length / STRETCH,
            };
            let by = usize::try_from(off.min(most.max(1))).unwrap_or(0);
            let length = if early > 0 { audio.len().saturating_sub(by) } else { audio.len() + by };
            audio = stretched(&audio, self.audio.back().copied(), length);
        }
        self.audio.extend(audio);
    }

    /// What there is goes out softly: nothing follows it.
    fn fade_out(&mut self) {
        if !self.follows {
            return;
        }
        let length = self.audio.len().min(FADE);
        for (at, pair) in self.audio.iter_mut().rev().take(length).enumerate() {
            *pair = pair.map(|sample| sample * at as f32 / length as f32);
        }
    }
}

fn fade_in(audio: &mut [Stereo]) {
    for (at, pair) in audio.iter_mut().take(FADE).enumerate() {
        *pair = pair.map(|sample| sample * at as f32 / FADE as f32);
    }
}

/// The same sound in so many pairs, a few more or less than it has, by a curve through four neighbours (Catmull and Rom's).
fn stretched(audio: &[Stereo], before: Option<Stereo>, length: usize) -> Vec<Stereo> {
    let (Some(first), Some(last)) = (audio.first(), audio.last()) else { return Vec::new() };
    let pair = |at: usize| match at.checked_sub(1) {
        None => before.unwrap_or(*first),
        Some(at) => *audio.get(at).unwrap_or(last),
    };
    let step = audio.len() as f64 / length.max(1) as f64;
    let at = |out: usize| {
        let at = out as f64 * step;
        let (whole, part) = (at as usize, at.fract() as f32);
        let [a, b, c, d] = [0, 1, 2, 3].map(|neighbour| pair(whole + neighbour));
        std::array::from_fn(|channel| {
            let [a, b, c, d] = [a, b, c, d].map(|pair: Stereo| pair[channel]);
            let (first, second) = (c - a, 2.0 * a - 5.0 * b + 4.0 * c - d);
            let third = 3.0 * (b - c) + d - a;
            b + 0.5 * part * (first + part * (second + part * third))
        })
    };
    (0..length).map(at).collect()
}
