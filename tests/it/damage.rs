//! Files that were changed behind the store's back: each call is right or a typed error. No panic, no garbage, nothing missing in silence.
//! `TOMBOLO_EVERY_BYTE=1` flips each byte instead of one in five.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::Writer;
use tombolo::sim::{Disk, Rng};
use tombolo::storage::{Backend, Redb, TableId, Write};
use tombolo::{Error, Store};

use crate::crash::open;
use crate::deeds::canonical;
use crate::disk_faults::{ladder, open_stopped, transaction};
use crate::sync::replica;

const REPLICA: ReplicaId = ReplicaId::from_u128(7);

/// What a store says of itself.
#[derive(Debug, PartialEq)]
struct Story {
    scan: Vec<String>,
    all: Vec<u8>,
    half: Vec<u8>,
}

impl Story {
    fn of(store: &Store) -> Result<Self, Error> {
        store.check()?;
        let scan = store.scan(()).map(|entry| Ok(format!("{} {:?}", entry?.key(), ()))).collect::<Result<_, Error>>()?;
        let all = store.canonical()?.into_bytes();
        let half = store.version()?.iter().map(|(id, seq)| (id, seq / 2)).collect();
        Ok(Self { scan, all, half: store.delta_since(&half)?.into_bytes() })
    }
}

/// A small store that was closed well: writes of its own and of a peer, overwritten, deleted, and one value over several pages.
fn closed() -> (Vec<u8>, Story) {
    let disk = Disk::new();
    let store = open(&disk, REPLICA).unwrap();
    let peer = replica(8);
    for number in 0..30 {
        transaction(&store, number).unwrap();
        peer.register::<u64>(("k", number)).set(&(number + 1)).unwrap();
    }
    store.register::<Vec<u8>>("large").set(&vec![7; 9000]).unwrap();
    store.merge(peer.delta_since(&VersionVector::new()).unwrap()).unwrap();
    let story = Story::of(&store).unwrap();
    drop(store);
    (disk.bytes(), story)
}

#[derive(Debug, Default)]
struct Tally {
    right: u64,
    refused_to_open: u64,
    refused_to_read: u64,
}

