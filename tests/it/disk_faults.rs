//! Disks that fail: a sync that fails or lies, no room, power losses under many writers, of what was deferred, and in a compaction.

use std::collections::BTreeMap;
use std::thread;

use tombolo::causal::ReplicaId;
use tombolo::kv::Durability;
use tombolo::sim::{Disk, Rng, Room, Syncs};
use tombolo::{Error, Store};

use crate::crash::{converge, open, open_with};
use crate::deeds::canonical;
use crate::kill;

const REPLICA: ReplicaId = ReplicaId::from_u128(7);

/// A transaction of several kinds, with a delete now and then.
pub(crate) fn transaction(store: &Store, number: u64) -> Result<(), Error> {
    store.transact(|tx| {
        tx.register::<u64>(("k", number)).set(&number)?;
        tx.counter("visits").add(1)?;
        tx.set::<u64>("tags").insert(&(number % 5))?;
        if number % 4 == 3 {
            tx.delete(("k", number - 2))?;
        }
        Ok(())
    })
}

/// The state after each of so many transactions.
pub(crate) fn ladder(count: u64) -> Vec<Vec<u8>> {
    let store = Store::options().replica(REPLICA).clock(Stopped).in_memory();
    let mut states = vec![canonical(&store)];
    for number in 0..count {
        transaction(&store, number).unwrap();
        states.push(canonical(&store));
    }
    states
}

/// Which state of the ladder a store is in. It checks out.
fn rung(store: &Store, ladder: &[Vec<u8>], context: &str) -> usize {
    store.check().unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = canonical(store);
    ladder.iter().position(|state| *state == found).unwrap_or_else(|| panic!("{context}: a state that never was"))
}

/// A clock that stands still: equal histories, equal bytes.
#[derive(Debug, Clone, Copy)]
struct Stopped;

impl tombolo::system::Clock for Stopped {
    fn now_ms(&self) -> u64 {
        1_735_689_600_000
    }
}

pub(crate) fn open_stopped(disk: &Disk) -> Result<Store, Error> {
    open_with(disk, Store::options().replica(REPLICA).clock(Stopped))
}

const TRANSACTIONS: u64 = 12;
/// More than a writer gets done before the power goes, or the disk is full.
const MANY: u64 = 5_000;

