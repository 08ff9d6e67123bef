//! In memory, beside a `BTreeMap` of the same bytes.

use std::hint::black_box;
use std::time::Duration;

use tombolo::Store;
use tombolo::storage::{Backend, Bytes, Memory, Read, TableId, Write};

use crate::measure::{take_turns, timed};
use crate::report::{Budget, Report};
use crate::rows::{key, lots, map_with, path, payload, store_with, value};

const ROWS: u64 = 100_000;
const BATCH: u32 = 200;
const ROUNDS: u32 = 200;

pub(crate) fn run(report: &mut Report) {
    report.note("Times vary from run to run, most where caches decide: the merge into 100k rows has come out at 2.4 and at 3.7, on both sides of its budget.");
    put_and_get(report);
    scan(report);
    held_snapshot(report);
    watched(report);
    join(report);
}

fn put_and_get(report: &mut Report) {
    let (store, mut map) = (store_with(ROWS), map_with(ROWS));
    let keys: Vec<String> = (0..ROWS).map(key).collect();
    let paths: Vec<Vec<u8>> = keys.iter().map(|key| path(key)).collect();
    let text = value(7);
    let bytes = payload(&text);
    let pick = || {
        let lot = lots(ROWS);
        move || lot() as usize
    };

    let (ours, theirs) = (pick(), pick());
    let single = take_turns(
        ROUNDS,
        BATCH,
        || timed(|| (0..BATCH).for_each(|_| store.register::<String>(&*keys[ours()]).set(&*text).unwrap())),
        || timed(|| (0..BATCH).for_each(|_| drop(map.insert(paths[theirs()].clone(), bytes.clone())))),
    );
    report.times("put over one of 100k rows, a transaction each", single, Budget::AtMost(2.5));
    report.because(PUT_SINGLE);

    let batched = take_turns(
        ROUNDS / 4,
        1_000,
        || {
            timed(|| {
                let put = |tx: &tombolo::Tx| (0..1_000).try_for_each(|_| tx.register::<String>(&*keys[ours()]).set(&*text));
                store.transact(put).unwrap();
            })
        },
        || timed(|| (0..1_000).for_each(|_| drop(map.insert(paths[theirs()].clone(), bytes.clone())))),
    );
    report.times("put over one of 100k rows, 1,000 in a transaction", batched, Budget::AtMost(2.0));
    report.because(PUT_BATCHED);

    let get = take_turns(
        ROUNDS,
        BATCH,
        || timed(|| (0..BATCH).for_each(|_| drop(black_box(store.register::<String>(&*keys[ours()]).get().unwrap().unwrap())))),
        || timed(|| (0..BATCH).for_each(|_| drop(black_box(map.get(&paths[theirs()]).cloned().unwrap())))),
    );
    report.times("get one of 100k rows", get, Budget::AtMost(2.0));
    report.because(GET);
}

fn scan(report: &mut Report) {
    const FEW: u64 = 10_000;
    let (store, map) = (store_with(FEW), map_with(FEW));
    let reference = || timed(|| map.iter().for_each(|(key, value)| drop(black_box((key.clone(), value.clone())))));
    let keys = || timed(|| store.scan(()).for_each(|entry| drop(black_box(entry.unwrap()))));
    let pair = take_turns(30, FEW as u32, keys, reference);
    report.times("scan of 10k rows: a key", pair, Budget::None);
    let values = || timed(|| store.scan(()).for_each(|entry| drop(black_box(entry.unwrap().value().unwrap()))));
    let pair = take_turns(30, FEW as u32, values, reference);
    report.times("scan of 10k rows: a key and its value", pair, Budget::None);
}

fn held_snapshot(report: &mut Report) {
    let store = store_with(ROWS);
    let keys: Vec<String> = (0..ROWS).map(key).collect();
    let lot = lots(ROWS);
    let puts = |store: &Store| {
        timed(|| (0..BATCH).for_each(|_| store.register::<String>(&*keys[lot() as usize]).set("under a snapshot").unwrap()))
    };
    let held = || {
        let snapshot = store.snapshot().unwrap();
        let elapsed = puts(&store);
        drop(snapshot);
        elapsed
    };
    let pair = take_turns(ROUNDS, BATCH, held, || puts(&store));
    report.times("put under a snapshot, a new one for each 200 : put", pair, Budget::None);
}

