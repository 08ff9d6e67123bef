//! Push: a transaction as its own difference, which anyone may relay.
//!
//! ```text
//! pushed := frame(3, space (16), count, id*, origin, lo, count, (replica, seq)*: deps, count, row*)
//! row    := shared, suffix, WRITE length payload | DELETE, count, (replica, seq)*: dropped        row i has dot lo + i
//! ```
//!
//! `deps` is what the origin's vector gained since its transaction before (all of it, for the first of a process). A replica
//! that has the transaction before it and `deps` has everything that the transaction saw, so it ends where a delta would have
//! brought it. One that has not must wait or ask for a delta: applying it all the same shows states that never were.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{Dot, ReplicaId, SEQ_MAX, VersionVector};
use crate::codec::{DecodeError, FRAME_MAX, FrameReader, Reader, Writer, write_frame};

use super::commit::{Commit, Event, EventKind};
use super::error::{Error, Result};
use super::identity::{self, Claim, Point, Sent};
use super::kinds::{in_conflict, register};
use super::merge::{Conflicts, Merged, follow_clock};
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::options::PAYLOAD_HARD_MAX;
use super::path::{Leaf, PATH_HARD_MAX, Parsed};
use super::row::{Entry, LocalDot};
use super::space::{Space, SpaceId};

const FRAME_PUSHED: u8 = 3;
const WRITE: u8 = 1;
const DELETE: u8 = 2;

/// A transaction as bytes, from [`Tx::commit_and_push`](super::Tx::commit_and_push), to be carried by anything and applied any
/// number of times, in any order.
#[derive(Clone, PartialEq, Eq)]
pub struct Pushed {
    bytes: Vec<u8>,
}

/// A length, not contents: a log line must not show what an application stores.
impl fmt::Debug for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushed").field("bytes", &self.bytes.len()).finish()
    }
}

impl AsRef<[u8]> for Pushed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What became of a pushed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is in now.
    Merged(Merged),
    /// It was in already. Nothing changed.
    Covered,
    /// What it builds on is not in yet. Nothing changed: apply it again later, or merge a delta.
    Waits {
        /// What must be in before it can be applied.
        need: VersionVector,
    },
}

/// A row of a transaction: what was written, and which entries it dropped.
#[derive(Debug)]
pub(crate) struct PushedRow {
    pub(crate) path: Bytes,
    pub(crate) payload: Option<Bytes>,
    pub(crate) dropped: SmallVec<[LocalDot; 1]>,
}

/// A committed transaction, before it is encoded.
#[derive(Debug)]
pub(crate) struct Draft {
    space: SpaceId,
    origin: ReplicaId,
    lo: u64,
    deps: VersionVector,
    rows: Vec<(PushedRow, SmallVec<[Dot; 1]>)>,
}

impl Draft {
    /// `before` and `after` the commit; `last_own`: after the origin's transaction before it.
    pub(crate) fn new(space: SpaceId, before: &Meta, after: &Meta, last_own: Option<&Meta>, rows: Vec<PushedRow>) -> Self {
        let me = after.me.unwrap_or_default();
        let gained = |index: u32, seq: u64| last_own.is_none_or(|last| seq > last.seq(index));
        let deps = before
            .replicas()
            .filter(|(_id, index, progress)| *index != me && gained(*index, progress.seq))
            .map(|(id, _index, progress)| (id, progress.seq))
            .collect();
        let full = |row: PushedRow| {
            let dropped = row.dropped.iter().filter_map(|dot| before.dot(*dot)).collect();
            (row, dropped)
        };
        let origin = after.id(me).unwrap_or_else(|| ReplicaId::from_u128(0));
        Self { space, origin, lo: before.seq(me) + 1, deps, rows: rows.into_iter().map(full).collect() }
    }

