//! Whether this worker has counted as alive without a break. What Redis said before a break about
//! whose a task is may be so no more: others may have run it by now.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::connection::lock;

#[derive(Default)]
pub struct Lease(Mutex<Option<Held>>);

struct Held {
    since: Instant,
    until: Instant,
}

impl Lease {
    /// Redis has answered a heartbeat that was sent then; `there`: it found the one before. That alone
    /// does not say that it had not expired: an earlier attempt at this one, whose answer was lost or
    /// that came late, may be what it found. Gives whether the lease was held all the time.
    pub fn renew(&self, sent: Instant, there: bool, lifetime: Duration) -> bool {
        let mut held = lock(&self.0);
        let now = Instant::now();
        let before = held.as_ref().filter(|held| there && now <= held.until);
        let since = before.map_or(sent, |held| held.since);
        let unbroken = before.is_some();
        *held = Some(Held {
            since,
            until: sent + lifetime,
        });
        unbroken
    }

    pub fn held_since(&self, then: Instant) -> bool {
        let held = lock(&self.0);
        let now = Instant::now();
        held.as_ref()
            .is_some_and(|held| held.since <= then && now <= held.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_held_from_the_first_heartbeat_on_as_long_as_each_comes_in_time() {
        let lease = Lease::default();
        let start = Instant::now();
        assert!(!lease.held_since(start));
        lease.renew(start, false, LONG);
        assert!(lease.held_since(start));
        let later = Instant::now();
        lease.renew(later, true, LONG);
        assert!(lease.held_since(start));
        assert!(!lease.held_since(start - Duration::from_millis(1)));
    }

    #[test]
    fn it_is_not_held_over_a_time_in_which_the_worker_counted_as_dead() {
        let lease = Lease::default();
        let start = Instant::now();
        lease.renew(start, false, Duration::ZERO);
        assert!(!lease.held_since(start), "it has not been renewed");
        let later = start + Duration::from_millis(1);
        assert!(!lease.renew(later, false, LONG));
        assert!(!lease.held_since(start));
        assert!(lease.held_since(later));
    }

    #[test]
    fn a_heartbeat_that_finds_the_one_before_too_late_may_have_found_itself() {
        let lease = Lease::default();
        let start = Instant::now();
        lease.renew(start, false, Duration::ZERO);
        let later = start + Duration::from_millis(1);
        assert!(!lease.renew(later, true, LONG));
        assert!(!lease.held_since(start));
        assert!(lease.renew(later, true, LONG));
    }
}
