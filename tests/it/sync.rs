//! Deltas, merges and pushed transactions between stores.

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::{Applied, Merged, StoreEvent};
use tombolo::{Error, Store};

/// A store in memory whose id is a small number.
pub(crate) fn replica(number: u128) -> Store {
    Store::options().replica(ReplicaId::from_u128(number)).in_memory()
}

/// One delta from `from` to `to`.
pub(crate) fn send(from: &Store, to: &Store) -> Merged {
    to.merge(from.delta_since(&to.version().unwrap()).unwrap()).unwrap()
}

/// Both ways; they are equal afterwards, down to the bytes.
pub(crate) fn exchange(a: &Store, b: &Store) {
    send(a, b);
    send(b, a);
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
    let all = |store: &Store| store.canonical().unwrap();
    assert_eq!(all(a), all(b));
    a.check().unwrap();
    b.check().unwrap();
}

#[test]
fn a_merge_says_what_changed() {
    let (a, b) = (replica(1), replica(2));
    a.register::<u8>("x").set(&1).unwrap();
    b.register::<u8>("x").set(&2).unwrap();
    let delta = a.delta_since(&VersionVector::new()).unwrap();
    let merged = b.merge(&delta).unwrap();
    assert!(merged.changed);
    assert_eq!(merged.rows, 1);
    assert_eq!(merged.conflicts[0].to_string(), r#""x" register"#);
    assert_eq!(merged.version, b.version().unwrap());
    assert!(!b.merge(&delta).unwrap().changed);
}

#[test]
fn a_delete_reaches_a_peer_that_only_tells_its_version() {
    let (a, b, c) = (replica(1), replica(2), replica(3));
    a.register::<u8>("x").set(&1).unwrap();
    exchange(&a, &b);
    exchange(&b, &c);
    a.delete("x").unwrap();
    send(&a, &b);
    send(&b, &c);
    assert_eq!(c.register::<u8>("x").get().unwrap(), None);
    assert_eq!(c.digest().unwrap(), a.digest().unwrap());
}

#[test]
fn a_delete_that_was_forgotten_still_reaches_a_peer_far_behind() {
    let (a, b) = (replica(1), replica(2));
    for key in 0..100 {
        a.register::<u8>(key).set(&1).unwrap();
    }
    exchange(&a, &b);
    a.delete(7).unwrap();
    assert_eq!(a.forget_deletes(&a.version().unwrap()).unwrap(), 1);
    b.register::<u8>(200).set(&2).unwrap();
    let merged = send(&a, &b);
    assert!(merged.below_floor);
    assert_eq!(b.register::<u8>(7).get().unwrap(), None);
    assert_eq!(b.register::<u8>(200).get().unwrap(), Some(2));
    assert_eq!(b.status().unwrap().floor, a.status().unwrap().floor, "what b has not seen deleted it cannot pass on");
    exchange(&a, &b);
}

#[test]
fn a_delta_that_starts_too_late_asks_for_another() {
    let (a, b) = (replica(1), replica(2));
    a.counter("c").add(1).unwrap();
    let half = a.version().unwrap();
    // A peer that asks from there on has it from somewhere.
    a.delta_since(&VersionVector::new()).unwrap();
    a.counter("c").add(1).unwrap();
    let delta = a.delta_since(&half).unwrap();
    let Err(Error::Behind { need }) = b.merge(&delta) else { panic!("merged with a gap") };
    assert_eq!(need, half);
}

#[test]
fn a_pushed_transaction_waits_for_what_it_builds_on() {
    let (a, b, c) = (replica(1), replica(2), replica(3));
    let push = |store: &Store, amount| {
        let tx = store.begin().unwrap();
        tx.counter("c").add(amount).unwrap();
        tx.commit_and_push().unwrap().unwrap()
    };
    let (first, second) = (push(&a, 1), push(&a, 2));
    assert!(matches!(c.apply(&second).unwrap(), Applied::Waits { .. }));
    send(&a, &b);
    let third = push(&b, 4);
    assert!(matches!(c.apply(&third).unwrap(), Applied::Waits { .. }));
    for pushed in [&first, &second, &third] {
        assert!(matches!(c.apply(pushed).unwrap(), Applied::Merged(_)));
        assert!(matches!(c.apply(pushed).unwrap(), Applied::Covered));
    }
    assert_eq!(c.counter("c").get().unwrap(), 7);
    assert_eq!(c.digest().unwrap(), b.digest().unwrap());
    c.check().unwrap();
}

#[test]
fn an_old_copy_takes_a_new_id_and_loses_nothing() {
    let (a, b) = (replica(1), replica(2));
    a.counter("c").add(1).unwrap();
    exchange(&a, &b);
    let copy = replica(1);
    copy.counter("d").add(1).unwrap();
    a.counter("c").add(1).unwrap();
    exchange(&a, &b);
    // Its own write has the number of one that B has, so B left that out.
    let refused = copy.merge(b.delta_since(&copy.version().unwrap()).unwrap());
    assert!(matches!(refused, Err(Error::Behind { .. })));
    let rotated = copy.take_events();
    let [StoreEvent::IdentityRotated { old, new: Some(new), replayed: 1 }] = *rotated else { panic!("{rotated:?}") };
    assert_eq!((old, Some(new)), (ReplicaId::from_u128(1), copy.replica().unwrap()));
    assert_eq!(copy.counter("d").get().unwrap(), 1);
    copy.check().unwrap();
    exchange(&copy, &b);
    assert_eq!((b.counter("c").get().unwrap(), b.counter("d").get().unwrap()), (2, 1));
    assert_eq!(copy.canonical().unwrap(), b.canonical().unwrap());
}

#[test]
fn values_larger_than_a_frame_arrive_whole() {
    let stores: Vec<Store> = (1..=20).map(replica).collect();
    for (number, store) in stores.iter().enumerate() {
        store.register::<Vec<u8>>("big").set(&vec![u8::try_from(number).unwrap(); 600_000]).unwrap();
    }
    let hub = replica(99);
    for store in &stores {
        send(store, &hub);
    }
    let late = replica(100);
    late.counter("c").add(1).unwrap();
    send(&hub, &late);
    assert_eq!(late.register::<Vec<u8>>("big").siblings().unwrap().len(), 20);
    exchange(&late, &hub);
    let too_large = hub.register::<Vec<u8>>("big").set(&vec![200; 2 << 20]);
    assert!(matches!(too_large, Err(Error::TooLarge { .. })));
}

#[cfg(feature = "redb")]
#[test]
fn a_store_is_there_again_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tombolo");
    let store = Store::open(&path).unwrap();
    store.counter("c").add(1).unwrap();
    store.space("other").unwrap().counter("c").add(5).unwrap();
    let (digest, replica) = (store.digest().unwrap(), store.replica().unwrap());
    assert!(matches!(Store::open(&path), Err(Error::Locked)));
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.digest().unwrap(), digest);
    assert_eq!(store.replica().unwrap(), replica);
    assert_eq!(store.space("other").unwrap().counter("c").get().unwrap(), 5);
    store.counter("c").add(1).unwrap();
    store.check().unwrap();
    assert!(Store::open(folder.path().join("no/such/folder")).is_err());
    std::fs::write(folder.path().join("text"), "not a store, but long enough to be looked at").unwrap();
    assert!(Store::open(folder.path().join("text")).is_err());
}

#[test]
fn a_conflict_that_is_left_when_a_forgotten_delete_arrives_is_reported() {
    let writers = [replica(1), replica(2), replica(3)];
    let store = replica(9);
    for (value, writer) in (0_u8..).zip(&writers) {
        writer.register::<u8>("x").set(&value).unwrap();
        send(writer, &store);
    }
    let [first, ..] = &writers;
    first.delete("x").unwrap();
    first.forget_deletes(&first.version().unwrap()).unwrap();
    let merged = send(first, &store);
    assert!(merged.below_floor);
    assert_eq!(store.register::<u8>("x").siblings().unwrap().len(), 2);
    assert_eq!(merged.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>(), [r#""x" register"#]);
}
