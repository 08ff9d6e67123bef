//! A counter that can be nested.

use serde::{Deserialize, Serialize};

use super::causal_type::{causal_type, remove};
use crate::causal::{CausalContext, ReplicaId};
use crate::crdt::{Causal, Crdt, DotFun, Lattice, Refused};

/// A sum that can be reset, made of dots: it nests, in an [`OrMap`](crate::crdt::OrMap), where a remove of its key is a reset.
///
/// | concurrent | outcome |
/// |---|---|
/// | add, add | both count |
/// | add, reset | the add counts: a reset takes away the adds that it saw, and no other |
/// | reset, reset | what either saw is taken away, once |
///
/// Whoever goes on adding after a remote reset has only his new adds.
///
/// Cost: an entry of a dot and an amount for each add since the last reset, in memory, in what is sent, and for a read; to join is
/// linear in them. An add costs a lookup, and its delta is one entry. A replica must not fold its own entries into a total: the
/// total would be at a new dot, which a concurrent reset has not seen, and all that it took away would be back. For counts in the
/// millions that are seldom reset as a whole, take a [`ResetCounter`](crate::crdt::ResetCounter), which has one total for each replica,
/// and does not nest.
///
/// ```
/// use tombolo::ReplicaId;
/// use tombolo::crdt::{CausalCounter, Lattice};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let mut here = CausalCounter::new();
/// let mut there = here.add(a, 10).unwrap();
/// let reset = here.reset();
/// let unseen = there.add(b, 1).unwrap();
/// there.join(&reset);
/// here.join(&unseen);
/// assert_eq!((here.value(), there.value()), (1, 1));
/// ```
///
/// Source: Baquero, Almeida, Lerche, "The Problem with Embedded CRDT Counters and a Solution" (2016), for why totals do not nest; a dot for
/// each add is the plain answer to it, and exact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CausalCounter(Causal<DotFun<i64>>);

causal_type!([] CausalCounter, DotFun<i64>);

impl CausalCounter {
    /// Nothing added: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds `amount` at replica `me`; a negative one is taken away. Returns the delta; bottom if `amount` is 0, which takes no event
    /// and leaves no entry.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn add(&mut self, me: ReplicaId, amount: i64) -> Result<Self, Refused> {
        if amount == 0 {
            return Ok(Self::new());
        }
        let dot = self.0.context.next(me).ok_or(Refused::Exhausted)?;
        // As the join of the delta would do it, which looks at every entry.
        self.0.store.insert(dot, amount);
        self.0.context.insert(dot);
        Ok(Self(Causal::new(DotFun::from_iter([(dot, amount)]), CausalContext::new())))
    }

    /// Takes away all that is seen: reads 0 after it. Returns the delta: the dots of what it takes away; bottom if there is nothing.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn reset(&mut self) -> Self {
        let seen = self.0.store.iter().map(|(dot, _amount)| dot).collect();
        Self(remove(&mut self.0, seen))
    }

    /// The sum of what was added and not reset. It cannot overflow: there are fewer than 2^64 entries.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.0.store.iter().map(|(_dot, amount)| i128::from(*amount)).sum()
    }
}

/// What can be done to a [`CausalCounter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CausalCounterOp {
    /// [`CausalCounter::add`].
    Add(i64),
    /// [`CausalCounter::reset`].
    Reset,
}

/// Reads the sum.
impl Crdt for CausalCounter {
    type Op = CausalCounterOp;
    type Read = i128;

    fn apply(&mut self, op: &CausalCounterOp, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            CausalCounterOp::Add(amount) => self.add(me, *amount),
            CausalCounterOp::Reset => Ok(self.reset()),
        }
    }

    fn read(&self) -> i128 {
        self.value()
    }
}
