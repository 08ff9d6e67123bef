//! Two threads, one of them stopped at each place where they can meet.
#![expect(clippy::disallowed_methods, reason = "these threads are the callers")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::{Step, with};
use crate::causal::VersionVector;
use crate::kv::mutant::{self, Mutant};
use crate::kv::{Durability, Snapshot, Store};
use crate::storage::Memory;

const PATIENCE: Duration = Duration::from_secs(20);

/// One more transaction: three rows, of which readers must see all or none.
fn write(store: &Store) {
    let tx = store.begin().unwrap();
    tx.counter("left").add(1).unwrap();
    tx.counter("right").add(-1).unwrap();
    tx.register::<u64>("last").set(&1).unwrap();
    tx.commit().unwrap();
}

/// Whether a state is that of one commit: rows, META and events fit, and no transaction is split. Returns which commit.
fn whole(snapshot: &Snapshot) -> i128 {
    snapshot.check().unwrap();
    let [left, right] = ["left", "right"].map(|key| snapshot.counter(key).get().unwrap());
    assert_eq!(left, -right);
    let events: u64 = snapshot.version().iter().map(|(_id, seq)| seq).sum();
    assert_eq!(i128::from(events), left * 3, "three events each");
    left
}

/// What a reader does, and which commit it has seen then.
type Look = fn(&Store) -> i128;

/// Reads: they wait for nobody.
const READS: [(&str, Look); 4] = [
    ("snapshot", |store| whole(&store.snapshot().unwrap())),
    ("get", |store| store.counter("left").get().unwrap()),
    ("scan", |store| {
        let entries: Vec<_> = store.scan(()).map(Result::unwrap).collect();
        assert_eq!(entries.len(), 3);
        store.counter("right").get().unwrap().abs()
    }),
    ("status", |store| i128::from(store.status().unwrap().version.iter().map(|(_id, seq)| seq).sum::<u64>() / 3)),
];

/// Emissions: they may wait for a writer.
const EMISSIONS: [(&str, Look); 2] = [
    ("delta", |store| {
        let peer = Store::in_memory();
        peer.merge(store.delta_since(&VersionVector::new()).unwrap()).unwrap();
        peer.check().unwrap();
        whole(&peer.snapshot().unwrap())
    }),
    ("sync", |store| {
        store.sync().unwrap();
        store.counter("left").get().unwrap()
    }),
];

/// Runs `act` on a thread of its own, stopped when it passes `step` for the first time. Returns how to let it go on; `None` if it
/// never passes it.
fn stopped_at(store: &Store, step: Step, act: Look) -> (Option<Sender<()>>, thread::JoinHandle<i128>) {
    let (here, is_here): (Sender<bool>, Receiver<bool>) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (store, ended) = (store.clone(), here.clone());
    let thread = thread::spawn(move || {
        let mut passed = false;
        let hook = move |at| {
            if at == step && !passed {
                passed = true;
                here.send(true).unwrap();
                may_go_on.recv_timeout(PATIENCE).unwrap();
            }
        };
        let seen = with(hook, || act(&store));
        let _nobody_may_listen = ended.send(false);
        seen
    });
    let is_stopped = is_here.recv_timeout(PATIENCE).expect("it stops, or it ends");
    (is_stopped.then_some(go_on), thread)
}

fn writes(store: &Store) -> i128 {
    write(store);
    0
}

fn media() -> Vec<Store> {
    let mut media = vec![Store::in_memory(), Store::options().durability(Durability::Deferred).in_memory()];
    #[cfg(feature = "redb")]
    {
        let disk = redb::backends::InMemoryBackend::new();
        media.push(Store::options().open_backend(crate::storage::Redb::with_backend(disk).unwrap()).unwrap());
    }
    media
}

#[test]
fn no_read_waits_for_a_writer_and_each_sees_one_commit() {
    for store in media() {
        write(&store);
        let mut commits = 1;
        for step in [Step::Applying, Step::Applied, Step::Published, Step::Unlocked] {
            for (name, look) in READS {
                let (go_on, writer) = stopped_at(&store, step, writes);
                let go_on = go_on.expect("every writer passes it");
                let (other, (done, is_done)) = (store.clone(), channel());
                let reader = thread::spawn(move || done.send(look(&other)).unwrap());
                let seen =
                    is_done.recv_timeout(PATIENCE).unwrap_or_else(|_late| panic!("{name} waits for a writer at {step:?}"));
                assert!((commits..=commits + 1).contains(&seen), "{name} at {step:?}: {seen} of {commits}");
                go_on.send(()).unwrap();
                reader.join().unwrap();
                writer.join().unwrap();
                commits += 1;
                assert_eq!(look(&store), commits, "{name} after {step:?}");
            }
        }
    }
}

