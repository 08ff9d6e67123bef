//! The oracle: what each cell must read, from the set of visible transactions alone.
#![expect(
    clippy::indexing_slicing,
    reason = "replicas, cells and writes are numbered here; a wrong number is a bug of this module"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::cut::{At, Cut, REPLICAS_MAX};
use super::op::Op;
use super::schema::{CellId, Kind, Schema, Scope};
use super::subject::{Observed, Sibling};
use crate::causal::{Hlc, ReplicaId, VersionVector};

#[derive(Debug, Clone)]
struct Transaction {
    /// Who has written it, as others see it.
    writer: ReplicaId,
    /// The number of its last event at its replica.
    last: u64,
    saw: Cut,
    /// Zero until [`Oracle::stamp`].
    stamp: Hlc,
}

#[derive(Debug, Clone)]
struct Write {
    by: At,
    what: What,
    removed_by: SmallVec<[At; 2]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Value(u64),
    Amount(i64),
    Flag(bool),
    Element(u64),
    Whole(BTreeSet<u64>),
}

/// What a read of a register saw: its live writes.
#[derive(Debug, Clone)]
pub struct Reading {
    cell: CellId,
    /// Places in the cell's list of writes.
    writes: Vec<usize>,
}

/// What happened in a transaction besides its effect: for [`Counts`](super::Counts).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Remarks {
    pub(super) reset_consumed: bool,
    pub(super) stale_set_over: bool,
    pub(super) nested_delete: bool,
    pub(super) prefix_delete: bool,
}

/// Records every transaction, and computes what each cell must read from the set of visible transactions alone.
///
/// It knows no rows, no dots of single writes, no deltas. A history is a set of transactions; each knows which others its
/// replica had seen (a [`Cut`]) and what its operations removed. Then, whatever way the transactions came,
///
/// ```text
/// live(cell, cut) = { write in cell : its transaction is in cut, and no transaction in cut removed it }
/// ```
///
/// and a cell reads a function of its live writes:
///
/// | kind | a write removes what it saw | reads |
/// |---|---|---|
/// | register | all live, or exactly what an earlier read saw (and its own transaction's) | all live; the highest (stamp, writer) wins |
/// | counter | nothing | the sum |
/// | flag | all live | some enable |
/// | veto flag | all live | some enable and no disable |
/// | set | all live of the same element | the elements |
/// | lattice | all live; it then holds their join with the delta | the join |
///
/// A delete writes nothing, and removes all live that it saw: visible to its transaction at its start, or written by an earlier
/// operation of it. It is enough to record what was still live for the remover: what was removed before it, was removed by a
/// transaction that every cut with the remover has too.
///
/// Source: Burckhardt, "Principles of Eventual Consistency" (2014), abstract executions.
#[derive(Debug, Clone)]
pub struct Oracle {
    schema: Arc<Schema>,
    replicas: Vec<ReplicaId>,
    /// Of each replica, its transactions in order.
    logs: Vec<Vec<Transaction>>,
    /// Of each cell, every write in the order of recording.
    cells: Vec<Vec<Write>>,
}

impl Oracle {
    /// Before the first transaction.
    ///
    /// # Panics
    /// There are more than [`REPLICAS_MAX`] replicas.
    #[must_use]
    pub fn new(schema: Arc<Schema>, replicas: &[ReplicaId]) -> Self {
        assert!(replicas.len() <= REPLICAS_MAX, "at most {REPLICAS_MAX} replicas");
        let cells = schema.cells().iter().map(|_| Vec::new()).collect();
        Self { schema, replicas: replicas.to_vec(), logs: replicas.iter().map(|_| Vec::new()).collect(), cells }
    }

    /// The version of a replica that has seen the cut.
    #[must_use]
    pub fn version(&self, cut: &Cut) -> VersionVector {
        self.replicas.iter().zip(&self.logs).zip(cut.counts()).map(|((id, log), count)| (*id, last_of(log, count))).collect()
    }

