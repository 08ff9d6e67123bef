//! The store as a subject of histories.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::causal::{ReplicaId, VersionVector};
use crate::codec::key::{Key, KeyWriter};
use crate::kv::{self, Delta, Map, Place, Pushed, Retention, Seen, Store, Tx};
use crate::storage::{Backend, Bytes, Entries, KeyRange, LogId, Memory, Read, Rows, TableId, Write};
use crate::system::Clock;

use super::op::Op;
use super::schema::{Cell, CellId, Kind, Schema, Scope};
use super::subject::{Applied, Fault, Merged, Observed, Sibling, Subject};

/// A store under test: opened, closed and opened again on what its backend keeps.
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Runner, Schema, StoreSubject};
///
/// let schema = Arc::new(Schema::every_kind());
/// let counts = Runner::new(&schema).histories(20).run(|replica| StoreSubject::in_memory(replica, &schema));
/// assert_eq!(counts.unwrap().histories(), 20);
/// ```
pub struct StoreSubject<M = Memory> {
    schema: Arc<Schema>,
    replica: ReplicaId,
    clock: ManualClock,
    medium: M,
    /// `None` only while it is reopened.
    store: Option<Store>,
}

type Fallible<T> = Result<T, Fault>;

/// What a store under test is kept on.
pub trait Medium {
    /// Opens what the medium holds. The store that was open before is closed.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn open(&mut self, options: kv::Options) -> Fallible<Store>;
}

impl Medium for Memory {
    fn open(&mut self, options: kv::Options) -> Fallible<Store> {
        // Replicas differ in what they may differ in: what they keep, and when they erase.
        let retention = |dead, deletes| Retention { dead_min: dead, deletes_min: deletes, ..Retention::default() };
        let options = match options.fixed_replica().map_or(0, |id| id.to_bytes()[15]) % 3 {
            0 => return Ok(options.open_backend(self.clone())?),
            1 => options.retention(retention(2, 8)),
            _two => options.retention(retention(8, 3)),
        };
        Ok(options.open_backend(Late(self.clone()))?)
    }
}

/// A memory on which the store erases late, as on a disk.
#[derive(Debug, Clone)]
struct Late(Memory);

impl Read for Late {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.0.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.0.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.0.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.0.entries(log, numbers)
    }
}

impl Backend for Late {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        self.0.snapshot()
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        self.0.commit(writes, sync)
    }
}

/// A file, or anything else that a function opens.
impl<F: FnMut(kv::Options) -> Fallible<Store>> Medium for F {
    fn open(&mut self, options: kv::Options) -> Fallible<Store> {
        self(options)
    }
}

/// A clock that is set by hand.
#[derive(Debug, Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The parts of a key of a schema.
struct Parts<'a>(&'a [String]);

impl Key for Parts<'_> {
    fn encode(&self, to: &mut KeyWriter) {
        for part in self.0 {
            part.encode(to);
        }
    }
}

/// The map that fields lead to.
fn map_at<C: Place>(map: Map<C>, fields: &[String]) -> Map<C> {
    fields.iter().fold(map, |map, field| map.map(field))
}

/// The handle of a cell: of its key, or of the last field in its maps.
macro_rules! at {
    ($place:expr, $cell:expr, $($handle:tt)+) => {{
        let cell: &Cell = $cell;
        match cell.fields.split_last() {
            None => $place.$($handle)+(Parts(&cell.key)),
            Some((last, fields)) => map_at($place.map(Parts(&cell.key)), fields).$($handle)+(last),
        }
    }};
}

impl StoreSubject {
    /// A store in memory.
    ///
    /// # Panics
    /// A fresh store in memory does not open: a bug.
    #[must_use]
    pub fn in_memory(replica: ReplicaId, schema: &Arc<Schema>) -> Self {
        Self::on(replica, schema, Memory::default()).expect("a fresh store in memory opens")
    }
}

