//! What a space knows of itself: its replicas and how far it has seen each, its clock, its counts, its digest.
//!
//! ```text
//! META  "f"                 format version                                        (file table, once)
//!       "n" name            number of the space, its id                           (file table, one for each space)
//!       "r" index (BE u32)  replica id, progress, points of its history           (one for each replica)
//!       "s"                 own index and progress, hlc, digests, rows, entries, commit, emitted, chain,
//!                           how much is in MARKS, DEAD, RESETS, SENT
//!       "t" index (BE u32)  nothing: the replica has taken over events of this file from an id before    (one for each such)
//!
//! progress := seq, floor, evicted, deletes          this replica's own is that of "s"
//! ```

mod bytes;
mod hash;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::causal::{Dot, Hlc, ReplicaId, VersionVector};

use super::error::{Error, Limit};
use super::identity::Points;
use super::options::REPLICAS_MAX;
use super::row::LocalDot;

pub(crate) use hash::{delete_hash, entry_hash, link, progress_hash};
pub(crate) use tables::Tables;

/// The version of the layout of files.
pub(crate) const FORMAT: u64 = 1;

/// The replicas of a space: an index for each, which stays what it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    ids: Vec<ReplicaId>,
    indexes: BTreeMap<ReplicaId, u32>,
}

/// How far a space has seen one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Every event up to this one is in.
    pub(crate) seq: u64,
    /// Deletes up to this one may be gone from EVENTS. Invariant: at most `seq`.
    pub(crate) floor: u64,
    /// Deletes up to this one are gone from EVENTS. Invariant: at most `floor`.
    pub(crate) evicted: u64,
    /// Its Delete events in EVENTS.
    pub(crate) deletes: u64,
}

/// Everything that META holds, as of one commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    names: Arc<Names>,
    /// By index of the replica.
    progress: Vec<Progress>,
    /// By index of the replica: what is known of its history. Of this replica itself, that is MARKS.
    points: imbl::Vector<Points>,
    /// The index of this replica; none before its first write.
    pub(crate) me: Option<u32>,
    /// Above every stamp given, and above every stamp seen within the drift limit.
    pub(crate) hlc: Hlc,
    /// Sum of [`entry_hash`] over live entries.
    pub(crate) entries_digest: u128,
    /// Sum of [`progress_hash`] over replicas.
    pub(crate) vector_digest: u128,
    pub(crate) rows: u64,
    pub(crate) entries: u64,
    /// Delete events that are still in EVENTS.
    pub(crate) deletes: u64,
    /// Counts commits. Ties a snapshot of the tables to the `Meta` of the same moment.
    pub(crate) commit: u64,
    /// The highest own event that may have left this file. Above it, nobody else can have one.
    pub(crate) emitted: u64,
    /// The hash of this replica's own history.
    pub(crate) chain: u64,
    /// Own points of history in MARKS.
    pub(crate) marks: u64,
    /// Dots in DEAD.
    pub(crate) dead: u64,
    /// Paths in RESETS.
    pub(crate) resets: u64,
    /// Paths in SENT.
    pub(crate) sent: u64,
}

impl Meta {
    /// Refuses replicas that are new here, if there are too many.
    pub(crate) fn room_for(&self, ids: impl IntoIterator<Item = ReplicaId>) -> Result<(), Error> {
        let is = self.names.ids.len() + ids.into_iter().filter(|id| self.index(*id).is_none()).count();
        if is <= REPLICAS_MAX {
            return Ok(());
        }
        Err(Error::TooLarge { what: Limit::Replicas, is: is as u64, cap: REPLICAS_MAX as u64 })
    }

    pub(crate) fn replica_count(&self) -> u32 {
        u32::try_from(self.names.ids.len()).unwrap_or(u32::MAX)
    }

    /// The replica with an index. Every index in a row was given by this space.
    pub(crate) fn id(&self, replica: u32) -> Option<ReplicaId> {
        self.names.ids.get(replica as usize).copied()
    }

    pub(crate) fn index(&self, id: ReplicaId) -> Option<u32> {
        self.names.indexes.get(&id).copied()
    }

    /// The index of a replica, new if need be.
    pub(crate) fn index_or_new(&mut self, id: ReplicaId) -> u32 {
        if let Some(index) = self.index(id) {
            return index;
        }
        let names = Arc::make_mut(&mut self.names);
        let index = u32::try_from(names.ids.len()).expect("memory ends before 2^32 replicas");
        names.ids.push(id);
        names.indexes.insert(id, index);
        self.progress.push(Progress::default());
        self.points.push_back(Points::default());
        index
    }

