//! What may leave a store, and what a store finds out.
#![expect(clippy::indexing_slicing, reason = "places are numbered here; a wrong number is a bug of this module")]

use super::counts::CopySituation;
use super::place::{Branch, Checked, Logged, Place, expect, say};
use super::world::World;
use crate::causal::VersionVector;
use crate::kv::StoreEvent;
use crate::sim::cut::At;
use crate::sim::op::Op;
use crate::sim::subject::Subject;

impl World<'_> {
    /// Whether other events with the numbers of those that the store would give away have left another copy, and are known to
    /// somebody. Then it must hear of that first.
    pub(super) fn is_outrun(&self, place: usize) -> bool {
        let mine = &self.places[place].branch;
        let others = self.places.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, other)| &other.branch);
        mine.id.is_some()
            && others.chain(&self.ended).filter(|other| other.id == mine.id).any(|other| {
                let common = mine.history.iter().zip(&other.history).take_while(|(mine, other)| mine == other).count();
                other.history.get(common).is_some_and(|first| common < other.emitted && self.is_known(*first))
            })
    }

    pub(super) fn is_known(&self, at: At) -> bool {
        self.places.iter().any(|place| place.is_alive && place.cut.has(at))
            || self.batches.iter().any(|kept| kept.cut.has(at))
            || self.pushed.iter().any(|sent| sent.at == at || self.oracle.cut_of(sent.at).0.has(at))
    }

    pub(super) fn learns_from(&self, place: usize, version: &VersionVector) -> bool {
        let branch = &self.places[place].branch;
        branch.id.is_some_and(|id| version.get(id) > branch.emitted_seq)
    }

    pub(super) fn may_emit(&self, place: usize, base: &VersionVector) -> bool {
        let branch = &self.places[place].branch;
        branch.history.len() == branch.emitted || self.learns_from(place, base) || !self.is_outrun(place)
    }

    pub(super) fn note_emitted(&mut self, place: usize) -> Checked {
        let place = &mut self.places[place];
        place.emitted = u32::try_from(place.log.len()).unwrap_or(u32::MAX);
        place.branch.emitted = place.branch.history.len();
        let version = place.subject.version().map_err(say("version"))?;
        place.branch.emitted_seq = place.branch.id.map_or(0, |id| version.get(id));
        Ok(())
    }

    /// Takes the events of a store: a new id if it must have one, and nothing else.
    pub(super) fn note_events(&mut self, place: usize, must: bool, may: bool) -> Checked<bool> {
        let events = self.places[place].subject.store().take_events();
        let (old, new, replayed) = match *events {
            [] if !must => return Ok(false),
            [] => return Err(format!("{}: no new id, though a peer knows more of the old one", self.name(place))),
            [StoreEvent::IdentityRotated { old, new, replayed }] if may => (old, new, replayed),
            _ => return Err(format!("{}: events {events:?}", self.name(place))),
        };
        self.tell(format!("{}: new id, {replayed} written again", self.name(place)));
        let Place { subject, branch, emitted, log, hand, readings, rotations, generation, .. } = &mut self.places[place];
        expect("the old id", &branch.id, &Some(old))?;
        expect("the new id", &subject.store().replica().map_err(say("replica"))?, &new)?;
        if new == Some(old) {
            return Err(String::from("the new id is the old one"));
        }
        let lane = place;
        let unsent = *emitted..u32::try_from(log.len()).unwrap_or(u32::MAX);
        if unsent.is_empty() && replayed > 0 {
            return Err(format!("{replayed} written again, though everything was given away"));
        }
        let counters = |logged: &Logged| logged.ops.iter().any(|op| matches!(op, Op::Add { .. }));
        let adds = log.iter().skip(unsent.start as usize).any(counters);
        for (is_met, situation) in [
            (true, CopySituation::Rotation),
            (replayed > 0, CopySituation::Replay),
            (replayed > 0 && adds, CopySituation::ReplayOfAdds),
            (*generation == 0, CopySituation::RotationOfOriginal),
            (*generation > 1, CopySituation::RotationOfCopyOfCopy),
            (*rotations > 0, CopySituation::RotationAgain),
        ] {
            if is_met {
                self.counts.meet(situation);
            }
        }
        *rotations += 1;
        let mut ended = std::mem::take(branch);
        ended.history.truncate(ended.emitted);
        *branch = Branch {
            id: new,
            history: unsent.clone().map(|no| At { replica: lane, no }).collect(),
            emitted: 0,
            emitted_seq: 0,
        };
        hand.clear();
        readings.clear();
        subject.check().map_err(say("check after a new id"))?;
        self.ended.push(ended);
        self.states.retain(|cut, _| cut.count(lane) <= unsent.start);
        if self.has_reset_of_unsent(place) {
            self.counts.meet(CopySituation::ResetBetween);
        }
        Ok(true)
    }

    /// Whether another store's delete of a counter to which this one added came between its last emission and its new id.
    pub(super) fn has_reset_of_unsent(&self, place: usize) -> bool {
        let Place { cut, emitted, log, .. } = &self.places[place];
        let is_own = |at| self.ended.last().is_some_and(|ended| ended.history.contains(&at));
        log.iter().skip(*emitted as usize).any(|Logged { saw, ops, .. }| {
            let added = ops.iter().filter_map(|op| if let Op::Add { cell, .. } = op { Some(*cell) } else { None });
            added.into_iter().any(|cell| self.oracle.was_removed_since(cell, is_own, place, saw, cut))
        })
    }
}
