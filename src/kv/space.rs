//! The inside of a store: one space of one file, its writer lock, and what readers see.
//!
//! ```text
//!  writers ── writer lock ──▶ Commit ──▶ file.commit ──▶ publish(meta) ── unlock ──▶ wait until durable
//!                                                              │
//!  readers ── snapshot of the backend + the meta of the same commit ◀─┘      never wait for a writer
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread::ThreadId;

use bytes::Bytes;
use parking_lot::{ArcMutexGuard, Mutex, RawMutex, RwLock};
use uuid::Uuid;

use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::storage::{Backend, Read};

use super::commit::Commit;
use super::error::{Error, Result};
use super::feed::Feeds;
use super::file::{Durability, File, Ticket};
use super::identity::Events;
use super::meta::{Meta, Tables};
use super::mutant::{self, Mutant};
use super::push::Draft;
use super::retention::{self, Ride, Sweep};
use super::row::Row;
use super::stage;
use super::steps::{self, Step};
use super::stream::Streamed;
use super::watch::{Changed, End, Wake, Watchers};

/// What a set of stores shares: only stores of one space merge. Made from the space's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(Uuid);

impl SpaceId {
    /// The namespace of the names of spaces.
    const NAMESPACE: Uuid = Uuid::from_u128(0x9f4d_3c52_7b1e_4e0c_a1d6_2f60_35c8_e771);

    /// The id of the space with a name: the same on every machine.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(Uuid::new_v5(&Self::NAMESPACE, name.as_bytes()))
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What only a writer touches.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    /// The vector right after this replica's last transaction in this process: a pushed transaction depends on what came
    /// since.
    pub(crate) last_own: Option<Arc<Meta>>,
    /// The erasing of dead events that is under way.
    pub(crate) sweep: Option<Sweep>,
}

/// A commit that nobody has been told of.
#[derive(Debug)]
struct Untold {
    ticket: Ticket,
    changed: Changed,
    /// If it is one of this replica's own, and somebody passes it on.
    own: Option<Arc<Draft>>,
}

/// One space of a file.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) file: Arc<File>,
    pub(crate) name: String,
    pub(crate) id: SpaceId,
    pub(crate) tables: Tables,
    published: RwLock<Arc<Meta>>,
    writer: Arc<Mutex<WriterState>>,
    /// The thread that has the writer lock.
    owner: Mutex<Option<ThreadId>>,
    /// Who is told of each commit. A watcher holds this, and not the space.
    pub(crate) watchers: Arc<Watchers>,
    /// Commits that watchers are to be told of, in their order, as soon as they are durable.
    untold: Mutex<VecDeque<Untold>>,
    /// Who passes on what is committed.
    pub(crate) feeds: Feeds,
    /// Held by who tells, so that two do not swap the order.
    telling: Mutex<()>,
    /// Stamps seen that were beyond the drift limit.
    pub(crate) stamps_ahead: AtomicU64,
    /// What the application has not asked for yet.
    pub(crate) events: Arc<Events>,
    /// How many merges have had a stage in this process: the lane of the next one.
    pub(crate) stages: AtomicU32,
}

impl Space {
    pub(crate) fn open(file: &Arc<File>, name: &str) -> Result<Self> {
        let id = SpaceId::of(name);
        let tables = Tables::of(file.number_of(name, id)?);
        let meta = load_meta(file.backend(), tables)?;
        let watchers = Arc::new(Watchers::new(meta.commit));
        let space = Self {
            file: Arc::clone(file),
            name: name.to_owned(),
            id,
            tables,
            published: RwLock::new(Arc::new(meta)),
            writer: Arc::default(),
            owner: Mutex::new(None),
            watchers,
            untold: Mutex::default(),
            feeds: Feeds::default(),
            telling: Mutex::default(),
            stamps_ahead: AtomicU64::new(0),
            events: file.events_of(name),
            stages: AtomicU32::new(0),
        };
        if !file.settings.read_only {
            stage::erase_leftovers(&space)?;
        }
        Ok(space)
    }

    /// The newest published state of META.
    pub(crate) fn meta(&self) -> Result<Arc<Meta>> {
        self.file.refuse_if_closed()?;
        Ok(Arc::clone(&self.published.read()))
    }

    /// Who writes here; nobody, if the store is read only.
    pub(crate) fn own_id(&self, meta: &Meta) -> Option<ReplicaId> {
        meta.me.filter(|_me| !self.file.settings.read_only).and_then(|me| meta.id(me))
    }

    /// How many replicas were known at the newest commit.
    pub(crate) fn replica_count(&self) -> u32 {
        self.published.read().replica_count()
    }

    /// The newest row at a path.
    pub(crate) fn row(&self, path: &[u8]) -> Result<Row> {
        self.file.refuse_if_closed()?;
        row_at(self.backend(), self.tables, path)
    }

