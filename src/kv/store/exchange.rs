//! What a store gives to others, and takes from them.

use std::io;
#[cfg(feature = "replication")]
use std::sync::Arc;

use crate::causal::{ReplicaId, VersionVector};
#[cfg(feature = "replication")]
use crate::kv::attached::Attached;
use crate::kv::delta::{Delta, Written};
use crate::kv::error::Result;
use crate::kv::extract;
use crate::kv::identity::{self, StoreEvent};
use crate::kv::merge::{self, Merged};
use crate::kv::place::sealed::Writes;
use crate::kv::push::{self, Applied};
use crate::kv::seal;

use super::Store;

/// Exchange with other replicas.
impl Store {
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
    /// for each replica, and up to [`Options::delta_memory`](crate::kv::Options::delta_memory); if the base is below the floor,
    /// besides about a bit for each live entry where their numbers are dense, and at most about a hundred bytes where each is alone
    /// among 65,536.
    ///
    /// # Errors
    /// As [`delta_since`](Self::delta_since), or `to` fails ([`Error::Transfer`](crate::Error::Transfer)): part of the delta may be
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
    /// The bytes are no delta ([`Error::Malformed`](crate::Error::Malformed)), of another space, or start beyond what this store has
    /// ([`Error::Behind`](crate::Error::Behind)); or the medium fails. Nothing was merged.
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
    /// each replica, and up to [`Options::delta_memory`](crate::kv::Options::delta_memory); below the floor, besides about a bit for
    /// each live entry of this store that the sender has seen, where their numbers are dense, and at most about a hundred bytes
    /// where each is alone among 65,536.
    /// What the backend takes comes on top: a store in memory holds the delta meanwhile.
    ///
    /// # Errors
    /// As [`merge`](Self::merge), or `from` fails ([`Error::Transfer`](crate::Error::Transfer)). Nothing was merged.
    pub fn merge_from(&self, from: impl io::Read) -> Result<Merged> {
        merge::merge_from(&self.space, from)
    }

    /// Applies a pushed transaction, from [`Tx::commit_and_push`](crate::kv::Tx::commit_and_push). Any number of times; what is in
    /// already changes nothing.
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
    pub fn attach(&self, wake: impl Fn() + Send + Sync + 'static) -> Attached {
        Attached::new(&self.space, Arc::new(wake))
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
    /// `seq` is 0 or above 2^63; or as [`Tx::commit`](crate::kv::Tx::commit).
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
}
