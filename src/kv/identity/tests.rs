//! Rotation, emission and forks, one story each; random histories are in `tests/it`.

use super::*;
use crate::causal::VersionVector;
use crate::kv::Store;
use crate::storage::Memory;

/// A store on a memory, and how to open a copy of what it is now.
fn store(memory: &Memory) -> Store {
    Store::options().open_backend(memory.clone()).unwrap()
}

/// Brings everything of the one to the other, as often as it asks.
fn send(from: &Store, to: &Store) {
    for _ in 0..3 {
        let delta = from.delta_since(&to.version().unwrap()).unwrap();
        if to.merge(&delta).is_ok() {
            to.check().unwrap();
            return;
        }
    }
    panic!("it does not come to an end");
}

fn meet(a: &Store, b: &Store) {
    send(a, b);
    send(b, a);
    assert_eq!(a.canonical().unwrap(), b.canonical().unwrap());
}

/// What was written in a copy before it learns that it is one: all of it is there afterwards, for everybody.
#[test]
fn a_copy_takes_a_new_id_and_keeps_what_it_wrote() {
    let (memory, peer) = (Memory::default(), Store::in_memory());
    let original = store(&memory);
    original.counter("visits").add(5).unwrap();
    original.register::<u64>("title").set(&1).unwrap();
    original.set::<String>("tags").insert("old").unwrap();
    meet(&original, &peer);

    let copy = store(&memory.fork());
    original.counter("visits").add(10).unwrap();
    original.register::<u64>("other").set(&7).unwrap();
    meet(&original, &peer);

    copy.counter("visits").add(3).unwrap();
    copy.register::<u64>("title").set(&2).unwrap();
    copy.set::<String>("tags").insert("new").unwrap();
    copy.set::<String>("tags").remove("old").unwrap();
    copy.counter("more").add(4).unwrap();
    meet(&copy, &peer);
    meet(&original, &peer);
    let rotated = copy.take_events();
    assert!(matches!(*rotated, [StoreEvent::IdentityRotated { new: Some(_), replayed: 5, .. }]), "{rotated:?}");
    assert_ne!(copy.replica().unwrap(), original.replica().unwrap());
    for store in [&original, &copy, &peer] {
        assert_eq!(store.counter("visits").get().unwrap(), 18);
        assert_eq!(store.counter("more").get().unwrap(), 4);
        assert_eq!(store.register::<u64>("title").get().unwrap(), Some(2));
        assert_eq!(store.register::<u64>("other").get().unwrap(), Some(7));
        assert!(!store.set::<String>("tags").contains("old").unwrap() && store.set::<String>("tags").contains("new").unwrap());
    }
}

/// A reset in a copy cancels what was given away before, and not what the original adds at the same time.
#[test]
fn a_reset_in_a_copy_cancels_what_it_saw() {
    for added_after in [0, 2] {
        let (memory, peer) = (Memory::default(), Store::in_memory());
        let original = store(&memory);
        original.counter("visits").add(5).unwrap();
        meet(&original, &peer);
        let copy = store(&memory.fork());
        original.counter("visits").add(10).unwrap();
        meet(&original, &peer);
        copy.counter("visits").add(1).unwrap();
        copy.counter("visits").reset().unwrap();
        if added_after > 0 {
            copy.counter("visits").add(added_after).unwrap();
        }
        meet(&copy, &peer);
        meet(&original, &peer);
        assert_eq!(peer.counter("visits").get().unwrap(), i128::from(10 + added_after));
        original.counter("visits").add(1).unwrap();
        meet(&original, &copy);
        assert_eq!(copy.counter("visits").get().unwrap(), i128::from(11 + added_after));
    }
}

/// A peer resets what the copy has added to since: the copy goes back to what the peer has reset, and its own adds stay.
#[test]
fn a_reset_by_a_peer_is_joined_into_what_a_rotation_goes_back_to() {
    for consumed in [false, true] {
        let (memory, peer) = (Memory::default(), Store::in_memory());
        let original = store(&memory);
        original.counter("visits").add(5).unwrap();
        meet(&original, &peer);
        let copy = store(&memory.fork());
        copy.counter("visits").add(3).unwrap();
        // The peer knows nothing yet that would tell the copy what it is.
        peer.counter("visits").reset().unwrap();
        send(&peer, &copy);
        assert_eq!(copy.counter("visits").get().unwrap(), 3);
        if consumed {
            // At its next commit the reset is taken into account, whatever that writes.
            copy.register::<u64>("any").set(&1).unwrap();
            assert_eq!(copy.status().unwrap().pending_resets, 0);
        }
        original.counter("visits").add(10).unwrap();
        send(&original, &peer);
        meet(&copy, &peer);
        meet(&original, &peer);
        meet(&original, &copy);
        assert_eq!(copy.counter("visits").get().unwrap(), 13, "consumed: {consumed}");
    }
}

