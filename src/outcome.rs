//! What a run ended in, and how a waiter hears of it.

use std::sync::Arc;
use std::time::Duration;

/// What a handler's run ended in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `result: successful`; the JSON text of what was returned, absent for `undefined`.
    Successful(Option<String>),
    /// `result: failed`.
    Failed {
        /// `error-reason`: one line, for a person.
        reason: String,
        /// `error-exception`: the stack trace.
        exception: Option<String>,
    },
    /// `result: failed` and `cancelled`; why, or nothing.
    Cancelled(String),
}

impl Outcome {
    /// A failure that dothis itself found, so without a stack trace.
    pub fn refused(reason: impl Into<String>) -> Self {
        Outcome::Failed {
            reason: reason.into(),
            exception: None,
        }
    }

    /// Its part of a batch's size.
    pub fn bytes(&self) -> usize {
        match self {
            Outcome::Successful(value) => value.as_ref().map_or(0, String::len),
            Outcome::Failed { reason, exception } => {
                reason.len() + exception.as_ref().map_or(0, String::len)
            }
            Outcome::Cancelled(reason) => reason.len(),
        }
    }
}

/// What comes of a run, on its way into Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub id: Vec<u8>,
    pub owner: Arc<str>,
    /// Who waited for it when it was taken, beside the one whom its id names.
    pub reply_to: Option<Arc<[u8]>>,
    /// When it was taken, among all that its worker took.
    pub place: u64,
    pub end: End,
}

/// Whether a task is through with this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is, and is kept for so long.
    Finished(Outcome, Keep),
    /// It is to be run again.
    Retry {
        reason: String,
        /// The next attempt's number.
        attempt: u32,
        delay: Duration,
    },
}

impl End {
    /// Its part of a batch's size.
    pub fn bytes(&self) -> usize {
        match self {
            End::Finished(outcome, _) => outcome.bytes(),
            End::Retry { reason, .. } => reason.len(),
        }
    }
}

/// How long a finished task is kept in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    ForEver,
    For(Duration),
}

impl Keep {
    pub const NOT_AT_ALL: Keep = Keep::For(Duration::ZERO);
    /// What a task is kept for that ends where no worker's options are known.
    pub const BY_DEFAULT: Keep = Keep::For(Duration::from_secs(24 * 60 * 60));
}

/// Where a task stands, as a waiter sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Finished(Outcome),
    /// Not finished; `foreign` where a worker that sends no replies holds it.
    Waiting {
        foreign: bool,
    },
    /// No such task.
    Missing,
}
