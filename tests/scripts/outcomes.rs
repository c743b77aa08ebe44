use crate::support::{Server, contents, run};
use crate::*;

#[test]
fn exchange_finishes_for_the_owner_alone_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c", "d", "e"]);
    exchange(redis, TAKE);
    let stranger = [["a", "w:2", "v-", "1", ""], ["b", "w:10", "s-", "", ""]];
    let before = contents(redis);
    let strange = Exchange {
        outcomes: &stranger,
        ..WRITE
    };
    assert_eq!(exchange(redis, strange).written, [0, 0]);
    assert_eq!(contents(redis), before);

    let own = [
        ["a", "w:1", "v-", "1", ""],
        ["b", "w:1", "s-", "", ""],
        ["c", "w:1", "f-", "why", "stack"],
        ["d", "w:1", "c-", "why", ""],
        ["e", "w:1", "c-", "", ""],
    ];
    let after = [
        "q:task:a hash: args={} executing-created=t1 finished-created=t3 function=f \
         pending-created=t0 result=successful result-value=1 state=finished",
        "q:task:b hash: args={} executing-created=t1 finished-created=t3 function=f \
         pending-created=t0 result=successful state=finished",
        "q:task:c hash: args={} error-exception=stack error-reason=why executing-created=t1 \
         finished-created=t3 function=f pending-created=t0 result=failed state=finished",
        "q:task:d hash: args={} cancelled=1 error-reason=cancelled: why executing-created=t1 \
         finished-created=t3 function=f pending-created=t0 result=failed state=finished",
        "q:task:e hash: args={} cancelled=1 error-reason=cancelled executing-created=t1 \
         finished-created=t3 function=f pending-created=t0 result=failed state=finished",
    ];
    for repeated in ["", "1"] {
        let it = Exchange {
            now: "t3",
            repeated,
            outcomes: &own,
            ..WRITE
        };
        assert_eq!(exchange(redis, it).written, [1; 5]);
        assert_eq!(contents(redis), after);
    }
    let other = Exchange {
        now: "t4",
        outcomes: &own,
        ..WRITE
    };
    assert_eq!(exchange(redis, other).written, [0; 5], "another call");
    assert_eq!(contents(redis), after);
}

#[test]
fn the_outcome_of_what_is_no_task_any_more_is_lost_and_the_others_are_written() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    exchange(redis, TAKE);
    for id in ["a", "b"] {
        run::<()>(redis, &format!("DEL q:task:{id}"));
        run::<()>(redis, &format!("SET q:task:{id} text"));
    }
    let own = [
        ["a", "w:1", "r2", "why", "0"],
        ["b", "w:1", "v-", "1", ""],
        ["c", "w:1", "s-", "", ""],
    ];
    let it = Exchange {
        outcomes: &own,
        ..WRITE
    };
    assert_eq!(exchange(redis, it).written, [0, 0, 1]);
    assert_eq!(
        contents(redis),
        [
            "q:executing list: b a",
            "q:task:a string: text",
            "q:task:b string: text",
            "q:task:c hash: args={} executing-created=t1 finished-created=t2 function=f \
             pending-created=t0 result=successful state=finished",
        ]
    );
}

#[test]
fn nothing_of_an_earlier_end_is_left_in_a_hash() {
    let server = Server::start();
    let redis = &mut server.connect();
    let earlier = "result failed result-value 0 error-reason x error-exception y cancelled 1 \
                   cancel z options {} reply-to me finished-created t0";
    let ids = ["a", "b", "c", "d"];
    for id in ids {
        run::<()>(
            redis,
            &format!("HSET q:task:{id} function f owner:w:1! - state executing {earlier}"),
        );
    }
    let own = [
        ["a", "w:1", "v-", "1", ""],
        ["b", "w:1", "s-", "", ""],
        ["c", "w:1", "f-", "why", ""],
        ["d", "w:1", "c-", "why", ""],
    ];
    exchange(
        redis,
        Exchange {
            outcomes: &own,
            ..WRITE
        },
    );
    assert_eq!(
        contents(redis),
        [
            "q:task:a hash: finished-created=t2 function=f options={} result=successful \
             result-value=1 state=finished",
            "q:task:b hash: finished-created=t2 function=f options={} result=successful \
             state=finished",
            "q:task:c hash: error-reason=why finished-created=t2 function=f options={} \
             result=failed state=finished",
            "q:task:d hash: cancelled=1 error-reason=cancelled: why finished-created=t2 function=f options={} \
             result=failed state=finished",
        ]
    );
}

