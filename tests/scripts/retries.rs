use crate::support::{Server, contents, run};
use crate::*;

fn write(redis: &mut Connection, now: &str, repeated: &str, outcome: Ran) -> Vec<i64> {
    let it = Exchange {
        now,
        repeated,
        outcomes: &[outcome],
        ..WRITE
    };
    exchange(redis, it).written
}

#[test]
fn a_retry_goes_back_last_in_line_with_what_went_wrong_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    exchange(redis, Exchange { want: "1", ..TAKE });
    let after = [
        "q:pending list: a b",
        "q:task:a hash: args={} attempt=2 error-1=t2 why it failed function=f options={} \
         pending-created=t0 state=pending",
        "q:task:b hash: args={} function=f pending-created=t0 state=pending",
    ];
    let retry = ["a", "w:1", "r2", "why it failed", "0"];
    let heard = Heard::from_here(&server);
    for repeated in ["", "1"] {
        assert_eq!(write(redis, "t2", repeated, retry), [1]);
        assert_eq!(contents(redis), after);
    }
    assert_eq!(write(redis, "t3", "", retry), [0], "another run");
    assert_eq!(contents(redis), after);
    assert_eq!(heard.all(redis), [""; 0], "nothing has finished");
}

#[test]
fn a_repeated_retry_is_known_although_the_task_has_been_taken_again() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    let retry = ["a", "w:1", "r2", "why", "0"];
    write(redis, "t2", "", retry);
    let next = Exchange {
        now: "t3",
        owner: "x:1",
        ..TAKE
    };
    assert_eq!(
        exchange(redis, next).taken,
        [["a", "f", "{}", "t0", "", "{}", "2", ""]]
    );
    let before = contents(redis);
    assert_eq!(write(redis, "t2", "1", retry), [1]);
    assert_eq!(contents(redis), before);
}

#[test]
fn a_repeated_retry_leaves_its_task_to_another_kind_of_worker_that_has_taken_it_meanwhile() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    let retry = ["a", "w:1", "r2", "why", "0"];
    write(redis, "t2", "", retry);
    run::<()>(redis, "RPOPLPUSH q:pending q:executing");
    let before = contents(redis);
    assert_eq!(write(redis, "t2", "1", retry), [1]);
    assert_eq!(contents(redis), before);
    assert_eq!(before[0], "q:executing list: a");
}

#[test]
fn a_retry_with_a_delay_is_due_then_and_expires_no_later_than_before() {
    let server = Server::start();
    let redis = &mut server.connect();
    let expires = format!("||@{FUTURE}|");
    enqueue(redis, "t0", &[["a", "f", "{}", "", &expires]]);
    run::<()>(redis, "DEL q:sent:me");
    exchange(redis, TAKE);
    let retry = ["a", "w:1", "r2", "why", "5000"];
    let before = clock(redis);
    assert_eq!(write(redis, "t2", "", retry), [1]);
    let after = clock(redis);
    let start: i64 = run(redis, "ZSCORE q:due start:a");
    assert!((before..=after).contains(&(start - 5000)));
    let after = [
        format!("q:due zset: start:a@{start} expire:a@9000000000000"),
        "q:task:a hash: args={} attempt=2 error-1=t2 why expires=9000000000000 function=f \
         options={} pending-created=t0 state=pending"
            .to_owned(),
    ];
    assert_eq!(contents(redis), after);
    assert_eq!(write(redis, "t2", "1", retry), [1]);
    assert_eq!(contents(redis), after);
}

#[test]
fn a_retry_of_what_was_cancelled_meanwhile_ends_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    assert_eq!(cancel(redis, "", "late", &["a"]), ["executing late"]);
    let retry = ["a", "w:1", "r2", "why", "0"];
    let after = [
        "q:task:a hash, expires: args={} cancelled=1 error-reason=cancelled: late \
         executing-created=t1 finished-created=t2 function=f options={} pending-created=t0 \
         result=failed state=finished",
    ];
    for repeated in ["", "1"] {
        assert_eq!(write(redis, "t2", repeated, retry), [1], "{repeated}");
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn the_latest_ten_errors_are_kept() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    for attempt in 1..=15 {
        exchange(redis, TAKE);
        let next = format!("r{}", attempt + 1);
        let why = format!("why{attempt}");
        assert_eq!(write(redis, "t2", "", ["a", "w:1", &next, &why, "0"]), [1]);
    }
    let errors = [10, 11, 12, 13, 14, 15, 6, 7, 8, 9].map(|n| format!("error-{n}=t2 why{n}"));
    assert_eq!(
        contents(redis),
        [
            "q:pending list: a".to_owned(),
            format!(
                "q:task:a hash: args={{}} attempt=16 {} function=f options={{}} \
                 pending-created=t0 state=pending",
                errors.join(" ")
            ),
        ]
    );
}

/// Anybody may have written it.
#[test]
fn an_expiry_that_is_no_number_does_not_keep_the_rest_of_an_exchange_from_being_written() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    exchange(redis, TAKE);
    run::<()>(redis, "HSET q:task:a expires soon");
    let own = [["a", "w:1", "r2", "why", "0"], ["b", "w:1", "s-", "", ""]];
    let it = Exchange {
        outcomes: &own,
        ..WRITE
    };
    assert_eq!(exchange(redis, it).written, [1, 1]);
    assert_eq!(
        contents(redis),
        [
            "q:pending list: a",
            "q:task:a hash: args={} attempt=2 error-1=t2 why expires=soon function=f options={} \
             pending-created=t0 state=pending",
            "q:task:b hash: args={} executing-created=t1 finished-created=t2 function=f \
             pending-created=t0 result=successful state=finished",
        ]
    );
}

#[test]
fn a_retry_changes_nothing_where_it_has_no_place_to_go() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    exchange(redis, TAKE);
    for wrong in ["q:pending", "q:due"] {
        run::<()>(redis, &format!("SET {wrong} text"));
        let before = contents(redis);
        let outcomes = [["b", "w:1", "s", "", ""], ["a", "w:1", "r2", "why", "5"]];
        let it = Exchange {
            outcomes: &outcomes,
            ..WRITE
        };
        let error = try_exchange(redis, it).expect_err("no place");
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        assert_eq!(contents(redis), before);
        run::<()>(redis, &format!("DEL {wrong}"));
    }
}
