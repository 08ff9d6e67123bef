//! Files that are backed up, restored, copied, moved, and opened for reading alone.

use std::fs;
use std::io;

use tombolo::causal::VersionVector;
use tombolo::kv::{Durability, StoreEvent};
use tombolo::{Error, Options, Store};

use crate::sync::{exchange, send};

fn filled(store: &Store) {
    store.transact(|tx| (0..500).try_for_each(|key| tx.register::<u64>(("row", key)).set(&key))).unwrap();
    store.counter("visits").add(5).unwrap();
    store.set::<String>("tags").insert("a").unwrap();
    store.delete(("row", 7)).unwrap();
}

#[test]
fn a_backup_is_taken_while_the_store_is_written_to_and_holds_whole_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let other = store.space("other").unwrap();
    filled(&store);
    other.counter("n").add(1).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let tx = store.begin().unwrap();
                tx.durability(Durability::Deferred);
                tx.counter("left").add(1).unwrap();
                tx.counter("right").add(-1).unwrap();
                tx.commit().unwrap();
            }
        });
        for number in 0..5 {
            store.backup(folder.path().join(format!("backup-{number}"))).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for number in 0..5 {
        let (backup, to) = (folder.path().join(format!("backup-{number}")), folder.path().join(format!("restored-{number}")));
        let restored = Store::options().restore(&backup, &to).unwrap();
        restored.check().unwrap();
        let sum = restored.counter("left").get().unwrap() + restored.counter("right").get().unwrap();
        assert_eq!((sum, restored.counter("visits").get().unwrap()), (0, 5));
        assert_eq!(restored.space("other").unwrap().counter("n").get().unwrap(), 1);
        assert_eq!(restored.replica().unwrap(), None, "the next write mints an id");
        // All that was in the backup was noted as given away: nothing is there twice.
        restored.counter("visits").add(1).unwrap();
        exchange(&restored, &store);
        assert_eq!(store.counter("visits").get().unwrap(), 6 + number);
        assert_eq!(restored.canonical().unwrap(), store.canonical().unwrap());
    }
    assert_eq!(store.take_events(), []);
}

#[test]
fn a_backup_or_a_restore_replaces_no_file_and_leaves_nothing_behind_that_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = Store::open(at("store")).unwrap();
    filled(&store);
    fs::write(at("taken"), b"mine").unwrap();
    let exists =
        |result: Result<(), Error>| matches!(result, Err(Error::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists);
    assert!(exists(store.backup(at("taken"))));
    store.backup(at("backup")).unwrap();
    assert!(exists(Store::options().restore(at("backup"), at("taken")).map(drop)));
    assert_eq!(fs::read(at("taken")).unwrap(), b"mine");
    // A damaged backup is no backup.
    let mut bytes = fs::read(at("backup")).unwrap();
    let len = bytes.len();
    bytes.truncate(len / 2);
    fs::write(at("half"), &bytes).unwrap();
    assert!(Store::options().restore(at("half"), at("restored")).is_err());
    assert!(Store::options().restore(at("nothing"), at("restored")).is_err());
    // What an attempt that was cut off left is in nobody's way.
    fs::write(at("restored.partial"), b"half of a file").unwrap();
    Store::options().restore(at("backup"), at("restored")).unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["backup", "half", "restored", "store", "taken"]);
}

/// Whatever had the name of the file in the making was removed, also what somebody was writing to: a second backup to the same place
/// took the first one's file away, which then put the half-written one of the second at the place and reported success.
#[test]
fn a_backup_removes_no_file_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = Store::open(at("store")).unwrap();
    filled(&store);
    let in_use = Store::open(at("backup.partial")).unwrap();
    in_use.counter("visits").add(1).unwrap();
    let refused = store.backup(at("backup"));
    assert!(matches!(refused, Err(Error::Locked)), "{refused:?}");
    drop(in_use);
    assert_eq!(Store::open(at("backup.partial")).unwrap().counter("visits").get().unwrap(), 1);
    assert!(!at("backup").exists());
    store.backup(at("backup")).unwrap();
    assert!(!at("backup.partial").exists());
}

/// A backup did not say which file it is a copy of: opened as it is, it went on under the id of the store it was made of, and both gave away
/// different events under one number.
#[test]
fn a_backup_that_is_opened_as_it_is_is_a_replica_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let original = Store::open(folder.path().join("store")).unwrap();
    filled(&original);
    original.backup(folder.path().join("backup")).unwrap();
    let copy = Store::open(folder.path().join("backup")).unwrap();
    let (x, y) = (Store::in_memory(), Store::in_memory());
    original.register::<u64>("original").set(&1).unwrap();
    copy.register::<u64>("copy").set(&2).unwrap();
    send(&original, &x);
    send(&copy, &y);
    exchange(&x, &y);
    assert_eq!(x.canonical().unwrap(), y.canonical().unwrap());
    assert_eq!(x.register::<u64>("original").get().unwrap(), Some(1));
    assert_eq!(x.register::<u64>("copy").get().unwrap(), Some(2));
    let rotated = copy.take_events();
    assert!(matches!(*rotated, [StoreEvent::IdentityRotated { new: None, replayed: 0, .. }]), "{rotated:?}");
    // A store that was restored is told once that it is a new one.
    let restored = Store::options().restore(folder.path().join("backup"), folder.path().join("restored"));
    assert!(matches!(restored, Err(Error::Locked)));
    drop(copy);
    let restored = Store::options().restore(folder.path().join("backup"), folder.path().join("restored")).unwrap();
    assert_eq!((restored.replica().unwrap(), restored.take_events()), (None, vec![]));
}

