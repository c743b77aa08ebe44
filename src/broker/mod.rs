//! The steps of a task's life in Redis: one documented method each, domain types in and out.
//!
//! ```text
//!  enqueue            exchange (take)             exchange (finish)
//!  ───┬───▶ pending ─────────────────▶ executing ───────────────────▶ finished
//!     │      ▲ ▲ ▲                      │  │                            ▲
//!     │ tick │ │ └──────────────────────┘  │ exchange (retry)           │ cancel, tick:
//!     │      │ │        release            │                            │ from pending and due
//!     └───▶ due ◀──────────────────────────┘                            │ release: lost too often
//! ```
//! Each arrow is one script in `scripts/`. All are safe to repeat, so a call whose connection
//! broke is sent again until it is answered.

mod answer;
mod call;
pub mod connection;
mod exchange;
mod keys;
mod messages;
mod reply;
mod settings;
mod subscriptions;
mod workers;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, Value};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::error::Result;
use crate::id;
use crate::outcome::{Keep, Standing};
use crate::task::{Cancelled, NewTask, When};
use connection::Link;
pub use exchange::{Exchange, Exchanged};
use keys::Keys;
pub use messages::Message;
pub use workers::{Blocking, Held};

/// How many processes a task sends its outcome to, at most.
const MAX_WAITERS: usize = 16;
/// Ids and owners in one call.
pub const CHUNK: usize = 500;

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $name, ".lua"))))
    };
    (settle, $name:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/settle.lua"),
                include_str!(concat!("scripts/", $name, ".lua"))
            ))
        })
    };
}
static ENQUEUE: LazyLock<Script> = script!("enqueue");
static EXCHANGE: LazyLock<Script> = script!(settle, "exchange");
static RELEASE: LazyLock<Script> = script!(settle, "release");
static CANCEL: LazyLock<Script> = script!(settle, "cancel");
static TICK: LazyLock<Script> = script!(settle, "tick");
static HEARTBEAT: LazyLock<Script> = script!("heartbeat");
static ATTACH: LazyLock<Script> = script!(settle, "attach");

/// A queue in Redis.
#[derive(Clone)]
pub struct Broker {
    link: Arc<Link>,
    keys: Arc<Keys>,
    /// The connection on which `enqueue.lua` is known to be loaded. A fair lock, so that batches
    /// stay in order: were each to find the script missing by itself, the second could come first.
    enqueue_loaded: Arc<tokio::sync::Mutex<u64>>,
}

/// What an enqueue did for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    Created,
    /// There already; nothing was changed.
    Existed,
    /// Its key holds something else than a hash.
    WrongType,
}

/// What a tick found.
#[derive(Debug, PartialEq, Eq)]
pub struct Tick {
    /// How long until the next task is due.
    pub next: Option<Duration>,
    /// Whether anything is pending.
    pub pending: bool,
    /// Workers that the caller is to take the tasks of.
    pub dead: Vec<String>,
}

/// An id and the owner token under which it was taken.
pub type Owned = (Vec<u8>, Arc<str>);

/// Under which conditions tasks go back.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// The runs count as lost, and a task with so many of them is given up.
    pub lost: Option<u32>,
    /// Only where the owner's worker counts as dead.
    pub dead: bool,
}

