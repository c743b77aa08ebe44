//! Enqueuing: what callers hand in while the runtime is busy goes to Redis together.
//!
//! One [`Client`] a queue and process, shared by all JavaScript clients of that queue.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::connection::{Link, Settings, lock};
use crate::broker::{Broker, Enqueued};
use crate::error::{Error, Result};
use crate::id;
use crate::runtime;
use crate::task::{Cancelled, NewTask};
use crate::waits::{Settled, Wait, Waits};

/// Tasks and bytes in one script call: enough that more gain nothing, few enough that other
/// users of that Redis are not held up for more than a fraction of a millisecond.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// Script calls on their way at a time.
const IN_FLIGHT: usize = 32;
/// How often what waits to be sent is looked through for what has waited too long, while all that may be on its way is.
const OVERDUE_EVERY: Duration = Duration::from_millis(250);
/// What may wait for Redis, in tasks and bytes; more is refused.
const MAX_QUEUED: usize = 1_000_000;
const MAX_QUEUED_BYTES: usize = 512 * 1024 * 1024;

/// Who hears what became of a request; tokens are the caller's own numbers.
/// Called on any thread; must not block.
pub trait Caller: Send + Sync {
    /// The task is in Redis; true if this request created it.
    fn enqueued(&self, token: u32, result: Result<bool>);
    /// The wait is over.
    fn settled(&self, token: u32, settled: Settled);
}

/// A task to enqueue, and what the caller wants to hear of it.
pub struct Request {
    pub token: u32,
    pub task: NewTask,
    /// Tell when it is in Redis. An error is told in any case.
    pub acknowledge: bool,
    /// Tell its outcome; after that time, that there is none yet.
    pub wait: Option<Option<Duration>>,
}

struct Queued {
    /// Counts what was handed in.
    number: u64,
    request: Request,
    caller: Arc<dyn Caller>,
    patience: Duration,
    deadline: Instant,
}

#[derive(Default)]
struct Outbox {
    queue: VecDeque<Queued>,
    /// Of what is queued and of what is on its way, which is here until it is answered.
    bytes: usize,
    next_number: u64,
    /// The first number of each batch that is on its way.
    sending: BTreeSet<u64>,
}

impl Outbox {
    /// All with a lower number have been answered.
    fn oldest(&self) -> u64 {
        let queued = self.queue.front().map(|queued| queued.number);
        let sending = self.sending.first().copied();
        let open = queued.into_iter().chain(sending).min();
        open.unwrap_or(self.next_number)
    }
}

/// A queue's producer and waiter.
pub struct Client {
    inner: Arc<Inner>,
    _close: DropGuard,
}

struct Inner {
    /// This process's own in this queue; its address is a part of it.
    name: String,
    broker: Broker,
    waits: Arc<Waits>,
    outbox: Mutex<Outbox>,
    wake: Notify,
    /// A batch was answered.
    answered: Notify,
}

/// Clients that stand, by Redis and queue.
type Clients = HashMap<(Settings, String), Weak<Client>>;
static CLIENTS: LazyLock<Mutex<Clients>> = LazyLock::new(Mutex::default);

