//! One commit in the making: rows and events that change together, with the counts and digests that follow from them.
//!
//! A local transaction, a merge, a pushed transaction and a truncation all end here, so that what every commit must keep true
//! is kept true in one place:
//!
//! - a live entry has its Write event, and no other Write event is there;
//! - digests and counts are those of the rows;
//! - the version vector grows by whole transactions.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::storage::Write;

use super::error::{Error, Result};
use super::meta::{Meta, Tables, entry_hash};
use super::row::{Entry, LocalDot, Row};

/// What an event did to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Write,
    Delete,
}

/// A path with the byte behind it that tells a write from a delete: the value of an event. The path in front is shared with
/// the key of its row.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    bytes: Bytes,
}

impl Event {
    const WRITE: u8 = 1;
    const DELETE: u8 = 2;

    pub(crate) fn new(kind: EventKind, path: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(path.len() + 1);
        bytes.extend_from_slice(path);
        bytes.push(match kind {
            EventKind::Write => Self::WRITE,
            EventKind::Delete => Self::DELETE,
        });
        Self { kind, bytes: Bytes::from(bytes) }
    }

    pub(crate) fn path(&self) -> Bytes {
        self.bytes.slice(..self.bytes.len().saturating_sub(1))
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self> {
        let kind = match bytes.last() {
            Some(&Self::WRITE) => EventKind::Write,
            Some(&Self::DELETE) => EventKind::Delete,
            _other => {
                return Err(Error::corrupt("EVENTS")(crate::codec::DecodeError::new(0, "an event of no kind")));
            }
        };
        Ok(Self { kind, bytes })
    }
}

/// One commit in the making.
#[derive(Debug)]
pub(crate) struct Commit {
    tables: Tables,
    pub(crate) meta: Meta,
    writes: Vec<Write>,
    /// Replicas whose row of META changes.
    moved: BTreeSet<u32>,
    scratch: Vec<u8>,
    /// Rows that changed.
    pub(crate) rows_changed: u64,
}

impl Commit {
    pub(crate) fn new(tables: Tables, meta: Meta) -> Self {
        Self { tables, meta, writes: Vec::new(), moved: BTreeSet::new(), scratch: Vec::new(), rows_changed: 0 }
    }

    /// Replaces the row at a path. Entries that go take their Write events along; the events of entries that come are the
    /// caller's ([`event`](Self::event)). No change: nothing happens. Returns whether anything changed.
    pub(crate) fn row(&mut self, path: &Bytes, before: &Row, after: &Row) -> Result<bool> {
        let mut changed = false;
        for entry in before.entries().iter().filter(|entry| !after.contains(entry.dot)) {
            changed = true;
            self.writes.push(Write::Erase { log: self.tables.events(entry.dot.replica), number: entry.dot.seq });
            let hash = self.hash(path, entry)?;
            self.meta.entries_digest = self.meta.entries_digest.wrapping_sub(hash);
            self.meta.entries = self.meta.entries.saturating_sub(1);
        }
        for entry in after.entries().iter().filter(|entry| !before.contains(entry.dot)) {
            changed = true;
            let hash = self.hash(path, entry)?;
            self.meta.entries_digest = self.meta.entries_digest.wrapping_add(hash);
            self.meta.entries += 1;
        }
        if !changed {
            return Ok(false);
        }
        self.rows_changed += 1;
        let (table, key) = (self.tables.rows(), path.clone());
        if after.is_empty() {
            self.meta.rows = self.meta.rows.saturating_sub(1);
            self.writes.push(Write::Remove { table, key });
        } else {
            self.meta.rows += u64::from(before.is_empty());
            self.writes.push(Write::Put { table, key, value: after.encode() });
        }
        Ok(true)
    }

    /// Records an event.
    pub(crate) fn event(&mut self, dot: LocalDot, event: Event) {
        self.meta.deletes += u64::from(event.kind == EventKind::Delete);
        self.writes.push(Write::Append { log: self.tables.events(dot.replica), number: dot.seq, value: event.bytes });
    }

    /// Forgets a Delete event.
    pub(crate) fn forget_delete(&mut self, dot: LocalDot) {
        self.meta.deletes = self.meta.deletes.saturating_sub(1);
        self.writes.push(Write::Erase { log: self.tables.events(dot.replica), number: dot.seq });
    }

    /// Every event of `replica` up to `seq` is in.
    pub(crate) fn advance(&mut self, replica: u32, seq: u64) -> bool {
        let new = self.meta.advance(replica, seq);
        if new {
            self.moved.insert(replica);
        }
        new
    }

    /// Deletes of `replica` up to `floor` may be gone.
    pub(crate) fn raise_floor(&mut self, replica: u32, floor: u64) -> bool {
        let new = self.meta.raise_floor(replica, floor);
        if new {
            self.moved.insert(replica);
        }
        new
    }

    /// The writes, those of META included, and the state after them.
    pub(crate) fn finish(mut self) -> (Vec<Write>, Meta) {
        self.meta.commit += 1;
        let table = self.tables.meta();
        for replica in &self.moved {
            if let Some(value) = self.meta.encode_replica(*replica) {
                self.writes.push(Write::Put { table, key: Meta::replica_key(*replica), value });
            }
        }
        let key = Bytes::from_static(Meta::STATE);
        self.writes.push(Write::Put { table, key, value: self.meta.encode_state() });
        (self.writes, self.meta)
    }

    fn hash(&mut self, path: &[u8], entry: &Entry) -> Result<u128> {
        let id = self.meta.id(entry.dot.replica).ok_or_else(unknown_replica)?;
        Ok(entry_hash(id, path, entry, &mut self.scratch))
    }
}

/// A row names a replica that the space does not know.
pub(crate) fn unknown_replica() -> Error {
    Error::corrupt("ROWS")(crate::codec::DecodeError::new(0, "an entry of a replica that the space does not know"))
}
