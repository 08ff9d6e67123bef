//! One open file: its backend, its spaces, and the way of a commit to the disk.
//!
//! ```text
//!  writer ── space's lock ──▶ commit ──▶ publish ── unlock ──▶ settle
//!                               │                               │ wait until durable:
//!                               │ nobody else is about to       │   somebody else's fsync took it along,
//!                               │ write: with an fsync          │   or, after a moment, one of its own
//!                               └ else without: the last one
//!                                 of the queue syncs for all
//! ```
//!
//! So writers that come one by one have one fsync each and no more, and writers that queue share one. Each is acknowledged only
//! after it. A reader here may see a commit that is not durable yet; a peer never does ([`File::make_durable`]).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
#[cfg(feature = "redb")]
use twox_hash::XxHash3_128;

use crate::codec::{DecodeError, Reader, Writer};
use crate::storage::{Backend, Usage, Write};
#[cfg(feature = "redb")]
use crate::system::FileIdentity;

use super::commit::Commit;
use super::error::{Error, Result};
use super::identity::{Events, rotate_every_space};
use super::meta::{FORMAT, Tables};
use super::mutant::{self, Mutant};
use super::options::Settings;
use super::space::{Space, SpaceId};
use super::stream::Streamed;
use super::watch::End;

/// When a transaction survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Together with the next commit that is immediate, with [`Store::sync`](super::Store::sync), or when the store is closed; after a
    /// crash before that, not at all. What was not durable never left for a peer.
    Deferred,
    /// Once the commit has returned.
    #[default]
    Immediate,
}

/// How long a commit waits for the fsync of others behind it, before it has one of its own. They may be in the middle of a long
/// transaction.
const HANDOVER: Duration = Duration::from_millis(1);

/// Which file this is, as far as the system can tell: a hash of it, since the id of a machine is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity([u8; 16]);

#[cfg(feature = "redb")]
impl Identity {
    /// `None`: the system can tell nothing.
    pub(crate) fn of(file: &FileIdentity) -> Option<Self> {
        let FileIdentity { machine, inode } = file;
        if machine.is_none() && inode.is_none() {
            return None;
        }
        let mut text = machine.clone().unwrap_or_default().into_bytes();
        text.push(0);
        text.extend_from_slice(&inode.unwrap_or_default().to_le_bytes());
        Some(Self(XxHash3_128::oneshot(&text).to_le_bytes()))
    }
}

/// One open file.
pub(crate) struct File {
    backend: Box<dyn Backend>,
    pub(crate) settings: Settings,
    /// The spaces in use. Each has one [`Space`], since that holds the writer lock.
    spaces: Mutex<BTreeMap<String, Weak<Space>>>,
    /// What was found out of each space, by name: it may be before somebody uses the space.
    events: Mutex<BTreeMap<String, Arc<Events>>>,
    /// Held during a commit: a backend takes one at a time, and each space has a writer of its own.
    committing: Mutex<()>,
    /// How many commits the backend has taken. Changed under `committing`.
    applied: AtomicU64,
    /// How many of them are durable. Invariant: at most `applied`.
    durable: Mutex<u64>,
    became_durable: Condvar,
    /// Threads that wait to write. While there are some, a commit leaves the fsync to them.
    waiting: AtomicUsize,
    #[cfg(test)]
    syncs: AtomicU64,
    /// An fsync failed: the medium knows more or less than this process.
    failed: OnceLock<(io::ErrorKind, String)>,
}

impl File {
    const FORMAT_KEY: &'static [u8] = b"f";
    const SPACE: &'static [u8] = b"n";
    /// Which file this is: a copy is another one.
    pub(crate) const IDENTITY: &'static [u8] = b"i";

