//! Each script, against the whole contents of Redis: what it does, that doing it again does
//! nothing, and that its head tells the truth.

mod attach;
mod cancel;
mod enqueue;
mod heads;
mod hearing;
mod heartbeat;
mod outcomes;
mod release;
mod retries;
#[path = "../support/mod.rs"]
mod support;
mod take;
mod tick;

use redis::{Connection, FromRedisValue, RedisResult, Script, Value};
use support::{Server, run};

/// A script as the broker loads it.
macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../src/broker/scripts/", $name, ".lua"))
    };
    (settle, $name:literal) => {
        concat!(script!("settle"), script!($name))
    };
}

const ENQUEUE: &str = script!("enqueue");
const EXCHANGE: &str = script!(settle, "exchange");
const RELEASE: &str = script!(settle, "release");
const CANCEL: &str = script!(settle, "cancel");
const TICK: &str = script!(settle, "tick");
const HEARTBEAT: &str = script!("heartbeat");
const ATTACH: &str = script!(settle, "attach");

/// A date that no test lives to see, in milliseconds since 1970; and one that has passed.
const FUTURE: &str = "9000000000000";
const PAST: &str = "1000";
/// What is taken away after so many milliseconds where nobody says otherwise.
const DAY: &str = "86400000";

fn try_call(
    redis: &mut Connection,
    script: &str,
    keys: &[&str],
    args: &[&str],
) -> RedisResult<Value> {
    let script = Script::new(script);
    let mut call = script.prepare_invoke();
    call.key(keys).arg(args);
    call.invoke(redis)
}

fn call<T: FromRedisValue>(
    redis: &mut Connection,
    script: &str,
    keys: &[&str],
    args: &[&str],
) -> T {
    let answer = try_call(redis, script, keys, args).expect("the script runs");
    redis::from_redis_value(answer).expect("the answer is what the head says")
}

/// id, function, args, reply-to, extra
type New<'a> = [&'a str; 5];

fn plain(id: &str) -> New<'_> {
    [id, "f", "{}", "", ""]
}

/// One call of the client `me`, in its place 0.
fn enqueue(redis: &mut Connection, now: &str, tasks: &[New]) -> Vec<i64> {
    enqueue_in(redis, now, "0", tasks)
}

fn enqueue_in(redis: &mut Connection, now: &str, place: &str, tasks: &[New]) -> Vec<i64> {
    let answer = try_enqueue(redis, now, place, tasks).expect("the script runs");
    if answer == Value::Int(1) {
        return vec![1; tasks.len()];
    }
    let answers: Vec<i64> = redis::from_redis_value(answer).expect("a number for each");
    assert!(answers.iter().any(|code| *code != 1), "to be said shorter");
    answers
}

fn try_enqueue(
    redis: &mut Connection,
    now: &str,
    place: &str,
    tasks: &[New],
) -> RedisResult<Value> {
    let mut args = vec!["q:task:", now, "q:wake", place];
    for [id, function, text, reply_to, extra] in tasks {
        args.extend(["f", function, "w", reply_to]);
        match *extra {
            "" => args.extend(["p", "1", id, text]),
            "n" => args.extend(["n", "1", id, text]),
            "1" => args.extend(["x", "1", id, text, "1|||"]),
            extra => args.extend(["x", "1", id, text, extra]),
        }
    }
    try_call(redis, ENQUEUE, &["q:pending", "q:due", "q:sent:me"], &args)
}

/// Tasks in `pending`, without a word of who sent them.
fn pending(redis: &mut Connection, ids: &[&str]) {
    let tasks: Vec<New> = ids.iter().map(|id| plain(id)).collect();
    enqueue(redis, "t0", &tasks);
    run::<()>(redis, "DEL q:sent:me");
}

/// id, owner, kind and the task's own ttl or the number of its next attempt, a, b
type Ran<'a> = [&'a str; 5];

#[derive(Clone, Copy)]
struct Exchange<'a> {
    now: &'a str,
    /// The worker's uuid, a colon, and the number of the exchange.
    owner: &'a str,
    want: &'a str,
    repeated: &'a str,
    /// As ARGV[10] and ARGV[11] have them.
    older: &'a str,
    args_apart: &'a str,
    /// The worker knows of none of those who wait for what it has run.
    stale_waiters: bool,
    outcomes: &'a [Ran<'a>],
}

/// What worker `w` takes first.
const TAKE: Exchange = Exchange {
    now: "t1",
    owner: "w:1",
    want: "10",
    repeated: "",
    older: "",
    args_apart: "",
    stale_waiters: false,
    outcomes: &[],
};

/// What it writes when it has run that.
const WRITE: Exchange = Exchange {
    now: "t2",
    owner: "w:2",
    want: "0",
    ..TAKE
};

#[derive(Debug, PartialEq)]
struct Exchanged {
    /// For each outcome 1 or 0.
    written: Vec<i64>,
    /// The tasks' fields, with who waits, options, attempt and lost runs, absent ones empty.
    taken: Vec<Vec<String>>,
    /// id and why
    dropped: Vec<String>,
    alive: bool,
}

