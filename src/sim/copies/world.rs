//! Stores, their copies, the oracle that watches them, and what is under way between them.
#![expect(clippy::indexing_slicing, reason = "places are numbered here; a wrong number is a bug of this module")]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counts::{CopyCounts, CopySituation};
use super::place::{Branch, Checked, Image, Keep, Kept, Logged, Place, Sent, expect, say};
use crate::causal::{Hlc, ReplicaId, VersionVector};
use crate::sim::cut::{At, Cut, REPLICAS_MAX};
use crate::sim::op::{Generator, Op};
use crate::sim::oracle::{Oracle, Reading};
use crate::sim::schema::Schema;
use crate::sim::store::StoreSubject;
use crate::sim::subject::{Applied, Fault, Merged, Observed, Subject};
use crate::sim::{Rng, plan};
use crate::storage::Memory;

pub(super) struct World<'a> {
    pub(super) schema: Arc<Schema>,
    pub(super) ops: Generator<'a>,
    pub(super) oracle: Oracle,
    pub(super) ids: Vec<ReplicaId>,
    pub(super) seed: u64,
    pub(super) places: Vec<Place>,
    /// Branches that ended with a new id.
    pub(super) ended: Vec<Branch>,
    pub(super) images: Vec<Image>,
    pub(super) batches: Vec<Kept>,
    pub(super) pushed: Vec<Sent>,
    /// What the version and the digest were wherever a store had seen exactly this.
    pub(super) states: BTreeMap<Cut, (VersionVector, u128)>,
    pub(super) now_ms: u64,
    pub(super) counts: CopyCounts,
    pub(super) trace: Vec<String>,
}

/// How many batches and pushed transactions are kept to come late.
const RECENT: usize = 10;

impl<'a> World<'a> {
    pub(super) fn new(schema: &'a Arc<Schema>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut ids = Vec::new();
        while ids.len() < REPLICAS_MAX {
            let id = ReplicaId::from_u128((u128::from(1 + rng.below(5)) << 64) | u128::from(1 + rng.below(5)));
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let ops = Generator::new(schema, &mut rng);
        let mut world = Self {
            oracle: Oracle::new(Arc::clone(schema), &ids),
            schema: Arc::clone(schema),
            ops,
            ids,
            seed,
            places: Vec::new(),
            ended: Vec::new(),
            images: Vec::new(),
            batches: Vec::new(),
            pushed: Vec::new(),
            states: BTreeMap::new(),
            now_ms: plan::EPOCH_MS,
            counts: CopyCounts::default(),
            trace: Vec::new(),
        };
        for _ in 0..2 + rng.index(3) {
            let place = world.open(Memory::default(), &mut rng).expect("a fresh store in memory opens");
            world.places.push(place);
        }
        world
    }

    pub(super) fn open(&self, memory: Memory, rng: &mut Rng) -> Result<Place, Fault> {
        let lane = self.places.len();
        let keep = Keep::new(&memory, self.seed, lane);
        Ok(Place {
            subject: StoreSubject::on(self.ids[lane], &self.schema, keep)?,
            memory,
            is_alive: true,
            generation: 0,
            made_of: None,
            rotations: 0,
            cut: Cut::default(),
            branch: Branch::default(),
            emitted: 0,
            log: Vec::new(),
            hand: Vec::new(),
            readings: Vec::new(),
            skew_ms: rng.pick(&[0, 0, -3_000, 3_000]).copied().unwrap_or(0),
        })
    }

    pub(super) fn name(&self, place: usize) -> String {
        let letter = char::from(b'A' + u8::try_from(place).unwrap_or(25));
        match self.places.get(place).and_then(|place| place.made_of) {
            Some(of) => format!("{letter}({})", self.name(of)),
            None => letter.to_string(),
        }
    }

    pub(super) fn tell(&mut self, line: String) {
        self.trace.push(line);
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|place| self.places[*place].is_alive).collect()
    }

