use crate::support::{Server, contents, run};
use crate::*;

#[test]
fn exchange_takes_the_oldest_and_gives_the_same_again_when_its_answer_was_lost() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    run::<()>(
        redis,
        "HSET q:task:b options {\"attempts\":3} attempt 2 lost 1",
    );
    let two = Exchange { want: "2", ..TAKE };
    let first = exchange(redis, two);
    assert_eq!(
        first.taken,
        [
            ["a", "f", "{}", "t0", "", "", "", ""],
            ["b", "f", "{}", "t0", "", "{\"attempts\":3}", "2", "1"]
        ]
    );
    let after = [
        "q:executing list: b a",
        "q:pending list: c",
        "q:task:a hash: args={} executing-created=t1 function=f owner:w:1= pending-created=t0 \
         state=executing",
        "q:task:b hash: args={} attempt=2 executing-created=t1 function=f lost=1 \
         options={\"attempts\":3} owner:w:1= pending-created=t0 state=executing",
        "q:task:c hash: args={} function=f pending-created=t0 state=pending",
    ];
    assert_eq!(contents(redis), after);
    let again = Exchange {
        repeated: "1",
        ..two
    };
    assert_eq!(exchange(redis, again), first);
    assert_eq!(contents(redis), after);
}

#[test]
fn a_finished_task_that_somebody_puts_in_again_begins_anew() {
    let server = Server::start();
    let redis = &mut server.connect();
    let life = "result failed result-value 1 error-reason x error-exception y cancelled 1 attempt 3 \
                lost 2 cancel why error-1 a error-2 b expires 1 executing-created t0 finished-created t0";
    for (id, more) in [("plain", ""), ("asking", "options {\"attempts\":3}")] {
        let key = format!("q:task:{id}");
        run::<()>(
            redis,
            format!("HSET {key} function f error-free kept {life} {more}").trim_end(),
        );
        run::<()>(redis, &format!("PEXPIRE {key} 60000"));
        run::<()>(redis, &format!("HSET {key} state pending"));
        run::<()>(redis, &format!("LPUSH q:pending {id}"));
    }
    let taken = exchange(redis, TAKE).taken;
    assert_eq!(
        taken,
        [
            ["plain", "f", "", "", "", "", "", ""],
            ["asking", "f", "", "", "", "{\"attempts\":3}", "", ""]
        ]
    );
    assert_eq!(
        contents(redis),
        [
            "q:executing list: asking plain",
            "q:task:asking hash: error-free=kept executing-created=t1 function=f \
             options={\"attempts\":3} owner:w:1= state=executing",
            "q:task:plain hash: error-free=kept executing-created=t1 function=f owner:w:1= \
             state=executing",
        ]
    );
}

#[test]
fn a_task_that_ended_without_a_run_of_ours_begins_anew_when_it_is_put_in_again() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["cancelled", "foreign"]);
    cancel(redis, "q:cmd", "why", &["cancelled"]);
    assert_expires(redis, "q:task:cancelled", 86_400_000);
    run::<()>(redis, "LREM q:pending 0 foreign");
    run::<()>(
        redis,
        "HSET q:task:foreign state finished result successful result-value 1 finished-created t0",
    );
    run::<()>(redis, "PEXPIRE q:task:foreign 60000");
    for id in ["cancelled", "foreign"] {
        run::<()>(redis, &format!("HSET q:task:{id} state pending"));
        run::<()>(redis, &format!("LPUSH q:pending {id}"));
    }
    assert_eq!(exchange(redis, TAKE).ids(), ["cancelled", "foreign"]);
    assert_eq!(
        contents(redis),
        [
            "q:executing list: foreign cancelled",
            "q:task:cancelled hash: args={} executing-created=t1 function=f owner:w:1= \
             pending-created=t0 state=executing",
            "q:task:foreign hash: args={} executing-created=t1 function=f owner:w:1= \
             pending-created=t0 state=executing",
        ]
    );
}

