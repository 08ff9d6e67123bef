//! What a process writes, and what must be there in the end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use tombolo::sim::Rng;
use tombolo::{Error, Store};

use crate::kill;

/// How many numbers a value of a backlog has: 63 kB of them.
const BULK_NUMBERS: usize = 7_000;

/// The transaction with a number of one process: rows of its own, and some that all of them write at the same time.
pub(super) fn write(store: &Store, place: u64, number: u64) -> Result<(), Error> {
    store.transact(|tx| {
        kill::put(tx, place, number)?;
        tx.register::<u64>(("key", place, number)).set(&number)?;
        tx.register::<(u64, u64)>("contested").set(&(place, number))?;
        tx.set::<u64>("contested set").insert(&(number % 10))?;
        tx.set::<u64>("contested set").remove(&((number + 5) % 10))?;
        tx.map("contested map").counter(number % 3).add(1)?;
        match number % 5 {
            0 => tx.flag("contested flag").enable(),
            1 => tx.flag("contested flag").disable(),
            2 => tx.delete("contested map").map(drop),
            _other => Ok(()),
        }
    })
}

/// A backlog: long values, each in a transaction.
pub(super) fn write_bulk(store: &Store, place: u64, values: u64) -> Result<(), Error> {
    let mut rng = Rng::new(place);
    (0..values).try_for_each(|number| {
        let value: Vec<u64> = (0..BULK_NUMBERS).map(|_| rng.next_u64()).collect();
        store.register::<Vec<u64>>(("bulk", place, number)).set(&value)
    })
}

/// The numbers that a process has acknowledged, in a file: it survives the process.
pub(super) struct Journal(File);

impl Journal {
    pub(super) fn open(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    /// The write with this number is durable.
    pub(super) fn acknowledge(&mut self, number: u64) {
        // In one piece, so that a kill leaves all of it or nothing.
        self.0.write_all(&number.to_le_bytes()).unwrap();
    }

    pub(super) fn read(path: &Path) -> Vec<u64> {
        let bytes = std::fs::read(path).unwrap();
        let (numbers, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "a torn journal says nothing");
        numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()
    }
}

/// Everything acknowledged is in the store, once; and of the rest, at most what was in flight at each of the kills.
pub(super) fn check(store: &Store, journals: &[Vec<u64>], kills: &[u64]) {
    let acknowledged = journals.iter().enumerate().map(|(place, journal)| (place as u64, journal.last().copied().unwrap_or(0)));
    kill::check(store, &acknowledged.collect());
    for (place, (journal, kills)) in journals.iter().zip(kills).enumerate() {
        // A process goes on with the number after the last that it finds: one that comes again was lost, or is there twice.
        let again = journal.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(again, None, "process {place} has acknowledged a number again");
        let place = place as u64;
        for number in journal {
            let value = store.register::<u64>(("key", place, number)).get().unwrap();
            assert_eq!(value, Some(*number), "process {place} has acknowledged {number}, and it is not there");
        }
        let there = store.scan(("key", place)).count() as u64;
        assert_eq!(there, kill::last(store, place), "one key for each number of process {place}");
        let unacknowledged = there - journal.len() as u64;
        assert!(unacknowledged <= *kills, "process {place}: {unacknowledged} not acknowledged, {kills} kills");
    }
}
