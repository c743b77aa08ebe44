//! Shows the worker as alive: its hash is written again three times within the time after which
//! it expires by itself.

use tokio::time::{Instant, sleep};

use super::{Report, Shared};
use crate::clock;
use crate::error::Error;

pub async fn run(shared: &Shared) {
    let options = &shared.options;
    let fields = [
        ("queue", options.queue.clone()),
        ("hostname", options.hostname.clone()),
        ("pid", std::process::id().to_string()),
        ("registered", clock::now()),
    ];
    let every = options.heartbeat_timeout / 3;
    loop {
        let deadline = Instant::now() + every;
        let beat =
            shared
                .broker
                .register(&shared.uuid, &fields, options.heartbeat_timeout, deadline);
        if let Err(error @ Error::Refused(_)) = beat.await {
            shared.handlers.report(Report::Error(error));
        }
        sleep(every).await;
    }
}
