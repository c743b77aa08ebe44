//! What workers do beside running tasks: show that they are alive, keep what is due, look after the
//! tasks of the dead, and wait for something to come.

use std::time::Duration;

use futures_util::FutureExt;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use super::call::{self, refused};
use super::{Broker, Exchange, Exchanged, HEARTBEAT, TICK, Tick, answer, ttl};
use crate::clock;
use crate::error::{Error, Result};
use crate::outcome::Keep;

/// How long a blocking wait lasts before it is renewed, which proves that the connection lives,
/// and how long its answer may be overdue.
const BLOCK: Duration = Duration::from_secs(5);
const OVERDUE: Duration = Duration::from_secs(5);

/// A connection of a worker's own, for the command that blocks.
pub struct Blocking(MultiplexedConnection);

/// Who holds a task.
pub struct Held {
    pub owner: Option<Vec<u8>>,
    /// Why it is to be cancelled, if it is.
    pub cancel: Option<Vec<u8>>,
    /// `executing-created`, where whoever took it wrote that.
    pub since: Option<Vec<u8>>,
    /// How often it was lost, where that is written.
    pub lost: Option<Vec<u8>>,
    /// Whether there is such a task.
    pub there: bool,
}

/// The token in the name of a field, sealed or not.
fn owner(name: &[u8]) -> Option<Vec<u8>> {
    let token = name.strip_prefix(b"owner:")?;
    Some(token.strip_suffix(b"!").unwrap_or(token).to_vec())
}

impl Broker {
    /// `due` → `pending` for what is to start, `pending` and `due` → `finished` for what has
    /// expired. Names dead workers to a caller that takes care of them for so long.
    pub async fn tick(&self, care: Duration, deadline: Instant) -> Result<Tick> {
        let now = clock::now();
        let answer: Value = self
            .call(Some(deadline), |connection, _| {
                let keys = [&self.keys.pending, &self.keys.due, &self.keys.workers];
                let mut call = call::script(&TICK, &keys);
                call.arg(&self.keys.task_prefix)
                    .arg(&self.keys.results)
                    .arg(&self.keys.reply_prefix)
                    .arg(&now)
                    .arg(ttl(Keep::BY_DEFAULT))
                    .arg(care.as_millis().to_string());
                call::invoke(&TICK, call, connection).boxed()
            })
            .await?;
        Ok(answer::tick(answer))
    }

    /// What is in `executing`, oldest first.
    pub async fn executing(&self, deadline: Instant) -> Result<Vec<Vec<u8>>> {
        let mut ids: Vec<Vec<u8>> = self
            .call(Some(deadline), |mut connection, _| {
                let mut call = redis::cmd("LRANGE");
                call.arg(&self.keys.executing).arg(0).arg(-1);
                async move { call.query_async(&mut connection).await }.boxed()
            })
            .await?;
        ids.reverse();
        Ok(ids)
    }

