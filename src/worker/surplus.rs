//! Hands back what was taken ahead and finds no slot: a handler takes longer than those before it
//! did, and another worker may have a free one. And all that has not begun, as far as it is still this
//! worker's, once that has counted as dead.

use tokio::time::{sleep, sleep_until};

use super::pump::REFUSED_PAUSE;
use super::{Report, Shared};
use crate::broker::Release;

pub async fn run(shared: &Shared) {
    loop {
        match shared.slots.surplus_at() {
            None => shared.surplus.notified().await,
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = shared.surplus.notified() => {}
            },
        }
        let surplus = shared.slots.take_surplus();
        if surplus.is_empty() {
            continue;
        }
        let conditions = Release {
            lost: None,
            dead: false,
        };
        // Without a deadline: as long as it is not known what became of them, they are nobody else's.
        while let Err(error) = shared.broker.release(&surplus, conditions, None).await {
            shared.handlers.report(Report::Error(error));
            sleep(REFUSED_PAUSE).await;
        }
        shared.slots.returned(surplus.len());
        shared.freed();
    }
}