#[test]
fn a_full_disk_refuses_a_write_and_loses_nothing() {
    let ladder = ladder(TRANSACTIONS);
    // A disk that has room for some sectors more, and for a longer file or not.
    for more in 0..60 {
        let empty = Disk::new();
        drop(open_stopped(&empty).unwrap());
        let room = [Room::Sectors(empty.sectors() + 2 * more), Room::Length(empty.bytes().len() as u64 + 4096 * more)];
        for (room, seed) in room.into_iter().zip(0..) {
            let context = format!("{room:?}");
            let disk = Disk::new();
            drop(open_stopped(&disk).unwrap());
            disk.set_room(room);
            let Ok(store) = open_stopped(&disk) else { continue };
            let mut done = 0;
            let refused = loop {
                match transaction(&store, done) {
                    Ok(()) => done += 1,
                    Err(refused) => break refused,
                }
                if done == TRANSACTIONS {
                    break Error::Refused("it fits");
                }
            };
            if done == TRANSACTIONS {
                continue;
            }
            assert!(is_full(&refused), "{context}: {refused:?}");
            drop(store);
            // Power or not: what was acknowledged can be read while the disk is still full, and the store goes on when it is not.
            for disk in [Disk::with_bytes(disk.bytes()), disk.after_power_loss(seed)] {
                disk.set_room(room);
                if let Ok(store) = open_stopped(&disk) {
                    assert_eq!(rung(&store, &ladder, &context) as u64, done, "{context}");
                }
                disk.set_room(Room::Endless);
                let store = open_stopped(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(rung(&store, &ladder, &context) as u64, done, "{context}");
                (done..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
                assert_eq!(rung(&store, &ladder, &context) as u64, TRANSACTIONS);
            }
        }
    }
}

#[test]
fn many_writers_on_a_full_disk_lose_nothing_acknowledged() {
    for more in 1..80 {
        let disk = Disk::new();
        let store = open(&disk, REPLICA).unwrap();
        let length = disk.bytes().len() as u64 + 4096 * more;
        disk.set_room(if more % 2 == 0 { Room::Length(length) } else { Room::Sectors(disk.sectors() + 4 * more) });
        let write = &|writer| {
            let refused = (1..MANY).find_map(|number| kill::write(&store, writer, number).err().map(|error| (number, error)));
            let (number, error) = refused.expect("the disk is full at some time");
            (writer, number - 1, error)
        };
        let told: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = (0..kill::WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let says = |(_, _, refused): &(u64, u64, Error)| is_full(refused) || matches!(refused, Error::Closed);
        assert!(told.iter().all(says) && told.iter().any(|(_, _, refused)| is_full(refused)), "{told:?}");
        let refused = [(); 3].map(|()| kill::write(&store, 0, 1).unwrap_err());
        assert!(matches!(refused, [.., Error::Closed]), "{refused:?}");
        drop(store);
        disk.set_room(Room::Endless);
        let store = open(&disk, REPLICA).unwrap();
        kill::check(&store, &told.into_iter().map(|(writer, last, _)| (writer, last)).collect());
    }
}

/// Whether an error says that there is no room.
fn is_full(error: &Error) -> bool {
    let (Error::SyncFailed { source } | Error::Io(source)) = error else { return false };
    source.kind() == std::io::ErrorKind::StorageFull
}

#[test]
fn a_sync_that_fails_is_told_once_and_nothing_acknowledged_is_lost() {
    let ladder = ladder(TRANSACTIONS);
    for fails_at in 0..TRANSACTIONS {
        for seed in 0..8 {
            let disk = Disk::new();
            let store = open_stopped(&disk).unwrap();
            (0..fails_at).for_each(|number| transaction(&store, number).unwrap());
            disk.set_syncs(Syncs::Fail { seed });
            let failed = transaction(&store, fails_at);
            assert!(matches!(failed, Err(Error::SyncFailed { .. })), "{failed:?}");
            // It works again, and says so of bytes that it has forgotten.
            disk.set_syncs(Syncs::Honest);
            assert!(matches!(transaction(&store, fails_at), Err(Error::Closed)));
            assert!(matches!(store.counter("visits").get(), Err(Error::Closed)));
            drop(store);
            // The process alone ends, or the machine.
            for disk in [disk.after_power_loss(seed), Disk::with_bytes(disk.bytes())] {
                let context = format!("sync of transaction {fails_at}, seed {seed}");
                let store = open_stopped(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let at = rung(&store, &ladder, &context) as u64;
                assert!(at == fails_at || at == fails_at + 1, "{context}: {at}");
                (at..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
                assert_eq!(rung(&store, &ladder, &context) as u64, TRANSACTIONS);
            }
        }
    }
}

#[test]
fn after_syncs_that_lied_a_store_is_an_older_one_or_an_error() {
    let ladder = ladder(TRANSACTIONS);
    let (mut older, mut oldest, mut errors) = (0, 0, 0);
    for lies_from in 0..TRANSACTIONS {
        for seed in 0..40 {
            let disk = Disk::new();
            let store = open_stopped(&disk).unwrap();
            (0..lies_from).for_each(|number| transaction(&store, number).unwrap());
            disk.set_syncs(Syncs::Lie);
            (lies_from..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
            let peer = Store::options().replica(ReplicaId::from_u128(8)).in_memory();
            peer.merge(&ladder[usize::try_from(lies_from).unwrap()]).unwrap();
            let context = format!("lies from {lies_from}, seed {seed}");
            let store = match open_stopped(&disk.after_power_loss(seed)) {
                Ok(store) => store,
                Err(Error::Damaged { .. } | Error::Corrupt { .. }) => {
                    errors += 1;
                    continue;
                }
                Err(other) => panic!("{context}: {other:?}"),
            };
            let at = rung(&store, &ladder, &context) as u64;
            older += u64::from(at < TRANSACTIONS);
            // redb writes over what it thinks is no more needed: even what an honest sync had kept can be gone. Then the peer knows
            // more of this replica than itself, and it goes on under another id.
            oldest += u64::from(at < lies_from);
            converge(&store, &peer, &context);
        }
    }
    println!("{older} older states, {oldest} before the lies, {errors} errors");
    assert!(older > 100 && errors > 0, "{older}, {oldest}, {errors}");
}

#[test]
fn a_power_loss_under_many_writers_loses_nothing_acknowledged() {
    let (mut rng, mut shared) = (Rng::new(5), 0);
    for round in 0..150 {
        let disk = Disk::new();
        let store = open(&disk, REPLICA).unwrap();
        disk.cut_power_at(disk.operations() + 1 + rng.below(400));
        let acknowledged: BTreeMap<u64, u64> = thread::scope(|scope| {
            let writers = (0..kill::WRITERS).map(|writer| {
                let store = &store;
                scope.spawn(move || (writer, (1..MANY).take_while(|number| kill::write(store, writer, *number).is_ok()).last()))
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).map(|(writer, last)| (writer, last.unwrap_or(0))).collect()
        });
        drop(store);
        let store = open(&disk.after_power_loss(round), REPLICA).unwrap();
        kill::check(&store, &acknowledged);
        // Each transaction that was under way may be there, and no other.
        for (writer, told) in acknowledged {
            assert!(kill::last(&store, writer) <= told + 1, "round {round}, writer {writer}");
            shared += told;
        }
    }
    assert!(shared > 1000, "{shared}");
}

#[test]
fn a_power_loss_while_a_file_is_made_small_changes_nothing() {
    let disk = Disk::new();
    let store = open_stopped(&disk).unwrap();
    for number in 0..200_u64 {
        store.register::<Vec<u8>>(("large", number)).set(&vec![7; 3000]).unwrap();
    }
    (0..190_u64).for_each(|number| assert!(store.delete(("large", number)).unwrap()));
    let (whole, before) = (canonical(&store), disk.bytes().len());
    disk.record();
    store.compact().unwrap();
    assert!(disk.bytes().len() < before / 2);
    drop(store);
    let mut crashes = 0;
    for seed in 0..3 {
        for (operation, left) in disk.crashes(seed) {
            let store = open_stopped(&left).unwrap_or_else(|error| panic!("{operation}: {error}"));
            store.check().unwrap();
            assert!(canonical(&store) == whole, "operation {operation}");
            crashes += 1;
        }
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn what_was_deferred_survives_with_the_next_commit_that_was_not() {
    let ladder = ladder(TRANSACTIONS);
    for seed in 0..20 {
        let (mut rng, disk) = (Rng::new(seed), Disk::new());
        let options = Store::options().replica(REPLICA).clock(Stopped).durability(Durability::Deferred);
        let store = open_with(&disk, options).unwrap();
        disk.record();
        // From which operation on a state was promised.
        let mut promised = vec![(0, 0)];
        for number in 0..TRANSACTIONS {
            transaction(&store, number).unwrap();
            if rng.chance(40) {
                store.sync().unwrap();
                promised.push((disk.operations(), number + 1));
            }
        }
        drop(store);
        for (operation, left) in disk.crashes(seed) {
            let context = format!("seed {seed}, operation {operation}");
            let store = open_stopped(&left).unwrap_or_else(|error| panic!("{context}: {error}"));
            let at = rung(&store, &ladder, &context) as u64;
            let (_, least) = promised.iter().rev().find(|(from, _)| *from < operation).unwrap();
            assert!(at >= *least, "{context}: {at} of {least}");
        }
    }
}
