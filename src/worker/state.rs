//! A worker's slots. A task is `ready` from the exchange that took it until a handler begins,
//! `running` until its outcome is handed in, and an outcome waits until an exchange takes it
//! along. A slot is free where none of the first two, nor a task asked for, is in it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::Rules;
use super::run::{Abort, Ran, Ready, Task, check};
use crate::broker::connection::lock;
use crate::broker::{Exchange, Exchanged, Owned};
use crate::outcome::Finish;

/// Outcomes and tasks in one exchange, and bytes of outcomes, at most: enough that more gain nothing,
/// few enough that other users of that Redis are not held up for long.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 512 * 1024;

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
    pub attempt: u32,
}

struct Running {
    task: Task,
    since: Instant,
    /// Its entry in `timers`: when its time is up, or, once aborted, the handler's grace.
    timer: Option<Instant>,
    aborted: Option<Abort>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    running: HashMap<u32, Running>,
    timers: BTreeSet<(Instant, u32)>,
    outcomes: VecDeque<Finish>,
    /// Tasks asked for in exchanges that are on their way.
    asked: usize,
    /// Outcomes in exchanges that are on their way.
    writing: usize,
    /// Whether something may be pending.
    more: bool,
    /// Whether it may be more than an exchange brings: the last one brought as much as it could.
    many: bool,
    /// Whether the worker's key is in Redis, without which it gets nothing.
    registered: bool,
    stopped: bool,
    last_run: u32,
    last_exchange: u64,
}

/// The slots of one worker.
pub struct Slots {
    worker: Arc<str>,
    repetitions: Arc<AtomicU64>,
    /// No more than half the slots, so that Redis has one half while the handlers have the other.
    batch: usize,
    rules: Rules,
    state: Mutex<State>,
}

impl State {
    fn free(&self, rules: &Rules) -> usize {
        if self.stopped || !self.registered {
            return 0;
        }
        let taken = self.ready.len() + self.running.len() + self.asked;
        rules.concurrency.saturating_sub(taken)
    }

    /// Slots that are free while nothing was pending when last asked, and nobody is asking.
    fn idle(&self, rules: &Rules) -> usize {
        match self.more || self.asked > 0 {
            true => 0,
            false => self.free(rules),
        }
    }

    fn set_timer(&mut self, run: u32, at: Option<Instant>) {
        let Some(running) = self.running.get_mut(&run) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut running.timer, at) {
            self.timers.remove(&(old, run));
        }
        if let Some(at) = at {
            self.timers.insert((at, run));
        }
    }

    fn remove_run(&mut self, run: u32) -> Option<Running> {
        self.set_timer(run, None);
        self.running.remove(&run)
    }

    fn abort(&mut self, run: u32, why: Abort, grace: Duration) -> bool {
        let Some(running) = self.running.get_mut(&run) else {
            return false;
        };
        if running.aborted.is_some() {
            return false;
        }
        running.aborted = Some(why);
        self.set_timer(run, Instant::now().checked_add(grace));
        true
    }
}

