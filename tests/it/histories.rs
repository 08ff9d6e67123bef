//! Random histories against the oracle, after every step. `TOMBOLO_HISTORIES=1000000` runs that many and writes the evidence.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use tombolo::sim::{Both, Counts, Naive, Runner, Schema, Situation, StoreSubject};

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

/// What was run, on which commit, when: for those who were not there.
#[expect(clippy::disallowed_methods, reason = "the date of the evidence")]
fn write_evidence(counts: &Counts) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let situations: serde_json::Map<String, serde_json::Value> = Situation::ALL
        .iter()
        .map(|situation| {
            let (times, percent) = (counts.times(*situation), counts.percent(*situation));
            (situation.to_string(), serde_json::json!({ "times": times, "percent_of_histories": percent }))
        })
        .collect();
    let evidence = serde_json::json!({
        "what": "random histories over every kind, in memory, each replica checked against the oracle after every step",
        "command": format!("TOMBOLO_HISTORIES={} cargo test --release --test it histories", counts.histories()),
        "seeds": [0, counts.histories() - 1],
        "commit": git(&["rev-parse", "HEAD"]),
        "uncommitted_changes": git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        "histories": counts.histories(),
        "steps": counts.steps(),
        "transactions": counts.transactions(),
        "checks_of_a_replica": counts.checks(),
        "failures": 0,
        "situations": situations,
    });
    let folder = root.join("docs/evidence");
    fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&evidence).unwrap();
    fs::write(folder.join("histories.json"), text + "\n").unwrap();
}
