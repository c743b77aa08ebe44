//! The connection for messages, and who hears what on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Kept, LONGEST_PAUSE, Listener, State, lock};
use crate::runtime;

pub struct Subscriptions {
    kept: Arc<Kept>,
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Default)]
struct Wanted {
    channels: HashMap<String, Vec<Weak<dyn Listener>>>,
    started: bool,
}

impl Subscriptions {
    pub fn new() -> Self {
        Subscriptions {
            kept: Kept::new(),
            wanted: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub fn add(&self, channel: &str, listener: Weak<dyn Listener>) {
        let mut wanted = lock(&self.wanted);
        let listeners = wanted.channels.entry(channel.to_owned()).or_default();
        listeners.push(listener);
        self.changed.notify_one();
    }

    pub fn remove(&self, channel: &str, listener: &Weak<dyn Listener>) {
        let mut wanted = lock(&self.wanted);
        let Some(listeners) = wanted.channels.get_mut(channel) else {
            return;
        };
        listeners.retain(|other| !other.ptr_eq(listener) && other.strong_count() > 0);
        if listeners.is_empty() {
            wanted.channels.remove(channel);
        }
        self.changed.notify_one();
    }

    fn listeners(&self, channel: &str) -> Vec<Arc<dyn Listener>> {
        let wanted = lock(&self.wanted);
        let listeners = wanted.channels.get(channel).into_iter().flatten();
        listeners.filter_map(Weak::upgrade).collect()
    }

    pub fn start(self: Arc<Self>, client: redis::Client, closed: CancellationToken) {
        if std::mem::replace(&mut lock(&self.wanted).started, true) {
            return;
        }
        let messages = Arc::downgrade(&self);
        let on_message = Arc::new(move |channel: &str, payload: &[u8]| {
            if let Some(messages) = messages.upgrade() {
                for listener in messages.listeners(channel) {
                    listener.message(channel, payload);
                }
            }
        });
        runtime::spawn(self.kept.clone().keep(client, closed.clone(), on_message));
        runtime::spawn(async move {
            tokio::select! {
                () = self.follow() => {}
                () = closed.cancelled() => {}
            }
        });
    }

    /// Keeps what is subscribed equal to what is wanted, on whichever connection is open.
    async fn follow(&self) {
        let mut state = self.kept.state.subscribe();
        let mut subscribed: Vec<String> = Vec::new();
        let mut subscribed_in = 0;
        loop {
            let up = match &*state.borrow_and_update() {
                State::Up {
                    connection, epoch, ..
                } => Some((connection.clone(), *epoch)),
                State::Down { .. } => None,
            };
            if let Some((mut connection, epoch)) = up {
                if epoch != subscribed_in {
                    subscribed.clear();
                    subscribed_in = epoch;
                }
                let wanted: Vec<String> = lock(&self.wanted).channels.keys().cloned().collect();
                let surplus: Vec<String> = subscribed
                    .iter()
                    .filter(|channel| !wanted.contains(channel))
                    .cloned()
                    .collect();
                let missing: Vec<String> = wanted
                    .into_iter()
                    .filter(|channel| !subscribed.contains(channel))
                    .collect();
                let mut failed = false;
                let all = surplus.into_iter().map(|channel| (channel, false));
                for (channel, wanted) in all.chain(missing.into_iter().map(|it| (it, true))) {
                    let change = async {
                        match wanted {
                            true => connection.subscribe(&channel).await,
                            false => connection.unsubscribe(&channel).await,
                        }
                    };
                    let gone = state.wait_for(
                        |state| !matches!(state, State::Up { epoch: current, .. } if *current == epoch),
                    );
                    let done = tokio::select! {
                        done = change => done,
                        _ = gone => {
                            self.changed.notify_one();
                            break;
                        }
                    };
                    match done {
                        Ok(()) if wanted => {
                            subscribed.push(channel.clone());
                            for listener in self.listeners(&channel) {
                                listener.listening();
                            }
                        }
                        Ok(()) => subscribed.retain(|other| *other != channel),
                        Err(error) => {
                            failed = true;
                            if error.is_unrecoverable_error() || error.is_io_error() {
                                break;
                            }
                        }
                    }
                }
                // Refused (NOPERM), or the connection is gone: waits are still settled by looking at
                // their tasks. Tried again with the next connection or after a while.
                if failed {
                    let _ = timeout(LONGEST_PAUSE, state.changed()).await;
                    self.changed.notify_one();
                }
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
            }
        }
    }
}
