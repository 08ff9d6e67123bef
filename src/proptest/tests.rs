//! What the strategies make, and that what they make shrinks.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;

use ::proptest::prelude::*;
use ::proptest::test_runner::{RngSeed, TestError};

use super::*;
use crate::causal::{Dot, ReplicaId};
use crate::crdt::{Decompose, Lattice, Refused};
use crate::laws::{Step, decompose_laws, join_laws, order_laws};

fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}

/// A counter of which a join adds what the other counted.
#[derive(Debug, Clone, PartialEq)]
struct Sums(BTreeMap<ReplicaId, u64>);

impl Lattice for Sums {
    fn bottom() -> Self {
        Self(BTreeMap::new())
    }

    fn join(&mut self, other: &Self) -> bool {
        for (replica, count) in &other.0 {
            *self.0.entry(*replica).or_default() += count;
        }
        !other.0.is_empty()
    }
}

impl Crdt for Sums {
    type Op = u64;
    type Read = u64;

    fn apply(&mut self, op: &u64, me: ReplicaId) -> Result<Self, Refused> {
        let delta = Self(BTreeMap::from([(me, *op)]));
        self.join(&delta);
        Ok(delta)
    }

    fn read(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The shortest history that proptest finds, and its text.
fn shrunk<T: Crdt + Debug>(ops: impl Strategy<Value = T::Op>, suite: &Suite<T>) -> (Trace<T::Op>, String) {
    match TestRunner::new(config(200)).run(&traces(ops), |trace| check(suite, &trace)) {
        Err(TestError::Fail(why, trace)) => (trace, why.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_type_shrinks_to_the_one_operation_that_shows_it() {
    let (trace, why) = shrunk(1..1_000_u64, &suite::<Sums>(1..1_000_u64));
    assert!(matches!(trace.steps[..], [(_, Step::Apply { op: 1, .. })]), "{trace}");
    assert!(why.contains("law broken: delta is joined"), "{why}");
}

/// The greatest number, of which a wrong specification says that it is never above 500.
#[test]
fn a_wrong_reading_shrinks_to_the_least_operation_that_shows_it() {
    let suite = suite::<crate::crdt::Max<u64>>(0..1_000_u64);
    let suite = suite.spec(|visible| visible.iter().map(|event| event.op.min(500)).max());
    let (trace, why) = shrunk(0..1_000_u64, &suite);
    assert!(matches!(trace.steps[..], [(_, Step::Apply { op: 501, .. })]), "{trace}");
    assert!(why.contains("specification"), "{why}");
}

/// Two replicas and a delivery are needed: nothing else is left.
#[test]
fn a_fault_between_replicas_shrinks_to_who_is_needed() {
    let suite = suite::<crate::crdt::GSet<u8>>(0..20_u8).spec(|visible| {
        let elements = visible.iter().map(|event| event.op).collect::<alloc::collections::BTreeSet<_>>();
        // Forgets the second of two that came from different replicas.
        let concurrent = visible.iter().any(|a| visible.iter().any(|b| a.replica < b.replica && a.op > b.op));
        elements.into_iter().take(if concurrent { 1 } else { usize::MAX }).collect()
    });
    let (trace, why) = shrunk(0..20_u8, &suite);
    let mut ops: Vec<u8> = Vec::new();
    for (_, step) in &trace.steps {
        let Step::Apply { op, .. } = step else { panic!("{trace}") };
        ops.push(*op);
    }
    ops.sort_unstable();
    assert_eq!(ops, [0, 1], "{trace}{why}");
}

#[test]
fn a_right_type_passes() {
    run(config(300), 0..4_u8, &suite::<crate::crdt::Max<u8>>(0..4_u8).order().decompose().codec());
}

#[test]
fn a_suite_of_a_strategy_is_decided_by_its_seed() {
    let report = || suite::<crate::crdt::Max<u8>>(0..4_u8).cases(50).check().unwrap();
    assert_eq!(report(), report());
}

/// All laws that need no operation, among some states of one history.
fn assert_states<T: Decompose + Debug>(histories: impl Strategy<Value = Vec<T>>) {
    let mut runner = TestRunner::new(config(60));
    let outcome = runner.run(&histories, |history| {
        let states: Vec<T> = history.into_iter().rev().take(6).collect();
        join_laws(&states);
        order_laws(&states);
        decompose_laws(&states);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn states_of_every_type_are_lattices_that_can_be_taken_apart() {
    assert_states(histories::g_counters());
    assert_states(histories::pn_counters());
    assert_states(histories::reset_counters());
    assert_states(histories::bounded_counters());
    assert_states(histories::lww_registers(0..3_u8, 0..2_u8));
    assert_states(histories::first_write_registers(0..3_u8, 0..2_u8));
    assert_states(histories::maxima(0..3_u8));
    assert_states(histories::minima(0..3_u8));
    assert_states(histories::one_way_flags());
    assert_states(histories::g_sets(0..4_u8));
    assert_states(histories::two_phase_sets(0..4_u8));
    assert_states(histories::mv_registers(0..4_u8));
    assert_states(histories::ew_flags());
    assert_states(histories::dw_flags());
}

#[test]
fn single_states_are_states_and_deltas_alike() {
    let strategy = g_sets(0..4_u8);
    let mut runner = TestRunner::new(config(1));
    let states: Vec<_> = (0..200).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    assert!((0..=4).all(|len| states.iter().any(|state| state.len() == len)), "{states:?}");
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn vectors_and_contexts_are_ordered_lattices(
        vectors in ::proptest::collection::vec(version_vectors(), 3),
        contexts in ::proptest::collection::vec(causal_contexts(), 3),
    ) {
        join_laws(&vectors);
        order_laws(&vectors);
        join_laws(&contexts);
        order_laws(&contexts);
    }

    #[test]
    fn dots_are_events_that_order_by_replica_first(a in dots(), b in dots()) {
        prop_assert!(a.is_event());
        let by_parts = a.replica.cmp(&b.replica).then(a.seq.cmp(&b.seq));
        prop_assert_eq!(a.cmp(&b), by_parts);
        prop_assert_eq!(by_parts == Ordering::Equal, a == Dot::new(b.replica, b.seq));
    }
}