#[test]
fn a_store_that_is_open_for_reading_reads_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let read_only = || Store::options().read_only().open(&path);
    assert!(read_only().is_err(), "there is no file, and none is made");
    assert!(!path.exists());
    let store = Store::open(&path).unwrap();
    filled(&store);
    assert!(matches!(read_only(), Err(Error::Locked)));
    drop(store);
    let before = fs::read(&path).unwrap();
    let (reader, second) = (read_only().unwrap(), read_only().unwrap());
    assert!(matches!(Store::open(&path), Err(Error::Locked)));
    assert_eq!(reader.counter("visits").get().unwrap(), 5);
    assert_eq!(second.scan(()).count(), reader.scan(()).count());
    assert_eq!((reader.replica().unwrap(), reader.status().unwrap().replica), (None, None));
    assert!(matches!(reader.counter("visits").add(1), Err(Error::ReadOnly)));
    assert!(matches!(reader.merge(Store::in_memory().delta_since(&VersionVector::new()).unwrap()), Err(Error::ReadOnly)));
    let large = Store::in_memory();
    large.register::<Vec<u8>>("photo").set(&vec![0; 900_000]).unwrap();
    large.register::<Vec<u8>>("film").set(&vec![0; 900_000]).unwrap();
    let mut delta = Vec::new();
    large.write_delta_since(&VersionVector::new(), &mut delta).unwrap();
    let refused = reader.merge_from(&*delta);
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert!(matches!(reader.space("new"), Err(Error::ReadOnly)));
    reader.check().unwrap();
    // What never left the file cannot be noted as given away here.
    assert!(matches!(reader.delta_since(&VersionVector::new()), Err(Error::Refused(_))));
    drop((reader, second));
    assert_eq!(fs::read(&path).unwrap(), before);
    let (store, peer) = (Store::open(&path).unwrap(), Store::in_memory());
    store.delta_since(&VersionVector::new()).unwrap();
    drop(store);
    let reader = read_only().unwrap();
    send(&reader, &peer);
    assert_eq!(peer.canonical().unwrap(), reader.canonical().unwrap());
}

#[test]
fn a_file_keeps_its_id_and_a_copy_gets_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = Store::open(at("store")).unwrap();
    store.counter("visits").add(1).unwrap();
    let id = store.replica().unwrap();
    drop(store);
    for _ in 0..1_000 {
        let store = Store::open(at("store")).unwrap();
        assert_eq!((store.replica().unwrap(), store.take_events()), (id, vec![]));
    }
    fs::create_dir(at("elsewhere")).unwrap();
    fs::rename(at("store"), at("elsewhere/moved")).unwrap();
    let store = Store::open(at("elsewhere/moved")).unwrap();
    assert_eq!(store.replica().unwrap(), id);
    drop(store);
    fs::copy(at("elsewhere/moved"), at("copy")).unwrap();
    let (copy, original) = (Store::open(at("copy")).unwrap(), Store::open(at("elsewhere/moved")).unwrap());
    // The add never left the file, so it was written again.
    let rotated = copy.take_events();
    assert!(
        matches!(*rotated, [StoreEvent::IdentityRotated { old, new: Some(_), replayed: 1 }] if Some(old) == id),
        "{rotated:?}"
    );
    assert_ne!(copy.replica().unwrap(), id);
    let mine = copy.replica().unwrap();
    drop(copy);
    let copy = Store::open(at("copy")).unwrap();
    assert_eq!((copy.replica().unwrap(), copy.take_events()), (mine, vec![]));
    copy.check().unwrap();
    assert_eq!(original.replica().unwrap(), id);
    original.counter("visits").add(10).unwrap();
    copy.counter("visits").add(100).unwrap();
    exchange(&original, &copy);
    exchange(&original, &copy);
    // What was not given away when the copy was made, is there twice: the price of losing nothing.
    assert_eq!((original.counter("visits").get().unwrap(), copy.counter("visits").get().unwrap()), (112, 112));
    assert_eq!(original.canonical().unwrap(), copy.canonical().unwrap());
}

#[test]
fn a_file_that_was_compacted_is_smaller_and_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Options::default().durability(Durability::Deferred).open(&path).unwrap();
    for value in 0..20_u64 {
        let write = |key: u64| move |tx: &tombolo::Tx| tx.register::<Vec<u64>>(("row", key)).set(&vec![value; 20]);
        store.transact(|tx| (0..2_000).try_for_each(|key| write(key)(tx))).unwrap();
    }
    store.delete_prefix("row").unwrap();
    filled(&store);
    let (canonical, before) = (store.canonical().unwrap(), store.usage().unwrap().unwrap());
    let held = store.snapshot().unwrap();
    let refused = store.compact();
    assert!(matches!(&refused, Err(Error::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy), "{refused:?}");
    drop(held);
    store.compact().unwrap();
    let after = store.usage().unwrap().unwrap();
    assert!(after.bytes < before.bytes / 2 && before.reclaimable > before.bytes / 2, "{before:?} {after:?}");
    store.check().unwrap();
    drop(store);
    let (len, store) = (fs::metadata(&path).unwrap().len(), Store::open(&path).unwrap());
    assert!(len < before.bytes, "{len} {before:?}");
    assert_eq!(store.canonical().unwrap(), canonical);
}
