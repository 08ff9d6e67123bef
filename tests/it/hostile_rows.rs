//! Deltas that are well-formed and still hostile: kinds nobody knows, payloads of nonsense, numbers at the end of their range,
//! events where they do not belong. They are taken, passed on, and never break what is beside them.

use std::collections::BTreeSet;

use tombolo::causal::{ReplicaId, SEQ_MAX};
use tombolo::codec::Writer;
use tombolo::codec::key::KeyBuf;
use tombolo::kv::{Kind, Retention};
use tombolo::{Error, Store};

use crate::forge::{COUNTER, FLAG, Forged, LATTICE, MAP, REGISTER, SET, VETO_FLAG, WireDot, attack, goes_on, path, stamped};
use crate::sync::{replica, send};

fn id(number: u128) -> ReplicaId {
    ReplicaId::from_u128(number)
}

/// The path of what a contributor adds to a counter.
fn part_of(key: &str, contributor: u128) -> Vec<u8> {
    [path(key, COUNTER), id(contributor).to_bytes().to_vec()].concat()
}

/// The path of the reset that is addressed to a contributor.
fn reset_of(key: &str, contributor: u128) -> Vec<u8> {
    [part_of(key, contributor), vec![1]].concat()
}

fn part(frame: u64, cum: i64, base_seq: u64, base: i64) -> Vec<u8> {
    let mut to = Writer::new();
    to.u64(frame);
    to.i64(cum);
    to.u64(base_seq);
    to.i64(base);
    to.into_vec()
}

fn reset(frame: u64, seq: u64, cum: i64) -> Vec<u8> {
    let mut to = Writer::new();
    to.u64(frame);
    to.u64(seq);
    to.i64(cum);
    to.into_vec()
}

/// A delta with one write for each path, by replica 1.
fn writes(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut sorted = rows.to_vec();
    sorted.sort();
    let count = sorted.len() as u64;
    let forged = (1..)
        .zip(&sorted)
        .fold(Forged::new(&[(1, 0, count)]), |forged, (seq, (path, payload))| forged.write(path, (0, seq), payload));
    forged.end()
}

#[test]
fn kinds_that_nobody_knows_are_kept_passed_on_and_listed() {
    let store = replica(9);
    store.counter("b").add(1).unwrap();
    let unknown = [path("b", 0x1f), b"anything at all \x00\xff".to_vec()].concat();
    let nested = [path("a", MAP), path(1, 0x12), b"?".to_vec()].concat();
    assert!(attack(&store, &writes(&[(unknown, vec![]), (nested, vec![0xff; 100])])).unwrap());
    let entries: Vec<_> = store.scan(()).map(Result::unwrap).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].kinds().unwrap(), [Kind::Map]);
    assert_eq!(entries[1].kinds().unwrap(), [Kind::Counter, Kind::Unknown(0x1f)]);
    assert_eq!(entries[1].value().unwrap().to_string(), r#"{"counter": 1, "kind 31": null}"#);
    let fields: Vec<_> = store.map("a").fields().map(|field| field.unwrap().kinds().unwrap()).collect();
    assert_eq!(fields, [[Kind::Unknown(0x12)]]);
    goes_on(&store);
    assert!(store.delete("b").unwrap());
    assert!(store.delete("a").unwrap());
    assert_eq!(store.scan(()).count(), 1, "what goes on");
    goes_on(&store);
}

