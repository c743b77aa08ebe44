//! What is heard on the queue's channels.

use std::sync::Weak;

use super::connection::Listener;
use super::{Broker, reply};
use crate::outcome::Outcome;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The outcome of a task, or that it has one to be read.
    Reply(&'a [u8], Option<Outcome>),
    /// A task has finished, whoever waits for it.
    Finished(&'a [u8]),
    /// A task is to be cancelled.
    Kill(&'a [u8]),
    /// Every task is to be cancelled.
    KillAll,
    /// Something is due earlier than was known.
    Due,
}

impl Broker {
    /// Hears of the outcomes that are sent to `address`.
    pub fn listen_for_replies(&self, address: &str, listener: Weak<dyn Listener>) {
        self.link.subscribe(&self.keys.reply(address), listener);
    }

    pub fn stop_replies(&self, address: &str, listener: &Weak<dyn Listener>) {
        self.link.unsubscribe(&self.keys.reply(address), listener);
    }

    /// Hears of every task's finish: needed for what workers of other kinds run.
    pub fn listen_for_results(&self, listener: Weak<dyn Listener>) {
        self.link.subscribe(&self.keys.results, listener);
    }

    pub fn stop_results(&self, listener: &Weak<dyn Listener>) {
        self.link.unsubscribe(&self.keys.results, listener);
    }

    /// Hears what concerns workers: cancellations, and earlier starts.
    pub fn listen_as_worker(&self, listener: &Weak<dyn Listener>) {
        self.link.subscribe(&self.keys.commands, listener.clone());
        self.link.subscribe(&self.keys.wake, listener.clone());
    }

    pub fn stop_as_worker(&self, listener: &Weak<dyn Listener>) {
        self.link.unsubscribe(&self.keys.commands, listener);
        self.link.unsubscribe(&self.keys.wake, listener);
    }

    /// What a message says; nothing where it says nothing known.
    pub fn messages<'a>(&self, channel: &str, payload: &'a [u8]) -> Vec<Message<'a>> {
        let one = |message: Option<Message<'a>>| message.into_iter().collect();
        if channel == self.keys.results {
            return one(self.keys.task_id(payload).map(Message::Finished));
        }
        if channel == self.keys.wake {
            return vec![Message::Due];
        }
        if channel == self.keys.commands {
            return one(match payload.strip_prefix(b"task:kill:") {
                Some(b"all") => Some(Message::KillAll),
                Some(key) => self.keys.task_id(key).map(Message::Kill),
                None => None,
            });
        }
        let replies = reply::decode(payload).into_iter();
        replies
            .map(|(id, outcome)| Message::Reply(id, outcome))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use proptest::prelude::*;

    use super::super::connection::{Link, Settings};
    use super::*;

    static LINK: LazyLock<Arc<Link>> = LazyLock::new(|| {
        let settings = Settings {
            url: "redis://127.0.0.1:1".into(),
            ca: None,
            cert: None,
            key: None,
        };
        Link::shared(&settings).expect("a link, which nobody answers")
    });

    #[test]
    fn each_kind_of_message_is_read() {
        let broker = Broker::new(LINK.clone(), "q");
        let one = |channel, payload| broker.messages(channel, payload).into_iter().next();
        assert_eq!(one("q:results", b"q:task:a"), Some(Message::Finished(b"a")));
        assert_eq!(one("q:results", b"other:task:a"), None);
        assert_eq!(one("q:wake", b"due"), Some(Message::Due));
        assert_eq!(one("q:cmd", b"task:kill:all"), Some(Message::KillAll));
        assert_eq!(
            one("q:cmd", b"task:kill:q:task:a"),
            Some(Message::Kill(b"a"))
        );
        assert_eq!(one("q:cmd", b"task:kill:other:task:a"), None);
        assert_eq!(one("q:cmd", b"whatever"), None);
    }

    proptest! {
        #[test]
        fn no_message_brings_the_reader_down(
            channel in "q:(results|wake|cmd|reply:me)",
            start in "(task:kill:)?(q:task:)?",
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let payload = [start.as_bytes(), &rest].concat();
            Broker::new(LINK.clone(), "q").messages(&channel, &payload);
        }
    }
}
