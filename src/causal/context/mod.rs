//! Any set of events.

mod intervals;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub(crate) use self::intervals::Intervals;
use super::{Dot, ReplicaId, SEQ_MAX, VersionVector};
use crate::codec::{DecodeError, Reader, Writer};

/// Any set of events: of each replica, those without a gap from 1, and intervals beyond them.
///
/// What a standalone data type has seen. Its deltas may come in any order, so there may be gaps; as they fill, the set
/// shrinks to one interval a replica. Only dots that are events, `1..=SEQ_MAX`, can be in it.
///
/// Ordered by inclusion. Two contexts may be neither.
///
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7: their `CausalContext`, with
/// `next` as here; the compression into a vector and what is beyond it as they advise there, with intervals.
#[derive(Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct CausalContext {
    /// Invariant: sorted by replica, and no set is empty, so equal contexts compare equal (the sets are canonical themselves).
    /// One replica, as in most deltas, needs no allocation.
    seen: SmallVec<[(ReplicaId, Intervals); 1]>,
}

/// As serde sees it: of each replica, the first and last of its intervals.
type Parts = BTreeMap<ReplicaId, Vec<(u64, u64)>>;

impl CausalContext {
    /// Nothing seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: SmallVec::new_const() }
    }

    /// The events of one replica, if it has any.
    pub(crate) fn of(&self, replica: ReplicaId) -> Option<&Intervals> {
        let at = self.find(replica).ok()?;
        self.seen.get(at).map(|(_, held)| held)
    }

    /// The replicas and their events, sorted by replica.
    pub(crate) fn replicas(&self) -> impl ExactSizeIterator<Item = (ReplicaId, &Intervals)> + '_ {
        self.seen.iter().map(|(replica, held)| (*replica, held))
    }

    #[inline]
    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        // Most contexts are of one replica.
        if self.seen.first().is_some_and(|(held, _)| *held == replica) {
            return Ok(0);
        }
        self.seen.binary_search_by_key(&replica, |(held, _)| *held)
    }

    /// Whether it has an event. Cost: logarithmic.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.of(dot.replica).is_some_and(|held| held.contains(dot.seq))
    }

    /// Adds an event. Returns whether it is new: `false` also for a dot that [is no event](Dot::is_event), which
    /// is not added.
    pub fn insert(&mut self, dot: Dot) -> bool {
        self.insert_range(dot.replica, dot.seq..=dot.seq)
    }

    /// Adds those events of `replica`, out of `1..=SEQ_MAX`, that are in `seqs`. Returns whether any is new.
    ///
    /// Cost: logarithmic, and linear in the intervals of `replica` above `seqs` if their number changes.
    pub fn insert_range(&mut self, replica: ReplicaId, seqs: RangeInclusive<u64>) -> bool {
        let (first, last) = (*seqs.start().max(&1), *seqs.end().min(&SEQ_MAX));
        if seqs.is_empty() || first > last {
            return false;
        }
        match self.find(replica) {
            Ok(at) => self.seen.get_mut(at).is_some_and(|(_, held)| held.insert(first, last)),
            Err(at) => {
                let mut held = Intervals::default();
                held.push(first, last);
                self.seen.insert(at, (replica, held));
                true
            }
        }
    }

    /// Adds the events of `other`. Returns whether any is new.
    ///
    /// Cost: linear in the intervals of `other` and in ours of the same replicas; logarithmic for a replica of which
    /// `other` has one interval. A replica of which we had none makes it linear in our replicas.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        let known = self.seen.len();
        for (replica, theirs) in &other.seen {
            let ours = self.seen.get_mut(..known).unwrap_or_default();
            match ours.binary_search_by_key(replica, |(held, _)| *held) {
                Ok(at) => changed |= ours.get_mut(at).is_some_and(|(_, held)| held.join(theirs)),
                Err(_) => self.seen.push((*replica, theirs.clone())),
            }
        }
        if self.seen.len() > known {
            // Two sorted runs.
            self.seen.sort_by_key(|(replica, _)| *replica);
            changed = true;
        }
        changed
    }

    /// The events that it has and `other` lacks. Cost: linear in the intervals of both.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let left = |(replica, ours): (ReplicaId, &Intervals)| {
            let left = other.of(replica).map_or_else(|| ours.clone(), |theirs| ours.minus(theirs));
            (!left.is_empty()).then_some((replica, left))
        };
        Self { seen: self.replicas().filter_map(left).collect() }
    }

    /// Whether it has every event of `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.replicas().all(|(replica, theirs)| self.of(replica).is_some_and(|ours| ours.covers(theirs)))
    }

    /// Whether it has no event of `other`.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        other.replicas().all(|(replica, theirs)| self.of(replica).is_none_or(|ours| ours.is_disjoint(theirs)))
    }

    /// The dot of the next event of `replica`: one above the highest seen, whatever gaps are below it. `None` past
    /// [`SEQ_MAX`]: the replica can write no more, under this id.
    ///
    /// Only `replica` itself may use it, and only on the newest context that it has: two events of one dot are lost data.
    #[must_use]
    pub fn next(&self, replica: ReplicaId) -> Option<Dot> {
        let last = self.of(replica).map_or(0, Intervals::last);
        (last < SEQ_MAX).then(|| Dot::new(replica, last + 1))
    }

    /// Adds the [`next`](Self::next) event of `replica`, and returns it.
    #[inline]
    pub(crate) fn mint(&mut self, replica: ReplicaId) -> Option<Dot> {
        let Ok(at) = self.find(replica) else {
            let first = Dot::new(replica, 1);
            self.insert(first);
            return Some(first);
        };
        let seq = self.seen.get_mut(at)?.1.mint()?;
        Some(Dot::new(replica, seq))
    }

    /// Of two events: what a write replaces, and itself.
    #[inline]
    pub(crate) fn of_two(one: Dot, other: Dot) -> Self {
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        if low.replica == high.replica {
            return Self { seen: SmallVec::from_buf([(low.replica, Intervals::of_two(low.seq, high.seq))]) };
        }
        let mut seen = SmallVec::with_capacity(2);
        seen.extend([low, high].map(|dot| (dot.replica, Intervals::of_one(dot.seq))));
        Self { seen }
    }

    /// Of one event.
    #[inline]
    pub(crate) fn of_one(dot: Dot) -> Self {
        Self { seen: SmallVec::from_buf([(dot.replica, Intervals::of_one(dot.seq))]) }
    }

    /// The part without gaps: of each replica, the events from 1 up to the first that is missing.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        self.seen.iter().map(|(replica, held)| (*replica, held.gap_free())).collect()
    }

    /// Its intervals, sorted by replica and number; there is a gap between any two of one replica.
    pub fn iter_intervals(&self) -> impl Iterator<Item = (ReplicaId, RangeInclusive<u64>)> + '_ {
        self.seen.iter().flat_map(|(replica, held)| held.iter().map(move |seqs| (*replica, seqs)))
    }

    /// Its events, sorted. There may be very many more than it has intervals.
    pub(crate) fn iter_dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter_intervals().flat_map(|(replica, seqs)| seqs.map(move |seq| Dot::new(replica, seq)))
    }

    /// Whether it has no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Its canonical bytes: equal contexts, equal bytes. About 20 bytes a replica without gaps, and 2 to 4 for each gap.
    ///
    /// ```text
    /// count of replicas, then of each, sorted: id (16 bytes), count of intervals (>= 1), then of each:
    ///   how many numbers above the lowest that it could begin at: 1, or two above the last one's end
    ///   how many numbers it has besides its first
    /// ```
    /// All numbers are varints. Intervals that are inverted, overlap or touch cannot be written in this form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::with_capacity(5 + 24 * self.seen.len());
        self.encode(&mut to);
        to.into_vec()
    }

    /// From the bytes of [`to_bytes`](Self::to_bytes). Takes memory of at most a small multiple of theirs.
    ///
    /// # Errors
    /// The bytes are no context, or not in canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let context = Self::decode(&mut from)?;
        from.finish()?;
        Ok(context)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u64(self.seen.len() as u64);
        for (replica, held) in &self.seen {
            to.raw(&replica.to_bytes());
            to.u64(held.as_slice().len() as u64);
            let mut least = 1;
            for interval in held.as_slice() {
                to.u64(interval.first - least);
                to.u64(interval.last - interval.first);
                least = interval.last + 2;
            }
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.len_up_to(usize::MAX, 19)?;
        let mut seen = SmallVec::with_capacity(count);
        let mut last_replica = None;
        for _ in 0..count {
            let replica = ReplicaId::from_bytes(from.array()?);
            if last_replica.is_some_and(|last| last >= replica) {
                return Err(from.error("replicas of a context are not in order"));
            }
            last_replica = Some(replica);
            let held = decode_intervals(from)?;
            if held.is_empty() {
                return Err(from.error("a replica of a context without events"));
            }
            seen.push((replica, held));
        }
        Ok(Self { seen })
    }
}

