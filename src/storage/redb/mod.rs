//! A backend in one file, by [redb](https://docs.rs/redb): copy-on-write B-trees, checksummed pages, atomic commits.
//!
//! ```text
//! TableId(7)                   redb table "rows-7":  key -> value
//! LogId { table: 3, lane: 5 }  redb table "log-3":   lane, number (4 + 8 bytes, big-endian) -> value
//!
//! get, range, at, entries ──▶ view: one read transaction and the tables that were opened in it
//! snapshot() ───────────────▶ the same view, kept          dropped by the next commit, after its fsync
//! ```
//!
//! So a read neither begins a transaction nor opens a table, and no read waits for a commit: the view is replaced once the
//! bytes are down.
//!
//! Between redb and the file, [`sealed`] keeps a checksum for each block.

mod open;
mod sealed;
mod tables;
mod upkeep;
mod view;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::redb::{
    Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageBackend, StorageError, TransactionError,
    WriteTransaction,
};
use bytes::Bytes;
use parking_lot::RwLock;

pub use self::open::{OpenError, RedbOptions};
use self::sealed::FirstFailure;
use self::tables::Tables;
use self::view::View;
use super::{Backend, Entries, KeyRange, LogId, Read, Rows, TableId, Usage, Write};

/// A backend in one redb file. Only one process, and one `Redb` in it, can have a file open.
///
/// A `sync` commit is one fsync; the others are visible at once and durable with the next one that is. A snapshot keeps the
/// file open, and keeps the pages that it sees from being used again: drop it, or the file grows.
///
/// Each block of the file has a checksum, which is verified when the block is read. So what the medium has changed is an error,
/// and never other rows or missing ones; an open file that has met one refuses further work.
///
/// After an error of the medium redb refuses further work: drop the backend and every snapshot of it, and open it again.
pub struct Redb {
    shared: Arc<Shared>,
}

impl Redb {
    /// Opens a file, or makes one. After a crash, redb first repairs it, which reads it all.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the file and what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// How to open a file otherwise.
    pub fn options() -> RedbOptions {
        RedbOptions::default()
    }

    /// Opens what a disk of the caller's own holds, or makes a store in it if it is empty. For tests whose disk loses power.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the disk's contents and what to do.
    pub fn with_backend(disk: impl StorageBackend) -> Result<Self, OpenError> {
        Self::options().with_backend(disk)
    }

    /// Opens a file for reading alone. Any number of processes may, while none has it open for writing.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the file and what to do.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open_read_only(path)
    }

    fn new(database: Handle, first: FirstFailure) -> Self {
        let shared = Shared { view: RwLock::new(None), database: RwLock::new(database), first };
        Self { shared: Arc::new(shared) }
    }
}

impl Backend for Redb {
    fn usage(&self) -> io::Result<Option<Usage>> {
        upkeep::usage(&self.shared)
    }

    fn compact(&self) -> io::Result<()> {
        upkeep::compact(&self.shared)
    }

    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        let view = self.shared.view()?;
        Ok(Arc::new(Snapshot { view, _open: Arc::clone(&self.shared) }))
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        self.commit_from(&mut writes.into_iter().map(Ok), sync)
    }

    fn commit_from(&self, writes: &mut dyn Iterator<Item = io::Result<Write>>, sync: bool) -> io::Result<()> {
        let durability = if sync { Durability::Immediate } else { Durability::None };
        let transaction = caught(|| -> Result<WriteTransaction, ::redb::Error> {
            let mut transaction = self.shared.database.read().begin_write()?;
            transaction.set_durability(durability)?;
            Ok(transaction)
        })
        .map_err(|error| self.shared.to_io(error))?;
        let mut tables = Tables::of(&transaction);
        let applied = tables.apply_all(writes, &self.shared);
        let closed = caught(|| -> Result<(), ::redb::Error> {
            drop(tables);
            Ok(())
        });
        match applied.and_then(|()| closed.map_err(|error| self.shared.to_io(error))) {
            Ok(()) => caught(|| transaction.commit()).map_err(|error| self.shared.to_io(error))?,
            Err(error) => {
                // The first error says what went wrong; and a transaction that is not committed changes nothing.
                let _aborted = caught(|| transaction.abort());
                return Err(error);
            }
        }
        // Only now, and not under the lock for long: readers went on with the old view through the fsync.
        let old = self.shared.view.write().take();
        drop(old);
        Ok(())
    }
}

impl Read for Redb {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.shared.view()?.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.shared.view()?.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.shared.view()?.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.shared.view()?.entries(log, numbers)
    }
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb").finish_non_exhaustive()
    }
}

struct Shared {
    /// The newest state as readers see it; `None` from a commit to the next read. Declared before the database, since redb
    /// wants its transactions to end first. Whoever locks both locks this one first.
    view: RwLock<Option<Arc<View>>>,
    /// Locked for a change only to compact it.
    database: RwLock<Handle>,
    first: FirstFailure,
}

/// A database, as it was opened.
enum Handle {
    Writing(Database),
    Reading(ReadOnlyDatabase),
}

impl Handle {
    fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        match self {
            Self::Writing(database) => database.begin_read(),
            Self::Reading(database) => database.begin_read(),
        }
    }

    fn begin_write(&self) -> Result<WriteTransaction, ::redb::Error> {
        match self {
            Self::Writing(database) => Ok(database.begin_write()?),
            Self::Reading(_) => Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into()),
        }
    }
}

impl Shared {
    /// redb says of all that comes after a failure of the medium only that there was one.
    fn to_io(&self, error: impl Into<::redb::Error>) -> io::Error {
        match (error.into(), self.first.get()) {
            (::redb::Error::PreviousIo, Some((kind, said))) => io::Error::new(*kind, format!("failed before: {said}")),
            (error, _) => to_io(error),
        }
    }

    fn view(&self) -> io::Result<Arc<View>> {
        if let Some(view) = &*self.view.read() {
            return Ok(Arc::clone(view));
        }
        let mut slot = self.view.write();
        if let Some(view) = &*slot {
            return Ok(Arc::clone(view));
        }
        // Under the lock: a commit that ends after this takes the view away again, so no old one can stay.
        let view = Arc::new(View::new(caught(|| self.database.read().begin_read()).map_err(to_io)?));
        *slot = Some(Arc::clone(&view));
        Ok(view)
    }
}

/// A view that outlives the next commits.
struct Snapshot {
    view: Arc<View>,
    /// A closed database fails its read transactions.
    _open: Arc<Shared>,
}

impl Read for Snapshot {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.view.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.view.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.view.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.view.entries(log, numbers)
    }
}

/// Calls into redb. It trusts the pages of a file that was closed well, and panics on one that was damaged since: here that
/// is an error like any other.
fn caught<T, E: From<StorageError>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What a panic leaves half done is redb's own state, and redb refuses to go on with it.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("redb panicked").to_owned();
        Err(StorageError::Corrupted(said).into())
    })
}

fn to_io(error: impl Into<::redb::Error>) -> io::Error {
    let error = error.into();
    if let ::redb::Error::Io(error) = error {
        return error;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb has dozens, and a kind is a hint")]
    let kind = match &error {
        ::redb::Error::Corrupted(_) => io::ErrorKind::InvalidData,
        ::redb::Error::TransactionInProgress => io::ErrorKind::ResourceBusy,
        _other => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests;
