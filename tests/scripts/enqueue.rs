use crate::support::{Server, contents, run};
use crate::*;

#[test]
fn enqueue_writes_hash_and_id_once_however_often_it_is_sent() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks = [plain("a"), ["b", "g", "[]", "me", ""], plain("a")];
    let after = [
        "q:pending list: b a",
        "q:sent:me hash, expires: 0=t0",
        "q:task:a hash: args={} function=f pending-created=t0 state=pending",
        "q:task:b hash: args=[] function=g pending-created=t0 reply-to=me state=pending",
    ];
    assert_eq!(enqueue(redis, "t0", &tasks), [1, 1, 0]);
    assert_eq!(contents(redis), after);
    let again = enqueue_in(redis, "t0", "0", &tasks);
    assert_eq!(again, [1, 1, 0], "the same call, sent again");
    assert_eq!(contents(redis), after);
    let other = enqueue_in(redis, "t9", "1", &tasks);
    assert_eq!(other, [0, 0, 0], "another call");
    let mut noted = after;
    noted[1] = "q:sent:me hash, expires: 0=t0 1=t9";
    assert_eq!(contents(redis), noted);
    assert_expires(redis, "q:sent:me", 86_400_000);
}

#[test]
fn the_note_of_what_was_sent_is_kept_for_as_long_as_something_is_sent() {
    let server = Server::start();
    let redis = &mut server.connect();
    let hour = |hour: &str| format!("2026-01-01T{hour}:59:59.000000Z");
    enqueue(redis, &hour("10"), &[plain("a")]);
    run::<()>(redis, "PEXPIRE q:sent:me 5000");
    enqueue(redis, &hour("11"), &[plain("b")]);
    assert_expires(redis, "q:sent:me", 86_400_000);
}

#[test]
fn a_repeated_enqueue_that_was_never_carried_out_is_carried_out() {
    let server = Server::start();
    let redis = &mut server.connect();
    enqueue(redis, "t0", &[plain("a")]);
    let answer = enqueue_in(redis, "t1", "0", &[plain("a"), plain("b")]);
    assert_eq!(answer, [0, 1]);
    assert_eq!(
        contents(redis),
        [
            "q:pending list: b a",
            "q:sent:me hash, expires: 0=t1",
            "q:task:a hash: args={} function=f pending-created=t0 state=pending",
            "q:task:b hash: args={} function=f pending-created=t1 state=pending",
        ]
    );
}

#[test]
fn a_repeated_enqueue_does_not_make_tasks_again_that_have_run_and_been_removed() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks = [plain("gone"), plain("kept"), plain("later")];
    enqueue(redis, "t0", &tasks);
    exchange(redis, Exchange { want: "2", ..TAKE });
    let outcomes = [
        ["gone", "w:1", "v0", "1", ""],
        ["kept", "w:1", "v-", "1", ""],
    ];
    exchange(
        redis,
        Exchange {
            outcomes: &outcomes,
            ..WRITE
        },
    );
    let before = contents(redis);
    assert!(
        !before.iter().any(|line| line.contains("gone")),
        "{before:?}"
    );
    assert_eq!(enqueue_in(redis, "t0", "0", &tasks), [1, 1, 1]);
    assert_eq!(contents(redis), before);
}

#[test]
fn a_repeated_enqueue_tells_its_own_tasks_from_those_that_were_there() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "HSET q:task:wire function f");
    run::<()>(redis, "SET q:task:text x");
    enqueue_in(redis, "t0", "5", &[plain("there")]);
    let tasks = [plain("a"), plain("there"), plain("wire"), plain("text")];
    let first = enqueue(redis, "t1", &tasks);
    assert_eq!(first, [1, 0, 0, -1]);
    let before = contents(redis);
    assert_eq!(enqueue_in(redis, "t1", "0", &tasks), first);
    assert_eq!(contents(redis), before);
}

