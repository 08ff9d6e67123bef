//! The first inputs of each target: what is whole and has everything in it once. Fuzzers change it from there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use tombolo::Store;
use tombolo::causal::{CausalContext, Dot, ReplicaId, VersionVector};
use tombolo::codec::key::KeyBuf;
use tombolo::codec::{FrameReader, Writer, msgpack};
use tombolo::proptest as strategies;
use tombolo::sim::Rng;

use crate::sync::replica;

type Inputs = Vec<Vec<u8>>;

/// Makes the inputs of a target.
pub(super) fn write(folder: &Path, target: &str) {
    let inputs = match target {
        "keys" => keys(),
        "merge" => merges(),
        "batches" => batches(),
        "history" => (0_u64..24).map(|seed| (seed * 1_000_003).to_le_bytes().to_vec()).collect(),
        "engine" => engines(),
        "recovery" => recoveries(),
        "decoders" => decoders(),
        other => panic!("{other}"),
    };
    fs::create_dir_all(folder).unwrap();
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:02}")), input).unwrap();
    }
}

fn id(number: u128) -> ReplicaId {
    ReplicaId::from_u128(number << 64 | 5)
}

fn vectors() -> Inputs {
    let vectors = [0, 1, 2, 5].map(|count| (0..count).map(|at| (id(at), 1 << (7 * at))).collect::<VersionVector>());
    vectors.iter().map(VersionVector::to_bytes).collect()
}

fn typed_keys() -> Inputs {
    let id = [7_u8; 16];
    [
        KeyBuf::from_key("te\0xt\u{1}"),
        KeyBuf::from_key(b"by\0\x01tes".to_vec()),
        KeyBuf::from_key(true),
        KeyBuf::from_key(id),
        KeyBuf::from_key(200_u8),
        KeyBuf::from_key(i64::MIN),
        KeyBuf::from_key(i128::MAX),
        KeyBuf::from_key(("a", 70_000_u64, false)),
    ]
    .map(|key| key.as_bytes().to_vec())
    .into()
}

fn values() -> Inputs {
    let map = BTreeMap::from([("a", [-1_i64, 2].as_slice()), ("b", &[])]);
    let nested = vec![(1_u8, vec![2_u16, 3000]), (4, vec![])];
    [
        msgpack::to_bytes("text"),
        msgpack::to_bytes(&-0.0_f64),
        msgpack::to_bytes(&Some(i128::from(u64::MAX))),
        msgpack::to_bytes(&nested),
        msgpack::to_bytes(&map),
    ]
    .map(Result::unwrap)
    .into()
}

fn keys() -> Inputs {
    let mut context = CausalContext::new();
    for seq in [1, 2, 5, 6, 900] {
        context.insert(Dot::new(id(1), seq));
        context.insert(Dot::new(id(3), seq + 1));
    }
    [typed_keys(), vectors(), values(), vec![CausalContext::new().to_bytes(), context.to_bytes()]].concat()
}

/// A store in which everything occurs, and the version that it had in between.
fn storied() -> (Store, VersionVector, Vec<u8>) {
    let (store, peer) = (replica(21), replica(22));
    for store in [&store, &peer] {
        store.register::<String>(("note", 7)).set("value").unwrap();
        store.counter("c").add(5).unwrap();
        store.flag("f").enable().unwrap();
        store.veto_flag("v").disable().unwrap();
        store.set::<(bool, i64)>("s").insert(&(true, -300)).unwrap();
        store.map("m").map("n").register::<u64>("z").set(&12_345).unwrap();
        store.lattice::<std::collections::BTreeSet<u64>>("l").join(&[3, 9].into()).unwrap();
    }
    store.merge(peer.delta_since(&VersionVector::new()).unwrap()).unwrap();
    let since = store.version().unwrap();
    store.counter("c").reset().unwrap();
    store.delete(("note", 7)).unwrap();
    let tx = store.begin().unwrap();
    tx.register::<u8>("a").set(&1).unwrap();
    tx.counter("c").add(1).unwrap();
    let pushed = tx.commit_and_push().unwrap().unwrap().as_ref().to_vec();
    (store, since, pushed)
}

