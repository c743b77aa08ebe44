//! `lib/client.js`'s other half.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use napi::bindgen_prelude::Function;
use napi_derive::napi;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ids;
use super::mailbox::{Item, Mailbox};
use super::many::Many;
use super::thrown;
use crate::broker::connection::{Settings, lock};
use crate::client::{Caller, Client, Request};
use crate::error::{Error, Result};
use crate::json;
use crate::outcome::Outcome;
use crate::runtime;
use crate::task::{Cancelled, NewTask, When};
use crate::waits::{self, Settled, Wait};

/// Kinds of items in a client's mailbox; `lib/client-items.js` has the same.
const ENQUEUED: u32 = 0; // token, 1 created or 0
const VALUE: u32 = 1; // token[, value]
const FAILED: u32 = 2; // token, reason, exception or null
const TIMED_OUT: u32 = 3; // token
const GONE: u32 = 4; // token
const UNKNOWN: u32 = 5; // token
const ERROR: u32 = 6; // token, code, message
const HASH: u32 = 7; // token, { field: value }
const CANCELLED: u32 = 8; // token, reason
const ASKED: u32 = 9; // token, 1 if it was not too late to cancel, or 0
pub const ENQUEUED_MANY: u32 = 10; // token, a digit for each, 1 created or 0[, code, message, index]
const CONNECTED: u32 = 11; // 0
const DISCONNECTED: u32 = 12; // 0, why

#[napi(object)]
pub struct ClientOptions {
    pub url: String,
    pub queue: String,
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
    /// How long a call waits for a connection and its answer, in milliseconds.
    pub command_timeout: f64,
    pub max_args_bytes: f64,
}

#[napi]
pub struct NativeClient {
    /// None once closed, so that connections end then, and not when this object is collected.
    open: Mutex<Option<Open>>,
    /// The process's name in this queue.
    name: String,
    caller: Arc<dyn Caller>,
    mailbox: Arc<Mailbox>,
    patience: Duration,
    max_args_bytes: f64,
}

struct Open {
    client: Arc<Client>,
    _follow: DropGuard,
}

struct Inbox(Arc<Mailbox>);

/// One line of a batch, as `lib/task-line.js` writes it:
/// `[token, flags, id, function, args]`, or with the timeout of the wait or null and extra or null
/// behind that.
#[derive(Deserialize)]
struct Line<'a>(
    u32,
    u32,
    String,
    String,
    #[serde(borrow)] &'a RawValue,
    #[serde(default)] Option<f64>,
    #[serde(borrow, default)] Option<Extra<'a>>,
);
/// What most tasks do without. Times in milliseconds.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Extra<'a> {
    start_in: Option<f64>,
    start_at: Option<f64>,
    expires_in: Option<f64>,
    expires_at: Option<f64>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
}
const ACKNOWLEDGE: u32 = 1;
const WAIT: u32 = 2;
const AGAIN: u32 = 4;
const FRESH: u32 = 8;

#[napi]
impl NativeClient {
    #[napi(constructor, catch_unwind)]
    pub fn new(options: ClientOptions, wake: Function<(), ()>) -> napi::Result<Self> {
        let settings = Settings {
            url: options.url,
            ca: options.ca,
            cert: options.cert,
            key: options.key,
        };
        let mailbox = Arc::new(Mailbox::new(wake)?);
        let client = Client::shared(&settings, &options.queue).map_err(|error| thrown(&error))?;
        let closed = CancellationToken::new();
        follow(&client, mailbox.clone(), closed.clone());
        Ok(NativeClient {
            name: client.name().to_owned(),
            open: Mutex::new(Some(Open {
                client,
                _follow: closed.drop_guard(),
            })),
            caller: Arc::new(Inbox(mailbox.clone())),
            mailbox,
            patience: milliseconds(options.command_timeout),
            max_args_bytes: options.max_args_bytes,
        })
    }

    /// Ids for calls whose outcome is awaited here, one behind the other.
    #[napi(catch_unwind)]
    pub fn new_call_ids(&self) -> napi::Result<String> {
        ids::ids(Some(&self.name))
    }

    /// Enqueues a batch: a JSON array of lines.
    #[napi(catch_unwind)]
    pub fn enqueue(&self, batch: String) -> napi::Result<()> {
        self.submit(lines(&batch)?, &self.caller);
        Ok(())
    }

