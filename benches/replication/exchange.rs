//! What is sent until all replicas have everything, by each algorithm and by the engine.

use std::cmp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tombolo::Store;
use tombolo::causal::ReplicaId;
use tombolo::crdt::{Decompose, GCounter, GSet, Lattice, Max};
use tombolo::replication::Config;
use tombolo::sim::{Faults, Happened, Network};
use tombolo::system::Clock;

use crate::algorithms::{ALGORITHMS, Algorithm, Sent, run};
use crate::document::Document;
use crate::report::grouped;

const REPLICAS: usize = 15;
const ROUNDS: u64 = 100;
const ROUND_MICROS: u64 = 1_000_000;
const KEYS: u64 = 1_000;

/// What replicas do in each round.
#[derive(Debug, Clone, Copy)]
enum Workload {
    Set,
    Counter,
    /// So many percent of the keys are changed, by all replicas together.
    Map(u64),
}

const WORKLOADS: [Workload; 6] =
    [Workload::Set, Workload::Counter, Workload::Map(10), Workload::Map(30), Workload::Map(60), Workload::Map(100)];

/// A map whose entries only grow.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct GMap(BTreeMap<u64, Max<u64>>);

impl Lattice for GMap {
    fn bottom() -> Self {
        Self(BTreeMap::new())
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0)
    }
}

impl PartialOrd for GMap {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        let is_below =
            |one: &Self, other: &Self| one.0.iter().all(|(key, value)| other.0.get(key).is_some_and(|theirs| value <= theirs));
        match (is_below(self, other), is_below(other, self)) {
            (true, true) => Some(cmp::Ordering::Equal),
            (true, false) => Some(cmp::Ordering::Less),
            (false, true) => Some(cmp::Ordering::Greater),
            (false, false) => None,
        }
    }
}

impl Decompose for GMap {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.iter().map(|(key, value)| Self([(*key, value.clone())].into()))
    }

    fn minus(&self, other: &Self) -> Self {
        let is_new = |key: &u64, value: &Max<u64>| other.0.get(key).is_none_or(|theirs| value > theirs);
        Self(self.0.iter().filter(|(key, value)| is_new(key, value)).map(|(key, value)| (*key, value.clone())).collect())
    }
}

/// Elements and values look like those of applications: eight bytes each.
const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn element(node: usize, round: u64) -> u64 {
    spread(round * REPLICAS as u64 + node as u64 + 1)
}

/// Values grow from round to round.
const fn value(round: u64) -> u64 {
    (1 << 40) + round
}

fn max(value: u64) -> Max<u64> {
    Max::new().add(value)
}

/// The keys that a replica changes in a round: no two replicas change the same one, and in another round another replica does.
fn keys(percent: u64, node: usize, round: u64) -> impl Iterator<Item = u64> {
    let count = KEYS * percent / 100;
    (0..count).filter(move |at| (at + round) % REPLICAS as u64 == node as u64).map(move |at| (round * count + at) % KEYS)
}

