//! `merge`: a delta becomes one local transaction.
//!
//! ```text
//! require base <= vv                  else: ask again
//! require V[me] <= emitted            else: this file is an old copy, and takes a new id first
//! for (path, image) in rows:
//!    row = { c in row : c in image or c not in V } + { e in image : e not in vv }
//!    EVENTS += Write for the new dots, Delete for the row's deletes above vv
//! below the floor: drop every live d <= V that is neither in LIVE nor in rows; raise my floor to the sender's
//! vv = vv join V; commit
//! same version as the sender now: same digest, or say so
//! ```
//!
//! Everything is validated before anything is written: the delta is read once to its end, and then again (and once more, below
//! the floor). Nothing of it is kept in between but its head: not the rows, and not the live numbers, of which a store only
//! needs to know which of its own are not among them. A delta that comes from a stream waits in the file meanwhile
//! (`stage.rs`). A large change goes to the backend as it is found (`stream.rs`): a small delta from below the floor may drop every row.

mod doubles;
mod join;

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::causal::{Hlc, VersionVector};

use super::commit::Commit;
use super::delta::{DeltaReader, Frames, Head, Owned, SliceFrames, StreamFrames};
use super::digest::Digest;
use super::error::{Error, Result};
use super::identity::{self, StoreEvent};
use super::meta::Meta;
use super::row_path::RowPath;
use super::space::Space;
use super::stage::Stage;
use doubles::{read_to_end, refuse_doubles};
use join::Merge;

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// Whether anything changed: rows, or what this store has seen.
    pub changed: bool,
    /// How many rows changed.
    pub rows: u64,
    /// Rows that changed, and hold concurrent writes of which only one is shown: values of a register that differ, a flag both
    /// enabled and disabled. Sorted; if there are more than 10,000, the first ones.
    pub conflicts: Vec<RowPath>,
    /// How many such rows there are, those that are not listed included.
    pub conflicts_total: u64,
    /// Whether the delta came from below the floor, so that it listed all that is live.
    pub below_floor: bool,
    /// Whether the sender, at the very version that this store has now, holds other contents
    /// ([`StoreEvent::Diverged`]).
    pub diverged: bool,
    /// What the sender had seen, as far as what came tells.
    pub sender: VersionVector,
    /// What this store has seen now.
    pub version: VersionVector,
}

/// Rows in conflict: the first ones, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    paths: BTreeSet<RowPath>,
    total: u64,
}

impl Conflicts {
    /// The most that are listed: a merge of any size so takes a few MiB for them.
    const LISTED_MAX: usize = 10_000;

    pub(crate) fn add(&mut self, path: Bytes) {
        self.total += 1;
        self.paths.insert(RowPath::new(path));
        if self.paths.len() > Self::LISTED_MAX {
            self.paths.pop_last();
        }
    }

    pub(crate) fn into_list(self) -> (Vec<RowPath>, u64) {
        (self.paths.into_iter().collect(), self.total)
    }
}

/// A delta up to this size is not staged.
const IN_MEMORY_BYTES: usize = 1 << 20;

/// Merges a delta.
pub(crate) fn merge(space: &Arc<Space>, input: &[u8]) -> Result<Merged> {
    let frames = || SliceFrames::new(input);
    let mut reader = DeltaReader::new(frames())?;
    refuse_other_space(space, reader.head())?;
    let head = reader.head().clone();
    let read = read_to_end(&mut reader, space.file.settings.delta_memory)?;
    refuse_doubles(read.doubles, &frames)?;
    join(space, &head, &frames, read.weight)
}

/// Merges a delta that comes from a stream.
pub(crate) fn merge_from(space: &Arc<Space>, mut from: impl io::Read) -> Result<Merged> {
    // Before anything of it is staged: that writes too.
    if space.file.settings.read_only {
        return Err(Error::ReadOnly);
    }
    let mut start = Vec::new();
    let limit = IN_MEMORY_BYTES.min(space.file.settings.delta_memory);
    from.by_ref().take(limit as u64 + 1).read_to_end(&mut start).map_err(Error::transfer)?;
    if start.len() <= limit {
        return merge(space, &start);
    }
    let frames = StreamFrames::new(io::Cursor::new(start).chain(from));
    let mut reader = DeltaReader::new(Incoming { frames, stage: Stage::new(space), is_wanted: true })?;
    refuse_other_space(space, reader.head())?;
    let head = reader.head().clone();
    // What can be known of the end already: nobody wants to stage gigabytes for an error, or for nothing.
    let is_wanted = !is_covered(&*space.meta()?, &head)?;
    reader.frames_mut().is_wanted = is_wanted;
    let read = read_to_end(&mut reader, space.file.settings.delta_memory)?;
    let mut stage = reader.into_frames().stage;
    if !is_wanted {
        // Checked to its end all the same, up to what needs the delta twice. What is covered stays so, unless this replica takes a
        // new id: then there is nothing of the delta to go on with.
        let (_guard, meta) = identity::lock(space, || head.claims())?;
        return if is_covered(&meta, &head)? {
            Ok(nothing_new(space, &meta, &head))
        } else {
            Err(Error::Behind { need: head.base() })
        };
    }
    stage.flush()?;
    let frames = || stage.frames();
    refuse_doubles(read.doubles, &frames)?;
    join(space, &head, &frames, read.weight)
}