impl Client {
    /// The process's client of that queue, made if need be.
    pub fn shared(settings: &Settings, queue: &str) -> Result<Arc<Client>> {
        let link = Link::shared(settings)?;
        let mut clients = lock(&CLIENTS);
        let key = (settings.clone(), queue.to_owned());
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let broker = Broker::new(link, queue);
        let closed = CancellationToken::new();
        let name = id::new_name();
        let address = id::address(&name).to_owned();
        let waits = Waits::start(broker.clone(), address, closed.clone());
        let inner = Arc::new(Inner {
            name,
            broker,
            waits,
            outbox: Mutex::default(),
            wake: Notify::new(),
            answered: Notify::new(),
        });
        // Were Tokio to interrupt it between two batches, as it does with what has much to do, it would wake
        // the last one first, and they would be sent in that order.
        runtime::spawn(unconstrained(inner.clone().send(closed.clone())));
        let client = Arc::new(Client {
            inner,
            _close: closed.drop_guard(),
        });
        clients.insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    /// This process's own among those of the queue: see [`id::new_name`].
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    pub fn waits(&self) -> &Waits {
        &self.inner.waits
    }

    /// Hands tasks in, in order. Their waits are registered before anything is sent.
    /// What can't be sent within `patience` fails.
    pub fn enqueue(&self, requests: Vec<Request>, caller: &Arc<dyn Caller>, patience: Duration) {
        let deadline = Instant::now() + patience;
        for request in &requests {
            if let Some(timeout) = request.wait {
                let wait = Wait::new(caller.clone(), request.token, timeout);
                let wait = wait.unsent(request.task.again);
                self.inner.waits.add(&request.task.id, wait);
            }
        }
        let mut refused = Vec::new();
        {
            let mut outbox = lock(&self.inner.outbox);
            for request in requests {
                if outbox.queue.len() >= MAX_QUEUED || outbox.bytes > MAX_QUEUED_BYTES {
                    refused.push(request);
                    continue;
                }
                outbox.bytes += request.task.bytes();
                let number = outbox.next_number;
                outbox.next_number += 1;
                outbox.queue.push_back(Queued {
                    number,
                    request,
                    caller: caller.clone(),
                    patience,
                    deadline,
                });
            }
        }
        self.inner.wake.notify_one();
        for request in refused {
            let error = Error::Connection(format!(
                "{MAX_QUEUED} tasks or {MAX_QUEUED_BYTES} bytes are waiting for Redis already. \
                 Wait for earlier calls before making more."
            ));
            self.inner.fail(&request, caller, error);
        }
    }
}

impl Client {
    /// Cancels a task, after whatever was enqueued here before has got through.
    pub async fn cancel(&self, id: String, reason: &str, patience: Duration) -> Result<Cancelled> {
        let deadline = Instant::now() + patience;
        self.inner.answered_before_now(deadline).await?;
        let broker = &self.inner.broker;
        let answers = broker
            .cancel(&[id.into_bytes()], reason, true, deadline)
            .await?;
        Ok(answers.into_iter().next().unwrap_or(Cancelled::Missing))
    }
}

impl Inner {
    async fn answered_before_now(&self, deadline: Instant) -> Result<()> {
        let number = lock(&self.outbox).next_number;
        loop {
            let answered = self.answered.notified();
            let mut answered = pin!(answered);
            answered.as_mut().enable();
            if lock(&self.outbox).oldest() >= number {
                return Ok(());
            }
            timeout_at(deadline, answered).await.map_err(|_| {
                Error::Connection(format!(
                    "what was enqueued before has not got through to Redis at {} in time",
                    self.broker.link().address()
                ))
            })?;
        }
    }

    /// Sends what is handed in, batch after batch, in order.
    async fn send(self: Arc<Self>, closed: CancellationToken) {
        let mut places: Vec<usize> = (0..IN_FLIGHT).rev().collect();
        let mut on_the_way = FuturesUnordered::new();
        let mut overdue = interval(OVERDUE_EVERY);
        overdue.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The place first, so that what arrives while there is none joins the batch.
            while let Some(place) = places.pop() {
                let batch = self.next_batch();
                if batch.is_empty() {
                    places.push(place);
                    break;
                }
                on_the_way.push(self.carry(batch, place));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(place) = on_the_way.next() => places.push(place),
                // What is on its way may have more patience, and hold all places.
                _ = overdue.tick(), if places.is_empty() => self.give_up_overdue(),
                () = closed.cancelled() => break,
            }
        }
        while on_the_way.next().await.is_some() {}
    }

