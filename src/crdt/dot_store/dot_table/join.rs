//! The join of two tables: replica by replica, and of each only where the two can differ.

use core::hash::Hash;

use smallvec::SmallVec;

use super::few::Entry;
use super::lane::{Lane, Range};
use super::{DotTable, FEW_MAX, Form, hash};
use crate::causal::{CausalContext, Dot, Intervals, ReplicaId};
use crate::crdt::Verdict;
use crate::crdt::join::join_placed_dots;

/// The live dots of one replica, in either form.
enum Live<'a, K, V> {
    Few(&'a [Entry<K, V>]),
    Many(&'a Lane),
    None,
}

impl<K, V> Copy for Live<'_, K, V> {}

impl<K, V> Clone for Live<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

/// Numbers in order, each with where its entry is.
enum Seqs<'a, K, V> {
    /// And where the first is.
    Few(core::slice::Iter<'a, Entry<K, V>>, u32),
    Many(Range<'a>),
}

impl<K, V> Iterator for Seqs<'_, K, V> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        match self {
            Self::Few(entries, at) => {
                let entry = entries.next()?;
                *at += 1;
                Some((entry.dot.seq, *at - 1))
            }
            Self::Many(range) => range.next(),
        }
    }
}

impl<K, V> DotTable<K, V> {
    fn live(&self, replica: ReplicaId) -> Live<'_, K, V> {
        match &self.form {
            Form::Few(few) => Live::Few(few),
            Form::Many(many) => many.lane(replica).map_or(Live::None, Live::Many),
        }
    }

    /// The replicas that have live dots, sorted; some may come that have none.
    fn replicas(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let (few, many): (&[_], _) = match &self.form {
            Form::Few(few) => (few, None),
            Form::Many(many) => (&[], Some(many)),
        };
        let few = few.chunk_by(|one, other| one.dot.replica == other.dot.replica);
        let few = few.filter_map(|entries| entries.first()).map(|entry| entry.dot.replica);
        few.chain(many.into_iter().flat_map(|many| many.lanes().map(|lane| lane.replica)))
    }

    /// The entry at a place that [`Seqs`] gave.
    fn at(&self, place: u32) -> Option<(&K, &V, Option<u32>)> {
        match &self.form {
            Form::Few(few) => few.get(place as usize).map(|entry| (&entry.key, &entry.value, None)),
            Form::Many(many) => many.slot(place).map(|slot| (&slot.key, &slot.value, Some(slot.hash))),
        }
    }
}

impl<'a, K, V> Live<'a, K, V> {
    fn range(self, replica: ReplicaId, first: u64, last: u64) -> Seqs<'a, K, V> {
        match self {
            Live::Few(few) => {
                let start = few.partition_point(|entry| entry.dot < Dot::new(replica, first));
                let end = few.partition_point(|entry| entry.dot <= Dot::new(replica, last));
                let within = few.get(start..end).unwrap_or_default();
                Seqs::Few(within.iter(), u32::try_from(start).unwrap_or(u32::MAX))
            }
            Live::Many(lane) => Seqs::Many(lane.range(first, last)),
            Live::None => Seqs::Few([].iter(), 0),
        }
    }

    /// Whether the same dots are live, as far as sums can tell.
    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Live::Many(ours), Live::Many(theirs)) => ours.digest == theirs.digest && ours.len() == theirs.len(),
            _ => false,
        }
    }
}

/// What a join has to do here. Of a delta of one write, no more than one of each: no allocation.
#[derive(Default)]
struct Changes {
    /// Ascending.
    drops: SmallVec<[Dot; 1]>,
    /// Dots, and where the other side has their entries.
    takes: SmallVec<[(Dot, u32); 1]>,
}

impl<K: Hash + Eq + Clone, V: Clone> DotTable<K, V> {
    /// See [`DotStore::join`](super::DotStore::join).
    pub(super) fn join_seen(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        if ours.is_empty() && self.is_empty() && !other.is_empty() {
            self.clone_from(other);
            return true;
        }
        let mut changes = Changes::default();
        // Of replicas that they have not seen, they can only bring dots.
        for replica in other.replicas().filter(|replica| theirs.of(*replica).is_none()) {
            self.compare(replica, ours.of(replica), other, None, &mut changes);
        }
        for (replica, seen) in theirs.replicas() {
            self.compare(replica, ours.of(replica), other, Some(seen), &mut changes);
        }
        self.change(changes, other)
    }

    /// The dots of one replica. `theirs` is what they have seen of it; `None`, if that is nothing, or nothing of what we have.
    fn compare<'a>(
        &'a self,
        replica: ReplicaId,
        ours: Option<&Intervals>,
        other: &'a Self,
        theirs: Option<&Intervals>,
        to: &mut Changes,
    ) {
        let (our_dots, their_dots) = (self.live(replica), other.live(replica));
        // What both hold lives on, whatever either has seen.
        if our_dots.is_same(their_dots) {
            return;
        }
        let ours_seen = |seq: &u64| ours.is_some_and(|ours| ours.contains(*seq));
        let mut join = |mut ours: Seqs<'_, K, V>, mut theirs: Seqs<'_, K, V>, theirs_seen: bool| {
            if let (Seqs::Many(ours), Seqs::Many(theirs)) = (&mut ours, &mut theirs) {
                ours.skip_same(theirs);
            }
            let placed = |(seq, place)| (seq, (seq, place));
            let each = |verdict| match verdict {
                Verdict::Drop((seq, _)) => to.drops.push(Dot::new(replica, seq)),
                Verdict::Take((seq, place)) => to.takes.push((Dot::new(replica, seq), place)),
                Verdict::Keep(_) | Verdict::Skip(_) => {}
            };
            join_placed_dots(ours.map(placed), theirs.map(placed), ours_seen, |_| theirs_seen, each);
        };
        match theirs {
            // Nothing of ours can go, and what we hold has been seen: it need not be looked at.
            None => join(Live::None.range(replica, 0, u64::MAX), their_dots.range(replica, 0, u64::MAX), false),
            Some(theirs) => {
                for seen in theirs.as_slice() {
                    let range = |dots: Live<'a, K, V>| dots.range(replica, seen.first, seen.last);
                    join(range(our_dots), range(their_dots), true);
                }
            }
        }
    }

    fn change(&mut self, changes: Changes, other: &Self) -> bool {
        let Changes { drops, takes } = changes;
        if self.len() + takes.len() > FEW_MAX {
            let one_lane = takes.first().zip(takes.last()).filter(|(first, last)| first.0.replica == last.0.replica);
            let many = self.make_many(takes.len());
            if takes.len() > drops.len() + FEW_MAX {
                many.reserve(takes.len() - drops.len(), one_lane.map(|(first, _)| first.0.replica));
            }
            for (dot, place) in &takes {
                let Some((key, value, hash)) = other.at(*place) else { continue };
                let hash = hash.unwrap_or_else(|| hash::of_key(key));
                many.take(*dot, hash, key, value.clone(), |dot| drops.binary_search(&dot).is_ok());
            }
        } else {
            for (dot, place) in &takes {
                let Some((key, value, _)) = other.at(*place) else { continue };
                self.insert(*dot, key.clone(), value.clone());
            }
        }
        // Those whose place was taken are gone by now.
        for dot in &drops {
            self.remove_dot(*dot);
        }
        !drops.is_empty() || !takes.is_empty()
    }
}
