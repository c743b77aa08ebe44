//! One task in a worker's slots, and what comes of its run.

use std::sync::Arc;
use std::time::Duration;

use super::Rules;
use super::order::Place;
use crate::broker::Owned;
use crate::json;
use crate::outcome::{End, Finish, Keep, Outcome};
use crate::task::{self, Args, Taken};

/// A task that was taken.
pub struct Task {
    pub owned: Owned,
    /// Counts from 1.
    pub attempt: u32,
    /// A worker has died over it: others are kept away from it, lest they share its fate.
    pub suspect: bool,
    pub place: Place,
    reply_to: Option<Arc<[u8]>>,
    options: Option<Box<task::Options>>,
}

/// A task that a handler can begin with.
pub struct Ready {
    pub task: Task,
    pub function: String,
    pub args: String,
    pub created: Option<String>,
}

/// What a handler's run ended in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub outcome: Outcome,
    /// Whether a failure may be tried again, as far as the handler says.
    pub again: bool,
}

impl From<Outcome> for Ran {
    fn from(outcome: Outcome) -> Self {
        Ran {
            outcome,
            again: true,
        }
    }
}

/// Why a run is aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abort {
    /// The worker was closed; the task has gone back.
    Closed,
    /// The attempt took too long.
    TimedOut(Duration),
    /// With the reason that was given, or an empty one.
    Cancelled(String),
    /// The task has another owner, or is no more.
    Lost,
}

impl Abort {
    /// What counts in place of whatever the handler says; nothing where the task is not this
    /// worker's any more.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Abort::Closed | Abort::Lost => None,
            Abort::TimedOut(after) => Some(Outcome::refused(format!(
                "timed out: not through after {} ms",
                after.as_millis()
            ))),
            Abort::Cancelled(reason) => Some(Outcome::Cancelled(reason.clone())),
        }
    }
}

impl Task {
    /// How long this attempt may take.
    pub fn timeout(&self, rules: &Rules) -> Option<Duration> {
        match self.options.as_ref().and_then(|options| options.timeout) {
            Some(own) => own.map(milliseconds),
            None => rules.timeout,
        }
    }

    /// What is to be written: the end of the task, or its next attempt.
    pub fn end(self, ran: Ran, rules: &Rules) -> Finish {
        let options = self.options.as_deref();
        let attempts = options
            .and_then(|options| options.attempts)
            .unwrap_or(rules.attempts);
        let end = match ran.outcome {
            Outcome::Failed { reason, .. } if ran.again && self.attempt < attempts => {
                let own = options.and_then(|options| options.backoff.as_ref());
                let delay = match own.unwrap_or(&rules.backoff) {
                    Some(backoff) => backoff.delay(self.attempt, fastrand::f64()),
                    None => Duration::ZERO,
                };
                End::Retry {
                    reason,
                    attempt: self.attempt + 1,
                    delay,
                }
            }
            outcome => {
                let keep = keep(&outcome, options, rules);
                End::Finished(outcome, keep)
            }
        };
        self.ended(end)
    }

    fn ended(self, end: End) -> Finish {
        let (id, owner) = self.owned;
        Finish {
            id,
            owner,
            reply_to: self.reply_to,
            place: self.place,
            end,
        }
    }
}

fn keep(outcome: &Outcome, options: Option<&task::Options>, rules: &Rules) -> Keep {
    let removed = options
        .and_then(|options| options.remove_on_success)
        .unwrap_or(rules.remove_on_success);
    if removed && matches!(outcome, Outcome::Successful(_)) {
        return Keep::NOT_AT_ALL;
    }
    match options.and_then(|options| options.result_ttl) {
        Some(Some(ttl)) => Keep::For(milliseconds(ttl)),
        Some(None) => Keep::ForEver,
        None => rules.keep,
    }
}

/// Numbers from a task's options, which anybody may have written.
fn milliseconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.clamp(0.0, 1e15) / 1000.0).unwrap_or_default()
}

/// A task that a handler can begin with, or the outcome that it has without one.
pub fn check(taken: Taken, place: Place, rules: &Rules) -> Result<Ready, Box<Finish>> {
    let Taken {
        id,
        function,
        args,
        created,
        reply_to,
        options,
        attempt,
        lost: suspect,
        owner,
    } = taken;
    let (options, problem) = match options.as_deref().map(self::options).transpose() {
        Ok(options) => (options.flatten(), None),
        Err(problem) => (None, Some(problem)),
    };
    let attempt = attempt
        .and_then(|attempt| std::str::from_utf8(&attempt).ok()?.parse().ok())
        .unwrap_or(1);
    let args = match args {
        Args::Read(args) => json::args(args),
        Args::Unread(_) | Args::Gone => {
            Err("args: somebody took them away after the task was taken".into())
        }
    };
    let task = Task {
        owned: (id, owner),
        attempt,
        suspect,
        place,
        reply_to,
        options,
    };
    let function = function.as_deref().map(std::str::from_utf8);
    let problem = match (problem, function, args) {
        (Some(problem), ..) => problem,
        (None, None | Some(Ok("")), _) => "no function was given: set the hash field function to \
                                           the name of a handler"
            .into(),
        (None, Some(Err(_)), _) => "the function's name is not UTF-8".into(),
        (None, _, Err(problem)) => problem,
        (None, Some(Ok(function)), Ok(args)) => {
            return Ok(Ready {
                task,
                function: function.to_owned(),
                args,
                created: created.and_then(|created| String::from_utf8(created).ok()),
            });
        }
    };
    let outcome = Outcome::refused(problem);
    let keep = keep(&outcome, task.options.as_deref(), rules);
    Err(Box::new(task.ended(End::Finished(outcome, keep))))
}

