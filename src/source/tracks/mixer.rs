//! The sound of any number of tracks, decoded and mixed: one stereo stream that begins with the recording, has no hole, and is as
//! long as the recording, whoever comes, goes or is muted.
//!
//! ```text
//! packet, with its media time ─► Voice, one a track (decode, place) ─┐
//!                                                                     ├─► sum, limit ─► blocks of 10 ms ─► Feed(raw audio)
//!                              ─► Voice … ───────────────────────────┘
//! ```
//!
//! It works on its room's task: a track costs some 0.2 % of a core.

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

/// Pairs of a block: 10 ms, as a sound server's are.
const BLOCK: usize = 480;
/// A track that begins, or begins again after a pause, is placed only when a few of its packets have come (`sync`): what it
/// may then still have to say is waited for.
const BEGINNING: Duration = Duration::from_secs(1);
/// From here on the mix is limited instead of added up.
const KNEE: f32 = 0.8;

/// See the module. Times are media time: since the recording began.
#[derive(Debug)]
pub(super) struct Mixer {
    feed: Feed,
    caps: gst::Caps,
    inputs: BTreeMap<String, MixerInput>,
    /// How many pairs were handed on.
    mixed: u64,
    /// Of voices that are gone.
    late: u64,
}

impl Mixer {
    /// Fills `feed` with S16LE, 48 kHz, stereo, interleaved.
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, caps: pcm::caps(), inputs: BTreeMap::new(), mixed: 0, late: 0 }
    }

    /// A track is there, and is heard in this place. One that was there before goes on.
    pub(super) fn add(&mut self, sid: &str, channel: Channel) {
        self.inputs.entry(sid.to_owned()).or_insert_with(|| MixerInput::new(self.mixed)).open(channel);
    }

    /// A packet of a track's sound that belongs at this time. What comes too late for that is left out.
    pub(super) fn packet(&mut self, sid: &str, codec: TrackCodec, bytes: &Arc<[u8]>, at: Duration) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.packet(codec, bytes, pairs(at));
        }
    }

    /// A track that is muted is not waited for.
    pub(super) fn set_muted(&mut self, sid: &str, muted: bool) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.mute(muted);
        }
    }

    /// A track is gone. What came of it before is still heard.
    pub(super) fn remove(&mut self, sid: &str) {
        if let Some(input) = self.inputs.get_mut(sid) {
            input.close();
        }
    }

    /// Mixes as far as all tracks have come that can be heard, and in any case all that is older than 2.5 s.
    pub(super) fn advance(&mut self, now: Duration) {
        let settled = pairs(now.saturating_sub(SETTLED));
        let ready = self.inputs.values().filter_map(MixerInput::ready).min();
        let beginning = pairs(now.saturating_sub(BEGINNING));
        let until = ready.map_or(settled, |ready| ready.min(beginning).max(settled));
        while self.mixed + BLOCK as u64 <= until {
            self.mix(BLOCK);
        }
    }

    /// Mixes to the end of the recording, and ends the feed there.
    pub(super) fn finish(&mut self, length: Duration) {
        let length = pairs(length);
        while self.mixed < length {
            let left = usize::try_from(length - self.mixed).unwrap_or(BLOCK);
            self.mix(left.min(BLOCK));
        }
        self.feed.end();
        let late = self.inputs.values().map(MixerInput::late).fold(self.late, u64::saturating_add);
        if late > 0 {
            tracing::info!(late, "packets of sound that came too late for the mix");
        }
    }

    /// Hands on the next pairs: no more than a block.
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

/// How many pairs there are until a time.
fn pairs(time: Duration) -> u64 {
    // A float to integer conversion saturates.
    (time.as_secs_f64() * f64::from(RATE)).round() as u64
}

const fn nanoseconds(pairs: u64) -> u64 {
    pairs.saturating_mul(1_000_000_000 / 8_000) / (RATE as u64 / 8_000)
}

/// As it is up to the knee; what is beyond comes ever closer to full scale, so that several who speak at once do not crackle.
fn to_integer(sample: f32) -> i16 {
    let level = sample.abs();
    let limited =
        if level <= KNEE { level } else { KNEE + (1.0 - KNEE) * ((level - KNEE) / (1.0 - KNEE)).tanh() };
    (limited.copysign(sample) * f32::from(i16::MAX)).round() as i16
}

#[cfg(test)]
mod tests;