/// A reset and an add in one transaction leave no event of the reset; and the event of a reset may be forgotten.
#[test]
fn a_reset_in_a_copy_needs_no_event_of_its_own() {
    for (in_one, added_after, forgets) in [(true, 2, false), (false, 2, true), (false, 0, true)] {
        let (memory, peer) = (Memory::default(), Store::in_memory());
        let original = store(&memory);
        original.counter("visits").add(5).unwrap();
        meet(&original, &peer);
        let copy = store(&memory.fork());
        original.counter("visits").add(10).unwrap();
        meet(&original, &peer);
        if in_one {
            let reset_and_add = |tx: &crate::kv::Tx| {
                tx.counter("visits").reset()?;
                tx.counter("visits").add(added_after)
            };
            copy.transact(reset_and_add).unwrap();
        } else {
            copy.counter("visits").reset().unwrap();
            copy.counter("visits").add(added_after).unwrap();
            if added_after == 0 {
                copy.counter("visits").reset().unwrap();
            }
        }
        if forgets {
            copy.forget_deletes(&copy.version().unwrap()).unwrap();
        }
        assert_eq!(copy.counter("visits").get().unwrap(), i128::from(added_after));
        meet(&copy, &peer);
        meet(&original, &peer);
        original.counter("visits").add(1).unwrap();
        meet(&original, &copy);
        meet(&original, &peer);
        assert_eq!(peer.counter("visits").get().unwrap(), i128::from(11 + added_after), "{in_one} {added_after} {forgets}");
    }
}

#[test]
fn a_reset_is_taken_into_account_at_the_next_commit_whatever_it_writes() {
    let (a, b) = (Store::in_memory(), Store::in_memory());
    a.counter("visits").add(5).unwrap();
    meet(&a, &b);
    b.delete("visits").unwrap();
    meet(&a, &b);
    let rows = a.status().unwrap().rows;
    assert_eq!(a.status().unwrap().pending_resets, 1);
    a.register::<u64>("other").set(&1).unwrap();
    assert_eq!((a.status().unwrap().rows, a.status().unwrap().pending_resets), (rows, 0));
    meet(&a, &b);
    assert_eq!(b.counter("visits").get().unwrap(), 0);
}

/// Both copies have given their own away: nobody can mend that, and everybody is told.
#[test]
fn a_fork_that_both_sides_extended_is_reported() {
    let memory = Memory::default();
    let original = store(&memory);
    original.register::<u64>("a").set(&1).unwrap();
    original.delta_since(&VersionVector::new()).unwrap();
    let copy = store(&memory.fork());
    let (x, y) = (Store::in_memory(), Store::in_memory());
    for (store, peer, value) in [(&original, &x, 2), (&copy, &y, 3)] {
        store.register::<u64>("a").set(&value).unwrap();
        send(store, peer);
    }
    // Third parties: the same point of the history, and another hash.
    send(&x, &y);
    let events = y.take_events();
    assert!(events.iter().any(|event| matches!(event, StoreEvent::Forked { seq: 2, .. })), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, StoreEvent::Diverged { .. })), "{events:?}");
    // One of the two copies: it takes a new id, so that the fork grows no further.
    send(&x, &copy);
    let events = copy.take_events();
    assert!(events.iter().any(|event| matches!(event, StoreEvent::Forked { seq: 2, .. })), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, StoreEvent::IdentityRotated { replayed: 0, .. })), "{events:?}");
    // The other one is told of no fork by its own peer.
    send(&x, &original);
    assert_eq!(original.take_events(), []);
}

#[test]
fn nothing_is_noted_twice_and_old_points_are_forgotten() {
    let store = Store::in_memory();
    for value in 0..1_500 {
        store.counter("a").add(value).unwrap();
        store.delta_since(&VersionVector::new()).unwrap();
        store.delta_since(&VersionVector::new()).unwrap();
    }
    store.check().unwrap();
    let meta = store.snapshot().unwrap().meta();
    assert_eq!((meta.marks, meta.emitted), (1_024, 1_500));
}

/// The limit that the guarantees name: how often the side that is ahead may have given away since, for a fork to be told.
#[test]
fn a_fork_is_told_as_long_as_the_points_known_reach_back_to_it() {
    let told_by = |given: u64, to_original: bool| {
        let memory = Memory::default();
        let original = store(&memory);
        let (x, y) = (Store::in_memory(), Store::in_memory());
        let give = |store: &Store, peer: &Store, value| {
            store.register::<u64>("a").set(&value).unwrap();
            send(store, peer);
        };
        give(&original, &x, 0);
        let copy = store(&memory.fork());
        give(&copy, &y, 1);
        (0..given).for_each(|value| give(&original, &x, 2 + value));
        let (from, to) = if to_original { (&y, &original) } else { (&x, &y) };
        send(from, to);
        to.take_events().iter().any(|event| matches!(event, StoreEvent::Forked { seq: 2, .. }))
    };
    assert_eq!((told_by(1, false), told_by(8, false), told_by(9, false)), (true, true, false));
    assert_eq!((told_by(1, true), told_by(1_024, true), told_by(1_025, true)), (true, true, false));
}

/// A copy keeps its id: its own writes are taken for those that it does not have, and are lost.
#[test]
fn a_copy_that_keeps_its_id_loses_writes() {
    let run = || {
        let (memory, peer) = (Memory::default(), Store::in_memory());
        let original = store(&memory);
        original.register::<u64>("a").set(&1).unwrap();
        send(&original, &peer);
        let copy = store(&memory.fork());
        original.register::<u64>("b").set(&1).unwrap();
        send(&original, &peer);
        copy.register::<u64>("c").set(&1).unwrap();
        send(&peer, &copy);
        send(&copy, &peer);
        peer.register::<u64>("c").get().unwrap()
    };
    assert_eq!(run(), Some(1));
    assert_eq!(mutant::with(Mutant::RestoredIdKept, run), None);
}