/// Opens damaged bytes, and reads all that there is. It is as it was, or a typed error.
fn look(bytes: Vec<u8>, story: &Story, what: &str, tally: &mut Tally) {
    let disk = Disk::with_bytes(bytes.clone());
    let store = match open(&disk, REPLICA) {
        Ok(store) => store,
        Err(Error::Damaged { .. } | Error::Corrupt { .. } | Error::Io(_) | Error::NewerFormat { .. }) => {
            tally.refused_to_open += 1;
            // Somebody tries again. redb may have begun to use the file, and repairs it now: nothing older comes of that.
            if let Ok(found) = open(&disk, REPLICA).and_then(|store| Story::of(&store)) {
                assert!(found == *story, "{what}: other contents at the second time");
            }
            return;
        }
        Err(other) => panic!("{what}: {other:?}"),
    };
    match Story::of(&store) {
        Ok(found) => {
            assert!(found == *story, "{what}: other contents than were written");
            tally.right += 1;
        }
        Err(Error::Damaged { .. } | Error::Corrupt { .. } | Error::Io(_)) => {
            tally.refused_to_read += 1;
            // Nothing wrong leaves, whatever is asked first.
            drop(store);
            let Ok(store) = open(&Disk::with_bytes(bytes), REPLICA) else { return };
            if let Ok(all) = store.delta_since(&VersionVector::new()) {
                let peer = replica(9);
                peer.merge(all).unwrap();
                assert!(canonical(&peer) == story.all, "{what}: garbage for a peer");
            }
            drop(store.transact(|tx| tx.register::<u64>("new").set(&1)));
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_flipped_byte_is_an_error_or_changes_nothing() {
    let (bytes, story) = closed();
    let every = if std::env::var_os("TOMBOLO_EVERY_BYTE").is_some() { 1 } else { 5 };
    let flip = |range: Range<usize>| {
        let mut tally = Tally::default();
        for at in range.step_by(every) {
            let mut damaged = bytes.clone();
            damaged[at] ^= if at % 3 == 0 { 0xff } else { 1 << (at % 8) };
            look(damaged, &story, &format!("byte {at}"), &mut tally);
        }
        tally
    };
    let middle = bytes.len() / 2;
    let tallies = thread::scope(|scope| {
        let halves = [0..middle, middle..bytes.len()].map(|half| scope.spawn(|| flip(half)));
        halves.map(|half| half.join().unwrap())
    });
    println!("{} bytes, one in {every}: {tallies:?}", bytes.len());
    let errors: u64 = tallies.iter().map(|tally| tally.refused_to_open + tally.refused_to_read).sum();
    assert!(errors > 2000, "{tallies:?}");
}

#[test]
fn torn_swapped_and_shortened_files_are_errors_or_change_nothing() {
    let (bytes, story) = closed();
    let (mut tally, mut rng) = (Tally::default(), Rng::new(1));
    for round in 0..600 {
        let mut damaged = bytes.clone();
        let sector = |rng: &mut Rng| rng.index(bytes.len() / 512) * 512;
        match round % 5 {
            // Never to nothing: that is a new store.
            0 => damaged.truncate(1 + rng.index(bytes.len() - 1)),
            1 => damaged.extend_from_slice(&vec![0; 1 + rng.index(20_000)]),
            2 => {
                let (from, to) = (sector(&mut rng), sector(&mut rng));
                damaged.copy_within(from..from + 512, to);
            }
            3 => {
                let page = sector(&mut rng) & !4095;
                damaged[page..page + 4096].fill(0);
            }
            _ => {
                let (from, to) = (sector(&mut rng) & !4095, sector(&mut rng) & !4095);
                damaged.copy_within(from..from + 4096, to);
            }
        }
        look(damaged, &story, &format!("round {round}"), &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.refused_to_open + tally.refused_to_read > 200, "{tally:?}");
}

#[test]
fn a_flipped_byte_in_a_file_that_was_not_closed_leaves_a_state_that_was_or_an_error() {
    const TRANSACTIONS: u64 = 12;
    let disk = Disk::new();
    let store = open_stopped(&disk).unwrap();
    (0..TRANSACTIONS).for_each(|number| transaction(&store, number).unwrap());
    let (states, bytes) = (ladder(TRANSACTIONS), disk.bytes());
    let (mut right, mut before, mut errors) = (0, 0, 0);
    for at in (0..bytes.len()).step_by(23) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let disk = Disk::with_bytes(damaged);
        let all = || -> Result<Vec<u8>, Error> {
            let store = open_stopped(&disk)?;
            store.check()?;
            Ok(store.canonical()?.into_bytes())
        };
        match all() {
            Ok(found) if found == *states.last().unwrap() => right += 1,
            // What the last commit has written looks as if that had not come to its end.
            Ok(found) if found == states[states.len() - 2] => before += 1,
            Ok(_other) => panic!("byte {at}: a state that never was, or one long gone"),
            Err(Error::Damaged { .. } | Error::Corrupt { .. } | Error::Io(_)) => errors += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    println!("right {right}, the state before {before}, errors {errors}");
    assert!(right > 100 && before > 10 && errors > 100);
}

fn refused(path: &Path) -> Error {
    Store::open(path).expect_err("it is no store")
}

#[test]
fn what_is_no_store_is_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert!(matches!(refused(folder.path()), Error::Io(_)), "a folder");
    assert!(matches!(refused(&path("no/such/folder")), Error::Io(_)));

    let foreign: [(&str, Vec<u8>); 4] = [
        ("a picture", b"\x89PNG\r\n\x1a\n".repeat(3000)),
        ("a word", b"word".to_vec()),
        ("zeros, and something after", [vec![0; 100_000], vec![1]].concat()),
        ("many zeros", vec![0; 1_000_000]),
    ];
    for (name, bytes) in foreign {
        fs::write(path(name), &bytes).unwrap();
        let error = refused(&path(name));
        assert!(matches!(error, Error::Damaged { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("restore a backup, or remove the file"), "{error}");
        assert!(fs::read(path(name)).unwrap() == bytes, "{name} was changed");
    }
    // A database of another program.
    drop(redb::Database::create(path("other")).unwrap());
    assert!(matches!(refused(&path("other")), Error::Damaged { .. }));

    // An empty file is a store that nothing was written to yet.
    fs::write(path("empty"), []).unwrap();
    Store::open(path("empty")).unwrap().counter("c").add(1).unwrap();
    assert_eq!(Store::open(path("empty")).unwrap().counter("c").get().unwrap(), 1);
}

#[test]
fn files_of_a_later_version_ask_for_an_update() {
    let (bytes, _story) = closed();
    let mut later = bytes;
    assert!(later.starts_with(b"tombolo\x01"));
    later[7] = 2;
    let disk = Disk::with_bytes(later.clone());
    let error = open(&disk, REPLICA).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1 }), "{error:?}");
    assert!(error.to_string().contains("update the application"));
    assert!(disk.bytes() == later, "it was changed");

    let disk = Disk::new();
    let backend = Redb::with_backend(disk.clone()).unwrap();
    let mut version = Writer::new();
    version.u64(99);
    let write = Write::Put { table: TableId(0), key: "f".into(), value: version.into_vec().into() };
    backend.commit(vec![write], true).unwrap();
    drop(backend);
    assert!(matches!(open(&disk, REPLICA), Err(Error::NewerFormat { found: 99, .. })));
}
