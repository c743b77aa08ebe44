use crate::support::{Server, contents, run};
use crate::*;

const ENDED: &str = "args={} cancelled=1 error-reason=cancelled: why finished-created=t6";

#[test]
fn what_has_not_begun_is_cancelled_wherever_it_waits_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let later = format!("|@{FUTURE}|@{FUTURE}|{{\"resultTtl\":null}}");
    let removed = format!("||@{FUTURE}|{{\"resultTtl\":0}}");
    let tasks = [
        plain("spared"),
        ["pending", "f", "{}", "me", ""],
        ["later", "f", "{}", "", &later],
        ["gone", "f", "{}", "", &removed],
    ];
    enqueue(redis, "t0", &tasks);
    run::<()>(redis, "DEL q:sent:me");
    let heard = Heard::from_here(&server);
    let ids = ["pending", "later", "gone"];
    assert_eq!(
        cancel(redis, "q:cmd", "why", &ids),
        ["cancelled why", "cancelled why", "cancelled why"]
    );
    let after = [
        "q:pending list: spared".to_owned(),
        "q:task:later hash: args={} cancelled=1 error-reason=cancelled: why \
             expires=9000000000000 finished-created=t6 function=f options={\"resultTtl\":null} \
             pending-created=t0 result=failed state=finished"
            .to_owned(),
        format!(
            "q:task:pending hash, expires: {ENDED} function=f pending-created=t0 result=failed \
             state=finished"
        ),
        "q:task:spared hash: args={} function=f pending-created=t0 state=pending".to_owned(),
    ];
    assert_eq!(contents(redis), after);
    assert_expires(redis, "q:task:pending", 86_400_000);
    assert_eq!(
        cancel(redis, "q:cmd", "why", &ids),
        ["cancelled why", "cancelled why", "missing why"],
        "the same call, sent again: it is not too late"
    );
    assert_eq!(contents(redis), after);
    assert_eq!(
        heard.all(redis),
        [
            "q:reply:me 7:pendingc3:why",
            "q:results q:task:pending",
            "q:results q:task:later",
            "q:results q:task:gone",
        ]
    );
}

#[test]
fn what_waits_for_its_next_attempt_is_cancelled() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    let retry = [["a", "w:1", "r2", "x", "100000"]];
    exchange(
        redis,
        Exchange {
            outcomes: &retry,
            ..WRITE
        },
    );
    assert_eq!(cancel(redis, "q:cmd", "why", &["a"]), ["cancelled why"]);
    assert_eq!(
        contents(redis),
        [
            "q:task:a hash, expires: args={} attempt=2 cancelled=1 error-1=t2 x \
             error-reason=cancelled: why finished-created=t6 function=f options={} \
             pending-created=t0 result=failed state=finished"
        ]
    );
}

#[test]
fn whoever_runs_a_task_is_told_and_the_first_reason_counts() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    let after = [
        "q:executing list: a",
        "q:task:a hash: args={} cancel=why executing-created=t1 function=f options={} owner:w:1!= \
         pending-created=t0 state=executing",
    ];
    for (channel, reason, heard) in [
        ("q:cmd", "why", &["q:cmd task:kill:q:task:a"][..]),
        ("q:cmd", "another", &["q:cmd task:kill:q:task:a"]),
        ("", "by whoever was told", &[]),
    ] {
        let messages = Heard::from_here(&server);
        assert_eq!(cancel(redis, channel, reason, &["a"]), ["executing why"]);
        assert_eq!(messages.all(redis), heard);
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn a_task_that_another_kind_of_worker_holds_is_marked() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "HSET q:task:held function f state executing");
    run::<()>(redis, "HSET q:task:claimed function f state pending");
    run::<()>(redis, "LPUSH q:executing held claimed");
    assert_eq!(
        cancel(redis, "q:cmd", "", &["held", "claimed"]),
        ["executing", "executing"]
    );
    assert_eq!(
        contents(redis),
        [
            "q:executing list: claimed held",
            "q:task:claimed hash: cancel= function=f options={} state=pending",
            "q:task:held hash: cancel= function=f options={} state=executing",
        ]
    );
}

#[test]
fn what_can_not_be_cancelled_is_left_as_it_is() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "HSET q:task:done function f state finished");
    run::<()>(redis, "SET q:task:text x");
    let before = contents(redis);
    assert_eq!(
        cancel(redis, "q:cmd", "", &["done", "text", "none"]),
        ["finished", "not a hash", "missing"]
    );
    assert_eq!(contents(redis), before);
}

#[test]
fn what_was_executing_and_is_put_into_pending_by_hand_has_no_owner_once_it_has_ended() {
    let server = Server::start();
    let redis = &mut server.connect();
    let past = "{\"resultTtl\":null}";
    for end in ["cancel", "tick", "take"] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a"]);
        exchange(redis, TAKE);
        run::<()>(redis, "LREM q:executing 1 a");
        run::<()>(
            redis,
            &format!("HSET q:task:a state pending expires {PAST} options {past}"),
        );
        run::<()>(redis, "LPUSH q:pending a");
        match end {
            "cancel" => {
                assert_eq!(cancel(redis, "", "why", &["a"]), ["cancelled why"]);
            }
            "tick" => {
                run::<()>(redis, &format!("ZADD q:due {PAST} expire:a"));
                tick(redis, "0");
            }
            _ => {
                let other = Exchange {
                    owner: "x:1",
                    ..TAKE
                };
                assert!(exchange(redis, other).taken.is_empty());
            }
        }
        let before = contents(redis);
        assert!(
            before.iter().any(|line| line.contains("state=finished")),
            "{end}"
        );
        let late = Exchange {
            outcomes: &[["a", "w:1", "v-", "1", ""]],
            ..WRITE
        };
        assert_eq!(exchange(redis, late).written, [0], "{end}");
        assert_eq!(contents(redis), before, "{end}");
    }
}

#[test]
fn a_mark_that_redis_forbids_on_the_way_is_not_made_where_the_owner_would_miss_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    for forbidden in ["hkeys", "hdel", "hset"] {
        let mut poor = taken_without(&server, redis, forbidden);
        let before = contents(redis);
        let keys = ["q:pending", "q:due"];
        let args = [
            "q:task:",
            "q:results",
            "q:reply:",
            "",
            "t5",
            "why",
            DAY,
            "a",
        ];
        let refused = try_call(&mut poor, CANCEL, &keys, &args);
        assert!(refused.is_err(), "{forbidden}");
        assert_eq!(contents(redis), before, "{forbidden}");
    }
}

#[test]
fn what_is_put_in_again_by_hand_and_cancelled_before_it_is_pushed_is_not_run() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(
        redis,
        "HSET q:task:a function f state pending result failed error-reason x finished-created t0",
    );
    assert_eq!(cancel(redis, "", "why", &["a"]), ["executing why"]);
    run::<()>(redis, "LPUSH q:pending a");
    assert!(exchange(redis, TAKE).taken.is_empty());
    assert_eq!(
        contents(redis),
        [
            "q:task:a hash, expires: cancelled=1 error-reason=cancelled: why finished-created=t1 function=f \
             options={} result=failed state=finished"
        ]
    );
}
