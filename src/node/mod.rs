//! The crossing to JavaScript: calls and their answers as JSON text, a batch at a time, which V8
//! writes and parses faster than values could be built one by one.
//!
//! - [`mailbox`]: what JavaScript is to hear, and the one wake for all of it
//! - [`client`]: enqueue, wait, read; [`many`] is the answer to a list
//! - [`ids`]: ids for new tasks
//! - [`worker`]: tasks to the handlers, outcomes back

mod client;
mod ids;
mod mailbox;
mod many;
mod worker;

use crate::error::Error;

/// An error for JavaScript: `lib/errors.js` makes the class out of the code that leads it.
fn thrown(error: &Error) -> napi::Error {
    napi::Error::from_reason(format!("{}: {error}", error.code()))
}
