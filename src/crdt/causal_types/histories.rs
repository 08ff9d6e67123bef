//! Every short history of the causal types, against rules that know only which operations were seen.

use alloc::vec::Vec;
use core::fmt::Debug;

use crate::causal::{CausalContext, Dot, ReplicaId, SEQ_MAX};
use crate::crdt::lattice::tests::assert_laws;
use crate::crdt::{Causal, CausalType, Crdt, Decompose, DotFun, DwFlag, EwFlag, MvRegister, Refused};

/// One operation of a history, and which ones its replica had seen.
#[derive(Debug, Clone)]
struct Event<Op> {
    op: Op,
    seen: Vec<usize>,
}

/// What a replica must read, from the operations that it has seen.
type Rule<T> = fn(&[Event<<T as Crdt>::Op>], seen: &[usize], read: &<T as Crdt>::Read) -> bool;

/// Of the operations seen, those that no other one of them has seen.
fn newest<Op>(events: &[Event<Op>], seen: &[usize]) -> Vec<usize> {
    let over = |at: usize| seen.iter().any(|other| events[*other].seen.contains(&at));
    seen.iter().copied().filter(|at| !over(*at)).collect()
}

#[derive(Clone)]
struct Replica<T> {
    state: T,
    seen: Vec<usize>,
}

/// Runs every history of `steps` steps on two replicas: each step is an operation at one, or one of them joins the other, or the last
/// delta that the other has made. Checks the rule after each step, and all laws among the states at the end.
fn assert_type<T: Crdt + Decompose + Debug>(ops: &[T::Op], steps: usize, rule: Rule<T>) {
    let replicas = [(); 2].map(|()| Replica { state: T::bottom(), seen: Vec::new() });
    go(&replicas, &[T::bottom(), T::bottom()], [None, None], &[], ops, steps, rule);
}

fn go<T: Crdt + Decompose + Debug>(
    replicas: &[Replica<T>; 2],
    deltas: &[T; 2],
    last: [Option<usize>; 2],
    events: &[Event<T::Op>],
    ops: &[T::Op],
    steps: usize,
    rule: Rule<T>,
) {
    if steps == 0 {
        return assert_laws_of_all(&[&replicas[0].state, &replicas[1].state, &deltas[0], &deltas[1]]);
    }
    for at in 0..2 {
        for op in ops {
            let (mut replicas, mut deltas, mut last, mut events) = (replicas.clone(), deltas.clone(), last, events.to_vec());
            let before = replicas[at].state.clone();
            let delta = replicas[at].state.apply(op, ReplicaId::from_u128(at as u128 + 1)).unwrap();
            let mut joined = before.clone();
            joined.join(&delta);
            assert_eq!(joined, replicas[at].state, "a delta is not what was done: {op:?} at {before:?}");
            assert!(before <= joined && delta <= joined, "not monotone: {op:?} at {before:?}");
            events.push(Event { op: op.clone(), seen: replicas[at].seen.clone() });
            replicas[at].seen.push(events.len() - 1);
            (deltas[at], last[at]) = (delta, Some(events.len() - 1));
            check(&replicas[at], &events, rule);
            go(&replicas, &deltas, last, &events, ops, steps - 1, rule);
        }
        // A delta is only what its own operation did: those before it may never come.
        let other = 1 - at;
        let ways = [
            (replicas[other].state.clone(), replicas[other].seen.clone()),
            (deltas[other].clone(), last[other].into_iter().collect()),
        ];
        for (state, seen) in ways {
            let mut replicas = replicas.clone();
            let replica = &mut replicas[at];
            replica.state.join(&state);
            let mut all: Vec<_> = replica.seen.iter().copied().chain(seen).collect();
            all.sort_unstable();
            all.dedup();
            replica.seen = all;
            check(&replicas[at], events, rule);
            go(&replicas, deltas, last, events, ops, steps - 1, rule);
        }
    }
}

fn check<T: Crdt + Debug>(replica: &Replica<T>, events: &[Event<T::Op>], rule: Rule<T>) {
    let Replica { state, seen } = replica;
    // A delta takes away what its writer had before him, not what was gone by then: until all has come, that can show.
    if seen.iter().all(|at| events[*at].seen.iter().all(|before| seen.contains(before))) {
        let read = state.read();
        assert!(rule(events, seen, &read), "{state:?} reads {read:?} after {events:?}, of which it has seen {seen:?}");
    }
}

fn assert_laws_of_all<T: Crdt + Decompose + Debug>(states: &[&T]) {
    for a in states {
        let mut whole = T::bottom();
        for part in a.parts() {
            let is_new = whole.join(&part);
            assert!(!part.is_bottom() && part <= **a && is_new, "a part too many: {part:?} of {a:?}");
        }
        assert_eq!(whole, **a, "not the join of its parts");
        for b in states {
            let mut joined = (*b).clone();
            joined.join(a);
            assert_eq!(a <= b, joined == **b, "another order than that of the join: {a:?}, {b:?}");
            let mut mended = (*b).clone();
            mended.join(&a.minus(b));
            assert_eq!(mended, joined, "{a:?} minus {b:?}");
            for c in states {
                assert_laws(*a, *b, *c);
            }
        }
    }
}

fn enable_wins(events: &[Event<bool>], seen: &[usize], read: &bool) -> bool {
    // A disable removes what it has seen, and is no event itself.
    let mut enables = seen.iter().copied().filter(|at| events[*at].op);
    let is_over = |at: usize| seen.iter().any(|other| events[*other].seen.contains(&at));
    enables.any(|at| !is_over(at)) == *read
}

fn disable_wins(events: &[Event<bool>], seen: &[usize], read: &bool) -> bool {
    let newest = newest(events, seen);
    (!newest.is_empty() && newest.iter().all(|at| events[*at].op)) == *read
}

#[expect(clippy::ptr_arg, reason = "as `Read` of the type")]
fn every_concurrent_value(events: &[Event<Option<u8>>], seen: &[usize], read: &Vec<u8>) -> bool {
    let mut values: Vec<u8> = newest(events, seen).iter().filter_map(|at| events[*at].op).collect();
    let mut read = read.clone();
    values.sort_unstable();
    read.sort_unstable();
    values == read
}

#[test]
fn enable_wins_over_a_concurrent_disable() {
    assert_type::<EwFlag>(&[true, false], 5, enable_wins);
}

#[test]
fn disable_wins_over_a_concurrent_enable() {
    assert_type::<DwFlag>(&[true, false], 5, disable_wins);
}

#[test]
fn a_register_shows_every_value_that_nobody_has_seen_and_written_over() {
    assert_type::<MvRegister<u8>>(&[Some(1), Some(2), None], 4, every_concurrent_value);
}

#[test]
fn a_replica_without_numbers_left_is_refused_and_nothing_changes() {
    let me = ReplicaId::from_u128(1);
    let last = Dot::new(me, SEQ_MAX);
    let mut register = MvRegister::from_causal(Causal::new(DotFun::from_iter([(last, 7)]), CausalContext::new()));
    let before = register.clone();
    assert_eq!(register.set(me, 8), Err(Refused::Exhausted));
    assert_eq!(register, before);
    assert!(register.set(ReplicaId::from_u128(2), 8).is_ok());
    assert_eq!(register.values().collect::<Vec<_>>(), [&8]);
}
