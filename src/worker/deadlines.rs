//! Aborts runs whose time is up, and frees the slots of handlers that go on regardless.

use super::Shared;
use super::run::Abort;
use crate::runtime;

pub async fn run(shared: &Shared) {
    loop {
        let (timed_out, next) = shared.slots.run_timers();
        for (run, timeout) in timed_out {
            shared.handlers.abort(run, &Abort::TimedOut(timeout));
        }
        shared.freed();
        tokio::select! {
            () = runtime::until(next) => {}
            () = shared.timers.notified() => {}
        }
    }
}
