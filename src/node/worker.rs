//! `lib/worker.js`'s other half.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::Function;
use napi_derive::napi;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{NativeClient, milliseconds};
use super::mailbox::{Item, Mailbox, PORTION, PORTION_BYTES};
use super::thrown;
use crate::broker::connection::lock;
use crate::error::Error;
use crate::json;
use crate::outcome::{Keep, Outcome};
use crate::runtime;
use crate::task::Dropped;
use crate::worker::run::{Abort, Ran};
use crate::worker::{Handlers, Options, Report, Rules, Worker};

/// Kinds of items in a worker's mailbox; `lib/worker.js` reads them.
const TASK: u32 = 0; // run, id, function, args, pending-created or null[, attempt if not 1]
const ABORT: u32 = 1; // run, kind, reason or milliseconds
const DROPPED: u32 = 2; // 0, id, why
const LOST: u32 = 3; // 0, id
const ERROR: u32 = 4; // 0, code, message
const CLOSED: u32 = 5; // 0[, code, message]
const RECOVERED: u32 = 6; // 0, tasks put back, tasks given up

/// Kinds of aborts.
const WORKER_CLOSED: &str = "0";
const TIMED_OUT: &str = "1";
const CANCELLED: &str = "2";
const LOST_TASK: &str = "3";

/// How long the end of a JavaScript environment waits for its tasks to be handed back.
const TEARDOWN: Duration = Duration::from_secs(2);

#[napi(object)]
pub struct WorkerOptions {
    pub queue: String,
    pub hostname: String,
    pub concurrency: u32,
    pub attempts: u32,
    /// JSON of a policy.
    pub backoff: Option<String>,
    /// Milliseconds, as all that follow.
    pub timeout: Option<f64>,
    pub grace: f64,
    /// None for ever.
    pub result_ttl: Option<f64>,
    pub remove_on_success: bool,
    pub heartbeat_timeout: f64,
    pub max_deliveries: u32,
    pub reclaim_foreign_after: Option<f64>,
    pub max_result_bytes: f64,
}

#[napi]
pub struct NativeWorker {
    uuid: String,
    /// None once closed, so that connections end then, and not when this object is collected.
    worker: Arc<Mutex<Option<Arc<Worker>>>>,
    mailbox: Arc<Mailbox>,
    max_result_bytes: f64,
}

struct Inbox(Arc<Mailbox>);

/// One outcome, as JavaScript writes it: `[run, kind, reason or null, exception or null, value or
/// null]`.
#[derive(Deserialize)]
struct Line<'a>(
    u32,
    u32,
    Option<String>,
    Option<String>,
    #[serde(borrow)] &'a RawValue,
);
const VALUE: u32 = 0;
const NO_VALUE: u32 = 1;
const FAILURE: u32 = 2; // any other: a failure that is final

