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

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::causal::{Dot, Hlc, ReplicaId, SEQ_MAX, VersionVector};
use crate::codec::{DecodeError, Reader, Writer};
use crate::storage::{LogId, TableId};

use super::error::{Error, Limit};
use super::identity::Points;
use super::options::REPLICAS_MAX;
use super::row::{Entry, LocalDot};

/// The version of the layout of files.
pub(crate) const FORMAT: u64 = 1;

/// The tables of one space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    number: u32,
}

impl Tables {
    /// How many table numbers a space has.
    const EACH: u32 = 16;
    /// What belongs to the whole file.
    pub(crate) const FILE: TableId = TableId(0);
    /// The most spaces of a file.
    pub(crate) const SPACES_MAX: u32 = u32::MAX / Self::EACH - 1;

    /// Of the space with a number, from 1.
    pub(crate) const fn of(number: u32) -> Self {
        Self { number }
    }

    pub(crate) const fn meta(self) -> TableId {
        TableId(self.number * Self::EACH)
    }

    pub(crate) const fn rows(self) -> TableId {
        TableId(self.number * Self::EACH + 1)
    }

    /// The application's own keys.
    pub(crate) const fn local(self) -> TableId {
        TableId(self.number * Self::EACH + 2)
    }

    /// Reset rows that are addressed to this replica, by path: it takes them into account at its next commit.
    pub(crate) const fn resets(self) -> TableId {
        TableId(self.number * Self::EACH + 3)
    }

    /// This replica's own counter rows as the peers may know them, by path, while they differ from ROWS.
    pub(crate) const fn sent(self) -> TableId {
        TableId(self.number * Self::EACH + 4)
    }

    /// Frames of deltas on their way in. No state: see `stage.rs`.
    pub(crate) const fn stage(self) -> TableId {
        TableId(self.number * Self::EACH + 15)
    }

    /// Every ordered table, but what is staged for a merge.
    #[cfg(feature = "redb")]
    pub(crate) fn ordered(self) -> impl Iterator<Item = TableId> {
        (0..5).map(move |table| TableId(self.number * Self::EACH + table))
    }

    /// Every log of a space with so many replicas.
    #[cfg(feature = "redb")]
    pub(crate) fn logs(self, replicas: u32) -> impl Iterator<Item = LogId> {
        (0..replicas).map(move |replica| self.events(replica)).chain([self.dead(), self.marks()])
    }

    pub(crate) const fn events(self, replica: u32) -> LogId {
        LogId { table: self.number * Self::EACH, lane: replica }
    }

    /// The dots that a commit has dropped, by number of the commit: their Write events are erased later.
    pub(crate) const fn dead(self) -> LogId {
        LogId { table: self.number * Self::EACH + 1, lane: 0 }
    }

    /// The hash of this replica's own history, by the number of the last event that was given away with it.
    pub(crate) const fn marks(self) -> LogId {
        LogId { table: self.number * Self::EACH + 2, lane: 0 }
    }
}

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

impl Progress {
    fn encode(self, to: &mut Writer) {
        to.u64(self.seq);
        to.u64(self.floor);
        to.u64(self.evicted);
        to.u64(self.deletes);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (seq, floor, evicted, deletes) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
        if seq > SEQ_MAX || floor > seq || evicted > floor {
            return Err(from.error("a progress that cannot be"));
        }
        Ok(Self { seq, floor, evicted, deletes })
    }
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
    pub(crate) const STATE: &'static [u8] = b"s";
    const REPLICA: u8 = b'r';

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

    pub(crate) fn replica_key(replica: u32) -> Bytes {
        let mut key = [Self::REPLICA; 5];
        if let Some(index) = key.last_chunk_mut() {
            *index = replica.to_be_bytes();
        }
        Bytes::copy_from_slice(&key)
    }

    /// The key that says that a replica has taken over events.
    pub(crate) fn taker_key(replica: u32) -> Bytes {
        Bytes::from([Self::TAKERS.0, &replica.to_be_bytes()].concat())
    }

    /// The replica of such a key.
    pub(crate) fn taker_of(key: &[u8]) -> Option<u32> {
        let index = key.strip_prefix(Self::TAKERS.0)?;
        Some(u32::from_be_bytes(index.try_into().ok()?))
    }

    /// The key range of those that have taken over events.
    pub(crate) const TAKERS: (&'static [u8], &'static [u8]) = (b"t", b"u");

    pub(crate) fn encode_replica(&self, replica: u32) -> Option<Bytes> {
        let id = self.id(replica)?;
        let mut to = Writer::with_capacity(48);
        to.raw(&id.to_bytes());
        self.progress(replica).encode(&mut to);
        self.points(replica)?.encode(&mut to);
        Some(Bytes::from(to.into_vec()))
    }

