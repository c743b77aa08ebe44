//! The steps of a task's life in Redis: one documented method each, domain types in and out.
//!
//! ```text
//!  enqueue           exchange (take)             exchange (finish)
//!  ───────▶ pending ────────────────▶ executing ───────────────────▶ finished
//!              ▲                          │
//!              └──────────────────────────┘ release
//! ```
//! Each arrow is one script in `scripts/`. All are safe to repeat, so a call whose connection
//! broke is sent again until it is answered.

pub mod connection;
mod keys;
mod reply;

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value};
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock;
use crate::error::{Error, Result};
use crate::outcome::{Finish, Outcome, Standing};
use crate::task::{Dropped, NewTask, Taken};
use connection::{Link, Listener};
use keys::Keys;

/// Values up to this many bytes travel in the reply itself; Redis bounds what it buffers for a
/// subscriber, and longer ones are read from the hash.
const INLINE_REPLY: usize = 16 * 1024;
/// Bytes of args after which an exchange takes no more tasks.
const TAKE_BYTES: usize = 512 * 1024;
/// How many processes a task sends its outcome to, at most.
const MAX_WAITERS: usize = 16;
/// How long a blocking wait lasts before it is renewed, which proves that the connection lives,
/// and how long its answer may be overdue.
const BLOCK: Duration = Duration::from_secs(5);
const OVERDUE: Duration = Duration::from_secs(5);
/// The pause before a call is repeated that Redis answers with "not now".
const NOT_NOW: Duration = Duration::from_millis(100);

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $name, ".lua"))))
    };
}
static ENQUEUE: LazyLock<Script> = script!("enqueue");
static EXCHANGE: LazyLock<Script> = script!("exchange");
static RELEASE: LazyLock<Script> = script!("release");
static ATTACH: LazyLock<Script> = script!("attach");

/// A queue in Redis.
#[derive(Clone)]
pub struct Broker {
    link: Arc<Link>,
    keys: Arc<Keys>,
    /// The connection on which `enqueue.lua` is known to be loaded. A fair lock, so that batches
    /// stay in order: were each to find the script missing by itself, the second could come first.
    enqueue_loaded: Arc<tokio::sync::Mutex<u64>>,
}

/// A connection of a worker's own, for the command that blocks.
pub struct Blocking(MultiplexedConnection);

/// What an enqueue did for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    Created,
    /// There already; nothing was changed.
    Existed,
    /// Its key holds something else than a hash.
    WrongType,
}

/// What a worker sends and asks for in one exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What is written as this exchange's dates.
    now: String,
    /// The owner token of what is taken.
    pub owner: Arc<str>,
    pub finishes: Vec<Finish>,
    pub want: usize,
    /// Whether an earlier attempt may have been carried out.
    pub repeated: bool,
}

impl Exchange {
    pub fn new(owner: Arc<str>, finishes: Vec<Finish>, want: usize) -> Self {
        Exchange {
            now: clock::now(),
            owner,
            finishes,
            want,
            repeated: false,
        }
    }
}

/// What an exchange brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// For each finish, whether it was written; if not, the task had another owner by then.
    pub written: Vec<bool>,
    pub taken: Vec<Taken>,
    pub dropped: Vec<Dropped>,
    /// Whether there may be more than was taken.
    pub more: bool,
}

