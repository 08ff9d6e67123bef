//! Broken backends: each must fail the suite, by the law that it breaks. A suite that passes them all is no suite.

#![expect(clippy::wildcard_enum_match_arm, reason = "a fault is handled where it acts, and nowhere else")]

use core::ops::RangeInclusive;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::super::{Entries, KeyRange, Memory, Rows};
use super::*;

/// What is wrong with a [`Mutant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing: the wrapper itself must not be what fails.
    None,
    KeysInReverse,
    NotAtomic,
    EarlierWritesWin,
    SnapshotSeesLaterCommits,
    ReadsAreOneCommitBehind,
    HolesEndALog,
    EntriesInReverse,
    ExcludedStartIsIncluded,
    ExcludedEndIsIncluded,
    EmptyKeyIsLost,
    EmptyValueIsAbsent,
    RemovalsAreLost,
    ErasuresAreLost,
    HighestNumberIsLost,
    LanesMeet,
    TablesAndLogsMeet,
    LargeValuesAreCut,
    BackwardStartsOneEarly,
    EndsDoNotMeet,
    NeverWrittenIsAnError,
    UnsyncedIsNotVisible,
    IteratorMovesOn,
    BrokenStreamIsKept,
    StreamIsCommittedInParts,
    StreamIsAskedAgain,
}

/// Memory with one fault.
struct Mutant {
    fault: Fault,
    memory: Memory,
    /// The state before the last commit.
    behind: parking_lot::Mutex<Arc<dyn Read>>,
    unsynced: parking_lot::Mutex<Vec<Write>>,
}

impl Mutant {
    fn new(fault: Fault) -> Self {
        let memory = Memory::default();
        let behind = parking_lot::Mutex::new(memory.snapshot().unwrap());
        Self { fault, memory, behind, unsynced: parking_lot::Mutex::default() }
    }

    fn view(&self, state: Arc<dyn Read>) -> View {
        View { fault: self.fault, state }
    }

    fn newest(&self) -> View {
        let behind = self.fault == Fault::ReadsAreOneCommitBehind;
        self.view(if behind { Arc::clone(&self.behind.lock()) } else { Arc::new(self.memory.clone()) })
    }

    fn mutate(&self, mut writes: Vec<Write>) -> Vec<Write> {
        match self.fault {
            Fault::EarlierWritesWin => writes.reverse(),
            Fault::EmptyKeyIsLost => {
                writes.retain(|write| !matches!(write, Write::Put { key, .. } if key.is_empty()));
            }
            Fault::RemovalsAreLost => writes.retain(|write| !matches!(write, Write::Remove { .. })),
            Fault::ErasuresAreLost => writes.retain(|write| !matches!(write, Write::Erase { .. })),
            Fault::HighestNumberIsLost => writes.retain(|write| !matches!(write, Write::Append { number: u64::MAX, .. })),
            Fault::LargeValuesAreCut => {
                for write in &mut writes {
                    if let Write::Put { value, .. } | Write::Append { value, .. } = write {
                        value.truncate(64 << 10);
                    }
                }
            }
            Fault::TablesAndLogsMeet => {
                for write in &mut writes {
                    if let Write::Append { log, number: 0, value } = write {
                        *write = Write::Put { table: TableId(log.table), key: text("key"), value: value.clone() };
                    }
                }
            }
            _ => {}
        }
        writes
    }
}

impl Backend for Mutant {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        let live = self.fault == Fault::SnapshotSeesLaterCommits;
        let state = if live { Arc::new(self.memory.clone()) } else { self.memory.snapshot()? };
        Ok(Arc::new(self.view(state)))
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        *self.behind.lock() = self.memory.snapshot()?;
        let mut writes = self.mutate(writes);
        if self.fault == Fault::UnsyncedIsNotVisible {
            let mut unsynced = self.unsynced.lock();
            unsynced.append(&mut writes);
            return if sync { self.memory.commit(unsynced.split_off(0), true) } else { Ok(()) };
        }
        if self.fault == Fault::NotAtomic {
            return writes.into_iter().try_for_each(|write| {
                let committed = self.memory.commit(vec![write], sync);
                // On a busy machine, too, a reader comes in between.
                thread::yield_now();
                committed
            });
        }
        self.memory.commit(writes, sync)
    }

    fn commit_from(&self, writes: &mut dyn Iterator<Item = io::Result<Write>>, sync: bool) -> io::Result<()> {
        let (mut taken, mut broken) = (Vec::new(), None);
        for write in &mut *writes {
            match write {
                Ok(write) => taken.push(write),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
            if self.fault == Fault::StreamIsCommittedInParts && taken.len() == 1000 {
                self.commit(core::mem::take(&mut taken), sync)?;
            }
        }
        if broken.is_none() || self.fault == Fault::BrokenStreamIsKept {
            self.commit(taken, sync)?;
        }
        if broken.is_some() && self.fault == Fault::StreamIsAskedAgain {
            writes.next();
        }
        broken.map_or(Ok(()), Err)
    }
}

impl Read for Mutant {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.newest().get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        if self.fault == Fault::IteratorMovesOn {
            return Ok(Box::new(Moving {
                memory: &self.memory,
                table,
                start: range.0.map(Bytes::copy_from_slice),
                end: range.1.map(Bytes::copy_from_slice),
            }));
        }
        let rows: Vec<_> = self.newest().range(table, range)?.collect();
        Ok(self.fault.of_items(rows))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.newest().at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let entries: Vec<_> = self.newest().entries(log, numbers)?.collect();
        Ok(self.fault.of_items(entries))
    }
}

