//! Watching: what is told, to whom, in which thread, and when it ends.
#![expect(clippy::disallowed_methods, reason = "these threads are the callers, and wait for each other")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tombolo::causal::ReplicaId;
use tombolo::codec::key::KeyBuf;
use tombolo::kv::{Changes, Watch};
use tombolo::{Result, Store};

use crate::shadow::{Shadow, full};
use crate::sync::{exchange, replica, send};

const SOON: Duration = Duration::from_secs(20);

fn next(watch: &mut Watch) -> Option<Changes> {
    watch.wait(Duration::ZERO).unwrap()
}

/// Its keys, with who and whether there is a conflict; `None`: everything.
fn told(changes: &Changes) -> Option<Vec<(String, Option<ReplicaId>, bool)>> {
    let keys = changes.keys()?;
    Some(keys.iter().map(|change| (change.key.to_string(), change.by, change.conflict)).collect())
}

#[test]
fn a_watcher_is_told_of_everything_first_and_then_of_the_keys_that_change() {
    let (a, b) = (replica(1), replica(2));
    let (of_a, of_b) = (Some(ReplicaId::from_u128(1)), Some(ReplicaId::from_u128(2)));
    a.counter("n").add(1).unwrap();
    let (mut all, mut notes) = (a.watch(()), a.watch("note"));
    assert_eq!(told(&next(&mut all).unwrap()), None);
    assert_eq!(told(&next(&mut notes).unwrap()), None);
    assert!(next(&mut all).is_none() && next(&mut notes).is_none());

    a.local().put("note", &1).unwrap();
    assert!(next(&mut all).is_none(), "local keys are nobody's business");
    b.register::<u8>("note").set(&2).unwrap();
    let tx = b.begin().unwrap();
    tx.set::<u8>(("note", 1)).insert(&1).unwrap();
    tx.set::<u8>(("note", 1)).insert(&2).unwrap();
    tx.counter("n").add(1).unwrap();
    tx.commit().unwrap();
    a.register::<u8>("note").set(&1).unwrap();
    send(&b, &a);
    let n = ("\"n\"".to_owned(), of_b, false);
    let expected = [("\"note\"".to_owned(), None, true), ("(\"note\", 1)".to_owned(), of_b, false)];
    assert_eq!(told(&next(&mut all).unwrap()).unwrap(), [&[n][..], &expected].concat());
    assert_eq!(told(&next(&mut notes).unwrap()).unwrap(), expected);

    send(&b, &a);
    a.forget_deletes(&a.version().unwrap()).unwrap();
    assert!(next(&mut all).is_none(), "nothing has changed");
    a.delete(("note", 1)).unwrap();
    a.register::<u8>("note").set(&3).unwrap();
    let expected = [("\"note\"".to_owned(), of_a, false), ("(\"note\", 1)".to_owned(), of_a, false)];
    assert_eq!(told(&next(&mut notes).unwrap()).unwrap(), expected);

    // A conflict that is over when it is told is none.
    b.register::<u8>("note").set(&4).unwrap();
    send(&b, &a);
    a.register::<u8>("note").set(&5).unwrap();
    assert_eq!(told(&next(&mut notes).unwrap()).unwrap(), [("\"note\"".to_owned(), None, false)]);
}

#[test]
fn a_delete_that_was_forgotten_is_told_without_a_name() {
    let (a, b) = (replica(1), replica(2));
    for key in 0..4_u8 {
        a.register::<u8>(key).set(&1).unwrap();
    }
    exchange(&a, &b);
    let mut watch = b.watch(());
    next(&mut watch);
    a.delete(2).unwrap();
    a.register::<u8>(3).set(&2).unwrap();
    a.forget_deletes(&a.version().unwrap()).unwrap();
    assert!(send(&a, &b).below_floor);
    let of_a = Some(ReplicaId::from_u128(1));
    assert_eq!(told(&next(&mut watch).unwrap()).unwrap(), [("2".to_owned(), None, false), ("3".to_owned(), of_a, false)]);
}

