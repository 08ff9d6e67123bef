//! What keeps a store in good order: its counts, its checks, its file.

use std::sync::atomic::Ordering;

#[cfg(feature = "sim")]
use crate::causal::ReplicaId;
use crate::causal::VersionVector;
use crate::kv::check;
use crate::kv::digest::Digest;
use crate::kv::error::Result;
use crate::kv::retention;
use crate::kv::status::Status;
use crate::storage::Usage;

use super::Store;

/// Upkeep.
impl Store {
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
    /// Something does not fit ([`Error::Corrupt`](crate::kv::Error::Corrupt)), or the medium fails.
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
    /// The medium fails: [`Error::SyncFailed`](crate::kv::Error::SyncFailed).
    pub fn sync(&self) -> Result<()> {
        self.space.file.refuse_if_closed()?;
        self.space.file.make_durable()
    }

    /// Writes every space of the file to a new file at `to`, while the store is in use. A writer waits for each space as long as
    /// one commit takes. What the backup holds is noted as given away. To use it,
    /// [`Options::restore`](crate::kv::Options::restore); one that is opened as it is takes new ids, as any copy of a file does.
    /// While it is made, it has the name `to` with `.partial` behind: a file of that name that nobody has open is replaced.
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
    /// There is a file at `to` already, another backup to the same place is under way ([`Error::Locked`](crate::kv::Error::Locked)), or a
    /// disk fails. Nothing is at `to` then.
    #[cfg(feature = "redb")]
    pub fn backup(&self, to: impl AsRef<std::path::Path>) -> Result<()> {
        crate::kv::backup::backup(&self.space.file, to.as_ref())
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
    /// instead, which costs more bytes. Beyond what [`Retention`](crate::kv::Retention) keeps, the store forgets them by itself.
    /// Returns how many went. Cost: reads every event up to `up_to`.
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