    /// Opens what is on a backend, or prepares an empty one. With an identity other than the last one, it is a copy: every space in it
    /// gets a new id.
    pub(crate) fn open(backend: Box<dyn Backend>, settings: Settings, identity: Option<Identity>) -> Result<Arc<Self>> {
        let file = Self {
            backend,
            settings,
            spaces: Mutex::default(),
            events: Mutex::default(),
            committing: Mutex::default(),
            applied: AtomicU64::new(0),
            durable: Mutex::new(0),
            became_durable: Condvar::new(),
            waiting: AtomicUsize::new(0),
            #[cfg(test)]
            syncs: AtomicU64::new(0),
            failed: OnceLock::new(),
        };
        match file.backend.get(Tables::FILE, Self::FORMAT_KEY)? {
            Some(bytes) => {
                let found = Reader::new(&bytes).u64().map_err(Error::corrupt("format version"))?;
                if found > FORMAT {
                    return Err(Error::NewerFormat { found, supported: FORMAT });
                }
            }
            None if file.settings.read_only => {
                return Err(Error::Refused("there is no store in the file, and it was opened for reading only"));
            }
            None => {
                let mut version = Writer::new();
                version.u64(FORMAT);
                file.put_durably(Bytes::from_static(Self::FORMAT_KEY), Bytes::from(version.into_vec()))?;
            }
        }
        let file = Arc::new(file);
        if let Some(Identity(identity)) = identity.filter(|_any| !file.settings.read_only) {
            let before = file.backend.get(Tables::FILE, Self::IDENTITY)?;
            if before.as_deref() != Some(&identity[..]) {
                if before.is_some() && !mutant::is(Mutant::RestoredIdKept) {
                    rotate_every_space(&file)?;
                }
                file.put_durably(Bytes::from_static(Self::IDENTITY), Bytes::copy_from_slice(&identity))?;
            }
        }
        Ok(file)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The space with a name, made if it is new.
    pub(crate) fn space(self: &Arc<Self>, name: &str) -> Result<Arc<Space>> {
        self.refuse_if_closed()?;
        let mut spaces = self.spaces.lock();
        if let Some(space) = spaces.get(name).and_then(Weak::upgrade) {
            return Ok(space);
        }
        let space = match Space::open(self, name) {
            Ok(space) => Arc::new(space),
            Err(error) => {
                drop(spaces);
                self.end_watches_if_closed();
                return Err(error);
            }
        };
        spaces.insert(name.to_owned(), Arc::downgrade(&space));
        Ok(space)
    }

    /// Whoever watches must hear of a failure as well. Not below a lock: wakers do what they like.
    pub(crate) fn end_watches_if_closed(&self) {
        if self.refuse_if_closed().is_ok() {
            return;
        }
        let spaces: Vec<Arc<Space>> = self.spaces.lock().values().filter_map(Weak::upgrade).collect();
        spaces.iter().for_each(|space| space.watchers.end(End::Failed).wake());
    }

    /// Where a space puts what it finds out.
    pub(crate) fn events_of(&self, name: &str) -> Arc<Events> {
        Arc::clone(self.events.lock().entry(name.to_owned()).or_default())
    }

    pub(crate) fn refuse_if_closed(&self) -> Result<()> {
        if self.failed.get().is_some() { Err(Error::Closed) } else { Ok(()) }
    }

    /// The number of the space with a name; given now, if it is new.
    pub(crate) fn number_of(&self, name: &str, id: SpaceId) -> Result<u32> {
        if name.len() > 256 {
            return Err(Error::Refused("the name of a space is longer than 256 bytes"));
        }
        let key = Bytes::from([Self::SPACE, name.as_bytes()].concat());
        if let Some(value) = self.backend.get(Tables::FILE, &key)? {
            let (number, found) = decode_space(&value)?;
            if found != id {
                return Err(Error::corrupt("list of spaces")(DecodeError::new(0, "a space with the id of another")));
            }
            return Ok(number);
        }
        if self.settings.read_only {
            return Err(Error::ReadOnly);
        }
        let highest = self.spaces()?.into_iter().map(|(_name, number)| number).max();
        let number = highest.unwrap_or_default() + 1;
        if number > Tables::SPACES_MAX {
            return Err(Error::Refused("the file has as many spaces as it can hold"));
        }
        let mut to = Writer::new();
        to.u64(u64::from(number));
        to.raw(&id.to_bytes());
        self.put_durably(key, Bytes::from(to.into_vec()))?;
        Ok(number)
    }

    /// The names of all spaces in the file, with their numbers.
    pub(crate) fn spaces(&self) -> Result<Vec<(String, u32)>> {
        let rows = self.backend.range(Tables::FILE, (Bound::Included(Self::SPACE), Bound::Excluded(b"o")))?;
        let space = |row: io::Result<(Bytes, Bytes)>| {
            let (key, value) = row?;
            let name = key.get(Self::SPACE.len()..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| Error::corrupt("list of spaces")(DecodeError::new(0, "a name that is no text")))?;
            Ok((name.to_owned(), decode_space(&value)?.0))
        };
        rows.map(space).collect()
    }

    fn put_durably(&self, key: Bytes, value: Bytes) -> Result<()> {
        let ticket = self.commit(vec![Write::Put { table: Tables::FILE, key, value }], Durability::Immediate)?;
        self.settle(ticket)
    }

    /// Applies a commit; readers may see it at once. It is acknowledged by [`settle`](Self::settle).
    pub(crate) fn commit(&self, writes: Vec<Write>, durability: Durability) -> Result<Ticket> {
        let _one_at_a_time = self.counted_as_waiting(|| self.committing.lock());
        self.refuse_if_closed()?;
        let sync = durability == Durability::Immediate && self.waiting.load(Ordering::Relaxed) == 0;
        match self.backend.commit(writes, sync) {
            Ok(()) => {
                let number = self.applied.load(Ordering::Relaxed) + 1;
                self.applied.store(number, Ordering::Release);
                if sync {
                    self.durable_up_to(number);
                }
                Ok(Ticket { number, durability })
            }
            Err(source) if sync => Err(self.fail(&source)),
            Err(source) => Err(source.into()),
        }
    }

    /// As [`commit`](Self::commit), with an fsync, of writes that are made while they are taken. Their error, if there is one, is
    /// returned, and nothing has changed.
    pub(crate) fn commit_streamed<S: FnMut(&mut Commit) -> Result<bool>>(&self, writes: &mut Streamed<S>) -> Result<Ticket> {
        let _one_at_a_time = self.counted_as_waiting(|| self.committing.lock());
        self.refuse_if_closed()?;
        let result = self.backend.commit_from(writes, true);
        if let Some(error) = writes.take_error() {
            return Err(error);
        }
        result.map_err(|source| self.fail(&source))?;
        let number = self.applied.load(Ordering::Relaxed) + 1;
        self.applied.store(number, Ordering::Release);
        self.durable_up_to(number);
        Ok(Ticket { number, durability: Durability::Immediate })
    }

    /// Commits what need not survive a crash.
    pub(crate) fn commit_unsynced(&self, writes: Vec<Write>) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        self.settle(self.commit(writes, Durability::Deferred)?)
    }

