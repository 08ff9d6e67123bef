//! What a merge costs: of states that differ in nothing, a little, or all; and of a delta.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use tombolo::codec::msgpack;
use tombolo::crdt::Lattice;

use crate::common::measure::{Pair, median, take_turns, timed};
use crate::common::report::{Budget, Report};
use crate::states::{A, B, Map, SIZES, add_all, budget, fresh, key, keys, map, plain, union};

/// Does a merge cost what differs?
pub(crate) fn merges(report: &mut Report) {
    report.part("merges of states");
    for count in SIZES {
        let base = keys(0, count);
        let same = map(A, &base);
        let mut equal = same.clone();
        let mut other = plain(&base);
        let theirs = other.clone();
        let pair = take_turns(
            21,
            100,
            || timed(|| (0..100).for_each(|_| assert!(!equal.join(black_box(&same))))),
            || timed(|| union(black_box(&mut other), black_box(&theirs))),
        );
        report.amount(format!("equal, {count}"), pair.ours, "ns", "", Budget::AtMost(200.0));

        let few = (count / 100).max(1);
        let (news_a, news_b) = (keys(count, few), keys(count * 2, few));
        let (mut ours, mut theirs) = (same.clone(), same.clone());
        add_all(&mut ours, A, &news_a);
        add_all(&mut theirs, B, &news_b);
        let (mut plain_ours, mut plain_theirs) = (plain(&base), plain(&base));
        union(&mut plain_ours, &plain(&news_a));
        union(&mut plain_theirs, &plain(&news_b));
        let pair = fresh(
            count,
            (&ours, &plain_ours),
            |map| assert!(map.join(black_box(&theirs))),
            |plain| union(plain, black_box(&plain_theirs)),
        );
        report.times(format!("1 % new on each side, {count}"), pair, budget(count, 0.5));

        let others = keys(count * 3, count);
        let (disjoint, plain_disjoint) = (map(B, &others), plain(&others));
        let pair = fresh(
            count,
            (&same, &plain(&base)),
            |map| assert!(map.join(black_box(&disjoint))),
            |plain| union(plain, black_box(&plain_disjoint)),
        );
        report.times(format!("disjoint, {count}"), pair, budget(count, 1.5));
    }
    let ((mut small_state, few), (mut large_state, many)) = (one_key_deltas(1_000), one_key_deltas(1_000_000));
    let join = |map: &mut Map, deltas: &[Map]| deltas.iter().for_each(|delta| assert!(map.join(black_box(delta))));
    let mut at = 0_u64;
    let mut again = |map: &mut Map, count: u64| -> Vec<Map> {
        at += 1;
        let mut writer = map.clone();
        (0..100).map(|number| writer.set(B, 2 + at, key(number * 97 % count), number).unwrap()).collect()
    };
    join(&mut large_state, &many);
    join(&mut small_state, &few);
    let (mut of_large, mut of_small) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let (many, few) = (again(&mut large_state, 1_000_000), again(&mut small_state, 1_000));
        of_large.push(timed(|| join(&mut large_state, &many)).as_secs_f64() * 1e7);
        of_small.push(timed(|| join(&mut small_state, &few)).as_secs_f64() * 1e7);
    }
    let (ours, reference) = (median(of_large.into_iter()), median(of_small.into_iter()));
    let pair = Pair { ours, reference, ratio: ours / reference };
    report.times("delta of one key, 1M : 1k", pair, Budget::None);
}

/// A state of so many keys, and deltas that each write one of them.
pub(crate) fn one_key_deltas(count: u64) -> (Map, Vec<Map>) {
    let base = map(A, &keys(0, count));
    let mut writer = base.clone();
    let deltas = (0..=100).map(|number| writer.set(B, 2, key(number * 97 % count), number).unwrap()).collect();
    (base, deltas)
}

/// The same by criterion, to compare with another commit.
pub(crate) fn by_criterion(criterion: &mut Criterion) {
    for count in SIZES {
        let base = keys(0, count);
        let (ours, other) = (map(A, &base), map(B, &keys(3 * count, count)));
        let mut newer = ours.clone();
        add_all(&mut newer, B, &keys(2 * count, (count / 100).max(1)));
        let mut group = criterion.benchmark_group(format!("{count}_entries"));
        if count > 100_000 {
            group.sample_size(10);
        }
        for (which, theirs) in [("merge_equal", &ours), ("merge_1_percent_new", &newer), ("merge_disjoint", &other)] {
            group.bench_function(which, |bencher| {
                bencher.iter_batched_ref(|| ours.clone(), |map| map.join(black_box(theirs)), BatchSize::LargeInput);
            });
        }
        group.bench_function("add", |bencher| {
            bencher.iter_batched_ref(Map::new, |map| add_all(map, A, &base), BatchSize::LargeInput);
        });
        group.bench_function("overwrite", |bencher| {
            bencher.iter_batched_ref(|| ours.clone(), |map| add_all(map, A, &base), BatchSize::LargeInput);
        });
        let bytes = msgpack::to_bytes(&ours).unwrap();
        group.bench_function("encode", |bencher| bencher.iter(|| msgpack::to_bytes(black_box(&ours)).unwrap()));
        group.bench_function("decode", |bencher| bencher.iter(|| msgpack::from_bytes::<Map>(black_box(&bytes)).unwrap()));
        group.finish();
    }
}
