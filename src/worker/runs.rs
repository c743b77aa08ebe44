//! What handlers run, each run by its number, and when something is to be done about it: an attempt's
//! time is up, or, once it was aborted, its handler's grace.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::Rules;
use super::run::{Abort, Task};

pub struct Running {
    pub task: Task,
    pub since: Instant,
    /// Its entry in `timers`.
    timer: Option<Instant>,
    pub aborted: Option<Abort>,
}

#[derive(Default)]
pub struct Runs {
    running: HashMap<u32, Running>,
    timers: BTreeSet<(Instant, u32)>,
    /// Suspects among them.
    suspects: usize,
    last: u32,
}

impl Runs {
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn has_suspects(&self) -> bool {
        self.suspects > 0
    }

    pub fn get(&self, run: u32) -> Option<&Running> {
        self.running.get(&run)
    }

    pub fn all(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// Their numbers, oldest first.
    pub fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.running.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    pub fn find(&self, meant: impl Fn(&Task) -> bool) -> Option<u32> {
        let found = self.running.iter().find(|(_, it)| meant(&it.task));
        found.map(|(run, _)| *run)
    }

    /// A run begins: its number, and whether the earliest timer may be another one now.
    pub fn begin(&mut self, task: Task, now: Instant, rules: &Rules) -> (u32, bool) {
        self.last = self.last.wrapping_add(1);
        let run = self.last;
        let timeout = task.timeout(rules);
        self.suspects += usize::from(task.suspect);
        let running = Running {
            task,
            since: now,
            timer: None,
            aborted: None,
        };
        self.running.insert(run, running);
        let timer = timeout.and_then(|timeout| now.checked_add(timeout));
        if timer.is_some() {
            self.set_timer(run, timer);
        }
        (run, timer.is_some())
    }

    pub fn remove(&mut self, run: u32) -> Option<Running> {
        self.set_timer(run, None);
        let running = self.running.remove(&run)?;
        self.suspects -= usize::from(running.task.suspect);
        Some(running)
    }

    /// Marks a run as aborted, from where on its handler has its grace. False if it was before.
    pub fn abort(&mut self, run: u32, why: Abort, grace: Duration) -> bool {
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

    pub fn first_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes the first timer, if its time has come.
    pub fn take_timer(&mut self, now: Instant) -> Option<u32> {
        let (at, run) = *self.timers.first()?;
        if at > now {
            return None;
        }
        self.set_timer(run, None);
        Some(run)
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
}
