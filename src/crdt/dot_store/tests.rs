//! Random histories of several replicas, whose deltas arrive late, twice and in any order, against an oracle that knows only
//! which events are visible.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt::Debug;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::causal::{ReplicaId, SEQ_MAX};
use crate::crdt::Lattice;
use crate::crdt::lattice::tests::assert_laws;

const REPLICAS: usize = 3;

/// A store with places, numbered from 0, at which dots can be put.
trait Places: DotStore + PartialEq + Debug + Serialize + DeserializeOwned {
    fn single(place: u8, dot: Dot) -> Self;
    fn dots_at(&self, place: u8) -> Vec<Dot>;
}

/// One place for all.
impl Places for DotSet {
    fn single(_place: u8, dot: Dot) -> Self {
        [dot].into_iter().collect()
    }

    fn dots_at(&self, _place: u8) -> Vec<Dot> {
        self.iter().collect()
    }
}

impl Places for DotFun<(u64, u8)> {
    fn single(place: u8, dot: Dot) -> Self {
        [(dot, (dot.seq, place))].into_iter().collect()
    }

    fn dots_at(&self, _place: u8) -> Vec<Dot> {
        self.dots().collect()
    }
}

impl<S: Places> Places for DotMap<u8, S> {
    fn single(place: u8, dot: Dot) -> Self {
        [(place % 3, S::single(place / 3, dot))].into_iter().collect()
    }

    fn dots_at(&self, place: u8) -> Vec<Dot> {
        self.get(&(place % 3)).map(|store| store.dots_at(place / 3)).unwrap_or_default()
    }
}

impl Places for DotTable<u8, (u64, u8)> {
    fn single(place: u8, dot: Dot) -> Self {
        [(dot, place, (dot.seq, place))].into_iter().collect()
    }

