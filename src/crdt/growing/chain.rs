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

/// A register that is a chain: of stamps and values, in an order that `$form` makes.
macro_rules! register {
    ($name:ident, $stamp:ident, $value:ident, [$($form:tt)+]) => {
        $crate::crdt::growing::independent!([T: Ord + Clone, S: Ord + Clone] $name<T, S>: written);

        impl<T, S> $crate::crdt::NonCausal for $name<T, S> {}

        impl<T: Ord + Clone, S: Ord + Clone> $name<T, S> {
            /// Unset.
            #[must_use]
            pub fn new() -> Self {
                $crate::crdt::Lattice::bottom()
            }

            /// Writes a value. Returns the delta: this write, also if it does not win and so changed nothing.
            #[must_use = "the delta is what other replicas need"]
            pub fn set(&mut self, $stamp: S, $value: T) -> Self {
                let delta = Self { written: Chain::of($($form)+) };
                $crate::crdt::Lattice::join(self, &delta);
                delta
            }

            /// The value that won, so far.
            #[must_use]
            pub fn get(&self) -> Option<&T> {
                self.won().map(|(_, value)| value)
            }

            /// The stamp that it was written with.
            #[must_use]
            pub fn stamp(&self) -> Option<&S> {
                self.won().map(|(stamp, _)| stamp)
            }

            fn won(&self) -> Option<(&S, &T)> {
                self.written.greatest().map(|$($form)+| ($stamp, $value))
            }
        }

        /// An operation is a write: its stamp, and its value.
        impl<T: Ord + Clone + core::fmt::Debug, S: Ord + Clone + core::fmt::Debug> $crate::crdt::Crdt for $name<T, S> {
            type Op = (S, T);
            type Read = Option<T>;

            fn apply(&mut self, (stamp, value): &(S, T), _me: $crate::causal::ReplicaId) -> Result<Self, $crate::crdt::Refused> {
                Ok(self.set(stamp.clone(), value.clone()))
            }

            fn read(&self) -> Option<T> {
                self.get().cloned()
            }
        }
    };
}

/// The extreme of a chain of values, in an order that `$form` makes.
macro_rules! extreme {
    ($name:ident, $field:ident, $value:ident, [$($form:tt)+]) => {
        $crate::crdt::growing::independent!([T: Ord + Clone] $name<T>: $field);

        impl<T> $crate::crdt::NonCausal for $name<T> {}

        impl<T: Ord + Clone> $name<T> {
            /// Unset.
            #[must_use]
            pub fn new() -> Self {
                $crate::crdt::Lattice::bottom()
            }

            /// Adds a value. Returns the delta: this value, also if it is not the new extreme and so changed nothing.
            #[must_use = "the delta is what other replicas need"]
            pub fn add(&mut self, $value: T) -> Self {
                let delta = Self { $field: Chain::of($($form)+) };
                $crate::crdt::Lattice::join(self, &delta);
                delta
            }

            /// The extreme of all values that were added.
            #[must_use]
            pub fn get(&self) -> Option<&T> {
                self.$field.greatest().map(|$($form)+| $value)
            }
        }

        /// An operation is a value to add.
        impl<T: Ord + Clone + core::fmt::Debug> $crate::crdt::Crdt for $name<T> {
            type Op = T;
            type Read = Option<T>;

            fn apply(&mut self, value: &T, _me: $crate::causal::ReplicaId) -> Result<Self, $crate::crdt::Refused> {
                Ok(self.add(value.clone()))
            }

            fn read(&self) -> Option<T> {
                self.get().cloned()
            }
        }
    };
}

pub(super) use {extreme, register};
