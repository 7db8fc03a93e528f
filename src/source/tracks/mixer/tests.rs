use std::f64::consts::TAU;
use std::sync::{Mutex, PoisonError};

use audio_codec_algorithms::encode_alaw;
use opusic_c::{Application, Channels, Encoder, SampleRate};

use super::super::sync::{PublisherClock, TrackClock};
use super::*;
use crate::media::FeedConsumer;

/// Collects the output of a mixer.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<MixedAudio>>);

/// Samples, the times of their buffers, and whether the feed has ended.
type MixedAudio = (Vec<i16>, Vec<u64>, bool);

impl FeedConsumer for Heard {
    fn take(&mut self, sample: &gst::Sample) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = sample.buffer().unwrap();
        let bytes = buffer.map_readable().unwrap();
        heard.1.push(buffer.pts().unwrap().nseconds());
        heard.0.extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
    }

    fn end(&mut self) {
        self.0.lock().unwrap().2 = true;
    }
}

impl Heard {
    /// A mixer and its output.
    fn new() -> (Mixer, Self) {
        crate::media::init().unwrap();
        let (feed, heard) = (Feed::new("mix"), Self::default());
        // The attachment lives as long as the feed.
        std::mem::forget(feed.attach(Box::new(heard.clone())));
        (Mixer::new(feed), heard)
    }

    fn pairs(&self) -> usize {
        self.0.lock().unwrap().0.len() / 2
    }

    /// Samples of channel 0 or 1; full scale is 1.
    fn channel(&self, channel: usize) -> Vec<f64> {
        let heard = self.0.lock().unwrap();
        heard.0.iter().skip(channel).step_by(2).map(|sample| f64::from(*sample) / 32_767.0).collect()
    }
}

/// Opus packets of 20 ms with a tone.
fn opus_tone(hertz: f64, level: f64, packets: usize) -> Vec<Arc<[u8]>> {
    let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Audio).unwrap();
    (0..packets)
        .map(|packet| {
            let tone =
                |at: usize| (level * (TAU * hertz * (packet * 960 + at) as f64 / 48_000.0).sin()) as f32;
            let audio: Vec<f32> = (0..960).map(tone).collect();
            let mut bytes = vec![0; 4000];
            let length = encoder.encode_float_to_slice(&audio, &mut bytes).unwrap();
            bytes[..length].into()
        })
        .collect()
}

/// A-law packets of 20 ms with a tone.
fn alaw_tone(hertz: f64, level: f64, packets: usize) -> Vec<Arc<[u8]>> {
    let code = |at: usize| encode_alaw((level * 32_767.0 * (TAU * hertz * at as f64 / 8_000.0).sin()) as i16);
    (0..packets).map(|packet| (packet * 160..(packet + 1) * 160).map(code).collect()).collect()
}

/// The amplitude of a tone.
fn level(samples: &[f64], hertz: f64) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let turn = TAU * hertz * at as f64 / 48_000.0;
        (real, imaginary) = (real + sample * turn.cos(), imaginary + sample * turn.sin());
    }
    2.0 * f64::hypot(real, imaginary) / samples.len() as f64
}

/// The largest step from one sample to the next.
fn roughest(samples: &[f64]) -> f64 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max)
}

fn millis(time: usize) -> Duration {
    Duration::from_millis(time as u64)
}

#[test]
fn without_tracks_the_mix_is_silent_and_as_long_as_the_recording() {
    let (mut mixer, heard) = Heard::new();
    mixer.advance(millis(2000));
    assert_eq!(heard.pairs(), 0);
    mixer.advance(millis(4000));
    assert_eq!(heard.pairs(), 72_000);
    mixer.finish(Duration::from_micros(4_567_300));
    assert_eq!(heard.pairs(), 219_230);
    let heard = heard.0.lock().unwrap();
    assert!(heard.2 && heard.0.iter().all(|sample| *sample == 0));
    assert!(heard.1.iter().enumerate().all(|(block, pts)| *pts == block as u64 * 10_000_000));
}

#[test]
fn each_track_keeps_its_channel_and_level() {
    let (mut mixer, heard) = Heard::new();
    let tones = [
        ("both", TrackCodec::Opus, Channel::Both, 440.0, opus_tone(440.0, 0.2, 150)),
        ("left", TrackCodec::Opus, Channel::Left, 660.0, opus_tone(660.0, 0.2, 150)),
        ("right", TrackCodec::Pcma, Channel::Right, 1000.0, alaw_tone(1000.0, 0.2, 150)),
    ];
    for (sid, _, channel, ..) in &tones {
        mixer.add(sid, *channel);
    }
    for packet in 0..150 {
        for (sid, codec, _, _, packets) in &tones {
            mixer.packet(sid, *codec, &packets[packet], millis(packet * 20));
        }
        mixer.packet("a stranger", TrackCodec::Opus, &tones[0].4[packet], millis(packet * 20));
    }
    mixer.finish(millis(3000));
    for (channel, name, expected) in [(0, "left", [0.2, 0.2, 0.0]), (1, "right", [0.2, 0.0, 0.2])] {
        let audio = heard.channel(channel);
        assert_eq!(audio.len(), 144_000);
        let levels = tones.each_ref().map(|tone| level(&audio[24_000..120_000], tone.3));
        let alike = levels.iter().zip(expected).all(|(level, expected)| (level - expected).abs() < 0.01);
        assert!(alike, "{name}: {levels:?}");
    }
}