    fn dots_at(&self, place: u8) -> Vec<Dot> {
        self.get(&place).into_iter().map(|(dot, _)| dot).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Replaces what the replica has at a place, or adds to it.
    Write {
        replica: usize,
        place: u8,
        replace: bool,
    },
    /// Removes what the replica has at a place, or everywhere.
    Remove {
        replica: usize,
        place: Option<u8>,
    },
    Deliver {
        replica: usize,
        delta: Index,
    },
    /// Two deltas joined on the way: a delta with gaps.
    Group {
        one: Index,
        other: Index,
    },
    Sync {
        source: usize,
        target: usize,
    },
    /// Encodes and decodes.
    Restart {
        replica: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = || 0..REPLICAS;
    let step = prop_oneof![
        4 => (replica(), 0_u8..9, any::<bool>()).prop_map(|(replica, place, replace)| Step::Write { replica, place, replace }),
        2 => (replica(), proptest::option::weighted(0.8, 0_u8..9)).prop_map(|(replica, place)| Step::Remove { replica, place }),
        6 => (replica(), any::<Index>()).prop_map(|(replica, delta)| Step::Deliver { replica, delta }),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Step::Group { one, other }),
        1 => (replica(), replica()).prop_map(|(source, target)| Step::Sync { source, target }),
        1 => replica().prop_map(|replica| Step::Restart { replica }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What an event did. Its index in the world's list is its name.
#[derive(Debug)]
struct Event {
    write: Option<(u8, Dot)>,
    removes: Vec<Dot>,
}

/// A state or delta, and the events that are visible in it.
#[derive(Debug, Clone)]
struct Known<S> {
    value: Causal<S>,
    events: BTreeSet<usize>,
}

impl<S: Places> Known<S> {
    fn join(&mut self, other: &Self) {
        let before = self.value.clone();
        let changed = self.value.join(&other.value);
        assert_eq!(changed, self.value != before, "`changed` is not exact");
        self.events.extend(&other.events);
    }
}

#[derive(Debug)]
struct World<S> {
    events: Vec<Event>,
    replicas: Vec<Known<S>>,
    deltas: Vec<Known<S>>,
}

impl<S: Places> World<S> {
    fn new() -> Self {
        let empty = Known { value: Causal::bottom(), events: BTreeSet::new() };
        Self { events: Vec::new(), replicas: alloc::vec![empty; REPLICAS], deltas: Vec::new() }
    }

    fn run(steps: &[Step]) -> Self {
        let mut world = Self::new();
        for step in steps {
            world.step(step);
            world.replicas.iter().for_each(|replica| world.check(replica));
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { replica, place, replace } => {
                let state = &self.replicas[replica].value;
                let dot = state.context.next(ReplicaId::from_u128(replica as u128)).unwrap();
                let removes = if replace { state.store.dots_at(place) } else { Vec::new() };
                self.commit(replica, Event { write: Some((place, dot)), removes });
            }
            Step::Remove { replica, place } => {
                let store = &self.replicas[replica].value.store;
                let removes = place.map_or_else(|| store.dots().collect(), |place| store.dots_at(place));
                self.commit(replica, Event { write: None, removes });
            }
            Step::Deliver { replica, ref delta } if !self.deltas.is_empty() => {
                self.replicas[replica].join(delta.get(&self.deltas));
            }
            Step::Group { ref one, ref other } if !self.deltas.is_empty() => {
                let mut group = one.get(&self.deltas).clone();
                group.join(other.get(&self.deltas));
                self.check(&group);
                self.deltas.push(group);
            }
            Step::Deliver { .. } | Step::Group { .. } => {}
            Step::Sync { source, target } => {
                let source = self.replicas[source].clone();
                self.replicas[target].join(&source);
            }
            Step::Restart { replica } => {
                let value = &mut self.replicas[replica].value;
                let json = serde_json::to_vec(value).unwrap();
                assert_eq!(serde_json::from_slice::<Causal<S>>(&json).unwrap(), *value);
                *value = serde_json::from_slice(&json).unwrap();
            }
        }
    }

    fn commit(&mut self, replica: usize, event: Event) {
        let store = event.write.map_or_else(S::default, |(place, dot)| S::single(place, dot));
        let value = Causal::new(store, event.removes.iter().copied().collect());
        let delta = Known { value, events: [self.events.len()].into() };
        self.events.push(event);
        self.replicas[replica].join(&delta);
        self.deltas.push(delta);
    }

    /// What is live is what a visible event wrote and no visible event removed; all of either has been seen.
    fn check(&self, known: &Known<S>) {
        let visible = || known.events.iter().map(|event| &self.events[*event]);
        let removed: BTreeSet<Dot> = visible().flat_map(|event| event.removes.iter().copied()).collect();
        let written: BTreeMap<Dot, u8> = visible().filter_map(|event| event.write).map(|(place, dot)| (dot, place)).collect();
        let seen: CausalContext = removed.iter().chain(written.keys()).copied().collect();
        assert_eq!(known.value.context, seen);

        let live: BTreeMap<Dot, u8> = written.into_iter().filter(|(dot, _)| !removed.contains(dot)).collect();
        assert_eq!(known.value.store.dots().collect::<BTreeSet<_>>(), live.keys().copied().collect());
        assert_eq!(known.value.store.is_empty(), live.is_empty());
        let mut expected = Causal::<S>::bottom();
        for (dot, place) in live {
            expected.join(&Causal::new(S::single(place, dot), CausalContext::new()));
        }
        assert_eq!(known.value.store, expected.store);
    }

    fn all(&self) -> impl Iterator<Item = &Known<S>> {
        self.replicas.iter().chain(&self.deltas)
    }
}

/// The laws for states and deltas of one history.
fn assert_laws_in<S: Places>(steps: &[Step], picks: &[[Index; 3]]) {
    let world = World::<S>::run(steps);
    let values: Vec<_> = world.all().map(|known| &known.value).collect();
    for [a, b, c] in picks {
        assert_laws(*a.get(&values), *b.get(&values), *c.get(&values));
        let (mut a, b) = ((*a.get(&values)).clone(), *b.get(&values));
        let below = a.context.clone();
        a.join(b);
        assert!(a.context >= below && a.context >= b.context);
    }
}

/// Every order of the deltas, with copies, leads to the join of all replicas.
fn assert_order_is_free_in<S: Places>(steps: &[Step], shuffled: &[Index]) {
    let world = World::<S>::run(steps);
    let mut expected = Causal::<S>::bottom();
    for replica in &world.replicas {
        expected.join(&replica.value);
    }
    let mut late = Known { value: Causal::bottom(), events: BTreeSet::new() };
    let early = shuffled.iter().filter(|_| !world.deltas.is_empty()).map(|delta| delta.get(&world.deltas));
    for delta in early.chain(world.deltas.iter().rev()) {
        late.join(delta);
        world.check(&late);
    }
    assert_eq!(late.value, expected);
}

fn picks() -> impl Strategy<Value = Vec<[Index; 3]>> {
    proptest::collection::vec(any::<[Index; 3]>(), 4..8)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(13), failure_persistence: None, ..ProptestConfig::default() }
}

macro_rules! check_stores {
    ($($name:ident: $store:ty),+ $(,)?) => {$(
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(config())]

                #[test]
                fn the_laws_hold_and_each_state_is_its_visible_events(steps in steps(), picks in picks()) {
                    assert_laws_in::<$store>(&steps, &picks);
                }

                #[test]
                fn deltas_may_come_in_any_order(steps in steps(), shuffled in proptest::collection::vec(any::<Index>(), 0..40)) {
                    assert_order_is_free_in::<$store>(&steps, &shuffled);
                }
            }
        }
    )+};
}

check_stores! {
    dot_set: DotSet,
    dot_fun: DotFun<(u64, u8)>,
    table: DotTable<u8, (u64, u8)>,
    map_of_sets: DotMap<u8, DotSet>,
    map_of_tables: DotMap<u8, DotTable<u8, (u64, u8)>>,
    map_of_maps: DotMap<u8, DotMap<u8, DotFun<(u64, u8)>>>,
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_laws_hold_for_contexts(dots in proptest::collection::vec((0_usize..3, 0_u128..2, 1_u64..8), 0..24)) {
        let mut contexts: [CausalContext; 3] = Default::default();
        for (context, replica, seq) in dots {
            contexts[context].insert(Dot::new(ReplicaId::from_u128(replica), seq));
        }
        let [a, b, c] = &contexts;
        assert_laws(a, b, c);
    }
}