    /// The newest value of a local key.
    pub(crate) fn local(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.file.refuse_if_closed()?;
        Ok(self.backend().get(self.tables.local(), key)?)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.file.backend()
    }

    /// A frozen state: the tables and META of one commit.
    pub(crate) fn view(&self) -> Result<View> {
        match self.published_view()? {
            Some(view) => Ok(view),
            None => self.newest_view(),
        }
    }

    /// As [`view`](Self::view), of commits that [`File::make_durable`] reaches. It may wait for a commit.
    pub(crate) fn counted_view(&self) -> Result<View> {
        match self.published_view()? {
            Some(view) => Ok(view),
            None => self.file.between_commits(|| self.newest_view()),
        }
    }

    /// A state that is published; `None` if it was overtaken by writers too often.
    fn published_view(&self) -> Result<Option<View>> {
        // A commit between the two reads shows in the commit number. Readers so never wait for a writer.
        const TRIES: u32 = 8;
        let tables = self.tables;
        for _ in 0..TRIES {
            let meta = self.meta()?;
            steps::at(Step::MetaRead);
            let read = self.backend().snapshot()?;
            steps::at(Step::SnapshotTaken);
            let commit = match read.get(tables.meta(), Meta::STATE)? {
                Some(state) => Meta::commit_of(&state).map_err(Error::corrupt("META"))?,
                None => 0,
            };
            if commit == meta.commit {
                return Ok(Some(View { read, meta, tables }));
            }
        }
        Ok(None)
    }

    /// The newest state that the backend has. It may not be published yet, nor counted by the file.
    fn newest_view(&self) -> Result<View> {
        let read = self.backend().snapshot()?;
        let meta = Arc::new(load_meta(&*read, self.tables)?);
        Ok(View { read, meta, tables: self.tables })
    }

    /// Waits for the writer lock.
    pub(crate) fn lock(self: &Arc<Self>) -> Result<WriterGuard> {
        if self.file.settings.read_only {
            return Err(Error::ReadOnly);
        }
        let this_thread = std::thread::current().id();
        if *self.owner.lock() == Some(this_thread) {
            return Err(Error::WouldDeadlock);
        }
        let state = self.file.counted_as_waiting(|| Mutex::lock_arc(&self.writer));
        self.file.refuse_if_closed()?;
        *self.owner.lock() = Some(this_thread);
        Ok(WriterGuard { space: Arc::clone(self), state })
    }
}

impl Space {
    /// Tells watchers of a commit, once it is durable. Of the writer that holds the lock.
    fn will_tell(&self, ticket: Ticket, mut changed: Changed, own: Option<Arc<Draft>>) {
        /// Commits that may wait for one fsync with the keys that they changed: the memory for those is bounded.
        const WITH_KEYS_MAX: usize = 256;
        let mut untold = self.untold.lock();
        if untold.len() >= WITH_KEYS_MAX {
            changed.keys = None;
        }
        untold.push_back(Untold { ticket, changed, own });
    }

    /// Tells watchers and feeds of what has become durable, in the order of the commits.
    fn tell(&self) {
        let in_order = self.telling.lock();
        let (mut wakes, mut feeds) = (Vec::new(), Vec::new());
        loop {
            let mut untold = self.untold.lock();
            if !untold.front().is_some_and(|next| self.file.is_settled(next.ticket)) {
                break;
            }
            let Some(Untold { changed, own, .. }) = untold.pop_front() else { break };
            drop(untold);
            wakes.push(self.watchers.notify(&changed));
            feeds.extend(self.feeds.tell(own.as_deref()));
        }
        drop(in_order);
        // Not below a lock: wakers do what they like.
        wakes.into_iter().for_each(Wake::wake);
        feeds.into_iter().for_each(|wake| wake());
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.watchers.end(End::Dropped).wake();
    }
}

/// The right to write to a space.
pub(crate) struct WriterGuard {
    pub(crate) space: Arc<Space>,
    pub(crate) state: ArcMutexGuard<RawMutex, WriterState>,
}

impl WriterGuard {
    /// Applies a commit and shows it to readers. It is acknowledged by [`settle`](Self::settle).
    pub(crate) fn apply(&mut self, commit: Commit, durability: Durability) -> Result<(Arc<Meta>, Ticket)> {
        self.apply_own(commit, durability, |_meta| None)
    }

