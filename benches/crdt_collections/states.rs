//! The maps that are compared, and fresh copies of them.

use std::hint::black_box;
use std::time::Duration;

use hashbrown::HashMap;
use tombolo::ReplicaId;
use tombolo::crdt::LwwMap;

use crate::common::measure::{Pair, take_turns, timed};
use crate::common::report::Budget;

pub(crate) type Plain = HashMap<String, u64>;
pub(crate) type Map = LwwMap<String, u64, u64>;

pub(crate) const A: ReplicaId = ReplicaId::from_u128(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
pub(crate) const B: ReplicaId = ReplicaId::from_u128(0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F);
pub(crate) const SIZES: [u64; 3] = [100, 10_000, 1_000_000];

/// 16 bytes, in no order.
pub(crate) fn key(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

pub(crate) fn keys(from: u64, count: u64) -> Vec<String> {
    (from..from + count).map(key).collect()
}

pub(crate) fn plain(keys: &[String]) -> Plain {
    keys.iter().cloned().zip(0..).collect()
}

/// As its replica wrote it.
pub(crate) fn map(me: ReplicaId, keys: &[String]) -> Map {
    let mut map = Map::new();
    add_all(&mut map, me, keys);
    map
}

pub(crate) fn add_all(map: &mut Map, me: ReplicaId, keys: &[String]) {
    for (key, value) in keys.iter().zip(0..) {
        let _unsent = map.set(me, 1, key.clone(), value).unwrap();
    }
}

pub(crate) fn insert_all(plain: &mut Plain, keys: &[String], first: u64) {
    for (key, value) in keys.iter().cloned().zip(first..) {
        black_box(plain.insert(key, value));
    }
}

/// What a plain collection does to hold all that two of them hold.
pub(crate) fn union(ours: &mut Plain, theirs: &Plain) {
    for (key, value) in theirs {
        ours.entry_ref(key.as_str()).or_insert(*value);
    }
}

/// Two sides on fresh copies of their states, which are made and dropped outside of what is timed.
pub(crate) fn fresh<T: Clone, U: Clone>(
    operations: u64,
    (ours, reference): (&T, &U),
    mut run: impl FnMut(&mut T),
    mut run_reference: impl FnMut(&mut U),
) -> Pair {
    // As many rounds as fit about a second.
    let rounds = u32::try_from((2_000_000 / operations.max(1)).clamp(7, 300)).unwrap();
    let once = |body: &mut dyn FnMut()| -> Duration { timed(body) };
    take_turns(
        rounds,
        u32::try_from(operations).unwrap(),
        || {
            let mut state = ours.clone();
            once(&mut || run(black_box(&mut state)))
        },
        || {
            let mut state = reference.clone();
            once(&mut || run_reference(black_box(&mut state)))
        },
    )
}

pub(crate) fn budget(count: u64, at_most: f64) -> Budget {
    if count == 10_000 { Budget::AtMost(at_most) } else { Budget::None }
}
