//! A backend of your own, short: one file to which every commit is appended.
//!
//! What it shows: rows and entries in one ordered map, snapshots by sharing it, atomic commits by a length and a checksum
//! before each, `sync` as one fsync. What it lacks: it keeps everything in memory, copies it all at the first commit under a
//! snapshot (which [`Backend::snapshot`] asks a real backend not to do), and its file only grows.
//!
//! `cargo run --example custom_backend`

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek, Write as _};
use std::ops::{Bound, RangeInclusive};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use tombolo::Store;
use tombolo::storage::{
    Backend, Bytes, Entries, KeyRange, LogId, Read, Rows, TableId, Write, conformance, conformance_durable,
};

/// Where a value is: what it is (0 row, 1 entry), table, lane, key. A number as a key is big-endian: so bytes order as numbers.
type Place = (u8, u32, u32, Bytes);

/// One state.
#[derive(Clone, Default)]
struct State(BTreeMap<Place, Bytes>);

/// A file of commits, and what they add up to.
struct CommitLog {
    file: Mutex<File>,
    newest: RwLock<Arc<State>>,
}

impl CommitLog {
    /// Opens a file and applies its commits. A torn one at the end was never acknowledged: it is cut off.
    fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut left = Bytes::from(bytes);
        let (mut state, mut whole) = (State::default(), 0);
        while let Some(mut commit) = split_commit(&mut left) {
            whole += 8 + commit.len() as u64;
            while let Some((place, value)) = split_change(&mut commit) {
                state.apply(place, value);
            }
        }
        file.set_len(whole)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(Self { file: Mutex::new(file), newest: RwLock::new(Arc::new(state)) })
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.newest.read().expect("no holder panics"))
    }
}

impl Backend for CommitLog {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        Ok(self.state())
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        let changes: Vec<_> = writes.into_iter().map(change_of).collect();
        let mut body = Vec::new();
        for (place, value) in &changes {
            join_change(&mut body, place, value.as_ref());
        }
        let mut commit = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
        commit.extend(checksum(&body).to_le_bytes());
        commit.extend(body);

        let mut file = self.file.lock().expect("no holder panics");
        let end = file.stream_position()?;
        if let Err(error) = file.write_all(&commit) {
            // All or nothing: half a commit must not stand before the next one.
            file.set_len(end)?;
            file.seek(io::SeekFrom::Start(end))?;
            return Err(error);
        }
        if sync {
            file.sync_data()?;
        }
        // Written first, shown second: nobody reads what the file does not have.
        let mut newest = self.newest.write().expect("no holder panics");
        let state = Arc::make_mut(&mut newest);
        for (place, value) in changes {
            state.apply(place, value);
        }
        Ok(())
    }
}

/// Reading the backend is reading the newest state; iterators hold it, so they own what they give.
impl Read for CommitLog {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.state().get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        let rows: Vec<_> = self.state().range(table, range)?.collect();
        Ok(Box::new(rows.into_iter()))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        self.state().at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let entries: Vec<_> = self.state().entries(log, numbers)?.collect();
        Ok(Box::new(entries.into_iter()))
    }
}

