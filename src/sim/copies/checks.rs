//! A store against the oracle, and all against each other at the end.
#![expect(clippy::indexing_slicing, reason = "places are numbered here; a wrong number is a bug of this module")]

use super::place::{Checked, Place, expect, say};
use super::world::World;
use crate::causal::Hlc;
use crate::sim::subject::{Observed, Subject};

impl World<'_> {
    /// Compares a store with the oracle: every cell, and its version and digest with those of any store that was here.
    pub(super) fn check(&mut self, place: usize) -> Checked {
        self.counts.check();
        let Place { subject, cut, .. } = &self.places[place];
        for cell in self.schema.cell_ids() {
            let observed = simple(subject.read(cell).map_err(say("read"))?)?;
            let expected = simple(self.oracle.read(cell, cut))?;
            if observed != expected {
                let (name, cell) = (self.name(place), self.schema.at(cell));
                return Err(format!("{name}: {cell}\n  expected: {expected:?}\n  observed: {observed:?}"));
            }
        }
        let state = (subject.version().map_err(say("version"))?, subject.digest().map_err(say("digest"))?);
        let known = self.states.entry(*cut).or_insert_with(|| state.clone());
        expect("the version and digest of what was seen", known, &state)
    }

    /// Lets every store merge from every other until nothing is new; then all must be the same.
    pub(super) fn finish(&mut self) -> Checked {
        self.tell(String::from("exchange at the end"));
        self.batches.clear();
        self.pushed.clear();
        let alive = self.alive();
        for _round in 0..8 {
            let before: Vec<_> = alive.iter().map(|place| (self.places[*place].cut, self.places[*place].branch.id)).collect();
            let mut is_quiet = true;
            for from in &alive {
                for to in alive.iter().filter(|to| *to != from) {
                    is_quiet &= self.sync(*from, *to)?;
                }
            }
            let after: Vec<_> = alive.iter().map(|place| (self.places[*place].cut, self.places[*place].branch.id)).collect();
            if is_quiet && before == after {
                return self.check_sameness(&alive);
            }
        }
        Err(String::from("the exchange at the end does not end"))
    }

    pub(super) fn check_sameness(&mut self, alive: &[usize]) -> Checked {
        let mut first = None;
        for place in alive {
            self.check(*place)?;
            let Place { subject, cut, .. } = &self.places[*place];
            subject.check().map_err(say("check"))?;
            let state = (*cut, subject.canonical().map_err(say("canonical"))?);
            let known = first.get_or_insert_with(|| state.clone());
            expect("the canonical bytes", known, &state)?;
            self.note_events(*place, false, false)?;
        }
        Ok(())
    }
}

/// What a cell reads, without who wrote it.
#[derive(Debug, PartialEq, Eq)]
enum Simple {
    Register(Vec<(Hlc, u64)>),
    Other(Observed),
}

fn simple(observed: Observed) -> Checked<Simple> {
    let Observed::Register(siblings) = observed else { return Ok(Simple::Other(observed)) };
    let shown: Vec<_> = siblings.iter().filter(|sibling| sibling.wins).collect();
    let newest = siblings.iter().map(|sibling| sibling.stamp).max();
    if shown.len() != usize::from(newest.is_some()) || shown.first().map(|sibling| sibling.stamp) != newest {
        return Err(format!("not the newest of the siblings is shown: {siblings:?}"));
    }
    let mut values: Vec<_> = siblings.iter().map(|sibling| (sibling.stamp, sibling.value)).collect();
    values.sort_unstable();
    Ok(Simple::Register(values))
}
