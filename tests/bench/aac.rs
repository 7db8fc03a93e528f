//! Encoders of AAC against one another at 128 kbit/s: what they keep of the sound, and what both
//! sides have of one another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;
use weir::encode::Encoders;
use weir::media::{Feed, FeedConsumer};
use weir::plan::codec::AudioCodec;
use weir::plan::encoding::AudioEncoding;
use weir::plan::graph::GraphPlan;

const RATE: usize = 48_000;
const SECONDS: usize = 20;

/// One encoder with its settings.
#[derive(Debug, Serialize)]
pub(crate) struct Aac {
    pub(crate) name: &'static str,
    /// Of sound that is the same on both sides: signal to noise, in dB.
    pub(crate) snr_db: f64,
    /// How much the sides of the same sound differ, at most; full scale is 1.
    pub(crate) sides_differ: f64,
    /// The same of sound that differs.
    pub(crate) stereo_snr_db: f64,
    /// Crosstalk in dB: level of one channel's tone in the other channel.
    pub(crate) crosstalk_db: f64,
    /// CPU seconds a second of sound that is the same on both sides.
    pub(crate) cores: f64,
}

/// Names, and what encodes; nothing: Weir's own.
const CANDIDATES: &[(&str, Option<&str>)] = &[
    ("Weir", None),
    ("avenc_aac aac-ms=false", Some("avenc_aac bitrate=128000 aac-ms=false")),
    ("avenc_aac aac-ms=false aac-pns=false", Some("avenc_aac bitrate=128000 aac-ms=false aac-pns=false")),
    ("avenc_aac aac-ms=false aac-coder=fast", Some("avenc_aac bitrate=128000 aac-ms=false aac-coder=fast")),
    ("avenc_aac aac-pns=false", Some("avenc_aac bitrate=128000 aac-pns=false")),
    ("voaacenc", Some("voaacenc bitrate=128000")),
    ("fdkaacenc", Some("fdkaacenc bitrate=128000")),
];

type Audio = Vec<[i16; 2]>;

/// Measures those that are installed.
pub(crate) fn compare() -> Vec<Aac> {
    weir::media::init().unwrap();
    let same = audio(|at| (beeps(at), beeps(at)));
    let wide = audio(|at| (beeps(at) + 0.1 * tone(at, 311.0), beeps(at + 0.05) + 0.1 * tone(at, 523.0)));
    let tones = audio(|at| (0.3 * tone(at, 440.0), 0.3 * tone(at, 880.0)));
    let is_there = |of: &Option<&str>| {
        let element = of.and_then(|line| line.split(' ').next());
        element.is_none_or(|element| gst::ElementFactory::find(element).is_some())
    };
    CANDIDATES
        .iter()
        .filter(|(_, of)| is_there(of))
        .map(|&(name, of)| {
            let before = cpu();
            let encoded = encode(of, &same);
            let cores = (cpu() - before) / SECONDS as f64;
            let heard = decode(&encoded);
            let differ = heard.iter().map(|[left, right]| f64::from((left - right).abs()));
            let stereo = decode(&encode(of, &wide));
            let apart = decode(&encode(of, &tones));
            let steady = &apart[RATE..2 * RATE];
            let of_side = |side: usize, hertz| loudness(steady.iter().map(|sample| sample[side]), hertz);
            let crosstalk =
                (of_side(0, 880.0) / of_side(0, 440.0)).max(of_side(1, 440.0) / of_side(1, 880.0));
            Aac {
                name,
                snr_db: snr(&same, &heard),
                sides_differ: differ.fold(0.0, f64::max),
                stereo_snr_db: snr(&wide, &stereo),
                crosstalk_db: 20.0 * crosstalk.log10(),
                cores,
            }
        })
        .collect()
}

fn audio(sides: impl Fn(f64) -> (f64, f64)) -> Audio {
    let value = |of: f64| (of.clamp(-1.0, 1.0) * 32_767.0) as i16;
    let at = |sample: usize| sides(sample as f64 / RATE as f64);
    (0..SECONDS * RATE).map(at).map(|(left, right)| [value(left), value(right)]).collect()
}

fn tone(at: f64, hertz: f64) -> f64 {
    (at * hertz * std::f64::consts::TAU).sin()
}

