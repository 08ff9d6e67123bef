//! A history as data: who does what, in which order, and what comes late, twice or not at all.

use core::fmt;

use super::cut::{At, Cut, REPLICAS_MAX};
use super::op::{Generator, Op};
use super::schema::{CellId, Schema};
use crate::causal::ReplicaId;
use crate::laws::Rng;

/// One step of a history. Replicas are numbered from 0; the steps that others refer to, by their place in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One transaction.
    Transact {
        /// Who writes.
        replica: usize,
        /// What.
        ops: Vec<Op>,
    },
    /// A read of a register, kept to be written over later.
    Read {
        /// Who reads.
        replica: usize,
        /// The register.
        cell: CellId,
    },
    /// A batch made and merged at once.
    Sync {
        /// Who makes it.
        from: usize,
        /// For whom, and who merges it.
        to: usize,
    },
    /// A batch made and kept.
    Prepare {
        /// Who makes it.
        from: usize,
        /// For whom.
        to: usize,
    },
    /// A batch that was kept, merged.
    Deliver {
        /// The step that prepared it.
        prepared: usize,
        /// Who merges it: need not be the one that it was made for.
        to: usize,
    },
    /// A transaction pushed as its own difference.
    Push {
        /// The step of the transaction.
        transacted: usize,
        /// Who applies it.
        to: usize,
    },
    /// Forgetting what is kept for peers.
    Truncate {
        /// Who forgets.
        replica: usize,
        /// Up to where: of each replica, the share of its events here, in thousandths.
        shares: [u16; REPLICAS_MAX],
    },
    /// Closing and opening.
    Restart {
        /// Who.
        replica: usize,
    },
    /// Setting the clock of one replica ahead of, or behind, the common one.
    Skew {
        /// Whose.
        replica: usize,
        /// By how much, in milliseconds.
        ms: i64,
    },
}

/// A history that has not happened yet. [`Runner`](super::Runner) draws one for each seed; a scenario is one written by hand.
///
/// A step that refers to a step that is not there (any more) does nothing; a write over a read that is not there, or that was
/// lost in a restart, takes a new one first. So any selection of the steps is a plan too: that is how a failure is shrunk.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The ids of the replicas: all different, at most [`REPLICAS_MAX`].
    pub replicas: Vec<ReplicaId>,
    /// The steps with the time of the common clock at each, in milliseconds. `None`: a step that was left out.
    pub steps: Vec<(u64, Option<Step>)>,
}

/// 2025-01-01: any time that is not near 0 will do.
pub(super) const EPOCH_MS: u64 = 1_735_689_600_000;

impl Plan {
    /// A plan without steps.
    #[must_use]
    pub const fn new(replicas: Vec<ReplicaId>) -> Self {
        Self { replicas, steps: Vec::new() }
    }

    /// Adds a step, a millisecond after the last one. Returns its place.
    pub fn push(&mut self, step: Step) -> usize {
        let place = self.steps.len();
        self.steps.push((EPOCH_MS + place as u64, Some(step)));
        place
    }

    /// The plan of a seed: 3 to 5 replicas, 60 to 90 steps.
    ///
    /// # Panics
    /// The schema has no cell.
    #[must_use]
    pub fn random(schema: &Schema, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut draw = Draw {
            ops: Generator::new(schema, &mut rng),
            plan: Self::new(replicas(3 + rng.index(3), &mut rng)),
            now_ms: EPOCH_MS,
            // With a clock that stands still, the stamps of different replicas are often equal.
            clock_stands: rng.chance(50),
            reads: vec![Vec::new(); REPLICAS_MAX],
            cuts: vec![Cut::default(); REPLICAS_MAX],
            prepared: Vec::new(),
            transacted: Vec::new(),
        };
        for _ in 0..60 + rng.index(31) {
            draw.step(&mut rng);
        }
        draw.plan
    }

