//! Packets of one track into samples at 48 kHz, stereo.

use std::fmt;

use audio_codec_algorithms::{decode_alaw, decode_ulaw};
use opusic_c::{Channels, Decoder as LibOpus, ErrorCode, SampleRate};

use super::upsample::Upsampler;
use crate::media::opus;
use crate::media::pcm::RATE;
use crate::plan::track::TrackCodec;

/// One sample of each channel, left and right; full scale is 1.
pub(super) type Stereo = [f32; 2];

/// Pairs of the longest packet there is: 120 ms.
const LONGEST: usize = 5760;
/// Pairs of the shortest one, 2.5 ms: what is made up for a packet that is missing is a multiple of it.
const SHORTEST: usize = 120;
/// How late sound comes out of libopus, in pairs: 6.5 ms, what its encoders look ahead (RFC 7845 §4.2 has players skip that).
const LOOK_AHEAD: u64 = 312;

/// Why a packet gives no sound.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the packet can't be decoded: {}", .0.message())]
    Opus(ErrorCode),
    #[error("{0} is no sound")]
    NoAudio(TrackCodec),
}

/// One track's decoder, which remembers what came before.
pub(super) struct Decoder {
    codec: TrackCodec,
    of: Of,
    /// The packet before only said that there is a pause.
    paused: bool,
}

enum Of {
    Opus(LibOpus),
    G711(Box<Upsampler>, fn(u8) -> i16),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("codec", &self.codec)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// # Errors
    /// When it is no codec of sound, or there is no memory.
    pub(super) fn new(codec: TrackCodec) -> Result<Self, DecodeError> {
        let of = match codec {
            TrackCodec::Opus => {
                Of::Opus(LibOpus::new(Channels::Stereo, SampleRate::Hz48000).map_err(DecodeError::Opus)?)
            }
            TrackCodec::Pcmu => Of::G711(Box::default(), decode_ulaw),
            TrackCodec::Pcma => Of::G711(Box::default(), decode_alaw),
            other => return Err(DecodeError::NoAudio(other)),
        };
        Ok(Self { codec, of, paused: false })
    }

    pub(super) const fn codec(&self) -> TrackCodec {
        self.codec
    }

    /// How late its sound comes out, in pairs.
    pub(super) const fn delay(&self) -> u64 {
        match self.of {
            Of::Opus(_) => LOOK_AHEAD,
            Of::G711(..) => Upsampler::DELAY,
        }
    }

    /// The sound of a packet.
    ///
    /// # Errors
    /// When it makes no sense.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Result<Vec<Stereo>, DecodeError> {
        match &mut self.of {
            Of::Opus(opus) => {
                self.paused = opus::is_pause(packet);
                // libopus takes an empty packet for one that is missing.
                let length = opus::samples(packet).ok_or(DecodeError::Opus(ErrorCode::InvalidPacket))?;
                run(opus, packet, length as usize, false)
            }
            Of::G711(upsampler, law) => {
                let law = *law;
                let mut audio = Vec::with_capacity(packet.len() * (RATE as usize / 8_000));
                for code in packet {
                    let sample = f32::from(law(*code)) / -f32::from(i16::MIN);
                    upsampler.push(sample, |sample| audio.push([sample; 2]));
                }
                Ok(audio)
            }
        }
    }

    /// How long a hole before the next packet can be, in pairs, to be filled with what is made up: a few packets that were lost, or a
    /// pause that the encoder announced.
    pub(super) const fn longest_hole(&self) -> u64 {
        match (&self.of, self.paused) {
            (Of::Opus(_), true) => RATE as u64,
            (Of::Opus(_), false) => LONGEST as u64,
            (Of::G711(..), _) => 0,
        }
    }

    /// Something for about `length` pairs that are missing before `next`, which may know what was in the end of them.
    pub(super) fn conceal(&mut self, length: u64, next: &[u8]) -> Vec<Stereo> {
        let Of::Opus(opus) = &mut self.of else { return Vec::new() };
        let mut left = usize::try_from(length).unwrap_or(0) / SHORTEST * SHORTEST;
        let known = opus::samples(next).map_or(0, |samples| samples as usize);
        let known = if self.paused || known > left { 0 } else { known };
        let mut audio = Vec::with_capacity(left);
        while left > known {
            let piece = (left - known).min(LONGEST / 6);
            // It makes up whatever length it is asked for; without it there is silence.
            audio.extend(run(opus, &[], piece, false).unwrap_or_else(|_| vec![Stereo::default(); piece]));
            left -= piece;
        }
        if known > 0 {
            audio.extend(run(opus, next, known, true).unwrap_or_else(|_| vec![Stereo::default(); known]));
        }
        audio
    }
}

fn run(
    opus: &mut LibOpus,
    packet: &[u8],
    length: usize,
    is_before: bool,
) -> Result<Vec<Stereo>, DecodeError> {
    let mut audio = vec![0.0; length * 2];
    let decoded = opus.decode_float_to_slice(packet, &mut audio, is_before).map_err(DecodeError::Opus)?;
    Ok(audio.chunks_exact(2).take(decoded).map(|pair| [pair[0], pair[1]]).collect())
}
