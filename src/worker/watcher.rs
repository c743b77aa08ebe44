//! While slots are free and nothing is pending: a wait for something to come, on a connection of
//! its own, with an exchange right behind it that takes what has come. One trip less than to be
//! woken and to ask.
//!
//! Whatever becomes of the connection, or of Redis, that exchange is settled like any other, by
//! being repeated until it is answered.

use std::time::Duration;

use tokio::time::sleep;

use super::{Shared, pump};
use crate::broker::Blocking;

/// The pause after a wait that failed; a busy loop would be the alternative.
const PAUSE: Duration = Duration::from_millis(500);

pub async fn run(shared: &Shared) {
    let mut connection: Option<Blocking> = None;
    loop {
        while !shared.slots.is_idle() {
            shared.idle.notified().await;
        }
        let Some(open) = &mut connection else {
            connection = shared.broker.open_blocking().await.ok();
            if connection.is_none() {
                sleep(PAUSE).await;
            }
            continue;
        };
        let Some(mut exchange) = shared.slots.exchange_after_wait() else {
            continue;
        };
        let epoch = shared.broker.link().epoch();
        let exchanged = tokio::select! {
            exchanged = shared.broker.wait_and_exchange(open, &exchange) => exchanged
                .ok()
                .filter(|exchanged| !pump::is_stale(shared, &exchange, exchanged)),
            () = shared.stopping.cancelled() => None,
            () = lost(shared, epoch) => None,
        };
        match exchanged {
            Some(exchanged) => pump::receive(shared, &exchange, exchanged),
            None => {
                connection = None;
                exchange.again();
                exchange.withdrawn = shared.stopping.is_cancelled();
                let (exchange, exchanged) = pump::send(shared, exchange).await;
                pump::receive(shared, &exchange, exchanged);
            }
        }
        shared.work.notify_one();
        if connection.is_none() {
            sleep(PAUSE).await;
        }
    }
}

/// Returns once the other connection is given up: this one goes to the same place.
async fn lost(shared: &Shared, epoch: Option<u64>) {
    match epoch {
        Some(epoch) => shared.broker.link().lost(epoch).await,
        None => std::future::pending().await,
    }
}