    /// The steps, one a line, as in the trace of a failure.
    pub fn display<'a>(&'a self, schema: &'a Schema) -> impl fmt::Display + 'a {
        struct Trace<'a>(&'a Plan, &'a Schema);

        impl fmt::Display for Trace<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(plan, schema) = self;
                for (place, id) in plan.replicas.iter().enumerate() {
                    writeln!(f, "       {} is {id}", Name(place))?;
                }
                for (place, (_, step)) in plan.steps.iter().enumerate() {
                    if let Some(step) = step {
                        write!(f, "{place:>5}  ")?;
                        step.write(schema, f)?;
                        writeln!(f)?;
                    }
                }
                Ok(())
            }
        }

        Trace(self, schema)
    }
}

/// Ids that are equal in one half or the other, in an order that has nothing to do with their places.
fn replicas(count: usize, rng: &mut Rng) -> Vec<ReplicaId> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let id = ReplicaId::from_u128((u128::from(1 + rng.below(3)) << 64) | u128::from(1 + rng.below(3)));
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// What a plan is drawn with.
struct Draw<'a> {
    ops: Generator<'a>,
    plan: Plan,
    now_ms: u64,
    clock_stands: bool,
    /// Of each replica, the reads since its last restart.
    reads: Vec<Vec<(usize, CellId)>>,
    /// Of each replica, what it will have seen, if every transaction takes a number: enough to push mostly what can apply.
    cuts: Vec<Cut>,
    /// The last batches that were kept.
    prepared: Vec<Prepared>,
    /// The last transactions.
    transacted: Vec<Transacted>,
}

/// A batch: the step that made it, for whom, and what is in it.
#[derive(Clone, Copy)]
struct Prepared {
    place: usize,
    to: usize,
    cut: Cut,
}

/// A transaction: its step, and what its writer had seen.
#[derive(Clone, Copy)]
struct Transacted {
    place: usize,
    at: At,
    saw: Cut,
}

/// How many batches, transactions and reads back a plan reaches.
const RECENT: usize = 12;