impl Exchanged {
    fn ids(&self) -> Vec<&str> {
        self.taken.iter().map(|task| task[0].as_str()).collect()
    }
}

/// An exchange of a worker that lives.
fn exchange(redis: &mut Connection, it: Exchange) -> Exchanged {
    let key = worker_key(it);
    run::<()>(redis, &format!("HSETNX {key} repeated 0"));
    let exchanged = exchange_dead(redis, it);
    run::<()>(redis, &format!("DEL {key}"));
    exchanged
}

fn worker_key(it: Exchange) -> String {
    let worker = it.owner.split(':').next().unwrap_or_default();
    format!("q:worker:{worker}")
}

/// An exchange of a worker that has no key.
fn exchange_dead(redis: &mut Connection, it: Exchange) -> Exchanged {
    let answer = try_exchange(redis, it).expect("the script runs");
    type Texts = Option<Vec<Option<String>>>;
    let text = |value| {
        redis::from_redis_value::<Option<String>>(value)
            .expect("text")
            .unwrap_or_default()
    };
    let parts: Vec<Value> = redis::from_redis_value(answer).expect("a list");
    let (parts, taken) = parts.split_at(4);
    let (each, alive, dropped, extras): (Value, i64, Texts, Texts) =
        redis::from_redis_value(Value::Array(parts.to_vec())).expect("what the head says");
    let mut written = vec![1; it.outcomes.len()];
    if each != Value::Int(1) {
        let each: Vec<i64> = redis::from_redis_value(each).expect("a number for each");
        for (place, code) in retries_first(it.outcomes).into_iter().zip(each) {
            written[place] = code;
        }
        assert!(written.contains(&0), "{written:?} is to be said shorter");
    }
    let groups = |texts: Texts, size| -> Vec<Vec<String>> {
        let texts = texts.unwrap_or_default();
        assert_eq!(texts.len() % size, 0, "{texts:?}");
        let texts: Vec<String> = texts.into_iter().map(Option::unwrap_or_default).collect();
        texts.chunks(size).map(<[String]>::to_vec).collect()
    };
    let mut tasks: Vec<Vec<String>> = Vec::new();
    let mut shared: Vec<String> = Vec::new();
    let mut words = taken.iter().cloned();
    while let Some(next) = words.next() {
        if next == Value::Int(0) {
            let head = words.by_ref().take(3).map(text).collect();
            assert_ne!(head, shared, "to be said shorter");
            shared = head;
            continue;
        }
        let args = words.next().expect("args after an id");
        let [function, created, waits] = &shared[..] else {
            panic!("what a task shares with others is three fields")
        };
        let fields = [&text(next), function, &text(args), created, waits];
        let mut task: Vec<String> = fields.into_iter().cloned().collect();
        task.resize(8, String::new());
        tasks.push(task);
    }
    let mut taken = tasks;
    for extra in groups(extras, 4) {
        let which: usize = extra[0].parse().expect("a place");
        taken[which][5..].clone_from_slice(&extra[1..]);
    }
    Exchanged {
        written,
        taken,
        dropped: groups(dropped, 2)
            .iter()
            .map(|pair| pair.join(" "))
            .collect(),
        alive: alive == 1,
    }
}

fn try_exchange(redis: &mut Connection, it: Exchange) -> RedisResult<Value> {
    let exchange = it.owner.rsplit(':').next().unwrap_or_default();
    let number = format!("{exchange}00{}", if it.repeated.is_empty() { 0 } else { 1 });
    let head = [
        "q:task:",
        "q:results",
        "q:reply:",
        it.now,
        it.owner,
        it.want,
        "1000",
        &number,
        DAY,
        it.older,
        it.args_apart,
    ];
    let mut args: Vec<String> = head.map(str::to_owned).to_vec();
    for place in retries_first(it.outcomes) {
        let [id, owner, kind, a, b] = it.outcomes[place];
        let (kind, rest) = kind.split_at(1);
        let waits: RedisResult<Option<String>> = redis::cmd("HGET")
            .arg(format!("q:task:{id}"))
            .arg("reply-to")
            .query(redis);
        let waits = waits.ok().flatten().filter(|_| !it.stale_waiters);
        let ttl = if kind == "r" { "" } else { rest };
        let caller = dothis::id::waiter(id.as_bytes()).unwrap_or_default();
        let caller = std::str::from_utf8(caller).expect("an address");
        let both = waits.map(|waits| match caller {
            "" => waits,
            caller => format!("{caller},{waits}"),
        });
        let mut record = vec!["o", owner];
        match &both {
            Some(both) => record.extend(["w", both]),
            None => record.extend(["i", caller]),
        }
        record.extend(["t", ttl, kind, "1", id]);
        match kind {
            "s" => {}
            "v" | "c" => record.push(a),
            "f" => record.extend([a, b]),
            _ => record.extend([a, b, rest]),
        }
        args.extend(record.into_iter().map(str::to_owned));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let key = worker_key(it);
    let keys = ["q:pending", "q:executing", "q:due", &key];
    try_call(redis, EXCHANGE, &keys, &args)
}

/// The places of outcomes in the order in which the script wants them.
fn retries_first(outcomes: &[Ran]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..outcomes.len()).collect();
    places.sort_by_key(|place| !outcomes[*place][2].starts_with('r'));
    places
}

