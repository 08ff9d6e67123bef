//! How a law was broken.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Debug};

use super::Step;

/// A broken law, and the shortest history that was found to break it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure<Op> {
    /// Which law.
    pub law: &'static str,
    /// Its history again: `.seed(seed).cases(1)`.
    pub seed: u64,
    /// How many cases had passed.
    pub case: u64,
    /// Steps and their numbers; those that were left out are not needed.
    pub trace: Vec<(usize, Step<Op>)>,
    /// What the law says.
    pub expected: String,
    /// What was.
    pub observed: String,
}

impl<Op: Debug> fmt::Display for Failure<Op> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "law broken: {}; seed {}, after {} cases", self.law, self.seed, self.case)?;
        writeln!(f, "  expected: {}", self.expected)?;
        writeln!(f, "  observed: {}", self.observed)?;
        for (number, step) in &self.trace {
            writeln!(f, "  {number:3}  {step}")?;
        }
        Ok(())
    }
}

impl<Op: Debug> core::error::Error for Failure<Op> {}