/// Beeps, a voice of harmonics that rises and falls, and a little hiss.
fn beeps(at: f64) -> f64 {
    let beep = if at % 1.0 < 0.1 { 0.12 * tone(at, 1000.0) } else { 0.0 };
    let pitch = 120.0 * at + 20.0 * (at * 3.0).sin();
    let harmonics = (1..20).map(|n| (f64::from(n) * pitch * std::f64::consts::TAU).sin() / f64::from(n));
    let voice = 0.1 * (at * 4.0 * std::f64::consts::TAU).sin().max(0.0) * harmonics.sum::<f64>();
    let mixed = ((at * RATE as f64).round() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let hiss = (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as f64 / f64::from(u32::MAX) - 0.5;
    beep + voice + 0.004 * hiss
}

/// Pieces of 10 ms with their times.
fn pieces(audio: &[[i16; 2]]) -> impl Iterator<Item = gst::Sample> {
    audio.chunks(RATE / 100).zip(0u64..).map(|(samples, at)| {
        let bytes: Vec<u8> = samples.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let times = buffer.get_mut().unwrap();
        times.set_pts(gst::ClockTime::from_mseconds(at * 10));
        times.set_duration(gst::ClockTime::from_mseconds(10));
        gst::Sample::builder().buffer(&buffer).caps(&weir::media::pcm::caps()).build()
    })
}

fn encode(of: Option<&str>, audio: &[[i16; 2]]) -> Vec<gst::Sample> {
    let Some(line) = of else { return encode_by_weir(audio) };
    let line = format!(
        "appsrc name=in format=time ! audioconvert ! {line} ! aacparse ! appsink name=out sync=false"
    );
    through(&line, pieces(audio))
}

#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<gst::Sample>>>);

impl FeedConsumer for Keep {
    fn take(&mut self, sample: &gst::Sample) {
        self.0.lock().unwrap().push(sample.clone());
    }
    fn end(&mut self) {}
}

fn encode_by_weir(audio: &[[i16; 2]]) -> Vec<gst::Sample> {
    let encoding = AudioEncoding { codec: AudioCodec::Aac, bitrate_kbps: 128, rate_hz: 48_000 };
    let graph = GraphPlan { video: None, audio: vec![encoding], branches: Vec::new() };
    let out = Keep::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let raw = Feed::new("raw");
        let (encoders, events) = Encoders::start(&graph, Duration::from_secs(4), None, Some(&raw)).unwrap();
        let _attached = encoders.audio()[&AudioCodec::Aac].attach(Box::new(out.clone()));
        for (sample, at) in pieces(audio).zip(1u64..) {
            raw.push(&sample);
            // Ten seconds may wait for an encoder: no more than it has taken.
            while at.saturating_sub(out.0.lock().unwrap().len() as u64 * 2) > 500 {
                tokio::task::yield_now().await;
            }
        }
        raw.end();
        encoders.finish(events, Duration::from_secs(60)).await.unwrap();
    });
    let encoded = out.0.lock().unwrap();
    encoded.clone()
}

/// Of frames of AAC, each sample of both sides.
fn decode(encoded: &[gst::Sample]) -> Vec<[f32; 2]> {
    let line = "appsrc name=in format=time ! aacparse ! avdec_aac ! audioconvert ! \
                audio/x-raw,format=F32LE,channels=2,layout=interleaved ! appsink name=out sync=false";
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let mut all = Vec::new();
    for sample in through(line, encoded.iter().cloned()) {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        all.extend(map.chunks_exact(8).map(|pair| [value(&pair[..4]), value(&pair[4..])]));
    }
    all
}

fn through(line: &str, samples: impl Iterator<Item = gst::Sample>) -> Vec<gst::Sample> {
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let from = pipeline.by_name("in").unwrap().downcast::<gstreamer_app::AppSrc>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for sample in samples {
        from.push_sample(&sample).unwrap();
    }
    from.end_of_stream().unwrap();
    let mut all = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        all.push(sample);
    }
    pipeline.set_state(gst::State::Null).unwrap();
    all
}

/// Of both sides, less what an encoder puts in front, which is up to three frames.
fn snr(original: &[[i16; 2]], decoded: &[[f32; 2]]) -> f64 {
    let noise_at = |lag: usize, step: usize| {
        let (mut signal, mut noise) = (0.0_f64, 0.0_f64);
        for at in (RATE..RATE * (SECONDS - 1)).step_by(step) {
            let Some(heard) = decoded.get(at + lag) else { continue };
            for side in 0..2 {
                let wanted = f64::from(original[at][side]) / 32_768.0;
                signal += wanted.powi(2);
                noise += (f64::from(heard[side]) - wanted).powi(2);
            }
        }
        noise / signal
    };
    let lag = (0..3 * 1024).min_by(|a, b| noise_at(*a, 97).total_cmp(&noise_at(*b, 97))).unwrap();
    -10.0 * noise_at(lag, 1).log10()
}

fn loudness(samples: impl Iterator<Item = f32>, hertz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0_f64, 0.0_f64);
    for (at, sample) in samples.map(f64::from).enumerate() {
        let angle = at as f64 / RATE as f64 * hertz * std::f64::consts::TAU;
        sine += sample * angle.sin();
        cosine += sample * angle.cos();
    }
    f64::hypot(sine, cosine)
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}