    /// `None`: the transaction is too large for a frame; a delta carries it.
    pub(crate) fn encode(self) -> Option<Pushed> {
        let mut places: BTreeMap<ReplicaId, u64> = self.deps.iter().map(|(id, _seq)| (id, 0)).collect();
        places.insert(self.origin, 0);
        places.extend(self.rows.iter().flat_map(|(_row, dropped)| dropped).map(|dot| (dot.replica, 0)));
        let mut to = Writer::new();
        to.raw(&self.space.to_bytes());
        to.u64(places.len() as u64);
        for ((id, place), number) in places.iter_mut().zip(0..) {
            to.raw(&id.to_bytes());
            *place = number;
        }
        let place = |id: ReplicaId| places.get(&id).copied().unwrap_or_default();
        to.u64(place(self.origin));
        to.u64(self.lo);
        to.u64(self.deps.len() as u64);
        for (id, seq) in self.deps.iter() {
            to.u64(place(id));
            to.u64(seq);
        }
        to.u64(self.rows.len() as u64);
        let mut last: &[u8] = &[];
        for (row, dropped) in &self.rows {
            let shared = last.iter().zip(&*row.path).take_while(|(a, b)| a == b).count();
            to.u64(shared as u64);
            to.bytes(row.path.get(shared..).unwrap_or_default());
            last = &row.path;
            match &row.payload {
                Some(payload) => {
                    to.u8(WRITE);
                    to.bytes(payload);
                }
                None => to.u8(DELETE),
            }
            to.u64(dropped.len() as u64);
            for dot in dropped {
                to.u64(place(dot.replica));
                to.u64(dot.seq);
            }
            if to.len() > FRAME_MAX {
                return None;
            }
        }
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 0, FRAME_PUSHED, to.as_slice());
        Some(Pushed { bytes })
    }
}

/// A pushed transaction, checked as far as that goes without a store. Its rows stay as they came: paths share prefixes, and a
/// transaction so may have rows that take a hundred times its size.
struct Incoming<'a> {
    ids: Vec<ReplicaId>,
    origin: ReplicaId,
    lo: u64,
    hi: u64,
    deps: Vec<(ReplicaId, u64)>,
    /// From the first row on.
    rows: Reader<'a>,
    /// What the rows take as they are written, about.
    weight: u64,
    /// Where the payload of the frame starts.
    at: usize,
}

impl<'a> Incoming<'a> {
    fn decode(input: &'a [u8], space: SpaceId) -> Result<Self> {
        let mut frames = FrameReader::new(input);
        let frame = frames.next_frame().map_err(Error::malformed)?.filter(|frame| frame.kind == FRAME_PUSHED);
        let Some(frame) = frame else {
            return Err(Error::Malformed { at: 0, what: "not a pushed transaction" });
        };
        if frames.next_frame().map_err(Error::malformed)?.is_some() {
            return Err(Error::Malformed { at: frame.at as u64, what: "frames after the end of the transaction" });
        }
        let theirs = frame.payload.first_chunk::<16>().map(|bytes| SpaceId::from_bytes(*bytes));
        if let Some(theirs) = theirs.filter(|theirs| *theirs != space) {
            return Err(Error::WrongSpace { ours: space, theirs });
        }
        let mut incoming = Self::read_head(Reader::new(frame.payload), frame.at)?;
        let mut rows = incoming.rows();
        let mut weight = 0;
        while let Some(row) = rows.next_row()? {
            weight += (ROW_BYTES + rows.path().len() + row.payload.map_or(0, <[u8]>::len)) as u64;
        }
        incoming.weight = weight;
        Ok(incoming)
    }

    fn read_head(mut from: Reader<'a>, at: usize) -> Result<Self> {
        Self::try_read_head(&mut from, at).map_err(|error| shift(error, at))
    }

    fn try_read_head(from: &mut Reader<'a>, at: usize) -> Result<Self, DecodeError> {
        from.raw(16)?;
        let count = from.len_up_to(u32::MAX as usize, 16)?;
        let mut ids: Vec<ReplicaId> = Vec::with_capacity(count);
        for _ in 0..count {
            let id = ReplicaId::from_bytes(from.array()?);
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(from.error("replicas are not in order"));
            }
            ids.push(id);
        }
        let (origin, lo) = (read_replica(&ids, from)?, read_seq(from)?);
        let mut deps: Vec<(ReplicaId, u64)> = Vec::new();
        for _ in 0..from.len_up_to(usize::MAX, 2)? {
            let dep = (read_replica(&ids, from)?, read_seq(from)?);
            if deps.last().is_some_and(|last| last.0 >= dep.0) || dep.0 == origin {
                return Err(from.error("dependencies are not in order"));
            }
            deps.push(dep);
        }
        let count = from.len_up_to(usize::MAX, 4)?;
        let hi = lo.checked_add(count as u64).and_then(|end| end.checked_sub(1)).filter(|hi| *hi <= SEQ_MAX && *hi >= lo);
        let Some(hi) = hi else {
            return Err(from.error("a transaction without rows, or beyond the last sequence number"));
        };
        Ok(Self { ids, origin, lo, hi, deps, rows: from.clone(), weight: 0, at })
    }

    /// The rows, from the first one on.
    fn rows(&self) -> IncomingRows<'_> {
        IncomingRows { transaction: self, from: self.rows.clone(), next: self.lo, path: Vec::new() }
    }
}

