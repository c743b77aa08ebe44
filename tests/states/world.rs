//! Clients, workers, workers of another kind and people, in one queue.

#[path = "actions.rs"]
mod actions;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dothis::broker::connection::{Link, Settings};
use dothis::broker::{Broker, Enqueued, Exchange, Exchanged, Owned, Release};
use dothis::outcome::{End, Finish, Keep, Outcome, Standing};
use dothis::runtime;
use dothis::task::{Args, Cancelled, NewTask, When};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use redis::{Connection, Script};
use tokio::time::Instant;

use crate::ops::{Ending, FOREIGNERS, IDS, New, Op, WORKERS};
use crate::rules::{Checked, LIMIT, Outside, Past, check};
use crate::snapshot::Snapshot;
use crate::support::{Server, run};

const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than a test lasts.
const LONG: Duration = Duration::from_secs(1_000_000);
const FUTURE: f64 = 9e12;
const PAST: i64 = 1;
/// `expires` of a task whose time has come.
const EXPIRED: &str = "1";
const OPTIONS: &str = "{\"resultTtl\":0}";
/// Of the process that enqueues and waits; the last group of its name.
const NAME: &str = "00000000-0000-4000-8000-0000000000ad";
const ADDRESS: &str = "0000000000ad";
/// ... and of another, which waits only.
const ADDRESSES: [&str; 2] = [ADDRESS, "0000000000be"];
const REPLIES: &str = "q:reply:";
/// The places on the way: of calls that the broker makes, and of those whose answers are lost.
const PLACE: usize = 0;
const LOST_PLACE: usize = 1;

/// What must happen at some time in ten seconds.
pub const EVENTS: [&str; 20] = [
    "created",
    "existed",
    "resent",
    "taken",
    "finished",
    "finished by a stranger in vain",
    "retried",
    "exchange repeated",
    "handed back",
    "put back from the dead",
    "spared because it came back to life",
    "given up",
    "expired when taken",
    "expired in time",
    "cancelled",
    "finished by another kind",
    "dropped",
    "told",
    "call answered",
    "both told",
];

/// What a step must bring about.
#[derive(Default)]
pub struct Expected {
    /// What ends.
    pub ended: BTreeSet<String>,
    /// All that this token owns afterwards.
    pub owned: Option<(Arc<str>, BTreeSet<String>)>,
    /// What is pending afterwards, oldest first.
    pub pending: Option<Vec<String>>,
    /// What the process that enqueues waits for afterwards.
    pub awaited: BTreeSet<String>,
    /// By a worker that sends no replies.
    pub untold: bool,
    /// Nothing changes.
    pub nothing: bool,
}

impl Expected {
    pub fn nothing() -> Self {
        Expected {
            nothing: true,
            ..Expected::default()
        }
    }
}

type Acted = Result<Expected, TestCaseError>;

struct Worker {
    uuid: Arc<str>,
    alive: bool,
    exchanges: u64,
    repetitions: Arc<AtomicU64>,
    held: Vec<Held>,
    /// Sent, and not heard of; with what the answer was, and what was there then.
    unanswered: Option<(Exchange, Exchanged, Snapshot)>,
}

/// Id, token, attempt, and who waits.
type Held = (String, Arc<str>, u32, Option<Arc<[u8]>>);

struct Foreigner {
    id: String,
    dead: bool,
}

struct Sent {
    now: String,
    tasks: Vec<New>,
    answer: Vec<i64>,
    /// What was there once it had been carried out.
    after: Snapshot,
}

pub struct World {
    broker: Broker,
    redis: Connection,
    messages: Connection,
    workers: Vec<Worker>,
    foreigners: Vec<Option<Foreigner>>,
    unpushed: Vec<String>,
    sent: Option<Sent>,
    orphans: Vec<Owned>,
    pasts: BTreeMap<String, Past>,
    /// As it was after the last step.
    now: Snapshot,
    calls: u32,
    seen: BTreeSet<&'static str>,
}

