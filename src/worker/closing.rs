//! The end of a worker: what runs may finish, the rest goes back to the queue.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Shared;
use super::run::Abort;
use crate::broker::connection::State;
use crate::broker::{Owned, Release};
use crate::error::Error;
use crate::runtime;

/// How long Redis may take for what has to be written at the end.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Stops taking, hands back what has not begun, and lets what runs finish. What does not by the
/// deadline is aborted and goes back, too. Then takes the worker's hash away.
///
/// An error says what Redis could not be told; the worker is stopped all the same. A worker that
/// has nothing to tell closes without Redis, and its hash expires.
pub async fn close(shared: &Shared) -> Result<(), Error> {
    shared.stop_taking();
    shared.work.notify_one();
    let mut unbegun = Vec::new();
    let drained = tokio::select! {
        result = drain(shared, &mut unbegun) => Some(result),
        () = deadline(shared) => None,
    };
    let result = match drained {
        Some(result) => result,
        None => {
            let mut back = Vec::new();
            for (run, task) in shared.slots.take_running() {
                shared.handlers.abort(run, &Abort::Closed);
                back.push(task);
            }
            shared.work.notify_one(); // What was aborted before has its outcome now.
            settled(shared).await;
            back.extend(unbegun);
            back.extend(shared.slots.take_ready());
            let released = release(shared, &back, false).await;
            released.and(written(shared).await)
        }
    };
    stop(shared, result.is_ok()).await;
    result
}

/// Stops at once and hands back what is not through: nobody is there to run it any more. Where that
/// is because of a crash, one of those that ran may be why, and for each the run counts as lost.
pub async fn abandon(shared: &Shared, crashed: bool) {
    if shared.stopped.is_cancelled() {
        return;
    }
    shared.stop_taking();
    settled(shared).await;
    let running = shared.slots.take_running().into_iter();
    let running: Vec<Owned> = running.map(|(_, task)| task).collect();
    shared.work.notify_one(); // What was aborted before has its outcome now.
    let ready = shared.slots.take_ready();
    // There is nobody to hear of what could not be written; then whoever finds this worker dead
    // puts its tasks back.
    let released = release(shared, &ready, false).await;
    let released = released.and(release(shared, &running, crashed).await);
    let result = released.and(written(shared).await);
    stop(shared, result.is_ok()).await;
}

/// Lets what runs finish. What has not begun goes back meanwhile; it stays in `unbegun` as long as
/// Redis does not take it, to be tried again whenever something else has finished.
async fn drain(shared: &Shared, unbegun: &mut Vec<Owned>) -> Result<(), Error> {
    settled(shared).await;
    loop {
        unbegun.extend(shared.slots.take_ready());
        let released = release(shared, unbegun, false).await;
        if released.is_ok() {
            unbegun.clear();
        }
        if shared.slots.is_empty() {
            return released;
        }
        shared.left.notified().await;
    }
}

/// Waits for the exchange that is on its way: what it brings goes back with the rest, in order.
async fn settled(shared: &Shared) {
    let settled = async {
        while !shared.slots.is_settled() {
            shared.left.notified().await;
        }
    };
    // Not for ever: Redis may be away, and then nothing is known of any task.
    let _ = timeout(LAST_WRITES, settled).await;
}

async fn written(shared: &Shared) -> Result<(), Error> {
    let written = async {
        while !shared.slots.is_empty() {
            shared.left.notified().await;
        }
    };
    timeout(LAST_WRITES, written).await.map_err(|_| {
        Error::Connection("the worker was closed before Redis took the last outcomes".into())
    })
}

async fn release(shared: &Shared, tasks: &[Owned], crashed: bool) -> Result<(), Error> {
    if tasks.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + LAST_WRITES;
    let conditions = Release {
        lost: crashed.then_some(shared.options.max_deliveries),
        dead: false,
    };
    let released = shared
        .broker
        .release(tasks, conditions, Some(deadline))
        .await;
    released.map(|_| ())
}

/// A worker that leaves something behind keeps its key: once that expires, others look for it.
async fn stop(shared: &Shared, nothing_left: bool) {
    shared.stopped.cancel();
    let up = matches!(*shared.broker.link().state().borrow(), State::Up { .. });
    if up && nothing_left && shared.slots.is_settled() {
        // Where it fails the hash expires by itself.
        let deadline = Instant::now() + LAST_WRITES;
        let _ = shared.broker.unregister(&shared.uuid, deadline).await;
    }
}

async fn deadline(shared: &Shared) {
    let mut deadline = shared.deadline.subscribe();
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = runtime::until(at) => return,
            changed = deadline.changed() => if changed.is_err() { return },
        }
    }
}
