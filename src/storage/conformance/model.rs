//! What a backend should hold, and how the two are compared.

use core::fmt::{Debug, Display};
use core::ops::{Bound, RangeInclusive};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::{io, iter};

use super::super::range::nothing_between;
use super::super::{Backend, Bytes, Entries, KeyRange, LogId, Read, Rows, TableId, Write};
use super::dice::Dice;

/// The name of a law, for the message when it breaks.
#[derive(Clone, Copy)]
pub(super) struct Law(pub(super) &'static str);

impl Law {
    #[track_caller]
    pub(super) fn holds(self, holds: bool, place: &dyn Display) {
        assert!(holds, "broken law of storage: {}\n place: {place}", self.0);
    }

    #[track_caller]
    pub(super) fn same<T: PartialEq + Debug>(self, found: &T, expected: &T, place: &(impl Debug + ?Sized)) {
        assert!(
            found == expected,
            "broken law of storage: {}\n    place: {place:?}\n    found: {found:?}\n expected: {expected:?}",
            self.0,
        );
    }
}

/// What a backend should hold, in maps that need no proof.
#[derive(Clone, Default)]
pub(super) struct Model {
    tables: BTreeMap<TableId, BTreeMap<Bytes, Bytes>>,
    logs: BTreeMap<LogId, BTreeMap<u64, Bytes>>,
}

impl Model {
    pub(super) fn apply(&mut self, writes: &[Write]) {
        for write in writes.iter().cloned() {
            match write {
                Write::Put { table, key, value } => {
                    self.tables.entry(table).or_default().insert(key, value);
                }
                Write::Remove { table, key } => {
                    self.tables.entry(table).or_default().remove(&key);
                }
                Write::Append { log, number, value } => {
                    self.logs.entry(log).or_default().insert(number, value);
                }
                Write::Erase { log, number } => {
                    self.logs.entry(log).or_default().remove(&number);
                }
            }
        }
    }

    pub(super) fn rows(&self, table: TableId) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        self.tables.get(&table).into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()))
    }

    pub(super) fn entries_of(&self, log: LogId) -> impl DoubleEndedIterator<Item = (u64, Bytes)> {
        self.logs.get(&log).into_iter().flatten().map(|(&number, value)| (number, value.clone()))
    }
}

impl Read for Model {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        let Some(rows) = self.tables.get(&table).filter(|_| !nothing_between(range)) else {
            return Ok(Box::new(iter::empty()));
        };
        let rows = rows.range::<[u8], _>(range);
        Ok(Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone())))))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        Ok(self.logs.get(&log).and_then(|entries| entries.get(&number)).cloned())
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let Some(entries) = self.logs.get(&log).filter(|_| !numbers.is_empty()) else {
            return Ok(Box::new(iter::empty()));
        };
        Ok(Box::new(entries.range(numbers).map(|(&number, value)| Ok((number, value.clone())))))
    }
}

pub(super) const ALL: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// Compares a range: forward, backward, and from both ends until they meet.
pub(super) fn same_range(
    law: Law,
    found: &dyn Read,
    model: &Model,
    table: TableId,
    range: KeyRange<'_>,
    dice: &mut Dice,
    place: &(impl Debug + ?Sized),
) {
    let place = (place, table, range);
    let expected = rows(model, table, range);
    law.same(&rows(found, table, range), &expected, &(place, "forward"));
    let mut backward: Vec<_> = opened(found.range(table, range)).rev().map(opened).collect();
    backward.reverse();
    law.same(&backward, &expected, &(place, "backward"));
    let met = from_both_ends(opened(found.range(table, range)), dice);
    law.same(&met, &expected, &(place, "from both ends"));
}

/// Compares a range of a log: forward, backward, and from both ends until they meet.
pub(super) fn same_entries(
    law: Law,
    found: &dyn Read,
    model: &Model,
    log: LogId,
    numbers: RangeInclusive<u64>,
    dice: &mut Dice,
    place: &(impl Debug + ?Sized),
) {
    let place = (place, log, &numbers);
    let expected = entries(model, log, numbers.clone());
    law.same(&entries(found, log, numbers.clone()), &expected, &(place, "forward"));
    let mut backward: Vec<_> = opened(found.entries(log, numbers.clone())).rev().map(opened).collect();
    backward.reverse();
    law.same(&backward, &expected, &(place, "backward"));
    let met = from_both_ends(opened(found.entries(log, numbers.clone())), dice);
    law.same(&met, &expected, &(place, "from both ends"));
}

