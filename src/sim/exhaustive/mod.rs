//! Every schedule, up to a bound.

use std::sync::Arc;

use super::cut::REPLICAS_MAX;
use super::history::{Failure, Runner};
use super::op::Op;
use super::plan::{EPOCH_MS, Plan, Step};
use super::schema::{CellId, Schema};
use super::subject::Subject;
use super::world::{Mismatch, World, guarded};
use crate::causal::ReplicaId;

/// Every schedule, up to a bound: which replica does what, and who merges from whom, in any order.
///
/// A schedule is a sequence of transactions, batches (and, if asked for, pushes, truncations and restarts). Three reductions
/// leave out schedules that say nothing new, and nothing else:
///
/// - A step without effect (a delete of what is absent, a batch that brings nothing) is carried out and checked, and ends its
///   schedule: whatever follows it, follows without it too.
/// - Of two neighbouring steps that meet at no replica, only one order is taken. The clock stands still, so stamps do not tell.
/// - Replicas begin to act in the order of their numbers, since which one is called A says nothing (but see
///   [`ids_fall`](Self::ids_fall)).
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Exhaustive, Kind, Naive, Op, Schema};
///
/// let schema = Arc::new(Schema::new().cell(&["visits"], &[], Kind::Counter));
/// let visits = schema.cell_ids().next().unwrap();
/// let explored = Exhaustive::new(&schema, 2, 4)
///     .transaction([Op::Add { cell: visits, amount: 1 }])
///     .transaction([Op::Clear(visits)])
///     .run(|replica| Naive::new(replica, &schema));
/// assert!(explored.unwrap().schedules > 100);
/// ```
#[derive(Debug, Clone)]
pub struct Exhaustive {
    schema: Arc<Schema>,
    replicas: usize,
    steps: usize,
    threads: usize,
    /// What a replica can do by itself.
    transactions: Vec<Vec<Op>>,
    pushes: bool,
    truncations: bool,
    restarts: bool,
    ids_fall: bool,
}

/// How much was explored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Explored {
    /// Schedules that ended: at the bound, with an exchange of all with all, or at a step without effect.
    pub schedules: u64,
    /// Steps that were carried out and checked, each once for all the schedules that begin with it.
    pub steps: u64,
}

impl Exhaustive {
    /// Schedules of so many replicas, which together make so many steps of their own: transactions, reads, truncations and
    /// restarts. Between these, batches and pushes go wherever they bring something; after the last one, one does.
    ///
    /// # Panics
    /// There are more than [`REPLICAS_MAX`] replicas.
    #[must_use]
    pub fn new(schema: &Arc<Schema>, replicas: usize, steps: usize) -> Self {
        assert!(replicas <= REPLICAS_MAX, "at most {REPLICAS_MAX} replicas");
        Self {
            schema: Arc::clone(schema),
            replicas,
            steps,
            threads: 1,
            transactions: Vec::new(),
            pushes: false,
            truncations: false,
            restarts: false,
            ids_fall: false,
        }
    }

    /// Adds a transaction that each replica may make at any step. A [`Op::SetOver`] in it writes over the replica's last read
    /// of the register, which is a step of its own, or takes a new one if there is none; its `read` is not looked at.
    #[must_use]
    pub fn transaction(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.transactions.push(ops.into_iter().collect());
        self
    }

    /// Adds pushes of any earlier transaction to any replica. One that has to wait, or was there already, is without effect.
    #[must_use]
    pub const fn pushes(mut self) -> Self {
        self.pushes = true;
        self
    }

    /// Adds truncations of a replica at its version: everything kept for peers is forgotten.
    #[must_use]
    pub const fn truncations(mut self) -> Self {
        self.truncations = true;
        self
    }

