//! Power losses: random histories, cut in the middle of each operation on the disk. What was acknowledged is there, nothing is half done,
//! and the store goes on. `TOMBOLO_CRASH_HISTORIES=200` runs that many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::{Durability, Options, Seen};
use tombolo::sim::{
    Applied, CellId, Disk, Fault, Merged, Observed, Op, Plan, Rng, Room, Runner, Schema, StoreSubject, Subject, Syncs,
};
use tombolo::storage::Redb;
use tombolo::{Error, Store};

use crate::deeds::canonical;
use crate::kill;

/// Histories in a run without the variable.
const IN_EVERY_RUN: u64 = 40;
/// Steps of a history: three to five replicas share them.
const STEPS: usize = 40;

/// Opens what a disk holds as a replica.
pub(crate) fn open(disk: &Disk, replica: ReplicaId) -> Result<Store, Error> {
    open_with(disk, Store::options().replica(replica))
}

fn open_with(disk: &Disk, options: Options) -> Result<Store, Error> {
    options.open_backend(Redb::with_backend(disk.clone())?)
}

/// One state that a replica was in.
#[derive(Debug, Clone)]
struct State {
    /// When, on a clock that all replicas of a history share.
    time: u64,
    /// How many operations its disk had seen once the call had returned.
    operations: u64,
    canonical: Vec<u8>,
}

/// What happened to one replica.
#[derive(Debug, Clone)]
struct Past {
    replica: ReplicaId,
    disk: Disk,
    states: Vec<State>,
}

type Pasts = Arc<Mutex<Vec<Past>>>;

/// A store whose disk is recorded, with its state after each call. The oracle checks it as any other subject.
struct Recorded<S> {
    inner: S,
    number: usize,
    pasts: Pasts,
    time: Arc<AtomicU64>,
}

fn recorded(
    replica: ReplicaId,
    schema: &Arc<Schema>,
    pasts: &Pasts,
    time: &Arc<AtomicU64>,
) -> Recorded<StoreSubject<impl FnMut(Options) -> Result<Store, Fault> + use<>>> {
    let disk = Disk::new();
    disk.record();
    let medium = {
        let disk = disk.clone();
        move |options| Ok(open_with(&disk, options)?)
    };
    let inner = StoreSubject::on(replica, schema, medium).unwrap();
    let mut all = pasts.lock().unwrap();
    all.push(Past { replica, disk, states: Vec::new() });
    let subject = Recorded { inner, number: all.len() - 1, pasts: Arc::clone(pasts), time: Arc::clone(time) };
    drop(all);
    subject.note().unwrap();
    subject
}

impl<S: Subject> Recorded<S> {
    fn note(&self) -> Result<(), Fault> {
        let time = self.time.fetch_add(1, Ordering::Relaxed);
        let operations = self.pasts.lock().unwrap()[self.number].disk.operations();
        let canonical = self.inner.canonical()?;
        self.pasts.lock().unwrap()[self.number].states.push(State { time, operations, canonical });
        Ok(())
    }
}

impl<S: Subject<Seen = Seen<u64>>> Subject for Recorded<S> {
    type Seen = S::Seen;
    type Batch = S::Batch;
    type Pushed = S::Pushed;

    fn replica(&self) -> ReplicaId {
        self.inner.replica()
    }
    fn set_clock(&mut self, now_ms: u64) {
        self.inner.set_clock(now_ms);
    }
    fn version(&self) -> Result<VersionVector, Fault> {
        self.inner.version()
    }
    fn transact(&mut self, ops: &[Op], hand: &[&Seen<u64>]) -> Result<Option<S::Pushed>, Fault> {
        let pushed = self.inner.transact(ops, hand)?;
        self.note()?;
        Ok(pushed)
    }
    fn read(&self, cell: CellId) -> Result<Observed, Fault> {
        self.inner.read(cell)
    }
    fn read_to_set_over(&self, cell: CellId) -> Result<Seen<u64>, Fault> {
        self.inner.read_to_set_over(cell)
    }
    fn delta_since(&mut self, base: &VersionVector) -> Result<S::Batch, Fault> {
        self.inner.delta_since(base)
    }
    fn merge(&mut self, batch: &S::Batch) -> Result<Merged, Fault> {
        let merged = self.inner.merge(batch)?;
        self.note()?;
        Ok(merged)
    }
    fn apply(&mut self, pushed: &S::Pushed) -> Result<Applied, Fault> {
        let applied = self.inner.apply(pushed)?;
        self.note()?;
        Ok(applied)
    }
    fn truncate(&mut self, below: &VersionVector) -> Result<(), Fault> {
        self.inner.truncate(below)?;
        self.note()
    }
    fn restart(&mut self) -> Result<(), Fault> {
        self.inner.restart()?;
        self.note()
    }
    fn digest(&self) -> Result<u128, Fault> {
        self.inner.digest()
    }
    fn canonical(&self) -> Result<Vec<u8>, Fault> {
        self.inner.canonical()
    }
    fn check(&self) -> Result<(), Fault> {
        self.inner.check()
    }
}

