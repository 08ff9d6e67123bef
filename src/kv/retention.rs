//! Retention: what a store forgets, so that it does not grow with its history.
//!
//! A *delete event* lets a peer that is a little behind learn of the delete. A store may forget any of them: the *floor* says
//! up to where it may have. A peer below the floor is told what is live instead. Nobody needs to be asked.
//!
//! The *Write event* of an entry that is gone says nothing any more. On a disk, erasing each at once would rewrite a page that
//! nothing else touches, so a commit lists them in DEAD; when there are many, they are erased in the order of their numbers.
//!
//! Both are done in slices that ride on the commits of others, so that no commit is held up by more than a few times its own
//! size, and nothing runs when nothing is written.

use std::sync::Arc;

use crate::causal::VersionVector;
use crate::codec::DecodeError;

use super::commit::{Commit, Event, EventKind, decode_dots};
use super::error::{Error, Result};
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::row::LocalDot;
use super::space::{Space, WriterState};

/// How much a store keeps of what it could forget. Whatever it says, no data is at stake: what is forgotten costs bytes when a peer
/// that was away for long comes back.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Retention {
    /// Delete events that are always kept. Default: 1,024.
    pub deletes_min: u64,
    /// Delete events that are kept for each thousand rows. Default: 125.
    pub deletes_per_1000_rows: u64,
    /// Events of overwritten entries that may wait to be erased, in a file. Default: 4,096.
    pub dead_min: u64,
    /// The same, for each thousand live entries. Default: 250.
    pub dead_per_1000_entries: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { deletes_min: 1_024, deletes_per_1000_rows: 125, dead_min: 4_096, dead_per_1000_entries: 250 }
    }
}

impl Retention {
    fn deletes_max(&self, meta: &Meta) -> u64 {
        self.deletes_min.max(share(meta.rows, self.deletes_per_1000_rows))
    }

    fn dead_max(&self, meta: &Meta) -> u64 {
        self.dead_min.max(share(meta.entries, self.dead_per_1000_entries))
    }
}

fn share(of: u64, per_1000: u64) -> u64 {
    u64::try_from(u128::from(of) * u128::from(per_1000) / 1_000).unwrap_or(u64::MAX)
}

/// A sweep under way: the dots of some records of DEAD, in order.
#[derive(Debug)]
pub(crate) struct Sweep {
    dots: Vec<LocalDot>,
    /// How many of them are erased.
    done: usize,
    /// Which records they come from, and how many are in each.
    records: Vec<(u64, u64)>,
}

impl Sweep {
    /// The most dots of one sweep: 16 MiB.
    const DOTS_MAX: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

    fn load(space: &Space) -> Result<Self> {
        let (mut dots, mut records) = (Vec::new(), Vec::new());
        for record in space.backend().entries(space.tables.dead(), 0..=u64::MAX)? {
            let (number, bytes) = record?;
            let listed = decode_dots(&bytes)?;
            records.push((number, listed.len() as u64));
            dots.extend(listed);
            if dots.len() >= Self::DOTS_MAX {
                break;
            }
        }
        dots.sort_unstable();
        Ok(Self { dots, done: 0, records })
    }

    /// Erases up to so many. Returns whether that was the end.
    fn slice(&mut self, commit: &mut Commit, most: usize) -> bool {
        let end = self.done.saturating_add(most).min(self.dots.len());
        for dot in self.dots.get(self.done..end).unwrap_or_default() {
            commit.erase_event(*dot);
        }
        self.done = end;
        let ended = end == self.dots.len();
        if ended {
            for (record, dots) in &self.records {
                commit.erase_dead(*record, *dots);
            }
        }
        ended
    }
}

/// Lets a share of the work ride on a commit.
pub(crate) fn ride(space: &Space, state: &mut WriterState, commit: &mut Commit) -> Result<()> {
    if commit.rides() {
        Ride::on(commit).slice(space, state, commit, usize::MAX)?;
    }
    Ok(())
}

