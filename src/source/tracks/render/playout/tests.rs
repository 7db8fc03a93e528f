use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::media::{Attachment, FeedConsumer};

const FRAME: u64 = 1000 * MS / 30;

/// A pushed frame: its time in milliseconds, and its first byte.
type Shown = (u64, u8);

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Shown>>>);

impl FeedConsumer for Kept {
    fn take(&mut self, sample: &gst::Sample) {
        let buffer = sample.buffer().unwrap();
        let first = buffer.map_readable().unwrap()[0];
        self.0.lock().unwrap().push((buffer.pts().unwrap().nseconds() / MS, first));
    }

    fn end(&mut self) {}
}

/// A playout in virtual time.
struct Rig {
    playout: Playout,
    kept: Kept,
    counters: Arc<CaptureCounters>,
    _attached: Attachment,
    now: u64,
}

impl Rig {
    fn new(cadence: Cadence) -> Self {
        crate::media::init().unwrap();
        let (feed, kept, counters) = (Feed::new("raw video"), Kept::default(), Arc::default());
        let attached = feed.attach(Box::new(kept.clone()));
        let pacing = Pacing { cadence, fps: 30, key_interval: Duration::from_secs(2) };
        let format = Format::new(16, 16, 30).unwrap();
        let playout = Playout::new(feed, format, pacing, Arc::clone(&counters)).unwrap();
        Self { playout, kept, counters, _attached: attached, now: 0 }
    }

    /// Lets time go on, and pushes frames when they are due.
    fn until(&mut self, then: u64) {
        loop {
            match self.playout.advance(self.now, None) {
                Turn::Pushed => {}
                Turn::Waits(next) if next < then => {
                    assert!(next > self.now, "a wait for a time in the past");
                    self.now = next;
                }
                Turn::Waits(_) | Turn::Done => break,
            }
        }
        self.now = then;
    }

    /// Adds a frame of the time `at` whose bytes are all `byte`; it comes `late` later.
    fn push_frame(&mut self, at: u64, late: u64, byte: u8) {
        self.until(at + late);
        self.playout.push_frame(at, gst::Buffer::from_slice(vec![byte; 384]), self.now);
    }

    fn finish(mut self, end: u64) -> Vec<Shown> {
        self.playout.end_at(end);
        while self.playout.advance(self.now, Some(end)) == Turn::Pushed {}
        let shown = self.kept.0.lock().unwrap().clone();
        assert!(shown.windows(2).all(|pair| pair[0].0 < pair[1].0), "{shown:?}");
        assert!(shown.iter().all(|(at, _)| *at < end / MS));
        shown
    }
}

fn as_drawn() -> Cadence {
    Cadence::AsDrawn { at_least: 5 }
}

#[test]
fn frames_are_shown_with_their_times_as_soon_as_they_arrive() {
    let mut rig = Rig::new(as_drawn());
    rig.playout.expect(true, None);
    for n in 0..60u64 {
        rig.push_frame(n * FRAME, 40 * MS, 100);
        rig.until(rig.now + MS);
        // It did not have to wait for the next one.
        assert_eq!(rig.kept.0.lock().unwrap().len() as u64, n + 1);
    }
    let counters = Arc::clone(&rig.counters);
    let shown = rig.finish(2000 * MS);
    let times: Vec<u64> = shown.iter().map(|(at, _)| *at).collect();
    let wanted: Vec<u64> = (0..60).map(|n| n * FRAME / MS).collect();
    assert_eq!(times[..60], wanted);
    assert_eq!(counters.pictures.load(Ordering::Relaxed), 60);
    assert_eq!(counters.dropped.load(Ordering::Relaxed), 0);
}

#[test]
fn the_grid_has_one_frame_at_each_point_and_repeats_none_while_frames_come() {
    let mut rig = Rig::new(Cadence::Grid);
    rig.playout.expect(true, None);
    for n in 0..90u64 {
        rig.push_frame(
            n * FRAME + n * 7919 % 5 * MS,
            30 * MS + n * 31 % 17 * MS,
            u8::try_from(n).unwrap() + 50,
        );
    }
    let counters = Arc::clone(&rig.counters);
    let shown = rig.finish(3000 * MS);
    assert_eq!(shown.len(), 90);
    assert_eq!(
        counters.dropped.load(Ordering::Relaxed),
        0,
        "two frames at one point of the grid do not count as dropped"
    );
    let bytes: Vec<u8> = shown.iter().map(|(_, byte)| *byte).collect();
    let mut different = bytes.clone();
    different.dedup();
    assert!(different.len() >= 88, "{bytes:?}");
}

/// No video for a second, one frame, a stall, then muted: the frame rate is constant.
#[test]
fn the_grid_keeps_its_rate_while_video_is_absent_stalled_or_muted() {
    let mut rig = Rig::new(Cadence::Grid);
    rig.until(1000 * MS);
    rig.playout.expect(true, None);
    rig.push_frame(1000 * MS, 50 * MS, 100);
    rig.until(2500 * MS);
    // It does not wait for a frame that may never come.
    let so_far = rig.kept.0.lock().unwrap().len();
    assert!(so_far > 30, "{so_far}");
    rig.playout.expect(false, Some(3000 * MS));
    rig.until(5000 * MS);
    let counters = Arc::clone(&rig.counters);
    let shown = rig.finish(5000 * MS);
    let points: Vec<u64> = (0..150).map(|n| n * 1000 / 30).collect();
    assert_eq!(shown.iter().map(|(at, _)| *at).collect::<Vec<_>>(), points);
    let byte = |from: u64, to: u64| {
        shown.iter().filter(move |(at, _)| (from..to).contains(at)).map(|(_, byte)| *byte)
    };
    assert!(byte(0, 1000).chain(byte(3000, 5000)).all(|byte| byte == 16), "{shown:?}");
    assert!(byte(1001, 3000).all(|byte| byte == 100), "{shown:?}");
    assert_eq!(counters.pictures.load(Ordering::Relaxed), 2);
}

