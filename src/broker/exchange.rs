//! A worker's exchange with the queue: outcomes for tasks, in one script call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};
use tokio::time::Instant;

use super::{Broker, EXCHANGE, answer, call, reply, ttl};
use crate::clock;
use crate::error::Result;
use crate::id;
use crate::outcome::{End, Finish, Keep, Outcome};
use crate::task::{Args, Dropped, Taken};

/// Bytes of args after which an exchange takes no more tasks.
pub const TAKE_BYTES: usize = 512 * 1024;
/// Attempts at an exchange that are told apart.
const ATTEMPTS: u64 = 1000;

/// What a worker sends and asks for in one exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it was first, or last, sent.
    pub began: Instant,
    /// What is written as this exchange's dates.
    now: String,
    worker: Arc<str>,
    /// How long what expires before it is taken is kept.
    keep: Keep,
    /// The owner token of what is taken.
    pub owner: Arc<str>,
    pub finishes: Vec<Finish>,
    /// Where the worker has many in `executing`: how many, and for each finish how many of those are
    /// older.
    pub older: Option<(usize, Vec<usize>)>,
    /// How many tasks it takes, at most.
    pub want: usize,
    /// Whether args are read by themselves: see [`Broker::exchange`].
    pub args_apart: bool,
    /// Nothing more is to be taken, only what an earlier attempt has taken to be told.
    pub withdrawn: bool,
    /// It is carried out some time after it was sent, and so on Redis's clock.
    pub follows_wait: bool,
    /// Counts the worker's exchanges.
    pub(crate) number: u64,
    /// How often this one was sent, as far as no call under way counts it.
    pub sent: u32,
    /// The highest number of a call that was a repetition, as the worker's hash has it: what has
    /// a lower one, and comes late, gets no tasks.
    repetitions: Arc<AtomicU64>,
}

impl Exchange {
    pub fn new(
        worker: Arc<str>,
        owner: Arc<str>,
        keep: Keep,
        number: u64,
        repetitions: Arc<AtomicU64>,
        mut finishes: Vec<Finish>,
        want: usize,
    ) -> Self {
        // As the script wants them.
        finishes.sort_by_key(|finish| !matches!(finish.end, End::Retry { .. }));
        Exchange {
            began: Instant::now(),
            now: clock::now(),
            worker,
            owner,
            keep,
            finishes,
            older: None,
            want,
            args_apart: false,
            withdrawn: false,
            follows_wait: false,
            number,
            sent: 0,
            repetitions,
        }
    }

    /// Whether an earlier attempt may have been carried out.
    pub fn is_repeated(&self) -> bool {
        self.repetitions.load(Ordering::Relaxed) / ATTEMPTS >= self.number
    }

    /// Before it is sent once more. With outcomes its date stays, by which those are known again.
    pub fn again(&mut self) {
        // Calls of the one that was answered, which came before, may still arrive.
        let repeated = self.repetitions.load(Ordering::Relaxed);
        let before = repeated.saturating_sub(self.number * ATTEMPTS);
        self.sent = self.sent.max(u32::try_from(before).unwrap_or_default()) + 1;
        self.began = Instant::now();
        if std::mem::take(&mut self.follows_wait) {
            self.now = clock::now();
        }
    }

    /// Orders calls: by exchange, and by attempt.
    fn call_number(&self, before: u32) -> u64 {
        let attempt = u64::from(self.sent) + u64::from(before);
        let number = self.number * ATTEMPTS + attempt.min(ATTEMPTS - 1);
        if attempt > 0 {
            self.repetitions.fetch_max(number, Ordering::Relaxed);
        }
        number
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
    /// The worker counts as dead, and gets nothing until its next heartbeat.
    pub unregistered: bool,
}

impl Broker {
    /// `executing` → `finished` (or `pending`, or `due`) for what has run, `pending` →
    /// `executing` for what is wanted.
    ///
    /// Repeated until it is answered; fails only where Redis refuses it, with nothing changed.
    ///
    /// Redis's Lua hashes every byte of every string, which takes longer than all else once args have some
    /// hundreds of them. Read apart, they take another trip instead. That is part of the exchange: where it
    /// fails, the whole is repeated, and gives the same tasks again.
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Exchanged> {
        self.call(None, |connection, before| {
            let call = self.exchange_call(exchange, before);
            async move {
                let answer: Value = call::invoke(&EXCHANGE, call, connection.clone()).await?;
                let mut exchanged = answer::exchanged(answer, exchange);
                self.read_args(&mut exchanged.taken, connection).await?;
                Ok(exchanged)
            }
            .boxed()
        })
        .await
    }

    async fn read_args(
        &self,
        taken: &mut [Taken],
        mut connection: MultiplexedConnection,
    ) -> RedisResult<()> {
        let mut unread: Vec<&mut Taken> = taken
            .iter_mut()
            .filter(|task| matches!(task.args, Args::Unread(_)))
            .collect();
        if unread.is_empty() {
            return Ok(());
        }
        let mut reads = redis::pipe();
        reads.ignore_errors();
        for task in &unread {
            reads.hget(self.keys.task(&task.id), "args");
        }
        let answers: Vec<Value> = reads.query_async(&mut connection).await?;
        for (task, answer) in unread.iter_mut().zip(answers) {
            task.args = match answer {
                Value::BulkString(args) => Args::Read(Some(args)),
                Value::ServerError(error) if error.code() != "WRONGTYPE" => {
                    // It says nothing about the task, and the script has been carried out: like an answer that
                    // was lost.
                    return Err(
                        std::io::Error::other(format!("args can't be read: {error}")).into(),
                    );
                }
                _ => Args::Gone,
            };
        }
        Ok(())
    }

