//! `check`: recomputes everything that a store keeps beside its rows, and compares.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::codec::DecodeError;

use super::commit::{Event, EventKind, unknown_replica};
use super::error::{Error, Result};
use super::meta::{entry_hash, progress_hash};
use super::path::Parsed;
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
    let (mut deletes, mut writes, mut vector) = (0, 0, 0_u128);
    for (id, replica, progress) in meta.replicas() {
        vector = vector.wrapping_add(progress_hash(id, progress.seq));
        for event in view.read.entries(view.tables.events(replica), 0..=u64::MAX)? {
            let (seq, bytes) = event?;
            let event = Event::decode(bytes)?;
            if seq == 0 || seq > progress.seq {
                return Err(events_wrong("an event that the version vector does not have"));
            }
            let row = live.get(&LocalDot { replica, seq });
            match event.kind {
                EventKind::Write if row != Some(&event.path()) => return Err(events_wrong("a write that no row has")),
                EventKind::Delete if row.is_some() => return Err(events_wrong("a delete that a row has as a write")),
                EventKind::Write => writes += 1,
                EventKind::Delete => deletes += 1,
            }
        }
    }
    if writes != meta.entries {
        return Err(events_wrong("a live entry without its event"));
    }
    if deletes != meta.deletes || vector != meta.vector_digest {
        return Err(meta_wrong("counts or digest that are not those of the events"));
    }
    Ok(())
}