/// Runs the history of a seed, checked by the oracle, and returns what each replica went through.
fn history(seed: u64) -> Vec<Past> {
    let schema = Arc::new(Schema::every_kind());
    let mut plan = Plan::random(&schema, seed);
    plan.steps.truncate(STEPS);
    let (pasts, time) = (Pasts::default(), Arc::new(AtomicU64::new(0)));
    let runner = Runner::new(&schema).shrinks(false);
    if let Err(failure) = runner.replay(&plan, |replica| recorded(replica, &schema, &pasts, &time)) {
        panic!("{failure}");
    }
    // The last handle has closed its file.
    let pasts = pasts.lock().unwrap();
    pasts.clone()
}

/// What the replicas other than one had, at a time.
fn peer_of(pasts: &[Past], replica: ReplicaId, time: u64) -> Store {
    let peer = Store::options().replica(ReplicaId::from_u128(0xfeed)).in_memory();
    for past in pasts.iter().filter(|past| past.replica != replica) {
        let last = past.states.iter().take_while(|state| state.time < time).last();
        if let Some(state) = last {
            peer.merge(&state.canonical).unwrap();
        }
    }
    peer
}

/// Brings two stores together. They are equal afterwards, and go on.
fn converge(store: &Store, peer: &Store, context: &str) {
    store.counter("visits").add(1).unwrap();
    peer.counter("visits").add(1).unwrap();
    for (from, to) in [(store, peer), (peer, store)] {
        to.merge(from.delta_since(&to.version().unwrap()).unwrap()).unwrap();
    }
    assert_eq!(store.digest().unwrap(), peer.digest().unwrap(), "{context}");
    store.check().unwrap();
}

/// What a history's crashes add up to.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    /// The transaction under way was lost whole; it had not been acknowledged.
    lost: u64,
    /// The transaction under way survived whole.
    kept: u64,
    /// The power went again, in the recovery or in the first commit after it.
    twice: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.lost += other.lost;
        self.kept += other.kept;
        self.twice += other.twice;
    }
}

fn crash_everywhere(seed: u64) -> Tally {
    let pasts = history(seed);
    let mut tally = Tally::default();
    for past in &pasts {
        let mut rng = Rng::new(seed);
        // The state after which the operation came; none before the store was there.
        let (mut acknowledged, mut states) = (None::<&State>, past.states.iter().peekable());
        for (operation, left) in past.disk.crashes(seed) {
            while let Some(state) = states.next_if(|state| state.operations < operation) {
                acknowledged = Some(state);
            }
            let context = format!("seed {seed}, replica {}, operation {operation}", past.replica);
            left.record();
            tally.crashes += 1;
            let store = open(&left, past.replica).unwrap_or_else(|error| panic!("{context}: {error}"));
            store.check().unwrap_or_else(|error| panic!("{context}: {error}"));
            let next = states.peek();
            let found = canonical(&store);
            let is = |state: Option<&State>| state.is_some_and(|state| state.canonical == found);
            if is(acknowledged) {
                tally.lost += u64::from(next.is_some_and(|next| next.canonical != found));
            } else {
                let was_empty = acknowledged.is_none() && store.version().unwrap().is_empty();
                assert!(was_empty || is(next.copied()), "{context}: neither the state acknowledged last nor the one under way");
                tally.kept += 1;
            }
            let peer = peer_of(&pasts, past.replica, next.map_or(u64::MAX, |next| next.time));
            converge(&store, &peer, &context);
            if rng.chance(10) {
                let after = canonical(&store);
                drop(store);
                crash_again(&left, past.replica, &found, &after, &mut rng, &context);
                tally.twice += 1;
            }
        }
    }
    tally
}

