//! What converges: values with a join.

use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Ordering;
use core::fmt::Debug;

use super::Refused;
use crate::causal::{CausalContext, ReplicaId, VersionVector};

/// A value with a least upper bound: a join-semilattice with a least element.
///
/// For all `a`, `b`, `c`, writing `a ⊔ b` for `a` after `a.join(&b)`:
///
/// | law | |
/// |---|---|
/// | associative | `(a ⊔ b) ⊔ c == a ⊔ (b ⊔ c)` |
/// | commutative | `a ⊔ b == b ⊔ a` |
/// | idempotent | `a ⊔ a == a` |
/// | bottom | `a ⊔ bottom == a`, `bottom ⊔ a == a` |
/// | exact | `a.join(&b)` is `true` if and only if `a` differs from before, by `==` |
///
/// So replicas that joined the same values are equal, in whatever order and however often they joined them. From the laws
/// follows the order: `a <= b` if `a ⊔ b == b`; a join never goes down.
///
/// `==` must compare all of what is joined and nothing else: not a replica's own id, not what waits to be sent.
///
/// Source: Shapiro, Preguiça, Baquero, Zawirski, "Conflict-Free Replicated Data Types" (2011), state-based objects; the
/// least element as in Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018).
pub trait Lattice: Clone + PartialEq {
    /// The least value: nothing has happened.
    fn bottom() -> Self;

    /// Makes `self` the least value above both. Returns whether `self` changed, exactly: `false` means that `other` brought
    /// nothing new, and need not be stored, forwarded or told to anyone.
    ///
    /// Total: there are no two values that cannot be joined.
    fn join(&mut self, other: &Self) -> bool;

    /// Whether it is the least value. A type whose bottom is costly to make answers this another way.
    fn is_bottom(&self) -> bool {
        *self == Self::bottom()
    }
}

/// A lattice whose values can be taken apart.
///
/// `<=` must be the order of the join: `a <= b` if and only if `a ⊔ b == b`; two values may be neither.
///
/// Source: Enes, Almeida, Baquero, Leitão, "Efficient Synchronization of State-based CRDTs" (2019), section III: join
/// decompositions, and the least difference that they give.
pub trait Decompose: Lattice + PartialOrd {
    /// The parts of which it is the join. None of them is bottom, none is the join of others below it, and none could be left out.
    /// Bottom has none.
    fn parts(&self) -> impl Iterator<Item = Self> + '_;

    /// The least value that brings what `self` has and `other` lacks: `other ⊔ self.minus(other) == other ⊔ self`.
    ///
    /// Cost: a comparison for each part.
    #[must_use]
    fn minus(&self, other: &Self) -> Self {
        let mut minus = Self::bottom();
        for part in self.parts().filter(|part| part.partial_cmp(other).is_none_or(Ordering::is_gt)) {
            minus.join(&part);
        }
        minus
    }
}

/// A lattice with operations: what a replica does locally, and what it reads.
///
/// For tests and for code over many types; each type has methods of its own, which say more.
pub trait Crdt: Lattice {
    /// What can be done to it, with everything that the outcome depends on (a time stamp too).
    type Op: Clone + Debug;
    /// What is read.
    type Read: PartialEq + Debug;

    /// Does something at replica `me`. Returns the delta: already joined into `self`, and to be joined by everybody else, in any
    /// order, any number of times.
    ///
    /// # Errors
    /// It is refused, as [`Refused`] says. `self` has not changed.
    fn apply(&mut self, op: &Self::Op, me: ReplicaId) -> Result<Self, Refused>;

    /// What it reads. Equal values read equal.
    fn read(&self) -> Self::Read;
}

/// A promise: what a write says does not depend on what the writer has written there before, so the type may be stored as a value
/// that is joined as a whole, inside another type or in a key-value store.
///
/// Never implement it for a type that numbers its own events (a set with removes, a multi-value register), nor for one that goes on
/// from its own last total (a counter of any kind). When the place where such a value is stored is deleted, its numbers and totals are
/// deleted too, and the next write begins at the first again. A replica that has kept the old one of that number, or a greater total,
/// takes the new one for known, and the write is lost. Types with numbers nest as [dot stores](crate::crdt::DotStore) that share one
/// context; the store has counters of its own.
pub trait NonCausal {}

/// No information.
impl Lattice for () {
    fn bottom() -> Self {}

    fn join(&mut self, _other: &Self) -> bool {
        false
    }
}

impl NonCausal for () {}

impl Decompose for () {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        core::iter::empty()
    }
}

/// False, then true for ever.
impl Lattice for bool {
    fn bottom() -> Self {
        false
    }

    fn join(&mut self, other: &Self) -> bool {
        let changed = *other && !*self;
        *self |= *other;
        changed
    }
}

impl NonCausal for bool {}

/// True is its own only part.
impl Decompose for bool {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.then_some(true).into_iter()
    }
}

/// Union. Cost: `other`'s elements times the logarithm of ours.
impl<T: Ord + Clone> Lattice for BTreeSet<T> {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for element in other {
            if !self.contains(element) {
                changed |= self.insert(element.clone());
            }
        }
        changed
    }
}

impl<T> NonCausal for BTreeSet<T> {}

