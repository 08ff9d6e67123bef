//! Copies of stores: rolled back, restored, cloned; checked against the oracle.
//!
//! ```text
//!      original ──┬── writes on, gives away, or is gone ───────────────┐
//!                 │ copied                                             ├─▶ all meet: equal bytes, nothing lost
//!                 └── copy ── writes offline ── meets peers, new id ───┘
//! ```
//!
//! A copy has the id of its original, and two events must never have one number. So whoever finds out that a peer knows more of its
//! id than it ever gave away takes a new id, and writes again under that what it had not given away. To the oracle an original and
//! its copy are two replicas from the moment of copying on: what the copy held and the original had not given away by then, is
//! recorded once more as the copy's own. So a read of the copy must be the same before and after its new id.

mod checks;
mod counts;
mod forks;
mod images;
mod place;
#[cfg(test)]
mod tests;
mod told;
mod world;

use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::schema::{Kind, Schema};
use crate::laws::Rng;
use crate::sim::seeds::Seeds;
use forks::Forks;
use world::World;

pub use counts::{CopyCounts, CopySituation};
pub use forks::ForkCounts;

/// Runs random histories in which stores are copied at random moments, and checks every store against the oracle after every step.
/// One seed, one run, on every machine.
///
/// ```
/// use tombolo::sim::Copies;
///
/// let counts = Copies::new().runs(20).run().unwrap();
/// assert_eq!(counts.runs(), 20);
/// ```
#[derive(Debug, Clone)]
pub struct Copies {
    seeds: Seeds,
    shrinks: bool,
}

impl Default for Copies {
    fn default() -> Self {
        Self::new()
    }
}

impl Copies {
    /// One run, of seed 0, on one thread.
    #[must_use]
    pub const fn new() -> Self {
        Self { seeds: Seeds::ONE, shrinks: true }
    }

    /// The seed of the first run; the others have the following ones.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seeds.first = seed;
        self
    }

    /// How many runs.
    #[must_use]
    pub const fn runs(mut self, runs: u64) -> Self {
        self.seeds.count = runs;
        self
    }

    /// On how many threads.
    #[must_use]
    pub const fn threads(mut self, threads: usize) -> Self {
        self.seeds.threads = threads;
        self
    }

    /// Whether steps that a failure does not need are left out of its trace.
    #[must_use]
    pub const fn shrinks(mut self, shrinks: bool) -> Self {
        self.shrinks = shrinks;
        self
    }

    /// Runs them.
    ///
    /// # Errors
    /// The failure of the lowest seed among those that were found. A thread stops at its first.
    ///
    /// # Panics
    /// A thread cannot be started.
    pub fn run(&self) -> Result<CopyCounts, CopyFailure> {
        self.seeds.run(|seed| self.run_seed(seed), |all, run| all.add(&run))
    }

    /// Runs histories in which an original and its copy may both give away what they wrote before either knows of the other. Nothing
    /// can mend that. Checked is that stores that end up different have told of it, that every store stays whole, and that none
    /// panics.
    ///
    /// ```
    /// let counts = tombolo::sim::Copies::new().runs(20).run_forks().unwrap();
    /// assert!(counts.forked > 0);
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_forks(&self) -> Result<ForkCounts, CopyFailure> {
        let run = |schema: &Arc<Schema>, start, steps: &[u64]| {
            let mut forks = Forks::new(schema, start);
            let done = guarded(|| {
                steps.iter().try_for_each(|step| forks.step(*step))?;
                forks.finish()
            });
            done.map_err(|(is_panic, what)| CopyFailure { seed: 0, is_panic, what, trace: forks.trace })
        };
        self.seeds.run(|seed| self.shrunk(seed, run), |all, run| all.add(&run))
    }

    fn run_seed(&self, seed: u64) -> Result<CopyCounts, CopyFailure> {
        self.shrunk(seed, |schema, start, steps| {
            let mut world = World::new(schema, start);
            let done = guarded(|| {
                steps.iter().try_for_each(|step| world.step(*step))?;
                world.finish()
            });
            done.map_err(|(is_panic, what)| CopyFailure { seed: 0, is_panic, what, trace: world.trace })?;
            world.counts.run();
            Ok(world.counts)
        })
    }

    /// Runs a seed; if it fails, with as few of its steps as it takes.
    fn shrunk<T>(
        &self,
        seed: u64,
        run: impl Fn(&Arc<Schema>, u64, &[u64]) -> Result<T, CopyFailure>,
    ) -> Result<T, CopyFailure> {
        let mut rng = Rng::new(seed);
        let schema = Arc::new(if rng.chance(50) { Schema::every_kind() } else { counters() });
        let mut steps: Vec<_> = (0..50 + rng.index(50)).map(|_| rng.next_u64()).collect();
        let start = rng.next_u64();
        let mut failure = match run(&schema, start, &steps) {
            Ok(counts) => return Ok(counts),
            Err(failure) => failure,
        };
        // Each run of a panic would print it again.
        let mut len = if self.shrinks && !failure.is_panic { steps.len().next_power_of_two() } else { 0 };
        while len > 0 {
            let mut is_shorter = false;
            for at in (0..steps.len()).step_by(len).rev() {
                let mut less = steps.clone();
                let _left_out = less.drain(at..(at + len).min(less.len())).count();
                if less.len() < steps.len()
                    && let Err(found) = run(&schema, start, &less)
                    && !found.is_panic
                {
                    (steps, failure, is_shorter) = (less, found, true);
                }
            }
            if len > 1 || !is_shorter {
                len /= 2;
            }
        }
        Err(CopyFailure { seed, ..failure })
    }
}

/// Mostly counters: theirs is the only row that a store must be able to take back.
fn counters() -> Schema {
    Schema::new()
        .cell(&["visits"], &[], Kind::Counter)
        .cell(&["note", "1"], &["likes"], Kind::Counter)
        .cell(&["note", "1"], &["meta", "hits"], Kind::Counter)
        .cell(&["note", "1"], &["title"], Kind::Register)
        .cell(&["tags"], &[], Kind::Set)
}

/// Makes a panic an error, and says so.
fn guarded<T>(run: impl FnOnce() -> place::Checked<T>) -> Result<T, (bool, String)> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(|what| (false, what)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err((true, format!("a panic: {}", text.unwrap_or("a payload that is not text"))))
        }
    }
}

/// Something in a run was not as it must be. Displays the whole story.
#[derive(Clone)]
pub struct CopyFailure {
    seed: u64,
    is_panic: bool,
    what: String,
    trace: Vec<String>,
}

impl CopyFailure {
    /// The seed of the run.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

impl fmt::Display for CopyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run of seed {}: {}", self.seed, self.what)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// As it displays, so that `unwrap` and `?` in a test tell the story.
impl fmt::Debug for CopyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for CopyFailure {}
