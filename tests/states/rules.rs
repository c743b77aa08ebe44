//! What must hold after each step, and what is known of each task from the steps before.
//!
//! What is allowed all the same:
//!
//! - **A person disturbs a task**: deletes it while it is anywhere, so that its id stays where it
//!   was, or pushes its id once more. Redis can't know. The id may then be in several places, and
//!   the surplus is dropped by whoever comes to it; the task still finishes once.
//! - **A worker of another kind runs a disturbed task.** It looks at nothing, so it may run and
//!   finish what somebody else runs, or has finished.
//! - **A worker of another kind takes a task that expires**: the entry in `due` stays, because only
//!   our workers take it out. It is passed over when it comes due.
//! - **Another program has written a hash, and not yet pushed the id**: the task is in no list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::ops::IDS;
use crate::snapshot::Snapshot;

pub type Checked = Result<(), TestCaseError>;

/// What a task has been through since it was made.
#[derive(Debug, Default, Clone)]
pub struct Past {
    pub finishes: u32,
    pub attempt: u32,
    pub lost: u32,
    pub deleted: bool,
    /// A person has deleted it, or pushed it once more.
    pub disturbed: bool,
    /// ... and another kind of worker had it meanwhile.
    pub foreign_too: bool,
    /// ... at some time, so that its outcome may be theirs.
    pub overwritten: bool,
    /// Another kind of worker took it, and its expiry has stayed in `due`.
    pub stale_expiry: bool,
}

impl Past {
    /// A task is made anew. What stays of the one before is where its id may still be.
    pub fn made(&mut self) -> Checked {
        prop_assert!(
            self.attempt == 0 || self.deleted || self.finishes == 1 || self.foreign_too,
            "made anew over one that finished {} times",
            self.finishes
        );
        *self = Past {
            attempt: 1,
            disturbed: self.disturbed,
            foreign_too: self.foreign_too,
            stale_expiry: self.stale_expiry,
            ..Past::default()
        };
        Ok(())
    }

    /// Whether it was made and has not been deleted since.
    pub fn is_acknowledged(&self) -> bool {
        self.attempt > 0 && !self.deleted
    }
}

/// What is going on outside of Redis that the rules need to know.
pub struct Outside<'a> {
    /// Ids that workers of another kind hold, dead ones included.
    pub foreign: &'a BTreeSet<String>,
    /// Ids whose hashes another program has written, and not pushed.
    pub unpushed: &'a BTreeSet<String>,
}

/// How often a run may be lost.
pub const LIMIT: u32 = 2;

pub fn check(now: &Snapshot, pasts: &mut BTreeMap<String, Past>, outside: &Outside) -> Checked {
    for id in IDS {
        let past = pasts.entry(id.to_owned()).or_default();
        let foreign = outside.foreign.contains(id);
        let unpushed = outside.unpushed.contains(id);
        let pending = Snapshot::count(&now.pending, id);
        let executing = Snapshot::count(&now.executing, id);
        let (put_off, expiring) = (now.is_put_off(id), now.is_expiring(id));
        let state = now.state(id);
        let nowhere = pending + executing == 0 && !put_off && !expiring;

        past.foreign_too |= past.disturbed && foreign;
        past.overwritten |= past.foreign_too;
        past.stale_expiry = expiring && (past.stale_expiry || foreign);

        // Whatever people do:
        let lost: u32 = match now.field(id, "lost") {
            Some(lost) => lost.parse().expect("a number"),
            None => 0,
        };
        if !past.foreign_too {
            prop_assert!(lost <= LIMIT, "{id} was lost {lost} times");
            prop_assert!(lost < LIMIT || state == Some("finished"), "{id} goes on");
            prop_assert!(past.finishes <= 1, "{id} has finished twice");
            if state == Some("finished") {
                prop_assert_eq!(past.finishes, 1, "{} has finished unheard", id);
            }
            let owned = now.owner(id).is_some();
            prop_assert!(!owned || state == Some("executing"), "{id} has an owner");
        }
        if past.disturbed {
            // Known again once its id is nowhere any more, and nobody is left who could end it again:
            // another kind of worker leaves the owner of what it ends in the hash.
            let ended = matches!(state, None | Some("finished"));
            let owned = now.owner(id).is_some();
            if nowhere && ended && !owned && !foreign && !unpushed {
                past.disturbed = false;
                past.foreign_too = false;
                past.finishes = past.finishes.min(1);
            }
            past.lost = lost;
            if let Some(Ok(attempt)) = now.field(id, "attempt").map(str::parse) {
                past.attempt = attempt;
            }
            continue;
        }

        if now.tasks.contains_key(id) {
            prop_assert_eq!(lost, past.lost, "lost runs of {}", id);
            let attempt = now.field(id, "attempt").unwrap_or("1");
            prop_assert_eq!(attempt, past.attempt.to_string(), "attempts of {}", id);
        }
        let places = (pending, executing, usize::from(put_off));
        match state {
            None => prop_assert_eq!(places, (0, 0, 0), "{} is no task", id),
            Some("pending") if foreign => prop_assert_eq!(places, (0, 1, 0), "{}", id),
            Some("pending") if unpushed => prop_assert_eq!(places, (0, 0, 0), "{}", id),
            Some("pending") => prop_assert!(
                matches!(places, (1, 0, 0) | (0, 0, 1)),
                "{id} waits in {places:?}"
            ),
            Some("executing") => {
                prop_assert_eq!(places, (0, 1, 0), "{} is executing", id);
                let owner = now.owner(id).is_some();
                prop_assert!(owner != foreign, "whose is {id}?");
                let ended = now.field(id, "finished-created").is_some();
                prop_assert!(!owner || !ended, "{id} has the end of an earlier life");
            }
            Some("finished") => prop_assert_eq!(places, (0, 0, 0), "{} has finished", id),
            Some(other) => prop_assert!(false, "{id} is {other}"),
        }
        let waits = state == Some("pending") && !foreign && !unpushed;
        let expires = now.field(id, "expires").is_some();
        if waits && expires {
            prop_assert!(expiring, "{id} waits, and its expiry is not due");
        }
        if expiring && !past.stale_expiry {
            prop_assert!(waits && expires, "{id} is due to expire");
        }
    }
    Ok(())
}