impl Slots {
    pub fn new(worker: &str, rules: Rules) -> Self {
        let state = State {
            more: true,
            ..State::default()
        };
        Slots {
            worker: worker.into(),
            repetitions: Arc::default(),
            batch: rules.concurrency.div_ceil(2).min(BATCH),
            rules,
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
        let free = state.free(&self.rules);
        let asks = free > 0 && state.more && (state.many || state.asked == 0);
        if state.outcomes.is_empty() && !asks {
            return None;
        }
        let mut finishes = Vec::new();
        let mut bytes = 0;
        while finishes.len() < self.batch && bytes < BATCH_BYTES {
            let Some(finish) = state.outcomes.pop_front() else {
                break;
            };
            bytes += finish.end.bytes();
            finishes.push(finish);
        }
        Some(self.exchange(&mut state, finishes, free.min(self.batch)))
    }

    /// What follows a wait for something to come, if that is still to be waited for.
    pub fn exchange_after_wait(&self) -> Option<Exchange> {
        let mut state = lock(&self.state);
        let want = state.idle(&self.rules).min(self.batch);
        (want > 0).then(|| {
            let mut exchange = self.exchange(&mut state, Vec::new(), want);
            exchange.follows_wait = true;
            exchange
        })
    }

    fn exchange(&self, state: &mut State, finishes: Vec<Finish>, want: usize) -> Exchange {
        state.asked += want;
        state.writing += finishes.len();
        state.last_exchange += 1;
        let owner = format!("{}:{}", self.worker, state.last_exchange);
        Exchange::new(
            self.worker.clone(),
            owner.into(),
            self.rules.keep,
            state.last_exchange,
            self.repetitions.clone(),
            finishes,
            want,
        )
    }

    /// Takes in what an exchange brought. True if there is something for the handlers.
    pub fn exchanged(&self, exchange: &Exchange, exchanged: Exchanged) -> bool {
        let mut state = lock(&self.state);
        state.asked = state.asked.saturating_sub(exchange.want);
        state.writing = state.writing.saturating_sub(exchange.finishes.len());
        if exchange.want > 0 {
            state.more = exchanged.more;
            state.many = exchanged.more;
            state.registered &= !exchanged.unregistered;
        }
        let before = state.ready.len();
        for task in exchanged.taken {
            match check(task, &self.rules) {
                Ok(ready) => state.ready.push_back(ready),
                Err(finish) => state.outcomes.push_back(finish),
            }
        }
        state.ready.len() > before
    }

    /// The highest number of a repeated call: see [`Exchange`].
    pub fn repetitions(&self) -> u64 {
        self.repetitions.load(Ordering::Relaxed)
    }

    /// The worker's key is in Redis.
    pub fn registered(&self) {
        lock(&self.state).registered = true;
    }

    /// Whether the worker waits for its next heartbeat.
    pub fn is_registered(&self) -> bool {
        lock(&self.state).registered
    }

    /// Something is pending again.
    pub fn something_pending(&self) {
        lock(&self.state).more = true;
    }

    /// Whether there are free slots, and nothing was pending when last asked.
    pub fn is_idle(&self) -> bool {
        lock(&self.state).idle(&self.rules) > 0
    }

    /// Hands over tasks that are ready, oldest first, and says whether there are more. The second
    /// flag: the earliest timer may be another one now.
    pub fn begin(&self, tasks: usize, bytes: usize) -> (Vec<Begun>, bool, bool) {
        let mut state = lock(&self.state);
        let mut begun = Vec::new();
        let mut size = 0;
        let mut timers = false;
        if state.stopped {
            return (begun, false, false);
        }
        let now = Instant::now();
        while begun.len() < tasks && size < bytes {
            let Some(ready) = state.ready.pop_front() else {
                break;
            };
            state.last_run = state.last_run.wrapping_add(1);
            let run = state.last_run;
            size += ready.args.len();
            begun.push(Begun {
                run,
                id: String::from_utf8_lossy(&ready.task.owned.0).into_owned(),
                function: ready.function,
                args: ready.args,
                created: ready.created,
                attempt: ready.task.attempt,
            });
            let timeout = ready.task.timeout(&self.rules);
            let running = Running {
                task: ready.task,
                since: now,
                timer: None,
                aborted: None,
            };
            state.running.insert(run, running);
            if let Some(at) = timeout.and_then(|timeout| now.checked_add(timeout)) {
                state.set_timer(run, Some(at));
                timers = true;
            }
        }
        (begun, !state.ready.is_empty(), timers)
    }

    /// Takes in what came of runs. Of an aborted one, the reason for that counts.
    pub fn finish(&self, ran: impl IntoIterator<Item = (u32, Ran)>) {
        let mut state = lock(&self.state);
        for (run, ran) in ran {
            if let Some(running) = state.remove_run(run) {
                self.end(&mut state, running, Some(ran));
            }
        }
    }

    fn end(&self, state: &mut State, running: Running, ran: Option<Ran>) {
        let ran = match running.aborted {
            Some(abort) => abort.outcome().map(Ran::from),
            None => ran,
        };
        if let Some(ran) = ran {
            state.outcomes.push_back(running.task.end(ran, &self.rules));
        }
    }

    /// Aborts the run of a task, or ends it where it has not begun; with an owner, only what was
    /// taken under that. Gives the run, if there is one that must hear of it.
    pub fn abort(&self, id: &[u8], owner: Option<&str>, why: &Abort) -> Option<u32> {
        let mut state = lock(&self.state);
        let meant = |task: &Task| {
            let (its_id, its_owner) = &task.owned;
            its_id == id && owner.is_none_or(|owner| **its_owner == *owner)
        };
        let ready = state.ready.iter().position(|it| meant(&it.task));
        if let Some(ready) = ready.and_then(|index| state.ready.remove(index)) {
            if let Some(outcome) = why.outcome() {
                state
                    .outcomes
                    .push_back(ready.task.end(outcome.into(), &self.rules));
            }
            return None;
        }
        let found = state.running.iter().find(|(_, it)| meant(&it.task));
        let run = found.map(|(run, _)| *run)?;
        state
            .abort(run, why.clone(), self.rules.grace)
            .then_some(run)
    }

    /// Ends runs whose handlers have had their grace, aborts those whose time is up: their numbers
    /// and their times. And when to ask again.
    pub fn run_timers(&self) -> (Vec<(u32, Duration)>, Option<Instant>) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let mut timed_out = Vec::new();
        while let Some(&(at, run)) = state.timers.first()
            && at <= now
        {
            state.set_timer(run, None);
            let Some(running) = state.running.get(&run) else {
                continue;
            };
            if running.aborted.is_some() {
                if let Some(running) = state.remove_run(run) {
                    self.end(&mut state, running, None);
                }
            } else if let Some(timeout) = running.task.timeout(&self.rules) {
                state.abort(run, Abort::TimedOut(timeout), self.rules.grace);
                timed_out.push((run, timeout));
            }
        }
        (timed_out, state.timers.first().map(|(at, _)| *at))
    }

    /// What has been running for so long, and is not aborted.
    pub fn running_for(&self, age: Duration) -> Vec<Owned> {
        let state = lock(&self.state);
        let running = state.running.values();
        running
            .filter(|it| it.aborted.is_none() && it.since.elapsed() >= age)
            .map(|it| it.task.owned.clone())
            .collect()
    }

    /// All that is ready or running.
    pub fn held(&self) -> HashSet<Owned> {
        let state = lock(&self.state);
        let ready = state.ready.iter().map(|it| &it.task.owned);
        let running = state.running.values().map(|it| &it.task.owned);
        ready.chain(running).cloned().collect()
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
        let ready = std::mem::take(&mut lock(&self.state).ready);
        ready.into_iter().map(|ready| ready.task.owned).collect()
    }

    /// What has begun and not ended, oldest first. What was aborted before gets its outcome, and is
    /// not among it.
    pub fn take_running(&self) -> Vec<(u32, Owned)> {
        let mut state = lock(&self.state);
        let mut runs: Vec<u32> = state.running.keys().copied().collect();
        runs.sort_unstable();
        let mut taken = Vec::new();
        for run in runs {
            match state.remove_run(run) {
                Some(running) if running.aborted.is_none() => {
                    taken.push((run, running.task.owned));
                }
                Some(running) => self.end(&mut state, running, None),
                None => {}
            }
        }
        taken
    }
}
