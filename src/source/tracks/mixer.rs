//! Decodes and mixes the audio of any number of tracks: one stereo stream without gaps, as long as
//! the recording, whoever joins, leaves or is muted.
//!
//! ```text
//! packet ─► MixerInput, one per track (decode, place) ─┐
//!                                                      ├─► sum, limit ─► Feed(raw audio)
//! packet ─► MixerInput ────────────────────────────────┘
//! ```
//!
//! It runs on the room's task: a track costs about 0.2 % of a core. A *pair* is one sample of both
//! channels.

mod decoder;
mod input;
mod upsample;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;

use self::decoder::Stereo;
use self::input::MixerInput;
use super::codec::TrackCodec;
use super::sync::SETTLED;
use crate::media::Feed;
use crate::media::pcm::{self, RATE};
use crate::plan::track::Channel;

/// Pairs of a block: 10 ms, like PulseAudio's.
const BLOCK: usize = 480;
/// A track that begins, or begins again after a pause, gets its time only after a few packets
/// (`sync`). The mix waits this long for them.
const BEGINNING: Duration = Duration::from_secs(1);
/// Level above which the mix is limited.
const KNEE: f32 = 0.8;

/// Times are media time.
#[derive(Debug)]
pub(super) struct Mixer {
    feed: Feed,
    caps: gst::Caps,
    inputs: BTreeMap<String, MixerInput>,
    /// Number of pairs that were pushed.
    mixed: u64,
    /// Late packets of inputs that are gone.
    late: u64,
}

impl Mixer {
    /// Fills `feed` with S16LE, 48 kHz, stereo, interleaved.
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, caps: pcm::caps(), inputs: BTreeMap::new(), mixed: 0, late: 0 }
    }

    /// Adds a track that is heard in this channel. A track that was removed before continues.
    pub(super) fn add(&mut self, sid: &str, channel: Channel) {
        self.inputs.entry(sid.to_owned()).or_insert_with(|| MixerInput::new(self.mixed)).open(channel);
    }

    /// Takes a packet of a track with its media time. A packet that is too late is dropped.
    pub(super) fn packet(&mut self, sid: &str, codec: TrackCodec, bytes: &Arc<[u8]>, at: Duration) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.packet(codec, bytes, pairs(at));
        }
    }

    /// The mix does not wait for a muted track.
    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.set_muted(muted);
        }
    }

    /// Removes a track. The packets that came before are still mixed.
    pub(super) fn remove(&mut self, sid: &str) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.close();
        }
    }

    /// Mixes up to where all unmuted tracks have arrived, and in any case what is older than 2.5 s.
    pub(super) fn advance(&mut self, now: Duration) {
        let settled = pairs(now.saturating_sub(SETTLED));
        let ready = self.inputs.values().filter_map(MixerInput::ready).min();
        let beginning = pairs(now.saturating_sub(BEGINNING));
        let until = ready.map_or(settled, |ready| ready.min(beginning).max(settled));
        while self.mixed + BLOCK as u64 <= until {
            self.mix(BLOCK);
        }
    }

    /// Mixes to the end of the recording, and ends the feed.
    pub(super) fn finish(&mut self, length: Duration) {
        let length = pairs(length);
        while self.mixed < length {
            let left = usize::try_from(length - self.mixed).unwrap_or(BLOCK);
            self.mix(left.min(BLOCK));
        }
        self.feed.end();
        let late = self.inputs.values().map(MixerInput::late).fold(self.late, u64::saturating_add);
        if late > 0 {
            tracing::info!(late, "late audio packets left out of the mix");
        }
    }

    /// Pushes the next pairs, at most one block.
    fn mix(&mut self, length: usize) {
        let mut sum = [Stereo::default(); BLOCK];
        let sum = &mut sum[..length];
        for input in self.inputs.values_mut() {
            input.read(sum);
        }
        self.inputs.retain(|_, input| {
            let is_over = input.is_over();
            self.late += if is_over { input.late() } else { 0 };
            !is_over
        });
        let bytes: Vec<u8> =
            sum.iter().flatten().flat_map(|sample| to_integer(*sample).to_le_bytes()).collect();
        let (begin, end) = (nanoseconds(self.mixed), nanoseconds(self.mixed + length as u64));
        self.mixed += length as u64;
        let mut buffer = gst::Buffer::from_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(begin));
            buffer.set_duration(gst::ClockTime::from_nseconds(end - begin));
        }
        self.feed.push(&gst::Sample::builder().buffer(&buffer).caps(&self.caps).build());
    }
}

/// Number of pairs up to a time.
fn pairs(time: Duration) -> u64 {
    // A float to integer conversion saturates.
    (time.as_secs_f64() * f64::from(RATE)).round() as u64
}

const fn nanoseconds(pairs: u64) -> u64 {
    pairs.saturating_mul(1_000_000_000 / 8_000) / (RATE as u64 / 8_000)
}

/// Limits what is above the knee so that it approaches full scale and does not clip.
fn to_integer(sample: f32) -> i16 {
    let level = sample.abs();
    let limited =
        if level <= KNEE { level } else { KNEE + (1.0 - KNEE) * ((level - KNEE) / (1.0 - KNEE)).tanh() };
    (limited.copysign(sample) * f32::from(i16::MAX)).round() as i16
}

#[cfg(test)]
mod tests;
