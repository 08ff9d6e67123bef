//! What a change of one key costs in a map of many: here, and at a peer that joins its delta.
//!
//! Prints the time of each, in the middle of many; and of the first, which may have to make an index.
//! `cargo bench --bench crdt_maps`
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and has nothing to measure if it fails"
)]

use std::time::Instant;

use tombolo::ReplicaId;
use tombolo::crdt::{Lattice, MvRegister, OrMap};

const ME: ReplicaId = ReplicaId::from_u128(1);

type Map = OrMap<u64, MvRegister<u64>>;

fn set(map: &mut Map, key: u64, value: u64) -> Map {
    map.update(key, |register| register.set(ME, value)).unwrap()
}

/// The time of each of some changes, in nanoseconds: the first, and the one in the middle.
fn timed(changes: impl Iterator<Item = u64>, mut change: impl FnMut(u64)) -> (u128, u128) {
    let mut times = Vec::new();
    for key in changes {
        let start = Instant::now();
        change(key);
        times.push(start.elapsed().as_nanos());
    }
    let first = *times.first().unwrap();
    times.sort_unstable();
    (first, *times.get(times.len() / 2).unwrap())
}

fn main() {
    println!("{:>9} {:24} {:>12} {:>12}", "keys", "", "first, ns", "middle, ns");
    for keys in [1_000, 1_000_000] {
        let mut map = Map::new();
        for key in 0..keys {
            let _delta = set(&mut map, key, 0);
        }
        let mut peer = map.clone();
        // Spread over the map, each once.
        let some = |from: u64| (0..100).map(move |number| (number * 7_919 + from) * 613 % keys);
        let tell = |what: &str, (first, middle): (u128, u128)| println!("{keys:>9} {what:24} {first:>12} {middle:>12}");

        let mut deltas = Vec::new();
        tell("update", timed(some(0), |key| deltas.push(set(&mut map, key, 1))));
        let mut late = deltas.iter();
        tell("join of an update", timed(some(0), |_| _ = peer.join(late.next().unwrap())));
        deltas.clear();
        tell("remove", timed(some(1), |key| deltas.push(map.remove(&key))));
        let mut late = deltas.iter();
        tell("join of a remove", timed(some(1), |_| _ = peer.join(late.next().unwrap())));
        tell("update, with an index", timed(some(2), |key| drop(set(&mut peer, key, 2))));
    }
}
