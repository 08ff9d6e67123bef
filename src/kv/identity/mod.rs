//! Who this replica is, and what it does when somebody else may be the same one.
//!
//! A dot must mean one thing for ever. So this replica's own events leave the file only once they are durable, and only once the
//! file says that they may have left (`emitted`). If a peer has an own event above that, this file is an old copy: of a backup, of
//! a machine that was rolled back, of a file that somebody copied. It then takes a new id, and what it wrote and never gave away is
//! written again under that ([`rotate()`]).
//!
//! ```text
//!            emitted            vv[me]
//!   ─────────────┼─────────────────┤  own events
//!    peers may   │  nobody else    │
//!    have them   │  can have them  │
//!                └── rotation: written again under the new id, taken back under the old one
//! ```
//!
//! | where | what |
//! |---|---|
//! | `emission` | what leaves the file, and what is noted before |
//! | `sent` | own counter rows as the peers may know them: a rotation must be able to go back to them |
//! | `rotate` | the new id |
//! | `forks` | the same event made twice: told from what two stores know of a replica's history |
//! | `points` | what is known of a replica's history |

mod emission;
mod forks;
mod points;
mod rotate;
mod sent;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::causal::ReplicaId;

use forks::check_claims;

use super::error::Result;
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::options::Settings;
use super::space::{Space, WriterGuard};

#[cfg(feature = "replication")]
pub(crate) use emission::hear_of;
pub(crate) use emission::{mark_emitted, view_to_emit};
pub(crate) use forks::{Claim, note_points, own_points};
pub(crate) use points::{Point, Points};
pub(crate) use rotate::{rotate, rotate_every_space};

pub(crate) use sent::Sent;

/// What a store has found out about itself and its peers. From [`Store::take_events`](super::Store::take_events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEvent {
    /// This file is a copy, and has a new id. Nothing was lost: what it had not given away was written again under the new id. What
    /// the original had written before the copy was made, and gave away only after, now is there twice.
    IdentityRotated {
        /// The id before. Its events up to the last one that was given away stay.
        old: ReplicaId,
        /// The id now; `None`: the next write mints one.
        new: Option<ReplicaId>,
        /// How many events were written again.
        replayed: u64,
    },
    /// One event of a replica was made twice, with different contents: two copies of its file have both written, and both gave it
    /// away. (Or one gave away by itself what the other gave away together with more: then nothing differs.) Those who have the one will not take the other. Write the keys that differ again, or remove the file of one side and
    /// fetch everything from the other.
    Forked {
        /// Whose event.
        replica: ReplicaId,
        /// The first event of it of which is known that the histories differ there.
        seq: u64,
    },
    /// A peer with the same version holds other contents: a fork, damage that nothing else has noticed, or a bug. What differs stays
    /// different until it is written again.
    Diverged {
        /// The digest of this store, before anything else was merged.
        ours: super::Digest,
        /// The digest of the peer.
        theirs: super::Digest,
    },
}

/// What happened and was not asked for yet. Of more than [`Self::MAX`], the newest.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<VecDeque<StoreEvent>>);

impl Events {
    const MAX: usize = 1_024;

    pub(crate) fn push(&self, event: StoreEvent) {
        let mut events = self.0.lock();
        // A peer may say the same again and again.
        if events.back() == Some(&event) {
            return;
        }
        if events.len() == Self::MAX {
            events.pop_front();
        }
        events.push_back(event);
    }

    pub(crate) fn take(&self) -> Vec<StoreEvent> {
        self.0.lock().drain(..).collect()
    }
}

/// Waits for the writer lock, as a replica that no other one is: if a peer's claims tell that this file is a copy, it has a new id
/// when this returns.
pub(crate) fn lock<'a, C: IntoIterator<Item = Claim<'a>>>(
    space: &Arc<Space>,
    claims: impl Fn() -> C,
) -> Result<(WriterGuard, Arc<Meta>)> {
    loop {
        let guard = space.lock()?;
        let meta = space.meta()?;
        if !check_claims(space, &meta, claims())? || mutant::is(Mutant::RestoredIdKept) {
            return Ok((guard, meta));
        }
        rotate(guard)?;
    }
}

/// An id that the space has never heard of.
pub(crate) fn mint(meta: &Meta, settings: &Settings) -> Result<ReplicaId> {
    // A fixed one is taken once: a replica that lost its file, or was rotated away from it, is another one.
    if let Some(id) = settings.replica.filter(|id| meta.index(*id).is_none()) {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    settings.entropy.fill(&mut bytes)?;
    Ok(ReplicaId::from(uuid::Builder::from_random_bytes(bytes).into_uuid()))
}

#[cfg(test)]
mod tests;
