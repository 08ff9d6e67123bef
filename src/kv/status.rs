//! What a store says of itself.

use crate::causal::{ReplicaId, VersionVector};

use super::digest::Digest;
use super::space::SpaceId;

/// What a store holds, from [`Store::status`](super::Store::status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The space.
    pub space: SpaceId,
    /// The name of the space.
    pub name: String,
    /// This replica; `None` before its first write.
    pub replica: Option<ReplicaId>,
    /// Which events are in.
    pub version: VersionVector,
    /// Up to where delete events may have been forgotten.
    pub floor: VersionVector,
    /// Rows: one for each register, flag, lattice, element of a set, and contributor to a counter; and one for each reset of a
    /// counter that its contributor has not taken into account yet.
    pub rows: u64,
    /// Live entries: more than rows where writes were concurrent.
    pub entries: u64,
    /// Delete events that are kept.
    pub deletes: u64,
    /// Resets of counters that this replica takes into account at its next commit.
    pub pending_resets: u64,
    /// The digest of the canonical form.
    pub digest: Digest,
    /// Stamps that came from clocks beyond the drift limit, since the store was opened.
    pub stamps_ahead: u64,
}