    pub(crate) fn encode_state(&self) -> Bytes {
        let mut to = Writer::with_capacity(144);
        to.u64(self.me.map_or(0, |me| u64::from(me) + 1));
        self.me.map_or_else(Progress::default, |me| self.progress(me)).encode(&mut to);
        to.u64(self.hlc.to_bits());
        to.raw(&self.entries_digest.to_le_bytes());
        to.raw(&self.vector_digest.to_le_bytes());
        to.u64(self.rows);
        to.u64(self.entries);
        to.u64(self.deletes);
        to.u64(self.commit);
        to.u64(self.emitted);
        to.raw(&self.chain.to_le_bytes());
        to.u64(self.marks);
        to.u64(self.dead);
        to.u64(self.resets);
        to.u64(self.sent);
        Bytes::from(to.into_vec())
    }

    /// The commit number of an encoded state, without decoding the rest.
    pub(crate) fn commit_of(state: &[u8]) -> Result<u64, DecodeError> {
        Ok(Self::decode_state(state)?.0.commit)
    }

    fn decode_state(bytes: &[u8]) -> Result<(Self, Progress), DecodeError> {
        let mut from = Reader::new(bytes);
        let me = match from.u64()? {
            0 => None,
            index => Some(u32::try_from(index - 1).map_err(|_above| from.error("an index above 32 bits"))?),
        };
        let own = Progress::decode(&mut from)?;
        let meta = Self {
            me,
            hlc: Hlc::from_bits(from.u64()?),
            entries_digest: u128::from_le_bytes(from.array()?),
            vector_digest: u128::from_le_bytes(from.array()?),
            rows: from.u64()?,
            entries: from.u64()?,
            deletes: from.u64()?,
            commit: from.u64()?,
            emitted: from.u64()?,
            chain: u64::from_le_bytes(from.array()?),
            marks: from.u64()?,
            dead: from.u64()?,
            resets: from.u64()?,
            sent: from.u64()?,
            ..Self::default()
        };
        if meta.emitted > own.seq {
            return Err(from.error("more events given away than made"));
        }
        from.finish()?;
        Ok((meta, own))
    }

    /// From the rows of META.
    pub(crate) fn decode(
        state: Option<&[u8]>,
        replicas: impl Iterator<Item = Result<(Bytes, Bytes), Error>>,
    ) -> Result<Self, Error> {
        let corrupt = Error::corrupt("META");
        let (mut meta, own) = match state {
            Some(state) => Self::decode_state(state).map_err(&corrupt)?,
            None => Default::default(),
        };
        let mut digest = 0_u128;
        for row in replicas {
            let (key, value) = row?;
            let mut from = Reader::new(&value);
            let id = ReplicaId::from_bytes(from.array().map_err(&corrupt)?);
            let progress = Progress::decode(&mut from).map_err(&corrupt)?;
            let points = Points::decode(&mut from).map_err(&corrupt)?;
            from.finish().map_err(&corrupt)?;
            let index = meta.index_or_new(id);
            if key != Self::replica_key(index) || points.newest().is_some_and(|newest| newest.seq > progress.seq) {
                return Err(corrupt(from.error("a replica that cannot be")));
            }
            let progress = if meta.me == Some(index) { own } else { progress };
            digest = digest.wrapping_add(progress_hash(id, progress.seq));
            if let Some(slot) = meta.progress.get_mut(index as usize) {
                *slot = progress;
            }
            meta.set_points(index, points);
        }
        if digest != meta.vector_digest || meta.me.is_some_and(|me| meta.id(me).is_none()) {
            return Err(corrupt(DecodeError::new(0, "replicas that do not fit the state")));
        }
        Ok(meta)
    }

    /// The key range of the replicas' rows.
    pub(crate) const REPLICAS: (&'static [u8], &'static [u8]) = (b"r", b"s");
}

/// What one live entry adds to the digest. `scratch` is any buffer, for its memory.
pub(crate) fn entry_hash(id: ReplicaId, path: &[u8], entry: &Entry, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.reserve(32 + path.len() + entry.payload.len());
    scratch.extend_from_slice(&id.to_bytes());
    scratch.extend_from_slice(&entry.dot.seq.to_le_bytes());
    // Two parts of any length: the length of the first keeps them apart.
    scratch.extend_from_slice(&(path.len() as u64).to_le_bytes());
    scratch.extend_from_slice(path);
    scratch.extend_from_slice(&entry.payload);
    XxHash3_128::oneshot(scratch)
}

/// What a delete adds to the history of its replica.
pub(crate) fn delete_hash(id: ReplicaId, seq: u64, path: &[u8], scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&id.to_bytes());
    scratch.extend_from_slice(&seq.to_le_bytes());
    // No path is so long: apart from every write.
    scratch.extend_from_slice(&u64::MAX.to_le_bytes());
    scratch.extend_from_slice(path);
    XxHash3_128::oneshot(scratch)
}

/// The hash of a history with one more event.
pub(crate) fn link(chain: u64, event: u128) -> u64 {
    XxHash3_64::oneshot_with_seed(chain, &event.to_le_bytes())
}

/// What one replica adds to the digest; nothing before its first event.
pub(crate) fn progress_hash(id: ReplicaId, seq: u64) -> u128 {
    if seq == 0 {
        return 0;
    }
    let mut input = [0; 24];
    let (first, second) = input.split_at_mut(16);
    first.copy_from_slice(&id.to_bytes());
    second.copy_from_slice(&seq.to_le_bytes());
    XxHash3_128::oneshot(&input)
}