fn decode_intervals(from: &mut Reader<'_>) -> Result<Intervals, DecodeError> {
    let count = from.len_up_to(usize::MAX, 2)?;
    let mut held = Intervals::with_capacity(count);
    for _ in 0..count {
        let first = held.least_next().checked_add(from.u64()?);
        let more = from.u64()?;
        match first.and_then(|first| Some((first, first.checked_add(more)?))) {
            Some((first, last)) if last <= SEQ_MAX => held.push(first, last),
            _ => return Err(from.error("a sequence number outside 1..=2^63")),
        }
    }
    Ok(held)
}

impl PartialOrd for CausalContext {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl From<VersionVector> for CausalContext {
    fn from(vector: VersionVector) -> Self {
        let mut context = Self::new();
        for (replica, seq) in vector.iter() {
            context.insert_range(replica, 1..=seq);
        }
        context
    }
}

impl FromIterator<Dot> for CausalContext {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut context = Self::new();
        context.extend(dots);
        context
    }
}

impl Extend<Dot> for CausalContext {
    fn extend<I: IntoIterator<Item = Dot>>(&mut self, dots: I) {
        for dot in dots {
            self.insert(dot);
        }
    }
}

impl TryFrom<Parts> for CausalContext {
    type Error = DecodeError;

    fn try_from(parts: Parts) -> Result<Self, DecodeError> {
        let mut seen = SmallVec::with_capacity(parts.len());
        for (replica, pairs) in parts {
            match Intervals::from_pairs(&pairs) {
                Some(held) if !held.is_empty() => seen.push((replica, held)),
                _ => return Err(DecodeError::new(0, "intervals of a context are not in canonical form")),
            };
        }
        Ok(Self { seen })
    }
}

impl From<CausalContext> for Parts {
    fn from(context: CausalContext) -> Self {
        context.seen.into_iter().map(|(replica, held)| (replica, held.to_pairs())).collect()
    }
}

impl fmt::Debug for CausalContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.replicas()).finish()
    }
}
