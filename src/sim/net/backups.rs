//! Stores that come back as they were: a backup, opened in the place of a store that is lost, or beside it.
//!
//! ```text
//!   original ──┬── gives away more ──▶ peers ─────────────┐
//!              │ backed up                                 ├─▶ the copy takes a new id; all are the same, and nothing is lost
//!              └── copy ── writes ── meets one of them ────┘
//! ```
//!
//! A copy has the id of its original, and finds out that it is one by a peer who knows more of that id than it ever gave away. So
//! whomever a copy meets first must know more, if anybody does. Otherwise two events get one number, which nobody can mend; that is for
//! [`Copies::run_forks`](crate::sim::Copies::run_forks).
//!
//! To the oracle a copy is a replica of its own from the moment of the backup on. What was not given away by then is recorded once more:
//! what becomes of it at the original is another matter.

use std::sync::Arc;

use crate::causal::{ReplicaId, VersionVector};
use crate::kv::StoreEvent;
use crate::sim::cut::{At, Cut, REPLICAS_MAX};
use crate::sim::op::Op;
use crate::sim::subject::Subject;
use crate::storage::Memory;

use super::histories::Branch;
use super::link::Faults;
use super::place::Place;
use super::world::{Checked, Plan, World, say};

/// A store as it was.
pub(super) struct Image {
    memory: Memory,
    /// The one that it had at first, and the one that it has.
    first_id: ReplicaId,
    id: ReplicaId,
    version: VersionVector,
    cut: Cut,
    /// What it has done under its id, and up to which event it may have given that away.
    branch: Branch,
    emitted: u64,
    /// Its lane of the oracle, what it has written in that, and how much of it given away under an earlier id.
    lane: usize,
    log: Vec<Vec<Op>>,
    given: u32,
}

/// Of a copy, as long as it has the id of its original, and others know more of that than it has given away.
pub(super) struct Outrun {
    pub(super) id: ReplicaId,
    pub(super) branch: Branch,
    emitted: u64,
}

