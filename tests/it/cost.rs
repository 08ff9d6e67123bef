//! What an operation touches does not depend on how much there is: the calls to the backend are counted, and are equal.

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use tombolo::Store;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::storage::{Backend, Bytes, Entries, KeyRange, LogId, Memory, Read, Rows, TableId, Write};

use crate::forge::{Forged, REGISTER, path, stamped};
use crate::sync::replica;

/// Calls to a backend, and what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    gets: u64,
    ranges: u64,
    rows_yielded: u64,
    events_read: u64,
    event_ranges: u64,
    events_yielded: u64,
    snapshots: u64,
    commits: u64,
    puts: u64,
    removes: u64,
    appends: u64,
    erases: u64,
}

type Counter = Arc<Mutex<Counts>>;

/// Memory that counts.
struct Counting<R> {
    inner: R,
    counts: Counter,
}

impl<R> Counting<R> {
    fn count(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.counts.lock().unwrap());
    }

    fn counted<'a, T: 'a>(
        &self,
        items: Box<dyn DoubleEndedIterator<Item = T> + 'a>,
        what: fn(&mut Counts),
    ) -> Box<dyn DoubleEndedIterator<Item = T> + 'a> {
        let counts = Arc::clone(&self.counts);
        Box::new(items.inspect(move |_item| what(&mut counts.lock().unwrap())))
    }
}

impl<R: Read> Read for Counting<R> {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.count(|counts| counts.gets += 1);
        self.inner.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.count(|counts| counts.ranges += 1);
        Ok(self.counted(self.inner.range(table, range)?, |counts| counts.rows_yielded += 1))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.count(|counts| counts.events_read += 1);
        self.inner.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.count(|counts| counts.event_ranges += 1);
        Ok(self.counted(self.inner.entries(log, numbers)?, |counts| counts.events_yielded += 1))
    }
}

/// A snapshot, as something to wrap.
struct Frozen(Arc<dyn Read>);

impl Read for Frozen {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.0.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.0.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.0.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.0.entries(log, numbers)
    }
}

impl Backend for Counting<Memory> {
    fn erases_cheaply(&self) -> bool {
        self.inner.erases_cheaply()
    }

    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        self.count(|counts| counts.snapshots += 1);
        Ok(Arc::new(Counting { inner: Frozen(self.inner.snapshot()?), counts: Arc::clone(&self.counts) }))
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        self.count(|counts| {
            counts.commits += 1;
            for write in &writes {
                match write {
                    Write::Put { .. } => counts.puts += 1,
                    Write::Remove { .. } => counts.removes += 1,
                    Write::Append { .. } => counts.appends += 1,
                    Write::Erase { .. } => counts.erases += 1,
                }
            }
        });
        self.inner.commit(writes, sync)
    }
}

/// A store of `rows` registers, written by replica 1, and a second replica that it has heard of.
fn loaded(rows: u64) -> (Store, Counter) {
    let counts = Counter::default();
    let backend = Counting { inner: Memory::default(), counts: Arc::clone(&counts) };
    let store = Store::options().replica(ReplicaId::from_u128(1)).open_backend(backend).unwrap();
    for start in (0..rows).step_by(10_000) {
        let end = rows.min(start + 10_000);
        store.transact(|tx| (start..end).try_for_each(|key| tx.register::<u64>(key).set(&key))).unwrap();
    }
    (store, counts)
}