impl Broker {
    pub fn new(link: Arc<Link>, queue: &str) -> Self {
        Broker {
            link,
            keys: Arc::new(Keys::new(queue)),
            enqueue_loaded: Arc::default(),
        }
    }

    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// nothing → `pending` or `due`: writes the hashes and pushes the ids, in order.
    ///
    /// `name` is that of the process, with the address to which outcomes go. `place` is the call's own
    /// among all of that process's that are on their way. Where the connection breaks the call is repeated
    /// until the deadline. An error then says whether the tasks may have been enqueued all the same.
    pub async fn enqueue(
        &self,
        tasks: &[NewTask],
        name: &str,
        place: usize,
        deadline: Instant,
    ) -> Result<Vec<Enqueued>> {
        let now = clock::now();
        let sent = self.keys.sent(name);
        let address = id::address(name);
        self.load_enqueue(deadline).await;
        let answer: Value = self
            .call(Some(deadline), |connection, _| {
                let keys = [&self.keys.pending, &self.keys.due, &sent];
                let mut call = call::script(&ENQUEUE, &keys);
                call.arg(&self.keys.task_prefix).arg(&now);
                call.arg(&self.keys.wake).arg(place);
                let (mut function, mut waiter) = (None, false);
                for alike in
                    tasks.chunk_by(|one, next| Head::of(one, address) == Head::of(next, address))
                {
                    let head = Head::of(&alike[0], address);
                    if function.replace(head.function) != Some(head.function) {
                        call.arg("f").arg(head.function);
                    }
                    if std::mem::replace(&mut waiter, head.noted) != head.noted {
                        call.arg("w").arg(if head.noted { address } else { "" });
                    }
                    call.arg(head.kind).arg(alike.len());
                    let ids_first = head.kind == "n";
                    for task in alike {
                        call.arg(&task.id);
                        if !ids_first {
                            call.arg(&task.args).arg(extra(task));
                        }
                    }
                    for task in alike.iter().filter(|_| ids_first) {
                        call.arg(&task.args);
                    }
                }
                call::invoke(&ENQUEUE, call, connection).boxed()
            })
            .await?;
        Ok(answer::enqueued(answer, tasks.len()))
    }

    /// Loads the script once a connection. Where that fails the call itself says what is wrong.
    async fn load_enqueue(&self, deadline: Instant) {
        let load = async {
            // An earlier batch may have more patience than this one.
            let mut loaded = self.enqueue_loaded.lock().await;
            if let Ok((mut connection, epoch)) = self.link.commands(Some(deadline)).await
                && *loaded != epoch
            {
                let done = tokio::select! {
                    answer = ENQUEUE.load_async(&mut connection) => answer.is_ok(),
                    () = self.link.lost(epoch) => false,
                };
                if done {
                    *loaded = epoch;
                }
            }
        };
        let _ = timeout_at(deadline, load).await;
    }

    /// `executing` → `pending`, first in line: what was taken and will not be run to an end.
    /// Gives how many went back, and how many ended here.
    pub async fn release(
        &self,
        tasks: &[Owned],
        conditions: Release,
        deadline: Option<Instant>,
    ) -> Result<(usize, usize)> {
        let now = clock::now();
        let limit = conditions
            .lost
            .map_or(String::new(), |limit| limit.to_string());
        let mut sum = (0, 0);
        for chunk in tasks.chunks(CHUNK).rev() {
            let (back, ended): (usize, usize) = self
                .call(deadline, |connection, _| {
                    let keys = [&self.keys.pending, &self.keys.executing, &self.keys.due];
                    let mut call = call::script(&RELEASE, &keys);
                    call.arg(&self.keys.task_prefix)
                        .arg(&self.keys.results)
                        .arg(&self.keys.reply_prefix)
                        .arg(&self.keys.worker_prefix)
                        .arg(&now)
                        .arg(&limit)
                        .arg(flag(conditions.dead))
                        .arg(ttl(Keep::BY_DEFAULT));
                    for (id, owner) in chunk {
                        call.arg(id).arg(&**owner);
                    }
                    call::invoke(&RELEASE, call, connection).boxed()
                })
                .await?;
            sum = (sum.0 + back, sum.1 + ended);
        }
        Ok(sum)
    }

