//! Each decoder that no other target calls directly. What decodes is written as the same bytes, or as bytes that decode to it again; what does not is
//! an error; and memory is in proportion to the input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::key::{KeyBuf, OwnedKey};
use tombolo::codec::{FRAME_HEADER, FrameReader, Reader, Writer, frame_len, msgpack, varint_len, write_frame};
use tombolo::crdt::{
    BoundedCounter, CausalCounter, Crdt, DwFlag, EwFlag, Expiring, FirstWriteRegister, GCounter, GSet, HyperLogLog, LwwMap,
    LwwRegister, Max, Min, MvRegister, OneWayFlag, OrMap, OrMultiMap, OrSet, PnCounter, ResetCounter, RwSet, TwoPhaseSet,
};
use tombolo::kv::Dynamic;
use tombolo::system::{Clock, Entropy};
use tombolo::{Error, Store};

/// What a decoder may take for each byte of the input, and besides.
const MEMORY_EACH: u64 = 256;
const MEMORY_BESIDES: u64 = 64 << 10;

type Decode = fn(&[u8]);

/// The first byte of an input chooses one. New ones come at the end: the corpus names them by number.
const DECODERS: [Decode; 40] = [
    varints,
    frames,
    typed_key::<String>,
    typed_key::<Vec<u8>>,
    typed_key::<bool>,
    typed_key::<[u8; 16]>,
    typed_key::<u8>,
    typed_key::<i64>,
    typed_key::<i128>,
    typed_key::<(String, u64, bool)>,
    value::<String>,
    value::<f64>,
    value::<Option<i128>>,
    value::<Vec<(u8, Vec<u16>)>>,
    value::<BTreeMap<String, BTreeSet<i64>>>,
    crdt::<GCounter>,
    crdt::<PnCounter>,
    crdt::<ResetCounter>,
    crdt::<BoundedCounter>,
    crdt::<LwwRegister<u8, u64>>,
    crdt::<FirstWriteRegister<u8, u64>>,
    crdt::<Expiring<u8, u64>>,
    crdt::<Max<u64>>,
    crdt::<Min<u64>>,
    crdt::<OneWayFlag>,
    crdt::<GSet<u64>>,
    crdt::<TwoPhaseSet<u64>>,
    crdt::<HyperLogLog<10>>,
    crdt::<MvRegister<u8>>,
    crdt::<EwFlag>,
    crdt::<DwFlag>,
    crdt::<OrSet<u8>>,
    crdt::<RwSet<u8>>,
    crdt::<LwwMap<u8, u8, u64>>,
    crdt::<CausalCounter>,
    crdt::<OrMap<u8, MvRegister<u8>>>,
    crdt::<OrMap<u8, CausalCounter>>,
    crdt::<OrMap<u8, OrMap<u8, MvRegister<u8>>>>,
    crdt::<OrMultiMap<u8, u64>>,
    dynamic,
];

/// `peak_of` says how many bytes were held at most while something ran.
pub(super) fn run(input: &[u8], peak_of: impl Fn(&mut dyn FnMut()) -> u64) {
    let Some((which, bytes)) = input.split_first() else { return };
    if let Some(decode) = DECODERS.get(usize::from(*which)) {
        let peak = peak_of(&mut || decode(bytes));
        let most = MEMORY_BESIDES + MEMORY_EACH * bytes.len() as u64;
        assert!(peak <= most, "decoder {which}: {peak} bytes of memory for {} bytes", bytes.len());
        return;
    }
    match which % 4 {
        0 => streams(bytes),
        1 => versions(bytes),
        2 => pushes(bytes),
        _ => lattices(bytes),
    }
}

/// Numbers and byte strings, as the input says which.
fn varints(bytes: &[u8]) {
    let mut from = Reader::new(bytes);
    let mut to = Writer::new();
    while let Ok(what) = from.u8() {
        to.u8(what);
        let read = match what % 5 {
            0 => from.u64().map(|value| {
                assert!(varint_len(value) <= 10);
                to.u64(value);
            }),
            1 => from.i64().map(|value| to.i64(value)),
            2 => from.bytes(usize::from(what)).map(|value| to.bytes(value)),
            3 => from.array::<8>().map(|value| to.raw(&value)),
            _ => from.u32().map(|value| to.u64(u64::from(value))),
        };
        if read.is_err() {
            return;
        }
        assert_eq!(to.len(), from.position());
    }
    assert_eq!(to.as_slice(), bytes);
}

