//! The one answer to a list of tasks.

use std::sync::{Arc, Mutex};

use super::client::ENQUEUED_MANY;
use super::mailbox::{Item, Mailbox};
use crate::broker::connection::lock;
use crate::client::Caller;
use crate::error::{Error, Result};
use crate::waits::Settled;

/// Gathers the answers for a list; the tokens are the places in it.
pub struct Many {
    token: u32,
    mailbox: Arc<Mailbox>,
    answers: Mutex<Answers>,
}

struct Answers {
    created: Vec<u8>,
    left: usize,
    /// Of the first in the list that failed.
    error: Option<(u32, Error)>,
}

impl Many {
    pub fn new(token: u32, mailbox: Arc<Mailbox>, tasks: usize) -> Self {
        Many {
            token,
            mailbox,
            answers: Mutex::new(Answers {
                created: vec![b'0'; tasks],
                left: tasks,
                error: None,
            }),
        }
    }
}

impl Caller for Many {
    fn enqueued(&self, index: u32, result: Result<bool>) {
        let mut answers = lock(&self.answers);
        match result {
            Ok(true) => {
                if let Some(created) = answers.created.get_mut(index as usize) {
                    *created = b'1';
                }
            }
            Ok(false) => {}
            Err(error) => {
                if answers
                    .error
                    .as_ref()
                    .is_none_or(|(first, _)| index < *first)
                {
                    answers.error = Some((index, error));
                }
            }
        }
        answers.left = answers.left.saturating_sub(1);
        if answers.left > 0 {
            return;
        }
        let created = String::from_utf8_lossy(&answers.created);
        let item = Item::new(ENQUEUED_MANY, self.token).text(&created);
        self.mailbox.push(match &answers.error {
            None => item.end(),
            Some((index, error)) => item
                .text(error.code())
                .text(&error.to_string())
                .json(&index.to_string())
                .end(),
        });
    }

    fn settled(&self, _: u32, _: Settled) {}
}
