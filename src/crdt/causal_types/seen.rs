//! What was there when somebody looked.

use serde::{Deserialize, Serialize};

use crate::causal::{CausalContext, Dot};
use crate::crdt::DotStore;

/// What was live of a value, or at a key, when it was read: to write over that later, or to remove it, and nothing else.
///
/// Between a read and the write that answers it, more may arrive: a form is open while others save theirs. A plain write goes over
/// all that is there by then, seen by the user or not; a write over a `Seen` leaves beside it what came in between.
///
/// It can be sent to a client and back. Of what it names only that has an effect which is live where it is used: one that is old, of
/// another place or forged removes nothing that was not there, and claims nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(CausalContext);

impl Seen {
    /// What is live in a store.
    pub(super) fn of(store: &impl DotStore) -> Self {
        Self::of_dots(store.dots())
    }

    /// Some live dots.
    pub(super) fn of_dots(dots: impl Iterator<Item = Dot>) -> Self {
        Self(dots.collect())
    }

    /// Those of some live dots that were seen.
    pub(super) fn among(&self, live: impl Iterator<Item = Dot>) -> impl Iterator<Item = Dot> {
        live.filter(|dot| self.0.contains(*dot))
    }

    /// Removes from a store what was seen of it. Returns those dots.
    pub(super) fn take_from<S: DotStore>(&self, store: &mut S) -> CausalContext {
        let removed: CausalContext = self.among(store.dots()).collect();
        *store = store.restrict(&|dot| !removed.contains(dot));
        removed
    }
}