/// A subject of its own that begins as this one is now.
impl Clone for StoreSubject {
    fn clone(&self) -> Self {
        let mut copy = Self::on(self.replica, &self.schema, self.medium.fork()).expect("a store that was open opens");
        copy.set_clock(self.clock.now_ms());
        copy
    }
}

impl<M: Medium> StoreSubject<M> {
    /// A store on any medium.
    ///
    /// # Errors
    /// What the medium says.
    pub fn on(replica: ReplicaId, schema: &Arc<Schema>, medium: M) -> Fallible<Self> {
        let (schema, clock) = (Arc::clone(schema), ManualClock::default());
        let mut subject = Self { schema, replica, clock, medium, store: None };
        subject.restart()?;
        Ok(subject)
    }

    /// The store itself.
    ///
    /// # Panics
    /// The store did not open again after a restart that said so.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("open but during a restart")
    }

    /// Commits one transaction as [`Subject::transact`] does, and gives nothing away: no push is made of it.
    ///
    /// # Errors
    /// As [`Subject::transact`].
    pub fn commit(&mut self, ops: &[Op], hand: &[&Seen<u64>]) -> Fallible<()> {
        self.begun(ops, hand)?.commit()?;
        Ok(())
    }

    fn begun(&self, ops: &[Op], hand: &[&Seen<u64>]) -> Fallible<Tx> {
        let tx = self.store().begin()?;
        for op in ops {
            self.run(&tx, op, hand)?;
        }
        Ok(tx)
    }

    fn cell(&self, cell: CellId) -> &Cell {
        self.schema.at(cell)
    }

    fn flag<'a>(&self, tx: &'a Tx, cell: CellId) -> kv::Flag<&'a Tx> {
        let cell = self.cell(cell);
        if cell.kind == Kind::VetoFlag { at!(tx, cell, veto_flag) } else { at!(tx, cell, flag) }
    }

    fn run(&self, tx: &Tx, op: &Op, hand: &[&Seen<u64>]) -> kv::Result<()> {
        match op {
            Op::Set { cell, value } => at!(tx, self.cell(*cell), register::<u64>).set(value),
            Op::SetOver { cell, value, read } => {
                let seen = hand.get(*read).ok_or(kv::Error::Refused("a read that the hand does not hold"))?;
                at!(tx, self.cell(*cell), register::<u64>).set_over(seen, value)
            }
            Op::Add { cell, amount } => at!(tx, self.cell(*cell), counter).add(*amount),
            Op::Enable(cell) => self.flag(tx, *cell).enable(),
            Op::Disable(cell) => self.flag(tx, *cell).disable(),
            Op::Insert { cell, element } => at!(tx, self.cell(*cell), set::<u64>).insert(element),
            Op::Remove { cell, element } => at!(tx, self.cell(*cell), set::<u64>).remove(element),
            Op::Join { cell, delta } => at!(tx, self.cell(*cell), lattice::<BTreeSet<u64>>).join(delta),
            Op::Clear(cell) => {
                let cell = self.cell(*cell);
                match cell.kind {
                    Kind::Register => at!(tx, cell, register::<u64>).delete(),
                    Kind::Counter => at!(tx, cell, counter).reset(),
                    Kind::Flag => at!(tx, cell, flag).delete(),
                    Kind::VetoFlag => at!(tx, cell, veto_flag).delete(),
                    Kind::Set => at!(tx, cell, set::<u64>).clear(),
                    Kind::Lattice => at!(tx, cell, lattice::<BTreeSet<u64>>).delete(),
                }
            }
            Op::Delete(scope) => match self.schema.scope(*scope) {
                Scope::Key(key) => tx.delete(Parts(key)).map(drop),
                Scope::Prefix(key) => tx.delete_prefix(Parts(key)).map(drop),
                Scope::Map { key, fields } => map_at(tx.map(Parts(key)), fields).delete(),
                Scope::Field { key, fields } => match fields.split_last() {
                    Some((last, fields)) => map_at(tx.map(Parts(key)), fields).delete_field(last).map(drop),
                    None => Err(kv::Error::Refused("a field without a name")),
                },
            },
        }
    }
}

