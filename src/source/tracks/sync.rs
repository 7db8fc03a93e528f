//! When the frames of a track were: RTP's clock, which begins anywhere and runs as fast as the publisher's crystal, turned into
//! running time of the recording. Pure: times are numbers.
//!
//! A track begins where its first few frames say: the one of them that arrived soonest after it was made tells how late the others
//! are. From there on two things say better when a frame was: one that arrives earlier than its place shows that the ones before
//! were late, and a sender report says by the publisher's own clock how two of its tracks lie to each other. The place moves
//! towards what they say, slowly, and no frame is ever put before the one that came before it.

use std::collections::VecDeque;
use std::time::Duration;

/// A lost packet that has not arrived by this time will not arrive.
pub(super) const SETTLED: Duration = Duration::from_millis(2500);
/// How fast a place moves: 0.5 % of the time that passes. A crystal that is 200 ppm off is followed 25 times over.
const SLEW: f64 = 0.005;
/// At the beginning little is known; what is found out then is followed fast.
const FIRST_SLEW: f64 = 0.02;
const FIRST: Duration = Duration::from_secs(10);
/// The least delay of so long a time is taken for the way without a queue.
const WINDOW: Duration = Duration::from_secs(10);
/// A clock that jumps by more than this against arrival was set anew: the track is placed afresh.
const JUMP: Duration = Duration::from_secs(5);
/// What comes after a pause (a server makes up RTP's time while a track is muted) is placed afresh where it is off by so much.
const PAUSE: Duration = Duration::from_millis(500);
const OFF: Duration = Duration::from_millis(60);
/// A sender report that is off by more than this is of another clock.
const ABSURD: Duration = Duration::from_secs(3);
/// They come each 3 s. Without new ones a crystal that is 200 ppm off is 4 ms away by then.
const REPORT_LASTS: Duration = Duration::from_secs(20);
/// The first frames wait for one another no longer than this …
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// … and not once so many, one behind the other, were equally late, or as good as that: then none of them was held up.
const ALIKE: usize = 4;
const AS_GOOD: Duration = Duration::from_millis(8);

/// Between a publisher's clock and ours, as its reports arrive: the least that was seen, for that report had the shortest way.
#[derive(Debug, Clone, Default)]
pub(super) struct PublisherClock {
    least: Least,
}

impl PublisherClock {
    /// A report: `wall` by the publisher's clock, `received` by ours, in seconds.
    pub(super) fn report(&mut self, wall: f64, received: f64) {
        self.least.add(received, received - wall);
    }

    /// What is to be added to the publisher's clock to have ours; `None` before the first report.
    fn offset(&self) -> Option<f64> {
        self.least.get()
    }
}

/// The clock of one track, and those of its frames that have no place yet.
#[derive(Debug, Clone)]
pub(super) struct TrackClock<T> {
    rate: f64,
    place: Option<Place>,
    /// The first ones of all, or of those after a pause.
    waiting: Vec<Waiting<T>>,
}

#[derive(Debug, Clone)]
struct Waiting<T> {
    frame: T,
    /// As in [`Place`].
    extended: i64,
    received: f64,
}

#[derive(Debug, Clone)]
struct Place {
    /// RTP's time without its coming round, of the last frame.
    extended: i64,
    /// Running time of RTP's zero: what moves.
    zero: f64,
    /// The least of arrival against RTP's time.
    least: Least,
    /// Where zero is by the publisher's clock, and the running time at which its report came.
    reported: Option<(f64, f64)>,
    /// Of the last frame: in running time, and by arrival.
    last: f64,
    arrived: f64,
    begun: f64,
}

impl<T> TrackClock<T> {
    /// `rate`: ticks a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: f64::from(rate.max(1)), place: None, waiting: Vec::new() }
    }

    /// Takes a frame, and gives what has a place now, in running time: mostly this frame, at the beginning of a track and after a
    /// pause none, and soon several. `received` is when it came in, in running time; frames are to be given in their order.
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
            let paused = received - place.arrived > PAUSE.as_secs_f64();
            if off <= JUMP.as_secs_f64() && !(paused && off > OFF.as_secs_f64()) {
                return vec![(frame, place.put(extended, time, received, publisher))];
            }
        }
        self.waiting.push(Waiting { frame, extended, received });
        if self.is_clear() { self.settle(publisher) } else { Vec::new() }
    }

    /// Frames that waited for others long enough: `now` is running time.
    pub(super) fn overdue(&mut self, now: Duration, publisher: &PublisherClock) -> Vec<(T, Duration)> {
        let first = self.waiting.first().map(|waiting| waiting.received);
        let is_due = first.is_some_and(|first| now.as_secs_f64() - first >= FIRST_WAIT.as_secs_f64());
        if is_due { self.settle(publisher) } else { Vec::new() }
    }

    /// Places what waits, with what is known: nothing else comes.
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

    /// A sender report: at RTP's time `rtp` the publisher's clock showed `wall` seconds; it came at `received`.
    pub(super) fn report(&mut self, rtp: u32, wall: f64, received: f64) {
        let rate = self.rate;
        if let Some(place) = &mut self.place {
            place.reported = Some((wall - extend(place.extended, rtp) as f64 / rate, received));
        }
    }

    /// Whether the frames that wait tell how late each of them is.
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
    /// Arrival against RTP's time: how late it is, with a summand that is the same for all of a track.
    fn delay(&self, rate: f64) -> f64 {
        self.received - self.extended as f64 / rate
    }
}

impl Place {
    /// `last`: no frame is put before that.
    fn new(extended: i64, zero: f64, at: f64, last: Option<f64>) -> Self {
        let (least, last) = (Least::default(), last.unwrap_or(0.0));
        Self { extended, zero, least, reported: None, last, arrived: at, begun: at }
    }

    /// The place of a frame, in running time.
    fn put(&mut self, extended: i64, time: f64, received: f64, publisher: &PublisherClock) -> Duration {
        self.extended = extended;
        self.least.add(received, received - time);
        self.slew(received, publisher);
        self.arrived = self.arrived.max(received);
        self.last = (self.zero + time).max(self.last);
        // Finite, and no less than zero; absurd times are bounded where they are used.
        Duration::try_from_secs_f64(self.last).unwrap_or(Duration::MAX)
    }

    /// Moves zero towards where it should be, by no more than the time that passed allows.
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

/// The RTP time nearest to the last one that ends in these 32 bits.
fn extend(last: i64, rtp: u32) -> i64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are meant")]
    let low = last as u32;
    // A difference of more than half the range is one backwards.
    let step = rtp.wrapping_sub(low).cast_signed();
    last + i64::from(step)
}

/// The least of what was seen in a window of time.
#[derive(Debug, Clone, Default)]
struct Least {
    /// Rising in both: each is the least of all that came after it.
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
