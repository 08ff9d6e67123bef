//! A backend in memory: for tests, caches, and replicas that fetch everything again after a restart.
//!
//! ```text
//! Memory ──▶ newest: State ── tables: number -> persistent B-tree of rows
//!                 │        └─ chunks: (log, number / 64) -> shared chunk of up to 64 entries
//!                 │ clone = two reference counts
//!                 └──▶ snapshot: State       every node and chunk is shared until a commit touches it
//! ```
//!
//! Nodes are copied on write, and only while something else holds them: without a snapshot, a commit changes them in place.

mod chunk;
mod pages;

use core::fmt;
use core::iter;
use core::mem;
use core::ops::RangeInclusive;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};

use super::range::nothing_between;
use super::{Backend, Entries, KeyRange, LogId, Read, Rows, TableId, Write};
use chunk::{Chunk, chunk_of, first_number, slot_of};
use pages::Pages;

/// Commits of at most so many writes change the newest state in place, and readers wait for them (well below a millisecond
/// for each thousand). A larger commit prepares its state beside the newest one, and readers wait for nothing.
const IN_PLACE_WRITES_MAX: usize = 4096;

/// A backend that keeps everything in memory. A clone is the same memory; a new one is [`Memory::default`]. Open one
/// [`Store`](crate::Store) at a time on clones of one: two have two writer locks, and lose each other's writes.
///
/// A `sync` commit is like any other: what is here is lost with the process.
///
/// Cost: a commit is logarithmic in the rows of a table for each write; a snapshot is two reference counts, and while it is
/// held, each node (16 rows) or chunk (64 log entries) that a commit touches is copied once.
#[derive(Clone, Default)]
pub struct Memory {
    newest: Arc<RwLock<State>>,
}

impl Backend for Memory {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        Ok(Arc::new(self.state()))
    }

    fn erases_cheaply(&self) -> bool {
        true
    }

    fn commit(&self, writes: Vec<Write>, _sync: bool) -> io::Result<()> {
        if writes.len() <= IN_PLACE_WRITES_MAX {
            self.newest.write().apply(writes);
            return Ok(());
        }
        // Readers go on below an upgradable lock, other commits do not: neither can lose the other's writes, whatever the
        // caller promised.
        let newest = self.newest.upgradable_read();
        let mut next = newest.clone();
        next.apply(writes);
        let mut newest = RwLockUpgradableReadGuard::upgrade(newest);
        let old = mem::replace(&mut *newest, next);
        drop(newest);
        // It may be the last holder of many nodes, so not under the lock.
        drop(old);
        Ok(())
    }
}

impl Read for Memory {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.newest.read().get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        if nothing_between(range) {
            return Ok(Box::new(iter::empty()));
        }
        let Some(rows) = self.newest.read().tables.get(&table).cloned() else {
            return Ok(Box::new(iter::empty()));
        };
        let range = (range.0.map(Bytes::copy_from_slice), range.1.map(Bytes::copy_from_slice));
        Ok(Box::new(Pages::of_rows(rows, range).map(Ok)))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.newest.read().at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        if numbers.is_empty() {
            return Ok(Box::new(iter::empty()));
        }
        Ok(Box::new(Pages::of_entries(self.state(), log, numbers).map(Ok)))
    }
}

impl fmt::Debug for Memory {
    /// Counts, not contents: a log line must not show what an application stores.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Memory")
            .field("rows", &state.tables.values().map(OrdMap::len).sum::<usize>())
            .field("log_chunks", &state.chunks.len())
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// A store of its own that begins as this one is now. Cost: as a snapshot.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { newest: Arc::new(RwLock::new(self.state())) }
    }

    fn state(&self) -> State {
        self.newest.read().clone()
    }
}

/// One state. Cloning it is cheap; what two clones have in common is shared.
#[derive(Clone, Default)]
struct State {
    /// Invariant: no table is empty.
    tables: OrdMap<TableId, OrdMap<Bytes, Bytes>>,
    /// The entries of every log, 64 numbers to a chunk. Invariant: no chunk is empty.
    chunks: OrdMap<(LogId, u64), Arc<Chunk>>,
}

impl State {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => self.put(table, key, value),
                Write::Remove { table, key } => self.remove(table, &key),
                Write::Append { log, number, value } => self.append(log, number, value),
                Write::Erase { log, number } => self.erase(log, number),
            }
        }
    }

    fn put(&mut self, table: TableId, key: Bytes, value: Bytes) {
        if let Some(rows) = self.tables.get_mut(&table) {
            rows.insert(key, value);
        } else {
            self.tables.insert(table, OrdMap::unit(key, value));
        }
    }

    fn remove(&mut self, table: TableId, key: &[u8]) {
        let Some(rows) = self.tables.get_mut(&table) else {
            return;
        };
        rows.remove(key);
        if rows.is_empty() {
            self.tables.remove(&table);
        }
    }

    fn append(&mut self, log: LogId, number: u64, value: Bytes) {
        let place = (log, chunk_of(number));
        if let Some(chunk) = self.chunks.get_mut(&place) {
            Arc::make_mut(chunk).set(slot_of(number), value);
        } else {
            self.chunks.insert(place, Arc::new(Chunk::lone(slot_of(number), value)));
        }
    }

    fn erase(&mut self, log: LogId, number: u64) {
        let place = (log, chunk_of(number));
        let Some(chunk) = self.chunks.get_mut(&place) else {
            return;
        };
        if chunk.get(slot_of(number)).is_some() && Arc::make_mut(chunk).clear(slot_of(number)) {
            self.chunks.remove(&place);
        }
    }

    /// The entries of a range of numbers. Precondition: `first <= last`.
    fn entries_between(&self, log: LogId, first: u64, last: u64) -> impl DoubleEndedIterator<Item = (u64, Bytes)> {
        debug_assert!(first <= last, "an inverted range of numbers: {first}..={last}");
        let places = (log, chunk_of(first))..=(log, chunk_of(last));
        self.chunks.range(places).flat_map(move |(&(_, index), chunk)| {
            let start = first_number(index);
            let from = slot_of(first.max(start));
            let to = if chunk_of(last) == index { slot_of(last) } else { chunk::SLOT_LAST };
            chunk.slots(from, to).map(move |(slot, value)| (start + u64::from(slot), value.clone()))
        })
    }
}

impl Read for State {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        if nothing_between(range) {
            return Ok(Box::new(iter::empty()));
        }
        let Some(rows) = self.tables.get(&table) else {
            return Ok(Box::new(iter::empty()));
        };
        let rows = rows.range::<_, [u8]>(range);
        Ok(Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone())))))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        let chunk = self.chunks.get(&(log, chunk_of(number)));
        Ok(chunk.and_then(|chunk| chunk.get(slot_of(number))).cloned())
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        if numbers.is_empty() {
            return Ok(Box::new(iter::empty()));
        }
        let (first, last) = numbers.into_inner();
        Ok(Box::new(self.entries_between(log, first, last).map(Ok)))
    }
}

#[cfg(test)]
mod tests;
