//! How many bytes sets and maps hold, as they have asked for them. Exact, where the resident memory of a process also counts what the
//! allocator keeps. In a program of its own, for the allocator that counts.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "a test compares with hash tables, and fails where it cannot go on"
)]

use std::collections::HashMap;
use std::mem;

use allocation_counter::measure;
use tombolo::ReplicaId;
use tombolo::crdt::{LwwMap, OrSet};

const A: ReplicaId = ReplicaId::from_u128(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
const COUNT: u64 = 10_000;

/// 16 bytes, in no order.
fn key(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// What is made and kept, and the bytes that it holds.
fn held<T>(make: impl FnOnce() -> T) -> (T, f64) {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    (made.unwrap(), info.bytes_current as f64)
}

fn set() -> OrSet<String> {
    let mut set = OrSet::new();
    for number in 0..COUNT {
        let _unsent = set.add(A, key(number)).unwrap();
    }
    set
}

/// A million adds, and as many removes: of what was just added, or of what is picked among all that are live.
fn churn(set: &mut OrSet<String>, mut pick: impl FnMut(u64) -> u64) {
    for number in 0..1_000_000 {
        let new = 10 * COUNT + number;
        let _unsent = set.add(A, key(new)).unwrap();
        let gone = pick(new);
        assert!(set.contains(&key(gone)));
        let _unsent = set.remove(&key(gone));
    }
    assert_eq!(set.len() as u64, COUNT);
}

/// Of 70 bytes, a stamp is 8. Of what the allocator takes for them, which is 32 for a key of 16, it is less: see docs/benchmarks-crdt.md.
#[test]
fn a_map_with_stamps_holds_at_most_1_4_times_the_bytes_of_a_plain_one() {
    let (_plain, plain_bytes) = held(|| (0..COUNT).map(|number| (key(number), number)).collect::<HashMap<_, _>>());
    let (_map, bytes) = held(|| {
        let mut map = LwwMap::new();
        for number in 0..COUNT {
            let _unsent = map.set(A, 1_u64, key(number), number).unwrap();
        }
        map
    });
    println!("an entry: {:.1} B, std {:.1} B, {:.2}", bytes / COUNT as f64, plain_bytes / COUNT as f64, bytes / plain_bytes);
    assert!(bytes <= 1.4 * plain_bytes, "{bytes} B, and {plain_bytes} B");
}

#[test]
fn what_was_added_and_removed_leaves_no_bytes_behind() {
    let (mut churned, before) = held(set);
    let ((), more) = held(|| churn(&mut churned, |new| new));
    println!("others came and went: {:.3}", (before + more) / before);
    assert!(before + more <= 1.02 * before, "{before} B and {more} B");
}

#[test]
fn a_set_of_which_everything_was_replaced_holds_what_one_of_that_size_holds() {
    let (mut replaced, before) = held(set);
    let mut live: Vec<u64> = (0..COUNT).collect();
    let ((), more) = held(|| {
        churn(&mut replaced, |new| {
            let at = usize::try_from(new.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33).unwrap() % live.len();
            mem::replace(&mut live[at], new)
        });
    });
    println!("all were replaced: {:.3}", (before + more) / before);
    assert!(before + more <= 1.1 * before, "{before} B and {more} B");
}
