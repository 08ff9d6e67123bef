//! Points of a replica's history: at which of its events something left its file, and which hash its history had there.
//!
//! Every version of a replica that a peer can have is such a point of it. Two copies of one file that both went on have different
//! points, or different hashes at the same one, so two lists tell a fork wherever they overlap:
//!
//! ```text
//! ours      ──●────●─────●            one point of theirs lies between two neighbours of ours: the histories differ
//! theirs    ──●──────●───────●        a point that both have: equal hashes, or the histories differ
//! ```

use smallvec::SmallVec;

use crate::causal::SEQ_MAX;
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::mutant::{self, Mutant};

/// One point of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// The last event that was given away.
    pub(crate) seq: u64,
    /// The hash of the history up to there.
    pub(crate) hash: u64,
}

impl Point {
    /// Where every history begins.
    pub(crate) const START: Self = Self { seq: 0, hash: 0 };
}

/// Points of one replica: neighbours in its history, ascending; the first may be the beginning ([`Point::START`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Points(SmallVec<[Point; 2]>);

/// What is known of every history.
impl Default for Points {
    fn default() -> Self {
        Self::from_iter([Point::START])
    }
}

impl Points {
    /// Nothing is said.
    pub(crate) fn none() -> Self {
        Self(SmallVec::new())
    }

    /// How many are kept of each replica, and carried at most.
    pub(crate) const MAX: usize = 8;

    pub(crate) fn iter(&self) -> impl Iterator<Item = Point> {
        self.0.iter().copied()
    }

    pub(crate) fn newest(&self) -> Option<Point> {
        self.0.last().copied()
    }

    pub(super) fn oldest(&self) -> Option<Point> {
        self.0.first().copied()
    }

    /// Adds the next one of the history.
    pub(crate) fn push(&mut self, point: Point) {
        debug_assert!(self.newest().is_none_or(|newest| newest.seq < point.seq), "points are not ascending");
        if self.0.len() == Self::MAX {
            self.0.remove(0);
        }
        self.0.push(point);
    }

    /// Those that a peer needs who has the replica's events up to `base`: the last one up to there, and all behind it.
    pub(crate) fn since(&self, base: u64) -> Self {
        let skipped = self.0.iter().take_while(|point| point.seq <= base).count().saturating_sub(1);
        Self(self.0.iter().skip(skipped).copied().collect())
    }

    /// Those of two lists of one history, the newest of them.
    pub(crate) fn merge(&mut self, theirs: &Self) {
        let (Some(ours), Some(first)) = (self.newest(), theirs.oldest()) else {
            if self.0.is_empty() {
                self.0.clone_from(&theirs.0);
            }
            return;
        };
        if first.seq > ours.seq {
            // What lies between is not known: neighbours alone are kept.
            self.0.clone_from(&theirs.0);
            return;
        }
        for point in theirs.iter().filter(|point| point.seq > ours.seq) {
            self.push(point);
        }
    }

    /// The first point at which two lists cannot be of one history. `None`: nothing says that they are not.
    pub(crate) fn differ(&self, theirs: &Self) -> Option<u64> {
        // A hash stands for all of the history up to it.
        let same = self.iter().filter(|point| theirs.0.contains(point)).map(|point| point.seq).max().unwrap_or(0);
        let ours = self.iter().filter(|point| theirs.contradict(*point));
        let theirs = theirs.iter().filter(|point| self.contradict(*point));
        ours.chain(theirs).map(|point| point.seq).filter(|seq| *seq > same).min()
    }

    /// Whether a point cannot be one of this history.
    fn contradict(&self, point: Point) -> bool {
        match self.0.binary_search_by_key(&point.seq, |own| own.seq) {
            Ok(at) => self.0.get(at).is_some_and(|own| own.hash != point.hash),
            Err(at) => at > 0 && at < self.0.len() && !mutant::is(Mutant::PointsBetweenNotCompared),
        }
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u64(self.0.len() as u64);
        let mut last = 0;
        for point in &self.0 {
            to.u64(point.seq - last);
            if *point != Point::START {
                to.raw(&point.hash.to_le_bytes());
            }
            last = point.seq;
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.len_up_to(Self::MAX, 1)?;
        let (mut points, mut last) = (SmallVec::with_capacity(count), 0_u64);
        for place in 0..count {
            let step = from.u64()?;
            if step == 0 && place == 0 {
                points.push(Point::START);
                continue;
            }
            let seq = last.checked_add(step).filter(|seq| *seq > last && *seq <= SEQ_MAX);
            last = seq.ok_or_else(|| from.error("points of a history that are not ascending"))?;
            points.push(Point { seq: last, hash: u64::from_le_bytes(from.array()?) });
        }
        Ok(Self(points))
    }
}

impl FromIterator<Point> for Points {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> Self {
        Self(points.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(seqs: impl IntoIterator<Item = u64>, branch: u64) -> Points {
        let mut points = Points::none();
        // Up to 10 the two branches are one history.
        seqs.into_iter().for_each(|seq| points.push(Point { seq, hash: if seq > 10 { branch + seq } else { seq } }));
        points
    }

    #[test]
    fn lists_of_one_history_never_differ() {
        let whole: Vec<u64> = (0..40).map(|seq| seq * 3).collect();
        let windows: Vec<Points> =
            (1..=8).flat_map(|len| whole.windows(len).map(|seqs| points(seqs.iter().copied(), 0))).collect();
        for ours in &windows {
            for theirs in &windows {
                assert_eq!(ours.differ(theirs), None);
                let mut merged = ours.clone();
                merged.merge(theirs);
                assert!(windows.contains(&merged), "{ours:?} with {theirs:?} gives points that are no neighbours: {merged:?}");
                assert_eq!(merged.newest(), ours.newest().into_iter().chain(theirs.newest()).max_by_key(|point| point.seq));
            }
        }
    }

    #[test]
    fn overlapping_lists_of_two_branches_differ() {
        assert_eq!(points([8, 10, 12], 100).differ(&points([8, 10, 12], 200)), Some(12));
        assert_eq!(points([0, 12], 100).differ(&points([0, 15], 200)), Some(12));
        assert_eq!(points([10, 12], 100).differ(&points([10, 11, 14], 200)), Some(11));
        assert_eq!(points([10, 12, 15], 100).differ(&points([10, 13], 200)), Some(12));
        assert_eq!(points([10, 20], 100).differ(&points([12], 200)), Some(12));
        // No overlap, nothing to be said.
        assert_eq!(points([10, 12], 100).differ(&points([13, 14], 200)), None);
    }

    #[test]
    fn a_peer_is_told_the_points_from_its_own_on() {
        let all = points([2, 4, 6, 8], 0);
        let seqs = |base| all.since(base).iter().map(|point| point.seq).collect::<Vec<_>>();
        assert_eq!((seqs(0), seqs(2), seqs(5)), (vec![2, 4, 6, 8], vec![2, 4, 6, 8], vec![4, 6, 8]));
        assert_eq!((seqs(8), seqs(100)), (vec![8], vec![8]));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let all = points([0, 3, 4, 600], 7);
        let mut to = Writer::with_capacity(32);
        all.encode(&mut to);
        let bytes = to.into_vec();
        assert_eq!(Points::decode(&mut Reader::new(&bytes)).unwrap(), all);
        for bad in [&[9_u8][..], &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &bytes[..bytes.len() - 1]] {
            assert!(Points::decode(&mut Reader::new(bad)).is_err());
        }
    }
}
