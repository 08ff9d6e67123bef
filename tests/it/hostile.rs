//! Bytes that are no delta: cut, flipped, mixed, mutated below a valid checksum, or against a rule. Each is a typed error that
//! changes nothing, or a delta all the same.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;
use tombolo::causal::{ReplicaId, SEQ_MAX, VersionVector};
use tombolo::codec::write_frame;
use tombolo::kv::StoreEvent;
use tombolo::{Error, Store};

use crate::forge::{COUNTER, FLAG, Forged, MAP, REGISTER, SET, attack, framed, frames, goes_on, path, stamped};
use crate::sync::{exchange, replica};

/// What honest replicas send each other: of every kind, with deletes, concurrent values, and a floor.
struct Honest {
    /// What a victim has before.
    first: Vec<u8>,
    /// Since then; the same once deletes were forgotten; and everything.
    deltas: [Vec<u8>; 3],
    /// Two transactions, of which the victim can take the second once it has the first.
    pushed: [Vec<u8>; 2],
}

fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| {
        let (a, b) = (replica(1), replica(2));
        for key in 0..10 {
            a.register::<u64>(key).set(&key).unwrap();
            b.register::<u64>(key).set(&(key + 1)).unwrap();
        }
        write_some_of_each_kind(&a);
        exchange(&a, &b);
        let first = a.delta_since(&VersionVector::new()).unwrap().into_bytes();
        let since = a.version().unwrap();
        let tx = a.begin().unwrap();
        tx.register::<u64>(3).set(&7).unwrap();
        tx.set::<String>("tags").remove("x").unwrap();
        tx.delete("visits").unwrap();
        let push_one = tx.commit_and_push().unwrap().unwrap();
        let tx = a.begin().unwrap();
        tx.counter("visits").add(3).unwrap();
        let push_two = tx.commit_and_push().unwrap().unwrap();
        b.register::<u64>(3).set(&8).unwrap();
        b.delete(4).unwrap();
        write_some_of_each_kind(&b);
        exchange(&a, &b);
        let later = a.delta_since(&since).unwrap().into_bytes();
        a.forget_deletes(&a.version().unwrap()).unwrap();
        let below_floor = a.delta_since(&since).unwrap().into_bytes();
        let all = a.delta_since(&VersionVector::new()).unwrap().into_bytes();
        let pushed = [push_one.as_ref().to_vec(), push_two.as_ref().to_vec()];
        Honest { first, deltas: [later, below_floor, all], pushed }
    })
}

fn write_some_of_each_kind(store: &Store) {
    store.counter("visits").add(5).unwrap();
    store.flag("on").enable().unwrap();
    store.veto_flag("ok").disable().unwrap();
    store.set::<String>("tags").insert("x").unwrap();
    store.set::<String>("tags").insert("y").unwrap();
    store.map("note").map("meta").register::<String>("title").set("t").unwrap();
    store.map("note").counter("opens").add(1).unwrap();
    store.lattice::<BTreeSet<u64>>("seen").join(&BTreeSet::from([1])).unwrap();
}

/// A store that has what came first, and something of its own.
fn victim() -> Store {
    let victim = replica(9);
    victim.merge(&honest().first).unwrap();
    victim.register::<u64>(3).set(&99).unwrap();
    victim.counter("visits").add(1).unwrap();
    victim
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Copy(Index, Index, u8),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            3 => (at(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            3 => (at(), prop_oneof![any::<u8>(), 0..8_u8, Just(0xff)]).prop_map(|(at, byte)| Self::Set(at, byte)),
            1 => (at(), prop_oneof![any::<u8>(), 0..8_u8, Just(0xff)]).prop_map(|(at, byte)| Self::Insert(at, byte)),
            1 => at().prop_map(Self::Remove),
            1 => at().prop_map(Self::Cut),
            1 => (at(), at(), 1..40_u8).prop_map(|(from, to, len)| Self::Copy(from, to, len)),
        ]
    }

    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Self::Remove(at) => drop(bytes.remove(at.index(len))),
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Copy(from, to, count) => {
                let from = from.index(len);
                let piece = bytes[from..len.min(from + usize::from(*count))].to_vec();
                let to = to.index(len);
                bytes.splice(to..to, piece);
            }
        }
    }
}

