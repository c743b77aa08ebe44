//! How many tasks a worker takes for which it has no free slots yet: as many as its handlers end in
//! the time of one trip to Redis, so that they never wait for it. None where they take longer.

use std::time::Duration;

use tokio::time::Instant;

use super::state::BATCH;

/// Tasks that are taken ahead, at most: two batches, because two exchanges may be on their way. With one, quick
/// handlers at concurrency 1 and 10 had the second bring half of what it could.
const MOST: usize = 2 * BATCH;
/// The longest trip that is bridged; over a longer one, handlers wait for the rest of it.
const LONGEST_TRIP: Duration = Duration::from_millis(5);
/// How much running time counts; before that, half as much.
const WINDOW: Duration = Duration::from_millis(20);

/// How fast tasks end while any are running, and how long a trip takes.
#[derive(Default)]
pub struct Ahead {
    ended: f64,
    running: Duration,
    running_since: Option<Instant>,
    trip: Duration,
}

impl Ahead {
    /// A trip to Redis took so long.
    pub fn trip(&mut self, took: Duration) {
        self.trip = (self.trip * 7 + took) / 8;
    }

    /// So many tasks have ended, and others are running, or not.
    pub fn ended(&mut self, now: Instant, tasks: usize, others: bool) {
        if let Some(since) = self.running_since.take() {
            self.running += now.saturating_duration_since(since);
        }
        if others {
            self.running_since = Some(now);
        }
        self.ended += tasks as f64;
        if self.running > WINDOW {
            self.ended /= 2.0;
            self.running /= 2;
        }
    }

    /// Some are running, if none was before.
    pub fn begun(&mut self, now: Instant) {
        self.running_since.get_or_insert(now);
    }

    pub fn tasks(&self, now: Instant) -> usize {
        let since = self.running_since.unwrap_or(now);
        let running = self.running + now.saturating_duration_since(since);
        if running.is_zero() {
            return 0;
        }
        let trip = self.trip.min(LONGEST_TRIP);
        let tasks = self.ended * trip.as_secs_f64() / running.as_secs_f64();
        (tasks as usize).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(1);

    /// After handlers that took so long each, one at a time, and trips of a millisecond.
    fn after(each: Duration) -> (Ahead, Instant) {
        let mut ahead = Ahead::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            ahead.trip(TRIP);
            ahead.begun(now);
            now += each;
            ahead.ended(now, 1, false);
            now += TRIP; // Nothing runs meanwhile, and that does not count.
        }
        (ahead, now)
    }

    #[test]
    fn it_is_what_ends_during_a_trip() {
        let (ahead, now) = after(TRIP / 10);
        assert!((9..=10).contains(&ahead.tasks(now)), "{}", ahead.tasks(now));
    }

    #[test]
    fn it_is_bounded_however_short_the_handlers_are() {
        for each in [Duration::from_nanos(1), Duration::from_micros(1)] {
            let (ahead, now) = after(each);
            assert_eq!(ahead.tasks(now), MOST);
        }
        let (ahead, now) = after(Duration::ZERO);
        assert!(ahead.tasks(now) <= MOST);
    }

    #[test]
    fn it_is_nothing_where_handlers_take_longer_than_a_trip_or_nothing_is_known() {
        assert_eq!(Ahead::default().tasks(Instant::now()), 0);
        let (ahead, now) = after(TRIP * 2);
        assert_eq!(ahead.tasks(now), 0);
    }

    #[test]
    fn it_becomes_nothing_while_one_takes_long() {
        let (mut ahead, now) = after(TRIP / 10);
        ahead.begun(now);
        assert_eq!(ahead.tasks(now + Duration::from_secs(1)), 0);
    }
}