#[test]
fn video_is_black_before_the_first_frame_and_a_stall_keeps_the_last_frame() {
    let mut rig = Rig::new(as_drawn());
    rig.until(1000 * MS);
    rig.playout.expect(true, None);
    rig.push_frame(1000 * MS, 50 * MS, 100);
    rig.until(6000 * MS);
    // The last frame is repeated while no other comes.
    let so_far = rig.kept.0.lock().unwrap().last().unwrap().0;
    assert!(so_far > 4500, "{so_far}");
    let shown = rig.finish(6000 * MS);
    assert!(shown.iter().filter(|(at, _)| *at < 1000).all(|(_, byte)| *byte == 16), "{shown:?}");
    assert!(shown.iter().filter(|(at, _)| *at > 1001).all(|(_, byte)| *byte == 100), "{shown:?}");
    assert_eq!(shown[0].0, 0);
    assert!(shown.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 220), "{shown:?}");
}

#[test]
fn video_turns_black_at_its_time_unless_a_frame_comes_before() {
    let mut rig = Rig::new(as_drawn());
    rig.playout.expect(true, None);
    for n in 0..30u64 {
        rig.push_frame(n * FRAME, 20 * MS, 100);
    }
    rig.playout.expect(false, Some(1300 * MS));
    // Setting the same time again changes nothing.
    rig.until(1400 * MS);
    rig.playout.expect(false, Some(1300 * MS));
    rig.until(3000 * MS);
    rig.playout.expect(true, None);
    rig.push_frame(3000 * MS, 20 * MS, 101);
    rig.playout.expect(false, Some(5000 * MS));
    rig.until(3600 * MS);
    rig.playout.expect(true, None);
    rig.push_frame(3500 * MS, 200 * MS, 102);
    rig.until(6000 * MS);
    let shown = rig.finish(6000 * MS);
    let at = |ms: u64| shown.iter().rev().find(|(at, _)| *at <= ms).unwrap().1;
    assert_eq!([at(1200), at(1299), at(1301), at(2990)], [100, 100, 16, 16], "{shown:?}");
    assert_eq!([at(3010), at(3450), at(3750), at(5500)], [101, 101, 102, 102], "{shown:?}");
}

#[test]
fn frames_above_the_rate_are_thinned_and_the_last_one_is_shown() {
    let mut rig = Rig::new(as_drawn());
    rig.playout.expect(true, None);
    for n in 0..120u64 {
        rig.push_frame(n * FRAME / 2, 10 * MS, u8::try_from(n).unwrap() + 50);
    }
    rig.until(2500 * MS);
    let shown = rig.finish(2500 * MS);
    let moving = shown.iter().filter(|(at, _)| *at < 2000).count();
    assert!((59..=62).contains(&moving), "{moving}");
    assert_eq!(shown.last().unwrap().1, 169);
    assert!(shown.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{shown:?}");
    assert!(shown.iter().any(|(at, byte)| *byte == 169 && *at < 2050), "{shown:?}");
}

#[test]
fn delayed_frames_are_shown_at_their_times_if_those_are_not_settled() {
    let mut rig = Rig::new(as_drawn());
    rig.playout.expect(true, None);
    for n in 0..60u64 {
        rig.push_frame(n * FRAME, 20 * MS, 100);
    }
    // A delay of 700 ms, longer than any before.
    for n in 60..81u64 {
        rig.push_frame(n * FRAME, (81 - n) * FRAME, 101);
    }
    for n in 81..150u64 {
        rig.push_frame(n * FRAME, 20 * MS, 102);
    }
    // The same delay again: playout waits for it now.
    for n in 150..171u64 {
        rig.push_frame(n * FRAME, (171 - n) * FRAME, 103);
    }
    for n in 171..180u64 {
        rig.push_frame(n * FRAME, 20 * MS, 104);
    }
    let shown = rig.finish(6000 * MS);
    let second: Vec<u64> = shown.iter().filter(|(_, byte)| *byte == 103).map(|(at, _)| *at).collect();
    let wanted: Vec<u64> = (150..171).map(|n| n * FRAME / MS).collect();
    assert_eq!(second, wanted, "each at its time");
    // The first time most frames came too late, and the rate was kept.
    let first = shown.iter().filter(|(at, _)| (2000..2800).contains(at)).count();
    assert!((5..=25).contains(&first), "{first}");
}

#[test]
fn a_recording_without_frames_is_black_and_complete() {
    for cadence in [as_drawn(), Cadence::Grid] {
        let mut rig = Rig::new(cadence);
        rig.until(3000 * MS);
        let counters = Arc::clone(&rig.counters);
        let shown = rig.finish(3000 * MS);
        assert!(shown.iter().all(|(_, byte)| *byte == 16));
        assert_eq!((shown[0].0, shown.last().unwrap().0), (0, 2966));
        assert_eq!(counters.pictures.load(Ordering::Relaxed), 0);
    }
}
