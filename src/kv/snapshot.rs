//! A store at one moment.

use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{ReplicaId, VersionVector};
use crate::codec::key::Key;

use super::cursor::Range;
use super::digest::Digest;
use super::error::Result;
use super::inspect::{self, Inspection};
use super::local::Local;
use super::path::Spot;
use super::place::handles;
use super::place::sealed::Reads;
use super::row::Row;
use super::scan::Scan;
use super::space::{View, decode_row};

/// A store at one moment, from [`Store::snapshot`](super::Store::snapshot). It never changes, never blocks a writer, and
/// costs nothing to clone. A write through it does not compile.
#[derive(Debug, Clone)]
pub struct Snapshot {
    view: Arc<View>,
}

impl Snapshot {
    pub(crate) fn new(view: View) -> Self {
        Self { view: Arc::new(view) }
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> Result<()> {
        crate::kv::check::check(&self.view)
    }

    #[cfg(test)]
    pub(crate) fn meta(&self) -> Arc<crate::kv::meta::Meta> {
        Arc::clone(&self.view.meta)
    }

    handles!(Snapshot, |this| this.clone(), |_this, key, kind| Spot::new(&[], key, kind));

    /// Which events are in.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let snapshot = store.snapshot()?;
    /// store.counter("visits").add(1)?;
    /// assert!(store.version()? > snapshot.version());
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> VersionVector {
        self.view.meta.version()
    }

    /// The number of the commit.
    pub(crate) fn commit(&self) -> u64 {
        self.view.meta.commit
    }

    /// The digest of the canonical form: equal digests, equal state. Cost: O(1).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.view.meta)
    }

    /// The application's own keys at this moment.
    #[must_use]
    pub fn local(&self) -> Local<Self> {
        Local::new(self.clone())
    }

    /// Everything under a key, down to the single entry: who wrote it, when, what it holds, and why it counts or is still there. For
    /// people: print it. Cost: reads everything under the key.
    ///
    /// # Errors
    /// The key is none, the store is damaged, or the medium fails. A value that cannot be read is an error of its entry alone.
    pub fn inspect(&self, key: impl Key) -> Result<Inspection> {
        inspect::inspect(self, Ok(&[]), key)
    }

    /// The keys that begin with these parts.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.register::<u64>(("size", "a")).set(&1)?;
    /// store.register::<u64>(("size", "b")).set(&2)?;
    /// let snapshot = store.snapshot()?;
    /// let last = snapshot.scan("size").next_back().expect("two of them")?;
    /// assert_eq!(last.value()?.to_string(), "2");
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn scan(&self, prefix: impl Key) -> Scan<Self> {
        Scan::keys(self, prefix)
    }

    /// The keys whose first part is a text that begins with these bytes.
    pub fn scan_bytes(&self, first_part: impl AsRef<[u8]>) -> Scan<Self> {
        Scan::bytes(self, first_part.as_ref())
    }
}

impl Reads for Snapshot {
    type Pinned = Self;

    fn pin(&self) -> Result<Self> {
        Ok(self.clone())
    }

    fn row(&self, path: &[u8]) -> Result<Row> {
        self.view.row(path)
    }

    fn rows(&self, range: &Range, from_back: bool, max: usize) -> Result<Vec<(Bytes, Row)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.view.read.range(self.view.tables.rows(), range.bounds())?;
        let decode = |row: std::io::Result<(Bytes, Bytes)>| {
            let (path, bytes) = row?;
            Ok((path, decode_row(&bytes)?))
        };
        if from_back { rows.rev().take(max).map(decode).collect() } else { rows.take(max).map(decode).collect() }
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.view.read.get(self.view.tables.local(), key)?)
    }

    fn locals(&self, range: &Range, max: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.view.read.range(self.view.tables.local(), range.bounds())?;
        rows.take(max).map(|row| Ok(row?)).collect()
    }

    fn replica(&self, index: u32) -> Result<ReplicaId> {
        self.view.meta.id(index).ok_or_else(super::commit::unknown_replica)
    }
}