/// The kind and the payload of each frame, without its space.
fn payloads(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = FrameReader::new(bytes);
    std::iter::from_fn(|| frames.next_frame().unwrap()).map(|frame| (frame.kind, frame.payload[16..].to_vec())).collect()
}

fn merges() -> Inputs {
    let (store, since, pushed) = storied();
    let small = replica(23);
    let mut inputs = vec![vec![], vec![1], vec![3]];
    let mut add =
        |bytes: &[u8]| inputs.extend(payloads(bytes).into_iter().map(|(kind, payload)| [&[kind][..], &payload].concat()));
    add(&pushed);
    add(store.delta_since(&VersionVector::new()).unwrap().as_ref());
    add(store.delta_since(&since).unwrap().as_ref());
    add(store.canonical().unwrap().as_ref());
    for number in 0..4_u8 {
        match number {
            0 => small.register::<u8>("a").set(&9).unwrap(),
            1 => small.counter("c").add(-7).unwrap(),
            2 => small.set::<u8>("s").insert(&4).unwrap(),
            _ => drop(small.delete("a").unwrap()),
        }
        add(small.delta_since(&VersionVector::new()).unwrap().as_ref());
    }
    inputs
}

/// What a stranger says, in the form of `fuzz/bodies/engine.rs`: frames of its own, frames of others, time, writes.
/// Any bytes are steps of some kind.
fn batches() -> Inputs {
    let mut rng = Rng::new(1);
    (0..24).map(|at| (0..40 * (at + 1)).map(|_| rng.next_u64().to_le_bytes()[0]).collect()).collect()
}

fn engines() -> Inputs {
    let (store, _since, pushed) = storied();
    let space = u128::from_str_radix(&store.status().unwrap().space.to_string().replace('-', ""), 16).unwrap();
    let framed = |body: &[u8]| {
        let frame = [&[1, 0][..], &space.to_be_bytes(), body].concat();
        [&[0, u8::try_from(frame.len()).unwrap()][..], &frame].concat()
    };
    let digests = [9; 24];
    let hello = framed(&[&[1, 2][..], &digests].concat());
    let named = framed(&[&[1, 7][..], &[3; 16], &digests].concat());
    let pull = framed(&[2, 1, 4, 0]);
    let resumed = framed(&[2, 2, 6, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0]);
    let mut have = Writer::new();
    have.raw(&[5, 4, 1, 0]);
    have.raw(&[3; 16]);
    have.raw(&[7, 1, 1]);
    let have = framed(have.as_slice());
    let bye = framed(&[6, 1, 2, b'h', b'i']);
    let batch = framed(&[&[3, 1][..], &[0; 8], &[0, 1, 3], b"abc"].concat());
    let push = framed(&[&[4][..], &payloads(&pushed)[0].1].concat());
    let pages = [&[1, 0][..], &[3; 16], &[2, 3], &[7; 8], &[4], &[8; 8]].concat();
    let paged = framed(&[&[2, 3, 12, 1, 0][..], &[3; 16], &[7], &pages].concat());
    let pages = framed(&[&[8, 1][..], &pages].concat());
    let (wait, writes) = (vec![3, 50], vec![4, 1, 5, 2, 4, 3]);
    let replayed = vec![2, 0, 5, 5, 2, 1, 9, 1, 2, 3, 20, 2, 2, 4, 9, 9];
    let alone = [6, 1];
    let single =
        [&hello, &named, &pull, &resumed, &have, &bye, &batch, &push, &writes, &replayed, &paged, &pages].map(Clone::clone);
    let long = [
        [&hello[..], &wait, &pull, &wait, &writes, &wait, &have].concat(),
        [&alone[..], &hello, &pull, &wait, &batch, &push].concat(),
        [&alone[..], &hello, &wait, &pages, &paged, &wait, &pages].concat(),
        [&writes[..], &named, &wait, &replayed, &wait, &bye].concat(),
        [&named[..], &push, &have, &resumed, &wait, &writes].concat(),
    ];
    single.into_iter().chain(long).collect()
}