fn mutated(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut frames = frames(bytes);
    for change in changes {
        change.make(&mut frames[0].1);
    }
    framed(&frames)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_mutated_below_its_checksum_is_an_error_or_a_delta(
        which in 0..3_usize,
        changes in proptest::collection::vec(Change::any(), 1..4),
        after in 0..3_usize,
    ) {
        let victim = victim();
        let bytes = mutated(&honest().deltas[which], &changes);
        if attack(&victim, &bytes).is_ok() {
            prop_assert!(!victim.merge(&bytes).unwrap().changed, "a second time is no change");
        }
        // Honest deltas go on to work; unless the mutant told of events that the honest ones have, too.
        for honest in [&honest().deltas[after], &honest().first] {
            drop(attack(&victim, honest));
        }
        goes_on(&victim);
    }

    #[test]
    fn a_transaction_mutated_below_its_checksum_is_an_error_or_a_transaction(
        which in 0..2_usize,
        changes in proptest::collection::vec(Change::any(), 1..4),
    ) {
        let victim = victim();
        if which == 1 {
            victim.apply(&honest().pushed[0]).unwrap();
        }
        drop(attack(&victim, &mutated(&honest().pushed[which], &changes)));
        for honest in &honest().pushed {
            drop(attack(&victim, honest));
        }
        goes_on(&victim);
    }

    #[test]
    fn bytes_of_any_kind_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..5_u8) {
        let victim = victim();
        prop_assert!(attack(&victim, &bytes).is_err());
        prop_assert!(attack(&victim, &framed(&[(kind, bytes)])).is_err());
    }
}

#[test]
fn a_delta_or_transaction_that_was_cut_is_refused_at_every_byte() {
    let victim = victim();
    let all = honest().deltas.iter().chain(&honest().pushed);
    for bytes in all {
        for cut in 0..bytes.len() {
            assert!(matches!(victim.merge(&bytes[..cut]), Err(Error::Malformed { .. })), "{cut}");
            assert!(matches!(victim.apply(&bytes[..cut]), Err(Error::Malformed { .. })), "{cut}");
        }
        assert!(matches!(victim.merge([bytes, &b"x"[..]].concat()), Err(Error::Malformed { .. })));
        assert!(matches!(victim.apply([bytes, &b"x"[..]].concat()), Err(Error::Malformed { .. })));
    }
    victim.check().unwrap();
    goes_on(&victim);
}

#[test]
fn a_payload_that_was_cut_is_refused_at_every_byte_whatever_its_checksum() {
    let victim = victim();
    for bytes in honest().deltas.iter().chain(&honest().pushed) {
        let frame = frames(bytes).remove(0);
        for cut in 0..frame.1.len() {
            let bytes = framed(&[(frame.0, frame.1[..cut].to_vec())]);
            assert!(matches!(victim.merge(&bytes), Err(Error::Malformed { .. })), "{cut}");
            assert!(matches!(victim.apply(&bytes), Err(Error::Malformed { .. })), "{cut}");
        }
    }
    goes_on(&victim);
}

#[test]
fn every_flipped_bit_is_refused() {
    let victim = victim();
    for bytes in [&honest().deltas[0], &honest().pushed[0]] {
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(victim.merge(&bad), Err(Error::Malformed { .. })), "bit {bit}");
            assert!(matches!(victim.apply(&bad), Err(Error::Malformed { .. })), "bit {bit}");
        }
    }
    goes_on(&victim);
}

#[test]
fn frames_that_were_dropped_doubled_swapped_or_mixed_are_refused() {
    let (a, victim) = (replica(1), victim_of_nothing());
    let value = vec![7_u8; 200_000];
    for key in 0..12 {
        a.register::<Vec<u8>>(key).set(&value).unwrap();
    }
    let one = frames(a.delta_since(&VersionVector::new()).unwrap().as_ref());
    a.register::<Vec<u8>>(5).set(&value[1..].to_vec()).unwrap();
    let two = frames(a.delta_since(&VersionVector::new()).unwrap().as_ref());
    assert!(one.len() >= 4, "several frames");
    let mut sequences = vec![];
    for at in 0..one.len() {
        let mut dropped = one.clone();
        dropped.remove(at);
        sequences.push(dropped);
        let mut doubled = one.clone();
        doubled.insert(at, one[at].clone());
        sequences.push(doubled);
        if at > 0 {
            let mut swapped = one.clone();
            swapped.swap(at - 1, at);
            sequences.push(swapped);
        }
    }
    sequences.push([&one[..], &two[..]].concat());
    sequences.push([&one[..1], &two[1..]].concat());
    sequences.push([&two[..2], &one[2..]].concat());
    for sequence in &sequences {
        // As they are on the wire, each with the checksum it had: never.
        let raw: Vec<u8> = sequence.iter().flat_map(|frame| as_sent(&one, &two, frame)).collect();
        assert!(matches!(victim.merge(&raw), Err(Error::Malformed { .. })));
        // With checksums that hold: whatever is accepted is a delta.
        drop(attack(&replica(9), &framed(sequence)));
    }
    victim.merge(framed(&two)).unwrap();
    victim.check().unwrap();
    assert_eq!(victim.digest().unwrap(), a.digest().unwrap());
}

fn victim_of_nothing() -> Store {
    replica(9)
}

