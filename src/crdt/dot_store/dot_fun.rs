//! Values at dots.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{DotStore, Entries, are_ascending_events, join_entries};
use crate::causal::{CausalContext, Dot};
use crate::codec::DecodeError;

/// A value for each of some dots. For registers: every concurrent write, each until it is overwritten.
///
/// Join: that of [`DotSet`](super::DotSet); a value goes with its dot. The paper joins the values of a dot that both sides
/// hold, since there `V` is a lattice that may grow in place. Here a dot is assigned once, to one value, so both hold the
/// same, and `V` can be anything: to change a value, write a new one and remove the old dot. Who breaks that rule (a forger,
/// or a restored replica that kept its id) makes replicas differ, each with the value that it had first; nothing panics.
///
/// Linear. Made for few dots: an insert or a remove is linear too. Source: see [`DotStore`]; the paper's `DotFun`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Dot, V)>", into = "Vec<(Dot, V)>")]
#[serde(bound(serialize = "V: Serialize + Clone", deserialize = "V: Deserialize<'de>"))]
pub struct DotFun<V> {
    /// Invariant: events only, strictly ascending by dot, so equal functions compare equal.
    entries: Entries<(Dot, V)>,
}

impl<V> DotFun<V> {
    /// No dot.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Entries::new() }
    }

    /// The value at a dot.
    #[must_use]
    pub fn get(&self, dot: Dot) -> Option<&V> {
        let at = self.find(dot).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// Assigns a value to a dot. Returns whether it did: not for a dot that has a value, which never changes, nor for one
    /// that [is no event](Dot::is_event).
    pub fn insert(&mut self, dot: Dot, value: V) -> bool {
        match self.find(dot) {
            Err(at) if dot.is_event() => {
                self.entries.insert(at, (dot, value));
                true
            }
            _ => false,
        }
    }

    /// Removes a dot and returns its value.
    pub fn remove(&mut self, dot: Dot) -> Option<V> {
        let at = self.find(dot).ok()?;
        Some(self.entries.remove(at).1)
    }

    /// Its dots and their values, ascending by dot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Dot, &V)> + '_ {
        self.entries.iter().map(|(dot, value)| (*dot, value))
    }

    /// How many dots it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, dot: Dot) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&dot, |(dot, _)| *dot)
    }
}

impl<V: Clone> DotStore for DotFun<V> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.entries.iter().map(|(dot, _)| *dot)
    }

    fn restrict(&self, keep: &impl Fn(Dot) -> bool) -> Self {
        Self { entries: self.entries.iter().filter(|(dot, _)| keep(*dot)).cloned().collect() }
    }

    fn join(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        join_entries(&mut self.entries, ours, &other.entries, theirs, |(dot, _)| *dot)
    }
}

impl<V> Default for DotFun<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of a dot that comes twice, the first value counts.
impl<V> FromIterator<(Dot, V)> for DotFun<V> {
    fn from_iter<I: IntoIterator<Item = (Dot, V)>>(entries: I) -> Self {
        let mut fun = Self::new();
        fun.entries.extend(entries.into_iter().filter(|(dot, _)| dot.is_event()));
        fun.entries.sort_by_key(|(dot, _)| *dot);
        fun.entries.dedup_by_key(|(dot, _)| *dot);
        fun
    }
}

impl<V> TryFrom<Vec<(Dot, V)>> for DotFun<V> {
    type Error = DecodeError;

    fn try_from(entries: Vec<(Dot, V)>) -> Result<Self, DecodeError> {
        if are_ascending_events(entries.iter().map(|(dot, _)| *dot)) {
            Ok(Self { entries: entries.into() })
        } else {
            Err(DecodeError::new(0, "dots are not in order"))
        }
    }
}

impl<V> From<DotFun<V>> for Vec<(Dot, V)> {
    fn from(fun: DotFun<V>) -> Self {
        fun.entries.into_vec()
    }
}
