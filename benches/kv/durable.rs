//! On a disk, beside a redb with one table of the same bytes.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use tombolo::Store;
use tombolo::kv::Durability;
use tombolo::storage::{LogId, Read, Redb, TableId};
use tombolo::system::{FileIdentity, Files};

use crate::disk::Counted;
use crate::measure::{Pair, median, take_turns, timed};
use crate::report::{Budget, Report};
use crate::rows::{fill, fill_with, key, key_in_order, lots, path, payload, value};

const BARE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bare");
const ROWS: u64 = 100_000;

pub(crate) fn run(report: &mut Report) {
    bytes_written(report);
    times(report);
    writers(report);
    large_file(report);
}

fn store_on(disk: impl StorageBackend) -> Store {
    Store::options().open_backend(Redb::with_backend(disk).unwrap()).unwrap()
}

fn bare_on(disk: impl StorageBackend) -> Database {
    Database::builder().create_with_backend(disk).unwrap()
}

fn file(path: &Path) -> FileBackend {
    FileBackend::new(fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()).unwrap()
}

fn put_bare(bare: &Database, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let transaction = bare.begin_write().unwrap();
    {
        let mut table = transaction.open_table(BARE).unwrap();
        rows.for_each(|(key, value)| drop(table.insert(&*key, &*value).unwrap()));
    }
    transaction.commit().unwrap();
}

fn put(store: &Store, rows: impl Iterator<Item = (String, String)>) {
    let mut rows = rows;
    store.transact(|tx| rows.try_for_each(|(key, value)| tx.register::<String>(&*key).set(&*value))).unwrap();
}

/// The same row, for both sides.
fn encoded((key, value): (String, String)) -> (Vec<u8>, Vec<u8>) {
    (path(&key), payload(&value))
}

fn fill_bare(bare: &Database, rows: u64) {
    for start in (0..rows).step_by(10_000) {
        put_bare(bare, (start..rows.min(start + 10_000)).map(|number| encoded((key(number), value(number)))));
    }
}

/// What reaches the disk, until every row was overwritten twice: the events of the entries that went are erased on the way.
fn bytes_written(report: &mut Report) {
    let ((ours, our_counts), (theirs, their_counts)) =
        (Counted::new(InMemoryBackend::new()), Counted::new(InMemoryBackend::new()));
    let (store, bare) = (store_on(ours), bare_on(theirs));
    fill(&store, ROWS);
    fill_bare(&bare, ROWS);
    let measured = |report: &mut Report, what: &str, times: u64, row: &dyn Fn() -> (String, String), limit| {
        let (ours, theirs) = (our_counts.bytes(), their_counts.bytes());
        for _ in 0..times {
            let rows: Vec<_> = (0..100).map(|_| row()).collect();
            put_bare(&bare, rows.iter().cloned().map(encoded));
            put(&store, rows.into_iter());
        }
        let rows = times as f64 * 100.0;
        let pair = ((our_counts.bytes() - ours) / rows, (their_counts.bytes() - theirs) / rows);
        report.numbers(format!("bytes written for each row, transactions of 100: {what}"), pair, "B", limit);
        report.because(BYTES);
    };
    let lot = lots(ROWS);
    measured(report, "200k random overwrites of 100k rows", 2_000, &|| (key(lot()), value(lot())), Budget::AtMost(1.25));
    let next = lots_of_new();
    measured(report, "50k inserts at random", 500, &|| (key(next()), value(next())), Budget::AtMost(1.25));
    measured(report, "50k inserts in order", 500, &|| (key_in_order(next()), value(7)), Budget::AtMost(1.25));
    drop(store);
}

/// Numbers of keys that were not there.
fn lots_of_new() -> impl Fn() -> u64 {
    let next = std::cell::Cell::new(ROWS);
    move || next.replace(next.get() + 1)
}

fn times(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let bare = bare_on(file(&folder.path().join("bare")));
    fill(&store, ROWS);
    fill_bare(&bare, ROWS);
    let keys: Vec<String> = (0..ROWS).map(key).collect();
    let paths: Vec<Vec<u8>> = keys.iter().map(|key| path(key)).collect();
    let (lot, other) = (lots(ROWS), lots(ROWS));

    let rows = |count: u64| (0..count).map(|_| (key(lot()), value(lot()))).collect::<Vec<_>>();
    let ours = |count| {
        let rows = rows(count);
        timed(|| put(&store, rows.into_iter()))
    };
    let theirs = |count| {
        let rows: Vec<_> = rows(count).into_iter().map(encoded).collect();
        timed(|| put_bare(&bare, rows.into_iter()))
    };
    let hundred = take_turns(300, 100, || ours(100), || theirs(100));
    report.times("put over one of 100k rows, 100 in a transaction", hundred, Budget::AtMost(1.3));
    report.because(TIME);
    let single = take_turns(300, 1, || ours(1), || theirs(1));
    report.times("put over one of 100k rows, a transaction each", single, Budget::None);

    let held = || {
        let snapshot = store.snapshot().unwrap();
        let elapsed = (0..5).map(|_| ours(20)).sum();
        drop(snapshot);
        elapsed
    };
    let pair = take_turns(20, 100, held, || (0..5).map(|_| ours(20)).sum());
    report.times("put under a snapshot, 20 in a transaction : put", pair, Budget::None);

    let table = bare.begin_read().unwrap().open_table(BARE).unwrap();
    let get = take_turns(
        200,
        200,
        || {
            timed(|| {
                (0..200)
                    .for_each(|_| drop(black_box(store.register::<String>(&*keys[lot() as usize]).get().unwrap().unwrap())));
            })
        },
        || {
            timed(|| {
                (0..200).for_each(|_| drop(black_box(table.get(&*paths[other() as usize]).unwrap().unwrap().value().to_vec())));
            })
        },
    );
    // As speeds.
    let pair = Pair { ratio: 1.0 / get.ratio, ..get };
    report.times("get one of 100k rows, as speed", pair, Budget::AtLeast(0.8));
    report.because(READ);
}