    /// Adds restarts.
    #[must_use]
    pub const fn restarts(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// Lets the ids of the replicas fall in the order in which they begin to act, where they grow otherwise. A register shows
    /// the one or the other of two writes with equal stamps.
    #[must_use]
    pub const fn ids_fall(mut self) -> Self {
        self.ids_fall = true;
        self
    }

    /// On how many threads.
    #[must_use]
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Explores; `make` makes a replica that has seen nothing. For a subject that cannot be cloned: each step begins with a run
    /// of all the steps before it.
    ///
    /// # Errors
    /// The first failure that one of the threads found.
    pub fn run<S: Subject>(&self, make: impl Fn(ReplicaId) -> S + Sync) -> Result<Explored, Box<Failure>> {
        self.explore(&make, &|_, plan| {
            let mut world = World::new(&self.schema, &plan.replicas, &make);
            for (no, (now_ms, step)) in plan.steps.iter().enumerate() {
                if let Some(step) = step {
                    world.step(no, *now_ms, step)?;
                }
            }
            Ok(world)
        })
    }

    /// As [`run`](Self::run), for a subject whose clone is another replica with the same state: several times as fast.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_cloned<S>(&self, make: impl Fn(ReplicaId) -> S + Sync) -> Result<Explored, Box<Failure>>
    where
        S: Subject<Seen: Clone> + Clone,
    {
        self.explore(&make, &|world: &World<S>, _| Ok(world.clone()))
    }

    fn explore<S: Subject>(
        &self,
        make: &(impl Fn(ReplicaId) -> S + Sync),
        fork: &(impl Fn(&World<S>, &Plan) -> Result<World<S>, Mismatch> + Sync),
    ) -> Result<Explored, Box<Failure>> {
        let mut ids: Vec<_> = (1_u128..).map(ReplicaId::from_u128).take(self.replicas).collect();
        if self.ids_fall {
            ids.reverse();
        }
        let lanes = self.threads.max(1);
        let run_lane = |lane: usize| {
            let mut walk = Walk {
                bounds: self,
                fork,
                plan: Plan::new(ids.clone()),
                lane,
                lanes,
                branch: 0,
                explored: Explored::default(),
            };
            let walked = walk.descend(World::new(&self.schema, &ids, make));
            walked.map(|()| walk.explored).map_err(|mismatch| self.failure(&walk.plan, mismatch, make))
        };
        let lanes: Vec<_> = if lanes == 1 {
            vec![run_lane(0)]
        } else {
            let run_lane = &run_lane;
            std::thread::scope(|scope| {
                let lanes: Vec<_> = (0..lanes).map(|lane| scope.spawn(move || run_lane(lane))).collect();
                lanes.into_iter().map(|lane| lane.join().expect("panics of a step are caught")).collect()
            })
        };
        let mut explored = Explored::default();
        for lane in lanes {
            let Explored { schedules, steps } = lane?;
            explored.schedules += schedules;
            explored.steps += steps;
        }
        Ok(explored)
    }

    /// Runs the schedule once more, as a history: that also leaves out what the failure does not need.
    fn failure<S: Subject>(&self, plan: &Plan, mismatch: Mismatch, make: &impl Fn(ReplicaId) -> S) -> Box<Failure> {
        let again = Runner::new(&self.schema).replay(plan, make);
        again.err().unwrap_or_else(|| Failure::new(&self.schema, plan, plan.steps.len().checked_sub(1), mismatch))
    }
}

/// A walk through the tree of schedules, depth first.
struct Walk<'a, F> {
    bounds: &'a Exhaustive,
    fork: &'a F,
    /// The schedule so far.
    plan: Plan,
    /// Which of the branches this walk explores: every `lanes`-th, counted where the schedules are [`FORK_DEPTH`] long.
    lane: usize,
    lanes: usize,
    branch: usize,
    explored: Explored,
}

const FORK_DEPTH: usize = 2;

