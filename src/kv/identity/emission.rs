//! What leaves the file: durable, and noted as given away.

use std::ops::Bound;
use std::sync::Arc;

use crate::causal::VersionVector;
use crate::kv::commit::Commit;
use crate::kv::error::{Error, Result};
use crate::kv::file::Durability;
use crate::kv::mutant::{self, Mutant};
use crate::kv::space::{Space, View};
use crate::kv::steps::{self, Step};

use super::{Claim, Point, lock};

/// How many points of its own history a replica keeps.
const MARKS_MAX: u64 = 1_024;

/// A state that may leave the file, for a peer that has seen `base`. Cost: nothing, or one commit if there are own events that have
/// never left it.
pub(crate) fn view_to_emit(space: &Arc<Space>, base: &VersionVector) -> Result<View> {
    // If the peer asks for less than it would get, this file is a copy. Before anything leaves it.
    hear_of(space, base)?;
    let view = space.counted_view()?;
    if view.meta.unsent().is_some() && space.file.settings.read_only {
        return Err(Error::Refused(
            "the store has writes that never left its file, and cannot note that they do: open it for writing to give them away",
        ));
    }
    if view.meta.unsent().is_none() {
        if !mutant::is(Mutant::EmittedBeforeFsync) {
            space.file.make_durable()?;
        }
        return Ok(view);
    }
    steps::at(Step::EmissionLooked);
    let mut guard = space.lock()?;
    let mut commit = Commit::new(space, (*space.meta()?).clone());
    mark_emitted(space, &mut commit)?;
    let durability = if mutant::is(Mutant::EmittedBeforeFsync) { Durability::Deferred } else { Durability::Immediate };
    let (_meta, ticket) = guard.apply(commit, durability)?;
    steps::at(Step::EmissionNoted);
    // Under the lock: another writer could add what is not noted.
    let view = space.view()?;
    guard.settle(ticket)?;
    Ok(view)
}

/// A peer has this version: if it has own events above what was given away, this file is a copy, and takes a new id.
pub(crate) fn hear_of(space: &Arc<Space>, version: &VersionVector) -> Result<()> {
    let meta = space.meta()?;
    let own = meta.me.and_then(|me| meta.id(me)).map_or(0, |me| version.get(me));
    if own > meta.emitted && !space.file.settings.read_only {
        drop(lock(space, || version.iter().map(|(id, seq)| Claim { id, seq, points: None }))?);
    }
    Ok(())
}

/// Notes in a commit that everything up to and with it may leave the file.
pub(crate) fn mark_emitted(space: &Space, commit: &mut Commit) -> Result<()> {
    let Some((_me, seq)) = commit.meta.unsent() else { return Ok(()) };
    commit.meta.emitted = seq;
    if commit.meta.marks == 0 {
        commit.mark(Point::START);
    }
    commit.mark(Point { seq, hash: commit.meta.chain });
    if commit.meta.marks > MARKS_MAX
        && let Some(oldest) = space.backend().entries(space.tables.marks(), 0..=u64::MAX)?.next()
    {
        commit.forget_mark(oldest?.0);
    }
    if commit.meta.sent > 0 {
        for row in space.backend().range(space.tables.sent(), (Bound::Unbounded, Bound::Unbounded))? {
            commit.remove_sent(row?.0);
        }
    }
    Ok(())
}
