//! Whole clusters, one for each seed: replicas write, the network fails, and after every step of every replica the oracle is asked.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::sim::schema::Schema;
use crate::sim::seeds::Seeds;

use super::counts::NetCounts;
use super::scenario::Scenario;
use super::shrink;
use super::world::World;

/// Runs clusters of a schema, one for each seed: 2 to 6 stores, linked in some way, that write while links are lost and cut, nodes are
/// stopped and clocks set. After each thing that a node handles, what its store reads must be what the [`Oracle`](crate::sim::Oracle) says of its version. At
/// the end, when the links are mended, all must be the same within ten exchange intervals, and two for each store beyond
/// the second.
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Cluster, Schema};
///
/// let counts = Cluster::new(&Arc::new(Schema::every_kind())).runs(3).run().unwrap();
/// assert!(counts.delivered > 0 && counts.faults() > 0);
/// ```
#[derive(Debug, Clone)]
pub struct Cluster {
    schema: Arc<Schema>,
    seeds: Seeds,
}

impl Cluster {
    /// One run, of seed 0.
    #[must_use]
    pub fn new(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), seeds: Seeds::ONE }
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

    /// Runs them.
    ///
    /// # Errors
    /// The failure of the lowest seed among those that were found. A thread stops at its first.
    ///
    /// # Panics
    /// The schema has no cell.
    pub fn run(&self) -> Result<NetCounts, Box<ClusterFailure>> {
        self.seeds.run(|seed| self.run_one(seed), |all, run| *all += run)
    }

    fn run_one(&self, seed: u64) -> Result<NetCounts, Box<ClusterFailure>> {
        run(&self.schema, &Scenario::draw(seed)).map_err(|failure| Box::new(ClusterFailure { seed, ..*failure }))
    }

    /// Runs one, and returns what stands for everything that happened in it.
    #[cfg(test)]
    pub(super) fn trace(&self) -> u64 {
        let scenario = Scenario::draw(self.seeds.first);
        let mut world = World::new(&self.schema, &scenario);
        world.run().expect("the run of this seed passes");
        world.network.trace()
    }
}

/// Runs a scenario, and looks for the smallest one that fails, if it fails.
pub(super) fn run(schema: &Arc<Schema>, scenario: &Scenario) -> Result<NetCounts, Box<ClusterFailure>> {
    run_once(schema, scenario).map_err(|failure| shrink::smallest(failure, |smaller| run_once(schema, smaller).err()))
}

/// Runs a scenario. A panic is a failure.
pub(super) fn run_once(schema: &Arc<Schema>, scenario: &Scenario) -> Result<NetCounts, Box<ClusterFailure>> {
    let failure = |at, what, trace| {
        let scenario = scenario.clone();
        Box::new(ClusterFailure { seed: scenario.seed, at, what, trace, scenario })
    };
    if let Some(fault) = scenario.fault() {
        return Err(failure(0, fault, Vec::new()));
    }
    let mut world = World::new(schema, scenario);
    // What panicked is not used again.
    let done = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("a payload that is not text")))
    });
    done.map_err(|what| failure(world.network.now(), what, world.trace()))?;
    Ok(world.counts())
}

/// What is wrong, and what happened before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterFailure {
    /// The seed of the run that was found to fail.
    pub seed: u64,
    /// The smallest scenario that was found to fail in its place. Of it is what follows.
    pub scenario: Scenario,
    /// When, in microseconds of the run.
    pub at: u64,
    /// What is not as it must be.
    pub what: String,
    /// What writers and faults did last.
    pub trace: Vec<String>,
}

impl fmt::Display for ClusterFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster of seed {}, made smaller, after {:.6} s: {}", self.seed, self.at as f64 / 1e6, self.what)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "as a scenario:\n{}", self.scenario)
    }
}

impl std::error::Error for ClusterFailure {}
