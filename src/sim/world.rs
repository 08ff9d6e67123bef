//! Carries out the steps of a plan, and checks after each that everything is as the oracle says.
#![expect(clippy::indexing_slicing, reason = "replicas are numbered by the plan; a wrong number is a bug of who wrote it")]

use core::fmt::Debug;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::counts::{Counts, Situation};
use super::cut::{At, Cut};
use super::op::Op;
use super::oracle::{Oracle, Reading};
use super::plan::{EPOCH_MS, Plan, Step};
use super::schema::{CellId, Kind, Schema};
use super::subject::{Applied, Fault, Merged, Observed, Subject};
use crate::causal::{Hlc, ReplicaId, VersionVector};

/// Replicas under test, the oracle that watches them, and what is under way between them.
pub(super) struct World<S: Subject> {
    schema: Arc<Schema>,
    oracle: Oracle,
    places: Vec<Place<S>>,
    /// By the step that made it.
    batches: BTreeMap<usize, Rc<Kept<S::Batch>>>,
    /// By the step of the transaction.
    pushed: BTreeMap<usize, (At, Rc<S::Pushed>)>,
    /// What the digest was wherever a replica had seen exactly this.
    digests: BTreeMap<Cut, u128>,
    counts: Counts,
}

struct Place<S: Subject> {
    subject: S,
    id: ReplicaId,
    /// The transactions that it has seen, as the calls alone tell.
    cut: Cut,
    /// What the application holds: reads, with the steps that took them and what the oracle knows they saw.
    hand: Vec<S::Seen>,
    readings: Vec<Reading>,
    reads: Vec<(usize, CellId)>,
    skew_ms: i64,
}

struct Kept<B> {
    batch: B,
    /// What its receiver had seen when it was made.
    asked: Cut,
    /// What of that its maker had seen: what its receiver must have seen.
    base: Cut,
    version: Cut,
}

