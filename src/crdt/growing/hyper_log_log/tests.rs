//! Few registers and many, and how far estimates are off.

use super::*;
use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

fn sketch_of<const P: u8>(items: impl IntoIterator<Item = u64>) -> HyperLogLog<P> {
    let mut sketch = HyperLogLog::new();
    for item in items {
        let _unsent = sketch.add(item.to_le_bytes());
    }
    sketch
}

#[test]
fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
    let ops: Vec<Vec<u8>> = (0_u8..5).map(|item| vec![item]).collect();
    // At this precision the third register makes it write all of them.
    assert_type::<HyperLogLog<4>>(&reachable(&ops, 40), &ops);
}

#[test]
fn few_and_many_registers_join_alike() {
    let sketch = |range: core::ops::Range<u64>| sketch_of::<8>(range);
    for (low, high) in [(0, 0), (20, 5), (20, 40), (20, 400), (400, 20), (400, 300), (1, 25)] {
        let (one, other, both) = (sketch(0..low), sketch(low / 2..high), sketch(0..low.max(high)));
        for (mut ours, theirs) in [(one.clone(), &other), (other.clone(), &one)] {
            let before = ours.clone();
            assert_eq!(ours.join(theirs), ours != before);
            assert_eq!(ours, both);
            assert!(!ours.join(theirs) && ours >= before && ours >= *theirs);
            let mut mended = theirs.clone();
            mended.join(&both.minus(theirs));
            assert_eq!(mended, both);
        }
    }
}

#[test]
fn no_item_is_0_and_the_first_ones_are_counted_exactly() {
    assert_eq!(HyperLogLog::<4>::new().estimate(), 0);
    assert_eq!(sketch_of::<4>([7, 7, 7]).estimate(), 1);
    for items in 0..50 {
        assert_eq!(sketch_of::<14>(0..items).estimate(), items);
    }
}

/// Also that the hash is that of other implementations, so that sketches of other processes mean the same.
#[test]
fn estimates_are_the_same_on_every_platform() {
    assert_eq!(XxHash3_64::oneshot(b""), 0x2D06_8005_38D3_94C2);
    let of = |items| sketch_of::<10>(0..items).estimate();
    assert_eq!([100, 1_000, 10_000, 100_000].map(of), [103, 980, 10_113, 98_388]);
}

/// Runs of distinct items, and at each size the root of the mean square of the relative errors, and their mean.
fn assert_errors<const P: u8>(runs: u64, items: u64) {
    let sizes = || (0..7).flat_map(|power| [1, 2, 5].map(|lead| lead * 10_u64.pow(power))).filter(|size| *size <= items);
    let mut sums: Vec<(u64, f64, f64)> = sizes().map(|size| (size, 0.0, 0.0)).collect();
    for run in 0..runs {
        let (mut sketch, mut added) = (HyperLogLog::<P>::new(), 0);
        for (size, sum, squares) in &mut sums {
            for item in added..*size {
                let _unsent = sketch.add((run << 32 | item).to_le_bytes());
            }
            added = *size;
            let error = sketch.estimate() as f64 / *size as f64 - 1.0;
            *sum += error;
            *squares += error * error;
        }
    }
    let (runs, registers) = (runs as f64, f64::from(1_u32 << P));
    let (standard, bias) = (1.04 / registers.sqrt(), 1.1 / registers);
    for (size, sum, squares) in sums {
        let (mean, spread) = (sum / runs, (squares / runs).sqrt());
        // Four standard errors of the mean, and of the spread; and the rounding to a whole number.
        let systematic = bias + 0.5 / size as f64;
        assert!(spread < standard * (1.0 + 4.0 / (2.0 * runs).sqrt()) + systematic, "{spread} of {size}");
        assert!(mean.abs() < standard * 4.0 / runs.sqrt() + systematic, "{mean} of {size}");
    }
}

#[test]
fn the_error_is_what_theory_says_from_1_item_to_a_million() {
    assert_errors::<4>(60, 100_000);
    assert_errors::<8>(60, 100_000);
    assert_errors::<12>(20, 1_000_000);
    assert_errors::<14>(20, 1_000_000);
}

