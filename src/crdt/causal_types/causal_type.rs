//! What all types share that remove: a dot store, and the context that it hides.

use crate::causal::{CausalContext, Dot, ReplicaId};
use crate::crdt::{Causal, DotStore, Lattice, Refused};

/// A type that is a dot store with a context: it removes what was seen, and keeps no tombstones. Such types nest, in
/// [`DotMap`](crate::crdt::DotMap): all share the one context of the outermost.
///
/// Never [`NonCausal`](crate::crdt::NonCausal).
pub trait CausalType: Lattice {
    /// What is live of it.
    type Store: DotStore + PartialEq;

    /// From its two parts.
    fn from_causal(causal: Causal<Self::Store>) -> Self;

    /// Its two parts, to look at.
    fn as_causal(&self) -> &Causal<Self::Store>;

    /// Its two parts.
    fn into_causal(self) -> Causal<Self::Store>;
}

/// A write at `me`: what is live at a new dot, in place of `replaced`.
pub(super) fn write<S: DotStore + PartialEq>(
    state: &mut Causal<S>,
    me: ReplicaId,
    replaced: impl IntoIterator<Item = Dot>,
    store: impl FnOnce(Dot) -> S,
) -> Result<Causal<S>, Refused> {
    let dot = state.context().next(me).ok_or(Refused::Exhausted)?;
    let delta = Causal::new(store(dot), replaced.into_iter().collect());
    state.join(&delta);
    Ok(delta)
}

/// A remove of what was seen: it takes no dot.
pub(super) fn remove<S: DotStore + PartialEq>(state: &mut Causal<S>, seen: CausalContext) -> Causal<S> {
    let delta = Causal::new(S::default(), seen);
    state.join(&delta);
    delta
}

/// The parts of a type that are the same for all: a store behind a context, and the order and the decomposition of that.
macro_rules! causal_type {
    ([$($generics:tt)*] $name:ty, $store:ty) => {
        impl<$($generics)*> $crate::crdt::Lattice for $name {
            fn bottom() -> Self {
                Self($crate::crdt::Causal::bottom())
            }

            fn join(&mut self, other: &Self) -> bool {
                self.0.join(&other.0)
            }

            fn is_bottom(&self) -> bool {
                self.0.is_bottom()
            }
        }

        impl<$($generics)*> PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                self.0.partial_cmp(&other.0)
            }
        }

        impl<$($generics)*> $crate::crdt::Decompose for $name {
            fn parts(&self) -> impl Iterator<Item = Self> + '_ {
                self.0.parts().map(Self)
            }

            fn minus(&self, other: &Self) -> Self {
                Self(self.0.minus(&other.0))
            }
        }

        impl<$($generics)*> $crate::crdt::CausalType for $name {
            type Store = $store;

            fn from_causal(causal: $crate::crdt::Causal<$store>) -> Self {
                Self(causal)
            }

            fn as_causal(&self) -> &$crate::crdt::Causal<$store> {
                &self.0
            }

            fn into_causal(self) -> $crate::crdt::Causal<$store> {
                self.0
            }
        }
    };
}

pub(super) use causal_type;