/// The share of the work that rides on one commit.
pub(crate) struct Ride {
    /// How many events may still be erased.
    sweeps: usize,
    /// How many events may still be looked at.
    evicts: usize,
    is_evicting: bool,
}

impl Ride {
    /// What a commit takes along: a few times its own size.
    pub(crate) fn on(commit: &Commit) -> Self {
        let most = commit.len().saturating_mul(4).max(256);
        Self { sweeps: most, evicts: most, is_evicting: false }
    }

    /// Adds up to `most` of each kind of work to the commit. Returns whether there is more to add.
    pub(crate) fn slice(&mut self, space: &Space, state: &mut WriterState, commit: &mut Commit, most: usize) -> Result<bool> {
        let retention = &space.file.settings.retention;
        if self.sweeps > 0 && state.sweep.is_none() && commit.meta.dead > retention.dead_max(&commit.meta) {
            state.sweep = Some(Sweep::load(space)?);
        }
        let sweeps = self.sweeps.min(most);
        self.sweeps -= sweeps;
        if state.sweep.as_mut().is_none_or(|sweep| sweep.slice(commit, sweeps)) {
            state.sweep = None;
            // Until the commit is in, the records of what was swept would be loaded, and counted, once more.
            self.sweeps = 0;
        }
        let cap = retention.deletes_max(&commit.meta);
        let target = cap - cap / 8;
        self.is_evicting |= commit.meta.deletes > cap;
        if self.is_evicting {
            let evicts = self.evicts.min(most);
            self.evicts -= evicts;
            evict(space, commit, target, evicts)?;
            self.is_evicting = self.evicts > 0 && commit.meta.deletes > target;
        }
        Ok(self.sweeps > 0 || self.is_evicting)
    }
}

/// Forgets delete events of the replica that has most, from the oldest on, until no more than `target` are left, or `most` events
/// were looked at.
fn evict(space: &Space, commit: &mut Commit, target: u64, most: usize) -> Result<()> {
    let most_deletes = commit.meta.replicas().max_by_key(|(_id, _index, progress)| progress.deletes);
    let Some((_id, replica, progress)) = most_deletes else { return Ok(()) };
    // What the commit adds itself is not in the backend yet.
    let end = space.meta()?.seq(replica);
    let mut upto = progress.evicted;
    let mut events = space.backend().entries(space.tables.events(replica), upto + 1..=end)?;
    for _ in 0..most {
        let Some(event) = events.next().transpose()? else {
            upto = end;
            break;
        };
        upto = event.0;
        if Event::decode(event.1)?.kind == EventKind::Delete {
            commit.forget_delete(LocalDot { replica, seq: upto });
            if commit.meta.deletes <= target {
                break;
            }
        }
    }
    if !mutant::is(Mutant::FloorNotRaisedByEviction) {
        commit.evict(replica, upto);
    }
    Ok(())
}

/// Erases everything that waits in DEAD, as a part of a commit.
pub(crate) fn sweep_all(space: &Space, state: &mut WriterState, commit: &mut Commit) -> Result<()> {
    state.sweep = None;
    for record in space.backend().entries(space.tables.dead(), 0..=u64::MAX)? {
        let (number, bytes) = record?;
        let dots = decode_dots(&bytes)?;
        commit.erase_dead(number, dots.len() as u64);
        dots.into_iter().for_each(|dot| commit.erase_event(dot));
    }
    Ok(())
}

/// Erases what waits in DEAD, a slice for each commit.
pub(crate) fn sweep(space: &Arc<Space>) -> Result<()> {
    const SLICE: usize = 1 << 16;
    loop {
        let mut guard = space.lock()?;
        let meta = space.meta()?;
        if meta.dead == 0 && guard.state.sweep.is_none() {
            return Ok(());
        }
        let mut commit = Commit::new(space, (*meta).clone());
        // A sweep that rode along would load, and count, the records that this one is about to erase.
        commit.stands_alone();
        let mut sweep = match guard.state.sweep.take() {
            Some(sweep) => sweep,
            None => Sweep::load(space)?,
        };
        if sweep.records.is_empty() {
            return Err(Error::corrupt("DEAD")(DecodeError::new(0, "fewer dots than were counted")));
        }
        if !sweep.slice(&mut commit, SLICE) {
            guard.state.sweep = Some(sweep);
        }
        guard.commit(commit)?;
    }
}