#[test]
fn enqueue_runs_a_finished_task_anew_only_where_it_is_asked_to() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(
        redis,
        "HSET q:task:a function f state finished result failed error-reason why",
    );
    run::<()>(redis, "PEXPIRE q:task:a 1000000");
    run::<()>(
        redis,
        "HSET q:task:b function f state executing owner:w:1 -",
    );
    let before = contents(redis);
    assert_eq!(enqueue(redis, "t0", &[plain("a")]), [0]);
    run::<()>(redis, "DEL q:sent:me");
    assert_eq!(contents(redis), before);
    let again = [["a", "f", "{}", "", "1"], ["b", "f", "{}", "", "1"]];
    let after = [
        "q:pending list: a",
        "q:sent:me hash, expires: 0=t1",
        "q:task:a hash: args={} function=f pending-created=t1 state=pending",
        "q:task:b hash: function=f owner:w:1=- state=executing",
    ];
    for _ in 0..2 {
        assert_eq!(enqueue_in(redis, "t1", "0", &again), [1, 0]);
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn a_task_whose_id_was_made_for_it_is_put_in_like_any_other_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let new = [
        ["a", "f", "{}", "", "n"],
        ["b", "f", "{}", "me", "n|||{\"attempts\":2}"],
    ];
    let after = [
        "q:pending list: b a",
        "q:sent:me hash, expires: 0=t0",
        "q:task:a hash: args={} function=f pending-created=t0 state=pending",
        "q:task:b hash: args={} function=f options={\"attempts\":2} pending-created=t0 reply-to=me \
         state=pending",
    ];
    for _ in 0..2 {
        assert_eq!(enqueue_in(redis, "t0", "0", &new), [1, 1]);
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn tasks_whose_ids_were_made_for_them_are_put_in_together_in_their_order_among_others() {
    let server = Server::start();
    let redis = &mut server.connect();
    let alike = ["n", "3", "a", "b", "c", "[1]", "[2]", "[3]"];
    let hash = |id: &str, rest: &str| format!("q:task:{id} hash: {rest} state=pending");
    for other in [None, Some(["p", "1", "x", "{}"])] {
        for other_first in [true, false] {
            run::<()>(redis, "FLUSHALL");
            let mut args = vec!["q:task:", "t0", "q:wake", "0", "f", "add", "w", "me"];
            args.extend(other.iter().flatten().filter(|_| other_first));
            args.extend(alike);
            args.extend(other.iter().flatten().filter(|_| !other_first));
            let keys = ["q:pending", "q:due", "q:sent:me"];
            assert_eq!(call::<i64>(redis, ENQUEUE, &keys, &args), 1);
            let pending = match (other, other_first) {
                (None, _) => "c b a",
                (_, true) => "c b a x",
                (_, false) => "x c b a",
            };
            let mut after = vec![
                format!("q:pending list: {pending}"),
                "q:sent:me hash, expires: 0=t0".to_owned(),
                hash("a", "args=[1] function=add pending-created=t0 reply-to=me"),
                hash("b", "args=[2] function=add pending-created=t0 reply-to=me"),
                hash("c", "args=[3] function=add pending-created=t0 reply-to=me"),
            ];
            if other.is_some() {
                after.push(hash(
                    "x",
                    "args={} function=add pending-created=t0 reply-to=me",
                ));
            }
            assert_eq!(contents(redis), after);
        }
    }
}

#[test]
fn an_id_that_one_call_has_twice_is_one_task_whoever_made_the_id() {
    let server = Server::start();
    let redis = &mut server.connect();
    let made = ["a", "f", "{}", "", "n"];
    let tasks = [
        made,
        plain("b"),
        ["a", "g", "[]", "me", ""],
        ["b", "g", "[]", "", "1"],
    ];
    assert_eq!(enqueue(redis, "t0", &tasks), [1, 1, 0, 0]);
    assert_eq!(
        contents(redis),
        [
            "q:pending list: b a",
            "q:sent:me hash, expires: 0=t0",
            "q:task:a hash: args={} function=f pending-created=t0 state=pending",
            "q:task:b hash: args={} function=f pending-created=t0 state=pending",
        ]
    );
}

#[test]
fn what_is_to_start_later_is_due_and_not_pending() {
    let server = Server::start();
    let redis = &mut server.connect();
    let at = format!("|@{FUTURE}||");
    let options = format!("|@{FUTURE}|@{FUTURE}|{{\"attempts\":2,\"a\":\"|\"}}");
    let tasks = [
        ["at", "f", "{}", "", at.as_str()],
        ["all", "f", "{}", "me", &options],
        plain("now"),
    ];
    let after = [
        "q:due zset: expire:all@9000000000000 start:all@9000000000000 start:at@9000000000000",
        "q:pending list: now",
        "q:sent:me hash, expires: 0=t0",
        "q:task:all hash: args={} expires=9000000000000 function=f \
         options={\"attempts\":2,\"a\":\"|\"} pending-created=t0 reply-to=me state=pending",
        "q:task:at hash: args={} function=f pending-created=t0 state=pending",
        "q:task:now hash: args={} function=f pending-created=t0 state=pending",
    ];
    for _ in 0..2 {
        assert_eq!(enqueue_in(redis, "t0", "0", &tasks), [1, 1, 1]);
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn times_from_now_are_on_the_clock_of_redis() {
    let server = Server::start();
    let redis = &mut server.connect();
    let before = clock(redis);
    enqueue(redis, "t0", &[["a", "f", "{}", "", "|+5000|+7000|"]]);
    let after = clock(redis);
    let start: i64 = run(redis, "ZSCORE q:due start:a");
    let expire: i64 = run(redis, "ZSCORE q:due expire:a");
    assert!((before..=after).contains(&(start - 5000)));
    assert!((before..=after).contains(&(expire - 7000)));
    assert_eq!(run::<i64>(redis, "HGET q:task:a expires"), expire);
}

/// Whoever takes a task looks at the rest only where it has options.
#[test]
fn a_task_that_expires_has_options_although_none_were_given() {
    let server = Server::start();
    let redis = &mut server.connect();
    let expires = format!("||@{FUTURE}|");
    enqueue(redis, "t0", &[["a", "f", "{}", "", &expires]]);
    assert_eq!(
        contents(redis),
        [
            "q:due zset: expire:a@9000000000000",
            "q:pending list: a",
            "q:sent:me hash, expires: 0=t0",
            "q:task:a hash: args={} expires=9000000000000 function=f options={} \
             pending-created=t0 state=pending",
        ]
    );
}

#[test]
fn workers_are_woken_only_where_something_is_due_sooner_than_they_know() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (index, (extra, woken)) in [
        ("|@9000000000002||", true),
        ("|@9000000000003||", false),
        ("||@9000000000001|", true),
        ("", false),
    ]
    .into_iter()
    .enumerate()
    {
        let now = format!("t{index}");
        let heard = Heard::from_here(&server);
        enqueue(redis, &now, &[[extra, "f", "{}", "", extra]]);
        let expected: &[&str] = if woken { &["q:wake due"] } else { &[] };
        assert_eq!(heard.all(redis), expected, "{extra}");
    }
}

#[test]
fn nothing_is_written_where_a_key_has_another_type() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "SET q:task:a text");
    assert_eq!(enqueue(redis, "t0", &[plain("a")]), [-1]);
    run::<()>(redis, "DEL q:sent:me");
    run::<()>(redis, "HSET q:task:b owner:w:1 -");
    run::<()>(redis, "HSET q:worker:w repeated 0");
    let finish = Exchange {
        outcomes: &[["b", "w:1", "v-", "1", ""]],
        want: "1",
        ..WRITE
    };
    for wrong in ["q:pending", "q:executing", "q:due", "q:sent:me"] {
        run::<()>(redis, &format!("SET {wrong} text"));
        if wrong != "q:pending" {
            // An id that was taken out would be lost.
            run::<()>(redis, "LPUSH q:pending c");
            run::<()>(redis, "HSET q:task:c function f");
        }
        let before = contents(redis);
        let refused = |answer: RedisResult<Value>, what: &str| {
            let refused = answer.is_err_and(|error| error.to_string().contains("WRONGTYPE"));
            assert!(refused, "{what}, {wrong}");
        };
        if wrong != "q:executing" {
            let extra = format!("|@{FUTURE}||");
            let due = [["d", "f", "{}", "", &*extra]];
            refused(try_enqueue(redis, "t0", "0", &due), "enqueue");
        }
        if matches!(wrong, "q:pending" | "q:executing") {
            refused(try_exchange(redis, finish), "exchange");
            refused(try_release(redis, HAND_BACK, &[["b", "w:1"]]), "release");
        }
        if matches!(wrong, "q:pending" | "q:due") {
            let args = ["q:task:", "r", "p", "t7", DAY, "0"];
            let keys = ["q:pending", "q:due", "q:workers"];
            refused(try_call(redis, TICK, &keys, &args), "tick");
        }
        assert_eq!(contents(redis), before);
        run::<()>(redis, &format!("DEL {wrong} q:pending q:task:c"));
    }
}

#[test]
fn a_call_that_comes_after_its_own_repetition_or_later_ones_of_its_place_does_nothing() {
    let server = Server::start();
    let redis = &mut server.connect();
    enqueue_in(redis, "t1", "0", &[plain("a")]);
    run::<()>(redis, "DEL q:task:a q:pending"); // run, and removed
    for late in ["t1", "t0"] {
        enqueue_in(redis, late, "0", &[plain("a")]);
        assert_eq!(contents(redis), ["q:sent:me hash, expires: 0=t1"], "{late}");
    }
    assert_eq!(enqueue_in(redis, "t0", "1", &[plain("a")]), [1]);
}
