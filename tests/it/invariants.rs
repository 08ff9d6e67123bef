//! What holds after every step of every history, whoever sends what to whom, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use tombolo::causal::{Hlc, ReplicaId, VersionVector};
use tombolo::kv::{Applied, Merged};
use tombolo::system::Clock;
use tombolo::{Error, Store};

use crate::deeds::{Deed, canonical, live, reading, run};
use crate::forge::REGISTER;
use crate::sync::{replica, send};

const REPLICAS: usize = 4;

/// How many histories: more on demand.
fn cases() -> u32 {
    std::env::var("TOMBOLO_HISTORIES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000)
}

#[derive(Debug, Clone)]
enum Step {
    Commit(usize, Vec<Deed>),
    /// A delta since what the receiver has.
    Send(usize, usize),
    /// A delta since something older that the receiver had: more than it needs.
    SendSinceOld(usize, usize, Index),
    /// A delta that was sent before, to anybody.
    Repeat(Index, usize),
    Push(Index, usize),
    Forget(usize, u64),
}

impl Step {
    fn any() -> impl Strategy<Value = Self> {
        let store = || 0..REPLICAS;
        prop_oneof![
            6 => (store(), Deed::some()).prop_map(|(at, deeds)| Self::Commit(at, deeds)),
            4 => (store(), store()).prop_map(|(from, to)| Self::Send(from, to)),
            2 => (store(), store(), any::<Index>()).prop_map(|(from, to, old)| Self::SendSinceOld(from, to, old)),
            2 => (any::<Index>(), store()).prop_map(|(delta, to)| Self::Repeat(delta, to)),
            3 => (any::<Index>(), store()).prop_map(|(pushed, to)| Self::Push(pushed, to)),
            1 => (store(), 0..30_u64).prop_map(|(at, up_to)| Self::Forget(at, up_to)),
        ]
    }
}

/// Some replicas, and everything that was ever seen of them.
struct World {
    stores: Vec<Store>,
    deltas: Vec<Vec<u8>>,
    pushed: Vec<Vec<u8>>,
    /// What each store had, after each step.
    versions: Vec<Vec<VersionVector>>,
    floors: Vec<VersionVector>,
    /// The canonical form at each version that any store ever had, and what it reads.
    states: BTreeMap<Vec<u8>, (Vec<u8>, String)>,
    /// Where the transactions of each replica end.
    ends: BTreeMap<ReplicaId, BTreeSet<u64>>,
    events: BTreeMap<(ReplicaId, u64), (Vec<u8>, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        Self {
            stores: (1..).take(REPLICAS).map(replica).collect(),
            deltas: Vec::new(),
            pushed: Vec::new(),
            versions: vec![vec![VersionVector::new()]; REPLICAS],
            floors: vec![VersionVector::new(); REPLICAS],
            states: BTreeMap::new(),
            ends: BTreeMap::new(),
            events: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(at, deeds) => {
                let store = &self.stores[*at];
                self.pushed.extend(run(store, deeds).unwrap());
                if let Some(id) = store.replica().unwrap() {
                    self.ends.entry(id).or_default().insert(store.version().unwrap().get(id));
                }
                self.holds(*at);
            }
            Step::Send(from, to) => {
                let since = self.stores[*to].version().unwrap();
                self.send(*from, *to, &since);
            }
            Step::SendSinceOld(from, to, old) => {
                let since = old.get(&self.versions[*to]).clone();
                self.send(*from, *to, &since);
            }
            Step::Repeat(delta, to) => {
                if !self.deltas.is_empty() {
                    let delta = delta.get(&self.deltas).clone();
                    match self.merge(*to, &delta) {
                        Ok(_) => self.holds(*to),
                        Err(error) => assert!(matches!(error, Error::Behind { .. }), "{error}"),
                    }
                }
            }
            Step::Push(pushed, to) => {
                if !self.pushed.is_empty() {
                    self.push(&pushed.get(&self.pushed).clone(), *to);
                }
            }
            Step::Forget(at, up_to) => {
                let store = &self.stores[*at];
                let up_to: VersionVector = store.version().unwrap().iter().map(|(id, seq)| (id, seq.min(*up_to))).collect();
                store.forget_deletes(&up_to).unwrap();
                assert!(store.status().unwrap().floor.covers(&up_to));
                self.holds(*at);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, since: &VersionVector) {
        let delta = self.stores[from].delta_since(since).unwrap().into_bytes();
        let (before, theirs) = (self.stores[to].status().unwrap(), self.stores[from].status().unwrap());
        let merged = self.merge(to, &delta).unwrap();
        self.deltas.push(delta);
        let after = self.stores[to].status().unwrap();
        assert!(after.version.covers(&theirs.version));
        if merged.below_floor && merged.changed && !since.is_empty() {
            for (id, floor) in theirs.floor.iter().filter(|(id, floor)| *floor > before.version.get(*id)) {
                assert!(after.floor.get(id) >= floor, "a floor that was not raised");
            }
        }
        self.holds(to);
    }

    /// Merges twice: the second time is no change.
    fn merge(&self, to: usize, delta: &[u8]) -> Result<Merged, Error> {
        let before = self.stores[to].digest().unwrap();
        let merged = self.stores[to].merge(delta)?;
        assert_eq!(merged.version, self.stores[to].version().unwrap());
        assert!(merged.changed || self.stores[to].digest().unwrap() == before);
        let again = self.stores[to].merge(delta)?;
        assert!(!again.changed && again.rows == 0 && again.version == merged.version);
        Ok(merged)
    }

    fn push(&mut self, pushed: &[u8], to: usize) {
        let before = self.stores[to].status().unwrap();
        match self.stores[to].apply(pushed).unwrap() {
            Applied::Merged(_) => {
                assert!(matches!(self.stores[to].apply(pushed).unwrap(), Applied::Covered));
                self.holds(to);
            }
            Applied::Covered => assert_eq!(self.stores[to].status().unwrap(), before),
            Applied::Waits { need } => {
                assert!(!before.version.covers(&need), "it waits for what is there");
                assert_eq!(self.stores[to].status().unwrap(), before);
            }
        }
    }

    /// What holds for a store after each step.
    fn holds(&mut self, at: usize) {
        let store = &self.stores[at];
        store.check().unwrap();
        let status = store.status().unwrap();
        let before = self.versions[at].last().unwrap();
        assert!(status.version.covers(before), "a version shrank");
        assert!(status.floor.covers(&self.floors[at]), "a floor shrank");
        assert!(status.version.covers(&status.floor), "a floor above the version");
        for (id, seq) in status.version.iter() {
            assert!(self.ends[&id].contains(&seq), "a transaction was split");
        }
        for (event, path, payload) in live(store) {
            let known = self.events.entry(event).or_insert_with(|| (path.clone(), payload.clone()));
            assert_eq!(*known, (path, payload), "one event, two writes");
        }
        let state = (canonical(store), reading(store));
        let known = self.states.entry(status.version.to_bytes()).or_insert_with(|| state.clone());
        assert_eq!(*known, state, "equal versions, different states");
        self.floors[at] = status.floor;
        self.versions[at].push(status.version);
    }

    /// Whatever a store has had, what it lacks brings it to the join.
    fn catch_up_from_everywhere(&self) {
        for (version, (all, _reading)) in &self.states {
            let version = VersionVector::from_bytes(version).unwrap();
            for store in &self.stores {
                let old = replica(99);
                old.merge(all).unwrap();
                assert_eq!(old.version().unwrap(), version);
                old.merge(store.delta_since(&version).unwrap()).unwrap();
                old.check().unwrap();
                let mut join = version.clone();
                join.join(&store.version().unwrap());
                assert_eq!(old.version().unwrap(), join);
                let known = self.states.get(&join.to_bytes());
                assert!(known.is_none_or(|(bytes, _reading)| *bytes == canonical(&old)), "not the join");
                // The other way round.
                let other = replica(98);
                other.merge(store.delta_since(&VersionVector::new()).unwrap()).unwrap();
                other.merge(all).unwrap();
                assert_eq!(canonical(&other), canonical(&old), "the join is not the same both ways");
            }
        }
    }

    /// All deltas and transactions ever sent, in any order, until nothing is new.
    fn everything_at_once(&self, order: impl Fn(usize) -> u64) -> Store {
        let store = replica(97);
        let mut all: Vec<(u64, bool, &Vec<u8>)> = Vec::new();
        all.extend((0..).zip(&self.deltas).map(|(nth, bytes)| (order(nth), true, bytes)));
        all.extend((1000..).zip(&self.pushed).map(|(nth, bytes)| (order(nth), false, bytes)));
        all.sort();
        loop {
            let before = store.version().unwrap();
            for (_order, is_delta, bytes) in &all {
                if *is_delta {
                    drop(store.merge(bytes));
                } else {
                    store.apply(bytes).unwrap();
                }
                let known = self.states.get(&store.version().unwrap().to_bytes());
                assert!(known.is_none_or(|(bytes, _reading)| *bytes == canonical(&store)), "a state that nobody had");
            }
            store.check().unwrap();
            if store.version().unwrap() == before {
                return store;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_versions_are_equal_states_in_every_history(steps in proptest::collection::vec(Step::any(), 1..40)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.catch_up_from_everywhere();
        let forward = world.everything_at_once(|nth| nth as u64);
        let shuffled = world.everything_at_once(|nth| (nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(canonical(&forward), canonical(&shuffled));
        // Every transaction was pushed, so that whoever got all of them has everything.
        let ring: Vec<usize> = (0..REPLICAS).chain(0..REPLICAS).collect();
        for pair in ring.windows(2) {
            world.step(&Step::Send(pair[0], pair[1]));
        }
        for store in &world.stores {
            prop_assert_eq!(canonical(store), canonical(&forward));
        }
    }
}

/// A wall clock that the test sets.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const HOUR: u64 = 3_600_000;
const DRIFT: u64 = 60_000;

/// The stamps of the registers of a store.
fn stamps(store: &Store) -> BTreeSet<Hlc> {
    let registers = live(store).into_iter().filter(|(_event, path, _payload)| path.last() == Some(&REGISTER));
    registers.map(|(_, _, payload)| Hlc::from_bits(u64::from_be_bytes(payload[..8].try_into().unwrap()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clocks_that_are_wrong_converge_and_follow_what_they_can_believe(
        starts in proptest::collection::vec(0..2 * HOUR, 3),
        steps in proptest::collection::vec((0..3_usize, 0..3_usize, 0..6_u8, prop_oneof![Just(0), 0..2 * HOUR]), 1..40),
    ) {
        let hands: Vec<Hand> = starts.iter().map(|start| Hand(Arc::new(AtomicU64::new(*start)))).collect();
        let stores: Vec<Store> = (1..)
            .zip(&hands)
            .map(|(id, hand)| Store::options().replica(ReplicaId::from_u128(id)).clock(hand.clone()).in_memory())
            .collect();
        let mut believed = [Hlc::ZERO; 3];
        let mut ahead = [0; 3];
        for (at, from, what, time) in steps {
            let (store, hand) = (&stores[at], &hands[at]);
            let before = stamps(store);
            match what {
                0 | 1 => {
                    store.register::<u8>(what).set(&what).unwrap();
                    let siblings = store.register::<u8>(what).siblings().unwrap();
                    prop_assert_eq!(siblings.len(), 1);
                    let stamp = siblings[0].time;
                    prop_assert!(stamp > believed[at], "a stamp below one that was seen");
                    prop_assert!(stamp.ms() <= believed[at].ms().max(hand.now_ms()) + 1, "a stamp out of nowhere");
                    believed[at] = stamp;
                }
                2 | 3 => {
                    send(&stores[from], store);
                    for new in stamps(store).difference(&before) {
                        if new.ahead_of(hand.now_ms()) > DRIFT { ahead[at] += 1 } else { believed[at] = believed[at].max(*new) }
                    }
                    prop_assert!(store.status().unwrap().stamps_ahead >= ahead[at]);
                }
                // A jump, back or forth.
                4 => hand.0.store(time, Ordering::Relaxed),
                _ => drop(hand.0.fetch_add(time % 3, Ordering::Relaxed)),
            }
        }
        for pair in [0, 1, 2, 0, 1, 2].windows(2) {
            send(&stores[pair[0]], &stores[pair[1]]);
        }
        for store in &stores {
            store.check().unwrap();
            prop_assert_eq!(canonical(store), canonical(&stores[0]));
            for key in 0..2_u8 {
                prop_assert_eq!(store.register::<u8>(key).get().unwrap(), stores[0].register::<u8>(key).get().unwrap());
            }
        }
    }

    #[test]
    fn one_of_two_concurrent_transactions_wins_on_every_row(
        times in proptest::collection::vec(0..3 * DRIFT, 2),
        seen in any::<bool>(),
        deletes in any::<bool>(),
    ) {
        let store = |id: u128, time| {
            Store::options().replica(ReplicaId::from_u128(id)).clock(Hand(Arc::new(AtomicU64::new(time)))).in_memory()
        };
        let (a, b) = (store(1, times[0]), store(2, times[1]));
        a.register::<u8>(7).set(&0).unwrap();
        if seen {
            send(&a, &b);
        }
        for (store, value) in [(&a, 1), (&b, 2)] {
            store
                .transact(|tx| {
                    if deletes {
                        tx.delete(7)?;
                    }
                    (0..10_u8).try_for_each(|key| tx.register::<u8>(key).set(&value))
                })
                .unwrap();
        }
        send(&a, &b);
        send(&b, &a);
        for store in [&a, &b] {
            let shown: BTreeSet<_> = (0..10_u8).map(|key| store.register::<u8>(key).get().unwrap()).collect();
            prop_assert_eq!(shown.len(), 1);
        }
    }
}

#[test]
fn a_stamp_exactly_at_the_drift_limit_is_believed_and_one_beyond_is_counted() {
    let hand = Hand(Arc::new(AtomicU64::new(1_000_000)));
    let store = Store::options().replica(ReplicaId::from_u128(1)).clock(hand).in_memory();
    for (ahead, counted) in [(DRIFT, 0), (DRIFT + 1, 1)] {
        let clock = Hand(Arc::new(AtomicU64::new(1_000_000 + ahead)));
        let other = Store::options().replica(ReplicaId::from_u128(1000 + u128::from(ahead))).clock(clock).in_memory();
        other.register::<u8>(ahead).set(&1).unwrap();
        send(&other, &store);
        assert_eq!(store.status().unwrap().stamps_ahead, counted);
        store.register::<u8>(0).set(&1).unwrap();
        assert_eq!(store.register::<u8>(0).siblings().unwrap()[0].time.ms(), 1_000_000 + DRIFT);
    }
}
