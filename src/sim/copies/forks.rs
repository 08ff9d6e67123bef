//! Forks: an original and its copy have both written, and both have given it away, before either knew of the other. Nothing can mend
//! that. What is left to ask for: somebody is told, nothing panics, and every store is whole.
#![expect(clippy::indexing_slicing, reason = "stores are numbered here; a wrong number is a bug of this module")]

use core::fmt;
use std::sync::Arc;

use super::place::{Checked, Keep, say};
use crate::causal::{ReplicaId, VersionVector};
use crate::kv::StoreEvent;
use crate::sim::op::Generator;
use crate::sim::schema::Schema;
use crate::sim::store::StoreSubject;
use crate::sim::subject::{Merged, Subject};
use crate::sim::{Rng, plan};
use crate::storage::Memory;

/// How the forks of some runs came out. From [`Copies::run_forks`](super::Copies::run_forks).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkCounts {
    /// How many runs.
    pub runs: u64,
    /// Runs with at least one fork: one number, two events, both given away.
    pub forked: u64,
    /// Of these, in how many it was found from the histories ([`StoreEvent::Forked`]).
    pub told_by_history: u64,
    /// Of these, in how many it was found from the contents alone ([`StoreEvent::Diverged`]).
    pub told_by_contents: u64,
    /// Of these, in how many nobody was told. All stores are equal then: what differed was written over or deleted meanwhile, or one
    /// side's events hid those of the other.
    pub untold: u64,
    /// Runs in which a fork was told of, and both sides had given away the same events: one of them together with later ones.
    pub false_alarms: u64,
}

impl ForkCounts {
    pub(super) const fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.forked += other.forked;
        self.told_by_history += other.told_by_history;
        self.told_by_contents += other.told_by_contents;
        self.untold += other.untold;
        self.false_alarms += other.false_alarms;
    }
}

impl fmt::Display for ForkCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, forked, told_by_history, told_by_contents, untold, false_alarms } = self;
        writeln!(
            f,
            "{runs} runs, {forked} with a fork: told by history {told_by_history}, by contents alone {told_by_contents}, "
        )?;
        writeln!(f, "nobody told {untold}; false alarms {false_alarms}")
    }
}

/// A transaction of a store: the numbers that it took of an id.
struct Taken {
    id: ReplicaId,
    lo: u64,
    hi: u64,
    /// Different transactions have different ones; a copy has those of its original.
    token: usize,
}

struct Place {
    subject: StoreSubject<Keep>,
    memory: Memory,
    taken: Vec<Taken>,
}

/// Stores that make forks.
pub(super) struct Forks<'a> {
    schema: &'a Arc<Schema>,
    ops: Generator<'a>,
    seed: u64,
    places: Vec<Place>,
    /// What may have left any store: id, number, transaction.
    given: Vec<(ReplicaId, u64, u64, usize)>,
    tokens: usize,
    forked: bool,
    diverged: bool,
    pub(super) trace: Vec<String>,
}

const PLACES_MAX: usize = 6;

impl<'a> Forks<'a> {
    pub(super) fn new(schema: &'a Arc<Schema>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ops = Generator::new(schema, &mut rng);
        let (places, given, trace) = (Vec::new(), Vec::new(), Vec::new());
        let mut forks = Self { schema, ops, seed, places, given, tokens: 0, forked: false, diverged: false, trace };
        for _ in 0..3 + rng.index(2) {
            forks.open(Memory::default(), Vec::new()).expect("a fresh store in memory opens");
        }
        forks
    }

    fn open(&mut self, memory: Memory, taken: Vec<Taken>) -> Checked {
        let lane = self.places.len();
        let keep = Keep::new(&memory, self.seed, lane);
        let id = ReplicaId::from_u128(1 + lane as u128);
        let mut subject = StoreSubject::on(id, self.schema, keep).map_err(say("open"))?;
        subject.set_clock(plan::EPOCH_MS);
        self.places.push(Place { subject, memory, taken });
        Ok(())
    }

    pub(super) fn step(&mut self, seed: u64) -> Checked {
        let mut rng = Rng::new(seed);
        let place = rng.index(self.places.len());
        let other = (place + 1 + rng.index(self.places.len() - 1)) % self.places.len();
        match rng.below(100) {
            0..45 => self.transact(place, &mut rng),
            45..75 => self.sync(place, other),
            75..80 => self.truncate(place, &mut rng),
            80..85 => {
                self.trace.push(format!("{place}: restart"));
                self.places[place].subject.restart().map_err(say("reopen"))
            }
            _ => self.copy(place),
        }?;
        self.places[place].subject.check().map_err(say("check"))
    }

