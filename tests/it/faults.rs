//! A medium that fails: at any read, before a commit, or after it. The call is an error, nothing is half done, and what was there
//! is there.
#![expect(clippy::disallowed_methods, reason = "these threads are the callers, and wait for each other")]

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::Durability;
use tombolo::storage::{Backend, Bytes, Entries, KeyRange, LogId, Memory, Read, Rows, TableId, Write};
use tombolo::{Error, Options, Store};

use crate::deeds::{canonical, reading};
use crate::sync::{replica, send};

const WORKS: u8 = 0;
const FAILS_BEFORE: u8 = 1;
const FAILS_AFTER: u8 = 2;
const IS_DAMAGED: u8 = 3;

/// What a medium still does.
#[derive(Debug, Clone)]
struct Health {
    /// How many reads go well. Negative: all.
    reads: Arc<AtomicI64>,
    commits: Arc<AtomicU8>,
}

impl Health {
    fn new() -> Self {
        Self { reads: Arc::new(AtomicI64::new(-1)), commits: Arc::default() }
    }

    fn read<T>(&self, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.reads.load(Ordering::Relaxed) {
            0 => Err(io::Error::other("the medium is gone")),
            left => {
                self.reads.store(left - 1, Ordering::Relaxed);
                read()
            }
        }
    }
}

struct Failing<R> {
    inner: R,
    health: Health,
}

impl<R: AsRead> Read for Failing<R> {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.health.read(|| self.inner.as_read().get(table, key))
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        let rows = self.health.read(|| self.inner.as_read().range(table, range))?;
        if table == TableId(0) {
            // As a medium that gives nothing more after an error.
            let mut failed = false;
            let until_error =
                rows.map(|row| self.health.read(|| row)).take_while(|row| !std::mem::replace(&mut failed, row.is_err()));
            return Ok(Box::new(until_error.collect::<Vec<_>>().into_iter()));
        }
        Ok(Box::new(rows.map(|row| self.health.read(|| row))))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.health.read(|| self.inner.as_read().at(log, number))
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let entries = self.health.read(|| self.inner.as_read().entries(log, numbers))?;
        Ok(Box::new(entries.map(|entry| self.health.read(|| entry))))
    }
}

trait AsRead: Send + Sync {
    fn as_read(&self) -> &dyn Read;
}

impl AsRead for Memory {
    fn as_read(&self) -> &dyn Read {
        self
    }
}

impl AsRead for Arc<dyn Read> {
    fn as_read(&self) -> &dyn Read {
        &**self
    }
}

impl Backend for Failing<Memory> {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        let inner = self.health.read(|| self.inner.snapshot())?;
        Ok(Arc::new(Failing { inner, health: self.health.clone() }))
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        let error = || io::Error::other("the medium failed");
        match self.health.commits.load(Ordering::Relaxed) {
            FAILS_BEFORE => Err(error()),
            FAILS_AFTER => self.inner.commit(writes, sync).and_then(|()| Err(error())),
            IS_DAMAGED => Err(io::ErrorKind::InvalidData.into()),
            _works => self.inner.commit(writes, sync),
        }
    }
}

/// A store on a medium, with something of every kind in it.
fn store_on(medium: &Memory, health: &Health) -> Store {
    store_with(medium, health, Options::DELTA_MEMORY)
}

fn store_with(medium: &Memory, health: &Health, delta_memory: usize) -> Store {
    let backend = Failing { inner: medium.clone(), health: health.clone() };
    Store::options().replica(ReplicaId::from_u128(1)).delta_memory(delta_memory).open_backend(backend).unwrap()
}

fn filled() -> (Memory, Health, Store, Store) {
    filled_with(Options::DELTA_MEMORY)
}