fn replica(node: usize) -> ReplicaId {
    ReplicaId::from_u128((node as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

/// The clock of the simulation, so that stamps are the same in each run.
#[derive(Debug, Clone, Default)]
struct Rounds(Arc<AtomicU64>);

impl Clock for Rounds {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed)
    }
}

impl Workload {
    fn name(self) -> String {
        match self {
            Self::Set => "GSet".to_owned(),
            Self::Counter => "GCounter".to_owned(),
            Self::Map(percent) => format!("GMap {percent} %"),
        }
    }

    /// Rows, or elements, that all replicas write in all rounds.
    const fn written(self) -> u64 {
        match self {
            Self::Set | Self::Counter => REPLICAS as u64 * ROUNDS,
            Self::Map(percent) => KEYS * percent / 100 * ROUNDS,
        }
    }

    fn by(self, algorithm: Algorithm, links: &[[usize; 2]]) -> Sent {
        match self {
            Self::Set => {
                run(links, algorithm, ROUNDS, |set: &mut GSet<u64>, node, round| vec![set.insert(element(node, round))])
            }
            Self::Counter => run(links, algorithm, ROUNDS, |counter: &mut GCounter, node, _round| {
                vec![counter.add(replica(node), 1).unwrap()]
            }),
            Self::Map(percent) => run(links, algorithm, ROUNDS, |map: &mut GMap, node, round| {
                let delta = GMap(keys(percent, node, round).map(|key| (key, max(value(round)))).collect());
                map.join(&delta);
                vec![delta]
            }),
        }
    }

    /// The same, in one transaction of a store.
    fn write(self, store: &Store, node: usize, round: u64) {
        match self {
            Self::Set => store.set::<u64>("set").insert(&element(node, round)),
            Self::Counter => store.counter("counter").add(1),
            Self::Map(percent) => store.transact(|tx| {
                keys(percent, node, round).try_for_each(|key| tx.map("map").register::<u64>(key).set(&value(round)))
            }),
        }
        .unwrap();
    }

    /// Of the engine, as it is, in a simulated network.
    fn by_engine(self, links: &[[usize; 2]]) -> Sent {
        let clock = Rounds::default();
        let options = || Store::options().clock(clock.clone());
        let stores: Vec<Store> = (0..REPLICAS).map(|node| options().replica(replica(node)).in_memory()).collect();
        let mut network = Network::new(Config::default(), 1);
        network.count_rows();
        for store in &stores {
            network.add(store);
        }
        for [one, other] in links {
            network.link(*one, *other, Faults::connection());
        }
        // They have met by then.
        (1..=ROUNDS).for_each(|round| network.plan_at(round * ROUND_MICROS, round - 1));
        let is_same = || stores.windows(2).all(|pair| pair[0].digest().unwrap() == pair[1].digest().unwrap());
        let mut rounds = 0;
        while rounds < ROUNDS || !is_same() {
            let Some(Happened::Planned(round)) = network.advance() else { continue };
            clock.0.store(network.now() / 1_000, Ordering::Relaxed);
            for (node, store) in stores.iter().enumerate() {
                self.write(store, node, round);
                network.committed(node);
            }
            rounds += 1;
        }
        // Acknowledgements are under way.
        network.run_until(network.now() + ROUND_MICROS);
        let sent = network.sent();
        assert_eq!((sent.transactions_again, sent.rows_again), (0, 0), "nothing goes over one link twice");
        Sent { bytes: network.counts().bytes, elements: sent.rows }
    }
}

/// Each replica has four neighbours.
fn mesh() -> Vec<[usize; 2]> {
    (0..REPLICAS).flat_map(|node| [[node, (node + 1) % REPLICAS], [node, (node + 4) % REPLICAS]]).collect()
}

/// Each replica has two children.
fn tree() -> Vec<[usize; 2]> {
    (1..REPLICAS).map(|node| [(node - 1) / 2, node]).collect()
}

pub(crate) fn measure(to: &mut Document) {
    to.part("What is sent until all have everything");
    to.say(CONDITIONS);
    for (name, links) in [("a mesh of 15 replicas, each with 4 neighbours", mesh()), ("a tree of 15 replicas", tree())] {
        let (mut bytes, mut elements) = (Vec::new(), Vec::new());
        for workload in WORKLOADS {
            let mut all: Vec<Sent> = ALGORITHMS.iter().map(|algorithm| workload.by(*algorithm, &links)).collect();
            all.push(workload.by_engine(&links));
            let best = all[ALGORITHMS.len() - 1].bytes as f64;
            let ratio = |sent: &Sent| format!("{:.2}", sent.bytes as f64 / best);
            let kib = |sent: &Sent| format!("{} ({})", grouped(sent.bytes as f64 / 1024.0), ratio(sent));
            bytes.push([workload.name()].into_iter().chain(all.iter().map(kib)).collect());
            let needed = (workload.written() * (REPLICAS as u64 - 1)) as f64;
            let each = |sent: &Sent| format!("{:.2}", sent.elements as f64 / needed);
            elements.push([workload.name()].into_iter().chain(all.iter().map(each)).collect());
            eprintln!("  {name}, {}: {all:?}", workload.name());
        }
        to.say(&format!("KiB on {name}; in brackets, relative to deltas with BP and RR:"));
        to.table(&COLUMNS, &bytes);
        to.say(&format!(
            "Elements on {name}, for each that is written and each of the 14 replicas that it is new to (1.00: each once):"
        ));
        to.table(&COLUMNS, &elements);
    }
    to.say(MEANING);
}

const COLUMNS: [&str; 7] = ["", "state", "delta", "delta BP", "delta RR", "delta BP+RR", "tombolo"];

const CONDITIONS: &str = "\
The micro-benchmarks of Enes, Almeida, Baquero, Leitão, \"Efficient Synchronization of State-based CRDTs\" (ICDE 2019): 15 replicas, 100 rounds. In each
round every replica adds an element of its own to a set (GSet), increments a counter (GCounter), or changes its share of 10, 30, 60 or 100 % of the 1,000 keys of a
map (GMap), no two replicas the same key. Elements and values have 8 bytes.

- *State* to *BP+RR* are their algorithms, made of `tombolo::crdt` (`GSet`, `GCounter`, a map of `Max`) with their MessagePack encoding
  (`benches/replication/algorithms.rs`). In each round all replicas update, then send to all neighbours, then everything arrives; rounds go on
  until all are equal. What has nothing to say is not sent. Counted are the encoded states alone: no headers, no acknowledgements, since links lose nothing.
- *tombolo* is the engine with its default `Config`, in the simulator: a store each, with a set, a counter, or a map of registers; links of 10 to 30 ms that are ordered
  and lose nothing; a round is a second, and what a replica changes in it is one transaction, pushed at once. Counted are all bytes of all frames from
  the first HELLO on: headers, acknowledgements, offers, declines, keep-alives, what makes a register, a set with removes and a transaction.
- An element of tombolo is a row. That none of them goes over one link in one direction twice is asserted in each run.
";

const MEANING: &str = "\
On the mesh, RR removes what has come before, and not what several neighbours send in one round: each element still goes over about three links for each replica that needs
it. The engine's trees, one for each writer, leave 1.02 of them, so it sends less than BP+RR wherever a round has more than one row of a replica. Where it has one (GSet,
GCounter), what a transaction says of itself, and acknowledgements, outweigh that. On the tree both send everything once, and the engine's rows are larger: a stamp, dependencies, a path,
an acknowledgement. Below 1.00 there: a later value overtakes one that is still on its way, a round for each link; in a second the engine's has arrived.
";
