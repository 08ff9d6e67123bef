//! Rotation: a new id, and under it again what the old one wrote and never gave away.
//!
//! One commit. Of the own events above `emitted`, in their order:
//!
//! - a live entry of a row becomes one of the new id, at its place; what it had replaced stays replaced;
//! - a delete becomes a delete of the new id;
//! - an own row of a counter becomes again what it was when it was given away (SENT), what was added since goes to the new id's own
//!   part, and a reset since then to the reset row of the old id, for the original may still add to its part;
//! - then the old id's events above `emitted` are gone, as if they had never been.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::ReplicaId;
use crate::kv::commit::{Commit, Event, EventKind};
use crate::kv::error::Result;
use crate::kv::file::{Durability, File};
use crate::kv::kinds::counter;
use crate::kv::meta::Meta;
use crate::kv::mutant::{self, Mutant};
use crate::kv::path::{RESET, counter_part_of};
use crate::kv::retention;
use crate::kv::row::{Entry, LocalDot, Row};
use crate::kv::space::{Space, WriterGuard};

use super::forks::own_points;
use super::sent::Sent;
use super::{StoreEvent, mint};

/// Rotates every space of a file: it is a copy of another one.
pub(crate) fn rotate_every_space(file: &Arc<File>) -> Result<()> {
    for (name, _number) in file.spaces()? {
        let space = file.space(&name)?;
        rotate(space.lock()?)?;
    }
    Ok(())
}

/// Takes a new id, if there is one now. Durable when it returns.
pub(crate) fn rotate(mut guard: WriterGuard) -> Result<()> {
    let space = Arc::clone(&guard.space);
    let meta = space.meta()?;
    let Some(old) = meta.me.and_then(|me| meta.id(me)) else { return Ok(()) };
    let mut rotation = Rotation::new(&space, &meta, old)?;
    retention::sweep_all(&space, &mut guard.state, &mut rotation.commit)?;
    let deeds = rotation.take_back()?;
    let mut counters: BTreeSet<Bytes> = BTreeSet::new();
    for deed in &deeds {
        match counter_part_of(&deed.path, old) {
            Some(part) => drop(counters.insert(deed.path.slice_ref(part))),
            None => rotation.row(deed)?,
        }
    }
    // A part that was deleted may have no event any more.
    for row in space.backend().range(space.tables.sent(), (Bound::Unbounded, Bound::Unbounded))? {
        let (path, _sent) = row?;
        counters.extend(counter_part_of(&path, old).map(Bytes::copy_from_slice));
    }
    for part in counters {
        rotation.counter(&part)?;
    }
    let (commit, event) = rotation.finish()?;
    guard.state.last_own = None;
    let (_meta, ticket) = guard.apply(commit, Durability::Immediate)?;
    space.events.push(event);
    guard.settle(ticket)
}

/// What own events that were not given away did to a path.
struct Deed {
    path: Bytes,
    /// The last of them.
    last: u64,
}

struct Rotation<'a> {
    space: &'a Space,
    before: &'a Meta,
    old: ReplicaId,
    old_index: u32,
    new: Option<(u32, ReplicaId)>,
    /// The last event of the new id.
    last: u64,
    replayed: u64,
    commit: Commit,
}

impl<'a> Rotation<'a> {
    fn new(space: &'a Space, before: &'a Meta, old: ReplicaId) -> Result<Self> {
        let mut commit = Commit::new(space, before.clone());
        // The original may make the same numbers again: none of them may stay in DEAD.
        commit.stands_alone();
        commit.meta.chain = 0;
        commit.clear_resets(space)?;
        Ok(Self { space, before, old, old_index: before.me.unwrap_or_default(), new: None, last: 0, replayed: 0, commit })
    }

    /// Erases the own events that were not given away. Returns what they did, path by path, in the order of the last on each.
    fn take_back(&mut self) -> Result<Vec<Deed>> {
        let mut deeds: BTreeMap<Bytes, u64> = BTreeMap::new();
        let events = self.space.tables.events(self.old_index);
        for event in self.space.backend().entries(events, self.before.emitted + 1..=u64::MAX)? {
            let (seq, bytes) = event?;
            let (dot, event) = (LocalDot { replica: self.old_index, seq }, Event::decode(bytes)?);
            deeds.insert(event.path(), seq);
            match event.kind {
                EventKind::Write => self.commit.erase_event(dot),
                EventKind::Delete => self.commit.forget_delete(dot),
            }
            self.replayed += 1;
        }
        let mut deeds: Vec<_> = deeds.into_iter().map(|(path, last)| Deed { path, last }).collect();
        deeds.sort_unstable_by_key(|deed| deed.last);
        Ok(deeds)
    }

    /// Whether an entry was made here and not given away.
    fn is_unsent(&self, dot: LocalDot) -> bool {
        dot.replica == self.old_index && dot.seq > self.before.emitted
    }

    fn next_dot(&mut self) -> Result<LocalDot> {
        let (replica, _id) = match self.new {
            Some(new) => new,
            None => {
                let id = mint(&self.commit.meta, &self.space.file.settings)?;
                self.commit.meta.room_for([id])?;
                let new = (self.commit.meta.index_or_new(id), id);
                self.commit.meta.me = Some(new.0);
                *self.new.insert(new)
            }
        };
        self.last += 1;
        Ok(LocalDot { replica, seq: self.last })
    }

