//! Puts the tasks of dead workers back. Dead is who has no key in Redis: it expires a
//! `heartbeatTimeout` after the last heartbeat.
//!
//! A key also expires where it is Redis that was away, or whose clock has jumped. So a worker
//! believes in another's death only once it has itself been in unbroken contact with Redis for
//! longer than the time between two heartbeats: whoever lives has shown it by then.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::{Report, Shared};
use crate::broker::connection::lock;
use crate::broker::{CHUNK, Held, Owned, Release};

/// How long contact must have been unbroken.
const STEADY: Duration = Duration::from_secs(3);
/// The longest time between two answers, and the largest difference between Redis's clock and this
/// process's over it, with which contact counts as unbroken.
const GAP: Duration = Duration::from_millis(1_500);
const JUMP: f64 = 0.5;
/// How often all of `executing` is looked through, for what no death told of.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// How long a look or a step may take. Not longer: it would wait for a Redis that is away, and go on
/// when that is back, where all that live count as dead until their next heartbeat.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a worker knows of others' deaths.
#[derive(Default)]
pub struct Reaper {
    contact: Mutex<Contact>,
    dead: Mutex<HashSet<String>>,
    told: Notify,
}

#[derive(Default)]
struct Contact {
    since: Option<Instant>,
    last: Option<(Instant, i64, Option<u64>)>,
}

impl Contact {
    fn heard(&mut self, now: Instant, clock: i64, epoch: Option<u64>) {
        let unbroken = self.last.is_some_and(|(then, clock_then, epoch_then)| {
            let passed = now.saturating_duration_since(then);
            let ticked = clock.saturating_sub(clock_then) as f64 / 1000.0;
            epoch == epoch_then && passed <= GAP && (ticked - passed.as_secs_f64()).abs() <= JUMP
        });
        if !unbroken {
            self.since = Some(now);
        }
        self.last = Some((now, clock, epoch));
    }

    fn is_steady(&self, now: Instant) -> bool {
        let ago = |then: Instant| now.saturating_duration_since(then);
        self.since.is_some_and(|since| ago(since) >= STEADY)
            && self.last.is_some_and(|(last, ..)| ago(last) <= GAP)
    }
}

impl Reaper {
    /// Redis has taken a heartbeat over that connection, and this was its clock. Nothing less will
    /// do: while Redis takes no writes, everybody's key expires.
    pub fn heard(&self, now: Instant, clock: i64, epoch: Option<u64>) {
        lock(&self.contact).heard(now, clock, epoch);
    }

    /// Redis has taken none in time.
    pub fn interrupted(&self) {
        *lock(&self.contact) = Contact::default();
    }

    pub fn is_steady(&self) -> bool {
        lock(&self.contact).is_steady(Instant::now())
    }

    pub fn told_of(&self, dead: Vec<String>) {
        lock(&self.dead).extend(dead);
        self.told.notify_one();
    }
}

/// A run that is not known of, and since when it has been seen. An id may be run again and again, and each
/// run is as old as it is.
type Strangers = HashMap<Owned, Instant>;

pub async fn run(shared: &Shared) {
    let mut strangers = Strangers::new();
    let foreign = shared.options.reclaim_foreign_after;
    let every = foreign.map_or(SCAN_EVERY, |age| {
        (age / 4).clamp(Duration::from_millis(250), SCAN_EVERY)
    });
    let mut pause = STEADY + STEADY.mul_f64(fastrand::f64());
    loop {
        tokio::select! {
            () = sleep(pause) => pause = every,
            () = shared.reaper.told.notified() => {}
        }
        if !shared.reaper.is_steady() {
            pause = STEADY;
            continue;
        }
        let told: Vec<String> = lock(&shared.reaper.dead).drain().collect();
        if scan(shared, &mut strangers).await.is_ok() && shared.reaper.is_steady() {
            // Those that live after all are back among the workers with their next heartbeat.
            let _ = shared.broker.forget(&told, soon()).await;
        }
    }
}

