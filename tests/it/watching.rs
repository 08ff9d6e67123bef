//! Whoever follows a store by its changes has what the store has: in every history, whatever comes from where.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::key::KeyBuf;
use tombolo::kv::{Change, Changes, Watch};
use tombolo::storage::Memory;
use tombolo::{Error, Store};

use crate::deeds::{Deed, run};
use crate::shadow::{Shadow, full};
use crate::sync::{exchange, replica, send};

const REPLICAS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Commit(usize, Vec<Deed>),
    Local(usize),
    Send(usize, usize),
    SendSinceOld(usize, usize, Index),
    Repeat(Index, usize),
    Push(Index, usize),
    Forget(usize, u64),
    Reopen(usize),
    /// Those who look now and then do.
    Look(usize),
}

impl Step {
    fn any() -> impl Strategy<Value = Self> {
        let store = || 0..REPLICAS;
        prop_oneof![
            6 => (store(), Deed::some()).prop_map(|(at, deeds)| Self::Commit(at, deeds)),
            1 => store().prop_map(Self::Local),
            5 => (store(), store()).prop_map(|(from, to)| Self::Send(from, to)),
            2 => (store(), store(), any::<Index>()).prop_map(|(from, to, old)| Self::SendSinceOld(from, to, old)),
            1 => (any::<Index>(), store()).prop_map(|(delta, to)| Self::Repeat(delta, to)),
            3 => (any::<Index>(), store()).prop_map(|(pushed, to)| Self::Push(pushed, to)),
            2 => (store(), 0..20_u64).prop_map(|(at, up_to)| Self::Forget(at, up_to)),
            1 => store().prop_map(Self::Reopen),
            2 => store().prop_map(Self::Look),
        ]
    }
}

/// Somebody who asks what has changed since it last looked, and keeps the mark in the store.
struct Follower {
    name: &'static str,
    shadow: Shadow,
    /// Whether it looks after every step, or only when told.
    always: bool,
}

impl Follower {
    fn look(&mut self, store: &Store) {
        let mark: VersionVector = store.local().get(("mark", self.name)).unwrap().unwrap_or_default();
        let changes = store.changes_since(&mark, &self.shadow.prefix).unwrap();
        self.shadow.fold(&changes);
        assert_eq!(self.shadow.map, full(&store.snapshot().unwrap(), &self.shadow.prefix));
        store.local().put(("mark", self.name), &changes.snapshot().version()).unwrap();
    }
}

/// Somebody who watches.
struct Watcher {
    shadow: Shadow,
    watch: Watch,
    /// Whether it fetches after every step, or only when told.
    always: bool,
}

impl Watcher {
    fn new(store: &Store, prefix: KeyBuf, always: bool) -> Self {
        Self { watch: store.watch(&prefix), shadow: Shadow::of(prefix), always }
    }

    fn fetch(&mut self, store: &Store) {
        while let Some(changes) = self.watch.wait(Duration::ZERO).unwrap() {
            self.shadow.fold(&changes);
        }
        assert_eq!(self.shadow.map, full(&store.snapshot().unwrap(), &self.shadow.prefix));
    }
}

struct Site {
    medium: Memory,
    store: Option<Store>,
    watchers: Vec<Watcher>,
    /// How often those who watched before the last restart read everything, and how often keys alone.
    watched: [u64; 2],
    followers: Vec<Follower>,
    versions: Vec<VersionVector>,
}

impl Site {
    fn new(number: u128) -> Self {
        let of = |name, prefix, always| Follower { name, shadow: Shadow::of(prefix), always };
        let followers = vec![
            of("all", KeyBuf::from_key(()), true),
            of("one", KeyBuf::from_key(1), true),
            of("now and then", KeyBuf::from_key(()), false),
            of("one now and then", KeyBuf::from_key((2, "m")), false),
        ];
        let mut site = Self {
            medium: Memory::default(),
            store: None,
            watchers: vec![],
            watched: [0; 2],
            followers,
            versions: vec![VersionVector::new()],
        };
        site.open(number);
        site
    }