/// A crash in the recovery, or in one of the commits after it.
fn crash_again(disk: &Disk, replica: ReplicaId, found: &[u8], after: &[u8], rng: &mut Rng, context: &str) {
    let which = rng.below(disk.operations());
    let (operation, left) = disk.crashes(rng.next_u64()).nth(usize::try_from(which).unwrap()).unwrap();
    let store = open(&left, replica).unwrap_or_else(|error| panic!("{context}, then {operation}: {error}"));
    store.check().unwrap();
    // Of the three states in between, each has the first one in it.
    let first = Store::in_memory();
    first.merge(found).unwrap();
    assert!(store.version().unwrap().covers(&first.version().unwrap()), "{context}, then {operation}");
    let last = Store::in_memory();
    last.merge(after).unwrap();
    assert!(last.version().unwrap().covers(&store.version().unwrap()));
}

fn histories() -> u64 {
    std::env::var("TOMBOLO_CRASH_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(IN_EVERY_RUN)
}

#[test]
fn a_power_loss_in_any_operation_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    let (next, total) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= histories() {
                        return;
                    }
                    let tally = crash_everywhere(seed);
                    total.lock().unwrap().add(&tally);
                }
            });
        }
    });
    let tally = total.into_inner().unwrap();
    println!("{} histories: {tally:?}", histories());
    assert!(tally.lost > 100 && tally.kept > 100 && tally.twice > 100, "{tally:?}");
}

const REPLICA: ReplicaId = ReplicaId::from_u128(7);

/// A transaction of several kinds, with a delete now and then.
pub(crate) fn transaction(store: &Store, number: u64) -> Result<(), Error> {
    store.transact(|tx| {
        tx.register::<u64>(("k", number)).set(&number)?;
        tx.counter("visits").add(1)?;
        tx.set::<u64>("tags").insert(&(number % 5))?;
        if number % 4 == 3 {
            tx.delete(("k", number - 2))?;
        }
        Ok(())
    })
}

/// The state after each of so many transactions.
pub(crate) fn ladder(count: u64) -> Vec<Vec<u8>> {
    let store = Store::options().replica(REPLICA).clock(Stopped).in_memory();
    let mut states = vec![canonical(&store)];
    for number in 0..count {
        transaction(&store, number).unwrap();
        states.push(canonical(&store));
    }
    states
}

/// Which state of the ladder a store is in. It checks out.
fn rung(store: &Store, ladder: &[Vec<u8>], context: &str) -> usize {
    store.check().unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = canonical(store);
    ladder.iter().position(|state| *state == found).unwrap_or_else(|| panic!("{context}: a state that never was"))
}

/// A clock that stands still: equal histories, equal bytes.
#[derive(Debug, Clone, Copy)]
struct Stopped;

impl tombolo::system::Clock for Stopped {
    fn now_ms(&self) -> u64 {
        1_735_689_600_000
    }
}

pub(crate) fn open_stopped(disk: &Disk) -> Result<Store, Error> {
    open_with(disk, Store::options().replica(REPLICA).clock(Stopped))
}

const TRANSACTIONS: u64 = 12;
/// More than a writer gets done before the power goes, or the disk is full.
const MANY: u64 = 5_000;

