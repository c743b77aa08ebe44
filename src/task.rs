//! A task, on its way into Redis and on its way out of it.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::backoff::Backoff;

/// A task to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Its id: any non-empty string.
    pub id: String,
    /// Whether the id was made for this task, so that nothing of that id can be there.
    pub fresh: bool,
    /// The name that a worker looks its handler up by.
    pub function: String,
    /// JSON text of an object.
    pub args: String,
    /// Whether this process waits for the outcome, and wants it sent.
    pub reply: bool,
    /// Whether a finished task of this id is run anew, rather than left as it is.
    pub again: bool,
    /// None for now.
    pub start: Option<When>,
    /// No attempt begins after this.
    pub expires: Option<When>,
    /// [`Options`] as JSON text.
    pub options: Option<String>,
}

/// A point in time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// From the moment at which Redis has the task, on its clock.
    In(f64),
    /// Since 1970.
    At(f64),
}

/// What a task may ask of those who run it. Times in milliseconds; what is absent is the worker's
/// to choose.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// How often it is tried at most.
    pub attempts: Option<u32>,
    /// Null for none.
    #[serde(deserialize_with = "given")]
    pub backoff: Option<Option<Backoff>>,
    /// How long one attempt may take; null for as long as it likes.
    #[serde(deserialize_with = "given")]
    pub timeout: Option<Option<f64>>,
    /// How long it is kept once finished; null for ever.
    #[serde(deserialize_with = "given")]
    pub result_ttl: Option<Option<f64>>,
    /// Whether it is removed once successful.
    pub remove_on_success: Option<bool>,
}

/// Tells null, which is a choice, from absence, which is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl NewTask {
    /// Its part of a batch's size.
    pub fn bytes(&self) -> usize {
        let options = self.options.as_ref().map_or(0, String::len);
        self.id.len() + self.function.len() + self.args.len() + options
    }
}

/// A task that a worker has taken: its id is in `executing`, under `owner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: Vec<u8>,
    pub function: Option<Vec<u8>>,
    pub args: Args,
    /// `pending-created`, where the producer wrote it.
    pub created: Option<Vec<u8>>,
    /// Who waits for its outcome beside the one whom its id names, if anybody does: goes back with that.
    pub reply_to: Option<Arc<[u8]>>,
    /// JSON text of [`Options`], where it has any.
    pub options: Option<Vec<u8>>,
    /// Which attempt this is, where it is not the first.
    pub attempt: Option<Vec<u8>>,
    /// Whether a worker has died over it.
    pub lost: bool,
    /// The token without which nobody can finish this run.
    pub owner: Arc<str>,
}

/// The args of a task that was taken, as far as the worker has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Args {
    /// As they are in the hash, if it has any.
    Read(Option<Vec<u8>>),
    /// So many bytes, still to be read.
    Unread(usize),
    /// They were there when the task was taken, and are no more.
    Gone,
}

impl Args {
    pub fn bytes(&self) -> usize {
        match self {
            Args::Read(args) => args.as_ref().map_or(0, Vec::len),
            Args::Unread(bytes) => *bytes,
            Args::Gone => 0,
        }
    }
}

/// An id that was in `pending` and could not be taken; it is in no list any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub id: Vec<u8>,
    /// `missing`, `finished`, `executing` or `not a hash`.
    pub why: String,
}

/// What became of the wish to cancel a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not begun, and is finished now.
    Ended,
    /// It has begun; whoever runs it is told. The reason that was given first.
    Asked(String),
    /// It had finished.
    TooLate,
    /// No such task.
    Missing,
}
