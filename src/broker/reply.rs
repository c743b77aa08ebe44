//! The text of a reply message: outcomes, one behind the other.
//!
//! Written by `settle.lua`, and by [`encode`] where a worker puts several together: for each outcome the
//! id as a netstring (`4:text`), then `v` and the value's netstring, `s` (successful, no value), `f` and
//! the netstrings of reason and exception, `c` and the reason's netstring (cancelled), or `r`: too long
//! for a message, to be read from the hash.

use crate::json;
use crate::outcome::Outcome;

/// The outcome of one task; none where it is to be read from the hash.
pub type Reply<'a> = (&'a [u8], Option<Outcome>);

/// Decodes a message as far as it is well-formed: the rest of a broken one is left out, and the
/// waits it spoke of are settled by the next look at their hashes.
pub fn decode(mut message: &[u8]) -> Vec<Reply<'_>> {
    let mut replies = Vec::new();
    while let Some(reply) = next(&mut message) {
        replies.push(reply);
    }
    replies
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Reply<'a>> {
    let id = netstring(rest)?;
    let (kind, tail) = rest.split_first()?;
    *rest = tail;
    let outcome = match kind {
        b'v' => Some(successful(Some(netstring(rest)?))),
        b's' => Some(successful(None)),
        b'f' => {
            let reason = netstring(rest)?;
            let exception = netstring(rest)?;
            Some(failed(Some(reason), Some(exception)))
        }
        b'c' => Some(cancelled(Some(netstring(rest)?))),
        b'r' => None,
        _ => return None,
    };
    Some((id, outcome))
}

fn netstring_of(message: &mut Vec<u8>, text: &[u8]) {
    message.extend_from_slice(text.len().to_string().as_bytes());
    message.push(b':');
    message.extend_from_slice(text);
}

fn netstring<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let colon = rest.iter().take(12).position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
    let text = rest.get(colon + 1..)?.get(..length)?;
    *rest = &rest[colon + 1 + length..];
    Some(text)
}

/// Longest outcome that is sent together with others: as in `settle.lua`.
const SHORT: usize = 1024;

/// Puts one more into a message; none where it is too long for that.
pub fn encode(message: &mut Vec<u8>, id: &[u8], outcome: &Outcome) -> Option<()> {
    if id.len() + outcome.bytes() > SHORT {
        return None;
    }
    netstring_of(message, id);
    let (kind, texts): (u8, [Option<&str>; 2]) = match outcome {
        Outcome::Successful(Some(value)) => (b'v', [Some(value), None]),
        Outcome::Successful(None) => (b's', [None, None]),
        Outcome::Failed { reason, exception } => {
            let exception = exception.as_deref().unwrap_or_default();
            (b'f', [Some(reason), Some(exception)])
        }
        Outcome::Cancelled(reason) => (b'c', [Some(reason), None]),
    };
    message.push(kind);
    for part in texts.into_iter().flatten() {
        netstring_of(message, part.as_bytes());
    }
    Some(())
}

/// A success as a waiter sees it; a value that is no JSON (another program's) is a failure.
pub fn successful(value: Option<&[u8]>) -> Outcome {
    let Some(value) = value else {
        return Outcome::Successful(None);
    };
    match json::value(value) {
        Ok(text) => Outcome::Successful(Some(text.to_owned())),
        Err(problem) => Outcome::refused(format!(
            "the task was successful, but its result-value can't be read: {problem}"
        )),
    }
}

/// A failure as a waiter sees it.
pub fn failed(reason: Option<&[u8]>, exception: Option<&[u8]>) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let exception = exception.filter(|bytes| !bytes.is_empty()).map(text);
    let reason = reason.filter(|bytes| !bytes.is_empty()).map(text);
    Outcome::Failed {
        reason: reason.unwrap_or_else(|| "the worker gave no reason".into()),
        exception,
    }
}

/// A cancellation as a waiter sees it.
pub fn cancelled(reason: Option<&[u8]>) -> Outcome {
    let reason = reason.unwrap_or_default();
    Outcome::Cancelled(String::from_utf8_lossy(reason).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_reply_is_read() {
        let replies = decode(b"2:idv1:72:xxs1:yf3:why5:stack1:zr1:cc4:late");
        assert_eq!(
            replies,
            vec![
                (&b"id"[..], Some(Outcome::Successful(Some("7".into())))),
                (&b"xx"[..], Some(Outcome::Successful(None))),
                (
                    &b"y"[..],
                    Some(Outcome::Failed {
                        reason: "why".into(),
                        exception: Some("stack".into())
                    })
                ),
                (&b"z"[..], None),
                (&b"c"[..], Some(Outcome::Cancelled("late".into()))),
            ]
        );
    }

    #[test]
    fn a_broken_tail_leaves_what_stands_before_it() {
        for tail in [
            "",
            "9",
            "99999999999999999999:",
            "3:id",
            "2:idq",
            "2:idv9:7",
            "-1:x",
            ":",
        ] {
            assert_eq!(decode(format!("1:as{tail}").as_bytes()).len(), 1, "{tail}");
        }
    }

    #[test]
    fn what_is_put_together_is_what_settle_writes() {
        let outcomes = [
            Outcome::Successful(Some("7".into())),
            Outcome::Successful(None),
            Outcome::Failed {
                reason: "why".into(),
                exception: Some("stack".into()),
            },
            Outcome::refused("why"),
            Outcome::Cancelled("late".into()),
        ];
        let mut message = Vec::new();
        for outcome in &outcomes {
            encode(&mut message, b"id", outcome).expect("a short one");
        }
        assert_eq!(
            message,
            b"2:idv1:72:ids2:idf3:why5:stack2:idf3:why0:2:idc4:late"
        );
        let read = decode(&message).into_iter().map(|(_, outcome)| outcome);
        assert!(read.eq(outcomes.into_iter().map(Some)));
        let long = Outcome::Successful(Some("x".repeat(SHORT)));
        assert_eq!(encode(&mut message, b"id", &long), None);
    }

    proptest! {
        #[test]
        fn no_message_brings_the_reader_down(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode(&message);
        }

        #[test]
        fn netstrings_around_any_bytes_are_read(id in proptest::collection::vec(any::<u8>(), 0..50)) {
            let message = [format!("{}:", id.len()).as_bytes(), &id, b"s"].concat();
            prop_assert_eq!(decode(&message), vec![(&id[..], Some(Outcome::Successful(None)))]);
        }
    }
}
