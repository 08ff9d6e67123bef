//! A store under test, and what is known of it: an original, a copy, or an image that is no store yet.

use std::fmt::Debug;

use crate::causal::{Hlc, ReplicaId, VersionVector};
use crate::kv::{self, Delta, Pushed, Seen, Store};
use crate::sim::cut::{At, Cut};
use crate::sim::dice::Dice;
use crate::sim::op::Op;
use crate::sim::schema::CellId;
use crate::sim::store::{Medium, StoreSubject};
use crate::sim::subject::Fault;
use crate::storage::Memory;

/// A memory that stays when its store is closed, and can be copied then or before.
pub(super) struct Keep {
    pub(super) memory: Memory,
    /// Whether it keeps and erases as any store in memory does; otherwise, stores differ in that.
    pub(super) is_plain: bool,
    pub(super) seed: u64,
    pub(super) opened: u64,
}

impl Keep {
    pub(super) fn new(memory: &Memory, seed: u64, lane: usize) -> Self {
        let of_lane = seed.wrapping_mul(31).wrapping_add(lane as u64) << 8;
        // Who keeps no deletes tells what is live, and that can cover up for a delete that was lost.
        Self { memory: memory.clone(), is_plain: seed.is_multiple_of(2), seed: of_lane, opened: 0 }
    }
}

impl Medium for Keep {
    fn open(&mut self, options: kv::Options) -> Result<Store, Fault> {
        self.opened += 1;
        let options = options.entropy(Dice::new(self.seed ^ self.opened));
        if self.is_plain { Ok(options.open_backend(self.memory.clone())?) } else { Medium::open(&mut self.memory, options) }
    }
}

/// What a store has written under one id: the transactions in the order of their numbers, and how many may have left it.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    pub(super) id: Option<ReplicaId>,
    pub(super) history: Vec<At>,
    pub(super) emitted: usize,
    /// The number of the last event that may have left.
    pub(super) emitted_seq: u64,
}

/// A transaction, as it can be recorded once more for a copy.
#[derive(Clone)]
pub(super) struct Logged {
    pub(super) saw: Cut,
    pub(super) ops: Vec<Op>,
    pub(super) readings: Vec<(CellId, Cut)>,
    pub(super) stamp: Hlc,
}

/// A store: an original or a copy. Its place is its lane of the oracle: what it has written and, of a copy, what it held and
/// had not given away when it was made.
pub(super) struct Place {
    pub(super) subject: StoreSubject<Keep>,
    pub(super) memory: Memory,
    pub(super) is_alive: bool,
    pub(super) generation: u32,
    pub(super) made_of: Option<usize>,
    pub(super) rotations: u32,
    pub(super) cut: Cut,
    pub(super) branch: Branch,
    /// How many transactions of the lane may have left.
    pub(super) emitted: u32,
    pub(super) log: Vec<Logged>,
    pub(super) hand: Vec<Seen<u64>>,
    pub(super) readings: Vec<(CellId, Cut)>,
    pub(super) skew_ms: i64,
}

/// A store as it was: a backup of a machine, a copied file.
pub(super) struct Image {
    pub(super) of: usize,
    pub(super) generation: u32,
    pub(super) memory: Memory,
    pub(super) cut: Cut,
    pub(super) branch: Branch,
    pub(super) emitted: u32,
    pub(super) log: Vec<Logged>,
}

#[derive(Clone)]
pub(super) struct Kept {
    pub(super) batch: Delta,
    pub(super) base: VersionVector,
    /// The version of its maker.
    pub(super) version: VersionVector,
    pub(super) cut: Cut,
    pub(super) to: usize,
}

#[derive(Clone)]
pub(super) struct Sent {
    pub(super) pushed: Pushed,
    pub(super) at: At,
    pub(super) origin: ReplicaId,
    pub(super) last: u64,
    /// The version of its origin before.
    pub(super) saw: VersionVector,
}

/// Something is not as it must be, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

pub(super) fn say<E: ToString>(what: impl Into<String>) -> impl FnOnce(E) -> String {
    let what = what.into();
    move |error| format!("{what}: {}", error.to_string())
}

pub(super) fn expect<T: Debug + PartialEq>(what: &str, expected: &T, observed: &T) -> Checked {
    if expected == observed { Ok(()) } else { Err(format!("{what}\n  expected: {expected:?}\n  observed: {observed:?}")) }
}
