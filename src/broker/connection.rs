//! Connections to one Redis that are kept up, shared by all clients and workers of the process
//! that name the same Redis: one for commands, one for messages (opened with the first
//! subscription), and one for each worker's blocking command, which the worker opens itself.
//!
//! Commands and messages are apart because Redis bounds what it buffers for a subscriber, and
//! closes the connection beyond: a few large args read over it would be the end of it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::settings;
pub use super::settings::Settings;
use super::subscriptions::Subscriptions;
use crate::error::{Error, Result};
use crate::runtime;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often an open connection is asked whether it still is one, and how long it may think. The answer comes
/// behind all that was asked for before, and large values over a slow network take longer than that. So one that
/// was given up for its silence is followed by one that may think twice as long for a while, and where that is silent
/// from its start on, because the same was asked for again, so is the next, up to the longest.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE: Duration = Duration::from_secs(5);
const LONGEST_PROBE: Duration = Duration::from_secs(80);
const FROM_ITS_START: Duration = Duration::from_secs(10);
const FORGIVEN: Duration = Duration::from_secs(300);
/// After how long without an answer a connection counts as doubtful.
const SILENT: Duration = Duration::from_secs(1);
/// The pause before the second attempt to connect; doubled with each one up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a connection is, for those who wait for it.
#[derive(Clone)]
pub enum State {
    Down {
        why: Option<String>,
    },
    Up {
        connection: MultiplexedConnection,
        epoch: u64,
        /// It has not answered for a while, and may be no more.
        silent: bool,
    },
}

impl State {
    /// Why nothing can be said to get through at the moment; none where it does.
    pub fn trouble(&self) -> Option<String> {
        match self {
            State::Up { silent: false, .. } => None,
            State::Up { .. } => Some(format!(
                "Redis has not answered for {} ms",
                SILENT.as_millis()
            )),
            State::Down { why } => Some(why.clone().unwrap_or_default()),
        }
    }
}

/// Somebody who hears messages. Called on the runtime's thread; must not block.
pub trait Listener: Send + Sync {
    fn message(&self, channel: &str, payload: &[u8]);
    /// The subscription stands, or stands again: what was published before was missed.
    fn listening(&self);
}

/// What is called with the channel and the payload of each message.
pub(super) type OnMessage = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// One connection that is opened, watched and reopened until its link is dropped.
pub(super) struct Kept {
    pub(super) state: watch::Sender<State>,
    lost: Notify,
}

