//! The simplest replica that keeps the promise: one dotted map, merged whole.

mod rows;
mod transaction;

use std::io::Write;
use std::sync::Arc;

use self::rows::{Own, Part, Path, Payload, Reset, Row, Rows, fingerprint};
use self::transaction::Transaction;
use super::op::Op;
use super::schema::{CellId, Kind, Schema};
use super::subject::{Applied, Fault, Merged, Observed, Subject};
use crate::causal::{Dot, Hlc, ReplicaId, VersionVector};

/// The simplest replica that keeps the promise: one dotted map, merged whole.
///
/// It has no events, no floors and no differences: a batch is everything, and a merge is the join of dotted maps. So it shares
/// nothing with a store but the rows, and makes two things possible: the oracle is shown to be right (and to catch each
/// [`Defect`]) without a store, and a store is compared with it ([`Both`](super::Both)).
///
/// Rows are as in the store: a register, a flag and a lattice have one each, a set one per element, a counter two per
/// contributor. The numbers of a transaction go to the rows it touched in the order of their paths.
///
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018); their `DotMap` join.
#[derive(Debug, Clone)]
pub struct Naive {
    schema: Arc<Schema>,
    me: ReplicaId,
    defect: Option<Defect>,
    now_ms: u64,
    /// The highest stamp made or merged.
    clock: Hlc,
    version: VersionVector,
    /// Shared with the batches made from it. Invariant: no row is empty.
    rows: Arc<Rows>,
    /// The version after the last transaction of this process; `None` before the first.
    told: Option<VersionVector>,
}

/// A design error to be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// A delete of a counter drops the contributions and tells the contributors nothing.
    ResetsNotAddressed,
    /// A contributor drops a reset without taking it into account.
    ResetDroppedUnconsumed,
    /// A contributor starts a new frame whenever its net is zero, not only when all of it was reset.
    NewFrameAtNetZero,
    /// A merge keeps only the winner of a register.
    LosersPruned,
    /// A write to a register does not replace the values of higher replica ids, whatever it has seen.
    IdsForCausality,
    /// A pushed transaction is applied without what its writer had seen of others.
    DependenciesIgnored,
    /// A pushed transaction is applied without the ones before it.
    GapIgnored,
    /// A delete takes no number.
    DeleteWithoutDot,
    /// A write over a read replaces everything.
    SetOverReplacesAll,
    /// A delete of a key, a prefix, a map or a field reaches only the first level.
    NestedDeleteShallow,
    /// A delete of a key drops the resets on their way to their contributors.
    DeleteDropsResets,
    /// A write to a lattice holds the delta alone.
    LatticeDeltaAlone,
    /// Disable wins nowhere.
    VetoIgnored,
    /// Every merge says that it changed something.
    ChangedAlways,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Self; 14] = [
        Self::ResetsNotAddressed,
        Self::ResetDroppedUnconsumed,
        Self::NewFrameAtNetZero,
        Self::LosersPruned,
        Self::IdsForCausality,
        Self::DependenciesIgnored,
        Self::GapIgnored,
        Self::DeleteWithoutDot,
        Self::SetOverReplacesAll,
        Self::NestedDeleteShallow,
        Self::DeleteDropsResets,
        Self::LatticeDeltaAlone,
        Self::VetoIgnored,
        Self::ChangedAlways,
    ];
}

/// What a register read saw.
#[derive(Debug, Clone)]
pub struct NaiveSeen(Vec<Dot>);

/// A whole state.
#[derive(Debug, Clone)]
pub struct NaiveBatch {
    base: VersionVector,
    version: VersionVector,
    rows: Arc<Rows>,
}

/// One transaction as its own difference. The row in place `i` has number `first + i`.
#[derive(Debug, Clone)]
pub struct NaivePushed {
    origin: ReplicaId,
    first: u64,
    last: u64,
    needs: VersionVector,
    rows: Vec<(Path, Option<Payload>, Vec<Dot>)>,
}

impl Naive {
    /// A replica that has seen nothing.
    #[must_use]
    pub fn new(me: ReplicaId, schema: &Arc<Schema>) -> Self {
        Self {
            schema: Arc::clone(schema),
            me,
            defect: None,
            now_ms: 0,
            clock: Hlc::ZERO,
            version: VersionVector::new(),
            rows: Arc::default(),
            told: None,
        }
    }

