//! One history on every backend: equal digests, equal bytes, equal readings, after every step and after every reopening.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::Options;
use tombolo::sim::Disk;
use tombolo::storage::{Memory, Redb};
use tombolo::system::Clock;
use tombolo::{Error, Store};

use crate::deeds::{Deed, canonical, reading, run};

/// A clock that ticks once for each reading: the same on every backend.
#[derive(Debug, Clone)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Opens what is there of a replica.
type Open = dyn Fn(usize, Options) -> Result<Store, Error>;

/// The same replicas on one kind of backend.
struct Fleet {
    /// `None` while it is opened again.
    stores: Vec<Option<Store>>,
    clocks: Vec<Ticking>,
    open: Box<Open>,
}

const REPLICAS: usize = 3;

impl Fleet {
    fn new(open: impl Fn(usize, Options) -> Result<Store, Error> + 'static) -> Self {
        let clocks = [(); REPLICAS].map(|()| Ticking(Arc::new(AtomicU64::new(1)))).to_vec();
        let mut fleet = Self { stores: vec![None; REPLICAS], clocks, open: Box::new(open) };
        (0..REPLICAS).for_each(|at| fleet.open(at));
        fleet
    }

    fn open(&mut self, at: usize) {
        self.stores[at] = None;
        let options = Store::options().replica(ReplicaId::from_u128(at as u128 + 1)).clock(self.clocks[at].clone());
        self.stores[at] = Some((self.open)(at, options).unwrap());
    }

    fn store(&self, at: usize) -> &Store {
        self.stores[at].as_ref().unwrap()
    }
}

fn in_memory() -> Fleet {
    let memories = [(); REPLICAS].map(|()| Memory::default());
    Fleet::new(move |at, options| options.open_backend(memories[at].clone()))
}

fn on_disks() -> Fleet {
    let disks = [(); REPLICAS].map(|()| Disk::new());
    Fleet::new(move |at, options| options.open_backend(Redb::with_backend(disks[at].clone()).unwrap()))
}

fn in_files(folder: &Path) -> Fleet {
    let folder = folder.to_owned();
    Fleet::new(move |at, options| options.open(folder.join(format!("{at}.tombolo"))))
}

#[derive(Debug, Clone)]
enum Step {
    Commit(usize, Vec<Deed>),
    /// A transaction that is dropped.
    Abandon(usize, Vec<Deed>),
    Send(usize, usize),
    Push(Index, usize),
    Forget(usize, u64),
    Reopen(usize),
}

impl Step {
    fn any() -> impl Strategy<Value = Self> {
        let store = || 0..REPLICAS;
        prop_oneof![
            6 => (store(), Deed::some()).prop_map(|(at, deeds)| Self::Commit(at, deeds)),
            1 => (store(), Deed::some()).prop_map(|(at, deeds)| Self::Abandon(at, deeds)),
            4 => (store(), store()).prop_map(|(from, to)| Self::Send(from, to)),
            2 => (any::<Index>(), store()).prop_map(|(pushed, to)| Self::Push(pushed, to)),
            1 => (store(), 0..20_u64).prop_map(|(at, up_to)| Self::Forget(at, up_to)),
            2 => store().prop_map(Self::Reopen),
        ]
    }

    /// Takes the step; returns which store changed, and what the step said.
    fn take(&self, fleet: &mut Fleet, pushed: &mut Vec<Vec<u8>>) -> (usize, String) {
        match self {
            Self::Commit(at, deeds) => {
                let bytes = run(fleet.store(*at), deeds).unwrap();
                pushed.extend(bytes.clone());
                (*at, format!("{bytes:?}"))
            }
            Self::Abandon(at, deeds) => {
                let tx = fleet.store(*at).begin().unwrap();
                deeds.iter().for_each(|deed| deed.run(&tx).unwrap());
                let seen = tx.scan(()).map(|entry| entry.unwrap().value().unwrap().to_string()).collect::<Vec<_>>();
                (*at, format!("{seen:?}"))
            }
            Self::Send(from, to) => {
                let delta = fleet.store(*from).delta_since(&fleet.store(*to).version().unwrap()).unwrap();
                let merged = fleet.store(*to).merge(&delta).unwrap();
                (*to, format!("{delta:?} {merged:?}"))
            }
            Self::Push(which, to) => {
                let said = (!pushed.is_empty()).then(|| fleet.store(*to).apply(which.get(pushed)).unwrap());
                (*to, format!("{said:?}"))
            }
            Self::Forget(at, up_to) => {
                let store = fleet.store(*at);
                let up_to: VersionVector = store.version().unwrap().iter().map(|(id, seq)| (id, seq.min(*up_to))).collect();
                (*at, format!("{}", store.forget_deletes(&up_to).unwrap()))
            }
            Self::Reopen(at) => {
                fleet.open(*at);
                (*at, String::new())
            }
        }
    }
}

fn agree(mut fleets: Vec<Fleet>, steps: &[Step]) {
    let mut pushed = vec![Vec::new(); fleets.len()];
    for step in steps {
        let mut first = None;
        for (fleet, pushed) in fleets.iter_mut().zip(&mut pushed) {
            let (at, said) = step.take(fleet, pushed);
            let store = fleet.store(at);
            store.check().unwrap();
            let mut status = store.status().unwrap();
            // Counted since the store was opened.
            status.stamps_ahead = 0;
            let now = (said, status, reading(store), canonical(store));
            let first = first.get_or_insert_with(|| now.clone());
            assert_eq!((&first.0, &first.1, &first.2), (&now.0, &now.1, &now.2), "{step:?}");
            assert!(first.3 == now.3, "other bytes after {step:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_redb_agree_after_every_step(steps in proptest::collection::vec(Step::any(), 1..30)) {
        agree(vec![in_memory(), on_disks()], &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_files_agree_after_every_step(steps in proptest::collection::vec(Step::any(), 20..30)) {
        let folder = tempfile::tempdir().unwrap();
        agree(vec![in_memory(), in_files(folder.path())], &steps);
    }
}
