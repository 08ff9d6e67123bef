//! Deltas and pushed transactions written by hand, the way a hostile peer does: every checksum holds, and nothing else need to.

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::key::{Key, KeyBuf};
use tombolo::codec::{FrameReader, Writer, write_frame};
use tombolo::{Error, Store};

use crate::sync::{replica, send};

pub(crate) const REGISTER: u8 = 1;
pub(crate) const COUNTER: u8 = 2;
pub(crate) const FLAG: u8 = 3;
pub(crate) const VETO_FLAG: u8 = 4;
pub(crate) const SET: u8 = 5;
pub(crate) const MAP: u8 = 6;
pub(crate) const LATTICE: u8 = 7;

/// A dot of the wire: the place of its replica in the head, and its number.
pub(crate) type WireDot = (u64, u64);

/// The path of the row of a kind under a key.
pub(crate) fn path(key: impl Key, kind: u8) -> Vec<u8> {
    [KeyBuf::from_key(key).as_bytes(), &[kind]].concat()
}

/// The payload of a register: a stamp, and a value in MessagePack.
pub(crate) fn stamped(stamp: u64, value: &[u8]) -> Vec<u8> {
    [&stamp.to_be_bytes(), value].concat()
}

/// The id that all stores of the default space share.
fn space() -> Vec<u8> {
    let delta = replica(1).delta_since(&VersionVector::new()).unwrap();
    frames(delta.as_ref())[0].1[..16].to_vec()
}

/// The frames of a sequence: what each is, and what it carries.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut reader = FrameReader::new(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push((frame.kind, frame.payload.to_vec()));
    }
    frames
}

/// A sequence of frames whose checksums hold.
pub(crate) fn framed<'a>(frames: impl IntoIterator<Item = &'a (u8, Vec<u8>)>) -> Vec<u8> {
    let (mut bytes, mut chain) = (Vec::new(), 0);
    for (kind, payload) in frames {
        chain = write_frame(&mut bytes, chain, *kind, payload);
    }
    bytes
}

/// A delta in the making.
pub(crate) struct Forged {
    to: Writer,
}

impl Forged {
    /// A delta whose sender knows replicas `(id, base, version)`.
    pub(crate) fn new(replicas: &[(u128, u64, u64)]) -> Self {
        let mut to = Writer::new();
        to.raw(&space());
        to.u8(0);
        to.raw(&[0; 16]);
        to.u64(replicas.len() as u64);
        for (id, base, version) in replicas {
            to.raw(&ReplicaId::from_u128(*id).to_bytes());
            to.u64(*base);
            to.u64(*version);
            to.u64(0);
        }
        Self { to }
    }

    /// A delta from below the floor; `(id, base, version, floor)`.
    pub(crate) fn below_floor(replicas: &[(u128, u64, u64, u64)]) -> Self {
        let mut to = Writer::new();
        to.raw(&space());
        to.u8(1);
        to.raw(&[0; 16]);
        to.u64(replicas.len() as u64);
        for (id, base, version, floor) in replicas {
            to.raw(&ReplicaId::from_u128(*id).to_bytes());
            to.u64(*base);
            to.u64(*version);
            to.u64(*floor);
            to.u64(0);
        }
        Self { to }
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.to.raw(bytes);
        self
    }

    /// A row with entries that carry payloads, and with deletes.
    pub(crate) fn row(mut self, path: &[u8], entries: &[(WireDot, &[u8])], deletes: &[WireDot]) -> Self {
        self.to.u8(1);
        self.to.u64(0);
        self.to.bytes(path);
        self.to.u8(0);
        self.to.u64(entries.len() as u64);
        for (dot, payload) in entries {
            self.dot(*dot);
            self.to.bytes(payload);
        }
        self.to.u64(deletes.len() as u64);
        deletes.iter().for_each(|dot| self.dot(*dot));
        self
    }

    /// One write of one replica.
    pub(crate) fn write(self, path: &[u8], dot: WireDot, payload: &[u8]) -> Self {
        self.row(path, &[(dot, payload)], &[])
    }

    fn dot(&mut self, (replica, seq): WireDot) {
        self.to.u64(replica);
        self.to.u64(seq);
    }

    /// The whole delta, in one frame.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.to.u8(0);
        framed(&[(1, self.to.into_vec())])
    }
}

/// Hands bytes to a store, as a delta and as a transaction. Whatever they are, they are in or they changed nothing, and the store
/// is whole. Returns whether it changed, by the one that the first frame is meant for.
pub(crate) fn attack(store: &Store, bytes: &[u8]) -> Result<bool, Error> {
    let apply = attempt(store, || store.apply(bytes).map(|applied| matches!(applied, tombolo::kv::Applied::Merged(_))));
    let merge = attempt(store, || store.merge(bytes).map(|merged| merged.changed));
    // The kind of a frame stands behind its magic and its version.
    let (result, other) = if bytes.get(3) == Some(&3) { (apply, merge) } else { (merge, apply) };
    assert!(matches!(other, Err(Error::Malformed { .. })), "bytes that are both a delta and a transaction");
    result
}

fn attempt(store: &Store, body: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
    let (status, all) = (store.status().unwrap(), store.canonical().unwrap());
    let result = body();
    if matches!(result, Ok(true)) {
        assert!(store.version().unwrap().covers(&status.version), "a version shrank");
        assert!(store.status().unwrap().floor.covers(&status.floor), "a floor shrank");
    } else {
        assert_eq!(store.status().unwrap().digest, status.digest, "{result:?}");
        assert_eq!(store.status().unwrap().version, status.version, "{result:?}");
        assert_eq!(store.status().unwrap().floor, status.floor, "{result:?}");
        assert_eq!(store.canonical().unwrap(), all, "{result:?}");
    }
    store.check().unwrap();
    result
}

/// The store goes on to work: it merges what an honest peer wrote, writes, and hands everything on to a newcomer and to a peer
/// that was there before.
pub(crate) fn goes_on(store: &Store) {
    let friend = replica(0xf00d);
    friend.counter("goes on").add(1).unwrap();
    send(&friend, store);
    store.counter("goes on").add(1).unwrap();
    store.check().unwrap();
    let newcomer = replica(0xbeef);
    send(store, &newcomer);
    assert_eq!(newcomer.digest().unwrap(), store.digest().unwrap());
    send(store, &friend);
    assert_eq!(friend.digest().unwrap(), store.digest().unwrap());
    newcomer.check().unwrap();
    friend.check().unwrap();
}
