//! Ids that are made here, and what they say.
//!
//! Each process that waits has an address, to which outcomes are sent. The id that is made for a call carries
//! it: a UUID of version 8, the one whose contents are its maker's business, with the address as its last group. So
//! nothing of it has to be written into the task's hash, read, and taken out again. Other ids are random UUIDs.

use uuid::{Builder, Uuid, Variant, Version, fmt::Hyphenated};

/// Where the last group of a UUID's text begins.
const LAST_GROUP: usize = 24;
/// Ids made at a time.
const IDS: usize = 16;

/// A process's name among those of its queue: a random UUID, whose last group is its address.
pub fn new_name() -> String {
    Uuid::new_v4().to_string()
}

/// The address in a process's name.
pub fn address(name: &str) -> &str {
    name.get(LAST_GROUP..).unwrap_or_default()
}

/// The address of the process for whose call an id was made, if it is such an id.
pub fn waiter(id: &[u8]) -> Option<&[u8]> {
    // The other ways to write a UUID have other lengths.
    if id.len() != Hyphenated::LENGTH {
        return None;
    }
    let uuid = Uuid::try_parse_ascii(id).ok()?;
    let ours =
        uuid.get_version() == Some(Version::Custom) && uuid.get_variant() == Variant::RFC4122;
    ours.then(|| &id[LAST_GROUP..])
}

/// Ids for several tasks, one behind the other: for calls of the process with that name, or such as say
/// nothing of who waits.
pub fn new_ids(caller: Option<&str>) -> Result<String, getrandom::Error> {
    let mut random = [[0; 16]; IDS];
    getrandom::fill(random.as_flattened_mut())?;
    let mut ids = String::with_capacity(IDS * Hyphenated::LENGTH);
    for bytes in random {
        let (builder, address) = match caller {
            Some(name) => (Builder::from_custom_bytes(bytes), address(name)),
            None => (Builder::from_random_bytes(bytes), ""),
        };
        let mut text = Uuid::encode_buffer();
        let text = builder.into_uuid().hyphenated().encode_lower(&mut text);
        ids.push_str(&text[..Hyphenated::LENGTH - address.len()]);
        ids.push_str(address);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn ids(caller: Option<&str>) -> Vec<String> {
        let text = new_ids(caller).expect("random numbers");
        let ids = text.as_bytes().chunks(Hyphenated::LENGTH);
        ids.map(|id| String::from_utf8_lossy(id).into_owned())
            .collect()
    }

    #[test]
    fn an_id_that_was_made_for_a_call_says_whose_it_is_and_another_says_nothing() {
        let name = new_name();
        let (calls, others) = (ids(Some(&name)), ids(None));
        assert_eq!(address(&name).len(), 12);
        for id in &calls {
            assert_eq!(
                waiter(id.as_bytes()),
                Some(address(&name).as_bytes()),
                "{id}"
            );
        }
        for id in others.iter().chain([&name]) {
            assert_eq!(waiter(id.as_bytes()), None, "{id}");
        }
        let all: HashSet<_> = calls.iter().chain(&others).collect();
        assert_eq!(all.len(), 2 * IDS);
        assert!(all.iter().all(|id| Uuid::try_parse(id).is_ok()));
    }

    #[test]
    fn what_looks_like_such_an_id_only_says_nothing() {
        for id in [
            "",
            "8",
            "00000000-0000-8000-c000-000000000001",
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-8000-8000-00000000000g",
            "00000000-0000-8000-8000-000000000001 ",
            "00000000000080008000000000000001",
            "{00000000-0000-8000-8000-00000000001}",
            "0000000000000-8000-8000-000000000001",
        ] {
            assert_eq!(waiter(id.as_bytes()), None, "{id:?}");
        }
        let id = b"00000000-0000-8000-8000-000000000001";
        assert_eq!(waiter(id), Some(&b"000000000001"[..]));
    }

    proptest! {
        #[test]
        fn no_id_brings_the_reader_down(id in proptest::collection::vec(any::<u8>(), 0..40)) {
            waiter(&id);
        }
    }
}