/// Merges stream if there is little memory for them.
fn filled_with(delta_memory: usize) -> (Memory, Health, Store, Store) {
    let (medium, health) = (Memory::default(), Health::new());
    let store = store_with(&medium, &health, delta_memory);
    let peer = replica(2);
    for store in [&store, &peer] {
        store.register::<u8>("a").set(&1).unwrap();
        store.counter("n").add(1).unwrap();
        store.set::<u8>("s").insert(&1).unwrap();
        store.map("m").flag("f").enable().unwrap();
    }
    send(&peer, &store);
    send(&store, &peer);
    peer.register::<u8>("a").set(&2).unwrap();
    peer.delete("n").unwrap();
    peer.forget_deletes(&peer.version().unwrap()).unwrap();
    (medium, health, store, peer)
}

type Operation = (&'static str, fn(&Store, &Store) -> Result<(), Error>);

const OPERATIONS: [Operation; 9] = [
    ("set", |store, _peer| store.register::<u8>("a").set(&3)),
    ("add", |store, _peer| store.counter("n").add(1)),
    ("delete", |store, _peer| store.delete("n").map(drop)),
    ("delete a prefix", |store, _peer| store.delete_prefix(()).map(drop)),
    ("transaction", |store, _peer| {
        store.transact(|tx| {
            tx.register::<u8>("b").set(&3)?;
            tx.set::<u8>("s").clear()?;
            tx.map("m").delete()
        })
    }),
    ("merge", |store, peer| store.merge(peer.delta_since(&store.version()?)?).map(drop)),
    ("merge everything", |store, peer| store.merge(peer.delta_since(&VersionVector::new())?).map(drop)),
    ("apply", |store, _peer| {
        let friend = replica(3);
        let tx = friend.begin()?;
        tx.register::<u8>("a").set(&9)?;
        tx.register::<u8>("c").set(&9)?;
        store.apply(tx.commit_and_push()?.unwrap()).map(drop)
    }),
    ("forget deletes", |store, _peer| store.forget_deletes(&store.version()?).map(drop)),
];

/// What is staged on its way in.
const STREAM: Operation =
    ("merge a stream", |store, peer| store.merge_from(peer.delta_since(&store.version()?)?.as_ref()).map(drop));

#[test]
fn a_read_that_fails_at_any_place_is_an_error_and_nothing_is_half_done() {
    let with_memory = OPERATIONS.map(|operation| (operation, Options::DELTA_MEMORY));
    let streamed = OPERATIONS.map(|operation| (operation, 1)).into_iter().chain([(STREAM, 1)]);
    for ((name, operation), memory) in with_memory.into_iter().chain(streamed) {
        let mut failures = 0;
        for reads in 0.. {
            let (_medium, health, store, peer) = filled_with(memory);
            let (before, status) = (canonical(&store), store.status().unwrap());
            health.reads.store(reads, Ordering::Relaxed);
            let result = operation(&store, &peer);
            health.reads.store(-1, Ordering::Relaxed);
            if result.is_ok() {
                break;
            }
            failures += 1;
            assert!(matches!(result, Err(Error::Io(_))), "{name}: {result:?}");
            assert_eq!(canonical(&store), before, "{name}");
            assert_eq!(store.status().unwrap(), status, "{name}");
            operation(&store, &peer).unwrap();
            store.check().unwrap();
        }
        assert!(failures > 0, "{name} reads nothing");
    }
}

#[test]
fn readings_whose_medium_fails_are_errors_and_work_again_later() {
    for reads in 0..60 {
        let (_medium, health, store, _peer) = filled();
        let whole = reading(&store);
        health.reads.store(reads, Ordering::Relaxed);
        let mut scan = store.scan(());
        drop(scan.next());
        drop(store.check());
        drop(store.snapshot().map(|snapshot| snapshot.counter("n").get()));
        drop(store.delta_since(&VersionVector::new()));
        health.reads.store(-1, Ordering::Relaxed);
        assert_eq!(reading(&store), whole);
        store.check().unwrap();
    }
}

#[test]
fn a_commit_that_fails_closes_the_store_and_the_medium_has_all_of_it_or_nothing() {
    for (name, operation) in OPERATIONS {
        for (how, memory) in [FAILS_BEFORE, FAILS_AFTER].into_iter().flat_map(|how| [(how, Options::DELTA_MEMORY), (how, 1)]) {
            let (medium, health, store, peer) = filled_with(memory);
            let other = store.space("other").unwrap();
            let before = canonical(&store);
            let mut watches = [store.watch("nothing"), other.watch(())];
            watches.iter_mut().for_each(|watch| assert!(watch.next().unwrap().is_ok()));
            let mut blocked = store.watch(());
            let told = std::thread::spawn(move || blocked.find_map(Result::err));
            health.commits.store(how, Ordering::Relaxed);
            assert!(matches!(operation(&store, &peer), Err(Error::SyncFailed { .. })), "{name}");
            health.commits.store(WORKS, Ordering::Relaxed);
            // Nothing goes on, not even in another space of the file: what the medium has is not known.
            assert!(matches!(operation(&store, &peer), Err(Error::Closed)), "{name}");
            assert!(matches!(store.register::<u8>("a").get(), Err(Error::Closed)));
            assert!(matches!(store.scan(()).next(), Some(Err(Error::Closed))));
            assert!(matches!(store.version(), Err(Error::Closed)));
            assert!(matches!(other.counter("n").add(1), Err(Error::Closed)));
            assert!(matches!(store.space("another"), Err(Error::Closed)));
            for watch in &mut watches {
                assert!(matches!(watch.next(), Some(Err(Error::Closed))), "{name}");
                assert!(watch.next().is_none(), "{name}");
            }
            assert!(matches!(told.join().unwrap(), Some(Error::Closed)), "{name}");
            assert!(matches!(store.watch(()).next(), Some(Err(Error::Closed))));
            drop((store, other));
            let store = store_on(&medium, &health);
            store.check().unwrap();
            assert!(how == FAILS_AFTER || canonical(&store) == before, "{name}");
            operation(&store, &peer).unwrap();
            send(&peer, &store);
            send(&store, &peer);
            assert_eq!(canonical(&store), canonical(&peer), "{name}");
            store.check().unwrap();
        }
    }
}

#[test]
fn a_space_whose_name_cannot_be_written_closes_the_file() {
    let (medium, health, store, _peer) = filled();
    let mut watch = store.watch(());
    assert!(watch.next().unwrap().is_ok());
    health.commits.store(FAILS_AFTER, Ordering::Relaxed);
    assert!(matches!(store.space("new"), Err(Error::SyncFailed { .. })));
    assert!(matches!(watch.next(), Some(Err(Error::Closed))));
    health.commits.store(WORKS, Ordering::Relaxed);
    assert!(matches!(store.counter("n").add(1), Err(Error::Closed)));
    drop(store);
    let store = store_on(&medium, &health);
    store.space("new").unwrap().counter("n").add(1).unwrap();
    assert_eq!(store.counter("n").get().unwrap(), 2);
    store.check().unwrap();
}

#[test]
fn a_space_made_on_a_failing_medium_is_none_of_the_others() {
    // A read error was counted as a space: the new one got the number of another.
    for reads in 0..40 {
        let (medium, health) = (Memory::default(), Health::new());
        let store = store_on(&medium, &health);
        for name in ["a", "b", "c"] {
            store.space(name).unwrap().register::<String>("name").set(name).unwrap();
        }
        health.reads.store(reads, Ordering::Relaxed);
        let _made_or_not = store.space("d");
        health.reads.store(-1, Ordering::Relaxed);
        let made = store.space("d").unwrap();
        assert_eq!(made.register::<String>("name").get().unwrap(), None);
        made.register::<String>("name").set("d").unwrap();
        for name in ["a", "b", "c"] {
            let space = store.space(name).unwrap();
            assert_eq!(space.register::<String>("name").get().unwrap().as_deref(), Some(name));
            space.check().unwrap();
        }
    }
}

#[test]
fn a_watch_whose_medium_fails_tells_so_once_and_is_over() {
    for is_later in [false, true] {
        let (_medium, health, store, _peer) = filled();
        let mut watch = store.watch(());
        if is_later {
            assert!(watch.next().unwrap().is_ok());
            store.counter("n").add(1).unwrap();
        }
        health.reads.store(0, Ordering::Relaxed);
        assert!(matches!(watch.next(), Some(Err(Error::Io(_)))));
        health.reads.store(-1, Ordering::Relaxed);
        assert!(watch.next().is_none());
        assert!(matches!(watch.wait(std::time::Duration::ZERO), Err(Error::Closed)));
        store.counter("n").add(1).unwrap();
    }
}

/// A commit that left the fsync to a later one said of a damaged file that it could not be read or written.
#[test]
fn damage_that_a_deferred_commit_meets_is_told_as_damage() {
    let (_medium, health, store, _peer) = filled();
    health.commits.store(IS_DAMAGED, Ordering::Relaxed);
    let tx = store.begin().unwrap();
    tx.durability(Durability::Deferred);
    tx.counter("n").add(1).unwrap();
    let refused = tx.commit();
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_walk_that_fails_tells_so_once_and_is_over() {
    let (medium, health) = (Memory::default(), Health::new());
    let store = store_on(&medium, &health);
    store.transact(|tx| (0..1000).try_for_each(|number| tx.set::<u32>("s").insert(&number))).unwrap();
    for from_back in [false, true] {
        let mut walk = store.set::<u32>("s").iter().unwrap();
        health.reads.store(100, Ordering::Relaxed);
        let mut next = || if from_back { walk.next_back() } else { walk.next() };
        let items: Vec<_> = std::iter::from_fn(&mut next).take(5000).collect();
        health.reads.store(-1, Ordering::Relaxed);
        assert!(items.len() < 1000);
        assert_eq!(items.iter().filter(|item| item.is_err()).count(), 1);
        assert!(items.last().unwrap().is_err());
    }
}

#[test]
fn a_delete_that_fails_halfway_is_not_committed() {
    for reads in 0..60 {
        let (medium, health) = (Memory::default(), Health::new());
        let store = store_on(&medium, &health);
        (0..5).for_each(|number| store.set::<u32>("s").insert(&number).unwrap());
        let friend = replica(9);
        friend.counter("s").add(1).unwrap();
        send(&friend, &store);
        let tx = store.begin().unwrap();
        health.reads.store(reads, Ordering::Relaxed);
        let deleted = tx.delete("s");
        health.reads.store(-1, Ordering::Relaxed);
        let committed = tx.commit();
        let left = (store.set::<u32>("s").len().unwrap(), store.counter("s").get().unwrap());
        match deleted {
            Ok(_) => assert_eq!((left, committed.is_ok()), ((0, 0), true)),
            Err(_) => assert_eq!(left, (5, 1), "after {reads} reads"),
        }
    }
}

/// Nobody who commits is told then: the watcher must be.
#[test]
fn an_fsync_that_fails_outside_of_a_commit_ends_the_watches() {
    let (_medium, health, store, _peer) = filled();
    let mut watch = store.watch(());
    assert!(watch.next().unwrap().is_ok());
    let tx = store.begin().unwrap();
    tx.durability(Durability::Deferred);
    tx.counter("late").add(1).unwrap();
    tx.commit().unwrap();
    assert!(watch.next().unwrap().is_ok());
    health.commits.store(FAILS_BEFORE, Ordering::Relaxed);
    assert!(matches!(store.sync(), Err(Error::SyncFailed { .. })));
    assert!(watch.next().unwrap().is_err());
    assert!(watch.next().is_none());
    assert!(matches!(store.sync(), Err(Error::Closed)));
}
