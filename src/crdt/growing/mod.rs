//! Types that need no context: what they hold only ever grows, so the join of two states says it all.
//!
//! | type | concurrent operations |
//! |---|---|
//! | [`GCounter`] | all adds count |
//! | [`PnCounter`] | all adds count, negative ones too |
//! | [`ResetCounter`] | a reset cancels what it saw; adds that it did not see stay |
//! | [`BoundedCounter`] | all count; never below 0, since a replica takes only what it has the rights to |
//! | [`LwwRegister`] | the greatest stamp wins, then the greatest value |
//! | [`FirstWriteRegister`] | the least stamp wins, then the least value |
//! | [`Expiring`] | the greatest deadline wins, then the greatest value |
//! | [`Max`], [`Min`] | the greatest, the least wins |
//! | [`OneWayFlag`] | once on, on for ever |
//! | [`GSet`] | all elements stay |
//! | [`TwoPhaseSet`] | a remove wins, for ever |
//! | [`HyperLogLog`] | all items count, equal ones once |
//!
//! Every mutation returns its delta: a value of the same type, already joined into the one it was called on. Whoever joins the
//! deltas, in any order and any number of times, ends in the same state.
//!
//! A replica writes under its own id alone, at one place at a time. Two copies of it that both go on (a restored backup, a clone
//! that was written to) count the same totals twice, and of two adds only the greater is left: such a copy needs a new id.
//!
//! The counters are not [`NonCausal`](crate::crdt::NonCausal): they go on from their own totals. The others are.
//!
//! Values and stamps are `Ord`, so floats do not compile. Wrap them in a type with a total order, and choose there what `NaN`
//! and `-0.0` are. `==` must agree with that order, as `Ord` demands.
//!
//! ```compile_fail,E0277
//! let highest = tombolo::crdt::Max::<f64>::new();
//! ```
//!
//! Source, where a type names no other: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative
//! Replicated Data Types" (2011), section 3; their deltas: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018).

mod bounded_counter;
mod chain;
mod expiring;
mod extremes;
mod first_write_register;
mod g_counter;
mod g_set;
mod hyper_log_log;
mod keyed;
mod lww_register;
mod one_way_flag;
mod pn_counter;
mod reset_counter;
#[cfg(test)]
mod tests;
mod totals;
mod two_phase_set;

use core::cmp::Ordering;

use crate::codec::DecodeError;

pub use bounded_counter::{BoundedCounter, BoundedCounterOp};
pub use expiring::Expiring;
pub use extremes::{Max, Min};
pub use first_write_register::FirstWriteRegister;
pub use g_counter::GCounter;
pub use g_set::GSet;
pub use hyper_log_log::HyperLogLog;
pub use lww_register::LwwRegister;
pub use one_way_flag::OneWayFlag;
pub use pn_counter::PnCounter;
pub use reset_counter::{ResetCounter, ResetCounterOp};
pub use two_phase_set::{TwoPhaseSet, TwoPhaseSetOp};

/// The order of two values, from which of them has all of the other.
const fn order(covers: bool, covered: bool) -> Option<Ordering> {
    match (covers, covered) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Greater),
        (false, true) => Some(Ordering::Less),
        (false, false) => None,
    }
}

/// The order of a product, from those of its two sides.
fn order_of_both(one: Option<Ordering>, other: Option<Ordering>) -> Option<Ordering> {
    match (one?, other?) {
        (Ordering::Equal, order) | (order, Ordering::Equal) => Some(order),
        (one, other) => (one == other).then_some(one),
    }
}

/// Refuses entries whose keys are not sorted, each once.
fn in_order<E>(entries: &[E], is_below: impl Fn(&E, &E) -> bool) -> Result<(), DecodeError> {
    if entries.is_sorted_by(is_below) { Ok(()) } else { Err(DecodeError::new(0, "the keys are not in order")) }
}

/// A type that is joined and compared field by field.
macro_rules! product {
    ([$($generics:tt)*] $type:ty: $($field:ident),+) => {
        impl<$($generics)*> $crate::crdt::Lattice for $type {
            fn bottom() -> Self {
                Self { $($field: $crate::crdt::Lattice::bottom()),+ }
            }

            fn join(&mut self, other: &Self) -> bool {
                let mut changed = false;
                $(changed |= $crate::crdt::Lattice::join(&mut self.$field, &other.$field);)+
                changed
            }

            fn is_bottom(&self) -> bool {
                $($crate::crdt::Lattice::is_bottom(&self.$field))&&+
            }
        }

        impl<$($generics)*> Default for $type {
            fn default() -> Self {
                $crate::crdt::Lattice::bottom()
            }
        }

        impl<$($generics)*> PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                let order = Some(core::cmp::Ordering::Equal);
                $(let order = $crate::crdt::growing::order_of_both(order, self.$field.partial_cmp(&other.$field));)+
                order
            }
        }
    };
}

/// A [`product`] whose fields say nothing of each other, so that it is taken apart field by field too.
macro_rules! independent {
    ([$($generics:tt)*] $type:ty: $($field:ident),+) => {
        $crate::crdt::growing::product!([$($generics)*] $type: $($field),+);

        /// Its parts are those of what it holds.
        impl<$($generics)*> $crate::crdt::Decompose for $type {
            fn parts(&self) -> impl Iterator<Item = Self> + '_ {
                let parts = core::iter::empty();
                $(let parts = parts.chain($crate::crdt::Decompose::parts(&self.$field).map(|part| {
                    let mut parted: Self = $crate::crdt::Lattice::bottom();
                    parted.$field = part;
                    parted
                }));)+
                parts
            }

            fn minus(&self, other: &Self) -> Self {
                Self { $($field: $crate::crdt::Decompose::minus(&self.$field, &other.$field)),+ }
            }
        }
    };
}

use independent;
use product;
