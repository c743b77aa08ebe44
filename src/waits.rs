//! Waiting for outcomes.
//!
//! A wait is registered before its task can finish. Its outcome comes as a reply, which our
//! workers send to this process's address (the task says who waits). A look at the task's hash
//! settles what no reply did: it is made when the subscription stands again after a break, when a
//! message on `{q}:results` names the task, and when a wait has been quiet for a while, because a
//! worker of another kind sends no reply. Where such workers are about, `{q}:results` is heard.
//!
//! All waits share one timer.

mod registry;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::broker::connection::{Listener, lock};
use crate::broker::{Broker, Message};
use crate::client::Caller;
use crate::error::{Error, Result};
use crate::outcome::{Outcome, Standing};
use crate::runtime;
pub use registry::Wait;
use registry::{Presence, Registry};

/// How long a task that was never seen is waited for where the wait has no timeout.
const UNSEEN: Duration = Duration::from_secs(60);
/// How long `{q}:results` is heard after the last sign of another kind of worker.
const FOREIGN: Duration = Duration::from_secs(60);
/// Tasks looked at in one call: their values may be large.
const LOOKS: usize = 16;
/// How long one look may take before the next is tried: long values may come over a slow network.
const LOOK_PATIENCE: Duration = Duration::from_secs(300);
/// The pause after a look that failed.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Outcome(Outcome),
    /// No outcome within the wait's time.
    TimedOut,
    /// The task has vanished: deleted or expired.
    Gone,
    /// There never was such a task while the wait lasted.
    Unknown,
    Error(Error),
}

/// The waits of one queue in this process.
pub struct Waits {
    broker: Broker,
    address: String,
    registry: Mutex<Registry>,
    /// The earliest timer is another one now.
    rescheduled: Notify,
    /// There are looks to be made.
    look: Notify,
    /// What the broker sends messages to.
    me: Weak<Waits>,
}

impl Waits {
    pub fn start(broker: Broker, address: String, closed: CancellationToken) -> Arc<Self> {
        let waits = Arc::new_cyclic(|me| Waits {
            broker,
            address,
            registry: Mutex::default(),
            rescheduled: Notify::new(),
            look: Notify::new(),
            me: me.clone(),
        });
        let task = waits.clone();
        runtime::spawn(async move {
            tokio::select! {
                () = task.run_timers() => {}
                () = task.run_looks() => {}
                () = closed.cancelled() => {}
            }
            let me = task.listener();
            task.broker.stop_replies(&task.address, &me);
            task.broker.stop_results(&me);
        });
        waits
    }

    fn listener(&self) -> Weak<dyn Listener> {
        self.me.clone()
    }