    pub(super) fn other(&self, place: usize, rng: &mut Rng) -> Option<usize> {
        let others: Vec<_> = self.alive().into_iter().filter(|other| *other != place).collect();
        rng.pick(&others).copied()
    }

    /// One step, drawn from a seed of its own: so that any selection of the steps is a run too.
    pub(super) fn step(&mut self, seed: u64) -> Checked {
        let mut rng = Rng::new(seed);
        self.now_ms += rng.below(3);
        self.counts.step();
        let Some(place) = rng.pick(&self.alive()).copied() else { return Ok(()) };
        let Some(other) = self.other(place, &mut rng) else { return Ok(()) };
        match rng.below(100) {
            0..26 => self.transact(place, false, &mut rng),
            26..40 => self.transact(place, true, &mut rng),
            40..44 => self.read(place, &mut rng),
            44..64 => self.sync(place, other).map(drop),
            64..70 => self.keep_batch(place, other),
            70..77 => {
                let Some(kept) = rng.pick(&self.batches).cloned() else { return Ok(()) };
                let to = if rng.chance(70) && self.places[kept.to].is_alive { kept.to } else { place };
                self.tell(format!("a late batch for {}", self.name(kept.to)));
                self.deliver(&kept, to).map(drop)
            }
            77..85 => {
                let Some(sent) = rng.pick(&self.pushed).cloned() else { return Ok(()) };
                self.push(&sent, place)
            }
            85..87 => self.truncate(place, &mut rng),
            87..89 => self.restart(place),
            89 => self.give_canonical(place),
            90..95 => self.take_image(place),
            _ => self.open_image(&mut rng),
        }
    }

    pub(super) fn set_clock(&mut self, place: usize) {
        let now_ms = self.now_ms.saturating_add_signed(self.places[place].skew_ms);
        self.places[place].subject.set_clock(now_ms);
    }

    pub(super) fn draw_ops(&self, place: usize, rng: &mut Rng) -> Vec<Op> {
        let reads: Vec<_> = self.places[place].readings.iter().enumerate().map(|(no, (cell, _))| (no, *cell)).collect();
        (0..=rng.index(3)).map(|_| self.ops.op(&reads, rng)).collect()
    }

    pub(super) fn transact(&mut self, place: usize, pushes: bool, rng: &mut Rng) -> Checked {
        let ops = self.draw_ops(place, rng);
        let pushes = pushes && !self.is_outrun(place);
        self.set_clock(place);
        let words: Vec<_> = ops.iter().map(|op| op.display(&self.schema).to_string()).collect();
        self.tell(format!("{}{}: {}", self.name(place), if pushes { " (pushes)" } else { "" }, words.join(", ")));
        let lane = place;
        let Place { subject, hand, readings, cut, branch, .. } = &mut self.places[place];
        let saw_version = subject.version().map_err(say("version"))?;
        let held: Vec<_> = hand.iter().collect();
        let pushed = if pushes {
            subject.transact(&ops, &held).map_err(say("commit_and_push"))?
        } else {
            subject.commit(&ops, &held).map_err(say("commit"))?;
            None
        };
        let id = subject.store().replica().map_err(say("replica"))?;
        let last = subject.version().map_err(say("version"))?;
        let last = id.map_or(0, |id| last.get(id));
        let saw = *cut;
        let is_new = last > id.map_or(0, |id| saw_version.get(id));
        branch.id = id;
        if is_new {
            let logged = Logged { saw, ops, readings: readings.clone(), stamp: Hlc::ZERO };
            let above = self.oracle.stamp_before(lane, &saw);
            let at = Self::record(&mut self.oracle, lane, &logged);
            let place = &mut self.places[place];
            place.cut = self.oracle.cut_of(at).1;
            place.branch.history.push(at);
            place.log.push(logged);
            self.counts.transaction();
            if let (Some(pushed), Some(origin)) = (pushed, id) {
                if self.pushed.len() == RECENT {
                    self.pushed.remove(0);
                }
                self.pushed.push(Sent { pushed, at, origin, last, saw: saw_version });
            }
            self.learn_stamp(lane, at, above)?;
        }
        // A transaction that changed nothing is not pushed, and so gives nothing away.
        if pushes && is_new {
            self.note_emitted(lane)?;
        }
        self.note_events(lane, false, false)?;
        self.check(lane)
    }

