//! One commit in the making: rows and events that change together, with the counts and digests that follow from them.
//!
//! A local transaction, a merge, a pushed transaction and a truncation all end here, so that what every commit must keep true
//! is kept true in one place:
//!
//! - a live entry has its Write event, and each other Write event is listed in DEAD, to be erased later;
//! - digests and counts are those of the rows;
//! - the version vector grows by whole transactions.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

use crate::causal::ReplicaId;
use crate::codec::{Reader, Writer};
use crate::storage::Write;

use super::error::{Error, Result};
use super::identity::Point;
use super::meta::{Meta, Tables, delete_hash, entry_hash, link};
use super::path::is_reset_of;
use super::row::{Entry, LocalDot, Row};
use super::space::Space;
use super::watch::{Changed, Collector};

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
    /// How many were taken already.
    taken: usize,
    /// Replicas whose row of META changes.
    moved: BTreeSet<u32>,
    /// How many replicas the space knew before.
    known: u32,
    /// This replica, to know the resets that are addressed to it.
    me: Option<ReplicaId>,
    /// Dropped dots whose Write events are erased later; `None`: they are erased at once.
    dead: Option<Vec<LocalDot>>,
    rides: bool,
    scratch: Vec<u8>,
    /// The entry that came last, and its hash: the history asks for it too.
    hashed: Option<(LocalDot, u128)>,
    /// Rows that changed.
    pub(crate) rows_changed: u64,
    /// Which keys they are of, if somebody watches.
    collector: Option<Collector>,
}

impl Commit {
    /// The most dots that one record of DEAD lists. What a commit drops beyond is erased at once.
    const DEAD_MAX: usize = 1 << 16;

    pub(crate) fn new(space: &Space, meta: Meta) -> Self {
        Self {
            tables: space.tables,
            writes: Vec::new(),
            taken: 0,
            moved: BTreeSet::new(),
            // A transaction may have named this replica just now.
            known: space.replica_count(),
            me: meta.me.and_then(|me| meta.id(me)),
            dead: (!space.backend().erases_cheaply()).then(Vec::new),
            rides: true,
            scratch: Vec::new(),
            hashed: None,
            rows_changed: 0,
            collector: space.watchers.are_there().then(Collector::default),
            meta,
        }
    }

