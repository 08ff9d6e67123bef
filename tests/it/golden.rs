//! Bytes are for ever: what a version has written, every later one reads. `tests/golden` has, of each version of the format, a file, its
//! canonical form, a delta, and a pushed transaction. They are made once, with `TOMBOLO_GOLDEN=write`, and never again. The frames of the protocol are
//! there as well: `src/replication/wire/golden.rs`, `src/transport/tcp/golden.rs`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::Applied;
use tombolo::sim::Disk;
use tombolo::storage::Redb;
use tombolo::system::Clock;
use tombolo::{Options, Store};

/// A second more, each time that somebody looks.
#[derive(Debug, Clone, Default)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + 1_000 * self.0.fetch_add(1, Ordering::Relaxed)
    }
}

fn options(id: u128) -> Options {
    Store::options().replica(ReplicaId::from_u128(id)).clock(Ticking::default())
}

fn on(disk: &Disk, options: Options) -> Store {
    options.open_backend(Redb::with_backend(disk.clone()).unwrap()).unwrap()
}

/// What a version of the format is: the bytes of a file and of all that travels.
struct Golden {
    file: Vec<u8>,
    canonical: Vec<u8>,
    delta: Vec<u8>,
    pushed: Vec<u8>,
}

impl Golden {
    const PARTS: [&'static str; 4] = ["file", "canonical", "delta", "pushed"];

    fn path(version: u32, part: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("v{version}.{part}")].iter().collect()
    }

    fn read(version: u32) -> Self {
        let [file, canonical, delta, pushed] = Self::PARTS.map(|part| fs::read(Self::path(version, part)).unwrap());
        Self { file, canonical, delta, pushed }
    }

    /// A story in which everything occurs that the format knows.
    fn make() -> Self {
        let disk = Disk::new();
        let (store, peer) = (on(&disk, options(1)), options(2).in_memory());
        let meet = || {
            peer.merge(store.delta_since(&peer.version().unwrap()).unwrap()).unwrap();
            store.merge(peer.delta_since(&store.version().unwrap()).unwrap()).unwrap();
        };
        for store in [&store, &peer] {
            let id = store.replica().unwrap();
            store.register::<String>(("note", 7, "title")).set(&format!("by {id:?}")).unwrap();
            store.counter("visits").add(5).unwrap();
            store.flag("done").enable().unwrap();
            store.veto_flag("allowed").disable().unwrap();
            store.set::<(bool, i64)>("pairs").insert(&(true, -300)).unwrap();
            store.map("card").map("address").register::<u64>("zip").set(&12_345).unwrap();
            store.lattice::<std::collections::BTreeSet<u64>>("max").join(&[3, 9].into()).unwrap();
        }
        let since = store.version().unwrap();
        meet();
        peer.counter("visits").reset().unwrap();
        peer.delete(("note", 7, "title")).unwrap();
        store.register::<String>(("note", 7, "title")).set("concurrent").unwrap();
        store.counter("visits").add(1).unwrap();
        meet();
        store.seal(ReplicaId::from_u128(9), 12).unwrap();
        store.space("second").unwrap().counter("n").add(-1).unwrap();
        let delta = store.delta_since(&since).unwrap().into_bytes();
        let tx = store.begin().unwrap();
        tx.register::<Vec<u8>>(b"key".as_slice()).set(&vec![1, 2, 3]).unwrap();
        tx.delete("done").unwrap();
        let pushed = tx.commit_and_push().unwrap().unwrap().as_ref().to_vec();
        // Never given away: noted in the file.
        store.counter("visits").add(2).unwrap();
        let canonical = {
            // Not through the store itself, which would note that it was given away.
            let snapshot = Disk::with_bytes(disk.bytes());
            on(&snapshot, options(1)).canonical().unwrap().into_bytes()
        };
        drop(store);
        Self { file: disk.bytes(), canonical, delta, pushed }
    }
}

#[test]
fn what_every_version_has_written_is_read() {
    if std::env::var_os("TOMBOLO_GOLDEN").is_some_and(|what| what == "write") {
        let Golden { file, canonical, delta, pushed } = Golden::make();
        for (part, bytes) in Golden::PARTS.into_iter().zip([file, canonical, delta, pushed]) {
            fs::write(Golden::path(1, part), bytes).unwrap();
        }
    }
    for version in 1..=1 {
        let golden = Golden::read(version);
        let disk = Disk::with_bytes(golden.file.clone());
        let store = on(&disk, options(1));
        store.check().unwrap();
        assert_eq!(store.counter("visits").get().unwrap(), 3);
        assert_eq!(store.register::<String>(("note", 7, "title")).get().unwrap().as_deref(), Some("concurrent"));
        assert_eq!(store.map("card").map("address").register::<u64>("zip").get().unwrap(), Some(12_345));
        assert_eq!(store.sealed().unwrap().get(ReplicaId::from_u128(9)), 12);
        assert_eq!(store.space("second").unwrap().counter("n").get().unwrap(), -1);
        assert!(store.canonical().unwrap().as_ref() == golden.canonical, "version {version}: other canonical bytes");
        store.counter("visits").add(1).unwrap();
        store.check().unwrap();

        // What travels, to one who has the start of it.
        let peer = options(3).in_memory();
        peer.merge(&golden.canonical).unwrap();
        assert_eq!(peer.canonical().unwrap().as_ref(), golden.canonical);
        assert_eq!(peer.apply(&golden.pushed).unwrap(), Applied::Covered);
        assert!(!peer.merge(&golden.delta).unwrap().changed);
    }
}

/// The newest version is still written as it was: who changes the format makes a new version of it.
#[test]
fn the_newest_version_is_written_as_it_was() {
    let (golden, made) = (Golden::read(1), Golden::make());
    assert_eq!(made.canonical, golden.canonical);
    assert_eq!(made.delta, golden.delta);
    assert_eq!(made.pushed, golden.pushed);
    let tables = |bytes: &[u8]| {
        let disk = Disk::with_bytes(bytes.to_vec());
        let store = on(&disk, options(1));
        let status = store.status().unwrap();
        (status, store.delta_since(&VersionVector::new()).unwrap().into_bytes())
    };
    assert_eq!(tables(&made.file), tables(&golden.file));
}