/// The frames of a stream, which are staged as they come.
struct Incoming<'a, R> {
    frames: StreamFrames<R>,
    stage: Stage<'a>,
    is_wanted: bool,
}

impl<R: io::Read> Frames for Incoming<'_, R> {
    fn next_frame(&mut self) -> Result<Option<Owned>> {
        let Some((bytes, frame)) = self.frames.next_whole()? else { return Ok(None) };
        if self.is_wanted {
            self.stage.push(bytes)?;
        }
        Ok(Some(frame))
    }
}

/// Merges a delta that was read to its end without an error. `frames` gives it from the start, and `weight` is what its rows take as
/// they are written. A large change goes to the backend as it is found, so that it may be more than memory holds.
fn join<F: Frames>(space: &Arc<Space>, head: &Head, frames: &impl Fn() -> F, mut weight: u64) -> Result<Merged> {
    let (guard, before) = identity::lock(space, || head.claims())?;
    if is_covered(&before, head)? {
        return Ok(nothing_new(space, &before, head));
    }
    let mut commit = Commit::new(space, (*before).clone());
    let mut merge = Merge::new(space, head, &before, &mut commit);
    if head.below_floor {
        weight = weight.saturating_add(merge.find_gone(DeltaReader::new(frames())?)?);
    }
    let mut reader = DeltaReader::new(frames())?;
    let step = |commit: &mut Commit| merge.step(&mut reader, commit);
    let is_large = weight > space.file.settings.delta_memory as u64;
    let (meta, rows) = if is_large { guard.commit_streamed(commit, step)? } else { guard.commit_steps(commit, step)? };
    let (conflicts, conflicts_total) = merge.conflicts.into_list();
    let (below_floor, version) = (head.below_floor, meta.version());
    let diverged = has_diverged(space, &meta, head);
    Ok(Merged { changed: true, rows, conflicts, conflicts_total, below_floor, diverged, sender: head.version(), version })
}

fn nothing_new(space: &Space, meta: &Meta, head: &Head) -> Merged {
    let (below_floor, version, diverged) = (head.below_floor, meta.version(), has_diverged(space, meta, head));
    let sender = head.version();
    Merged { changed: false, rows: 0, conflicts: Vec::new(), conflicts_total: 0, below_floor, diverged, sender, version }
}

/// Whether a peer of the same version has other contents.
fn has_diverged(space: &Space, meta: &Meta, head: &Head) -> bool {
    let ours = Digest::of(meta);
    if ours == head.digest || !head.is_version_of(meta) {
        return false;
    }
    space.events.push(StoreEvent::Diverged { ours, theirs: head.digest });
    true
}

fn refuse_other_space(space: &Space, head: &Head) -> Result<()> {
    if head.space == space.id {
        return Ok(());
    }
    Err(Error::WrongSpace { ours: space.id, theirs: head.space })
}

/// Whether everything that a delta has is in already. Refuses one that cannot be merged into what is here.
fn is_covered(meta: &Meta, head: &Head) -> Result<bool> {
    if !head.replicas.iter().all(|replica| seen(meta, replica.id) >= replica.base) {
        return Err(Error::Behind { need: head.base() });
    }
    if head.replicas.iter().all(|replica| seen(meta, replica.id) >= replica.version) {
        return Ok(true);
    }
    meta.room_for(head.replicas.iter().map(|replica| replica.id))?;
    Ok(false)
}

/// How much of a replica was seen.
fn seen(meta: &Meta, id: crate::causal::ReplicaId) -> u64 {
    meta.index(id).map_or(0, |index| meta.seq(index))
}

/// Moves the clock over a stamp that came, or counts it if it is beyond the drift limit.
pub(crate) fn follow_clock(space: &Space, meta: &mut Meta, stamp: Hlc, now_ms: u64) {
    if stamp.ahead_of(now_ms) > space.file.settings.limits.clock_drift_ms {
        space.stamps_ahead.fetch_add(1, Ordering::Relaxed);
    } else {
        meta.hlc = meta.hlc.max(stamp);
    }
}