/// Raw frames; and the input as the payload of two, with a change that must not go unnoticed.
fn frames(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes);
    let (mut again, mut chain) = (Vec::new(), 0);
    while let Ok(Some(frame)) = reader.next_frame() {
        chain = write_frame(&mut again, chain, frame.kind, frame.payload);
        assert!(bytes.starts_with(&again));
    }
    if let Some(header) = bytes.first_chunk::<FRAME_HEADER>() {
        let _refused_or_not = frame_len(header);
    }
    let [kind, cut, at, bit, payload @ ..] = bytes else { return };
    let (one, other) = payload.split_at(usize::from(*cut).min(payload.len()));
    let mut written = Vec::new();
    let chain = write_frame(&mut written, 0, *kind, one);
    write_frame(&mut written, chain, kind.wrapping_add(1), other);
    let read = |bytes: &[u8]| {
        let mut reader = FrameReader::new(bytes);
        let frames = [reader.next_frame(), reader.next_frame()];
        let [Ok(Some(first)), Ok(Some(second))] = frames else { return None };
        Some((first.payload.to_vec(), second.payload.to_vec()))
    };
    assert_eq!(read(&written), Some((one.to_vec(), other.to_vec())));
    let at = usize::from(*at) % written.len();
    written[at] ^= 1 << (bit % 8);
    assert_eq!(read(&written), None, "a flipped bit");
}

fn typed_key<K: OwnedKey>(bytes: &[u8]) {
    let Ok(key) = KeyBuf::from_encoded(bytes) else { return };
    if let Ok(typed) = key.decode::<K>() {
        assert_eq!(KeyBuf::from_key(typed).as_bytes(), bytes);
    }
}

fn value<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = msgpack::from_bytes::<T>(bytes) else { return };
    let Ok(canonical) = msgpack::to_bytes(&value) else { return };
    let again = msgpack::from_canonical_bytes::<T>(&canonical).expect("what is written is canonical");
    assert_eq!(msgpack::to_bytes(&again).expect("it was written before"), canonical);
    assert_eq!(msgpack::from_canonical_bytes::<T>(bytes).is_ok(), canonical == bytes);
}

/// A state like any other: it can be read, joined and written again.
fn crdt<T: Crdt + Debug + Serialize + DeserializeOwned>(bytes: &[u8]) {
    value::<T>(bytes);
    // Two states that the input has: its halves.
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let states = [bytes, one, other].map(|bytes| msgpack::from_bytes::<T>(bytes).ok());
    for state in states.iter().flatten() {
        drop(state.read());
        let mut joined = state.clone();
        assert!(!joined.join(state), "a state has nothing that it lacks itself: {state:?}");
        for other in states.iter().flatten() {
            let mut joined = state.clone();
            joined.join(other);
            drop(joined.read());
            let bytes = msgpack::to_bytes(&joined).expect("a state can be written");
            assert!(msgpack::from_bytes::<T>(&bytes).expect("and read") == joined);
        }
    }
}

fn dynamic(bytes: &[u8]) {
    msgpack::check(bytes).map_or_else(
        |_refused| assert!(msgpack::from_bytes::<Dynamic>(bytes).is_err()),
        |()| {
            let Ok(value) = msgpack::from_bytes::<Dynamic>(bytes) else { return };
            let written = msgpack::to_bytes(&value).expect("what was read can be written");
            let again = msgpack::from_bytes::<Dynamic>(&written).expect("and read");
            assert_eq!(msgpack::to_bytes(&again).expect("again"), written);
            assert!(!value.to_string().is_empty());
        },
    );
}

/// Equal histories, equal bytes.
#[derive(Debug, Clone, Copy)]
struct Stopped;

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        1_735_689_600_000
    }
}

/// Of each replica, the same ids in each run: a delta may tell a store that it is a copy, which takes a new one.
#[derive(Debug)]
struct Numbers(AtomicU64);

