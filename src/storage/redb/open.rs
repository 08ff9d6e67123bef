//! How a file is opened, and why it could not be.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use ::redb::backends::FileBackend;
use ::redb::{Database, DatabaseError, StorageBackend, StorageError};

use super::sealed::{self, Sealed};
use super::{Handle, Redb, caught};

/// How a file is opened: from [`Redb::options`].
#[derive(Debug, Clone, Copy)]
#[must_use = "options do nothing until a file is opened with them"]
pub struct RedbOptions {
    cache_bytes: usize,
}

impl RedbOptions {
    /// The memory of a cache if none is asked for: 64 MiB.
    pub const CACHE_BYTES: usize = 64 << 20;

    /// How many bytes of pages are kept in memory, at most. Up to half of them are pages that were written and are not in the
    /// file yet: a commit that is larger goes to the file as it grows. Besides, a commit takes about 20 bytes of memory for
    /// each page (4 KiB) that it writes, until it ends.
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Opens a file, or makes one. After a crash, redb first repairs it, which reads it all.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the file and what to do.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Redb, OpenError> {
        let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = caught(|| FileBackend::new(options().map_err(StorageError::Io)?))?;
        self.with_backend(file)
    }

    /// Opens what a disk of the caller's own holds, or makes a store in it if it is empty. For tests whose disk loses power.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the disk's contents and what to do.
    pub fn with_backend(self, disk: impl StorageBackend) -> Result<Redb, OpenError> {
        let disk = Sealed::new(disk);
        let mut builder = self.builder();
        let repaired = disk.clone();
        builder.set_repair_callback(move |_session| repaired.repairs());
        let database = opened(&disk, || builder.create_with_backend(disk.clone()))?;
        Ok(Redb::new(Handle::Writing(database), disk.first_failure()))
    }

    /// Opens a file for reading alone. Any number of processes may, while none has it open for writing.
    ///
    /// # Errors
    /// [`OpenError`] says what happened to the file and what to do.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Redb, OpenError> {
        let options = || OpenOptions::new().read(true).open(path);
        let file = caught(|| FileBackend::new(options().map_err(StorageError::Io)?))?;
        let disk = Sealed::read_only(file);
        let database = opened(&disk, || self.builder().open_read_only_with_backend(disk.clone()))?;
        Ok(Redb::new(Handle::Reading(database), disk.first_failure()))
    }

    fn builder(self) -> ::redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: Self::CACHE_BYTES }
    }
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process or another store in this one has the file open. It was not touched: close the other one, or read
    /// through it.
    #[error("the store is open already")]
    Locked {
        /// What redb said.
        source: DatabaseError,
    },
    /// The file was not closed well, and was to be opened for reading only. It was not touched: open it for writing once, which repairs
    /// it.
    #[error("the file was not closed well: open it for writing once, which repairs it")]
    NotClosed {
        /// What redb said.
        source: DatabaseError,
    },
    /// An older redb wrote the file, in a format that this one does not read. It was not touched: open it once with
    /// the release of tombolo that wrote it, and export it from there.
    #[error(
        "the file has the older redb format {format}: open it once with the release that wrote it, and export it from there"
    )]
    UpgradeRequired {
        /// The version of the format in the file.
        format: u8,
        /// What redb said.
        source: DatabaseError,
    },
    /// A newer version of tombolo wrote the file, in a form that this one does not read. It was not touched: update the
    /// application.
    #[error("the file has form {format} of its checksums, which this version does not know")]
    NewerFormat {
        /// The version of the form in the file.
        format: u8,
        /// What redb said.
        source: DatabaseError,
    },
    /// The file is not a store, or no state in it is whole. What is left was not changed, but for a repair that may have begun:
    /// restore a backup, or remove the file and fetch everything from a peer.
    #[error("the file is damaged, or is no store: {source}")]
    Damaged {
        /// What redb said.
        source: DatabaseError,
    },
    /// The file could not be read or written. Its last synced commit is as safe as before: mend the cause (permissions,
    /// space, the disk) and open it again.
    #[error("the file could not be opened: {source}")]
    Io {
        /// What redb said.
        source: DatabaseError,
    },
}

impl OpenError {
    /// The newest form of a file that can be read.
    pub(crate) const FORMAT: u64 = sealed::FORMAT as u64;
}

impl From<DatabaseError> for OpenError {
    fn from(source: DatabaseError) -> Self {
        match source {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::Locked { source },
            DatabaseError::UpgradeRequired(format) => Self::UpgradeRequired { format, source },
            DatabaseError::RepairAborted | DatabaseError::Storage(StorageError::Corrupted(_)) => Self::Damaged { source },
            DatabaseError::Storage(StorageError::Io(ref cause))
                if matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged { source }
            }
            DatabaseError::TransactionInProgress | DatabaseError::Storage(_) | _ => Self::Io { source },
        }
    }
}

impl From<OpenError> for io::Error {
    /// Keeps the error as the source, with a kind that says which one it is.
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::Locked { .. } => io::ErrorKind::ResourceBusy,
            OpenError::NotClosed { .. } => io::ErrorKind::ReadOnlyFilesystem,
            OpenError::UpgradeRequired { .. } | OpenError::NewerFormat { .. } => io::ErrorKind::Unsupported,
            OpenError::Damaged { .. } => io::ErrorKind::InvalidData,
            OpenError::Io { source: DatabaseError::Storage(StorageError::Io(cause)) } => cause.kind(),
            OpenError::Io { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn opened<B: StorageBackend, T>(disk: &Sealed<B>, open: impl FnOnce() -> Result<T, DatabaseError>) -> Result<T, OpenError> {
    let database = caught(open).map_err(|source| match (disk.newer(), source) {
        (Some(format), source) => OpenError::NewerFormat { format, source },
        // Only one that may not be changed is not repaired.
        (None, source @ DatabaseError::RepairAborted) => OpenError::NotClosed { source },
        (None, source) => source.into(),
    })?;
    disk.opened().map_err(|error| DatabaseError::Storage(StorageError::Io(error)))?;
    Ok(database)
}
