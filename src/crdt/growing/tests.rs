//! What every type promises, as functions over its states: each type calls them with its own.

use alloc::vec::Vec;
use core::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Decompose, Lattice, Refused};
use crate::laws::{decompose_laws, join_laws, order_laws};

pub(super) const A: ReplicaId = ReplicaId::from_u128(1);
pub(super) const B: ReplicaId = ReplicaId::from_u128(2);

/// The first `limit` states that operations at two replicas, and joins of what came of them, lead to; near ones first.
pub(super) fn reachable<C: Crdt>(ops: &[C::Op], limit: usize) -> Vec<C> {
    let mut states: Vec<C> = [C::bottom()].into();
    let mut at = 0;
    while at < states.len() && states.len() < limit {
        let from = states[at].clone();
        let mut next = Vec::new();
        for (op, me) in ops.iter().flat_map(|op| [(op, A), (op, B)]) {
            let mut after = from.clone();
            if let Ok(delta) = after.apply(op, me) {
                next.extend([after, delta]);
            }
        }
        for other in &states[..at] {
            let mut joined = from.clone();
            joined.join(other);
            next.push(joined);
        }
        for state in next {
            if !states.contains(&state) {
                states.push(state);
            }
        }
        at += 1;
    }
    states.truncate(limit);
    states
}

/// Panics with the promise that does not hold for the states and the operations on them.
pub(super) fn assert_type<C>(states: &[C], ops: &[C::Op])
where
    C: Crdt + Decompose + Default + Debug + Serialize + DeserializeOwned,
{
    assert!(states.len() > 1, "nothing to check");
    assert_eq!(C::default(), C::bottom());
    join_laws(states);
    order_laws(states);
    decompose_laws(states);
    for state in states {
        assert_round_trip(state);
        for op in ops {
            assert_delta(state, op, states);
        }
    }
}

/// Panics unless an operation is refused with `why`, and changes nothing.
pub(super) fn assert_refused<C: Crdt + Debug>(state: &C, op: &C::Op, me: ReplicaId, why: Refused) {
    let mut after = state.clone();
    assert_eq!(after.apply(op, me), Err(why));
    assert_eq!(after, *state, "refused, and changed");
}

/// Panics if what `form` is written as can be read as a `C`.
pub(super) fn assert_unreadable<C: DeserializeOwned + Debug>(form: &(impl Serialize + ?Sized)) {
    #[cfg(feature = "std")]
    {
        let bytes = crate::codec::msgpack::to_bytes(form).unwrap();
        let read = crate::codec::msgpack::from_bytes::<C>(&bytes);
        assert!(read.is_err(), "{read:?} was read");
    }
    #[cfg(not(feature = "std"))]
    let _ = form;
}

fn assert_round_trip<C: Serialize + DeserializeOwned + PartialEq + Debug>(state: &C) {
    #[cfg(feature = "std")]
    {
        let bytes = crate::codec::msgpack::to_bytes(state).unwrap();
        let read: C = crate::codec::msgpack::from_bytes(&bytes).unwrap();
        assert_eq!(read, *state);
        assert_eq!(crate::codec::msgpack::to_bytes(&read).unwrap(), bytes);
    }
    #[cfg(not(feature = "std"))]
    let _ = state;
}

/// The delta says what the operation does, to the state itself and to whoever has seen it.
fn assert_delta<C: Crdt + PartialOrd + Debug>(state: &C, op: &C::Op, states: &[C]) {
    for me in [A, B] {
        let mut after = state.clone();
        match after.apply(op, me) {
            Err(_refused) => assert_eq!(after, *state, "refused, and changed"),
            Ok(delta) => {
                assert_eq!(joined(state, &delta), after, "{op:?} at {state:?} and its delta {delta:?} differ");
                for peer in states.iter().filter(|peer| *peer >= state) {
                    assert_eq!(joined(peer, &delta), joined(peer, &after), "{delta:?} is not enough for {peer:?}");
                }
            }
        }
    }
}

fn joined<C: Lattice>(a: &C, b: &C) -> C {
    let mut joined = a.clone();
    joined.join(b);
    joined
}
