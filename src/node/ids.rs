//! Ids for tasks that nobody has given one.

use napi_derive::napi;

use crate::id;

/// Several that say nothing of who waits, one behind the other.
#[napi]
#[cfg_attr(test, allow(dead_code))] // napi registers functions outside of tests only.
pub fn new_ids() -> napi::Result<String> {
    ids(None)
}

pub(super) fn ids(caller: Option<&str>) -> napi::Result<String> {
    id::new_ids(caller)
        .map_err(|error| napi::Error::from_reason(format!("no random numbers: {error}")))
}