    fn open(&mut self, number: u128) {
        self.store = None;
        let options = Store::options().replica(ReplicaId::from_u128(number));
        let store = options.open_backend(self.medium.clone()).unwrap();
        for mut watcher in self.watchers.drain(..) {
            assert!(watcher.watch.next().is_none(), "it ends with the store");
            self.watched[0] += watcher.shadow.all;
            self.watched[1] += watcher.shadow.since;
        }
        for (prefix, always) in [(KeyBuf::from_key(()), true), (KeyBuf::from_key(0), true), (KeyBuf::from_key(()), false)] {
            self.watchers.push(Watcher::new(&store, prefix, always));
        }
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn look(&mut self, told: bool) {
        let store = self.store.as_ref().unwrap();
        self.followers.iter_mut().filter(|follower| follower.always || told).for_each(|follower| follower.look(store));
        self.watchers.iter_mut().filter(|watcher| watcher.always || told).for_each(|watcher| watcher.fetch(store));
        self.versions.push(store.version().unwrap());
    }
}

/// Runs a history; after each step everybody who looks has what the store has.
fn history(steps: &[Step]) -> Vec<Site> {
    let mut sites: Vec<Site> = (1..).take(REPLICAS).map(Site::new).collect();
    let (mut deltas, mut pushed) = (Vec::new(), Vec::new());
    for step in steps {
        let at = match step {
            Step::Commit(at, deeds) => {
                pushed.extend(run(sites[*at].store(), deeds).unwrap());
                *at
            }
            Step::Local(at) => {
                sites[*at].store().local().put("x", &1).unwrap();
                *at
            }
            Step::Send(from, to) | Step::SendSinceOld(from, to, _) => {
                let newest = sites[*to].store().version().unwrap();
                let since = if let Step::SendSinceOld(.., old) = step { old.get(&sites[*to].versions) } else { &newest };
                let delta = sites[*from].store().delta_since(since).unwrap().into_bytes();
                sites[*to].store().merge(&delta).unwrap();
                deltas.push(delta);
                *to
            }
            Step::Repeat(delta, to) => {
                if !deltas.is_empty() {
                    let merged = sites[*to].store().merge(delta.get(&deltas));
                    assert!(matches!(merged, Ok(_) | Err(Error::Behind { .. })), "{merged:?}");
                }
                *to
            }
            Step::Push(transaction, to) => {
                if !pushed.is_empty() {
                    sites[*to].store().apply(transaction.get(&pushed)).unwrap();
                }
                *to
            }
            Step::Forget(at, up_to) => {
                let store = sites[*at].store();
                let up_to = store.version().unwrap().iter().map(|(id, seq)| (id, seq.min(*up_to))).collect();
                store.forget_deletes(&up_to).unwrap();
                *at
            }
            Step::Reopen(at) => {
                sites[*at].open(*at as u128 + 1);
                *at
            }
            Step::Look(at) => *at,
        };
        sites[at].look(matches!(step, Step::Look(_)));
    }
    sites.iter_mut().for_each(|site| site.look(true));
    sites
}

#[test]
fn whoever_follows_a_store_has_what_it_has_after_every_step() {
    let (counts, watched) = (RefCell::new([0, 0]), RefCell::new([0, 0]));
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&proptest::collection::vec(Step::any(), 1..40), |steps| {
        let (mut counts, mut watched) = (counts.borrow_mut(), watched.borrow_mut());
        for site in history(&steps) {
            for follower in &site.followers {
                counts[0] += follower.shadow.all;
                counts[1] += follower.shadow.since;
            }
            watched[0] += site.watched[0];
            watched[1] += site.watched[1];
            for watcher in &site.watchers {
                watched[0] += watcher.shadow.all;
                watched[1] += watcher.shadow.since;
            }
        }
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
    let [all, since] = counts.into_inner();
    assert!(all > 1_000 && since > all, "read all {all} times, keys alone {since} times");
    let [all, since] = watched.into_inner();
    assert!(all > 1_000 && since > 5_000, "watchers read all {all} times, keys alone {since} times");
}

fn told(changes: &Changes) -> Vec<(String, Option<ReplicaId>, bool)> {
    let told = |change: &Change| (change.key.to_string(), change.by, change.conflict);
    changes.keys().expect("keys").iter().map(told).collect()
}

#[test]
fn a_change_says_who_and_whether_there_is_a_conflict() {
    let (a, b) = (replica(1), replica(2));
    let (of_a, of_b) = (Some(ReplicaId::from_u128(1)), Some(ReplicaId::from_u128(2)));
    a.counter("first").add(1).unwrap();
    exchange(&a, &b);
    let mark = a.version().unwrap();
    for store in [&a, &b] {
        store.counter("both").add(1).unwrap();
        store.register::<u128>("differ").set(&u128::from(store.replica().unwrap() == of_a)).unwrap();
        store.register::<u8>("alike").set(&1).unwrap();
    }
    a.map(("note", 1)).register::<u8>("x").set(&1).unwrap();
    b.set::<u8>(("note", 2)).insert(&1).unwrap();
    b.delete("first").unwrap();
    exchange(&a, &b);
    a.local().put("note", &1).unwrap();
    for store in [&a, &b] {
        assert_eq!(
            told(&store.changes_since(&mark, ()).unwrap()),
            [
                ("\"alike\"".to_owned(), None, false),
                ("\"both\"".to_owned(), None, false),
                ("\"differ\"".to_owned(), None, true),
                ("\"first\"".to_owned(), of_b, false),
                ("(\"note\", 1)".to_owned(), of_a, false),
                ("(\"note\", 2)".to_owned(), of_b, false),
            ]
        );
        let notes = told(&store.changes_since(&mark, "note").unwrap());
        assert_eq!(notes.iter().map(|(_key, by, _)| *by).collect::<Vec<_>>(), [of_a, of_b]);
        assert_eq!(told(&store.changes_since(&mark, "not").unwrap()), []);
        assert_eq!(told(&store.changes_since(&store.version().unwrap(), ()).unwrap()), []);
    }
}

#[test]
fn what_cannot_be_told_is_all() {
    let (a, b) = (replica(1), replica(2));
    let all = |store: &Store, mark: &VersionVector| store.changes_since(mark, "x").unwrap().keys().is_none();
    assert!(all(&a, &VersionVector::new()));
    a.register::<u8>("x").set(&1).unwrap();
    let mark = a.version().unwrap();
    assert!(all(&a, &VersionVector::new()));
    assert!(!all(&a, &mark));
    // A store that does not have the mark: another one, or this one as it was.
    assert!(all(&b, &mark));
    a.delete("x").unwrap();
    assert!(!all(&a, &mark));
    a.forget_deletes(&mark).unwrap();
    assert!(!all(&a, &mark), "the floor is not above it");
    a.forget_deletes(&a.version().unwrap()).unwrap();
    assert!(all(&a, &mark));
    assert!(!all(&a, &a.version().unwrap()));
    // A delete that is told of by what is live.
    let (a, b) = (replica(1), replica(2));
    a.register::<u8>("x").set(&1).unwrap();
    exchange(&a, &b);
    let mark = b.version().unwrap();
    a.delete("x").unwrap();
    a.forget_deletes(&a.version().unwrap()).unwrap();
    assert!(send(&a, &b).below_floor);
    assert!(all(&b, &mark));
}

/// What stands at a mark that was made by events which a new id has taken over is not what the original wrote there.
#[cfg(feature = "redb")]
#[test]
fn a_mark_from_before_a_new_id_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let peer = replica(9);
    let store = Store::open(&path).unwrap();
    store.register::<u8>("a").set(&1).unwrap();
    send(&store, &peer);
    drop(store);
    let old_copy = std::fs::read(&path).unwrap();
    let write = |store: &Store, key: &str, is_undone: bool| {
        store.counter(key).add(1).unwrap();
        if is_undone {
            store.counter(key).add(-1).unwrap();
        }
    };
    let original = Store::open(&path).unwrap();
    write(&original, "of the original", false);
    write(&original, "of the original too", false);
    send(&original, &peer);
    drop(original);
    // What the copy wrote comes to something, or to nothing at all.
    for is_undone in [false, true] {
        // The same file as far as the system can tell.
        std::fs::write(&path, &old_copy).unwrap();
        let copy = Store::open(&path).unwrap();
        let mut shadow = Shadow::of(KeyBuf::from_key(()));
        write(&copy, "of the copy", is_undone);
        let first = copy.changes_since(&VersionVector::new(), ()).unwrap();
        shadow.fold(&first);
        let mut watch = copy.watch(());
        let mut watched = Shadow::of(KeyBuf::from_key(()));
        watched.fold(&watch.next().unwrap().unwrap());
        let merge = || copy.merge(peer.delta_since(&copy.version().unwrap()).unwrap());
        assert!(matches!(merge(), Err(Error::Behind { .. })), "it has gone back behind what it asked for");
        merge().unwrap();
        assert_eq!(copy.take_events().len(), 1, "it has a new id");
        let mark = first.snapshot().version();
        assert!(copy.version().unwrap().covers(&mark) || is_undone);
        let second = copy.changes_since(&mark, ()).unwrap();
        shadow.fold(&second);
        assert_eq!(shadow.map, full(&copy.snapshot().unwrap(), &shadow.prefix));
        while let Some(changes) = watch.wait(Duration::ZERO).unwrap() {
            assert!(changes.keys().is_some());
            watched.fold(&changes);
        }
        assert_eq!(watched.map, shadow.map);
        // From there on marks are good again.
        copy.register::<u8>("b").set(&1).unwrap();
        assert_eq!(told(&copy.changes_since(&second.snapshot().version(), ()).unwrap()).len(), 1);
        drop(copy);
    }
}

#[test]
fn more_keys_than_are_kept_are_all() {
    let store = replica(1);
    store.counter("first").add(1).unwrap();
    let mark = store.version().unwrap();
    let long = "x".repeat(950);
    let tx = store.begin().unwrap();
    for key in 0..75_000_u32 {
        tx.flag((&long, key)).enable().unwrap();
    }
    tx.commit().unwrap();
    assert!(store.changes_since(&mark, ()).unwrap().keys().is_none());
    assert_eq!(told(&store.changes_since(&mark, (&long, 7)).unwrap()).len(), 1);
}