#[test]
fn a_finished_task_is_kept_as_long_as_its_worker_says_and_no_longer() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["ever", "soon", "gone", "awaited"]);
    run::<()>(redis, "HSET q:task:awaited reply-to me");
    exchange(redis, TAKE);
    let own = [
        ["ever", "w:1", "s-", "", ""],
        ["soon", "w:1", "s500000", "", ""],
        ["gone", "w:1", "s0", "", ""],
        ["awaited", "w:1", "s0", "", ""],
    ];
    let heard = Heard::from_here(&server);
    exchange(
        redis,
        Exchange {
            outcomes: &own,
            ..WRITE
        },
    );
    let hash = "args={} executing-created=t1 finished-created=t2 function=f pending-created=t0";
    let end = "result=successful state=finished";
    assert_eq!(
        contents(redis),
        [
            format!("q:task:awaited hash, expires: {hash} {end}"),
            format!("q:task:ever hash: {hash} {end}"),
            format!("q:task:soon hash, expires: {hash} {end}"),
        ]
    );
    assert_expires(redis, "q:task:soon", 500_000);
    assert_expires(redis, "q:task:awaited", 60_000); // its reply may be lost
    assert_eq!(
        heard.all(redis),
        [
            "q:reply:me 7:awaiteds",
            "q:results q:task:ever",
            "q:results q:task:soon",
            "q:results q:task:gone",
            "q:results q:task:awaited",
        ]
    );
}

#[test]
fn the_repeated_outcome_of_a_task_that_was_removed_counts_as_written() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    let own = [["a", "w:1", "s0", "", ""]];
    for (repeated, written) in [("", 1), ("1", 1), ("", 0)] {
        let it = Exchange {
            repeated,
            outcomes: &own,
            ..WRITE
        };
        assert_eq!(exchange(redis, it).written, [written]);
        assert_eq!(contents(redis), [""; 0]);
    }
}

#[test]
fn the_outcome_of_a_task_that_was_deleted_meanwhile_is_lost_and_its_id_leaves_executing() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    run::<()>(redis, "DEL q:task:a");
    let own = [["a", "w:1", "s-", "", ""]];
    let it = Exchange {
        outcomes: &own,
        ..WRITE
    };
    assert_eq!(exchange(redis, it).written, [0]);
    assert_eq!(contents(redis), [""; 0]);
}

#[test]
fn each_process_that_waits_gets_one_message_of_all_that_is_short_and_everybody_hears_of_each_task()
{
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["v", "kb", "s", "f", "c", "long", "alone"]);
    for id in ["v", "kb", "s", "f", "c", "long"] {
        run::<()>(redis, &format!("HSET q:task:{id} reply-to me"));
    }
    run::<()>(redis, "HSET q:task:s reply-to me,you");
    exchange(redis, TAKE);
    let kb = format!("\"{}\"", "x".repeat(1022));
    let long = format!("\"{}\"", "x".repeat(16 * 1024 - 1));
    let own = [
        ["v", "w:1", "v-", "12", ""],
        ["kb", "w:1", "v-", &kb, ""],
        ["s", "w:1", "s-", "", ""],
        ["f", "w:1", "f-", "why", "stack"],
        ["c", "w:1", "c-", "late", ""],
        ["long", "w:1", "v-", &long, ""],
        ["alone", "w:1", "s-", "", ""],
    ];
    let heard = Heard::from_here(&server);
    let it = Exchange {
        outcomes: &own,
        ..WRITE
    };
    for repeated in ["", "1"] {
        exchange(redis, Exchange { repeated, ..it });
    }
    let results =
        ["v", "kb", "s", "f", "c", "long", "alone"].map(|id| format!("q:results q:task:{id}"));
    let replies = [
        "q:reply:me 1:vv2:121:ss1:ff3:why5:stack1:cc4:late4:longr",
        &format!("q:reply:me 2:kbv1024:{kb}"),
        "q:reply:you 1:ss",
    ];
    assert_eq!(
        heard.all(redis),
        [&replies.map(str::to_owned)[..], &results].concat()
    );
}

