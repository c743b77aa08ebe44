use crate::support::{Server, contents, run};
use crate::*;

fn ticked(next: i64, pending: i64) -> Ticked {
    Ticked {
        next,
        pending,
        dead: Vec::new(),
    }
}

#[test]
fn what_is_due_starts_in_order_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks = [
        ["second", "f", "{}", "", "|@1001||"],
        ["first", "f", "{}", "", "|@1000||"],
        ["later", "f", "{}", "", "|@9000000000000||"],
    ];
    enqueue(redis, "t0", &tasks);
    run::<()>(redis, "DEL q:sent:me");
    pending(redis, &["there"]);
    let hash = "hash: args={} function=f pending-created=t0 state=pending";
    let after = [
        "q:due zset: start:later@9000000000000".to_owned(),
        "q:pending list: second first there".to_owned(),
        format!("q:task:first {hash}"),
        format!("q:task:later {hash}"),
        format!("q:task:second {hash}"),
        format!("q:task:there {hash}"),
    ];
    for _ in 0..2 {
        let before = clock(redis);
        let Ticked { next, pending, .. } = tick(redis, "0");
        let until = 9_000_000_000_000 - next;
        assert!((before..=clock(redis)).contains(&until), "{next}");
        assert_eq!(pending, 3);
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn nothing_is_due_where_there_is_nothing() {
    let server = Server::start();
    let redis = &mut server.connect();
    assert_eq!(tick(redis, "0"), ticked(-1, 0));
    assert_eq!(contents(redis), [""; 0]);
}

#[test]
fn what_has_not_begun_by_its_expiry_ends_wherever_it_waits_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let tasks = [
        ["pending", "f", "{}", "me", "||@1000|"],
        [
            "put-off",
            "f",
            "{}",
            "",
            "|@9000000000000|@1001|{\"resultTtl\":null}",
        ],
        ["gone", "f", "{}", "", "||@1002|{\"resultTtl\":0}"],
        ["later", "f", "{}", "", "||@9000000000000|"],
    ];
    enqueue(redis, "t0", &tasks);
    run::<()>(redis, "DEL q:sent:me");
    run::<()>(redis, "HSET q:task:put-off attempt 3");
    let heard = Heard::from_here(&server);
    let after = [
        "q:due zset: expire:later@9000000000000",
        "q:pending list: later",
        "q:task:later hash: args={} expires=9000000000000 function=f options={} \
         pending-created=t0 state=pending",
        "q:task:pending hash, expires: args={} error-reason=expired: it had not begun by then \
         expires=1000 finished-created=t7 function=f options={} pending-created=t0 result=failed \
         state=finished",
        "q:task:put-off hash: args={} attempt=3 \
         error-reason=expired: attempt 3 had not begun by then expires=1001 finished-created=t7 \
         function=f options={\"resultTtl\":null} pending-created=t0 result=failed state=finished",
    ];
    for _ in 0..2 {
        assert_eq!(tick(redis, "0").pending, 1);
        assert_eq!(contents(redis), after);
    }
    assert_expires(redis, "q:task:pending", 86_400_000);
    assert_eq!(
        heard.all(redis),
        [
            "q:reply:me 7:pendingf33:expired: it had not begun by then0:",
            "q:results q:task:pending",
            "q:results q:task:put-off",
            "q:results q:task:gone",
        ]
    );
}

#[test]
fn what_is_due_and_is_not_waiting_any_more_is_left_as_it_is() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(
        redis,
        "HSET q:task:runs function f state executing owner:w:1 -",
    );
    run::<()>(redis, "HSET q:task:done function f state finished");
    run::<()>(redis, "SET q:task:text x");
    run::<()>(
        redis,
        "HSET q:task:claimed function f state pending expires 1",
    );
    run::<()>(redis, "LPUSH q:executing runs claimed");
    let before = contents(redis);
    for id in ["runs", "done", "text", "none"] {
        run::<()>(redis, &format!("ZADD q:due 1 start:{id} 2 expire:{id}"));
    }
    run::<()>(
        redis,
        "ZADD q:due 1 expire:claimed 1 nonsense 2 also:nonsense",
    );
    assert_eq!(tick(redis, "0"), ticked(-1, 0));
    assert_eq!(contents(redis), before);
}

/// Where another kind of worker ran a task its expiry stays in `due`, and the id may be used again.
#[test]
fn an_expiry_that_is_not_the_tasks_own_does_not_end_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    let future = format!("||@{FUTURE}|");
    enqueue(redis, "t0", &[plain("a"), ["b", "f", "{}", "", &future]]);
    run::<()>(redis, "DEL q:sent:me");
    run::<()>(redis, "ZREM q:due expire:b");
    let before = contents(redis);
    run::<()>(redis, "ZADD q:due 1 expire:a 1 expire:b");
    assert_eq!(tick(redis, "0").pending, 2);
    assert_eq!(contents(redis), before);
}

#[test]
fn no_more_than_a_hundred_start_in_one_step_and_the_next_is_due_at_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    let ids: Vec<String> = (0..150).map(|n| format!("n{n}")).collect();
    let tasks: Vec<New> = ids.iter().map(|id| [id, "f", "{}", "", "|@1||"]).collect();
    enqueue(redis, "t0", &tasks);
    assert_eq!(tick(redis, "0"), ticked(0, 100));
    assert_eq!(tick(redis, "0"), ticked(-1, 150));
}

#[test]
fn in_a_long_queue_what_has_expired_is_found_by_who_takes_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    enqueue(redis, "t0", &[["a", "f", "{}", "", "||@1000|"]]);
    let ids: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
    redis::cmd("LPUSH")
        .arg("q:pending")
        .arg(&ids)
        .query::<()>(redis)
        .expect("pushed");
    assert_eq!(tick(redis, "0"), ticked(-1, 10_001));
    assert_eq!(run::<String>(redis, "HGET q:task:a state"), "pending");
    let exchanged = exchange(redis, Exchange { want: "1", ..TAKE });
    assert!(exchanged.taken.is_empty() && exchanged.dropped.is_empty());
    assert_eq!(
        run::<String>(redis, "HGET q:task:a error-reason"),
        "expired: it had not begun by then"
    );
}

#[test]
fn a_dead_worker_is_told_of_to_one_that_takes_care_and_to_nobody_else_meanwhile() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(
        redis,
        "ZADD q:workers 1000 dead 1001 too 9000000000000 lives",
    );
    let before = contents(redis);
    assert_eq!(tick(redis, "0"), ticked(-1, 0), "who does not want to");
    assert_eq!(contents(redis), before);
    let begun = clock(redis);
    assert_eq!(tick(redis, "100000").dead, ["dead", "too"]);
    let until: i64 = run(redis, "ZSCORE q:workers dead");
    assert!((begun..=clock(redis)).contains(&(until - 100_000)));
    assert_eq!(
        contents(redis),
        [format!(
            "q:workers zset: dead@{until} too@{until} lives@9000000000000"
        )]
    );
    assert_eq!(tick(redis, "100000"), ticked(-1, 0));
}
