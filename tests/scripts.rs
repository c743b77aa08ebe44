//! Each script, against the whole contents of Redis: what it does, that doing it again does
//! nothing, and that its head tells the truth.

mod support;

use redis::{Connection, Script, Value};
use support::{Server, contents, run};

const ENQUEUE: &str = include_str!("../src/broker/scripts/enqueue.lua");
const EXCHANGE: &str = include_str!("../src/broker/scripts/exchange.lua");
const RELEASE: &str = include_str!("../src/broker/scripts/release.lua");
const ATTACH: &str = include_str!("../src/broker/scripts/attach.lua");

fn call(redis: &mut Connection, script: &str, keys: &[&str], args: &[&str]) -> Value {
    try_call(redis, script, keys, args).expect("the script runs")
}

fn try_call(
    redis: &mut Connection,
    script: &str,
    keys: &[&str],
    args: &[&str],
) -> redis::RedisResult<Value> {
    let script = Script::new(script);
    let mut call = script.prepare_invoke();
    call.key(keys).arg(args);
    call.invoke(redis)
}

fn ints(values: &[i64]) -> Value {
    Value::Array(values.iter().copied().map(Value::Int).collect())
}

fn enqueue(redis: &mut Connection, now: &str, tasks: &[[&str; 5]]) -> Value {
    let args = [&["q:task:", now][..], &tasks.concat()].concat();
    call(redis, ENQUEUE, &["q:pending"], &args)
}

struct Exchange<'a> {
    now: &'a str,
    owner: &'a str,
    want: &'a str,
    repeated: &'a str,
    outcomes: &'a [[&'a str; 5]],
}

/// The parts of an answer: for each outcome 1 or 0, the ids taken, the ids dropped with the reason.
fn exchange(redis: &mut Connection, it: &Exchange) -> (Value, Vec<String>, Vec<String>) {
    let head = [
        "q:task:",
        "q:results",
        "q:reply:",
        it.now,
        it.owner,
        it.want,
    ];
    let args = [
        &head[..],
        &["1000", it.repeated, "16"],
        &it.outcomes.concat(),
    ]
    .concat();
    let answer = call(redis, EXCHANGE, &["q:pending", "q:executing"], &args);
    let Value::Array(parts) = answer else {
        panic!("{answer:?}")
    };
    let texts = |value: &Value| -> Vec<String> {
        redis::from_redis_value::<Vec<Option<String>>>(value.clone())
            .expect("texts")
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect()
    };
    let taken = texts(&parts[1])
        .chunks(4)
        .map(|task| task[0].clone())
        .collect();
    let dropped = texts(&parts[2])
        .chunks(2)
        .map(|pair| pair.join(" "))
        .collect();
    (parts[0].clone(), taken, dropped)
}

const TAKE: Exchange = Exchange {
    now: "t1",
    owner: "w:1",
    want: "10",
    repeated: "",
    outcomes: &[],
};

#[test]
fn enqueue_writes_hash_and_id_once_however_often_it_is_sent() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks = [
        ["a", "f", "{}", "", ""],
        ["b", "g", "[]", "me", ""],
        ["a", "f", "{}", "", ""],
    ];
    let after = [
        "q:pending list: b a",
        "q:task:a hash: args={} function=f pending-created=t0 state=pending",
        "q:task:b hash: args=[] function=g pending-created=t0 reply-to=me state=pending",
    ];
    assert_eq!(enqueue(redis, "t0", &tasks), ints(&[1, 1, 0]));
    assert_eq!(contents(redis), after);
    assert_eq!(
        enqueue(redis, "t0", &tasks[..2]),
        ints(&[1, 1]),
        "the same call, sent again"
    );
    assert_eq!(
        enqueue(redis, "t9", &tasks[..2]),
        ints(&[0, 0]),
        "another call"
    );
    assert_eq!(contents(redis), after);
}

