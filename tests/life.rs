//! A task's whole life through the crate alone: no JavaScript is needed to enqueue, run and wait.

mod support;

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dothis::broker::connection::Settings;
use dothis::client::{Caller, Client, Request};
use dothis::error::Result;
use dothis::outcome::Outcome;
use dothis::runtime;
use dothis::task::NewTask;
use dothis::waits::Settled;
use dothis::worker::run::Abort;
use dothis::worker::{Handlers, Options, Report, Rules, Worker};
use support::{Server, contents, run};

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
enum Heard {
    Enqueued(u32, Result<bool>),
    Settled(u32, Settled),
}

struct Listener(mpsc::Sender<Heard>);

impl Caller for Listener {
    fn enqueued(&self, token: u32, result: Result<bool>) {
        let _ = self.0.send(Heard::Enqueued(token, result));
    }
    fn settled(&self, token: u32, settled: Settled) {
        let _ = self.0.send(Heard::Settled(token, settled));
    }
}

/// Answers each task with its own args.
#[derive(Default)]
struct Echo {
    worker: OnceLock<Worker>,
    /// Ready before the worker was put here.
    early: std::sync::atomic::AtomicBool,
}

impl Handlers for Echo {
    fn ready(&self) {
        let Some(worker) = self.worker.get() else {
            self.early.store(true, std::sync::atomic::Ordering::SeqCst);
            return;
        };
        let (tasks, _) = worker.begin(usize::MAX, usize::MAX);
        let outcomes = tasks
            .into_iter()
            .map(|task| (task.run, Outcome::Successful(Some(task.args)).into()));
        worker.finish(outcomes.collect::<Vec<_>>());
    }
    fn abort(&self, _: u32, _: &Abort) {}
    fn report(&self, report: Report) {
        panic!("{report:?}");
    }
}

fn settings(server: &Server) -> Settings {
    Settings {
        url: server.url(),
        ca: None,
        cert: None,
        key: None,
    }
}

fn request(token: u32, id: &str) -> Request {
    Request {
        token,
        acknowledge: true,
        wait: Some(Some(LIMIT)),
        task: NewTask {
            id: id.into(),
            function: "echo".into(),
            args: format!("{{\"id\":\"{id}\"}}"),
            reply: true,
            fresh: false,
            again: false,
            start: None,
            expires: None,
            options: None,
        },
    }
}

fn options() -> Options {
    Options {
        rules: Rules::default(),
        heartbeat_timeout: Duration::from_secs(15),
        max_deliveries: 3,
        reclaim_foreign_after: None,
        queue: "q".into(),
        hostname: "here".into(),
    }
}

fn work(client: &Client) -> Arc<Echo> {
    let handlers = Arc::new(Echo::default());
    let worker = Worker::start(client.broker().clone(), options(), handlers.clone());
    assert!(handlers.worker.set(worker).is_ok());
    if handlers.early.load(std::sync::atomic::Ordering::SeqCst) {
        handlers.ready();
    }
    handlers
}

fn close(handlers: &Arc<Echo>) {
    let (done, closed) = mpsc::channel();
    let handlers = handlers.clone();
    runtime::spawn(async move {
        let worker = handlers.worker.get().expect("a worker");
        let _ = done.send(worker.close(LIMIT).await);
    });
    closed
        .recv_timeout(LIMIT)
        .expect("closed in time")
        .expect("without an error");
}

#[test]
fn a_task_is_enqueued_run_and_its_outcome_heard_and_nothing_is_left_but_its_hash_and_what_was_sent()
{
    let server = Server::start();
    let client = Client::shared(&settings(&server), "q").expect("a client");
    let (sender, heard) = mpsc::channel();
    let caller: Arc<dyn Caller> = Arc::new(Listener(sender));
    let worker = work(&client);
    client.enqueue(vec![request(1, "a")], &caller, LIMIT);
    let value = Outcome::Successful(Some("{\"id\":\"a\"}".into()));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Enqueued(1, Ok(true))));
    assert_eq!(
        heard.recv_timeout(LIMIT),
        Ok(Heard::Settled(1, Settled::Outcome(value)))
    );
    assert!(client.waits().is_empty());
    close(&worker);
    let left = contents(&mut server.connect());
    assert_eq!(left.len(), 2, "{left:?}");
    let sent = format!("q:sent:{} hash, expires: 0=", client.name());
    assert!(left[0].starts_with(&sent), "{left:?}");
    assert!(
        left[1].starts_with("q:task:a hash, expires: ") && left[1].contains("state=finished"),
        "{left:?}"
    );
}