/// What a row takes as it is written besides its path and its payload, about.
const ROW_BYTES: usize = 128;

/// Reads the rows of a transaction, of which one at a time is there.
struct IncomingRows<'a> {
    transaction: &'a Incoming<'a>,
    from: Reader<'a>,
    /// The number of the next row.
    next: u64,
    path: Vec<u8>,
}

struct IncomingRow<'a> {
    parsed: Parsed,
    seq: u64,
    payload: Option<&'a [u8]>,
    dropped: Dropped<'a>,
}

impl<'a> IncomingRows<'a> {
    /// The path of the row that came last.
    fn path(&self) -> &[u8] {
        &self.path
    }

    fn next_row(&mut self) -> Result<Option<IncomingRow<'a>>> {
        self.try_next_row().map_err(|error| shift(error, self.transaction.at))
    }

    fn try_next_row(&mut self) -> Result<Option<IncomingRow<'a>>, DecodeError> {
        let (transaction, from, seq) = (self.transaction, &mut self.from, self.next);
        if seq > transaction.hi {
            from.finish()?;
            return Ok(None);
        }
        let shared = from.up_to(self.path.len())?;
        let suffix = from.bytes(PATH_HARD_MAX)?;
        if seq > transaction.lo && suffix <= self.path.get(shared..).unwrap_or_default() {
            return Err(from.error("rows are not in the order of their paths"));
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        let parsed = Parsed::of(&self.path).map_err(|error| from.error(error.what))?;
        let payload = match from.u8()? {
            WRITE => Some(from.bytes(PAYLOAD_HARD_MAX)?),
            DELETE => None,
            _unknown => return Err(from.error("neither a write nor a delete")),
        };
        let left = from.len_up_to(usize::MAX, 2)?;
        let dropped = Dropped { transaction, from: from.clone(), left };
        let mut dots = dropped.clone();
        while let Some(dot) = dots.try_next()? {
            if dot.replica == transaction.origin && dot.seq >= transaction.lo {
                return Err(dots.from.error("a transaction that drops what it writes itself"));
            }
        }
        *from = dots.from;
        self.next += 1;
        Ok(Some(IncomingRow { parsed, seq, payload, dropped }))
    }
}

/// The dots that a row drops.
#[derive(Clone)]
struct Dropped<'a> {
    transaction: &'a Incoming<'a>,
    from: Reader<'a>,
    left: usize,
}

impl Dropped<'_> {
    fn try_next(&mut self) -> Result<Option<Dot>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some(Dot::new(read_replica(&self.transaction.ids, &mut self.from)?, read_seq(&mut self.from)?)))
    }
}

/// Those of a row that was read are whole.
impl Iterator for Dropped<'_> {
    type Item = Dot;

    fn next(&mut self) -> Option<Dot> {
        self.try_next().ok().flatten()
    }
}

fn read_replica(ids: &[ReplicaId], from: &mut Reader<'_>) -> Result<ReplicaId, DecodeError> {
    let place = from.u32()? as usize;
    ids.get(place).copied().ok_or_else(|| from.error("a replica that the transaction does not name"))
}

fn read_seq(from: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let seq = from.u64()?;
    if (1..=SEQ_MAX).contains(&seq) { Ok(seq) } else { Err(from.error("a sequence number outside 1..=2^63")) }
}

fn shift(error: DecodeError, at: usize) -> Error {
    Error::Malformed { at: error.at.saturating_add(at as u64), what: error.what }
}

