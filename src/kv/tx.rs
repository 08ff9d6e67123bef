//! A transaction: several keys, atomic here and at every replica.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{ReplicaId, VersionVector};
use crate::codec::key::{Key, KeyWriter};

use super::cursor::Range;
use super::delete;
use super::error::{Error, Result};
use super::file::Durability;
use super::inspect::{self, Inspection};
use super::local::Local;
use super::meta::Meta;
use super::overlay::Overlay;
use super::path::Spot;
use super::place::handles;
use super::place::sealed::{Reads, Writes};
use super::push::{Draft, Pushed};
use super::row::Row;
use super::scan::Scan;
use super::space::{Space, WriterGuard};

/// A transaction, from [`Store::begin`](super::Store::begin). It has the writer lock of its space; other threads wait, readers
/// do not. What it writes it reads. Dropping it writes nothing.
///
/// It cannot be sent to another thread, so that it is never held across an `await`.
pub struct Tx {
    overlay: RefCell<Overlay>,
    guard: WriterGuard,
    /// A write failed halfway: what it has done cannot be told from what it has not.
    half_done: Cell<bool>,
    durability: Cell<Durability>,
    not_send: PhantomData<Rc<()>>,
}

impl Tx {
    pub(crate) fn begin(space: &Arc<Space>) -> Result<Self> {
        let guard = space.lock()?;
        let meta = space.meta()?;
        let overlay = Overlay::new(Arc::clone(space), (*meta).clone());
        let (overlay, durability) = (RefCell::new(overlay), Cell::new(space.file.settings.durability));
        Ok(Self { overlay, guard, half_done: Cell::new(false), durability, not_send: PhantomData })
    }

    handles!(&Tx, |this| this, |_this, key, kind| Spot::new(&[], key, kind));

    /// The application's own keys, as the transaction sees them; written in its commit.
    #[must_use]
    pub const fn local(&self) -> Local<&Self> {
        Local::new(self)
    }

    /// Deletes everything under a key, of every kind. Returns whether there was anything.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.transact(|tx| {
    ///     tx.counter("visits").add(1)?;
    ///     assert!(tx.delete("visits")?);
    ///     assert!(!tx.delete("visits")?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// A limit of the transaction, or the medium. Nothing of the key was deleted.
    pub fn delete(&self, key: impl Key) -> Result<bool> {
        let range = delete::key_range(&[], key)?;
        Ok(self.write(|overlay| delete::rows(overlay, &range))? > 0)
    }

