//! Stores, their copies, the oracle that watches them, and what is under way between them.
#![expect(clippy::indexing_slicing, reason = "places are numbered here; a wrong number is a bug of this module")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::counts::{CopyCounts, CopySituation};
use crate::causal::{Hlc, ReplicaId, VersionVector};
use crate::kv::{self, Delta, Pushed, Seen, Store, StoreEvent};
use crate::sim::op::{Generator, Op};
use crate::sim::oracle::{At, Cut, Oracle, REPLICAS_MAX, Reading};
use crate::sim::schema::{CellId, Schema};
use crate::sim::store::{Medium, StoreSubject};
use crate::sim::subject::{Applied, Fault, Merged, Observed, Subject};
use crate::sim::{Rng, plan};
use crate::storage::Memory;
use crate::system::Entropy;

/// Random numbers for a store, from a seed.
#[derive(Debug)]
struct Dice(Mutex<Rng>);

impl Entropy for Dice {
    fn fill(&self, to: &mut [u8]) -> io::Result<()> {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.iter_mut().for_each(|byte| *byte = rng.next_u64().to_le_bytes()[0]);
        Ok(())
    }
}

/// A memory that stays when its store is closed, and can be copied then or before.
struct Keep {
    memory: Memory,
    /// Whether it keeps and erases as any store in memory does; otherwise, stores differ in that.
    is_plain: bool,
    seed: u64,
    opened: u64,
}

impl Medium for Keep {
    fn open(&mut self, options: kv::Options) -> Result<Store, Fault> {
        self.opened += 1;
        let entropy = Dice(Mutex::new(Rng::new(self.seed ^ self.opened)));
        let options = options.entropy(entropy);
        if self.is_plain { Ok(options.open_backend(self.memory.clone())?) } else { Medium::open(&mut self.memory, options) }
    }
}

/// What a store has written under one id: the transactions in the order of their numbers, and how many may have left it.
#[derive(Debug, Clone, Default)]
struct Branch {
    id: Option<ReplicaId>,
    history: Vec<At>,
    emitted: usize,
    /// The number of the last event that may have left.
    emitted_seq: u64,
}

/// A transaction, as it can be recorded once more for a copy.
#[derive(Clone)]
struct Logged {
    saw: Cut,
    ops: Vec<Op>,
    readings: Vec<(CellId, Cut)>,
    stamp: Hlc,
}

/// A store: an original or a copy. Its place is its lane of the oracle: what it has written and, of a copy, what it held and
/// had not given away when it was made.
struct Place {
    subject: StoreSubject<Keep>,
    memory: Memory,
    is_alive: bool,
    generation: u32,
    made_of: Option<usize>,
    rotations: u32,
    cut: Cut,
    branch: Branch,
    /// How many transactions of the lane may have left.
    emitted: u32,
    log: Vec<Logged>,
    hand: Vec<Seen<u64>>,
    readings: Vec<(CellId, Cut)>,
    skew_ms: i64,
}

/// A store as it was: a backup of a machine, a copied file.
struct Image {
    of: usize,
    generation: u32,
    memory: Memory,
    cut: Cut,
    branch: Branch,
    emitted: u32,
    log: Vec<Logged>,
}

#[derive(Clone)]
struct Kept {
    batch: Delta,
    base: VersionVector,
    /// The version of its maker.
    version: VersionVector,
    cut: Cut,
    to: usize,
}

#[derive(Clone)]
struct Sent {
    pushed: Pushed,
    at: At,
    origin: ReplicaId,
    last: u64,
    /// The version of its origin before.
    saw: VersionVector,
}

/// Something is not as it must be, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

pub(super) struct World<'a> {
    schema: Arc<Schema>,
    ops: Generator<'a>,
    oracle: Oracle,
    ids: Vec<ReplicaId>,
    seed: u64,
    places: Vec<Place>,
    /// Branches that ended with a new id.
    ended: Vec<Branch>,
    images: Vec<Image>,
    batches: Vec<Kept>,
    pushed: Vec<Sent>,
    /// What the version and the digest were wherever a store had seen exactly this.
    states: BTreeMap<Cut, (VersionVector, u128)>,
    now_ms: u64,
    pub(super) counts: CopyCounts,
    pub(super) trace: Vec<String>,
}