fn options(text: &[u8]) -> Result<Option<Box<task::Options>>, String> {
    if text.is_empty() || text == b"{}" {
        return Ok(None);
    }
    let problem = |found: &dyn std::fmt::Display| {
        format!(
            "options can't be used: {found}. Expected a JSON object with attempts, backoff, timeout, \
             resultTtl, removeOnSuccess, or none of them"
        )
    };
    // A struct is read from an array as well, field by field.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(problem(&"an array"));
    }
    serde_json::from_slice(text)
        .map(|options| Some(Box::new(options)))
        .map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(options: &str) -> Task {
        Task {
            owned: (b"id".to_vec(), "w:1".into()),
            attempt: 1,
            suspect: false,
            place: 1,
            reply_to: None,
            options: super::options(options.as_bytes()).expect("options"),
        }
    }

    fn failed() -> Ran {
        Outcome::refused("why").into()
    }

    #[test]
    fn a_task_is_tried_as_often_as_it_says_and_else_as_often_as_the_worker_says() {
        let rules = Rules::default();
        let retried = |task: Task, rules: &Rules, ran: Ran| {
            matches!(task.end(ran, rules).end, End::Retry { attempt: 2, .. })
        };
        assert!(!retried(task(""), &rules, failed()));
        assert!(retried(task(r#"{"attempts":2}"#), &rules, failed()));
        assert!(retried(
            task(""),
            &Rules {
                attempts: 2,
                ..Rules::default()
            },
            failed()
        ));
        let second = Task {
            attempt: 2,
            ..task(r#"{"attempts":2}"#)
        };
        assert!(!retried(second, &rules, failed()));
        let final_one = Ran {
            again: false,
            ..failed()
        };
        assert!(!retried(task(r#"{"attempts":2}"#), &rules, final_one));
        let cancelled = Outcome::Cancelled(String::new()).into();
        assert!(!retried(task(r#"{"attempts":2}"#), &rules, cancelled));
    }

    #[test]
    fn options_are_an_object_or_nothing() {
        for good in ["", "{}", r#" {"attempts":2}"#, r#"{"unknown":1}"#] {
            assert!(super::options(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["[]", " [3]", "1", "null", "nonsense"] {
            assert!(super::options(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_finished_task_is_kept_as_long_as_it_says_and_else_as_the_worker_says() {
        let rules = Rules::default();
        let kept =
            |options: &str, outcome: Outcome| match task(options).end(outcome.into(), &rules).end {
                End::Finished(_, keep) => keep,
                End::Retry { .. } => panic!("a retry"),
            };
        let successful = || Outcome::Successful(None);
        assert_eq!(kept("", successful()), rules.keep);
        assert_eq!(kept(r#"{"resultTtl":null}"#, successful()), Keep::ForEver);
        assert_eq!(
            kept(r#"{"resultTtl":5}"#, successful()),
            Keep::For(Duration::from_millis(5))
        );
        let removed = r#"{"removeOnSuccess":true,"resultTtl":null}"#;
        assert_eq!(kept(removed, successful()), Keep::NOT_AT_ALL);
        assert_eq!(kept(removed, Outcome::refused("why")), Keep::ForEver);
    }

    fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = r#"(\{|\[|"|[0-9]{1,30}|\}|\]|:|,|a|\\|null|é){0,12}"#;
        prop::option::of(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..50),
            text.prop_map(String::into_bytes),
        ])
    }

    proptest! {
        #[test]
        fn whatever_a_task_consists_of_it_can_begin_or_has_an_outcome(
            id in prop::collection::vec(any::<u8>(), 0..50),
            fields in (field(), field(), field(), field(), field()),
        ) {
            let (function, args, created, options, attempt) = fields;
            let taken = Taken {
                id: id.clone(), function, args: Args::Read(args), created, reply_to: None, options, attempt, lost: false, owner: "w:1".into(),
            };
            let rules = Rules::default();
            let finish = match check(taken, 1, &rules) {
                Ok(ready) => ready.task.end(failed(), &rules),
                Err(finish) => *finish,
            };
            prop_assert_eq!(finish.id, id);
        }

        #[test]
        fn no_options_bring_the_reader_down(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = super::options(&text);
        }

        #[test]
        fn any_numbers_in_the_options_can_be_used(
            timeout in any::<f64>(), ttl in any::<f64>(), attempts in any::<u32>(),
        ) {
            let json = serde_json::json!({ "timeout": timeout, "resultTtl": ttl, "attempts": attempts });
            let task = task(&json.to_string());
            task.timeout(&Rules::default());
            task.end(failed(), &Rules::default());
        }
    }
}