    /// Replaces the row at a path. Entries that go take their Write events along, now or later; the events of entries that come
    /// are the caller's ([`event`](Self::event)). No change: nothing happens. Returns whether anything changed.
    pub(crate) fn row(&mut self, path: &Bytes, before: &Row, after: &Row) -> Result<bool> {
        let mut changed = false;
        for entry in before.entries().iter().filter(|entry| !after.contains(entry.dot)) {
            changed = true;
            self.drop_event(entry.dot);
            let hash = self.hash(path, entry)?;
            self.meta.entries_digest = self.meta.entries_digest.wrapping_sub(hash);
            self.meta.entries = self.meta.entries.saturating_sub(1);
        }
        for entry in after.entries().iter().filter(|entry| !before.contains(entry.dot)) {
            changed = true;
            let hash = self.hash(path, entry)?;
            self.hashed = Some((entry.dot, hash));
            self.meta.entries_digest = self.meta.entries_digest.wrapping_add(hash);
            self.meta.entries += 1;
        }
        if !changed {
            return Ok(false);
        }
        self.rows_changed += 1;
        if before.is_empty() != after.is_empty() && self.me.is_some_and(|me| is_reset_of(path, me)) {
            self.set_pending_reset(path, !after.is_empty());
        }
        if let Some(collector) = &mut self.collector {
            collector.row(path, after);
        }
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

    /// Sets or removes a local key.
    pub(crate) fn local(&mut self, key: Bytes, value: Option<Bytes>) {
        let table = self.tables.local();
        self.writes.push(match value {
            Some(value) => Write::Put { table, key, value },
            None => Write::Remove { table, key },
        });
    }

    /// Erases the events of what goes with the commit, on any backend, and takes no part of the retention along.
    pub(crate) fn stands_alone(&mut self) {
        self.dead = None;
        self.rides = false;
    }

    /// Whether a slice of the retention may ride on the commit.
    pub(crate) const fn rides(&self) -> bool {
        self.rides
    }

    /// This replica ceases to be the one that resets are addressed to.
    pub(crate) fn clear_resets(&mut self, space: &Space) -> Result<()> {
        self.me = None;
        self.meta.resets = 0;
        let table = self.tables.resets();
        for row in space.backend().range(table, (Bound::Unbounded, Bound::Unbounded))? {
            self.writes.push(Write::Remove { table, key: row?.0 });
        }
        Ok(())
    }

    /// Adds an own event to the hash of the own history.
    pub(crate) fn link(&mut self, dot: LocalDot, path: &[u8], written: Option<&Entry>) -> Result<()> {
        self.meta.chain = self.linked(self.meta.chain, dot, path, written)?;
        Ok(())
    }

    /// The hash of a history with one more event: a write, or a delete.
    pub(crate) fn linked(&mut self, chain: u64, dot: LocalDot, path: &[u8], written: Option<&Entry>) -> Result<u64> {
        let event = match (written, self.hashed) {
            (Some(entry), Some((last, hash))) if last == entry.dot => {
                debug_assert_eq!(self.hash(path, entry)?, hash, "a dot is given once");
                hash
            }
            (Some(entry), _other) => self.hash(path, entry)?,
            (None, _) => {
                let id = self.meta.id(dot.replica).ok_or_else(unknown_replica)?;
                delete_hash(id, dot.seq, path, &mut self.scratch)
            }
        };
        Ok(link(chain, event))
    }

    fn drop_event(&mut self, dot: LocalDot) {
        match &mut self.dead {
            Some(dead) if dead.len() < Self::DEAD_MAX => dead.push(dot),
            Some(_) | None => self.erase_event(dot),
        }
    }

    /// Erases a Write event that no entry has any more.
    pub(crate) fn erase_event(&mut self, dot: LocalDot) {
        self.writes.push(Write::Erase { log: self.tables.events(dot.replica), number: dot.seq });
    }

    /// Erases what a commit has listed in DEAD, once the events of its dots are erased.
    pub(crate) fn erase_dead(&mut self, record: u64, dots: u64) {
        self.meta.dead = self.meta.dead.saturating_sub(dots);
        self.writes.push(Write::Erase { log: self.tables.dead(), number: record });
    }

    /// A reset row addressed to this replica has come, or gone.
    fn set_pending_reset(&mut self, path: &Bytes, pending: bool) {
        let (table, key) = (self.tables.resets(), path.clone());
        if pending {
            self.meta.resets += 1;
            self.writes.push(Write::Put { table, key, value: Bytes::new() });
        } else {
            self.meta.resets = self.meta.resets.saturating_sub(1);
            self.writes.push(Write::Remove { table, key });
        }
    }

    /// Keeps one of this replica's own counter rows as the peers may know it.
    pub(crate) fn set_sent(&mut self, path: &Bytes, is_new: bool, value: Bytes) {
        self.meta.sent += u64::from(is_new);
        self.writes.push(Write::Put { table: self.tables.sent(), key: path.clone(), value });
    }

    /// Forgets a row of SENT.
    pub(crate) fn remove_sent(&mut self, path: Bytes) {
        self.meta.sent = self.meta.sent.saturating_sub(1);
        self.writes.push(Write::Remove { table: self.tables.sent(), key: path });
    }

    /// Adds a point of the own history, or forgets one.
    pub(crate) fn mark(&mut self, point: Point) {
        self.meta.marks += 1;
        let value = Bytes::copy_from_slice(&point.hash.to_le_bytes());
        self.writes.push(Write::Append { log: self.tables.marks(), number: point.seq, value });
    }

    pub(crate) fn forget_mark(&mut self, seq: u64) {
        self.meta.marks = self.meta.marks.saturating_sub(1);
        self.writes.push(Write::Erase { log: self.tables.marks(), number: seq });
    }

    /// Records an event.
    pub(crate) fn event(&mut self, dot: LocalDot, event: Event) {
        if let Some(collector) = &mut self.collector {
            collector.event(dot, &event.path());
        }
        if event.kind == EventKind::Delete {
            self.meta.count_delete(dot.replica, true);
            self.moved.insert(dot.replica);
        }
        self.writes.push(Write::Append { log: self.tables.events(dot.replica), number: dot.seq, value: event.bytes });
    }

    /// Forgets a Delete event.
    pub(crate) fn forget_delete(&mut self, dot: LocalDot) {
        self.meta.count_delete(dot.replica, false);
        self.moved.insert(dot.replica);
        self.writes.push(Write::Erase { log: self.tables.events(dot.replica), number: dot.seq });
    }

    /// How many writes there are so far, those that were taken included.
    pub(crate) fn len(&self) -> usize {
        self.taken + self.writes.len()
    }

    /// Keeps that a replica has taken over events of this file: a version without any event of it does not say what was seen.
    pub(crate) fn takes_over(&mut self, replica: u32) {
        let table = self.tables.meta();
        self.writes.push(Write::Put { table, key: Meta::taker_key(replica), value: Bytes::new() });
    }

    /// The row of META of a replica changes.
    pub(crate) fn touch(&mut self, replica: u32) {
        self.moved.insert(replica);
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

    /// Deletes of `replica` up to `seq` are gone. Returns whether that is new.
    pub(crate) fn evict(&mut self, replica: u32, seq: u64) -> bool {
        let raised = self.raise_floor(replica, seq);
        if seq > self.meta.progress(replica).evicted {
            self.meta.set_evicted(replica, seq);
            self.moved.insert(replica);
        }
        raised
    }

    /// Takes the writes so far: a streamed commit hands them on as they come.
    pub(crate) fn take_writes(&mut self) -> Vec<Write> {
        self.taken += self.writes.len();
        std::mem::take(&mut self.writes)
    }

    /// The writes, those of META included, the state after them, and what to tell of it.
    pub(crate) fn finish(mut self) -> (Vec<Write>, Meta, Changed) {
        self.meta.commit += 1;
        if let Some(dead) = self.dead.take().filter(|dead| !dead.is_empty()) {
            self.meta.dead += dead.len() as u64;
            let (log, number) = (self.tables.dead(), self.meta.commit);
            self.writes.push(Write::Append { log, number, value: encode_dots(&dead) });
        }
        let table = self.tables.meta();
        // Where this replica stands is part of the state, so that a commit of its own writes no row of META but that.
        let is_in_state = |replica: &u32| self.meta.me == Some(*replica) && *replica < self.known;
        for replica in self.moved.iter().filter(|replica| !is_in_state(replica)) {
            if let Some(value) = self.meta.encode_replica(*replica) {
                self.writes.push(Write::Put { table, key: Meta::replica_key(*replica), value });
            }
        }
        let key = Bytes::from_static(Meta::STATE);
        self.writes.push(Write::Put { table, key, value: self.meta.encode_state() });
        let keys = match self.collector {
            Some(collector) => collector.finish(&self.meta),
            // A watcher that came since the commit was begun has to look at everything.
            None => (self.rows_changed == 0).then(Vec::new),
        };
        let changed = Changed { commit: self.meta.commit, keys };
        (self.writes, self.meta, changed)
    }

    fn hash(&mut self, path: &[u8], entry: &Entry) -> Result<u128> {
        let id = self.meta.id(entry.dot.replica).ok_or_else(unknown_replica)?;
        Ok(entry_hash(id, path, entry, &mut self.scratch))
    }
}

/// Dots as a record of DEAD lists them.
fn encode_dots(dots: &[LocalDot]) -> Bytes {
    let mut to = Writer::with_capacity(dots.len() * 8);
    for dot in dots {
        to.u64(u64::from(dot.replica));
        to.u64(dot.seq);
    }
    Bytes::from(to.into_vec())
}

/// The dots that a record of DEAD lists.
pub(crate) fn decode_dots(bytes: &[u8]) -> Result<Vec<LocalDot>> {
    let (corrupt, mut from, mut dots) = (Error::corrupt("DEAD"), Reader::new(bytes), Vec::new());
    while !from.is_empty() {
        dots.push(LocalDot { replica: from.u32().map_err(&corrupt)?, seq: from.u64().map_err(&corrupt)? });
    }
    Ok(dots)
}

/// A row names a replica that the space does not know.
pub(crate) fn unknown_replica() -> Error {
    Error::corrupt("ROWS")(crate::codec::DecodeError::new(0, "an entry of a replica that the space does not know"))
}
