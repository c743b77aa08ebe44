//! A worker's slots: what the roles and the handlers do with its [`State`], each in one step.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::Rules;
use super::order::Place;
use super::run::{Abort, Ran, Task, check};
use super::runs::Running;
use super::state::{BATCH, State};
use crate::broker::connection::lock;
use crate::broker::{Exchange, Exchanged, Owned};
use crate::outcome::Finish;

/// What there is after an exchange.
pub struct Brought {
    /// Something can begin.
    pub ready: bool,
    /// There is more than there are slots for.
    pub surplus: bool,
}

/// What is handed over to be run.
pub struct Handed {
    pub begun: Vec<Begun>,
    pub more: bool,
    /// The earliest timer may be another one now.
    pub timers: bool,
    /// More can be asked for than before.
    pub room: bool,
}

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

/// The slots of one worker.
pub struct Slots {
    worker: Arc<str>,
    repetitions: Arc<AtomicU64>,
    rules: Rules,
    /// Half the slots, or a batch.
    half: usize,
    /// Whether any are taken ahead.
    ahead: bool,
    state: Mutex<State>,
}

impl Slots {
    pub fn new(worker: &str, rules: Rules, ahead: bool) -> Self {
        let state = State {
            more: true,
            ..State::default()
        };
        Slots {
            worker: worker.into(),
            repetitions: Arc::default(),
            half: rules.concurrency.div_ceil(2).min(BATCH),
            rules,
            ahead,
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
        let now = Instant::now();
        let ahead = match self.ahead {
            true => state.ahead(now),
            false => 0,
        };
        // No more than half the slots, so that Redis has one half while the handlers have the other.
        let batch = self.half.max(ahead).min(BATCH);
        let free = state.free(self.rules.concurrency);
        let asks = free > 0 && state.more && (state.many || state.asked == 0);
        if state.outcomes.is_empty() && !asks {
            return None;
        }
        // What has had its time goes back first.
        let want = match state.surplus_at(&self.rules).is_some_and(|at| at <= now) {
            true => 0,
            false => state.free(self.rules.concurrency + ahead).min(batch),
        };
        let finishes = state.outcomes.take(batch);
        let mut exchange = self.exchange(&mut state, finishes, want);
        exchange.args_apart = state.args_apart;
        Some(exchange)
    }

    /// What follows a wait for something to come, if that is still to be waited for.
    pub fn exchange_after_wait(&self) -> Option<Exchange> {
        let mut state = lock(&self.state);
        let want = state.idle(&self.rules).min(self.half);
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
        let number = state.last_exchange;
        state.under_way.push((number, Instant::now()));
        let owner = format!("{}:{}", self.worker, state.last_exchange);
        let mut exchange = Exchange::new(
            self.worker.clone(),
            owner.into(),
            self.rules.keep,
            state.last_exchange,
            self.repetitions.clone(),
            finishes,
            want,
        );
        let finishes = exchange.finishes.iter();
        let places: Vec<Place> = finishes.map(|finish| finish.place).collect();
        exchange.older = state.order.remove(&places);
        exchange
    }

    /// Takes in what an exchange brought.
    pub fn exchanged(&self, exchange: &Exchange, exchanged: Exchanged) -> Brought {
        let mut state = lock(&self.state);
        state
            .under_way
            .retain(|(number, _)| *number != exchange.number);
        state.asked = state.asked.saturating_sub(exchange.want);
        state.writing = state.writing.saturating_sub(exchange.finishes.len());
        if exchange.want > 0 {
            state.more = exchanged.more;
            state.many = exchanged.more;
            state.registered &= !exchanged.unregistered;
        }
        let now = Instant::now();
        if !exchange.follows_wait && !exchange.is_repeated() {
            state
                .ahead
                .trip(now.saturating_duration_since(exchange.began));
        }
        state.weigh(&exchanged.taken);
        for task in exchanged.taken {
            let place = state.order.add();
            match check(task, place, &self.rules) {
                Ok(ready) => state.ready.push(ready, now),
                Err(finish) => state.outcomes.push(*finish),
            }
        }
        Brought {
            ready: state.can_begin(&self.rules),
            surplus: state.ready.len() > state.slots(&self.rules),
        }
    }

    /// When the first of those that are to go back to the queue does.
    pub fn surplus_at(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let at = state.surplus_at(&self.rules)?;
        state.can_return().then_some(at)
    }

    /// Since when the oldest that has not begun has been here.
    pub fn ready_since(&self) -> Option<Instant> {
        lock(&self.state).ready.since()
    }

    /// The worker has counted as dead: what has not begun is to go back, if it is still its own.
    pub fn doubt(&self) {
        let mut state = lock(&self.state);
        if !state.ready.is_empty() {
            state.ready.doubt();
        }
    }

    /// What is to go back now, oldest first.
    pub fn take_surplus(&self) -> Vec<Owned> {
        let mut state = lock(&self.state);
        if !state.can_return() {
            return Vec::new();
        }
        let (slots, careful) = (state.slots(&self.rules), state.is_careful());
        let surplus = state.ready.take_surplus(slots, careful, Instant::now());
        state.leave(surplus)
    }

    /// They are not back yet, and may not be for long.
    pub fn return_refused(&self) {
        lock(&self.state).ready.refuse_return();
    }

    /// So many are back.
    pub fn returned(&self, tasks: usize) {
        let mut state = lock(&self.state);
        state.ready.returned(tasks);
        state.more = true;
    }

    /// Whether a handler could begin now.
    pub fn can_begin(&self) -> bool {
        lock(&self.state).can_begin(&self.rules)
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

    /// Something is pending, also where an exchange waits for that: it may wait on a dead connection.
    pub fn something_pending(&self) {
        let mut state = lock(&self.state);
        state.more = true;
        state.many = true;
    }

    /// Whether there are free slots, and nothing was pending when last asked.
    pub fn is_idle(&self) -> bool {
        lock(&self.state).idle(&self.rules) > 0
    }

    /// Hands over tasks that can begin, oldest first.
    pub fn begin(&self, tasks: usize, bytes: usize) -> Handed {
        let mut state = lock(&self.state);
        let free = state.free(self.rules.concurrency);
        let mut begun = Vec::new();
        let mut size = 0;
        let mut timers = false;
        let now = Instant::now();
        while begun.len() < tasks && size < bytes && state.can_begin(&self.rules) {
            let Some(ready) = state.ready.pop() else {
                break;
            };
            let attempt = ready.task.attempt;
            let id = String::from_utf8_lossy(&ready.task.owned.0).into_owned();
            let (run, timer) = state.running.begin(ready.task, now, &self.rules);
            timers |= timer;
            size += ready.args.len();
            begun.push(Begun {
                run,
                id,
                function: ready.function,
                args: ready.args,
                created: ready.created,
                attempt,
            });
        }
        if !begun.is_empty() {
            state.ahead.begun(now);
        }
        Handed {
            begun,
            more: state.can_begin(&self.rules),
            timers,
            room: free == 0 && state.free(self.rules.concurrency) > 0,
        }
    }

    /// Takes in what came of runs. Of an aborted one, the reason for that counts. True if something
    /// can begin.
    pub fn finish(&self, ran: impl IntoIterator<Item = (u32, Ran)>) -> bool {
        let mut state = lock(&self.state);
        let before = state.running.len();
        for (run, ran) in ran {
            if let Some(running) = state.running.remove(run) {
                self.end(&mut state, running, Some(ran));
            }
        }
        let after = state.running.len();
        state.ahead.ended(Instant::now(), before - after, after > 0);
        state.can_begin(&self.rules)
    }

    fn end(&self, state: &mut State, running: Running, ran: Option<Ran>) {
        let ran = match running.aborted {
            Some(abort) => abort.outcome().map(Ran::from),
            None => ran,
        };
        match ran {
            Some(ran) => state.outcomes.push(running.task.end(ran, &self.rules)),
            None => {
                state.order.remove(&[running.task.place]);
            }
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
        let ready = state.ready.tasks().position(meant);
        if let Some(ready) = ready.and_then(|index| state.ready.remove(index)) {
            match why.outcome() {
                Some(outcome) => {
                    let finish = ready.task.end(outcome.into(), &self.rules);
                    state.outcomes.push(finish);
                }
                None => {
                    state.order.remove(&[ready.task.place]);
                }
            }
            return None;
        }
        let run = state.running.find(meant)?;
        let grace = self.rules.grace;
        state.running.abort(run, why.clone(), grace).then_some(run)
    }

    /// Ends runs whose handlers have had their grace, aborts those whose time is up: their numbers
    /// and their times. And when to ask again.
    pub fn run_timers(&self) -> (Vec<(u32, Duration)>, Option<Instant>) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let mut timed_out = Vec::new();
        while let Some(run) = state.running.take_timer(now) {
            let Some(running) = state.running.get(run) else {
                continue;
            };
            if running.aborted.is_some() {
                if let Some(running) = state.running.remove(run) {
                    self.end(&mut state, running, None);
                }
            } else if let Some(timeout) = running.task.timeout(&self.rules) {
                let grace = self.rules.grace;
                state.running.abort(run, Abort::TimedOut(timeout), grace);
                timed_out.push((run, timeout));
            }
        }
        (timed_out, state.running.first_timer())
    }

    /// What has been running for so long, and is not aborted.
    pub fn running_for(&self, age: Duration) -> Vec<Owned> {
        let state = lock(&self.state);
        let running = state.running.all();
        running
            .filter(|it| it.aborted.is_none() && it.since.elapsed() >= age)
            .map(|it| it.task.owned.clone())
            .collect()
    }

    /// All that is ready or running.
    pub fn held(&self) -> HashSet<Owned> {
        let state = lock(&self.state);
        let ready = state.ready.tasks().map(|task| &task.owned);
        let running = state.running.all().map(|it| &it.task.owned);
        ready.chain(running).cloned().collect()
    }

    /// All whose outcomes no exchange has taken along yet; and since when the oldest exchange is under way, which
    /// may have outcomes of others, or bring some.
    pub fn unwritten(&self) -> (HashSet<Owned>, Option<Instant>) {
        let state = lock(&self.state);
        let outcomes = state.outcomes.iter();
        let unwritten = outcomes.map(|it| (it.id.clone(), it.owner.clone()));
        let under_way = state.under_way.iter().map(|(_, since)| *since);
        (unwritten.collect(), under_way.min())
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
            && state.ready.returning() == 0
            && state.running.is_empty()
            && state.outcomes.is_empty()
            && state.writing == 0
    }

    /// What has not begun, oldest first.
    pub fn take_ready(&self) -> Vec<Owned> {
        let mut state = lock(&self.state);
        let all = state.ready.take_all();
        state.leave(all)
    }

    /// What has begun and not ended, oldest first. What was aborted before gets its outcome, and is
    /// not among it.
    pub fn take_running(&self) -> Vec<(u32, Owned)> {
        let mut state = lock(&self.state);
        let (mut taken, mut places) = (Vec::new(), Vec::new());
        for run in state.running.numbers() {
            match state.running.remove(run) {
                Some(running) if running.aborted.is_none() => {
                    places.push(running.task.place);
                    taken.push((run, running.task.owned));
                }
                Some(running) => self.end(&mut state, running, None),
                None => {}
            }
        }
        state.order.remove(&places);
        taken
    }
}
