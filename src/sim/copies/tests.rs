//! The runs fail on each design error with copies that is known to lose data, and the same runs pass without.

use super::{Copies, CopyFailure};
use crate::kv::mutant::{self, Mutant};

/// How many runs each error gets to show.
const RUNS: u64 = 2_000;

fn caught(mutant: Mutant) -> Option<CopyFailure> {
    mutant::with(mutant, || Copies::new().runs(RUNS).shrinks(false).run().err())
}

#[test]
fn the_runs_fail_on_every_mutant() {
    let mutants = [Mutant::RestoredIdKept, Mutant::SentNotKept, Mutant::SentNotJoined, Mutant::ReplayOfDeletesLeftOut];
    let mut missed = Vec::new();
    for mutant in mutants {
        match caught(mutant) {
            Some(failure) => println!("{mutant:?}: caught by run {} of at most {RUNS}", failure.seed() + 1),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn the_runs_with_forks_fail_if_points_are_compared_only_where_both_sides_have_one() {
    let run = || Copies::new().runs(RUNS).shrinks(false).run_forks();
    let failure = mutant::with(Mutant::PointsBetweenNotCompared, run).unwrap_err();
    assert!(failure.to_string().contains("nobody is told"), "{failure}");
}

#[test]
fn the_same_runs_pass_without_a_mutant() {
    let copies = Copies::new().runs(RUNS).threads(2);
    if let Some(failure) = copies.run().err().or_else(|| copies.run_forks().err()) {
        panic!("{failure}");
    }
}

#[test]
fn a_seed_is_one_run_on_any_number_of_threads_and_a_failure_leaves_needless_steps_out() {
    let run = |threads| Copies::new().runs(50).threads(threads).run().unwrap();
    assert_eq!(run(1), run(3));
    let failure =
        |shrinks| mutant::with(Mutant::RestoredIdKept, || Copies::new().runs(RUNS).shrinks(shrinks).run().unwrap_err());
    let (short, long) = (failure(true), failure(false));
    assert_eq!(short.seed(), long.seed());
    assert!(2 * short.trace.len() < long.trace.len(), "{short}\n{long}");
}