    /// `pending`, `due` → `finished`; a task that is executing is marked, and whoever runs it told
    /// if `tell`.
    pub async fn cancel(
        &self,
        ids: &[Vec<u8>],
        reason: &str,
        tell: bool,
        deadline: Instant,
    ) -> Result<Vec<Cancelled>> {
        let now = clock::now();
        let mut answers = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let answer: Vec<Value> = self
                .call(Some(deadline), |connection, _| {
                    let keys = [&self.keys.pending, &self.keys.due];
                    let mut call = call::script(&CANCEL, &keys);
                    call.arg(&self.keys.task_prefix)
                        .arg(&self.keys.results)
                        .arg(&self.keys.reply_prefix)
                        .arg(if tell { &*self.keys.commands } else { "" })
                        .arg(&now)
                        .arg(reason)
                        .arg(ttl(Keep::BY_DEFAULT));
                    for id in chunk {
                        call.arg(id);
                    }
                    call::invoke(&CANCEL, call, connection).boxed()
                })
                .await?;
            answers.extend(answer.into_iter().map(answer::cancelled));
        }
        Ok(answers)
    }

    /// Where tasks stand; those that are not finished will send their outcome to the address `reply_to`.
    pub async fn attach(
        &self,
        ids: &[Arc<str>],
        reply_to: &str,
        deadline: Instant,
    ) -> Result<Vec<Standing>> {
        let answer: Vec<Value> = self
            .call(Some(deadline), |connection, _| {
                let keys: Vec<Vec<u8>> =
                    ids.iter().map(|id| self.keys.task(id.as_bytes())).collect();
                let mut call = call::script(&ATTACH, &keys);
                call.arg(reply_to).arg(MAX_WAITERS);
                call.arg(&self.keys.task_prefix);
                call::invoke(&ATTACH, call, connection).boxed()
            })
            .await?;
        Ok(answer.into_iter().map(answer::standing).collect())
    }

    /// A task's hash as it is: field names and values, in Redis's order; none where there is none.
    pub async fn read(&self, id: &str, deadline: Instant) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.call(Some(deadline), |mut connection, _| {
            let mut call = redis::cmd("HGETALL");
            call.arg(self.keys.task(id.as_bytes()));
            async move { call.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    async fn call<'a, T: Send>(
        &self,
        deadline: Option<Instant>,
        call: impl Fn(MultiplexedConnection, u32) -> BoxFuture<'a, RedisResult<T>> + Send + Sync,
    ) -> Result<T> {
        call::repeat(&self.link, deadline, call).await
    }
}

/// What tasks that are sent together have in common.
#[derive(PartialEq)]
struct Head<'a> {
    function: &'a str,
    /// Whether it must be written into the hash that this process waits: the id does not say it.
    noted: bool,
    kind: &'static str,
}

impl<'a> Head<'a> {
    fn of(task: &'a NewTask, address: &str) -> Self {
        let noted = task.reply && id::waiter(task.id.as_bytes()) != Some(address.as_bytes());
        Head {
            function: &task.function,
            noted,
            kind: match (is_plain(task), task.fresh) {
                (false, _) => "x",
                (true, true) => "n",
                (true, false) => "p",
            },
        }
    }
}

fn is_plain(task: &NewTask) -> bool {
    !task.again && task.start.is_none() && task.expires.is_none() && task.options.is_none()
}

/// `extra` of enqueue.lua; none for a plain task.
fn extra(task: &NewTask) -> Option<String> {
    if is_plain(task) {
        return None;
    }
    let NewTask {
        fresh,
        again,
        start,
        expires,
        options,
        ..
    } = task;
    let new = match (fresh, again) {
        (true, _) => "n",
        (false, true) => "1",
        (false, false) => "",
    };
    let when = |when: &Option<When>| match when {
        Some(When::In(milliseconds)) => format!("+{milliseconds:.0}"),
        Some(When::At(milliseconds)) => format!("@{milliseconds:.0}"),
        None => String::new(),
    };
    Some(format!(
        "{new}|{}|{}|{}",
        when(start),
        when(expires),
        options.as_deref().unwrap_or_default()
    ))
}

fn ttl(keep: Keep) -> String {
    match keep {
        Keep::ForEver => String::new(),
        Keep::For(time) => time.as_millis().to_string(),
    }
}

fn flag(set: bool) -> &'static str {
    if set { "1" } else { "" }
}