/// Key by key. A key with the bottom of `V` is more than no key. Cost: the joins of `other`'s values, each with a lookup.
impl<K: Ord + Clone, V: Lattice> Lattice for BTreeMap<K, V> {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (key, theirs) in other {
            if let Some(ours) = self.get_mut(key) {
                changed |= ours.join(theirs);
            } else {
                self.insert(key.clone(), theirs.clone());
                changed = true;
            }
        }
        changed
    }
}

impl<K, V: NonCausal> NonCausal for BTreeMap<K, V> {}

/// `None`, then some value. `Some` of the bottom of `L` is more than `None`.
impl<L: Lattice> Lattice for Option<L> {
    fn bottom() -> Self {
        None
    }

    fn join(&mut self, other: &Self) -> bool {
        match (self, other) {
            (_, None) => false,
            (Some(ours), Some(theirs)) => ours.join(theirs),
            (nothing, Some(theirs)) => {
                *nothing = Some(theirs.clone());
                true
            }
        }
    }
}

impl<L: NonCausal> NonCausal for Option<L> {}

macro_rules! tuples {
    ($(($($part:ident $at:tt),+))+) => {$(
        /// Part by part.
        impl<$($part: Lattice),+> Lattice for ($($part,)+) {
            fn bottom() -> Self {
                ($($part::bottom(),)+)
            }

            fn join(&mut self, other: &Self) -> bool {
                let mut changed = false;
                $(changed |= self.$at.join(&other.$at);)+
                changed
            }
        }

        impl<$($part: NonCausal),+> NonCausal for ($($part,)+) {}
    )+};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

/// Union of the events.
impl Lattice for VersionVector {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        Self::join(self, other)
    }
}

impl NonCausal for VersionVector {}

/// Its parts are its entries: of one replica, all events up to a number. Cost: a lookup for each.
impl Decompose for VersionVector {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.iter().map(|entry| Self::from_iter([entry]))
    }

    fn minus(&self, other: &Self) -> Self {
        self.iter().filter(|(replica, seq)| *seq > other.get(*replica)).collect()
    }
}

/// Union of the events. Not [`NonCausal`]: its `next` mints dots.
impl Lattice for CausalContext {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        Self::join(self, other)
    }
}

#[cfg(test)]
pub(in crate::crdt) mod tests {
    use core::fmt::Debug;

    use super::*;
    use crate::laws::{decompose_laws, join_laws, order_laws};

    fn joined<L: Lattice>(a: &L, b: &L) -> L {
        let mut joined = a.clone();
        let changed = joined.join(b);
        assert_eq!(changed, joined != *a, "`changed` is not exact");
        joined
    }

    /// Panics with the law that does not hold for three values.
    pub(in crate::crdt) fn assert_laws<L: Lattice + Debug>(a: &L, b: &L, c: &L) {
        let ab = joined(a, b);
        assert_eq!(joined(&ab, c), joined(a, &joined(b, c)), "not associative: {a:?}, {b:?}, {c:?}");
        assert_eq!(ab, joined(b, a), "not commutative: {a:?}, {b:?}");
        assert_eq!(joined(a, a), *a, "not idempotent: {a:?}");
        assert_eq!(joined(a, &L::bottom()), *a, "not above bottom: {a:?}");
        assert_eq!(joined(&L::bottom(), a), *a, "not above bottom: {a:?}");
        assert_eq!(joined(&ab, a), ab, "not monotone: {a:?}, {b:?}");
        assert_eq!(joined(&ab, b), ab, "not monotone: {a:?}, {b:?}");
    }

    #[test]
    fn the_laws_hold_for_every_lattice_of_the_standard_library() {
        let sets: [BTreeSet<u8>; 4] = [[].into(), [1].into(), [2].into(), [1, 3].into()];
        let maps = [BTreeMap::new(), [(1, sets[0].clone())].into(), [(1, sets[1].clone()), (2, sets[0].clone())].into()];
        let options = [None, Some(false), Some(true)];
        join_laws(&[()]);
        join_laws(&[false, true]);
        decompose_laws(&[false, true]);
        join_laws(&sets);
        join_laws(&maps);
        join_laws(&options);
        join_laws(&[(false, sets[1].clone()), (true, sets[2].clone()), (false, sets[3].clone())]);
        join_laws(&[(None, true, ()), (Some(sets[2].clone()), false, ())]);
        join_laws(&[(true, false, false, false), (false, true, false, options[2].is_some())]);
    }

    #[test]
    fn a_key_with_bottom_is_more_than_no_key() {
        let mut map: BTreeMap<u8, bool> = BTreeMap::bottom();
        assert!(map.join(&[(1, false)].into()));
        assert!(!map.join(&[(1, false)].into()));
        assert!(Option::<bool>::bottom().join(&Some(false)));
    }

    #[test]
    fn the_laws_hold_for_version_vectors() {
        let vector =
            |a: u64, b: u64| VersionVector::from_iter([(1, a), (2, b)].map(|(id, seq)| (ReplicaId::from_u128(id), seq)));
        let vectors = [vector(0, 0), vector(1, 0), vector(0, 2), vector(2, 1), vector(3, 3)];
        join_laws(&vectors);
        order_laws(&vectors);
        decompose_laws(&vectors);
    }
}