#[test]
fn an_emission_meets_a_writer_at_any_step_and_gives_away_whole_transactions() {
    for store in media() {
        write(&store);
        let mut commits = 1;
        for step in [Step::Applying, Step::Applied, Step::Published, Step::Unlocked] {
            for (name, look) in EMISSIONS {
                let (go_on, writer) = stopped_at(&store, step, writes);
                let other = store.clone();
                let emission = thread::spawn(move || look(&other));
                // It may have to wait for the writer: let it come to that.
                thread::sleep(Duration::from_millis(5));
                go_on.expect("every writer passes it").send(()).unwrap();
                let seen = emission.join().unwrap();
                assert!((commits..=commits + 1).contains(&seen), "{name} at {step:?}: {seen} of {commits}");
                writer.join().unwrap();
                commits += 1;
            }
        }
    }
}

#[test]
fn a_reader_that_is_stopped_sees_one_commit_however_many_come_meanwhile() {
    for store in media() {
        write(&store);
        let mut commits = 1;
        for step in [Step::MetaRead, Step::SnapshotTaken, Step::EmissionLooked, Step::EmissionNoted] {
            for (name, look) in READS.into_iter().chain(EMISSIONS) {
                for more in [1, 2, 20] {
                    let (go_on, reader) = stopped_at(&store, step, look);
                    let before = commits;
                    if let Some(go_on) = go_on {
                        if step == Step::EmissionNoted {
                            // It has the lock: a writer comes after it.
                            let other = store.clone();
                            let writer = thread::spawn(move || write(&other));
                            thread::sleep(Duration::from_millis(2));
                            go_on.send(()).unwrap();
                            writer.join().unwrap();
                            commits += 1;
                        } else {
                            (0..more).for_each(|_| write(&store));
                            commits += more;
                            go_on.send(()).unwrap();
                        }
                    }
                    let seen = reader.join().unwrap();
                    assert!((before..=commits).contains(&seen), "{name} at {step:?}: {seen} of {before} to {commits}");
                }
            }
        }
        whole(&store.snapshot().unwrap());
    }
}

/// What has left the file is durable and noted, whoever writes meanwhile: after a crash no number of it is given again.
#[test]
fn what_left_the_file_is_still_there_after_a_crash() {
    let run = |step, broken: bool| {
        let disk = Crashing::default();
        let options = || Store::options().durability(Durability::Deferred);
        let store = options().open_backend(disk.clone()).unwrap();
        write(&store);
        let look: Look = |store| {
            let delta = store.delta_since(&VersionVector::new()).unwrap();
            let peer = Store::in_memory();
            peer.merge(&delta).unwrap();
            peer.counter("left").get().unwrap()
        };
        let broken_look: Look = |store| {
            mutant::with(Mutant::EmittedBeforeFsync, || {
                let peer = Store::in_memory();
                peer.merge(store.delta_since(&VersionVector::new()).unwrap()).unwrap();
                peer.counter("left").get().unwrap()
            })
        };
        let (go_on, emission) = stopped_at(&store, step, if broken { broken_look } else { look });
        if let Some(go_on) = go_on {
            if step != Step::EmissionNoted {
                write(&store);
            }
            go_on.send(()).unwrap();
        }
        let given = emission.join().unwrap();
        let after = options().open_backend(disk.after_crash()).unwrap();
        let kept = after.counter("left").get().unwrap();
        (given, kept, after.snapshot().unwrap().meta().emitted)
    };
    for step in [Step::MetaRead, Step::SnapshotTaken, Step::EmissionLooked, Step::EmissionNoted] {
        let (given, kept, emitted) = run(step, false);
        assert!(kept >= given && i128::from(emitted) >= given * 3, "{step:?}: {given} given, {kept} kept, {emitted} noted");
    }
    let (given, kept, _emitted) = run(Step::EmissionLooked, true);
    assert!(kept < given, "the design error shows: {given} given, {kept} kept");
}

/// Memory that loses in a crash what was not synced.
#[derive(Clone, Default)]
struct Crashing {
    newest: Memory,
    synced: std::sync::Arc<parking_lot::Mutex<Memory>>,
}