/// How many batches and pushed transactions are kept to come late.
const RECENT: usize = 10;
const IMAGES_MAX: usize = 3;

fn say<E: ToString>(what: impl Into<String>) -> impl FnOnce(E) -> String {
    let what = what.into();
    move |error| format!("{what}: {}", error.to_string())
}

fn expect<T: Debug + PartialEq>(what: &str, expected: &T, observed: &T) -> Checked {
    if expected == observed { Ok(()) } else { Err(format!("{what}\n  expected: {expected:?}\n  observed: {observed:?}")) }
}

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

    fn open(&self, memory: Memory, rng: &mut Rng) -> Result<Place, Fault> {
        let lane = self.places.len();
        let seed = self.seed.wrapping_mul(31).wrapping_add(lane as u64) << 8;
        // Who keeps no deletes tells what is live, and that can cover up for a delete that was lost.
        let keep = Keep { memory: memory.clone(), is_plain: self.seed.is_multiple_of(2), seed, opened: 0 };
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

    fn name(&self, place: usize) -> String {
        let letter = char::from(b'A' + u8::try_from(place).unwrap_or(25));
        match self.places.get(place).and_then(|place| place.made_of) {
            Some(of) => format!("{letter}({})", self.name(of)),
            None => letter.to_string(),
        }
    }

    fn tell(&mut self, line: String) {
        self.trace.push(line);
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|place| self.places[*place].is_alive).collect()
    }

    fn other(&self, place: usize, rng: &mut Rng) -> Option<usize> {
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

    fn set_clock(&mut self, place: usize) {
        let now_ms = self.now_ms.saturating_add_signed(self.places[place].skew_ms);
        self.places[place].subject.set_clock(now_ms);
    }

    // What may leave.

    /// Whether other events with the numbers of those that the store would give away have left another copy, and are known to
    /// somebody. Then it must hear of that first.
    fn is_outrun(&self, place: usize) -> bool {
        let mine = &self.places[place].branch;
        let others = self.places.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, other)| &other.branch);
        mine.id.is_some()
            && others.chain(&self.ended).filter(|other| other.id == mine.id).any(|other| {
                let common = mine.history.iter().zip(&other.history).take_while(|(mine, other)| mine == other).count();
                other.history.get(common).is_some_and(|first| common < other.emitted && self.is_known(*first))
            })
    }

    fn is_known(&self, at: At) -> bool {
        self.places.iter().any(|place| place.is_alive && place.cut.has(at))
            || self.batches.iter().any(|kept| kept.cut.has(at))
            || self.pushed.iter().any(|sent| sent.at == at || self.oracle.cut_of(sent.at).0.has(at))
    }

    fn learns_from(&self, place: usize, version: &VersionVector) -> bool {
        let branch = &self.places[place].branch;
        branch.id.is_some_and(|id| version.get(id) > branch.emitted_seq)
    }

    fn may_emit(&self, place: usize, base: &VersionVector) -> bool {
        let branch = &self.places[place].branch;
        branch.history.len() == branch.emitted || self.learns_from(place, base) || !self.is_outrun(place)
    }

    fn note_emitted(&mut self, place: usize) -> Checked {
        let place = &mut self.places[place];
        place.emitted = u32::try_from(place.log.len()).unwrap_or(u32::MAX);
        place.branch.emitted = place.branch.history.len();
        let version = place.subject.version().map_err(say("version"))?;
        place.branch.emitted_seq = place.branch.id.map_or(0, |id| version.get(id));
        Ok(())
    }

    // What a store finds out.

    /// Takes the events of a store: a new id if it must have one, and nothing else.
    fn note_events(&mut self, place: usize, must: bool, may: bool) -> Checked<bool> {
        let events = self.places[place].subject.store().take_events();
        let (old, new, replayed) = match *events {
            [] if !must => return Ok(false),
            [] => return Err(format!("{}: no new id, though a peer knows more of the old one", self.name(place))),
            [StoreEvent::IdentityRotated { old, new, replayed }] if may => (old, new, replayed),
            _ => return Err(format!("{}: events {events:?}", self.name(place))),
        };
        self.tell(format!("{}: new id, {replayed} written again", self.name(place)));
        let Place { subject, branch, emitted, log, hand, readings, rotations, generation, .. } = &mut self.places[place];
        expect("the old id", &branch.id, &Some(old))?;
        expect("the new id", &subject.store().replica().map_err(say("replica"))?, &new)?;
        if new == Some(old) {
            return Err(String::from("the new id is the old one"));
        }
        let lane = place;
        let unsent = *emitted..u32::try_from(log.len()).unwrap_or(u32::MAX);
        if unsent.is_empty() && replayed > 0 {
            return Err(format!("{replayed} written again, though everything was given away"));
        }
        let counters = |logged: &Logged| logged.ops.iter().any(|op| matches!(op, Op::Add { .. }));
        let adds = log.iter().skip(unsent.start as usize).any(counters);
        for (is_met, situation) in [
            (true, CopySituation::Rotation),
            (replayed > 0, CopySituation::Replay),
            (replayed > 0 && adds, CopySituation::ReplayOfAdds),
            (*generation == 0, CopySituation::RotationOfOriginal),
            (*generation > 1, CopySituation::RotationOfCopyOfCopy),
            (*rotations > 0, CopySituation::RotationAgain),
        ] {
            if is_met {
                self.counts.meet(situation);
            }
        }
        *rotations += 1;
        let mut ended = std::mem::take(branch);
        ended.history.truncate(ended.emitted);
        *branch = Branch {
            id: new,
            history: unsent.clone().map(|no| At { replica: lane, no }).collect(),
            emitted: 0,
            emitted_seq: 0,
        };
        hand.clear();
        readings.clear();
        subject.check().map_err(say("check after a new id"))?;
        self.ended.push(ended);
        self.states.retain(|cut, _| cut.count(lane) <= unsent.start);
        if self.has_reset_of_unsent(place) {
            self.counts.meet(CopySituation::ResetBetween);
        }
        Ok(true)
    }

    /// Whether another store's delete of a counter to which this one added came between its last emission and its new id.
    fn has_reset_of_unsent(&self, place: usize) -> bool {
        let Place { cut, emitted, log, .. } = &self.places[place];
        let is_own = |at| self.ended.last().is_some_and(|ended| ended.history.contains(&at));
        log.iter().skip(*emitted as usize).any(|Logged { saw, ops, .. }| {
            let added = ops.iter().filter_map(|op| if let Op::Add { cell, .. } = op { Some(*cell) } else { None });
            added.into_iter().any(|cell| self.oracle.was_removed_since(cell, is_own, place, saw, cut))
        })
    }

    // Steps.

    fn draw_ops(&self, place: usize, rng: &mut Rng) -> Vec<Op> {
        let reads: Vec<_> = self.places[place].readings.iter().enumerate().map(|(no, (cell, _))| (no, *cell)).collect();
        (0..=rng.index(3)).map(|_| self.ops.op(&reads, rng)).collect()
    }

    fn transact(&mut self, place: usize, pushes: bool, rng: &mut Rng) -> Checked {
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

    fn record(oracle: &mut Oracle, lane: usize, logged: &Logged) -> At {
        let hand: Vec<Reading> = logged.readings.iter().map(|(cell, cut)| oracle.read_to_set_over(*cell, cut)).collect();
        oracle.record(lane, &logged.saw, u64::from(logged.saw.count(lane)) + 1, &logged.ops, &hand)
    }

    fn learn_stamp(&mut self, lane: usize, at: At, above: Hlc) -> Checked {
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

    fn read(&mut self, place: usize, rng: &mut Rng) -> Checked {
        let Some(cell) = self.ops.register(rng) else { return Ok(()) };
        self.tell(format!("{}: read {} ({})", self.name(place), self.schema.at(cell), self.places[place].hand.len()));
        let place = &mut self.places[place];
        place.hand.push(place.subject.read_to_set_over(cell).map_err(say("read_to_set_over"))?);
        place.readings.push((cell, place.cut));
        Ok(())
    }

    fn prepare(&mut self, from: usize, to: usize) -> Checked<Option<Kept>> {
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

    fn sync(&mut self, from: usize, to: usize) -> Checked<bool> {
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

    fn keep_batch(&mut self, from: usize, to: usize) -> Checked {
        let Some(kept) = self.prepare(from, to)? else { return Ok(()) };
        self.tell(format!("{} -> {}: a batch that comes late or never", self.name(from), self.name(to)));
        if self.batches.len() == RECENT {
            self.batches.remove(0);
        }
        self.batches.push(kept);
        Ok(())
    }

    /// Returns whether it applied.
    fn deliver(&mut self, kept: &Kept, to: usize) -> Checked<bool> {
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

    fn push(&mut self, sent: &Sent, to: usize) -> Checked {
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

    fn truncate(&mut self, place: usize, rng: &mut Rng) -> Checked {
        self.tell(format!("{}: truncate", self.name(place)));
        let subject = &mut self.places[place].subject;
        let version = subject.version().map_err(say("version"))?;
        let below = version.iter().map(|(id, seq)| (id, rng.below(seq + 1))).collect();
        subject.truncate(&below).map_err(say("forget_deletes"))?;
        self.note_events(place, false, false)?;
        self.check(place)
    }

    fn restart(&mut self, place: usize) -> Checked {
        self.tell(format!("{}: restart", self.name(place)));
        let Place { subject, hand, readings, .. } = &mut self.places[place];
        hand.clear();
        readings.clear();
        subject.restart().map_err(say("reopen"))?;
        subject.check().map_err(say("check"))?;
        self.note_events(place, false, false)?;
        self.check(place)
    }

    fn give_canonical(&mut self, place: usize) -> Checked {
        if !self.may_emit(place, &VersionVector::new()) {
            return Ok(());
        }
        self.tell(format!("{}: canonical", self.name(place)));
        let _given_to_nobody = self.places[place].subject.canonical().map_err(say("canonical"))?;
        self.note_emitted(place)?;
        self.note_events(place, false, false)?;
        self.check(place)
    }

    // Copies.

    fn take_image(&mut self, of: usize) -> Checked {
        let Place { memory, cut, branch, emitted, log, generation, .. } = &self.places[of];
        if branch.id.is_none() {
            return Ok(());
        }
        let (branch, log) = (branch.clone(), log.clone());
        let image = Image { of, generation: generation + 1, memory: memory.fork(), cut: *cut, branch, emitted: *emitted, log };
        self.tell(format!("{}: copied, image {}", self.name(of), self.images.len()));
        self.images.push(image);
        if self.images.len() > IMAGES_MAX {
            self.images.remove(0);
            self.tell(String::from("  (the oldest image is gone)"));
        }
        Ok(())
    }

    fn open_image(&mut self, rng: &mut Rng) -> Checked {
        let lane = self.places.len();
        if lane == REPLICAS_MAX || self.images.is_empty() {
            return Ok(());
        }
        let image = self.images.swap_remove(rng.index(self.images.len()));
        let mut place = self.open(image.memory.fork(), rng).map_err(say("open"))?;
        let map = |cut: &Cut| {
            let beyond = cut.count(image.of).saturating_sub(image.emitted);
            cut.with_count(image.of, cut.count(image.of) - beyond).with_count(lane, beyond)
        };
        let mut history: Vec<_> = image.branch.history.iter().take(image.branch.emitted).copied().collect();
        for logged in image.log.iter().skip(image.emitted as usize) {
            let readings = logged.readings.iter().map(|(cell, cut)| (*cell, map(cut))).collect();
            let logged = Logged { saw: map(&logged.saw), readings, ..logged.clone() };
            let at = Self::record(&mut self.oracle, lane, &logged);
            self.oracle.stamp(at, logged.stamp);
            history.push(at);
            place.log.push(logged);
        }
        expect("transactions of the copy that have not left", &image.branch.history.len(), &history.len())?;
        place.branch = Branch { history, ..image.branch.clone() };
        place.cut = map(&image.cut);
        place.made_of = Some(image.of);
        place.generation = image.generation;
        if !place.log.is_empty() {
            self.counts.meet(CopySituation::CopyWithUnsent);
        }
        let gone = rng.chance(50) && self.places[image.of].is_alive;
        if gone {
            self.places[image.of].is_alive = false;
        }
        self.counts.meet(if gone { CopySituation::Rollback } else { CopySituation::Clone });
        if image.generation > 1 {
            self.counts.meet(CopySituation::CopyOfCopy);
        }
        self.places.push(place);
        self.tell(format!("{}: opened{}", self.name(lane), if gone { ", and the original is gone" } else { "" }));
        self.places[lane].subject.check().map_err(say("check"))?;
        self.note_events(lane, false, false)?;
        self.check(lane)?;
        let offline = rng.index(7);
        if offline > 0 {
            self.counts.meet(CopySituation::OfflineWrites);
        }
        (0..offline).try_for_each(|_| self.transact(lane, false, rng))
    }

    // Checks.

    /// Compares a store with the oracle: every cell, and its version and digest with those of any store that was here.
    fn check(&mut self, place: usize) -> Checked {
        self.counts.check();
        let Place { subject, cut, .. } = &self.places[place];
        for cell in self.schema.cell_ids() {
            let observed = simple(subject.read(cell).map_err(say("read"))?)?;
            let expected = simple(self.oracle.read(cell, cut))?;
            if observed != expected {
                let (name, cell) = (self.name(place), self.schema.at(cell));
                return Err(format!("{name}: {cell}\n  expected: {expected:?}\n  observed: {observed:?}"));
            }
        }
        let state = (subject.version().map_err(say("version"))?, subject.digest().map_err(say("digest"))?);
        let known = self.states.entry(*cut).or_insert_with(|| state.clone());
        expect("the version and digest of what was seen", known, &state)
    }

    /// Lets every store merge from every other until nothing is new; then all must be the same.
    pub(super) fn finish(&mut self) -> Checked {
        self.tell(String::from("exchange at the end"));
        self.batches.clear();
        self.pushed.clear();
        let alive = self.alive();
        for _round in 0..8 {
            let before: Vec<_> = alive.iter().map(|place| (self.places[*place].cut, self.places[*place].branch.id)).collect();
            let mut is_quiet = true;
            for from in &alive {
                for to in alive.iter().filter(|to| *to != from) {
                    is_quiet &= self.sync(*from, *to)?;
                }
            }
            let after: Vec<_> = alive.iter().map(|place| (self.places[*place].cut, self.places[*place].branch.id)).collect();
            if is_quiet && before == after {
                return self.check_sameness(&alive);
            }
        }
        Err(String::from("the exchange at the end does not end"))
    }

    fn check_sameness(&mut self, alive: &[usize]) -> Checked {
        let mut first = None;
        for place in alive {
            self.check(*place)?;
            let Place { subject, cut, .. } = &self.places[*place];
            subject.check().map_err(say("check"))?;
            let state = (*cut, subject.canonical().map_err(say("canonical"))?);
            let known = first.get_or_insert_with(|| state.clone());
            expect("the canonical bytes", known, &state)?;
            self.note_events(*place, false, false)?;
        }
        Ok(())
    }
}

/// What a cell reads, without who wrote it.
#[derive(Debug, PartialEq, Eq)]
enum Simple {
    Register(Vec<(Hlc, u64)>),
    Other(Observed),
}

fn simple(observed: Observed) -> Checked<Simple> {
    let Observed::Register(siblings) = observed else { return Ok(Simple::Other(observed)) };
    let shown: Vec<_> = siblings.iter().filter(|sibling| sibling.wins).collect();
    let newest = siblings.iter().map(|sibling| sibling.stamp).max();
    if shown.len() != usize::from(newest.is_some()) || shown.first().map(|sibling| sibling.stamp) != newest {
        return Err(format!("not the newest of the siblings is shown: {siblings:?}"));
    }
    let mut values: Vec<_> = siblings.iter().map(|sibling| (sibling.stamp, sibling.value)).collect();
    values.sort_unstable();
    Ok(Simple::Register(values))
}
