//! What the scripts answer, read. Anything unexpected reads as nothing.

use std::sync::Arc;

use redis::Value;

use super::exchange::TAKE_BYTES;
use super::{Enqueued, Exchange, Exchanged, Tick, reply};
use crate::outcome::Standing;
use crate::task::{Args, Cancelled, Dropped, Taken};

pub fn exchanged(answer: Value, exchange: &Exchange) -> Exchanged {
    let mut result = Exchanged::default();
    let mut parts = list(answer).into_iter();
    let mut part = || parts.next().unwrap_or(Value::Nil);
    result.written = match part() {
        Value::Int(1) => vec![true; exchange.finishes.len()],
        each => list(each)
            .into_iter()
            .map(|code| code == Value::Int(1))
            .collect(),
    };
    result.unregistered = part() == Value::Int(0);
    let (dropped, extras) = (part(), part());
    let mut dropped = list(dropped).into_iter();
    while let Some(id) = dropped.next().and_then(bytes) {
        let why = dropped.next().and_then(bytes).unwrap_or_default();
        result.dropped.push(Dropped {
            id,
            why: String::from_utf8_lossy(&why).into_owned(),
        });
    }
    let (mut function, mut created, mut reply_to) = (None, None, None);
    while let Some(next) = parts.next() {
        if next == Value::Int(0) {
            let mut field = || parts.next().and_then(bytes);
            (function, created) = (field(), field());
            reply_to = field().map(Arc::from);
            continue;
        }
        let Some(id) = bytes(next) else { break };
        result.taken.push(Taken {
            id,
            function: function.clone(),
            args: match parts.next() {
                Some(Value::Int(bytes)) => Args::Unread(usize::try_from(bytes).unwrap_or_default()),
                args => Args::Read(args.and_then(bytes)),
            },
            created: created.clone(),
            reply_to: reply_to.clone(),
            options: None,
            attempt: None,
            lost: false,
            owner: exchange.owner.clone(),
        });
    }
    let mut extras = list(extras).into_iter();
    while let Some(Value::Int(index)) = extras.next() {
        let (options, attempt, lost) = (extras.next(), extras.next(), extras.next());
        let taken = usize::try_from(index).ok();
        if let Some(task) = taken.and_then(|index| result.taken.get_mut(index)) {
            task.options = options.and_then(bytes);
            task.attempt = attempt.and_then(bytes);
            task.lost = lost.and_then(bytes).is_some();
        }
    }
    let bytes: usize = result.taken.iter().map(|task| task.args.bytes()).sum();
    result.more = result.unregistered
        || result.taken.len() + result.dropped.len() >= exchange.want
        || bytes >= TAKE_BYTES
        || exchange.is_repeated();
    result
}

/// One for each of so many tasks, or none where there are fewer answers.
pub fn enqueued(answer: Value, tasks: usize) -> Vec<Enqueued> {
    if answer == Value::Int(1) {
        return vec![Enqueued::Created; tasks];
    }
    list(answer)
        .into_iter()
        .map(|code| match code {
            Value::Int(1) => Enqueued::Created,
            Value::Int(0) => Enqueued::Existed,
            _ => Enqueued::WrongType,
        })
        .collect()
}

pub fn standing(answer: Value) -> Standing {
    let mut fields = list(answer).into_iter().map(bytes);
    let mut field = || fields.next().flatten();
    match field().as_deref() {
        Some(b"finished") => {
            let (result, value) = (field(), field());
            let (reason, exception) = (field(), field());
            let cancelled = field().is_some();
            Standing::Finished(match result.as_deref() {
                Some(b"successful") => reply::successful(value.as_deref()),
                _ if cancelled => {
                    // As settle.lua writes it.
                    let reason = reason.unwrap_or_default();
                    let reason = reason.strip_prefix(b"cancelled: ").unwrap_or_default();
                    reply::cancelled(Some(reason))
                }
                _ => reply::failed(reason.as_deref(), exception.as_deref()),
            })
        }
        Some(b"waiting") => {
            let owned = field();
            let state = field();
            Standing::Waiting {
                foreign: owned.is_none() && state.as_deref() == Some(b"executing"),
            }
        }
        _ => Standing::Missing,
    }
}

pub fn cancelled(answer: Value) -> Cancelled {
    let mut parts = list(answer).into_iter().map(bytes);
    let mut part = || parts.next().flatten();
    match part().as_deref() {
        Some(b"cancelled") => Cancelled::Ended,
        Some(b"executing") => {
            let reason = part().unwrap_or_default();
            Cancelled::Asked(String::from_utf8_lossy(&reason).into_owned())
        }
        Some(b"finished") => Cancelled::TooLate,
        _ => Cancelled::Missing,
    }
}

pub fn tick(answer: Value) -> Tick {
    let mut parts = list(answer).into_iter();
    let mut number = || match parts.next() {
        Some(Value::Int(number)) => Some(number),
        _ => None,
    };
    let next = number().and_then(|milliseconds| u64::try_from(milliseconds).ok());
    let pending = number().unwrap_or_default() > 0;
    let dead = parts
        .filter_map(bytes)
        .filter_map(|id| String::from_utf8(id).ok())
        .collect();
    Tick {
        next: next.map(std::time::Duration::from_millis),
        pending,
        dead,
    }
}

pub fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outcome::Keep;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            (0..4i64).prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
            "(finished|waiting|successful|executing|cancelled: )?".prop_map(Value::SimpleString),
        ];
        leaf.prop_recursive(3, 64, 12, |inner| {
            prop::collection::vec(inner, 0..12).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn no_answer_brings_the_reader_down(answer in value(), want in 0..5usize) {
            let exchange = Exchange::new(
                "w".into(), "w:1".into(), Keep::ForEver, 1, Arc::default(), Vec::new(), want,
            );
            exchanged(answer.clone(), &exchange);
            enqueued(answer.clone(), want);
            standing(answer.clone());
            cancelled(answer.clone());
            tick(answer);
        }
    }
}
