//! A counter that goes both ways: of each replica a total up and a total down.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};
use crate::laws::{Reach, Rng, Suite, Visible};

/// A join adds the totals: what arrives twice counts twice.
pub(super) const SUMS: u8 = 1;
/// The delta is the difference, not the total.
pub(super) const DELTA_IS_DIFFERENCE: u8 = 2;
/// `changed` says that something came, not that something changed.
pub(super) const FLAG_ALWAYS: u8 = 3;
/// Totals are of one counter for all: concurrent operations are lost.
pub(super) const ONE_ENTRY: u8 = 4;
/// Concurrent totals of an entry: the later to arrive wins.
pub(super) const LAST_ARRIVAL: u8 = 5;
/// A total that does not fit wraps.
pub(super) const OVERFLOWS: u8 = 6;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter<const FAULT: u8> {
    totals: BTreeMap<ReplicaId, (u8, u8)>,
}

impl<const FAULT: u8> Lattice for Counter<FAULT> {
    fn bottom() -> Self {
        Self { totals: BTreeMap::new() }
    }

    fn join(&mut self, other: &Self) -> bool {
        let before = self.totals.clone();
        for (replica, theirs) in &other.totals {
            let ours = self.totals.entry(*replica).or_default();
            *ours = match FAULT {
                SUMS => (ours.0.saturating_add(theirs.0), ours.1.saturating_add(theirs.1)),
                LAST_ARRIVAL => *theirs,
                _ => (ours.0.max(theirs.0), ours.1.max(theirs.1)),
            };
        }
        FAULT == FLAG_ALWAYS || self.totals != before
    }
}

impl<const FAULT: u8> Crdt for Counter<FAULT> {
    type Op = i8;
    type Read = i64;

    fn apply(&mut self, op: &i8, me: ReplicaId) -> Result<Self, Refused> {
        let entry = if FAULT == ONE_ENTRY { ReplicaId::from_u128(0) } else { me };
        let old = self.totals.get(&entry).copied().unwrap_or_default();
        let (up, down) = (op.max(&0).unsigned_abs(), op.min(&0).unsigned_abs());
        let new = if FAULT == OVERFLOWS {
            (old.0.wrapping_add(up), old.1.wrapping_add(down))
        } else {
            (old.0.checked_add(up).ok_or(Refused::Overflow)?, old.1.checked_add(down).ok_or(Refused::Overflow)?)
        };
        self.totals.insert(entry, new);
        Ok(Self { totals: [(entry, if FAULT == DELTA_IS_DIFFERENCE { (up, down) } else { new })].into() })
    }

    fn read(&self) -> i64 {
        self.totals.values().map(|(up, down)| i64::from(*up) - i64::from(*down)).sum()
    }
}

fn op(rng: &mut Rng) -> i8 {
    *rng.pick(&[1, -1, 2, -3, 127, -128]).unwrap()
}

fn spec(visible: &Visible<i8>) -> i64 {
    visible.iter().map(|event| i64::from(event.op)).sum()
}

pub(super) fn suite<const FAULT: u8>() -> Suite<Counter<FAULT>> {
    Suite::new(op).spec(spec).reach(Reach::Replica)
}
