//! What the storage layer costs beside what it is made of. Keys of 44 bytes in random order, values of 24.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails has nothing to measure")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use redb::{Database, ReadableDatabase, TableDefinition};
use tombolo::storage::{Backend, Bytes, LogId, Memory, Read, Redb, TableId, Write};

const ROWS: TableId = TableId(0);
const LOG: LogId = LogId { table: 0, lane: 0 };
const BARE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bare");

/// Few inputs at a time: freeing a large list of them makes the allocator tidy up within the measurement.
const BATCH: BatchSize = BatchSize::NumIterations(64);

fn key(number: u64) -> Bytes {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("notes/{spread:016x}/title/{number:08}-----").into()
}

fn value(number: u64) -> Bytes {
    format!("{number:024}").into()
}

fn put(number: u64) -> Write {
    Write::Put { table: ROWS, key: key(number), value: value(number) }
}

/// Numbers below `end` in an order that no cache foresees.
fn lots(end: u64) -> impl Fn() -> u64 {
    let state = Cell::new(0x2545_F491_4F6C_DD1D_u64);
    move || {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next % end
    }
}

fn memory_with(rows: u64) -> Memory {
    let memory = Memory::default();
    memory.commit((0..rows).map(put).collect(), false).unwrap();
    memory
}

/// Grown row by row as a store is: one that is collected has full nodes, in order in memory.
fn map_with(rows: u64) -> BTreeMap<Bytes, Bytes> {
    let mut map = BTreeMap::new();
    for number in 0..rows {
        map.insert(key(number), value(number));
    }
    map
}

/// Is a put in memory at most 2.5 times a `BTreeMap` put of the same bytes, alone, and 2 times in a commit of 1,000? And what
/// does a snapshot that is taken before every commit add?
fn memory_put(criterion: &mut Criterion) {
    for (rows, size) in [(1_000, "1k"), (100_000, "100k"), (1_000_000, "1m")] {
        let mut group = criterion.benchmark_group(format!("memory_put_in_{size}_rows"));
        let lot = lots(rows);
        let pair = || {
            let number = lot();
            (key(number), value(number))
        };
        let mut map = map_with(rows);
        group.bench_function("btreemap", |bencher| {
            bencher.iter_batched(pair, |(key, value)| map.insert(key, value), BATCH);
        });
        drop(map);
        let memory = memory_with(rows);
        let lot = lots(rows);
        let one = || vec![put(lot())];
        group.bench_function("memory", |bencher| {
            bencher.iter_batched(one, |writes| memory.commit(writes, false), BATCH);
        });
        let thousand = || (0..1_000).map(|_| put(lot())).collect::<Vec<_>>();
        group.bench_function("memory_1000_in_a_commit", |bencher| {
            bencher.iter_batched(thousand, |writes| memory.commit(writes, false), BATCH);
        });
        group.bench_function("memory_under_new_snapshots", |bencher| {
            let mut held = memory.snapshot().unwrap();
            bencher.iter_batched(
                one,
                |writes| {
                    held = memory.snapshot().unwrap();
                    memory.commit(writes, false)
                },
                BATCH,
            );
            drop(held);
        });
        group.finish();
    }
}

/// Is a get in memory at most twice a `BTreeMap` get?
fn memory_get(criterion: &mut Criterion) {
    for (rows, size) in [(1_000, "1k"), (100_000, "100k"), (1_000_000, "1m")] {
        let mut group = criterion.benchmark_group(format!("memory_get_of_{size}_rows"));
        let keys: Vec<Bytes> = (0..rows).map(key).collect();
        let lot = lots(rows);
        let pick = || &keys[usize::try_from(lot()).unwrap()];
        let map = map_with(rows);
        group.bench_function("btreemap", |bencher| {
            bencher.iter(|| map.get(pick()).cloned());
        });
        drop(map);
        let memory = memory_with(rows);
        group.bench_function("memory", |bencher| {
            bencher.iter(|| memory.get(ROWS, pick()));
        });
        let snapshot = memory.snapshot().unwrap();
        group.bench_function("snapshot", |bencher| {
            bencher.iter(|| snapshot.get(ROWS, pick()));
        });
        group.finish();
    }
}

/// What does an iterator that owns its state cost over one that borrows it?
fn memory_range(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory_range_100_of_100k_rows");
    let keys: Vec<Bytes> = (0..100_000).map(key).collect();
    let lot = lots(100_000);
    let start = || Bound::Included(&*keys[usize::try_from(lot()).unwrap()]);
    let map = map_with(100_000);
    group.bench_function("btreemap", |bencher| {
        bencher.iter(|| {
            let range = map.range::<[u8], _>((start(), Bound::Unbounded));
            range.take(100).for_each(|(key, value)| drop(black_box((key.clone(), value.clone()))));
        });
    });
    drop(map);
    let memory = memory_with(100_000);
    let snapshot = memory.snapshot().unwrap();
    let reads: [(&str, &dyn Read); 2] = [("memory", &memory), ("snapshot", &*snapshot)];
    for (name, read) in reads {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let range = read.range(ROWS, (start(), Bound::Unbounded)).unwrap();
                range.take(100).for_each(|row| drop(black_box(row.unwrap())));
            });
        });
    }
    group.finish();
}

