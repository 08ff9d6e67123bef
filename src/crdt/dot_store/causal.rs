//! A dot store with what its holder has seen.

use alloc::collections::BTreeSet;
use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::DotStore;
use crate::causal::{CausalContext, Dot};
use crate::codec::DecodeError;
use crate::crdt::{Decompose, Lattice};

/// A store of what is live, and a context of what has been seen: a dot that was seen and is not in the store was removed.
/// State and delta alike. All types that remove are made of one.
///
/// A write is the join of a delta: the new values at a dot from [`next`](CausalContext::next), and a context of that dot and
/// all dots that the write replaces. A remove is the join of an empty store and a context of the dots to remove: it takes no
/// dot, so contexts do not tell who has seen it, and it must be sent to be known.
///
/// ```
/// use tombolo::causal::{CausalContext, ReplicaId};
/// use tombolo::crdt::{Causal, DotFun, DotStore, Lattice};
///
/// let mut register: Causal<DotFun<&str>> = Causal::bottom();
/// let dot = register.context().next(ReplicaId::from_u128(1)).unwrap();
/// let write = Causal::new(DotFun::from_iter([(dot, "hello")]), CausalContext::new());
/// assert!(register.join(&write));
///
/// let remove = Causal::new(DotFun::new(), register.store().dots().collect());
/// assert!(register.join(&remove));
/// assert!(register.store().is_empty());
/// assert!(!register.join(&write));      // It was seen, and removed: late copies change nothing.
/// ```
///
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7, `Causal`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts<S>", bound(deserialize = "S: Deserialize<'de> + DotStore"))]
pub struct Causal<S> {
    /// What is live. Invariant: all its dots are in `context`.
    pub(crate) store: S,
    /// What has been seen.
    pub(crate) context: CausalContext,
}

/// As serde reads it, unchecked.
#[derive(Deserialize)]
#[serde(rename = "Causal")]
struct Parts<S> {
    store: S,
    context: CausalContext,
}

impl<S: DotStore> Causal<S> {
    /// From what is live and what has been seen; what is live has been seen, so the dots of the store are added to the
    /// context.
    #[must_use]
    pub fn new(store: S, mut context: CausalContext) -> Self {
        context.extend(store.dots());
        Self { store, context }
    }
}

impl<S> Causal<S> {
    /// What is live.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// What has been seen.
    #[must_use]
    pub const fn context(&self) -> &CausalContext {
        &self.context
    }

    /// Both.
    #[must_use]
    pub fn into_parts(self) -> (S, CausalContext) {
        (self.store, self.context)
    }
}

/// The join of the stores, under both contexts; then the union of the contexts.
impl<S: DotStore + PartialEq> Lattice for Causal<S> {
    fn bottom() -> Self {
        Self { store: S::default(), context: CausalContext::new() }
    }

    fn join(&mut self, other: &Self) -> bool {
        // Who has seen nothing of what we have can remove nothing of it: the store need not look at what only we hold.
        let nothing = CausalContext::new();
        let theirs = if self.context.is_disjoint(&other.context) { &nothing } else { &other.context };
        let mut changed = self.store.join(&self.context, &other.store, theirs);
        changed |= self.context.join(&other.context);
        changed
    }

    fn is_bottom(&self) -> bool {
        self.context.is_empty()
    }
}

/// `a <= b` if `b` has seen all that `a` has, and holds nothing that `a` has seen removed. Cost: linear in the dots of both.
impl<S: DotStore + PartialEq> PartialOrd for Causal<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (is_below(self, other), is_below(other, self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}

fn is_below<S: DotStore>(low: &Causal<S>, high: &Causal<S>) -> bool {
    let live: BTreeSet<Dot> = low.store.dots().collect();
    high.context.covers(&low.context) && high.store.dots().all(|dot| !low.context.contains(dot) || live.contains(&dot))
}

/// Of each dot that was seen one part: it with what is live at it, or it alone if it was removed. Cost: each part looks through the
/// whole store.
impl<S: DotStore + PartialEq> Decompose for Causal<S> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.context
            .iter_dots()
            .map(|dot| Self { store: self.store.restrict(&|live| live == dot), context: CausalContext::from_iter([dot]) })
    }

    /// What is live here and was not seen there; and as seen, that, and what is live there and was removed here. Cost: linear.
    fn minus(&self, other: &Self) -> Self {
        let store = self.store.restrict(&|dot| !other.context.contains(dot));
        let live: BTreeSet<Dot> = self.store.dots().collect();
        let mut context = self.context.minus(&other.context);
        context.extend(other.store.dots().filter(|dot| self.context.contains(*dot) && !live.contains(dot)));
        Self { store, context }
    }
}

impl<S: DotStore> TryFrom<Parts<S>> for Causal<S> {
    type Error = DecodeError;

    fn try_from(parts: Parts<S>) -> Result<Self, DecodeError> {
        let Parts { store, context } = parts;
        if store.dots().all(|dot| context.contains(dot)) {
            Ok(Self { store, context })
        } else {
            Err(DecodeError::new(0, "a live dot that was not seen"))
        }
    }
}
