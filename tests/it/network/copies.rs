//! Stores that are copies of others, in a network that pushes: a backup that was restored, a file that somebody copied.

use tombolo::Store;
use tombolo::causal::ReplicaId;
use tombolo::kv::StoreEvent;
use tombolo::replication::{Config, Event};
use tombolo::sim::{Faults, Network};
use tombolo::storage::Memory;

fn open(memory: &Memory, id: u128) -> Store {
    Store::options().replica(ReplicaId::from_u128(id)).open_backend(memory.clone()).unwrap()
}

fn note(network: &mut Network, node: usize, store: &Store, note: &str) {
    store.set::<String>("notes").insert(note).unwrap();
    network.committed(node);
}

fn notes(store: &Store) -> Vec<String> {
    store.set::<String>("notes").iter().unwrap().map(Result::unwrap).collect()
}

fn seconds(network: &mut Network, seconds: u64) {
    network.run_until(network.now() + seconds * 1_000_000);
}

#[test]
fn a_restored_backup_takes_a_new_id_and_nothing_is_lost() {
    let memories = [Memory::default(), Memory::default()];
    let [first, peer] = [open(&memories[0], 1), open(&memories[1], 2)];
    let mut network = Network::new(Config::default(), 1);
    network.add(&first);
    network.add(&peer);
    network.link(0, 1, Faults::connection());
    seconds(&mut network, 2);
    note(&mut network, 0, &first, "before the backup");
    seconds(&mut network, 2);
    let backup = memories[0].fork();
    for text in ["after it", "and after that"] {
        note(&mut network, 0, &first, text);
        seconds(&mut network, 2);
    }
    // The machine is lost, and comes back as it was; it is written to before it meets anybody.
    network.stop(0);
    drop(first);
    let restored = open(&backup, 1);
    restored.set::<String>("notes").insert("after the restore").unwrap();
    network.start(0, &restored);
    seconds(&mut network, 30);
    let all = ["after it", "after the restore", "and after that", "before the backup"];
    assert_eq!((notes(&restored), notes(&peer)), (all.map(String::from).to_vec(), all.map(String::from).to_vec()));
    assert_eq!(restored.digest().unwrap(), peer.digest().unwrap());
    let events = restored.take_events();
    assert!(events.iter().any(|event| matches!(event, StoreEvent::IdentityRotated { .. })), "{events:?}");
}

/// Both go on under one id, and both give away what they write. Under one number are two notes then, and who has the one does not take the
/// other: that cannot be mended by merging, so it must be told.
#[test]
fn a_fork_that_both_sides_extended_is_told() {
    for extended in [1, 5, 30] {
        let memories = [Memory::default(), Memory::default()];
        let [first, peer] = [open(&memories[0], 1), open(&memories[1], 2)];
        let mut network = Network::new(Config::default(), 1);
        network.add(&first);
        network.add(&peer);
        network.link(0, 1, Faults::connection());
        seconds(&mut network, 2);
        note(&mut network, 0, &first, "common");
        seconds(&mut network, 2);
        // The copy has another peer of its own, and gives what it writes away to that one.
        let copy = open(&memories[0].fork(), 1);
        let other = open(&Memory::default(), 3);
        network.add(&copy);
        network.add(&other);
        network.link(2, 3, Faults::connection());
        seconds(&mut network, 2);
        for number in 0..extended {
            note(&mut network, 0, &first, &format!("first {number}"));
            note(&mut network, 2, &copy, &format!("copy {number}"));
            seconds(&mut network, 1);
        }
        // The two sides meet.
        network.link(1, 3, Faults::connection());
        seconds(&mut network, 60);
        let stores = [&first, &peer, &copy, &other];
        let told: Vec<StoreEvent> = stores.iter().flat_map(|store| store.take_events()).collect();
        let said: Vec<Event> = network.take_events().into_iter().map(|(_node, event)| event).collect();
        assert!(told.iter().any(|event| matches!(event, StoreEvent::Forked { .. })), "extended {extended}: {told:?}");
        assert!(said.iter().any(|event| matches!(event, Event::Diverged { .. })), "extended {extended}: {said:?}");
        stores.iter().for_each(|store| store.check().unwrap());
        // Nobody has lost his own.
        for (store, whose) in [(&first, "first"), (&copy, "copy")] {
            assert_eq!(notes(store).iter().filter(|note| note.starts_with(whose)).count(), extended, "{whose}");
        }
    }
}
