//! What a store forgets: it does not grow with its history, and nobody misses what is gone.

use std::process::Command;

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::{Durability, Retention, StoreEvent};
use tombolo::sim::Disk;
use tombolo::storage::Redb;
use tombolo::{Options, Store};

use crate::sync::{exchange, replica, send};

/// How many keys come and go: `TOMBOLO_CHURN`.
fn churn() -> u64 {
    std::env::var("TOMBOLO_CHURN").ok().and_then(|keys| keys.parse().ok()).unwrap_or(100_000)
}

/// What stays.
fn fill(store: &Store, rows: u64) {
    const EACH: u64 = 1_000;
    for start in (0..rows).step_by(1_000) {
        store.transact(|tx| (start..start + EACH).try_for_each(|key| tx.register::<u64>(("stays", key)).set(&key))).unwrap();
    }
}

/// What comes and goes: distinct keys, each written and deleted.
fn come_and_go(store: &Store, keys: u64) {
    const EACH: u64 = 500;
    for start in (0..keys).step_by(500) {
        store.transact(|tx| (start..start + EACH).try_for_each(|key| tx.register::<u64>(("goes", key)).set(&key))).unwrap();
        store.transact(|tx| (start..start + EACH).try_for_each(|key| tx.delete(("goes", key)).map(drop))).unwrap();
    }
}

/// Nothing of it is left but a bounded number of delete events.
fn nothing_is_left(store: &Store, rows: u64) {
    let status = store.status().unwrap();
    assert_eq!((status.rows, status.entries, store.scan("goes").count()), (rows, rows, 0));
    // The budget, and what one commit may add before the next one takes it away.
    assert!(status.deletes <= (rows / 8).max(1_024) + 2_000, "{} deletes are kept", status.deletes);
    store.check().unwrap();
}

const ROWS: u64 = 100_000;

#[test]
fn a_file_does_not_grow_with_keys_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Deferred).open(folder.path().join("store")).unwrap();
    fill(&store, ROWS);
    store.sync().unwrap();
    let used = || {
        let usage = store.usage().unwrap().unwrap();
        usage.bytes - usage.reclaimable
    };
    let before = used();
    come_and_go(&store, churn());
    store.sync().unwrap();
    nothing_is_left(&store, ROWS);
    let after = used();
    println!("stored bytes: {before} before, {after} after {} keys: {:.2}", churn(), after as f64 / before as f64);
    assert!(after * 10 <= before * 13, "{before} bytes before, {after} after");
}

/// Resident memory of this process, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const ALONE: &str = "TOMBOLO_CHURN_ALONE";

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_keys_that_come_and_go() {
    // Alone in a process, or other tests would be measured too.
    let arguments = ["retention::memory_of_keys_that_come_and_go", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", said.lines().filter(|line| line.starts_with("resident")).map(|line| format!("{line}\n")).collect::<String>());
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "another test runs it in a process of its own"]
fn memory_of_keys_that_come_and_go() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let store = replica(1);
    fill(&store, ROWS);
    let before = resident_kib();
    come_and_go(&store, churn());
    // Before the check, which takes memory of its own.
    let after = resident_kib();
    nothing_is_left(&store, ROWS);
    println!("\nresident KiB: {before} before, {after} after {} keys: {:.2}", churn(), after as f64 / before as f64);
    assert!(after * 10 <= before * 13, "{before} KiB before, {after} after");
}

fn keeps(dead: u64, deletes: u64) -> Options {
    let mut retention = Retention::default();
    (retention.dead_min, retention.dead_per_1000_entries) = (dead, 0);
    (retention.deletes_min, retention.deletes_per_1000_rows) = (deletes, 0);
    Store::options().retention(retention)
}

#[test]
fn a_peer_below_the_floor_that_rose_with_the_budget_is_told_what_is_live() {
    let (store, peer) = (keeps(0, 8).in_memory(), replica(2));
    for key in 0..100_u64 {
        store.register::<u64>(key).set(&key).unwrap();
    }
    exchange(&store, &peer);
    peer.counter("own").add(1).unwrap();
    for key in 0..50_u64 {
        store.delete(key).unwrap();
    }
    let status = store.status().unwrap();
    assert!(status.deletes <= 8 && !status.floor.is_empty(), "{status:?}");
    let merged = send(&store, &peer);
    assert!(merged.below_floor && merged.rows == 50, "{merged:?}");
    exchange(&store, &peer);
    assert_eq!(peer.scan(()).count(), 51);
}

#[test]
fn what_waits_to_be_erased_stays_within_its_bound_and_survives_a_crash_in_the_middle() {
    let mut disk = Disk::new();
    let open = |disk: &Disk| {
        let backend = Redb::with_backend(disk.clone()).unwrap();
        keeps(50, 8).replica(ReplicaId::from_u128(1)).open_backend(backend).unwrap()
    };
    let peer = replica(2);
    let mut store = open(&disk);
    for round in 0..60_u64 {
        store
            .transact(|tx| {
                (0..20).try_for_each(|key| tx.register::<u64>(key % (1 + round % 20)).set(&round))?;
                tx.counter("hot").add(1)?;
                tx.delete(round % 7).map(drop)
            })
            .unwrap();
        store.check().unwrap();
        if round % 5 == 4 {
            disk = disk.after_power_loss(round);
            store = open(&disk);
            store.check().unwrap();
        }
        if round % 10 == 9 {
            exchange(&store, &peer);
        }
    }
    store.compact().unwrap();
    store.check().unwrap();
    exchange(&store, &peer);
    assert_eq!(store.counter("hot").get().unwrap(), 60);
}

/// The only trace that a delete leaves for good: one row for each contributor that never comes back.
#[test]
fn a_contributor_that_never_comes_back_leaves_one_reset() {
    let (store, gone) = (replica(1), replica(2));
    for round in 0..5 {
        gone.counter("visits").add(round + 1).unwrap();
        exchange(&store, &gone);
        store.counter("visits").reset().unwrap();
        if round < 4 {
            exchange(&store, &gone);
        }
    }
    assert_eq!((store.counter("visits").get().unwrap(), store.status().unwrap().rows), (0, 1));
    // It comes back after all: with its next commit, whatever it writes, the row is gone.
    send(&store, &gone);
    gone.flag("back").enable().unwrap();
    exchange(&store, &gone);
    assert_eq!((store.counter("visits").get().unwrap(), store.status().unwrap().rows), (0, 1));
    assert!(store.flag("back").get().unwrap());
    assert_eq!(store.take_events(), Vec::<StoreEvent>::new());
    assert!(store.delta_since(&VersionVector::new()).unwrap().rows() == 1);
}
