//! What can go wrong with a store, and what it did to the state.

use std::io;

use crate::causal::VersionVector;
use crate::codec::DecodeError;
use crate::codec::key::KeyBuf;

use super::SpaceId;

/// The result of a store operation.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, and what it did to the state. Unless a variant says otherwise, the state is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A delta or transaction of another space. Nothing was merged.
    #[error("this is space {ours}, the delta is of space {theirs}: only stores of one space merge")]
    WrongSpace {
        /// The space of this store.
        ours: SpaceId,
        /// The space of the delta.
        theirs: SpaceId,
    },
    /// A delta that starts after what this store has. Nothing was merged: ask for a delta since [`Store::version`].
    ///
    /// [`Store::version`]: super::Store::version
    #[error("the delta starts beyond what this store has: ask for a delta since this store's version")]
    Behind {
        /// What a store must have before it can merge the delta.
        need: VersionVector,
    },
    /// A stored value is not of the type that it was read as. It stays stored; other keys read as before.
    #[error("the value at {key} cannot be read as the type asked for: {source}")]
    Decode {
        /// The key.
        key: KeyBuf,
        /// What the decoder says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value cannot be written as MessagePack. Nothing was written.
    #[error("the value for {key} cannot be encoded: {source}")]
    Encode {
        /// The key.
        key: KeyBuf,
        /// What the encoder says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Bytes from outside that are no delta and no transaction. Nothing was merged.
    #[error("malformed input: {what} (at byte {at})")]
    Malformed {
        /// The offset in the input, in bytes.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// What the file holds is damaged. The call did nothing; other rows read as before.
    #[error("the store's {table} is damaged: {source}")]
    Corrupt {
        /// Which part of the store.
        table: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The file is damaged, or is no store. It was not changed, but for a repair that may have begun: restore a backup, or remove
    /// the file and fetch everything from a peer. If a store was open, it cannot be used further.
    #[error("{source}: restore a backup, or remove the file and sync from a peer")]
    Damaged {
        /// What the backend says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is of a newer version of tombolo. It was not touched: update the application.
    #[error("the file has format version {found}, this tombolo reads up to {supported}: update the application")]
    NewerFormat {
        /// The version of the file.
        found: u64,
        /// The newest version that can be read.
        supported: u64,
    },
    /// Above a limit. Nothing was written.
    #[error("{} of {is} {} is above the limit of {cap}", what.words().0, what.words().1)]
    TooLarge {
        /// What is too large.
        what: Limit,
        /// How large it is.
        is: u64,
        /// How large it may be.
        cap: u64,
    },
    /// A sum above what it can hold. Nothing was added.
    #[error("the counter at {key} cannot hold the sum: one replica's part is limited to 64 bits")]
    Overflow {
        /// The key.
        key: KeyBuf,
    },
    /// What was asked for makes no sense. Nothing was done.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The store was opened for reading only. Nothing was written.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// This thread is in a transaction of this space already, and would wait for itself. Nothing was done: use the handles
    /// of the transaction, or end it first.
    #[error("this thread has a transaction open in this space already: use its handles, or end it first")]
    WouldDeadlock,
    /// Another process, or another part of this one, has the file open. It was not touched.
    #[error("the file is open already, here or in another process")]
    Locked,
    /// The store was closed by an error before. Nothing was done: reopen it.
    #[error("the store was closed by an earlier failure: reopen it")]
    Closed,
    /// A commit could not be made durable. It may or may not survive a crash; the store refuses everything further until it is
    /// reopened.
    #[error("a commit could not be made durable, and the store is closed: {source}")]
    SyncFailed {
        /// What the medium says.
        source: io::Error,
    },
    /// What a delta was read from, or written to, failed. Nothing was merged; part of the delta may have been written.
    #[error("the delta could not be read or written: {source}")]
    Transfer {
        /// What the reader or the writer says.
        source: io::Error,
    },
    /// The medium failed. Nothing was written.
    #[error("the store could not be read or written: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        // What a backend says of bytes that are not those that it wrote.
        if error.kind() == io::ErrorKind::InvalidData { Self::Damaged { source: Box::new(error) } } else { Self::Io(error) }
    }
}

#[cfg(feature = "redb")]
impl From<crate::storage::OpenError> for Error {
    fn from(error: crate::storage::OpenError) -> Self {
        use crate::storage::OpenError;
        match error {
            OpenError::Locked { .. } => Self::Locked,
            OpenError::Damaged { .. } => Self::Damaged { source: Box::new(error) },
            OpenError::NewerFormat { format, .. } => Self::NewerFormat { found: format.into(), supported: OpenError::FORMAT },
            OpenError::NotClosed { .. } | OpenError::UpgradeRequired { .. } | OpenError::Io { .. } => Self::Io(error.into()),
        }
    }
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// A key with its fields and element, encoded, in bytes.
    Key,
    /// A value, encoded, in bytes.
    Value,
    /// The rows of one transaction.
    Rows,
    /// The events of one replica.
    Events,
    /// The replicas of a space.
    Replicas,
}

impl Limit {
    /// What is limited, and in what.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Key => ("a key", "bytes"),
            Self::Value => ("a value", "bytes"),
            Self::Rows => ("a transaction", "rows"),
            Self::Events => ("a replica", "events"),
            Self::Replicas => ("a space", "replicas"),
        }
    }
}

impl Error {
    /// Bytes from outside that are not what they should be.
    pub(crate) fn malformed(error: DecodeError) -> Self {
        Self::Malformed { at: error.at, what: error.what }
    }

    /// A reader or a writer of the caller that failed.
    pub(crate) const fn transfer(source: io::Error) -> Self {
        Self::Transfer { source }
    }

    /// Bytes of the file that are not what they should be.
    pub(crate) fn corrupt(table: &'static str) -> impl Fn(DecodeError) -> Self {
        move |source| Self::Corrupt { table, source }
    }
}
