//! All that is in Redis at one moment.

use std::collections::{BTreeMap, BTreeSet};

use redis::Connection;

use crate::ops::IDS;

pub type Hash = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Oldest first.
    pub pending: Vec<String>,
    pub executing: Vec<String>,
    pub due: BTreeMap<String, i64>,
    pub workers: BTreeMap<String, i64>,
    pub tasks: BTreeMap<String, Hash>,
    /// Tasks that Redis removes some day.
    pub expiring: BTreeSet<String>,
    pub keys: BTreeSet<String>,
}

impl Snapshot {
    pub fn of(redis: &mut Connection) -> Snapshot {
        let mut pipe = redis::pipe();
        pipe.cmd("LRANGE").arg("q:pending").arg(0).arg(-1);
        pipe.cmd("LRANGE").arg("q:executing").arg(0).arg(-1);
        for key in ["q:due", "q:workers"] {
            pipe.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES");
        }
        pipe.cmd("KEYS").arg("*");
        for id in IDS {
            pipe.cmd("HGETALL").arg(format!("q:task:{id}"));
            pipe.cmd("PTTL").arg(format!("q:task:{id}"));
        }
        let answers: Vec<redis::Value> = pipe.query(redis).expect("a snapshot");
        let mut answers = answers.into_iter();
        let mut snapshot = Snapshot {
            pending: next(&mut answers),
            executing: next(&mut answers),
            due: next(&mut answers),
            workers: next(&mut answers),
            keys: next(&mut answers),
            ..Snapshot::default()
        };
        snapshot.pending.reverse();
        snapshot.executing.reverse();
        for id in IDS {
            let hash: Hash = next(&mut answers);
            let ttl: i64 = next(&mut answers);
            if !hash.is_empty() {
                snapshot.tasks.insert(id.to_owned(), hash);
            }
            if ttl >= 0 {
                snapshot.expiring.insert(id.to_owned());
            }
        }
        snapshot
    }

    pub fn field(&self, id: &str, name: &str) -> Option<&str> {
        self.tasks.get(id)?.get(name).map(String::as_str)
    }

    /// The token of who has it.
    pub fn owner(&self, id: &str) -> Option<&str> {
        let mut names = self.tasks.get(id)?.keys();
        let token = names.find_map(|name| name.strip_prefix("owner:"))?;
        Some(token.strip_suffix('!').unwrap_or(token))
    }

    pub fn state(&self, id: &str) -> Option<&str> {
        self.field(id, "state")
    }

    /// Whether no run of it can be under way, and it is in `pending` or put off.
    pub fn waits(&self, id: &str) -> bool {
        self.state(id) != Some("finished") && (self.is_pending(id) || self.is_put_off(id))
    }

    pub fn is_pending(&self, id: &str) -> bool {
        self.pending.iter().any(|other| other == id)
    }

    pub fn is_put_off(&self, id: &str) -> bool {
        self.due.contains_key(&format!("start:{id}"))
    }

    pub fn is_expiring(&self, id: &str) -> bool {
        self.due.contains_key(&format!("expire:{id}"))
    }

    pub fn count(list: &[String], id: &str) -> usize {
        list.iter().filter(|other| *other == id).count()
    }
}

fn next<T: redis::FromRedisValue>(answers: &mut impl Iterator<Item = redis::Value>) -> T {
    redis::from_redis_value(answers.next().expect("an answer")).expect("of its type")
}
