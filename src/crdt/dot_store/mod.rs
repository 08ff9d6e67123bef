//! Stores of dots: what is live. With a context of what has been seen, absence means removal; no tombstones are kept.
//!
//! Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7 ("causal CRDTs"): the dot stores
//! and the figure that defines the join of `Causal`. The names are the paper's:
//!
//! | paper | here |
//! |---|---|
//! | an event `(i, n) ∈ I × N` | [`Dot`] |
//! | `CausalContext = P(I × N)`, `next_i(c)` | [`CausalContext`], [`next`](CausalContext::next); 2^63 is the last number |
//! | `DotStore`, `dots` | [`DotStore`], [`dots`](DotStore::dots) |
//! | `DotSet = P(I × N)` | [`DotSet`] |
//! | `DotFun<V> = I × N ↪ V`, `V` a lattice | [`DotFun`]; any `V`, since what a dot carries never changes |
//! | `DotMap<K, V> = K ↪ V`, `V` a dot store | [`DotMap`] |
//! | the same of `DotFun<V>` | [`DotTable`], flat, for many keys |
//! | `Causal<T> = T × CausalContext` | [`Causal`] |
//! | `⊥` | `default()`; [`bottom`](crate::crdt::Lattice::bottom) of `Causal` |

mod causal;
mod dot_fun;
mod dot_map;
mod dot_set;
mod dot_table;
#[cfg(test)]
mod tests;

use core::mem;

use smallvec::SmallVec;

pub use self::causal::Causal;
pub use self::dot_fun::DotFun;
pub use self::dot_map::DotMap;
pub use self::dot_set::DotSet;
pub use self::dot_table::DotTable;
use super::{Verdict, join_dots};
use crate::causal::{CausalContext, Dot};

/// What is live of a causal type: values at dots, in places that a join treats apart.
///
/// The default is the empty store. A store means nothing without the context of who holds it, so only [`Causal`] is a
/// [`Lattice`](crate::crdt::Lattice); stores nest in each other (in [`DotMap`]) and share that one context.
pub trait DotStore: Clone + Default {
    /// Whether it has no dot.
    fn is_empty(&self) -> bool;

    /// Its dots, in no particular order.
    fn dots(&self) -> impl Iterator<Item = Dot> + '_;

    /// The part with those dots that `keep` names.
    #[must_use]
    fn restrict(&self, keep: &impl Fn(Dot) -> bool) -> Self;

    /// Joins the store of someone who has seen `theirs` into this one, of which the holder has seen `ours`. A dot lives on
    /// if both hold it, or one does and the other has not seen it. Returns whether the store changed, exactly.
    ///
    /// Of `theirs` only the dots that are in `ours` as well matter: of a dot that we hold, and so have seen.
    fn join(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool;
}

/// Few entries, sorted by dot. Nearly always one, which needs no allocation.
type Entries<E> = SmallVec<[E; 1]>;

/// Joins sorted entries of which each has a dot.
fn join_entries<E: Clone>(
    entries: &mut Entries<E>,
    ours: &CausalContext,
    other: &Entries<E>,
    theirs: &CausalContext,
    dot: impl Fn(&E) -> Dot,
) -> bool {
    let mut verdicts: SmallVec<[Verdict; 8]> = SmallVec::new();
    let mut changed = false;
    join_dots(
        entries.iter().map(&dot),
        other.iter().map(&dot),
        |dot| ours.contains(*dot),
        |dot| theirs.contains(*dot),
        |verdict| {
            changed |= matches!(verdict, Verdict::Drop(_) | Verdict::Take(_));
            verdicts.push(verdict);
        },
    );
    if !changed {
        return false;
    }
    // Each of ours has one verdict, in order, so they need not be looked up.
    let mut before = mem::take(entries).into_iter();
    for verdict in verdicts {
        match verdict {
            Verdict::Keep(_) => entries.extend(before.next()),
            Verdict::Drop(_) => drop(before.next()),
            Verdict::Take(at) => entries.extend(other.get(at).cloned()),
            Verdict::Skip(_) => {}
        }
    }
    true
}

/// Whether all dots are events, strictly ascending: what entries from outside must be.
fn are_ascending_events(dots: impl Iterator<Item = Dot> + Clone) -> bool {
    dots.clone().all(Dot::is_event) && dots.is_sorted_by(|low, high| low < high)
}
