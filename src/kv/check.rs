//! `check`: recomputes everything that a store keeps beside its rows, and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::codec::DecodeError;

use super::commit::{Event, EventKind, decode_dots, unknown_replica};
use super::error::{Error, Result};
use super::meta::{entry_hash, progress_hash};
use super::path::{Parsed, counter_part_of, is_reset_of};
use super::row::LocalDot;
use super::space::{View, decode_row};

/// Checks a frozen state. Cost: reads everything, and holds the dots of all live entries with their paths.
pub(crate) fn check(view: &View) -> Result<()> {
    let rows_wrong = |what| Error::corrupt("ROWS")(DecodeError::new(0, what));
    let events_wrong = |what| Error::corrupt("EVENTS")(DecodeError::new(0, what));
    let meta_wrong = |what| Error::corrupt("META")(DecodeError::new(0, what));
    let meta = &view.meta;
    let (mut live, mut scratch) = (BTreeMap::new(), Vec::new());
    let (mut rows, mut digest) = (0, 0_u128);
    for row in view.read.range(view.tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
        let (path, bytes) = row?;
        Parsed::of(&path).map_err(Error::corrupt("ROWS"))?;
        rows += 1;
        for entry in decode_row(&bytes)?.entries() {
            let id = meta.id(entry.dot.replica).ok_or_else(unknown_replica)?;
            digest = digest.wrapping_add(entry_hash(id, &path, entry, &mut scratch));
            if entry.dot.seq == 0 || !meta.has_seen(entry.dot) {
                return Err(rows_wrong("an entry whose event the version vector does not have"));
            }
            if live.insert(entry.dot, path.clone()).is_some() {
                return Err(rows_wrong("one event on two rows"));
            }
        }
    }
    if (rows, live.len() as u64, digest) != (meta.rows, meta.entries, meta.entries_digest) {
        return Err(meta_wrong("counts or digest that are not those of the rows"));
    }
    let dead = dead_dots(view)?;
    let (mut deletes, mut writes, mut vector) = (0, 0, 0_u128);
    for (id, replica, progress) in meta.replicas() {
        vector = vector.wrapping_add(progress_hash(id, progress.seq));
        let deletes_before = deletes;
        for event in view.read.entries(view.tables.events(replica), 0..=u64::MAX)? {
            let (seq, bytes) = event?;
            let event = Event::decode(bytes)?;
            if seq == 0 || seq > progress.seq {
                return Err(events_wrong("an event that the version vector does not have"));
            }
            let row = live.get(&LocalDot { replica, seq });
            match event.kind {
                EventKind::Write if row.is_none() && dead.contains(&LocalDot { replica, seq }) => {}
                EventKind::Write if row != Some(&event.path()) => return Err(events_wrong("a write that no row has")),
                EventKind::Delete if seq <= progress.evicted => return Err(events_wrong("a delete that was forgotten")),
                EventKind::Delete if row.is_some() => return Err(events_wrong("a delete that a row has as a write")),
                EventKind::Write => writes += 1,
                EventKind::Delete => deletes += 1,
            }
        }
        if deletes - deletes_before != progress.deletes {
            return Err(meta_wrong("a count of deletes that is not that of the events"));
        }
    }
    if writes != meta.entries {
        return Err(events_wrong("a live entry without its event"));
    }
    if deletes != meta.deletes || vector != meta.vector_digest {
        return Err(meta_wrong("counts or digest that are not those of the events"));
    }
    beside_rows(view)
}

/// Number, path, contents if it was a write.
#[cfg(feature = "sim")]
pub(crate) type OwnEvent = (u64, bytes::Bytes, Option<bytes::Bytes>);

/// The own events from a number on, right after they were made. For the simulation.
#[cfg(feature = "sim")]
pub(crate) fn events_of(view: &View, id: crate::causal::ReplicaId, from: u64) -> Result<Vec<OwnEvent>> {
    let replica = view.meta.index(id).ok_or_else(unknown_replica)?;
    let read = |event: std::io::Result<(u64, bytes::Bytes)>| {
        let (seq, bytes) = event?;
        let (dot, path) = (LocalDot { replica, seq }, Event::decode(bytes)?.path());
        let row = view.row(&path)?;
        let written = row.entries().iter().find(|entry| entry.dot == dot);
        Ok((seq, path, written.map(|entry| entry.payload.clone())))
    };
    view.read.entries(view.tables.events(replica), from..=u64::MAX)?.map(read).collect()
}

/// The dots that are listed in DEAD.
fn dead_dots(view: &View) -> Result<BTreeSet<LocalDot>> {
    let mut dead = BTreeSet::new();
    for record in view.read.entries(view.tables.dead(), 0..=u64::MAX)? {
        for dot in decode_dots(&record?.1)? {
            if !dead.insert(dot) {
                return Err(Error::corrupt("DEAD")(DecodeError::new(0, "an event that is listed twice")));
            }
        }
    }
    if dead.len() as u64 != view.meta.dead {
        return Err(Error::corrupt("DEAD")(DecodeError::new(0, "not as many events as were counted")));
    }
    Ok(dead)
}

/// RESETS, SENT and MARKS.
fn beside_rows(view: &View) -> Result<()> {
    let wrong = |table, what| Error::corrupt(table)(DecodeError::new(0, what));
    let me = view.meta.me.and_then(|me| view.meta.id(me));
    let all = (Bound::Unbounded, Bound::Unbounded);
    let (mut resets, mut sent) = (0, 0);
    for row in view.read.range(view.tables.resets(), all)? {
        resets += 1;
        let (path, _nothing) = row?;
        if !me.is_some_and(|me| is_reset_of(&path, me)) || view.row(&path)?.is_empty() {
            return Err(wrong("RESETS", "a reset that is not there, or is not addressed to this replica"));
        }
    }
    for row in view.read.range(view.tables.sent(), all)? {
        sent += 1;
        if !me.is_some_and(|me| row.as_ref().is_ok_and(|(path, _row)| counter_part_of(path, me).is_some())) {
            return Err(wrong("SENT", "a row that is not of this replica"));
        }
    }
    let marks = view.read.entries(view.tables.marks(), 0..=u64::MAX)?.count() as u64;
    if (resets, sent, marks) != (view.meta.resets, view.meta.sent, view.meta.marks) {
        return Err(wrong("META", "counts that are not those of the tables beside the rows"));
    }
    Ok(())
}
