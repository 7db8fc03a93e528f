//! Both channels of AAC: equal where they were equal, separate where they were different.

use super::*;

/// Sample rate of the raw audio.
const RATE: u32 = 48_000;
/// Samples of 10 ms.
const PIECE: u32 = RATE / 100;

/// Two seconds of audio: left and right as a function of the time in seconds.
fn two_seconds(sides: impl Fn(f64) -> (f64, f64)) -> Vec<[i16; 2]> {
    let value = |of: f64| (of.clamp(-1.0, 1.0) * 32_767.0) as i16;
    let at = |sample: u32| sides(f64::from(sample) / f64::from(RATE));
    (0..2 * RATE).map(at).map(|(left, right)| [value(left), value(right)]).collect()
}

fn tone(at: f64, hertz: f64) -> f64 {
    (at * hertz * std::f64::consts::TAU).sin()
}

/// Noise that is the same in each run.
fn noise(at: f64) -> f64 {
    let sample = (at * f64::from(RATE)).round() as u64;
    let mixed =
        sample.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from((mixed >> 32) as u32) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// Beeps over hum and hiss, then fading clicks of noise, at which an encoder changes its windows.
fn beeps(at: f64) -> f64 {
    let beep = if at % 0.25 < 0.1 { 0.12 * tone(at, 1000.0) } else { 0.0 };
    let click = if at > 1.0 { 0.3 * (-(at * 3.0 % 1.0) * 9.0).exp() * noise(at) } else { 0.0 };
    beep + click + 0.02 * tone(at, 120.0) + 0.003 * noise(at)
}

/// Encodes and decodes: sample by sample, aligned with the input.
async fn through_aac(sound: &[[i16; 2]], rate_hz: u32, kbps: u32) -> Vec<[f32; 2]> {
    let raw = Feed::new("raw");
    let encoding = AudioEncoding { codec: AudioCodec::Aac, bitrate_kbps: kbps, rate_hz };
    let mut graph = graph(vec![encoding]);
    graph.video = None;
    let (encoders, events) = Encoders::start(&graph, Duration::from_secs(4), None, Some(&raw)).unwrap();
    let out = Keep::default();
    let _attached = encoders.audio()[&AudioCodec::Aac].attach(Box::new(out.clone()));
    for (samples, at) in sound.chunks(PIECE as usize).zip(0u64..) {
        let bytes: Vec<u8> = samples.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let times = buffer.get_mut().unwrap();
        times.set_pts(gst::ClockTime::from_mseconds(at * 10));
        times.set_duration(gst::ClockTime::from_mseconds(10));
        raw.push(&gst::Sample::builder().buffer(&buffer).caps(&crate::media::pcm::caps()).build());
    }
    raw.end();
    encoders.finish(events, Duration::from_secs(20)).await.unwrap();
    let encoded = out.0.lock().unwrap().clone();
    decoded("avdec_aac", "format=F32LE,channels=2", &encoded).iter().flat_map(values).collect()
}

/// The values of both channels.
fn values(sample: &gst::Sample) -> Vec<[f32; 2]> {
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    map.chunks_exact(8).map(|pair| [value(&pair[..4]), value(&pair[4..])]).collect()
}

/// The amplitude of a tone in a mixture.
fn loudness(samples: impl Iterator<Item = f32>, hertz: f64) -> f64 {
    let (mut sine, mut cosine, mut count) = (0.0_f64, 0.0_f64, 0.0);
    for (sample, at) in samples.map(f64::from).zip(0u32..) {
        let angle = f64::from(at) / f64::from(RATE) * hertz * std::f64::consts::TAU;
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
        count += 1.0;
    }
    2.0 * f64::hypot(sine, cosine) / count
}

/// Signal to noise, in dB.
fn snr(original: &[[i16; 2]], decoded: &[[f32; 2]]) -> f64 {
    let (mut signal, mut noise) = (0.0_f64, 0.0_f64);
    for (original, decoded) in original.iter().zip(decoded) {
        for (original, decoded) in original.iter().zip(decoded) {
            let original = f64::from(*original) / 32_768.0;
            signal += original.powi(2);
            noise += (f64::from(*decoded) - original).powi(2);
        }
    }
    10.0 * (signal / noise).log10()
}

#[tokio::test]
async fn equal_channels_stay_equal() {
    crate::media::init().unwrap();
    let sound = two_seconds(|at| (beeps(at), beeps(at)));
    // 44.1 kHz is the default of requests; 8 kHz has 96 kbit/s at most.
    for (rate_hz, kbps) in
        [(48_000, 32), (48_000, 128), (48_000, 320), (44_100, 32), (44_100, 128), (8_000, 32), (8_000, 96)]
    {
        let case = format!("{rate_hz} Hz, {kbps} kbit/s");
        let heard = through_aac(&sound, rate_hz, kbps).await;
        assert!(heard.len() > 2 * rate_hz as usize - 1024, "{case}: {} samples", heard.len());
        assert!(heard.iter().any(|[left, _]| left.abs() > 0.1), "{case}: the beeps are not heard");
        let different = heard.iter().position(|[left, right]| left.to_bits() != right.to_bits());
        assert_eq!(different, None, "{case}");
    }
}

#[tokio::test]
async fn two_tones_stay_in_their_channels() {
    crate::media::init().unwrap();
    let sound = two_seconds(|at| (0.3 * tone(at, 440.0), 0.3 * tone(at, 880.0)));
    let heard = through_aac(&sound, RATE, 128).await;
    let steady = &heard[9_600..81_600];
    for (side, own, other) in [(0usize, 440.0, 880.0), (1, 880.0, 440.0)] {
        let of = |hertz| loudness(steady.iter().map(|sample| sample[side]), hertz);
        assert!((of(own) - 0.3).abs() < 0.02, "side {side}: {:.3}", of(own));
        let crosstalk = 20.0 * (of(other) / of(own)).log10();
        assert!(crosstalk < -60.0, "side {side}: {crosstalk:.1} dB");
    }
}

/// Equal, different, equal: channels differ only around the different part, and the change between
/// the encoders leaves no glitch.
#[tokio::test]
async fn channels_that_differ_for_a_while_are_equal_before_and_after() {
    crate::media::init().unwrap();
    let tones = |at: f64| (0.3 * tone(at, 440.0), 0.3 * tone(at, 880.0));
    let same = |at: f64| (0.3 * tone(at, 660.0), 0.3 * tone(at, 660.0));
    let sound = two_seconds(|at| if (0.7..1.3).contains(&at) { tones(at) } else { same(at) });
    let heard = through_aac(&sound, RATE, 128).await;
    // Frames have 1024 samples. Two overlap, and the encoder looks one ahead.
    let (from, to) = (33_600 - 4 * 1024, 62_400 + 4 * 1024);
    let differ: Vec<usize> =
        heard.iter().enumerate().filter(|(_, [left, right])| left != right).map(|(at, _)| at).collect();
    let (first, last) = (differ[0], *differ.last().unwrap());
    assert!(first > from && last < to, "different from {first} to {last}");
    assert!(first < 33_700 && last > 62_300, "different from {first} to {last}");
    let middle = &heard[38_400..57_600];
    let crosstalk = loudness(middle.iter().map(|sample| sample[0]), 880.0);
    assert!(crosstalk < 0.001, "{crosstalk}");
    // The first frame is the encoder's delay.
    for (at, part) in heard[..94_208].chunks(2048).enumerate().skip(1) {
        let quality = snr(&sound[at * 2048..], part);
        assert!(quality > 12.0, "{quality:.1} dB from sample {} on", at * 2048);
    }
}