    /// Where replies to this process go.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many waits are open.
    pub fn len(&self) -> usize {
        lock(&self.registry).by_id.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn add(&self, id: &str, mut wait: Wait) {
        let (sooner, subscribe) = {
            let mut registry = lock(&self.registry);
            let id: Arc<str> = match registry.by_id.get_key_value(id) {
                Some((id, _)) => id.clone(),
                None => id.into(),
            };
            registry.schedule(&id, &mut wait);
            let sooner = registry.sleeps_until.is_none_or(|at| wait.timer.0 < at);
            let waits = registry.by_id.entry(id);
            // There is seldom a second one.
            waits.or_insert_with(|| Vec::with_capacity(1)).push(wait);
            (
                sooner,
                !std::mem::replace(&mut registry.hears_replies, true),
            )
        };
        if subscribe {
            self.broker
                .listen_for_replies(&self.address, self.listener());
        }
        if sooner {
            self.rescheduled.notify_one();
        }
    }

    /// Ends one caller's wait without telling it.
    pub fn remove(&self, id: &str, token: u32, caller: &Arc<dyn Caller>) {
        lock(&self.registry).remove_if(id, |wait| wait.is(token, caller));
    }

    /// Ends all waits of one caller.
    pub fn close(&self, caller: &Arc<dyn Caller>, error: &Error) {
        let ended: Vec<Wait> = {
            let mut registry = lock(&self.registry);
            let ids: Vec<Arc<str>> = registry.by_id.keys().cloned().collect();
            ids.iter()
                .flat_map(|id| registry.remove_if(id, |wait| Arc::ptr_eq(&wait.caller, caller)))
                .collect()
        };
        for wait in ended {
            wait.caller
                .settled(wait.token, Settled::Error(error.clone()));
        }
    }

    /// Has a task looked at now, if anybody waits for it.
    pub fn look(&self, id: &str) {
        let mut registry = lock(&self.registry);
        if let Some((id, _)) = registry.by_id.get_key_value(id) {
            let id = id.clone();
            registry.looks.insert(id);
            self.look.notify_one();
        }
    }

    /// The task that one caller's wait had on its way is in Redis now. Another's of the same id may
    /// still be on its way, and replace it.
    pub fn sent(&self, id: &str, token: u32, caller: &Arc<dyn Caller>) {
        let now = Instant::now();
        let mut look = false;
        if let Some(waits) = lock(&self.registry).by_id.get_mut(id) {
            for wait in waits.iter_mut().filter(|wait| wait.is(token, caller)) {
                wait.presence = Presence::Seen(now);
                look |= std::mem::take(&mut wait.look_again);
            }
        }
        if look {
            self.look(id);
        }
    }

    fn settle(&self, id: &str, outcome: Outcome) {
        let mut look = false;
        let mut waits = {
            let mut registry = lock(&self.registry);
            let waits = registry.by_id.get_mut(id).into_iter().flatten();
            // A reply does not say of which run it is, and may come late: that of the run before.
            for wait in waits.filter(|wait| wait.again) {
                wait.look_again = wait.is_unsent();
                if !wait.look_again {
                    wait.heard = Some(outcome.clone());
                    look = true;
                }
            }
            registry.remove_if(id, |wait| !wait.again)
        };
        if look {
            self.look(id);
        }
        let last = waits.pop();
        for wait in waits {
            let outcome = outcome.clone();
            wait.caller.settled(wait.token, Settled::Outcome(outcome));
        }
        if let Some(wait) = last {
            wait.caller.settled(wait.token, Settled::Outcome(outcome));
        }
    }

    async fn run_timers(&self) {
        loop {
            let now = Instant::now();
            let (timed_out, next, looks, quiet) = {
                let mut registry = lock(&self.registry);
                let timed_out = registry.expire(now);
                let quiet = registry.foreign_until.is_some_and(|until| until <= now);
                if quiet {
                    registry.foreign_until = None;
                }
                let timer = registry.timers.first_key_value().map(|((at, _), _)| *at);
                let next = timer.into_iter().chain(registry.foreign_until).min();
                registry.sleeps_until = next;
                (timed_out, next, !registry.looks.is_empty(), quiet)
            };
            if quiet {
                self.broker.stop_results(&self.listener());
            }
            if looks {
                self.look.notify_one();
            }
            for wait in timed_out {
                wait.caller.settled(wait.token, Settled::TimedOut);
            }
            tokio::select! {
                () = runtime::until(next) => {}
                () = self.rescheduled.notified() => {}
            }
        }
    }

    async fn run_looks(&self) {
        loop {
            self.look.notified().await;
            // All that there are before any that come meanwhile: taken out of the set a few at a
            // time, in no order, some could be left lying for as long as others keep coming.
            let all: Vec<Arc<str>> = lock(&self.registry).looks.drain().collect();
            for some in all.chunks(LOOKS) {
                let ids: Vec<Arc<str>> = {
                    let registry = lock(&self.registry);
                    let awaited = some.iter().filter(|id| registry.by_id.contains_key(*id));
                    awaited.cloned().collect()
                };
                if ids.is_empty() {
                    continue;
                }
                let asked = Instant::now();
                let deadline = asked + LOOK_PATIENCE;
                match self.broker.attach(&ids, &self.address, deadline).await {
                    Ok(standings) => {
                        for (id, standing) in ids.iter().zip(standings) {
                            self.looked(id, standing, asked);
                        }
                    }
                    // Each wait's next look is scheduled already.
                    Err(_) => sleep(LOOK_PAUSE).await,
                }
            }
        }
    }

    fn looked(&self, id: &str, standing: Standing, asked: Instant) {
        let foreign;
        let mut ended = Vec::new();
        {
            let mut registry = lock(&self.registry);
            let waits = registry
                .by_id
                .get_mut(id)
                .map(Vec::as_mut_slice)
                .unwrap_or_default();
            match &standing {
                Standing::Finished(_) => {
                    // Quiet, and yet finished: perhaps by a worker that sends no replies.
                    foreign = waits.iter().any(|wait| wait.looks > 1);
                    // An earlier task of this id may be what was seen, which the one that is on
                    // its way replaces.
                    for wait in waits {
                        wait.look_again = wait.is_unsent();
                    }
                    ended = registry.remove_if(id, |wait| !wait.look_again);
                }
                Standing::Waiting { foreign: held } => {
                    foreign = *held;
                    for wait in waits.iter_mut().filter(|wait| !wait.is_unsent()) {
                        wait.presence = Presence::Seen(asked);
                        wait.heard = None;
                    }
                }
                Standing::Missing => {
                    // It may be another program's that is still to come.
                    foreign = waits.iter().any(|wait| wait.presence == Presence::Unknown);
                    let gone = |wait: &Wait| match wait.presence {
                        Presence::Unsent => false,
                        Presence::Seen(since) => since <= asked,
                        Presence::Unknown => {
                            wait.deadline.is_none() && wait.since.elapsed() > UNSEEN
                        }
                    };
                    ended = registry.remove_if(id, gone);
                }
            }
        }
        for wait in ended {
            let settled = match (&standing, wait.heard, wait.presence) {
                (Standing::Finished(outcome), ..) => Settled::Outcome(outcome.clone()),
                // It has finished, and was kept for no longer.
                (_, Some(outcome), _) => Settled::Outcome(outcome),
                (_, None, Presence::Seen(_)) => Settled::Gone,
                _ => Settled::Unknown,
            };
            wait.caller.settled(wait.token, settled);
        }
        if foreign {
            self.hear_results();
        }
    }

    fn hear_results(&self) {
        let until = Instant::now() + FOREIGN;
        let before = lock(&self.registry).foreign_until.replace(until);
        if before.is_none() {
            self.broker.listen_for_results(self.listener());
            self.rescheduled.notify_one();
        }
    }
}

impl Listener for Waits {
    fn message(&self, channel: &str, payload: &[u8]) {
        for message in self.broker.messages(channel, payload) {
            match message {
                Message::Reply(id, Some(outcome)) => {
                    if let Ok(id) = std::str::from_utf8(id) {
                        self.settle(id, outcome);
                    }
                }
                Message::Reply(id, None) | Message::Finished(id) => {
                    if let Ok(id) = std::str::from_utf8(id) {
                        self.look(id);
                    }
                }
                Message::Kill(_) | Message::KillAll | Message::Due => {}
            }
        }
    }

