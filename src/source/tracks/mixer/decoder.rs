//! Decodes the packets of one track to 48 kHz stereo.

use std::fmt;

use audio_codec_algorithms::{decode_alaw, decode_ulaw};
use opusic_c::{Channels, Decoder as LibOpus, ErrorCode, SampleRate};

use super::upsample::Upsampler;
use crate::media::opus;
use crate::media::pcm::RATE;
use crate::plan::track::TrackCodec;

/// One sample of each channel, left and right; full scale is 1.
pub(super) type Stereo = [f32; 2];

/// Pairs of the longest Opus packet: 120 ms.
const LONGEST: usize = 5760;
/// Pairs of the shortest Opus packet, 2.5 ms. Concealed audio is a multiple of it.
const SHORTEST: usize = 120;
/// Delay of libopus in pairs: 6.5 ms, the look-ahead of its encoder, which players skip (RFC 7845
/// §4.2).
const LOOK_AHEAD: u64 = 312;

/// Why a packet can't be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the packet can't be decoded: {}", .0.message())]
    Opus(ErrorCode),
    #[error("{0} is not an audio codec")]
    NotAudio(TrackCodec),
}

/// Decoder of one track. It keeps state between packets.
pub(super) struct Decoder {
    codec: TrackCodec,
    state: State,
    /// Whether the last packet announced a pause.
    is_paused: bool,
}

enum State {
    Opus(LibOpus),
    G711(Box<Upsampler>, fn(u8) -> i16),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("codec", &self.codec)
            .field("is_paused", &self.is_paused)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// # Errors
    /// If the codec is not an audio codec, or memory is short.
    pub(super) fn new(codec: TrackCodec) -> Result<Self, DecodeError> {
        let state = match codec {
            TrackCodec::Opus => {
                State::Opus(LibOpus::new(Channels::Stereo, SampleRate::Hz48000).map_err(DecodeError::Opus)?)
            }
            TrackCodec::Pcmu => State::G711(Box::default(), decode_ulaw),
            TrackCodec::Pcma => State::G711(Box::default(), decode_alaw),
            other => return Err(DecodeError::NotAudio(other)),
        };
        Ok(Self { codec, state, is_paused: false })
    }

    pub(super) const fn codec(&self) -> TrackCodec {
        self.codec
    }

    /// Delay of the decoded audio in pairs.
    pub(super) const fn delay(&self) -> u64 {
        match self.state {
            State::Opus(_) => LOOK_AHEAD,
            State::G711(..) => Upsampler::DELAY,
        }
    }

    /// Decodes a packet.
    ///
    /// # Errors
    /// If the packet is malformed.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Result<Vec<Stereo>, DecodeError> {
        match &mut self.state {
            State::Opus(opus) => {
                self.is_paused = opus::is_pause(packet);
                // libopus treats an empty packet as a lost one.
                let length = opus::samples(packet).ok_or(DecodeError::Opus(ErrorCode::InvalidPacket))?;
                run(opus, packet, length as usize, false)
            }
            State::G711(upsampler, law) => {
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

    /// The longest gap, in pairs, that can be concealed: a few lost packets, or a pause that the
    /// encoder announced.
    pub(super) const fn longest_concealment(&self) -> u64 {
        match (&self.state, self.is_paused) {
            (State::Opus(_), true) => RATE as u64,
            (State::Opus(_), false) => LONGEST as u64,
            (State::G711(..), _) => 0,
        }
    }

    /// Conceals about `length` missing pairs before the packet `next`, which may carry a copy of
    /// their end (forward error correction).
    pub(super) fn conceal(&mut self, length: u64, next: &[u8]) -> Vec<Stereo> {
        let State::Opus(opus) = &mut self.state else { return Vec::new() };
        let mut left = usize::try_from(length).unwrap_or(0) / SHORTEST * SHORTEST;
        let known = opus::samples(next).map_or(0, |samples| samples as usize);
        let known = if self.is_paused || known > left { 0 } else { known };
        let mut audio = Vec::with_capacity(left);
        while left > known {
            let piece = (left - known).min(LONGEST / 6);
            // libopus conceals any length; silence if it fails.
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
