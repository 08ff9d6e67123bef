//! The rows of a dotted map, and what they hold.

use core::hash::{Hash, Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::DefaultHasher;

use crate::causal::{Dot, Hlc, ReplicaId};
use crate::sim::schema::CellId;
use crate::sim::subject::Sibling;

pub(super) type Rows = BTreeMap<Path, Row>;
pub(super) type Row = Vec<(Dot, Payload)>;

/// A row: a cell, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Path {
    pub(super) cell: CellId,
    pub(super) part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Whole,
    Element(u64),
    /// What a replica contributed to a counter.
    Own(ReplicaId),
    /// The deletes of it that the replica has not taken into account.
    Reset(ReplicaId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Payload {
    Value { stamp: Hlc, value: u64 },
    Own(Own),
    Reset(Reset),
    Flag(bool),
    Member,
    Whole(BTreeSet<u64>),
}

/// A contribution: worth `sum - base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// The number of the entry that began it.
    pub(super) frame: u64,
    pub(super) sum: i64,
    /// The number of the entry that the newest reset taken into account had seen; 0 if there was none.
    pub(super) base_seq: u64,
    pub(super) base: i64,
}

/// "Of this frame I saw the entry of this number, holding this sum."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reset {
    pub(super) frame: u64,
    pub(super) seq: u64,
    pub(super) sum: i64,
}

/// The number of an entry, and of a frame, that the running transaction makes: known when it ends.
pub(super) const PENDING: u64 = u64::MAX;

impl Payload {
    pub(super) const fn own(&self) -> Option<Own> {
        if let Self::Own(own) = self { Some(*own) } else { None }
    }

    pub(super) const fn reset(&self) -> Option<Reset> {
        if let Self::Reset(reset) = self { Some(*reset) } else { None }
    }

    pub(super) const fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    pub(super) const fn whole(&self) -> Option<&BTreeSet<u64>> {
        if let Self::Whole(whole) = self { Some(whole) } else { None }
    }

    pub(super) const fn sibling(&self, writer: ReplicaId) -> Option<Sibling> {
        match self {
            Self::Value { stamp, value } => Some(Sibling { stamp: *stamp, writer, value: *value, wins: false }),
            Self::Own(_) | Self::Reset(_) | Self::Flag(_) | Self::Member | Self::Whole(_) => None,
        }
    }
}

pub(super) fn fingerprint(path: &Path, dot: Dot, payload: &Payload) -> u128 {
    let mut hash = DefaultHasher::new();
    (path, dot, payload).hash(&mut hash);
    let low = hash.finish();
    hash.write_u8(1);
    (u128::from(hash.finish()) << 64) | u128::from(low)
}
