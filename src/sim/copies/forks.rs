//! Forks: an original and its copy have both written, and both have given it away, before either knew of the other. Nothing can mend
//! that. What is left to ask for: somebody is told, each time; nothing panics, and every store is whole.
#![expect(clippy::indexing_slicing, reason = "stores are numbered here; a wrong number is a bug of this module")]

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

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
    /// Runs with at least one fork: one number, two different events, both given away.
    pub forked: u64,
    /// Of these, in how many it was found from the histories ([`StoreEvent::Forked`]).
    pub told_by_history: u64,
    /// Of these, in how many it was found from the contents alone ([`StoreEvent::Diverged`]).
    pub told_by_contents: u64,
    /// Runs in which a fork was told of, and both sides had given away the same events: one of them together with later ones.
    pub false_alarms: u64,
}

impl ForkCounts {
    pub(super) const fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.forked += other.forked;
        self.told_by_history += other.told_by_history;
        self.told_by_contents += other.told_by_contents;
        self.false_alarms += other.false_alarms;
    }
}

impl fmt::Display for ForkCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, forked, told_by_history, told_by_contents, false_alarms } = self;
        writeln!(
            f,
            "{runs} runs, {forked} with a fork: told by history {told_by_history}, by contents alone {told_by_contents}; \
             false alarms {false_alarms}"
        )
    }
}

/// The events of stores, by replica and number.
type Made = BTreeMap<(ReplicaId, u64), Event>;

/// One event.
#[derive(Clone, PartialEq, Eq)]
struct Event {
    path: Bytes,
    /// If it was a write.
    contents: Option<Bytes>,
    /// Different ones are in different transactions; a copy has those of its original.
    transaction: usize,
}

struct Place {
    subject: StoreSubject<Keep>,
    memory: Memory,
    /// Under its id of now.
    made: Made,
}

/// Stores that make forks.
pub(super) struct Forks<'a> {
    schema: &'a Arc<Schema>,
    ops: Generator<'a>,
    seed: u64,
    places: Vec<Place>,
    /// What may have left any store.
    given: Made,
    /// One number, two transactions: both may have left a store.
    is_doubled: bool,
    /// One number, two different events: both may have left a store. Two copies that do the same thing make the same one; yet one may
    /// have seen what the other had not.
    is_forked: bool,
    transactions: usize,
    forked: bool,
    diverged: bool,
    pub(super) trace: Vec<String>,
}

const PLACES_MAX: usize = 6;

impl<'a> Forks<'a> {
    pub(super) fn new(schema: &'a Arc<Schema>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ops = Generator::new(schema, &mut rng);
        let (places, given, trace) = (Vec::new(), Made::new(), Vec::new());
        let (is_doubled, is_forked, forked, diverged) = (false, false, false, false);
        let mut forks =
            Self { schema, ops, seed, places, given, is_doubled, is_forked, transactions: 0, forked, diverged, trace };
        for _ in 0..3 + rng.index(2) {
            forks.open(Memory::default(), Made::new()).expect("a fresh store in memory opens");
        }
        forks
    }

    fn open(&mut self, memory: Memory, made: Made) -> Checked {
        let lane = self.places.len();
        let keep = Keep::new(&memory, self.seed, lane);
        let id = ReplicaId::from_u128(1 + lane as u128);
        let mut subject = StoreSubject::on(id, self.schema, keep).map_err(say("open"))?;
        subject.set_clock(plan::EPOCH_MS);
        self.places.push(Place { subject, memory, made });
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
        let Place { subject, made, .. } = &mut self.places[place];
        let before = subject.version().map_err(say("version"))?;
        subject.commit(&ops, &[]).map_err(say("commit"))?;
        let Some(id) = subject.store().replica().map_err(say("replica"))? else { return Ok(()) };
        for (seq, path, contents) in subject.store().events_of(id, before.get(id) + 1).map_err(say("events"))? {
            made.insert((id, seq), Event { path, contents, transaction: self.transactions });
        }
        self.transactions += 1;
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
        if self.places.len() == PLACES_MAX || self.places[place].made.is_empty() {
            return Ok(());
        }
        let Place { memory, made, .. } = &self.places[place];
        let (memory, made) = (memory.fork(), made.clone());
        self.trace.push(format!("{place}: copied, {} opened", self.places.len()));
        self.open(memory, made)
    }

    /// Notes what a store is told. With a new id, what it had not given away has other numbers.
    fn note(&mut self, place: usize) -> Checked {
        for event in self.places[place].subject.store().take_events() {
            self.trace.push(format!("  {place}: {event:?}"));
            match event {
                StoreEvent::IdentityRotated { .. } => self.places[place].made.clear(),
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
            for (dot, event) in &self.places[from].made {
                let first = self.given.entry(*dot).or_insert_with(|| event.clone());
                self.is_doubled |= first.transaction != event.transaction;
                self.is_forked |= (&first.path, &first.contents) != (&event.path, &event.contents);
            }
            let merged = self.places[to].subject.merge(&batch).map_err(say("merge"))?;
            self.note(to)?;
            self.places[to].subject.check().map_err(say("check"))?;
            if matches!(merged, Merged::Applied { .. }) {
                return Ok(());
            }
        }
        Err(String::from("a fresh batch does not apply, three times over"))
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
        let (is_forked, told) = (self.is_forked, self.forked || self.diverged);
        if states.iter().any(|state| state.0 != states[0].0) {
            return Err(format!("not one version at the end: {states:?}"));
        }
        let differs = states.iter().any(|state| *state != states[0]);
        if differs && !self.is_doubled {
            return Err(String::from("stores differ, and there was no fork"));
        }
        if (is_forked || differs) && !told {
            return Err(String::from("a fork, and nobody is told"));
        }
        let one = u64::from;
        Ok(ForkCounts {
            runs: 1,
            forked: one(is_forked),
            told_by_history: one(is_forked && self.forked),
            told_by_contents: one(is_forked && !self.forked && self.diverged),
            false_alarms: one(!self.is_doubled && told),
        })
    }
}