    async fn carry(&self, batch: Vec<Queued>, place: usize) -> usize {
        let bytes: usize = batch.iter().map(|it| it.request.task.bytes()).sum();
        let first = batch.first().map(|queued| queued.number);
        self.send_batch(batch, place).await;
        {
            let mut outbox = lock(&self.outbox);
            outbox.bytes = outbox.bytes.saturating_sub(bytes);
            if let Some(first) = first {
                outbox.sending.remove(&first);
            }
        }
        self.answered.notify_waiters();
        place
    }

    fn give_up_overdue(&self) {
        let now = Instant::now();
        let late: VecDeque<Queued> = {
            let mut outbox = lock(&self.outbox);
            if outbox.queue.iter().all(|queued| queued.deadline > now) {
                return;
            }
            let queue = std::mem::take(&mut outbox.queue).into_iter();
            let (late, rest): (VecDeque<_>, VecDeque<_>) =
                queue.partition(|queued| queued.deadline <= now);
            outbox.queue = rest;
            let bytes: usize = late.iter().map(|it| it.request.task.bytes()).sum();
            outbox.bytes = outbox.bytes.saturating_sub(bytes);
            late
        };
        self.answered.notify_waiters();
        for Queued {
            request, caller, ..
        } in late
        {
            let error = Error::Connection(format!(
                "Redis at {} has not taken in time what was to be sent before this task, which was not sent",
                self.broker.link().address()
            ));
            self.fail(&request, &caller, error);
        }
    }

    fn next_batch(&self) -> Vec<Queued> {
        let mut outbox = lock(&self.outbox);
        let mut batch = Vec::new();
        let mut bytes = 0;
        // A batch fails as a whole, so one client's patience must not become another's.
        let patience = outbox.queue.front().map(|queued| queued.patience);
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && outbox.queue.front().map(|queued| queued.patience) == patience
        {
            let Some(queued) = outbox.queue.pop_front() else {
                break;
            };
            bytes += queued.request.task.bytes();
            batch.push(queued);
        }
        if let Some(first) = batch.first() {
            outbox.sending.insert(first.number);
        }
        batch
    }

    async fn send_batch(&self, batch: Vec<Queued>, place: usize) {
        let Some(deadline) = batch.iter().map(|queued| queued.deadline).max() else {
            return;
        };
        let (tasks, rest): (Vec<NewTask>, Vec<_>) = batch
            .into_iter()
            .map(
                |Queued {
                     request, caller, ..
                 }| {
                    let Request {
                        token,
                        task,
                        acknowledge,
                        wait,
                    } = request;
                    (task, (token, acknowledge, wait.is_some(), caller))
                },
            )
            .unzip();
        let result = self
            .broker
            .enqueue(&tasks, &self.name, place, deadline)
            .await;
        for (index, (task, (token, acknowledge, waits, caller))) in
            tasks.iter().zip(rest).enumerate()
        {
            let answer = match &result {
                Ok(answers) => answers.get(index).copied().ok_or_else(|| {
                    Error::Refused("Redis gave fewer answers than it was asked for".into())
                }),
                Err(error) => Err(error.clone()),
            };
            let error = match answer {
                Ok(Enqueued::WrongType) => Error::Refused(format!(
                    "the key of task {:?} holds something else than a task (WRONGTYPE)",
                    task.id
                )),
                Err(error) => error,
                Ok(enqueued) => {
                    if waits {
                        self.waits.sent(&task.id, token, &caller);
                        if enqueued == Enqueued::Existed {
                            // Made by somebody else, perhaps finished: ask.
                            self.waits.look(&task.id);
                        }
                    }
                    if acknowledge {
                        caller.enqueued(token, Ok(enqueued == Enqueued::Created));
                    }
                    continue;
                }
            };
            self.waits.remove(&task.id, token, &caller);
            caller.enqueued(token, Err(error));
        }
    }

    fn fail(&self, request: &Request, caller: &Arc<dyn Caller>, error: Error) {
        self.waits.remove(&request.task.id, request.token, caller);
        caller.enqueued(request.token, Err(error));
    }
}
