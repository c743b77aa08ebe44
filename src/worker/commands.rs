//! What others tell workers on `{q}:cmd` and `{q}:wake`.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::run::Abort;
use crate::broker::Message;
use crate::broker::connection::Listener;
use crate::error::Result;
use crate::task::Cancelled;

/// Commands that wait to be carried out. Those beyond are dropped: what they cancel is marked in
/// Redis, and found by the heartbeat, unless it was published by hand.
pub const BACKLOG: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// Ids cancelled in one call where all are.
const AT_ONCE: usize = 500;
/// What a task that was cancelled by a message alone says.
const BY_COMMAND: &str = "by a command on the queue";

pub enum Command {
    Kill(Vec<u8>),
    KillAll,
}

impl Listener for Shared {
    fn message(&self, channel: &str, payload: &[u8]) {
        for message in self.broker.messages(channel, payload) {
            let command = match message {
                Message::Kill(id) => Command::Kill(id.to_owned()),
                Message::KillAll => Command::KillAll,
                Message::Due => {
                    self.due.notify_one();
                    continue;
                }
                _ => continue,
            };
            let _ = self.commands.try_send(command);
        }
    }

    fn listening(&self) {
        // What was published before was missed.
        self.due.notify_one();
    }
}

pub async fn run(shared: &Shared, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Kill(id) => {
                kill(shared, &[id]).await;
            }
            Command::KillAll => kill_all(shared).await,
        }
    }
}

/// What waits first, and what runs last: slots that become free must find nothing to take.
async fn kill_all(shared: &Shared) {
    // One of the workers does it, as a rule, before the others come to it.
    sleep(Duration::from_millis(fastrand::u64(0..200))).await;
    // An error leaves some of what waits; the command can be given again.
    let _ = kill_waiting(shared).await;
    let held = shared.slots.held().into_iter();
    kill(shared, &held.map(|(id, _)| id).collect::<Vec<_>>()).await;
}

/// Whoever sends the message by hand marks nothing, so the mark is made here. Gives which of them have
/// ended by that.
async fn kill(shared: &Shared, ids: &[Vec<u8>]) -> Vec<bool> {
    let deadline = Instant::now() + PATIENCE;
    let answers = shared.broker.cancel(ids, BY_COMMAND, false, deadline).await;
    let answers = answers.unwrap_or_default();
    for (id, answer) in ids.iter().zip(&answers) {
        if let Cancelled::Asked(reason) = answer {
            shared.abort(id, None, &Abort::Cancelled(reason.clone()));
        }
    }
    let ended = answers.iter().map(|answer| *answer == Cancelled::Ended);
    ended.collect()
}

/// Cancels as many as are waiting now, pending or put off, first come first; what comes later is
/// spared.
async fn kill_waiting(shared: &Shared) -> Result<()> {
    let broker = &shared.broker;
    let soon = || Instant::now() + PATIENCE;
    let mut pending = broker.count_pending(soon()).await?;
    // What is put off first: where its time comes meanwhile, it is found among what is pending.
    let mut cursor = 0;
    loop {
        let (next, ids) = broker.put_off(cursor, AT_ONCE, soon()).await?;
        kill(shared, &ids).await;
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    // Ids that can't end here (there is no such task, or it was pushed twice) stay where they are, until
    // somebody takes them. They count once, and are passed by where there is nothing else among them; and as
    // they may be taken meanwhile, it is looked once more from the beginning.
    let (mut skip, mut spared, mut again) = (0, HashSet::new(), true);
    while pending > 0 {
        let ids = broker
            .oldest_pending(skip, pending.min(AT_ONCE), soon())
            .await?;
        if ids.is_empty() {
            if skip == 0 || !again {
                break;
            }
            (skip, again) = (0, false);
            continue;
        }
        let ended = kill(shared, &ids).await;
        if !ended.contains(&true) {
            skip += ids.len();
        }
        let ended = ended.into_iter().chain(std::iter::repeat(false));
        let counted = ids.into_iter().zip(ended);
        let counted = counted.filter(|(id, ended)| *ended || spared.insert(id.clone()));
        pending = pending.saturating_sub(counted.count());
    }
    Ok(())
}