    /// Whether `version` has the transactions of the cut: all of each, and nothing else.
    #[must_use]
    pub fn is_version(&self, version: &VersionVector, cut: &Cut) -> bool {
        let seqs = || self.logs.iter().zip(cut.counts()).map(|(log, count)| last_of(log, count));
        version.len() == seqs().filter(|seq| *seq > 0).count()
            && self.replicas.iter().zip(seqs()).all(|(id, seq)| version.get(*id) == seq)
    }

    /// One more replica: its place.
    pub(super) fn add_replica(&mut self, id: ReplicaId) -> usize {
        assert!(self.replicas.len() < REPLICAS_MAX, "at most {REPLICAS_MAX} replicas");
        self.replicas.push(id);
        self.logs.push(Vec::new());
        self.replicas.len() - 1
    }

    /// How many replicas there are.
    pub(super) const fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// A transaction has another writer: its replica has a new id, under which it has written it again.
    pub(super) fn set_writer(&mut self, at: At, writer: ReplicaId) {
        self.logs[at.replica][at.no as usize].writer = writer;
    }

    /// The stamp of a transaction, if it has been [set](Self::stamp).
    pub(super) fn stamp_at(&self, at: At) -> Hlc {
        self.logs[at.replica][at.no as usize].stamp
    }

    /// What a read at the cut sees, to write over it later.
    #[must_use]
    pub fn read_to_set_over(&self, cell: CellId, cut: &Cut) -> Reading {
        Reading { cell, writes: self.live(cell, cut).map(|(place, _)| place).collect() }
    }

    /// Records a transaction that took numbers up to `last`, of the replica in this place, which had seen `saw`. Returns it;
    /// the cut after it is `saw` with it.
    pub fn record(&mut self, replica: usize, saw: &Cut, last: u64, ops: &[Op], hand: &[Reading]) -> At {
        self.record_with_remarks(replica, saw, last, ops, hand).0
    }

    pub(super) fn record_with_remarks(
        &mut self,
        replica: usize,
        saw: &Cut,
        last: u64,
        ops: &[Op],
        hand: &[Reading],
    ) -> (At, Remarks) {
        let at = saw.next_of(replica);
        debug_assert_eq!(self.logs[replica].len(), at.no as usize, "a replica has seen its own transactions");
        let writer = self.replicas[replica];
        self.logs[replica].push(Transaction { writer, last, saw: *saw, stamp: Hlc::ZERO });
        let cut = saw.with(at);
        let mut remarks = Remarks::default();
        for op in ops {
            self.record_op(op, at, &cut, hand, &mut remarks);
        }
        (at, remarks)
    }

    fn record_op(&mut self, op: &Op, at: At, cut: &Cut, hand: &[Reading], remarks: &mut Remarks) {
        match op {
            Op::Set { cell, value } => self.overwrite(*cell, at, cut, What::Value(*value)),
            Op::SetOver { cell, value, read } => {
                let reading = &hand[*read];
                debug_assert_eq!(reading.cell, *cell, "a read is of the cell that is written over it");
                let covered = |(place, write): (usize, &Write)| reading.writes.contains(&place) || write.by == at;
                remarks.stale_set_over |= !self.live(*cell, cut).all(covered);
                let places: Vec<_> = self.live(*cell, cut).filter(|live| covered(*live)).map(|(place, _)| place).collect();
                self.remove(*cell, at, &places);
                self.push(*cell, at, What::Value(*value));
            }
            Op::Add { cell, amount } => {
                remarks.reset_consumed |= self.has_new_foreign_reset(*cell, at, cut);
                self.push(*cell, at, What::Amount(*amount));
            }
            Op::Enable(cell) => self.overwrite(*cell, at, cut, What::Flag(true)),
            Op::Disable(cell) => self.overwrite(*cell, at, cut, What::Flag(false)),
            Op::Insert { cell, element } => {
                self.remove_element(*cell, at, cut, *element);
                self.push(*cell, at, What::Element(*element));
            }
            Op::Remove { cell, element } => self.remove_element(*cell, at, cut, *element),
            Op::Join { cell, delta } => {
                let mut whole = delta.clone();
                for (_, write) in self.live(*cell, cut) {
                    whole.extend(write.whole());
                }
                self.overwrite(*cell, at, cut, What::Whole(whole));
            }
            Op::Clear(cell) => {
                self.clear(*cell, at, cut);
            }
            Op::Delete(scope) => {
                let schema = Arc::clone(&self.schema);
                for cell in schema.cells_in(*scope) {
                    let removed = self.clear(*cell, at, cut);
                    remarks.nested_delete |= removed && !schema.at(*cell).fields.is_empty();
                    remarks.prefix_delete |= removed && matches!(schema.scope(*scope), Scope::Prefix(_));
                }
            }
        }
    }

