//! A counter that goes up and down.

use serde::{Deserialize, Serialize};

use super::independent;
use super::totals::Totals;
use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};

/// A sum of what every replica added, less what every replica took away. Concurrent adds all count.
///
/// Holds two totals for each replica: one of what it added, one of what it took away. They never go down, so the totals
/// of a replica are used up after 2^64 in each direction, whatever the sum is. Cost: a read is linear in the replicas, an add
/// a lookup; its delta is one total. Source: Shapiro et al., "A comprehensive study" (2011), specification 7.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PnCounter {
    /// What each replica [`ADDED`], and what it took away.
    totals: Totals<ReplicaId, 1, 2>,
}

const ADDED: usize = 0;
const TAKEN: usize = 1;

independent!([] PnCounter: totals);

impl PnCounter {
    /// Nothing added: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds `amount` at replica `me`; a negative one is taken away. Returns the delta: one new total of `me`; bottom if
    /// `amount` is 0.
    ///
    /// # Errors
    /// [`Refused::Overflow`]: what `me` has added in all, or taken away in all, would not fit 64 bits.
    #[must_use = "the delta is what other replicas need"]
    pub fn add(&mut self, me: ReplicaId, amount: i64) -> Result<Self, Refused> {
        let which = if amount < 0 { TAKEN } else { ADDED };
        let delta = Self { totals: self.totals.plus(me, which, amount.unsigned_abs())? };
        self.join(&delta);
        Ok(delta)
    }

    /// The sum. It cannot overflow.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.totals.sum::<i128>(ADDED) - self.totals.sum::<i128>(TAKEN)
    }
}

impl Crdt for PnCounter {
    type Op = i64;
    type Read = i128;

    fn apply(&mut self, amount: &i64, me: ReplicaId) -> Result<Self, Refused> {
        self.add(me, *amount)
    }

    fn read(&self) -> i128 {
        self.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{A, B, assert_refused, assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<PnCounter>(&reachable(&[1, -1], 40), &[0_i64, 1, -1, 3]);
    }

    #[test]
    fn concurrent_adds_all_count_and_the_sum_may_be_negative() {
        let (mut one, mut other) = (PnCounter::new(), PnCounter::new());
        let delta = one.add(A, -5).unwrap();
        let _unsent = other.add(B, 3).unwrap();
        assert!(other.join(&delta));
        assert_eq!(other.value(), -2);
        let _unsent = other.add(A, 5).unwrap();
        assert_eq!(other.value(), 3);
    }

    #[test]
    fn a_total_never_wraps_in_either_direction() {
        let mut counter = PnCounter::new();
        let _unsent = counter.add(A, i64::MAX).unwrap();
        let _unsent = counter.add(A, i64::MAX).unwrap();
        let _unsent = counter.add(A, 1).unwrap();
        assert_refused(&counter, &1, A, Refused::Overflow);
        assert_refused(&counter, &i64::MAX, A, Refused::Overflow);
        let _unsent = counter.add(A, i64::MIN).unwrap();
        let _unsent = counter.add(A, i64::MIN + 1).unwrap();
        assert_eq!(counter.value(), 0);
        assert_refused(&counter, &-1, A, Refused::Overflow);
        assert_refused(&counter, &i64::MIN, A, Refused::Overflow);
        let _unsent = counter.add(B, i64::MIN).unwrap();
        assert_eq!(counter.value(), i128::from(i64::MIN));
    }

    #[test]
    fn zeros_and_keys_out_of_order_are_refused() {
        assert_unreadable::<PnCounter>(&[(A, 0_u64, 0_u64)]);
        assert_unreadable::<PnCounter>(&[(B, 1_u64, 0_u64), (A, 1, 0)]);
        assert_unreadable::<PnCounter>(&[(A, 1_u64, 1_u64), (A, 1, 1)]);
        assert_unreadable::<PnCounter>(&[(A, 1_u64)]);
        assert_unreadable::<PnCounter>(&[(A, 1_u64, 1_u64, 1_u64)]);
    }
}
