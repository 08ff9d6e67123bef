//! The store: what an application opens and keeps.

mod exchange;
mod upkeep;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{ReplicaId, VersionVector};
use crate::codec::key::Key;

use super::commit;
use super::cursor::Range;
use super::digest::Digest;
use super::error::Result;
use super::inspect::{self, Inspection};
use super::local::Local;
use super::options::Options;
use super::overlay::Overlay;
use super::path::Spot;
use super::place::handles;
use super::place::sealed::{Reads, Writes};
use super::row::Row;
use super::scan::Scan;
use super::snapshot::Snapshot;
use super::space::Space;
use super::tx::Tx;
use super::watch::{self, Changes, Watch};

/// A replica of a space: reads and writes locally, merges with others. Cheap to clone; all clones are one store.
///
/// Reads never wait for a transaction or an fsync, and writes never wait for the network. One writer at a time: others wait for it.
#[derive(Clone)]
pub struct Store {
    space: Arc<Space>,
}

impl Store {
    pub(crate) const fn new(space: Arc<Space>) -> Self {
        Self { space }
    }

    /// Opens the file at `path`, or makes it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::open(&path)?;
    /// store.counter("visits").add(1)?;
    /// drop(store);
    /// assert_eq!(tombolo::Store::open(&path)?.counter("visits").get()?, 1);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::open`].
    #[cfg(feature = "redb")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// A store in memory: it ends with its last handle.
    ///
    /// ```
    /// let store = tombolo::Store::in_memory();
    /// store.register::<String>("title").set("Groceries")?;
    /// assert_eq!(store.register::<String>("title").get()?.as_deref(), Some("Groceries"));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    #[must_use]
    pub fn in_memory() -> Self {
        Self::options().in_memory()
    }

    /// How to open a store otherwise.
    ///
    /// ```
    /// let store = tombolo::Store::options().space("family").in_memory();
    /// assert_eq!(store.status()?.name, "family");
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn options() -> Options {
        Options::default()
    }

    #[cfg(test)]
    pub(crate) fn file(&self) -> &super::file::File {
        &self.space.file
    }

    handles!(Store, |this| this.clone(), |_this, key, kind| Spot::new(&[], key, kind));

    /// The application's own keys, beside the replicated ones.
    #[must_use]
    pub fn local(&self) -> Local {
        Local::new(self.clone())
    }

    /// Another space in the same file, made if it is new, which is a commit: its own replica, its own version, its own peers.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let shared = store.space("shared with the team")?;
    /// shared.counter("visits").add(1)?;
    /// assert_eq!(store.counter("visits").get()?, 0);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The name is longer than 256 bytes, or the medium fails.
    pub fn space(&self, name: &str) -> Result<Self> {
        Ok(Self { space: self.space.file.space(name)? })
    }

    /// This replica; `None` before its first write, and if the store was opened for reading only.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// assert_eq!(store.replica()?, None);
    /// store.flag("done").enable()?;
    /// assert!(store.replica()?.is_some());
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The store was closed by a failure.
    pub fn replica(&self) -> Result<Option<ReplicaId>> {
        let meta = self.space.meta()?;
        Ok(self.space.own_id(&meta))
    }

    /// Which events this store has: what a peer needs to know to make a delta.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.counter("visits").add(1)?;
    /// let delta = a.delta_since(&b.version()?)?;
    /// b.merge(delta)?;
    /// assert_eq!(a.version()?, b.version()?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The store was closed by a failure.
    pub fn version(&self) -> Result<VersionVector> {
        Ok(self.space.meta()?.version())
    }