impl Draw<'_> {
    fn step(&mut self, rng: &mut Rng) {
        let replica = rng.index(self.plan.replicas.len());
        match rng.below(100) {
            0..48 => self.transact(replica, rng),
            48..53 => self.read(replica, rng),
            53..70 => self.push_recent(replica, rng),
            70..75 => {
                let to = self.other(replica, rng);
                self.sync(replica, to, rng);
            }
            75..82 => {
                let to = self.other(replica, rng);
                let place = self.add(Step::Prepare { from: replica, to }, rng);
                let cut = self.cut(replica);
                remember(&mut self.prepared, Prepared { place, to, cut });
            }
            82..91 => self.deliver_recent(replica, rng),
            91..95 => {
                let shares = core::array::from_fn(|_| u16::try_from(rng.below(1001)).unwrap_or(1000));
                self.add(Step::Truncate { replica, shares }, rng);
            }
            95..98 => {
                self.add(Step::Restart { replica }, rng);
                if let Some(reads) = self.reads.get_mut(replica) {
                    reads.clear();
                }
            }
            _ => {
                let ms = rng.pick(&[-3000, -2, -1, 0, 1, 2, 3000]).copied().unwrap_or(0);
                self.add(Step::Skew { replica, ms }, rng);
            }
        }
    }

    /// A transaction, and what often follows at once: a batch to one peer, or a push to some.
    fn transact(&mut self, replica: usize, rng: &mut Rng) {
        let count = rng.pick(&[1, 1, 1, 2, 2, 3, 4, 5]).copied().unwrap_or(1);
        let reads = self.reads.get(replica).map_or(&[][..], Vec::as_slice);
        let ops = (0..count).map(|_| self.ops.op(reads, rng)).collect();
        let place = self.add(Step::Transact { replica, ops }, rng);
        let saw = self.cut(replica);
        let transacted = Transacted { place, at: saw.next_of(replica), saw };
        self.see(replica, &saw.with(transacted.at));
        remember(&mut self.transacted, transacted);
        match rng.below(4) {
            0 => {
                let to = self.other(replica, rng);
                self.sync(replica, to, rng);
            }
            1 => {
                for _ in 0..=rng.index(2) {
                    let to = self.other(replica, rng);
                    self.push(transacted, to, rng);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, replica: usize, rng: &mut Rng) {
        let Some(cell) = self.ops.register(rng) else { return };
        let place = self.add(Step::Read { replica, cell }, rng);
        if let Some(reads) = self.reads.get_mut(replica) {
            remember(reads, (place, cell));
        }
    }

    /// Mostly a transaction that can apply, sometimes any.
    fn push_recent(&mut self, to: usize, rng: &mut Rng) {
        let here = self.cut(to);
        let can_apply = |transacted: &&Transacted| here.covers(&transacted.saw) && here.is_next(transacted.at);
        let next: Vec<_> = self.transacted.iter().filter(can_apply).copied().collect();
        let from = if rng.chance(60) && !next.is_empty() { &next } else { &self.transacted };
        if let Some(transacted) = rng.pick(from).copied() {
            self.push(transacted, to, rng);
        }
    }

    fn deliver_recent(&mut self, replica: usize, rng: &mut Rng) {
        let Some(Prepared { place, to, cut }) = rng.pick(&self.prepared).copied() else { return };
        let to = if rng.chance(75) { to } else { replica };
        self.add(Step::Deliver { prepared: place, to }, rng);
        self.see(to, &cut);
    }

    fn push(&mut self, Transacted { place, at, saw }: Transacted, to: usize, rng: &mut Rng) {
        self.add(Step::Push { transacted: place, to }, rng);
        if self.cut(to).covers(&saw) {
            self.see(to, &saw.with(at));
        }
    }

    fn sync(&mut self, from: usize, to: usize, rng: &mut Rng) {
        self.add(Step::Sync { from, to }, rng);
        self.see(to, &self.cut(from));
    }

    fn cut(&self, replica: usize) -> Cut {
        self.cuts.get(replica).copied().unwrap_or_default()
    }

    fn see(&mut self, replica: usize, cut: &Cut) {
        if let Some(here) = self.cuts.get_mut(replica) {
            here.join(cut);
        }
    }

    fn other(&self, replica: usize, rng: &mut Rng) -> usize {
        let count = self.plan.replicas.len();
        (replica + 1 + rng.index(count.saturating_sub(1))) % count.max(1)
    }

    fn add(&mut self, step: Step, rng: &mut Rng) -> usize {
        if !self.clock_stands {
            self.now_ms += rng.below(3);
        }
        self.plan.steps.push((self.now_ms, Some(step)));
        self.plan.steps.len() - 1
    }
}

fn remember<T>(recent: &mut Vec<T>, item: T) {
    if recent.len() == RECENT {
        recent.remove(0);
    }
    recent.push(item);
}

/// A replica by its place: A, B, C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name(pub(super) usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = u8::try_from(self.0).ok().and_then(|place| b'A'.checked_add(place)).map_or('?', char::from);
        write!(f, "{letter}")
    }
}

impl Step {
    fn write(&self, schema: &Schema, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transact { replica, ops } => {
                write!(f, "{}: ", Name(*replica))?;
                ops.iter().enumerate().try_for_each(|(place, op)| {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", op.display(schema))
                })
            }
            Self::Read { replica, cell } => write!(f, "{}: read {}", Name(*replica), schema.at(*cell)),
            Self::Sync { from, to } => write!(f, "{} -> {}: sync", Name(*from), Name(*to)),
            Self::Prepare { from, to } => write!(f, "{} -> {}: prepare a batch", Name(*from), Name(*to)),
            Self::Deliver { prepared, to } => write!(f, "-> {}: deliver the batch of step {prepared}", Name(*to)),
            Self::Push { transacted, to } => write!(f, "-> {}: push the transaction of step {transacted}", Name(*to)),
            Self::Truncate { replica, shares } => write!(f, "{}: truncate at {shares:?} thousandths", Name(*replica)),
            Self::Restart { replica } => write!(f, "{}: restart", Name(*replica)),
            Self::Skew { replica, ms } => write!(f, "{}: clock {ms:+} ms from the common one", Name(*replica)),
        }
    }
}
