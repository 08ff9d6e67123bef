use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::mpsc;
use std::{fs, thread};

use ::redb::backends::InMemoryBackend;
use parking_lot::{Condvar, Mutex};

use std::ops::Bound;

use super::tables::{entry_key, number_of};
use super::*;
use crate::storage::{conformance, conformance_durable};

const TABLE: TableId = TableId(1);
const LOG: LogId = LogId { table: 1, lane: 2 };

fn put(key: &str, value: &str) -> Write {
    Write::Put { table: TABLE, key: key.to_owned().into(), value: value.to_owned().into() }
}

#[test]
fn redb_keeps_the_laws_of_storage() {
    conformance(|| Redb::with_backend(InMemoryBackend::new()).unwrap());
}

#[test]
fn redb_keeps_the_laws_of_durable_storage() {
    let directory = tempfile::tempdir().unwrap();
    conformance_durable(|number| Redb::open(directory.path().join(format!("{number}.tombolo"))).unwrap());
}

#[test]
fn a_file_that_is_open_is_locked_until_its_last_snapshot_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.tombolo");
    let backend = Redb::open(&path).unwrap();
    backend.commit(vec![put("key", "value")], true).unwrap();
    assert!(matches!(Redb::open(&path), Err(OpenError::Locked { .. })));
    let snapshot = backend.snapshot().unwrap();
    drop(backend);
    assert!(matches!(Redb::open(&path), Err(OpenError::Locked { .. })));
    assert_eq!(snapshot.get(TABLE, b"key").unwrap().as_deref(), Some(&b"value"[..]));
    drop(snapshot);
    assert!(Redb::open(&path).is_ok());
}

#[test]
fn what_is_no_store_is_damaged_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.tombolo");
    let text = "not a database, but long enough for a header".repeat(1000);
    fs::write(&path, &text).unwrap();
    let error = Redb::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
}

#[test]
fn a_file_of_an_older_redb_asks_for_the_release_that_wrote_it() {
    // Where redb keeps the version of each of its two commits.
    const VERSIONS: [u64; 2] = [64, 192];
    let disk = Disk::default();
    drop(Redb::with_backend(disk.clone()).unwrap());
    let sealed = sealed::Sealed::new(disk.clone());
    sealed.len().unwrap();
    VERSIONS.iter().for_each(|at| sealed.write(*at, &[2]).unwrap());
    let before = disk.bytes.lock().clone();
    let error = Redb::with_backend(disk.clone()).unwrap_err();
    assert!(matches!(error, OpenError::UpgradeRequired { format: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("open it once with the release that wrote it"));
    assert_eq!(*disk.bytes.lock(), before);
}

#[test]
fn a_place_that_cannot_be_opened_is_an_io_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = Redb::open(directory.path().join("no such folder/store.tombolo")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
}

/// redb panics on pages that were changed behind its back, or shows other rows; a store must not.
#[test]
fn damaged_files_give_errors_or_every_row_but_never_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.tombolo");
    let backend = Redb::open(&path).unwrap();
    for round in 0..20_u32 {
        let number = |row: u32| (round * 100 + row).wrapping_mul(0x9E37_79B1);
        let writes = (0..100).flat_map(|row| {
            let text = format!("{:010}", number(row));
            let entry = Write::Append { log: LOG, number: number(row).into(), value: text.clone().into() };
            [put(&text, "some value of a row"), entry]
        });
        backend.commit(writes.collect(), true).unwrap();
    }
    drop(backend);
    let whole = fs::read(&path).unwrap();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).unwrap() % end
    };
    let mut failed = 0;
    for round in 0..300 {
        let mut damaged = whole.clone();
        match round % 3 {
            0 => (0..8).for_each(|_| damaged[below(whole.len())] ^= 1 << below(8)),
            1 => damaged.truncate(below(whole.len())),
            _ => {
                let page = below(whole.len()) & !4095;
                damaged[page..page + 4096].fill_with(|| u8::try_from(below(256)).unwrap());
            }
        }
        fs::write(&path, damaged).unwrap();
        let read = || -> io::Result<()> {
            let backend = Redb::open(&path)?;
            let mut rows = 0;
            for row in backend.range(TABLE, (Bound::Unbounded, Bound::Unbounded))? {
                let (key, value) = row?;
                assert_eq!(value, "some value of a row");
                assert_eq!(backend.get(TABLE, &key)?, Some(value));
                rows += 1;
            }
            for entry in backend.entries(LOG, 0..=u64::MAX)?.rev() {
                let (number, value) = entry?;
                assert_eq!(value, format!("{number:010}"));
                assert_eq!(backend.at(LOG, number)?, Some(value));
                rows += 1;
            }
            assert_eq!(rows, 4000);
            backend.commit(vec![put("key", "value")], true)
        };
        failed += u32::from(read().is_err());
    }
    assert!(failed > 100, "the damage was seen in {failed} of 300 files only");
}

