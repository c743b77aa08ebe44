//! The one thread on which everything that touches Redis runs.
//!
//! A current-thread runtime: measured against one of two threads it did the same throughput with
//! less CPU and lower latency. Started with the first client of the process, shared by all of
//! them, whichever JavaScript thread they belong to, and kept until the process ends.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Result};

static HANDLE: OnceLock<std::result::Result<Handle, String>> = OnceLock::new();

/// The runtime, started if need be.
pub fn handle() -> Result<&'static Handle> {
    HANDLE
        .get_or_init(|| start().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| Error::Connection(format!("the runtime thread could not start: {error}")))
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("dothis".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Returns at that time; never where there is none.
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Starts a task there. Without a runtime, which `handle` has reported by then, it does nothing.
pub fn spawn<F>(future: F) -> Option<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    handle().ok().map(|handle| handle.spawn(future))
}
