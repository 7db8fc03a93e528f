//! Three people who flash and beep, each in a shade and at a pitch of their own, and checks of who
//! is visible and audible in a recording of their room.

use std::path::Path;

use super::layout::{Layout, Region};
use super::livekit::LiveKitServer;
use super::measure::audio::{RATE, level, peak};
use super::measure::frames::{Frame, Snapshot, frames};
use super::measure::timing::percentile;
use super::publisher::{Codec, Publisher, encoded_once};

/// Seconds from one flash, with its beep, to the next.
const PERIOD: f64 = 1.5;
/// Amplitude of a beep. All three together stay below full scale.
const LOUD: f64 = 0.25;
/// Brighter than everybody between two flashes.
const LIT: u8 = 200;

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Person {
    Ann,
    Ben,
    Cleo,
}

pub(crate) const EVERYBODY: [Person; 3] = [Person::Ann, Person::Ben, Person::Cleo];

/// A person in a room, with the ids of their tracks.
#[derive(Debug)]
pub(crate) struct Performer {
    pub(crate) publisher: Publisher,
    pub(crate) voice: String,
    pub(crate) frame: String,
}

impl Person {
    pub(crate) const fn identity(self) -> &'static str {
        match self {
            Self::Ann => "ann",
            Self::Ben => "ben",
            Self::Cleo => "cleo",
        }
    }

    /// The pitch of their beeps.
    const fn hertz(self) -> u32 {
        match self {
            Self::Ann => 600,
            Self::Ben => 1000,
            Self::Cleo => 1600,
        }
    }

    /// Grey level between two flashes, 0 to 255.
    const fn shade(self) -> u8 {
        match self {
            Self::Ann => 70,
            Self::Ben => 110,
            Self::Cleo => 150,
        }
    }

    /// The person with this grey level; `None` for a flash or an unknown level.
    fn of_shade(shade: u8) -> Option<Self> {
        EVERYBODY.into_iter().find(|person| person.shade().abs_diff(shade) <= 15)
    }

    pub(crate) fn joins(self, server: &LiveKitServer, room: &str) -> Publisher {
        Publisher::join(server, room, self.identity(), Codec::Vp8)
    }

    /// Joins the room, flashes and beeps.
    pub(crate) fn perform(self, server: &LiveKitServer, room: &str) -> Performer {
        let publisher = self.joins(server, room);
        let (frame, voice) = (self.shows(&publisher), self.speaks(&publisher));
        Performer { publisher, voice, frame }
    }

    /// Publishes their camera; returns the track's id. A flash is 0.2 s long.
    pub(crate) fn shows(self, publisher: &Publisher) -> String {
        let frames = |shade: u8, count: u32| {
            let colour = 0xff00_0000_u32 | (u32::from(shade) * 0x01_0101);
            // Each frame can be decoded by itself: the clock selects the frame to send.
            encoded_once(&format!(
                "videotestsrc num-buffers={count} pattern=solid-color foreground-color={colour} ! \
                 video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! \
                 vp8enc deadline=1 keyframe-max-dist=1 ! appsink name=out"
            ))
        };
        publisher.publish_by_clock(Codec::Vp8, [frames(255, 6), frames(self.shade(), 39)].concat())
    }

    /// Publishes their microphone; returns the track's id. A beep is 0.1 s long and begins with a
    /// flash.
    pub(crate) fn speaks(self, publisher: &Publisher) -> String {
        let audio = |wave: &str, count: u32| {
            encoded_once(&format!(
                "audiotestsrc num-buffers={count} samplesperbuffer=960 freq={} wave={wave} volume={LOUD} ! \
                 audio/x-raw,rate=48000,channels=2 ! opusenc ! appsink name=out",
                self.hertz()
            ))
        };
        publisher
            .publish_by_clock(Codec::Opus, [&audio("sine", 10)[..5], &audio("silence", 75)[..70]].concat())
    }

    /// Start of each of their beeps, in seconds, to a hundredth.
    pub(crate) fn beeps_in(self, samples: &[f32]) -> Vec<f64> {
        /// 20 ms, every 5 ms: enough to separate the pitches.
        const PIECE: usize = 960;
        const HOP: usize = 240;
        /// Silence between two beeps.
        const SILENCE: usize = 9_600;
        /// A beep of another pitch contains this pitch for a moment at its start and end.
        const SHORTEST: usize = 1_920;
        let threshold = LOUD / 4.0;
        let is_heard = |at: &usize| {
            let piece = &samples[*at..*at + PIECE];
            f64::from(peak(piece)) > threshold && level(piece, f64::from(self.hertz())) > threshold
        };
        let end = samples.len().saturating_sub(PIECE);
        let mut beeps: Vec<(usize, usize)> = Vec::new();
        for at in (0..end).step_by(HOP).filter(is_heard) {
            match beeps.last_mut() {
                Some((_, last)) if at - *last < SILENCE => *last = at,
                _ => beeps.push((at, at)),
            }
        }
        let whole = beeps.into_iter().filter(|(first, last)| last - first >= SHORTEST);
        whole.map(|(first, _)| (first + PIECE / 2) as f64 / RATE).collect()
    }
}

/// The person in a region of a recording, and the times of their flashes in seconds.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The person who is there most of the time; `None` for nobody.
    pub(crate) who: Option<Person>,
    pub(crate) flashes: Vec<f64>,
}

/// The person in a region of a recording from `from` seconds on.
pub(crate) fn seen_in(path: &Path, place: Region, from: f64) -> Seen {
    let all = frames(path, &Layout { flash: Some(place), ..Layout::default() });
    let brightness = |frame: &Frame| frame.flash.unwrap_or_default();
    let late = all.iter().filter(|frame| frame.pts >= from);
    let shades: Vec<f64> = late.map(|frame| f64::from(brightness(frame))).collect();
    let begins =
        |pair: &&[Frame]| pair[1].pts >= from && brightness(&pair[0]) <= LIT && brightness(&pair[1]) > LIT;
    let flashes = all.windows(2).filter(begins).map(|pair| pair[1].pts).collect();
    Seen { who: Person::of_shade(percentile(&shades, 0.5) as u8), flashes }
}

/// The person in a region of an image; `None` for nobody, or for a flash.
pub(crate) fn shown_in(image: &Snapshot, place: Region) -> Option<Person> {
    Person::of_shade(image.colour(place)[1])
}

/// Delay of each beep after its flash, in seconds.
pub(crate) fn lateness(flashes: &[f64], beeps: &[f64]) -> Vec<f64> {
    let nearest = |flash: &f64| {
        let apart = beeps.iter().map(|beep| beep - flash).filter(|late| late.abs() < PERIOD / 2.0);
        apart.min_by(|one, other| one.abs().total_cmp(&other.abs()))
    };
    flashes.iter().filter_map(nearest).collect()
}