    /// One with a design error.
    #[must_use]
    pub fn with(self, defect: Defect) -> Self {
        Self { defect: Some(defect), ..self }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn row(&self, cell: CellId, part: Part) -> &[(Dot, Payload)] {
        self.rows.get(&Path { cell, part }).map_or(&[], Vec::as_slice)
    }

    fn parts(&self, cell: CellId) -> impl Iterator<Item = (Part, &Row)> {
        let from = Path { cell, part: Part::Whole };
        self.rows.range(from..).take_while(move |(path, _)| path.cell == cell).map(|(path, row)| (path.part, row))
    }

    /// The contribution of a replica: the entry, with the newest reset of its frame if it is newer than the base.
    fn own(&self, cell: CellId, replica: ReplicaId) -> Option<(u64, Own, Option<Reset>)> {
        let (dot, own) =
            self.row(cell, Part::Own(replica)).iter().rev().find_map(|(dot, payload)| Some((dot, payload.own()?)))?;
        let resets = self.row(cell, Part::Reset(replica)).iter().filter_map(|(_, payload)| payload.reset());
        let newest = resets.filter(|reset| reset.frame == own.frame).max_by_key(|reset| reset.seq);
        Some((dot.seq, own, newest.filter(|reset| reset.seq > own.base_seq)))
    }
}

impl Subject for Naive {
    type Seen = NaiveSeen;
    type Batch = NaiveBatch;
    type Pushed = NaivePushed;

