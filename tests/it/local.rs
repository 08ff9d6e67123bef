//! The application's own keys: in the same commit as everything else, and nobody else's business.

use tombolo::causal::VersionVector;
use tombolo::kv::{Applied, Dynamic, Limits};
use tombolo::{Error, Store};

use crate::sync::{exchange, replica, send};

fn keys(local: impl Iterator<Item = tombolo::Result<tombolo::kv::LocalEntry>>) -> Vec<String> {
    local.map(|entry| entry.unwrap()).map(|entry| format!("{}={}", entry.key(), entry.value::<Dynamic>().unwrap())).collect()
}

#[test]
fn a_local_key_is_read_as_it_was_put_and_deleted() {
    let store = replica(1);
    let local = store.local();
    assert_eq!(local.get::<u8>("a").unwrap(), None);
    assert!(!local.delete("a").unwrap());
    local.put(("a", 1), &vec!["x"]).unwrap();
    assert_eq!(local.get::<Vec<String>>(("a", 1)).unwrap().unwrap(), ["x"]);
    assert!(matches!(local.get::<u8>(("a", 1)), Err(Error::Decode { key, .. }) if key.to_string() == r#"("a", 1)"#));
    let snapshot = store.snapshot().unwrap();
    assert!(local.delete(("a", 1)).unwrap());
    assert_eq!(local.get::<Vec<String>>(("a", 1)).unwrap(), None);
    assert_eq!(snapshot.local().get::<Vec<String>>(("a", 1)).unwrap().unwrap(), ["x"]);
    assert_eq!(keys(snapshot.local().scan(())), [r#"("a", 1)=["x"]"#]);
    assert_eq!(keys(local.scan(())), [""; 0]);
}

#[test]
fn local_keys_are_in_no_version_no_digest_no_delta_and_no_scan() {
    let (a, b) = (replica(1), replica(2));
    a.register::<u8>("x").set(&1).unwrap();
    let before = (a.version().unwrap(), a.digest().unwrap(), a.delta_since(&VersionVector::new()).unwrap());
    a.local().put("x", &2).unwrap();
    a.local().put("y", &3).unwrap();
    assert_eq!(before, (a.version().unwrap(), a.digest().unwrap(), a.delta_since(&VersionVector::new()).unwrap()));
    assert_eq!(a.scan(()).count(), 1);
    a.delete_prefix(()).unwrap();
    assert_eq!(a.local().get::<u8>("x").unwrap(), Some(2));
    exchange(&a, &b);
    assert_eq!(b.local().get::<u8>("x").unwrap(), None);
    let space = a.space("another").unwrap();
    assert_eq!(space.local().get::<u8>("x").unwrap(), None);
}

#[test]
fn a_transaction_writes_its_local_keys_with_the_rest_or_not_at_all() {
    let store = replica(1);
    store.local().put("kept", &1).unwrap();
    let failed: tombolo::Result<()> = store.transact(|tx| {
        tx.local().put("new", &1)?;
        tx.local().delete("kept")?;
        tx.register::<u8>("x").set(&1)?;
        Err(Error::Refused("no"))
    });
    assert!(failed.is_err());
    let dropped = store.begin().unwrap();
    dropped.local().put("new", &1).unwrap();
    drop(dropped);
    assert_eq!(keys(store.local().scan(())), [r#""kept"=1"#]);
    let tx = store.begin().unwrap();
    tx.local().put("new", &2).unwrap();
    tx.register::<u8>("x").set(&1).unwrap();
    assert_eq!(store.local().get::<u8>("new").unwrap(), None);
    tx.commit().unwrap();
    assert_eq!(store.local().get::<u8>("new").unwrap(), Some(2));
    assert_eq!(store.register::<u8>("x").get().unwrap(), Some(1));
}

#[test]
fn a_transaction_scans_its_local_keys_over_those_that_are_stored() {
    let store = replica(1);
    for key in 0..200_u32 {
        store.local().put(key, &key).unwrap();
    }
    let tx = store.begin().unwrap();
    for key in (0..200_u32).step_by(2) {
        assert!(tx.local().delete(key).unwrap());
    }
    assert!(!tx.local().delete(0).unwrap());
    for key in [1_u32, 150, 300] {
        tx.local().put(key, &(key + 1_000)).unwrap();
    }
    let expected: Vec<String> = (0..=300_u32)
        .filter(|key| (key % 2 == 1 && *key < 200) || [150, 300].contains(key))
        .map(|key| format!("{key}={}", if [1, 150, 300].contains(&key) { key + 1_000 } else { key }))
        .collect();
    assert_eq!(keys(tx.local().scan(())), expected);
    tx.commit().unwrap();
    assert_eq!(keys(store.local().scan(())), expected);
    assert_eq!(keys(store.local().scan(300)), ["300=1300"]);
}

#[test]
fn local_keys_have_the_limits_of_others() {
    let store = Store::in_memory();
    let mut limits = Limits::default();
    limits.rows_per_transaction = 2;
    limits.value_bytes = 10;
    let small = Store::options().limits(limits).in_memory();
    assert!(matches!(store.local().put((), &1), Err(Error::Refused(_))));
    assert!(matches!(store.local().get::<u8>(()), Err(Error::Refused(_))));
    assert!(matches!(store.local().put("k".repeat(1_100), &1), Err(Error::TooLarge { .. })));
    assert!(matches!(small.local().put("k", "longer than ten"), Err(Error::TooLarge { .. })));
    let tx = small.begin().unwrap();
    tx.local().put("a", &1).unwrap();
    tx.local().put("a", &2).unwrap();
    tx.register::<u8>("a").set(&1).unwrap();
    assert!(matches!(tx.local().put("b", &1), Err(Error::TooLarge { .. })));
    assert!(matches!(tx.register::<u8>("b").set(&1), Err(Error::TooLarge { .. })));
    tx.commit().unwrap();
    assert_eq!(keys(small.local().scan(())), [r#""a"=2"#]);
}

#[test]
fn a_transaction_of_local_keys_alone_gives_the_next_push_nothing_to_stand_on() {
    let (a, b, c) = (replica(1), replica(2), replica(3));
    let push = |key: &str| {
        let tx = a.begin().unwrap();
        tx.register::<u8>(key).set(&1).unwrap();
        tx.commit_and_push().unwrap().unwrap()
    };
    assert!(matches!(c.apply(push("one")).unwrap(), Applied::Merged(_)));
    b.register::<u8>("of b").set(&1).unwrap();
    send(&b, &a);
    let tx = a.begin().unwrap();
    tx.local().put("seen", &1).unwrap();
    assert!(tx.commit_and_push().unwrap().is_none());
    // It saw what b wrote, and so must whoever applies it.
    let two = push("two");
    assert!(matches!(c.apply(&two).unwrap(), Applied::Waits { .. }));
    send(&b, &c);
    assert!(matches!(c.apply(&two).unwrap(), Applied::Merged(_)));
    assert_eq!(a.digest().unwrap(), c.digest().unwrap());
}

#[cfg(feature = "redb")]
#[test]
fn local_keys_are_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    store.local().put("first of all", &1).unwrap();
    let tx = store.begin().unwrap();
    // The transaction takes a name for the replica, and then writes nothing under it.
    tx.counter("visits").add(1).unwrap();
    tx.delete("visits").unwrap();
    tx.local().put("second", &2).unwrap();
    tx.commit().unwrap();
    assert_eq!(store.replica().unwrap(), None);
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(keys(store.local().scan(())), [r#""first of all"=1"#, r#""second"=2"#]);
    assert!(store.version().unwrap().is_empty());
    store.register::<u8>("x").set(&1).unwrap();
    store.check().unwrap();
}
