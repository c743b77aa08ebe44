//! A worker's slots. A task is `ready` from the exchange that took it until a handler begins,
//! `running` until its outcome is handed in, and an outcome waits until an exchange takes it
//! along. A slot is free where none of the first two, nor a task asked for, is in it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::broker::connection::lock;
use crate::broker::{Exchange, Exchanged};
use crate::json;
use crate::outcome::{Finish, Outcome};
use crate::task::Taken;

/// Outcomes and tasks in one exchange, and bytes of outcomes: enough that more gain nothing, few
/// enough that other users of that Redis are not held up for long.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 512 * 1024;

/// An id and the owner token under which it was taken.
pub type Owned = (Vec<u8>, Arc<str>);

/// A task that a handler begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// This run's number in this worker.
    pub run: u32,
    pub id: String,
    pub function: String,
    /// JSON text of an object.
    pub args: String,
    pub created: Option<String>,
}

struct Ready {
    task: Owned,
    function: String,
    args: String,
    created: Option<String>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    running: HashMap<u32, Owned>,
    outcomes: VecDeque<Finish>,
    /// Tasks asked for in exchanges that are on their way.
    asked: usize,
    /// Outcomes in exchanges that are on their way.
    writing: usize,
    /// Whether something may be pending.
    more: bool,
    stopped: bool,
    last_run: u32,
    last_exchange: u64,
}

/// The slots of one worker.
pub struct Slots {
    worker: String,
    concurrency: usize,
    state: Mutex<State>,
}

impl State {
    fn free(&self, concurrency: usize) -> usize {
        concurrency.saturating_sub(self.ready.len() + self.running.len() + self.asked)
    }
}

impl Slots {
    pub fn new(worker: &str, concurrency: usize) -> Self {
        let state = State {
            more: true,
            ..State::default()
        };
        Slots {
            worker: worker.to_owned(),
            concurrency,
            state: Mutex::new(state),
        }
    }

    pub fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.running.len(), state.ready.len())
    }

    /// The next exchange with Redis, if there is anything to write or to ask for.
    pub fn next_exchange(&self) -> Option<Exchange> {
        let mut state = lock(&self.state);
        let free = if state.stopped {
            0
        } else {
            state.free(self.concurrency)
        };
        if state.outcomes.is_empty() && (free == 0 || !state.more) {
            return None;
        }
        let mut finishes = Vec::new();
        let mut bytes = 0;
        while finishes.len() < BATCH && bytes < BATCH_BYTES {
            let Some(finish) = state.outcomes.pop_front() else {
                break;
            };
            bytes += finish.outcome.bytes();
            finishes.push(finish);
        }
        let want = free.min(BATCH);
        state.asked += want;
        state.writing += finishes.len();
        state.last_exchange += 1;
        let owner = format!("{}:{}", self.worker, state.last_exchange);
        Some(Exchange::new(owner.into(), finishes, want))
    }

    /// Takes in what an exchange brought. True if there is something for the handlers.
    pub fn exchanged(&self, exchange: &Exchange, exchanged: Exchanged) -> bool {
        let mut state = lock(&self.state);
        state.asked = state.asked.saturating_sub(exchange.want);
        state.writing = state.writing.saturating_sub(exchange.finishes.len());
        if exchange.want > 0 {
            state.more = exchanged.more;
        }
        let before = state.ready.len();
        for task in exchanged.taken {
            match check(task) {
                Ok(ready) => state.ready.push_back(ready),
                Err(finish) => state.outcomes.push_back(finish),
            }
        }
        state.ready.len() > before
    }

    /// Something is pending again.
    pub fn something_pending(&self) {
        lock(&self.state).more = true;
    }

    /// Whether there are free slots, and nothing was pending when last asked.
    pub fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        !state.stopped && !state.more && state.asked == 0 && state.free(self.concurrency) > 0
    }

    pub fn begin(&self, tasks: usize, bytes: usize) -> (Vec<Begun>, bool) {
        let mut state = lock(&self.state);
        let mut begun = Vec::new();
        let mut size = 0;
        if state.stopped {
            return (begun, false);
        }
        while begun.len() < tasks && size < bytes {
            let Some(ready) = state.ready.pop_front() else {
                break;
            };
            state.last_run = state.last_run.wrapping_add(1);
            let run = state.last_run;
            size += ready.args.len();
            begun.push(Begun {
                run,
                id: String::from_utf8_lossy(&ready.task.0).into_owned(),
                function: ready.function,
                args: ready.args,
                created: ready.created,
            });
            state.running.insert(run, ready.task);
        }
        (begun, !state.ready.is_empty())
    }

    pub fn finish(&self, outcomes: impl IntoIterator<Item = (u32, Outcome)>) {
        let mut state = lock(&self.state);
        for (run, outcome) in outcomes {
            if let Some((id, owner)) = state.running.remove(&run) {
                state.outcomes.push_back(Finish { id, owner, outcome });
            }
        }
    }

    /// From here on nothing is asked for, and nothing begins.
    pub fn stop_taking(&self) {
        lock(&self.state).stopped = true;
    }

    /// Whether no exchange is on its way that could bring a task.
    pub fn is_settled(&self) -> bool {
        lock(&self.state).asked == 0
    }

    /// Whether nothing is left to be run or to be written.
    pub fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.ready.is_empty()
            && state.running.is_empty()
            && state.outcomes.is_empty()
            && state.writing == 0
    }

    /// What has not begun, oldest first.
    pub fn take_ready(&self) -> Vec<Owned> {
        lock(&self.state)
            .ready
            .drain(..)
            .map(|ready| ready.task)
            .collect()
    }

    /// What has begun and not ended, oldest first.
    pub fn take_running(&self) -> Vec<(u32, Owned)> {
        let mut running: Vec<_> = lock(&self.state).running.drain().collect();
        running.sort_unstable_by_key(|(run, _)| *run);
        running
    }
}

/// A task that a handler can begin with, or the outcome that it has without one.
fn check(task: Taken) -> Result<Ready, Finish> {
    let Taken {
        id,
        function,
        args,
        created,
        owner,
    } = task;
    let problem = match (
        function.as_deref().map(std::str::from_utf8),
        json::args(args.as_deref()),
    ) {
        (None | Some(Ok("")), _) => "no function was given: set the hash field function to the \
                                     name of a handler"
            .to_owned(),
        (Some(Err(_)), _) => "the function's name is not UTF-8".to_owned(),
        (_, Err(problem)) => problem,
        (Some(Ok(function)), Ok(args)) => {
            return Ok(Ready {
                task: (id, owner),
                function: function.to_owned(),
                args: args.to_owned(),
                created: created.and_then(|created| String::from_utf8(created).ok()),
            });
        }
    };
    Err(Finish {
        id,
        owner,
        outcome: Outcome::refused(problem),
    })
}
