//! Who hears of a task's end: the process that the task's id or hash names, and whoever listens to
//! `{q}:results`.

use std::net::TcpListener;

use crate::support::{Server, contents, run};
use crate::*;

const ADDRESS: &str = "0000000000ad";
const LIMIT_MS: u32 = 30_000;

/// An id that was made for a call of the process with that address.
fn called(number: u32) -> String {
    format!("{number:08x}-0000-8000-8000-{ADDRESS}")
}

/// What a reply to that process says of one task.
fn reply(id: &str, rest: &str) -> String {
    format!("q:reply:{ADDRESS} 36:{id}{rest}")
}

#[test]
fn whoever_ends_a_task_tells_the_process_that_its_id_names_and_nothing_of_it_is_in_the_hash() {
    let server = Server::start();
    let redis = &mut server.connect();
    let ids: Vec<String> = (0..7).map(called).collect();
    let [
        run_well,
        removed,
        awaited_twice,
        cancelled,
        late,
        expired,
        given_up,
    ] = [0, 1, 2, 3, 4, 5, 6].map(|index: usize| ids[index].as_str());
    let expires = format!("||@{PAST}|");
    enqueue(
        redis,
        "t0",
        &[
            plain(run_well),
            plain(removed),
            plain(awaited_twice),
            plain(given_up),
            plain(cancelled),
            [late, "f", "{}", "", &expires],
            [expired, "f", "{}", "", &expires],
        ],
    );
    let hash = "args={} function=f pending-created=t0 state=pending";
    let bare = format!("q:task:{run_well} hash: {hash}");
    assert!(contents(redis).contains(&bare), "nothing more is in it");
    run::<()>(redis, &format!("LREM q:pending 0 {expired}"));
    exchange(redis, Exchange { want: "4", ..TAKE });
    let key = format!("q:task:{awaited_twice}");
    call::<Value>(redis, ATTACH, &[&key], &["you", "16", "q:task:"]);

    let heard = Heard::from_here(&server);
    let own = [
        [run_well, "w:1", "v-", "1", ""],
        [removed, "w:1", "s0", "", ""],
        [awaited_twice, "w:1", "v-", "2", ""],
    ];
    let ends = Exchange {
        outcomes: &own,
        ..WRITE
    };
    assert_eq!(exchange(redis, ends).written, [1, 1, 1]);
    assert_expires(redis, &format!("q:task:{removed}"), 60_000);
    assert_eq!(cancel(redis, "", "why", &[cancelled]), ["cancelled why"]);
    let late_taken = Exchange {
        now: "t3",
        owner: "w:3",
        ..TAKE
    };
    assert_eq!(exchange(redis, late_taken).ids(), [""; 0]);
    run::<()>(redis, &format!("LPUSH q:pending {expired}"));
    run::<()>(redis, &format!("ZADD q:due {PAST} expire:{expired}"));
    tick(redis, "0");
    let once = Release {
        limit: "1",
        dead: "",
    };
    assert_eq!(release(redis, once, &[[given_up, "w:1"]]), (0, 1));

    let too_late = "expired: it had not begun by then";
    let lost =
        "given up after 1 deliveries: each time the worker that ran it died or lost its connection";
    let failed = |why: &str| format!("f{}:{why}0:", why.len());
    let one = format!(
        "{}36:{removed}s36:{awaited_twice}v1:2",
        reply(run_well, "v1:1")
    );
    let expected = [
        one,
        format!("q:reply:you 36:{awaited_twice}v1:2"),
        reply(cancelled, "c3:why"),
        reply(late, &failed(too_late)),
        reply(expired, &failed(too_late)),
        reply(given_up, &failed(lost)),
    ];
    let replies: Vec<String> = heard
        .all(redis)
        .into_iter()
        .filter(|message| message.starts_with("q:reply:"))
        .collect();
    assert_eq!(replies, expected);
    let left = contents(redis).join("\n");
    assert!(!left.contains("reply-to"), "{left}");
}