    /// Whether another replica's delete of the writer's own adds, new to it since its last add here, is visible.
    fn has_new_foreign_reset(&self, cell: CellId, at: At, cut: &Cut) -> bool {
        let own = || self.cells[cell.0].iter().filter(|write| write.by.replica == at.replica);
        let Some(last) = own().next_back() else { return false };
        let known = self.logs[at.replica][last.by.no as usize].saw;
        own().flat_map(|write| &write.removed_by).any(|by| by.replica != at.replica && cut.has(*by) && !known.has(*by))
    }

    /// Whether a write of some transactions that was live at `saw` was removed until `now`, by another than this replica.
    pub(super) fn was_removed_since(
        &self,
        cell: CellId,
        of: impl Fn(At) -> bool,
        replica: usize,
        saw: &Cut,
        now: &Cut,
    ) -> bool {
        let is_new = |by: &At| by.replica != replica && now.has(*by) && !saw.has(*by);
        self.live(cell, saw).any(|(_, write)| of(write.by) && write.removed_by.iter().any(is_new))
    }

    fn live(&self, cell: CellId, cut: &Cut) -> impl Iterator<Item = (usize, &Write)> {
        let is_live = |write: &Write| cut.has(write.by) && !write.removed_by.iter().any(|by| cut.has(*by));
        self.cells[cell.0].iter().enumerate().filter(move |(_, write)| is_live(write))
    }

    fn overwrite(&mut self, cell: CellId, at: At, cut: &Cut, what: What) {
        self.clear(cell, at, cut);
        self.push(cell, at, what);
    }

    /// Whether anything was live.
    fn clear(&mut self, cell: CellId, at: At, cut: &Cut) -> bool {
        let places: Vec<_> = self.live(cell, cut).map(|(place, _)| place).collect();
        self.remove(cell, at, &places);
        !places.is_empty()
    }

    fn remove_element(&mut self, cell: CellId, at: At, cut: &Cut, element: u64) {
        let element = What::Element(element);
        let places: Vec<_> = self.live(cell, cut).filter(|(_, write)| write.what == element).map(|(place, _)| place).collect();
        self.remove(cell, at, &places);
    }

    fn remove(&mut self, cell: CellId, at: At, places: &[usize]) {
        for place in places {
            self.cells[cell.0][*place].removed_by.push(at);
        }
    }

    fn push(&mut self, cell: CellId, at: At, what: What) {
        self.cells[cell.0].push(Write { by: at, what, removed_by: SmallVec::new() });
    }

    /// The cut of what the writer of a transaction had seen, and of the transaction itself.
    #[must_use]
    pub fn cut_of(&self, at: At) -> (Cut, Cut) {
        let saw = self.logs[at.replica][at.no as usize].saw;
        (saw, saw.with(at))
    }

    /// The registers that hold a live write of a transaction at its replica, right after it.
    pub fn registers_written(&self, at: At) -> impl Iterator<Item = CellId> {
        let (_, after) = self.cut_of(at);
        let is_register = |cell: &CellId| self.schema.at(*cell).kind == Kind::Register;
        self.schema.cell_ids().filter(is_register).filter(move |cell| self.live(*cell, &after).any(|(_, write)| write.by == at))
    }

    /// Sets the stamp of a transaction, as it was observed. Transactions that left no write in a register need none.
    pub fn stamp(&mut self, at: At, stamp: Hlc) {
        self.logs[at.replica][at.no as usize].stamp = stamp;
    }