    fn replica(&self) -> ReplicaId {
        self.me
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn version(&self) -> Result<VersionVector, Fault> {
        Ok(self.version.clone())
    }

    fn transact(&mut self, ops: &[Op], hand: &[&NaiveSeen]) -> Result<Option<NaivePushed>, Fault> {
        self.clock = self.clock.tick(self.now_ms).ok_or("the end of time")?;
        let mut transaction = Transaction::begin(self);
        ops.iter().try_for_each(|op| transaction.op(op, hand))?;
        Ok(transaction.end())
    }

    fn read(&self, cell: CellId) -> Result<Observed, Fault> {
        let row = self.row(cell, Part::Whole);
        let flags = || row.iter().filter_map(|(_, payload)| payload.flag());
        Ok(match self.schema.at(cell).kind {
            Kind::Register => {
                let mut siblings: Vec<_> = row.iter().filter_map(|(dot, payload)| payload.sibling(dot.replica)).collect();
                siblings.sort_unstable();
                if let Some(last) = siblings.last_mut() {
                    last.wins = true;
                }
                Observed::Register(siblings)
            }
            Kind::Counter => {
                let mut total = 0;
                for (part, _) in self.parts(cell) {
                    if let Part::Own(replica) = part
                        && let Some((_, own, reset)) = self.own(cell, replica)
                    {
                        total += i128::from(own.sum) - i128::from(reset.map_or(own.base, |reset| reset.sum));
                    }
                }
                Observed::Counter(total)
            }
            Kind::Flag => Observed::Flag(flags().any(|flag| flag)),
            Kind::VetoFlag if self.has(Defect::VetoIgnored) => Observed::Flag(flags().any(|flag| flag)),
            Kind::VetoFlag => Observed::Flag(flags().next().is_some() && flags().all(|flag| flag)),
            Kind::Set => {
                let element = |part| if let Part::Element(element) = part { Some(element) } else { None };
                Observed::Set(self.parts(cell).filter_map(|(part, _)| element(part)).collect())
            }
            Kind::Lattice => {
                Observed::Lattice(row.iter().filter_map(|(_, payload)| payload.whole()).flatten().copied().collect())
            }
        })
    }

    fn read_to_set_over(&self, cell: CellId) -> Result<NaiveSeen, Fault> {
        Ok(NaiveSeen(self.row(cell, Part::Whole).iter().map(|(dot, _)| *dot).collect()))
    }

    fn delta_since(&mut self, base: &VersionVector) -> Result<NaiveBatch, Fault> {
        let base = base.iter().map(|(replica, seq)| (replica, seq.min(self.version.get(replica)))).collect();
        Ok(NaiveBatch { base, version: self.version.clone(), rows: Arc::clone(&self.rows) })
    }

    fn merge(&mut self, batch: &NaiveBatch) -> Result<Merged, Fault> {
        if !self.version.covers(&batch.base) {
            return Ok(Merged::Behind);
        }
        let rows = Arc::make_mut(&mut self.rows);
        for (path, ours) in rows.iter_mut() {
            let theirs = batch.rows.get(path).map_or(&[][..], Vec::as_slice);
            ours.retain(|(dot, _)| !batch.version.contains(*dot) || theirs.iter().any(|(their, _)| their == dot));
        }
        for (path, theirs) in batch.rows.iter() {
            let mut new = theirs.iter().filter(|(dot, _)| !self.version.contains(*dot)).peekable();
            if new.peek().is_some() {
                let row = rows.entry(*path).or_default();
                row.extend(new.cloned());
                row.sort_unstable_by_key(|(dot, _)| *dot);
            }
        }
        rows.retain(|_, row| !row.is_empty());
        if self.defect == Some(Defect::LosersPruned) {
            prune_losers(rows);
        }
        let changed = self.version.join(&batch.version) || self.has(Defect::ChangedAlways);
        self.follow_clocks();
        Ok(Merged::Applied { changed, used_live: false })
    }

    fn apply(&mut self, pushed: &NaivePushed) -> Result<Applied, Fault> {
        let here = self.version.get(pushed.origin);
        if here >= pushed.last {
            return Ok(Applied::Covered);
        }
        let has_gap = here + 1 != pushed.first && !self.has(Defect::GapIgnored);
        let needs = pushed.needs.iter().filter(|(id, _)| *id != pushed.origin).collect();
        if has_gap || !(self.version.covers(&needs) || self.has(Defect::DependenciesIgnored)) {
            return Ok(Applied::Waits);
        }
        let rows = Arc::make_mut(&mut self.rows);
        for (seq, (path, payload, dropped)) in (pushed.first..).zip(&pushed.rows) {
            let row = rows.entry(*path).or_default();
            row.retain(|(dot, _)| !dropped.contains(dot));
            row.extend(payload.clone().map(|payload| (Dot::new(pushed.origin, seq), payload)));
            row.sort_unstable_by_key(|(dot, _)| *dot);
            if row.is_empty() {
                rows.remove(path);
            }
        }
        self.version.advance(pushed.origin, pushed.last);
        self.follow_clocks();
        Ok(Applied::Applied)
    }

    /// Nothing is kept for peers.
    fn truncate(&mut self, _below: &VersionVector) -> Result<(), Fault> {
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Fault> {
        self.told = None;
        Ok(())
    }

    fn digest(&self) -> Result<u128, Fault> {
        let entries = self.rows.iter().flat_map(|(path, row)| row.iter().map(move |(dot, payload)| (path, dot, payload)));
        Ok(entries.fold(0, |digest: u128, (path, dot, payload)| digest.wrapping_add(fingerprint(path, *dot, payload))))
    }

    /// One line a row, by path: the cell, the part of it, and each entry with its dot. The version is the last line.
    fn canonical(&self) -> Result<Vec<u8>, Fault> {
        let mut lines = Vec::new();
        for (path, row) in self.rows.iter() {
            write!(lines, "{}, {:?}:", self.schema.at(path.cell), path.part)?;
            row.iter().try_for_each(|(dot, payload)| write!(lines, " {dot} {payload:?}"))?;
            writeln!(lines)?;
        }
        writeln!(lines, "{:?}", self.version)?;
        Ok(lines)
    }

    fn check(&self) -> Result<(), Fault> {
        for (path, row) in self.rows.iter() {
            let is_sorted = row.is_sorted_by(|(earlier, _), (later, _)| earlier < later);
            if row.is_empty() || !is_sorted || !row.iter().all(|(dot, _)| self.version.contains(*dot)) {
                return Err(format!("{path:?}: {row:?} at {:?}", self.version).into());
            }
        }
        Ok(())
    }
}

impl Naive {
    fn follow_clocks(&mut self) {
        let entries = self.rows.values().flatten();
        let stamps = entries.filter_map(|(dot, payload)| Some(payload.sibling(dot.replica)?.stamp));
        self.clock = stamps.fold(self.clock, Hlc::max);
    }
}

fn prune_losers(rows: &mut Rows) {
    let sibling = |(dot, payload): &(Dot, Payload)| payload.sibling(dot.replica);
    for row in rows.values_mut() {
        if let Some(winner) = row.iter().filter_map(sibling).max() {
            row.retain(|entry| sibling(entry) == Some(winner));
        }
    }
}

#[cfg(test)]
mod tests;
