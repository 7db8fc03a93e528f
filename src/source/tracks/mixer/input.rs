//! One track of a mix: decodes its packets and places them by time.
//!
//! A packet follows the one before it. If its time differs a little, because no two clocks are the
//! same, the audio is stretched by at most 0.5 % until it is in place (2 % if it is far off). If it
//! differs much, there was a pause or a loss.

use std::collections::VecDeque;

use super::decoder::{Decoder, Stereo};
use crate::media::pcm::RATE;
use crate::plan::track::{Channel, TrackCodec};

/// Audio that is off by more pairs than this is moved (2 ms) …
const OFF: u64 = 96;
/// … until it is off by no more than this (0.5 ms).
const RIGHT: u64 = 24;
/// Audio is stretched by one pair in this many, and by more if it is far off: the clock of a track
/// moves faster at its beginning.
const STRETCH: u64 = 200;
const FAR: u64 = 240;
const STRETCH_FAR: u64 = 50;
/// A gap of this many pairs is a pause or a loss, not clock drift (20 ms).
const HOLE: u64 = 960;
/// Audio that is later than this many pairs is dropped (40 ms).
const TOO_FAR: u64 = 1920;
/// Audio fades in and out over this many pairs (2.5 ms), so that it does not click.
const FADE: usize = 120;
/// Changes of audio below this level are inaudible (-50 dB).
const QUIET: f32 = 0.003;

#[derive(Debug)]
pub(super) struct MixerInput {
    channel: Channel,
    decoder: Option<Decoder>,
    /// Audio that was not mixed yet, without gaps.
    audio: VecDeque<Stereo>,
    /// Position of `audio`: the pairs mixed so far.
    begin: u64,
    /// Whether the next packet follows the one before it.
    is_continuous: bool,
    /// Whether the audio is being moved.
    is_moving: bool,
    /// Whether the last packet was dropped.
    has_skipped: bool,
    is_muted: bool,
    is_closed: bool,
    /// Packets that came too late.
    late: u64,
}

impl MixerInput {
    /// `mixed`: pairs that were mixed before the track was added.
    pub(super) const fn new(mixed: u64) -> Self {
        Self {
            channel: Channel::Both,
            decoder: None,
            audio: VecDeque::new(),
            begin: mixed,
            is_continuous: false,
            is_moving: false,
            has_skipped: false,
            is_muted: false,
            is_closed: false,
            late: 0,
        }
    }

    pub(super) const fn open(&mut self, channel: Channel) {
        (self.channel, self.is_closed) = (channel, false);
    }

    pub(super) const fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) const fn set_muted(&mut self, muted: bool) {
        self.is_muted = muted;
    }

    /// The position up to which the input can be mixed; `None` if the mix does not wait for it.
    pub(super) fn ready(&self) -> Option<u64> {
        if self.is_muted || self.is_closed {
            return None;
        }
        // The end is held back until it is known whether it has to fade out.
        Some(self.end().saturating_sub(FADE as u64).max(self.begin))
    }

    /// Whether the track was removed and all of it is mixed.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed && self.audio.is_empty()
    }

    pub(super) const fn late(&self) -> u64 {
        self.late
    }

    /// Takes a packet that belongs at the position `at`.
    pub(super) fn packet(&mut self, codec: TrackCodec, bytes: &[u8], at: u64) {
        if self.decoder.as_ref().is_none_or(|decoder| decoder.codec() != codec) {
            match Decoder::new(codec) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(error) => {
                    tracing::warn!(%error, "track not mixed: no decoder");
                    return;
                }
            }
        }
        let Some(decoder) = &mut self.decoder else { return };
        let delay = decoder.delay();
        let (at, before) = (at.saturating_sub(delay), delay.saturating_sub(at));
        let hole = at.saturating_sub(self.begin + self.audio.len() as u64);
        let is_hole = self.is_continuous && hole >= HOLE / 2;
        if is_hole && hole <= decoder.longest_concealment() {
            let concealed = decoder.conceal(hole, bytes);
            self.audio.extend(concealed);
        }
        match decoder.decode(bytes) {
            Ok(mut audio) => {
                // Drops what precedes the recording.
                audio.drain(..audio.len().min(usize::try_from(before).unwrap_or(usize::MAX)));
                self.place(audio, at);
            }
            // The time of the next packet shows the gap.
            Err(error) => tracing::debug!(%error, "audio packet not decoded"),
        }
    }

    /// Adds the next pairs to a mix.
    pub(super) fn read(&mut self, into: &mut [Stereo]) {
        if self.audio.len() < into.len() + FADE {
            self.fade_out();
            self.is_continuous = false;
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

    /// Takes decoded audio.
    #[cfg(test)]
    pub(super) fn place_for_test(&mut self, audio: Vec<Stereo>, at: u64) {
        self.place(audio, at);
    }

    fn end(&self) -> u64 {
        self.begin + self.audio.len() as u64
    }

    /// Puts the audio of a packet in its position.
    fn place(&mut self, mut audio: Vec<Stereo>, at: u64) {
        let end = self.end();
        let (early, hole) = (end.saturating_sub(at), at.saturating_sub(end));
        if !self.is_continuous || hole >= HOLE {
            // The track begins, or begins again after a pause.
            self.fade_out();
            let hole = usize::try_from(hole).unwrap_or(usize::MAX);
            // The mix follows the packets: a packet far ahead has a wrong time.
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
            (self.is_continuous, self.is_moving) = (true, false);
            self.audio.extend(audio);
            return;
        }
        if early > TOO_FAR {
            self.late += 1;
            self.has_skipped = true;
            return;
        }
        if std::mem::take(&mut self.has_skipped) {
            self.fade_out();
            fade_in(&mut audio);
        }
        let off = early.max(hole);
        self.is_moving = off > OFF || (self.is_moving && off > RIGHT);
        if self.is_moving {
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

    /// Fades out the end of the audio, because no packet follows it.
    fn fade_out(&mut self) {
        if !self.is_continuous {
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

/// Resamples audio to `length` pairs, a few more or less than it has, by Catmull-Rom interpolation.
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
