//! The inside of a store: one space of one file, its writer lock, and what readers see.
//!
//! ```text
//!  writers ── writer lock ──▶ Commit ──▶ backend.commit ──▶ publish(meta)
//!                                                              │
//!  readers ── snapshot of the backend + the meta of the same commit ◀─┘      never wait for a writer
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::ThreadId;

use bytes::Bytes;
use parking_lot::{ArcMutexGuard, Mutex, RawMutex, RwLock};
use uuid::Uuid;

use crate::codec::{DecodeError, Reader, Writer};
use crate::storage::{Backend, Read, Write};

use super::commit::Commit;
use super::error::{Error, Result};
use super::meta::{FORMAT, Meta, Tables};
use super::options::Settings;
use super::row::Row;

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

/// One open file: a backend, and the spaces in it that are in use.
pub(crate) struct File {
    backend: Box<dyn Backend>,
    pub(crate) settings: Settings,
    /// The spaces in use. Each has one [`Space`], since that holds the writer lock.
    spaces: Mutex<BTreeMap<String, Weak<Space>>>,
    /// Held during a commit: a backend takes one at a time, and each space has a writer of its own.
    committing: Mutex<()>,
    /// A commit failed halfway: the medium knows more than this process.
    closed: AtomicBool,
}

impl File {
    const FORMAT_KEY: &'static [u8] = b"f";

    /// Opens what is on a backend, or prepares an empty one.
    pub(crate) fn open(backend: Box<dyn Backend>, settings: Settings) -> Result<Arc<Self>> {
        match backend.get(Tables::FILE, Self::FORMAT_KEY)? {
            Some(bytes) => {
                let found = Reader::new(&bytes).u64().map_err(Error::corrupt("format version"))?;
                if found > FORMAT {
                    return Err(Error::NewerFormat { found, supported: FORMAT });
                }
            }
            None => {
                let mut version = Writer::new();
                version.u64(FORMAT);
                let key = Bytes::from_static(Self::FORMAT_KEY);
                let value = Bytes::from(version.into_vec());
                backend.commit(vec![Write::Put { table: Tables::FILE, key, value }], true)?;
            }
        }
        let (spaces, committing, closed) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Ok(Arc::new(Self { backend, settings, spaces, committing, closed }))
    }

    /// The space with a name, made if it is new.
    pub(crate) fn space(self: &Arc<Self>, name: &str) -> Result<Arc<Space>> {
        self.refuse_if_closed()?;
        let mut spaces = self.spaces.lock();
        if let Some(space) = spaces.get(name).and_then(Weak::upgrade) {
            return Ok(space);
        }
        let space = Arc::new(Space::open(self, name)?);
        spaces.insert(name.to_owned(), Arc::downgrade(&space));
        Ok(space)
    }

    fn refuse_if_closed(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// The number of the space with a name.
    fn number_of(&self, name: &str, id: SpaceId) -> Result<u32> {
        const NAME: &[u8] = b"n";
        if name.len() > 256 {
            return Err(Error::Refused("the name of a space is longer than 256 bytes"));
        }
        let key = Bytes::from([NAME, name.as_bytes()].concat());
        if let Some(value) = self.backend.get(Tables::FILE, &key)? {
            let (number, found) = decode_space(&value)?;
            if found != id {
                return Err(Error::corrupt("list of spaces")(DecodeError::new(0, "a space with the id of another")));
            }
            return Ok(number);
        }
        let names = self.backend.range(Tables::FILE, (Bound::Included(NAME), Bound::Excluded(b"o")))?;
        let mut highest = 0;
        for space in names {
            highest = highest.max(decode_space(&space?.1)?.0);
        }
        let number = highest + 1;
        if number > Tables::SPACES_MAX {
            return Err(Error::Refused("the file has as many spaces as it can hold"));
        }
        let mut to = Writer::new();
        to.u64(u64::from(number));
        to.raw(&id.to_bytes());
        let value = Bytes::from(to.into_vec());
        self.commit(vec![Write::Put { table: Tables::FILE, key, value }])?;
        Ok(number)
    }

    /// Makes a commit durable, or closes the file.
    fn commit(&self, writes: Vec<Write>) -> Result<()> {
        let _one_at_a_time = self.committing.lock();
        self.refuse_if_closed()?;
        self.backend.commit(writes, true).map_err(|source| {
            // What the medium has is unknown, and a second fsync could report success for pages that are lost already.
            self.closed.store(true, Ordering::Release);
            Error::SyncFailed { source }
        })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What only a writer touches.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    /// The vector right after this replica's last transaction in this process: a pushed transaction depends on what came
    /// since.
    pub(crate) last_own: Option<Arc<Meta>>,
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
    /// Stamps seen that were beyond the drift limit.
    pub(crate) stamps_ahead: AtomicU64,
}

impl Space {
    fn open(file: &Arc<File>, name: &str) -> Result<Self> {
        let id = SpaceId::of(name);
        let tables = Tables::of(file.number_of(name, id)?);
        let meta = load_meta(&*file.backend, tables)?;
        Ok(Self {
            file: Arc::clone(file),
            name: name.to_owned(),
            id,
            tables,
            published: RwLock::new(Arc::new(meta)),
            writer: Arc::default(),
            owner: Mutex::new(None),
            stamps_ahead: AtomicU64::new(0),
        })
    }

    /// The newest published state of META.
    pub(crate) fn meta(&self) -> Result<Arc<Meta>> {
        self.file.refuse_if_closed()?;
        Ok(Arc::clone(&self.published.read()))
    }

    /// The newest row at a path.
    pub(crate) fn row(&self, path: &[u8]) -> Result<Row> {
        self.file.refuse_if_closed()?;
        row_at(self.backend(), self.tables, path)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.file.backend
    }

    /// A frozen state: the tables and META of one commit.
    pub(crate) fn view(&self) -> Result<View> {
        // A commit between the two reads shows in the commit number. Readers so never wait for a writer.
        const TRIES: u32 = 8;
        let tables = self.tables;
        for _ in 0..TRIES {
            let meta = self.meta()?;
            let read = self.backend().snapshot()?;
            let commit = match read.get(tables.meta(), Meta::STATE)? {
                Some(state) => Meta::commit_of(&state).map_err(Error::corrupt("META"))?,
                None => 0,
            };
            if commit == meta.commit {
                return Ok(View { read, meta, tables });
            }
        }
        let read = self.backend().snapshot()?;
        let meta = Arc::new(load_meta(&*read, tables)?);
        Ok(View { read, meta, tables })
    }

    /// Waits for the writer lock.
    pub(crate) fn lock(self: &Arc<Self>) -> Result<WriterGuard> {
        let this_thread = std::thread::current().id();
        if *self.owner.lock() == Some(this_thread) {
            return Err(Error::WouldDeadlock);
        }
        let state = Mutex::lock_arc(&self.writer);
        self.file.refuse_if_closed()?;
        *self.owner.lock() = Some(this_thread);
        Ok(WriterGuard { space: Arc::clone(self), state })
    }
}

/// The right to write to a space.
pub(crate) struct WriterGuard {
    pub(crate) space: Arc<Space>,
    pub(crate) state: ArcMutexGuard<RawMutex, WriterState>,
}

impl WriterGuard {
    /// Makes a commit durable and shows it to readers.
    pub(crate) fn commit(&self, commit: Commit) -> Result<Arc<Meta>> {
        let (writes, meta) = commit.finish();
        let space = &self.space;
        space.file.commit(writes)?;
        let meta = Arc::new(meta);
        *space.published.write() = Arc::clone(&meta);
        Ok(meta)
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