/// What some threads have done in a while.
struct Done {
    a_second: f64,
    syncs_each: f64,
}

/// Transactions of one row by one thread, and by eight.
fn writers(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let (disk, counts) = Counted::new(file(&folder.path().join("store")));
    let store = store_on(disk);
    fill(&store, 10_000);
    let until = |threads: u64| {
        let (syncs, start, end) = (counts.syncs(), Instant::now(), Instant::now() + Duration::from_millis(700));
        let done: u64 = std::thread::scope(|scope| {
            let writer = |nth: u64| {
                let store = &store;
                move || {
                    let mut done = 0;
                    while Instant::now() < end {
                        store.register::<String>(&*key(done * 8 + nth)).set("by one of several").unwrap();
                        done += 1;
                    }
                    done
                }
            };
            let threads: Vec<_> = (0..threads).map(|nth| scope.spawn(writer(nth))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let done = done as f64;
        Done { a_second: done / start.elapsed().as_secs_f64(), syncs_each: (counts.syncs() - syncs) / done }
    };
    let rounds: Vec<_> = (0..7).map(|_| (until(8), until(1))).collect();
    let of = |side: fn(&(Done, Done)) -> f64| median(rounds.iter().map(side));
    let (eight, one) = (of(|(eight, _)| eight.a_second), of(|(_, one)| one.a_second));
    report.numbers("durable transactions of 8 threads : of 1", (eight, one), "a second", Budget::None);
    let (eight, one) = (of(|(eight, _)| eight.syncs_each), of(|(_, one)| one.syncs_each));
    report.numbers("fsyncs for each transaction of 8 threads : of 1", (eight, one), "", Budget::None);
}

/// A file of a million rows: how large it is, and how long it takes to open.
fn large_file(report: &mut Report) {
    const MANY: u64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("store"), folder.path().join("bare"));
    let store = Store::options().files(OneFile).durability(Durability::Deferred).open(&ours).unwrap();
    fill_with(&store, MANY, key);
    store.sync().unwrap();
    let killed = folder.path().join("killed");
    fs::copy(&ours, &killed).unwrap();
    drop(store);
    let bare = bare_on(file(&theirs));
    fill_bare(&bare, MANY);
    let bare_killed = folder.path().join("bare killed");
    fs::copy(&theirs, &bare_killed).unwrap();
    drop(bare);
    let len = |path: &Path| fs::metadata(path).unwrap().len() as f64 / MANY as f64;
    report.numbers("bytes of a file for each of 1M rows, as it grew", (len(&ours), len(&theirs)), "B", Budget::None);

    let opened = |path: &Path| {
        let mut store = None;
        let elapsed = timed(|| store = Some(Store::options().files(OneFile).open(path).unwrap()));
        (elapsed.as_secs_f64() * 1e3, store.unwrap())
    };
    let clean = median((0..5).map(|_| opened(&ours).0));
    report.amount("open 1M rows, closed well", clean, "ms", "", Budget::AtMost(50.0));
    let bare = |path: &Path| timed(|| drop(black_box(bare_on(file(path))))).as_secs_f64() * 1e3;
    report.amount("the same of a bare redb", bare(&theirs), "ms", "", Budget::None);
    let (repair, store) = opened(&killed);
    drop(store);
    report.amount("open after a kill, for each of 1M rows", repair * 1e3 / MANY as f64, "µs", "", Budget::AtMost(0.5));
    report.because(REPAIR);
    report.amount("the same of a bare redb", bare(&bare_killed) * 1e3 / MANY as f64, "µs", "", Budget::None);

    // Everything but META of the file: what is stored beside each row's own bytes.
    let file = Redb::open(&ours).unwrap();
    let unbounded = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let mut stored = 0;
    for table in 0..32 {
        file.range(TableId(table), unbounded).unwrap().for_each(|row| {
            let (key, value) = row.unwrap();
            stored += key.len() + value.len();
        });
        let lanes = (0..2).map(|lane| LogId { table, lane });
        lanes.for_each(|log| file.entries(log, 0..=u64::MAX).unwrap().for_each(|entry| stored += 12 + entry.unwrap().1.len()));
    }
    let (path, payload) = encoded((key(0), value(0)));
    let metadata = stored as f64 / MANY as f64 - (2 * path.len() + payload.len()) as f64;
    report.amount("metadata of a live row on disk, besides one more copy of its path", metadata, "B", "", Budget::AtMost(24.0));
}

/// Makes a copy the same file: one that takes a new id is not what is measured.
#[derive(Debug)]
struct OneFile;

impl Files for OneFile {
    fn identity(&self, _path: &Path) -> io::Result<FileIdentity> {
        Ok(FileIdentity { machine: None, inode: Some(1) })
    }
}

const BYTES: &str = "The event of each row holds its path once more. Random writes rewrite whole pages, which hides it; inserts in order fill pages, which shows it.";
const TIME: &str = "Not profiled. There are a second table and checksums of all blocks.";
const READ: &str =
    "Not profiled on a disk. Beside the search there are the key, the view, and the decoding of the row and the value.";
const REPAIR: &str = "redb walks and verifies every page of the file.";