#[test]
fn a_pushed_transaction_is_told_with_its_writer() {
    let (a, b) = (replica(1), replica(2));
    let mut watch = b.watch(());
    next(&mut watch);
    let tx = a.begin().unwrap();
    tx.map("m").flag("f").enable().unwrap();
    b.apply(tx.commit_and_push().unwrap().unwrap()).unwrap();
    let of_a = Some(ReplicaId::from_u128(1));
    assert_eq!(told(&next(&mut watch).unwrap()).unwrap(), [("\"m\"".to_owned(), of_a, false)]);
}

/// More keys than wait for one watcher.
const MANY: u32 = 70_000;

#[test]
fn a_watcher_that_lags_is_told_to_look_at_everything() {
    let store = replica(1);
    let (mut slow, mut of_few) = (store.watch(()), store.watch("few"));
    let mut shadow = Shadow::of(KeyBuf::from_key("few"));
    assert!(next(&mut slow).unwrap().keys().is_none());
    shadow.fold(&next(&mut of_few).unwrap());
    // In many commits, each of them small enough.
    for part in 0..7 {
        let tx = store.begin().unwrap();
        (0..MANY / 7).for_each(|key| tx.flag((part, key)).enable().unwrap());
        tx.flag(("few", part)).enable().unwrap();
        tx.commit().unwrap();
    }
    let all = next(&mut slow).unwrap();
    assert!(all.keys().is_none());
    assert_eq!(all.snapshot().version(), store.version().unwrap());
    assert!(next(&mut slow).is_none());
    let few = next(&mut of_few).unwrap();
    assert_eq!(few.keys().unwrap().len(), 7, "who watches few of them does not lag");
    shadow.fold(&few);

    // In one commit: nobody can tell which.
    store.delete_prefix(()).unwrap();
    assert!(next(&mut slow).unwrap().keys().is_none());
    assert!(next(&mut of_few).unwrap().keys().is_none());
    store.flag("x").enable().unwrap();
    assert_eq!(next(&mut slow).unwrap().keys().unwrap().len(), 1, "and then it goes on as before");
    assert!(next(&mut of_few).is_none());
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(SOON),
        }
    }
}

struct NextOf<'a>(&'a mut Watch);

impl Future for NextOf<'_> {
    type Output = Option<Result<Changes>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        futures_core::Stream::poll_next(Pin::new(&mut *self.0), context)
    }
}

type Fetch = fn(&mut Watch) -> Option<Result<Changes>>;

/// Every way to fetch a batch. `None`: the watch has ended.
const WAYS: [(&str, Fetch); 4] = [
    ("iterator", Iterator::next),
    ("wait", |watch| match watch.wait(SOON) {
        Ok(changes) => Some(Ok(changes.expect("nobody waits so long"))),
        Err(tombolo::Error::Closed) => None,
        Err(error) => Some(Err(error)),
    }),
    ("future", |watch| block_on(watch.changed())),
    ("stream", |watch| block_on(NextOf(watch))),
];

#[test]
fn no_wake_up_is_lost() {
    for (way, fetch) in WAYS {
        let store = replica(1);
        let (done, acknowledged) = mpsc::channel();
        let mut watch = store.watch("n");
        let watcher = thread::spawn(move || {
            while let Some(changes) = fetch(&mut watch) {
                done.send(changes.unwrap().snapshot().counter("n").get().unwrap()).unwrap();
            }
        });
        assert_eq!(acknowledged.recv_timeout(SOON).unwrap(), 0);
        for round in 1..=1_000 {
            store.counter("n").add(1).unwrap();
            assert_eq!(acknowledged.recv_timeout(SOON).unwrap_or_else(|_| panic!("{way}: lost in round {round}")), round);
        }
        // It ends with the store, also while it waits.
        drop(store);
        watcher.join().unwrap();
    }
}

