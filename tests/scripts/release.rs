use crate::support::{Server, contents, run};
use crate::*;

const BACK: &str = "args={} function=f pending-created=t0 state=pending";
const COUNTED: Release = Release {
    limit: "2",
    dead: "",
};
const REAP: Release = Release {
    limit: "2",
    dead: "1",
};

#[test]
fn release_gives_back_first_in_line_in_order_and_once() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    exchange(redis, Exchange { want: "2", ..TAKE });
    let tasks = [["a", "w:1"], ["b", "w:1"], ["c", "w:1"]];
    let after = [
        "q:pending list: c b a".to_owned(),
        format!("q:task:a hash: {BACK}"),
        format!("q:task:b hash: {BACK}"),
        format!("q:task:c hash: {BACK}"),
    ];
    for back in [2, 0] {
        assert_eq!(release(redis, HAND_BACK, &tasks), (back, 0));
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn only_what_has_that_owner_goes_back() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    run::<()>(redis, "HSET q:task:done state finished function f");
    run::<()>(redis, "SET q:task:text x");
    let before = contents(redis);
    let tasks = [
        ["a", "w:2"],
        ["a", "w:10"],
        ["a", "@|"],
        ["done", "@|"],
        ["done", "w:1"],
        ["text", "w:1"],
        ["text", "@|"],
        ["none", "w:1"],
        ["none", "@|"],
    ];
    assert_eq!(release(redis, COUNTED, &tasks), (0, 0));
    assert_eq!(contents(redis), before);
}

#[test]
fn a_run_that_is_lost_counts_and_after_so_many_the_task_is_given_up() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a"]);
    run::<()>(redis, "HSET q:task:a reply-to me");
    exchange(redis, TAKE);
    let after = [
        "q:pending list: a",
        "q:task:a hash: args={} function=f lost=1 options={} pending-created=t0 reply-to=me state=pending",
    ];
    for back in [1, 0] {
        assert_eq!(release(redis, COUNTED, &[["a", "w:1"]]), (back, 0));
        assert_eq!(contents(redis), after, "counted once");
    }
    // Handed back without suspicion: not counted.
    exchange(redis, TAKE);
    assert_eq!(release(redis, HAND_BACK, &[["a", "w:1"]]), (1, 0));
    assert_eq!(contents(redis), after);

    exchange(redis, TAKE);
    let heard = Heard::from_here(&server);
    let reason = "given up after 2 deliveries: each time the worker that ran it died or lost its \
                  connection";
    let after = [format!(
        "q:task:a hash, expires: args={{}} error-reason={reason} executing-created=t1 \
         finished-created=t5 function=f lost=2 options={{}} pending-created=t0 result=failed state=finished"
    )];
    for ended in [1, 0] {
        assert_eq!(release(redis, COUNTED, &[["a", "w:1"]]), (0, ended));
        assert_eq!(contents(redis), after);
    }
    assert_expires(redis, "q:task:a", 86_400_000);
    let reply = format!("q:reply:me 1:af{}:{reason}0:", reason.len());
    assert_eq!(heard.all(redis), [reply.as_str(), "q:results q:task:a"]);
}

#[test]
fn the_tasks_of_the_dead_go_back_only_where_they_are_dead() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    exchange(redis, Exchange { want: "1", ..TAKE });
    exchange(
        redis,
        Exchange {
            owner: "x:y:7",
            ..TAKE
        },
    );
    run::<()>(redis, "HSET q:worker:w queue q");
    run::<()>(redis, "HSET q:worker:x queue q");
    let tasks = [["a", "w:1"], ["b", "x:y:7"]];
    // The worker is what stands before the last colon.
    assert_eq!(release(redis, REAP, &tasks), (1, 0));
    let mut after = vec![
        "q:executing list: a".to_owned(),
        "q:pending list: b".to_owned(),
        "q:task:a hash: args={} executing-created=t1 function=f owner:w:1= pending-created=t0 \
         state=executing"
            .to_owned(),
        "q:task:b hash: args={} function=f lost=1 options={} pending-created=t0 state=pending"
            .to_owned(),
        "q:worker:w hash: queue=q".to_owned(),
        "q:worker:x hash: queue=q".to_owned(),
    ];
    assert_eq!(contents(redis), after);
    run::<()>(redis, "DEL q:worker:w");
    assert_eq!(release(redis, REAP, &tasks), (1, 0));
    after.remove(0);
    after[0] = "q:pending list: b a".to_owned();
    after[1] =
        "q:task:a hash: args={} function=f lost=1 options={} pending-created=t0 state=pending"
            .to_owned();
    after.remove(3);
    assert_eq!(contents(redis), after);
}