/// Looks through all that is executing. Where it fails, or contact breaks meanwhile, the dead are
/// told of again.
async fn scan(shared: &Shared, strangers: &mut Strangers) -> crate::error::Result<()> {
    let broker = &shared.broker;
    let ids = broker.executing(soon()).await?;
    let mut found: Vec<Found> = Vec::with_capacity(ids.len());
    for some in ids.chunks(CHUNK) {
        if !shared.reaper.is_steady() {
            return Ok(());
        }
        let held = broker.owners(some, soon()).await?;
        found.extend(some.iter().cloned().zip(held).map(Found::new));
    }

    let workers: HashSet<&str> = found
        .iter()
        .filter_map(|it| worker(it.owner.as_deref()?))
        .filter(|worker| **worker != *shared.uuid)
        .collect();
    let workers: Vec<String> = workers.into_iter().map(str::to_owned).collect();
    let dead: HashSet<String> = broker.dead(&workers, soon()).await?.into_iter().collect();
    let orphans: Vec<Owned> = found
        .iter()
        .filter_map(|it| Some((&it.id, it.owner.as_deref()?)))
        .filter(|(_, owner)| worker(owner).is_some_and(|worker| dead.contains(worker)))
        .map(|(id, owner)| (id.clone(), Arc::from(owner)))
        .collect();
    let lost = Some(shared.options.max_deliveries);
    release(shared, &orphans, Release { lost, dead: true }).await?;

    // What has no owner is another kind of worker's, or is no more. And this worker's own may be here
    // that it knows nothing of, whatever went wrong: what is still unknown at the next look goes back,
    // unless an exchange has been under way since before.
    let now = Instant::now();
    let mut seen = Strangers::new();
    let (mut old, mut mine): (Vec<Owned>, Vec<Owned>) = Default::default();
    let known = shared.slots.held();
    let (unwritten, under_way) = shared.slots.unwritten();
    for it in found {
        let run = it.run();
        let ours = it.owner.as_deref().and_then(worker) == Some(&shared.uuid);
        let age = match (&it.owner, it.there) {
            (Some(_), _) if ours && !known.contains(&run) && !unwritten.contains(&run) => {
                Some(SCAN_EVERY / 2)
            }
            (Some(_), _) => continue,
            (None, true) => shared.options.reclaim_foreign_after,
            (None, false) => Some(SCAN_EVERY / 2),
        };
        let since = strangers.get(&run).copied().unwrap_or(now);
        if age.is_some_and(|age| now.duration_since(since) >= age) {
            match ours {
                true if under_way.is_none_or(|began| began > since) => mine.push(run.clone()),
                true => {}
                false => old.push(run.clone()),
            }
        }
        seen.insert(run, since);
    }
    *strangers = seen;
    release(
        shared,
        &mine,
        Release {
            lost: None,
            dead: false,
        },
    )
    .await?;
    release(shared, &old, Release { lost, dead: false }).await
}

/// What is executing, and who has it.
struct Found {
    id: Vec<u8>,
    owner: Option<String>,
    /// In place of an owner, where it has none: see release.lua.
    since: String,
    there: bool,
}

impl Found {
    fn new((id, held): (Vec<u8>, Held)) -> Self {
        let text = |field: Option<Vec<u8>>| {
            String::from_utf8_lossy(&field.unwrap_or_default()).into_owned()
        };
        Found {
            id,
            owner: held.owner.and_then(|owner| String::from_utf8(owner).ok()),
            since: format!("@{}|{}", text(held.since), text(held.lost)),
            there: held.there,
        }
    }

    fn run(&self) -> Owned {
        let owner = self.owner.as_deref().unwrap_or(&self.since);
        (self.id.clone(), owner.into())
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

async fn release(
    shared: &Shared,
    tasks: &[Owned],
    conditions: Release,
) -> crate::error::Result<()> {
    // The youngest first, so that the oldest are first in line.
    for some in tasks.chunks(CHUNK).rev() {
        if !shared.reaper.is_steady() {
            return Ok(());
        }
        let released = shared.broker.release(some, conditions, Some(soon())).await;
        let (back, given_up) = released?;
        if back + given_up > 0 {
            shared.handlers.report(Report::Recovered { back, given_up });
        }
    }
    Ok(())
}

/// The worker in an owner token. What is no token of ours is left to whoever wrote it.
fn worker(owner: &str) -> Option<&str> {
    owner.rsplit_once(':').map(|(worker, _)| worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contact after answers at these seconds, of Redis's clock at these.
    fn steady(answers: &[(f64, f64)]) -> bool {
        let start = Instant::now();
        let mut contact = Contact::default();
        let mut now = start;
        for (at, clock) in answers {
            now = start + Duration::from_secs_f64(*at);
            contact.heard(now, (clock * 1000.0) as i64, Some(1));
        }
        contact.is_steady(now)
    }

    #[test]
    fn contact_is_steady_after_three_unbroken_seconds() {
        assert!(!steady(&[]));
        assert!(!steady(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]));
        assert!(steady(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.1, 3.1)]));
    }

    #[test]
    fn a_gap_or_a_jump_of_the_clock_breaks_contact() {
        let beats = |jump: f64| -> Vec<(f64, f64)> {
            let late = |n: i32| f64::from(n) + if n < 4 { 0.0 } else { jump };
            (0..6).map(|n| (f64::from(n), late(n))).collect()
        };
        assert!(steady(&beats(0.0)));
        assert!(!steady(&beats(30.0)));
        assert!(!steady(&beats(-90.0)));
        let paused: Vec<_> = beats(30.0).iter().map(|(_, at)| (*at, *at)).collect();
        assert!(!steady(&paused));
    }
}
