//! Whole clusters over a simulated network, each replica checked against the oracle after everything that it handles.
//! `TOMBOLO_CLUSTERS=100000` runs that many, and with `TOMBOLO_CLUSTERS_EVIDENCE=1` writes the evidence; `TOMBOLO_CLUSTER=77` runs that one, and
//! tells what happened in it;
//! `TOMBOLO_SCENARIO=failed.toml` runs the scenario of a file.

use std::sync::Arc;
use std::thread::available_parallelism;

use serde::Deserialize;
use serde_json::json;
use tombolo::sim::{Cluster, NetCounts, Scenario, Schema};

use crate::evidence;

const IN_EVERY_RUN: u64 = 5_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

#[test]
fn clusters_come_together_and_every_replica_reads_what_the_oracle_says() {
    let cluster = Cluster::new(&Arc::new(Schema::every_kind()));
    let (one, wanted) = (number("TOMBOLO_CLUSTER"), number("TOMBOLO_CLUSTERS"));
    let threads = available_parallelism().map_or(1, usize::from);
    let runs = if one.is_some() { 1 } else { wanted.unwrap_or(IN_EVERY_RUN) };
    let counts = match cluster.seed(one.unwrap_or(0)).runs(runs).threads(threads).run() {
        Ok(counts) => counts,
        Err(failure) => panic!("{failure}again: TOMBOLO_CLUSTER={} cargo test --test it clusters", failure.seed),
    };
    println!("{runs} clusters: {counts}");
    if one.is_none() {
        require_all(&counts, runs);
    }
    if std::env::var_os("TOMBOLO_CLUSTERS_EVIDENCE").is_some() {
        write_evidence(&counts, runs);
    }
}

/// A fault that never happens says nothing.
fn require_all(counts: &NetCounts, runs: u64) {
    let each = [counts.lost, counts.repeated, counts.cut_off, counts.cuts, counts.restarts, counts.skews, counts.truncations];
    assert!(each.iter().all(|count| *count > runs / 2), "{counts}");
    let copies = [counts.restores, counts.clones, counts.new_ids];
    assert!(copies.iter().all(|count| *count > runs / 50), "{counts}");
    assert!(counts.crashes > runs / 20 && counts.delivered > 500 * runs, "{counts}");
}

fn write_evidence(counts: &NetCounts, runs: u64) {
    let what = json!({
        "what": "clusters of 2 to 6 stores over a simulated network, each store checked against the oracle after everything that it handles",
        "command": format!("TOMBOLO_CLUSTERS={runs} TOMBOLO_CLUSTERS_EVIDENCE=1 cargo test --release --test it clusters"),
        "seeds": [0, runs - 1],
        "violations": 0,
        "frames_sent": counts.sent,
        "bytes_sent": counts.bytes,
        "frames_delivered": counts.delivered,
        "faults": counts.faults(),
        "frames_lost": counts.lost,
        "frames_repeated": counts.repeated,
        "frames_cut_off": counts.cut_off,
        "links_cut": counts.cuts,
        "restarts": counts.restarts,
        "power_losses": counts.crashes,
        "clocks_set": counts.skews,
        "truncations": counts.truncations,
        "stores_restored": counts.restores,
        "stores_cloned": counts.clones,
        "new_ids": counts.new_ids,
    });
    evidence::write("clusters.json", what);
}

/// `tests/sim/scenarios.toml`.
#[derive(Deserialize)]
struct Scenarios {
    named: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    run: Scenario,
}

#[test]
fn scenarios_come_together() {
    let all: Scenarios = toml::from_str(include_str!("../sim/scenarios.toml")).unwrap();
    for Named { name, run } in &all.named {
        match run.run(&Arc::new(Schema::every_kind())) {
            Ok(counts) => println!("{name}: {counts}"),
            Err(failure) => panic!("{name}: {failure}"),
        }
    }
}

/// `TOMBOLO_SCENARIO=failed.toml cargo test --test it clusters` runs what a failure has printed.
#[test]
fn a_scenario_of_a_file_comes_together() {
    let Ok(path) = std::env::var("TOMBOLO_SCENARIO") else { return };
    let scenario: Scenario = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    match scenario.run(&Arc::new(Schema::every_kind())) {
        Ok(counts) => println!("{counts}"),
        Err(failure) => panic!("{failure}"),
    }
}