#[test]
fn tasks_that_differ_in_function_date_or_waiter_are_told_apart() {
    let server = Server::start();
    let redis = &mut server.connect();
    let calls = [
        (
            "t0",
            [
                ["a", "f", "1", "", ""],
                ["b", "f", "2", "me", ""],
                ["c", "g", "3", "me", ""],
            ],
        ),
        (
            "t1",
            [
                ["d", "g", "4", "me", ""],
                ["e", "g", "5", "me", ""],
                ["f", "g", "6", "", ""],
            ],
        ),
    ];
    for (now, tasks) in calls {
        enqueue(redis, now, &tasks);
    }
    run::<()>(redis, "HDEL q:task:f pending-created");
    assert_eq!(
        exchange(redis, TAKE).taken,
        [
            ["a", "f", "1", "t0", "", "", "", ""],
            ["b", "f", "2", "t0", "me", "", "", ""],
            ["c", "g", "3", "t0", "me", "", "", ""],
            ["d", "g", "4", "t1", "me", "", "", ""],
            ["e", "g", "5", "t1", "me", "", "", ""],
            ["f", "g", "6", "", "", "", "", ""],
        ]
    );
}

#[test]
fn args_that_are_read_apart_are_told_by_their_length_and_count_like_others() {
    let server = Server::start();
    let redis = &mut server.connect();
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(600));
    let tasks = ["a", "b", "c"].map(|id| [id, "f", &*long, "", ""]);
    run::<()>(redis, "HSET q:task:bare function f state pending");
    run::<()>(redis, "LPUSH q:pending bare");
    enqueue(redis, "t0", &tasks);
    let apart = Exchange {
        args_apart: "1",
        ..TAKE
    };
    let bytes = long.len().to_string();
    let first = exchange(redis, apart);
    // Bytes end at a thousand.
    assert_eq!(
        first.taken,
        [
            ["bare", "f", "", "", "", "", "", ""],
            ["a", "f", &bytes, "t0", "", "", "", ""],
            ["b", "f", &bytes, "t0", "", "", "", ""],
        ]
    );
    let before = contents(redis);
    let again = exchange(
        redis,
        Exchange {
            repeated: "1",
            ..apart
        },
    );
    assert_eq!(again.ids(), ["bare", "a", "b"]);
    assert_eq!(again.taken[1][2], long, "a repetition tells them whole");
    assert_eq!(contents(redis), before);
}

#[test]
fn a_task_is_not_taken_where_redis_forbids_to_look_at_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (forbidden, args_apart) in [("hmget", ""), ("hmget", "1"), ("hstrlen", "1")] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a"]);
        run::<()>(redis, &format!("HSET {} repeated 0", worker_key(TAKE)));
        let before = contents(redis);
        let mut poor = user(&server, redis, &format!("~* &* +@all -{forbidden}"));
        let take = Exchange { args_apart, ..TAKE };
        assert!(try_exchange(&mut poor, take).is_err(), "{forbidden}");
        assert_eq!(contents(redis), before, "{forbidden}");
    }
}

#[test]
fn a_repeated_exchange_gives_each_of_its_own_once_and_nothing_of_others() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    let one = Exchange { want: "1", ..TAKE };
    exchange(
        redis,
        Exchange {
            owner: "x:1",
            ..one
        },
    );
    exchange(redis, one);
    run::<()>(redis, "SET q:task:text x");
    // A person pushed it again, and another kind of worker took it.
    run::<()>(redis, "LPUSH q:executing b text none");
    let before = contents(redis);
    let again = Exchange {
        repeated: "1",
        ..one
    };
    assert_eq!(exchange(redis, again).ids(), ["b"]);
    assert_eq!(contents(redis), before);
}

#[test]
fn what_claims_to_be_executing_and_is_not_is_taken() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(
        redis,
        "HSET q:task:a function f state executing owner:x:1 -",
    );
    run::<()>(redis, "HSET q:task:b state pending");
    run::<()>(redis, "LPUSH q:pending a b");
    assert_eq!(exchange(redis, TAKE).ids(), ["a", "b"]);
    assert_eq!(
        contents(redis),
        [
            "q:executing list: b a",
            "q:task:a hash: executing-created=t1 function=f owner:w:1= state=executing",
            "q:task:b hash: executing-created=t1 owner:w:1= state=executing",
        ]
    );
}

#[test]
fn a_repeated_exchange_that_took_nothing_takes_now() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    let again = Exchange {
        repeated: "1",
        ..TAKE
    };
    assert_eq!(exchange(redis, again).ids(), ["a"]);
}

