use crate::support::{Server, contents, run};
use crate::*;

type Answer = Vec<Vec<Option<String>>>;

#[test]
fn attach_adds_each_address_once_and_sixteen_at_most() {
    let server = Server::start();
    let redis = &mut server.connect();
    run::<()>(redis, "HSET q:task:a function f state pending");
    for address in (0..20).chain(0..20) {
        let keys = ["q:task:a", "q:task:none"];
        call::<Answer>(
            redis,
            ATTACH,
            &keys,
            &[&format!("w{address}"), "16", "q:task:"],
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
fn attach_says_where_each_task_stands_and_writes_into_those_that_wait() {
    let server = Server::start();
    let redis = &mut server.connect();
    for (id, fields) in [
        ("bare", "function f"),
        ("held", "state executing function f owner:w:1 -"),
        ("foreign", "state executing function f"),
        ("value", "state finished result successful result-value 1"),
        (
            "failed",
            "state finished result failed error-reason why error-exception stack",
        ),
        (
            "cancelled",
            "state finished result failed error-reason cancelled cancelled 1",
        ),
    ] {
        run::<()>(redis, &format!("HSET q:task:{id} {fields}"));
    }
    run::<()>(redis, "SET q:task:text x");
    let keys = [
        "bare",
        "held",
        "foreign",
        "value",
        "failed",
        "cancelled",
        "text",
        "none",
    ]
    .map(|id| format!("q:task:{id}"));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let expected = [
        "waiting - -",
        "waiting 1 executing",
        "waiting - executing",
        "finished successful 1 - - -",
        "finished failed - why stack -",
        "finished failed - cancelled - 1",
        "not a hash",
        "missing",
    ];
    for _ in 0..2 {
        let answers: Answer = call(redis, ATTACH, &keys, &["me", "16", "q:task:"]);
        let answers = answers.iter().map(|answer| {
            let texts = answer.iter().map(|text| text.as_deref().unwrap_or("-"));
            texts.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(answers.collect::<Vec<_>>(), expected);
        assert_eq!(
            contents(redis),
            [
                "q:task:bare hash: function=f reply-to=me",
                "q:task:cancelled hash: cancelled=1 error-reason=cancelled result=failed \
                 state=finished",
                "q:task:failed hash: error-exception=stack error-reason=why result=failed \
                 state=finished",
                "q:task:foreign hash: function=f reply-to=me state=executing",
                "q:task:held hash: function=f owner:w:1!= reply-to=me state=executing",
                "q:task:text string: x",
                "q:task:value hash: result=successful result-value=1 state=finished",
            ]
        );
    }
}

#[test]
fn attach_that_redis_forbids_on_the_way_changes_nothing_that_the_owner_would_miss() {
    let server = Server::start();
    let redis = &mut server.connect();
    for forbidden in ["hkeys", "hdel", "hset"] {
        let mut poor = taken_without(&server, redis, forbidden);
        let before = contents(redis);
        let refused = try_call(&mut poor, ATTACH, &["q:task:a"], &["me", "16", "q:task:"]);
        assert!(refused.is_err(), "{forbidden}");
        assert_eq!(contents(redis), before, "{forbidden}");
    }
}

#[test]
fn who_attaches_to_a_task_that_somebody_made_pending_while_it_runs_hears_of_that_run() {
    let server = Server::start();
    let redis = &mut server.connect();
    let replies = Heard::from_here(&server);
    pending(redis, &["a"]);
    exchange(redis, TAKE);
    run::<()>(redis, "HSET q:task:a state pending");
    call::<Answer>(redis, ATTACH, &["q:task:a"], &["me", "16", "q:task:"]);
    let ended = Exchange {
        outcomes: &[["a", "w:1", "v-", "1", ""]],
        stale_waiters: true,
        ..WRITE
    };
    assert_eq!(exchange(redis, ended).written, [1]);
    assert_eq!(
        replies.all(redis),
        ["q:reply:me 1:av1:1", "q:results q:task:a"]
    );
}
