//! What the runs met: a run without a copy says nothing about copies.

use core::fmt;

/// Something that has to occur for an error with copies to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopySituation {
    /// A copy took the place of its original, which was gone: a rollback, a restore.
    Rollback,
    /// A copy was opened beside its original.
    Clone,
    /// A copy was made of a copy.
    CopyOfCopy,
    /// A copy held transactions that had never left the original.
    CopyWithUnsent,
    /// A copy wrote before it met anybody.
    OfflineWrites,
    /// A store took a new id.
    Rotation,
    /// An original did, since its copy had given something away first.
    RotationOfOriginal,
    /// A copy of a copy did.
    RotationOfCopyOfCopy,
    /// A store did that had done so before.
    RotationAgain,
    /// A store wrote events again under its new id.
    Replay,
    /// Additions to counters were among them.
    ReplayOfAdds,
    /// Another replica's delete of what the store had added to a counter and given away came between its further additions and
    /// its new id.
    ResetBetween,
    /// A store learned from a batch that it is a copy.
    ToldByMerge,
    /// A store learned it from the version that a peer asked from.
    ToldByBase,
    /// A store learned it from a pushed transaction.
    ToldByPush,
    /// A batch did not apply any more, since the store that asked for it took a new id.
    BehindByNewId,
    /// A batch did not apply, since it had come to another replica.
    RefusedBatch,
    /// A pushed transaction was applied.
    Push,
    /// A batch carried the list of everything live.
    LiveFallback,
    /// A store would have made a fork, and was kept from it.
    HeldBack,
}

impl CopySituation {
    /// Every situation, in the order of a table.
    pub const ALL: [Self; 20] = [
        Self::Rollback,
        Self::Clone,
        Self::CopyOfCopy,
        Self::CopyWithUnsent,
        Self::OfflineWrites,
        Self::Rotation,
        Self::RotationOfOriginal,
        Self::RotationOfCopyOfCopy,
        Self::RotationAgain,
        Self::Replay,
        Self::ReplayOfAdds,
        Self::ResetBetween,
        Self::ToldByMerge,
        Self::ToldByBase,
        Self::ToldByPush,
        Self::BehindByNewId,
        Self::RefusedBatch,
        Self::Push,
        Self::LiveFallback,
        Self::HeldBack,
    ];
}

/// How often each situation occurred, and in how many runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyCounts {
    runs: u64,
    steps: u64,
    transactions: u64,
    checks: u64,
    met: [(u64, u64); CopySituation::ALL.len()],
}

impl CopyCounts {
    /// How many runs.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// How often a situation occurred.
    #[must_use]
    pub fn times(&self, situation: CopySituation) -> u64 {
        self.met.get(situation as usize).map_or(0, |met| met.0)
    }

    /// In how many runs a situation occurred.
    #[must_use]
    pub fn runs_with(&self, situation: CopySituation) -> u64 {
        self.met.get(situation as usize).map_or(0, |met| met.1)
    }

    /// The situations that occurred in less than this share of the runs, in thousandths.
    #[must_use]
    pub fn rarer_than(&self, per_1000: u64) -> Vec<CopySituation> {
        let is_rare = |situation: &CopySituation| 1000 * self.runs_with(*situation) < per_1000 * self.runs;
        CopySituation::ALL.into_iter().filter(is_rare).collect()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.transactions += other.transactions;
        self.checks += other.checks;
        for (ours, theirs) in self.met.iter_mut().zip(other.met) {
            *ours = (ours.0 + theirs.0, ours.1 + theirs.1);
        }
    }

    pub(super) const fn run(&mut self) {
        self.runs += 1;
    }

    pub(super) const fn step(&mut self) {
        self.steps += 1;
    }

    pub(super) const fn transaction(&mut self) {
        self.transactions += 1;
    }

    pub(super) const fn check(&mut self) {
        self.checks += 1;
    }

    /// For the counts of one run alone.
    pub(super) fn meet(&mut self, situation: CopySituation) {
        if let Some(met) = self.met.get_mut(situation as usize) {
            *met = (met.0 + 1, 1);
        }
    }
}

impl fmt::Display for CopyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, steps, transactions, checks, .. } = self;
        writeln!(f, "{runs} runs, {steps} steps, {transactions} transactions, {checks} checks of a store")?;
        for situation in CopySituation::ALL {
            let name = format!("{situation:?}");
            writeln!(f, "{name:<22} {:>10} times, in {:>8} runs", self.times(situation), self.runs_with(situation))?;
        }
        Ok(())
    }
}
