//! Why a counter is no value of a lattice cell: a delete lets it begin at zero again.

use serde::{Deserialize, Serialize};
use tombolo::crdt::{GCounter, Lattice, NonCausal};
use tombolo::{ReplicaId, Store};

/// A counter with the promise that it cannot keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Forced(GCounter);

impl Lattice for Forced {
    fn bottom() -> Self {
        Self(GCounter::bottom())
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0)
    }
}

impl NonCausal for Forced {}

fn exchange(a: &Store, b: &Store) {
    b.merge(a.delta_since(&b.version().unwrap()).unwrap()).unwrap();
    a.merge(b.delta_since(&a.version().unwrap()).unwrap()).unwrap();
}

fn add(store: &Store, me: u128, n: u64) {
    let mut counter = store.lattice::<Forced>("hits").get().unwrap();
    let _delta = counter.0.add(ReplicaId::from_u128(me), n).unwrap();
    store.lattice::<Forced>("hits").join(&counter).unwrap();
}

#[test]
fn a_counter_that_is_forced_into_a_lattice_cell_loses_an_add_after_a_delete() {
    let (a, b) = (Store::in_memory(), Store::in_memory());
    add(&a, 1, 5);
    a.counter("kept").add(5).unwrap();
    exchange(&a, &b);
    a.lattice::<Forced>("hits").delete().unwrap();
    a.counter("kept").reset().unwrap();
    add(&a, 1, 3);
    a.counter("kept").add(3).unwrap();
    add(&b, 2, 1);
    b.counter("kept").add(1).unwrap();
    exchange(&a, &b);
    // Five of it are as they were before the delete; the three that came after it are nowhere.
    assert_eq!(a.lattice::<Forced>("hits").get().unwrap().0.value(), 6);
    // The store's own kind: the five are gone, and what came after the delete or beside it counts.
    assert_eq!((a.counter("kept").get().unwrap(), b.counter("kept").get().unwrap()), (4, 4));
}
