//! Power losses: random histories, cut in the middle of each operation on the disk. What was acknowledged is there, nothing is half done,
//! and the store goes on. `TOMBOLO_CRASH_HISTORIES=200` runs that many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::{Options, Seen};
use tombolo::sim::{Applied, CellId, Disk, Fault, Merged, Observed, Op, Plan, Rng, Runner, Schema, StoreSubject, Subject};
use tombolo::storage::Redb;
use tombolo::{Error, Store};

use crate::deeds::canonical;

/// Histories in a run without the variable.
const IN_EVERY_RUN: u64 = 40;
/// Steps of a history: three to five replicas share them.
const STEPS: usize = 40;

/// Opens what a disk holds as a replica.
pub(crate) fn open(disk: &Disk, replica: ReplicaId) -> Result<Store, Error> {
    open_with(disk, Store::options().replica(replica))
}

pub(crate) fn open_with(disk: &Disk, options: Options) -> Result<Store, Error> {
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
pub(crate) fn converge(store: &Store, peer: &Store, context: &str) {
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
