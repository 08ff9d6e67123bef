//! A checksum for each block of a file, between redb and the file: what was changed behind redb's back is an error when it is read,
//! never other rows or missing ones.
//!
//! ```text
//!   file   [sums 0][0][1] … [510]  [sums 1][511] … [1022]  [sums 2] …     blocks of 4 KiB; [n] is block n of redb
//!   sums 0  magic, sum of 1, … 510        8 bytes each: XXH3-64 of a block, seeded with its number
//!   block 0 redb's header in 320 bytes, its sum at 504
//! ```
//!
//! redb checks its own checksums only when it repairs a file that was not closed, and believes every page otherwise.
//!
//! A crash may leave a block without its sum, or a sum without its block: of blocks alone that no durable commit names, or that the
//! last one names while its fsync was under way. The first are never read. The second redb verifies itself, since it repairs a
//! file that was not closed. So while such a file is opened, a block that does not fit its sum is handed to redb and noted;
//! afterwards it gets a new sum if redb has repaired, and is damage if not. The header has its sum in its own sector, so that
//! both change at once.

mod layout;
#[cfg(test)]
mod tests;

use core::ops::{Bound, Range};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use ::redb::{BackendError, StorageBackend};
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use layout::{
    BLOCK, BLOCK_LEN, HEADER_SUM, MAGIC, REDB_FLAGS, REDB_NOT_CLOSED, SECTOR_LEN, SUM_LEN, SUMS_LEN, SUMS_PER_SECTOR, block_at,
    group_at, inner_len, is_unfinished, outer_len, place,
};

const DAMAGED: &str = "a block of the file is not as it was written";
/// Blocks of sums in memory, before those that are on the disk are dropped: 16 MiB, for a file of 8 GiB.
const GROUPS_MAX: usize = 4096;
/// The version of this layer.
pub(super) const FORMAT: u8 = 1;

/// A file with sums. All clones are one.
pub(super) struct Sealed<B> {
    inner: Arc<B>,
    sums: Arc<Mutex<Sums>>,
    read_only: bool,
    first: FirstFailure,
}

/// What the medium said first when it failed. redb says from then on only that it has failed before.
pub(super) type FirstFailure = Arc<OnceLock<(io::ErrorKind, String)>>;

impl<B> Clone for Sealed<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            sums: Arc::clone(&self.sums),
            read_only: self.read_only,
            first: Arc::clone(&self.first),
        }
    }
}

#[derive(Default)]
struct Sums {
    groups: BTreeMap<u64, Group>,
    phase: Phase,
    /// The version of a layer that is newer than this one.
    newer: Option<u8>,
}

#[derive(Default)]
enum Phase {
    /// redb has not locked the file yet.
    #[default]
    New,
    /// A file that was not closed.
    Opening {
        /// Blocks that do not fit their sums, with the sums that they have.
        suspects: BTreeMap<u64, u64>,
        repaired: bool,
    },
    Open,
    /// The file is damaged, and is not to be changed.
    Refused,
}

/// Bytes of a file: from somewhere in a block on, or whole blocks.
enum Piece {
    Part(usize),
    Run,
}

struct Group {
    sums: Box<[u64; SUMS_LEN]>,
    /// Sectors that differ from the file, a bit for each.
    dirty: u8,
}

