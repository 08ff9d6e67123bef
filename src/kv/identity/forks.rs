//! Forks: one event that was made twice.
//!
//! A replica keeps the hash of its own history, and at which points it had which hash when something left the file (MARKS). What
//! leaves carries, for each replica, the newest such points that are known; who gets them keeps them. Where two lists contradict each
//! other, two copies of one file have both gone on.

use crate::causal::ReplicaId;
use crate::kv::commit::Commit;
use crate::kv::error::{Error, Result};
use crate::kv::meta::{Meta, Tables};
use crate::kv::space::Space;
use crate::storage::Read;

use super::StoreEvent;
use super::points::{Point, Points};

/// What a peer says of a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) id: ReplicaId,
    /// It has every event up to this one.
    pub(crate) seq: u64,
    /// What it knows of the replica's history.
    pub(crate) points: Option<&'a Points>,
}

/// Checks what a peer says. Returns whether this replica must take a new id: the peer has own events of it that it never gave away.
pub(crate) fn check_claims<'a>(space: &Space, meta: &Meta, claims: impl IntoIterator<Item = Claim<'a>>) -> Result<bool> {
    let me = meta.me.and_then(|me| meta.id(me));
    let mut is_copy = false;
    for claim in claims {
        let is_me = Some(claim.id) == me;
        let forked = match (claim.points, meta.index(claim.id)) {
            (Some(theirs), Some(_own)) if is_me => own_points_near(space, theirs)?.differ(theirs),
            (Some(theirs), Some(index)) => meta.points(index).and_then(|ours| ours.differ(theirs)),
            _nothing_to_compare => None,
        };
        is_copy |= is_me && (forked.is_some() || claim.seq > meta.emitted);
        if let Some(seq) = forked {
            space.events.push(StoreEvent::Forked { replica: claim.id, seq });
        }
    }
    Ok(is_copy)
}

/// The points of this replica's own history from the one before a peer's to the one behind them. Of more than the peer has between
/// its own, enough to tell.
fn own_points_near(space: &Space, theirs: &Points) -> Result<Points> {
    let (Some(first), Some(last)) = (theirs.oldest(), theirs.newest()) else { return Ok(Points::none()) };
    let (backend, marks) = (space.backend(), space.tables.marks());
    if let Some(same) = backend.at(marks, last.seq)?.map(|hash| point(last.seq, &hash)).transpose()?.filter(|own| *own == last)
    {
        return Ok(Points::from_iter([same]));
    }
    let before = backend.entries(marks, 0..=first.seq)?.next_back();
    let within = backend.entries(marks, first.seq + 1..=last.seq)?.take(Points::MAX + 1);
    let behind = backend.entries(marks, last.seq + 1..=u64::MAX)?.next();
    before
        .into_iter()
        .chain(within)
        .chain(behind)
        .map(|mark| mark.map_err(Error::from).and_then(|(seq, hash)| point(seq, &hash)))
        .collect()
}

/// The newest points of this replica's own history, for what leaves the file up to `seq`.
pub(crate) fn own_points(read: &dyn Read, tables: Tables, seq: u64) -> Result<Points> {
    let newest = read.entries(tables.marks(), 0..=seq)?.rev().take(Points::MAX);
    let mut newest: Vec<_> =
        newest.map(|mark| mark.map_err(Error::from).and_then(|(seq, hash)| point(seq, &hash))).collect::<Result<_>>()?;
    newest.reverse();
    Ok(newest.into_iter().collect())
}

/// A row of MARKS.
fn point(seq: u64, hash: &[u8]) -> Result<Point> {
    let hash = <[u8; 8]>::try_from(hash);
    let hash = hash.map_err(|_other| Error::corrupt("MARKS")(crate::codec::DecodeError::new(0, "a hash that is none")))?;
    Ok(Point { seq, hash: u64::from_le_bytes(hash) })
}

/// Keeps what a peer knows of other replicas' histories.
pub(crate) fn note_points<'a>(commit: &mut Commit, claims: impl IntoIterator<Item = Claim<'a>>) {
    for claim in claims {
        let Some((index, theirs)) = commit.meta.index(claim.id).zip(claim.points) else { continue };
        let Some(ours) = commit.meta.points(index).filter(|_ours| commit.meta.me != Some(index)) else { continue };
        let seq = commit.meta.seq(index);
        let mut merged = ours.clone();
        merged.merge(theirs);
        if merged != *ours && merged.newest().is_some_and(|newest| newest.seq <= seq) {
            commit.meta.set_points(index, merged);
            commit.touch(index);
        }
    }
}