    fn listening(&self) {
        let mut registry = lock(&self.registry);
        let ids: Vec<Arc<str>> = registry.by_id.keys().cloned().collect();
        registry.looks.extend(ids);
        self.look.notify_one();
    }
}

/// Reads a task's hash, for those who want to see it whole.
pub async fn read(broker: &Broker, id: &str, patience: Duration) -> Result<Vec<(String, String)>> {
    let fields = broker.read(id, Instant::now() + patience).await?;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    };
    Ok(fields
        .into_iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::connection::{Link, Settings};

    #[derive(Default)]
    struct Ended(Mutex<Vec<u32>>);

    impl Caller for Ended {
        fn enqueued(&self, _: u32, _: Result<bool>) {}
        fn settled(&self, token: u32, _: Settled) {
            lock(&self.0).push(token);
        }
    }

    #[test]
    fn an_end_that_is_heard_of_ends_no_wait_whose_own_task_is_still_on_its_way_to_run_anew() {
        let settings = Settings {
            url: "redis://127.0.0.1:1".into(),
            ca: None,
            cert: None,
            key: None,
        };
        let link = Link::shared(&settings).expect("nobody connects here");
        let waits = Waits::start(Broker::new(link, "q"), "a".into(), CancellationToken::new());
        let ended = Arc::new(Ended::default());
        let caller: Arc<dyn Caller> = ended.clone();
        for token in [1, 2] {
            waits.add("x", Wait::new(caller.clone(), token, None).unsent(true));
        }
        let ended = || lock(&ended.0).clone();
        let looked = |standing| waits.looked("x", standing, Instant::now());
        let finished = || Standing::Finished(Outcome::Successful(None));
        waits.settle("x", Outcome::Successful(None));
        looked(finished());
        assert!(ended().is_empty(), "both are on their way");
        waits.sent("x", 1, &caller);
        waits.settle("x", Outcome::Successful(None));
        looked(Standing::Waiting { foreign: false });
        assert!(ended().is_empty(), "the reply was of the run before");
        looked(finished());
        assert_eq!(ended(), [1]);
        looked(Standing::Missing);
        assert_eq!(ended(), [1], "the second is still on its way");
        waits.sent("x", 2, &caller);
        waits.settle("x", Outcome::Successful(None));
        looked(Standing::Missing);
        assert_eq!(ended(), [1, 2], "it was kept for a moment only");
    }
}
