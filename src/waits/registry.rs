//! Who waits for which task, and when each is to be looked at or given up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Caller;
use crate::outcome::Outcome;

/// How long a wait is quiet before its task is looked at; doubled with each look.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const RAREST_LOOK: Duration = Duration::from_secs(5);

/// One caller's wait for one task.
pub struct Wait {
    pub caller: Arc<dyn Caller>,
    pub token: u32,
    pub since: Instant,
    pub deadline: Option<Instant>,
    pub look_at: Instant,
    pub look_pause: Duration,
    pub looks: u32,
    pub presence: Presence,
    /// Whether its task may replace another of its id.
    pub again: bool,
    /// The end of a task of this id was heard of before this wait's own was known to be sent.
    pub look_again: bool,
    /// What a reply said since, of this run or the one before: a look tells.
    pub heard: Option<Outcome>,
    pub timer: Timer,
}

/// What is known of a task's presence in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// On its way there: missing it means nothing.
    Unsent,
    /// Somebody else's, which may be still to come.
    Unknown,
    /// It was there by then: if a look that was sent later misses it, it is gone. An earlier one may
    /// have come to Redis first, and be answered after it.
    Seen(Instant),
}

/// When, and a number that tells waits with the same time apart.
pub type Timer = (Instant, u64);

impl Wait {
    /// A wait for any task; it is looked at at once.
    pub fn new(caller: Arc<dyn Caller>, token: u32, timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        Wait {
            caller,
            token,
            since: now,
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            look_at: now,
            look_pause: FIRST_LOOK,
            looks: 0,
            presence: Presence::Unknown,
            again: false,
            look_again: false,
            heard: None,
            timer: (now, 0),
        }
    }

    /// The task is this process's own and on its way: no look until the wait has been quiet.
    /// With `again` it may replace a finished one of its id, whose reply may still be under way.
    pub fn unsent(mut self, again: bool) -> Self {
        self.presence = Presence::Unsent;
        self.again = again;
        self.look_at += FIRST_LOOK;
        self
    }

    pub fn is_unsent(&self) -> bool {
        self.presence == Presence::Unsent
    }

    /// Whether it is that caller's, of that number.
    pub fn is(&self, token: u32, caller: &Arc<dyn Caller>) -> bool {
        self.token == token && Arc::ptr_eq(&self.caller, caller)
    }
}

/// The open waits.
#[derive(Default)]
pub struct Registry {
    pub by_id: HashMap<Arc<str>, Vec<Wait>>,
    pub timers: BTreeMap<Timer, Arc<str>>,
    pub sequence: u64,
    /// When the timers are looked at next; later ones need no word of it.
    pub sleeps_until: Option<Instant>,
    /// Ids to be looked at as soon as may be.
    pub looks: HashSet<Arc<str>>,
    pub hears_replies: bool,
    /// Until when `{q}:results` is heard.
    pub foreign_until: Option<Instant>,
}

impl Registry {
    pub fn schedule(&mut self, id: &Arc<str>, wait: &mut Wait) {
        self.sequence += 1;
        let at = wait
            .deadline
            .map_or(wait.look_at, |deadline| deadline.min(wait.look_at));
        wait.timer = (at, self.sequence);
        self.timers.insert(wait.timer, id.clone());
    }

    /// Takes out the waits for `id` of which `which` holds.
    pub fn remove_if(&mut self, id: &str, which: impl Fn(&Wait) -> bool) -> Vec<Wait> {
        let Some((id, waits)) = self.by_id.remove_entry(id) else {
            return Vec::new();
        };
        let (removed, kept) = match waits.iter().all(&which) {
            true => (waits, Vec::new()),
            false => waits.into_iter().partition(which),
        };
        for wait in &removed {
            self.timers.remove(&wait.timer);
        }
        if !kept.is_empty() {
            self.by_id.insert(id, kept);
        }
        removed
    }

    /// Ends the waits whose time is up, and notes whose task is due for a look.
    pub fn expire(&mut self, now: Instant) -> Vec<Wait> {
        let mut timed_out = Vec::new();
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (timer, id) = entry.remove_entry();
            let Some((id, mut waits)) = self.by_id.remove_entry(&*id) else {
                continue;
            };
            if let Some(index) = waits.iter().position(|wait| wait.timer == timer) {
                let mut wait = waits.swap_remove(index);
                if wait.deadline.is_some_and(|deadline| deadline <= now) {
                    timed_out.push(wait);
                } else {
                    self.looks.insert(id.clone());
                    wait.looks += 1;
                    wait.look_at = now + wait.look_pause;
                    wait.look_pause = (wait.look_pause * 2).min(RAREST_LOOK);
                    self.schedule(&id, &mut wait);
                    waits.push(wait);
                }
            }
            if !waits.is_empty() {
                self.by_id.insert(id, waits);
            }
        }
        // Several that are found at once, because this thread was held up, end in their turn all the same.
        timed_out.sort_by_key(|wait| wait.deadline);
        timed_out
    }
}