impl<F> Walk<'_, F> {
    fn descend<S: Subject>(&mut self, mut world: World<S>) -> Result<(), Mismatch>
    where
        F: Fn(&World<S>, &Plan) -> Result<World<S>, Mismatch>,
    {
        let depth = self.plan.steps.len();
        if depth == FORK_DEPTH {
            self.branch += 1;
            if self.branch % self.lanes != self.lane {
                return Ok(());
            }
        }
        let is_counted = depth >= FORK_DEPTH || self.lane == 0;
        let choices = self.choices(&world);
        if choices.is_empty() {
            self.explored.schedules += u64::from(is_counted);
            return guarded(|| world.finish_shortly(EPOCH_MS));
        }
        for step in choices {
            let mut next = guarded(|| (self.fork)(&world, &self.plan))?;
            self.plan.steps.push((EPOCH_MS, Some(step.clone())));
            guarded(|| next.step(depth, EPOCH_MS, &step))?;
            self.explored.steps += u64::from(is_counted);
            let is_lasting = matches!(step, Step::Read { .. } | Step::Truncate { .. } | Step::Restart { .. });
            if is_lasting || !next.is_where(&world) {
                self.descend(next)?;
            } else {
                self.explored.schedules += u64::from(is_counted);
            }
            self.plan.steps.pop();
        }
        Ok(())
    }

    fn taken(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.plan.steps.iter().filter_map(|(_, step)| step.as_ref())
    }

    /// What can happen next.
    fn choices<S: Subject>(&self, world: &World<S>) -> Vec<Step> {
        let Exhaustive { schema, replicas, pushes, truncations, restarts, .. } = self.bounds;
        let mut choices = Vec::new();
        let is_over = self.taken().filter(|step| is_own(step)).count() == self.bounds.steps;
        if is_over && self.is_last_step_spread() {
            return Vec::new();
        }
        let used = self.taken().map(|step| meets(step).0 + 1).max().unwrap_or(0);
        for replica in 0..(*replicas).min(used + 1) {
            let others = (0..*replicas).filter(|from| *from != replica);
            choices.extend(others.filter(|from| world.has_news(*from, replica)).map(|from| Step::Sync { from, to: replica }));
            if *pushes {
                choices.extend(world.pushable().map(|transacted| Step::Push { transacted, to: replica }));
            }
            if is_over {
                continue;
            }
            choices.extend(self.bounds.transactions.iter().map(|ops| self.transaction(replica, ops)));
            let written_over = schema.cell_ids().filter(|cell| self.bounds.writes_over(*cell));
            choices.extend(written_over.map(|cell| Step::Read { replica, cell }));
            if *truncations {
                choices.push(Step::Truncate { replica, shares: [1000; REPLICAS_MAX] });
            }
            if *restarts {
                choices.push(Step::Restart { replica });
            }
        }
        choices.retain(|step| self.is_worth(step));
        choices
    }

    /// Whether a batch or a push has carried the last own step on, or could have.
    fn is_last_step_spread(&self) -> bool {
        let Some(last) = self.taken().rfind(|step| is_own(step)).map(|step| meets(step).0) else { return false };
        let mut later = self.taken().rev().take_while(|step| !is_own(step)).map(meets);
        later.any(|(to, from)| to == last || from == last)
    }

    fn transaction(&self, replica: usize, ops: &[Op]) -> Step {
        let mut ops = ops.to_vec();
        for op in &mut ops {
            if let Op::SetOver { cell, read, .. } = op {
                let taken = Some(Step::Read { replica, cell: *cell });
                let last = self.plan.steps.iter().rposition(|(_, step)| *step == taken);
                *read = last.unwrap_or(self.plan.steps.len());
            }
        }
        Step::Transact { replica, ops }
    }

    /// Whether the schedule with this step is taken: not if the step just repeats what it did, or if it and the last step meet
    /// at no replica and the other order is taken.
    fn is_worth(&self, step: &Step) -> bool {
        let Some(last) = self.taken().next_back() else { return true };
        let [(to, from), (last_to, last_from)] = [meets(step), meets(last)];
        let is_lasting = matches!(step, Step::Read { .. } | Step::Truncate { .. } | Step::Restart { .. });
        let last_here = self.taken().rfind(|before| meets(before).0 == to || meets(before).1 == to);
        if is_lasting && last_here == Some(step) {
            return false;
        }
        let is_of_last = matches!(step, Step::Push { transacted, .. } if transacted + 1 == self.plan.steps.len());
        let is_apart = to != last_to && to != last_from && from != last_to && from != last_from;
        !(is_apart && !is_of_last && to < last_to)
    }
}

const fn is_own(step: &Step) -> bool {
    !matches!(step, Step::Sync { .. } | Step::Push { .. })
}

/// The replica that a step changes, and the other that it concerns, or the same again.
const fn meets(step: &Step) -> (usize, usize) {
    match step {
        Step::Transact { replica, .. }
        | Step::Read { replica, .. }
        | Step::Truncate { replica, .. }
        | Step::Restart { replica }
        | Step::Skew { replica, .. } => (*replica, *replica),
        Step::Sync { from, to } | Step::Prepare { from, to } => (*to, *from),
        Step::Deliver { to, .. } | Step::Push { to, .. } => (*to, *to),
    }
}

impl Exhaustive {
    fn writes_over(&self, read: CellId) -> bool {
        self.transactions.iter().flatten().any(|op| matches!(op, Op::SetOver { cell, .. } if *cell == read))
    }
}

#[cfg(test)]
mod tests;
