//! Random histories against the oracle, after every step. `TOMBOLO_HISTORIES=1000000` runs that many and writes the evidence.

use std::sync::Arc;
use std::thread::available_parallelism;

use tombolo::sim::{Both, Counts, Naive, Runner, Schema, Situation, StoreSubject};

use crate::evidence;

const IN_EVERY_RUN: u64 = 10_000;

#[test]
fn every_replica_reads_what_the_oracle_says_after_every_step() {
    let wanted = std::env::var("TOMBOLO_HISTORIES").ok().and_then(|number| number.parse().ok());
    let histories = wanted.unwrap_or(IN_EVERY_RUN);
    let schema = Arc::new(Schema::every_kind());
    let threads = available_parallelism().map_or(1, usize::from);
    let runner = Runner::new(&schema).seed(0).histories(histories).threads(threads);
    let counts = match runner.run(|replica| StoreSubject::in_memory(replica, &schema)) {
        Ok(counts) => counts,
        Err(failure) => panic!("{failure}"),
    };
    println!("{counts}");
    assert_eq!(counts.histories(), histories);
    assert!(counts.steps() >= 60 * histories, "a history has at least 60 steps");
    if let Err(rare) = counts.require(1) {
        panic!("{rare}");
    }
    if wanted.is_some() {
        write_evidence(&counts);
    }
}

#[test]
fn the_store_does_what_a_naive_join_of_whole_states_does() {
    let schema = Arc::new(Schema::every_kind());
    let runner = Runner::new(&schema).seed(1 << 40).histories(1_000).threads(2);
    let both = |replica| Both::new(StoreSubject::in_memory(replica, &schema), Naive::new(replica, &schema));
    if let Err(failure) = runner.run(both) {
        panic!("{failure}");
    }
}

fn write_evidence(counts: &Counts) {
    let situations: serde_json::Map<String, serde_json::Value> = Situation::ALL
        .iter()
        .map(|situation| {
            let (times, percent) = (counts.times(*situation), counts.percent(*situation));
            (situation.to_string(), serde_json::json!({ "times": times, "percent_of_histories": percent }))
        })
        .collect();
    let what = serde_json::json!({
        "what": "random histories over every kind, in memory, each replica checked against the oracle after every step",
        "command": format!("TOMBOLO_HISTORIES={} cargo test --release --test it histories", counts.histories()),
        "seeds": [0, counts.histories() - 1],
        "histories": counts.histories(),
        "steps": counts.steps(),
        "transactions": counts.transactions(),
        "checks_of_a_replica": counts.checks(),
        "failures": 0,
        "situations": situations,
    });
    evidence::write("histories.json", what);
}
