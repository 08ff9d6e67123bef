//! What the histories met: a suite that never meets a situation says nothing about it.

use core::fmt;

/// Something that has to occur for a design error to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Situation {
    /// A replica forgot what it kept for peers.
    Truncation,
    /// A batch carried the list of everything live, since its maker had forgotten deletes.
    LiveFallback,
    /// A batch was merged whose base its receiver had outgrown.
    StaleBase,
    /// A batch was merged that brought nothing new.
    RepeatedBatch,
    /// A batch was refused, since its receiver did not cover the base.
    RefusedBatch,
    /// A pushed transaction was applied.
    Push,
    /// A pushed transaction had to wait for an earlier one of its replica.
    Gap,
    /// A pushed transaction had to wait for one of another replica, though all earlier ones of its own were there.
    MissingDependency,
    /// A pushed transaction was there already.
    RepeatedPush,
    /// A replica added to a counter after another's delete of its contribution.
    ResetConsumed,
    /// A register read two or more siblings.
    SiblingRead,
    /// A register was written over a read that had not seen everything that was there.
    StaleSetOver,
    /// A delete of a key, a prefix, a map or a field removed something nested.
    NestedDelete,
    /// A delete of a prefix removed something.
    PrefixDelete,
    /// A flag of either kind was read with a live enable and a live disable.
    FlagConflict,
    /// A replica was closed and opened.
    Restart,
}

impl Situation {
    /// Every situation, in the order of a table.
    pub const ALL: [Self; 16] = [
        Self::Truncation,
        Self::LiveFallback,
        Self::StaleBase,
        Self::RepeatedBatch,
        Self::RefusedBatch,
        Self::Push,
        Self::Gap,
        Self::MissingDependency,
        Self::RepeatedPush,
        Self::ResetConsumed,
        Self::SiblingRead,
        Self::StaleSetOver,
        Self::NestedDelete,
        Self::PrefixDelete,
        Self::FlagConflict,
        Self::Restart,
    ];
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Truncation => "truncation",
            Self::LiveFallback => "live fallback",
            Self::StaleBase => "stale base",
            Self::RepeatedBatch => "repeated batch",
            Self::RefusedBatch => "refused batch",
            Self::Push => "push",
            Self::Gap => "gap",
            Self::MissingDependency => "missing dependency",
            Self::RepeatedPush => "repeated push",
            Self::ResetConsumed => "reset consumed",
            Self::SiblingRead => "sibling read",
            Self::StaleSetOver => "stale set_over",
            Self::NestedDelete => "nested delete",
            Self::PrefixDelete => "prefix delete",
            Self::FlagConflict => "flag conflict",
            Self::Restart => "restart",
        })
    }
}

/// How often each situation occurred, and in how many histories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    histories: u64,
    steps: u64,
    transactions: u64,
    checks: u64,
    /// Of each situation, in the order of [`Situation::ALL`]: times, histories.
    met: [(u64, u64); Situation::ALL.len()],
}

impl Counts {
    /// How many histories ran.
    #[must_use]
    pub const fn histories(&self) -> u64 {
        self.histories
    }

    /// How many steps they had.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// How many transactions took a number.
    #[must_use]
    pub const fn transactions(&self) -> u64 {
        self.transactions
    }

    /// How often a replica was compared with the oracle: every cell of it.
    #[must_use]
    pub const fn checks(&self) -> u64 {
        self.checks
    }

    /// How often a situation occurred.
    #[must_use]
    pub fn times(&self, situation: Situation) -> u64 {
        self.of(situation).0
    }

    /// In how many histories a situation occurred.
    #[must_use]
    pub fn histories_with(&self, situation: Situation) -> u64 {
        self.of(situation).1
    }

    fn of(&self, situation: Situation) -> (u64, u64) {
        self.met.get(situation as usize).copied().unwrap_or_default()
    }

    /// The share of histories with a situation, in percent.
    #[must_use]
    pub fn percent(&self, situation: Situation) -> u64 {
        (100 * self.histories_with(situation)).checked_div(self.histories).unwrap_or(0)
    }

    /// Errs unless every situation occurred in at least this share of the histories.
    ///
    /// # Errors
    /// Names the situations that were too rare.
    pub fn require(&self, percent: u64) -> Result<(), TooRare> {
        self.require_of(&Situation::ALL, percent)
    }

    /// Errs unless each of these situations occurred in at least this share of the histories. For a subject that cannot meet
    /// all: one that keeps no deletes never falls back.
    ///
    /// # Errors
    /// Names the situations that were too rare.
    pub fn require_of(&self, situations: &[Situation], percent: u64) -> Result<(), TooRare> {
        let rare: Vec<_> =
            situations.iter().filter(|rare| self.percent(**rare) < percent).map(|rare| (*rare, self.percent(*rare))).collect();
        if rare.is_empty() { Ok(()) } else { Err(TooRare { percent, rare }) }
    }

    /// Adds the counts of other histories.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.transactions += other.transactions;
        self.checks += other.checks;
        for (ours, theirs) in self.met.iter_mut().zip(other.met) {
            *ours = (ours.0 + theirs.0, ours.1 + theirs.1);
        }
    }

    pub(super) const fn begin(&mut self) {
        self.histories += 1;
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

    /// Takes the situations back that were counted since `before`.
    pub(super) const fn take_back(&mut self, before: &Self) {
        self.met = before.met;
    }

    /// Counts a situation. For the counts of one history alone.
    pub(super) fn meet(&mut self, situation: Situation) {
        if let Some(met) = self.met.get_mut(situation as usize) {
            *met = (met.0 + 1, 1);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, steps, transactions, checks, .. } = self;
        writeln!(f, "{histories} histories, {steps} steps, {transactions} transactions, {checks} checks of a replica")?;
        writeln!(f, "{:<20} {:>12} {:>14} {:>14}", "situation", "times", "of 1000 steps", "% of histories")?;
        for situation in Situation::ALL {
            let (times, _) = self.of(situation);
            let share = (1000 * times).checked_div(*steps).unwrap_or(0);
            writeln!(f, "{situation:<20} {times:>12} {share:>14} {:>14}", self.percent(situation))?;
        }
        Ok(())
    }
}

/// Situations that occurred in too few histories to say anything about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooRare {
    percent: u64,
    rare: Vec<(Situation, u64)>,
}

impl fmt::Display for TooRare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in less than {} % of the histories:", self.percent)?;
        self.rare.iter().try_for_each(|(situation, percent)| write!(f, " {situation} ({percent} %)"))
    }
}

impl core::error::Error for TooRare {}