/// What does the next entry of a log cost in memory, and a lookup, beside a map by number?
fn memory_log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory_log_of_100k_entries");
    let mut map: BTreeMap<u64, Bytes> = (0..100_000).map(|number| (number, value(number))).collect();
    let memory = Memory::default();
    let append = |number| Write::Append { log: LOG, number, value: value(number) };
    memory.commit((0..100_000).map(append).collect(), false).unwrap();
    let lot = lots(100_000);
    group.bench_function("btreemap_get", |bencher| {
        bencher.iter(|| map.get(&lot()).cloned());
    });
    group.bench_function("memory_at", |bencher| {
        bencher.iter(|| memory.at(LOG, lot()));
    });
    let mut next = 100_000;
    group.bench_function("btreemap_append", |bencher| {
        let value = value(0);
        bencher.iter(|| {
            next += 1;
            map.insert(next, value.clone())
        });
    });
    let mut next = 100_000;
    group.bench_function("memory_append", |bencher| {
        let value = value(0);
        bencher.iter(|| {
            next += 1;
            memory.commit(vec![Write::Append { log: LOG, number: next, value: value.clone() }], false)
        });
    });
    group.finish();
}

/// Are reads through the backend at least 0.8 times as fast as redb's own on a table that is open?
fn redb_read(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<Bytes> = (0..100_000).map(key).collect();
    let lot = lots(100_000);
    let pick = || &*keys[usize::try_from(lot()).unwrap()];

    let backend = Redb::open(directory.path().join("backend.tombolo")).unwrap();
    backend.commit((0..100_000).map(put).collect(), true).unwrap();
    let bare = Database::create(directory.path().join("bare.redb")).unwrap();
    let transaction = bare.begin_write().unwrap();
    {
        let mut table = transaction.open_table(BARE).unwrap();
        for number in 0..100_000 {
            table.insert(&*key(number), &*value(number)).unwrap();
        }
    }
    transaction.commit().unwrap();
    let table = bare.begin_read().unwrap().open_table(BARE).unwrap();

    let mut group = criterion.benchmark_group("redb_get_of_100k_rows");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| Bytes::copy_from_slice(table.get(pick()).unwrap().unwrap().value()));
    });
    group.bench_function("backend", |bencher| {
        bencher.iter(|| backend.get(ROWS, pick()).unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("redb_range_100_of_100k_rows");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let range = table.range::<&[u8]>((Bound::Included(pick()), Bound::Unbounded)).unwrap();
            range.take(100).for_each(|row| {
                let (key, value) = row.unwrap();
                drop(black_box((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value()))));
            });
        });
    });
    group.bench_function("backend", |bencher| {
        bencher.iter(|| {
            let range = backend.range(ROWS, (Bound::Included(pick()), Bound::Unbounded)).unwrap();
            range.take(100).for_each(|row| drop(black_box(row.unwrap())));
        });
    });
    group.finish();
}

/// What does a durable commit of 100 rows cost over redb's own? The same rows, the same fsync.
fn redb_commit(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let mut group = criterion.benchmark_group("redb_commit_100_rows_synced");
    group.sample_size(30);
    let bare = Database::create(directory.path().join("bare.redb")).unwrap();
    let lot = lots(10_000);
    let pairs = || (0..100).map(|_| (key(lot()), value(lot()))).collect::<Vec<_>>();
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(
            pairs,
            |rows| {
                let transaction = bare.begin_write().unwrap();
                {
                    let mut table = transaction.open_table(BARE).unwrap();
                    for (key, value) in &rows {
                        table.insert(&**key, &**value).unwrap();
                    }
                }
                transaction.commit().unwrap();
            },
            BATCH,
        );
    });
    let backend = Redb::open(directory.path().join("backend.tombolo")).unwrap();
    let lot = lots(10_000);
    let writes = || {
        let rows = (0..100).map(|_| (key(lot()), value(lot())));
        rows.map(|(key, value)| Write::Put { table: ROWS, key, value }).collect::<Vec<_>>()
    };
    group.bench_function("backend", |bencher| {
        bencher.iter_batched(writes, |writes| backend.commit(writes, true), BATCH);
    });
    group.finish();
}

criterion_group!(benches, memory_put, memory_get, memory_range, memory_log, redb_read, redb_commit);
criterion_main!(benches);
