//! What can happen, and how often it does.

use proptest::prelude::*;

/// Few, so that much happens to each.
pub const IDS: [&str; 4] = ["a", "b", CALLED, CALLED_BY_OTHER];
/// An id that was made for a call, and says who waits for it.
pub const CALLED: &str = "00000000-0000-8000-8000-0000000000ad";
/// ... for a call of another process.
pub const CALLED_BY_OTHER: &str = "00000000-0000-8000-8000-0000000000be";
pub const WORKERS: usize = 2;
pub const FOREIGNERS: usize = 2;

/// Numbers are indices, into as many as there are at the time.
#[derive(Debug, Clone)]
pub enum Op {
    /// A client enqueues a batch. Where the answer is lost it is sent again by `Resend`.
    Enqueue {
        tasks: Vec<New>,
        lost: bool,
    },
    Resend,
    /// Another program enqueues: first the hash, then the id.
    ForeignHash(usize),
    ForeignPush,
    /// A worker writes what came of tasks that it has, and takes others. Where the answer was lost
    /// its next exchange is the same again.
    Exchange {
        worker: usize,
        want: usize,
        ends: Vec<Ending>,
        lost: bool,
    },
    /// A worker hands back what it took last; after a crash these runs count as lost.
    HandBack {
        worker: usize,
        count: usize,
        crashed: bool,
    },
    /// A worker shows no sign of life for too long; or it is gone, and another in its place.
    Die {
        worker: usize,
        restarted: bool,
    },
    Heartbeat(usize),
    Tick {
        care: bool,
    },
    /// Somebody looks for the tasks of dead workers, and puts back what was found.
    LookForDead,
    PutBack,
    /// A worker of another kind moves an id to `executing`, marks the hash, and finishes it.
    ForeignTake(usize),
    ForeignMark(usize),
    ForeignFinish(usize),
    /// It dies instead, and what it held is taken over after a while.
    ForeignDie(usize),
    Reclaim,
    Cancel(usize),
    /// ... by the process that enqueues, or another.
    Attach(usize, bool),
    /// The time comes for something that is due; for a task to expire; for a finished one to go.
    ComeDue(usize),
    Expire(usize),
    Forget(usize),
    /// A person deletes a task, or pushes an id once more.
    Delete(usize),
    PushAgain(usize),
}

#[derive(Debug, Clone)]
pub struct New {
    pub id: usize,
    /// If there is none of this id, the client says so.
    pub fresh: bool,
    pub again: bool,
    pub put_off: bool,
    pub expires: bool,
    pub options: bool,
    pub reply: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Value,
    Nothing,
    Failed,
    Cancelled,
    /// Successful, and not kept.
    Removed,
    /// Successful, and kept for a while.
    Kept,
    RetryNow,
    RetryLater,
}

pub fn sequence() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..120)
}

fn op() -> impl Strategy<Value = Op> {
    let index = 0..100usize;
    let id = 0..IDS.len();
    let worker = 0..WORKERS;
    let foreigner = 0..FOREIGNERS;
    prop_oneof![
        12 => (prop::collection::vec(new(), 1..4), prop::bool::weighted(0.2))
            .prop_map(|(tasks, lost)| Op::Enqueue { tasks, lost }),
        3 => Just(Op::Resend),
        3 => id.clone().prop_map(Op::ForeignHash),
        4 => Just(Op::ForeignPush),
        28 => (
            worker.clone(),
            0..4usize,
            prop::collection::vec(ending(), 0..3),
            prop::bool::weighted(0.2),
        )
            .prop_map(|(worker, want, ends, lost)| Op::Exchange { worker, want, ends, lost }),
        4 => (worker.clone(), 1..3usize, any::<bool>())
            .prop_map(|(worker, count, crashed)| Op::HandBack { worker, count, crashed }),
        8 => (worker.clone(), prop::bool::weighted(0.3))
            .prop_map(|(worker, restarted)| Op::Die { worker, restarted }),
        10 => worker.prop_map(Op::Heartbeat),
        8 => any::<bool>().prop_map(|care| Op::Tick { care }),
        7 => Just(Op::LookForDead),
        7 => Just(Op::PutBack),
        4 => foreigner.clone().prop_map(Op::ForeignTake),
        4 => foreigner.clone().prop_map(Op::ForeignMark),
        4 => foreigner.clone().prop_map(Op::ForeignFinish),
        2 => foreigner.prop_map(Op::ForeignDie),
        2 => Just(Op::Reclaim),
        4 => id.clone().prop_map(Op::Cancel),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, other)| Op::Attach(id, other)),
        7 => index.prop_map(Op::ComeDue),
        3 => id.clone().prop_map(Op::Expire),
        2 => id.clone().prop_map(Op::Forget),
        1 => id.clone().prop_map(Op::Delete),
        1 => id.prop_map(Op::PushAgain),
    ]
}

fn new() -> impl Strategy<Value = New> {
    let seldom = || prop::bool::weighted(0.3);
    let half = any::<bool>;
    let flags = (half(), seldom(), seldom(), seldom(), seldom());
    (0..IDS.len(), half(), flags).prop_map(
        |(id, fresh, (again, put_off, expires, options, reply))| New {
            id,
            fresh,
            again,
            put_off,
            expires,
            options,
            reply,
        },
    )
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        1 => Just(Ending::Value),
        1 => Just(Ending::Nothing),
        1 => Just(Ending::Failed),
        1 => Just(Ending::Cancelled),
        1 => Just(Ending::Removed),
        1 => Just(Ending::Kept),
        2 => Just(Ending::RetryNow),
        2 => Just(Ending::RetryLater),
    ]
}
