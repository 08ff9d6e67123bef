//! What applications do, at random: a transaction's worth of writes of every kind, on few keys, so that they meet.

use std::collections::BTreeSet;
use std::fmt::Write;

use proptest::prelude::*;
use tombolo::causal::ReplicaId;
use tombolo::codec::Reader;
use tombolo::kv::{Result, Snapshot, Tx};
use tombolo::{Error, Store};

use crate::forge::frames;

/// One write.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Set(u8, u8),
    SetOverNothing(u8, u8),
    Clear(u8),
    Add(u8, i64),
    Reset(u8),
    Flag(u8, bool),
    Veto(u8, bool),
    Forget(u8),
    Insert(u8, u8),
    Remove(u8, u8),
    Empty(u8),
    Field(u8, u8, u8),
    DropField(u8, u8),
    DropMap(u8),
    Join(u8, u8),
    Delete(u8),
    DeletePrefix(u8),
}

impl Deed {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let key = || 0..3_u8;
        let small = || 0..3_u8;
        prop_oneof![
            4 => (key(), small()).prop_map(|(key, value)| Self::Set(key, value)),
            1 => (key(), small()).prop_map(|(key, value)| Self::SetOverNothing(key, value)),
            1 => key().prop_map(Self::Clear),
            4 => (key(), -2..3_i64).prop_map(|(key, amount)| Self::Add(key, amount)),
            1 => key().prop_map(Self::Reset),
            2 => (key(), any::<bool>()).prop_map(|(key, on)| Self::Flag(key, on)),
            2 => (key(), any::<bool>()).prop_map(|(key, on)| Self::Veto(key, on)),
            1 => key().prop_map(Self::Forget),
            3 => (key(), small()).prop_map(|(key, element)| Self::Insert(key, element)),
            2 => (key(), small()).prop_map(|(key, element)| Self::Remove(key, element)),
            1 => key().prop_map(Self::Empty),
            3 => (key(), small(), small()).prop_map(|(key, field, value)| Self::Field(key, field, value)),
            1 => (key(), small()).prop_map(|(key, field)| Self::DropField(key, field)),
            1 => key().prop_map(Self::DropMap),
            2 => (key(), small()).prop_map(|(key, value)| Self::Join(key, value)),
            2 => key().prop_map(Self::Delete),
            1 => key().prop_map(Self::DeletePrefix),
        ]
    }

    /// A transaction's worth.
    pub(crate) fn some() -> impl Strategy<Value = Vec<Self>> {
        proptest::collection::vec(Self::any(), 1..4)
    }

    pub(crate) fn run(&self, tx: &Tx) -> Result<()> {
        match *self {
            Self::Set(key, value) => tx.register::<u8>(key).set(&value),
            Self::SetOverNothing(key, value) => {
                let nothing = Store::in_memory().register::<u8>(key).read()?;
                tx.register::<u8>(key).set_over(&nothing, &value)
            }
            Self::Clear(key) => tx.register::<u8>(key).delete(),
            Self::Add(key, amount) => tx.counter(key).add(amount),
            Self::Reset(key) => tx.counter(key).reset(),
            Self::Flag(key, true) => tx.flag(key).enable(),
            Self::Flag(key, false) => tx.flag(key).disable(),
            Self::Veto(key, true) => tx.veto_flag(key).enable(),
            Self::Veto(key, false) => tx.veto_flag(key).disable(),
            Self::Forget(key) => tx.flag(key).delete(),
            Self::Insert(key, element) => tx.set::<u8>(key).insert(&element),
            Self::Remove(key, element) => tx.set::<u8>(key).remove(&element),
            Self::Empty(key) => tx.set::<u8>(key).clear(),
            Self::Field(key, field, value) => {
                tx.map((key, "m")).map(field).counter("n").add(1)?;
                tx.map((key, "m")).register::<u8>(field).set(&value)
            }
            Self::DropField(key, field) => tx.map((key, "m")).delete_field(field).map(drop),
            Self::DropMap(key) => tx.map((key, "m")).delete(),
            Self::Join(key, value) => tx.lattice::<BTreeSet<u8>>(key).join(&BTreeSet::from([value])),
            Self::Delete(key) => tx.delete(key).map(drop),
            Self::DeletePrefix(key) => tx.delete_prefix(key).map(drop),
        }
    }
}

/// Runs a transaction; returns it as bytes, if it wrote anything.
pub(crate) fn run(store: &Store, deeds: &[Deed]) -> Result<Option<Vec<u8>>, Error> {
    let tx = store.begin()?;
    deeds.iter().try_for_each(|deed| deed.run(&tx))?;
    Ok(tx.commit_and_push()?.map(|pushed| pushed.as_ref().to_vec()))
}

/// Everything that a store shows to an application.
pub(crate) fn reading(store: &Store) -> String {
    let snapshot: Snapshot = store.snapshot().unwrap();
    let mut text = String::new();
    for entry in snapshot.scan(()) {
        let entry = entry.unwrap();
        writeln!(text, "{} {:?} {}", entry.key(), entry.kinds().unwrap(), entry.value().unwrap()).unwrap();
    }
    for key in 0..3_u8 {
        let siblings = snapshot.register::<u8>(key).siblings().unwrap();
        let siblings: Vec<_> = siblings.into_iter().map(|s| (s.value.unwrap(), s.writer, s.time, s.wins)).collect();
        let elements: Vec<u8> = snapshot.set::<u8>(key).iter().unwrap().map(Result::unwrap).collect();
        let backward: Vec<u8> = snapshot.set::<u8>(key).iter().unwrap().rev().map(Result::unwrap).collect();
        assert!(elements.iter().eq(backward.iter().rev()));
        let fields: Vec<_> = snapshot.map((key, "m")).fields().map(|field| field.unwrap().key().to_string()).collect();
        writeln!(text, "{siblings:?} {elements:?} {fields:?} {}", snapshot.counter(key).get().unwrap()).unwrap();
    }
    text
}

/// The canonical form of a store.
pub(crate) fn canonical(store: &Store) -> Vec<u8> {
    store.canonical().unwrap().into_bytes()
}

/// A live entry: its event, its path, its payload.
pub(crate) type LiveEntry = ((ReplicaId, u64), Vec<u8>, Vec<u8>);

/// The live entries of a store, from its canonical form. For small stores.
pub(crate) fn live(store: &Store) -> Vec<LiveEntry> {
    let frames = frames(&canonical(store));
    assert_eq!(frames.len(), 1, "a small store");
    let mut from = Reader::new(&frames[0].1);
    from.raw(33).unwrap();
    let ids: Vec<ReplicaId> = (0..from.u64().unwrap())
        .map(|_| {
            let id = ReplicaId::from_bytes(from.array().unwrap());
            let _base_version_floor = [(); 3].map(|()| from.u64().unwrap());
            assert_eq!(from.u64().unwrap(), 0, "no marks in canonical form");
            id
        })
        .collect();
    let (mut path, mut live) = (Vec::new(), Vec::new());
    while from.u8().unwrap() == 1 {
        let shared = from.up_to(2000).unwrap();
        path.truncate(shared);
        path.extend_from_slice(from.bytes(2000).unwrap());
        assert_eq!(from.u8().unwrap(), 0, "a row in one part");
        for _ in 0..from.u64().unwrap() {
            let dot = (ids[from.up_to(ids.len()).unwrap()], from.u64().unwrap());
            live.push((dot, path.clone(), from.bytes(2000).unwrap().to_vec()));
        }
        assert_eq!(from.u64().unwrap(), 0, "no deletes in canonical form");
    }
    live
}