#[test]
fn several_loud_tracks_do_not_clip() {
    let (mut mixer, heard) = Heard::new();
    let packets = opus_tone(300.0, 0.6, 50);
    for sid in ["one", "two", "three"] {
        mixer.add(sid, Channel::Both);
        for (at, packet) in packets.iter().enumerate() {
            mixer.packet(sid, TrackCodec::Opus, packet, millis(at * 20));
        }
    }
    mixer.finish(millis(1000));
    let audio = heard.channel(0);
    assert!(audio[12_000..36_000].iter().copied().fold(0.0, f64::max) > 0.95);
    assert!(roughest(&audio) < 0.15, "{}", roughest(&audio));
}

#[test]
fn the_mix_waits_for_unmuted_tracks_only() {
    let (mut mixer, heard) = Heard::new();
    let packets = opus_tone(440.0, 0.2, 400);
    let (mut first, mut second) = (packets.iter().enumerate(), packets.iter().enumerate());
    let mut send = |mixer: &mut Mixer, sid: &str, until: usize| {
        let packets = if sid == "first" { &mut first } else { &mut second };
        for (at, packet) in packets.by_ref().take(until) {
            mixer.packet(sid, TrackCodec::Opus, packet, millis(at * 20));
        }
    };
    mixer.add("first", Channel::Both);
    mixer.add("second", Channel::Both);
    // Up to one second, and up to two.
    send(&mut mixer, "first", 50);
    send(&mut mixer, "second", 100);
    mixer.advance(millis(2100));
    let ready = heard.pairs();
    assert!((47_000..48_000).contains(&ready), "{ready}");
    mixer.advance(millis(4100));
    assert_eq!(heard.pairs(), 76_800);
    // A packet for a time that is mixed already is dropped, its successors are not.
    send(&mut mixer, "first", 30);
    mixer.set_muted("second", true);
    send(&mut mixer, "first", 120);
    mixer.advance(millis(4100));
    assert!((148_000..=148_800).contains(&heard.pairs()), "{}", heard.pairs());
    mixer.remove("first");
    mixer.set_muted("second", false);
    mixer.advance(millis(5000));
    assert_eq!(heard.pairs(), 148_800);
    mixer.finish(millis(5000));
    let audio = heard.channel(0);
    assert!(level(&audio[12_000..36_000], 440.0) > 0.38);
    assert!(level(&audio[52_000..74_000], 440.0) > 0.18, "the second one alone");
    assert!(level(&audio[100_000..180_000], 440.0) > 0.18, "the first one alone");
    assert!(level(&audio[195_000..], 440.0) < 0.001);
}

#[test]
fn a_lost_packet_is_concealed_and_a_pause_is_silent_without_clicks() {
    let (mut mixer, heard) = Heard::new();
    mixer.add("singer", Channel::Both);
    for (at, packet) in opus_tone(440.0, 0.3, 200).iter().enumerate() {
        if at != 50 && !(100..150).contains(&at) {
            mixer.packet("singer", TrackCodec::Opus, packet, millis(at * 20));
        }
    }
    mixer.finish(millis(4000));
    let audio = heard.channel(0);
    let at = |from: usize, to: usize| &audio[from * 48..to * 48];
    assert!(level(at(1000, 1020), 440.0) > 0.15, "{}", level(at(1000, 1020), 440.0));
    assert!(at(2010, 2980).iter().all(|sample| sample.abs() < 0.001));
    assert!((level(at(3100, 3900), 440.0) - 0.3).abs() < 0.01);
    // A sine of this height steps by 0.0173; a fade adds 0.0025 to it.
    assert!(roughest(&audio) < 0.03, "{}", roughest(&audio));
}