impl Entropy for Numbers {
    fn fill(&self, to: &mut [u8]) -> std::io::Result<()> {
        for piece in to.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            piece.copy_from_slice(&number[..piece.len()]);
        }
        Ok(())
    }
}

fn replica(id: u64) -> Store {
    let ids = Numbers(AtomicU64::new(id << 32));
    Store::options().replica(ReplicaId::from_u128(id.into())).clock(Stopped).entropy(ids).in_memory()
}

/// A store with something in it, and the bytes of its space.
fn some() -> (Store, [u8; 16]) {
    let store = replica(1);
    store.register::<u8>("a").set(&1).expect("memory does not fail");
    store.counter("c").add(2).expect("memory does not fail");
    store.set::<u8>("s").insert(&3).expect("memory does not fail");
    let space = store.status().expect("memory does not fail").space.to_string().replace('-', "");
    (store, u128::from_str_radix(&space, 16).expect("an id").to_be_bytes())
}

/// Gives a few bytes at a time.
struct Slowly<'a>(&'a [u8], usize);

impl std::io::Read for Slowly<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(to.len()).min(self.0.len());
        let (piece, rest) = self.0.split_at(len);
        to[..len].copy_from_slice(piece);
        self.0 = rest;
        Ok(len)
    }
}

/// A delta in several frames is the same as a slice and as a stream.
fn streams(bytes: &[u8]) {
    let [pace, cut, payload @ ..] = bytes else { return };
    let ((sliced, space), (streamed, _)) = (some(), some());
    let payload = [&space[..], payload].concat();
    let (first, second) = payload.split_at(usize::from(*cut).min(payload.len()));
    let mut framed = Vec::new();
    let chain = write_frame(&mut framed, 0, 1, first);
    if !second.is_empty() {
        write_frame(&mut framed, chain, 2, second);
    }
    let one = sliced.merge(&framed).map_err(|error| error.to_string());
    let other = streamed.merge_from(Slowly(&framed, 1 + usize::from(*pace))).map_err(|error| error.to_string());
    assert_eq!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
    assert_eq!(sliced.digest().expect("memory does not fail"), streamed.digest().expect("memory does not fail"));
    streamed.check().expect("the store is whole");
}

/// Whatever version somebody claims to have, the answer is one.
fn versions(bytes: &[u8]) {
    let Ok(version) = VersionVector::from_bytes(bytes) else { return };
    let (store, _) = some();
    drop(store.changes_since(&version, ()).map(|changes| format!("{changes:?}")));
    let delta = store.delta_since(&version).expect("a delta since any version");
    let peer = replica(2);
    match peer.merge(&delta) {
        Ok(_) => assert_eq!(peer.digest().expect("memory does not fail"), store.digest().expect("memory does not fail")),
        Err(Error::Behind { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
    drop(store.forget_deletes(&version));
    store.check().expect("the store is whole");
}

/// A transaction, in a frame that holds.
fn pushes(bytes: &[u8]) {
    let (store, space) = some();
    let digest = store.digest().expect("memory does not fail");
    let mut framed = Vec::new();
    write_frame(&mut framed, 0, 3, &[&space[..], bytes].concat());
    let is_merged = matches!(store.apply(&framed), Ok(tombolo::kv::Applied::Merged(_)));
    // What is refused may have told the store that it is a copy: then it has a new id.
    if !is_merged && store.take_events().is_empty() {
        assert_eq!(store.digest().expect("memory does not fail"), digest);
    }
    store.check().expect("the store is whole");
    store.scan(()).for_each(drop);
}

/// A lattice of the application, whose bytes come from a peer.
fn lattices(bytes: &[u8]) {
    let store = replica(1);
    let lattice = store.lattice::<TwoPhaseSet<u64>>("l");
    if let Ok(state) = msgpack::from_bytes::<TwoPhaseSet<u64>>(bytes) {
        drop(lattice.join(&state));
        drop(lattice.join_if_new(&state));
        let read = lattice.get().expect("what was written is read");
        drop(read.read());
        store.check().expect("the store is whole");
    }
}