    /// As [`apply`](Self::apply), of a transaction of this replica's own, which feeds are given.
    pub(crate) fn apply_own(
        &mut self,
        mut commit: Commit,
        durability: Durability,
        draft: impl FnOnce(&Meta) -> Option<Arc<Draft>>,
    ) -> Result<(Arc<Meta>, Ticket)> {
        let space = &self.space;
        retention::ride(space, &mut self.state, &mut commit)?;
        let (writes, meta, changed) = commit.finish();
        steps::at(Step::Applying);
        if mutant::is(Mutant::WatchOutsideCommitOrder) {
            space.watchers.notify(&changed).wake();
        }
        let ticket = space.file.commit(writes, durability).inspect_err(|_failed| {
            // What it erased is not erased: begin again.
            self.state.sweep = None;
            space.file.end_watches_if_closed();
        })?;
        steps::at(Step::Applied);
        let meta = Arc::new(meta);
        *space.published.write() = Arc::clone(&meta);
        steps::at(Step::Published);
        if !mutant::is(Mutant::WatchOutsideCommitOrder) {
            space.will_tell(ticket, changed, draft(&meta));
        }
        Ok((meta, ticket))
    }

    /// Lets other writers in, and waits until a commit is durable.
    pub(crate) fn settle(self, ticket: Ticket) -> Result<()> {
        let space = Arc::clone(&self.space);
        drop(self);
        steps::at(Step::Unlocked);
        space.file.settle(ticket).inspect_err(|_failed| space.file.end_watches_if_closed())?;
        space.tell();
        Ok(())
    }

    /// Applies a commit with the durability of the store, and waits for it.
    pub(crate) fn commit(mut self, commit: Commit) -> Result<Arc<Meta>> {
        let durability = self.space.file.settings.durability;
        let (meta, ticket) = self.apply(commit, durability)?;
        self.settle(ticket)?;
        Ok(meta)
    }

    /// As [`commit`](Self::commit), of a commit that `step` adds to until it says that there is no more. Returns also how many rows
    /// changed.
    pub(crate) fn commit_steps(
        self,
        mut commit: Commit,
        mut step: impl FnMut(&mut Commit) -> Result<bool>,
    ) -> Result<(Arc<Meta>, u64)> {
        while step(&mut commit)? {}
        let rows = commit.rows_changed;
        Ok((self.commit(commit)?, rows))
    }

    /// As [`commit_steps`](Self::commit_steps), of a commit that may be larger than memory. An error of `step`: nothing has changed.
    pub(crate) fn commit_streamed(
        mut self,
        commit: Commit,
        mut step: impl FnMut(&mut Commit) -> Result<bool>,
    ) -> Result<(Arc<Meta>, u64)> {
        /// What rides along is held in memory for a moment, too.
        const RIDES: usize = 4096;
        let space = Arc::clone(&self.space);
        let (state, mut ride) = (&mut *self.state, None::<Ride>);
        let mut writes = Streamed::new(commit, |commit: &mut Commit| {
            if let Some(ride) = &mut ride {
                return ride.slice(&space, state, commit, RIDES);
            }
            if !step(commit)? {
                ride = Some(Ride::on(commit));
            }
            Ok(true)
        });
        let applied = space.file.commit_streamed(&mut writes).and_then(|ticket| Ok((ticket, writes.into_meta()?)));
        let (ticket, (meta, rows, changed)) = applied.inspect_err(|_failed| {
            // As in `apply`.
            self.state.sweep = None;
            space.file.end_watches_if_closed();
        })?;
        let meta = Arc::new(meta);
        *space.published.write() = Arc::clone(&meta);
        space.will_tell(ticket, changed, None);
        self.settle(ticket)?;
        Ok((meta, rows))
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        *self.space.owner.lock() = None;
    }
}

impl fmt::Debug for WriterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterGuard").field("space", &self.space.name).finish_non_exhaustive()
    }
}

/// A frozen state of a space.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) read: Arc<dyn Read>,
    pub(crate) meta: Arc<Meta>,
    pub(crate) tables: Tables,
}

impl View {
    pub(crate) fn row(&self, path: &[u8]) -> Result<Row> {
        row_at(&*self.read, self.tables, path)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("commit", &self.meta.commit).finish_non_exhaustive()
    }
}

fn load_meta(read: &(impl Read + ?Sized), tables: Tables) -> Result<Meta> {
    let state = read.get(tables.meta(), Meta::STATE)?;
    let (from, to) = Meta::REPLICAS;
    let replicas = read.range(tables.meta(), (Bound::Included(from), Bound::Excluded(to)))?;
    Meta::decode(state.as_deref(), replicas.map(|row| Ok(row?)))
}

/// The row at a path; empty if there is none.
pub(crate) fn row_at(read: &(impl Read + ?Sized), tables: Tables, path: &[u8]) -> Result<Row> {
    match read.get(tables.rows(), path)? {
        Some(bytes) => decode_row(&bytes),
        None => Ok(Row::default()),
    }
}

pub(crate) fn decode_row(bytes: &Bytes) -> Result<Row> {
    Row::decode(bytes).map_err(|error: DecodeError| Error::corrupt("ROWS")(error))
}
