//! Stores as they were, and copies opened from them.
#![expect(clippy::indexing_slicing, reason = "places are numbered here; a wrong number is a bug of this module")]

use super::counts::CopySituation;
use super::place::{Branch, Checked, Image, Logged, Place, expect, say};
use super::world::World;
use crate::sim::Rng;
use crate::sim::cut::{Cut, REPLICAS_MAX};
use crate::sim::subject::Subject;

const IMAGES_MAX: usize = 3;

impl World<'_> {
    pub(super) fn take_image(&mut self, of: usize) -> Checked {
        let Place { memory, cut, branch, emitted, log, generation, .. } = &self.places[of];
        if branch.id.is_none() {
            return Ok(());
        }
        let (branch, log) = (branch.clone(), log.clone());
        let image = Image { of, generation: generation + 1, memory: memory.fork(), cut: *cut, branch, emitted: *emitted, log };
        self.tell(format!("{}: copied, image {}", self.name(of), self.images.len()));
        self.images.push(image);
        if self.images.len() > IMAGES_MAX {
            self.images.remove(0);
            self.tell(String::from("  (the oldest image is gone)"));
        }
        Ok(())
    }

    pub(super) fn open_image(&mut self, rng: &mut Rng) -> Checked {
        let lane = self.places.len();
        if lane == REPLICAS_MAX || self.images.is_empty() {
            return Ok(());
        }
        let image = self.images.swap_remove(rng.index(self.images.len()));
        let mut place = self.open(image.memory.fork(), rng).map_err(say("open"))?;
        let map = |cut: &Cut| {
            let beyond = cut.count(image.of).saturating_sub(image.emitted);
            cut.with_count(image.of, cut.count(image.of) - beyond).with_count(lane, beyond)
        };
        let mut history: Vec<_> = image.branch.history.iter().take(image.branch.emitted).copied().collect();
        for logged in image.log.iter().skip(image.emitted as usize) {
            let readings = logged.readings.iter().map(|(cell, cut)| (*cell, map(cut))).collect();
            let logged = Logged { saw: map(&logged.saw), readings, ..logged.clone() };
            let at = Self::record(&mut self.oracle, lane, &logged);
            self.oracle.stamp(at, logged.stamp);
            history.push(at);
            place.log.push(logged);
        }
        expect("transactions of the copy that have not left", &image.branch.history.len(), &history.len())?;
        place.branch = Branch { history, ..image.branch.clone() };
        place.cut = map(&image.cut);
        place.made_of = Some(image.of);
        place.generation = image.generation;
        if !place.log.is_empty() {
            self.counts.meet(CopySituation::CopyWithUnsent);
        }
        let gone = rng.chance(50) && self.places[image.of].is_alive;
        if gone {
            self.places[image.of].is_alive = false;
        }
        self.counts.meet(if gone { CopySituation::Rollback } else { CopySituation::Clone });
        if image.generation > 1 {
            self.counts.meet(CopySituation::CopyOfCopy);
        }
        self.places.push(place);
        self.tell(format!("{}: opened{}", self.name(lane), if gone { ", and the original is gone" } else { "" }));
        self.places[lane].subject.check().map_err(say("check"))?;
        self.note_events(lane, false, false)?;
        self.check(lane)?;
        let offline = rng.index(7);
        if offline > 0 {
            self.counts.meet(CopySituation::OfflineWrites);
        }
        (0..offline).try_for_each(|_| self.transact(lane, false, rng))
    }
}