impl Crashing {
    fn after_crash(&self) -> Self {
        let synced = self.synced.lock().fork();
        Self { newest: synced.fork(), synced: std::sync::Arc::new(parking_lot::Mutex::new(synced)) }
    }
}

crate::kv::tests::backend_by_field!(Crashing, newest, |this, writes, sync| {
    this.newest.commit(writes, false)?;
    if sync {
        // Slow, so that writers queue.
        let state = this.newest.fork();
        thread::sleep(Duration::from_micros(500));
        *this.synced.lock() = state;
    }
    Ok(())
});

/// How a commit says that it can be seen, and how it is let go on.
type Hold = (Sender<()>, Receiver<()>);

/// Memory whose next commit, once it can be seen, waits for the test, as for an fsync.
#[derive(Clone, Default)]
struct Held {
    disk: Crashing,
    hold: std::sync::Arc<parking_lot::Mutex<Option<Hold>>>,
}

crate::kv::tests::backend_by_field!(Held, disk, |this, writes, sync| {
    this.disk.commit(writes, false)?;
    if let Some((seen, may_go_on)) = this.hold.lock().take() {
        seen.send(()).unwrap();
        // Nobody goes on if the test has failed.
        let _failed = may_go_on.recv_timeout(PATIENCE);
    }
    if sync { this.disk.commit(Vec::new(), true) } else { Ok(()) }
});

/// An emission that so many writers overtook takes the newest state as it is. It may hold a commit that is not counted yet, and so was
/// not waited for: what left was not durable.
#[test]
fn an_emission_that_writers_overtook_waits_for_the_commit_that_it_has() {
    let looks: [Look; 2] = [
        |store| {
            let peer = Store::in_memory();
            peer.merge(store.delta_since(&VersionVector::new()).unwrap()).unwrap();
            peer.counter("n").get().unwrap()
        },
        |store| {
            let changes = store.changes_since(&VersionVector::new(), ()).unwrap();
            changes.snapshot().counter("n").get().unwrap()
        },
    ];
    for look in looks {
        let (held, other) = (Held::default(), Store::in_memory());
        let store = Store::options().open_backend(held.clone()).unwrap();
        let next = move || {
            other.counter("n").add(1).unwrap();
            other.delta_since(&VersionVector::new()).unwrap()
        };
        store.merge(next()).unwrap();
        let (overtaken, hold) = (store.clone(), std::sync::Arc::clone(&held.hold));
        let (go_on, may_go_on) = channel();
        let (mut may_go_on, mut times) = (Some(may_go_on), 0);
        let hook = move |at| {
            if at != Step::MetaRead {
                return;
            }
            times += 1;
            if times < 8 {
                overtaken.merge(next()).unwrap();
            } else if let Some(may_go_on) = may_go_on.take() {
                let (seen, is_seen) = channel();
                *hold.lock() = Some((seen, may_go_on));
                let (store, delta) = (overtaken.clone(), next());
                thread::spawn(move || store.merge(delta));
                is_seen.recv_timeout(PATIENCE).unwrap();
            }
        };
        let (done, is_done) = channel();
        let reader = store.clone();
        let emission = thread::spawn(move || done.send(with(hook, || look(&reader))));
        let early = is_done.recv_timeout(Duration::from_millis(200)).ok();
        let kept_early = Store::options().open_backend(held.disk.after_crash()).unwrap().counter("n").get().unwrap();
        assert!(early.is_none_or(|given| given <= kept_early), "{early:?} given, {kept_early} kept");
        go_on.send(()).unwrap();
        emission.join().unwrap().unwrap();
        let given = early.unwrap_or_else(|| is_done.recv().unwrap());
        let kept = Store::options().open_backend(held.disk.after_crash()).unwrap().counter("n").get().unwrap();
        assert!(given >= 8 && given <= kept, "{given} given, {kept} kept");
    }
}

