//! The live dots of one replica, and where in the table each has its entry.

use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::slice;

use super::hash;
use crate::causal::ReplicaId;

/// In place of a slot: the dot is no longer live.
const HOLE: u32 = u32::MAX;
/// Fewer than so many holes, or dots that came late, are no reason to write a lane again.
const FEW: usize = 32;

/// Slots by sequence number. Dots are mostly made and received in order: two arrays that are appended to, with holes where dots
/// died, and a map of those that came late.
///
/// Cost: an insert in order is an append; a lookup is a guess where no dot is missing, else a binary search between the two bounds
/// that the numbers allow. Both arrays are written again when a quarter of them is holes, or missing: amortised constant.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) replica: ReplicaId,
    /// Strictly ascending. Invariant: as long as `slots`, and the last one is live.
    seqs: Vec<u64>,
    slots: Vec<u32>,
    holes: usize,
    /// Live dots that are not in `seqs`, or are holes there.
    late: BTreeMap<u64, u32>,
    /// The sum of the hashes of all live numbers: equal lanes, equal sums; other lanes, other sums, but for one case in 2^64.
    pub(super) digest: u64,
}

impl Lane {
    pub(super) const fn new(replica: ReplicaId) -> Self {
        Self { replica, seqs: Vec::new(), slots: Vec::new(), holes: 0, late: BTreeMap::new(), digest: 0 }
    }

    /// How many dots are live.
    pub(super) fn len(&self) -> usize {
        self.seqs.len() - self.holes + self.late.len()
    }

    /// Adds a dot that is not live here.
    #[inline]
    pub(super) fn insert(&mut self, seq: u64, slot: u32) {
        debug_assert!(self.get(seq).is_none(), "{seq} of {:?} is assigned twice", self.replica);
        self.digest = self.digest.wrapping_add(hash::of_seq(seq));
        if self.seqs.last().is_none_or(|last| *last < seq) {
            push(&mut self.seqs, seq);
            push(&mut self.slots, slot);
        } else {
            self.late.insert(seq, slot);
            self.tidy();
        }
    }

    /// Makes room for more dots, in order.
    pub(super) fn reserve(&mut self, more: usize) {
        self.seqs.reserve_exact(more);
        self.slots.reserve_exact(more);
    }

    pub(super) fn get(&self, seq: u64) -> Option<u32> {
        let slot = self.find(seq).and_then(|at| self.slots.get(at)).copied();
        slot.filter(|slot| *slot != HOLE).or_else(|| self.late.get(&seq).copied())
    }

    /// The entry of a live dot has moved.
    pub(super) fn moved(&mut self, seq: u64, slot: u32) {
        let in_order = self.find(seq).and_then(|at| self.slots.get_mut(at)).filter(|slot| **slot != HOLE);
        if let Some(held) = in_order.or_else(|| self.late.get_mut(&seq)) {
            *held = slot;
        }
    }

    /// Removes a dot. Returns where its entry is, if it was live.
    #[inline]
    pub(super) fn remove(&mut self, seq: u64) -> Option<u32> {
        let in_order = self.find(seq).and_then(|at| self.slots.get_mut(at)).filter(|slot| **slot != HOLE);
        let slot = match in_order {
            Some(held) => {
                self.holes += 1;
                core::mem::replace(held, HOLE)
            }
            None => self.late.remove(&seq)?,
        };
        self.digest = self.digest.wrapping_sub(hash::of_seq(seq));
        while self.slots.last() == Some(&HOLE) {
            self.slots.pop();
            self.seqs.pop();
            self.holes -= 1;
        }
        self.tidy();
        Some(slot)
    }