    /// Waits until a commit is durable, if it was to be.
    pub(crate) fn settle(&self, ticket: Ticket) -> Result<()> {
        if ticket.durability == Durability::Immediate { self.wait(ticket.number) } else { Ok(()) }
    }

    /// Whether a commit is as durable as it was to be.
    pub(crate) fn is_settled(&self, ticket: Ticket) -> bool {
        ticket.durability == Durability::Deferred || *self.durable.lock() >= ticket.number
    }

    /// Makes everything durable that was applied before the call.
    pub(crate) fn make_durable(&self) -> Result<()> {
        let number = self.applied.load(Ordering::Acquire);
        if *self.durable.lock() >= number {
            return Ok(());
        }
        self.sync(number).inspect_err(|_failed| self.end_watches_if_closed())
    }

    /// Runs what must not meet a commit that the backend has and nobody has counted yet.
    pub(crate) fn between_commits<R>(&self, read: impl FnOnce() -> R) -> R {
        let _no_commit = self.committing.lock();
        read()
    }

    /// How much room the file takes.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        let _no_commit = self.committing.lock();
        Ok(self.backend.usage()?)
    }

    /// Makes the file as small as it can be.
    pub(crate) fn compact(&self) -> Result<()> {
        self.make_durable()?;
        let _no_commit = self.committing.lock();
        self.refuse_if_closed()?;
        Ok(self.backend.compact()?)
    }

    fn wait(&self, number: u64) -> Result<()> {
        let mut durable = self.durable.lock();
        while *durable < number {
            if let Some((kind, said)) = self.failed.get() {
                return Err(Error::SyncFailed { source: io::Error::new(*kind, said.as_str()) });
            }
            let late = self.became_durable.wait_for(&mut durable, HANDOVER).timed_out();
            if late && *durable < number {
                drop(durable);
                return self.sync(number);
            }
        }
        Ok(())
    }

    fn sync(&self, number: u64) -> Result<()> {
        let _one_at_a_time = self.committing.lock();
        if *self.durable.lock() >= number {
            return Ok(());
        }
        if let Some((kind, said)) = self.failed.get() {
            return Err(Error::SyncFailed { source: io::Error::new(*kind, said.as_str()) });
        }
        let applied = self.applied.load(Ordering::Relaxed);
        self.backend.commit(Vec::new(), true).map_err(|source| self.fail(&source))?;
        self.durable_up_to(applied);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn commits_and_syncs(&self) -> (u64, u64) {
        (self.applied.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(crate) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn durable_up_to(&self, number: u64) {
        let mut durable = self.durable.lock();
        *durable = number.max(*durable);
        #[cfg(test)]
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.became_durable.notify_all();
    }

    /// What the medium has is unknown, and a second fsync could report success for pages that are lost already.
    fn fail(&self, source: &io::Error) -> Error {
        let (kind, said) = self.failed.get_or_init(|| (source.kind(), source.to_string()));
        let error = Error::SyncFailed { source: io::Error::new(*kind, said.as_str()) };
        // Under the lock of those who wait, or the last of them could miss it.
        drop(self.durable.lock());
        self.became_durable.notify_all();
        error
    }

    /// Runs what may block a writer.
    pub(crate) fn counted_as_waiting<R>(&self, block: impl FnOnce() -> R) -> R {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let result = block();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

impl Drop for File {
    /// What was deferred is not lost because a store was closed. Nobody is left to be told of an error: whoever must know calls
    /// [`Store::sync`](super::Store::sync).
    fn drop(&mut self) {
        if self.failed.get().is_none() {
            let _nobody_to_tell = self.make_durable();
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A commit that was applied.
#[derive(Debug, Clone, Copy)]
#[must_use = "a commit is acknowledged once it is durable"]
pub(crate) struct Ticket {
    number: u64,
    durability: Durability,
}

/// The number and the id of a space.
fn decode_space(value: &[u8]) -> Result<(u32, SpaceId)> {
    let corrupt = Error::corrupt("list of spaces");
    let mut from = Reader::new(value);
    let number = from.u32().map_err(&corrupt)?;
    let id = SpaceId::from_bytes(from.array().map_err(&corrupt)?);
    from.finish().map_err(&corrupt)?;
    if !(1..=Tables::SPACES_MAX).contains(&number) {
        return Err(corrupt(DecodeError::new(0, "a space with a number that cannot be")));
    }
    Ok((number, id))
}
