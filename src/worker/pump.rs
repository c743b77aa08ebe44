//! Exchanges outcomes for tasks: one round trip writes what has been run and takes what there are
//! free slots for, or will be by then (see `ahead`). Two exchanges may be on their way, so that Redis
//! has one while this end has the other; batches form by themselves behind them.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use super::{Report, Shared};
use crate::broker::{Exchange, Exchanged};
use crate::outcome::{End, Finish};

const IN_FLIGHT: usize = 2;
/// The pause before what Redis refused is repeated.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// ... and an exchange whose answer has come too late to be relied on.
const STALE_PAUSE: Duration = Duration::from_millis(50);

pub async fn run(shared: &Shared) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        while in_flight.len() < IN_FLIGHT
            && let Some(exchange) = shared.slots.next_exchange()
        {
            in_flight.push(send(shared, exchange));
        }
        shared.idle.notify_one();
        tokio::select! {
            () = shared.work.notified() => {}
            Some((exchange, exchanged)) = in_flight.next() => receive(shared, &exchange, exchanged),
        }
    }
}

pub async fn send(shared: &Shared, mut exchange: Exchange) -> (Exchange, Exchanged) {
    loop {
        match shared.broker.exchange(&exchange).await {
            Ok(exchanged) if is_stale(shared, &exchange, &exchanged) => {
                shared.beat.notify_one();
                sleep(STALE_PAUSE).await;
            }
            Ok(exchanged) => return (exchange, exchanged),
            Err(error) => {
                shared.handlers.report(Report::Error(error));
                sleep(REFUSED_PAUSE).await;
            }
        }
        // An attempt before this one may have been carried out.
        exchange.again();
    }
}

/// Whether this worker has counted as dead since it asked, perhaps because it was frozen: then what
/// it was given is to be asked for anew, and it gets what is still its own.
pub fn is_stale(shared: &Shared, exchange: &Exchange, exchanged: &Exchanged) -> bool {
    !exchanged.taken.is_empty() && !shared.lease.held_since(exchange.began)
}

pub fn receive(shared: &Shared, exchange: &Exchange, exchanged: Exchanged) {
    for (finish, written) in exchange.finishes.iter().zip(&exchanged.written) {
        if !written {
            shared.handlers.report(Report::Lost {
                id: finish.id.clone(),
            });
        }
    }
    for dropped in &exchanged.dropped {
        shared.handlers.report(Report::Dropped(dropped.clone()));
    }
    let delayed =
        |finish: &Finish| matches!(&finish.end, End::Retry { delay, .. } if !delay.is_zero());
    if exchange.finishes.iter().any(delayed) {
        shared.due.notify_one();
    }
    if exchanged.unregistered {
        shared.beat.notify_one();
    }
    let brought = shared.slots.exchanged(exchange, exchanged);
    if brought.ready {
        shared.handlers.ready();
    }
    if brought.surplus {
        shared.surplus.notify_one();
    }
    shared.left.notify_one();
}