/// A disk whose sync can be held up, or fail.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    controls: Arc<Controls>,
}

#[derive(Debug, Default)]
struct Controls {
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicBool,
    fails: AtomicBool,
    syncs: AtomicU64,
}

impl Disk {
    fn hold_syncs(&self, hold: bool) {
        *self.controls.held.lock() = hold;
        self.controls.released.notify_all();
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.controls.held.lock();
        while *held {
            self.controls.waiting.store(true, Ordering::SeqCst);
            self.controls.released.wait(&mut held);
        }
        self.controls.syncs.fetch_add(1, Ordering::SeqCst);
        if self.controls.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.bytes.lock()[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn reads_and_snapshots_go_on_while_a_commit_waits_for_the_disk() {
    let disk = Disk::default();
    let backend = Redb::with_backend(disk.clone()).unwrap();
    backend.commit(vec![put("key", "old")], true).unwrap();
    disk.hold_syncs(true);
    thread::scope(|scope| {
        let commit = scope.spawn(|| backend.commit(vec![put("key", "new")], true));
        while !disk.controls.waiting.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let (done, finished) = mpsc::channel();
        let backend = &backend;
        // Nothing was read since the last commit, so this begins a transaction under the fsync too.
        scope.spawn(move || {
            let value = backend.get(TABLE, b"key").unwrap();
            let snapshot = backend.snapshot().unwrap();
            let rows = snapshot.range(TABLE, (Bound::Unbounded, Bound::Unbounded)).unwrap().count();
            done.send((value, rows)).unwrap();
        });
        let read = finished.recv_timeout(Duration::from_secs(10));
        disk.hold_syncs(false);
        let (value, rows) = read.expect("a read waited for the fsync of a commit");
        assert_eq!((value.as_deref(), rows), (Some(&b"old"[..]), 1));
        commit.join().unwrap().unwrap();
    });
    assert_eq!(backend.get(TABLE, b"key").unwrap().as_deref(), Some(&b"new"[..]));
}

/// A read took the view before the database, and a compaction the database before the view: each waited for the other for ever.
#[test]
#[expect(clippy::disallowed_methods, reason = "these threads are the callers")]
fn a_read_and_a_compaction_do_not_wait_for_each_other() {
    const ROUNDS: u64 = 200_000;
    let backend = Arc::new(Redb::with_backend(InMemoryBackend::new()).unwrap());
    backend.commit(vec![put("key", "value")], true).unwrap();
    let (done, finished) = mpsc::channel();
    // Not scoped: threads that hang must not keep the test from failing.
    let reading = Arc::clone(&backend);
    thread::spawn(move || {
        // In the way of every compaction, so that each takes the view away and ends at once.
        let held = reading.snapshot().unwrap();
        let compacting = thread::spawn(move || (0..ROUNDS).for_each(|_| drop(backend.compact().unwrap_err())));
        while !compacting.is_finished() {
            reading.get(TABLE, b"key").unwrap();
        }
        drop(held);
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("a read and a compaction wait for each other");
}

#[test]
fn only_synced_commits_sync() {
    let disk = Disk::default();
    let backend = Redb::with_backend(disk.clone()).unwrap();
    let before = disk.controls.syncs.load(Ordering::SeqCst);
    for number in 0..50 {
        backend.commit(vec![put("key", &number.to_string())], false).unwrap();
    }
    assert_eq!(disk.controls.syncs.load(Ordering::SeqCst), before);
    backend.commit(Vec::new(), true).unwrap();
    assert!(disk.controls.syncs.load(Ordering::SeqCst) > before);
}

#[test]
fn a_failed_sync_is_an_error_that_keeps_its_cause() {
    let disk = Disk::default();
    let backend = Redb::with_backend(disk.clone()).unwrap();
    backend.commit(vec![put("key", "old")], true).unwrap();
    disk.controls.fails.store(true, Ordering::SeqCst);
    let error = backend.commit(vec![put("key", "new")], true).unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    // The disk works again, but what it holds is not known: reopen.
    disk.controls.fails.store(false, Ordering::SeqCst);
    assert!(backend.commit(vec![put("key", "newer")], true).is_err());
    drop(backend);
    let backend = Redb::with_backend(disk).unwrap();
    assert!(backend.get(TABLE, b"key").unwrap().is_some());
}

#[test]
fn entry_keys_order_as_their_lanes_and_numbers() {
    let ordered = [(0, 0), (0, 1), (0, 255), (0, 256), (0, u64::MAX), (1, 0), (256, 3), (u32::MAX, u64::MAX)];
    let keys = ordered.map(|(lane, number)| entry_key(lane, number));
    assert!(keys.is_sorted());
    assert_eq!(keys.each_ref().map(number_of), ordered.map(|(_, number)| number));
}