/// A message for a waiter.
pub enum Message<'a> {
    /// The outcome of a task, or that it has one to be read.
    Reply(&'a [u8], Option<Outcome>),
    /// A task has finished, whoever waits for it.
    Finished(&'a [u8]),
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

    /// nothing → `pending`: writes the hashes and pushes the ids, in order.
    ///
    /// Where the connection breaks the call is repeated until the deadline. An error then says
    /// whether the tasks may have been enqueued all the same.
    pub async fn enqueue(
        &self,
        tasks: &[NewTask],
        reply_to: &str,
        deadline: Instant,
    ) -> Result<Vec<Enqueued>> {
        let now = clock::now();
        self.load_enqueue(deadline).await;
        let answer: Vec<i64> = self
            .call(Some(deadline), |mut connection, _| {
                let mut call = ENQUEUE.key(&self.keys.pending);
                call.arg(&self.keys.task_prefix).arg(&now);
                for task in tasks {
                    call.arg(&task.id).arg(&task.function).arg(&task.args);
                    call.arg(if task.reply { reply_to } else { "" });
                    call.arg(if task.again { "1" } else { "" });
                }
                async move { call.invoke_async(&mut connection).await }.boxed()
            })
            .await?;
        Ok(answer
            .into_iter()
            .map(|code| match code {
                1 => Enqueued::Created,
                0 => Enqueued::Existed,
                _ => Enqueued::WrongType,
            })
            .collect())
    }

    /// Loads the script once a connection. Where that fails the call itself says what is wrong.
    async fn load_enqueue(&self, deadline: Instant) {
        // An earlier batch may have more patience than this one.
        let Ok(mut loaded) = timeout_at(deadline, self.enqueue_loaded.lock()).await else {
            return;
        };
        if let Ok((mut connection, epoch)) = self.link.commands(Some(deadline)).await
            && *loaded != epoch
            && ENQUEUE.load_async(&mut connection).await.is_ok()
        {
            *loaded = epoch;
        }
    }

    /// `executing` → `finished` for what has run, `pending` → `executing` for what is wanted.
    ///
    /// Repeated until it is answered; fails only where Redis refuses it, with nothing changed.
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Exchanged> {
        let answer: Value = self
            .call(None, |mut connection, repeated| {
                let mut call = EXCHANGE.key(&self.keys.pending);
                call.key(&self.keys.executing);
                call.arg(&self.keys.task_prefix)
                    .arg(&self.keys.results)
                    .arg(&self.keys.reply_prefix)
                    .arg(&exchange.now)
                    .arg(&*exchange.owner)
                    .arg(exchange.want)
                    .arg(TAKE_BYTES)
                    .arg(if repeated || exchange.repeated {
                        "1"
                    } else {
                        ""
                    })
                    .arg(INLINE_REPLY);
                for Finish { id, owner, outcome } in &exchange.finishes {
                    call.arg(id).arg(&**owner);
                    match outcome {
                        Outcome::Successful(Some(value)) => call.arg("v").arg(value).arg(""),
                        Outcome::Successful(None) => call.arg("s").arg("").arg(""),
                        Outcome::Failed { reason, exception } => call
                            .arg("f")
                            .arg(reason)
                            .arg(exception.as_deref().unwrap_or("")),
                    };
                }
                async move { call.invoke_async(&mut connection).await }.boxed()
            })
            .await?;
        Ok(exchanged(answer, exchange))
    }

    /// `executing` → `pending`, first in line: what was taken and will not be run to an end.
    pub async fn release(&self, tasks: &[(Vec<u8>, Arc<str>)], deadline: Instant) -> Result<()> {
        for chunk in tasks.chunks(500).rev() {
            let _: i64 = self
                .call(Some(deadline), |mut connection, _| {
                    let mut call = RELEASE.key(&self.keys.pending);
                    call.key(&self.keys.executing).arg(&self.keys.task_prefix);
                    for (id, owner) in chunk {
                        call.arg(id).arg(&**owner);
                    }
                    async move { call.invoke_async(&mut connection).await }.boxed()
                })
                .await?;
        }
        Ok(())
    }

    /// Where tasks stand; those that are not finished will send their outcome to `reply_to`.
    pub async fn attach(
        &self,
        ids: &[Arc<str>],
        reply_to: &str,
        deadline: Instant,
    ) -> Result<Vec<Standing>> {
        let answer: Vec<Value> = self
            .call(Some(deadline), |mut connection, _| {
                let mut call = ATTACH.prepare_invoke();
                for id in ids {
                    call.key(self.keys.task(id.as_bytes()));
                }
                call.arg(reply_to).arg(MAX_WAITERS);
                async move { call.invoke_async(&mut connection).await }.boxed()
            })
            .await?;
        Ok(answer.into_iter().map(standing).collect())
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

    /// Shows a worker as alive for so long.
    pub async fn register(
        &self,
        worker: &str,
        fields: &[(&str, String)],
        lifetime: Duration,
        deadline: Instant,
    ) -> Result<()> {
        let key = self.keys.worker(worker);
        self.call(Some(deadline), |mut connection, _| {
            let mut pipe = redis::pipe();
            pipe.atomic();
            pipe.hset_multiple(&key, fields).ignore();
            pipe.pexpire(
                &key,
                i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
            )
            .ignore();
            async move { pipe.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Takes a worker's hash away.
    pub async fn unregister(&self, worker: &str, deadline: Instant) -> Result<()> {
        let key = self.keys.worker(worker);
        self.call(Some(deadline), |mut connection, _| {
            let mut call = redis::cmd("DEL");
            call.arg(&key);
            async move { call.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Opens what `wait_for_pending` waits on.
    pub async fn open_blocking(&self) -> Result<Blocking> {
        let connection = self.link.own().await.map_err(|error| refused(&error))?;
        Ok(Blocking(connection))
    }

    /// Waits on a connection of the caller's own until something is in `pending`; false if
    /// nothing came for a while. An error means that the connection is to be replaced.
    ///
    /// The element is moved onto its own place: nothing is claimed, so a wait that is dropped,
    /// times out or dies with its connection leaves no task behind.
    pub async fn wait_for_pending(&self, connection: &mut Blocking) -> Result<bool> {
        let mut call = redis::cmd("BLMOVE");
        call.arg(&self.keys.pending)
            .arg(&self.keys.pending)
            .arg("RIGHT")
            .arg("RIGHT");
        call.arg(BLOCK.as_secs());
        let answer = tokio::time::timeout(
            BLOCK + OVERDUE,
            call.query_async::<Value>(&mut connection.0),
        );
        match answer.await {
            Ok(Ok(value)) => Ok(value != Value::Nil),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Error::Connection("a blocking wait was not answered".into())),
        }
    }

    /// Hears of the outcomes that are sent to `address`.
    pub fn listen_for_replies(&self, address: &str, listener: Weak<dyn Listener>) {
        self.link.subscribe(&self.keys.reply(address), listener);
    }

    pub fn stop_replies(&self, address: &str) {
        self.link.unsubscribe(&self.keys.reply(address));
    }

    /// Hears of every task's finish: needed for what workers of other kinds run.
    pub fn listen_for_results(&self, listener: Weak<dyn Listener>) {
        self.link.subscribe(&self.keys.results, listener);
    }

    pub fn stop_results(&self) {
        self.link.unsubscribe(&self.keys.results);
    }

    /// What a message says.
    pub fn messages<'a>(&self, channel: &str, payload: &'a [u8]) -> Vec<Message<'a>> {
        if channel == self.keys.results {
            return self
                .keys
                .task_id(payload)
                .map(Message::Finished)
                .into_iter()
                .collect();
        }
        let replies = reply::decode(payload).into_iter();
        replies
            .map(|(id, outcome)| Message::Reply(id, outcome))
            .collect()
    }

    /// Sends a call that is safe to repeat until it is answered, or the deadline passes.
    /// The call is told whether it is a repetition.
    async fn call<'a, T: Send>(
        &self,
        deadline: Option<Instant>,
        call: impl Fn(MultiplexedConnection, bool) -> BoxFuture<'a, RedisResult<T>> + Send + Sync,
    ) -> Result<T> {
        let mut repeated = false;
        loop {
            let (connection, epoch) = match self.link.commands(deadline).await {
                Err(Error::Connection(message)) if repeated => {
                    return Err(Error::Connection(format!(
                        "{message} The call was sent before the connection broke; whether it \
                         took effect is not known."
                    )));
                }
                other => other?,
            };
            let error = match call(connection, repeated).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match Remedy::of(&error) {
                Remedy::None => return Err(refused(&error)),
                Remedy::Redial => {
                    self.link.broken(epoch, error.to_string());
                    return Err(refused(&error));
                }
                Remedy::Reconnect => {
                    repeated = true;
                    self.link.broken(epoch, error.to_string());
                }
                Remedy::Wait => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(refused(&error));
                    }
                    sleep(NOT_NOW).await;
                }
            }
        }
    }
}

/// What is to be done about an error.
enum Remedy {
    /// The connection is gone: repeat the call on another.
    Reconnect,
    /// The server can't now: repeat the call on this one.
    Wait,
    /// The server has become a replica: tell the caller, and look the address up anew.
    Redial,
    /// Tell the caller.
    None,
}

impl Remedy {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown,
            ) => Remedy::Wait,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Remedy::Redial,
            _ if error.code() == Some("BUSY") => Remedy::Wait,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Remedy::Reconnect,
            _ => Remedy::None,
        }
    }
}

fn refused(error: &RedisError) -> Error {
    Error::Refused(format!("Redis refused: {error}"))
}

fn exchanged(answer: Value, exchange: &Exchange) -> Exchanged {
    let mut result = Exchanged::default();
    let mut parts = list(answer).into_iter();
    let mut part = || list(parts.next().unwrap_or(Value::Nil));
    result.written = part()
        .into_iter()
        .map(|code| code == Value::Int(1))
        .collect();
    let mut taken = part().into_iter();
    while let Some(id) = taken.next().and_then(bytes) {
        let mut field = || taken.next().and_then(bytes);
        result.taken.push(Taken {
            id,
            function: field(),
            args: field(),
            created: field(),
            owner: exchange.owner.clone(),
        });
    }
    let mut dropped = part().into_iter();
    while let Some(id) = dropped.next().and_then(bytes) {
        let why = dropped.next().and_then(bytes).unwrap_or_default();
        result.dropped.push(Dropped {
            id,
            why: String::from_utf8_lossy(&why).into_owned(),
        });
    }
    let bytes: usize = result
        .taken
        .iter()
        .filter_map(|task| task.args.as_ref())
        .map(Vec::len)
        .sum();
    result.more = result.taken.len() + result.dropped.len() >= exchange.want
        || bytes >= TAKE_BYTES
        || exchange.repeated;
    result
}

fn standing(answer: Value) -> Standing {
    let mut fields = list(answer).into_iter().map(bytes);
    let mut field = || fields.next().flatten();
    match field().as_deref() {
        Some(b"finished") => {
            let (result, value) = (field(), field());
            let (reason, exception) = (field(), field());
            Standing::Finished(match result.as_deref() {
                Some(b"successful") => reply::successful(value.as_deref()),
                _ => reply::failed(reason.as_deref(), exception.as_deref()),
            })
        }
        Some(b"waiting") => {
            let owner = field();
            let state = field();
            Standing::Waiting {
                foreign: owner.is_none() && state.as_deref() == Some(b"executing"),
            }
        }
        _ => Standing::Missing,
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
