//! Makes a continuous stream of audio packets, as files need it. Pure.
//!
//! Gaps are filled with silence, or with the pause that the encoder announced, so that the file is
//! as long as the recording. A publisher with a fast clock sends more packets than there is time
//! for: one is dropped now and then, a silent one if possible.

use std::time::Duration;

use super::codec::TrackCodec;
use crate::media::opus;

/// 20 ms of silence in G.711 µ-law and A-law.
const MU_LAW: [u8; 160] = [0xff; 160];
const A_LAW: [u8; 160] = [0xd5; 160];

/// A packet that would be later than this is dropped: a silent one sooner than an audible one.
const QUIET_LATE: Duration = Duration::from_millis(15);
const LATE: Duration = Duration::from_millis(40);

/// A packet and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// Samples since the recording began, in the codec's clock.
    pub(super) at: u64,
    pub(super) samples: u32,
    /// The bytes of a packet that fills a gap; `None` for the packet that was taken.
    pub(super) filling: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct GapFiller {
    codec: TrackCodec,
    /// The end of the audio, in samples of the codec's clock.
    end: u64,
    /// A packet that fills a gap after the last one, and its samples.
    filling: (Vec<u8>, u32),
    left_out: u64,
}

impl GapFiller {
    /// `codec` has to be an audio codec.
    pub(super) fn new(codec: TrackCodec) -> Self {
        Self { codec, end: 0, filling: silence(codec), left_out: 0 }
    }

    /// Number of packets that were dropped to keep the audio in time.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Takes a packet with its media time. Returns the packets that fill the gap before it, and its
    /// position; `None` if it is malformed, or dropped because it is too late.
    pub(super) fn packet(&mut self, at: Duration, bytes: &[u8]) -> (Vec<Placed>, Option<Placed>) {
        let Some(samples) = self.samples(bytes) else { return (Vec::new(), None) };
        let wanted = self.to_samples(at);
        let mut before = Vec::new();
        // Clock drift moves packets by a fraction of their duration, which is not a gap.
        let most = u64::from(self.filling.1.div_ceil(2));
        while wanted >= self.end + most {
            before.push(self.fill_one());
        }
        let pause = opus::pause(bytes).filter(|_| self.codec == TrackCodec::Opus && opus::is_pause(bytes));
        let pause = pause.and_then(|pause| Some((pause.to_vec(), opus::samples(&pause)?)));
        let is_quiet = pause.is_some() || (self.codec == TrackCodec::Opus && bytes == opus::SILENCE);
        self.filling = pause.unwrap_or_else(|| silence(self.codec));
        let late = self.to_samples(if is_quiet { QUIET_LATE } else { LATE });
        // Dropping a longer packet would leave a gap.
        if self.end.saturating_sub(wanted) > late.max(u64::from(samples) * 3 / 4) {
            self.left_out += 1;
            return (before, None);
        }
        let placed = Placed { at: self.end, samples, filling: None };
        self.end += u64::from(samples);
        (before, Some(placed))
    }

    /// Fills up to this media time.
    pub(super) fn fill(&mut self, until: Duration) -> Vec<Placed> {
        let until = self.to_samples(until);
        let mut placed = Vec::new();
        while self.end + u64::from(self.filling.1) <= until {
            placed.push(self.fill_one());
        }
        placed
    }

    /// The media time of a sample, in nanoseconds.
    pub(super) fn nanoseconds(&self, samples: u64) -> u64 {
        samples * 1_000_000_000 / u64::from(self.rate())
    }

    fn fill_one(&mut self) -> Placed {
        let (bytes, samples) = self.filling.clone();
        let placed = Placed { at: self.end, samples, filling: Some(bytes) };
        self.end += u64::from(samples);
        placed
    }

    fn samples(&self, bytes: &[u8]) -> Option<u32> {
        match self.codec {
            TrackCodec::Opus => opus::samples(bytes),
            // One byte each.
            _ => u32::try_from(bytes.len()).ok().filter(|samples| *samples > 0),
        }
    }

    fn rate(&self) -> u32 {
        if self.codec == TrackCodec::Opus { 48_000 } else { 8_000 }
    }

    fn to_samples(&self, time: Duration) -> u64 {
        // A float to integer conversion saturates.
        (time.as_secs_f64() * f64::from(self.rate())).round() as u64
    }
}