#[test]
fn a_full_disk_refuses_a_write_and_loses_nothing() {
    let ladder = ladder(TRANSACTIONS);
    // A disk that has room for some sectors more, and for a longer file or not.
    for more in 0..60 {
        let empty = Disk::new();
        drop(open_stopped(&empty).unwrap());
        let room = [Room::Sectors(empty.sectors() + 2 * more), Room::Length(empty.bytes().len() as u64 + 4096 * more)];
        for (room, seed) in room.into_iter().zip(0..) {
            let context = format!("{room:?}");
            let disk = Disk::new();
            drop(open_stopped(&disk).unwrap());
            disk.set_room(room);
            let Ok(store) = open_stopped(&disk) else { continue };
            let mut done = 0;
            let refused = loop {
                match transaction(&store, done) {
                    Ok(()) => done += 1,
                    Err(refused) => break refused,
                }
                if done == TRANSACTIONS {
                    break Error::Refused("it fits");
                }
            };
            if done == TRANSACTIONS {
                continue;
            }
            assert!(is_full(&refused), "{context}: {refused:?}");
            drop(store);
            // Power or not: what was acknowledged can be read while the disk is still full, and the store goes on when it is not.
            for disk in [Disk::with_bytes(disk.bytes()), disk.after_power_loss(seed)] {
                disk.set_room(room);
                if let Ok(store) = open_stopped(&disk) {
                    assert_eq!(rung(&store, &ladder, &context) as u64, done, "{context}");
                }
                disk.set_room(Room::Endless);
                let store = open_stopped(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(rung(&store, &ladder, &context) as u64, done, "{context}");
                (done..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
                assert_eq!(rung(&store, &ladder, &context) as u64, TRANSACTIONS);
            }
        }
    }
}

#[test]
fn many_writers_on_a_full_disk_lose_nothing_acknowledged() {
    for more in 1..80 {
        let disk = Disk::new();
        let store = open(&disk, REPLICA).unwrap();
        let length = disk.bytes().len() as u64 + 4096 * more;
        disk.set_room(if more % 2 == 0 { Room::Length(length) } else { Room::Sectors(disk.sectors() + 4 * more) });
        let write = &|writer| {
            let refused = (1..MANY).find_map(|number| kill::write(&store, writer, number).err().map(|error| (number, error)));
            let (number, error) = refused.expect("the disk is full at some time");
            (writer, number - 1, error)
        };
        let told: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = (0..kill::WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let says = |(_, _, refused): &(u64, u64, Error)| is_full(refused) || matches!(refused, Error::Closed);
        assert!(told.iter().all(says) && told.iter().any(|(_, _, refused)| is_full(refused)), "{told:?}");
        let refused = [(); 3].map(|()| kill::write(&store, 0, 1).unwrap_err());
        assert!(matches!(refused, [.., Error::Closed]), "{refused:?}");
        drop(store);
        disk.set_room(Room::Endless);
        let store = open(&disk, REPLICA).unwrap();
        kill::check(&store, &told.into_iter().map(|(writer, last, _)| (writer, last)).collect());
    }
}

/// Whether an error says that there is no room.
fn is_full(error: &Error) -> bool {
    let (Error::SyncFailed { source } | Error::Io(source)) = error else { return false };
    source.kind() == std::io::ErrorKind::StorageFull
}

#[test]
fn a_sync_that_fails_is_told_once_and_nothing_acknowledged_is_lost() {
    let ladder = ladder(TRANSACTIONS);
    for fails_at in 0..TRANSACTIONS {
        for seed in 0..8 {
            let disk = Disk::new();
            let store = open_stopped(&disk).unwrap();
            (0..fails_at).for_each(|number| transaction(&store, number).unwrap());
            disk.set_syncs(Syncs::Fail { seed });
            let failed = transaction(&store, fails_at);
            assert!(matches!(failed, Err(Error::SyncFailed { .. })), "{failed:?}");
            // It works again, and says so of bytes that it has forgotten.
            disk.set_syncs(Syncs::Honest);
            assert!(matches!(transaction(&store, fails_at), Err(Error::Closed)));
            assert!(matches!(store.counter("visits").get(), Err(Error::Closed)));
            drop(store);
            // The process alone ends, or the machine.
            for disk in [disk.after_power_loss(seed), Disk::with_bytes(disk.bytes())] {
                let context = format!("sync of transaction {fails_at}, seed {seed}");
                let store = open_stopped(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let at = rung(&store, &ladder, &context) as u64;
                assert!(at == fails_at || at == fails_at + 1, "{context}: {at}");
                (at..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
                assert_eq!(rung(&store, &ladder, &context) as u64, TRANSACTIONS);
            }
        }
    }
}

#[test]
fn after_syncs_that_lied_a_store_is_an_older_one_or_an_error() {
    let ladder = ladder(TRANSACTIONS);
    let (mut older, mut oldest, mut errors) = (0, 0, 0);
    for lies_from in 0..TRANSACTIONS {
        for seed in 0..40 {
            let disk = Disk::new();
            let store = open_stopped(&disk).unwrap();
            (0..lies_from).for_each(|number| transaction(&store, number).unwrap());
            disk.set_syncs(Syncs::Lie);
            (lies_from..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
            let peer = Store::options().replica(ReplicaId::from_u128(8)).in_memory();
            peer.merge(&ladder[usize::try_from(lies_from).unwrap()]).unwrap();
            let context = format!("lies from {lies_from}, seed {seed}");
            let store = match open_stopped(&disk.after_power_loss(seed)) {
                Ok(store) => store,
                Err(Error::Damaged { .. } | Error::Corrupt { .. }) => {
                    errors += 1;
                    continue;
                }
                Err(other) => panic!("{context}: {other:?}"),
            };
            let at = rung(&store, &ladder, &context) as u64;
            older += u64::from(at < TRANSACTIONS);
            // redb writes over what it thinks is no more needed: even what an honest sync had kept can be gone. Then the peer knows
            // more of this replica than itself, and it goes on under another id.
            oldest += u64::from(at < lies_from);
            converge(&store, &peer, &context);
        }
    }
    println!("{older} older states, {oldest} before the lies, {errors} errors");
    assert!(older > 100 && errors > 0, "{older}, {oldest}, {errors}");
}

#[test]
fn a_power_loss_under_many_writers_loses_nothing_acknowledged() {
    let (mut rng, mut shared) = (Rng::new(5), 0);
    for round in 0..150 {
        let disk = Disk::new();
        let store = open(&disk, REPLICA).unwrap();
        disk.cut_power_at(disk.operations() + 1 + rng.below(400));
        let acknowledged: BTreeMap<u64, u64> = thread::scope(|scope| {
            let writers = (0..kill::WRITERS).map(|writer| {
                let store = &store;
                scope.spawn(move || (writer, (1..MANY).take_while(|number| kill::write(store, writer, *number).is_ok()).last()))
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).map(|(writer, last)| (writer, last.unwrap_or(0))).collect()
        });
        drop(store);
        let store = open(&disk.after_power_loss(round), REPLICA).unwrap();
        kill::check(&store, &acknowledged);
        // Each transaction that was under way may be there, and no other.
        for (writer, told) in acknowledged {
            assert!(kill::last(&store, writer) <= told + 1, "round {round}, writer {writer}");
            shared += told;
        }
    }
    assert!(shared > 1000, "{shared}");
}

#[test]
fn a_power_loss_while_a_file_is_made_small_changes_nothing() {
    let disk = Disk::new();
    let store = open_stopped(&disk).unwrap();
    for number in 0..200_u64 {
        store.register::<Vec<u8>>(("large", number)).set(&vec![7; 3000]).unwrap();
    }
    (0..190_u64).for_each(|number| assert!(store.delete(("large", number)).unwrap()));
    let (whole, before) = (canonical(&store), disk.bytes().len());
    disk.record();
    store.compact().unwrap();
    assert!(disk.bytes().len() < before / 2);
    drop(store);
    let mut crashes = 0;
    for seed in 0..3 {
        for (operation, left) in disk.crashes(seed) {
            let store = open_stopped(&left).unwrap_or_else(|error| panic!("{operation}: {error}"));
            store.check().unwrap();
            assert!(canonical(&store) == whole, "operation {operation}");
            crashes += 1;
        }
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn what_was_deferred_survives_with_the_next_commit_that_was_not() {
    let ladder = ladder(TRANSACTIONS);
    for seed in 0..20 {
        let (mut rng, disk) = (Rng::new(seed), Disk::new());
        let options = Store::options().replica(REPLICA).clock(Stopped).durability(Durability::Deferred);
        let store = open_with(&disk, options).unwrap();
        disk.record();
        // From which operation on a state was promised.
        let mut promised = vec![(0, 0)];
        for number in 0..TRANSACTIONS {
            transaction(&store, number).unwrap();
            if rng.chance(40) {
                store.sync().unwrap();
                promised.push((disk.operations(), number + 1));
            }
        }
        drop(store);
        for (operation, left) in disk.crashes(seed) {
            let context = format!("seed {seed}, operation {operation}");
            let store = open_stopped(&left).unwrap_or_else(|error| panic!("{context}: {error}"));
            let at = rung(&store, &ladder, &context) as u64;
            let (_, least) = promised.iter().rev().find(|(from, _)| *from < operation).unwrap();
            assert!(at >= *least, "{context}: {at} of {least}");
        }
    }
}