/// Steps of each sort, and damage of each sort, in the form of `fuzz/bodies/recovery.rs`.
fn recoveries() -> Inputs {
    let steps = |from: u8| -> Vec<u8> { (0..8).flat_map(|at| [from + at, at, 30 * at + 7]).collect() };
    let mut inputs = Inputs::new();
    for how in 0..4_u8 {
        for what in 0..8_u8 {
            let damage: Vec<u8> = [[what + 0x20, what.wrapping_mul(40), 3, 9 * how, 0xff], [what, 2, 60 + what, 1, 5]].concat();
            inputs.push([&[how, 7][..], &steps(what % 5), &damage].concat());
        }
        inputs.push([&[how, 7][..], &steps(4)].concat());
    }
    inputs
}

/// Two states of a type, with the number of its decoder.
fn states<T: Debug + Serialize>(inputs: &mut Inputs, runner: &mut TestRunner, of: impl Strategy<Value = T>) {
    let number = u8::try_from(FIRST_CRDT + (inputs.len() - BEFORE) / 2).unwrap();
    for _ in 0..2 {
        let state = of.new_tree(runner).unwrap().current();
        inputs.push([&[number][..], &msgpack::to_bytes(&state).unwrap()].concat());
    }
}

/// How many decoders come before those of the data types, and how many inputs.
const FIRST_CRDT: usize = 15;
const BEFORE: usize = 16;

fn decoders() -> Inputs {
    let numbered = |number: usize, bytes: &[u8]| [&[u8::try_from(number).unwrap()][..], bytes].concat();
    let (store, _since, pushed) = storied();
    let mut inputs = vec![
        numbered(0, &[0, 0xff, 1, 1, 3, 7, 2, b'a', b'b', 3, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9]),
        numbered(1, &pushed),
        numbered(1, b"\x01\x03\x05\x02abcdefgh"),
    ];
    inputs.extend((2..).zip(typed_keys()).map(|(number, key)| numbered(number, &key)));
    inputs.extend((10..).zip(values()).map(|(number, value)| numbered(number, &value)));
    assert_eq!(inputs.len(), BEFORE);

    let (of, all) = (&mut TestRunner::deterministic(), &mut inputs);
    let byte = any::<u8>;
    let stamp = any::<u64>;
    states(all, of, strategies::g_counters());
    states(all, of, strategies::pn_counters());
    states(all, of, strategies::reset_counters());
    states(all, of, strategies::bounded_counters());
    states(all, of, strategies::lww_registers(byte(), stamp()));
    states(all, of, strategies::first_write_registers(byte(), stamp()));
    states(all, of, strategies::expirings(byte(), stamp()));
    states(all, of, strategies::maxima(stamp()));
    states(all, of, strategies::minima(stamp()));
    states(all, of, strategies::one_way_flags());
    states(all, of, strategies::g_sets(stamp()));
    states(all, of, strategies::two_phase_sets(stamp()));
    states(all, of, strategies::hyper_log_logs());
    states(all, of, strategies::mv_registers(byte()));
    states(all, of, strategies::ew_flags());
    states(all, of, strategies::dw_flags());
    states(all, of, strategies::or_sets(byte()));
    states(all, of, strategies::rw_sets(byte()));
    states(all, of, strategies::lww_maps(byte(), byte(), stamp()));
    states(all, of, strategies::causal_counters());
    states(all, of, strategies::or_maps_of_registers(byte(), byte()));
    states(all, of, strategies::or_maps_of_counters(byte()));

    let maps = inputs.len();
    let nested = inputs[maps - 1][1..].to_vec();
    inputs.extend(values().iter().map(|value| numbered(39, value)));
    // Those behind the last decoder are chosen by what is left of four.
    for (kind, payload) in payloads(store.delta_since(&VersionVector::new()).unwrap().as_ref()) {
        assert_eq!(kind, 1);
        inputs.push(numbered(40, &[&[3, 70][..], &payload].concat()));
        inputs.push(numbered(40, &[&[200, 255][..], &payload].concat()));
    }
    inputs.extend(vectors().iter().map(|vector| numbered(41, vector)));
    inputs.push(numbered(42, &payloads(&pushed)[0].1));
    inputs.push(numbered(43, &nested));
    inputs
}
