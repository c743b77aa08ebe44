//! Ids for tasks that nobody has given one.

use napi_derive::napi;
use uuid::{Builder, Uuid};

/// How many `lib/new-id.js` gets at a time.
const IDS: usize = 16;

/// Random UUIDs, one behind the other.
#[napi]
#[cfg_attr(test, allow(dead_code))] // napi registers functions outside of tests only.
pub fn new_ids() -> napi::Result<String> {
    let mut random = [[0; 16]; IDS];
    getrandom::fill(random.as_flattened_mut())
        .map_err(|error| napi::Error::from_reason(format!("no random numbers: {error}")))?;
    let mut ids = String::with_capacity(IDS * uuid::fmt::Hyphenated::LENGTH);
    for bytes in random {
        let id: Uuid = Builder::from_random_bytes(bytes).into_uuid();
        ids.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }
    Ok(ids)
}