#[test]
fn writers_and_watchers_at_once_end_with_the_same() {
    const COMMITS: u64 = 300;
    let (store, peer) = (replica(1), replica(2));
    let told = Arc::new(AtomicU64::new(0));
    let watchers: Vec<_> = WAYS
        .into_iter()
        .zip([KeyBuf::from_key(()), KeyBuf::from_key(1), KeyBuf::from_key((2, 3)), KeyBuf::from_key("end")])
        .map(|((_way, fetch), prefix)| {
            let mut watch = store.watch(&prefix);
            let (mut shadow, told) = (Shadow::of(prefix), Arc::clone(&told));
            // Before anybody writes: what comes then comes as changes, however late this thread gets its turn.
            shadow.fold(&fetch(&mut watch).unwrap().unwrap());
            thread::spawn(move || {
                while let Some(changes) = fetch(&mut watch) {
                    let changes = changes.unwrap();
                    // Each batch is exactly where its snapshot is, whatever goes on.
                    shadow.fold(&changes);
                    told.fetch_max(changes.snapshot().version().iter().map(|(_id, seq)| seq).sum(), Ordering::Relaxed);
                }
                shadow
            })
        })
        .collect();
    thread::scope(|scope| {
        for thread in 0..2_u64 {
            let store = &store;
            scope.spawn(move || {
                for nth in 0..COMMITS {
                    let tx = store.begin().unwrap();
                    let (a, b) = ((nth * 7 + thread) % 5, nth % 4);
                    tx.register::<u64>((a, b)).set(&nth).unwrap();
                    if nth % 3 == 0 {
                        tx.delete_prefix(b).unwrap();
                    }
                    tx.counter((2, 3, nth % 10)).add(1).unwrap();
                    tx.commit().unwrap();
                }
            });
        }
        scope.spawn(|| {
            for nth in 0..COMMITS / 3 {
                peer.register::<u64>((nth % 5, 1)).set(&nth).unwrap();
                peer.delete((nth % 3, 2)).unwrap();
                if nth % 10 == 0 {
                    peer.forget_deletes(&peer.version().unwrap()).unwrap();
                }
                send(&peer, &store);
                if nth % 7 == 0 {
                    send(&store, &peer);
                }
            }
        });
    });
    store.flag("end").enable().unwrap();
    let last = store.snapshot().unwrap();
    let all: u64 = last.version().iter().map(|(_id, seq)| seq).sum();
    for _ in 0..2_000 {
        if told.load(Ordering::Relaxed) == all {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    // Whoever is still at its last batch finishes it.
    thread::sleep(Duration::from_millis(200));
    drop(store);
    for watcher in watchers {
        let shadow = watcher.join().unwrap();
        assert_eq!(shadow.map, full(&last, &shadow.prefix));
        assert!(shadow.all == 1 && shadow.since >= 1, "{} and {}", shadow.all, shadow.since);
    }
}

#[test]
fn a_watch_keeps_no_store_open() {
    let store = replica(1);
    store.counter("n").add(1).unwrap();
    let (mut early, mut late, mut timed) = (store.watch(()), store.watch(()), store.watch(()));
    let snapshot = next(&mut early).unwrap();
    drop(store);
    assert!(early.next().is_none() && early.next().is_none());
    assert!(late.next().is_none());
    assert!(matches!(timed.wait(Duration::ZERO), Err(tombolo::Error::Closed)));
    assert!(matches!(timed.wait(SOON), Err(tombolo::Error::Closed)));
    assert_eq!(snapshot.snapshot().counter("n").get().unwrap(), 1);
}

#[cfg(feature = "redb")]
#[test]
fn a_file_can_be_opened_again_while_an_old_watch_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    let mut watch = store.watch(());
    drop(next(&mut watch));
    store.counter("n").add(1).unwrap();
    assert_eq!(next(&mut watch).unwrap().keys().unwrap().len(), 1);
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(watch.next().is_none());
    assert_eq!(store.counter("n").get().unwrap(), 1);
}

#[test]
fn each_space_is_watched_for_itself() {
    let store = replica(1);
    let other = store.space("other").unwrap();
    let (mut here, mut there) = (store.watch(()), other.watch(()));
    drop((next(&mut here), next(&mut there)));
    other.counter("n").add(1).unwrap();
    assert!(next(&mut here).is_none());
    assert_eq!(next(&mut there).unwrap().keys().unwrap().len(), 1);
    drop(other);
    assert!(there.next().is_none());
    store.counter("n").add(1).unwrap();
    assert!(next(&mut here).is_some());
}
