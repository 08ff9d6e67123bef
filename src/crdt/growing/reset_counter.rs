//! A counter that goes up and down, and back to 0.

use serde::{Deserialize, Serialize};

use super::{PnCounter, product};
use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::crdt::{Crdt, Decompose, Lattice, Refused};

/// A sum that can be reset.
///
/// A reset cancels exactly what its replica has seen added. Adds that it had not seen survive; of concurrent resets the
/// union of what they saw is cancelled, once.
///
/// Holds the totals of all that was added, and of all of it that was reset. So a reset frees nothing, and the totals of a
/// replica are used up as those of a [`PnCounter`]. Cost: a read or a reset is linear in the replicas, an add a lookup; the delta of
/// a reset is as large as what it cancels.
///
/// Source: the rule is that of Baquero, Almeida, Lerche, "The Problem with Embedded CRDT Counters and a Solution" (2016): cancel
/// what was seen, and no more. Totals in the place of dots are ours: their pointwise maximum is the union of what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(PnCounter, PnCounter)", into = "(PnCounter, PnCounter)")]
pub struct ResetCounter {
    added: PnCounter,
    /// Invariant: at most `added`, in deltas too, so that no order of delivery reads what was never there.
    reset: PnCounter,
}

product!([] ResetCounter: added, reset);

impl ResetCounter {
    /// Nothing added: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds `amount` at replica `me`; a negative one is taken away. Returns the delta; bottom if `amount` is 0.
    ///
    /// # Errors
    /// [`Refused::Overflow`]: what `me` has added in all, or taken away in all, would not fit 64 bits, what was reset included.
    #[must_use = "the delta is what other replicas need"]
    pub fn add(&mut self, me: ReplicaId, amount: i64) -> Result<Self, Refused> {
        Ok(Self { added: self.added.add(me, amount)?, reset: PnCounter::new() })
    }

    /// Cancels everything seen so far: reads 0 after it. Returns the delta: the totals that it cancels; bottom if all that was
    /// seen is reset already.
    #[must_use = "the delta is what other replicas need"]
    pub fn reset(&mut self) -> Self {
        let seen = self.added.minus(&self.reset);
        self.reset.join(&seen);
        Self { added: seen.clone(), reset: seen }
    }

    /// The sum of what was added and not reset. It cannot overflow.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.added.value() - self.reset.value()
    }
}

impl Decompose for ResetCounter {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        let reset = self.reset.parts().map(|part| Self { added: part.clone(), reset: part });
        // A total that is reset as a whole comes with its reset.
        let left = self.added.parts().filter(|part| part.partial_cmp(&self.reset).is_none_or(core::cmp::Ordering::is_gt));
        reset.chain(left.map(|added| Self { added, reset: PnCounter::new() }))
    }
}

/// What can be done to a [`ResetCounter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCounterOp {
    /// [`ResetCounter::add`].
    Add(i64),
    /// [`ResetCounter::reset`].
    Reset,
}

impl Crdt for ResetCounter {
    type Op = ResetCounterOp;
    type Read = i128;

    fn apply(&mut self, op: &ResetCounterOp, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            ResetCounterOp::Add(amount) => self.add(me, *amount),
            ResetCounterOp::Reset => Ok(self.reset()),
        }
    }

    fn read(&self) -> i128 {
        self.value()
    }
}

impl TryFrom<(PnCounter, PnCounter)> for ResetCounter {
    type Error = DecodeError;

    fn try_from((added, reset): (PnCounter, PnCounter)) -> Result<Self, DecodeError> {
        if reset <= added { Ok(Self { added, reset }) } else { Err(DecodeError::new(0, "a reset of what was not added")) }
    }
}

impl From<ResetCounter> for (PnCounter, PnCounter) {
    fn from(counter: ResetCounter) -> Self {
        (counter.added, counter.reset)
    }
}

#[cfg(test)]
mod tests {
    use super::ResetCounterOp::{Add, Reset};
    use super::*;
    use crate::crdt::growing::tests::{A, B, assert_refused, assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<ResetCounter>(&reachable(&[Add(1), Add(-1), Reset], 60), &[Add(0), Add(1), Add(-2), Reset]);
    }

    #[test]
    fn a_reset_cancels_what_it_saw_and_concurrent_adds_survive() {
        let mut one = ResetCounter::new();
        let _unsent = one.add(A, 5).unwrap();
        let mut other = one.clone();
        let reset = other.reset();
        assert_eq!(other.value(), 0);
        // The same replica goes on, without having seen the reset.
        let more = one.add(A, 1).unwrap();
        assert!(one.join(&reset));
        assert!(other.join(&more));
        assert_eq!((one.value(), &one), (1, &other));
    }

    #[test]
    fn concurrent_resets_cancel_the_union_once() {
        let mut one = ResetCounter::new();
        let mut other = ResetCounter::new();
        let shared = one.add(A, 5).unwrap();
        other.join(&shared);
        let _unsent = one.add(A, 2).unwrap();
        let _unsent = other.add(B, -3).unwrap();
        let (first, second) = (one.reset(), other.reset());
        one.join(&second);
        other.join(&first);
        assert_eq!((one.value(), &one), (0, &other));
        let _unsent = one.add(B, 4).unwrap();
        assert_eq!(one.value(), 4);
        assert!(!one.reset().is_bottom());
        assert!(one.reset().is_bottom());
    }

    #[test]
    fn a_reset_that_comes_before_the_add_leaves_nothing() {
        let mut source = ResetCounter::new();
        let add = source.add(A, 7).unwrap();
        let reset = source.reset();
        let mut target = ResetCounter::new();
        assert!(target.join(&reset));
        assert_eq!(target.value(), 0);
        assert!(!target.join(&add));
    }

    #[test]
    fn a_reset_gives_no_room_back() {
        let mut counter = ResetCounter::new();
        let _unsent = counter.add(A, i64::MIN).unwrap();
        let _unsent = counter.add(A, i64::MIN + 1).unwrap();
        let _unsent = counter.reset();
        assert_refused(&counter, &Add(-1), A, Refused::Overflow);
    }

    #[test]
    fn a_reset_of_what_was_not_added_is_refused() {
        let (mut one, mut two) = (PnCounter::new(), PnCounter::new());
        let _unsent = one.add(A, 1).unwrap();
        let _unsent = two.add(A, 2).unwrap();
        assert_unreadable::<ResetCounter>(&(&one, &two));
        assert_unreadable::<ResetCounter>(&(PnCounter::new(), &one));
    }
}