#[test]
fn small_shifts_of_audio_do_not_click() {
    for off in [5i64, -5] {
        let (mut mixer, heard) = Heard::new();
        mixer.add("singer", Channel::Both);
        for (at, packet) in opus_tone(100.0, 0.3, 300).iter().enumerate() {
            let by = if at >= 50 { off } else { 0 };
            let at = u64::try_from(at as i64 * 20 + by).unwrap();
            mixer.packet("singer", TrackCodec::Opus, packet, Duration::from_millis(at));
        }
        mixer.finish(millis(6000));
        let audio = heard.channel(0);
        // The tone itself steps by 0.0039.
        assert!(roughest(&audio[4800..280_000]) < 0.0045, "{off}: {}", roughest(&audio[4800..280_000]));
        // In the last second it is in place to half a millisecond: in phase with the original.
        let expected = |at: usize| (TAU * 100.0 * (at as f64 / 48_000.0 - off as f64 / 1000.0)).sin();
        let alike = (240_000..280_000).map(|at| audio[at] * expected(at)).sum::<f64>() / 40_000.0;
        assert!(alike > 0.3 / 2.0 * 0.9, "{off}: {alike}");
    }
}

/// Mixes the audio of a publisher who also sends video. Returns the distances, in ms, of marks in
/// the mix and the frames of the same moments.
fn apart(minutes: u32, audio_ppm: f64, later: f64, has_reports: bool) -> Vec<f64> {
    let mut publisher = PublisherClock::default();
    let (mut audio, mut video) = (TrackClock::new(48_000), TrackClock::new(90_000));
    let mut input = MixerInput::new(0);
    let (mut marks, mut shown, mut mixed) = (Vec::new(), Vec::new(), 0u64);
    let mut noise = 12_345u32;
    let mut jitter = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Up to 40 ms, mostly less than 10.
        f64::from(noise >> 16).powi(4) / f64::from(u16::MAX).powi(4) * 0.04
    };
    let mut block = [Stereo::default(); BLOCK];
    for step in 0..minutes * 60 * 50 {
        let was = f64::from(step) * 0.02;
        let ticks = (f64::from(step) * 960.0) as u32;
        // With clock drift, a packet of 960 samples takes a little less or more.
        let heard_at = was / (1.0 + audio_ppm / 1e6);
        let is_mark = step % 250 == 249;
        let mut packet = vec![Stereo::default(); 960];
        if is_mark {
            packet[..48].fill([0.9; 2]);
        }
        let arrived = Duration::from_secs_f64(1.0 + heard_at + 0.01 + jitter());
        for (packet, at) in audio.take(packet, ticks, arrived, &publisher) {
            input.place_for_test(packet, pairs(at));
        }
        if was >= later {
            let arrived = Duration::from_secs_f64(1.0 + was + 0.01 + jitter());
            shown.extend(video.take(was, 77 + step * 1800, arrived, &publisher));
        }
        if has_reports && step % 150 == 149 {
            let arrived = 1.0 + was + 0.01 + jitter();
            publisher.report(was + 1e6, arrived);
            audio.report((was * (1.0 + audio_ppm / 1e6) * 48_000.0) as u32, was + 1e6, arrived);
            video.report(77 + step * 1800, was + 1e6, arrived);
        }
        // Frames of all but the last second.
        while mixed + 48_000 < pairs(Duration::from_secs_f64(was)) {
            block.fill(Stereo::default());
            input.read(&mut block);
            if let Some(at) = block.iter().position(|pair| pair[0] > 0.4)
                && marks.last().is_none_or(|last| mixed + at as u64 > last + 24_000)
            {
                marks.push(mixed + at as u64);
            }
            mixed += BLOCK as u64;
        }
    }
    assert_eq!(input.late(), 0);
    let place_of = |was: f64| {
        let at = shown.partition_point(|(shown, _)| *shown < was).min(shown.len() - 1);
        let (shown, place) = &shown[at];
        place.as_secs_f64() - (shown - was)
    };
    let first_shown = shown[0].0;
    let mark = |(number, at): (usize, &u64)| {
        let was = (f64::from(249 + 250 * number as u32)) * 0.02 / (1.0 + audio_ppm / 1e6);
        (was >= first_shown + 10.0).then(|| (*at as f64 / 48_000.0 - place_of(was)) * 1000.0)
    };
    // One every five seconds.
    assert!(marks.len() as u32 > minutes * 12 - 3, "{}", marks.len());
    marks.iter().enumerate().filter_map(mark).collect()
}

#[test]
fn audio_and_video_stay_in_sync_with_any_clock_drift_and_start() {
    for (minutes, ppm, later, has_reports) in
        [(20, 200.0, 4.0, true), (20, -200.0, 4.0, false), (5, 200.0, 0.0, false)]
    {
        let apart = apart(minutes, ppm, later, has_reports);
        let mut sorted: Vec<f64> = apart.iter().map(|apart| apart.abs()).collect();
        sorted.sort_by(f64::total_cmp);
        let most = sorted[sorted.len() * 95 / 100];
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let drift = mean(&apart[apart.len() - 20..]) - mean(&apart[..20]);
        assert!(
            most < 10.0 && drift.abs() < 2.0,
            "{ppm} {later} {has_reports}: {most} ms, drifts by {drift} ms"
        );
    }
}