#[test]
fn the_process_that_an_id_names_attaches_without_a_word_in_the_hash() {
    let server = Server::start();
    let redis = &mut server.connect();
    let id = called(1);
    let key = format!("q:task:{id}");
    let other = format!("q:task:other-{id}");
    pending(redis, &[&id]);
    exchange(redis, TAKE);
    run::<()>(redis, &format!("HSET {other} function f state pending"));
    let before = contents(redis);
    let answers: Vec<Vec<Option<String>>> =
        call(redis, ATTACH, &[&key], &[ADDRESS, "16", "q:task:"]);
    let executing = ["waiting", "1", "executing"].map(|text| Some(text.to_owned()));
    assert_eq!(answers, [executing]);
    assert_eq!(contents(redis), before);
    // An id that ends in one names nobody.
    call::<Value>(redis, ATTACH, &[&other], &[ADDRESS, "16", "q:task:"]);
    let noted: String = run(redis, &format!("HGET {other} reply-to"));
    assert_eq!(noted, ADDRESS);
}

/// Ends so many tasks in one exchange; gives how many messages that took.
fn end(redis: &mut Connection, through: &mut Connection, count: usize) -> usize {
    let ids: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    for key in ["q:pending", "q:executing"] {
        run::<()>(redis, &format!("DEL {key}"));
    }
    for id in &ids {
        run::<()>(redis, &format!("DEL q:task:{id}"));
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    pending(redis, &names);
    let all = count.to_string();
    exchange(redis, Exchange { want: &all, ..TAKE });
    let outcomes: Vec<Ran> = names.iter().map(|id| [*id, "w:1", "s-", "", ""]).collect();
    run::<()>(redis, "HSET q:worker:w repeated 0");
    run::<()>(redis, "CONFIG RESETSTAT");
    let ends = Exchange {
        outcomes: &outcomes,
        ..WRITE
    };
    let answer = try_exchange(through, ends);
    assert!(answer.is_ok(), "{answer:?}");
    let statistics: String = run(redis, "INFO commandstats");
    let calls = statistics
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

#[test]
fn the_wires_message_goes_out_wherever_anybody_could_hear_it_and_is_spared_for_many_where_nobody_can()
 {
    let server = Server::start();
    let (redis, through) = (&mut server.connect(), &mut server.connect());
    assert_eq!(end(redis, through, 7), 7, "few: not worth a look");
    assert_eq!(end(redis, through, 8), 0);
    assert_eq!(end(redis, through, 64), 0);
    for (command, channel, heard) in [
        ("SUBSCRIBE", "q:results", 8),
        ("PSUBSCRIBE", "q:res*", 8),
        ("SUBSCRIBE", "other:results", 0),
    ] {
        let mut listener = server.connect();
        redis::cmd(command)
            .arg(channel)
            .exec(&mut listener)
            .expect("a subscription");
        assert_eq!(end(redis, through, 8), heard, "{command} {channel}");
        run::<()>(redis, "CLIENT KILL TYPE pubsub");
    }
    for forbidden in ["pubsub", "info"] {
        let mut poor = user(&server, redis, &format!("~* &* +@all -{forbidden}"));
        assert_eq!(end(redis, &mut poor, 8), 8, "without {forbidden}");
    }
}

#[test]
fn who_listens_on_a_replica_hears_of_each_end_and_of_those_that_it_has_missed() {
    let port = free_port();
    let server = Server::with(&["--port", &port, "--repl-diskless-sync-delay", "0"]);
    let (redis, through) = (&mut server.connect(), &mut server.connect());
    let replica = Server::with(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let on_replica = &mut replica.connect();
    wait_for_replica(redis);
    let heard = Heard::from_here(&replica);
    assert_eq!(end(redis, through, 8), 8, "for the replica");
    // Disconnected, it is sent later what it has missed.
    run::<()>(redis, "CONFIG SET requirepass closed");
    run::<()>(redis, "CLIENT KILL TYPE replica");
    assert_eq!(end(redis, through, 9), 9, "for one that was here");
    run::<()>(on_replica, "CONFIG SET masterauth closed");
    wait_for_replica(redis);
    let results = |count: usize| (0..count).map(|number| format!("q:results q:task:t{number}"));
    run::<()>(redis, "PUBLISH q:last .");
    let mut expected: Vec<String> = results(8).chain(results(9)).collect();
    expected.push("q:last .".into());
    assert_eq!(heard.until("q:last"), expected);
}

/// Waits until a replica is there, and has all that was written.
fn wait_for_replica(redis: &mut Connection) {
    run::<()>(redis, "INCR written");
    let replicas: i64 = run(redis, &format!("WAIT 1 {LIMIT_MS}"));
    assert_eq!(replicas, 1, "no replica in time");
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener
        .local_addr()
        .expect("its address")
        .port()
        .to_string()
}
