//! Converts RTP time, which begins anywhere and runs with the publisher's clock, into running time
//! of the recording. Pure: times are numbers.
//!
//! The first few frames of a track set its start: the one with the least delay shows how late the
//! others are. After that, two things improve the estimate: a frame that arrives earlier than its
//! place shows that those before were late, and a sender report relates two tracks of a publisher
//! by the publisher's own clock. The estimate moves slowly, and no frame is placed before its
//! predecessor.

use std::collections::VecDeque;
use std::time::Duration;

/// A lost packet that has not arrived by this time will not arrive.
pub(super) const SETTLED: Duration = Duration::from_millis(2500);
/// The estimate moves by at most 0.5 % of the time that passes: 25 times a clock drift of 200 ppm.
const SLEW: f64 = 0.005;
/// The same at the beginning, when the estimate is poor.
const FIRST_SLEW: f64 = 0.02;
const FIRST: Duration = Duration::from_secs(10);
/// The least delay in this time counts as the delay of the network without queues.
const WINDOW: Duration = Duration::from_secs(10);
/// An RTP clock that jumps by more than this against arrival was reset: the track is placed anew.
const JUMP: Duration = Duration::from_secs(5);
/// After a pause of this length the track is placed anew if it is off by more than `OFF`: a server
/// makes up the RTP time while a track is muted.
const PAUSE: Duration = Duration::from_millis(500);
const OFF: Duration = Duration::from_millis(60);
/// A sender report that is off by more than this is ignored.
const ABSURD: Duration = Duration::from_secs(3);
/// A sender report is used for this long (they come every 3 s). A drift of 200 ppm is 4 ms by then.
const REPORT_LASTS: Duration = Duration::from_secs(20);
/// The first frames wait for one another at most this long …
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// … or until this many in a row were equally late, to `AS_GOOD`: then none of them was delayed.
const ALIKE: usize = 4;
const AS_GOOD: Duration = Duration::from_millis(8);

/// Offset between a publisher's clock and ours: the least that its reports showed, because that
/// report had the shortest way.
#[derive(Debug, Clone, Default)]
pub(super) struct PublisherClock {
    least: Least,
}

impl PublisherClock {
    /// Takes a report of the time `wall` by the publisher's clock and `received` by ours, in
    /// seconds.
    pub(super) fn report(&mut self, wall: f64, received: f64) {
        self.least.add(received, received - wall);
    }

    /// Our clock minus the publisher's; `None` before the first report.
    fn offset(&self) -> Option<f64> {
        self.least.get()
    }
}

/// The clock of one track, and its frames that have no time yet.
#[derive(Debug, Clone)]
pub(super) struct TrackClock<T> {
    rate: f64,
    place: Option<Place>,
    /// The first frames of the track, or after a pause.
    waiting: Vec<Waiting<T>>,
}

#[derive(Debug, Clone)]
struct Waiting<T> {
    frame: T,
    /// RTP time without wrap-around, as in [`Place`].
    extended: i64,
    received: f64,
}

#[derive(Debug, Clone)]
struct Place {
    /// RTP time of the last frame, without wrap-around.
    extended: i64,
    /// The estimate: running time at RTP time zero.
    zero: f64,
    /// The least difference of arrival and RTP time.
    least: Least,
    /// The publisher's clock at RTP time zero, and the running time at which its report came.
    reported: Option<(f64, f64)>,
    /// Running time of the last frame.
    last: f64,
    /// Running time at which the last frame arrived.
    arrived: f64,
    begun: f64,
}

