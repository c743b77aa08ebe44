//! Taking tasks, having them run, and writing back what came of it.
//!
//! - [`state`]: a worker's slots, and what is in them
//! - [`pump`]: exchanges outcomes for tasks with Redis, in batches
//! - [`watcher`]: while slots are free and nothing is pending, waits for something to come
//! - [`heartbeat`]: shows the worker as alive
//! - [`closing`]: ends it, and hands back what it has not run
//!
//! The handlers themselves are somebody else's, behind [`Handlers`].

mod closing;
mod heartbeat;
mod pump;
pub mod state;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::Broker;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::runtime;
use crate::task::Dropped;
use state::{Begun, Slots};

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
    /// When a close ends at the latest; none where it may take as long as it likes.
    deadline: watch::Sender<Option<Instant>>,
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
            deadline: watch::Sender::new(None),
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

    /// See [`closing::close`].
    pub async fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.hasten(timeout);
        closing::close(&self.shared).await
    }

    /// Has a close end by then, if it would have taken longer.
    pub fn hasten(&self, timeout: Duration) {
        let deadline = Instant::now().checked_add(timeout);
        self.shared
            .deadline
            .send_if_modified(|current| match (deadline, *current) {
                (Some(new), Some(old)) if new >= old => false,
                (Some(new), _) => {
                    *current = Some(new);
                    true
                }
                (None, _) => false,
            });
    }

    /// See [`closing::abandon`].
    pub async fn abandon(&self) {
        closing::abandon(&self.shared).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
    }
}
