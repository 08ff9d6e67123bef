//! Any bytes, framed with a checksum that holds, merge or are refused, and the store is whole either way.

use tombolo::causal::ReplicaId;
use tombolo::codec::write_frame;
use tombolo::kv::SpaceId;
use tombolo::{Error, Store};

pub(super) fn run(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else { return };
    let store = Store::options().replica(ReplicaId::from_u128(1)).in_memory();
    store.register::<u8>("a").set(&1).unwrap();
    store.counter("c").add(2).unwrap();
    store.set::<u8>("s").insert(&3).unwrap();
    let digest = store.digest().unwrap();
    // Deltas and transactions begin with their space: most inputs should get past it.
    let space = uuid(store.status().unwrap().space);
    let mut framed = Vec::new();
    write_frame(&mut framed, 0, kind % 4, &[&space[..], payload].concat());
    let merged = store.merge(&framed).is_ok_and(|merged| merged.changed);
    let applied = store.apply(&framed).is_ok();
    // What is refused may have told the store that it is a copy: then it has a new id.
    if !merged && !applied && store.take_events().is_empty() {
        assert_eq!(store.digest().unwrap(), digest);
    }
    store.check().unwrap();
    for entry in store.scan(()) {
        let entry = entry.unwrap();
        drop(entry.value());
    }
    // Who is let in may leave a sum that nobody can read, or add to: that is told, and it can be deleted.
    match store.counter("c").add(1) {
        Ok(()) => {}
        Err(Error::Decode { .. } | Error::Overflow { .. }) => {
            assert!(store.delete("c").unwrap());
            store.counter("c").add(1).unwrap();
        }
        Err(other) => panic!("{other:?}"),
    }
    store.check().unwrap();
}

fn uuid(space: SpaceId) -> [u8; 16] {
    u128::from_str_radix(&space.to_string().replace('-', ""), 16).unwrap().to_be_bytes()
}