impl Kept {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Kept {
            state: watch::Sender::new(State::Down { why: None }),
            lost: Notify::new(),
        })
    }

    /// Gives up the connection of that epoch, so that another is opened.
    fn broken(&self, epoch: u64, why: String) {
        let changed = self.state.send_if_modified(|state| match state {
            State::Up { epoch: current, .. } if *current == epoch => {
                *state = State::Down { why: Some(why) };
                true
            }
            _ => false,
        });
        if changed {
            self.lost.notify_one();
        }
    }

    pub(super) async fn keep(
        self: Arc<Self>,
        client: redis::Client,
        closed: CancellationToken,
        on_message: OnMessage,
    ) {
        let mut pause = FIRST_PAUSE;
        let mut probe = PROBE;
        let mut epoch = 0;
        while !closed.is_cancelled() {
            epoch += 1;
            let lost = Arc::downgrade(&self);
            let on_message = on_message.clone();
            let on_push = move |push: PushInfo| -> RedisResult<()> {
                match (push.kind, push.data.as_slice()) {
                    (PushKind::Disconnection, _) => {
                        if let Some(kept) = lost.upgrade() {
                            kept.broken(epoch, "the connection was closed".into());
                        }
                    }
                    (
                        PushKind::Message,
                        [Value::BulkString(channel), Value::BulkString(payload)],
                    ) => on_message(&String::from_utf8_lossy(channel), payload),
                    _ => {}
                }
                Ok(())
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(None) // `watch` sees to that.
                .set_push_sender(on_push);
            let attempt = client.get_multiplexed_async_connection_with_config(&config);
            let opened = tokio::select! {
                opened = timeout(CONNECT, attempt) => opened,
                () = closed.cancelled() => return,
            };
            match opened {
                Ok(Ok(connection)) => {
                    pause = FIRST_PAUSE;
                    self.state.send_replace(State::Up {
                        connection: connection.clone(),
                        epoch,
                        silent: false,
                    });
                    let opened = Instant::now();
                    let silenced = tokio::select! {
                        silenced = self.watch(connection, epoch, probe) => silenced,
                        () = closed.cancelled() => return,
                    };
                    let stood = opened.elapsed();
                    probe = match silenced {
                        true if stood < probe + FROM_ITS_START => (probe * 2).min(LONGEST_PROBE),
                        true => PROBE * 2,
                        false if stood < FORGIVEN => probe,
                        false => PROBE,
                    };
                }
                Ok(Err(error)) => {
                    self.state.send_replace(State::Down {
                        why: Some(error.to_string()),
                    });
                }
                Err(_) => {
                    let why = Some(format!("no connection within {} ms", CONNECT.as_millis()));
                    self.state.send_replace(State::Down { why });
                }
            }
            // Jitter, so that a thousand processes don't come back in step.
            tokio::select! {
                () = sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                () = closed.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Returns once the connection of that epoch is no more: whether it was given up because it had not
    /// answered for so long.
    async fn watch(
        &self,
        mut connection: MultiplexedConnection,
        epoch: u64,
        probe: Duration,
    ) -> bool {
        let opened = Instant::now();
        let mut silenced = false;
        loop {
            match &*self.state.borrow() {
                State::Up { epoch: current, .. } if *current == epoch => {}
                _ => return silenced,
            }
            tokio::select! {
                () = self.lost.notified() => continue,
                () = sleep(PROBE_EVERY) => {}
            }
            let probe = match opened.elapsed() < FORGIVEN {
                true => probe,
                false => PROBE,
            };
            let ping = redis::cmd("PING");
            let pong = timeout(probe, ping.query_async::<Value>(&mut connection));
            let mut pong = pin!(pong);
            let answer = tokio::select! {
                () = self.lost.notified() => continue,
                answer = &mut pong => answer,
                () = sleep(SILENT) => {
                    self.doubt(epoch, true);
                    tokio::select! {
                        () = self.lost.notified() => continue,
                        answer = &mut pong => answer,
                    }
                }
            };
            match answer {
                // An error that the server answers with (LOADING, NOPERM) is a sign of life.
                Ok(Err(error)) if error.is_unrecoverable_error() || error.is_io_error() => {
                    self.broken(epoch, error.to_string());
                }
                Ok(_) => self.doubt(epoch, false),
                Err(_) => {
                    silenced = true;
                    self.broken(
                        epoch,
                        format!(
                            "Redis did not answer a PING within {} ms",
                            probe.as_millis()
                        ),
                    );
                }
            }
        }
    }

    fn doubt(&self, epoch: u64, doubtful: bool) {
        self.state.send_if_modified(|state| match state {
            State::Up {
                epoch: current,
                silent,
                ..
            } if *current == epoch => std::mem::replace(silent, doubtful) != doubtful,
            _ => false,
        });
    }
}

/// The connections to one Redis.
pub struct Link {
    client: redis::Client,
    commands: Arc<Kept>,
    subscriptions: Arc<Subscriptions>,
    closed: CancellationToken,
    _close: DropGuard,
}

/// Links that stand, by what they were asked for.
static LINKS: LazyLock<Mutex<HashMap<Settings, Weak<Link>>>> = LazyLock::new(Mutex::default);

impl Link {
    /// The process's link to that Redis, made if need be. Connecting goes on behind it.
    pub fn shared(settings: &Settings) -> Result<Arc<Link>> {
        let mut links = lock(&LINKS);
        if let Some(link) = links.get(settings).and_then(Weak::upgrade) {
            return Ok(link);
        }
        links.retain(|_, link| link.strong_count() > 0);
        let client = settings::open(settings)?;
        let closed = CancellationToken::new();
        let commands = Kept::new();
        runtime::handle()?;
        runtime::spawn(
            commands
                .clone()
                .keep(client.clone(), closed.clone(), Arc::new(|_, _| {})),
        );
        let link = Arc::new(Link {
            client,
            commands,
            subscriptions: Arc::new(Subscriptions::new()),
            _close: closed.clone().drop_guard(),
            closed,
        });
        links.insert(settings.clone(), Arc::downgrade(&link));
        Ok(link)
    }

    /// Where it goes to, without user and password.
    pub fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// The state of the connection for commands, and its changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.commands.state.subscribe()
    }

    /// The connection for commands, waited for until the deadline.
    pub async fn commands(
        &self,
        deadline: Option<Instant>,
    ) -> Result<(MultiplexedConnection, u64)> {
        let mut state = self.commands.state.subscribe();
        let up = state.wait_for(|state| matches!(state, State::Up { .. }));
        let up = match deadline {
            Some(deadline) => timeout_at(deadline, up).await.ok(),
            None => Some(up.await),
        };
        if let Some(Ok(state)) = up
            && let State::Up {
                connection, epoch, ..
            } = &*state
        {
            return Ok((connection.clone(), *epoch));
        }
        let why = match &*self.commands.state.borrow() {
            State::Down { why: Some(why) } => format!(" ({why})"),
            _ => String::new(),
        };
        Err(Error::Connection(format!(
            "no connection to Redis at {}{why}. Is it running, and is the URL right?",
            self.address()
        )))
    }

    /// The epoch of the connection for commands; none while there is none.
    pub fn epoch(&self) -> Option<u64> {
        match &*self.commands.state.borrow() {
            State::Up { epoch, .. } => Some(*epoch),
            State::Down { .. } => None,
        }
    }

    /// Returns once the connection for commands of that epoch is given up.
    pub async fn lost(&self, epoch: u64) {
        let mut state = self.commands.state.subscribe();
        let other =
            |state: &State| !matches!(state, State::Up { epoch: current, .. } if *current == epoch);
        // An error means that the link is no more, and its connections with it.
        let _ = state.wait_for(other).await;
    }

    /// Gives up the connection for commands of that epoch.
    pub fn broken(&self, epoch: u64, why: String) {
        self.commands.broken(epoch, why);
    }

    /// A connection of the caller's own, for a command that blocks.
    pub async fn own(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Hears that channel from now on, through every reconnection. `listening` is called each
    /// time that the subscription stands anew.
    pub fn subscribe(&self, channel: &str, listener: Weak<dyn Listener>) {
        self.subscriptions.add(channel, listener);
        self.subscriptions
            .clone()
            .start(self.client.clone(), self.closed.clone());
    }

    pub fn unsubscribe(&self, channel: &str, listener: &Weak<dyn Listener>) {
        self.subscriptions.remove(channel, listener);
    }
}

/// Locks, also where a thread panicked while it held the lock: what is kept under these locks is
/// whole after each statement.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