impl<S: Subject<Seen: Clone> + Clone> Clone for World<S> {
    fn clone(&self) -> Self {
        Self {
            schema: Arc::clone(&self.schema),
            oracle: self.oracle.clone(),
            places: self.places.clone(),
            batches: self.batches.clone(),
            pushed: self.pushed.clone(),
            digests: self.digests.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl<S: Subject<Seen: Clone> + Clone> Clone for Place<S> {
    fn clone(&self) -> Self {
        Self {
            subject: self.subject.clone(),
            id: self.id,
            cut: self.cut,
            hand: self.hand.clone(),
            readings: self.readings.clone(),
            reads: self.reads.clone(),
            skew_ms: self.skew_ms,
        }
    }
}

/// Something is not as it must be.
#[derive(Debug, Clone)]
pub(super) struct Mismatch {
    pub(super) is_panic: bool,
    pub(super) replica: Option<usize>,
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) observed: String,
}

type Checked = Result<(), Mismatch>;

impl<S: Subject> World<S> {
    pub(super) fn new(schema: &Arc<Schema>, replicas: &[ReplicaId], make: &impl Fn(ReplicaId) -> S) -> Self {
        let place = |id: &ReplicaId| Place {
            subject: make(*id),
            id: *id,
            cut: Cut::default(),
            hand: Vec::new(),
            readings: Vec::new(),
            reads: Vec::new(),
            skew_ms: 0,
        };
        let mut counts = Counts::default();
        counts.begin();
        Self {
            oracle: Oracle::new(Arc::clone(schema), replicas),
            schema: Arc::clone(schema),
            places: replicas.iter().map(place).collect(),
            batches: BTreeMap::new(),
            pushed: BTreeMap::new(),
            digests: BTreeMap::new(),
            counts,
        }
    }

    /// Whether every replica has seen what it has seen in `other`.
    pub(super) fn is_where(&self, other: &Self) -> bool {
        self.places.iter().zip(&other.places).all(|(place, other)| place.cut == other.cut)
    }

    /// Whether one replica has seen what another has not.
    pub(super) fn has_news(&self, from: usize, to: usize) -> bool {
        !self.places[to].cut.covers(&self.places[from].cut)
    }

    /// The steps of the transactions that can be pushed.
    pub(super) fn pushable(&self) -> impl Iterator<Item = usize> {
        self.pushed.keys().copied()
    }

    pub(super) fn into_counts(self) -> Counts {
        self.counts
    }

    /// Carries out the step in one place of a plan, and checks the replica that it changed.
    pub(super) fn step(&mut self, no: usize, now_ms: u64, step: &Step) -> Checked {
        self.counts.step();
        match step {
            Step::Transact { replica, ops } => self.transact(no, now_ms, *replica, ops),
            Step::Read { replica, cell } => self.take_read(no, *replica, *cell),
            Step::Sync { from, to } => self.sync(now_ms, *from, *to),
            Step::Prepare { from, to } => {
                let kept = self.prepare(*from, *to)?;
                self.batches.insert(no, Rc::new(kept));
                Ok(())
            }
            Step::Deliver { prepared, to } => {
                let Some(kept) = self.batches.get(prepared).cloned() else { return Ok(()) };
                self.deliver(now_ms, &kept, *to)
            }
            Step::Push { transacted, to } => {
                let Some((at, pushed)) = self.pushed.get(transacted).cloned() else { return Ok(()) };
                self.push(now_ms, at, &pushed, *to)
            }
            Step::Truncate { replica, shares } => {
                self.counts.meet(Situation::Truncation);
                let version = self.oracle.version(&self.places[*replica].cut);
                let share =
                    |id: ReplicaId| self.places.iter().position(|place| place.id == id).map_or(0, |place| shares[place]);
                let below: VersionVector = version.iter().map(|(id, seq)| (id, seq * u64::from(share(id)) / 1000)).collect();
                self.places[*replica].subject.truncate(&below).map_err(|fault| fault_of(*replica, "truncate", &fault))?;
                self.check(*replica)
            }
            Step::Restart { replica } => {
                self.counts.meet(Situation::Restart);
                let place = &mut self.places[*replica];
                place.hand.clear();
                place.readings.clear();
                place.reads.clear();
                place.subject.restart().map_err(|fault| fault_of(*replica, "restart", &fault))?;
                place.subject.check().map_err(|fault| fault_of(*replica, "check", &fault))?;
                self.check(*replica)
            }
            Step::Skew { replica, ms } => {
                self.places[*replica].skew_ms = *ms;
                Ok(())
            }
        }
    }

    fn set_clock(&mut self, now_ms: u64, replica: usize) {
        let place = &mut self.places[replica];
        place.subject.set_clock(now_ms.saturating_add_signed(place.skew_ms));
    }

    fn take_read(&mut self, no: usize, replica: usize, cell: CellId) -> Checked {
        let place = &mut self.places[replica];
        let seen = place.subject.read_to_set_over(cell).map_err(|fault| fault_of(replica, "read_to_set_over", &fault))?;
        place.hand.push(seen);
        place.readings.push(self.oracle.read_to_set_over(cell, &place.cut));
        place.reads.push((no, cell));
        Ok(())
    }

    fn transact(&mut self, no: usize, now_ms: u64, replica: usize, ops: &[Op]) -> Checked {
        let mut ops = ops.to_vec();
        for op in &mut ops {
            if let Op::SetOver { cell, read, .. } = op {
                let taken = |place: &Place<S>| place.reads.iter().position(|taken| *taken == (*read, *cell));
                if taken(&self.places[replica]).is_none() {
                    self.take_read(*read, replica, *cell)?;
                }
                *read = taken(&self.places[replica]).unwrap_or_default();
            }
        }
        self.set_clock(now_ms, replica);
        let place = &mut self.places[replica];
        let fault = |fault: Fault| fault_of(replica, "transact", &fault);
        let hand: Vec<_> = place.hand.iter().collect();
        let pushed = place.subject.transact(&ops, &hand).map_err(fault)?;
        let last = place.subject.version().map_err(fault)?.get(place.id);
        let saw = place.cut;
        if last <= self.oracle.version(&saw).get(place.id) {
            expect(replica, "a push of a transaction that took no number", &false, &pushed.is_some())?;
            return self.check(replica);
        }
        let stamp_before = self.oracle.stamp_before(replica, &saw);
        let (at, remarks) = self.oracle.record_with_remarks(replica, &saw, last, &ops, &place.readings);
        place.cut = self.oracle.cut_of(at).1;
        for (met, situation) in [
            (remarks.reset_consumed, Situation::ResetConsumed),
            (remarks.stale_set_over, Situation::StaleSetOver),
            (remarks.nested_delete, Situation::NestedDelete),
            (remarks.prefix_delete, Situation::PrefixDelete),
        ] {
            if met {
                self.counts.meet(situation);
            }
        }
        self.counts.transaction();
        if let Some(pushed) = pushed {
            self.pushed.insert(no, (at, Rc::new(pushed)));
        }
        self.learn_stamp(replica, at, stamp_before)?;
        self.check(replica)
    }

    /// The stamp of a transaction is what its own writes read as. Where they differ, the check of the cells says so.
    fn learn_stamp(&mut self, replica: usize, at: At, above: Hlc) -> Checked {
        let Some(cell) = self.oracle.registers_written(at).next() else { return Ok(()) };
        let place = &self.places[replica];
        let observed = place.subject.read(cell).map_err(|fault| fault_of(replica, "read", &fault))?;
        let Observed::Register(siblings) = &observed else { return Ok(()) };
        let own = siblings.iter().filter(|sibling| sibling.writer == place.id).map(|sibling| sibling.stamp).max();
        let Some(stamp) = own else { return Ok(()) };
        if stamp <= above {
            return Err(mismatch(replica, "the stamp of a transaction", format!("above {above}"), stamp.to_string()));
        }
        self.oracle.stamp(at, stamp);
        Ok(())
    }

    fn prepare(&mut self, from: usize, to: usize) -> Result<Kept<S::Batch>, Mismatch> {
        let (asked, version) = (self.places[to].cut, self.places[from].cut);
        let batch = self.places[from].subject.delta_since(&self.oracle.version(&asked));
        let batch = batch.map_err(|fault| fault_of(from, "delta_since", &fault))?;
        // What the maker does not know either, it cannot leave out.
        Ok(Kept { batch, asked, base: asked.meet(&version), version })
    }

    fn deliver(&mut self, now_ms: u64, kept: &Kept<S::Batch>, to: usize) -> Checked {
        self.set_clock(now_ms, to);
        let place = &mut self.places[to];
        let merged = place.subject.merge(&kept.batch).map_err(|fault| fault_of(to, "merge", &fault))?;
        let (is_new, is_covered) = (!place.cut.covers(&kept.version), place.cut.covers(&kept.base));
        match merged {
            Merged::Applied { changed, used_live } => {
                if is_covered || is_new {
                    expect(to, "whether a batch applies", &is_covered, &true)?;
                }
                expect(to, "whether a merge changed the state", &is_new, &changed)?;
                if is_new && place.cut != kept.asked {
                    self.counts.meet(Situation::StaleBase);
                }
                place.cut.join(&kept.version);
                if used_live {
                    self.counts.meet(Situation::LiveFallback);
                }
                if !is_new {
                    self.counts.meet(Situation::RepeatedBatch);
                }
            }
            Merged::Behind => {
                expect(to, "whether a batch applies", &is_covered, &false)?;
                self.counts.meet(Situation::RefusedBatch);
            }
        }
        self.check(to)
    }

    fn push(&mut self, now_ms: u64, at: At, pushed: &S::Pushed, to: usize) -> Checked {
        self.set_clock(now_ms, to);
        let (saw, with) = self.oracle.cut_of(at);
        let place = &mut self.places[to];
        let expected = if place.cut.covers(&with) {
            self.counts.meet(Situation::RepeatedPush);
            Applied::Covered
        } else if place.cut.covers(&saw) {
            self.counts.meet(Situation::Push);
            Applied::Applied
        } else {
            self.counts.meet(if place.cut.is_next(at) { Situation::MissingDependency } else { Situation::Gap });
            Applied::Waits
        };
        let applied = place.subject.apply(pushed).map_err(|fault| fault_of(to, "apply", &fault))?;
        expect(to, "what a pushed transaction does", &expected, &applied)?;
        if applied == Applied::Applied {
            place.cut.join(&with);
        }
        self.check(to)
    }

    /// Compares a replica with the oracle: its version, every cell, and its digest with that of any replica that was here.
    fn check(&mut self, replica: usize) -> Checked {
        self.counts.check();
        let Place { subject, cut, .. } = &self.places[replica];
        let version = subject.version().map_err(|fault| fault_of(replica, "version", &fault))?;
        if !self.oracle.is_version(&version, cut) {
            let expected = self.oracle.version(cut);
            return Err(mismatch(replica, "the version", format!("{expected:?}"), format!("{version:?}")));
        }
        for cell in self.schema.cell_ids() {
            let observed = subject.read(cell).map_err(|fault| fault_of(replica, "read", &fault))?;
            let expected = self.oracle.read(cell, cut);
            if observed != expected {
                let what = self.schema.at(cell).to_string();
                return Err(mismatch(replica, &what, format!("{expected:?}"), format!("{observed:?}")));
            }
            if matches!(&expected, Observed::Register(siblings) if siblings.len() > 1) {
                self.counts.meet(Situation::SiblingRead);
            }
            let is_flag = matches!(self.schema.at(cell).kind, Kind::Flag | Kind::VetoFlag);
            if is_flag && self.oracle.flags(cell, cut) == (true, true) {
                self.counts.meet(Situation::FlagConflict);
            }
        }
        let digest = subject.digest().map_err(|fault| fault_of(replica, "digest", &fault))?;
        let known = *self.digests.entry(*cut).or_insert(digest);
        expect(replica, "the digest of this version", &known, &digest)
    }

    /// Lets every replica merge from every other, twice; then all must be the same.
    pub(super) fn finish(&mut self, now_ms: u64) -> Checked {
        let counts = self.counts.clone();
        for (from, to) in self.pairs(2) {
            self.sync(now_ms, from, to)?;
        }
        // What the exchange meets says nothing of the history.
        self.counts.take_back(&counts);
        self.check_sameness()
    }

    /// As [`finish`](Self::finish), with no more batches than it takes.
    pub(super) fn finish_shortly(&mut self, now_ms: u64) -> Checked {
        for (from, to) in self.pairs(1) {
            if self.has_news(from, to) {
                self.sync(now_ms, from, to)?;
            }
        }
        self.check_sameness()
    }

    fn pairs(&self, rounds: usize) -> impl Iterator<Item = (usize, usize)> + use<S> {
        let count = self.places.len();
        (0..rounds * count * count).map(move |pair| (pair / count % count, pair % count)).filter(|(from, to)| from != to)
    }

    fn check_sameness(&self) -> Checked {
        let mut first: Option<Vec<u8>> = None;
        for (replica, Place { subject, cut, .. }) in self.places.iter().enumerate() {
            debug_assert_eq!(*cut, self.places[0].cut, "one exchange of all with all brings everything to everyone");
            subject.check().map_err(|fault| fault_of(replica, "check", &fault))?;
            let canonical = subject.canonical().map_err(|fault| fault_of(replica, "canonical", &fault))?;
            let first = first.get_or_insert_with(|| canonical.clone());
            if *first != canonical {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                return Err(mismatch(replica, "the canonical bytes", text(first), text(&canonical)));
            }
        }
        Ok(())
    }

    fn sync(&mut self, now_ms: u64, from: usize, to: usize) -> Checked {
        let kept = self.prepare(from, to)?;
        self.deliver(now_ms, &kept, to)
    }
}

/// Runs a plan to its end. The error comes with the place of the step that failed; `None`: in the exchange at the end.
pub(super) fn run<S: Subject>(
    schema: &Arc<Schema>,
    plan: &Plan,
    make: &impl Fn(ReplicaId) -> S,
) -> Result<Counts, (Option<usize>, Mismatch)> {
    let mut world = World::new(schema, &plan.replicas, make);
    for (no, (now_ms, step)) in plan.steps.iter().enumerate() {
        if let Some(step) = step {
            guarded(|| world.step(no, *now_ms, step)).map_err(|mismatch| (Some(no), mismatch))?;
        }
    }
    let now_ms = plan.steps.last().map_or(EPOCH_MS, |(now_ms, _)| *now_ms);
    guarded(|| world.finish(now_ms)).map_err(|mismatch| (None, mismatch))?;
    Ok(world.into_counts())
}

/// Makes a panic, of the subject or of the oracle, a mismatch. What panicked must not be used again.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Mismatch>) -> Result<T, Mismatch> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Mismatch {
            is_panic: true,
            replica: None,
            what: String::from("a panic"),
            expected: String::from("none"),
            observed: String::from(text.unwrap_or("a payload that is not text")),
        })
    })
}

fn expect<T: Debug + PartialEq>(replica: usize, what: &str, expected: &T, observed: &T) -> Checked {
    if expected == observed { Ok(()) } else { Err(mismatch(replica, what, format!("{expected:?}"), format!("{observed:?}"))) }
}

fn mismatch(replica: usize, what: &str, expected: String, observed: String) -> Mismatch {
    Mismatch { is_panic: false, replica: Some(replica), what: what.to_owned(), expected, observed }
}

fn fault_of(replica: usize, call: &str, fault: &Fault) -> Mismatch {
    mismatch(replica, call, String::from("no error"), fault.to_string())
}
