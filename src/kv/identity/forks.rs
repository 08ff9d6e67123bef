//! Forks: one event that was made twice.
//!
//! A replica keeps the hash of its own history, and at which points it had which hash when something left the file. What leaves
//! carries, for each replica, the newest such point that is known. Two copies of one file that both went on have different hashes at
//! the same number, or a point where the other has none.

use crate::causal::ReplicaId;
use crate::kv::commit::Commit;
use crate::kv::error::{Error, Result};
use crate::kv::meta::Meta;
use crate::kv::space::Space;

use super::StoreEvent;

/// What a peer says of a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) id: ReplicaId,
    /// It has every event up to this one.
    pub(crate) seq: u64,
    /// The newest point of the replica's history that it knows, and the hash there. 0: it knows none.
    pub(crate) mark_seq: u64,
    pub(crate) mark: u64,
}

/// Checks what a peer says. Returns whether this replica must take a new id: the peer has own events of it that it never gave away.
pub(crate) fn check_claims(space: &Space, meta: &Meta, claims: impl IntoIterator<Item = Claim>) -> Result<bool> {
    let me = meta.me.and_then(|me| meta.id(me));
    let mut is_copy = false;
    for claim in claims {
        let forked = if Some(claim.id) == me {
            is_copy |= claim.seq > meta.emitted;
            claim.seq <= meta.emitted && !is_own_point(space, claim)?
        } else {
            let ours = meta.index(claim.id).map(|index| meta.progress(index)).unwrap_or_default();
            claim.mark_seq > 0 && ours.mark_seq == claim.mark_seq && ours.mark != claim.mark
        };
        if forked {
            is_copy |= Some(claim.id) == me;
            space.events.push(StoreEvent::Forked { replica: claim.id, seq: claim.mark_seq });
        }
    }
    Ok(is_copy)
}

/// Whether a point of this replica's history is one that it has given away itself.
fn is_own_point(space: &Space, claim: Claim) -> Result<bool> {
    if claim.mark_seq == 0 {
        return Ok(true);
    }
    let marks = space.tables.marks();
    let Some(ours) = space.backend().at(marks, claim.mark_seq)? else {
        // Older than what is kept: nothing can be said.
        let oldest = space.backend().entries(marks, 0..=u64::MAX)?.next().transpose()?;
        return Ok(oldest.is_none_or(|(oldest, _hash)| claim.mark_seq < oldest));
    };
    Ok(hash_of(&ours)? == claim.mark)
}

/// The hash in a row of MARKS.
pub(super) fn hash_of(bytes: &[u8]) -> Result<u64> {
    let hash = <[u8; 8]>::try_from(bytes);
    let hash = hash.map_err(|_other| Error::corrupt("MARKS")(crate::codec::DecodeError::new(0, "a hash that is none")))?;
    Ok(u64::from_le_bytes(hash))
}

/// Notes what a peer knows of other replicas' histories, if it is newer.
pub(crate) fn note_marks(commit: &mut Commit, claims: impl IntoIterator<Item = Claim>) {
    for claim in claims {
        let Some(index) = commit.meta.index(claim.id) else { continue };
        let ours = commit.meta.progress(index);
        if commit.meta.me != Some(index) && claim.mark_seq > ours.mark_seq && claim.mark_seq <= ours.seq {
            commit.meta.set_mark(index, claim.mark_seq, claim.mark);
            commit.touch(index);
        }
    }
}
