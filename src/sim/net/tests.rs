//! Clusters pass, and do not pass with an error planted.

use std::sync::Arc;

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

#[test]
fn clusters_do_not_pass_with_an_error_of_the_protocol() {
    for mutant in replication::mutant::ALL {
        let caught = replication::mutant::with(mutant, || (0..RUNS_OF_MUTANTS).find(|seed| cluster(*seed).run().is_err()));
        println!("{mutant:?}: caught by run {caught:?}");
        assert!(caught.is_some(), "{mutant:?} is not caught");
    }
}

#[test]
fn clusters_do_not_pass_with_an_error_of_the_store() {
    for mutant in kv::mutant::ALL.into_iter().chain([kv::mutant::Mutant::LiveFromStaleBase]) {
        let caught = kv::mutant::with(mutant, || (0..RUNS_OF_MUTANTS).find(|seed| cluster(*seed).run().is_err()));
        println!("{mutant:?}: caught by run {caught:?}");
        assert!(caught.is_some(), "{mutant:?} is not caught");
    }
}
