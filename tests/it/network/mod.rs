//! Clusters over a simulated network, measured: messages, bytes, and how long things take. Nothing in it depends on the machine.

mod broadcast;
mod copies;
mod engines;
mod mesh;
mod quiet;
mod splits;

use std::collections::BTreeMap;
use std::time::Duration;

use tombolo::Store;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::replication::Config;
use tombolo::sim::{Faults, Happened, Network, Rng};

/// Stores in a network, and when each of them has got what.
struct Measured {
    network: Network,
    stores: Vec<Store>,
    versions: Vec<VersionVector>,
    /// When each transaction was committed, and by how many replicas it has been seen, and when last.
    arrivals: BTreeMap<(ReplicaId, u64), Arrival>,
}

struct Arrival {
    committed: u64,
    at: usize,
    last: u64,
}

fn store(number: usize) -> Store {
    Store::options().replica(ReplicaId::from_u128(1 + number as u128)).in_memory()
}

impl Measured {
    fn new(count: usize, config: Config, links: &[[usize; 2]], faults: &Faults) -> Self {
        let mut network = Network::new(config, 7);
        let stores: Vec<Store> = (0..count).map(store).collect();
        for store in &stores {
            network.add(store);
        }
        for [one, other] in links {
            network.link(*one, *other, faults.clone());
        }
        Self { network, stores, versions: vec![VersionVector::new(); count], arrivals: BTreeMap::new() }
    }

    /// A replica writes one row.
    fn write(&mut self, node: usize, value: u64) {
        let store = &self.stores[node];
        store.set::<u64>("values").insert(&value).unwrap();
        let (id, seq) = (store.replica().unwrap().unwrap(), store.version().unwrap().get(store.replica().unwrap().unwrap()));
        let now = self.network.now();
        self.arrivals.insert((id, seq), Arrival { committed: now, at: 0, last: now });
        self.see(node);
        self.network.committed(node);
    }

    /// Notes what a replica has got.
    fn see(&mut self, node: usize) {
        let version = self.stores[node].version().unwrap();
        let before = std::mem::replace(&mut self.versions[node], version);
        for (id, seq) in self.versions[node].iter() {
            for seq in before.get(id) + 1..=seq {
                if let Some(arrival) = self.arrivals.get_mut(&(id, seq)) {
                    arrival.at += 1;
                    arrival.last = self.network.now();
                }
            }
        }
    }

    /// Lets time pass; writes come evenly, each at some replica.
    fn run(&mut self, micros: u64, writes: u64, rng: &mut Rng) {
        let (start, count) = (self.network.now(), self.stores.len());
        for write in 0..writes {
            self.network.plan_at(start + micros * write / writes.max(1), write);
        }
        self.network.plan_at(start + micros, u64::MAX);
        loop {
            match self.network.advance() {
                Some(Happened::At(node)) => self.see(node),
                Some(Happened::Planned(u64::MAX)) | None => return,
                Some(Happened::Planned(number)) => self.write(rng.index(count), number),
                Some(Happened::Unseen) => {}
            }
        }
    }

    fn are_same(&self) -> bool {
        let digest = self.stores[0].digest().unwrap();
        self.stores.iter().all(|store| store.digest().unwrap() == digest)
    }

    /// How long until every replica had it, of those committed since a moment: the median and the longest.
    fn latencies(&self, since: u64) -> (Duration, Duration) {
        let mut all: Vec<u64> = Vec::new();
        for arrival in self.arrivals.values().filter(|arrival| arrival.committed >= since) {
            assert_eq!(arrival.at, self.stores.len(), "every replica has got it");
            all.push(arrival.last - arrival.committed);
        }
        all.sort_unstable();
        (Duration::from_micros(all[all.len() / 2]), Duration::from_micros(*all.last().unwrap()))
    }

    /// Pushed transactions that came, and those of them that had come before.
    fn received(&self) -> (u64, u64) {
        let all = (0..self.stores.len()).flat_map(|node| self.network.status(node));
        all.fold((0, 0), |(all, again), peer| (all + peer.received.transactions, again + peer.received.repeated))
    }
}

/// Links by which each replica has about four neighbours: a ring, and chords of it.
fn mesh(count: usize, chord: usize) -> Vec<[usize; 2]> {
    (0..count).flat_map(|node| [[node, (node + 1) % count], [node, (node + chord) % count]]).collect()
}

/// Links to two children each.
fn tree(count: usize) -> Vec<[usize; 2]> {
    (1..count).map(|node| [(node - 1) / 2, node]).collect()
}
