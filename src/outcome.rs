//! What a run ended in, and how a waiter hears of it.

use std::sync::Arc;

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
        }
    }
}

/// An outcome on its way into Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub id: Vec<u8>,
    pub owner: Arc<str>,
    pub outcome: Outcome,
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
