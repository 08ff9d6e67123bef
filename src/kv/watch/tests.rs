//! What happens between two steps of a reader, and the design errors that it would show.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Changes, Watch};
use crate::causal::VersionVector;
use crate::kv::Store;
use crate::kv::mutant::{self, Mutant};
use crate::storage::{Backend, Bytes, Entries, KeyRange, LogId, Memory, Read, Rows, TableId, Write};

type Interruption = Box<dyn FnOnce() + Send>;

/// A memory where something happens right after the next snapshot was taken, or right before the next commit.
#[derive(Clone, Default)]
struct Interrupted {
    memory: Memory,
    snapshot: Arc<Mutex<Option<Interruption>>>,
    commit: Arc<Mutex<Option<Interruption>>>,
}

impl Interrupted {
    fn after_the_next_snapshot(&self, body: impl FnOnce() + Send + 'static) {
        *self.snapshot.lock() = Some(Box::new(body));
    }

    fn before_the_next_commit(&self, body: impl FnOnce() + Send + 'static) {
        *self.commit.lock() = Some(Box::new(body));
    }
}

impl Read for Interrupted {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.memory.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.memory.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.memory.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.memory.entries(log, numbers)
    }
}

impl Backend for Interrupted {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        let snapshot = self.memory.snapshot();
        let interruption = self.snapshot.lock().take();
        if let Some(interruption) = interruption {
            interruption();
        }
        snapshot
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        let interruption = self.commit.lock().take();
        if let Some(interruption) = interruption {
            interruption();
        }
        self.memory.commit(writes, sync)
    }
}

fn store() -> (Store, Interrupted) {
    let medium = Interrupted::default();
    (Store::options().open_backend(medium.clone()).unwrap(), medium)
}

fn keys(changes: &Changes) -> Vec<String> {
    changes.keys().unwrap().iter().map(|change| change.key.to_string()).collect()
}

/// A commit comes while changes are read. Returns the keys that are told: before it, and from there on.
fn a_commit_in_the_middle() -> [Vec<String>; 2] {
    let (store, medium) = store();
    store.counter("first").add(1).unwrap();
    let mark = store.version().unwrap();
    store.counter("a").add(1).unwrap();
    let writer = store.clone();
    medium.after_the_next_snapshot(move || writer.counter("b").add(1).unwrap());
    let one = store.changes_since(&mark, ()).unwrap();
    let two = store.changes_since(&one.snapshot().version(), ()).unwrap();
    [keys(&one), keys(&two)]
}