    /// The highest stamp among the live writes of all registers, and among the stamped transactions of one replica: the
    /// replica's next stamp must be above.
    #[must_use]
    pub fn stamp_before(&self, replica: usize, cut: &Cut) -> Hlc {
        let own = self.logs[replica].iter().map(|transaction| transaction.stamp);
        let registers = self.schema.cell_ids().filter(|cell| self.schema.at(*cell).kind == Kind::Register);
        let live = registers.flat_map(|cell| self.live(cell, cut)).map(|(_, write)| self.stamp_of(write));
        own.chain(live).max().unwrap_or_default()
    }

    fn stamp_of(&self, write: &Write) -> Hlc {
        self.stamp_at(write.by)
    }

    /// What a cell must read at the cut.
    #[must_use]
    pub fn read(&self, cell: CellId, cut: &Cut) -> Observed {
        let live = self.live(cell, cut).map(|(_, write)| write);
        match self.schema.at(cell).kind {
            Kind::Register => {
                let mut siblings: Vec<_> = live.filter_map(|write| self.sibling(write)).collect();
                siblings.sort_unstable();
                if let Some(last) = siblings.last_mut() {
                    last.wins = true;
                }
                Observed::Register(siblings)
            }
            Kind::Counter => Observed::Counter(live.map(|write| i128::from(write.amount())).sum()),
            Kind::Flag => Observed::Flag(self.flags(cell, cut).0),
            Kind::VetoFlag => Observed::Flag(matches!(self.flags(cell, cut), (true, false))),
            Kind::Set => Observed::Set(live.filter_map(Write::element).collect()),
            Kind::Lattice => Observed::Lattice(live.flat_map(Write::whole).collect()),
        }
    }

    fn sibling(&self, write: &Write) -> Option<Sibling> {
        let What::Value(value) = write.what else { return None };
        let Transaction { writer, stamp, .. } = self.logs[write.by.replica][write.by.no as usize];
        Some(Sibling { stamp, writer, value, wins: false })
    }

    /// Whether some live write of a flag enables it, and whether some disables it.
    pub(super) fn flags(&self, cell: CellId, cut: &Cut) -> (bool, bool) {
        let has = |flag| self.live(cell, cut).any(|(_, write)| write.what == What::Flag(flag));
        (has(true), has(false))
    }
}

fn last_of(log: &[Transaction], count: u32) -> u64 {
    (count as usize).checked_sub(1).map_or(0, |no| log[no].last)
}

impl Write {
    const fn amount(&self) -> i64 {
        if let What::Amount(amount) = self.what { amount } else { 0 }
    }

    const fn element(&self) -> Option<u64> {
        if let What::Element(element) = self.what { Some(element) } else { None }
    }

