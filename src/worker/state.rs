//! What a worker has, and how much more it may have. A task is `ready` from the exchange that took it
//! until a handler begins, `running` until its outcome is handed in, and an outcome waits until an
//! exchange takes it along. A slot is free where none of the first two, nor a task asked for, is in it.
//!
//! While more is pending than an exchange brings, and handlers are quick, some more are ready than there
//! are slots: see [`super::ahead`]. A task that a worker has died over (a suspect) begins once there are
//! no others but those in the slots, so that they don't share its fate.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Rules;
use super::ahead::Ahead;
use super::order::{Order, Place};
use super::ready::Unbegun;
use super::run::Task;
use super::runs::Runs;
use crate::broker::Owned;
use crate::outcome::Finish;
use crate::task::Taken;

/// Outcomes and tasks in one exchange: enough that more gain nothing, few enough that other users of that
/// Redis are not held up for long.
pub const BATCH: usize = 64;
/// Bytes of outcomes in one exchange, at most.
pub const BATCH_BYTES: usize = 512 * 1024;
/// From so many bytes of outcomes on that no exchange has taken along yet, nothing more is taken: handlers may make them faster
/// than the network carries them.
const MOST_UNWRITTEN: usize = 4 * BATCH_BYTES;

/// What may have been asked for and not begun: two batches that are on their way, and one that JavaScript is
/// about to fetch (with less, every other exchange asks for nothing). No more, because `executing`, which is
/// searched for what has ended, is to be short.
const MOST_UNBEGUN: usize = 3 * BATCH;

/// From how many bytes of args on, in one exchange and in a task on the average, they are read by
/// themselves: with less, the trip or the further command takes longer than Lua (measured: with args of
/// 2,000 bytes a worker is a tenth slower for it, with 3,000 a twentieth faster, with 6,000 a third).
const MANY_ARGS: usize = 32 * 1024;
const LONG_ARGS: usize = 3000;

#[derive(Default)]
pub struct State {
    pub ready: Unbegun,
    pub running: Runs,
    pub outcomes: Outcomes,
    /// Tasks asked for in exchanges that are on their way.
    pub asked: usize,
    /// Outcomes in exchanges that are on their way.
    pub writing: usize,
    /// The numbers of those exchanges, and since when.
    pub under_way: Vec<(u64, Instant)>,
    /// Whether something may be pending.
    pub more: bool,
    /// Whether it may be more than an exchange brings: the last one brought as much as it could.
    pub many: bool,
    /// Whether the worker's key is in Redis, without which it gets nothing.
    pub registered: bool,
    pub stopped: bool,
    /// Whether the last exchange that brought tasks brought long args, and many of them.
    pub args_apart: bool,
    pub ahead: Ahead,
    pub order: Order,
    pub last_exchange: u64,
}

/// Outcomes that no exchange has taken along yet, oldest first.
#[derive(Default)]
pub struct Outcomes {
    queue: VecDeque<Finish>,
    bytes: usize,
}

impl Outcomes {
    pub fn push(&mut self, finish: Finish) {
        self.bytes += finish.end.bytes();
        self.queue.push_back(finish);
    }

    /// As many as go into one exchange: so many, and until they are long enough.
    pub fn take(&mut self, most: usize) -> Vec<Finish> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < most && bytes < BATCH_BYTES {
            let Some(finish) = self.queue.pop_front() else {
                break;
            };
            bytes += finish.end.bytes();
            taken.push(finish);
        }
        self.bytes -= bytes;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finish> {
        self.queue.iter()
    }
}

impl State {
    /// How many more may be taken where so many may be held at a time.
    ///
    /// None while some go back: what came before they are there is younger, and would begin first. That is for a
    /// trip; where Redis refuses them, the worker goes on.
    pub fn free(&self, tasks: usize) -> usize {
        if self.stopped || !self.registered || self.ready.is_returning() {
            return 0;
        }
        if self.outcomes.bytes > MOST_UNWRITTEN {
            return 0;
        }
        let unbegun = self.ready.len() + self.asked;
        tasks
            .saturating_sub(self.taken())
            .min(MOST_UNBEGUN.saturating_sub(unbegun))
    }

    pub fn taken(&self) -> usize {
        self.ready.len() + self.ready.returning() + self.running.len() + self.asked
    }

    /// When the first of those that are to go back does.
    pub fn surplus_at(&self, rules: &Rules) -> Option<Instant> {
        self.ready.surplus_at(self.slots(rules), self.is_careful())
    }

    /// Whether they may. What is on its way here is younger, and goes back with them.
    pub fn can_return(&self) -> bool {
        self.asked == 0 || self.ready.is_doubtful()
    }

    pub fn slots(&self, rules: &Rules) -> usize {
        rules.concurrency.saturating_sub(self.running.len())
    }

    /// Whether there are suspects, beside which nothing is to be held.
    pub fn is_careful(&self) -> bool {
        self.running.has_suspects() || self.ready.has_suspects()
    }

    pub fn ahead(&self, now: Instant) -> usize {
        match self.many && !self.is_careful() {
            true => self.ahead.tasks(now),
            false => 0,
        }
    }

    pub fn can_begin(&self, rules: &Rules) -> bool {
        let next = self.ready.next();
        next.is_some_and(|task| {
            let alone = !task.suspect || self.taken() <= rules.concurrency;
            self.slots(rules) > 0 && alone && !self.stopped
        })
    }

    /// Whether the next exchange's args are to be read apart: as those of this one were to be.
    pub fn weigh(&mut self, taken: &[Taken]) {
        if !taken.is_empty() {
            let bytes: usize = taken.iter().map(|task| task.args.bytes()).sum();
            self.args_apart = bytes >= MANY_ARGS.max(LONG_ARGS * taken.len());
        }
    }

    /// What goes back.
    pub fn leave(&mut self, tasks: Vec<Task>) -> Vec<Owned> {
        let places: Vec<Place> = tasks.iter().map(|task| task.place).collect();
        self.order.remove(&places);
        tasks.into_iter().map(|task| task.owned).collect()
    }

    /// Slots that are free while nothing was pending when last asked, and nobody is asking.
    pub fn idle(&self, rules: &Rules) -> usize {
        match self.more || self.asked > 0 {
            true => 0,
            false => self.free(rules.concurrency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{End, Keep, Outcome};

    #[test]
    fn nothing_more_is_taken_while_outcomes_gather_faster_than_they_are_written() {
        let mut state = State {
            registered: true,
            ..State::default()
        };
        let result = "x".repeat(BATCH_BYTES);
        let mut free = Vec::new();
        for _ in 0..6 {
            free.push(state.free(10));
            state.outcomes.push(Finish {
                id: b"x".to_vec(),
                owner: "w:1".into(),
                reply_to: None,
                place: 0,
                end: End::Finished(Outcome::Successful(Some(result.clone())), Keep::ForEver),
            });
        }
        assert_eq!(free, [10, 10, 10, 10, 10, 0]);
        assert_eq!(state.outcomes.take(BATCH).len(), 1);
        assert_eq!(state.free(10), 0);
        assert_eq!(state.outcomes.take(BATCH).len(), 1);
        assert_eq!(state.free(10), 10);
    }
}
