//! Has what is due started or expired: about once a second, and sooner where something is due
//! sooner.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Report, Shared};
use crate::error::Error;

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// How long this worker is left alone with the dead ones that it is told of.
const CARE: Duration = Duration::from_secs(5);

pub async fn run(shared: &Shared) {
    loop {
        let care = if shared.reaper.is_steady() {
            CARE
        } else {
            Duration::ZERO
        };
        // Chance, so that a thousand workers don't do it in step.
        let mut pause = EVERY.mul_f64(0.75 + fastrand::f64() / 4.0);
        match shared.broker.tick(care, Instant::now() + PATIENCE).await {
            Ok(tick) => {
                if !tick.dead.is_empty() {
                    shared.reaper.told_of(tick.dead);
                }
                if tick.pending {
                    // As a rule the watcher knows; its connection may have died in silence.
                    shared.slots.something_pending();
                    shared.work.notify_one();
                }
                pause = tick.next.map_or(pause, |next| next.min(pause));
            }
            Err(error @ Error::Refused(_)) => shared.handlers.report(Report::Error(error)),
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.due.notified() => {}
        }
    }
}