/// The bytes of a frame as it was sent in the first of two sequences that has it.
fn as_sent(one: &[(u8, Vec<u8>)], two: &[(u8, Vec<u8>)], wanted: &(u8, Vec<u8>)) -> Vec<u8> {
    for sequence in [one, two] {
        let mut chain = 0;
        for frame in sequence {
            let mut bytes = Vec::new();
            chain = write_frame(&mut bytes, chain, frame.0, &frame.1);
            if frame == wanted {
                return bytes;
            }
        }
    }
    panic!("a frame of neither sequence");
}

#[test]
fn a_delta_against_the_rules_is_malformed() {
    let a = path("a", REGISTER);
    let b = path("b", REGISTER);
    let value = stamped(1, &[1]);
    let one = [(1, 0, 5)];
    let row = |path: &[u8]| Forged::new(&one).write(path, (0, 1), &value);
    let live = |tail: &[u8]| Forged::below_floor(&[(1, 5, 9, 3), (2, 5, 9, 3)]).raw(&[&[3], tail].concat());
    let len = u8::try_from(a.len()).unwrap();
    let many = |count: &[u8]| Forged::new(&one).raw(&[&[1, 0, len][..], &a, &[0], count].concat());
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("no frames", vec![]),
        ("a frame of another kind", framed(&[(2, frames(&row(&a).end()).remove(0).1)])),
        (
            "no end",
            framed(&[(1, {
                let mut all = frames(&row(&a).end()).remove(0).1;
                all.pop();
                all
            })]),
        ),
        ("bytes behind the end", framed(&[(1, [&frames(&row(&a).end())[0].1[..], &[0]].concat())])),
        ("a frame behind the end", framed(&[frames(&row(&a).end()).remove(0), (2, vec![0])])),
        ("an empty frame", framed(&[frames(&row(&a).raw(&[1]).end()).remove(0), (2, vec![])])),
        (
            "an unknown flag",
            framed(&[(1, {
                let mut all = frames(&row(&a).end()).remove(0).1;
                all[16] = 2;
                all
            })]),
        ),
        ("an unknown item", row(&a).raw(&[4]).end()),
        ("a claim above 2^63", Forged::new(&[(1, 0, SEQ_MAX + 1)]).end()),
        ("a claim of 2^64", Forged::new(&[(1, 0, u64::MAX)]).end()),
        ("a claim of nothing", Forged::new(&[(1, 0, 0)]).end()),
        ("a base above the version", Forged::new(&[(1, 6, 5)]).end()),
        ("a floor above the version", Forged::below_floor(&[(1, 0, 5, 6)]).end()),
        ("replicas out of order", Forged::new(&[(2, 0, 1), (1, 0, 1)]).end()),
        ("a replica twice", Forged::new(&[(1, 0, 1), (1, 0, 1)]).end()),
        ("2^32 replicas", framed(&[(1, [&frames(&row(&a).end())[0].1[..17], &[0x80, 0x80, 0x80, 0x80, 0x10]].concat())])),
        ("rows out of order", row(&b).write(&a, (0, 2), &value).end()),
        ("a row twice", row(&a).write(&a, (0, 2), &value).end()),
        ("an event on two rows", row(&a).write(&b, (0, 1), &value).end()),
        ("a write and a delete", Forged::new(&one).row(&a, &[((0, 1), &value)], &[(0, 1)]).end()),
        ("a write and a delete elsewhere", row(&a).row(&b, &[], &[(0, 1)]).end()),
        ("entries out of order", Forged::new(&one).row(&a, &[((0, 2), &value), ((0, 1), &value)], &[]).end()),
        ("an entry twice", Forged::new(&one).row(&a, &[((0, 1), &value), ((0, 1), &value)], &[]).end()),
        ("deletes out of order", Forged::new(&one).row(&a, &[], &[(0, 2), (0, 1)]).end()),
        ("a delete twice", Forged::new(&one).row(&a, &[], &[(0, 2), (0, 2)]).end()),
        ("a delete below the base", Forged::new(&[(9, 1, 2)]).row(&a, &[], &[(0, 1)]).end()),
        ("an event above the version", Forged::new(&one).write(&a, (0, 6), &value).end()),
        ("event 0", Forged::new(&one).write(&a, (0, 0), &value).end()),
        ("a replica that the head does not have", Forged::new(&one).write(&a, (1, 1), &value).end()),
        ("replica 2^32", Forged::new(&one).write(&a, (1 << 32, 1), &value).end()),
        ("2^32 entries", many(&[0x80, 0x80, 0x80, 0x80, 0x10]).end()),
        ("2^64 - 1 entries", many(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).end()),
        ("2^32 deletes", many(&[0, 0x80, 0x80, 0x80, 0x80, 0x10]).end()),
        ("a payload of 2^32", many(&[1, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x10]).end()),
        ("a path that goes on from nothing", Forged::new(&one).raw(&[1, 1, 0, 0, 0, 0]).end()),
        ("a row that neither ends nor goes on", Forged::new(&one).raw(&[&[1, 0, len][..], &a, &[2]].concat()).end()),
        ("a row that ends with its frame", Forged::new(&one).raw(&[&[1, 0, len][..], &a, &[1, 0, 0]].concat()).end()),
        ("more of no row", Forged::new(&one).raw(&[2, 0, 0, 0]).end()),
        ("live numbers without a floor", row(&a).raw(&[3, 0, 0]).end()),
        ("live numbers of no replica", live(&[2, 0]).end()),
        ("live numbers above the base", live(&[0, 1, 12]).end()),
        ("live numbers up to 2^64", live(&[0, 1, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).end()),
        ("2^32 runs of live numbers", live(&[0, 0x80, 0x80, 0x80, 0x80, 0x10]).end()),
        ("live numbers out of order", live(&[1, 1, 2, 3, 0, 1, 2]).end()),
        ("a row behind live numbers", live(&[0, 0]).write(&a, (0, 6), &value).end()),
    ];
    let victim = victim_of_nothing();
    victim.register::<u64>("own").set(&1).unwrap();
    for (name, bytes) in bad {
        assert!(matches!(attack(&victim, &bytes), Err(Error::Malformed { .. })), "{name}");
    }
    goes_on(&victim);
}

