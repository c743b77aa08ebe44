//! dothis: a job queue on Redis, on a plain and documented layout of keys.
//!
//! The modules, in the order in which a task goes through them:
//!
//! - vocabulary, pure: [`error`], [`clock`], [`json`], [`backoff`], [`id`], [`task`], [`outcome`]
//! - [`runtime`]: the one Tokio thread on which all of the rest runs
//! - [`client`]: 1. a task is enqueued, in a batch with its neighbours
//! - [`broker`]: 2. each step of its life in Redis, one method and one script a step
//! - [`worker`]: 3. it is taken, handed to a handler, and its outcome written back
//! - [`waits`]: 4. its outcome reaches whoever waits for it
//! - `node` (feature `node`): the crossing to JavaScript, on both ends of that way
//!
//! `node` knows `client` and `worker`, these know `broker`, and only `broker` knows Redis.

pub mod backoff;
pub mod clock;
pub mod error;
pub mod id;
pub mod json;
pub mod outcome;
pub mod task;

pub mod runtime;

pub mod broker;
pub mod client;
pub mod waits;
pub mod worker;

#[cfg(feature = "node")]
mod node;