    /// All replicas, sorted by id, with how far each was seen.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (ReplicaId, u32, Progress)> + '_ {
        self.names.indexes.iter().map(|(id, index)| (*id, *index, self.progress(*index)))
    }

    pub(crate) fn progress(&self, replica: u32) -> Progress {
        self.progress.get(replica as usize).copied().unwrap_or_default()
    }

    pub(crate) fn seq(&self, replica: u32) -> u64 {
        self.progress(replica).seq
    }

    /// Whether an event is in.
    pub(crate) fn has_seen(&self, dot: LocalDot) -> bool {
        dot.seq <= self.seq(dot.replica)
    }

    /// Every event of `replica` up to `seq` is in. Returns whether any is new.
    pub(crate) fn advance(&mut self, replica: u32, seq: u64) -> bool {
        if seq <= self.seq(replica) {
            return false;
        }
        self.set_seq(replica, seq);
        true
    }

    /// Takes back the events of `replica` above `seq`, which nobody else has, with all that is kept about them.
    pub(crate) fn retract(&mut self, replica: u32, seq: u64) {
        self.set_seq(replica, seq);
        if let Some(progress) = self.progress.get_mut(replica as usize) {
            progress.floor = progress.floor.min(seq);
            progress.evicted = progress.evicted.min(seq);
        }
    }

    fn set_seq(&mut self, replica: u32, seq: u64) {
        let Some(id) = self.id(replica) else { return };
        let Some(progress) = self.progress.get_mut(replica as usize) else { return };
        self.vector_digest =
            self.vector_digest.wrapping_sub(progress_hash(id, progress.seq)).wrapping_add(progress_hash(id, seq));
        progress.seq = seq;
    }

    /// One Delete event of `replica` more or less.
    pub(crate) fn count_delete(&mut self, replica: u32, more: bool) {
        let by = |count: u64| if more { count + 1 } else { count.saturating_sub(1) };
        self.deletes = by(self.deletes);
        if let Some(progress) = self.progress.get_mut(replica as usize) {
            progress.deletes = by(progress.deletes);
        }
    }

    /// What is known of the history of another replica.
    pub(crate) fn points(&self, replica: u32) -> Option<&Points> {
        self.points.get(replica as usize)
    }

    pub(crate) fn set_points(&mut self, replica: u32, points: Points) {
        if let Some(known) = self.points.get_mut(replica as usize) {
            *known = points;
        }
    }

    /// Deletes of `replica` up to `evicted` are gone.
    pub(crate) fn set_evicted(&mut self, replica: u32, evicted: u64) {
        if let Some(progress) = self.progress.get_mut(replica as usize) {
            progress.evicted = evicted.max(progress.evicted);
        }
    }

    /// The own events that no peer can have: above `emitted`, up to and with the second.
    pub(crate) fn unsent(&self) -> Option<(u32, u64)> {
        let me = self.me?;
        let seq = self.seq(me);
        (seq > self.emitted).then_some((me, seq))
    }

    /// Deletes of `replica` up to `floor` may be gone. Returns whether that is new.
    pub(crate) fn raise_floor(&mut self, replica: u32, floor: u64) -> bool {
        match self.progress.get_mut(replica as usize) {
            Some(progress) if floor > progress.floor => {
                progress.floor = floor;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Stands for the version, in 64 bits.
    #[cfg(feature = "replication")]
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is one")]
    pub(crate) const fn version_digest(&self) -> u64 {
        self.vector_digest as u64
    }

    pub(crate) fn version(&self) -> VersionVector {
        self.replicas().map(|(id, _index, progress)| (id, progress.seq)).collect()
    }

    pub(crate) fn floor(&self) -> VersionVector {
        self.replicas().map(|(id, _index, progress)| (id, progress.floor)).collect()
    }

    pub(crate) fn dot(&self, dot: LocalDot) -> Option<Dot> {
        Some(Dot::new(self.id(dot.replica)?, dot.seq))
    }

    pub(crate) fn local_dot(&self, dot: Dot) -> Option<LocalDot> {
        Some(LocalDot { replica: self.index(dot.replica)?, seq: dot.seq })
    }
}