    fn delete_event(&mut self, path: &Bytes) -> Result<()> {
        if mutant::is(Mutant::ReplayOfDeletesLeftOut) {
            return Ok(());
        }
        let dot = self.next_dot()?;
        self.commit.event(dot, Event::new(EventKind::Delete, path));
        self.commit.link(dot, path, None)
    }

    /// Replaces a row; the entries that come need an event.
    fn replace(&mut self, path: &Bytes, before: &Row, after: &Row) -> Result<()> {
        self.commit.row(path, before, after)?;
        for entry in after.entries().iter().filter(|entry| !before.contains(entry.dot)) {
            self.commit.event(entry.dot, Event::new(EventKind::Write, path));
            if self.new.is_some_and(|(new, _id)| new == entry.dot.replica) {
                self.commit.link(entry.dot, path, Some(entry))?;
            }
        }
        Ok(())
    }

    /// A row of any kind but the own ones of a counter.
    fn row(&mut self, deed: &Deed) -> Result<()> {
        let before = self.space.row(&deed.path)?;
        let mut after = before.clone();
        after.retain(|entry| !self.is_unsent(entry.dot));
        if after.len() == before.len() {
            // Nothing of it is live: what is left to say is that it removed something.
            return self.delete_event(&deed.path);
        }
        for entry in before.entries() {
            if self.is_unsent(entry.dot) {
                let dot = self.next_dot()?;
                after.insert(Entry { dot, payload: entry.payload.clone() });
            }
        }
        self.replace(&deed.path, &before, &after)
    }

    /// The own part of a counter, and the resets that are addressed to it.
    fn counter(&mut self, part: &Bytes) -> Result<()> {
        let resets = Bytes::from([part, &[RESET][..]].concat());
        let (part_now, resets_now) = (self.space.row(part)?, self.space.row(&resets)?);
        let sent = Sent::at(self.space, part)?;
        let cum_sent = sent.as_ref().map_or(0, |sent| sent.cum);
        let mut part_sent = sent.map_or_else(|| part_now.clone(), |sent| sent.row);
        part_sent.retain(|entry| !self.is_unsent(entry.dot));
        let mut resets_sent = Sent::at(self.space, &resets)?.map_or_else(|| resets_now.clone(), |sent| sent.row);
        resets_sent.retain(|entry| !self.is_unsent(entry.dot));

        let own = part_now.entries().iter().filter(|entry| self.is_unsent(entry.dot)).max_by_key(|entry| entry.dot);
        let own = own.and_then(counter::frame_and_sum);
        // In a frame that the peers know, what was given away is theirs already.
        let goes_on = own.is_some_and(|(frame, _cum)| frame <= self.before.emitted);
        let added = own.map_or(0, |(_frame, cum)| if goes_on { cum.saturating_sub(cum_sent) } else { cum });
        // What was given away is gone, and not into what was added since: an own delete, in whatever transaction. The event may
        // be forgotten, or never have been: if the same transaction added something.
        let deleted = counter::last(&part_sent).filter(|sent| !goes_on && !part_now.contains(sent.dot));
        if let Some(reset) = deleted.and_then(counter::reset_for) {
            let dot = self.next_dot()?;
            let mut row = Row::default();
            row.push(Entry { dot, payload: reset });
            self.replace(&resets, &resets_now, &row)?;
            self.replace(part, &part_now, &Row::default())?;
            self.delete_event(part)?;
        } else {
            self.replace(part, &part_now, &part_sent)?;
            self.replace(&resets, &resets_now, &resets_sent)?;
        }
        if added != 0 {
            let dot = self.next_dot()?;
            let new = self.new.map_or(self.old, |(_index, id)| id);
            let path = Bytes::from([part.strip_suffix(&self.old.to_bytes()).unwrap_or(part), &new.to_bytes()].concat());
            let mut row = Row::default();
            row.push(Entry { dot, payload: counter::first_part(added) });
            let before = self.space.row(&path)?;
            self.replace(&path, &before, &row)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Commit, StoreEvent)> {
        let (old, emitted) = (self.old_index, self.before.emitted);
        if self.before.progress(old).floor > emitted {
            // Deletes that were not given away were forgotten: whoever has not seen all of the new id is told what is live.
            let dot = self.next_dot()?;
            self.commit.advance(dot.replica, dot.seq);
            self.commit.raise_floor(dot.replica, dot.seq);
        }
        if self.replayed > 0 {
            // The original may make the numbers again that were taken back: a version from before is none any more, and is told from
            // one of now by an event of the new id, if only one without contents.
            let replica = if self.new.is_none() { self.next_dot()?.replica } else { self.new.map_or(old, |(new, _id)| new) };
            self.commit.takes_over(replica);
        }
        let tables = self.space.tables;
        let points = own_points(self.space.backend(), tables, emitted)?;
        for mark in self.space.backend().entries(tables.marks(), 0..=u64::MAX)? {
            self.commit.forget_mark(mark?.0);
        }
        for row in self.space.backend().range(tables.sent(), (Bound::Unbounded, Bound::Unbounded))? {
            self.commit.remove_sent(row?.0);
        }
        let Self { mut commit, new, last, .. } = self;
        commit.meta.retract(old, emitted);
        commit.meta.set_points(old, points);
        commit.touch(old);
        commit.meta.me = new.map(|(index, _id)| index);
        commit.meta.emitted = 0;
        if let Some((index, _id)) = new {
            commit.advance(index, last);
        }
        let new = new.map(|(_index, id)| id);
        Ok((commit, StoreEvent::IdentityRotated { old: self.old, new, replayed: self.replayed }))
    }
}