#[test]
fn a_task_of_another_kind_of_worker_goes_back_where_it_is_executing_without_an_owner() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (id, fields) in [
        ("held", "state executing"),
        ("claimed", "state pending"),
        ("done", "state finished"),
        ("owned", "state executing owner:w:1 -"),
    ] {
        run::<()>(redis, &format!("HSET q:task:{id} function f {fields}"));
        run::<()>(redis, &format!("LPUSH q:executing {id}"));
    }
    run::<()>(redis, "HSET q:task:out function f state executing");
    run::<()>(redis, "LPUSH q:executing deleted");
    let tasks = ["held", "claimed", "done", "owned", "out", "deleted"].map(|id| [id, "@|"]);
    // What has finished, or is no task any more, is nobody's to run: its id goes.
    let after = [
        "q:executing list: owned",
        "q:pending list: claimed held",
        "q:task:claimed hash: function=f lost=1 options={} state=pending",
        "q:task:done hash: function=f state=finished",
        "q:task:held hash: function=f lost=1 options={} state=pending",
        "q:task:out hash: function=f state=executing",
        "q:task:owned hash: function=f owner:w:1=- state=executing",
    ];
    for back in [2, 0] {
        assert_eq!(release(redis, COUNTED, &tasks), (back, 0));
        assert_eq!(contents(redis), after);
    }
}

#[test]
fn a_run_of_another_kind_of_worker_is_not_taken_away_for_the_one_before_it() {
    let server = Server::start();
    let redis = &mut server.connect();
    let taken = |redis: &mut Connection, fields: &str| {
        run::<()>(redis, "DEL q:pending");
        run::<()>(redis, "LPUSH q:executing a");
        run::<()>(
            redis,
            format!("HSET q:task:a function f state executing {fields}").trim_end(),
        );
        contents(redis)
    };
    taken(redis, "");
    assert_eq!(release(redis, COUNTED, &[["a", "@|"]]), (1, 0));
    let second = taken(redis, "executing-created t1");
    for seen in ["@|", "@t1|", "@|1", "@t0|1"] {
        assert_eq!(release(redis, COUNTED, &[["a", seen]]), (0, 0), "{seen}");
        assert_eq!(contents(redis), second);
    }
    assert_eq!(
        release(redis, COUNTED, &[["a", "@t1|1"]]),
        (0, 1),
        "given up"
    );
}

#[test]
fn what_was_cancelled_meanwhile_ends_instead_of_going_back() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b"]);
    run::<()>(redis, "HSET q:task:b options {\"resultTtl\":0}");
    exchange(redis, TAKE);
    cancel(redis, "", "", &["a", "b"]);
    for ended in [2, 0] {
        let tasks = [["a", "w:1"], ["b", "w:1"]];
        assert_eq!(release(redis, HAND_BACK, &tasks), (0, ended));
        assert_eq!(
            contents(redis),
            [
                "q:task:a hash, expires: args={} cancelled=1 error-reason=cancelled \
                 executing-created=t1 finished-created=t5 function=f options={} \
                 pending-created=t0 result=failed state=finished"
            ]
        );
    }
}

#[test]
fn what_goes_back_expires_when_it_did_before() {
    let server = Server::start();
    let redis = &mut server.connect();
    let expires = format!("||@{FUTURE}|");
    enqueue(redis, "t0", &[["a", "f", "{}", "", &expires]]);
    run::<()>(redis, "DEL q:sent:me");
    let before = contents(redis);
    exchange(redis, TAKE);
    assert_eq!(release(redis, HAND_BACK, &[["a", "w:1"]]), (1, 0));
    assert_eq!(contents(redis), before);
}

/// Anybody may have written them.
#[test]
fn fields_that_are_no_numbers_do_not_keep_the_rest_from_going_back() {
    let server = Server::start();
    let redis = &mut server.connect();
    pending(redis, &["a", "b", "c"]);
    exchange(redis, TAKE);
    run::<()>(redis, "HSET q:task:a expires soon");
    run::<()>(redis, "HSET q:task:b lost often");
    let tasks = [["a", "w:1"], ["b", "w:1"], ["c", "w:1"]];
    assert_eq!(release(redis, COUNTED, &tasks), (3, 0));
    assert_eq!(
        contents(redis),
        [
            "q:pending list: c b a",
            "q:task:a hash: args={} expires=soon function=f lost=1 options={} pending-created=t0 state=pending",
            "q:task:b hash: args={} function=f lost=1 options={} pending-created=t0 state=pending",
            "q:task:c hash: args={} function=f lost=1 options={} pending-created=t0 state=pending",
        ]
    );
}

#[test]
fn a_release_that_redis_forbids_on_the_way_leaves_the_task_its_owners_and_counts_no_loss() {
    let server = Server::start();
    let redis = &mut server.connect();
    for forbidden in ["hsetnx", "zadd", "rpush"] {
        run::<()>(redis, "FLUSHALL");
        pending(redis, &["a"]);
        run::<()>(redis, "HSET q:task:a options {} expires 99999999999999");
        exchange(redis, TAKE);
        let before = contents(redis);
        let mut poor = user(&server, redis, &format!("~* &* +@all -{forbidden}"));
        let tasks = [["a", "w:1"]];
        for _ in 0..3 {
            assert!(try_release(&mut poor, REAP, &tasks).is_err(), "{forbidden}");
        }
        let mut after = contents(redis);
        after.retain(|key| !key.starts_with("q:due"));
        let mut expected = before.clone();
        expected.retain(|key| !key.starts_with("q:due"));
        assert_eq!(after, expected, "{forbidden}");
        assert_eq!(release(redis, REAP, &tasks), (1, 0), "{forbidden}");
        assert_eq!(run::<i64>(redis, "HGET q:task:a lost"), 1, "{forbidden}");
    }
}