impl<T> TrackClock<T> {
    /// `rate`: ticks per second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: f64::from(rate.max(1)), place: None, waiting: Vec::new() }
    }

    /// Takes a frame that arrived at the running time `received`, in decoding order. Returns the
    /// frames whose running time is known now: mostly this one; at the beginning of a track and
    /// after a pause none, and soon several.
    pub(super) fn take(
        &mut self,
        frame: T,
        rtp: u32,
        received: Duration,
        publisher: &PublisherClock,
    ) -> Vec<(T, Duration)> {
        let received = received.as_secs_f64();
        let before = self.waiting.last().map(|waiting| waiting.extended);
        let before = before.or_else(|| self.place.as_ref().map(|place| place.extended));
        let extended = before.map_or_else(|| i64::from(rtp), |before| extend(before, rtp));
        let time = extended as f64 / self.rate;
        if self.waiting.is_empty()
            && let Some(place) = &mut self.place
        {
            let off = (place.zero + time - received).abs();
            let was_paused = received - place.arrived > PAUSE.as_secs_f64();
            if off <= JUMP.as_secs_f64() && !(was_paused && off > OFF.as_secs_f64()) {
                return vec![(frame, place.put(extended, time, received, publisher))];
            }
        }
        self.waiting.push(Waiting { frame, extended, received });
        if self.is_clear() { self.settle(publisher) } else { Vec::new() }
    }

    /// Returns the frames that have waited long enough. `now` is running time.
    pub(super) fn overdue(&mut self, now: Duration, publisher: &PublisherClock) -> Vec<(T, Duration)> {
        let first = self.waiting.first().map(|waiting| waiting.received);
        let is_due = first.is_some_and(|first| now.as_secs_f64() - first >= FIRST_WAIT.as_secs_f64());
        if is_due { self.settle(publisher) } else { Vec::new() }
    }

    /// Returns the waiting frames, with times from what is known.
    pub(super) fn settle(&mut self, publisher: &PublisherClock) -> Vec<(T, Duration)> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Vec::new() };
        let least = waiting.iter().map(|waiting| waiting.delay(self.rate)).fold(f64::INFINITY, f64::min);
        let holds = |place: &Place| (place.zero - least).abs() <= OFF.as_secs_f64();
        let mut place = match self.place.take() {
            Some(place) if holds(&place) => place,
            before => Place::new(first.extended, least, first.received, before.map(|place| place.last)),
        };
        let mut placed = Vec::with_capacity(waiting.len());
        for Waiting { frame, extended, received } in waiting {
            placed.push((frame, place.put(extended, extended as f64 / self.rate, received, publisher)));
        }
        self.place = Some(place);
        placed
    }

    /// Takes a sender report, which arrived at `received`: at RTP time `rtp` the publisher's clock
    /// showed `wall` seconds.
    pub(super) fn report(&mut self, rtp: u32, wall: f64, received: f64) {
        let rate = self.rate;
        if let Some(place) = &mut self.place {
            place.reported = Some((wall - extend(place.extended, rtp) as f64 / rate, received));
        }
    }

    /// Whether the waiting frames show how late each of them is.
    fn is_clear(&self) -> bool {
        let (Some(first), Some(last)) = (self.waiting.first(), self.waiting.last()) else { return true };
        if last.received - first.received >= FIRST_WAIT.as_secs_f64() {
            return true;
        }
        let Some(before) = self.waiting.len().checked_sub(ALIKE) else { return false };
        let delays = || self.waiting.iter().map(|waiting| waiting.delay(self.rate));
        let least = delays().fold(f64::INFINITY, f64::min);
        delays().skip(before).all(|delay| delay - least < AS_GOOD.as_secs_f64())
    }
}

impl<T> Waiting<T> {
    /// Arrival minus RTP time: the delay plus a constant of the track.
    fn delay(&self, rate: f64) -> f64 {
        self.received - self.extended as f64 / rate
    }
}

impl Place {
    /// `last`: running time before which no frame is placed.
    fn new(extended: i64, zero: f64, at: f64, last: Option<f64>) -> Self {
        let (least, last) = (Least::default(), last.unwrap_or(0.0));
        Self { extended, zero, least, reported: None, last, arrived: at, begun: at }
    }

    /// Returns the running time of a frame.
    fn put(&mut self, extended: i64, time: f64, received: f64, publisher: &PublisherClock) -> Duration {
        self.extended = extended;
        self.least.add(received, received - time);
        self.slew(received, publisher);
        self.arrived = self.arrived.max(received);
        self.last = (self.zero + time).max(self.last);
        // Finite and not negative; the user bounds absurd times.
        Duration::try_from_secs_f64(self.last).unwrap_or(Duration::MAX)
    }

    /// Moves the estimate towards its target, by at most what the passed time allows.
    fn slew(&mut self, now: f64, publisher: &PublisherClock) {
        let arrival = self.least.get().unwrap_or(self.zero);
        let reported = self.reported.filter(|(_, at)| now - at < REPORT_LASTS.as_secs_f64());
        let reported = reported.zip(publisher.offset()).map(|((zero, _), offset)| zero + offset);
        let target = reported.filter(|zero| (zero - arrival).abs() < ABSURD.as_secs_f64()).unwrap_or(arrival);
        let slew = if now - self.begun < FIRST.as_secs_f64() { FIRST_SLEW } else { SLEW };
        let most = (now - self.arrived).max(0.0) * slew;
        self.zero += (target - self.zero).clamp(-most, most);
    }
}

/// The time nearest to the last one whose low 32 bits are `rtp`.
fn extend(last: i64, rtp: u32) -> i64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are meant")]
    let low = last as u32;
    // A difference of more than half the range is a step backwards.
    let step = rtp.wrapping_sub(low).cast_signed();
    last + i64::from(step)
}

/// The minimum in a sliding window of time.
#[derive(Debug, Clone, Default)]
struct Least {
    /// Time and value, both rising: each value is the minimum of all that came after it.
    seen: VecDeque<(f64, f64)>,
}

impl Least {
    fn add(&mut self, at: f64, value: f64) {
        while self.seen.back().is_some_and(|(_, other)| *other >= value) {
            self.seen.pop_back();
        }
        self.seen.push_back((at, value));
        while self.seen.front().is_some_and(|(then, _)| *then < at - WINDOW.as_secs_f64()) {
            self.seen.pop_front();
        }
    }

    fn get(&self) -> Option<f64> {
        self.seen.front().map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests;