    /// Deletes every key that begins with these parts. Returns how many rows had something.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_prefix(&self, prefix: impl Key) -> Result<u64> {
        let mut to = KeyWriter::new();
        prefix.encode(&mut to);
        let range = Range::prefix(to.as_slice());
        self.write(|overlay| delete::rows(overlay, &range))
    }

    /// Everything under a key as the transaction sees it, down to the single entry: who wrote it, when, what it holds, and why it counts or is still there. For
    /// people: print it. Cost: reads everything under the key.
    ///
    /// # Errors
    /// The key is none, the store is damaged, or the medium fails. A value that cannot be read is an error of its entry alone.
    pub fn inspect(&self, key: impl Key) -> Result<Inspection> {
        inspect::inspect(&self, Ok(&[]), key)
    }

    /// The keys that begin with these parts, as the transaction sees them. What it writes during the walk may show or not.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.transact(|tx| {
    ///     tx.counter("visits").add(1)?;
    ///     assert_eq!(tx.scan(()).count(), 1);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn scan(&self, prefix: impl Key) -> Scan<&Self> {
        Scan::keys(&self, prefix)
    }

    /// The keys whose first part is a text that begins with these bytes, as the transaction sees them.
    pub fn scan_bytes(&self, first_part: impl AsRef<[u8]>) -> Scan<&Self> {
        Scan::bytes(&self, first_part.as_ref())
    }

    /// When this transaction survives a crash, if not as [`Options::durability`](super::Options::durability) says.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let tx = store.begin()?;
    /// tx.durability(tombolo::kv::Durability::Deferred);
    /// tx.counter("visits").add(1)?;
    /// tx.commit()?;
    /// store.sync()?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn durability(&self, durability: Durability) {
        self.durability.set(durability);
    }

    /// Commits: durable here (but in memory), and whole or not at all at every replica that hears of it. Returns the version
    /// right after.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// let tx = store.begin()?;
    /// tx.counter("visits").add(1)?;
    /// let version = tx.commit()?;
    /// assert_eq!(version, store.version()?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The medium fails: [`Error::SyncFailed`]. Then it is not known whether the transaction is in.
    pub fn commit(self) -> Result<VersionVector> {
        Ok(self.finish(false)?.0.version())
    }

    /// As [`commit`](Self::commit), and returns the transaction as bytes which any replica can
    /// [`apply`](super::Store::apply). It is durable first, whatever the durability of the transaction. `None`: it wrote nothing but local keys, or more than the 16 MiB of a frame; then it is committed all the
    /// same, and a delta carries it.
    ///
    /// ```
    /// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
    /// let tx = a.begin()?;
    /// tx.set::<String>("tags").insert("draft")?;
    /// if let Some(pushed) = tx.commit_and_push()? {
    ///     b.apply(pushed)?;
    /// }
    /// assert!(b.set::<String>("tags").contains("draft")?);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_and_push(self) -> Result<Option<Pushed>> {
        let space = self.guard.space.id;
        let transaction = self.finish(true)?.1.and_then(|draft| draft.encode());
        Ok(transaction.map(|transaction| Pushed::new(space, &transaction)))
    }

    fn refuse_if_half_done(&self) -> Result<()> {
        if self.half_done.get() {
            return Err(Error::Refused("a write of the transaction failed halfway: drop it and begin another"));
        }
        Ok(())
    }

    /// A user's `Serialize` or `Lattice` that uses the transaction it is written by.
    const fn within_itself() -> Error {
        Error::Refused("a transaction is used from within one of its own writes")
    }

    /// The state after the commit, and with `push` the transaction itself.
    pub(crate) fn finish(self, push: bool) -> Result<(Arc<Meta>, Option<Arc<Draft>>)> {
        self.refuse_if_half_done()?;
        let asked = if push { Durability::Immediate } else { self.durability.get() };
        let Self { overlay, mut guard, .. } = self;
        // What a peer may have, a crash must not take back: what is not durable at once, a feed only hears that there is something.
        let push = push || (guard.space.feeds.are_live() && asked == Durability::Immediate);
        let before = guard.space.meta()?;
        let Some((commit, rows)) = overlay.into_inner().into_commit(push)? else {
            return Ok((before, None));
        };
        let last_own = guard.state.last_own.clone();
        let mut draft = None;
        let (meta, ticket) = guard.apply_own(commit, asked, |after| {
            // Local keys alone have no event.
            let is_event = push && own(after) > own(&before);
            draft = is_event.then(|| Arc::new(Draft::new(&before, after, last_own.as_deref(), rows)));
            draft.clone()
        })?;
        if own(&meta) > own(&before) {
            guard.state.last_own = Some(Arc::clone(&meta));
        }
        guard.settle(ticket)?;
        Ok((meta, draft))
    }
}

/// The number of this replica's last event.
fn own(meta: &Meta) -> u64 {
    meta.me.map_or(0, |me| meta.seq(me))
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("space", &self.guard.space.name).finish_non_exhaustive()
    }
}

impl Reads for &Tx {
    type Pinned = Self;

    fn pin(&self) -> Result<Self> {
        Ok(self)
    }

    fn row(&self, path: &[u8]) -> Result<Row> {
        self.overlay.try_borrow().map_err(|_busy| Tx::within_itself())?.row(path)
    }

    fn rows(&self, range: &Range, from_back: bool, max: usize) -> Result<Vec<(Bytes, Row)>> {
        self.overlay.try_borrow().map_err(|_busy| Tx::within_itself())?.chunk(range, from_back, max)
    }

    fn local(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.overlay.try_borrow().map_err(|_busy| Tx::within_itself())?.local(key)
    }

    fn locals(&self, range: &Range, max: usize) -> Result<Vec<(Bytes, Bytes)>> {
        self.overlay.try_borrow().map_err(|_busy| Tx::within_itself())?.locals(range, max)
    }

    fn replica(&self, index: u32) -> Result<ReplicaId> {
        let mut overlay = self.overlay.try_borrow_mut().map_err(|_busy| Tx::within_itself())?;
        if index == u32::MAX {
            return Ok(overlay.me()?.1);
        }
        overlay.meta().id(index).ok_or_else(super::commit::unknown_replica)
    }

    fn transaction(&self) -> Option<u64> {
        self.overlay.try_borrow().ok().map(|overlay| overlay.id())
    }
}

impl Writes for &Tx {
    fn write<R>(&self, body: impl FnOnce(&mut Overlay) -> Result<R>) -> Result<R> {
        match self.overlay.try_borrow_mut() {
            Ok(mut overlay) => {
                self.refuse_if_half_done()?;
                let changes = overlay.changes();
                let result = body(&mut overlay);
                self.half_done.set(result.is_err() && overlay.changes() != changes);
                result
            }
            Err(_busy) => Err(Tx::within_itself()),
        }
    }
}
