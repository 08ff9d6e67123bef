use super::*;
use crate::sim::{Runner, Situation};

fn run(defect: Option<Defect>, histories: u64) -> Result<crate::sim::Counts, Box<crate::sim::Failure>> {
    let schema = Arc::new(Schema::every_kind());
    Runner::new(&schema).histories(histories).threads(2).run(|replica| {
        let naive = Naive::new(replica, &schema);
        if let Some(defect) = defect { naive.with(defect) } else { naive }
    })
}

#[test]
fn the_naive_replica_is_what_the_oracle_says() {
    let counts = run(None, 2_000).unwrap();
    println!("{counts}");
    let met: Vec<_> = Situation::ALL.into_iter().filter(|situation| *situation != Situation::LiveFallback).collect();
    counts.require_of(&met, 5).unwrap();
}

#[test]
fn each_defect_is_caught() {
    for defect in Defect::ALL {
        let failure = run(Some(defect), 2_000).expect_err("a defect that no history shows");
        println!("{defect:?}: {} histories\n{failure}\n", failure.seed().unwrap() + 1);
    }
}
