//! The bytes of a delta: what one store has that another does not.
//!
//! ```text
//! delta   := frame(1, head ++ item*), frame(2, item*)*          the last item of the last frame is END
//! head    := space (16), flags, digest (16), count, replica*    sorted by id; the digest is that of the sender's state
//! replica := id (16), base, version, [floor, if flag FLOOR], count, point*
//! point   := seq, less the one before; hash (8)                 neighbours in the replica's history, from the base on
//! item    := ROW  shared, suffix, MORE | LAST, count, entry*, count, dot*: deletes
//!          | CONT MORE | LAST, count, entry*, count, dot*       more of a row that is larger than a frame should be
//!          | LIVE replica, count, run*                          only with flag FLOOR, behind all rows
//!          | END
//! entry   := dot, [length, payload, if the dot is above base]
//! dot     := replica (its place in the head), seq
//! run     := (gap - 1) << 1 | more, [more - 1]                  live numbers, from the last one on
//! ```
//!
//! A run lists numbers up to the base. Where the receiver is known to have the same live numbers (`live.rs`), it covers whole pages, with
//! what is dead in both: of a run's numbers, those that live in the state of the base live at the sender, too.
//!
//! Rows are sorted by path, and each is the *complete* image of its path: a replica that has a dot of it which is not in the
//! image, and which the sender has seen, drops it. Part of a row, or part of a store, under the whole vector would lose data.

mod frames;
mod read;
mod write;

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{ReplicaId, VersionVector};

use super::digest::Digest;
use super::identity::{Claim, Points};
use super::meta::Meta;
use super::path::Parsed;
use super::space::SpaceId;

pub(crate) use frames::{Frames, Owned, SliceFrames, StreamFrames};
pub(crate) use read::DeltaReader;
pub(crate) use write::{DeltaWriter, Written};

const FRAME_FIRST: u8 = 1;
const FRAME_NEXT: u8 = 2;

const FLAG_FLOOR: u8 = 1;

const ITEM_END: u8 = 0;
const ITEM_ROW: u8 = 1;
const ITEM_CONT: u8 = 2;
const ITEM_LIVE: u8 = 3;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// Frames are cut when they reach this many bytes; a payload on top of it stays far below the limit of a frame. A little less
/// than 256 KiB, so that a backend whose pages are powers of two wastes nothing on a frame that is staged.
const FRAME_CUT: usize = 240 << 10;

/// What one store has that another does not, from [`Store::delta_since`](super::Store::delta_since): bytes, to be carried by
/// anything and merged any number of times.
#[derive(Clone, PartialEq, Eq)]
pub struct Delta {
    bytes: Vec<u8>,
    rows: u64,
    replicas: usize,
}

impl Delta {
    pub(crate) fn new(written: Written<Vec<u8>>) -> Self {
        let Written { to: bytes, rows, replicas, .. } = written;
        Self { bytes, rows, replicas }
    }

    /// How many rows it has.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// How many replicas its version vector has.
    #[must_use]
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// Its bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Counts, not contents: a log line must not show what an application stores.
impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, rows, replicas) = (self.bytes.len(), self.rows, self.replicas);
        f.debug_struct("Delta").field("bytes", &bytes).field("rows", &rows).field("replicas", &replicas).finish()
    }
}

impl AsRef<[u8]> for Delta {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A dot of the wire: the place of its replica in the head, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WireDot {
    pub(crate) replica: u32,
    pub(crate) seq: u64,
}

/// A replica in the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireReplica {
    pub(crate) id: ReplicaId,
    /// What the receiver must have.
    pub(crate) base: u64,
    /// What it has afterwards.
    pub(crate) version: u64,
    /// Up to where the sender may have forgotten deletes; 0 without [`Head::below_floor`].
    pub(crate) floor: u64,
    /// What the sender knows of the replica's history.
    pub(crate) points: Points,
}

/// What stands in front of a delta.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) space: SpaceId,
    /// Deletes may be missing: what is in neither LIVE nor a row is gone.
    pub(crate) below_floor: bool,
    /// Of the sender's state.
    pub(crate) digest: Digest,
    /// Sorted by id.
    pub(crate) replicas: Vec<WireReplica>,
}

impl Head {
    pub(crate) fn base(&self) -> VersionVector {
        self.replicas.iter().map(|replica| (replica.id, replica.base)).collect()
    }

    /// What the sender has.
    pub(crate) fn version(&self) -> VersionVector {
        self.replicas.iter().map(|replica| (replica.id, replica.version)).collect()
    }

    /// Whether a store has exactly the sender's version.
    pub(crate) fn is_version_of(&self, meta: &Meta) -> bool {
        let is_seen = |replica: &WireReplica| meta.index(replica.id).is_some_and(|index| meta.seq(index) == replica.version);
        let count = meta.replicas().filter(|(_id, _index, progress)| progress.seq > 0).count();
        count == self.replicas.len() && self.replicas.iter().all(is_seen)
    }

    /// What the sender says of each replica.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        self.replicas.iter().map(|replica| Claim { id: replica.id, seq: replica.version, points: Some(&replica.points) })
    }
}

/// An entry of a row's image. The payload is there if the dot is above the base.
#[derive(Debug, Clone)]
pub(crate) struct WireEntry {
    pub(crate) dot: WireDot,
    pub(crate) payload: Option<Bytes>,
}

/// One item of a delta.
#[derive(Debug)]
pub(crate) enum Item {
    /// A row; its path is [`DeltaReader::path`].
    Row { parsed: Parsed, entries: SmallVec<[WireEntry; 1]>, deletes: SmallVec<[WireDot; 1]> },
    /// Ranges of live numbers of one replica.
    Live { replica: u32, runs: Vec<(u64, u64)> },
}