    pub(super) fn exchange_call(&self, exchange: &Exchange, before: u32) -> Cmd {
        let worker = self.keys.worker(&exchange.worker);
        let keys = [
            &self.keys.pending,
            &self.keys.executing,
            &self.keys.due,
            &worker,
        ];
        let mut call = call::script(&EXCHANGE, &keys);
        call.arg(&self.keys.task_prefix)
            .arg(&self.keys.results)
            .arg(&self.keys.reply_prefix)
            .arg(if exchange.follows_wait {
                ""
            } else {
                &exchange.now
            })
            .arg(&*exchange.owner)
            .arg(if exchange.withdrawn { 0 } else { exchange.want })
            .arg(TAKE_BYTES)
            .arg(exchange.call_number(before))
            .arg(ttl(exchange.keep))
            .arg(older(exchange))
            .arg(super::flag(exchange.args_apart));
        let (mut owner, mut keep) = (None, exchange.keep);
        let mut waiters = Waiters::default();
        for alike in exchange
            .finishes
            .chunk_by(|one, next| Head::of(one) == Head::of(next))
        {
            let head = Head::of(&alike[0]);
            if owner.replace(head.owner) != Some(head.owner) {
                call.arg("o").arg(head.owner);
            }
            if std::mem::replace(&mut waiters, head.waiters) != head.waiters {
                head.waiters.tell(&mut call);
            }
            if let Some(its_keep) = head.keep
                && std::mem::replace(&mut keep, its_keep) != its_keep
            {
                call.arg("t").arg(own_ttl(its_keep, exchange.keep));
            }
            if let Some(message) = head.message(alike) {
                call.arg("m").arg(message);
            }
            call.arg(head.kind).arg(alike.len());
            for finish in alike {
                outcome(&mut call, finish);
            }
        }
        call
    }
}

/// What outcomes that are sent together have in common.
#[derive(PartialEq)]
struct Head<'a> {
    owner: &'a str,
    waiters: Waiters<'a>,
    keep: Option<Keep>,
    kind: &'static str,
}

impl<'a> Head<'a> {
    fn of(finish: &'a Finish) -> Self {
        let (kind, keep) = match &finish.end {
            End::Finished(Outcome::Successful(Some(_)), keep) => ("v", Some(*keep)),
            End::Finished(Outcome::Successful(None), keep) => ("s", Some(*keep)),
            End::Finished(Outcome::Failed { .. }, keep) => ("f", Some(*keep)),
            End::Finished(Outcome::Cancelled(_), keep) => ("c", Some(*keep)),
            End::Retry { .. } => ("r", None),
        };
        Head {
            owner: &finish.owner,
            waiters: Waiters {
                caller: id::waiter(&finish.id),
                reply_to: finish.reply_to.as_deref().filter(|it| !it.is_empty()),
            },
            keep,
            kind,
        }
    }

    /// The replies to one process that waits, put together as settle.lua would.
    fn message(&self, alike: &[Finish]) -> Option<Vec<u8>> {
        if !self.waiters.is_one() {
            return None;
        }
        let mut message = Vec::new();
        for finish in alike {
            match &finish.end {
                End::Finished(outcome, _) => reply::encode(&mut message, &finish.id, outcome)?,
                End::Retry { .. } => return None,
            }
        }
        Some(message)
    }
}

/// Who waits for a task.
#[derive(PartialEq, Clone, Copy, Default)]
struct Waiters<'a> {
    /// As its id says.
    caller: Option<&'a [u8]>,
    /// As its hash says.
    reply_to: Option<&'a [u8]>,
}

impl Waiters<'_> {
    fn is_one(&self) -> bool {
        match (self.caller, self.reply_to) {
            (Some(_), None) => true,
            (None, Some(reply_to)) => !reply_to.contains(&b','),
            _ => false,
        }
    }

    fn tell(&self, call: &mut Cmd) {
        match (self.caller, self.reply_to) {
            (caller, None) => call.arg("i").arg(caller.unwrap_or_default()),
            (None, Some(reply_to)) => call.arg("w").arg(reply_to),
            (Some(caller), Some(reply_to)) => call.arg("w").arg([caller, reply_to].join(&b',')),
        };
    }
}

/// The words of one outcome.
fn outcome(call: &mut Cmd, Finish { id, end, .. }: &Finish) {
    call.arg(id);
    match end {
        End::Finished(Outcome::Successful(Some(value)), _) => {
            call.arg(value);
        }
        End::Finished(Outcome::Successful(None), _) => {}
        End::Finished(Outcome::Failed { reason, exception }, _) => {
            call.arg(reason).arg(exception.as_deref().unwrap_or(""));
        }
        End::Finished(Outcome::Cancelled(reason), _) => {
            call.arg(reason);
        }
        End::Retry {
            reason,
            attempt,
            delay,
        } => {
            call.arg(reason).arg(delay.as_millis().to_string());
            call.arg(*attempt);
        }
    }
}

fn older(exchange: &Exchange) -> String {
    let Some((held, older)) = &exchange.older else {
        return String::new();
    };
    let numbers: Vec<String> = std::iter::once(held)
        .chain(older)
        .map(ToString::to_string)
        .collect();
    numbers.join(",")
}

fn own_ttl(keep: Keep, workers: Keep) -> String {
    match keep {
        keep if keep == workers => String::new(),
        Keep::ForEver => "-".into(),
        Keep::For(_) => ttl(keep),
    }
}
