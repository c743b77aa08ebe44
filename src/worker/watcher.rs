//! While slots are free and nothing is pending: a blocking wait, on a connection of its own, for
//! something to come. It claims nothing, so it may be dropped or die at any time.

use std::time::Duration;

use tokio::time::sleep;

use super::Shared;
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
        match shared.broker.wait_for_pending(open).await {
            Ok(true) => {
                shared.slots.something_pending();
                shared.work.notify_one();
            }
            Ok(false) => {}
            Err(_) => {
                connection = None;
                sleep(PAUSE).await;
            }
        }
    }
}
