//! Every key and channel name, and nothing else. No other file spells one.
//!
//! | key | Redis type | what it holds |
//! | --- | --- | --- |
//! | `{q}:task:{id}` | hash | the task |
//! | `{q}:pending` | list | ids waiting; in at the left, out at the right |
//! | `{q}:executing` | list | ids being executed now |
//! | `{q}:results` | channel | on each finish, the task's key |
//! | `{q}:reply:{address}` | channel | outcomes, for the process that waits under that address |
//! | `{q}:worker:{uuid}` | hash, expires | one live worker |
//! | `{q}:cmd` | channel | `task:kill:{task's key}` and `task:kill:all` |
//! | `{q}:due` | sorted set | `start:{id}`, `expire:{id}` by milliseconds since 1970 |
//! | `{q}:wake` | channel | an earlier start is in `{q}:due` |
//! | `{q}:workers` | sorted set | workers' uuids by when their hashes expire |
//! | `{q}:sent:{name}` | hash, expires | a process's latest calls, by their places on the way |

/// The names of one queue.
#[derive(Debug, Clone)]
pub struct Keys {
    pub pending: String,
    pub executing: String,
    pub results: String,
    pub commands: String,
    pub due: String,
    pub wake: String,
    pub workers: String,
    pub task_prefix: String,
    pub reply_prefix: String,
    pub worker_prefix: String,
    sent_prefix: String,
}

impl Keys {
    pub fn new(queue: &str) -> Self {
        Keys {
            pending: format!("{queue}:pending"),
            executing: format!("{queue}:executing"),
            results: format!("{queue}:results"),
            commands: format!("{queue}:cmd"),
            due: format!("{queue}:due"),
            wake: format!("{queue}:wake"),
            workers: format!("{queue}:workers"),
            task_prefix: format!("{queue}:task:"),
            reply_prefix: format!("{queue}:reply:"),
            worker_prefix: format!("{queue}:worker:"),
            sent_prefix: format!("{queue}:sent:"),
        }
    }

    pub fn task(&self, id: &[u8]) -> Vec<u8> {
        [self.task_prefix.as_bytes(), id].concat()
    }

    /// The id in a task's key, as messages on `{q}:results` carry it.
    pub fn task_id<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.task_prefix.as_bytes())
    }

    pub fn reply(&self, address: &str) -> String {
        format!("{}{address}", self.reply_prefix)
    }

    pub fn worker(&self, worker: &str) -> String {
        format!("{}{worker}", self.worker_prefix)
    }

    pub fn sent(&self, name: &str) -> String {
        format!("{}{name}", self.sent_prefix)
    }
}
