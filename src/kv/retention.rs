//! Retention: which delete events are forgotten.
//!
//! A delete event lets a peer that is a little behind learn of the delete. A store may forget any of them: the *floor* says
//! up to where it may have. A peer below the floor is told what is live instead. Nobody needs to be asked.

use std::sync::Arc;

use crate::causal::VersionVector;

use super::commit::{Commit, Event, EventKind};
use super::error::Result;
use super::row::LocalDot;
use super::space::Space;

/// Forgets the delete events up to a vector, and raises the floor over them. Returns how many went.
pub(crate) fn forget_deletes(space: &Arc<Space>, up_to: &VersionVector) -> Result<u64> {
    let guard = space.lock()?;
    let meta = space.meta()?;
    let mut commit = Commit::new(space.tables, (*meta).clone());
    let (mut forgotten, mut raised) = (0, false);
    for (id, seq) in up_to.iter() {
        let Some(replica) = meta.index(id) else { continue };
        let floor = seq.min(meta.seq(replica));
        // Below the old floor they may come from a merge: a peer passes on what it still has.
        for event in space.backend().entries(space.tables.events(replica), 1..=floor)? {
            let (seq, bytes) = event?;
            if Event::decode(bytes)?.kind == EventKind::Delete {
                commit.forget_delete(LocalDot { replica, seq });
                forgotten += 1;
            }
        }
        raised |= commit.raise_floor(replica, floor);
    }
    if forgotten > 0 || raised {
        guard.commit(commit)?;
    }
    Ok(forgotten)
}