impl<M: Medium> Subject for StoreSubject<M> {
    type Seen = Seen<u64>;
    type Batch = Delta;
    type Pushed = Pushed;

    fn replica(&self) -> ReplicaId {
        self.replica
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.clock.0.store(now_ms, Ordering::Relaxed);
    }

    fn version(&self) -> Fallible<VersionVector> {
        Ok(self.store().version()?)
    }

    fn transact(&mut self, ops: &[Op], hand: &[&Seen<u64>]) -> Fallible<Option<Pushed>> {
        Ok(self.begun(ops, hand)?.commit_and_push()?)
    }

    fn read(&self, cell: CellId) -> Fallible<Observed> {
        let (store, cell) = (self.store(), self.cell(cell));
        Ok(match cell.kind {
            Kind::Register => {
                let register = at!(store, cell, register::<u64>);
                let mut siblings = Vec::new();
                for sibling in register.siblings()? {
                    let kv::Sibling { value, writer, time, wins } = sibling;
                    siblings.push(Sibling { stamp: time, writer, value: value?, wins });
                }
                let shown = siblings.iter().find(|sibling| sibling.wins).map(|sibling| sibling.value);
                if register.get()? != shown {
                    return Err("`get` and `siblings` of a register differ".into());
                }
                siblings.sort_unstable();
                Observed::Register(siblings)
            }
            Kind::Counter => Observed::Counter(at!(store, cell, counter).get()?),
            Kind::Flag => Observed::Flag(at!(store, cell, flag).get()?),
            Kind::VetoFlag => Observed::Flag(at!(store, cell, veto_flag).get()?),
            Kind::Set => Observed::Set(at!(store, cell, set::<u64>).iter()?.collect::<kv::Result<_>>()?),
            Kind::Lattice => Observed::Lattice(at!(store, cell, lattice::<BTreeSet<u64>>).get()?),
        })
    }

    fn read_to_set_over(&self, cell: CellId) -> Fallible<Seen<u64>> {
        Ok(at!(self.store(), self.cell(cell), register::<u64>).read()?)
    }

    fn delta_since(&mut self, base: &VersionVector) -> Fallible<Delta> {
        Ok(self.store().delta_since(base)?)
    }

    fn merge(&mut self, batch: &Delta) -> Fallible<Merged> {
        match self.store().merge(batch) {
            Ok(kv::Merged { changed, below_floor, .. }) => Ok(Merged::Applied { changed, used_live: below_floor }),
            Err(kv::Error::Behind { .. }) => Ok(Merged::Behind),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&mut self, pushed: &Pushed) -> Fallible<Applied> {
        Ok(match self.store().apply(pushed)? {
            kv::Applied::Merged(_) => Applied::Applied,
            kv::Applied::Covered => Applied::Covered,
            kv::Applied::Waits { .. } => Applied::Waits,
        })
    }

    fn truncate(&mut self, below: &VersionVector) -> Fallible<()> {
        self.store().forget_deletes(below)?;
        Ok(())
    }

    fn restart(&mut self) -> Fallible<()> {
        self.store = None;
        let options = Store::options().replica(self.replica).clock(self.clock.clone());
        self.store = Some(self.medium.open(options)?);
        Ok(())
    }

    fn digest(&self) -> Fallible<u128> {
        Ok(u128::from_le_bytes(self.store().digest()?.to_bytes()))
    }

    fn canonical(&self) -> Fallible<Vec<u8>> {
        Ok(self.store().canonical()?.into_bytes())
    }

    fn check(&self) -> Fallible<()> {
        Ok(self.store().check()?)
    }
}

impl<M> std::fmt::Debug for StoreSubject<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSubject").field("replica", &self.replica).finish_non_exhaustive()
    }
}