/// Forgets the delete events up to a vector, and raises the floor over them. Returns how many went.
pub(crate) fn forget_deletes(space: &Arc<Space>, up_to: &VersionVector) -> Result<u64> {
    let guard = space.lock()?;
    let meta = space.meta()?;
    let mut commit = Commit::new(space, (*meta).clone());
    let (mut forgotten, mut raised) = (0, false);
    for (id, seq) in up_to.iter() {
        let Some(replica) = meta.index(id) else { continue };
        let (evicted, end) = (meta.progress(replica).evicted, seq.min(meta.seq(replica)));
        // Below the floor some may be left: a merge brings what the peer still has.
        for event in space.backend().entries(space.tables.events(replica), evicted + 1..=end)? {
            let (seq, bytes) = event?;
            if Event::decode(bytes)?.kind == EventKind::Delete {
                commit.forget_delete(LocalDot { replica, seq });
                forgotten += 1;
            }
        }
        raised |= commit.evict(replica, end);
    }
    if forgotten > 0 || raised {
        guard.commit(commit)?;
    }
    Ok(forgotten)
}

#[cfg(all(test, feature = "redb"))]
mod tests {
    use super::*;
    use crate::kv::{Durability, Store};
    use crate::storage::Redb;

    /// A compaction whose sweep had come to its end let the same records be swept once more on its own commit, and counted them
    /// twice: the last ones stayed for ever, and the store did not pass its own check, so that no backup of it could be restored.
    #[test]
    fn what_is_swept_is_counted_once() {
        let disk = Redb::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let retention = Retention { dead_min: 6_000, dead_per_1000_entries: 0, ..Retention::default() };
        let store = Store::options().retention(retention).durability(Durability::Deferred).open_backend(disk).unwrap();
        let write = |rows: u64| store.transact(|tx| (0..rows).try_for_each(|row| tx.register::<u64>(row).set(&rows))).unwrap();
        let dead = || store.snapshot().unwrap().meta().dead;
        write(3_000);
        // More than one sweep takes, and more than may wait.
        (0..6).for_each(|_| write(1_000));
        write(3_000);
        write(1);
        assert_eq!(dead(), 9_001);
        store.check().unwrap();
        store.compact().unwrap();
        assert_eq!(dead(), 0);
        store.check().unwrap();
    }

    /// What a merge hands to the backend as it finds it took no slice of the work along: a store that takes in large deltas and nothing
    /// else forgot nothing, ever.
    #[test]
    fn a_store_that_only_takes_in_large_deltas_does_not_grow_with_their_number() {
        let disk = Redb::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let retention = Retention { deletes_min: 100, deletes_per_1000_rows: 0, dead_min: 1_000, dead_per_1000_entries: 0 };
        let store = Store::options().retention(retention).delta_memory(0).open_backend(disk).unwrap();
        let peer = Store::in_memory();
        for round in 0..40_u64 {
            peer.transact(|tx| (0..500_u64).try_for_each(|row| tx.register::<u64>(("stays", row)).set(&round))).unwrap();
            peer.transact(|tx| (0..50_u64).try_for_each(|row| tx.register::<u64>(("goes", row)).set(&round))).unwrap();
            peer.delete_prefix("goes").unwrap();
            store.merge(peer.delta_since(&store.version().unwrap()).unwrap()).unwrap();
            store.check().unwrap();
            // The limit, and what one commit may add before the next one takes it away.
            let meta = store.snapshot().unwrap().meta();
            assert!(meta.dead <= 1_000 + 2 * 500, "{} dead after {round}", meta.dead);
            assert!(meta.deletes <= 100 + 2 * 50, "{} deletes after {round}", meta.deletes);
        }
        store.compact().unwrap();
        assert_eq!(store.canonical().unwrap(), peer.canonical().unwrap());
        store.check().unwrap();
    }
}
