//! A transaction's own writes over the committed state: what it reads, and what becomes of it at commit.

use std::cmp::Ordering;
use std::collections::btree_map::{self, BTreeMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use crate::causal::{Hlc, ReplicaId, SEQ_MAX};

use super::commit::{Commit, Event, EventKind};
use super::cursor::Range;
use super::error::{Error, Limit, Result};
use super::identity::{self, Sent};
use super::kinds::counter;
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::options::VALUE_MAX;
use super::path::counter_part_of;
use super::push::PushedRow;
use super::row::{Entry, LocalDot, Row};
use super::space::{Space, decode_row};

/// What a write replaces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replaces<'a> {
    /// Every entry of the row.
    All,
    /// These entries, sorted, and what the transaction itself wrote before.
    Only(&'a [LocalDot]),
}

/// A row that the transaction has touched.
#[derive(Debug)]
struct Touched {
    before: Row,
    /// What is left of `before`, and at most one pending entry.
    now: Row,
}

/// A transaction in the making.
#[derive(Debug)]
pub(crate) struct Overlay {
    space: Arc<Space>,
    /// The committed state, and the index of this replica if the transaction is its first.
    meta: Meta,
    stamp: Option<Hlc>,
    rows: BTreeMap<Bytes, Touched>,
    /// Local keys that the transaction sets, or removes.
    local: BTreeMap<Bytes, Option<Bytes>>,
    /// Counts what was written and deleted: an operation that fails after it has counted is half done.
    changes: u64,
    /// Tells this transaction from others of the process.
    id: u64,
}

impl Overlay {
    pub(crate) fn new(space: Arc<Space>, meta: Meta) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Relaxed);
        Self { space, meta, stamp: None, rows: BTreeMap::new(), local: BTreeMap::new(), changes: 0, id }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// This replica, named now if it has no name yet.
    pub(crate) fn me(&mut self) -> Result<(u32, ReplicaId)> {
        if let Some(me) = self.meta.me {
            let id = self.meta.id(me).ok_or_else(super::commit::unknown_replica)?;
            return Ok((me, id));
        }
        let id = identity::mint(&self.meta, &self.space.file.settings)?;
        self.meta.room_for([id])?;
        let me = self.meta.index_or_new(id);
        self.meta.me = Some(me);
        Ok((me, id))
    }

    /// The stamp of the transaction.
    pub(crate) fn stamp(&mut self) -> Result<Hlc> {
        if let Some(stamp) = self.stamp {
            return Ok(stamp);
        }
        let now = self.space.file.settings.clock.now_ms();
        let stamp = self.meta.hlc.tick(now).ok_or(Error::Refused("the clock stands at the end of time"))?;
        self.meta.hlc = stamp;
        self.stamp = Some(stamp);
        Ok(stamp)
    }

    /// The row at a path, as the transaction sees it.
    pub(crate) fn row(&self, path: &[u8]) -> Result<Row> {
        match self.rows.get(path) {
            Some(touched) => Ok(touched.now.clone()),
            None => self.space.row(path),
        }
    }

    /// Writes an entry.
    pub(crate) fn put(&mut self, path: &[u8], payload: Bytes, replaces: Replaces<'_>) -> Result<()> {
        let touched = self.touch(path)?;
        touched.now.retain(|entry| {
            let goes = match replaces {
                Replaces::All => true,
                Replaces::Only(seen) => entry.dot == LocalDot::PENDING || seen.binary_search(&entry.dot).is_ok(),
            };
            !goes
        });
        touched.now.push(Entry { dot: LocalDot::PENDING, payload });
        self.changes += 1;
        Ok(())
    }

    /// Refuses a user's value that is larger than the limit.
    pub(crate) fn fits(&self, value: &[u8]) -> Result<()> {
        // Whatever the limits say: more than this no peer takes.
        let cap = self.space.file.settings.limits.value_bytes.min(VALUE_MAX as u64);
        let is = value.len() as u64;
        if is > cap { Err(Error::TooLarge { what: Limit::Value, is, cap }) } else { Ok(()) }
    }

    /// Drops every entry of a row. Returns whether there was one.
    pub(crate) fn delete_row(&mut self, path: &[u8]) -> Result<bool> {
        if self.row(path)?.is_empty() {
            return Ok(false);
        }
        self.touch(path)?.now = Row::default();
        self.changes += 1;
        Ok(true)
    }

    /// Drops every entry of a row that was just read.
    pub(crate) fn delete_known(&mut self, path: Bytes, row: Row) {
        let touched = self.rows.entry(path).or_insert_with(|| Touched { before: row, now: Row::default() });
        touched.now = Row::default();
        self.changes += 1;
    }

    /// Whether the transaction has touched a row.
    pub(crate) fn has_touched(&self, path: &[u8]) -> bool {
        self.rows.contains_key(path)
    }

    fn touch(&mut self, path: &[u8]) -> Result<&mut Touched> {
        let room = self.room_for(1);
        match self.rows.entry(Bytes::copy_from_slice(path)) {
            btree_map::Entry::Occupied(touched) => Ok(touched.into_mut()),
            btree_map::Entry::Vacant(place) => {
                room?;
                let before = self.space.row(path)?;
                let now = before.clone();
                Ok(place.insert(Touched { before, now }))
            }
        }
    }

    /// Refuses if `more` rows would be above the limit of a transaction.
    pub(crate) fn room_for(&self, more: u64) -> Result<()> {
        let cap = self.space.file.settings.limits.rows_per_transaction;
        let is = ((self.rows.len() + self.local.len()) as u64).saturating_add(more);
        if is > cap { Err(Error::TooLarge { what: Limit::Rows, is, cap }) } else { Ok(()) }
    }

    /// Up to `max` rows of a range as the transaction sees them, from the front or from the back.
    pub(crate) fn chunk(&self, range: &Range, from_back: bool, max: usize) -> Result<Vec<(Bytes, Row)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let space = &self.space;
        let mut stored = space.backend().range(space.tables.rows(), range.bounds())?;
        let mut own = self.rows.range::<[u8], (Bound<&[u8]>, Bound<&[u8]>)>(range.bounds());
        let mut next_stored = || if from_back { stored.next_back() } else { stored.next() }.transpose();
        let mut next_own = || if from_back { own.next_back() } else { own.next() };
        let (mut a, mut b) = (next_stored()?, next_own());
        let mut rows = Vec::new();
        while rows.len() < max {
            let own_first = match (&a, &b) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((stored, _)), Some((own, _))) => {
                    if stored == *own {
                        // The transaction has touched it: what is stored does not count.
                        a = next_stored()?;
                        true
                    } else {
                        (*own < stored) != from_back
                    }
                }
            };
            if own_first {
                rows.extend(
                    b.filter(|(_path, touched)| !touched.now.is_empty())
                        .map(|(path, touched)| (path.clone(), touched.now.clone())),
                );
                b = next_own();
            } else {
                if let Some((path, bytes)) = a.take() {
                    rows.push((path, decode_row(&bytes)?));
                }
                a = next_stored()?;
            }
        }
        Ok(rows)
    }

    /// The value of a local key, as the transaction sees it.
    pub(crate) fn local(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.local.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.space.local(key),
        }
    }

    /// Sets or removes a local key.
    pub(crate) fn put_local(&mut self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        if let Some(own) = self.local.get_mut(key) {
            *own = value;
        } else {
            self.room_for(1)?;
            self.local.insert(Bytes::copy_from_slice(key), value);
        }
        self.changes += 1;
        Ok(())
    }

    /// Up to `max` local keys of a range, as the transaction sees them.
    pub(crate) fn locals(&self, range: &Range, max: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let space = &self.space;
        let mut stored = space.backend().range(space.tables.local(), range.bounds())?.peekable();
        let mut own = self.local.range::<[u8], (Bound<&[u8]>, Bound<&[u8]>)>(range.bounds()).peekable();
        let mut found = Vec::new();
        while found.len() < max {
            // An error comes first: what is behind it is not known.
            let order = match (stored.peek(), own.peek()) {
                (Some(Ok((stored, _value))), Some((own, _own))) => stored.cmp(own),
                (Some(_stored), _) => Ordering::Less,
                (None, Some(_own)) => Ordering::Greater,
                (None, None) => break,
            };
            let stored = if order.is_le() { stored.next().transpose()? } else { None };
            // What the transaction has touched counts, and not what is stored.
            let own = if order.is_ge() { own.next() } else { None };
            match own {
                Some((key, value)) => found.extend(value.clone().map(|value| (key.clone(), value))),
                None => found.extend(stored),
            }
        }
        Ok(found)
    }

    /// Ends the transaction as one commit: each row written or deleted takes the next dot, in the order of paths. `None`:
    /// nothing was written. With `push`, also its rows as a pushed transaction has them.
    pub(crate) fn into_commit(mut self, push: bool) -> Result<Option<(Commit, Vec<PushedRow>)>> {
        self.rows.retain(|_path, touched| touched.now.has_pending() || touched.now != touched.before);
        let local = std::mem::take(&mut self.local);
        if self.rows.is_empty() {
            if local.is_empty() {
                return Ok(None);
            }
            // Without an event: neither a name nor a stamp that the transaction took is used.
            let mut commit = Commit::new(&self.space, (*self.space.meta()?).clone());
            local.into_iter().for_each(|(key, value)| commit.local(key, value));
            return Ok(Some((commit, Vec::new())));
        }
        self.take_resets()?;
        let rows = std::mem::take(&mut self.rows);
        let (me, id) = self.me()?;
        let lo = self.meta.seq(me);
        let hi = lo.saturating_add(rows.len() as u64);
        if hi > SEQ_MAX {
            return Err(Error::TooLarge { what: Limit::Events, is: hi, cap: SEQ_MAX });
        }
        let mut commit = Commit::new(&self.space, self.meta);
        let mut pushed = Vec::new();
        let mut seq = lo;
        for (path, touched) in rows {
            let deleted = !touched.now.has_pending();
            if deleted && mutant::is(Mutant::DeleteWithoutDot) {
                commit.row(&path, &touched.before, &touched.now)?;
                continue;
            }
            seq += 1;
            let dot = LocalDot { replica: me, seq };
            let after = touched.now.with_pending_as(dot);
            let kind = if deleted { EventKind::Delete } else { EventKind::Write };
            let event = Event::new(kind, &path);
            let path = event.path();
            commit.row(&path, &touched.before, &after)?;
            commit.event(dot, event);
            commit.link(dot, &path, after.entries().iter().find(|entry| entry.dot == dot))?;
            // What is pushed is given away at once.
            if !push && counter_part_of(&path, id).is_some() {
                Sent::keep(&self.space, &mut commit, &path, &touched.before)?;
            }
            if !push {
                continue;
            }
            let dropped = touched.before.dots().filter(|dot| !after.contains(*dot)).collect();
            let payload = after.entries().iter().find(|entry| entry.dot == dot).map(|entry| entry.payload.clone());
            pushed.push(PushedRow { path, payload, dropped });
        }
        commit.advance(me, seq);
        if push {
            identity::mark_emitted(&self.space, &mut commit)?;
        }
        local.into_iter().for_each(|(key, value)| commit.local(key, value));
        Ok(Some((commit, pushed)))
    }

    /// Takes the resets that are addressed to this replica into account, so that they need not be kept: as many as one transaction
    /// should carry, and has room for.
    fn take_resets(&mut self) -> Result<()> {
        const MOST: usize = 64;
        if self.meta.resets == 0 {
            return Ok(());
        }
        let space = Arc::clone(&self.space);
        for row in space.backend().range(space.tables.resets(), (Bound::Unbounded, Bound::Unbounded))?.take(MOST) {
            let (reset, _nothing) = row?;
            if self.room_for(2).is_err() {
                return Ok(());
            }
            counter::take_reset(self, &reset)?;
        }
        Ok(())
    }
}