fn sum_of(number: u64, bytes: &[u8]) -> u64 {
    // 0 stands for a block that was never written.
    XxHash3_64::oneshot_with_seed(number, bytes).max(1)
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<B: StorageBackend> Sealed<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner: Arc::new(inner), sums: Arc::default(), read_only: false, first: Arc::default() }
    }

    /// A file that is not to be changed.
    pub(super) fn read_only(inner: B) -> Self {
        Self { read_only: true, ..Self::new(inner) }
    }

    /// Looks at what the file is, once redb has locked it. A making of a store that was cut short is taken back.
    fn begin(&self, sums: &mut Sums) -> io::Result<()> {
        if !matches!(sums.phase, Phase::New) {
            return Ok(());
        }
        let (mut magic, mut header) = ([0; SUM_LEN], [0; REDB_FLAGS + 1]);
        if self.inner.len()? >= 2 * BLOCK {
            self.inner.read(0, &mut magic)?;
            self.inner.read(block_at(0), &mut header)?;
        }
        if !self.read_only && is_unfinished(&*self.inner)? {
            self.inner.set_len(0)?;
            header = [0; REDB_FLAGS + 1];
        } else if u64::from_le_bytes(magic) != MAGIC {
            let [name @ .., version] = magic;
            let [our_name @ .., our_version] = MAGIC.to_le_bytes();
            sums.newer = (name == our_name && version > our_version).then_some(version);
            return Err(damaged("the file does not begin as a store does"));
        }
        let [.., flags] = header;
        let opening = Phase::Opening { suspects: BTreeMap::new(), repaired: false };
        sums.phase = if flags & REDB_NOT_CLOSED == 0 { Phase::Open } else { opening };
        Ok(())
    }

    /// The version of this layer that wrote the file, if it is a newer one.
    pub(super) fn newer(&self) -> Option<u8> {
        self.sums.lock().newer
    }

    pub(super) fn first_failure(&self) -> FirstFailure {
        Arc::clone(&self.first)
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            self.first.get_or_init(|| (error.kind(), error.to_string()));
        })
    }

    /// redb repairs the file: it verifies all that it uses.
    pub(super) fn repairs(&self) {
        if let Phase::Opening { repaired, .. } = &mut self.sums.lock().phase {
            *repaired = true;
        }
    }

    /// Ends the opening: from now on a block that does not fit its sum is an error.
    pub(super) fn opened(&self) -> io::Result<()> {
        let mut sums = self.sums.lock();
        self.decide(&mut sums)?;
        sums.phase = Phase::Open;
        Ok(())
    }

    /// Believes the blocks that do not fit, if redb has repaired the file; or refuses it.
    fn decide(&self, sums: &mut Sums) -> io::Result<()> {
        let Phase::Opening { suspects, repaired } = &mut sums.phase else { return Ok(()) };
        let suspects = core::mem::take(suspects);
        if *repaired || suspects.is_empty() {
            return suspects.into_iter().try_for_each(|(block, sum)| self.set_sum(sums, block, sum));
        }
        sums.phase = Phase::Refused;
        Err(damaged(DAMAGED))
    }

    /// Splits a range of bytes: runs of whole blocks that lie together in the file, and parts of blocks. Calls `with` for each, with
    /// the number of the first block, and where it is in the range.
    fn pieces(offset: u64, len: usize, mut with: impl FnMut(u64, Piece, Range<usize>) -> io::Result<()>) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (block, within) = (at / BLOCK, usize::try_from(at % BLOCK).unwrap_or_default());
            let (_group, index) = place(block);
            let whole = (len - done) / BLOCK_LEN * BLOCK_LEN;
            let (piece, end) = if within > 0 || whole == 0 || block == 0 {
                (Piece::Part(within), len.min(done + BLOCK_LEN - within))
            } else {
                (Piece::Run, done + whole.min((SUMS_LEN - index) * BLOCK_LEN))
            };
            with(block, piece, done..end)?;
            done = end;
        }
        Ok(())
    }

    /// Reads a part of a block, and verifies the whole.
    fn read_part(&self, block: u64, within: usize, out: &mut [u8]) -> io::Result<()> {
        let mut whole = [0; BLOCK_LEN];
        self.inner.read(block_at(block), &mut whole)?;
        self.verify(block, &whole)?;
        let part = whole.get(within..within + out.len()).ok_or_else(|| damaged("a part beyond its block"))?;
        out.copy_from_slice(part);
        Ok(())
    }

    /// Reads whole blocks that lie together in the file.
    fn read_run(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(block_at(first), out)?;
        let (blocks, _rest) = out.as_chunks::<BLOCK_LEN>();
        (first..).zip(blocks).try_for_each(|(block, whole)| self.verify(block, whole))
    }

    fn verify(&self, block: u64, whole: &[u8; BLOCK_LEN]) -> io::Result<()> {
        let (summed, kept) = if block == 0 {
            let (sector, _rest) = whole.split_at(SECTOR_LEN);
            let (header, sum) = sector.split_at(HEADER_SUM);
            (header, Some(u64::from_le_bytes(sum.try_into().map_err(|_len| damaged("a short sector"))?)))
        } else {
            (whole.as_slice(), None)
        };
        // Not under the lock: readers would wait for each other.
        let sum = sum_of(block, summed);
        let mut sums = self.sums.lock();
        let expected = kept.map_or_else(|| self.sum(&mut sums, block), Ok)?;
        if sum == expected || expected == 0 && whole.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let Phase::Opening { suspects, .. } = &mut sums.phase else { return Err(damaged(DAMAGED)) };
        suspects.insert(block, sum);
        Ok(())
    }

    fn group<'s>(&self, sums: &'s mut Sums, group: u64) -> io::Result<&'s mut Group> {
        if !sums.groups.contains_key(&group) {
            if sums.groups.len() >= GROUPS_MAX {
                sums.groups.retain(|_group, sums| sums.dirty != 0);
            }
            let mut bytes = [0; BLOCK_LEN];
            let at = group_at(group);
            if self.inner.len()? >= at + BLOCK {
                self.inner.read(at, &mut bytes)?;
            }
            let mut read = Group { sums: Box::new([0; SUMS_LEN]), dirty: 0 };
            let (words, _rest) = bytes.as_chunks::<SUM_LEN>();
            for (sum, word) in read.sums.iter_mut().zip(words) {
                *sum = u64::from_le_bytes(*word);
            }
            if group == 0 && read.sums.first() == Some(&0) {
                read.set(0, MAGIC);
            }
            sums.groups.insert(group, read);
        }
        sums.groups.get_mut(&group).ok_or_else(|| damaged("no such sums"))
    }

    fn sum(&self, sums: &mut Sums, block: u64) -> io::Result<u64> {
        let (group, index) = place(block);
        Ok(self.group(sums, group)?.sums.get(index).copied().unwrap_or_default())
    }

    fn set_sum(&self, sums: &mut Sums, block: u64, sum: u64) -> io::Result<()> {
        let (group, index) = place(block);
        if block > 0 {
            self.group(sums, group)?.set(index, sum);
        }
        if let Phase::Opening { suspects, .. } = &mut sums.phase {
            suspects.remove(&block);
        }
        Ok(())
    }

    fn write_part(&self, block: u64, within: usize, part: &[u8]) -> io::Result<()> {
        // The header; nothing else is written in parts.
        let mut whole = [0; BLOCK_LEN];
        self.inner.read(block_at(block), &mut whole)?;
        let to = whole.get_mut(within..within + part.len()).ok_or_else(|| damaged("a part beyond its block"))?;
        to.copy_from_slice(part);
        let mut sums = self.sums.lock();
        if block > 0 {
            self.inner.write(block_at(block), &whole)?;
            return self.set_sum(&mut sums, block, sum_of(block, &whole));
        }
        let (sector, rest) = whole.split_at_mut(SECTOR_LEN);
        if within + part.len() > HEADER_SUM || rest.iter().any(|byte| *byte != 0) {
            return Err(damaged("a header that is larger than one of redb"));
        }
        let (header, sum) = sector.split_at_mut(HEADER_SUM);
        sum.copy_from_slice(&sum_of(0, header).to_le_bytes());
        if matches!(sums.phase, Phase::Opening { .. })
            && header.get(REDB_FLAGS).is_some_and(|flags| flags & REDB_NOT_CLOSED == 0)
        {
            // The repair is done. If the power goes after this write, nobody believes a block without its sum any more.
            self.decide(&mut sums)?;
            self.flush(&mut sums)?;
            self.inner.sync_data()?;
        }
        self.inner.write(block_at(0), sector)?;
        self.set_sum(&mut sums, 0, 0)
    }

    /// Writes whole blocks that lie together in the file.
    fn write_run(&self, first: u64, blocks: &[u8]) -> io::Result<()> {
        self.inner.write(block_at(first), blocks)?;
        let (blocks, _rest) = blocks.as_chunks::<BLOCK_LEN>();
        for (block, whole) in (first..).zip(blocks) {
            let sum = sum_of(block, whole);
            self.set_sum(&mut self.sums.lock(), block, sum)?;
        }
        Ok(())
    }

    /// Writes the sums that have changed.
    fn flush(&self, sums: &mut Sums) -> io::Result<()> {
        // Makes the magic, in a new file.
        self.group(sums, 0)?;
        for (group, Group { sums, dirty }) in sums.groups.iter_mut().filter(|(_group, sums)| sums.dirty != 0) {
            for (number, sector) in (0_u8..).zip(sums.chunks(SUMS_PER_SECTOR)).filter(|(number, _)| *dirty >> number & 1 == 1) {
                let bytes: Vec<u8> = sector.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                self.inner.write(group_at(*group) + u64::from(number) * SECTOR_LEN as u64, &bytes)?;
            }
            *dirty = 0;
        }
        Ok(())
    }
}

