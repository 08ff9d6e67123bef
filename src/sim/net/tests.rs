//! Clusters pass, and do not pass with an error planted.

use std::sync::Arc;

use serde::Deserialize;

use super::cluster::run_once;
use super::*;
use crate::sim::Schema;
use crate::{kv, replication};

const RUNS: u64 = 300;

/// How many clusters each error gets to show.
const RUNS_OF_MUTANTS: u64 = 3_000;

fn cluster(seed: u64) -> Cluster {
    Cluster::new(&Arc::new(Schema::every_kind())).seed(seed)
}

#[test]
fn clusters_pass() {
    match cluster(0).runs(RUNS).run() {
        Ok(counts) => {
            println!("{counts}");
            assert!(counts.faults() > RUNS * 20 && counts.delivered > RUNS * 500);
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(cluster(seed).trace(), cluster(seed).trace());
    }
    assert_ne!(cluster(0).trace(), cluster(1).trace());
}

/// Scenarios that were found to fail with an error planted, and made smaller: `tests/sim/errors.toml`.
#[derive(Deserialize)]
struct Found {
    found: Vec<Caught>,
}

/// A scenario, and the error that it catches.
#[derive(Deserialize)]
struct Caught {
    error: String,
    run: Scenario,
}

fn found() -> Vec<Caught> {
    toml::from_str::<Found>(include_str!("../../../tests/sim/errors.toml")).unwrap().found
}

/// Whether the scenario of an error fails.
fn is_caught(error: &str, all: &[Caught]) -> bool {
    let mut of = all.iter().filter(|caught| caught.error == error);
    let scenario = &of.next().unwrap_or_else(|| panic!("{error} has no scenario in tests/sim/errors.toml")).run;
    assert!(of.next().is_none(), "{error} has two scenarios");
    run_once(&Arc::new(Schema::every_kind()), scenario).is_err()
}

#[test]
fn scenarios_that_catch_an_error_pass_without_it() {
    for Caught { error, run } in found() {
        if let Err(failure) = run.run(&Arc::new(Schema::every_kind())) {
            panic!("{error}: {failure}");
        }
    }
}

#[test]
fn each_error_of_the_protocol_is_caught_by_its_scenario() {
    let all = found();
    for mutant in replication::mutant::ALL {
        assert!(replication::mutant::with(mutant, || is_caught(&format!("{mutant:?}"), &all)), "{mutant:?} is not caught");
    }
}

#[test]
fn each_error_of_the_store_is_caught_by_its_scenario() {
    let all = found();
    for mutant in errors_of_the_store() {
        assert!(kv::mutant::with(mutant, || is_caught(&format!("{mutant:?}"), &all)), "{mutant:?} is not caught");
    }
}

fn errors_of_the_store() -> impl Iterator<Item = kv::mutant::Mutant> {
    kv::mutant::ALL.into_iter().chain([kv::mutant::Mutant::LiveFromStaleBase])
}

/// How the scenarios are found: `cargo test --release --lib find_scenarios -- --ignored --nocapture`, some minutes.
#[test]
#[ignore = "writes the scenarios, by looking for them"]
fn find_scenarios() {
    let find = || (0..RUNS_OF_MUTANTS).find_map(|seed| cluster(seed).run().err());
    let mut text = String::from("# Each catches an error that the tests plant. See `src/sim/net/tests.rs`.\n");
    let mut found = |name: String, failure: Option<Box<ClusterFailure>>| {
        let failure = failure.unwrap_or_else(|| panic!("{name} is not caught"));
        let what = failure.what.lines().next().unwrap_or_default();
        println!("{name}: seed {}, {} steps: {what}", failure.seed, failure.scenario.steps.len());
        text += &format!("\n# {what}\n[[found]]\nerror = \"{name}\"\n[found.run]\n{}", failure.scenario);
    };
    for mutant in replication::mutant::ALL {
        found(format!("{mutant:?}"), replication::mutant::with(mutant, find));
    }
    for mutant in errors_of_the_store() {
        found(format!("{mutant:?}"), kv::mutant::with(mutant, find));
    }
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/errors.toml"), text).unwrap();
}

#[test]
fn scenarios_are_read_as_they_are_written() {
    for seed in 0..200 {
        let scenario = Scenario::draw(seed);
        assert_eq!(toml::from_str::<Scenario>(&scenario.to_string()), Ok(scenario));
    }
}

#[test]
fn a_scenario_that_cannot_be_is_an_error() {
    let schema = Arc::new(Schema::every_kind());
    let broken = |breaks: &dyn Fn(&mut Scenario)| {
        let mut scenario = Scenario::draw(1);
        breaks(&mut scenario);
        scenario.run(&schema).unwrap_err().what
    };
    assert!(broken(&|scenario| scenario.stores = 0).contains("1 to 8 stores"));
    assert!(broken(&|scenario| scenario.stores = 9).contains("1 to 8 stores"));
    assert!(broken(&|scenario| scenario.links[0].between = [0, 6]).contains("a link between"));
    assert!(broken(&|scenario| scenario.links[0].between = [1, 1]).contains("a link between"));
    for deed in [Deed::Write { store: 6, seed: 0 }, Deed::Cut { link: 99, directions: [true; 2], for_us: 1 }] {
        let step = ScenarioStep { at_us: 1, deed };
        assert!(broken(&|scenario| scenario.steps.push(step.clone())).contains("not there"));
    }
}

/// A failure is made smaller: with an error that every cluster shows, to very little.
#[test]
fn a_failure_is_made_small() {
    let failure = kv::mutant::with(kv::mutant::Mutant::DeleteWithoutDot, || {
        (0..100).find_map(|seed| cluster(seed).run().err()).expect("the error is caught")
    });
    let scenario = &failure.scenario;
    println!("{failure}");
    assert!(scenario.steps.len() <= 5 && scenario.stores <= 2 && scenario.links.len() <= 1);
    assert!(scenario.run(&Arc::new(Schema::every_kind())).is_ok(), "without the error it passes");
}