#[test]
fn exchange_drops_what_can_not_be_taken_and_leaves_it_as_it_is() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "HSET q:task:done function f state finished");
    run::<()>(redis, "HSET q:task:held function f state executing");
    run::<()>(redis, "LPUSH q:executing held");
    run::<()>(redis, "SET q:task:text x");
    let before = contents(redis);
    run::<()>(redis, "LPUSH q:pending none done held text");
    let exchanged = exchange(redis, TAKE);
    assert!(exchanged.taken.is_empty());
    assert_eq!(
        exchanged.dropped,
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
fn an_id_that_is_pending_twice_is_taken_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    run::<()>(redis, "LPUSH q:pending a");
    let exchanged = exchange(redis, TAKE);
    assert_eq!(exchanged.ids(), ["a"]);
    assert_eq!(exchanged.dropped, ["a executing"]);
    run::<()>(redis, "LPUSH q:pending a");
    let other = Exchange {
        owner: "x:1",
        ..TAKE
    };
    assert_eq!(exchange(redis, other).dropped, ["a executing"]);
    assert_eq!(
        contents(redis),
        [
            "q:executing list: a",
            "q:task:a hash: args={} executing-created=t1 function=f owner:w:1= pending-created=t0 \
             state=executing",
        ]
    );
}

#[test]
fn exchange_takes_no_more_than_the_bytes_allowed_and_keeps_the_order_of_the_rest() {
    let server = Server::start();
    let redis = &mut server.connect();
    let args = format!("\"{}\"", "x".repeat(600));
    let tasks: Vec<New> = ["a", "b", "c", "d"]
        .map(|id| [id, "f", &args, "", ""])
        .to_vec();
    enqueue(redis, "t0", &tasks);
    assert_eq!(exchange(redis, TAKE).ids(), ["a", "b"]);
    let second = Exchange {
        owner: "w:2",
        ..TAKE
    };
    assert_eq!(exchange(redis, second).ids(), ["c", "d"]);
}

#[test]
fn a_task_that_has_not_begun_by_its_expiry_ends_when_it_would_be_taken() {
    let server = Server::start();
    let redis = &mut server.connect();
    let past = format!("||@{PAST}|");
    let kept = format!("||@{PAST}|{{\"resultTtl\":null}}");
    let removed = format!("||@{PAST}|{{\"resultTtl\":0}}");
    let tasks = [
        ["plain", "f", "{}", "me", past.as_str()],
        ["kept", "f", "{}", "", &kept],
        ["gone", "f", "{}", "", &removed],
        plain("other"),
    ];
    enqueue(redis, "t0", &tasks);
    run::<()>(redis, "DEL q:sent:me");
    run::<()>(redis, "HSET q:task:kept attempt 2");
    let heard = Heard::from_here(&server);
    let exchanged = exchange(redis, TAKE);
    assert_eq!(exchanged.ids(), ["other"]);
    assert!(exchanged.dropped.is_empty());
    assert_eq!(
        contents(redis),
        [
            "q:executing list: other",
            "q:task:kept hash: args={} attempt=2 \
             error-reason=expired: attempt 2 had not begun by then expires=1000 \
             finished-created=t1 function=f options={\"resultTtl\":null} pending-created=t0 \
             result=failed state=finished",
            "q:task:other hash: args={} executing-created=t1 function=f owner:w:1= \
             pending-created=t0 state=executing",
            "q:task:plain hash, expires: args={} \
             error-reason=expired: it had not begun by then expires=1000 finished-created=t1 \
             function=f options={} pending-created=t0 result=failed state=finished",
        ]
    );
    assert_expires(redis, "q:task:plain", 86_400_000);
    assert_eq!(
        heard.all(redis),
        [
            "q:reply:me 5:plainf33:expired: it had not begun by then0:",
            "q:results q:task:plain",
            "q:results q:task:kept",
            "q:results q:task:gone",
        ]
    );
}

#[test]
fn a_task_that_begins_before_its_expiry_does_not_expire_any_more() {
    let server = Server::start();
    let redis = &mut server.connect();
    let future = format!("||@{FUTURE}|");
    enqueue(redis, "t0", &[["a", "f", "{}", "", &future]]);
    run::<()>(redis, "DEL q:sent:me");
    assert_eq!(exchange(redis, TAKE).ids(), ["a"]);
    assert_eq!(
        contents(redis),
        [
            "q:executing list: a",
            "q:task:a hash: args={} executing-created=t1 expires=9000000000000 function=f \
             options={} owner:w:1= pending-created=t0 state=executing",
        ]
    );
}