impl Read for State {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.0.get(&row(table, key)).cloned())
    }

    fn range(&self, table: TableId, (start, end): KeyRange<'_>) -> io::Result<Rows<'_>> {
        let start = match start {
            Bound::Unbounded => Bound::Included(row(table, b"")),
            bound @ (Bound::Included(_) | Bound::Excluded(_)) => bound.map(|key| row(table, key)),
        };
        let end = match end {
            // Rows are in lane 0.
            Bound::Unbounded => Bound::Excluded((0, table.0, 1, Bytes::new())),
            bound @ (Bound::Included(_) | Bound::Excluded(_)) => bound.map(|key| row(table, key)),
        };
        let rows = self.between(start, end);
        Ok(Box::new(rows.map(|((_, _, _, key), value)| Ok((key.clone(), value.clone())))))
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<Bytes>> {
        Ok(self.0.get(&entry(log, number)).cloned())
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        let (first, last) = (entry(log, *numbers.start()), entry(log, *numbers.end()));
        let entries = self.between(Bound::Included(first), Bound::Included(last));
        Ok(Box::new(entries.map(|((_, _, _, key), value)| {
            let number = key[..].try_into().map_err(io::Error::other)?;
            Ok((u64::from_be_bytes(number), value.clone()))
        })))
    }
}

impl State {
    fn apply(&mut self, place: Place, value: Option<Bytes>) {
        match value {
            Some(value) => drop(self.0.insert(place, value)),
            None => drop(self.0.remove(&place)),
        }
    }

    fn between(&self, start: Bound<Place>, end: Bound<Place>) -> impl DoubleEndedIterator<Item = (&Place, &Bytes)> {
        // `BTreeMap::range` panics on an inverted range; [`Read::range`] gives nothing.
        let some = match (&start, &end) {
            (Bound::Included(start), Bound::Included(end)) => start <= end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start < end,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        };
        some.then(|| self.0.range((start, end))).into_iter().flatten()
    }
}

fn row(table: TableId, key: &[u8]) -> Place {
    (0, table.0, 0, Bytes::copy_from_slice(key))
}

fn entry(log: LogId, number: u64) -> Place {
    (1, log.table, log.lane, Bytes::copy_from_slice(&number.to_be_bytes()))
}

fn change_of(write: Write) -> (Place, Option<Bytes>) {
    match write {
        Write::Put { table, key, value } => (row(table, &key), Some(value)),
        Write::Remove { table, key } => (row(table, &key), None),
        Write::Append { log, number, value } => (entry(log, number), Some(value)),
        Write::Erase { log, number } => (entry(log, number), None),
    }
}

/// What it is, table, lane, whether there is a value; then key and value, each after its length.
fn join_change(body: &mut Vec<u8>, (what, table, lane, key): &Place, value: Option<&Bytes>) {
    body.extend([*what, u8::from(value.is_some())]);
    body.extend(table.to_le_bytes());
    body.extend(lane.to_le_bytes());
    for part in [key, value.unwrap_or(&Bytes::new())] {
        body.extend((part.len() as u64).to_le_bytes());
        body.extend(part);
    }
}

fn split_change(body: &mut Bytes) -> Option<(Place, Option<Bytes>)> {
    let [what, has_value] = split(body, 2)?[..].try_into().ok()?;
    let table = split_u32(body)?;
    let lane = split_u32(body)?;
    let mut part = || {
        let len = u64::from_le_bytes(split(body, 8)?[..].try_into().ok()?);
        split(body, usize::try_from(len).ok()?)
    };
    let (key, value) = (part()?, part()?);
    Some(((what, table, lane, key), (has_value == 1).then_some(value)))
}

/// The next commit, if all of it is there.
fn split_commit(left: &mut Bytes) -> Option<Bytes> {
    let len = split_u32(left)?;
    let sum = split_u32(left)?;
    let body = split(left, usize::try_from(len).ok()?)?;
    (checksum(&body) == sum).then_some(body)
}

fn split_u32(bytes: &mut Bytes) -> Option<u32> {
    Some(u32::from_le_bytes(split(bytes, 4)?[..].try_into().ok()?))
}

fn split(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

/// FNV-1a: short to write down. A real file deserves a better one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let fresh = || {
        let file = tempfile::NamedTempFile::new_in(&directory).expect("a new file in a new folder");
        CommitLog::open(file.path()).expect("an empty file is an empty log")
    };
    conformance(fresh);
    println!("the commit log keeps the laws of storage");
    conformance_durable(|number| {
        CommitLog::open(directory.path().join(number.to_string())).expect("the log was written by us")
    });
    println!("and what it synced is there again");

    let path = directory.path().join("store");
    let store = Store::options().open_backend(CommitLog::open(&path)?)?;
    store.counter("visits").add(2)?;
    drop(store);
    let store = Store::options().open_backend(CommitLog::open(&path)?)?;
    println!("a store on it, opened again: {} visits", store.counter("visits").get()?);
    store.check()?;
    Ok(())
}
