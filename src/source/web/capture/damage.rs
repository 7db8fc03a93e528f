//! Decides when a frame on the screen is complete, and due for capture. Pure: times are nanoseconds
//! of running time.
//!
//! ```text
//! events      | |||        |           |     |  |
//!             └burst┘ 4 ms └┘ 4 ms
//! captured            ▲        ▲ only if a frame is due, else the next burst, or this one a little later
//! ```

/// Without a damage event for this long, a frame is complete. The browser draws a frame in parts,
/// and on a busy machine it may pause in between.
const SETTLED: u64 = 4_000_000;

/// Damage since the last captured frame.
#[derive(Debug)]
pub(super) struct Damage {
    /// Frame duration.
    frame: u64,
    /// How early a frame may be captured. A quarter of a frame is between the jitter of a page that
    /// paints at our rate and the next frame of one that paints at twice our rate.
    tolerance: u64,
    /// Time at which the next frame is due by the average rate.
    due: u64,
    drawn: Option<Drawn>,
}

/// A burst: its first event and its last.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    first: u64,
    last: u64,
}

impl Damage {
    pub(super) fn new(fps: u32) -> Self {
        let frame = 1_000_000_000 / u64::from(fps.max(1));
        Self { frame, tolerance: frame / 4, due: 0, drawn: None }
    }

    /// Something was drawn.
    pub(super) fn drawn(&mut self, now: u64) {
        // What was whole and still waits to be due is replaced; its beginning says nothing about
        // what is drawn now.
        let burst = self.drawn.filter(|drawn| now < drawn.last + SETTLED);
        let first = burst.map_or(now, |drawn| drawn.first);
        self.drawn = Some(Drawn { first, last: now });
    }

    /// Capture time if nothing more is drawn until then; `None` without damage.
    pub(super) fn take_at(&self) -> Option<u64> {
        let Drawn { first, last } = self.drawn?;
        // A page that paints without a pause is captured anyway, one frame duration after it began.
        let whole = (last + SETTLED).min(first + self.frame);
        if last + self.tolerance >= self.due {
            Some(whole)
        } else {
            // Too early. A page that continues to paint has its next frame near the due time, and
            // that one is captured then; otherwise this one is.
            Some(whole.max(self.due + self.tolerance))
        }
    }

    /// The frame on the screen was captured. Returns its drawing time.
    pub(super) fn take(&mut self) -> Option<u64> {
        let drawn = self.drawn.take()?.last;
        self.due = self.due.max(drawn) + self.frame;
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// Replays events; returns the captured frames as (drawn, captured).
    fn taken(fps: u32, events: &[u64]) -> Vec<(u64, u64)> {
        let (mut painting, mut taken) = (Damage::new(fps), Vec::new());
        for &event in events.iter().chain(&[u64::MAX]) {
            while let Some(at) = painting.take_at().filter(|at| *at <= event) {
                taken.push((painting.take().unwrap(), at));
            }
            painting.drawn(event.min(u64::MAX / 2));
        }
        taken
    }

    fn gaps(taken: &[(u64, u64)]) -> Vec<u64> {
        taken.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    #[test]
    fn a_burst_is_one_picture_with_the_time_of_its_last_event() {
        assert_eq!(taken(30, &[100 * MS, 101 * MS, 102 * MS]), [(102 * MS, 106 * MS)]);
    }

    #[test]
    fn a_page_at_twice_our_rate_gives_every_second_picture() {
        let paints: Vec<u64> = (0..600).map(|n| 100 * MS + n * 16_666_667 + (n * 7919 % 5) * MS).collect();
        let mut gaps = gaps(&taken(30, &paints));
        // The last drawing is captured, too, which may be the frame in between.
        gaps.pop();
        assert!(gaps.len() >= 298, "{}", gaps.len());
        assert!(gaps.iter().all(|gap| (28 * MS..=39 * MS).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn a_page_at_our_rate_gives_every_picture() {
        let paints: Vec<u64> = (0..300).map(|n| 100 * MS + n * 33_333_333 + (n * 7919 % 7) * MS).collect();
        assert_eq!(taken(30, &paints).len(), 300);
    }

    #[test]
    fn the_last_picture_of_a_movement_is_not_lost() {
        let taken = taken(30, &[100 * MS, 117 * MS]);
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[1].0, 117 * MS);
        assert!(taken[1].1 <= 150 * MS);
    }

    #[test]
    fn what_waits_to_be_due_does_not_have_the_next_picture_taken_half_drawn() {
        // The second comes too early, and the third, in parts, when the second has waited for
        // almost a frame.
        let events = [100 * MS, 107 * MS, 141 * MS, 142 * MS, 143 * MS];
        assert_eq!(taken(30, &events), [(100 * MS, 104 * MS), (143 * MS, 147 * MS)]);
    }

    #[test]
    fn a_page_that_never_pauses_is_taken_all_the_same() {
        let paints: Vec<u64> = (0..1000).map(|n| n * MS).collect();
        let taken = taken(30, &paints);
        assert!((28..=31).contains(&taken.len()), "{}", taken.len());
    }

    proptest! {
        #[test]
        fn no_page_gives_more_pictures_than_its_rate(
            fps in 1u32..=60,
            gaps in proptest::collection::vec(0u64..60 * MS, 1..200),
        ) {
            let events: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let taken = taken(fps, &events);
            let frame = 1_000_000_000 / u64::from(fps);
            // The last thing drawn is always taken, and soon.
            let (drawn, at) = *taken.last().unwrap();
            prop_assert_eq!(drawn, *events.last().unwrap());
            prop_assert!(at <= drawn + 2 * frame + SETTLED);
            // Over any stretch the rate holds, but for the tolerance at its ends.
            let span = taken.last().unwrap().1 - taken[0].1;
            prop_assert!((taken.len() as u64 - 1) * frame <= span + 2 * frame, "{} in {span}", taken.len());
            prop_assert!(taken.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0].1 < pair[1].1));
        }
    }
}
