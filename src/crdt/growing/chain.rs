//! Values of a total order, of which the greatest wins.

use serde::{Deserialize, Serialize};

use crate::crdt::{Decompose, Lattice};

/// Nothing, or the greatest value so far.
///
/// `E` is a tuple, also where it has one part: in MessagePack a bare value that is itself "nothing" could not be told from none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Chain<E>(Option<E>);

impl<E> Chain<E> {
    pub(super) const fn of(value: E) -> Self {
        Self(Some(value))
    }

    pub(super) const fn greatest(&self) -> Option<&E> {
        self.0.as_ref()
    }
}

impl<E: Ord + Clone> Lattice for Chain<E> {
    fn bottom() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
        let changed = other.0 > self.0;
        if changed {
            self.clone_from(other);
        }
        changed
    }

    fn is_bottom(&self) -> bool {
        self.0.is_none()
    }
}

/// A chain cannot be taken apart: it is its own only part.
impl<E: Ord + Clone> Decompose for Chain<E> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.iter().map(|value| Self(Some(value.clone())))
    }
}
