//! What an operation costs, with its delta: by time, and in instructions.

use std::hint::black_box;
use std::mem;

use tombolo::crdt::Lattice;

use crate::common::instructions::{WITHOUT, can_count, counted, counted_section};
use crate::common::report::{Budget, Report};
use crate::merges::one_key_deltas;
use crate::states::{A, Map, Plain, SIZES, add_all, budget, fresh, insert_all, keys, map, plain};

/// What does an operation of one replica cost, with its delta made and dropped?
pub(crate) fn local(report: &mut Report) {
    report.part("local operations, each with its delta");
    for count in SIZES {
        let keys = keys(0, count);
        let (full, plain) = (map(A, &keys), plain(&keys));
        let pair =
            fresh(count, (&Map::new(), &Plain::new()), |map| add_all(map, A, &keys), |plain| insert_all(plain, &keys, 0));
        report.times(format!("add, {count}"), pair, budget(count, 2.0));
        report.because(BECAUSE_DELTA);
        let pair = fresh(count, (&full, &plain), |map| add_all(map, A, &keys), |plain| insert_all(plain, &keys, 1));
        report.times(format!("overwrite, {count}"), pair, budget(count, 2.0));
        report.because(BECAUSE_DELTA);
        let pair = fresh(
            count,
            (&full, &plain),
            |map| keys.iter().for_each(|key| assert!(black_box(map.get(key.as_str())).is_some())),
            |plain| keys.iter().for_each(|key| assert!(black_box(plain.get(key.as_str())).is_some())),
        );
        report.times(format!("get, {count}"), pair, budget(count, 1.2));
        report.because(BECAUSE_INDEX);
        let pair = fresh(
            count,
            (&full, &plain),
            |map| keys.iter().for_each(|key| drop(black_box(map.remove(key.as_str())))),
            |plain| keys.iter().for_each(|key| assert!(plain.remove(key.as_str()).is_some())),
        );
        report.times(format!("remove, {count}"), pair, budget(count, 2.2));
        report.because(BECAUSE_DELTA);
    }
}

const BECAUSE_INDEX: &str = "An index names the entry: two places in memory where a plain table has one.";
const BECAUSE_DELTA: &str = "Besides the table there are the dot's place, what has been seen, and a delta that owns its key.";

/// The same in instructions, which no other load of the machine changes; and does the size of a state matter to a delta?
pub(crate) fn instructions(report: &mut Report) {
    if !can_count() {
        return report.note(WITHOUT);
    }
    report.part("the same, in instructions");
    for (what, at_most) in [("add", 2.0), ("overwrite", 2.0), ("get", 1.2), ("remove", 2.2)] {
        let pair = (counted(what, 10_000), counted(&format!("plain {what}"), 10_000));
        report.numbers(format!("{what}, 10000"), pair, "", Budget::AtMost(at_most));
        report.because(if what == "get" { BECAUSE_INDEX } else { BECAUSE_DELTA });
    }
    let pair = (counted("delta of 1000000", 100), counted("delta of 1000", 100));
    report.numbers("delta of one key, 1M : 1k", pair, "", Budget::AtMost(2.0));
}

pub(crate) fn scenario(scenario: &str, times: u32) {
    let keys = keys(0, u64::from(times));
    let (mut full, mut full_plain) = (map(A, &keys), plain(&keys));
    match scenario {
        "add" => counted_section(&mut || mem::forget(map(A, &keys))),
        "plain add" => counted_section(&mut || {
            let mut plain = Plain::new();
            insert_all(&mut plain, &keys, 0);
            mem::forget(plain);
        }),
        "overwrite" => counted_section(&mut || add_all(&mut full, A, &keys)),
        "plain overwrite" => counted_section(&mut || insert_all(&mut full_plain, &keys, 1)),
        "get" => counted_section(&mut || keys.iter().for_each(|key| assert!(black_box(full.get(key.as_str())).is_some()))),
        "plain get" => {
            counted_section(&mut || keys.iter().for_each(|key| assert!(black_box(full_plain.get(key.as_str())).is_some())));
        }
        "remove" => counted_section(&mut || keys.iter().for_each(|key| drop(black_box(full.remove(key.as_str()))))),
        "plain remove" => {
            counted_section(&mut || keys.iter().for_each(|key| assert!(full_plain.remove(key.as_str()).is_some())));
        }
        _delta => {
            let count = scenario.rsplit_once(' ').unwrap().1.parse().unwrap();
            let (mut state, mut deltas) = one_key_deltas(count);
            // Of the first, the table has to learn of a new replica.
            assert!(state.join(&deltas.remove(0)));
            counted_section(&mut || deltas.iter().for_each(|delta| assert!(state.join(black_box(delta)))));
        }
    }
}