    /// Enqueues a list that comes in portions, and answers once for all of it: its lines' tokens are their
    /// places.
    #[napi(catch_unwind)]
    pub fn enqueue_many(&self, token: u32, portions: Vec<String>) -> napi::Result<()> {
        let portions: Vec<Vec<Line>> = portions
            .iter()
            .map(|portion| lines(portion))
            .collect::<napi::Result<_>>()?;
        let tasks = portions.iter().map(Vec::len).sum();
        let many: Arc<dyn Caller> = Arc::new(Many::new(token, self.mailbox.clone(), tasks));
        for lines in portions {
            self.submit(lines, &many);
        }
        Ok(())
    }

    fn submit(&self, lines: Vec<Line>, caller: &Arc<dyn Caller>) {
        let mut requests = Vec::with_capacity(lines.len());
        for Line(token, flags, id, function, args, timeout, extra) in lines {
            let args = args.get();
            if let Some(problem) = self.problem(args) {
                caller.enqueued(token, Err(Error::Args(problem)));
                continue;
            }
            let waits = flags & WAIT != 0;
            let extra = extra.unwrap_or_default();
            requests.push(Request {
                token,
                acknowledge: flags & ACKNOWLEDGE != 0,
                wait: waits.then(|| timeout.map(milliseconds)),
                task: NewTask {
                    id,
                    function,
                    args: args.to_owned(),
                    reply: waits,
                    fresh: flags & FRESH != 0,
                    again: flags & AGAIN != 0,
                    start: when(extra.start_in, extra.start_at),
                    expires: when(extra.expires_in, extra.expires_at),
                    options: extra.options.map(|options| options.get().to_owned()),
                },
            });
        }
        match self.client() {
            Ok(client) => client.enqueue(requests, caller, self.patience),
            Err(error) => {
                for request in requests {
                    caller.enqueued(request.token, Err(error.clone()));
                }
            }
        }
    }

    /// What is wrong with args that can't be enqueued, if anything is.
    #[napi(catch_unwind)]
    pub fn args_problem(&self, args: String) -> Option<String> {
        self.problem(&args)
    }

    fn problem(&self, args: &str) -> Option<String> {
        if args.len() as f64 > self.max_args_bytes {
            return Some(format!(
                "args are {} bytes of JSON, more than the {} allowed. Store large data elsewhere \
                 and pass a reference, or raise maxArgsBytes.",
                args.len(),
                self.max_args_bytes
            ));
        }
        (json::depth(args) > json::MAX_DEPTH)
            .then(|| format!("args are nested deeper than {} levels", json::MAX_DEPTH))
    }

    /// Waits for a task's outcome.
    #[napi(catch_unwind)]
    pub fn wait(&self, token: u32, id: String, timeout: Option<f64>) {
        let wait = Wait::new(self.caller.clone(), token, timeout.map(milliseconds));
        match self.client() {
            Ok(client) => client.waits().add(&id, wait),
            Err(error) => self.caller.settled(token, Settled::Error(error)),
        }
    }

    /// Gives up a wait.
    #[napi(catch_unwind)]
    pub fn unwait(&self, token: u32, id: String) {
        if let Ok(client) = self.client() {
            client.waits().remove(&id, token, &self.caller);
        }
    }

