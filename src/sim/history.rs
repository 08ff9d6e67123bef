//! Runs random histories, many at a time, and says what is wrong in the shortest way.

use core::fmt;
use std::sync::Arc;

use super::counts::Counts;
use super::plan::{Name, Plan};
use super::schema::Schema;
use super::seeds::Seeds;
use super::subject::Subject;
use super::world::{self, Mismatch};
use crate::causal::ReplicaId;

/// Runs histories of a schema against subjects. One seed, one history, on every machine.
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Naive, Runner, Schema};
///
/// let schema = Arc::new(Schema::every_kind());
/// let counts = Runner::new(&schema).histories(20).run(|replica| Naive::new(replica, &schema));
/// assert_eq!(counts.map(|counts| counts.histories()), Ok(20));
/// ```
#[derive(Debug, Clone)]
pub struct Runner {
    schema: Arc<Schema>,
    seeds: Seeds,
    shrinks: bool,
}

impl Runner {
    /// One history, of seed 0, on one thread.
    #[must_use]
    pub fn new(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), seeds: Seeds::ONE, shrinks: true }
    }

    /// The seed of the first history; the others have the following ones.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seeds.first = seed;
        self
    }

    /// How many histories.
    #[must_use]
    pub const fn histories(mut self, histories: u64) -> Self {
        self.seeds.count = histories;
        self
    }

    /// On how many threads.
    #[must_use]
    pub const fn threads(mut self, threads: usize) -> Self {
        self.seeds.threads = threads;
        self
    }

    /// Whether steps and operations that a failure does not need are taken out of its trace: up to a thousand more runs.
    #[must_use]
    pub const fn shrinks(mut self, shrinks: bool) -> Self {
        self.shrinks = shrinks;
        self
    }

    /// Runs the histories; `make` makes a replica that has seen nothing.
    ///
    /// # Errors
    /// The failure of the lowest seed among those that were found. A thread stops at its first.
    ///
    /// # Panics
    /// The schema has no cell.
    pub fn run<S: Subject>(&self, make: impl Fn(ReplicaId) -> S + Sync) -> Result<Counts, Box<Failure>> {
        self.seeds.run(|seed| self.run_seed(seed, &make), |all, history| all.add(&history))
    }

    fn run_seed<S: Subject>(&self, seed: u64, make: &impl Fn(ReplicaId) -> S) -> Result<Counts, Box<Failure>> {
        let plan = Plan::random(&self.schema, seed);
        self.replay(&plan, make).map_err(|mut failure| {
            failure.seed = Some(seed);
            failure
        })
    }

    /// Runs one plan.
    ///
    /// # Errors
    /// The first thing that was not as it must be.
    pub fn replay<S: Subject>(&self, plan: &Plan, make: impl Fn(ReplicaId) -> S) -> Result<Counts, Box<Failure>> {
        let (step, mismatch) = match world::run(&self.schema, plan, &make) {
            Ok(counts) => return Ok(counts),
            Err(failed) => failed,
        };
        // Each run of a panic would print it again.
        if !self.shrinks || mismatch.is_panic {
            return Err(Failure::new(&self.schema, plan, step, mismatch));
        }
        let (plan, step, mismatch) = shrink(&self.schema, plan.clone(), step, mismatch, &make);
        Err(Failure::new(&self.schema, &plan, step, mismatch))
    }
}

/// How many runs a failure may take to be shrunk.
const SHRINK_RUNS_MAX: usize = 1_000;

/// Leaves out every step, then every operation, without which something still fails.
fn shrink<S: Subject>(
    schema: &Arc<Schema>,
    mut plan: Plan,
    step: Option<usize>,
    mismatch: Mismatch,
    make: &impl Fn(ReplicaId) -> S,
) -> (Plan, Option<usize>, Mismatch) {
    let mut found = (step, mismatch);
    let mut runs = 0;
    let mut fails = |plan: &Plan| {
        runs += 1;
        if runs > SHRINK_RUNS_MAX {
            return None;
        }
        world::run(schema, plan, make).err()
    };
    if let Some(step) = step {
        plan.steps.truncate(step + 1);
    }
    let mut len = plan.steps.len().next_power_of_two();
    while len > 0 {
        let mut is_shorter = false;
        for start in (0..plan.steps.len()).step_by(len).rev() {
            let mut less = plan.clone();
            let mut is_less = false;
            for (_, step) in less.steps.iter_mut().skip(start).take(len) {
                is_less |= step.take().is_some();
            }
            if is_less && let Some(failure) = fails(&less) {
                (plan, found) = (less, failure);
                is_shorter = true;
            }
        }
        // Without one step, others may have become needless: single steps are tried until none is.
        if len > 1 || !is_shorter {
            len /= 2;
        }
    }
    for place in 0..plan.steps.len() {
        for op in (0..5).rev() {
            let mut less = plan.clone();
            let Some((_, Some(super::plan::Step::Transact { ops, .. }))) = less.steps.get_mut(place) else { break };
            if ops.len() > 1 && op < ops.len() {
                ops.remove(op);
                if let Some(failure) = fails(&less) {
                    (plan, found) = (less, failure);
                }
            }
        }
    }
    (plan, found.0, found.1)
}

