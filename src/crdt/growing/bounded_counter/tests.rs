//! Single rules, and three replicas whose deltas are lost, late and repeated.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

use super::BoundedCounterOp::{Grant, Take, Transfer};
use super::*;
use crate::crdt::growing::tests::{A, B, assert_refused, assert_type, assert_unreadable, reachable};

const C: ReplicaId = ReplicaId::from_u128(3);

#[test]
fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
    let ops = [Grant(1), Take(1), Transfer { to: A, amount: 1 }, Transfer { to: B, amount: 1 }];
    assert_type::<BoundedCounter>(&reachable(&ops, 60), &[ops[0], ops[1], ops[2], ops[3], Grant(0), Take(0), Take(2)]);
}

#[test]
fn only_the_own_rights_can_be_taken_and_a_transfer_moves_them() {
    let mut counter = BoundedCounter::new();
    let _unsent = counter.grant(A, 5).unwrap();
    let _unsent = counter.grant(B, 2).unwrap();
    let _unsent = counter.take(A, 1).unwrap();
    assert_eq!((counter.value(), counter.available(A), counter.available(B)), (6, 4, 2));
    assert_refused(&counter, &Take(5), A, Refused::Insufficient { available: 4, elsewhere: 2 });
    assert_refused(&counter, &Transfer { to: B, amount: 5 }, A, Refused::Insufficient { available: 4, elsewhere: 2 });
    let _unsent = counter.transfer(A, B, 3).unwrap();
    assert_eq!((counter.value(), counter.available(A), counter.available(B)), (6, 1, 5));
    let _unsent = counter.take(B, 5).unwrap();
    assert_eq!((counter.value(), counter.available(A), counter.available(B)), (1, 1, 0));
}

#[test]
fn a_transfer_to_oneself_makes_no_rights() {
    let mut counter = BoundedCounter::new();
    let _unsent = counter.grant(A, 1).unwrap();
    assert!(counter.transfer(A, A, 1).unwrap().is_bottom());
    assert_eq!(counter.available(A), 1);
    assert_refused(&counter, &Transfer { to: A, amount: 2 }, A, Refused::Insufficient { available: 1, elsewhere: 0 });
}

#[test]
fn a_delta_brings_the_rights_that_it_draws_on() {
    let mut counter = BoundedCounter::new();
    let _unsent = counter.grant(A, 2).unwrap();
    let _unsent = counter.transfer(A, B, 2).unwrap();
    let _unsent = counter.transfer(B, C, 2).unwrap();
    let take = counter.take(C, 1).unwrap();
    assert_eq!((take.sum(), take.available(A), take.available(B), take.available(C)), (1, 0, 0, 1));
}

#[test]
fn totals_never_wrap() {
    let mut counter = BoundedCounter::new();
    let _unsent = counter.grant(A, u64::MAX - 1).unwrap();
    assert_refused(&counter, &Grant(2), A, Refused::Overflow);
    let _unsent = counter.grant(A, 1).unwrap();
    assert_refused(&counter, &Grant(1), A, Refused::Overflow);
    let _unsent = counter.grant(B, u64::MAX).unwrap();
    let _unsent = counter.transfer(B, A, u64::MAX).unwrap();
    assert_eq!(counter.available(A), 2 * u128::from(u64::MAX));
    assert_refused(&counter, &Take(1), C, Refused::Insufficient { available: 0, elsewhere: u64::MAX });
    let _unsent = counter.take(A, u64::MAX).unwrap();
    assert_refused(&counter, &Take(1), A, Refused::Overflow);
    let _unsent = counter.transfer(A, B, u64::MAX).unwrap();
    assert_eq!((counter.value(), counter.available(A)), (u128::from(u64::MAX), 0));
    let _unsent = counter.transfer(B, A, 0).unwrap();
    assert_refused(&counter, &Transfer { to: A, amount: 1 }, B, Refused::Overflow);
}

#[test]
fn rights_that_two_copies_of_a_replica_spent_read_as_none() {
    let mut counter = BoundedCounter::new();
    let _unsent = counter.grant(A, 1).unwrap();
    let mut copy = counter.clone();
    let _unsent = counter.transfer(A, B, 1).unwrap();
    let _unsent = copy.take(A, 1).unwrap();
    counter.join(&copy);
    assert_eq!(counter.available(A), 0);
    let _unsent = counter.take(B, 1).unwrap();
    assert_eq!((counter.sum(), counter.value()), (-1, 0));
    assert_refused(&counter, &Take(1), A, Refused::Insufficient { available: 0, elsewhere: 0 });
}

#[test]
fn zeros_and_keys_out_of_order_are_refused() {
    let nothing: [(ReplicaId, u64); 0] = [];
    assert_unreadable::<BoundedCounter>(&([((A, A), 0_u64)], nothing));
    assert_unreadable::<BoundedCounter>(&([((B, A), 1_u64), ((A, B), 1)], nothing));
    assert_unreadable::<BoundedCounter>(&([((A, A), 1_u64)], [(A, 1_u64), (A, 1)]));
}

#[derive(Debug, Clone)]
enum Step {
    Do {
        replica: usize,
        op: BoundedCounterOp,
    },
    /// Any delta so far, again or for the first time. One that is never chosen is lost.
    Deliver {
        replica: usize,
        delta: Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        (0_u64..4).prop_map(Grant),
        (0_u64..4).prop_map(Take),
        (0_usize..3, 0_u64..4).prop_map(|(to, amount)| Transfer { to: [A, B, C][to], amount }),
    ];
    let step = prop_oneof![
        (0_usize..3, op).prop_map(|(replica, op)| Step::Do { replica, op }),
        (0_usize..3, any::<Index>()).prop_map(|(replica, delta)| Step::Deliver { replica, delta }),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_ever_reads_less_than_zero(steps in steps()) {
        let mut replicas = [BoundedCounter::new(), BoundedCounter::new(), BoundedCounter::new()];
        let mut deltas = Vec::new();
        let (mut granted, mut taken) = (0, 0);
        for step in steps {
            match step {
                Step::Do { replica, op } => {
                    if let Ok(delta) = replicas[replica].apply(&op, [A, B, C][replica]) {
                        match op {
                            Grant(amount) => granted += i128::from(amount),
                            Take(amount) => taken += i128::from(amount),
                            Transfer { .. } => {}
                        }
                        deltas.push(delta);
                    }
                }
                Step::Deliver { replica, delta } => {
                    if !deltas.is_empty() {
                        replicas[replica].join(delta.get(&deltas));
                    }
                }
            }
            prop_assert!(taken <= granted, "more was taken than granted");
            for replica in &replicas {
                prop_assert!(replica.sum() >= 0, "{replica:?}");
                for id in [A, B, C] {
                    prop_assert!(replica.rights(id) >= 0, "{id} in {replica:?}");
                }
            }
        }
        let mut all = BoundedCounter::new();
        for delta in deltas.iter().rev() {
            all.join(delta);
        }
        prop_assert_eq!(all.sum(), granted - taken);
    }
}
