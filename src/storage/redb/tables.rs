//! How tables and logs lie in redb, and what a commit does to them.

use std::collections::BTreeMap;
use std::io;

use ::redb::{Key, Table, TableDefinition, TableError, WriteTransaction};

use super::{Shared, caught};
use crate::storage::Write;

/// The tables that a commit has opened so far.
pub(super) struct Tables<'a> {
    transaction: &'a WriteTransaction,
    rows: BTreeMap<u32, Table<'a, RowKey, &'static [u8]>>,
    logs: BTreeMap<u32, Table<'a, EntryKey, &'static [u8]>>,
}

impl<'a> Tables<'a> {
    pub(super) fn of(transaction: &'a WriteTransaction) -> Self {
        Self { transaction, rows: BTreeMap::new(), logs: BTreeMap::new() }
    }

    pub(super) fn apply_all(&mut self, writes: &mut dyn Iterator<Item = io::Result<Write>>, shared: &Shared) -> io::Result<()> {
        for write in writes {
            let write = write?;
            // Each by itself: a panic of whoever makes the writes is not redb's.
            caught(|| self.apply(write)).map_err(|error| shared.to_io(error))?;
        }
        Ok(())
    }

    fn apply(&mut self, write: Write) -> Result<(), ::redb::Error> {
        match write {
            Write::Put { table, key, value } => {
                let rows = open(self.transaction, &mut self.rows, table.0, rows_name)?;
                rows.insert(&*key, &*value)?;
            }
            Write::Remove { table, key } => {
                let rows = open(self.transaction, &mut self.rows, table.0, rows_name)?;
                rows.remove(&*key)?;
            }
            Write::Append { log, number, value } => {
                let entries = open(self.transaction, &mut self.logs, log.table, log_name)?;
                entries.insert(&entry_key(log.lane, number), &*value)?;
            }
            Write::Erase { log, number } => {
                let entries = open(self.transaction, &mut self.logs, log.table, log_name)?;
                entries.remove(&entry_key(log.lane, number))?;
            }
        }
        Ok(())
    }
}

fn open<'t, 'a, K: Key>(
    transaction: &'a WriteTransaction,
    opened: &'t mut BTreeMap<u32, Table<'a, K, &'static [u8]>>,
    number: u32,
    name: fn(u32) -> String,
) -> Result<&'t mut Table<'a, K, &'static [u8]>, TableError> {
    use std::collections::btree_map::Entry;
    match opened.entry(number) {
        Entry::Occupied(table) => Ok(table.into_mut()),
        Entry::Vacant(place) => {
            let table = transaction.open_table(TableDefinition::new(&name(number)))?;
            Ok(place.insert(table))
        }
    }
}

/// The key of a row in redb.
pub(super) type RowKey = &'static [u8];
/// The key of a log entry in redb: lane and number. Big-endian, for redb orders arrays by their bytes.
pub(super) type EntryKey = &'static [u8; ENTRY_KEY_LEN];
pub(super) const ENTRY_KEY_LEN: usize = 12;

pub(super) fn rows_name(number: u32) -> String {
    format!("rows-{number}")
}

pub(super) fn log_name(number: u32) -> String {
    format!("log-{number}")
}

pub(super) fn entry_key(lane: u32, number: u64) -> [u8; ENTRY_KEY_LEN] {
    // 96 bits in big-endian order: the lane above the number.
    let both = u128::from(lane) << 64 | u128::from(number);
    let [_, _, _, _, key @ ..] = both.to_be_bytes();
    key
}

pub(super) fn number_of(key: &[u8; ENTRY_KEY_LEN]) -> u64 {
    let [_, _, _, _, number @ ..] = *key;
    u64::from_be_bytes(number)
}
