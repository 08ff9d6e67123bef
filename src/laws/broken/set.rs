//! An observed-remove set of small numbers.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::NONE;
use crate::causal::{CausalContext, Dot, ReplicaId};
use crate::crdt::{Causal, Crdt, Decompose, DotMap, DotSet, DotStore, Lattice, Refused};
use crate::laws::{Rng, Suite, Visible};

/// The delta of a remove leaves out what was removed: the operation and its delta differ.
pub(super) const REMOVE_NOT_IN_DELTA: u8 = 1;
/// A delta says that it has seen all that its replica has: what it does not carry is deleted.
pub(super) const CONTEXT_OF_ALL: u8 = 2;
/// A delta is dropped if one before it is missing.
pub(super) const GAPS_REFUSED: u8 = 3;
/// A remove says that it saw whatever its peers may yet add.
pub(super) const REMOVE_OF_THE_FUTURE: u8 = 4;
/// The next number is one above the highest that is live, so that of what was removed comes back.
pub(super) const DOT_REUSED: u8 = 5;
/// A state that was cleared forgets its context.
pub(super) const CONTEXT_FORGOTTEN: u8 = 6;
/// `==` compares what waits to be sent.
pub(super) const LOCAL_IN_EQUALITY: u8 = 7;

/// The difference brings what is live and was not seen, by the numbers of both: it leaves out what was deleted.
pub(super) const DELETES_NOT_IN_MINUS: u8 = 8;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Set<const FAULT: u8> {
    causal: Causal<DotMap<u8, DotSet>>,
    pending: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    Add(u8),
    Remove(u8),
}

impl<const FAULT: u8> PartialEq for Set<FAULT> {
    fn eq(&self, other: &Self) -> bool {
        self.causal == other.causal && (FAULT != LOCAL_IN_EQUALITY || self.pending == other.pending)
    }
}

impl<const FAULT: u8> Set<FAULT> {
    const fn of(causal: Causal<DotMap<u8, DotSet>>) -> Self {
        Self { causal, pending: 0 }
    }

    fn next(&self, me: ReplicaId) -> Option<Dot> {
        if FAULT == DOT_REUSED {
            let live = self.causal.store().dots().filter(|dot| dot.replica == me).map(|dot| dot.seq).max();
            return Some(Dot::new(me, live.unwrap_or(0) + 1));
        }
        self.causal.context().next(me)
    }
}

impl<const FAULT: u8> Lattice for Set<FAULT> {
    fn bottom() -> Self {
        Self::of(Causal::bottom())
    }

    fn join(&mut self, other: &Self) -> bool {
        if FAULT == GAPS_REFUSED {
            let first = |(replica, seqs): (ReplicaId, core::ops::RangeInclusive<u64>)| Dot::new(replica, *seqs.start());
            let gap = |dot: Dot| dot.seq > 1 && !self.causal.context().contains(Dot::new(dot.replica, dot.seq - 1));
            if other.causal.context().iter_intervals().map(first).any(gap) {
                return false;
            }
        }
        let changed = self.causal.join(&other.causal);
        if FAULT == CONTEXT_FORGOTTEN && self.causal.store().is_empty() {
            self.causal = Causal::bottom();
        }
        changed
    }
}

impl<const FAULT: u8> PartialOrd for Set<FAULT> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.causal.partial_cmp(&other.causal)
    }
}

impl<const FAULT: u8> Decompose for Set<FAULT> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.causal.parts().map(Self::of)
    }

    fn minus(&self, other: &Self) -> Self {
        let minus = self.causal.minus(&other.causal);
        if FAULT != DELETES_NOT_IN_MINUS {
            return Self::of(minus);
        }
        let unseen = self.causal.context().minus(other.causal.context());
        Self::of(Causal::new(minus.store().clone(), unseen))
    }
}

impl<const FAULT: u8> Crdt for Set<FAULT> {
    type Op = Op;
    type Read = BTreeSet<u8>;

    fn apply(&mut self, op: &Op, me: ReplicaId) -> Result<Self, Refused> {
        let mut store = DotMap::new();
        let (element, dot) = match op {
            Op::Add(element) => (*element, Some(self.next(me).ok_or(Refused::Exhausted)?)),
            Op::Remove(element) => (*element, None),
        };
        let mut context: CausalContext = self.causal.store().get(&element).into_iter().flat_map(DotSet::iter).collect();
        store.insert(element, DotSet::from_iter(dot));
        if FAULT == REMOVE_OF_THE_FUTURE && dot.is_none() {
            let replicas: Vec<ReplicaId> = context.iter_intervals().map(|(replica, _)| replica).collect();
            for replica in replicas {
                context.insert_range(replica, 1..=9);
            }
        }
        if FAULT == CONTEXT_OF_ALL {
            context.join(self.causal.context());
        }
        let whole = Causal::new(store.clone(), context);
        self.causal.join(&whole);
        self.pending += 1;
        if FAULT == CONTEXT_FORGOTTEN && self.causal.store().is_empty() {
            self.causal = Causal::bottom();
        }
        if FAULT == REMOVE_NOT_IN_DELTA && dot.is_none() {
            return Ok(Self::of(Causal::new(store, CausalContext::new())));
        }
        Ok(Self::of(whole))
    }

    fn read(&self) -> BTreeSet<u8> {
        self.causal.store().iter().map(|(element, _)| *element).collect()
    }
}

fn op(rng: &mut Rng) -> Op {
    let element = u8::try_from(rng.below(3)).unwrap();
    if rng.chance(60) { Op::Add(element) } else { Op::Remove(element) }
}

/// What was added, and not removed by someone who knew of it: of concurrent ones, the add wins.
fn spec(visible: &Visible<Op>) -> BTreeSet<u8> {
    let live = visible.iter().filter_map(|event| match event.op {
        Op::Add(element) => (!visible.is_followed(event, |op| *op == Op::Remove(element))).then_some(element),
        Op::Remove(_) => None,
    });
    live.collect()
}

pub(super) fn suite<const FAULT: u8>() -> Suite<Set<FAULT>> {
    Suite::new(op).spec(spec).order().decompose()
}

/// The set without what is local, so that its bytes say what it is.
pub(super) fn suite_with_bytes() -> Suite<Set<NONE>> {
    suite().codec_of(
        |set| crate::codec::msgpack::to_bytes(&set.causal).map_err(|error| error.to_string()),
        |bytes| crate::codec::msgpack::from_canonical_bytes(bytes).map(Set::of).map_err(|error| error.to_string()),
    )
}