#[test]
fn a_row_whose_path_is_none_is_malformed() {
    let long = path("k".repeat(1060), REGISTER);
    let element = [path("a", SET), vec![0x60]].concat();
    let contributor = [path("a", COUNTER), vec![7; 16]].concat();
    let paths: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("no key", vec![REGISTER]),
        ("no kind", path("a", REGISTER)[..3].to_vec()),
        ("kind 0", path("a", 0)),
        ("a kind of 0x20 without its part", path("a", 0x22)),
        ("text that does not end", vec![0x60, b'a']),
        ("text that is not UTF-8", vec![0x60, 0xff, 0, REGISTER]),
        ("an escape of nothing", vec![0x60, 1, 9, 0, REGISTER]),
        ("an integer with a zero in front", vec![0x39, 0, REGISTER]),
        ("an id that ends early", vec![0x70, 1, 2, 3]),
        ("bytes behind a register", [path("a", REGISTER), vec![1]].concat()),
        ("bytes behind a flag", [path("a", FLAG), vec![0x20]].concat()),
        ("a set without its element", path("a", SET)),
        ("an element that does not end", element),
        ("a kind behind an element", [path("a", SET), vec![0x20, REGISTER]].concat()),
        ("a map without a field", path("a", MAP)),
        ("a field without a kind", [path("a", MAP), vec![0x20]].concat()),
        ("a kind as a field", [path("a", MAP), vec![REGISTER]].concat()),
        ("a counter without a contributor", path("a", COUNTER)),
        ("half a contributor", contributor[..contributor.len() - 1].to_vec()),
        ("a reset of kind 2", [&contributor[..], &[2]].concat()),
        ("bytes behind a reset", [&contributor[..], &[1, 1]].concat()),
        ("too long", long),
    ];
    let victim = victim_of_nothing();
    victim.register::<u64>("own").set(&1).unwrap();
    for (name, path) in paths {
        let delta = Forged::new(&[(1, 0, 5)]).write(&path, (0, 1), &[0]).end();
        assert!(matches!(attack(&victim, &delta), Err(Error::Malformed { .. })), "{name}");
    }
    goes_on(&victim);
}

#[test]
fn a_delta_of_another_space_or_of_the_future_changes_nothing() {
    let victim = victim();
    let other = victim.space("other").unwrap();
    other.counter("c").add(1).unwrap();
    let delta = other.delta_since(&VersionVector::new()).unwrap();
    assert!(matches!(attack(&victim, delta.as_ref()), Err(Error::WrongSpace { .. })));
    let ahead = Forged::new(&[(77, 3, 5)]).end();
    let Err(Error::Behind { need }) = attack(&victim, &ahead) else { panic!("merged with a gap") };
    assert_eq!(need.get(ReplicaId::from_u128(77)), 3);
    let own = victim.version().unwrap().get(ReplicaId::from_u128(9));
    let mine = Forged::new(&[(9, 0, own + 1)]).end();
    // Who is told of own events takes a new id, for it may be a copy; a liar gets no more than that.
    assert!(attack(&victim, &mine).unwrap());
    assert!(matches!(*victim.take_events(), [StoreEvent::IdentityRotated { new: None, replayed: 0, .. }]));
    goes_on(&victim);
}