fn dot(seq: u64) -> Dot {
    Dot::new(ReplicaId::from_u128(1), seq)
}

#[test]
fn what_is_no_event_is_in_no_store() {
    for seq in [0, SEQ_MAX + 1, u64::MAX] {
        assert!(!DotSet::new().insert(dot(seq)));
        assert!(DotSet::from_iter([dot(seq)]).is_empty());
        assert!(!DotFun::new().insert(dot(seq), ()));
        assert!(DotFun::from_iter([(dot(seq), ())]).is_empty());
    }
    assert!(DotSet::new().insert(dot(SEQ_MAX)));
}

#[test]
fn a_set_of_dots_has_what_was_inserted_and_not_removed() {
    let mut set = DotSet::new();
    assert!(set.is_empty());
    for seq in [3, 1, 7] {
        assert!(set.insert(dot(seq)));
    }
    assert!(!set.insert(dot(3)));
    assert_eq!((set.len(), set.is_empty(), set.contains(dot(7)), set.contains(dot(2))), (3, false, true, false));
    assert!(set.remove(dot(3)) && !set.remove(dot(3)) && !set.contains(dot(3)));
    assert_eq!(set.iter().collect::<Vec<_>>(), [dot(1), dot(7)]);
}

#[test]
fn the_value_of_a_dot_never_changes() {
    let mut fun = DotFun::new();
    assert!(fun.insert(dot(2), "first"));
    assert!(fun.insert(dot(1), "earlier"));
    assert!(!fun.insert(dot(2), "second"));
    assert_eq!(fun.iter().collect::<Vec<_>>(), [(dot(1), &"earlier"), (dot(2), &"first")]);
    assert_eq!(DotFun::from_iter([(dot(2), "first"), (dot(1), "earlier"), (dot(2), "second")]), fun);
    assert_eq!((fun.len(), fun.is_empty()), (2, false));
    assert_eq!(fun.remove(dot(2)), Some("first"));
    assert_eq!((fun.get(dot(2)), fun.get(dot(1)), fun.len()), (None, Some(&"earlier"), 1));
}

#[test]
fn a_map_has_no_key_without_dots() {
    let mut map: DotMap<&str, DotSet> = DotMap::from_iter([("a", DotSet::new()), ("b", DotSet::from_iter([dot(1)]))]);
    assert_eq!(map.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["b"]);
    assert!(map.update("c", |set| set.insert(dot(2))));
    assert!(map.update("b", |set| set.remove(dot(1))));
    assert_eq!(map.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["c"]);
    assert_eq!(map.insert("c", DotSet::new()), Some(DotSet::from_iter([dot(2)])));
    assert!(map.is_empty());
}

/// A forger gives one dot two values. Nothing panics, and neither side loses its own.
#[test]
fn two_values_of_one_dot_do_not_panic() {
    let value = |value| Causal::new(DotFun::from_iter([(dot(1), value)]), CausalContext::new());
    let (mut a, b) = (value(f64::NAN), value(1.0));
    assert!(!a.join(&b));
    assert!(a.store().get(dot(1)).unwrap().is_nan());
}

#[test]
fn serde_does_not_bypass_the_checks() {
    type Map = DotMap<u8, DotSet>;
    let id = "00000000-0000-0000-0000-000000000001";
    let dots = |seqs: &[u64]| {
        let dots: Vec<_> = seqs.iter().map(|seq| alloc::format!(r#"{{"replica":"{id}","seq":{seq}}}"#)).collect();
        alloc::format!("[{}]", dots.join(","))
    };
    let causal = |store: &str, seen: &str| {
        serde_json::from_str::<Causal<Map>>(&alloc::format!(r#"{{"store":{store},"context":{{"{id}":[{seen}]}}}}"#))
    };
    let store = |seqs: &[u64]| alloc::format!("[[7,{}]]", dots(seqs));
    assert!(causal(&store(&[1, 3]), "[1,3]").is_ok());
    assert!(causal(&store(&[1, 3]), "[1,2]").is_err(), "a live dot that was not seen");
    assert!(causal(&store(&[3, 1]), "[1,3]").is_err(), "out of order");
    assert!(causal(&store(&[1, 1]), "[1,3]").is_err(), "twice");
    assert!(causal(&store(&[0, 1]), "[1,3]").is_err(), "no event");
    assert!(causal(&store(&[]), "[1,3]").is_err(), "a key without dots");
    assert!(causal(&alloc::format!("[[7,{0}],[7,{0}]]", dots(&[1])), "[1,3]").is_err(), "a key twice");
    let fun = |seqs: &[u64]| {
        let entries: Vec<_> = seqs.iter().map(|seq| (dot(*seq), ())).collect();
        serde_json::from_str::<DotFun<()>>(&serde_json::to_string(&entries).unwrap())
    };
    assert!(fun(&[1, 2]).is_ok() && fun(&[2, 1]).is_err() && fun(&[1, 1]).is_err() && fun(&[0]).is_err());
}