    /// Cancels a task.
    #[napi(catch_unwind)]
    pub fn cancel(&self, token: u32, id: String, reason: String) {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return self.mailbox.push(failure(token, &error)),
        };
        let mailbox = self.mailbox.clone();
        let patience = self.patience;
        runtime::spawn(async move {
            mailbox.push(match client.cancel(id, &reason, patience).await {
                Ok(answer) => {
                    let asked = matches!(answer, Cancelled::Ended | Cancelled::Asked(_));
                    Item::new(ASKED, token)
                        .json(if asked { "1" } else { "0" })
                        .end()
                }
                Err(error) => failure(token, &error),
            });
        });
    }

    /// Reads a task's hash.
    #[napi(catch_unwind)]
    pub fn read(&self, token: u32, id: String) {
        let broker = match self.client() {
            Ok(client) => client.broker().clone(),
            Err(error) => return self.mailbox.push(failure(token, &error)),
        };
        let mailbox = self.mailbox.clone();
        let patience = self.patience;
        runtime::spawn(async move {
            match waits::read(&broker, &id, patience).await {
                Ok(fields) => {
                    let mut hash = String::from("{");
                    for (index, (name, value)) in fields.iter().enumerate() {
                        if index > 0 {
                            hash.push(',');
                        }
                        json::push_string(&mut hash, name);
                        hash.push(':');
                        json::push_string(&mut hash, value);
                    }
                    hash.push('}');
                    mailbox.push(Item::new(HASH, token).json(&hash).end());
                }
                Err(error) => mailbox.push(failure(token, &error)),
            }
        });
    }

    /// The next portion of what there is to hear.
    #[napi(catch_unwind)]
    pub fn pull(&self) -> String {
        self.mailbox.pull(|_| false)
    }

    /// `connecting`, `connected` or `closed`, and why it is not connected.
    #[napi(catch_unwind)]
    pub fn health(&self) -> (String, Option<String>) {
        let Ok(client) = self.client() else {
            return ("closed".into(), None);
        };
        match client.broker().link().state().borrow().trouble() {
            None => ("connected".into(), None),
            why => ("connecting".into(), why.filter(|why| !why.is_empty())),
        }
    }

    /// Ends what is open, and its callers hear of it; lets go of what is shared with others.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        let open = lock(&self.open).take();
        if let Some(Open { client, .. }) = open {
            let error = Error::Closed("the client was closed before the task finished".into());
            client.waits().close(&self.caller, &error);
        }
    }

    pub(super) fn client(&self) -> Result<Arc<Client>> {
        match &*lock(&self.open) {
            Some(open) => Ok(open.client.clone()),
            None => Err(Error::Closed("the client is closed".into())),
        }
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        self.close();
    }
}

impl Caller for Inbox {
    fn enqueued(&self, token: u32, result: Result<bool>) {
        self.0.push(match result {
            Ok(created) => Item::new(ENQUEUED, token)
                .json(if created { "1" } else { "0" })
                .end(),
            Err(error) => failure(token, &error),
        });
    }

    fn settled(&self, token: u32, settled: Settled) {
        self.0.push(match settled {
            Settled::Outcome(Outcome::Successful(Some(value))) => {
                Item::new(VALUE, token).json(&value).end()
            }
            Settled::Outcome(Outcome::Successful(None)) => Item::new(VALUE, token).end(),
            Settled::Outcome(Outcome::Failed { reason, exception }) => {
                let item = Item::new(FAILED, token).text(&reason);
                match exception {
                    Some(exception) => item.text(&exception).end(),
                    None => item.json("null").end(),
                }
            }
            Settled::Outcome(Outcome::Cancelled(reason)) => {
                Item::new(CANCELLED, token).text(&reason).end()
            }
            Settled::TimedOut => Item::new(TIMED_OUT, token).end(),
            Settled::Gone => Item::new(GONE, token).end(),
            Settled::Unknown => Item::new(UNKNOWN, token).end(),
            Settled::Error(error) => failure(token, &error),
        });
    }
}

fn lines(batch: &str) -> napi::Result<Vec<Line<'_>>> {
    serde_json::from_str(batch)
        .map_err(|error| napi::Error::from_reason(format!("ERR_ARGS: {error}")))
}

fn failure(token: u32, error: &Error) -> String {
    Item::new(ERROR, token)
        .text(error.code())
        .text(&error.to_string())
        .end()
}

/// No time in the future that matters, and one that can still be added to any instant.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Milliseconds from JavaScript: what is not a number of them counts as none.
pub(super) fn milliseconds(number: f64) -> Duration {
    match Duration::try_from_secs_f64(number / 1000.0) {
        Ok(duration) => duration.min(ENDLESS),
        Err(_) if number > 0.0 => ENDLESS,
        Err(_) => Duration::ZERO,
    }
}

fn when(after: Option<f64>, at: Option<f64>) -> Option<When> {
    at.map(When::At).or(after.map(When::In))
}

/// Tells of each change of the connection.
fn follow(client: &Arc<Client>, mailbox: Arc<Mailbox>, closed: CancellationToken) {
    let mut state = client.broker().link().state();
    runtime::spawn(async move {
        let mut was_up = false;
        loop {
            let down = state.borrow_and_update().trouble();
            match &down {
                None if was_up => {}
                None => mailbox.push(Item::new(CONNECTED, 0).end()),
                Some(why) if was_up => mailbox.push(Item::new(DISCONNECTED, 0).text(why).end()),
                Some(_) => {}
            }
            was_up = down.is_none();
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = closed.cancelled() => return,
            }
        }
    });
}