#[test]
fn writers_that_queue_share_an_fsync_and_each_is_acknowledged_after_it() {
    const WRITERS: usize = 8;
    const EACH: u64 = 40;
    let disk = Crashing::default();
    let store = Store::options().open_backend(disk.clone()).unwrap();
    let acknowledged: Vec<_> = (0..WRITERS).map(|_| std::sync::atomic::AtomicU64::new(0)).collect();
    let left = std::sync::atomic::AtomicUsize::new(WRITERS);
    let ordering = std::sync::atomic::Ordering::SeqCst;
    thread::scope(|scope| {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let (store, left) = (&store, &left);
            scope.spawn(move || {
                for number in 1..=EACH {
                    store.register::<u64>(writer as u64).set(&number).unwrap();
                    acknowledged.store(number, ordering);
                }
                left.fetch_sub(1, ordering);
            });
        }
        // The power may go at any time.
        while left.load(ordering) > 0 {
            let promised: Vec<u64> = acknowledged.iter().map(|number| number.load(ordering)).collect();
            let after = Store::options().open_backend(disk.after_crash()).unwrap();
            after.check().unwrap();
            for (writer, promised) in promised.into_iter().enumerate() {
                let kept = after.register::<u64>(writer as u64).get().unwrap().unwrap_or_default();
                assert!(kept >= promised, "writer {writer}: {promised} acknowledged, {kept} kept");
            }
        }
    });
    let (commits, syncs) = store.file().commits_and_syncs();
    assert!(syncs * 2 < commits, "{syncs} fsyncs for {commits} commits");
    store.check().unwrap();
}

#[test]
fn a_commit_behind_which_somebody_thinks_for_long_does_not_wait_for_him() {
    let store = Store::in_memory();
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (other, waiting) = (store.clone(), store.clone());
    // Stops between its commit and its unlock, so that the thinker queues behind it.
    let (release, writer) = stopped_at(&store, Step::Applying, writes);
    let thinker = thread::spawn(move || {
        let tx = other.begin().unwrap();
        begun.send(()).unwrap();
        may_go_on.recv_timeout(PATIENCE).unwrap();
        drop(tx);
    });
    while !waiting.file().somebody_waits() {
        thread::yield_now();
    }
    release.expect("every writer passes it").send(()).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    writer.join().unwrap();
    go_on.send(()).unwrap();
    thinker.join().unwrap();
}

#[test]
fn a_transaction_may_be_durable_later_or_at_once_whatever_the_store_says() {
    for (store_says, tx_says, kept) in [
        (Durability::Immediate, None, 1),
        (Durability::Deferred, None, 0),
        (Durability::Immediate, Some(Durability::Deferred), 0),
        (Durability::Deferred, Some(Durability::Immediate), 1),
    ] {
        let disk = Crashing::default();
        let store = Store::options().durability(store_says).open_backend(disk.clone()).unwrap();
        let tx = store.begin().unwrap();
        tx.counter("n").add(1).unwrap();
        if let Some(durability) = tx_says {
            tx.durability(durability);
        }
        tx.commit().unwrap();
        let after = |disk: &Crashing| Store::options().open_backend(disk.after_crash()).unwrap().counter("n").get().unwrap();
        assert_eq!(after(&disk), kept, "{store_says:?} {tx_says:?}");
        store.sync().unwrap();
        assert_eq!(after(&disk), 1);
        // A later immediate one takes the earlier along.
        let tx = store.begin().unwrap();
        tx.durability(Durability::Deferred);
        tx.counter("n").add(1).unwrap();
        tx.commit().unwrap();
        let tx = store.begin().unwrap();
        tx.durability(Durability::Immediate);
        tx.counter("m").add(1).unwrap();
        tx.commit().unwrap();
        assert_eq!(after(&disk), 2);
        // What is pushed is durable whatever it said.
        let tx = store.begin().unwrap();
        tx.durability(Durability::Deferred);
        tx.counter("n").add(1).unwrap();
        tx.commit_and_push().unwrap();
        assert_eq!(after(&disk), 3);
    }
}

/// A deferred commit is told of at once. Whoever keeps a mark of it beyond a crash makes it durable first, or misses what comes under the
/// same numbers then.
#[test]
fn a_mark_of_a_watcher_outlives_a_crash_once_the_store_was_synced() {
    let run = |syncs: bool| {
        let disk = Crashing::default();
        let options = || Store::options().durability(Durability::Deferred);
        let store = options().open_backend(disk.clone()).unwrap();
        let mut watch = store.watch(());
        store.register::<u64>("first").set(&1).unwrap();
        store.sync().unwrap();
        store.register::<u64>("second").set(&1).unwrap();
        let batch = watch.next().unwrap().unwrap();
        if syncs {
            store.sync().unwrap();
        }
        let mark = batch.snapshot().version();
        let after = options().open_backend(disk.after_crash()).unwrap();
        after.register::<u64>("third").set(&1).unwrap();
        let changes = after.changes_since(&mark, ()).unwrap();
        changes
            .keys()
            .expect("the version is one of this store")
            .iter()
            .map(|change| change.key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(run(true), [r#""third""#]);
    assert_eq!(run(false), Vec::<String>::new(), "this is what the documentation of Watch is about");
}
