//! Any sequence of what clients, workers, workers of another kind, and people do, against a real
//! Redis: after each step each task is in exactly one place, and in the end each has finished once.
//!
//! The sequences are random, and made as short as they can be where one fails. A run lasts about
//! ten seconds and begins with the same seed each time; `DOTHIS_STATES_SECONDS=600` makes it longer,
//! `DOTHIS_STATES_FROM=7` begins with another seed, and `DOTHIS_STATES_SEED`, which a failure prints,
//! makes one seed's sequences again.
//!
//! Redis's clock can't be moved. What is put off is put off for longer than a test lasts, and made
//! due by moving its date, in `due` and in the field `expires`. A worker dies by its key being
//! deleted, and a finished task expires by being deleted.
//!
//! What is allowed that would be wrong otherwise, and why, stands in `rules.rs`.

mod ops;
mod rules;
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use support::Server;
use world::World;

const SEED: u64 = 1;

#[test]
fn whatever_happens_in_whatever_order_each_task_is_in_one_place_and_finishes_once() {
    let server = Server::start();
    let link = World::link(&server);
    let seconds = variable("DOTHIS_STATES_SECONDS").unwrap_or(10);
    let first = variable("DOTHIS_STATES_SEED");
    let began = Instant::now();
    // The same sequences each time in the tests; others by DOTHIS_STATES_FROM, and for longer.
    let mut seed = first.or(variable("DOTHIS_STATES_FROM")).unwrap_or(SEED);
    let mut steps = 0;
    let mut cases = 0;
    let mut seen = std::collections::BTreeMap::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config {
            cases: 10,
            failure_persistence: None,
            max_shrink_iters: 5_000,
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let counts = std::cell::RefCell::new((&mut steps, &mut cases, &mut seen));
        let result = runner.run(&ops::sequence(), |ops| {
            let mut world = World::start(&server, &link);
            let result = world.run(&ops);
            let mut counts = counts.borrow_mut();
            *counts.0 += ops.len();
            *counts.1 += 1;
            for what in world.seen() {
                *counts.2.entry(what).or_insert(0usize) += 1;
            }
            result
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, ops)) => {
                let ops: Vec<String> = ops.iter().map(|op| format!("    {op:?},")).collect();
                panic!(
                    "{why}\n\nby [\n{}\n]\nand the end; DOTHIS_STATES_SEED={seed} makes the \
                     same sequences again",
                    ops.join("\n")
                )
            }
            Err(error) => panic!("{error}"),
        }
        if first.is_some() {
            break;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{cases} sequences, {steps} steps, up to the seed {seed}: {seen:?}");
    // A generator that does not come to what it is there for checks nothing.
    if first.is_none() && cases >= 400 {
        for what in world::EVENTS {
            assert!(
                seen.contains_key(what),
                "{what} has never happened: {seen:?}"
            );
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect(name))
}
