//! A task, on its way into Redis and on its way out of it.

use std::sync::Arc;

/// A task to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Its id: any non-empty string.
    pub id: String,
    /// The name that a worker looks its handler up by.
    pub function: String,
    /// JSON text of an object.
    pub args: String,
    /// Whether this process waits for the outcome, and wants it sent.
    pub reply: bool,
    /// Whether a finished task of this id is run anew, rather than left as it is.
    pub again: bool,
}

impl NewTask {
    /// Its part of a batch's size.
    pub fn bytes(&self) -> usize {
        self.id.len() + self.function.len() + self.args.len()
    }
}

/// A task that a worker has taken: its id is in `executing`, under `owner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: Vec<u8>,
    pub function: Option<Vec<u8>>,
    pub args: Option<Vec<u8>>,
    /// `pending-created`, where the producer wrote it.
    pub created: Option<Vec<u8>>,
    /// The token without which nobody can finish this run.
    pub owner: Arc<str>,
}

/// An id that was in `pending` and could not be taken; it is in no list any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub id: Vec<u8>,
    /// `missing`, `finished`, `executing` or `not a hash`.
    pub why: String,
}