/// Applies a pushed transaction.
pub(crate) fn apply(space: &Arc<Space>, input: &[u8]) -> Result<Applied> {
    let incoming = Incoming::decode(input, space.id)?;
    let claim = |(id, seq)| Claim { id, seq, points: None };
    let claims = || [(incoming.origin, incoming.hi)].into_iter().chain(incoming.deps.iter().copied()).map(claim);
    let (guard, before) = identity::lock(space, claims)?;
    let seen = |id: ReplicaId| before.index(id).map_or(0, |index| before.seq(index));
    let own = seen(incoming.origin);
    if own >= incoming.hi {
        return Ok(Applied::Covered);
    }
    let gap = own != incoming.lo - 1 && !mutant::is(Mutant::GapIgnored);
    let missing = incoming.deps.iter().any(|(id, seq)| seen(*id) < *seq) && !mutant::is(Mutant::DependencyCheckLeftOut);
    if gap || missing {
        let mut need: VersionVector = incoming.deps.iter().copied().collect();
        need.advance(incoming.origin, incoming.lo - 1);
        return Ok(Applied::Waits { need });
    }
    let unseen = |dot: Dot| seen(dot.replica) < dot.seq;
    let checks_are_on = !mutant::is(Mutant::GapIgnored) && !mutant::is(Mutant::DependencyCheckLeftOut);
    let mut rows = incoming.rows();
    while let Some(mut row) = rows.next_row()? {
        if checks_are_on && row.dropped.any(unseen) {
            return Err(Error::Malformed { at: 0, what: "a transaction that drops what it does not depend on" });
        }
    }

    before.room_for([incoming.origin])?;
    let mut commit = Commit::new(space, (*before).clone());
    let origin = commit.meta.index_or_new(incoming.origin);
    // Whoever knows the point of the history before can tell the one after.
    let points = before.points(origin).cloned().unwrap_or_default();
    let newest = points.newest().unwrap_or(Point::START);
    let mut chain = newest.hash;
    let now_ms = space.file.settings.clock.now_ms();
    let mut conflicts = Conflicts::default();
    let mut rows = incoming.rows();
    let step = |commit: &mut Commit| {
        let Some(row) = rows.next_row()? else {
            commit.advance(origin, incoming.hi);
            if newest.seq == incoming.lo - 1 {
                let mut points = points.clone();
                points.push(Point { seq: incoming.hi, hash: chain });
                commit.meta.set_points(origin, points);
            }
            return Ok(false);
        };
        let IncomingRow { parsed, seq, payload, dropped } = row;
        let dot = LocalDot { replica: origin, seq };
        let event = Event::new(if payload.is_some() { EventKind::Write } else { EventKind::Delete }, rows.path());
        let path = event.path();
        let row = space.row(&path)?;
        let mut after = row.clone();
        // Only those that are there: a row may claim to drop millions.
        let gone: BTreeSet<LocalDot> =
            dropped.clone().filter_map(|dot| commit.meta.local_dot(dot)).filter(|dot| row.contains(*dot)).collect();
        after.retain(|entry| !gone.contains(&entry.dot));
        if before.sent > 0
            && let Some(mut sent) = Sent::at(space, &path)?
        {
            let gone: BTreeSet<LocalDot> =
                dropped.filter_map(|dot| commit.meta.local_dot(dot)).filter(|dot| sent.row.contains(*dot)).collect();
            sent.row.retain(|entry| !gone.contains(&entry.dot));
            if let Some(payload) = payload {
                sent.row.insert(Entry { dot, payload: Bytes::copy_from_slice(payload) });
            }
            sent.put(commit, &path, false);
        }
        if let Some(payload) = payload {
            if let (Leaf::Register, Some((stamp, _value))) = (parsed.leaf, register::split(payload)) {
                follow_clock(space, &mut commit.meta, stamp, now_ms);
            }
            after.insert(Entry { dot, payload: Bytes::copy_from_slice(payload) });
        }
        chain = commit.linked(chain, dot, &path, after.entries().iter().find(|entry| entry.dot == dot))?;
        if commit.row(&path, &row, &after)? && in_conflict(parsed.leaf, &after) {
            conflicts.add(path);
        }
        commit.event(dot, event);
        Ok(true)
    };
    let is_large = incoming.weight > space.file.settings.delta_memory as u64;
    let (meta, rows) = if is_large { guard.commit_streamed(commit, step)? } else { guard.commit_steps(commit, step)? };
    let (conflicts, conflicts_total) = conflicts.into_list();
    let version = meta.version();
    Ok(Applied::Merged(Merged {
        changed: true,
        rows,
        conflicts,
        conflicts_total,
        below_floor: false,
        diverged: false,
        version,
    }))
}