/// Under which conditions tasks go back: after how many lost runs one is given up, and '1' for
/// those of the dead only.
#[derive(Clone, Copy)]
struct Release<'a> {
    limit: &'a str,
    dead: &'a str,
}

const HAND_BACK: Release = Release {
    limit: "",
    dead: "",
};

/// How many went back, and how many ended.
fn release(redis: &mut Connection, it: Release, tasks: &[[&str; 2]]) -> (i64, i64) {
    let answer = try_release(redis, it, tasks).expect("the script runs");
    redis::from_redis_value(answer).expect("the answer is what the head says")
}

fn try_release(redis: &mut Connection, it: Release, tasks: &[[&str; 2]]) -> RedisResult<Value> {
    let head = [
        "q:task:",
        "q:results",
        "q:reply:",
        "q:worker:",
        "t5",
        it.limit,
        it.dead,
        DAY,
    ];
    let args = [&head[..], &tasks.concat()].concat();
    try_call(
        redis,
        RELEASE,
        &["q:pending", "q:executing", "q:due"],
        &args,
    )
}

/// What became of each, and the reason.
fn cancel(redis: &mut Connection, channel: &str, reason: &str, ids: &[&str]) -> Vec<String> {
    let head = [
        "q:task:",
        "q:results",
        "q:reply:",
        channel,
        "t6",
        reason,
        DAY,
    ];
    let args = [&head[..], ids].concat();
    let answers: Vec<(String, String)> = call(redis, CANCEL, &["q:pending", "q:due"], &args);
    let answers = answers.iter();
    answers
        .map(|(what, reason)| format!("{what} {reason}").trim_end().to_owned())
        .collect()
}

#[derive(Debug, PartialEq)]
struct Ticked {
    next: i64,
    pending: i64,
    dead: Vec<String>,
}

/// A tick of a worker that takes care of the dead for so long.
fn tick(redis: &mut Connection, care: &str) -> Ticked {
    let args = ["q:task:", "q:results", "q:reply:", "t7", DAY, care];
    let keys = ["q:pending", "q:due", "q:workers"];
    let mut answer: Vec<Value> = call(redis, TICK, &keys, &args);
    let dead = answer.split_off(2);
    let numbers: Vec<i64> = answer
        .into_iter()
        .map(|value| redis::from_redis_value(value).expect("a number"))
        .collect();
    Ticked {
        next: numbers[0],
        pending: numbers[1],
        dead: dead
            .into_iter()
            .map(|value| redis::from_redis_value(value).expect("an id"))
            .collect(),
    }
}

/// Redis's clock, in milliseconds.
fn clock(redis: &mut Connection) -> i64 {
    let (seconds, micros): (i64, i64) = run(redis, "TIME");
    seconds * 1000 + micros / 1000
}

/// Task `a` taken and nothing else there, and a connection of a user who may do all but that.
fn taken_without(server: &Server, redis: &mut Connection, forbidden: &str) -> Connection {
    run::<()>(redis, "FLUSHALL");
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    user(server, redis, &format!("~* &* +@all -{forbidden}"))
}

/// A connection of a user who may do what the rules say.
fn user(server: &Server, redis: &mut Connection, rules: &str) -> Connection {
    run::<()>(redis, &format!("ACL SETUSER poor reset on >secret {rules}"));
    let mut connection = server.connect();
    run::<()>(&mut connection, "AUTH poor secret");
    connection
}

/// What is published from here on, on all channels.
struct Heard {
    redis: Connection,
}

impl Heard {
    fn from_here(server: &Server) -> Heard {
        let mut redis = server.connect();
        let mut messages = redis.as_pubsub();
        messages.psubscribe("*").expect("a subscription");
        // What `as_pubsub` gives ends its subscriptions with itself.
        std::mem::forget(messages);
        Heard { redis }
    }

    /// `channel text` for each message, up to here.
    fn all(self, redis: &mut Connection) -> Vec<String> {
        run::<()>(redis, "PUBLISH q:end .");
        let mut all = self.until("q:end");
        all.pop();
        all
    }

    /// `channel text` for each message, up to the first on that channel.
    fn until(mut self, channel: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let message = self.redis.recv_response().expect("a message");
            let parts: Vec<String> = redis::from_redis_value(message).expect("texts");
            all.push(parts[2..].join(" "));
            if parts[2] == channel {
                return all;
            }
        }
    }
}

/// The ttl of a key lies below `milliseconds`, by less than a test lasts.
fn assert_expires(redis: &mut Connection, key: &str, milliseconds: i64) {
    let left: i64 = run(redis, &format!("PTTL {key}"));
    assert!(
        (milliseconds - 60_000..=milliseconds).contains(&left) && left > 0,
        "{key} expires in {left} ms"
    );
}