/// Puts while somebody watches everything, and takes what there is after every 200.
fn watched(report: &mut Report) {
    let (store, alone) = (store_with(ROWS), store_with(ROWS));
    let keys: Vec<String> = (0..ROWS).map(key).collect();
    let lot = lots(ROWS);
    let puts = |store: &Store| {
        timed(|| (0..BATCH).for_each(|_| store.register::<String>(&*keys[lot() as usize]).set("watched").unwrap()))
    };
    for (count, what) in [(1, "put with 1 watcher : put"), (100, "put with 100 watchers : put")] {
        let mut watches: Vec<_> = (0..count).map(|_| store.watch(())).collect();
        let ours = || {
            let elapsed = puts(&store);
            watches.iter_mut().for_each(|watch| drop(watch.wait(Duration::ZERO).unwrap()));
            elapsed
        };
        report.times(what, take_turns(ROUNDS / 2, BATCH, ours, || puts(&alone)), Budget::None);
    }
}

/// A store that has everything from one peer, and deltas of that peer that change one key each.
struct Joined {
    peer: Store,
    store: Store,
    keys: Vec<String>,
    lot: Box<dyn Fn() -> u64>,
}

impl Joined {
    fn new(rows: u64) -> Self {
        let (peer, store) = (store_with(rows), Store::in_memory());
        store.merge(peer.delta_since(&store.version().unwrap()).unwrap()).unwrap();
        Self { peer, store, keys: (0..rows).map(key).collect(), lot: Box::new(lots(rows)) }
    }

    fn deltas(&self, count: u32) -> Vec<tombolo::kv::Delta> {
        let one = |_| {
            let before = self.peer.version().unwrap();
            self.peer.register::<String>(&*self.keys[(self.lot)() as usize]).set("changed").unwrap();
            self.peer.delta_since(&before).unwrap()
        };
        (0..count).map(one).collect()
    }

    fn merge_all(&self, count: u32) -> Duration {
        let deltas = self.deltas(count);
        timed(|| deltas.iter().for_each(|delta| drop(black_box(self.store.merge(delta).unwrap()))))
    }
}

fn join(report: &mut Report) {
    const TABLE: TableId = TableId(0);
    let small = Joined::new(1_000);
    for (rows, size) in [(1_000, "1k"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1M")] {
        let large = Joined::new(rows);
        if rows > 1_000 {
            let pair = take_turns(40, 100, || large.merge_all(100), || small.merge_all(100));
            report.times(format!("merge of one key into {size} rows : into 1k rows"), pair, Budget::None);
        }
        let memory = Memory::default();
        let bytes = |number: u64| (Bytes::from(path(&large.keys[number as usize])), Bytes::from(payload(&value(number))));
        let put = |(key, value)| Write::Put { table: TABLE, key, value };
        memory.commit((0..rows).map(|number| put(bytes(number))).collect(), false).unwrap();
        let get_and_put = || {
            let rows: Vec<_> = (0..100).map(|_| bytes((large.lot)())).collect();
            timed(|| {
                for (key, value) in rows {
                    black_box(memory.get(TABLE, &key).unwrap().unwrap());
                    memory.commit(vec![put((key, value))], false).unwrap();
                }
            })
        };
        let pair = take_turns(40, 100, || large.merge_all(100), get_and_put);
        report.times(format!("merge of one key into {size} rows : a get and a put of the backend"), pair, Budget::AtMost(3.0));
        report.because(JOIN);
    }
}

pub(crate) const PUT_SINGLE: &str = "By callgrind: the commit in the making takes about a third, the backend a quarter (four B-tree writes for one), the rest is the key, the value, the read of the row, and a copy of the state.";
pub(crate) const PUT_BATCHED: &str = "By callgrind: the backend takes about a third (a row, its event, and the old event), the commit in the making a fifth, the rest is the key, the value, and the read of the row.";
pub(crate) const GET: &str = "By callgrind: the search itself takes a quarter; the rest encodes the key and decodes the row and the value, which is checked first.";
const JOIN: &str = "Not profiled. What a merge does does not grow with the store; where all is in the caches, that outweighs the search of the reference.";
