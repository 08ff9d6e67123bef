//! A counter that only grows.

use serde::{Deserialize, Serialize};

use super::independent;
use super::totals::Totals;
use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};

/// A sum of what every replica added. Concurrent adds all count; nothing is ever taken away.
///
/// Holds a total for each replica that has added. Cost: a read is linear in those replicas, an add a lookup; its delta is one
/// total. Source: Shapiro et al., "A comprehensive study" (2011), specification 6; the delta as in Almeida et al. (2018).
///
/// ```
/// use tombolo::ReplicaId;
/// use tombolo::crdt::{GCounter, Lattice};
///
/// let (me, you) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let (mut mine, mut yours) = (GCounter::new(), GCounter::new());
/// let delta = mine.add(me, 2)?;
/// let _unsent = yours.add(you, 3)?;
/// assert!(yours.join(&delta));
/// assert!(!yours.join(&delta));
/// assert_eq!(yours.value(), 5);
/// # Ok::<(), tombolo::crdt::Refused>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GCounter {
    totals: Totals<ReplicaId, 1, 1>,
}

independent!([] GCounter: totals);

impl GCounter {
    /// Nothing added: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds `amount` at replica `me`. Returns the delta: the new total of `me`; bottom if `amount` is 0.
    ///
    /// # Errors
    /// [`Refused::Overflow`]: what `me` has added in all would not fit 64 bits.
    #[must_use = "the delta is what other replicas need"]
    pub fn add(&mut self, me: ReplicaId, amount: u64) -> Result<Self, Refused> {
        let delta = Self { totals: self.totals.plus(me, 0, amount)? };
        self.join(&delta);
        Ok(delta)
    }

    /// The sum. It cannot overflow.
    #[must_use]
    pub fn value(&self) -> u128 {
        self.totals.sum(0)
    }
}

impl Crdt for GCounter {
    type Op = u64;
    type Read = u128;

    fn apply(&mut self, amount: &u64, me: ReplicaId) -> Result<Self, Refused> {
        self.add(me, *amount)
    }

    fn read(&self) -> u128 {
        self.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{A, B, assert_refused, assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<GCounter>(&reachable(&[0, 1, 2], 40), &[0_u64, 1, 3]);
    }

    #[test]
    fn concurrent_adds_all_count() {
        let (mut one, mut other) = (GCounter::new(), GCounter::new());
        let delta = one.add(A, 2).unwrap();
        let _unsent = other.add(B, 3).unwrap();
        assert!(other.join(&delta));
        assert_eq!(other.value(), 5);
        assert!(other.add(B, 0).unwrap().is_bottom());
    }

    #[test]
    fn a_total_never_wraps_and_the_sum_never_overflows() {
        let mut counter = GCounter::new();
        let _unsent = counter.add(A, u64::MAX - 1).unwrap();
        assert_refused(&counter, &2, A, Refused::Overflow);
        let _unsent = counter.add(A, 1).unwrap();
        assert_refused(&counter, &1, A, Refused::Overflow);
        assert_refused(&counter, &u64::MAX, A, Refused::Overflow);
        assert!(counter.add(A, 0).is_ok());
        let _unsent = counter.add(B, u64::MAX).unwrap();
        assert_eq!(counter.value(), 2 * u128::from(u64::MAX));
    }

    #[test]
    fn zeros_and_keys_out_of_order_are_refused() {
        assert_unreadable::<GCounter>(&[(A, 0_u64)]);
        assert_unreadable::<GCounter>(&[(B, 1_u64), (A, 1)]);
        assert_unreadable::<GCounter>(&[(A, 1_u64), (A, 2)]);
        assert_unreadable::<GCounter>(&[(A, -1_i64)]);
    }
}
