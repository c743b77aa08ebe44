//! Shows the worker as alive, from the runtime's thread: a handler that blocks its event loop
//! delays nothing here. And looks whether what runs for long is still this worker's to run.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::run::Abort;
use super::{Report, Shared};
use crate::broker::CHUNK;
use crate::clock;
use crate::error::Error;

/// A heartbeat comes at least so often, whatever the timeout: others wait a little longer than
/// that where they can't tell a dead worker from a Redis that was away (see `reaper`).
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a heartbeat takes at most where Redis is well.
const HELD_UP: Duration = Duration::from_millis(300);
/// How often what runs for long is looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub async fn run(shared: &Shared) {
    let options = &shared.options;
    let fields = [
        ("queue", options.queue.clone()),
        ("hostname", options.hostname.clone()),
        ("pid", std::process::id().to_string()),
        ("registered", clock::now()),
    ];
    let timeout = options.heartbeat_timeout;
    let every = EVERY.min(timeout / 3);
    let look_every = LOOK_EVERY.min(timeout / 3);
    let mut first = true;
    let mut looked = Instant::now();
    let mut looked_at = 0;
    loop {
        let deadline = Instant::now() + timeout.min(PATIENCE);
        let (sent, epoch) = (Instant::now(), shared.broker.link().epoch());
        let repetitions = || shared.slots.repetitions();
        let beat = shared
            .broker
            .register(&shared.uuid, &fields, timeout, repetitions, deadline);
        match beat.await {
            Ok((was_there, clock)) => {
                // While this one was held up, others may have been for longer.
                if shared.broker.link().epoch() != epoch || sent.elapsed() > HELD_UP {
                    shared.reaper.interrupted();
                }
                shared.reaper.heard(Instant::now(), clock, epoch);
                let unbroken = shared.lease.renew(sent, was_there, timeout);
                if !shared.slots.is_registered() {
                    shared.slots.registered();
                    shared.work.notify_one();
                }
                let may_have_died = !unbroken && !first;
                first = false;
                if may_have_died {
                    shared.slots.doubt();
                    shared.surplus.notify_one();
                } else {
                    shared.freed(); // What waited for this.
                }
                if may_have_died || looked.elapsed() >= look_every {
                    let age = if may_have_died { Duration::ZERO } else { EVERY };
                    looked_at = look(shared, age, looked_at).await;
                    looked = Instant::now();
                }
            }
            Err(error) => {
                shared.reaper.interrupted();
                if matches!(error, Error::Refused(_)) {
                    shared.handlers.report(Report::Error(error));
                }
            }
        }
        tokio::select! {
            // From its start on: a Redis that is slow to answer must not make the beats rarer.
            () = sleep_until(sent + every) => {}
            () = shared.beat.notified() => {}
        }
    }
}

/// Aborts runs whose tasks are another's by now, or were cancelled without this worker hearing it. Gives where
/// it has come to: very many are not looked at in one go, because the next heartbeat waits for it.
async fn look(shared: &Shared, age: Duration, from: usize) -> usize {
    let mut running = shared.slots.running_for(age);
    let from = from % running.len().max(1);
    running.rotate_left(from);
    let deadline = Instant::now() + EVERY;
    let mut through = 0;
    for some in running.chunks(CHUNK) {
        let ids: Vec<Vec<u8>> = some.iter().map(|(id, _)| id.clone()).collect();
        let Ok(owners) = shared.broker.owners(&ids, deadline).await else {
            return from + through;
        };
        for ((id, owner), held) in some.iter().zip(owners) {
            if held.owner.as_deref() != Some(owner.as_bytes()) {
                shared.abort(id, Some(owner), &Abort::Lost);
            } else if let Some(reason) = held.cancel {
                let reason = String::from_utf8_lossy(&reason).into_owned();
                shared.abort(id, Some(owner), &Abort::Cancelled(reason));
            }
        }
        through += some.len();
    }
    0
}