#[test]
fn a_task_that_was_cancelled_before_it_was_pushed_ends_when_it_would_be_taken() {
    let server = Server::start();
    let redis = &mut server.connect();
    // Another program writes the hash first, and pushes the id when it has been cancelled.
    run::<()>(redis, "HSET q:task:a function f args {}");
    assert_eq!(cancel(redis, "", "why", &["a"]), ["executing why"]);
    run::<()>(redis, "LPUSH q:pending a");
    let exchanged = exchange(redis, TAKE);
    assert!(exchanged.taken.is_empty() && exchanged.dropped.is_empty());
    assert_eq!(
        contents(redis),
        [
            "q:task:a hash, expires: args={} cancelled=1 error-reason=cancelled: why \
             finished-created=t1 function=f options={} result=failed state=finished"
        ]
    );
}

#[test]
fn a_worker_without_a_key_gets_no_tasks_but_may_write_what_is_its_own() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    let one = Exchange { want: "1", ..TAKE };
    let first = exchange(redis, one);
    assert!(first.alive);
    let outcomes = [["a", "w:1", "s-", "", ""]];
    let next = Exchange {
        want: "5",
        outcomes: &outcomes,
        ..WRITE
    };
    let exchanged = exchange_dead(redis, next);
    assert_eq!((exchanged.written, exchanged.alive), (vec![1], false));
    assert!(exchanged.taken.is_empty());
    assert_eq!(
        contents(redis),
        [
            "q:pending list: b",
            "q:task:a hash: args={} executing-created=t1 finished-created=t2 function=f \
             pending-created=t0 result=successful state=finished",
            "q:task:b hash: args={} function=f pending-created=t0 state=pending",
        ]
    );
    assert!(
        exchange_dead(redis, WRITE).alive,
        "it did not ask for anything"
    );
}

#[test]
fn a_worker_whose_key_went_with_the_answer_hears_what_it_had_taken() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    let one = Exchange { want: "1", ..TAKE };
    exchange(redis, one);
    let before = contents(redis);
    let again = Exchange {
        repeated: "1",
        ..one
    };
    assert_eq!(exchange_dead(redis, again).ids(), ["a"]);
    assert_eq!(contents(redis), before);
}

#[test]
fn a_call_that_comes_after_its_own_repetition_takes_nothing_also_once_the_key_is_made_anew() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    run::<()>(redis, "HSET q:worker:w repeated 0");
    let one = Exchange { want: "1", ..TAKE };
    let repeated = Exchange {
        repeated: "1",
        ..one
    };
    assert_eq!(exchange_dead(redis, repeated).ids(), ["a"]);
    assert_eq!(exchange_dead(redis, one).ids(), [""; 0], "late");
    let beat = ["w", "100000", "1001", "registered", "t"];
    for _ in 0..2 {
        run::<()>(redis, "DEL q:worker:w");
        call::<Value>(redis, HEARTBEAT, &["q:worker:w", "q:workers"], &beat);
        assert_eq!(exchange_dead(redis, one).ids(), [""; 0], "late");
    }
    let next = Exchange {
        owner: "w:2",
        ..one
    };
    assert_eq!(exchange_dead(redis, next).ids(), ["b"]);
}

/// What follows a wait is dated by Redis, in the shape of all dates.
#[test]
fn a_take_without_a_date_of_its_own_has_the_date_at_which_it_is_carried_out() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    let before = dothis::clock::now();
    exchange(redis, Exchange { now: "", ..TAKE });
    let after = dothis::clock::now();
    let began: String = run(redis, "HGET q:task:a executing-created");
    assert!(
        before <= began && began <= after,
        "{before} {began} {after}"
    );
    assert_eq!(began.len(), before.len());
}

#[test]
fn what_somebody_put_back_by_hand_while_it_ran_is_its_next_takers_alone() {
    let server = Server::start();
    let redis = &mut server.connect();
    for put_back in [
        "HSET q:task:a state pending",
        "HDEL q:task:a state executing-created",
    ] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a"]);
        exchange(redis, TAKE);
        run::<()>(redis, put_back);
        run::<()>(redis, "LREM q:executing 0 a");
        run::<()>(redis, "LPUSH q:pending a");
        let next = Exchange {
            owner: "x:1",
            ..TAKE
        };
        assert_eq!(exchange(redis, next).ids(), ["a"], "{put_back}");
        let ended = Exchange {
            outcomes: &[["a", "w:1", "v-", "1", ""]],
            ..WRITE
        };
        let before = contents(redis);
        assert_eq!(exchange(redis, ended).written, [0], "{put_back}");
        assert_eq!(contents(redis), before, "{put_back}");
    }
}
