//! Where bytes are kept: two shapes of table, one atomic commit, snapshots for readers.
//!
//! A store keeps *ordered* tables (a key has a value, keys come in byte order) and *logs* (a number has a value, numbers
//! come in order and usually grow). Both hold shared bytes. A [`Backend`] knows nothing of what they mean.
//!
//! ```text
//!            commit(writes)                 one writer at a time (the store's lock)
//!   store ───────────────────▶ Backend ──▶ newest state   ◀── Read on the backend itself
//!                                  │
//!                                  └──▶ snapshot() ──▶ Read on a frozen state; never blocks, never blocks a commit
//! ```
//!
//! To keep a store somewhere else, implement [`Read`] and [`Backend`] and run [`conformance()`]: `examples/custom_backend.rs`.

mod conformance;
mod memory;
mod range;
#[cfg(feature = "redb")]
mod redb;

use core::ops::{Bound, RangeInclusive};
use std::io;
use std::sync::Arc;

pub use bytes::Bytes;
pub use conformance::{conformance, conformance_durable};
pub use memory::Memory;

#[cfg(feature = "redb")]
pub use self::redb::{OpenError, Redb, RedbOptions};

/// The number of an ordered table. A table exists as soon as something is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// The number of a log: a table, and a lane in it (the store has a lane for each replica).
///
/// Tables of logs and ordered tables are numbered apart: `LogId { table: 3, .. }` and `TableId(3)` do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The table.
    pub table: u32,
    /// The lane in the table.
    pub lane: u32,
}

/// One change within a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key.
    Put {
        /// The table to write to.
        table: TableId,
        /// The key: any bytes, up to 4 KiB.
        key: Bytes,
        /// The value: any bytes, up to 64 MiB.
        value: Bytes,
    },
    /// Removes a key. Absent already: no change.
    Remove {
        /// The table to remove from.
        table: TableId,
        /// The key.
        key: Bytes,
    },
    /// Sets the value of a number in a log.
    Append {
        /// The log to write to.
        log: LogId,
        /// The number; mostly the next one, but any is allowed.
        number: u64,
        /// The value.
        value: Bytes,
    },
    /// Removes a number from a log. Absent already: no change.
    Erase {
        /// The log to remove from.
        log: LogId,
        /// The number.
        number: u64,
    },
}

/// The two ends of a range of keys.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Keys with their values, in byte order; from the back in reverse.
pub type Rows<'a> = Box<dyn DoubleEndedIterator<Item = io::Result<(Bytes, Bytes)>> + 'a>;

/// Numbers with their values, in order; from the back in reverse.
pub type Entries<'a> = Box<dyn DoubleEndedIterator<Item = io::Result<(u64, Bytes)>> + 'a>;

/// Reads one state. A table or log that was never written reads as empty.
pub trait Read: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// What the medium says.
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// The keys of a range, in byte order. A range whose start is above its end is empty.
    ///
    /// # Errors
    /// What the medium says.
    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>>;

    /// The value of a number in a log.
    ///
    /// # Errors
    /// What the medium says.
    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>>;

    /// The numbers of a range that have a value, in order. An empty range (`5..=4`) gives nothing.
    ///
    /// # Errors
    /// What the medium says.
    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>>;
}

/// How much room a state takes on its medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// All of it, in bytes.
    pub bytes: u64,
    /// What [`Backend::compact`] could about give back, in bytes.
    pub reclaimable: u64,
}

impl Usage {
    /// How much there is, and how much of it is free.
    #[must_use]
    pub const fn new(bytes: u64, reclaimable: u64) -> Self {
        Self { bytes, reclaimable }
    }
}

/// Keeps tables of bytes. Reading the backend itself reads the newest commit; an iterator over it shows one state only
/// (that of its creation), or may be implemented on a snapshot.
///
/// The caller never has two commits under way at once; snapshots and reads may come from any thread at any time.
pub trait Backend: Read + 'static {
    /// The newest committed state, frozen. Cost: independent of the size of the state, and so is the cost of holding it
    /// while commits go on (each commit may copy what it touches, never the whole).
    ///
    /// # Errors
    /// What the medium says.
    fn snapshot(&self) -> io::Result<Arc<dyn Read>>;

    /// How much room the state takes on the medium; `None` if that cannot be told. Cost: may read everything. No commit is under
    /// way.
    ///
    /// # Errors
    /// What the medium says.
    fn usage(&self) -> io::Result<Option<Usage>> {
        Ok(None)
    }

    /// Gives room back that is not used any more, if the medium does not do that by itself. No commit is under way.
    ///
    /// # Errors
    /// What the medium says; [`io::ErrorKind::ResourceBusy`] if snapshots are held that are in the way. The state is as before.
    fn compact(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether erasing numbers of a log here and there costs about as much as appending to it. If not, the store erases late,
    /// and many neighbours at a time: on a disk each one would rewrite a page.
    fn erases_cheaply(&self) -> bool {
        false
    }

    /// Applies all writes, in order, or none of them; later writes of one commit win over earlier ones. With `sync`, the
    /// commit and every one before it survives a crash once this returns. Without, it survives together with the next
    /// commit that has it, or not at all.
    ///
    /// # Errors
    /// What the medium says. Without `sync` nothing has changed. With `sync` the state after an error is what the medium
    /// has: reopen it before going on.
    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()>;

    /// As [`commit`](Self::commit), with writes that are made while they are taken: a commit may so be larger than memory. The
    /// iterator may read this backend, which shows it the state before the commit. It is not asked again after an error.
    ///
    /// As provided, it collects the writes: enough where everything is in memory anyway.
    ///
    /// # Errors
    /// The first error of the iterator, as it is: nothing has changed, and the backend goes on, with `sync` too. Otherwise as
    /// [`commit`](Self::commit).
    fn commit_from(&self, writes: &mut dyn Iterator<Item = io::Result<Write>>, sync: bool) -> io::Result<()> {
        self.commit(writes.collect::<io::Result<_>>()?, sync)
    }
}
