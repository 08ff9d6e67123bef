//! The suite fails on each design error that is known to lose data. A suite that passes on one is no suite.

use std::sync::Arc;

use super::{Runner, Schema, StoreSubject};
use crate::kv::mutant::{self, Mutant};

/// How many histories each error gets to show.
const HISTORIES: u64 = 2_000;

/// In which history of the plain run the suite fails with this error; `None`: it passes.
fn caught_after(mutant: Mutant) -> Option<u64> {
    let schema = Arc::new(Schema::every_kind());
    let runner = Runner::new(&schema).shrinks(false);
    mutant::with(mutant, || {
        (0..HISTORIES).find(|seed| {
            let run = runner.clone().seed(*seed).run(|replica| StoreSubject::in_memory(replica, &schema));
            run.is_err()
        })
    })
}

#[test]
fn the_suite_fails_on_every_mutant() {
    let mut missed = Vec::new();
    for mutant in mutant::ALL {
        match caught_after(mutant) {
            Some(seed) => println!("{mutant:?}: caught by history {} of at most {HISTORIES}", seed + 1),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn the_same_histories_pass_without_a_mutant() {
    let schema = Arc::new(Schema::every_kind());
    let run = Runner::new(&schema).histories(2_000).run(|replica| StoreSubject::in_memory(replica, &schema));
    if let Err(failure) = run {
        panic!("{failure}");
    }
}
