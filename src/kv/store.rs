//! The store: what an application opens and keeps.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::causal::{ReplicaId, VersionVector};
use crate::codec::key::Key;
use crate::storage::Usage;

use super::check;
use super::cursor::Range;
use super::delta::{Delta, Written};
use super::digest::Digest;
use super::error::Result;
use super::extract;
use super::identity::{self, StoreEvent};
use super::inspect::{self, Inspection};
use super::local::Local;
use super::merge::{self, Merged};
use super::options::Options;
use super::overlay::Overlay;
use super::path::Spot;
use super::place::handles;
use super::place::sealed::{Reads, Writes};
use super::push::{self, Applied};
use super::retention;
use super::row::Row;
use super::scan::Scan;
use super::seal;
use super::snapshot::Snapshot;
use super::space::Space;
use super::status::Status;
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

    /// Counts. Cost: O(replicas).
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.set::<String>("tags").insert("draft")?;
    /// let status = store.status()?;
    /// assert_eq!((status.rows, status.entries, status.deletes), (1, 1, 0));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The store was closed by a failure.
    pub fn status(&self) -> Result<Status> {
        let meta = self.space.meta()?;
        Ok(Status {
            space: self.space.id,
            name: self.space.name.clone(),
            replica: self.space.own_id(&meta),
            version: meta.version(),
            floor: meta.floor(),
            rows: meta.rows,
            entries: meta.entries,
            deletes: meta.deletes,
            pending_resets: meta.resets,
            digest: Digest::of(&meta),
            stamps_ahead: self.space.stamps_ahead.load(Ordering::Relaxed),
        })
    }

    /// Recomputes what the store keeps beside its rows — digest, counts, events — and compares. Cost: reads everything, and holds
    /// the path of each live entry.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter("visits").add(1)?;
    /// store.check()?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// Something does not fit ([`Error::Corrupt`](super::Error::Corrupt)), or the medium fails.
    pub fn check(&self) -> Result<()> {
        check::check(&self.space.view()?)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn events_of(&self, id: ReplicaId, from: u64) -> Result<Vec<check::OwnEvent>> {
        check::events_of(&self.space.view()?, id, from)
    }

    /// Up to which own event something may have left the file.
    #[cfg(feature = "sim")]
    pub(crate) fn emitted(&self) -> Result<u64> {
        Ok(self.space.meta()?.emitted)
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

    /// Makes everything durable that was committed before the call.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::options().durability(tombolo::kv::Durability::Deferred).open(&path)?;
    /// for number in 0..100 {
    ///     store.counter("visits").add(number)?;
    /// }
    /// store.sync()?; // One fsync for all of them.
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails: [`Error::SyncFailed`](super::Error::SyncFailed).
    pub fn sync(&self) -> Result<()> {
        self.space.file.refuse_if_closed()?;
        self.space.file.make_durable()
    }

    /// What this store has and a store of version `base` lacks. Of the empty vector: everything.
    ///
    /// What leaves the file is durable first, and is noted as given away: if there are writes that never left it, that takes the writer
    /// lock and a commit.
    ///
    /// Cost: what happened since `base`. Everything, if that is empty; what is live besides, if deletes since then may have
    /// been forgotten.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.counter("visits").add(2)?;
    /// b.merge(a.delta_since(&b.version()?)?)?;
    /// assert_eq!(b.counter("visits").get()?, 2);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The store is damaged, or the medium fails.
    pub fn delta_since(&self, base: &VersionVector) -> Result<Delta> {
        self.extract(base, Vec::new()).map(Delta::new)
    }

    /// Writes what [`delta_since`](Self::delta_since) returns, to a file or to a connection, and returns how many bytes that is.
    ///
    /// ```
    /// # use tombolo::{Store, causal::VersionVector};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = Store::in_memory();
    /// # store.register::<u32>("seats").set(&12)?;
    /// # let path = tempfile::NamedTempFile::new()?.into_temp_path();
    /// let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    /// let bytes = store.write_delta_since(&VersionVector::new(), &mut file)?;
    /// std::io::Write::flush(&mut file)?;
    /// assert_eq!(bytes, std::fs::metadata(&path)?.len());
    /// # Ok(()) }
    /// ```
    ///
    /// It comes in pieces of about 256 KiB, and `to` is not flushed. Memory: some such pieces, the largest row, a few dozen bytes
    /// for each replica, and up to [`Options::delta_memory`]; if the base is below the floor, besides about a bit for each live
    /// entry where their numbers are dense, and at most about a hundred bytes where each is alone among 65,536.
    ///
    /// # Errors
    /// As [`delta_since`](Self::delta_since), or `to` fails ([`Error::Transfer`](super::Error::Transfer)): part of the delta may be
    /// written, which no store merges.
    pub fn write_delta_since(&self, base: &VersionVector, to: impl io::Write) -> Result<u64> {
        Ok(self.extract(base, to)?.bytes)
    }

    fn extract<W: io::Write>(&self, base: &VersionVector, to: W) -> Result<Written<W>> {
        let memory = self.space.file.settings.delta_memory;
        extract::write_delta(&identity::view_to_emit(&self.space, base)?, self.space.id, base, memory, to)
    }

    /// The canonical form: live entries with full replica ids, and the version. Equal states give equal bytes, on every replica. It is a
    /// delta since nothing, less what stores of one state may know differently.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.set::<String>("tags").insert("draft")?;
    /// b.merge(a.delta_since(&b.version()?)?)?;
    /// assert_eq!(a.canonical()?, b.canonical()?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`delta_since`](Self::delta_since).
    pub fn canonical(&self) -> Result<Delta> {
        let view = identity::view_to_emit(&self.space, &VersionVector::new())?;
        extract::write_canonical(&view, self.space.id, Vec::new()).map(Delta::new)
    }

    /// What the store has found out about itself and its peers since this was called last: that it is a copy and has a new id, that
    /// histories fork, that contents diverge.
    ///
    /// ```
    /// use tombolo::{Store, kv::StoreEvent, storage::Memory};
    ///
    /// let (memory, peer) = (Memory::default(), Store::in_memory());
    /// let original = Store::options().open_backend(memory.clone())?;
    /// original.counter("visits").add(1)?;
    /// let copy = Store::options().open_backend(memory.fork())?;
    /// peer.merge(original.delta_since(&peer.version()?)?)?;
    /// // The peer knows an event that the copy has never given away.
    /// copy.counter("visits").add(1)?;
    /// copy.delta_since(&peer.version()?)?;
    /// assert!(matches!(*copy.take_events(), [StoreEvent::IdentityRotated { .. }]));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn take_events(&self) -> Vec<StoreEvent> {
        self.space.events.take()
    }

    /// Merges a delta, in one commit. Any number of times, in any order; what is in already changes nothing.
    ///
    /// If the delta tells that this file is a copy of another one, the store takes a new id first
    /// ([`StoreEvent::IdentityRotated`]). The delta may then start beyond what is left: ask for another one.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.register::<u64>("size").set(&1)?;
    /// b.register::<u64>("size").set(&2)?;
    /// let merged = b.merge(a.delta_since(&b.version()?)?)?;
    /// assert!(merged.changed);
    /// assert_eq!(merged.conflicts[0].to_string(), r#""size" register"#);
    /// assert_eq!(b.register::<u64>("size").siblings()?.len(), 2);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are no delta ([`Error::Malformed`](super::Error::Malformed)), of another space, or start beyond what this store has
    /// ([`Error::Behind`](super::Error::Behind)); or the medium fails. Nothing was merged.
    pub fn merge(&self, delta: impl AsRef<[u8]>) -> Result<Merged> {
        merge::merge(&self.space, delta.as_ref())
    }

    /// Merges a delta that is read to its end, from a file or from a connection, in one commit.
    ///
    /// ```
    /// # use tombolo::{Store, causal::VersionVector};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (here, there) = (Store::in_memory(), Store::in_memory());
    /// # there.register::<u32>("seats").set(&12)?;
    /// # let path = tempfile::NamedTempFile::new()?.into_temp_path();
    /// # there.write_delta_since(&VersionVector::new(), std::fs::File::create(&path)?)?;
    /// let merged = here.merge_from(std::fs::File::open(&path)?)?;
    /// assert_eq!((merged.rows, here.register::<u32>("seats").get()?), (1, Some(12)));
    /// # Ok(()) }
    /// ```
    ///
    /// What is larger than 1 MiB waits in the store's file until it is whole and checked: nobody sees any of it before. The file
    /// so needs room for the delta twice. Limit what a stranger may send with [`Read::take`](io::Read::take).
    ///
    /// Memory: a few MiB, the largest frame (16 MiB at most, 256 KiB from a store) and row (64 MiB at most), a few dozen bytes for
    /// each replica, and up to [`Options::delta_memory`]; below the floor, besides about a bit for each live entry of this store
    /// that the sender has seen, where their numbers are dense, and at most about a hundred bytes where each is alone among 65,536.
    /// What the backend takes comes on top: a store in memory holds the delta meanwhile.
    ///
    /// # Errors
    /// As [`merge`](Self::merge), or `from` fails ([`Error::Transfer`](super::Error::Transfer)). Nothing was merged.
    pub fn merge_from(&self, from: impl io::Read) -> Result<Merged> {
        merge::merge_from(&self.space, from)
    }

    /// Applies a pushed transaction, from [`Tx::commit_and_push`]. Any number of times; what is in already changes nothing.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// let tx = a.begin()?;
    /// tx.counter("visits").add(1)?;
    /// let pushed = tx.commit_and_push()?.expect("it wrote something");
    /// b.apply(&pushed)?;
    /// assert_eq!(a.digest()?, b.digest()?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn apply(&self, pushed: impl AsRef<[u8]>) -> Result<Applied> {
        push::apply(&self.space, pushed.as_ref())
    }

    /// Attaches the store to an [`Engine`](crate::replication::Engine). `wake` is called, from the thread of whoever commits, when
    /// there is something to pass on: tell the engine [`Input::Changed`](crate::replication::Input::Changed), and do no more in it.
    #[cfg(feature = "replication")]
    #[must_use]
    pub fn attach(&self, wake: impl Fn() + Send + Sync + 'static) -> super::Attached {
        super::Attached::new(&self.space, Arc::new(wake))
    }

    /// Says that a replica will write no more: its last event is `seq`. A hint to all, which costs them fewer bytes in each exchange; a
    /// replica that writes all the same just does. Nothing is forgotten.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// a.counter("visits").add(1)?;
    /// b.merge(a.delta_since(&b.version()?)?)?;
    /// let gone = a.replica()?.expect("it has written");
    /// b.seal(gone, b.version()?.get(gone))?;
    /// assert_eq!(b.sealed()?.get(gone), 1);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// `seq` is 0 or above 2^63; or as [`Tx::commit`].
    pub fn seal(&self, replica: ReplicaId, seq: u64) -> Result<()> {
        self.write(|overlay| seal::seal(overlay, replica, seq))
    }

    /// The replicas that were said to write no more, with their last events.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// assert!(store.sealed()?.is_empty());
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails.
    pub fn sealed(&self) -> Result<VersionVector> {
        seal::sealed(self.snapshot()?)
    }

    /// Writes every space of the file to a new file at `to`, while the store is in use. A writer waits for each space as long as one
    /// commit takes. What the backup holds is noted as given away. To use it, [`Options::restore`]; one that is opened as it is takes
    /// new ids, as any copy of a file does. While it is made, it has the name `to` with `.partial` behind: a file of that name that
    /// nobody has open is replaced.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::open(&path)?;
    /// store.counter("visits").add(1)?;
    /// store.backup(folder.path().join("backup"))?;
    /// let restored = tombolo::Store::options().restore(folder.path().join("backup"), folder.path().join("tablet.tombolo"))?;
    /// assert_eq!(restored.counter("visits").get()?, 1);
    /// assert_eq!(restored.replica()?, None, "it is a replica of its own, once it writes");
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is a file at `to` already, another backup to the same place is under way ([`Error::Locked`](super::Error::Locked)), or a
    /// disk fails. Nothing is at `to` then.
    #[cfg(feature = "redb")]
    pub fn backup(&self, to: impl AsRef<std::path::Path>) -> Result<()> {
        super::backup::backup(&self.space.file, to.as_ref())
    }

    /// How much room the file takes, with all its spaces, and what [`compact`](Self::compact) could about give back; `None` if the
    /// backend cannot tell. Cost: reads everything, and writers wait.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::open(&path)?;
    /// let usage = store.usage()?.expect("a file can tell");
    /// assert!(usage.reclaimable < usage.bytes);
    /// assert!(tombolo::Store::in_memory().usage()?.is_none());
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails.
    pub fn usage(&self) -> Result<Option<Usage>> {
        self.space.file.usage()
    }

    /// Makes the file small: erases what waits to be erased in this space, and gives free room back. Files do not shrink by
    /// themselves. Cost: may move everything, and writers wait. Cut short, it leaves a store that is whole.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::open(&path)?;
    /// store.register::<Vec<u8>>("photo").set(&vec![0; 1_000_000])?;
    /// store.delete("photo")?;
    /// store.compact()?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// Snapshots, scans or watches are held that are in the way ([`std::io::ErrorKind::ResourceBusy`]), or the medium fails.
    pub fn compact(&self) -> Result<()> {
        retention::sweep(&self.space)?;
        self.space.file.compact()
    }

    /// Forgets the delete events up to `up_to`, to save space. Always safe: a peer that was behind them is told what is live
    /// instead, which costs more bytes. Beyond what [`Retention`](super::Retention) keeps, the store forgets them by itself. Returns how
    /// many went. Cost: reads every event up to `up_to`.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.counter("visits").add(1)?;
    /// store.delete("visits")?;
    /// assert_eq!(store.forget_deletes(&store.version()?)?, 1);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails. Nothing was forgotten.
    pub fn forget_deletes(&self, up_to: &VersionVector) -> Result<u64> {
        retention::forget_deletes(&self.space, up_to)
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
        self.space.meta()?.id(index).ok_or_else(super::commit::unknown_replica)
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