fn silence(codec: TrackCodec) -> (Vec<u8>, u32) {
    match codec {
        TrackCodec::Pcmu => (MU_LAW.to_vec(), 160),
        TrackCodec::Pcma => (A_LAW.to_vec(), 160),
        _ => (opus::SILENCE.to_vec(), 960),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &[u8] = &[0xfc, 1, 2, 3];
    const PAUSE: &[u8] = &[0x78];

    fn millis(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn consecutive_packets_leave_no_gap_despite_jitter() {
        let mut filler = GapFiller::new(TrackCodec::Opus);
        for (number, jitter) in [0, 4, 9, 3, 0, 7].into_iter().enumerate() {
            let number = number as u64;
            let (before, placed) = filler.packet(millis(number * 20 + jitter), PACKET);
            assert_eq!((before, placed.unwrap().at), (vec![], number * 960));
        }
    }

    #[test]
    fn gaps_are_filled_up_to_the_next_packet() {
        let mut filler = GapFiller::new(TrackCodec::Opus);
        filler.packet(millis(0), PACKET);
        let (before, placed) = filler.packet(millis(101), PACKET);
        assert_eq!((before.len(), placed.unwrap().at), (4, 5 * 960));
        assert!(before.iter().all(|placed| placed.filling.as_deref() == Some(opus::SILENCE)));
        // A pause is filled with the encoder's own pause packet.
        filler.packet(millis(120), PAUSE);
        let (before, placed) = filler.packet(millis(520), PACKET);
        assert!(before.iter().all(|placed| placed.filling.as_deref() == Some(PAUSE)), "{before:?}");
        assert_eq!(placed.unwrap().at, 520 * 48);
    }

    #[test]
    fn audio_is_as_long_as_the_recording_and_packets_that_are_too_late_are_dropped() {
        let mut filler = GapFiller::new(TrackCodec::Opus);
        let filled = filler.fill(millis(1010));
        assert_eq!((filled.len(), filled[49].at), (50, 49 * 960));
        let (before, placed) = filler.packet(millis(970), PACKET);
        assert_eq!((before, placed.unwrap().at), (vec![], 50 * 960));
        assert_eq!(filler.packet(millis(970), PACKET), (vec![], None));
        assert_eq!(filler.left_out(), 1);
        assert_eq!(filler.packet(millis(0), &[]), (vec![], None));
    }

    #[test]
    fn clock_drift_stays_bounded_and_silent_packets_are_dropped_first() {
        for (ppm, kinds) in [(200.0, 1), (200.0, 50), (-200.0, 50), (0.0, 50)] {
            let mut filler = GapFiller::new(TrackCodec::Opus);
            let (mut heard_left_out, mut filled, mut farthest) = (0, 0, 0i64);
            let packets = 3600 * 50;
            for number in 0..packets {
                // Every so often there is a silent packet.
                let bytes = if number % kinds == kinds - 1 && kinds > 1 { opus::SILENCE } else { PACKET };
                let at = Duration::from_secs_f64(f64::from(number) * 0.02 / (1.0 + ppm / 1e6));
                let (before, placed) = filler.packet(at, bytes);
                filled += before.len();
                match placed {
                    Some(placed) => {
                        let off = placed.at.cast_signed() - filler.to_samples(at).cast_signed();
                        farthest = farthest.max(off.abs());
                    }
                    None => heard_left_out += usize::from(bytes == PACKET),
                }
            }
            assert!(farthest <= 40 * 48, "{ppm}: {farthest}");
            // 200 ppm of an hour are 36 packets.
            match (ppm, kinds) {
                (200.0, 1) => assert!((34..=36).contains(&heard_left_out), "{heard_left_out}"),
                (200.0, _) => assert_eq!((heard_left_out, filler.left_out().abs_diff(36) < 2), (0, true)),
                (-200.0, _) => assert!(filler.left_out() == 0 && (35..=36).contains(&filled), "{filled}"),
                _ => assert_eq!((filler.left_out(), filled), (0, 0)),
            }
        }
    }

    #[test]
    fn g711_is_counted_in_its_own_clock() {
        let mut filler = GapFiller::new(TrackCodec::Pcma);
        filler.packet(millis(0), &[1; 160]);
        let (before, placed) = filler.packet(millis(60), &[1; 160]);
        assert_eq!((before.len(), before[0].filling.as_deref()), (2, Some(A_LAW.as_slice())));
        assert_eq!(filler.nanoseconds(placed.unwrap().at), 60_000_000);
    }
}
