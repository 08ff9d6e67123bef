//! A row: the live entries of one path, each with the dot that made it.
//!
//! ```text
//! row   := count, entry*             sorted by dot, at least one
//! entry := replica index, seq, length, payload        all varints
//! ```

use bytes::Bytes;
use smallvec::SmallVec;

use crate::codec::{DecodeError, Reader, Writer, varint_len};

/// A dot within one store: the index of its replica in that store, and its number. The index never leaves the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LocalDot {
    pub(crate) replica: u32,
    pub(crate) seq: u64,
}

impl LocalDot {
    /// The dot of an entry that a transaction has made and not committed. Sorts behind all others.
    pub(crate) const PENDING: Self = Self { replica: u32::MAX, seq: u64::MAX };
}

/// One live write. Its payload never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dot: LocalDot,
    pub(crate) payload: Bytes,
}

/// The live entries of one path, sorted by dot. Empty: the row is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Row {
    entries: SmallVec<[Entry; 1]>,
}

impl Row {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn dots(&self) -> impl Iterator<Item = LocalDot> + '_ {
        self.entries.iter().map(|entry| entry.dot)
    }

    pub(crate) fn contains(&self, dot: LocalDot) -> bool {
        self.entries.binary_search_by_key(&dot, |entry| entry.dot).is_ok()
    }

    /// Adds an entry above all others.
    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert!(self.entries.last().is_none_or(|last| last.dot < entry.dot), "entries come in the order of dots");
        self.entries.push(entry);
    }

    /// Adds an entry at its place.
    pub(crate) fn insert(&mut self, entry: Entry) {
        match self.entries.binary_search_by_key(&entry.dot, |entry| entry.dot) {
            Ok(_there) => debug_assert!(false, "a dot is given once"),
            Err(at) => self.entries.insert(at, entry),
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(|entry| keep(entry));
    }

    /// The row as a commit writes it: the pending entry has its dot.
    pub(crate) fn with_pending_as(mut self, dot: LocalDot) -> Self {
        if let Some(last) = self.entries.last_mut().filter(|last| last.dot == LocalDot::PENDING) {
            last.dot = dot;
            self.entries.sort_unstable_by_key(|entry| entry.dot);
        }
        self
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.entries.last().is_some_and(|last| last.dot == LocalDot::PENDING)
    }

    pub(crate) fn encode(&self) -> Bytes {
        // To the byte: bytes that are shared should not be moved once more to fit.
        let size = |entry: &Entry| {
            let (len, dot) = (entry.payload.len(), entry.dot);
            varint_len(u64::from(dot.replica)) + varint_len(dot.seq) + varint_len(len as u64) + len
        };
        let count = self.entries.len() as u64;
        let mut to = Writer::with_capacity(varint_len(count) + self.entries.iter().map(size).sum::<usize>());
        to.u64(count);
        for entry in &self.entries {
            to.u64(u64::from(entry.dot.replica));
            to.u64(entry.dot.seq);
            to.bytes(&entry.payload);
        }
        Bytes::from(to.into_vec())
    }

    /// The payloads share the memory of `bytes`.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let count = from.len_up_to(usize::MAX, 3)?;
        let mut row = Self { entries: SmallVec::with_capacity(count) };
        for _ in 0..count {
            let dot = LocalDot { replica: from.u32()?, seq: from.u64()? };
            if row.entries.last().is_some_and(|last| last.dot >= dot) {
                return Err(from.error("entries of a row are not in the order of their dots"));
            }
            let payload = bytes.slice_ref(from.bytes(usize::MAX)?);
            row.entries.push(Entry { dot, payload });
        }
        if row.is_empty() {
            return Err(from.error("an empty row"));
        }
        from.finish()?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_damage_is_an_error() {
        let mut row = Row::default();
        row.push(Entry { dot: LocalDot { replica: 0, seq: 300 }, payload: Bytes::from_static(b"one") });
        row.push(Entry { dot: LocalDot { replica: 2, seq: 1 }, payload: Bytes::new() });
        let bytes = row.encode();
        assert_eq!(Row::decode(&bytes), Ok(row));
        for cut in 0..bytes.len() {
            assert!(Row::decode(&bytes.slice(..cut)).is_err());
        }
        assert!(Row::decode(&Bytes::from_static(&[0])).is_err());
    }

    #[test]
    fn the_pending_entry_takes_its_place_among_the_dots() {
        let (mine, theirs) = (LocalDot { replica: 0, seq: 9 }, LocalDot { replica: 1, seq: 1 });
        let mut row = Row::default();
        row.push(Entry { dot: theirs, payload: Bytes::new() });
        row.push(Entry { dot: LocalDot::PENDING, payload: Bytes::from_static(b"new") });
        assert!(row.has_pending());
        assert_eq!(row.with_pending_as(mine).dots().collect::<Vec<_>>(), [mine, theirs]);
    }
}