    /// The live dots in `first..=last` and their slots, ascending.
    pub(super) fn range(&self, first: u64, last: u64) -> Range<'_> {
        let start = self.lower_bound(first);
        let end = last.checked_add(1).map_or(self.seqs.len(), |after| self.lower_bound(after)).max(start);
        let mut late = self.late.range(first..=last.max(first));
        Range {
            late_head: late.next().map(|(seq, slot)| (*seq, *slot)).filter(|(seq, _)| *seq <= last),
            late,
            seqs: self.seqs.get(start..end).unwrap_or_default().iter(),
            slots: self.slots.get(start..end).unwrap_or_default().iter(),
        }
    }

    pub(super) fn iter(&self) -> Range<'_> {
        self.range(0, u64::MAX)
    }

    /// Where in `seqs` a number is.
    #[inline]
    fn find(&self, seq: u64) -> Option<usize> {
        let at = self.lower_bound(seq);
        (self.seqs.get(at) == Some(&seq)).then_some(at)
    }

    /// How many of `seqs` are below a number. As they ascend, no number is further from either end than it differs from that end's:
    /// where none is missing before it, or none after it, there is nothing to search.
    #[inline]
    fn lower_bound(&self, seq: u64) -> usize {
        let (Some(first), Some(last)) = (self.seqs.first(), self.seqs.last()) else { return 0 };
        if seq <= *first {
            return 0;
        }
        if seq > *last {
            return self.seqs.len();
        }
        let at_most = usize::try_from(seq - first).unwrap_or(usize::MAX).min(self.seqs.len() - 1);
        let at_least = (self.seqs.len() - 1).saturating_sub(usize::try_from(last - seq).unwrap_or(usize::MAX));
        if self.seqs.get(at_most) == Some(&seq) {
            return at_most;
        }
        let between = self.seqs.get(at_least..at_most).unwrap_or_default();
        if between.first().is_none_or(|least| *least >= seq) {
            return at_least;
        }
        at_least + between.partition_point(|held| *held < seq)
    }

    /// Writes the arrays again, if they are much larger than what is live, or much is missing in them.
    #[inline]
    fn tidy(&mut self) {
        if self.holes.max(self.late.len()) > FEW.max(self.seqs.len() / 4) {
            self.rewrite();
        }
    }

    #[cold]
    fn rewrite(&mut self) {
        if self.late.is_empty() {
            return self.close_holes();
        }
        let (mut seqs, mut slots) = (Vec::with_capacity(self.len()), Vec::with_capacity(self.len()));
        for (seq, slot) in self.iter() {
            seqs.push(seq);
            slots.push(slot);
        }
        (self.seqs, self.slots, self.holes) = (seqs, slots, 0);
        self.late.clear();
    }

    /// Moves all numbers down into the holes below them.
    fn close_holes(&mut self) {
        let mut live = 0;
        for at in 0..self.seqs.len() {
            let (Some(seq), Some(slot)) = (self.seqs.get(at).copied(), self.slots.get(at).copied()) else { break };
            // Without a branch for each: a number that is dead is written over by the next.
            if let (Some(to_seq), Some(to_slot)) = (self.seqs.get_mut(live), self.slots.get_mut(live)) {
                (*to_seq, *to_slot) = (seq, slot);
            }
            live += usize::from(slot != HOLE);
        }
        self.seqs.truncate(live);
        self.slots.truncate(live);
        self.holes = 0;
        // Some room is left for what comes next, and none that is not used soon.
        self.seqs.shrink_to(live + live / 8);
        self.slots.shrink_to(live + live / 8);
    }
}

/// Appends. The capacity grows by a quarter, not by all of it.
pub(super) fn push<T>(list: &mut Vec<T>, element: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(4));
    }
    list.push(element);
}

/// Live dots in order.
#[derive(Debug, Clone)]
pub(super) struct Range<'a> {
    seqs: slice::Iter<'a, u64>,
    slots: slice::Iter<'a, u32>,
    late: btree_map::Range<'a, u64, u32>,
    late_head: Option<(u64, u32)>,
}

