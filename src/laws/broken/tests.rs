use alloc::string::ToString;
use core::fmt::Debug;

use super::{NONE, counter, register, set};
use crate::crdt::Crdt;
use crate::laws::{Report, Situation, Suite};

/// A law breaks within 2,000 cases; the steps that it takes are few, and are said.
fn assert_caught<T: Crdt + Debug>(name: &str, suite: Suite<T>) {
    let failure = suite.cases(2_000).check().expect_err(name);
    println!("{name}: after {} cases, {} steps: {}", failure.case, failure.trace.len(), failure.law);
    assert!(failure.trace.len() <= 8, "{name}: {failure}");
    assert!(failure.to_string().contains(failure.law), "{name}: {failure}");
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
}

#[test]
fn right_types_keep_their_bytes() {
    assert_right(set::suite_with_bytes().cases(200), &[Situation::Refused]);
    assert_right(counter::suite::<NONE>().codec().cases(200), &[]);
    assert_right(register::suite::<NONE>().codec().cases(200), &[Situation::Refused]);
    assert_right(register::stamped::<NONE>().codec().cases(200), &[Situation::Refused]);
}

#[test]
fn every_broken_counter_is_caught() {
    assert_caught("sums", counter::suite::<{ counter::SUMS }>());
    assert_caught("delta is the difference", counter::suite::<{ counter::DELTA_IS_DIFFERENCE }>());
    assert_caught("flag always", counter::suite::<{ counter::FLAG_ALWAYS }>());
    assert_caught("one entry", counter::suite::<{ counter::ONE_ENTRY }>());
    assert_caught("last arrival", counter::suite::<{ counter::LAST_ARRIVAL }>());
    assert_caught("overflows", counter::suite::<{ counter::OVERFLOWS }>());
}

#[test]
fn every_broken_set_is_caught() {
    assert_caught("remove not in delta", set::suite::<{ set::REMOVE_NOT_IN_DELTA }>());
    assert_caught("context of all", set::suite::<{ set::CONTEXT_OF_ALL }>());
    assert_caught("gaps refused", set::suite::<{ set::GAPS_REFUSED }>());
    assert_caught("remove of the future", set::suite::<{ set::REMOVE_OF_THE_FUTURE }>());
    assert_caught("dot reused", set::suite::<{ set::DOT_REUSED }>());
    assert_caught("context forgotten", set::suite::<{ set::CONTEXT_FORGOTTEN }>());
    assert_caught("local in equality", set::suite::<{ set::LOCAL_IN_EQUALITY }>());
}

#[test]
fn every_broken_register_is_caught() {
    assert_caught("by id", register::suite::<{ register::BY_ID }>());
    assert_caught("ties kept", register::stamped::<{ register::TIES_KEPT }>());
    assert_caught("join to none", register::stamped::<{ register::JOIN_TO_NONE }>());
    assert_caught("circle", register::stamped::<{ register::CIRCLE }>());
    assert_caught("bytes of history", register::stamped::<{ register::BYTES_OF_HISTORY }>().codec());
}
