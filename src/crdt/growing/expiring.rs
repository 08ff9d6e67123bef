//! A value that is valid until a time.

use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::independent;
use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};

/// A value, and the deadline until which it is valid. Unset at first.
///
/// Of concurrent writes, and of later ones too, the one with the greatest deadline wins, and of equal deadlines the greatest
/// value. So writing the value again with a later deadline renews it, and no message that comes late makes it expire earlier.
/// A deadline cannot be brought forward: write short ones, and renew them.
///
/// There is no clock inside. The writer gives the deadline, the reader gives `now`, in any time that is `Ord` and that both
/// mean alike: milliseconds since 1970, [`Hlc`](crate::causal::Hlc)s, rounds. What is joined does not depend on it, so replicas
/// converge however wrong their clocks are: skew changes only what is read, and by no more than the skew. Expiry deletes nothing.
/// An expired value is still joined, sent and stored, until one with a later deadline takes its place. A deadline that nothing is
/// above never expires: whoever accepts deadlines from others must bound them.
///
/// It holds one value, and not one for each writer: that is a map of them, which is a lattice as it stands. Presence:
///
/// ```
/// use std::collections::BTreeMap;
/// use tombolo::ReplicaId;
/// use tombolo::crdt::{Expiring, Lattice};
///
/// let (me, you) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let mut present: BTreeMap<ReplicaId, Expiring<&str, u64>> = BTreeMap::new();
/// present.join(&[(me, Expiring::until(1_000, "typing"))].into());
/// present.join(&[(you, Expiring::until(5_000, "reading"))].into());
/// present.join(&[(me, Expiring::until(2_000, "reading"))].into());
/// let at = |now| present.iter().filter(move |(_, held)| held.get(&now).is_some()).map(|(who, _)| *who).collect::<Vec<_>>();
/// assert_eq!(at(1_500), [me, you]);
/// assert_eq!(at(2_000), [you]);
/// ```
///
/// It is no lock: two replicas that have not heard of each other may both believe that they hold it, and who writes the later
/// deadline takes it from whoever has it.
///
/// Cost: a join or a write is a comparison. Source: the register of Shapiro et al., "A comprehensive study" (2011),
/// specification 8, with the deadline in the place of the time of the write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expiring<T, D> {
    held: Chain<(D, T)>,
}

independent!([T: Ord + Clone, D: Ord + Clone] Expiring<T, D>: held);

impl<T, D> crate::crdt::NonCausal for Expiring<T, D> {}

impl<T: Ord + Clone, D: Ord + Clone> Expiring<T, D> {
    /// Unset.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// A value that is valid before a deadline.
    #[must_use]
    pub const fn until(deadline: D, value: T) -> Self {
        Self { held: Chain::of((deadline, value)) }
    }

    /// Writes a value that is valid before a deadline. Returns the delta: this write, also if it is not above the current one and
    /// so changed nothing.
    #[must_use = "the delta is what other replicas need"]
    pub fn set(&mut self, deadline: D, value: T) -> Self {
        let delta = Self::until(deadline, value);
        self.join(&delta);
        delta
    }

    /// The value, if `now` is before its deadline.
    #[must_use]
    pub fn get(&self, now: &D) -> Option<&T> {
        self.held.greatest().filter(|(deadline, _)| now < deadline).map(|(_, value)| value)
    }

    /// The deadline and the value, expired or not.
    #[must_use]
    pub fn last(&self) -> Option<(&D, &T)> {
        self.held.greatest().map(|(deadline, value)| (deadline, value))
    }
}

/// An operation is a write: its deadline, and its value. Reads both, expired or not.
impl<T: Ord + Clone + Debug, D: Ord + Clone + Debug> Crdt for Expiring<T, D> {
    type Op = (D, T);
    type Read = Option<(D, T)>;

    fn apply(&mut self, (deadline, value): &(D, T), _me: ReplicaId) -> Result<Self, Refused> {
        Ok(self.set(deadline.clone(), value.clone()))
    }

    fn read(&self) -> Option<(D, T)> {
        self.held.greatest().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    const WRITES: [(u8, Option<u8>); 5] = [(0, None), (0, Some(1)), (1, None), (1, Some(0)), (u8::MAX, Some(u8::MAX))];

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<Expiring<Option<u8>, u8>>(&reachable(&WRITES, 40), &WRITES);
    }

    #[test]
    fn a_value_is_read_before_its_deadline_and_not_at_it() {
        let mut held = Expiring::new();
        assert_eq!((held.get(&0), held.last()), (None, None));
        let _unsent = held.set(10, 'a');
        assert_eq!((held.get(&9), held.get(&10), held.last()), (Some(&'a'), None, Some((&10, &'a'))));
    }

    #[test]
    fn a_renewal_extends_and_nothing_shortens() {
        let mut held = Expiring::new();
        let early = held.set(10, 'b');
        let _unsent = held.set(20, 'a');
        assert!(!held.join(&early));
        let ignored = held.set(15, 'c');
        assert_eq!((ignored.get(&14), held.get(&14), held.get(&19)), (Some(&'c'), Some(&'a'), Some(&'a')));
        // Nor does it come back: what has expired by its own deadline stays so.
        assert_eq!(held.get(&20), None);
        assert_unreadable::<Expiring<u8, u8>>(&[1_u8]);
    }

    #[test]
    fn of_equal_deadlines_the_greatest_value_wins() {
        let (one, mut other) = (Expiring::until(5, 'b'), Expiring::until(5, 'a'));
        assert!(other.join(&one) && !other.join(&Expiring::until(5, 'a')));
        assert_eq!(other.get(&4), Some(&'b'));
    }
}
