//! Which keys have changed: since a version, and from now on.
//!
//! ```text
//!                       ┌─ since a version ── EVENTS above it ──────────────────────┐
//!  index, export, view ─┤                                                           ├─▶ Changes: a snapshot, and the keys
//!                       └─ from now on ────── what commits tell (registry.rs) ──────┘            that differ in it
//! ```
//!
//! **The keys of a batch are all that may differ between its snapshot and the one before.** So whoever reads them from the
//! snapshot is where the snapshot is, and may go on from [`Snapshot::version`] after a restart. A batch may name a key that reads as
//! before; it never leaves out one that does not.

mod changes;
mod collect;
mod pending;
mod registry;
#[cfg(test)]
mod tests;
mod watcher;

use super::snapshot::Snapshot;
use crate::causal::ReplicaId;
use crate::codec::key::KeyBuf;

pub(crate) use changes::changes_since;
pub(crate) use collect::{Changed, Collector};
pub(crate) use registry::{End, Wake, Watchers};
pub use watcher::Watch;

/// What has changed: from [`Store::watch`](super::Store::watch) and [`Store::changes_since`](super::Store::changes_since).
#[derive(Debug, Clone)]
pub enum Changes {
    /// These keys have, and no others.
    Since {
        /// The store with the changes. Read the keys here: the store itself may have gone on.
        snapshot: Snapshot,
        /// Sorted, each key once.
        keys: Vec<Change>,
    },
    /// Anything may have: start over from all that is there.
    All {
        /// The store with the changes.
        snapshot: Snapshot,
    },
}

impl Changes {
    /// The store with the changes.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        match self {
            Self::Since { snapshot, .. } | Self::All { snapshot } => snapshot,
        }
    }

    /// The keys that have changed; `None`: anything may have.
    #[must_use]
    pub fn keys(&self) -> Option<&[Change]> {
        match self {
            Self::Since { keys, .. } => Some(keys),
            Self::All { .. } => None,
        }
    }
}

/// A key that has changed: something under it was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The key.
    pub key: KeyBuf,
    /// Who changed it; `None` if several did, or if it cannot be told. Who was written over before anybody looked does not count.
    pub by: Option<ReplicaId>,
    /// Whether a row that changed holds concurrent writes of which only one is shown: as in
    /// [`Merged::conflicts`](super::Merged::conflicts).
    pub conflict: bool,
}
