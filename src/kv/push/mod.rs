//! Push: a transaction as its own difference, which anyone may relay.
//!
//! ```text
//! pushed := frame(3, space (16), transaction)                     the transaction is drawn in src/causal/transaction.rs
//! ```
//!
//! The dependencies are what the origin's vector gained since its transaction before (all of it, for the first of a process). A replica
//! that has the transaction before it and those has everything that the transaction saw, so it ends where a delta would have
//! brought it.

mod rows;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{Dot, ReplicaId, Transaction, VersionVector};
use crate::codec::{DecodeError, FrameReader, Reader, Writer, write_frame};

use super::commit::{Commit, Event, EventKind};
use super::error::{Error, Result};
use super::identity::{self, Claim, Point, Sent};
use super::kinds::{in_conflict, register};
use super::merge::{Conflicts, Merged, follow_clock};
use super::mutant::{self, Mutant};
use super::path::Leaf;
use super::row::{Entry, LocalDot};
use super::space::{Space, SpaceId};

pub(crate) use rows::{Draft, PushedRow};
use rows::{IncomingRow, IncomingRows, Payload, weight};

const FRAME_PUSHED: u8 = 3;

/// What is wrong with a transaction that is well-formed, and is seen only once everything that it depends on is in.
pub(crate) const DROPS_UNSEEN: &str = "a transaction that drops what it does not depend on";

/// A transaction as bytes, from [`Tx::commit_and_push`](super::Tx::commit_and_push), to be carried by anything and applied any
/// number of times, in any order.
#[derive(Clone, PartialEq, Eq)]
pub struct Pushed {
    bytes: Vec<u8>,
}

impl Pushed {
    pub(crate) fn new(space: SpaceId, transaction: &Transaction) -> Self {
        let mut to = Writer::new();
        to.raw(&space.to_bytes());
        transaction.encode(&mut to);
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 0, FRAME_PUSHED, to.as_slice());
        Self { bytes }
    }
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

/// Applies a pushed transaction, as bytes.
pub(crate) fn apply(space: &Arc<Space>, input: &[u8]) -> Result<Applied> {
    let mut frames = FrameReader::new(input);
    let frame = frames.next_frame().map_err(Error::malformed)?.filter(|frame| frame.kind == FRAME_PUSHED);
    let Some(frame) = frame else {
        return Err(Error::Malformed { at: 0, what: "not a pushed transaction" });
    };
    if frames.next_frame().map_err(Error::malformed)?.is_some() {
        return Err(Error::Malformed { at: frame.at as u64, what: "frames after the end of the transaction" });
    }
    let mut from = Reader::new(frame.payload);
    let theirs = from.array().map(SpaceId::from_bytes);
    if let Some(theirs) = theirs.ok().filter(|theirs| *theirs != space.id) {
        return Err(Error::WrongSpace { ours: space.id, theirs });
    }
    let transaction = Transaction::decode(&mut from).map_err(|error| shift(error, frame.at))?;
    let body_at = frame.at + frame.payload.len() - transaction.body.len();
    apply_transaction(space, &transaction).map_err(|error| {
        let Error::Malformed { at, what } = error else { return error };
        Error::Malformed { at: at.saturating_add(body_at as u64), what }
    })
}

fn shift(error: DecodeError, at: usize) -> Error {
    Error::Malformed { at: error.at.saturating_add(at as u64), what: error.what }
}

/// Applies a transaction. A position in an error counts from the first row.
pub(crate) fn apply_transaction(space: &Arc<Space>, incoming: &Transaction) -> Result<Applied> {
    let weight = weight(incoming)?;
    let (origin_id, lo, hi) = (incoming.origin(), incoming.lo(), incoming.hi());
    let claim = |(id, seq)| Claim { id, seq, points: None };
    let claims = || [(origin_id, hi)].into_iter().chain(incoming.deps()).map(claim);
    let (guard, before) = identity::lock(space, claims)?;
    let seen = |id: ReplicaId| before.index(id).map_or(0, |index| before.seq(index));
    let own = seen(origin_id);
    if own >= hi {
        return Ok(Applied::Covered);
    }
    let gap = own != lo - 1 && !mutant::is(Mutant::GapIgnored);
    let missing = incoming.deps().any(|(id, seq)| seen(id) < seq) && !mutant::is(Mutant::DependencyCheckLeftOut);
    if gap || missing {
        let mut need: VersionVector = incoming.deps().collect();
        need.advance(origin_id, lo - 1);
        return Ok(Applied::Waits { need });
    }
    let unseen = |dot: Dot| seen(dot.replica) < dot.seq;
    let checks_are_on = !mutant::is(Mutant::GapIgnored) && !mutant::is(Mutant::DependencyCheckLeftOut);
    let mut rows = IncomingRows::new(incoming);
    while let Some(mut row) = rows.next_row()? {
        if checks_are_on && row.dropped.any(unseen) {
            return Err(Error::Malformed { at: 0, what: DROPS_UNSEEN });
        }
    }

    before.room_for([origin_id])?;
    let mut commit = Commit::new(space, (*before).clone());
    let origin = commit.meta.index_or_new(origin_id);
    // Whoever knows the point of the history before can tell the one after.
    let points = before.points(origin).cloned().unwrap_or_default();
    let newest = points.newest().unwrap_or(Point::START);
    let mut chain = newest.hash;
    let now_ms = space.file.settings.clock.now_ms();
    let mut conflicts = Conflicts::default();
    let mut rows = IncomingRows::new(incoming);
    let step = |commit: &mut Commit| {
        let Some(row) = rows.next_row()? else {
            commit.advance(origin, hi);
            if newest.seq == lo - 1 {
                let mut points = points.clone();
                points.push(Point { seq: hi, hash: chain });
                commit.meta.set_points(origin, points);
            }
            return Ok(false);
        };
        let IncomingRow { parsed, seq, payload, dropped } = row;
        let payload = payload.map(Payload::to_bytes);
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
            if let Some(payload) = &payload {
                sent.row.insert(Entry { dot, payload: Bytes::clone(payload) });
            }
            sent.put(commit, &path, false);
        }
        if let Some(payload) = payload {
            if let (Leaf::Register, Some((stamp, _value))) = (parsed.leaf, register::split(&payload)) {
                follow_clock(space, &mut commit.meta, stamp, now_ms);
            }
            after.insert(Entry { dot, payload });
        }
        chain = commit.linked(chain, dot, &path, after.entries().iter().find(|entry| entry.dot == dot))?;
        if commit.row(&path, &row, &after)? && in_conflict(parsed.leaf, &after) {
            conflicts.add(path);
        }
        commit.event(dot, event);
        Ok(true)
    };
    let is_large = weight > space.file.settings.delta_memory as u64;
    let (meta, rows) = if is_large { guard.commit_streamed(commit, step)? } else { guard.commit_steps(commit, step)? };
    let (conflicts, conflicts_total) = conflicts.into_list();
    let version = meta.version();
    let mut sender: VersionVector = incoming.deps().collect();
    sender.advance(origin_id, hi);
    Ok(Applied::Merged(Merged {
        changed: true,
        rows,
        conflicts,
        conflicts_total,
        below_floor: false,
        diverged: false,
        sender,
        version,
    }))
}
