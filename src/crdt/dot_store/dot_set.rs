//! Dots alone.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{DotStore, Entries, are_ascending_events, join_entries};
use crate::causal::{CausalContext, Dot};
use crate::codec::DecodeError;

/// A set of dots: something is there as long as one is. For flags, and for the elements of a set.
///
/// Join: `(s ∩ s') ∪ (s ∖ c') ∪ (s' ∖ c)`, linear. Made for few dots: an insert or a remove is linear too.
/// Source: see [`DotStore`]; the paper's `DotSet`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Dot>", into = "Vec<Dot>")]
pub struct DotSet {
    /// Invariant: events only, strictly ascending, so equal sets compare equal.
    dots: Entries<Dot>,
}

impl DotSet {
    /// No dot.
    #[must_use]
    pub fn new() -> Self {
        Self { dots: Entries::new() }
    }

    /// Whether it has a dot.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.dots.binary_search(&dot).is_ok()
    }

    /// Adds a dot. Returns whether it is new: `false` also for one that [is no event](Dot::is_event), which is not added.
    pub fn insert(&mut self, dot: Dot) -> bool {
        match self.dots.binary_search(&dot) {
            Err(at) if dot.is_event() => {
                self.dots.insert(at, dot);
                true
            }
            _ => false,
        }
    }

    /// Removes a dot. Returns whether it was there.
    pub fn remove(&mut self, dot: Dot) -> bool {
        let Ok(at) = self.dots.binary_search(&dot) else { return false };
        self.dots.remove(at);
        true
    }

    /// Its dots, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Dot> + '_ {
        self.dots.iter().copied()
    }

    /// How many dots it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dots.len()
    }

    /// Whether it has no dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dots.is_empty()
    }
}

impl DotStore for DotSet {
    fn is_empty(&self) -> bool {
        self.dots.is_empty()
    }

    fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter()
    }

    fn restrict(&self, keep: &impl Fn(Dot) -> bool) -> Self {
        Self { dots: self.dots.iter().copied().filter(|dot| keep(*dot)).collect() }
    }

    fn join(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        join_entries(&mut self.dots, ours, &other.dots, theirs, |dot| *dot)
    }
}

impl FromIterator<Dot> for DotSet {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = Self::new();
        set.dots.extend(dots.into_iter().filter(|dot| dot.is_event()));
        set.dots.sort_unstable();
        set.dots.dedup();
        set
    }
}

impl TryFrom<Vec<Dot>> for DotSet {
    type Error = DecodeError;

    fn try_from(dots: Vec<Dot>) -> Result<Self, DecodeError> {
        if are_ascending_events(dots.iter().copied()) {
            Ok(Self { dots: dots.into() })
        } else {
            Err(DecodeError::new(0, "dots are not in order"))
        }
    }
}

impl From<DotSet> for Vec<Dot> {
    fn from(set: DotSet) -> Self {
        set.dots.into_vec()
    }
}
