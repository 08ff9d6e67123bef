//! What was checked, and what was met.

use alloc::vec::Vec;
use core::fmt;

/// Something that goes wrong, or is rare, in real life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Situation {
    /// A delta never arrived anywhere.
    Loss,
    /// A message arrived again.
    Repetition,
    /// A message arrived after a later one of the same replica.
    Reordering,
    /// A message arrived after its replica had gone on.
    Late,
    /// A delta arrived before one that its replica knew.
    Gap,
    /// Several messages arrived as one.
    Group,
    /// An operation, while another one was not known.
    Concurrent,
    /// A replica restarted.
    Restart,
    /// An operation at a copy of a replica.
    Clone,
    /// An operation was refused.
    Refused,
}

impl Situation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Loss,
        Self::Repetition,
        Self::Reordering,
        Self::Late,
        Self::Gap,
        Self::Group,
        Self::Concurrent,
        Self::Restart,
        Self::Clone,
        Self::Refused,
    ];
}

/// What a [`Suite`](super::Suite) did. A check that never meets a situation says nothing about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Histories.
    pub cases: u64,
    /// Steps of all histories.
    pub steps: u64,
    /// Comparisons.
    pub checks: u64,
    /// How often each situation was met, in the order of [`Situation::ALL`].
    met: [u64; Situation::ALL.len()],
}

impl Report {
    /// How often it was met.
    #[must_use]
    pub fn count(&self, situation: Situation) -> u64 {
        self.met.get(situation as usize).copied().unwrap_or(0)
    }

    /// What was never met. Without operations that can be refused, [`Situation::Refused`] is among them.
    #[must_use]
    pub fn unmet(&self) -> Vec<Situation> {
        Situation::ALL.into_iter().filter(|situation| self.count(*situation) == 0).collect()
    }

    pub(super) fn meet(&mut self, situation: Situation) {
        if let Some(met) = self.met.get_mut(situation as usize) {
            *met += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.steps += other.steps;
        self.checks += other.checks;
        for (ours, theirs) in self.met.iter_mut().zip(other.met) {
            *ours += theirs;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cases, {} steps, {} checks;", self.cases, self.steps, self.checks)?;
        for situation in Situation::ALL {
            write!(f, " {situation:?} {}", self.count(situation))?;
        }
        Ok(())
    }
}