    /// The oldest ids in `pending` but for the first so many, as many as that at most.
    pub async fn oldest_pending(
        &self,
        skip: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Vec<u8>>> {
        let back = |places: usize| i64::try_from(places).map_or(i64::MIN, |places| -places);
        self.call(Some(deadline), |mut connection, _| {
            let mut call = redis::cmd("LRANGE");
            call.arg(&self.keys.pending)
                .arg(back(skip.saturating_add(count)))
                .arg(back(skip.saturating_add(1)));
            async move { call.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Some of the ids that are put off, about so many, and the cursor with which to ask for more: 0 at the end, as
    /// at the beginning. All that are there for the whole time are told (`ZSCAN`), whatever others do meanwhile.
    pub async fn put_off(
        &self,
        cursor: u64,
        count: usize,
        deadline: Instant,
    ) -> Result<(u64, Vec<Vec<u8>>)> {
        let (next, found): (u64, Vec<Value>) = self
            .call(Some(deadline), |mut connection, _| {
                let mut call = redis::cmd("ZSCAN");
                call.arg(&self.keys.due).arg(cursor).arg("COUNT").arg(count);
                async move { call.query_async(&mut connection).await }.boxed()
            })
            .await?;
        let members = found.into_iter().step_by(2).filter_map(answer::bytes);
        let ids = members.filter_map(|it| it.strip_prefix(b"start:").map(<[u8]>::to_vec));
        Ok((next, ids.collect()))
    }

    /// How many are in `pending`.
    pub async fn count_pending(&self, deadline: Instant) -> Result<usize> {
        self.call(Some(deadline), |mut connection, _| {
            let mut call = redis::cmd("LLEN");
            call.arg(&self.keys.pending);
            async move { call.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Who holds these, in one request: up to [`CHUNK`](super::CHUNK) of them.
    pub async fn owners(&self, ids: &[Vec<u8>], deadline: Instant) -> Result<Vec<Held>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<Value> = self
            .call(Some(deadline), |mut connection, _| {
                let mut pipe = redis::pipe();
                pipe.ignore_errors();
                for id in ids {
                    let key = self.keys.task(id);
                    pipe.cmd("HKEYS").arg(&key);
                    pipe.cmd("HMGET").arg(&key);
                    pipe.arg("cancel").arg("executing-created").arg("lost");
                }
                async move { pipe.query_async(&mut connection).await }.boxed()
            })
            .await?;
        let mut owners = Vec::with_capacity(ids.len());
        let mut answers = answers.into_iter();
        while let (Some(names), Some(fields)) = (answers.next(), answers.next()) {
            if let Value::ServerError(error) = &names
                && error.code() != "WRONGTYPE"
            {
                // No permission, for instance: it says nothing about the task.
                return Err(refused(&error.clone().into()));
            }
            let names: Vec<Vec<u8>> = answer::list(names)
                .into_iter()
                .filter_map(answer::bytes)
                .collect();
            let mut fields = answer::list(fields).into_iter().map(answer::bytes);
            let mut field = || fields.next().flatten();
            owners.push(Held {
                owner: names.iter().find_map(|name| owner(name)),
                cancel: field(),
                since: field(),
                lost: field(),
                there: !names.is_empty(),
            });
        }
        Ok(owners)
    }

    /// Shows a worker as alive for so long. Whether it was until now, and Redis's clock in
    /// milliseconds since 1970.
    ///
    /// `repetitions` is asked each time that the call is sent: the hash must not be made anew with
    /// less than what has been sent before.
    pub async fn register(
        &self,
        worker: &str,
        fields: &[(&str, String)],
        lifetime: Duration,
        repetitions: impl Fn() -> u64 + Send + Sync,
        deadline: Instant,
    ) -> Result<(bool, i64)> {
        let key = self.keys.worker(worker);
        let (there, clock): (i64, i64) = self
            .call(Some(deadline), |connection, _| {
                let mut call = call::script(&HEARTBEAT, &[&key, &self.keys.workers]);
                call.arg(worker)
                    .arg(lifetime.as_millis().to_string())
                    .arg(repetitions());
                for (field, value) in fields {
                    call.arg(field).arg(value);
                }
                call::invoke(&HEARTBEAT, call, connection).boxed()
            })
            .await?;
        Ok((there == 1, clock))
    }

    /// Takes a worker's hash away, if it is there, and its place among the workers.
    pub async fn unregister(&self, worker: &str, deadline: Instant) -> Result<()> {
        let key = self.keys.worker(worker);
        self.call(Some(deadline), |mut connection, _| {
            let mut pipe = redis::pipe();
            pipe.atomic();
            pipe.del(&key).ignore();
            pipe.zrem(&self.keys.workers, worker).ignore();
            async move { pipe.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Takes dead workers' places among the workers away.
    pub async fn forget(&self, workers: &[String], deadline: Instant) -> Result<()> {
        if workers.is_empty() {
            return Ok(());
        }
        self.call(Some(deadline), |mut connection, _| {
            let mut call = redis::cmd("ZREM");
            call.arg(&self.keys.workers).arg(workers);
            async move { call.query_async(&mut connection).await }.boxed()
        })
        .await
    }

    /// Which of these workers have no key: they are dead.
    pub async fn dead(&self, workers: &[String], deadline: Instant) -> Result<Vec<String>> {
        if workers.is_empty() {
            return Ok(Vec::new());
        }
        let there: Vec<i64> = self
            .call(Some(deadline), |mut connection, _| {
                let mut pipe = redis::pipe();
                for worker in workers {
                    pipe.exists(self.keys.worker(worker));
                }
                async move { pipe.query_async(&mut connection).await }.boxed()
            })
            .await?;
        let dead = workers.iter().zip(there).filter(|(_, there)| *there == 0);
        Ok(dead.map(|(worker, _)| worker.clone()).collect())
    }

    /// Opens what `wait_and_exchange` waits on.
    pub async fn open_blocking(&self) -> Result<Blocking> {
        let connection = self.link.own().await.map_err(|error| refused(&error))?;
        Ok(Blocking(connection))
    }

    /// Waits on a connection of the caller's own until something is in `pending`, or for a while,
    /// and carries the exchange out right behind that, in the same trip.
    ///
    /// The wait moves an element onto its own place, and so claims nothing; the exchange does. An
    /// error means that the connection is to be replaced, and the exchange to be repeated on the
    /// other: it may have been carried out, or be still to come.
    pub async fn wait_and_exchange(
        &self,
        connection: &mut Blocking,
        exchange: &Exchange,
    ) -> Result<Exchanged> {
        let mut both = redis::pipe();
        both.ignore_errors();
        both.cmd("BLMOVE")
            .arg(&self.keys.pending)
            .arg(&self.keys.pending)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(BLOCK.as_secs());
        both.add_command(self.exchange_call(exchange, 0));
        let answers = both.query_async::<Vec<Value>>(&mut connection.0);
        let answers = tokio::time::timeout(BLOCK + OVERDUE, answers).await;
        let answers = answers
            .map_err(|_| Error::Connection("a blocking wait was not answered".into()))?
            .map_err(|error| refused(&error))?;
        let mut answers = answers.into_iter();
        match (answers.next(), answers.next()) {
            // What could not wait would be asked for again at once, for ever.
            (Some(Value::ServerError(error)), _) | (_, Some(Value::ServerError(error))) => {
                Err(refused(&error.into()))
            }
            (_, Some(answer)) => Ok(answer::exchanged(answer, exchange)),
            (_, None) => Err(Error::Refused(
                "Redis gave fewer answers than it was asked for".into(),
            )),
        }
    }
}
