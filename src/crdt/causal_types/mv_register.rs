//! A register that shows every concurrent write.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Seen;
use super::causal_type::{causal_type, remove, write};
use crate::causal::ReplicaId;
use crate::crdt::{Causal, Crdt, DotFun, DotStore, Refused};

/// A value that is overwritten; of concurrent writes, all are there until somebody writes over what he has seen.
///
/// | concurrent | outcome |
/// |---|---|
/// | write, write | both values |
/// | write, clear | the value that was written |
///
/// No clock decides anything. Two concurrent writes of equal values are two values. A value equals itself (`Eq`), or equal states
/// would not compare equal: wrap floats, for `NaN`.
///
/// ```compile_fail
/// use tombolo::crdt::{Lattice, MvRegister};
/// let register = MvRegister::<f64>::bottom();
/// ```
///
/// ```
/// use tombolo::causal::ReplicaId;
/// use tombolo::crdt::{Lattice, MvRegister};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let (mut phone, mut laptop) = (MvRegister::bottom(), MvRegister::bottom());
/// let from_phone = phone.set(a, "tea").unwrap();
/// let from_laptop = laptop.set(b, "coffee").unwrap();
/// phone.join(&from_laptop);
/// laptop.join(&from_phone);
/// assert_eq!(phone.values().collect::<Vec<_>>(), [&"tea", &"coffee"]);
///
/// let decided = laptop.set(b, "both").unwrap();
/// phone.join(&decided);
/// assert_eq!(phone.values().collect::<Vec<_>>(), [&"both"]);
/// ```
///
/// Cost: linear in the concurrent values. Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Serialize + Clone", deserialize = "T: Deserialize<'de> + Clone"))]
pub struct MvRegister<T>(Causal<DotFun<T>>);

causal_type!([T: Clone + Eq] MvRegister<T>, DotFun<T>);

impl<T: Clone + Eq> MvRegister<T> {
    /// Writes a value at replica `me`, over all that are seen. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn set(&mut self, me: ReplicaId, value: T) -> Result<Self, Refused> {
        let seen: Vec<_> = self.0.store().iter().map(|(dot, _value)| dot).collect();
        write(&mut self.0, me, seen, |dot| DotFun::from_iter([(dot, value)])).map(Self)
    }

    /// Removes all values that are seen. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear(&mut self) -> Self {
        let seen = self.0.store().iter().map(|(dot, _value)| dot).collect();
        Self(remove(&mut self.0, seen))
    }

    /// What is live now, for [`set_over`](Self::set_over) and [`clear_seen`](Self::clear_seen).
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen::of(self.0.store())
    }

    /// Writes a value at replica `me` over what was seen by a reader: what has come since stays beside it, also a value of `me` itself.
    /// Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn set_over(&mut self, me: ReplicaId, seen: &Seen, value: T) -> Result<Self, Refused> {
        let replaced: Vec<_> = seen.among(self.0.store().dots()).collect();
        write(&mut self.0, me, replaced, |dot| DotFun::from_iter([(dot, value)])).map(Self)
    }

    /// Removes what was seen by a reader: what has come since stays. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear_seen(&mut self, seen: &Seen) -> Self {
        let removed = seen.among(self.0.store().dots()).collect();
        Self(remove(&mut self.0, removed))
    }

    /// The concurrent values, sorted by writer: the same everywhere. None: never written, or cleared.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        self.0.store().iter().map(|(_dot, value)| value)
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.store().is_empty()
    }
}

impl<T: Clone + Eq> Default for MvRegister<T> {
    fn default() -> Self {
        Self(Causal::new(DotFun::new(), crate::causal::CausalContext::new()))
    }
}

/// `Some`: write it. `None`: clear. Reads all values.
impl<T: Clone + Eq + core::fmt::Debug> Crdt for MvRegister<T> {
    type Op = Option<T>;
    type Read = Vec<T>;

    fn apply(&mut self, op: &Self::Op, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            Some(value) => self.set(me, value.clone()),
            None => Ok(self.clear()),
        }
    }

    fn read(&self) -> Self::Read {
        self.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Lattice;

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    #[test]
    fn a_write_over_what_was_read_leaves_what_came_after() {
        let (mut here, mut there) = (MvRegister::bottom(), MvRegister::bottom());
        let _unsent = here.set(A, 1).unwrap();
        let form = here.seen();
        let late = there.set(B, 2).unwrap();
        here.join(&late);
        let saved = here.set_over(A, &form, 3).unwrap();
        assert_eq!(here.values().collect::<Vec<_>>(), [&3, &2]);
        assert!(there.join(&saved) && there == here);
        // The form is saved again: what it saw is gone, so the first save stays too, until somebody has seen all.
        let _unsent = here.set_over(A, &form, 4).unwrap();
        assert_eq!(here.values().collect::<Vec<_>>(), [&3, &4, &2]);
        let _unsent = here.set_over(A, &here.seen(), 5).unwrap();
        assert_eq!(here.values().collect::<Vec<_>>(), [&5]);
    }

    /// It may come from a client, with whatever in it.
    #[test]
    fn a_clear_claims_nothing_that_was_not_there() {
        let mut here = MvRegister::bottom();
        let mut ahead = MvRegister::bottom();
        assert!(here.is_empty());
        let _unsent = here.set(A, 1).unwrap();
        assert!(!here.is_empty());
        for value in 0..5 {
            let _unsent = ahead.set(A, value).unwrap();
        }
        let _unsent = ahead.set(B, 1).unwrap();
        let before = here.clone();
        assert!(here.clear_seen(&ahead.seen()).is_bottom());
        assert_eq!(here, before);
        let delta = here.clear_seen(&before.seen());
        assert!(here.is_empty() && !delta.is_bottom());
    }
}