/// The list is read from either end, in windows that grow to 512; where most of what was read goes,
/// it is cut off and the rest put back, else each is overwritten. Or, where the worker says how many of
/// its own are older, parts of it are read first.
#[test]
fn outcomes_leave_a_long_list_wherever_they_stand_in_it_and_the_others_stay_in_order() {
    let server = Server::start();
    let redis = &mut server.connect();
    let length = 2000;
    let all_places = [
        vec![1990, 1991, 1995, 1998, 1999],
        vec![0, 1, 2, 3, 700],
        vec![
            0, 1, 19, 20, 511, 512, 700, 1023, 1024, 1400, 1800, 1998, 1999,
        ],
        vec![0, 500, 1000, 1500, 1999],
        (0..100).map(|place| place * 19).collect(),
        (0..100).map(|place| place * 3).chain(1800..1900).collect(),
        (1900..2000).collect(),
        (1000..2000).filter(|place| place % 3 > 0).collect(),
        (0..2000).rev().collect(),
    ];
    let older = |place: usize| length - 1 - place;
    type Older<'a> = &'a dyn Fn(usize) -> usize;
    let said: [(&str, usize, Older); 6] = [
        ("nothing", 0, &older),
        ("how it is", length, &older),
        ("nearly how it is", length, &|place| older(place) + 2),
        ("about how it is", length / 3, &|place| {
            older(place) / 3 + 10
        }),
        ("what is wrong", length, &|place| {
            (older(place) + 900) % 2100
        }),
        ("what can't be", 1, &|place| older(place) * 1000),
    ];
    for (places, (what, held, older)) in all_places.iter().flat_map(|places| {
        let said = said.iter();
        said.map(move |said| (places, said))
    }) {
        run::<()>(redis, "FLUSHALL");
        let mut list: Vec<String> = (0..length).map(|place| place.to_string()).collect();
        redis::cmd("RPUSH")
            .arg("q:executing")
            .arg(&list)
            .exec(redis)
            .expect("a list");
        let mine: Vec<String> = places.iter().map(ToString::to_string).collect();
        for id in &mine {
            run::<()>(
                redis,
                &format!("HSET q:task:{id} state executing owner:w:1 -"),
            );
        }
        let own: Vec<Ran> = mine.iter().map(|id| [&**id, "w:1", "s", "", ""]).collect();
        let numbers = places.iter().map(|place| older(*place));
        let numbers = std::iter::once(*held).chain(numbers);
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let older = match held {
            0 => String::new(),
            _ => numbers.join(","),
        };
        let it = Exchange {
            outcomes: &own,
            older: &older,
            ..WRITE
        };
        assert_eq!(exchange(redis, it).written, vec![1; mine.len()]);
        list.retain(|id| !mine.contains(id));
        let left: Vec<String> = run(redis, "LRANGE q:executing 0 -1");
        assert_eq!(left, list, "{what}");
    }
}

#[test]
fn what_has_changed_since_a_worker_took_the_task_is_heeded_although_it_was_not_told() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["awaited", "cancelled"]);
    exchange(redis, TAKE);
    let attached: Value = call(redis, ATTACH, &["q:task:awaited"], &["me", "16", "q:task:"]);
    assert!(matches!(attached, Value::Array(_)));
    cancel(redis, "", "why", &["cancelled"]);
    let outcomes = [
        ["awaited", "w:1", "v-", "1", ""],
        ["cancelled", "w:1", "v-", "2", ""],
    ];
    let heard = Heard::from_here(&server);
    let exchanged = exchange(
        redis,
        Exchange {
            stale_waiters: true,
            outcomes: &outcomes,
            ..WRITE
        },
    );
    assert_eq!(exchanged.written, [1, 1]);
    let heard = heard.all(redis);
    assert_eq!(heard[0], "q:reply:me 7:awaitedv1:1");
    assert_eq!(
        contents(redis),
        [
            "q:task:awaited hash: args={} executing-created=t1 finished-created=t2 function=f \
             pending-created=t0 result=successful result-value=1 state=finished",
            "q:task:cancelled hash: args={} executing-created=t1 finished-created=t2 function=f \
             options={} pending-created=t0 result=successful result-value=2 state=finished",
        ]
    );
}

#[test]
fn a_seal_that_was_broken_is_still_its_owners_alone() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    for _ in 0..2 {
        call::<Value>(redis, ATTACH, &["q:task:a"], &["me", "16", "q:task:"]);
    }
    let before = contents(redis);
    let stranger = Exchange {
        outcomes: &[["a", "x:1", "v-", "1", ""]],
        ..WRITE
    };
    assert_eq!(exchange(redis, stranger).written, [0]);
    assert_eq!(contents(redis), before);
    assert_eq!(release(redis, HAND_BACK, &[["a", "x:1"]]), (0, 0));
    let again = Exchange {
        repeated: "1",
        ..TAKE
    };
    let again = exchange(redis, again);
    assert_eq!(again.taken, [["a", "f", "{}", "t0", "me", "", "", ""]]);
    assert_eq!(release(redis, HAND_BACK, &[["a", "w:1"]]), (1, 0));
    assert_eq!(
        contents(redis),
        [
            "q:pending list: a",
            "q:task:a hash: args={} function=f pending-created=t0 reply-to=me state=pending",
        ]
    );
}

