use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::{NONE, counter, map, register, set};
use crate::crdt::Crdt;
use crate::laws::{Report, Situation, Suite};

/// A broken type: which trap of `docs/testing.md` it is, its name, the law that it breaks, and how it is caught: by which law,
/// after how many cases, with how many steps.
struct Plant {
    trap: usize,
    name: &'static str,
    law: &'static str,
    caught: Box<dyn FnOnce() -> (&'static str, u64, usize)>,
}

/// A law breaks within 2,000 cases; the steps that it takes are few, and are said.
fn plant<T: Crdt + Debug + 'static>(trap: usize, name: &'static str, law: &'static str, suite: Suite<T>) -> Plant {
    let caught = move || {
        let failure = suite.cases(2_000).check().expect_err(name);
        assert!(failure.trace.len() <= 9, "{name}: {failure}");
        assert!(failure.to_string().contains(failure.law), "{name}: {failure}");
        (failure.law, failure.case, failure.trace.len())
    };
    Plant { trap, name, law, caught: Box::new(caught) }
}

fn plants() -> Vec<Plant> {
    Vec::from([
        plant(1, "register: the value by id", "specification", register::suite::<{ register::BY_ID }>()),
        plant(2, "counter: the delta is the difference", "delta", counter::suite::<{ counter::DELTA_IS_DIFFERENCE }>()),
        plant(2, "set: a remove is not in its delta", "delta", set::suite::<{ set::REMOVE_NOT_IN_DELTA }>()),
        plant(3, "set: deletes are not in the difference", "minus", set::suite::<{ set::DELETES_NOT_IN_MINUS }>()),
        plant(4, "set: a delta with the context of all", "specification", set::suite::<{ set::CONTEXT_OF_ALL }>()),
        plant(4, "set: a remove of the future", "specification", set::suite::<{ set::REMOVE_OF_THE_FUTURE }>()),
        plant(5, "set: a delta behind a gap is dropped", "permutation", set::suite::<{ set::GAPS_REFUSED }>()),
        plant(5, "counter: the last arrival wins", "permutation", counter::suite::<{ counter::LAST_ARRIVAL }>()),
        plant(6, "map of sets: a replica goes on in its entry", "specification", map::of_sets::<{ map::GOES_ON_IN_ENTRY }>()),
        plant(6, "map of sets: a remove of all keys", "specification", map::of_sets::<{ map::ONE_NUMBER_FOR_ALL }>()),
        plant(
            7,
            "map of counters: a replica goes on in its total",
            "specification",
            map::of_counters::<{ map::GOES_ON_IN_ENTRY }>(),
        ),
        plant(
            7,
            "map of counters: a remove is the opposite",
            "specification",
            map::of_counters::<{ map::REMOVE_IS_OPPOSITE }>(),
        ),
        plant(8, "register: of equal stamps the own one", "permutation", register::unspecified::<{ register::TIES_KEPT }>()),
        plant(9, "register: two values are none", "monotone", register::stamped::<{ register::JOIN_TO_NONE }>()),
        plant(9, "counter: a join adds", "delta is joined", counter::suite::<{ counter::SUMS }>()),
        plant(10, "register: stamps in a circle", "permutation", register::unspecified::<{ register::CIRCLE }>()),
        plant(11, "set: what waits to be sent is compared", "delta", set::suite::<{ set::LOCAL_IN_EQUALITY }>()),
        plant(12, "set: a dot is used again", "specification", set::suite::<{ set::DOT_REUSED }>()),
        plant(12, "set: a cleared one forgets", "exact flag", set::suite::<{ set::CONTEXT_FORGOTTEN }>()),
        plant(12, "counter: one entry for all", "specification", counter::suite::<{ counter::ONE_ENTRY }>()),
        plant(
            13,
            "register: bytes say how it came",
            "equal bytes",
            register::stamped::<{ register::BYTES_OF_HISTORY }>().codec(),
        ),
        plant(14, "counter: it wraps", "delta", counter::suite::<{ counter::OVERFLOWS }>()),
        plant(23, "register: it reads what it does not write", "canonical bytes", register::lenient()),
        // No trap of others, but ours: what `join` says decides what is stored and forwarded.
        plant(0, "counter: always changed", "exact flag", counter::suite::<{ counter::FLAG_ALWAYS }>()),
    ])
}

#[test]
fn every_trap_of_a_type_is_planted_and_caught_by_the_law_that_names_it() {
    let mut planted = BTreeSet::new();
    println!("trap | broken type | law | case | steps");
    for Plant { trap, name, law, caught } in plants() {
        let (broken, case, steps) = caught();
        println!("{trap:4} | {name} | {broken} | {case} | {steps}");
        assert_eq!(broken, law, "{name}");
        planted.insert(trap);
    }
    for trap in 1..=14 {
        assert!(planted.contains(&trap), "no broken type for trap {trap}");
    }
}

fn assert_right<T: Crdt + Debug>(suite: Suite<T>, unmet: &[Situation]) -> Report {
    let report = suite.check().unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.unmet(), unmet);
    report
}

#[test]
fn right_types_pass_and_meet_every_situation() {
    assert_right(set::suite::<NONE>().cases(2_000), &[Situation::Refused]);
    assert_right(counter::suite::<NONE>().cases(2_000), &[]);
    assert_right(register::suite::<NONE>().cases(2_000), &[Situation::Refused]);
    assert_right(register::stamped::<NONE>().cases(2_000), &[Situation::Refused]);
    assert_right(map::of_sets::<NONE>().cases(2_000), &[Situation::Refused]);
    assert_right(map::of_counters::<NONE>().cases(2_000), &[Situation::Refused]);
}

#[test]
fn right_types_keep_their_bytes() {
    assert_right(set::suite_with_bytes().cases(1_000), &[Situation::Refused]);
    assert_right(counter::suite::<NONE>().codec().cases(1_000), &[]);
    assert_right(register::suite::<NONE>().codec().cases(1_000), &[Situation::Refused]);
    assert_right(register::stamped::<NONE>().codec().cases(1_000), &[Situation::Refused]);
}
