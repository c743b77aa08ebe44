use crate::support::{Server, contents, run};
use crate::*;

#[test]
fn a_heartbeat_shows_the_worker_and_says_whether_it_was_there() {
    let server = Server::start();
    let redis = &mut server.connect();
    let keys = ["q:worker:w", "q:workers"];
    let args = ["w", "100000", "3001", "queue", "q", "pid", "1"];
    for there in [0, 1, 1] {
        let before = clock(redis);
        let (was_there, clock_then): (i64, i64) = call(redis, HEARTBEAT, &keys, &args);
        assert_eq!(was_there, there);
        assert!((before..=clock(redis)).contains(&clock_then));
        let until: i64 = run(redis, "ZSCORE q:workers w");
        assert!((before..=clock(redis)).contains(&(until - 100_000)));
        assert_expires(redis, "q:worker:w", 100_000);
        assert_eq!(
            contents(redis),
            [
                "q:worker:w hash, expires: pid=1 queue=q repeated=3001".to_owned(),
                format!("q:workers zset: w@{until}"),
            ]
        );
    }
    run::<()>(redis, "DEL q:worker:w");
    let (was_there, _): (i64, i64) = call(redis, HEARTBEAT, &keys, &args);
    assert_eq!(was_there, 0);
}