#[test]
fn enqueue_runs_a_finished_task_anew_only_where_it_is_asked_to() {
    let server = Server::start();
    let redis = &mut server.connect();
    run(
        redis,
        "HSET q:task:a function f state finished result failed error-reason why",
    );
    let before = contents(redis);
    assert_eq!(
        enqueue(redis, "t0", &[["a", "f", "{}", "", ""]]),
        ints(&[0])
    );
    assert_eq!(contents(redis), before);
    let after = [
        "q:pending list: a",
        "q:task:a hash: args={} function=f pending-created=t0 state=pending",
    ];
    for _ in 0..2 {
        assert_eq!(
            enqueue(redis, "t0", &[["a", "f", "{}", "", "1"]]),
            ints(&[1])
        );
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn nothing_is_written_where_a_key_has_another_type() {
    let server = Server::start();
    let redis = &mut server.connect();
    run(redis, "SET q:task:a text");
    assert_eq!(
        enqueue(redis, "t0", &[["a", "f", "{}", "", ""]]),
        ints(&[-1])
    );
    run(redis, "SET q:pending text");
    let before = contents(redis);
    for (script, args) in [
        (ENQUEUE, &["q:task:", "t0", "b", "f", "{}", "", ""][..]),
        (
            EXCHANGE,
            &["q:task:", "r", "p", "t1", "w:1", "1", "9", "", "16"],
        ),
        (RELEASE, &["q:task:", "b", "w:1"]),
    ] {
        let refused = try_call(redis, script, &["q:pending", "q:executing"], args);
        assert!(refused.is_err_and(|error| error.to_string().contains("WRONGTYPE")));
    }
    assert_eq!(contents(redis), before);
    run(redis, "DEL q:pending");
    run(redis, "LPUSH q:pending b");
    run(redis, "SET q:executing text");
    let before = contents(redis);
    let args = ["q:task:", "r", "p", "t1", "w:1", "1", "9", "", "16"];
    assert!(try_call(redis, EXCHANGE, &["q:pending", "q:executing"], &args).is_err());
    assert_eq!(
        contents(redis),
        before,
        "an id that was taken out would be lost"
    );
}

#[test]
fn exchange_takes_the_oldest_and_gives_the_same_again_when_its_answer_was_lost() {
    let server = Server::start();
    let redis = &mut server.connect();
    enqueue(
        redis,
        "t0",
        &[
            ["a", "f", "{}", "", ""],
            ["b", "f", "{}", "", ""],
            ["c", "f", "{}", "", ""],
        ],
    );
    let (_, taken, _) = exchange(redis, &Exchange { want: "2", ..TAKE });
    assert_eq!(taken, ["a", "b"]);
    let after = [
        "q:executing list: b a",
        "q:pending list: c",
        "q:task:a hash: args={} executing-created=t1 function=f owner=w:1 pending-created=t0 state=executing",
        "q:task:b hash: args={} executing-created=t1 function=f owner=w:1 pending-created=t0 state=executing",
        "q:task:c hash: args={} function=f pending-created=t0 state=pending",
    ];
    assert_eq!(contents(redis), after);
    let (_, again, _) = exchange(
        redis,
        &Exchange {
            want: "2",
            repeated: "1",
            ..TAKE
        },
    );
    assert_eq!(again, ["a", "b"]);
    assert_eq!(contents(redis), after);
}

#[test]
fn exchange_finishes_for_the_owner_alone_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    enqueue(
        redis,
        "t0",
        &[
            ["a", "f", "{}", "me", ""],
            ["b", "f", "{}", "", ""],
            ["c", "f", "{}", "", ""],
        ],
    );
    exchange(redis, &TAKE);
    let stranger = [["a", "w:2", "v", "1", ""], ["b", "w:10", "s", "", ""]];
    let before = contents(redis);
    let (written, ..) = exchange(
        redis,
        &Exchange {
            now: "t2",
            owner: "w:2",
            want: "0",
            outcomes: &stranger,
            ..TAKE
        },
    );
    assert_eq!(written, ints(&[0, 0]));
    assert_eq!(contents(redis), before);

    let own = [
        ["a", "w:1", "v", "1", ""],
        ["b", "w:1", "s", "", ""],
        ["c", "w:1", "f", "why", "stack"],
    ];
    let after = [
        "q:task:a hash: args={} executing-created=t1 finished-created=t3 function=f pending-created=t0 result=successful result-value=1 state=finished",
        "q:task:b hash: args={} executing-created=t1 finished-created=t3 function=f pending-created=t0 result=successful state=finished",
        "q:task:c hash: args={} error-exception=stack error-reason=why executing-created=t1 finished-created=t3 function=f pending-created=t0 result=failed state=finished",
    ];
    for repeated in ["", "1"] {
        let it = Exchange {
            now: "t3",
            owner: "w:3",
            want: "0",
            repeated,
            outcomes: &own,
        };
        assert_eq!(exchange(redis, &it).0, ints(&[1, 1, 1]));
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn exchange_drops_what_can_not_be_taken_and_leaves_it_as_it_is() {
    let server = Server::start();
    let redis = &mut server.connect();
    run(redis, "HSET q:task:done function f state finished");
    run(redis, "HSET q:task:held function f state executing");
    run(redis, "LPUSH q:executing held");
    run(redis, "SET q:task:text x");
    let before = contents(redis);
    run(redis, "LPUSH q:pending none done held text");
    let (_, taken, dropped) = exchange(redis, &TAKE);
    assert!(taken.is_empty());
    assert_eq!(
        dropped,
        [
            "none missing",
            "done finished",
            "held executing",
            "text not a hash"
        ]
    );
    assert_eq!(contents(redis), before);
}

#[test]
fn exchange_takes_no_more_than_the_bytes_allowed_and_keeps_the_order_of_the_rest() {
    let server = Server::start();
    let redis = &mut server.connect();
    let args = format!("\"{}\"", "x".repeat(600));
    let tasks: Vec<[&str; 5]> = ["a", "b", "c", "d"]
        .map(|id| [id, "f", &args, "", ""])
        .to_vec();
    enqueue(redis, "t0", &tasks);
    assert_eq!(exchange(redis, &TAKE).1, ["a", "b"]);
    assert_eq!(
        exchange(
            redis,
            &Exchange {
                owner: "w:2",
                ..TAKE
            }
        )
        .1,
        ["c", "d"]
    );
}

#[test]
fn release_gives_back_first_in_line_in_order_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks: Vec<[&str; 5]> = ["a", "b", "c"].map(|id| [id, "f", "{}", "", ""]).to_vec();
    enqueue(redis, "t0", &tasks);
    exchange(redis, &Exchange { want: "2", ..TAKE });
    let args = ["q:task:", "a", "w:1", "b", "w:1", "c", "w:1"];
    let after = [
        "q:pending list: c b a",
        "q:task:a hash: args={} function=f pending-created=t0 state=pending",
        "q:task:b hash: args={} function=f pending-created=t0 state=pending",
        "q:task:c hash: args={} function=f pending-created=t0 state=pending",
    ];
    for back in [2, 0] {
        let answer = call(redis, RELEASE, &["q:pending", "q:executing"], &args);
        assert_eq!(answer, Value::Int(back));
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn attach_adds_each_address_once_and_sixteen_at_most() {
    let server = Server::start();
    let redis = &mut server.connect();
    run(redis, "HSET q:task:a function f state pending");
    for address in (0..20).chain(0..20) {
        call(
            redis,
            ATTACH,
            &["q:task:a", "q:task:none"],
            &[&format!("w{address}"), "16"],
        );
    }
    let expected: Vec<String> = (0..16).map(|address| format!("w{address}")).collect();
    let expected = format!(
        "q:task:a hash: function=f reply-to={} state=pending",
        expected.join(",")
    );
    assert_eq!(contents(redis), [expected]);
}

#[test]
fn each_script_is_headed_by_the_keys_and_arguments_that_it_uses() {
    for (name, script) in [
        ("enqueue", ENQUEUE),
        ("exchange", EXCHANGE),
        ("release", RELEASE),
        ("attach", ATTACH),
    ] {
        let head: Vec<&str> = script
            .lines()
            .take_while(|line| line.starts_with("--"))
            .collect();
        let head = head.join("\n");
        let body = &script[head.len()..];
        assert!(
            head.contains("Returns"),
            "{name}: no word of what it returns"
        );
        for list in ["KEYS", "ARGV"] {
            assert_eq!(highest(list, &head), highest(list, body), "{name}: {list}");
        }
    }
}

/// The highest number of a key or argument that the text names. A loop over all from a number on,
/// `for i = 9, #ARGV` or `for i = #ARGV - 1, 9`, names that number.
fn highest(list: &str, text: &str) -> u32 {
    let patterns = [format!("{list}["), format!("#{list} - 1, ")];
    let number = |text: &str| -> Option<u32> {
        let digits = text.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().ok()
    };
    let named = patterns.iter().flat_map(|pattern| {
        text.match_indices(pattern)
            .filter_map(|(at, found)| number(&text[at + found.len()..]))
    });
    let end = format!(", #{list}");
    let looped = text
        .match_indices(&end)
        .filter_map(|(at, _)| number(text[..at].rsplit("= ").next()?));
    named.chain(looped).max().unwrap_or(0)
}
