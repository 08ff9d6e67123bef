//! What each kind reads, alone and after a merge.

use std::collections::BTreeSet;

use tombolo::causal::ReplicaId;
use tombolo::kv::{Kind, Limits};
use tombolo::{Error, Store};

use crate::sync::{exchange, replica};

fn all(store: &Store, key: &str) -> Vec<String> {
    store.set::<String>(key).iter().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_register_shows_one_value_and_keeps_the_concurrent_ones() {
    let (a, b) = (replica(1), replica(2));
    let (at_a, at_b) = (a.register::<String>("title"), b.register::<String>("title"));
    at_a.set("one").unwrap();
    at_b.set("two").unwrap();
    exchange(&a, &b);
    assert_eq!(at_a.get().unwrap(), at_b.get().unwrap());
    let values: BTreeSet<_> = at_a.siblings().unwrap().into_iter().map(|sibling| sibling.value.unwrap()).collect();
    assert_eq!(values, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    at_a.set("three").unwrap();
    exchange(&a, &b);
    assert_eq!(at_b.siblings().unwrap().len(), 1);
    assert_eq!(at_b.get().unwrap().as_deref(), Some("three"));
}

#[test]
fn a_write_over_what_was_read_keeps_what_has_come_since() {
    let (a, b) = (replica(1), replica(2));
    let at_a = a.register::<u64>("form");
    at_a.set(&1).unwrap();
    exchange(&a, &b);
    let seen = at_a.read().unwrap();
    b.register::<u64>("form").set(&2).unwrap();
    exchange(&a, &b);
    at_a.set_over(&seen, &3).unwrap();
    let values: BTreeSet<_> = at_a.siblings().unwrap().into_iter().map(|sibling| sibling.value.unwrap()).collect();
    assert_eq!(values, BTreeSet::from([2, 3]));
    assert!(matches!(a.register::<u64>("other").set_over(&seen, &3), Err(Error::Refused(_))));
}

#[test]
fn a_counter_keeps_what_a_concurrent_delete_did_not_see() {
    let (a, b) = (replica(1), replica(2));
    b.counter("visits").add(5).unwrap();
    exchange(&a, &b);
    assert!(a.delete("visits").unwrap());
    b.counter("visits").add(3).unwrap();
    exchange(&a, &b);
    assert_eq!(a.counter("visits").get().unwrap(), 3);
    assert_eq!(b.counter("visits").get().unwrap(), 3);
    b.counter("visits").add(1).unwrap();
    exchange(&a, &b);
    assert_eq!(a.counter("visits").get().unwrap(), 4);
}

#[test]
fn a_counter_refuses_what_does_not_fit() {
    let store = replica(1);
    let counter = store.counter("n");
    counter.add(i64::MAX).unwrap();
    assert!(matches!(counter.add(1), Err(Error::Overflow { .. })));
    assert_eq!(counter.get().unwrap(), i128::from(i64::MAX));
    counter.add(-1).unwrap();
    assert_eq!(counter.get().unwrap(), i128::from(i64::MAX - 1));
}

#[test]
fn flags_decide_as_they_are_named() {
    let (a, b) = (replica(1), replica(2));
    a.flag("on").enable().unwrap();
    a.veto_flag("ok").enable().unwrap();
    exchange(&a, &b);
    a.flag("on").enable().unwrap();
    b.flag("on").disable().unwrap();
    a.veto_flag("ok").enable().unwrap();
    b.veto_flag("ok").disable().unwrap();
    exchange(&a, &b);
    assert!(b.flag("on").get().unwrap());
    assert!(!a.veto_flag("ok").get().unwrap());
}

#[test]
fn a_concurrent_add_wins_over_a_remove() {
    let (a, b) = (replica(1), replica(2));
    a.set::<String>("tags").insert("draft").unwrap();
    exchange(&a, &b);
    a.set::<String>("tags").remove("draft").unwrap();
    b.set::<String>("tags").insert("draft").unwrap();
    exchange(&a, &b);
    assert_eq!(all(&a, "tags"), ["draft"]);
    a.set::<String>("tags").clear().unwrap();
    exchange(&a, &b);
    assert!(b.set::<String>("tags").is_empty().unwrap());
}

#[test]
fn a_set_walks_in_order_from_both_ends_and_within_bounds() {
    let store = replica(1);
    let set = store.set::<i64>("numbers");
    store.transact(|tx| (-500..500).try_for_each(|number| tx.set::<i64>("numbers").insert(&number))).unwrap();
    let forward: Vec<i64> = set.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(forward, (-500..500).collect::<Vec<_>>());
    let backward: Vec<i64> = set.range(-3..=7).unwrap().rev().map(Result::unwrap).collect();
    assert_eq!(backward, (-3..=7).rev().collect::<Vec<_>>());
    let mut both = set.range(0..100).unwrap();
    let mut met = Vec::new();
    while let Some(front) = both.next() {
        met.push(front.unwrap());
        met.extend(both.next_back().map(Result::unwrap));
    }
    met.sort_unstable();
    assert_eq!(met, (0..100).collect::<Vec<_>>());
    assert_eq!(set.len().unwrap(), 1000);
}

#[test]
fn a_field_written_concurrently_survives_the_delete_of_its_map_alone() {
    let (a, b) = (replica(1), replica(2));
    let note = a.map(("note", 7));
    note.register::<String>("title").set("Groceries").unwrap();
    note.map("meta").counter("opens").add(2).unwrap();
    exchange(&a, &b);
    a.map(("note", 7)).delete().unwrap();
    b.map(("note", 7)).map("meta").counter("opens").add(1).unwrap();
    exchange(&a, &b);
    let fields: Vec<String> = a.map(("note", 7)).fields().map(|field| field.unwrap().key().to_string()).collect();
    assert_eq!(fields, [r#""meta""#]);
    assert_eq!(a.map(("note", 7)).map("meta").counter("opens").get().unwrap(), 1);
    assert!(b.map(("note", 7)).delete_field("meta").unwrap());
    assert!(!b.delete(("note", 7)).unwrap());
}

#[test]
fn a_lattice_reads_the_join() {
    let (a, b) = (replica(1), replica(2));
    let of = |store: &Store| store.lattice::<BTreeSet<u64>>("seen");
    of(&a).join(&BTreeSet::from([1])).unwrap();
    of(&b).join(&BTreeSet::from([2])).unwrap();
    exchange(&a, &b);
    assert_eq!(of(&a).get().unwrap(), BTreeSet::from([1, 2]));
    assert!(!of(&a).join_if_new(&BTreeSet::from([2])).unwrap());
    assert!(of(&a).join_if_new(&BTreeSet::from([3])).unwrap());
}

// The values came in the order of each store's own numbers for the replicas: equal stores listed them differently.
#[test]
fn a_lattice_without_its_type_lists_its_values_alike_everywhere() {
    let (a, b, c) = (replica(1), replica(2), replica(3));
    for (store, number) in [(&a, 1), (&b, 2), (&c, 3)] {
        store.lattice::<BTreeSet<u64>>("seen").join(&BTreeSet::from([number])).unwrap();
    }
    exchange(&b, &c);
    exchange(&a, &c);
    exchange(&a, &b);
    let listed = |store: &Store| store.scan("seen").next().unwrap().unwrap().value().unwrap().to_string();
    for store in [&a, &b, &c] {
        assert_eq!(listed(store), "[[1], [2], [3]]");
    }
}

#[test]
fn a_transaction_reads_its_own_writes_and_nobody_else_does() {
    let store = replica(1);
    store.set::<u8>("s").insert(&1).unwrap();
    let tx = store.begin().unwrap();
    tx.set::<u8>("s").insert(&2).unwrap();
    tx.set::<u8>("s").remove(&1).unwrap();
    tx.register::<u8>("r").set(&9).unwrap();
    tx.counter("c").add(4).unwrap();
    assert_eq!(tx.set::<u8>("s").iter().unwrap().map(Result::unwrap).collect::<Vec<_>>(), [2]);
    assert_eq!(tx.register::<u8>("r").get().unwrap(), Some(9));
    assert_eq!(tx.counter("c").get().unwrap(), 4);
    assert_eq!(tx.scan(()).count(), 3);
    let seen = tx.register::<u8>("r").read().unwrap();
    tx.register::<u8>("r").set_over(&seen, &10).unwrap();
    assert_eq!(tx.register::<u8>("r").siblings().unwrap().len(), 1);
    assert_eq!(store.register::<u8>("r").get().unwrap(), None);
    assert!(matches!(store.counter("c").add(1), Err(Error::WouldDeadlock)));
    tx.commit().unwrap();
    assert_eq!(store.register::<u8>("r").get().unwrap(), Some(10));
    assert_eq!(store.set::<u8>("s").iter().unwrap().map(Result::unwrap).collect::<Vec<_>>(), [2]);
    store.check().unwrap();
}

#[test]
fn a_dropped_transaction_writes_nothing() {
    let store = replica(1);
    let digest = store.digest().unwrap();
    drop(store.begin().map(|tx| tx.counter("c").add(4)));
    let refused: Result<(), Error> = store.transact(|tx| {
        tx.counter("c").add(4)?;
        Err(Error::Refused("changed my mind"))
    });
    assert!(refused.is_err());
    assert_eq!(store.digest().unwrap(), digest);
    assert_eq!(store.replica().unwrap(), None);
}

#[test]
fn a_snapshot_stands_still() {
    let store = replica(1);
    store.counter("c").add(1).unwrap();
    let snapshot = store.snapshot().unwrap();
    store.counter("c").add(1).unwrap();
    store.delete("d").unwrap();
    assert_eq!(snapshot.counter("c").get().unwrap(), 1);
    assert_eq!(store.counter("c").get().unwrap(), 2);
    assert_ne!(snapshot.digest(), store.digest().unwrap());
}

#[test]
fn keys_are_whole_parts() {
    let store = replica(1);
    for key in ["foo", "foobar", "foo\0bar", ""] {
        store.register::<String>(key).set(key).unwrap();
    }
    store.register::<String>(("foo", 1)).set("below").unwrap();
    assert_eq!(store.register::<String>("foobar").get().unwrap().as_deref(), Some("foobar"));
    let keys = |scan: &mut dyn Iterator<Item = tombolo::kv::Result<tombolo::kv::Entry<tombolo::kv::Snapshot>>>| {
        scan.map(|entry| entry.unwrap().key().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&mut store.scan("foo")), [r#""foo""#, r#"("foo", 1)"#]);
    assert_eq!(keys(&mut store.scan_bytes("foo")).len(), 4);
    let forward = keys(&mut store.scan(()));
    let mut backward = keys(&mut store.scan(()).rev());
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(keys(&mut store.scan(()).after("foo")), forward[2..]);
    assert_eq!(store.delete_prefix("foo").unwrap(), 2);
    assert_eq!(store.scan(()).count(), 3);
    assert!(matches!(store.register::<u8>(()).get(), Err(Error::Refused(_))));
    assert!(matches!(store.counter("k".repeat(2000)).add(1), Err(Error::TooLarge { .. })));
    assert!(matches!(store.map(()).counter("x").add(1), Err(Error::Refused(_))));
}

#[test]
fn a_scan_lists_a_key_once_with_all_its_kinds_and_its_value() {
    let store = replica(1);
    store.transact(|tx| (0..5000).try_for_each(|number| tx.set::<u32>("big").insert(&number))).unwrap();
    store.counter("both").add(1).unwrap();
    store.flag("both").enable().unwrap();
    let entries: Vec<_> = store.scan(()).map(Result::unwrap).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].kinds().unwrap(), [Kind::Set]);
    assert_eq!(entries[1].kinds().unwrap(), [Kind::Counter, Kind::Flag]);
    assert_eq!(serde_json::to_string(&entries[1].value().unwrap()).unwrap(), r#"{"counter":1,"flag":true}"#);
    assert_eq!(store.scan(()).rev().count(), 2);
}

#[test]
fn a_deleted_counter_is_not_listed() {
    let (a, b) = (replica(1), replica(2));
    b.counter("c").add(5).unwrap();
    exchange(&a, &b);
    a.delete("c").unwrap();
    assert_eq!(a.status().unwrap().rows, 1, "the reset addressed to b");
    assert_eq!(a.scan(()).count(), 0);
    assert_eq!(a.scan(()).rev().count(), 0);
    assert!(!a.delete("c").unwrap());
}

#[test]
fn an_undecodable_value_is_an_error_with_its_key_and_stays() {
    let store = replica(1);
    store.register::<String>("k").set("text").unwrap();
    let error = store.register::<u64>("k").get().unwrap_err();
    assert!(error.to_string().contains(r#""k""#), "{error}");
    assert!(store.register::<u64>("k").siblings().unwrap()[0].value.is_err());
    assert_eq!(store.register::<String>("k").get().unwrap().as_deref(), Some("text"));
}

/// Each row was counted twice, as if it were a counter's, so that a set above half of the limit could not be cleared.
#[test]
fn what_one_transaction_may_write_one_may_delete() {
    let mut limits = Limits::default();
    limits.rows_per_transaction = 1_000;
    let store = Store::options().replica(ReplicaId::from_u128(1)).limits(limits).in_memory();
    store.transact(|tx| (0..1_000).try_for_each(|number| tx.set::<u32>("s").insert(&number))).unwrap();
    store.set::<u32>("s").clear().unwrap();
    assert!(store.set::<u32>("s").is_empty().unwrap());
    store.transact(|tx| (0..1_000).try_for_each(|number| tx.set::<u32>("s").insert(&number))).unwrap();
    store.set::<u32>("s").insert(&1_000).unwrap();
    assert!(matches!(store.delete("s"), Err(Error::TooLarge { is: 1_001, cap: 1_000, .. })));
    assert_eq!(store.set::<u32>("s").len().unwrap(), 1_001);
}

#[test]
fn ids_are_of_a_space() {
    let store = replica(1);
    store.counter("c").add(1).unwrap();
    assert_eq!(store.replica().unwrap(), Some(ReplicaId::from_u128(1)));
    let other = store.space("other").unwrap();
    assert_eq!(other.counter("c").get().unwrap(), 0);
    let refused = other.merge(store.delta_since(&other.version().unwrap()).unwrap());
    assert!(matches!(refused, Err(Error::WrongSpace { .. })));
    assert!(store.space(&"n".repeat(300)).is_err());
}

/// A value above the protocol's limit, written because the options said so, could never be sent to anybody.
#[test]
fn no_option_raises_the_limit_of_a_value() {
    let mut limits = Limits::default();
    limits.value_bytes = u64::MAX;
    let store = Store::options().replica(ReplicaId::from_u128(1)).limits(limits).in_memory();
    let cap = tombolo::kv::VALUE_MAX;
    let too_large = store.register::<String>("k").set(&"v".repeat(cap));
    assert!(matches!(too_large, Err(Error::TooLarge { .. })));
    store.register::<String>("k").set(&"v".repeat(cap - 5)).unwrap();
    exchange(&store, &replica(2));
}

#[test]
fn an_add_that_does_not_fit_keeps_the_reset_on_its_way() {
    // The reset was dropped first: when the part then had no room, the deleted 5 came back with the next commit.
    let mut limits = Limits::default();
    limits.rows_per_transaction = 2;
    let r = Store::options().replica(ReplicaId::from_u128(1)).limits(limits).in_memory();
    let x = replica(2);
    r.counter("c").add(5).unwrap();
    exchange(&r, &x);
    x.counter("c").reset().unwrap();
    r.counter("c").add(3).unwrap();
    exchange(&x, &r);
    assert_eq!(r.counter("c").get().unwrap(), 3);
    let tx = r.begin().unwrap();
    tx.register::<u8>("other").set(&1).unwrap();
    assert!(matches!(tx.counter("c").add(1), Err(Error::TooLarge { .. })));
    assert!(matches!(tx.flag("f").enable(), Err(Error::Refused(_))), "a write that failed halfway ends the transaction");
    assert!(tx.commit().is_err());
    assert_eq!(r.counter("c").get().unwrap(), 3);
    r.counter("c").add(1).unwrap();
    exchange(&x, &r);
    assert_eq!(x.counter("c").get().unwrap(), 4);
}

#[test]
fn a_transaction_that_refused_a_write_as_a_whole_goes_on() {
    let store = replica(1);
    let tx = store.begin().unwrap();
    tx.counter("c").add(i64::MAX).unwrap();
    assert!(matches!(tx.counter("c").add(1), Err(Error::Overflow { .. })));
    assert!(matches!(tx.register::<u8>(()).set(&1), Err(Error::Refused(_))));
    tx.flag("f").enable().unwrap();
    tx.commit().unwrap();
    assert!(store.flag("f").get().unwrap());
}

#[test]
fn what_was_seen_of_an_uncommitted_write_is_refused_later() {
    let store = replica(1);
    let tx = store.begin().unwrap();
    tx.register::<u8>("r").set(&1).unwrap();
    let seen = tx.register::<u8>("r").read().unwrap();
    tx.commit().unwrap();
    assert!(matches!(store.register::<u8>("r").set_over(&seen, &2), Err(Error::Refused(_))));
    assert_eq!(store.register::<u8>("r").siblings().unwrap().len(), 1);
}

#[test]
fn rows_that_a_transaction_has_touched_count_once() {
    let mut limits = Limits::default();
    limits.rows_per_transaction = 10;
    let store = Store::options().limits(limits).in_memory();
    let tx = store.begin().unwrap();
    for key in 0..6 {
        tx.register::<u8>(("k", key)).set(&1).unwrap();
    }
    assert_eq!(tx.delete_prefix("k").unwrap(), 6);
    tx.commit().unwrap();
    assert_eq!(store.status().unwrap().rows, 0);
}

#[test]
fn a_replica_is_a_key() {
    let (store, id) = (replica(1), ReplicaId::from_u128(7));
    store.set::<ReplicaId>("members").insert(&id).unwrap();
    assert_eq!(store.set::<ReplicaId>("members").iter().unwrap().map(Result::unwrap).collect::<Vec<_>>(), [id]);
}

#[test]
fn the_limit_of_values_is_the_same_for_every_kind() {
    let mut limits = Limits::default();
    limits.value_bytes = 9;
    let store = Store::options().limits(limits).in_memory();
    // One byte for the head of a short text or list, and one for each of what is in it.
    store.register::<String>("r").set("12345678").unwrap();
    assert!(matches!(store.register::<String>("r").set("123456789"), Err(Error::TooLarge { is: 10, cap: 9, .. })));
    let lattice = store.lattice::<BTreeSet<u8>>("l");
    lattice.join(&(0..8).collect()).unwrap();
    assert!(matches!(lattice.join(&BTreeSet::from([8])), Err(Error::TooLarge { is: 10, cap: 9, .. })));
    store.counter("c").add(i64::MAX).unwrap();
}
