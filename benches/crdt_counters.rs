//! What counters cost beside what they are made of: plain arrays of the same numbers.
//!
//! Prints the ratios first, of two sides that take turns; then criterion measures each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and has nothing to measure if it fails"
)]

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;

use common::measure::{Pair, take_turns, timed};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tombolo::ReplicaId;
use tombolo::codec::msgpack;
use tombolo::crdt::{Lattice, PnCounter};

/// Few inputs at a time: they stay in the cache, as a state does that was just read or received.
const BATCH: BatchSize = BatchSize::NumIterations(4);

const REPLICAS: [u64; 3] = [3, 64, 1_000];

/// Ids as random as real ones.
fn replica(number: u64) -> ReplicaId {
    ReplicaId::from_u128(u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

/// Of each replica, what it added and what it took away.
fn totals(replicas: u64, more: u64) -> Vec<u64> {
    (0..replicas).flat_map(|number| [number % 7 + 1 + more, number % 5 + 1 + more]).collect()
}

fn counter(replicas: u64, more: u64) -> PnCounter {
    let mut counter = PnCounter::new();
    for (totals, number) in totals(replicas, more).chunks(2).zip(0..) {
        let [added, taken] = [0, 1].map(|at| i64::try_from(*totals.get(at).unwrap()).unwrap());
        let _unsent = counter.add(replica(number), added).unwrap();
        let _unsent = counter.add(replica(number), -taken).unwrap();
    }
    counter
}

/// The lower bound: nothing is asked about keys, nor told about change.
fn array_max(ours: &mut [u64], theirs: &[u64]) {
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        *ours = (*ours).max(*theirs);
    }
}

fn print_ratio(replicas: u64) {
    const TIMES: u32 = 200;
    let (mut array, newer_array) = (totals(replicas, 0), totals(replicas, 1));
    let (mut ours, newer) = (counter(replicas, 0), counter(replicas, 1));
    // What a merge costs does not depend on whether it changes anything.
    let merges = || {
        timed(|| {
            for _ in 0..TIMES {
                black_box(ours.join(black_box(&newer)));
            }
        })
    };
    let maxima = || timed(|| (0..TIMES).for_each(|_| array_max(black_box(&mut array), black_box(&newer_array))));
    let Pair { ours, reference, ratio } = take_turns(400, TIMES, merges, maxima);
    println!("merge of {replicas} replicas: {ours:.1} ns, the maximum of arrays {reference:.1} ns, ratio {ratio:.2}");
}

/// Is a merge of all replicas at most 1.5 times the maximum of two arrays of their totals?
fn merge(criterion: &mut Criterion) {
    for replicas in REPLICAS {
        print_ratio(replicas);
        for (which, more) in [("equal", 0), ("all_newer", 1)] {
            let mut group = criterion.benchmark_group(format!("merge_{replicas}_replicas_{which}"));
            let (ours, theirs) = (totals(replicas, 0), totals(replicas, more));
            group.bench_function("array_max", |bencher| {
                let fresh = || ours.clone();
                bencher.iter_batched_ref(fresh, |ours| array_max(ours, black_box(&theirs)), BATCH);
            });
            let (ours, theirs) = (counter(replicas, 0), counter(replicas, more));
            group.bench_function("pn_counter", |bencher| {
                let fresh = || ours.clone();
                bencher.iter_batched_ref(fresh, |ours| ours.join(black_box(&theirs)), BATCH);
            });
            group.finish();
        }
    }
}

/// What does it cost to merge states of which each has replicas that the other lacks?
fn merge_other_replicas(criterion: &mut Criterion) {
    for replicas in REPLICAS {
        let mut group = criterion.benchmark_group(format!("merge_{replicas}_replicas_other_keys"));
        let (mut ours, mut theirs) = (counter(replicas, 0), counter(replicas, 1));
        let _unsent = ours.add(replica(replicas), 1).unwrap();
        let _unsent = theirs.add(replica(replicas + 1), 1).unwrap();
        group.bench_function("pn_counter", |bencher| {
            let fresh = || ours.clone();
            bencher.iter_batched_ref(fresh, |ours| ours.join(black_box(&theirs)), BATCH);
        });
        group.finish();
    }
}

/// Does an add, and a delta of it, cost the lookup of one key among all, and no more?
fn one_replica(criterion: &mut Criterion) {
    for replicas in REPLICAS {
        let mut group = criterion.benchmark_group(format!("one_of_{replicas}_replicas"));
        let me = replica(replicas / 2);
        let mut keys: Vec<_> = (0..replicas).map(replica).collect();
        keys.sort_unstable();
        group.bench_function("array_search", |bencher| {
            bencher.iter(|| keys.binary_search(black_box(&me)));
        });
        let mut ours = counter(replicas, 0);
        group.bench_function("add", |bencher| {
            bencher.iter(|| ours.add(black_box(me), 1).unwrap());
        });
        let delta = ours.clone().add(me, 1).unwrap();
        let fresh = counter(replicas, 0);
        group.bench_function("join_delta", |bencher| {
            let fresh = || fresh.clone();
            bencher.iter_batched_ref(fresh, |ours| ours.join(black_box(&delta)), BATCH);
        });
        group.bench_function("read", |bencher| {
            bencher.iter(|| black_box(&ours).value());
        });
        group.finish();
    }
}

/// What do the bytes of a state cost, beside a list of the same ids and numbers?
fn bytes(criterion: &mut Criterion) {
    for replicas in REPLICAS {
        let mut group = criterion.benchmark_group(format!("bytes_of_{replicas}_replicas"));
        let counter = counter(replicas, 0);
        let plain: Vec<(ReplicaId, u64, u64)> =
            (0..replicas).map(|number| (replica(number), number % 7 + 1, number % 5 + 1)).collect();
        let (encoded, plain_encoded) = (msgpack::to_bytes(&counter).unwrap(), msgpack::to_bytes(&plain).unwrap());
        println!("{replicas} replicas: {} bytes, a list of the same {}", encoded.len(), plain_encoded.len());
        group.bench_function("encode_list", |bencher| bencher.iter(|| msgpack::to_bytes(black_box(&plain)).unwrap()));
        group.bench_function("encode", |bencher| bencher.iter(|| msgpack::to_bytes(black_box(&counter)).unwrap()));
        group.bench_function("decode_list", |bencher| {
            bencher.iter(|| msgpack::from_bytes::<Vec<(ReplicaId, u64, u64)>>(black_box(&plain_encoded)).unwrap());
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| msgpack::from_bytes::<PnCounter>(black_box(&encoded)).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, merge, merge_other_replicas, one_replica, bytes);
criterion_main!(benches);
