//! The events of one replica.

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use smallvec::SmallVec;

use super::SEQ_MAX;

/// The numbers `first..=last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Interval {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// A set of sequence numbers. An interval that begins at 1 is the part without gaps.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Intervals {
    /// Invariant: each within `1..=SEQ_MAX`, sorted, and at least one number is missing between two of them: so equal sets
    /// compare equal. One interval, the common case, needs no allocation, nor do two: what is replaced, and what replaces it.
    list: SmallVec<[Interval; 2]>,
}

impl Intervals {
    pub(super) fn with_capacity(intervals: usize) -> Self {
        Self { list: SmallVec::with_capacity(intervals) }
    }

    /// One event.
    #[inline]
    pub(super) fn of_one(seq: u64) -> Self {
        debug_assert!((1..=SEQ_MAX).contains(&seq), "{seq}");
        let mut list = SmallVec::new();
        list.push(Interval { first: seq, last: seq });
        Self { list }
    }

    /// Two events, the lower first.
    #[inline]
    pub(super) fn of_two(low: u64, high: u64) -> Self {
        if low + 1 >= high {
            let mut list = SmallVec::new();
            list.push(Interval { first: low, last: high });
            return Self { list };
        }
        Self { list: SmallVec::from_buf([Interval { first: low, last: low }, Interval { first: high, last: high }]) }
    }

    /// From pairs of first and last; `None` if they are not as the invariant says.
    pub(super) fn from_pairs(pairs: &[(u64, u64)]) -> Option<Self> {
        let mut intervals = Self::with_capacity(pairs.len());
        for &(first, last) in pairs {
            if first < intervals.least_next() || last < first || last > SEQ_MAX {
                return None;
            }
            intervals.push(first, last);
        }
        Some(intervals)
    }

    /// The lowest number at which another interval can begin.
    pub(super) fn least_next(&self) -> u64 {
        self.list.last().map_or(1, |held| held.last + 2)
    }

    /// Adds `first..=last`, from [`least_next`](Self::least_next) on.
    pub(super) fn push(&mut self, first: u64, last: u64) {
        debug_assert!(self.least_next() <= first && first <= last && last <= SEQ_MAX, "{first}..={last}");
        self.list.push(Interval { first, last });
    }

    /// Adds the event above the highest, and returns it.
    #[inline]
    pub(super) fn mint(&mut self) -> Option<u64> {
        let Some(held) = self.list.last_mut() else {
            *self = Self::of_one(1);
            return Some(1);
        };
        (held.last < SEQ_MAX).then(|| {
            held.last += 1;
            held.last
        })
    }

    /// The pairs of first and last.
    pub(super) fn to_pairs(&self) -> Vec<(u64, u64)> {
        self.list.iter().map(|held| (held.first, held.last)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.list.iter().map(|held| held.first..=held.last)
    }

    pub(crate) fn as_slice(&self) -> &[Interval] {
        &self.list
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The highest number; 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        self.list.last().map_or(0, |held| held.last)
    }

    /// The number up to which there is no gap; 0 if 1 is missing.
    pub(super) fn gap_free(&self) -> u64 {
        self.list.first().filter(|held| held.first == 1).map_or(0, |held| held.last)
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        let at = self.list.partition_point(|held| held.last < seq);
        self.list.get(at).is_some_and(|held| held.first <= seq)
    }

    /// Adds `first..=last`. Returns whether any is new.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> bool {
        debug_assert!(1 <= first && first <= last && last <= SEQ_MAX, "{first}..={last}");
        // The intervals from `start` to `end` overlap the new one or touch it: they become one.
        let start = self.list.partition_point(|held| held.last + 1 < first);
        let end = self.list.partition_point(|held| held.first <= last + 1);
        let touched = self.list.get(start..end).unwrap_or_default();
        let (Some(lowest), Some(highest)) = (touched.first(), touched.last()) else {
            self.list.insert(start, Interval { first, last });
            return true;
        };
        if lowest.first <= first && last <= lowest.last {
            return false;
        }
        let joined = Interval { first: first.min(lowest.first), last: last.max(highest.last) };
        self.list.drain(start + 1..end);
        if let Some(held) = self.list.get_mut(start) {
            *held = joined;
        }
        true
    }

    /// Adds the numbers of `other`. Returns whether any is new.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        if let [one] = other.as_slice() {
            return self.insert(one.first, one.last);
        }
        if self.covers(other) {
            return false;
        }
        let mut joined: SmallVec<[Interval; 2]> = SmallVec::with_capacity(self.list.len().max(other.list.len()));
        let mut ours = self.list.iter().peekable();
        let mut theirs = other.list.iter().peekable();
        loop {
            let ours_is_next = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(our), Some(their)) => our.first <= their.first,
            };
            let Some(next) = (if ours_is_next { ours.next() } else { theirs.next() }) else { break };
            match joined.last_mut() {
                Some(top) if next.first <= top.last + 1 => top.last = top.last.max(next.last),
                _ => joined.push(*next),
            }
        }
        self.list = joined;
        true
    }

    /// The numbers that it has and `other` lacks.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut left = Self::default();
        let mut theirs = other.list.iter().peekable();
        for ours in &self.list {
            let mut first = ours.first;
            while theirs.next_if(|their| their.last < first).is_some() {}
            // One that reaches beyond ours may cover some of the next as well: it stays.
            while let Some(their) = theirs.peek().filter(|their| their.first <= ours.last) {
                if first < their.first {
                    left.push(first, their.first - 1);
                }
                first = their.last + 1;
                if their.last >= ours.last || theirs.next().is_none() {
                    break;
                }
            }
            if first <= ours.last {
                left.push(first, ours.last);
            }
        }
        left
    }

    /// Whether it has every number of `other`.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let mut ours = self.near(other).iter().peekable();
        other.list.iter().all(|wanted| {
            while ours.next_if(|held| held.last < wanted.last).is_some() {}
            ours.peek().is_some_and(|held| held.first <= wanted.first)
        })
    }

    /// Whether it has no number of `other`.
    pub(crate) fn is_disjoint(&self, other: &Self) -> bool {
        let mut ours = self.near(other).iter().peekable();
        other.list.iter().all(|their| {
            while ours.next_if(|held| held.last < their.first).is_some() {}
            ours.peek().is_none_or(|held| held.first > their.last)
        })
    }

    /// Our intervals without those below all of `other`: a small difference is then compared with what is near it only.
    fn near(&self, other: &Self) -> &[Interval] {
        let least = other.list.first().map_or(u64::MAX, |their| their.first);
        let start = self.list.partition_point(|held| held.last < least);
        self.list.get(start..).unwrap_or_default()
    }
}

impl fmt::Debug for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