/// Something in a history was not as it must be. Displays the whole story.
#[derive(Clone)]
pub struct Failure {
    seed: Option<u64>,
    step: Option<usize>,
    mismatch: Mismatch,
    replicas: Vec<ReplicaId>,
    trace: String,
}

impl Failure {
    pub(super) fn new(schema: &Schema, plan: &Plan, step: Option<usize>, mismatch: Mismatch) -> Box<Self> {
        let trace = plan.display(schema).to_string().trim_end().to_owned();
        Box::new(Self { seed: None, step, mismatch, replicas: plan.replicas.clone(), trace })
    }

    /// The seed of the history; `None` for a plan that was written by hand.
    #[must_use]
    pub const fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// What was wrong: a cell, or what else was compared.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.mismatch.what
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { replica, what, expected, observed, .. } = &self.mismatch;
        match self.seed {
            Some(seed) => write!(f, "history of seed {seed}, ")?,
            None => write!(f, "plan, ")?,
        }
        match self.step {
            Some(step) => write!(f, "step {step}")?,
            None => write!(f, "exchange at the end")?,
        }
        if let Some(replica) = replica {
            write!(f, ", replica {}", Name(*replica))?;
        }
        let named = |text: &str| {
            let names = self.replicas.iter().enumerate();
            names.fold(text.to_owned(), |text, (place, id)| text.replace(&id.to_string(), &Name(place).to_string()))
        };
        writeln!(f, ": {what}\n  expected: {}\n  observed: {}", named(expected), named(observed))?;
        write!(f, "{}", self.trace)
    }
}

/// As it displays, so that `unwrap` and `?` in a test tell the story.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Failure {}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Defect, Kind, Naive, Op, Step};

    #[test]
    fn a_seed_is_one_history_on_any_number_of_threads() {
        let schema = Arc::new(Schema::every_kind());
        let run = |threads| Runner::new(&schema).histories(100).threads(threads).run(|replica| Naive::new(replica, &schema));
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn a_failure_names_its_seed_and_leaves_needless_steps_out() {
        let schema = Arc::new(Schema::every_kind());
        let make = |replica| Naive::new(replica, &schema).with(Defect::LatticeDeltaAlone);
        let failure = Runner::new(&schema).histories(100).run(make).unwrap_err();
        let seed = failure.seed().unwrap();
        let again = Runner::new(&schema).seed(seed).run(make).unwrap_err();
        assert_eq!(failure, again);
        let whole = Runner::new(&schema).seed(seed).shrinks(false).run(make).unwrap_err().to_string();
        let story = failure.to_string();
        assert!(story.contains(&format!("seed {seed}")) && story.contains("join"), "{story}");
        assert!(story.lines().count() <= 10 && whole.lines().count() > 60, "{story}\n{whole}");
    }

    /// B has added 5; A deletes that while B adds 3 more: 3 are left.
    #[test]
    fn a_plan_by_hand_is_a_scenario() {
        let schema = Arc::new(Schema::new().cell(&["visits"], &[], Kind::Counter));
        let visits = schema.cell_id(&["visits"], &[], Kind::Counter).unwrap();
        let [a, b] = [0, 1];
        let add = |amount| Step::Transact { replica: b, ops: vec![Op::Add { cell: visits, amount }] };
        let mut plan = Plan::new(vec![ReplicaId::from_u128(1), ReplicaId::from_u128(2)]);
        plan.push(add(5));
        let prepared = plan.push(Step::Prepare { from: b, to: a });
        plan.push(Step::Deliver { prepared, to: a });
        plan.push(Step::Transact { replica: a, ops: vec![Op::Clear(visits)] });
        let transacted = plan.push(add(3));
        plan.push(Step::Push { transacted, to: a });
        let runner = Runner::new(&schema);
        runner.replay(&plan, |replica| Naive::new(replica, &schema)).unwrap();
        let broken = |replica| Naive::new(replica, &schema).with(Defect::ResetsNotAddressed);
        assert_eq!(runner.replay(&plan, broken).unwrap_err().what(), "counter visits");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let schema = Arc::new(Schema::every_kind());
        let mut plan = Plan::new(vec![ReplicaId::from_u128(1)]);
        plan.push(Step::Restart { replica: 9 });
        let failure = Runner::new(&schema).replay(&plan, |replica| Naive::new(replica, &schema)).unwrap_err();
        assert_eq!(failure.what(), "a panic");
    }
}