/// Takes items from either end by lot; both ends must say that nothing is left, and say it again.
pub(super) fn from_both_ends<T>(mut items: Box<dyn DoubleEndedIterator<Item = io::Result<T>> + '_>, dice: &mut Dice) -> Vec<T> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    // Runs, not single steps: an end may read ahead.
    let run = 1 + dice.below(20);
    loop {
        let item = if dice.below(2 * run) < run {
            items.next().map(|item| front.push(opened(item)))
        } else {
            items.next_back().map(|item| back.push(opened(item)))
        };
        if item.is_none() {
            break;
        }
    }
    front.extend(items.next().map(opened));
    back.extend(items.next_back().map(opened));
    back.reverse();
    front.append(&mut back);
    front
}

/// Compares one row, one entry, one range and one range of a log, by lot.
pub(super) fn same_somewhere(law: Law, found: &dyn Read, model: &Model, dice: &mut Dice, place: &str) {
    let (table, key) = (dice.table(), dice.key());
    law.same(&get(found, table, &key), &get(model, table, &key), &(place, table, &key));
    let (log, number) = (dice.log(), dice.number());
    law.same(&at(found, log, number), &at(model, log, number), &(place, log, number));
    let (start, end) = (dice.key(), dice.key());
    let range = (dice.bound(&start), dice.bound(&end));
    same_range(law, found, model, table, range, dice, place);
    let numbers = dice.number()..=dice.number();
    same_entries(law, found, model, log, numbers, dice, place);
}

/// Compares all that a random history can have written.
pub(super) fn same_everywhere(law: Law, found: &dyn Read, model: &Model, dice: &mut Dice, place: &str) {
    for table in Dice::TABLES {
        same_range(law, found, model, table, ALL, dice, place);
    }
    for log in Dice::LOGS {
        same_entries(law, found, model, log, 0..=u64::MAX, dice, place);
    }
}

pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn put(table: TableId, key: &str, value: &Bytes) -> Write {
    Write::Put { table, key: text(key), value: value.clone() }
}

pub(super) fn remove(table: TableId, key: &str) -> Write {
    Write::Remove { table, key: text(key) }
}

pub(super) fn append(log: LogId, number: u64, value: &Bytes) -> Write {
    Write::Append { log, number, value: value.clone() }
}

pub(super) fn erase(log: LogId, number: u64) -> Write {
    Write::Erase { log, number }
}

/// Every backend error ends the suite: a conformant medium is also a working one.
#[track_caller]
pub(super) fn opened<T>(result: io::Result<T>) -> T {
    result.expect("the backend returned an error to the conformance suite")
}

#[track_caller]
pub(super) fn commit(backend: &dyn Backend, writes: Vec<Write>, sync: bool) {
    opened(backend.commit(writes, sync));
}

#[track_caller]
pub(super) fn snapshot(backend: &dyn Backend) -> Arc<dyn Read> {
    opened(backend.snapshot())
}

#[track_caller]
pub(super) fn get(read: &dyn Read, table: TableId, key: &[u8]) -> Option<Bytes> {
    opened(read.get(table, key))
}

#[track_caller]
pub(super) fn at(read: &dyn Read, log: LogId, number: u64) -> Option<Bytes> {
    opened(read.at(log, number))
}

#[track_caller]
pub(super) fn rows(read: &dyn Read, table: TableId, range: KeyRange<'_>) -> Vec<(Bytes, Bytes)> {
    opened(read.range(table, range)).map(opened).collect()
}

#[track_caller]
pub(super) fn entries(read: &dyn Read, log: LogId, numbers: RangeInclusive<u64>) -> Vec<(u64, Bytes)> {
    opened(read.entries(log, numbers)).map(opened).collect()
}
