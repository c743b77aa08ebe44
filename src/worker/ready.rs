//! What a worker has taken and not begun, oldest first. As a rule there are free slots for it, and it
//! waits for JavaScript alone. What there are none for was taken ahead ([`super::ahead`]): it waits for a
//! slot, but not for long, because other workers may have one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::run::{Ready, Task};

/// How long a task waits for a slot before it goes back to the queue.
const PATIENCE: Duration = Duration::from_millis(10);

#[derive(Default)]
pub struct Unbegun {
    queue: VecDeque<(Instant, Ready)>,
    /// Suspects among them.
    suspects: usize,
    /// How many are on their way back, and not there yet.
    returning: usize,
    /// Redis has refused to take them, and is asked again.
    refused: bool,
    /// The worker has counted as dead: they may be others' by now.
    doubtful: bool,
}

impl Unbegun {
    /// In the slots, or waiting for one.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn returning(&self) -> usize {
        self.returning
    }

    /// Whether some are about to be back, in front of whatever else could be taken.
    pub fn is_returning(&self) -> bool {
        self.returning > 0 && !self.refused
    }

    pub fn refuse_return(&mut self) {
        self.refused = true;
    }

    pub fn has_suspects(&self) -> bool {
        self.suspects > 0
    }

    pub fn next(&self) -> Option<&Task> {
        self.queue.front().map(|(_, ready)| &ready.task)
    }

    /// Since when the oldest has been here.
    pub fn since(&self) -> Option<Instant> {
        self.queue.front().map(|(since, _)| *since)
    }

    /// All that is here now is to go back, as far as it is still this worker's.
    pub fn doubt(&mut self) {
        self.doubtful = true;
    }

    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.queue.iter().map(|(_, ready)| &ready.task)
    }

    pub fn push(&mut self, ready: Ready, now: Instant) {
        self.suspects += usize::from(ready.task.suspect);
        self.queue.push_back((now, ready));
    }

    pub fn pop(&mut self) -> Option<Ready> {
        self.remove(0)
    }

    pub fn remove(&mut self, index: usize) -> Option<Ready> {
        let (_, ready) = self.queue.remove(index)?;
        self.suspects -= usize::from(ready.task.suspect);
        Some(ready)
    }

    /// When the first of those that are to go back does.
    pub fn surplus_at(&self, slots: usize, at_once: bool) -> Option<Instant> {
        let patience = match self.doubtful || at_once {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        let (since, _) = self.queue.get(self.kept(slots))?;
        Some(*since + patience)
    }

    /// Those that are to go back, oldest first, once the first of them has waited long enough. They are
    /// returning until [`Self::returned`] says that they are back.
    pub fn take_surplus(&mut self, slots: usize, at_once: bool, now: Instant) -> Vec<Task> {
        if self.surplus_at(slots, at_once).is_none_or(|at| at > now) {
            return Vec::new();
        }
        let surplus = self.queue.split_off(self.kept(slots));
        self.doubtful = false;
        self.returning += surplus.len();
        self.tasks_of(surplus)
    }

    fn kept(&self, slots: usize) -> usize {
        match self.doubtful {
            true => 0,
            false => slots,
        }
    }

    pub fn returned(&mut self, tasks: usize) {
        self.returning -= tasks;
        self.refused = false;
    }

    pub fn take_all(&mut self) -> Vec<Task> {
        let all = std::mem::take(&mut self.queue);
        self.tasks_of(all)
    }

    fn tasks_of(&mut self, taken: VecDeque<(Instant, Ready)>) -> Vec<Task> {
        let tasks = taken.into_iter().map(|(_, ready)| ready.task);
        let tasks: Vec<Task> = tasks.collect();
        self.suspects -= tasks.iter().filter(|task| task.suspect).count();
        tasks
    }
}