    pub(super) fn record(oracle: &mut Oracle, lane: usize, logged: &Logged) -> At {
        let hand: Vec<Reading> = logged.readings.iter().map(|(cell, cut)| oracle.read_to_set_over(*cell, cut)).collect();
        oracle.record(lane, &logged.saw, u64::from(logged.saw.count(lane)) + 1, &logged.ops, &hand)
    }

    pub(super) fn learn_stamp(&mut self, lane: usize, at: At, above: Hlc) -> Checked {
        let Some(cell) = self.oracle.registers_written(at).next() else { return Ok(()) };
        let place = &mut self.places[lane];
        let Observed::Register(siblings) = place.subject.read(cell).map_err(say("read"))? else { return Ok(()) };
        let own = siblings.iter().filter(|sibling| Some(sibling.writer) == place.branch.id).map(|sibling| sibling.stamp).max();
        let Some(stamp) = own else { return Ok(()) };
        if stamp <= above {
            return Err(format!("the stamp of a transaction\n  expected: above {above}\n  observed: {stamp}"));
        }
        self.oracle.stamp(at, stamp);
        if let Some(logged) = place.log.last_mut() {
            logged.stamp = stamp;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, place: usize, rng: &mut Rng) -> Checked {
        let Some(cell) = self.ops.register(rng) else { return Ok(()) };
        self.tell(format!("{}: read {} ({})", self.name(place), self.schema.at(cell), self.places[place].hand.len()));
        let place = &mut self.places[place];
        place.hand.push(place.subject.read_to_set_over(cell).map_err(say("read_to_set_over"))?);
        place.readings.push((cell, place.cut));
        Ok(())
    }

    pub(super) fn prepare(&mut self, from: usize, to: usize) -> Checked<Option<Kept>> {
        let base = self.places[to].subject.version().map_err(say("version"))?;
        if !self.may_emit(from, &base) {
            self.counts.meet(CopySituation::HeldBack);
            return Ok(None);
        }
        let must = self.learns_from(from, &base);
        let batch = self.places[from].subject.delta_since(&base).map_err(say("delta_since"))?;
        if self.note_events(from, must, must)? {
            self.counts.meet(CopySituation::ToldByBase);
            self.note_emitted(from)?;
            self.check(from)?;
        } else {
            self.note_emitted(from)?;
        }
        let Place { subject, cut, .. } = &self.places[from];
        Ok(Some(Kept { batch, base, version: subject.version().map_err(say("version"))?, cut: *cut, to }))
    }

    pub(super) fn sync(&mut self, from: usize, to: usize) -> Checked<bool> {
        for attempt in 0..3 {
            self.tell(format!("{} -> {}: sync{}", self.name(from), self.name(to), if attempt == 0 { "" } else { " again" }));
            let Some(kept) = self.prepare(from, to)? else {
                self.tell(String::from("  (held back)"));
                return Ok(false);
            };
            if self.deliver(&kept, to)? {
                return Ok(true);
            }
        }
        Err(String::from("a fresh batch does not apply, three times over"))
    }

    pub(super) fn keep_batch(&mut self, from: usize, to: usize) -> Checked {
        let Some(kept) = self.prepare(from, to)? else { return Ok(()) };
        self.tell(format!("{} -> {}: a batch that comes late or never", self.name(from), self.name(to)));
        if self.batches.len() == RECENT {
            self.batches.remove(0);
        }
        self.batches.push(kept);
        Ok(())
    }

    /// Returns whether it applied.
    pub(super) fn deliver(&mut self, kept: &Kept, to: usize) -> Checked<bool> {
        self.tell(format!("-> {}: deliver", self.name(to)));
        self.set_clock(to);
        let must = self.learns_from(to, &kept.version);
        let Branch { id: old, emitted_seq, .. } = self.places[to].branch.clone();
        let mut have: VersionVector = self.places[to].subject.version().map_err(say("version"))?;
        let merged = self.places[to].subject.merge(&kept.batch).map_err(say("merge"))?;
        if self.note_events(to, must, must)? {
            self.counts.meet(CopySituation::ToldByMerge);
            let new = self.places[to].branch.id;
            let after = self.places[to].subject.version().map_err(say("version"))?;
            have = have.iter().map(|(id, seq)| (id, if Some(id) == old { emitted_seq } else { seq })).collect();
            if let Some(new) = new {
                have.advance(new, after.get(new));
            }
        }
        let needs = |id, seq: u64| seq.min(kept.version.get(id)) <= have.get(id);
        let is_covered = kept.base.iter().all(|(id, seq)| needs(id, seq));
        match merged {
            Merged::Applied { used_live, .. } => {
                if !is_covered && !have.covers(&kept.version) {
                    return Err(String::from("a batch applies that starts beyond what is there"));
                }
                self.places[to].cut.join(&kept.cut);
                if used_live && !kept.base.is_empty() {
                    self.counts.meet(CopySituation::LiveFallback);
                }
            }
            Merged::Behind => {
                expect("whether a batch applies", &is_covered, &false)?;
                self.counts.meet(if must { CopySituation::BehindByNewId } else { CopySituation::RefusedBatch });
            }
        }
        self.check(to)?;
        Ok(matches!(merged, Merged::Applied { .. }))
    }

    pub(super) fn push(&mut self, sent: &Sent, to: usize) -> Checked {
        self.tell(format!("-> {}: push transaction {} of {}", self.name(to), sent.at.no, self.name(sent.at.replica)));
        self.set_clock(to);
        let Branch { id, emitted_seq, .. } = self.places[to].branch;
        let must = id == Some(sent.origin) && sent.last > emitted_seq;
        let may = must || self.learns_from(to, &sent.saw);
        let applied = self.places[to].subject.apply(&sent.pushed).map_err(say("apply"))?;
        if self.note_events(to, must, may)? {
            self.counts.meet(CopySituation::ToldByPush);
        }
        let (saw, with) = self.oracle.cut_of(sent.at);
        let place = &mut self.places[to];
        match applied {
            Applied::Applied => {
                place.cut.join(&with);
                self.counts.meet(CopySituation::Push);
            }
            Applied::Covered => expect("whether a pushed transaction was there", &true, &place.cut.covers(&with))?,
            Applied::Waits => {
                if place.cut.covers(&saw) {
                    return Err(String::from("a pushed transaction waits, though all that it saw is there"));
                }
            }
        }
        self.check(to)
    }

    pub(super) fn truncate(&mut self, place: usize, rng: &mut Rng) -> Checked {
        self.tell(format!("{}: truncate", self.name(place)));
        let subject = &mut self.places[place].subject;
        let version = subject.version().map_err(say("version"))?;
        let below = version.iter().map(|(id, seq)| (id, rng.below(seq + 1))).collect();
        subject.truncate(&below).map_err(say("forget_deletes"))?;
        self.note_events(place, false, false)?;
        self.check(place)
    }

    pub(super) fn restart(&mut self, place: usize) -> Checked {
        self.tell(format!("{}: restart", self.name(place)));
        let Place { subject, hand, readings, .. } = &mut self.places[place];
        hand.clear();
        readings.clear();
        subject.restart().map_err(say("reopen"))?;
        subject.check().map_err(say("check"))?;
        self.note_events(place, false, false)?;
        self.check(place)
    }

    pub(super) fn give_canonical(&mut self, place: usize) -> Checked {
        if !self.may_emit(place, &VersionVector::new()) {
            return Ok(());
        }
        self.tell(format!("{}: canonical", self.name(place)));
        let _given_to_nobody = self.places[place].subject.canonical().map_err(say("canonical"))?;
        self.note_emitted(place)?;
        self.note_events(place, false, false)?;
        self.check(place)
    }
}