    fn whole(&self) -> impl Iterator<Item = u64> {
        let whole = if let What::Whole(whole) = &self.what { Some(whole) } else { None };
        whole.into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ScopeId;

    const ONE: CellId = CellId(0);

    fn oracle(kind: Kind) -> Oracle {
        let schema = Schema::new().cell(&["one"], &[], kind);
        Oracle::new(Arc::new(schema), &[ReplicaId::from_u128(1), ReplicaId::from_u128(2)])
    }

    /// Records a transaction of one number; returns the cut after it.
    fn record(oracle: &mut Oracle, replica: usize, saw: &Cut, ops: &[Op], hand: &[Reading]) -> Cut {
        let last = u64::from(saw.count(replica)) + 1;
        let at = oracle.record(replica, saw, last, ops, hand);
        oracle.cut_of(at).1
    }

    fn joined(mut one: Cut, other: &Cut) -> Cut {
        one.join(other);
        one
    }

    fn values(oracle: &Oracle, cut: &Cut) -> Vec<u64> {
        let Observed::Register(siblings) = oracle.read(ONE, cut) else { panic!("a register") };
        siblings.iter().map(|sibling| sibling.value).collect()
    }

    #[test]
    fn a_delete_removes_what_it_saw_and_nothing_else() {
        let mut oracle = oracle(Kind::Counter);
        let five = record(&mut oracle, 1, &Cut::default(), &[Op::Add { cell: ONE, amount: 5 }], &[]);
        let deleted = record(&mut oracle, 0, &five, &[Op::Clear(ONE)], &[]);
        let eight = record(&mut oracle, 1, &five, &[Op::Add { cell: ONE, amount: 3 }], &[]);
        assert_eq!(oracle.read(ONE, &eight), Observed::Counter(8));
        assert_eq!(oracle.read(ONE, &deleted), Observed::Counter(0));
        assert_eq!(oracle.read(ONE, &joined(deleted, &eight)), Observed::Counter(3));
    }

    #[test]
    fn a_write_over_a_read_leaves_what_the_read_had_not_seen() {
        let mut oracle = oracle(Kind::Register);
        let set = |value| Op::Set { cell: ONE, value };
        let first = record(&mut oracle, 0, &Cut::default(), &[set(1)], &[]);
        let hand = [oracle.read_to_set_over(ONE, &first)];
        let other = record(&mut oracle, 1, &Cut::default(), &[set(2)], &[]);
        let saw = joined(first, &other);
        let over = |value| Op::SetOver { cell: ONE, value, read: 0 };
        let after = record(&mut oracle, 0, &saw, &[over(3), over(4)], &hand);
        let mut left = values(&oracle, &after);
        left.sort_unstable();
        assert_eq!(left, [2, 4]);
    }

    #[test]
    fn operations_see_the_earlier_ones_of_their_transaction() {
        let mut oracle = oracle(Kind::Set);
        let [insert, remove] = [Op::Insert { cell: ONE, element: 1 }, Op::Remove { cell: ONE, element: 1 }];
        let absent = record(&mut oracle, 0, &Cut::default(), &[insert.clone(), remove.clone()], &[]);
        assert_eq!(oracle.read(ONE, &absent), Observed::Set([].into()));
        let present = record(&mut oracle, 0, &absent, &[remove, insert], &[]);
        assert_eq!(oracle.read(ONE, &present), Observed::Set([1].into()));
    }

    #[test]
    fn concurrent_flags_are_as_named() {
        for (kind, wins) in [(Kind::Flag, true), (Kind::VetoFlag, false)] {
            let mut oracle = oracle(kind);
            let enabled = record(&mut oracle, 0, &Cut::default(), &[Op::Enable(ONE)], &[]);
            let disabled = record(&mut oracle, 1, &Cut::default(), &[Op::Disable(ONE)], &[]);
            assert_eq!(oracle.read(ONE, &enabled), Observed::Flag(true));
            assert_eq!(oracle.read(ONE, &joined(enabled, &disabled)), Observed::Flag(wins));
        }
    }

    #[test]
    fn what_survives_a_delete_of_a_lattice_is_the_whole_value_that_its_writer_saw() {
        let mut oracle = oracle(Kind::Lattice);
        let join = |element| Op::Join { cell: ONE, delta: [element].into() };
        let first = record(&mut oracle, 0, &Cut::default(), &[join(1)], &[]);
        let deleted = record(&mut oracle, 0, &first, &[Op::Delete(ScopeId(0))], &[]);
        let second = record(&mut oracle, 1, &first, &[join(2)], &[]);
        assert_eq!(oracle.read(ONE, &deleted), Observed::Lattice([].into()));
        assert_eq!(oracle.read(ONE, &joined(deleted, &second)), Observed::Lattice([1, 2].into()));
    }

    #[test]
    fn a_version_has_whole_transactions() {
        let mut oracle = oracle(Kind::Set);
        let at = oracle.record(0, &Cut::default(), 3, &[Op::Insert { cell: ONE, element: 1 }], &[]);
        let (saw, after) = oracle.cut_of(at);
        let version = |seq| [(ReplicaId::from_u128(1), seq)].into_iter().collect::<VersionVector>();
        assert!(oracle.is_version(&version(3), &after));
        assert!(!oracle.is_version(&version(2), &after));
        assert!(oracle.is_version(&VersionVector::new(), &saw));
    }
}
