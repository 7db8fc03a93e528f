//! When the frames of a track were: RTP's clock, which begins anywhere and runs as fast as the publisher's crystal, turned into
//! running time of the recording. Pure: times are numbers.
//!
//! The first frame is where it arrived. From there on two things say better when it was: a frame that arrives earlier than its
//! place shows that the ones before were late, and a sender report says by the publisher's own clock how two of its tracks lie to
//! each other. The place moves towards what they say, slowly, and no frame is ever put before the one that came before it.

use std::collections::VecDeque;
use std::time::Duration;

/// How fast a place moves: 0.5 % of the time that passes. A crystal that is 200 ppm off is followed 25 times over.
const SLEW: f64 = 0.005;
/// At the beginning the first frame may have been held up by a handshake: it is found out soon, and moved fast.
const FIRST_SLEW: f64 = 0.05;
const FIRST: Duration = Duration::from_secs(10);
/// The least delay of so long a time is taken for the way without a queue.
const WINDOW: Duration = Duration::from_secs(10);
/// A clock that jumps by more than this against arrival was set anew: the track is placed afresh.
const JUMP: Duration = Duration::from_secs(5);
/// What comes after a pause (a server makes up RTP's time while a track is muted) is placed afresh where it is off by so much.
const PAUSE: Duration = Duration::from_millis(500);
const OFF: Duration = Duration::from_millis(200);
/// A sender report that is off by more than this is of another clock.
const ABSURD: Duration = Duration::from_secs(3);

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

/// The clock of one track.
#[derive(Debug, Clone)]
pub(super) struct TrackClock {
    rate: f64,
    place: Option<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    /// RTP's time without its coming round, of the last frame.
    extended: i64,
    /// Running time of RTP's zero: what moves.
    zero: f64,
    /// The least of arrival against RTP's time.
    least: Least,
    /// By the publisher's reports, where there are some: where zero is, by its clock.
    reported: Option<f64>,
    /// Of the last frame: in running time, and by arrival.
    last: f64,
    arrived: f64,
    begun: f64,
}

impl TrackClock {
    /// `rate`: ticks a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: f64::from(rate.max(1)), place: None }
    }

    /// Running time of a frame. `received` is when it came in, in running time; frames are to be given in their order.
    pub(super) fn place(&mut self, rtp: u32, received: Duration, publisher: &PublisherClock) -> Duration {
        let received = received.as_secs_f64();
        let rate = self.rate;
        let Some(place) = &mut self.place else {
            self.place = Some(Place::new(rtp, received, rate));
            return Duration::from_secs_f64(received);
        };
        let extended = extend(place.extended, rtp);
        let time = extended as f64 / rate;
        let off = (place.zero + time - received).abs();
        let paused = received - place.arrived > PAUSE.as_secs_f64();
        if off > JUMP.as_secs_f64() || (paused && off > OFF.as_secs_f64()) {
            *place = Place::new(rtp, received.max(place.last), rate);
            return Duration::from_secs_f64(place.last);
        }
        place.extended = extended;
        place.least.add(received, received - time);
        place.slew(received, publisher);
        place.arrived = received;
        place.last = (place.zero + time).max(place.last);
        Duration::from_secs_f64(place.last)
    }

    /// A sender report: at RTP's time `rtp` the publisher's clock showed `wall` seconds.
    pub(super) fn report(&mut self, rtp: u32, wall: f64) {
        let rate = self.rate;
        if let Some(place) = &mut self.place {
            place.reported = Some(wall - extend(place.extended, rtp) as f64 / rate);
        }
    }
}

impl Place {
    fn new(rtp: u32, at: f64, rate: f64) -> Self {
        let extended = i64::from(rtp);
        let zero = at - extended as f64 / rate;
        let mut least = Least::default();
        least.add(at, zero);
        Self { extended, zero, least, reported: None, last: at, arrived: at, begun: at }
    }

    /// Moves zero towards where it should be, by no more than the time that passed allows.
    fn slew(&mut self, now: f64, publisher: &PublisherClock) {
        let arrival = self.least.get().unwrap_or(self.zero);
        let reported = self.reported.zip(publisher.offset()).map(|(zero, offset)| zero + offset);
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
