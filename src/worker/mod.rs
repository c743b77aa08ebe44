//! Taking tasks, having them run, and writing back what came of it.
//!
//! - [`run`]: one task in a slot, and what comes of its run
//! - [`slots`]: a worker's slots, and each step taken with them; [`state`]: what is in them
//! - [`ready`]: what waits for one; [`ahead`]: how much may; [`runs`]: what runs; [`order`]: where each of
//!   these lies in `executing`
//!
//! The roles, each of which runs as long as the worker does:
//!
//! - [`pump`]: exchanges outcomes for tasks with Redis, in batches
//! - [`watcher`]: while slots are free and nothing is pending, waits for something to come
//! - [`surplus`]: hands back what finds no slot
//! - [`deadlines`]: aborts runs that take too long
//! - [`commands`]: aborts runs that others cancel
//! - [`heartbeat`]: shows the worker as alive, and notices what it has lost; [`lease`] knows since
//!   when it has been
//! - [`promoter`]: starts what was put off, in time
//! - [`reaper`]: puts the tasks of dead workers back
//!
//! and [`closing`], which ends it, and hands back what it has not run.
//!
//! The handlers themselves are somebody else's, behind [`Handlers`].

mod ahead;
mod closing;
mod commands;
mod deadlines;
mod heartbeat;
mod lease;
mod order;
mod promoter;
mod pump;
mod ready;
mod reaper;
pub mod run;
mod runs;
pub mod slots;
mod state;
mod surplus;
mod watcher;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::broker::Broker;
use crate::broker::connection::Listener;
use crate::error::Error;
use crate::outcome::Keep;
use crate::runtime;
use crate::task::Dropped;
use lease::Lease;
use reaper::Reaper;
use run::{Abort, Ran};
use slots::{Begun, Slots};

/// Who runs the tasks. Called on the runtime's thread; must not block.
pub trait Handlers: Send + Sync {
    /// Tasks are ready: [`Worker::begin`] gives them.
    fn ready(&self);
    /// This run's outcome is of no use any more.
    fn abort(&self, run: u32, why: &Abort);
    /// Something that a person may want to know.
    fn report(&self, report: Report);
}

/// What a worker tells its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An id could not be taken, and is in no list any more.
    Dropped(Dropped),
    /// A task has another owner by now, or was deleted; what its run came to is dropped.
    Lost { id: Vec<u8> },
    /// Tasks of dead workers went back to the queue, or were lost too often and given up.
    Recovered { back: usize, given_up: usize },
    /// Redis refuses what the worker needs; it goes on trying.
    Error(Error),
}

/// How a worker runs tasks that don't say otherwise.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Tasks at a time.
    pub concurrency: usize,
    pub attempts: u32,
    /// None to try again at once.
    pub backoff: Option<Backoff>,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// How long a handler may still take once it was aborted.
    pub grace: Duration,
    /// How long a finished task is kept.
    pub keep: Keep,
    /// Whether a task is removed once successful.
    pub remove_on_success: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            concurrency: 10,
            attempts: 1,
            backoff: None,
            timeout: None,
            grace: Duration::from_secs(5),
            keep: Keep::BY_DEFAULT,
            remove_on_success: false,
        }
    }
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Options {
    pub rules: Rules,
    /// After how long without a heartbeat it counts as dead.
    pub heartbeat_timeout: Duration,
    /// After how many workers died over a task it is given up.
    pub max_deliveries: u32,
    /// After how long a task of another kind of worker, which shows no sign of life, is taken over.
    pub reclaim_foreign_after: Option<Duration>,
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
    /// There may be more than there are slots for.
    surplus: Notify,
    /// The earliest deadline of a run may be another.
    timers: Notify,
    /// Something may be due sooner than was known.
    due: Notify,
    /// A heartbeat is needed now.
    beat: Notify,
    lease: Lease,
    reaper: Reaper,
    commands: mpsc::Sender<commands::Command>,
    me: Weak<dyn Listener>,
    /// Nothing more is to be taken.
    stopping: CancellationToken,
    stopped: CancellationToken,
    /// When a close ends at the latest; none where it may take as long as it likes.
    deadline: watch::Sender<Option<Instant>>,
}

