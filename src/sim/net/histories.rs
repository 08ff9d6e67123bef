//! Which transactions a version has, where a store may come back as it was and write other ones under its old numbers.

use std::collections::BTreeMap;

use crate::causal::{ReplicaId, VersionVector};
use crate::sim::cut::{At, Cut};

/// What was done under one id, in the order of its numbers. That of a copy begins as that of its original.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    /// The number of the last event of each transaction, or of several that were written again as one.
    steps: Vec<(u64, At)>,
}

impl Branch {
    pub(super) fn push(&mut self, last: u64, at: At) {
        self.steps.push((last, at));
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.0)
    }

    /// What was done up to an event.
    pub(super) fn until(mut self, seq: u64) -> Self {
        self.steps.retain(|step| step.0 <= seq);
        self
    }

    /// What was done after an event.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = (u64, At)> {
        self.steps.iter().copied().filter(move |step| step.0 > seq)
    }

    /// The cut with what was done up to an event. `None`: that is a part of a transaction.
    pub(super) fn add_to(&self, cut: Cut, seq: u64) -> Option<Cut> {
        let end = if seq == 0 { 0 } else { 1 + self.steps.binary_search_by_key(&seq, |step| step.0).ok()? };
        Some(self.steps.iter().take(end).fold(cut, |cut, (_last, at)| cut.with(*at)))
    }
}

/// What was done under each id, as far as others can know it.
#[derive(Debug, Default)]
pub(super) struct Histories {
    branches: BTreeMap<ReplicaId, Branch>,
}

impl Histories {
    pub(super) fn of(&mut self, id: ReplicaId) -> &mut Branch {
        self.branches.entry(id).or_default()
    }

    /// The transactions of a version. What was done under the id of `own` is what that says, whatever others know.
    ///
    /// `None`: it has a part of one, or events of somebody else.
    pub(super) fn cut_at(&self, version: &VersionVector, own: Option<(ReplicaId, &Branch)>) -> Option<Cut> {
        version.iter().try_fold(Cut::default(), |cut, (id, seq)| {
            let branch = match own {
                Some((own, branch)) if own == id => branch,
                _of_another => self.branches.get(&id)?,
            };
            branch.add_to(cut, seq)
        })
    }
}