/// What each operation touches in a store of `rows` rows.
fn touched(rows: u64) -> Vec<(&'static str, Counts)> {
    let (store, counts) = loaded(rows);
    let mut all = Vec::new();
    let mut measured = |what, operation: &mut dyn FnMut()| {
        *counts.lock().unwrap() = Counts::default();
        operation();
        all.push((what, *counts.lock().unwrap()));
    };
    let middle = rows / 2;
    // A peer may know all of it.
    store.delta_since(&VersionVector::new()).unwrap();
    // A peer that has everything, and writes one key at a time.
    let peer = |base: u64, seq: u64| Forged::new(&[(1, base, base), (2, seq - 1, seq)]);
    let value = stamped(1, &[7]);
    let overwrite = peer(rows, 1).write(&path(middle, REGISTER), (1, 1), &value).end();
    measured("a peer overwrites a key", &mut || assert_eq!(store.merge(&overwrite).unwrap().rows, 1));
    measured("a delta that is in already", &mut || assert!(!store.merge(&overwrite).unwrap().changed));
    let insert = peer(rows, 2).write(&path(u64::MAX, REGISTER), (1, 2), &value).end();
    measured("a peer inserts a key", &mut || assert_eq!(store.merge(&insert).unwrap().rows, 1));
    let delete = peer(rows, 3).row(&path(middle + 1, REGISTER), &[], &[(1, 3)]).end();
    measured("a peer deletes a key", &mut || assert_eq!(store.merge(&delete).unwrap().rows, 1));
    measured("a get", &mut || assert!(store.register::<u64>(middle).get().unwrap().is_some()));
    measured("a digest", &mut || drop(store.digest().unwrap().to_bytes().to_vec()));
    let before = store.version().unwrap();
    measured("a put over a key", &mut || store.register::<u64>(middle + 2).set(&1).unwrap());
    measured("a delta of one key that was never given away", &mut || assert_eq!(store.delta_since(&before).unwrap().rows(), 1));
    measured("a delta of one key", &mut || assert_eq!(store.delta_since(&before).unwrap().rows(), 1));
    measured("a put of a new key", &mut || store.register::<u64>("new").set(&1).unwrap());
    measured("a delete", &mut || assert!(store.delete(middle + 3).unwrap()));
    measured("the first key of a scan", &mut || assert!(store.scan(()).next().is_some()));
    measured("the last key of a scan", &mut || assert!(store.scan(()).next_back().is_some()));
    let version = store.version().unwrap();
    store.delta_since(&before).unwrap();
    measured("a delta of nothing", &mut || assert_eq!(store.delta_since(&version).unwrap().rows(), 0));
    let pushed = replica(3).begin().map(|tx| {
        tx.register::<u64>(middle).set(&9).unwrap();
        tx.commit_and_push().unwrap().unwrap()
    });
    measured("a pushed transaction", &mut || drop(store.apply(pushed.as_ref().unwrap()).unwrap()));
    if rows <= 10_000 {
        store.check().unwrap();
    }
    all
}

#[test]
fn an_operation_touches_the_same_rows_and_events_at_any_size() {
    let small = touched(1_000);
    for rows in [10_000, 100_000, 1_000_000] {
        for (few, many) in small.iter().zip(touched(rows)) {
            assert_eq!(*few, many, "{rows} rows");
        }
    }
    // And how many that is: the row, the two lines of META that change, and its event.
    let of = |what| small.iter().find(|(name, _counts)| *name == what).unwrap().1;
    let joined = Counts { gets: 1, commits: 1, puts: 3, appends: 1, erases: 1, ..Counts::default() };
    assert_eq!(of("a peer overwrites a key"), joined);
    // Where this replica stands itself is in one line of META.
    assert_eq!(of("a put over a key"), Counts { puts: 2, ..joined });
    assert_eq!(of("a peer inserts a key"), Counts { erases: 0, ..joined });
    assert_eq!(of("a put of a new key"), Counts { puts: 2, erases: 0, ..joined });
    assert_eq!(of("a peer deletes a key"), Counts { puts: 2, removes: 1, ..joined });
    assert_eq!(of("a delta that is in already"), Counts::default());
    assert_eq!(of("a get"), Counts { gets: 1, ..Counts::default() });
    assert_eq!(of("a digest"), Counts::default());
    // A snapshot and its commit number, the event, the row; and the points of the own history, at most 8.
    let delta = Counts { snapshots: 1, gets: 2, event_ranges: 2, events_yielded: 1 + 3, ..Counts::default() };
    assert_eq!(of("a delta of one key"), delta);
    assert_eq!(of("a delta of nothing"), Counts { gets: 1, event_ranges: 1, events_yielded: 4, ..delta });
}

/// Each space has a writer lock of its own; a backend is promised one commit at a time all the same.
#[test]
fn two_spaces_of_one_file_never_commit_at_once() {
    struct Alone {
        inner: Memory,
        busy: Mutex<()>,
    }
    impl Read for Alone {
        fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
            self.inner.get(table, key)
        }
        fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
            self.inner.range(table, range)
        }
        fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
            self.inner.at(log, number)
        }
        fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
            self.inner.entries(log, numbers)
        }
    }
    impl Backend for Alone {
        fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
            self.inner.snapshot()
        }
        fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
            let _alone = self.busy.try_lock().map_err(|_busy| io::Error::other("two commits at once"))?;
            std::thread::yield_now();
            self.inner.commit(writes, sync)
        }
    }
    let store = Store::options().open_backend(Alone { inner: Memory::default(), busy: Mutex::new(()) }).unwrap();
    let spaces: Vec<Store> = (0..4).map(|nth| store.space(&format!("space {nth}")).unwrap()).collect();
    #[expect(clippy::disallowed_methods, reason = "the test is about threads")]
    let threads: Vec<_> = spaces
        .into_iter()
        .map(|space| std::thread::spawn(move || (0..500).for_each(|_| space.counter("c").add(1).unwrap())))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let version: VersionVector = store.space("space 0").unwrap().version().unwrap();
    assert_eq!(version.iter().map(|(_id, seq)| seq).sum::<u64>(), 500);
}