#[test]
fn replies_that_were_put_together_are_sent_where_nothing_has_changed_and_made_anew_where_it_has() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (attached, heard_first) in [
        (false, vec!["q:reply:me together"]),
        (
            true,
            vec!["q:reply:me 1:bv1:21:av1:1", "q:reply:you 1:bv1:2"],
        ),
    ] {
        run::<()>(redis, "FLUSHALL");
        enqueue(
            redis,
            "t0",
            &[["a", "f", "{}", "me", ""], ["b", "f", "{}", "me", ""]],
        );
        exchange(redis, TAKE);
        if attached {
            call::<Value>(redis, ATTACH, &["q:task:b"], &["you", "16", "q:task:"]);
        }
        run::<()>(redis, "HSET q:worker:w repeated 0");
        let heard = Heard::from_here(&server);
        assert!(write_both(redis, DAY).is_ok());
        let mut expected = heard_first;
        expected.extend(["q:results q:task:a", "q:results q:task:b"]);
        assert_eq!(heard.all(redis), expected);
    }
}

/// The outcomes of `a` and `b` in one record, with the replies to the one who waits put together.
fn write_both(redis: &mut Connection, ttl: &str) -> RedisResult<Value> {
    let head = ["q:task:", "q:results", "q:reply:", "t2", "w:2", "0", "1000"];
    let rest = ["2000", ttl, "", "", "o", "w:1", "w", "me"];
    let both = ["m", "together", "v", "2", "a", "1", "b", "2"];
    let args = [&head[..], &rest[..], &both[..]].concat();
    let keys = ["q:pending", "q:executing", "q:due", "q:worker:w"];
    try_call(redis, EXCHANGE, &keys, &args)
}

#[test]
fn where_redis_forbids_something_on_the_way_what_comes_after_it_stays_its_owners() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    exchange(redis, TAKE);
    run::<()>(redis, "HSET q:worker:w repeated 0");
    let keys = "~q:pending ~q:executing ~q:due ~q:worker:* ~q:task:a";
    let mut poor = user(&server, redis, &format!("{keys} &* +@all"));
    assert!(write_both(&mut poor, DAY).is_err());
    assert_eq!(run::<String>(redis, "HGET q:task:a state"), "finished");
    assert_eq!(run::<i64>(redis, "HEXISTS q:task:b owner:w:1"), 1);
    assert!(
        matches!(write_both(redis, DAY), Ok(Value::Array(answer)) if answer[0] == Value::Int(1))
    );
    assert_eq!(run::<String>(redis, "HGET q:task:b state"), "finished");
    assert_eq!(run::<i64>(redis, "EXISTS q:executing"), 0);
}

#[test]
fn an_outcome_that_redis_forbids_to_write_leaves_the_task_its_owners() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (forbidden, outcome) in [
        ("hset", ["a", "w:1", "v-", "1", ""]),
        ("lpush", ["a", "w:1", "r2", "why", "0"]),
        ("zadd", ["a", "w:1", "r2", "why", "1000"]),
    ] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a"]);
        exchange(redis, TAKE);
        run::<()>(redis, "HSET q:worker:w repeated 0");
        let before = contents(redis);
        let mut poor = user(&server, redis, &format!("~* &* +@all -{forbidden}"));
        let write = Exchange {
            outcomes: &[outcome],
            ..WRITE
        };
        assert!(try_exchange(&mut poor, write).is_err(), "{forbidden}");
        assert_eq!(contents(redis), before, "{forbidden}");
        assert_eq!(exchange_dead(redis, write).written, [1], "{forbidden}");
    }
}

#[test]
fn an_end_that_redis_forbids_to_keep_for_its_time_is_not_written_at_all() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (forbidden, ttl) in [("pexpire", DAY), ("pexpireat", DAY), ("del", "0")] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a", "b"]);
        exchange(redis, TAKE);
        run::<()>(redis, "HSET q:worker:w repeated 0");
        let before = contents(redis);
        let mut poor = user(&server, redis, &format!("~* &* +@all -{forbidden}"));
        assert!(write_both(&mut poor, ttl).is_err(), "{forbidden}");
        assert_eq!(contents(redis), before, "{forbidden}");
    }
}