#[napi]
impl NativeWorker {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        client: &NativeClient,
        options: WorkerOptions,
        wake: Function<(), ()>,
    ) -> napi::Result<Self> {
        let client = client.client().map_err(|error| thrown(&error))?;
        let backoff = options.backoff.as_deref().map(serde_json::from_str);
        let backoff = backoff
            .transpose()
            .map_err(|error| thrown(&Error::Args(format!("backoff: {error}"))))?;
        let mailbox = Arc::new(Mailbox::new(wake)?);
        let handlers = Arc::new(Inbox(mailbox.clone()));
        let worker = Arc::new(Worker::start(
            client.broker().clone(),
            Options {
                rules: Rules {
                    concurrency: options.concurrency as usize,
                    attempts: options.attempts,
                    backoff,
                    timeout: options.timeout.map(milliseconds),
                    grace: milliseconds(options.grace),
                    keep: options
                        .result_ttl
                        .map_or(Keep::ForEver, |ttl| Keep::For(milliseconds(ttl))),
                    remove_on_success: options.remove_on_success,
                },
                heartbeat_timeout: milliseconds(options.heartbeat_timeout),
                max_deliveries: options.max_deliveries,
                reclaim_foreign_after: options.reclaim_foreign_after.map(milliseconds),
                queue: options.queue,
                hostname: options.hostname,
            },
            handlers,
        ));
        // A worker_thread that is ended in the middle of its tasks: nobody is left to run them, so
        // they go back at once. The end of a process's main thread calls no such hook; there,
        // `lib/worker.js` calls `abandon`.
        let ending = Arc::downgrade(&worker);
        env.add_env_cleanup_hook((), move |()| {
            if let Some(worker) = ending.upgrade() {
                abandon(worker, false, TEARDOWN);
            }
        })?;
        Ok(NativeWorker {
            uuid: worker.uuid().to_owned(),
            worker: Arc::new(Mutex::new(Some(worker))),
            mailbox,
            max_result_bytes: options.max_result_bytes,
        })
    }

    /// The last part of its key, `{q}:worker:{uuid}`.
    #[napi(getter, catch_unwind)]
    pub fn uuid(&self) -> String {
        self.uuid.clone()
    }

    /// Tasks being run, and tasks ready to be.
    #[napi(catch_unwind)]
    pub fn counts(&self) -> (u32, u32) {
        let Some(worker) = self.worker() else {
            return (0, 0);
        };
        let (running, ready) = worker.counts();
        (
            u32::try_from(running).unwrap_or(u32::MAX),
            u32::try_from(ready).unwrap_or(u32::MAX),
        )
    }

    /// The next portion of what there is to run and to hear.
    #[napi(catch_unwind)]
    pub fn pull(&self) -> String {
        self.mailbox.pull(|text| {
            let Some(worker) = self.worker() else {
                return false;
            };
            let (tasks, more) = worker.begin(PORTION, PORTION_BYTES);
            for task in tasks {
                text.push(',');
                let item = Item::after(std::mem::take(text), TASK, task.run)
                    .text(&task.id)
                    .text(&task.function)
                    .json(&task.args);
                let item = match &task.created {
                    Some(created) => item.text(created),
                    None => item.json("null"),
                };
                let item = match task.attempt {
                    1 => item,
                    attempt => item.json(&attempt.to_string()),
                };
                *text = item.end();
            }
            more
        })
    }

    /// Hands in outcomes: a JSON array of lines. True if JavaScript is to pull by itself: its slots are
    /// free for what waited for them, and nothing has woken it for that.
    #[napi(catch_unwind)]
    pub fn finish(&self, batch: String) -> napi::Result<bool> {
        let lines: Vec<Line> = serde_json::from_str(&batch)
            .map_err(|error| napi::Error::from_reason(format!("ERR_ARGS: {error}")))?;
        let Some(worker) = self.worker() else {
            return Ok(false);
        };
        let more = worker.finish(lines.into_iter().map(
            |Line(run, kind, reason, exception, value)| {
                let outcome = match kind {
                    VALUE => self.successful(value.get()),
                    NO_VALUE => Outcome::Successful(None),
                    _ => Outcome::Failed {
                        reason: reason.unwrap_or_default(),
                        exception,
                    },
                };
                let again = kind == FAILURE;
                (run, Ran { outcome, again })
            },
        ));
        Ok(more && self.mailbox.claim())
    }

    fn successful(&self, value: &str) -> Outcome {
        if value.len() as f64 > self.max_result_bytes {
            return Outcome::refused(format!(
                "the handler returned {} bytes of JSON, more than the {} allowed. Store large \
                 data elsewhere and return a reference, or raise maxResultBytes.",
                value.len(),
                self.max_result_bytes
            ));
        }
        if json::depth(value) > json::MAX_DEPTH {
            return Outcome::refused(format!(
                "the handler returned a value nested deeper than {} levels",
                json::MAX_DEPTH
            ));
        }
        Outcome::Successful(Some(value.to_owned()))
    }

    /// Has a close end within about `timeout` milliseconds, if it would have taken longer.
    #[napi(catch_unwind)]
    pub fn hasten(&self, timeout: f64) {
        if let Some(worker) = self.worker() {
            worker.hasten(milliseconds(timeout));
        }
    }

    /// Closes it within about `timeout` milliseconds; a `CLOSED` item tells the end.
    #[napi(catch_unwind)]
    pub fn close(&self, timeout: f64) {
        let Some(worker) = self.worker() else {
            return;
        };
        // At once: not even what is ready begins after the call.
        worker.stop_taking();
        let held = self.worker.clone();
        let mailbox = self.mailbox.clone();
        runtime::spawn(async move {
            let closed = worker.close(milliseconds(timeout)).await;
            drop(worker);
            lock(&held).take();
            let item = Item::new(CLOSED, 0);
            mailbox.push(match closed {
                Ok(()) => item.end(),
                Err(error) => item.text(error.code()).text(&error.to_string()).end(),
            });
        });
    }

    /// Stops at once, writes the outcomes that are there, hands the rest back, and returns when
    /// that is done, or after `patience` milliseconds: the process is about to end, `crashed` or not.
    #[napi(catch_unwind)]
    pub fn abandon(&self, crashed: bool, patience: f64) {
        if let Some(worker) = self.worker() {
            abandon(worker, crashed, milliseconds(patience));
        }
    }

    fn worker(&self) -> Option<Arc<Worker>> {
        lock(&self.worker).clone()
    }
}

fn abandon(worker: Arc<Worker>, crashed: bool, patience: Duration) {
    let (done, wait) = mpsc::channel();
    runtime::spawn(async move {
        worker.abandon(crashed).await;
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(patience);
}

impl Handlers for Inbox {
    fn ready(&self) {
        self.0.rouse_for_more();
    }

    fn abort(&self, run: u32, why: &Abort) {
        let item = Item::new(ABORT, run);
        self.0.push(match why {
            Abort::Closed => item.json(WORKER_CLOSED).end(),
            Abort::TimedOut(after) => item
                .json(TIMED_OUT)
                .json(&after.as_millis().to_string())
                .end(),
            Abort::Cancelled(reason) => item.json(CANCELLED).text(reason).end(),
            Abort::Lost => item.json(LOST_TASK).end(),
        });
    }

    fn report(&self, report: Report) {
        self.0.push(match report {
            Report::Dropped(Dropped { id, why }) => Item::new(DROPPED, 0)
                .text(&String::from_utf8_lossy(&id))
                .text(&why)
                .end(),
            Report::Lost { id } => Item::new(LOST, 0).text(&String::from_utf8_lossy(&id)).end(),
            Report::Recovered { back, given_up } => Item::new(RECOVERED, 0)
                .json(&back.to_string())
                .json(&given_up.to_string())
                .end(),
            Report::Error(error) => error_item(&error),
        });
    }
}

fn error_item(error: &Error) -> String {
    Item::new(ERROR, 0)
        .text(error.code())
        .text(&error.to_string())
        .end()
}