/// Begins with one task at a time, and only when it is told to.
#[derive(Default)]
struct Slow {
    ready: (std::sync::Mutex<bool>, std::sync::Condvar),
}

impl Handlers for Slow {
    fn ready(&self) {
        *self.ready.0.lock().expect("a lock") = true;
        self.ready.1.notify_all();
    }
    fn abort(&self, run: u32, _: &Abort) {
        panic!("run {run} was aborted");
    }
    fn report(&self, _: Report) {}
}

#[test]
fn a_close_that_redis_refuses_to_take_tasks_back_from_waits_for_what_runs_and_tries_again() {
    let server = Server::start();
    let mut redis = server.connect();
    for id in ["a", "b"] {
        run::<()>(&mut redis, &format!("HSET q:task:{id} function f"));
        run::<()>(&mut redis, &format!("LPUSH q:pending {id}"));
    }
    let client = Client::shared(&settings(&server), "q").expect("a client");
    let handlers = Arc::new(Slow::default());
    let worker = Arc::new(Worker::start(
        client.broker().clone(),
        options(),
        handlers.clone(),
    ));
    let ready = handlers.ready.0.lock().expect("a lock");
    let (ready, timed_out) = handlers
        .ready
        .1
        .wait_timeout_while(ready, LIMIT, |ready| !*ready)
        .expect("a lock");
    assert!(!timed_out.timed_out());
    drop(ready);
    let (begun, more) = worker.begin(1, usize::MAX);
    assert_eq!((begun[0].id.as_str(), more), ("a", true));

    run::<()>(&mut redis, "SET q:pending text");
    let (done, closed) = mpsc::channel();
    let closing = worker.clone();
    runtime::spawn(async move {
        let _ = done.send(closing.close(Duration::from_secs(60)).await);
    });
    // The first attempt has been made once its error is counted.
    let refused = || {
        let stats = redis::cmd("INFO")
            .arg("errorstats")
            .query::<String>(&mut redis);
        stats.expect("statistics").contains("errorstat_WRONGTYPE")
    };
    wait_until(refused);
    run::<()>(&mut redis, "DEL q:pending");
    worker.finish([(begun[0].run, Outcome::Successful(None).into())]);
    let result = closed.recv_timeout(LIMIT).expect("closed in time");
    assert_eq!(result, Ok(()));
    let left = contents(&mut redis);
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(left[0], "q:pending list: b");
    assert!(
        left[1].starts_with("q:task:a") && left[1].contains("result=successful"),
        "{left:?}"
    );
    assert_eq!(left[2], "q:task:b hash: function=f state=pending");
}

fn wait_until(mut ask: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !ask() {
        assert!(began.elapsed() < LIMIT, "it did not come true in time");
    }
}

#[test]
fn every_task_ends_although_connections_are_cut_again_and_again() {
    let server = Server::start();
    let client = Client::shared(&settings(&server), "q").expect("a client");
    let (sender, heard) = mpsc::channel();
    let caller: Arc<dyn Caller> = Arc::new(Listener(sender));
    let worker = work(&client);
    let mut redis = server.connect();
    const TASKS: u32 = 3_000;
    for n in 0..TASKS {
        client.enqueue(vec![request(n, &format!("n{n}"))], &caller, LIMIT);
        if n % 500 == 250 {
            run::<()>(&mut redis, "CLIENT KILL TYPE normal SKIPME yes");
            run::<()>(&mut redis, "CLIENT KILL TYPE pubsub SKIPME yes");
            run::<()>(&mut redis, "SCRIPT FLUSH");
        }
    }
    let (mut created, mut settled) = (0, 0);
    while created + settled < 2 * TASKS {
        match heard.recv_timeout(LIMIT).expect("a task was lost") {
            Heard::Enqueued(_, result) => {
                assert_eq!(result, Ok(true));
                created += 1;
            }
            Heard::Settled(n, outcome) => {
                let value = format!("{{\"id\":\"n{n}\"}}");
                assert_eq!(outcome, Settled::Outcome(Outcome::Successful(Some(value))));
                settled += 1;
            }
        }
    }
    assert_eq!((created, settled), (TASKS, TASKS));
    close(&worker);
    let left = contents(&mut redis);
    let (sent, tasks): (Vec<_>, Vec<_>) = left.iter().partition(|it| it.starts_with("q:sent:"));
    assert_eq!((sent.len(), tasks.len()), (1, TASKS as usize));
    assert!(tasks.iter().all(|line| line.contains("state=finished")));
}
