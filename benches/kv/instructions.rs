//! Operations by their instructions. Left out where there is no valgrind.

use std::hint::black_box;

use tombolo::Store;

use crate::common::instructions::{WITHOUT, can_count, counted, counted_section};
use crate::report::{Budget, Report};
use crate::rows::{key, lots, map_with, path, payload, store_with, value};

pub(crate) fn run(report: &mut Report) {
    if !can_count() {
        return report.note(WITHOUT);
    }
    let map = counted("map put 20000", 1_000);
    report.numbers(
        "put over one of 20k rows, a transaction each",
        (counted("put 20000", 1_000), map),
        "instructions",
        Budget::AtMost(2.5),
    );
    report.because(crate::memory::PUT_SINGLE);
    report.numbers(
        "put over one of 20k rows, 1,000 in a transaction",
        (counted("put together 20000", 1_000), map),
        "instructions",
        Budget::AtMost(2.0),
    );
    report.because(crate::memory::PUT_BATCHED);
    report.numbers(
        "get one of 20k rows",
        (counted("get 20000", 1_000), counted("map get 20000", 1_000)),
        "instructions",
        Budget::AtMost(2.0),
    );
    report.because(crate::memory::GET);
    let (small, large) = (counted("merge 1000", 100), counted("merge 100000", 100));
    report.numbers("merge of one key into 100k rows : into 1k rows", (large, small), "instructions", Budget::AtMost(2.0));
}

/// Runs an operation so many times: `what`, and the number of rows.
pub(crate) fn scenario(scenario: &str, times: u32) {
    let (what, rows) = scenario.rsplit_once(' ').unwrap();
    let rows: u64 = rows.parse().unwrap();
    let (lot, text) = (lots(rows), value(7));
    let keys: Vec<String> = (0..rows).map(key).collect();
    let pick = || &*keys[lot() as usize];
    let each = |operation: &mut dyn FnMut()| counted_section(&mut || (0..times).for_each(|_| operation()));
    match what {
        "map put" | "map get" => {
            let (mut map, bytes) = (map_with(rows), payload(&text));
            let paths: Vec<Vec<u8>> = keys.iter().map(|key| path(key)).collect();
            let pick = || &paths[lot() as usize];
            if what == "map put" {
                each(&mut || drop(map.insert(pick().clone(), bytes.clone())));
            } else {
                each(&mut || drop(black_box(map.get(pick()).cloned())));
            }
        }
        "put" | "put together" | "get" => {
            let store = store_with(rows);
            match what {
                "put" => each(&mut || store.register::<String>(pick()).set(&*text).unwrap()),
                "get" => each(&mut || drop(black_box(store.register::<String>(pick()).get().unwrap()))),
                _together => counted_section(&mut || {
                    store.transact(|tx| (0..times).try_for_each(|_| tx.register::<String>(pick()).set(&*text))).unwrap();
                }),
            }
        }
        "merge" => {
            let (peer, store) = (store_with(rows), Store::in_memory());
            store.merge(peer.delta_since(&store.version().unwrap()).unwrap()).unwrap();
            let delta = |_| {
                let before = peer.version().unwrap();
                peer.register::<String>(pick()).set(&*text).unwrap();
                peer.delta_since(&before).unwrap()
            };
            let deltas: Vec<_> = (0..times).map(delta).collect();
            counted_section(&mut || deltas.iter().for_each(|delta| drop(store.merge(delta).unwrap())));
        }
        _unknown => panic!("no scenario {what}"),
    }
}
