//! Rollback, restore and clones of stores, against the oracle, after every step. `TOMBOLO_IDENTITY_RUNS=10000` runs that many.

use std::thread::available_parallelism;

use tombolo::sim::{Copies, CopySituation};

const IN_EVERY_RUN: u64 = 1_500;

fn wanted() -> u64 {
    std::env::var("TOMBOLO_IDENTITY_RUNS").ok().and_then(|number| number.parse().ok()).unwrap_or(IN_EVERY_RUN)
}

#[test]
fn a_copy_loses_nothing_and_diverges_from_nobody() {
    let runs = wanted();
    let threads = available_parallelism().map_or(1, usize::from);
    let counts = match Copies::new().runs(runs).threads(threads).run() {
        Ok(counts) => counts,
        Err(failure) => panic!("{failure}"),
    };
    println!("{counts}");
    assert_eq!(counts.runs(), runs);
    let rare = counts.rarer_than(5);
    assert!(rare.is_empty(), "in less than 5 of 1,000 runs: {rare:?}");
    let enough = [CopySituation::Rotation, CopySituation::Replay, CopySituation::ReplayOfAdds, CopySituation::CopyWithUnsent];
    assert!(enough.iter().all(|situation| 5 * counts.runs_with(*situation) > runs), "{counts}");
}

#[test]
fn where_both_copies_gave_away_different_events_somebody_is_told_each_time() {
    let runs = wanted();
    let threads = available_parallelism().map_or(1, usize::from);
    let counts = match Copies::new().runs(runs).threads(threads).run_forks() {
        Ok(counts) => counts,
        Err(failure) => panic!("{failure}"),
    };
    println!("{counts}");
    assert!(10 * counts.forked > runs && counts.told_by_history + counts.told_by_contents == counts.forked, "{counts}");
    // A copy that gave away the first of the events which the original gave away later, all at once: at the time, nobody can tell.
    assert!(8 * counts.false_alarms < runs, "{counts}");
}