#[test]
fn payloads_of_nonsense_are_typed_errors_with_their_key_and_stop_no_scan() {
    let store = replica(9);
    let rows = [
        (path("a", REGISTER), b"short".to_vec()),
        (path("b", REGISTER), stamped(1, b"\xc1")),
        (path("c", FLAG), vec![2]),
        (path("d", VETO_FLAG), vec![]),
        (path("e", LATTICE), vec![0xdf, 0xff, 0xff, 0xff, 0xff]),
        (part_of("f", 1), vec![0xff; 11]),
        (reset_of("f", 1), vec![]),
        ([path("g", SET), KeyBuf::from_key(7).as_bytes().to_vec()].concat(), b"not empty".to_vec()),
        ([path("h", MAP), path("x", REGISTER)].concat(), b"?".to_vec()),
        (path("z", REGISTER), stamped(1, &[7])),
    ];
    assert!(attack(&store, &writes(&rows)).unwrap());
    let message = |error: Error| {
        assert!(matches!(error, Error::Decode { .. }), "{error:?}");
        error.to_string()
    };
    assert!(message(store.register::<u64>("a").get().unwrap_err()).contains(r#""a""#));
    assert!(message(store.register::<u64>("b").get().unwrap_err()).contains(r#""b""#));
    assert!(message(store.register::<u64>("b").read().unwrap_err()).contains(r#""b""#));
    assert!(store.register::<u64>("a").siblings().unwrap()[0].value.is_err());
    assert!(message(store.flag("c").get().unwrap_err()).contains(r#""c""#));
    assert!(message(store.veto_flag("d").get().unwrap_err()).contains(r#""d""#));
    let seen = store.lattice::<BTreeSet<u64>>("e");
    assert!(message(seen.get().unwrap_err()).contains(r#""e""#));
    assert!(message(seen.join(&BTreeSet::new()).unwrap_err()).contains(r#""e""#));
    assert!(message(store.counter("f").get().unwrap_err()).contains(r#""f""#));
    assert!(message(store.set::<String>("g").iter().unwrap().next().unwrap().unwrap_err()).contains(r#""g""#));
    assert!(message(store.map("h").register::<u64>("x").get().unwrap_err()).contains(r#""h""#));
    let entries: Vec<_> = store.scan(()).map(Result::unwrap).collect();
    assert_eq!(entries.len(), 9);
    let readable: Vec<String> = entries.iter().filter(|entry| entry.value().is_ok()).map(|e| e.key().to_string()).collect();
    assert_eq!(readable, [r#""g""#, r#""z""#]);
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let inspection = store.inspect(key).unwrap();
        let readable = inspection.entries.iter().all(|entry| entry.value.is_ok());
        assert_eq!(readable, key == "g", "{inspection}");
        assert_eq!(inspection.to_string().contains("unreadable"), key != "g", "{inspection}");
    }
    // What cannot be read can be written over, and deleted.
    store.register::<u64>("a").set(&1).unwrap();
    store.flag("c").enable().unwrap();
    assert!(store.flag("c").get().unwrap());
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert!(store.delete(key).unwrap(), "{key}");
    }
    assert_eq!(store.counter("f").get().unwrap(), 0);
    goes_on(&store);
}

#[test]
fn a_part_of_ones_own_that_cannot_be_read_is_told_to_who_adds_and_can_be_deleted() {
    for key in ["part", "reset"] {
        let store = replica(9);
        store.counter(key).add(5).unwrap();
        let row = if key == "part" { part_of(key, 9) } else { reset_of(key, 9) };
        assert!(attack(&store, &writes(&[(row, vec![0xff; 11])])).unwrap());
        for _again in 0..2 {
            let error = store.counter(key).add(1).unwrap_err();
            assert!(matches!(error, Error::Decode { .. }) && error.to_string().contains(key), "{error:?}");
        }
        goes_on(&store);
        assert!(store.delete(key).unwrap());
        store.counter(key).add(1).unwrap();
        assert_eq!(store.counter(key).get().unwrap(), 1);
        goes_on(&store);
    }
}

#[test]
fn a_counter_with_numbers_at_the_end_of_their_range_reads_and_refuses_to_overflow() {
    let store = replica(9);
    let ends = [i64::MIN, -1, 0, i64::MAX];
    let mut rows = Vec::new();
    let mut total = 0_i128;
    for (contributor, (cum, base)) in (100..).zip(ends.iter().flat_map(|cum| ends.map(|base| (*cum, base)))) {
        rows.push((part_of("c", contributor), part(u64::MAX, cum, u64::MAX, base)));
        rows.push((reset_of("c", contributor), reset(u64::MAX, u64::MAX, i64::MIN)));
        total += i128::from(cum) - i128::from(base);
    }
    // The same for this replica's own part, by somebody else.
    rows.push((part_of("c", 9), part(0, i64::MAX, 0, i64::MIN)));
    total += i128::from(i64::MAX) - i128::from(i64::MIN);
    assert!(attack(&store, &writes(&rows)).unwrap());
    assert_eq!(store.counter("c").get().unwrap(), total);
    assert!(matches!(store.counter("c").add(1), Err(Error::Overflow { .. })));
    assert_eq!(store.counter("c").get().unwrap(), total);
    store.counter("c").add(-1).unwrap();
    assert_eq!(store.counter("c").get().unwrap(), total - 1);
    store.counter("c").reset().unwrap();
    assert_eq!(store.counter("c").get().unwrap(), 0);
    store.counter("c").add(i64::MAX).unwrap();
    store.check().unwrap();
    goes_on(&store);
}

/// A reset tells what its writer saw of an entry, so none can tell of an entry that is yet to come.
#[test]
fn a_reset_of_an_entry_that_was_never_written_cancels_nothing_and_hides_no_honest_one() {
    let (store, friend) = (replica(9), replica(8));
    store.counter("c").add(5).unwrap();
    send(&store, &friend);
    friend.counter("c").reset().unwrap();
    store.counter("c").add(2).unwrap();
    assert!(attack(&store, &writes(&[(reset_of("c", 9), reset(1, u64::MAX, 100))])).unwrap());
    assert_eq!(store.counter("c").get().unwrap(), 7);
    send(&friend, &store);
    assert_eq!(store.counter("c").get().unwrap(), 2);
    store.counter("c").add(1).unwrap();
    assert_eq!(store.counter("c").get().unwrap(), 3);
    store.check().unwrap();
}

/// Two entries on one part, of two replicas and one number, have no order by number: the reading must not follow the indexes
/// that a store gave to the replicas, which differ between stores.
#[test]
fn equal_stores_read_equal_sums_whatever_is_on_a_part() {
    let delta = Forged::new(&[(1, 0, 3), (2, 0, 3)])
        .row(&part_of("c", 1), &[((0, 2), &part(1, 10, 0, 0)), ((1, 2), &part(1, 20, 0, 0))], &[])
        .row(&reset_of("c", 1), &[((0, 3), &reset(1, 1, 1)), ((1, 3), &reset(1, 1, 2))], &[])
        .end();
    let (x, y) = (replica(8), replica(9));
    x.merge(Forged::new(&[(1, 0, 1)]).end()).unwrap();
    x.merge(Forged::new(&[(2, 0, 1)]).end()).unwrap();
    y.merge(Forged::new(&[(2, 0, 1)]).end()).unwrap();
    y.merge(Forged::new(&[(1, 0, 1)]).end()).unwrap();
    for store in [&x, &y] {
        store.merge(&delta).unwrap();
    }
    assert_eq!(x.digest().unwrap(), y.digest().unwrap());
    assert_eq!(x.counter("c").get().unwrap(), y.counter("c").get().unwrap());
    let lattice = Forged::new(&[(1, 3, 4), (2, 3, 4)]).row(&path("l", LATTICE), &[((0, 4), &[1]), ((1, 4), &[2])], &[]).end();
    for store in [&x, &y] {
        store.merge(&lattice).unwrap();
    }
    let values = |store: &Store| store.scan(()).map(|entry| entry.unwrap().value().unwrap()).collect::<Vec<_>>();
    assert_eq!(values(&x), values(&y));
}

/// A reset's path is one byte longer than the part's. A part of the greatest length could not be deleted: its reset was a path
/// that every peer refuses, so the store could never send a delta again.
#[test]
fn what_is_taken_can_be_deleted_and_passed_on() {
    for len in 1030..1050 {
        let store = replica(9);
        store.counter("own").add(1).unwrap();
        let key = "k".repeat(len);
        match attack(&store, &writes(&[(part_of(&key, 1), part(0, 5, 0, 0))])) {
            Ok(_) => assert_eq!(store.delete_prefix(()).unwrap(), 2),
            Err(error) => assert!(matches!(error, Error::Malformed { .. })),
        }
        goes_on(&store);
    }
}

#[test]
fn the_last_event_of_all_is_taken_and_passed_on() {
    let store = replica(9);
    store.counter("own").add(1).unwrap();
    let row = path("a", REGISTER);
    let last = Forged::new(&[(1, 0, SEQ_MAX)]).row(&row, &[((0, SEQ_MAX), &stamped(1, &[7]))], &[(0, SEQ_MAX - 1)]).end();
    assert!(attack(&store, &last).unwrap());
    assert_eq!(store.register::<u64>("a").get().unwrap(), Some(7));
    let behind = replica(8);
    send(&store, &behind);
    store.delete("own").unwrap();
    store.forget_deletes(&store.version().unwrap()).unwrap();
    assert!(send(&store, &behind).below_floor);
    assert_eq!(behind.register::<u64>("a").get().unwrap(), Some(7));
    goes_on(&store);
}

/// A path has room for some 500 maps in maps. Reading them one within the other ran out of stack, without optimisation, and took the
/// process along: now it ends in an error, and the key can be deleted.
#[test]
fn maps_nested_as_deep_as_a_path_can_be_are_read_without_a_crash() {
    let store = replica(9);
    let deep = |levels| [[0x20, MAP].repeat(levels), vec![0x20, REGISTER]].concat();
    let beside = [vec![0x21], vec![MAP], deep(60)].concat();
    assert!(attack(&store, &writes(&[(deep(520), stamped(1, &[7])), (beside, stamped(1, &[7]))])).unwrap());
    let values: Vec<_> = store.scan(()).map(|entry| entry.unwrap().value()).collect();
    assert!(matches!(values[0], Err(Error::Decode { .. })));
    assert_eq!(values[1].as_ref().unwrap().to_string().matches("false").count(), 61);
    assert!(store.delete(false).unwrap());
    goes_on(&store);
}

#[test]
fn a_stamp_from_the_end_of_time_is_counted_and_stops_no_clock() {
    let store = replica(9);
    assert!(attack(&store, &writes(&[(path("a", REGISTER), stamped(u64::MAX, &[1]))])).unwrap());
    assert_eq!(store.status().unwrap().stamps_ahead, 1);
    store.register::<u64>("a").set(&2).unwrap();
    assert_eq!(store.register::<u64>("a").get().unwrap(), Some(2));
    store.register::<u64>("b").set(&2).unwrap();
    goes_on(&store);
}

#[test]
fn a_row_of_many_entries_is_taken_and_passed_on() {
    let store = replica(9);
    let payload = stamped(1, &[7]);
    let entries: Vec<(WireDot, &[u8])> = (1..=50_000).map(|seq| ((0, seq), &payload[..])).collect();
    let delta = Forged::new(&[(1, 0, 50_000)]).row(&path("a", REGISTER), &entries, &[]).end();
    assert!(attack(&store, &delta).unwrap());
    assert_eq!(store.register::<u64>("a").siblings().unwrap().len(), 50_000);
    assert_eq!(store.register::<u64>("a").get().unwrap(), Some(7));
    goes_on(&store);
    store.register::<u64>("a").set(&1).unwrap();
    assert_eq!(store.status().unwrap().entries, 3);
    goes_on(&store);
}

/// A delta names all replicas in its first frame. Two deltas of many ids each made a store whose own deltas did not fit: it panicked.
#[test]
fn more_replicas_than_a_delta_can_name_are_refused() {
    const MAX: u128 = 1 << 17;
    let store = replica(1 << 64);
    store.counter("own").add(1).unwrap();
    let ids = |ids: std::ops::Range<u128>| Forged::new(&ids.map(|id| (id, 0, SEQ_MAX)).collect::<Vec<_>>()).end();
    assert!(matches!(store.merge(ids(1..MAX + 2)), Err(Error::Malformed { .. })));
    assert!(matches!(store.merge(ids(1..MAX + 1)), Err(Error::TooLarge { .. })));
    assert!(store.merge(ids(1..MAX)).unwrap().changed);
    let friend = replica(1 << 65);
    let tx = friend.begin().unwrap();
    tx.counter("own").add(1).unwrap();
    let pushed = tx.commit_and_push().unwrap().unwrap();
    assert!(matches!(store.apply(pushed), Err(Error::TooLarge { .. })));
    assert!(matches!(store.merge(friend.delta_since(&store.version().unwrap()).unwrap()), Err(Error::TooLarge { .. })));
    store.counter("own").add(1).unwrap();
    store.forget_deletes(&store.version().unwrap()).unwrap();
    let behind = replica(1 << 66);
    send(&store, &behind);
    assert_eq!(behind.digest().unwrap(), store.digest().unwrap());
    assert!(matches!(behind.counter("own").add(1), Err(Error::TooLarge { .. })));
    assert_eq!(behind.counter("own").get().unwrap(), 2);
}

#[test]
fn deletes_beyond_a_frame_are_passed_on() {
    let keeps_all = |id| {
        let mut retention = Retention::default();
        retention.deletes_min = u64::MAX;
        Store::options().replica(ReplicaId::from_u128(id)).retention(retention).in_memory()
    };
    let store = keeps_all(9);
    store.counter("own").add(1).unwrap();
    let row = path("a", REGISTER);
    const EACH: u64 = 900_000;
    let first = SEQ_MAX - 2 * EACH;
    for lo in [first, first + EACH] {
        let deletes: Vec<WireDot> = (lo..lo + EACH).map(|seq| (0, seq)).collect();
        let base = if lo == first { 0 } else { lo - 1 };
        assert!(store.merge(Forged::new(&[(1, base, lo + EACH - 1)]).row(&row, &[], &deletes).end()).unwrap().changed);
    }
    let behind = keeps_all(8);
    behind.merge(Forged::new(&[(2, 0, 1)]).end()).unwrap();
    send(&store, &behind);
    assert_eq!(behind.status().unwrap().deletes, 2 * EACH);
}