impl Fault {
    /// The faults of the ends of an iterator.
    fn of_items<'a, T: Clone + 'a>(self, items: Vec<io::Result<T>>) -> Box<dyn DoubleEndedIterator<Item = io::Result<T>> + 'a> {
        let mut items: Vec<T> = items.into_iter().map(Result::unwrap).collect();
        match self {
            Self::BackwardStartsOneEarly => Box::new(OneEarly { items, started: false }),
            Self::EndsDoNotMeet => {
                let back = items.clone();
                items.reverse();
                Box::new(NotMeeting { front: items, back })
            }
            _ => Box::new(items.into_iter().map(Ok)),
        }
    }
}

/// One state, seen through the faults of reading.
struct View {
    fault: Fault,
    state: Arc<dyn Read>,
}

impl View {
    fn log(&self, log: LogId) -> LogId {
        if self.fault == Fault::LanesMeet { LogId { lane: log.lane & 0xff, ..log } } else { log }
    }
}

impl Read for View {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        let value = self.state.get(table, key)?;
        Ok(value.filter(|value| self.fault != Fault::EmptyValueIsAbsent || !value.is_empty()))
    }

    fn range(&self, table: TableId, (mut start, mut end): KeyRange<'_>) -> io::Result<Rows<'_>> {
        match (self.fault, start, end) {
            (Fault::ExcludedStartIsIncluded, Bound::Excluded(key), _) => {
                start = Bound::Included(key);
            }
            (Fault::ExcludedEndIsIncluded, _, Bound::Excluded(key)) => end = Bound::Included(key),
            (Fault::NeverWrittenIsAnError, ..) if self.state.range(table, ALL)?.next().is_none() => {
                return Err(io::ErrorKind::NotFound.into());
            }
            _ => {}
        }
        let rows = self.state.range(table, (start, end))?;
        Ok(if self.fault == Fault::KeysInReverse { Box::new(rows.rev()) } else { rows })
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.state.at(self.log(log), number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let entries = self.state.entries(self.log(log), numbers)?;
        Ok(match self.fault {
            Fault::EntriesInReverse => Box::new(entries.rev()),
            Fault::HolesEndALog => {
                let mut entries: Vec<(u64, Bytes)> = entries.map(Result::unwrap).collect();
                let hole = entries.windows(2).position(|pair| pair[0].0 + 1 != pair[1].0);
                entries.truncate(hole.map_or(entries.len(), |hole| hole + 1));
                Box::new(entries.into_iter().map(Ok))
            }
            _ => entries,
        })
    }
}

/// The last item is lost to those who come from the back.
struct OneEarly<T> {
    items: Vec<T>,
    started: bool,
}

impl<T> Iterator for OneEarly<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.items.is_empty()).then(|| Ok(self.items.remove(0)))
    }
}

impl<T> DoubleEndedIterator for OneEarly<T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if !core::mem::replace(&mut self.started, true) {
            self.items.pop();
        }
        self.items.pop().map(Ok)
    }
}

/// Each end goes through all of it.
struct NotMeeting<T> {
    front: Vec<T>,
    back: Vec<T>,
}

impl<T> Iterator for NotMeeting<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.front.pop().map(Ok)
    }
}

impl<T> DoubleEndedIterator for NotMeeting<T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.back.pop().map(Ok)
    }
}

/// Looks at the newest state at every step.
struct Moving<'a> {
    memory: &'a Memory,
    table: TableId,
    start: Bound<Bytes>,
    end: Bound<Bytes>,
}

impl Moving<'_> {
    fn rows(&self) -> Rows<'_> {
        let range = (self.start.as_ref().map(AsRef::as_ref), self.end.as_ref().map(AsRef::as_ref));
        self.memory.range(self.table, range).unwrap()
    }
}

impl Iterator for Moving<'_> {
    type Item = io::Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows().next()?.unwrap();
        self.start = Bound::Excluded(row.0.clone());
        Some(Ok(row))
    }
}

impl DoubleEndedIterator for Moving<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let row = self.rows().next_back()?.unwrap();
        self.end = Bound::Excluded(row.0.clone());
        Some(Ok(row))
    }
}

fn broken_law(fault: Fault) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| conformance(|| Mutant::new(fault)))).err()?;
    Some(panic.downcast_ref::<String>().cloned().expect("laws say which one broke"))
}

#[test]
fn the_wrapper_of_the_mutants_keeps_the_laws() {
    assert_eq!(broken_law(Fault::None), None);
}

#[test]
fn every_mutant_breaks_a_law() {
    use Fault::*;
    let faults = [
        KeysInReverse,
        NotAtomic,
        EarlierWritesWin,
        SnapshotSeesLaterCommits,
        ReadsAreOneCommitBehind,
        HolesEndALog,
        EntriesInReverse,
        ExcludedStartIsIncluded,
        ExcludedEndIsIncluded,
        EmptyKeyIsLost,
        EmptyValueIsAbsent,
        RemovalsAreLost,
        ErasuresAreLost,
        HighestNumberIsLost,
        LanesMeet,
        TablesAndLogsMeet,
        LargeValuesAreCut,
        BackwardStartsOneEarly,
        EndsDoNotMeet,
        NeverWrittenIsAnError,
        UnsyncedIsNotVisible,
        IteratorMovesOn,
        BrokenStreamIsKept,
        StreamIsCommittedInParts,
        StreamIsAskedAgain,
    ];
    let passed: Vec<Fault> = faults.into_iter().filter(|&fault| broken_law(fault).is_none()).collect();
    assert!(passed.is_empty(), "not caught: {passed:?}");
}

#[test]
fn a_failure_names_the_law_and_the_place() {
    let said = broken_law(Fault::ExcludedEndIsIncluded).unwrap();
    assert!(said.contains("broken law of storage:"), "{said}");
    assert!(said.contains("place:") && said.contains("expected:"), "{said}");
}