impl World<'_> {
    pub(super) fn back_up(&mut self, node: usize) -> Checked {
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        let store = place.subject.store();
        let (id, emitted) = (store.replica().map_err(say)?, store.emitted().map_err(say)?);
        let (Some(id), Some(memory)) = (id, place.memory.as_ref().map(Memory::fork)) else { return Ok(()) };
        let branch = place.outrun.as_mut().map_or_else(|| self.histories.of(id), |outrun| &mut outrun.branch).clone();
        let (version, cut, lane, log) = (place.version.clone(), place.cut, place.lane, place.log.clone());
        let (first_id, given) = (place.subject.replica(), place.given);
        place.image = Some(Arc::new(Image { memory, first_id, id, version, cut, branch, emitted, lane, log, given }));
        self.note(format_args!("back up {node}"));
        Ok(())
    }

    /// A store is lost, and what is opened in its place is as it was.
    pub(super) fn restore(&mut self, node: usize, for_us: u64) -> Checked {
        let Some(place) = self.places.get(node) else { return Ok(()) };
        let Some(image) = place.image.clone() else { return Ok(()) };
        // What it has done since, and kept to itself, is lost.
        let lost = if place.outrun.is_none() { self.given_away(node)? } else { None };
        let is_outrun = self.is_outrun(node, &image)?;
        let peers: Vec<usize> = self.network.neighbours(node).collect();
        let is_fork = is_outrun && !peers.iter().all(|peer| self.knows_more(*peer, &image));
        if is_fork || self.would_forget(&peers, &image) || self.oracle.replicas() == REPLICAS_MAX {
            return Ok(());
        }
        self.network.stop(node);
        self.counts.restores += 1;
        self.note(format_args!("{node} is lost, and opened as it was when it was backed up"));
        if let Some((own, emitted)) = lost {
            let history = self.histories.of(own);
            *history = std::mem::take(history).until(emitted);
        }
        let mut copy = self.open(&image, is_outrun)?;
        copy.image = Some(image);
        if let Some(place) = self.places.get_mut(node) {
            copy.skew_ms = place.skew_ms;
            *place = copy;
        }
        self.set_clock(node);
        self.plan_after(for_us, Plan::Start(node));
        self.check(node)
    }

    /// A copy is opened while its original goes on. It writes, and then meets a peer.
    pub(super) fn open_beside(&mut self, node: usize, peer: usize, writes: &[u64]) -> Checked {
        let Some(image) = self.places.get(node).and_then(|place| place.image.clone()) else { return Ok(()) };
        let is_fork = !self.is_outrun(node, &image)? || !self.knows_more(peer, &image) || self.would_forget(&[peer], &image);
        if is_fork || self.oracle.replicas() == REPLICAS_MAX {
            return Ok(());
        }
        let new = self.places.len();
        let copy = self.open(&image, true)?;
        self.places.push(copy);
        self.counts.clones += 1;
        self.cloned.insert(image.id);
        self.note(format_args!("{new} is opened, as {node} was when it was backed up"));
        self.set_clock(new);
        self.check(new)?;
        writes.iter().try_for_each(|seed| self.write(new, *seed))?;
        if let Some(place) = self.places.get_mut(new) {
            place.is_running = true;
            let node = self.network.add(place.subject.store());
            assert_eq!(node, new, "a node has the number of its place");
        }
        self.network.link(new, peer, Faults::connection());
        Ok(())
    }

    /// The id of a store, and up to which event it may have given away what it did.
    fn given_away(&self, node: usize) -> Checked<Option<(ReplicaId, u64)>> {
        let Some(store) = self.places.get(node).map(|place| place.subject.store()) else { return Ok(None) };
        Ok(store.replica().map_err(say)?.zip(Some(store.emitted().map_err(say)?)))
    }

    /// Whether others may have events of the id of an image that it has not given away, when the store that it was made of is gone.
    fn is_outrun(&mut self, node: usize, image: &Image) -> Checked<bool> {
        let is_copy = self.places.get(node).is_some_and(|place| place.outrun.is_some());
        let of_original = self.given_away(node)?.filter(|(id, _emitted)| *id == image.id && !is_copy);
        Ok(of_original.map_or_else(|| self.histories.of(image.id).last(), |(_id, emitted)| emitted) > image.emitted)
    }

    /// Whether a peer has events of an image's id that the image had not given away.
    fn knows_more(&self, peer: usize, image: &Image) -> bool {
        let is_copy = |place: &Place| place.outrun.as_ref().is_some_and(|outrun| outrun.id == image.id);
        self.places.get(peer).is_some_and(|place| !is_copy(place) && place.version.get(image.id) > image.emitted)
    }

    /// Whether a copy may meet a store that, as it was in `image`, does not know more than the copy.
    fn would_forget(&self, peers: &[usize], image: &Image) -> bool {
        let mut outrun = peers.iter().filter_map(|peer| self.places.get(*peer)?.outrun.as_ref());
        outrun.any(|outrun| image.version.get(outrun.id) <= outrun.emitted)
    }

    fn open(&mut self, image: &Image, is_outrun: bool) -> Checked<Place> {
        let lane = self.oracle.add_replica(image.id);
        let mut branch = image.branch.clone().until(image.emitted);
        let given = branch.add_to(Cut::default(), branch.last()).unwrap_or_default().count(image.lane).max(image.given);
        // What of the original's it had not given away is the copy's own.
        let own = |cut: Cut| {
            let count = cut.count(image.lane);
            let beyond = count.saturating_sub(given);
            cut.with_count(image.lane, count - beyond).with_count(lane, beyond)
        };
        let mut place = self.new_place(image.first_id, lane, image.memory.fork())?;
        for (no, ops) in (0..).zip(&image.log).skip(given as usize) {
            let before = At { replica: image.lane, no };
            let (saw, stamp) = (own(self.oracle.cut_of(before).0), self.oracle.stamp_at(before));
            let again = self.oracle.record(lane, &saw, 0, ops, &[]);
            self.oracle.stamp(again, stamp);
            place.log.push(ops.clone());
        }
        let steps = image.branch.after(image.emitted).map(|(last, at)| (last, At { replica: lane, no: at.no - given }));
        steps.for_each(|(last, at)| branch.push(last, at));
        place.cut = own(image.cut);
        place.unnumbered = place.cut.count(lane);
        if is_outrun {
            place.outrun = Some(Outrun { id: image.id, branch, emitted: image.emitted });
        } else {
            *self.histories.of(image.id) = branch;
        }
        Ok(place)
    }

    /// What a store has found out about itself: that it is a copy, if others know more of its id than it has given away.
    pub(super) fn hear_store(&mut self, node: usize) -> Checked {
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        for event in place.subject.store().take_events() {
            let StoreEvent::IdentityRotated { old, new, .. } = event else {
                return Err(format!("the store of {node} says {event:?}"));
            };
            let (version, lane) = (place.subject.version().map_err(say)?, place.lane);
            match place.outrun.take() {
                Some(outrun) if outrun.id == old => {}
                None if self.cloned.contains(&old) => {
                    // A copy has written more under this id than this one, and said so when it asked.
                    let history = self.histories.of(old);
                    *history = std::mem::take(history).until(version.get(old));
                    let given = history.add_to(Cut::default(), history.last()).unwrap_or_default().count(lane);
                    place.given = place.given.max(given);
                }
                _nobody => return Err(format!("the store of {node} takes a new id, and nobody knows more of {old} than it")),
            }
            self.counts.new_ids += 1;
            // What it had not given away is written again, as one.
            place.unnumbered = u32::try_from(place.log.len()).unwrap_or(u32::MAX);
            let Some(new) = new else { continue };
            let own = (place.given..place.unnumbered).map(|no| At { replica: lane, no });
            if let Some(last) = own.inspect(|at| self.oracle.set_writer(*at, new)).last() {
                self.histories.of(new).push(version.get(new), last);
            }
        }
        Ok(())
    }
}