#[test]
fn a_commit_while_changes_are_read_comes_with_the_next_ones() {
    assert_eq!(a_commit_in_the_middle(), [[r#""a""#], [r#""b""#]]);
}

#[test]
fn a_mark_after_the_read_is_found_out() {
    let told = mutant::with(Mutant::MarkAfterRead, a_commit_in_the_middle);
    assert_eq!(told, [vec![r#""a""#.to_owned()], vec![]], "the key is lost");
}

#[test]
fn nothing_that_was_never_seen_is_all() {
    let (store, _medium) = store();
    assert!(matches!(store.changes_since(&VersionVector::new(), ()), Ok(Changes::All { .. })));
}

/// The next batch: its keys, and what the counter "a" reads in it.
fn batch(watch: &mut Watch) -> Option<(Vec<String>, i128)> {
    let changes = watch.wait(Duration::ZERO).unwrap()?;
    Some((keys(&changes), changes.snapshot().counter("a").get().unwrap()))
}

/// A commit comes between the snapshot of a batch and its keys.
fn a_commit_in_the_middle_of_a_batch() -> Vec<(Vec<String>, i128)> {
    let (store, medium) = store();
    let mut watch = store.watch(());
    assert!(watch.wait(Duration::ZERO).unwrap().unwrap().keys().is_none());
    store.counter("a").add(1).unwrap();
    let writer = store.clone();
    medium.after_the_next_snapshot(move || {
        writer
            .transact(|tx| {
                tx.counter("a").add(1)?;
                tx.counter("b").add(1)
            })
            .unwrap();
    });
    let batches = std::iter::from_fn(|| batch(&mut watch)).collect();
    // A watch ends with the last handle.
    drop(store);
    batches
}

#[test]
fn a_commit_while_a_batch_is_made_comes_with_the_next_one() {
    let one = (vec![r#""a""#.to_owned()], 1);
    let two = (vec![r#""a""#.to_owned(), r#""b""#.to_owned()], 2);
    assert_eq!(a_commit_in_the_middle_of_a_batch(), [one, two]);
}

#[test]
fn a_batch_that_is_not_cut_at_its_snapshot_is_found_out() {
    let batches = mutant::with(Mutant::MarkAfterRead, a_commit_in_the_middle_of_a_batch);
    assert_eq!(batches.last().unwrap().1, 1, "what was told last is old, and nothing more comes");
}

#[test]
fn a_commit_while_everything_is_read_comes_with_the_next_batch() {
    let (store, medium) = store();
    let mut watch = store.watch(());
    let writer = store.clone();
    medium.after_the_next_snapshot(move || writer.counter("a").add(1).unwrap());
    let first = watch.wait(Duration::ZERO).unwrap().unwrap();
    assert_eq!((first.keys(), first.snapshot().counter("a").get().unwrap()), (None, 0));
    // It was not noted which keys: everything is read once more, or the key alone. Nothing is lost.
    let second = watch.wait(Duration::ZERO).unwrap().unwrap();
    assert_eq!(second.snapshot().counter("a").get().unwrap(), 1);
    assert!(watch.wait(Duration::ZERO).unwrap().is_none());
    drop(store);
}

#[test]
fn who_comes_while_a_commit_is_made_is_told_of_it() {
    let (store, medium) = store();
    let (early, watch) = (store.clone(), Arc::new(Mutex::new(None)));
    let to = Arc::clone(&watch);
    medium.before_the_next_commit(move || {
        let mut watch = early.watch(());
        let first = watch.next().unwrap().unwrap();
        assert_eq!(first.snapshot().counter("a").get().unwrap(), 0);
        *to.lock() = Some(watch);
    });
    store.counter("a").add(1).unwrap();
    let mut watch = watch.lock().take().unwrap();
    let second = watch.wait(Duration::ZERO).unwrap().expect("told");
    assert_eq!((second.keys(), second.snapshot().counter("a").get().unwrap()), (None, 1), "nobody noted which keys");
    assert!(watch.wait(Duration::ZERO).unwrap().is_none());
}

/// Reads the store when it is woken, as whoever is told of a commit may.
struct ReadsAtOnce {
    store: Store,
    read: Mutex<Vec<i128>>,
}

impl Wake for ReadsAtOnce {
    fn wake(self: Arc<Self>) {
        let read = self.store.counter("a").get().unwrap();
        self.read.lock().push(read);
    }
}

/// What a task reads that is woken by a commit.
fn read_when_woken() -> Vec<i128> {
    let (store, _medium) = store();
    let mut watch = store.watch(());
    drop(watch.next());
    let task = Arc::new(ReadsAtOnce { store: store.clone(), read: Mutex::default() });
    let waker = Waker::from(Arc::clone(&task));
    for _ in 0..2 {
        assert!(watch.poll_changed(&mut Context::from_waker(&waker)).is_pending());
        store.counter("a").add(1).unwrap();
        assert!(matches!(watch.poll_changed(&mut Context::from_waker(&waker)), Poll::Ready(Some(Ok(_)))));
    }
    let read = task.read.lock();
    read.clone()
}

#[test]
fn who_is_told_of_a_commit_can_read_it() {
    assert_eq!(read_when_woken(), [1, 2]);
}

#[test]
fn a_watch_outside_the_order_of_commits_is_found_out() {
    assert_eq!(mutant::with(Mutant::WatchOutsideCommitOrder, read_when_woken), [0, 1], "told of what is not there");
}

#[test]
fn commits_note_what_they_change_only_while_somebody_watches() {
    let (store, _medium) = store();
    let watch = store.watch("a");
    let watchers = Arc::clone(&watch.watchers);
    let second = store.watch("b");
    drop(watch);
    assert!(watchers.are_there());
    drop(second);
    assert!(!watchers.are_there());
    // One that has ended takes nothing in either.
    let mut watch = store.watch(());
    drop(store);
    assert!(watch.next().is_none());
    assert!(!watchers.are_there());
}
