//! Which transactions are visible: the only thing of a replica that the oracle knows.
#![expect(clippy::indexing_slicing, reason = "replicas are numbered here; a wrong number is a bug of this module")]

/// The most replicas that one history has.
pub const REPLICAS_MAX: usize = 8;

/// A set of visible transactions: of each replica, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cut([u32; REPLICAS_MAX]);

impl Cut {
    /// Whether every transaction of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(ours, theirs)| *ours >= theirs)
    }

    /// Adds the transactions of `other`.
    pub fn join(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours = (*ours).max(theirs);
        }
    }

    /// The transactions that are in both.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let mut both = *self;
        for (ours, theirs) in both.0.iter_mut().zip(other.0) {
            *ours = (*ours).min(theirs);
        }
        both
    }

    /// The cut with one more transaction.
    #[must_use]
    pub(super) fn with(mut self, at: At) -> Self {
        self.0[at.replica] = self.0[at.replica].max(at.no + 1);
        self
    }

    pub(super) fn has(&self, at: At) -> bool {
        at.no < self.0[at.replica]
    }

    /// Of each replica, how many transactions are in it.
    pub(super) fn counts(&self) -> impl Iterator<Item = u32> {
        self.0.into_iter()
    }

    /// How many transactions of a replica are in it.
    pub(super) const fn count(&self, replica: usize) -> u32 {
        self.0[replica]
    }

    /// The cut with so many transactions of a replica.
    pub(super) const fn with_count(mut self, replica: usize, count: u32) -> Self {
        self.0[replica] = count;
        self
    }

    /// The first transaction of a replica that is not in the cut.
    pub(super) fn next_of(&self, replica: usize) -> At {
        At { replica, no: self.0[replica] }
    }

    /// Whether a transaction is the first one of its replica that is not in the cut.
    pub(super) fn is_next(&self, at: At) -> bool {
        at.no == self.0[at.replica]
    }
}

/// One transaction: the `no`-th of a replica, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub(super) replica: usize,
    pub(super) no: u32,
}
