//! Taking tasks, having them run, and writing back what came of it.
//!
//! - [`state`]: a worker's slots, and what is in them
//! - [`pump`]: exchanges outcomes for tasks with Redis, in batches
//! - [`watcher`]: while slots are free and nothing is pending, waits for something to come
//! - [`heartbeat`]: shows the worker as alive
//!
//! The handlers themselves are somebody else's, behind [`Handlers`].

mod heartbeat;
mod pump;
pub mod state;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::Broker;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::runtime;
use crate::task::Dropped;
use state::{Begun, Owned, Slots};

/// How long Redis may take, at close, for what has to be written by then.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Who runs the tasks. Called on the runtime's thread; must not block.
pub trait Handlers: Send + Sync {
    /// Tasks are ready: [`Worker::begin`] gives them.
    fn ready(&self);
    /// This run's outcome is of no use any more.
    fn abort(&self, run: u32, why: &str);
    /// Something that a person may want to know.
    fn report(&self, report: Report);
}

/// What a worker tells its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An id could not be taken, and is in no list any more.
    Dropped(Dropped),
    /// An outcome was not written: the task had another owner by then, or was deleted.
    Lost { id: Vec<u8> },
    /// Redis refuses what the worker needs; it goes on trying.
    Error(Error),
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tasks at a time.
    pub concurrency: usize,
    /// After how long without a heartbeat it counts as dead.
    pub heartbeat_timeout: Duration,
    pub queue: String,
    pub hostname: String,
}

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    /// `{q}:worker:{uuid}`'s last part.
    uuid: String,
    broker: Broker,
    options: Options,
    handlers: Arc<dyn Handlers>,
    slots: Slots,
    /// The pump has something to do.
    work: Notify,
    /// The watcher has something to do.
    idle: Notify,
    /// Something has left the slots.
    left: Notify,
    stopped: CancellationToken,
}

impl Worker {
    pub fn start(broker: Broker, options: Options, handlers: Arc<dyn Handlers>) -> Self {
        let uuid = Uuid::new_v4().to_string();
        let shared = Arc::new(Shared {
            slots: Slots::new(&uuid, options.concurrency),
            uuid,
            broker,
            options,
            handlers,
            work: Notify::new(),
            idle: Notify::new(),
            left: Notify::new(),
            stopped: CancellationToken::new(),
        });
        let roles = shared.clone();
        runtime::spawn(async move {
            tokio::select! {
                () = pump::run(&roles) => {}
                () = watcher::run(&roles) => {}
                () = heartbeat::run(&roles) => {}
                () = roles.stopped.cancelled() => {}
            }
        });
        shared.work.notify_one();
        Worker { shared }
    }

    pub fn uuid(&self) -> &str {
        &self.shared.uuid
    }

    /// How many tasks are being run, and how many are ready to be.
    pub fn counts(&self) -> (usize, usize) {
        self.shared.slots.counts()
    }

    /// Takes over tasks that are ready, oldest first; they count as begun from here on. The flag
    /// says whether there are more.
    pub fn begin(&self, tasks: usize, bytes: usize) -> (Vec<Begun>, bool) {
        self.shared.slots.begin(tasks, bytes)
    }

    /// Hands in outcomes. Those of runs that were aborted meanwhile are dropped.
    pub fn finish(&self, outcomes: impl IntoIterator<Item = (u32, Outcome)>) {
        self.shared.slots.finish(outcomes);
        self.shared.work.notify_one();
        self.shared.left.notify_one();
    }

    /// Stops taking, hands back what has not begun, lets what runs finish until `timeout`, aborts
    /// and hands back the rest, and takes the worker's hash away. An error says what Redis could
    /// not be told; the worker is stopped all the same.
    pub async fn close(&self, timeout: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        let now = Instant::now();
        let deadline = now
            .checked_add(timeout)
            .unwrap_or(now + Duration::from_secs(86_400));
        shared.slots.stop_taking();
        shared.work.notify_one();
        let mut result = Ok(());
        let drained = timeout_at(deadline, async {
            while !shared.slots.is_settled() {
                shared.left.notified().await;
            }
            let released = shared.release(shared.slots.take_ready()).await;
            while !shared.slots.is_empty() {
                shared.left.notified().await;
            }
            released
        });
        match drained.await {
            Ok(released) => result = result.and(released),
            Err(_) => {
                let mut back = Vec::new();
                for (run, task) in shared.slots.take_running() {
                    shared
                        .handlers
                        .abort(run, "the worker was closed before this task finished");
                    back.push(task);
                }
                back.extend(shared.slots.take_ready());
                result = result.and(shared.release(back).await);
                let written = timeout_at(Instant::now() + LAST_WRITES, async {
                    while !shared.slots.is_empty() {
                        shared.left.notified().await;
                    }
                });
                if written.await.is_err() {
                    result = result.and(Err(Error::Connection(
                        "the worker was closed before Redis took the last outcomes".into(),
                    )));
                }
            }
        }
        shared.stopped.cancel();
        let gone = shared
            .broker
            .unregister(&shared.uuid, Instant::now() + LAST_WRITES)
            .await;
        result.and(gone)
    }

    /// Stops at once and hands back what is not through: nobody is there to run it any more.
    pub async fn abandon(&self) {
        let shared = &self.shared;
        if shared.stopped.is_cancelled() {
            return;
        }
        shared.slots.stop_taking();
        // What an exchange that is on its way brings is to be handed back, too.
        let _ = timeout_at(Instant::now() + LAST_WRITES, async {
            while !shared.slots.is_settled() {
                shared.left.notified().await;
            }
        })
        .await;
        let mut back: Vec<Owned> = shared
            .slots
            .take_running()
            .into_iter()
            .map(|(_, task)| task)
            .collect();
        back.extend(shared.slots.take_ready());
        let _ = shared.release(back).await;
        // What has run is to be written, not run again.
        let _ = timeout_at(Instant::now() + LAST_WRITES, async {
            while !shared.slots.is_empty() {
                shared.left.notified().await;
            }
        })
        .await;
        shared.stopped.cancel();
        let _ = shared
            .broker
            .unregister(&shared.uuid, Instant::now() + LAST_WRITES)
            .await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
    }
}

impl Shared {
    async fn release(&self, tasks: Vec<Owned>) -> Result<(), Error> {
        if tasks.is_empty() {
            return Ok(());
        }
        self.broker
            .release(&tasks, Instant::now() + LAST_WRITES)
            .await
    }
}
