//! Aborts runs whose time is up, and frees the slots of handlers that go on regardless.

use tokio::time::sleep_until;

use super::Shared;
use super::run::Abort;

pub async fn run(shared: &Shared) {
    loop {
        let (timed_out, next) = shared.slots.run_timers();
        for (run, timeout) in timed_out {
            shared.handlers.abort(run, &Abort::TimedOut(timeout));
        }
        shared.freed();
        tokio::select! {
            () = async { match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => {}
            () = shared.timers.notified() => {}
        }
    }
}