impl Worker {
    pub fn start(broker: Broker, options: Options, handlers: Arc<dyn Handlers>) -> Self {
        let uuid = Uuid::new_v4().to_string();
        let (sender, receiver) = mpsc::channel(commands::BACKLOG);
        let shared = Arc::new_cyclic(|me: &Weak<Shared>| Shared {
            // A first death is the last there: nothing may share it that could wait elsewhere.
            slots: Slots::new(&uuid, options.rules.clone(), options.max_deliveries > 1),
            uuid,
            broker,
            options,
            handlers,
            work: Notify::new(),
            idle: Notify::new(),
            left: Notify::new(),
            surplus: Notify::new(),
            timers: Notify::new(),
            due: Notify::new(),
            beat: Notify::new(),
            lease: Lease::default(),
            reaper: Reaper::default(),
            commands: sender,
            me: me.clone(),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            deadline: watch::Sender::new(None),
        });
        shared.broker.listen_as_worker(&shared.me);
        let roles = shared.clone();
        runtime::spawn(async move {
            tokio::select! {
                () = pump::run(&roles) => {}
                () = watcher::run(&roles) => {}
                () = surplus::run(&roles) => {}
                () = deadlines::run(&roles) => {}
                () = commands::run(&roles, receiver) => {}
                () = heartbeat::run(&roles) => {}
                () = promoter::run(&roles) => {}
                () = reaper::run(&roles) => {}
                () = roles.stopped.cancelled() => {}
            }
            roles.broker.stop_as_worker(&roles.me);
        });
        Worker { shared }
    }

    pub fn uuid(&self) -> &str {
        &self.shared.uuid
    }

    /// How many tasks are being run, and how many are ready to be.
    pub fn counts(&self) -> (usize, usize) {
        self.shared.slots.counts()
    }

    /// Takes over tasks that are ready and have a slot, oldest first; they count as begun from here on.
    /// The flag says whether there are more.
    pub fn begin(&self, tasks: usize, bytes: usize) -> (Vec<Begun>, bool) {
        let since = self.shared.slots.ready_since();
        if since.is_some_and(|since| !self.shared.lease.held_since(since)) {
            // They may be others' by now; the next heartbeat tells.
            self.shared.beat.notify_one();
            return (Vec::new(), false);
        }
        let handed = self.shared.slots.begin(tasks, bytes);
        if handed.timers {
            self.shared.timers.notify_one();
        }
        if handed.room {
            self.shared.work.notify_one();
        }
        (handed.begun, handed.more)
    }

    /// Hands in what came of runs. Of those that were aborted meanwhile it is dropped. True if there
    /// is something for [`Worker::begin`].
    pub fn finish(&self, ran: impl IntoIterator<Item = (u32, Ran)>) -> bool {
        let more = self.shared.slots.finish(ran);
        self.shared.work.notify_one();
        self.shared.left.notify_one();
        more
    }

    /// From here on no task is taken, and none begins.
    pub fn stop_taking(&self) {
        self.shared.stop_taking();
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
    pub async fn abandon(&self, crashed: bool) {
        closing::abandon(&self.shared, crashed).await;
    }
}

impl Shared {
    fn stop_taking(&self) {
        self.slots.stop_taking();
        self.stopping.cancel();
    }

    /// Aborts the run of a task, if there is one (with an owner: if it was taken under that).
    fn abort(&self, id: &[u8], owner: Option<&str>, why: &Abort) {
        let run = self.slots.abort(id, owner, why);
        if let Some(run) = run {
            self.handlers.abort(run, why);
            self.timers.notify_one();
            if *why == Abort::Lost {
                self.handlers.report(Report::Lost { id: id.to_owned() });
            }
        }
        self.freed();
    }

    /// Something may have left the slots, otherwise than by [`Worker::finish`].
    fn freed(&self) {
        if self.slots.can_begin() {
            self.handlers.ready();
        }
        self.work.notify_one();
        self.left.notify_one();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stopped.cancel();
    }
}