    fn transact(&mut self, place: usize, rng: &mut Rng) -> Checked {
        let ops: Vec<_> = (0..=rng.index(3)).map(|_| self.ops.op(&[], rng)).collect();
        let words: Vec<_> = ops.iter().map(|op| op.display(self.schema).to_string()).collect();
        self.trace.push(format!("{place}: {}", words.join(", ")));
        let Place { subject, taken, .. } = &mut self.places[place];
        let before = subject.version().map_err(say("version"))?;
        subject.commit(&ops, &[]).map_err(say("commit"))?;
        let Some(id) = subject.store().replica().map_err(say("replica"))? else { return Ok(()) };
        let (lo, hi) = (before.get(id) + 1, subject.version().map_err(say("version"))?.get(id));
        if hi >= lo {
            taken.push(Taken { id, lo, hi, token: self.tokens });
            self.tokens += 1;
        }
        self.note(place)
    }

    fn truncate(&mut self, place: usize, rng: &mut Rng) -> Checked {
        self.trace.push(format!("{place}: truncate"));
        let subject = &mut self.places[place].subject;
        let version = subject.version().map_err(say("version"))?;
        let below = version.iter().map(|(id, seq)| (id, rng.below(seq + 1))).collect();
        subject.truncate(&below).map_err(say("forget_deletes"))
    }

    fn copy(&mut self, place: usize) -> Checked {
        if self.places.len() == PLACES_MAX || self.places[place].taken.is_empty() {
            return Ok(());
        }
        let Place { memory, taken, .. } = &self.places[place];
        let copy = |Taken { id, lo, hi, token }: &Taken| Taken { id: *id, lo: *lo, hi: *hi, token: *token };
        let (memory, taken) = (memory.fork(), taken.iter().map(copy).collect());
        self.trace.push(format!("{place}: copied, {} opened", self.places.len()));
        self.open(memory, taken)
    }

    /// Notes what a store is told. With a new id, what it had not given away has other numbers.
    fn note(&mut self, place: usize) -> Checked {
        for event in self.places[place].subject.store().take_events() {
            self.trace.push(format!("  {place}: {event:?}"));
            match event {
                StoreEvent::IdentityRotated { .. } => self.places[place].taken.clear(),
                StoreEvent::Forked { .. } => self.forked = true,
                StoreEvent::Diverged { .. } => self.diverged = true,
            }
        }
        Ok(())
    }

    fn sync(&mut self, from: usize, to: usize) -> Checked {
        self.trace.push(format!("{from} -> {to}: sync"));
        for _attempt in 0..3 {
            let base: VersionVector = self.places[to].subject.version().map_err(say("version"))?;
            let batch = self.places[from].subject.delta_since(&base).map_err(say("delta_since"))?;
            self.note(from)?;
            let left = self.places[from].taken.iter().map(|taken| (taken.id, taken.lo, taken.hi, taken.token));
            self.given.extend(left.collect::<Vec<_>>());
            let merged = self.places[to].subject.merge(&batch).map_err(say("merge"))?;
            self.note(to)?;
            self.places[to].subject.check().map_err(say("check"))?;
            if matches!(merged, Merged::Applied { .. }) {
                return Ok(());
            }
        }
        Err(String::from("a fresh batch does not apply, three times over"))
    }

    fn is_forked(&self) -> bool {
        let overlap = |(id, lo, hi, token): &(ReplicaId, u64, u64, usize)| {
            let is_other = |given: &&(ReplicaId, u64, u64, usize)| given.0 == *id && given.3 != *token;
            self.given.iter().filter(is_other).any(|(_, other_lo, other_hi, _)| lo <= other_hi && other_lo <= hi)
        };
        self.given.iter().any(overlap)
    }

    /// Lets all exchange with all, until all have one version.
    pub(super) fn finish(&mut self) -> Checked<ForkCounts> {
        self.trace.push(String::from("exchange at the end"));
        let count = self.places.len();
        for _round in 0..6 {
            for (from, to) in (0..count * count).map(|pair| (pair / count, pair % count)).filter(|(from, to)| from != to) {
                self.sync(from, to)?;
            }
        }
        let mut states = Vec::new();
        for Place { subject, .. } in &self.places {
            subject.check().map_err(say("check"))?;
            states.push((subject.version().map_err(say("version"))?, subject.digest().map_err(say("digest"))?));
        }
        let (is_forked, told) = (self.is_forked(), self.forked || self.diverged);
        if states.iter().any(|state| state.0 != states[0].0) {
            return Err(format!("not one version at the end: {states:?}"));
        }
        let differs = states.iter().any(|state| *state != states[0]);
        if differs && !is_forked {
            return Err(String::from("stores differ, and there was no fork"));
        }
        if differs && !told {
            return Err(String::from("stores differ, and nobody is told"));
        }
        let one = u64::from;
        Ok(ForkCounts {
            runs: 1,
            forked: one(is_forked),
            told_by_history: one(is_forked && self.forked),
            told_by_contents: one(is_forked && !self.forked && self.diverged),
            untold: one(is_forked && !told),
            false_alarms: one(!is_forked && told),
        })
    }
}
