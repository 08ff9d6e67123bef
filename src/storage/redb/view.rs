//! What readers see: one read transaction, and the tables that somebody asked for.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::{io, iter};

use ::redb::{AccessGuard, Key, Range, ReadOnlyTable, ReadTransaction, StorageError, TableDefinition, TableError};
use bytes::Bytes;
use parking_lot::RwLock;

use super::tables::{ENTRY_KEY_LEN, EntryKey, RowKey, entry_key, log_name, number_of, rows_name};
use super::{caught, to_io};
use crate::storage::range::nothing_between;
use crate::storage::{Entries, KeyRange, LogId, Rows, TableId};

/// A read transaction, and the tables that somebody asked for.
pub(super) struct View {
    rows: Opened<RowKey>,
    logs: Opened<EntryKey>,
    transaction: ReadTransaction,
}

/// Tables by number; `None` for one that was never written.
type Opened<K> = RwLock<BTreeMap<u32, Option<ReadOnlyTable<K, &'static [u8]>>>>;

impl View {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { rows: Opened::default(), logs: Opened::default(), transaction }
    }

    pub(super) fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.with(&self.rows, table.0, rows_name, |rows| Ok(rows.get(key)?.map(to_bytes)))?;
        Ok(value.flatten())
    }

    pub(super) fn range<'a>(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'a>> {
        if nothing_between(range) {
            return Ok(Box::new(iter::empty()));
        }
        let rows = self.with(&self.rows, table.0, rows_name, |rows| rows.range::<&[u8]>(range))?;
        let to_key = |key: AccessGuard<'_, RowKey>| Bytes::copy_from_slice(key.value());
        Ok(Box::new(Items { range: rows, to_key }))
    }

    pub(super) fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        let key = entry_key(log.lane, number);
        let value = self.with(&self.logs, log.table, log_name, |entries| Ok(entries.get(&key)?.map(to_bytes)))?;
        Ok(value.flatten())
    }

    pub(super) fn entries<'a>(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'a>> {
        if numbers.is_empty() {
            return Ok(Box::new(iter::empty()));
        }
        let first = entry_key(log.lane, *numbers.start());
        let last = entry_key(log.lane, *numbers.end());
        let range = (Bound::Included(&first), Bound::Included(&last));
        let entries = self.with(&self.logs, log.table, log_name, |entries| entries.range::<&[u8; ENTRY_KEY_LEN]>(range))?;
        let to_key = |key: AccessGuard<'_, EntryKey>| number_of(key.value());
        Ok(Box::new(Items { range: entries, to_key }))
    }

    /// Reads a table, which is opened once. `None`: it was never written.
    fn with<K: Key, T>(
        &self,
        opened: &Opened<K>,
        number: u32,
        name: fn(u32) -> String,
        read: impl FnOnce(&ReadOnlyTable<K, &'static [u8]>) -> Result<T, StorageError>,
    ) -> io::Result<Option<T>> {
        if let Some(table) = opened.read().get(&number) {
            let Some(table) = table else { return Ok(None) };
            return caught(|| read(table)).map(Some).map_err(to_io);
        }
        let name = name(number);
        let definition = TableDefinition::new(&name);
        let table = match caught(|| self.transaction.open_table(definition)) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(to_io(error)),
        };
        let mut opened = opened.write();
        let Some(table) = opened.entry(number).or_insert(table) else {
            return Ok(None);
        };
        caught(|| read(table)).map(Some).map_err(to_io)
    }
}

/// A range of a table, in shared bytes. It holds its transaction, and ends at the first error.
struct Items<K: Key + 'static, F> {
    range: Option<Range<'static, K, &'static [u8]>>,
    to_key: F,
}

type Row<K> = (AccessGuard<'static, K>, AccessGuard<'static, &'static [u8]>);

impl<K: Key, F> Items<K, F> {
    fn take<T>(
        &mut self,
        step: impl FnOnce(&mut Range<'static, K, &'static [u8]>) -> Option<Result<Row<K>, StorageError>>,
    ) -> Option<io::Result<(T, Bytes)>>
    where
        F: Fn(AccessGuard<'static, K>) -> T,
    {
        let range = self.range.as_mut()?;
        let to_key = &self.to_key;
        let item = caught::<_, StorageError>(|| {
            let Some(row) = step(range) else {
                return Ok(None);
            };
            let (key, value) = row?;
            Ok(Some((to_key(key), to_bytes(value))))
        });
        if item.is_err() {
            self.range = None;
        }
        item.map_err(to_io).transpose()
    }
}

impl<K: Key, F: Fn(AccessGuard<'static, K>) -> T, T> Iterator for Items<K, F> {
    type Item = io::Result<(T, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(Range::next)
    }
}

impl<K: Key, F: Fn(AccessGuard<'static, K>) -> T, T> DoubleEndedIterator for Items<K, F> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(Range::next_back)
    }
}

fn to_bytes(value: AccessGuard<'_, &'static [u8]>) -> Bytes {
    Bytes::copy_from_slice(value.value())
}