fn block<T>(future: impl Future<Output = T>) -> T {
    runtime::handle().expect("a runtime").block_on(future)
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// The addresses of those who wait for that task, as it was.
fn waiters(id: &str, before: &Snapshot) -> Vec<&'static str> {
    let noted = before.field(id, "reply-to").unwrap_or_default();
    let waits = |address: &&str| id.ends_with(address) || noted.split(',').any(|it| it == *address);
    ADDRESSES.into_iter().filter(waits).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl World {
    pub fn link(server: &Server) -> Arc<Link> {
        let settings = Settings {
            url: server.url(),
            ca: None,
            cert: None,
            key: None,
        };
        Link::shared(&settings).expect("a link")
    }

    pub fn start(server: &Server, link: &Arc<Link>) -> World {
        let mut redis = server.connect();
        run::<()>(&mut redis, "FLUSHALL");
        let mut messages = server.connect();
        let mut subscription = messages.as_pubsub();
        subscription.subscribe("q:results").expect("a subscription");
        subscription.subscribe("q:end").expect("a subscription");
        for address in ADDRESSES {
            let replies = format!("{REPLIES}{address}");
            subscription.subscribe(replies).expect("a subscription");
        }
        // What `as_pubsub` gives ends its subscriptions with itself.
        std::mem::forget(subscription);
        World {
            broker: Broker::new(link.clone(), "q"),
            redis,
            messages,
            workers: (0..WORKERS).map(World::worker).collect(),
            foreigners: (0..FOREIGNERS).map(|_| None).collect(),
            unpushed: Vec::new(),
            sent: None,
            orphans: Vec::new(),
            pasts: BTreeMap::new(),
            now: Snapshot::default(),
            calls: 0,
            seen: BTreeSet::new(),
        }
    }

    fn worker(number: usize) -> Worker {
        Worker {
            uuid: format!("w{number}").into(),
            alive: false,
            exchanges: 0,
            repetitions: Arc::default(),
            held: Vec::new(),
            unanswered: None,
        }
    }

    pub fn seen(&self) -> BTreeSet<&'static str> {
        self.seen.clone()
    }

    pub fn run(&mut self, ops: &[Op]) -> Checked {
        for worker in 0..WORKERS {
            self.step(&Op::Heartbeat(worker))?;
        }
        for (index, op) in ops.iter().enumerate() {
            self.step(op).map_err(|error| {
                TestCaseError::fail(format!("step {index}, {op:?}: {error}\n{:?}", self.now))
            })?;
        }
        self.end()
            .map_err(|error| TestCaseError::fail(format!("in the end: {error}\n{:?}", self.now)))
    }

    pub fn step(&mut self, op: &Op) -> Checked {
        let before = std::mem::take(&mut self.now);
        let expected = self.act(op, &before)?;
        self.look(&before, &expected)
    }

    /// Looks at what has become of Redis.
    fn look(&mut self, before: &Snapshot, expected: &Expected) -> Checked {
        let now = Snapshot::of(&mut self.redis);
        let mut heard = BTreeSet::new();
        let (finished, told) = self.messages();
        for id in finished {
            self.past(&id).finishes += 1;
            let twice = !heard.insert(id.clone());
            prop_assert!(!twice || self.past(&id).foreign_too, "{id} twice at once");
        }
        for id in IDS {
            let past = self.past(id).clone();
            if !past.disturbed {
                let (heard, ends) = (heard.contains(id), expected.ended.contains(id));
                prop_assert_eq!(heard, ends, "whether {} ends", id);
                let waiters = match ends && !expected.untold {
                    true => waiters(id, before),
                    false => Vec::new(),
                };
                for address in &waiters {
                    let is_told = told.contains(&((*address).to_owned(), id.to_owned()));
                    prop_assert!(is_told, "{} waits for {} and is not told", address, id);
                }
                match (waiters.len(), before.field(id, "reply-to")) {
                    (0, _) => {}
                    (1, None) => self.saw("call answered"),
                    (1, Some(_)) => self.saw("told"),
                    _ => self.saw("both told"),
                }
            }
            let created =
                |snapshot: &Snapshot| snapshot.field(id, "pending-created").map(str::to_owned);
            if before.state(id) == Some("finished")
                && !past.foreign_too
                && now.tasks.contains_key(id)
                && created(&now) == created(before)
            {
                let (was, is) = (&before.tasks[id], &now.tasks[id]);
                prop_assert_eq!(was, is, "{} had finished already", id);
            }
        }
        for id in &expected.awaited {
            let waiters = waiters(id, &now);
            prop_assert!(
                waiters.contains(&ADDRESS),
                "nobody knows who waits for {}",
                id
            );
        }
        if let Some((owner, taken)) = &expected.owned {
            let owned = IDS.iter().filter(|id| now.owner(id) == Some(&**owner));
            let owned: BTreeSet<String> = owned.map(|id| (*id).to_owned()).collect();
            prop_assert_eq!(&owned, taken, "what {} has", owner);
        }
        if let Some(pending) = &expected.pending {
            prop_assert_eq!(&now.pending, pending);
        }
        if expected.nothing {
            prop_assert_eq!(&now, before);
        }
        let live = self.foreigners.iter().flatten();
        let foreign = live.map(|foreigner| foreigner.id.clone()).collect();
        let unpushed = self.unpushed.iter().cloned().collect();
        let outside = Outside {
            foreign: &foreign,
            unpushed: &unpushed,
        };
        self.now = now;
        check(&self.now, &mut self.pasts, &outside)
    }

    fn saw(&mut self, event: &'static str) {
        self.seen.insert(event);
    }

    /// The tasks of which a finish has been published since this was last asked, and which address has been told
    /// of which.
    fn messages(&mut self) -> (Vec<String>, BTreeSet<(String, String)>) {
        run::<()>(&mut self.redis, "PUBLISH q:end .");
        let (mut finished, mut told) = (Vec::new(), BTreeSet::new());
        loop {
            let message = self.messages.recv_response().expect("a message");
            let [_, channel, text]: [String; 3] = redis::from_redis_value(message).expect("texts");
            match channel.as_str() {
                "q:results" => finished.extend(text.strip_prefix("q:task:").map(str::to_owned)),
                "q:end" => return (finished, told),
                _ => {
                    let address = channel.strip_prefix(REPLIES).unwrap_or_default();
                    let names = |id: &str| text.contains(&format!("{}:{id}", id.len()));
                    let ids = IDS.into_iter().filter(|id| names(id));
                    told.extend(ids.map(|id| (address.to_owned(), id.to_owned())));
                }
            }
        }
    }

    /// Everybody ends, and one worker runs what is left.
    fn end(&mut self) -> Checked {
        let mut ops = vec![Op::Resend];
        ops.extend(self.unpushed.iter().map(|_| Op::ForeignPush));
        for foreigner in 0..FOREIGNERS {
            ops.extend([Op::ForeignMark(foreigner), Op::ForeignFinish(foreigner)]);
        }
        let restarted = true;
        ops.extend((0..WORKERS).map(|worker| Op::Die { worker, restarted }));
        ops.push(Op::Heartbeat(0));
        for op in ops {
            self.step(&op)?;
        }
        let mut rounds = 0;
        loop {
            let left = &self.now;
            if left.pending.is_empty() && left.executing.is_empty() && left.due.is_empty() {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 20, "it does not end: {left:?}");
            let mut ops: Vec<Op> = (0..left.due.len()).map(Op::ComeDue).collect();
            ops.extend([
                Op::Tick { care: true },
                Op::LookForDead,
                Op::PutBack,
                Op::Reclaim,
            ]);
            ops.push(Op::Exchange {
                worker: 0,
                want: 3,
                ends: vec![Ending::Value; 3],
                lost: false,
            });
            for op in ops {
                self.step(&op)?;
            }
        }
        let left = self.now.clone();
        for id in IDS {
            let past = self.past(id);
            if past.is_acknowledged() {
                prop_assert!(
                    past.finishes == 1 || past.foreign_too && past.finishes > 0,
                    "{id} has finished {} times",
                    past.finishes
                );
            }
            if let Some(state) = left.state(id) {
                prop_assert_eq!(state, "finished");
            }
        }
        for key in &left.keys {
            let known = ["q:task:", "q:sent:", "q:workers", "q:worker:"];
            prop_assert!(
                known.iter().any(|known| key.starts_with(known)),
                "{key} is left"
            );
        }
        Ok(())
    }

    fn past(&mut self, id: &str) -> &mut Past {
        self.pasts.entry(id.to_owned()).or_default()
    }
}