impl Group {
    fn set(&mut self, index: usize, sum: u64) {
        if let Some(to) = self.sums.get_mut(index).filter(|to| **to != sum) {
            *to = sum;
            self.dirty |= 1 << (index / SUMS_PER_SECTOR);
        }
    }
}

impl<B: StorageBackend> StorageBackend for Sealed<B> {
    fn len(&self) -> io::Result<u64> {
        self.begin(&mut self.sums.lock())?;
        Ok(inner_len(self.inner.len()?))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len();
        let mut rest = out;
        self.noted(Self::pieces(offset, len, |block, piece, range| {
            let (bytes, behind) = core::mem::take(&mut rest).split_at_mut(range.len());
            rest = behind;
            match piece {
                Piece::Part(within) => self.read_part(block, within, bytes),
                Piece::Run => self.read_run(block, bytes),
            }
        }))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.len()?;
        self.noted(self.inner.set_len(outer_len(len)))?;
        let mut sums = self.sums.lock();
        for block in len.div_ceil(BLOCK)..before.div_ceil(BLOCK) {
            let (group, _index) = place(block);
            if group_at(group) < outer_len(len) {
                self.set_sum(&mut sums, block, 0)?;
            } else {
                sums.groups.split_off(&group);
                break;
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.noted(self.flush(&mut self.sums.lock()))?;
        self.noted(self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if matches!(self.sums.lock().phase, Phase::Refused) {
            return Err(damaged(DAMAGED));
        }
        self.noted(Self::pieces(offset, data.len(), |block, piece, range| {
            let bytes = data.get(range).ok_or_else(|| damaged("a part beyond the data"))?;
            match piece {
                Piece::Part(within) => self.write_part(block, within, bytes),
                Piece::Run => self.write_run(block, bytes),
            }
        }))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

impl<B> fmt::Debug for Sealed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}