#[test]
fn full_registers_are_a_number_too() {
    for full in 0..=16 {
        let mut sketch = HyperLogLog::<4>::new();
        for index in 0..16 {
            sketch.raise(index, if index < full { 61 } else { 60 });
        }
        assert!(sketch.estimate() > 1 << 60, "{full}");
    }
    for x in [0.0, 1e-300, 0.25, 0.3, 0.999, 1.0_f64] {
        assert!((root(x) - x.sqrt()).abs() <= f64::EPSILON * x.sqrt());
    }
}

/// Behind the index there may be no 1 at all, once in 2^46 items or more: then the rank is one above the last place.
#[test]
fn a_register_is_the_first_bits_of_a_hash_and_the_place_of_the_next_1() {
    let hashes = [0, 1, 2, 1 << 59, 1 << 60, u64::MAX];
    let expected = [(0, 61), (0, 60), (0, 59), (0, 1), (1, 61), (15, 1)];
    assert_eq!(hashes.map(HyperLogLog::<4>::register), expected);
    assert_eq!([0, u64::MAX].map(HyperLogLog::<18>::register), [(0, 47), ((1 << 18) - 1, 1)]);
}

/// Term by term, as the paper has them.
#[test]
fn registers_that_are_empty_and_that_are_full_count_as_the_series_of_the_paper() {
    for x in [0.0, 0.1, 0.5, 0.75, 0.99_f64] {
        let power = |k: i32| 2_f64.powi(k);
        let empty = x + (1..60).map(|k| x.powf(power(k)) * power(k - 1)).sum::<f64>();
        let full = (1.0 - x - (1..60).map(|k| (1.0 - x.powf(power(-k))).powi(2) * power(-k)).sum::<f64>()) / 3.0;
        assert!((sigma(x) - empty).abs() <= 1e-12 * empty && (tau(x) - full).abs() <= 1e-12, "{x}");
    }
}

#[test]
fn one_rank_more_in_every_register_doubles_the_estimate() {
    let of = |rank| {
        let mut sketch = HyperLogLog::<4>::new();
        for index in 0..16 {
            sketch.raise(index, rank);
        }
        sketch.estimate()
    };
    assert!((1..60).all(|rank| of(rank + 1).abs_diff(2 * of(rank)) <= 1));
    assert_eq!(of(61), u64::MAX);
}

/// So many of 16 registers are full, and the others nearly so.
fn nearly_full<const P: u8>(full: u32) -> u64 {
    let mut sketch = HyperLogLog::<P>::new();
    for index in 0..1 << P {
        sketch.raise(index, if index % 16 < full { 65 - P } else { 64 - P });
    }
    sketch.estimate()
}

/// An index and what a rank is counted in are 64 bits together, so that what is left of them does not depend on how they are shared.
#[test]
fn full_registers_mean_the_same_at_every_precision() {
    let estimates: Vec<u64> = (0..=16).map(nearly_full::<4>).collect();
    assert!(estimates.is_sorted() && estimates[0] < estimates[1] && estimates[5] < estimates[6]);
    for (full, estimate) in (0..=16).zip(estimates) {
        for other in [nearly_full::<8>(full), nearly_full::<12>(full)] {
            assert!(other.abs_diff(estimate) <= estimate >> 40, "{other}, {estimate} with {full} full");
        }
    }
}

#[test]
fn registers_that_no_items_make_are_refused() {
    let all = |raised: usize| [vec![61; raised], vec![0; 16 - raised]].concat();
    let unreadable = |registers: &Registers| assert_unreadable::<HyperLogLog<4>>(registers);
    for few in [vec![pack(1, 1), pack(0, 1)], vec![pack(1, 1), pack(1, 2)], vec![pack(0, 1), pack(1, 1), pack(2, 1)]] {
        unreadable(&Registers::Few(few));
    }
    for (index, rank) in [(16, 1), (0, 0), (0, 62), (u32::MAX >> RANK_BITS, 1)] {
        unreadable(&Registers::Few(vec![pack(index, rank)]));
    }
    assert!(HyperLogLog::<4>::try_from(Registers::All(all(3))).is_ok());
    for registers in [all(2), vec![1; 15], vec![1; 17], vec![62; 16]] {
        unreadable(&Registers::All(registers));
    }
}