    /// The digest of the canonical form: equal digests, equal state. Cost: O(1).
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.counter("visits").add(1)?;
    /// assert_ne!(a.digest()?, b.digest()?);
    /// b.merge(a.delta_since(&b.version()?)?)?;
    /// assert_eq!(a.digest()?, b.digest()?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The store was closed by a failure.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&*self.space.meta()?))
    }

    /// The store at this moment.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter("visits").add(1)?;
    /// let before = store.snapshot()?;
    /// store.counter("visits").add(1)?;
    /// assert_eq!((before.counter("visits").get()?, store.counter("visits").get()?), (1, 2));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.space.view()?))
    }

    /// Begins a transaction. For code with an error type of its own; [`transact`](Self::transact) is shorter.
    ///
    /// Each space has a writer lock of its own. Threads that hold transactions of several spaces at once must begin them in one
    /// order, or they wait for each other for ever.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let tx = store.begin()?;
    /// tx.counter("left").add(-5)?;
    /// tx.counter("right").add(5)?;
    /// tx.commit()?;
    /// assert_eq!(store.counter("right").get()?, 5);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// This thread has a transaction open already ([`Error::WouldDeadlock`](super::Error::WouldDeadlock)), or the store was
    /// closed by a failure.
    pub fn begin(&self) -> Result<Tx> {
        Tx::begin(&self.space)
    }

    /// Runs a transaction: all that `body` writes, or, if it fails, nothing.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let moved = store.transact(|tx| {
    ///     tx.set::<u64>("todo").remove(&7)?;
    ///     tx.set::<u64>("done").insert(&7)?;
    ///     Ok(1)
    /// })?;
    /// assert!(moved == 1 && store.set::<u64>("done").contains(&7)?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `body` returns; or as [`begin`](Self::begin) and [`Tx::commit`].
    pub fn transact<R>(&self, body: impl FnOnce(&Tx) -> Result<R>) -> Result<R> {
        let tx = self.begin()?;
        let result = body(&tx)?;
        tx.finish(false)?;
        Ok(result)
    }

    /// Deletes everything under a key, of every kind: what this replica has seen. Returns whether there was anything.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.map("card").register::<String>("street").set("Main Street")?;
    /// assert!(store.delete("card")?);
    /// assert!(!store.delete("card")?, "there is nothing left");
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tx::delete`] and [`Tx::commit`].
    pub fn delete(&self, key: impl Key) -> Result<bool> {
        self.transact(|tx| tx.delete(key))
    }

    /// Deletes every key that begins with these parts, atomically. Returns how many rows had something.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter(("visits", "a")).add(1)?;
    /// store.counter(("visits", "b")).add(1)?;
    /// assert_eq!(store.delete_prefix("visits")?, 2);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tx::delete_prefix`] and [`Tx::commit`].
    pub fn delete_prefix(&self, prefix: impl Key) -> Result<u64> {
        self.transact(|tx| tx.delete_prefix(prefix))
    }

    /// The keys that begin with these parts, in order. `()` gives all.
    ///
    /// Whole parts: `scan("foo")` finds `("foo", 1)` and never `"foobar"`.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter(("foo", 1)).add(1)?;
    /// store.counter("foobar").add(1)?;
    /// assert_eq!(store.scan("foo").count(), 1);
    /// assert_eq!(store.scan(()).count(), 2);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn scan(&self, prefix: impl Key) -> Scan<Snapshot> {
        Scan::keys(self, prefix)
    }

    /// The keys whose first part is a text that begins with these bytes: `"foo"` finds `"foobar"`. The only place where it does.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter(("foo", 1)).add(1)?;
    /// store.counter("foobar").add(1)?;
    /// assert_eq!(store.scan_bytes("foo").count(), 2);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn scan_bytes(&self, first_part: impl AsRef<[u8]>) -> Scan<Snapshot> {
        Scan::bytes(self, first_part.as_ref())
    }

    /// Everything under a key, down to the single entry: who wrote it, when, what it holds, and why it counts or is still there. For
    /// people: print it. Cost: reads everything under the key.
    ///
    /// ```
    /// # fn main() -> tombolo::Result<()> {
    /// # let (phone, laptop) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// phone.register::<String>("title").set("Groceries")?;
    /// laptop.register::<String>("title").set("Shopping")?;
    /// phone.merge(laptop.delta_since(&phone.version()?)?)?;
    /// let inspection = phone.inspect("title")?;
    /// println!("{inspection}");
    /// assert_eq!(inspection.entries.len(), 2);
    /// assert!(inspection.entries[0].why.starts_with("shown: none of the 2 replaces another"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The key is none, the store is damaged, or the medium fails. A value that cannot be read is an error of its entry alone.
    pub fn inspect(&self, key: impl Key) -> Result<Inspection> {
        inspect::inspect(self, Ok(&[]), key)
    }

    /// The keys that begin with these parts and have changed since a version: for an index, an export, a cache. `()` gives all.
    ///
    /// To go on where one was, also after a restart, keep the [version](Snapshot::version) of the snapshot. In
    /// [`local`](Self::local), in the transaction that writes what was made of the keys, the two cannot come apart:
    ///
    /// ```
    /// use tombolo::VersionVector;
    /// use tombolo::kv::Changes;
    /// # fn main() -> tombolo::Result<()> {
    /// # let store = tombolo::Store::in_memory();
    /// store.register::<String>(("note", 7)).set("Groceries")?;
    ///
    /// let mark = store.local().get::<VersionVector>("mark")?.unwrap_or_default();
    /// let changes = store.changes_since(&mark, "note")?;
    /// match changes.keys() {
    ///     Some(keys) => println!("{} notes have changed", keys.len()),
    ///     None => println!("anything may have changed: start over"),
    /// }
    /// store.local().put("mark", &changes.snapshot().version())?;
    ///
    /// store.register::<String>(("note", 8)).set("Shopping")?;
    /// let mark = store.local().get("mark")?.unwrap_or_default();
    /// let Changes::Since { snapshot, keys } = store.changes_since(&mark, "note")? else { panic!() };
    /// assert_eq!(keys[0].key.to_string(), r#"("note", 8)"#);
    /// assert_eq!(snapshot.register::<String>(&keys[0].key).get()?.as_deref(), Some("Shopping"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It is [`Changes::All`] if the version is empty, if this store does not have it (as after a restore) or has a new id since, if
    /// deletes since then may have been forgotten, or if more than a million keys have changed (or 64 MiB of them).
    ///
    /// Cost: the events since the version, and a row for each that is of a register or flag.
    ///
    /// # Errors
    /// The store is damaged, or the medium fails.
    pub fn changes_since(&self, version: &VersionVector, prefix: impl Key) -> Result<Changes> {
        watch::changes_since(&self.space, version, prefix)
    }

    /// Watches the keys that begin with these parts, from now on: first everything that is there, then what changes. `()` watches
    /// all. See [`Watch`] for what it promises; [`changes_since`](Self::changes_since) is the same across restarts.
    ///
    /// Cost: each commit notes which keys it changes, as long as somebody watches.
    pub fn watch(&self, prefix: impl Key) -> Watch {
        Watch::new(&self.space, prefix)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("space", &self.space.name).finish_non_exhaustive()
    }
}

impl Reads for Store {
    type Pinned = Snapshot;

    fn pin(&self) -> Result<Snapshot> {
        self.snapshot()
    }

    fn row(&self, path: &[u8]) -> Result<Row> {
        self.space.row(path)
    }

    fn rows(&self, range: &Range, from_back: bool, max: usize) -> Result<Vec<(Bytes, Row)>> {
        self.pin()?.rows(range, from_back, max)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.space.local(key)
    }

    fn locals(&self, range: &Range, max: usize) -> Result<Vec<(Bytes, Bytes)>> {
        self.pin()?.locals(range, max)
    }

    fn replica(&self, index: u32) -> Result<ReplicaId> {
        self.space.meta()?.id(index).ok_or_else(commit::unknown_replica)
    }
}

impl Writes for Store {
    fn write<R>(&self, body: impl FnOnce(&mut Overlay) -> Result<R>) -> Result<R> {
        let tx = self.begin()?;
        let result = (&tx).write(body)?;
        tx.finish(false)?;
        Ok(result)
    }
}
