//! Which operations a replica knows of: what a specification reads.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;

use crate::causal::ReplicaId;

/// An operation that was done, and where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event<Op> {
    /// What was done.
    pub op: Op,
    /// Who did it.
    pub replica: ReplicaId,
    /// The step that did it.
    pub(super) number: usize,
    /// What its replica knew when it was done.
    pub(super) seen: BTreeSet<usize>,
    /// Whether its replica then knew all that those before it had known.
    pub(super) on_whole: bool,
}

/// The operations whose deltas or states have reached a replica, however they came.
#[derive(Debug, Clone)]
pub struct Visible<Op> {
    pub(super) events: BTreeMap<usize, Rc<Event<Op>>>,
}

impl<Op> Visible<Op> {
    pub(super) const fn new() -> Self {
        Self { events: BTreeMap::new() }
    }

    /// The operations, in the order in which they were done: each after all that its replica knew of. Among concurrent ones
    /// the order means nothing, and a specification must not depend on it.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Event<Op>> + Clone {
        self.events.values().map(|event| &**event)
    }

    /// Whether `a` was known at the replica of `b` when `b` was done. If neither was before the other they are concurrent.
    #[must_use]
    pub fn before(&self, a: &Event<Op>, b: &Event<Op>) -> bool {
        b.seen.contains(&a.number)
    }

    /// Whether some operation that matches was done when `event` was known.
    pub fn is_followed(&self, event: &Event<Op>, by: impl Fn(&Op) -> bool) -> bool {
        self.iter().any(|later| self.before(event, later) && by(&later.op))
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether all that was known when one of them was done is among them, and was when that one was done: only then the
    /// order of what was known says what each of them has seen.
    pub(super) fn is_whole(&self) -> bool {
        let is_whole = |event: &Event<Op>| event.on_whole && event.seen.iter().all(|before| self.events.contains_key(before));
        self.events.values().all(|event| is_whole(event))
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.events.extend(other.events.iter().map(|(number, event)| (*number, Rc::clone(event))));
    }
}