impl Range<'_> {
    /// Passes over the dots that both begin with, by the block: both hold them, so a join keeps them.
    pub(super) fn skip_same(&mut self, other: &mut Range<'_>) {
        const BLOCK: usize = 64;
        if self.late_head.is_some() || other.late_head.is_some() {
            return;
        }
        loop {
            let (Some((our_seqs, our_slots)), Some((their_seqs, their_slots))) =
                (self.block::<BLOCK>(), other.block::<BLOCK>())
            else {
                return;
            };
            // Without a branch for each, so that many are compared at once.
            let holes = our_slots.iter().chain(their_slots).fold(0, |holes, slot| holes + u32::from(*slot == HOLE));
            if our_seqs != their_seqs || holes > 0 {
                return;
            }
            self.skip::<BLOCK>();
            other.skip::<BLOCK>();
        }
    }

    fn block<const LEN: usize>(&self) -> Option<(&[u64], &[u32])> {
        Some((self.seqs.as_slice().get(..LEN)?, self.slots.as_slice().get(..LEN)?))
    }

    fn skip<const LEN: usize>(&mut self) {
        self.seqs = self.seqs.as_slice().get(LEN..).unwrap_or_default().iter();
        self.slots = self.slots.as_slice().get(LEN..).unwrap_or_default().iter();
    }
}

impl Iterator for Range<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        loop {
            if let Some(late) = self.late_head
                && self.seqs.as_slice().first().is_none_or(|seq| *seq > late.0)
            {
                self.late_head = self.late.next().map(|(seq, slot)| (*seq, *slot));
                return Some(late);
            }
            let (seq, slot) = (*self.seqs.next()?, *self.slots.next()?);
            if slot != HOLE {
                return Some((seq, slot));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::btree_map::Entry;

    use super::*;
    use crate::laws::Rng;

    #[test]
    fn a_lane_is_a_map_of_numbers_in_whatever_order_they_come_and_go() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut lane, mut model) = (Lane::new(ReplicaId::from_u128(1)), BTreeMap::new());
            let numbers = 1 + rng.below(400);
            for slot in 0..600 {
                let seq = rng.below(numbers) + 1;
                if rng.chance(60) {
                    if let Entry::Vacant(vacant) = model.entry(seq) {
                        lane.insert(seq, slot);
                        vacant.insert(slot);
                    }
                } else {
                    assert_eq!(lane.remove(seq), model.remove(&seq));
                }
                if let Some(held) = model.get_mut(&(seq / 2)) {
                    lane.moved(seq / 2, slot + 1_000);
                    *held = slot + 1_000;
                }
                assert_eq!(lane.get(seq), model.get(&seq).copied());
                assert_eq!(lane.len(), model.len());
            }
            assert!(lane.iter().eq(model.iter().map(|(seq, slot)| (*seq, *slot))));
            let (first, last) = (rng.below(numbers), rng.below(numbers));
            let expected =
                if first <= last { model.range(first..=last).map(|(seq, slot)| (*seq, *slot)).collect() } else { Vec::new() };
            assert_eq!(lane.range(first, last).collect::<Vec<_>>(), expected);
            let digest = model.keys().fold(0_u64, |sum, seq| sum.wrapping_add(hash::of_seq(*seq)));
            assert_eq!(lane.digest, digest);
        }
    }

    #[test]
    fn dots_that_come_in_reverse_are_put_in_order_a_few_times_only() {
        let mut lane = Lane::new(ReplicaId::from_u128(1));
        for seq in (1..=100_000).rev() {
            lane.insert(seq, 7);
        }
        assert!(lane.iter().map(|(seq, _)| seq).eq(1..=100_000));
        assert!(lane.late.len() <= lane.seqs.len() / 4 + 1);
    }

    #[test]
    fn what_died_takes_no_room_for_long() {
        let mut lane = Lane::new(ReplicaId::from_u128(1));
        for seq in 1..=1_000_000 {
            lane.insert(seq, 0);
            if seq > 100 {
                lane.remove(seq - 100);
            }
        }
        assert!(lane.seqs.len() < 200 && lane.seqs.capacity() < 400, "{} of {}", lane.seqs.len(), lane.seqs.capacity());
    }
}
