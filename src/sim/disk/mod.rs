//! A disk that fails: loses power, loses, tears and reorders what was not synced, fails or lies on a sync, is full.
#![expect(clippy::indexing_slicing, reason = "offsets are checked against the length of the disk first")]

mod op;
#[cfg(test)]
mod tests;

use core::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::laws::Rng;
use op::{Op, survivors};

/// What a disk writes at once: a sector is old or new after a power loss, never in between.
pub const SECTOR: usize = 512;

/// A disk in memory with faults, for a store that must survive them. Cheap to clone; all clones are one disk.
///
/// Its operations are writes, changes of its length, and syncs, counted from 1. What was written before the last honest sync
/// is *durable*. After a power loss the durable bytes are there, and of what came since, as the seed decides: nothing, everything,
/// some operations and not others, a first part with the last write torn, or single sectors of any of them.
///
/// ```
/// use tombolo::Store;
/// use tombolo::sim::Disk;
/// use tombolo::storage::Redb;
///
/// let disk = Disk::new();
/// let store = Store::options().open_backend(Redb::with_backend(disk.clone())?)?;
/// store.counter("visits").add(1)?;
/// disk.cut_power();
/// assert!(store.counter("visits").add(1).is_err());
///
/// let survived = disk.after_power_loss(7);
/// let store = Store::options().open_backend(Redb::with_backend(survived)?)?;
/// assert_eq!(store.counter("visits").get()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// What a disk lets a store have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// As much as it likes.
    #[default]
    Endless,
    /// So many bytes in all; a change of the length, or a write, beyond is refused. As a quota does.
    Length(u64),
    /// So many sectors with something written to them; the length may be anything. As a file system with sparse files does.
    Sectors(u64),
}

/// What happens to a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syncs {
    /// All that was written is durable when it returns.
    #[default]
    Honest,
    /// It says so, and nothing is.
    Lie,
    /// It is an error. What was written is there to be read until the power goes, and some of it is durable, as the seed decides;
    /// the rest will not be, whatever later syncs say: the system believes that it has written it.
    Fail {
        /// What decides.
        seed: u64,
    },
}

#[derive(Debug, Default)]
struct State {
    /// What is on the disk for good.
    durable: Vec<u8>,
    /// What a read sees.
    current: Vec<u8>,
    /// What came since the last honest sync, and can still become durable.
    pending: Vec<Op>,
    /// Every operation, if they are recorded, and what the disk held before.
    log: Option<(Vec<u8>, Vec<Op>)>,
    operations: u64,
    off_at: Option<u64>,
    is_off: bool,
    syncs: Syncs,
    room: Room,
    /// Of each sector, whether it was ever written to.
    used: Vec<bool>,
}

impl Disk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bytes(Vec::new())
    }

    /// A disk that holds these bytes.
    #[must_use]
    pub fn with_bytes(bytes: Vec<u8>) -> Self {
        let used = vec![true; bytes.len().div_ceil(SECTOR)];
        let state = State { durable: bytes.clone(), current: bytes, used, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// From now on the disk remembers each operation, for [`crashes`](Self::crashes). What it holds now counts as durable.
    pub fn record(&self) {
        let mut state = self.state.lock();
        state.durable = state.current.clone();
        state.pending.clear();
        state.operations = 0;
        state.log = Some((state.current.clone(), Vec::new()));
    }

    /// What a read sees now.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().current.clone()
    }

    /// How many operations there were, since [`record`](Self::record) if it was called.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Cuts the power: every call from now on is an error.
    pub fn cut_power(&self) {
        self.state.lock().is_off = true;
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Cuts the power in the middle of the operation with this number.
    pub fn cut_power_at(&self, operation: u64) {
        self.state.lock().off_at = Some(operation);
    }

    /// What is left after a power loss at this moment: a new disk without faults. This one stays as it is.
    #[must_use]
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let state = self.state.lock();
        Self::with_bytes(survivors(&state.durable, &state.pending, &mut Rng::new(seed)))
    }

    /// What is left after a power loss in the middle of each operation since [`record`](Self::record), in order: the number of
    /// the operation, and a new disk.
    pub fn crashes(&self, seed: u64) -> impl Iterator<Item = (u64, Self)> + use<> {
        let (base, log) = self.state.lock().log.clone().unwrap_or_default();
        let mut replay = State { durable: base.clone(), current: base, ..State::default() };
        (1_u64..).zip(log).map(move |(number, op)| {
            replay.pending.push(op.clone());
            let mut rng = Rng::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let left = Self::with_bytes(survivors(&replay.durable, &replay.pending, &mut rng));
            op.apply(&mut replay.current);
            if matches!(op, Op::Sync) {
                replay.make_durable();
            }
            (number, left)
        })
    }

    /// How syncs go from now on.
    pub fn set_syncs(&self, syncs: Syncs) {
        self.state.lock().syncs = syncs;
    }

    /// How much room there is from now on. What is there stays.
    pub fn set_room(&self, room: Room) {
        self.state.lock().room = room;
    }

    /// How many sectors were written to.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.state.lock().sectors()
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Counts an operation, which may be the one that the power does not last for.
    fn begin(&mut self, op: Op) -> io::Result<()> {
        self.powered()?;
        self.operations += 1;
        if let Some((_base, log)) = &mut self.log {
            log.push(op.clone());
        }
        self.pending.push(op);
        self.is_off = self.off_at.is_some_and(|off_at| self.operations >= off_at);
        self.powered()
    }

    fn powered(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn make_durable(&mut self) {
        for op in self.pending.drain(..) {
            op.apply(&mut self.durable);
        }
    }

    fn sectors(&self) -> u64 {
        self.used.iter().filter(|used| **used).count() as u64
    }

    /// Refuses what does not fit any more.
    fn fits(&self, op: &Op) -> io::Result<()> {
        let fits = match (self.room, op) {
            (Room::Endless, _) | (_, Op::Sync) | (Room::Sectors(_), Op::SetLen(_)) => true,
            (Room::Length(max), Op::Write { .. } | Op::SetLen(_)) => op.end() <= self.current.len() || op.end() as u64 <= max,
            (Room::Sectors(max), Op::Write { .. }) => {
                let new = op.sectors().filter(|sector| !self.used.get(*sector).copied().unwrap_or_default()).count() as u64;
                new == 0 || self.sectors() + new <= max
            }
        };
        if fits { Ok(()) } else { Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full")) }
    }

    fn change(&mut self, op: Op) -> io::Result<()> {
        self.powered()?;
        self.fits(&op)?;
        self.begin(op.clone())?;
        if let Op::Write { .. } = op {
            self.used.resize(self.used.len().max(op.end().div_ceil(SECTOR)), false);
            self.used[op.sectors()].fill(true);
        }
        op.apply(&mut self.current);
        if let Op::SetLen(len) = op {
            self.used.resize(len.div_ceil(SECTOR), false);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs == Syncs::Honest {
            self.begin(Op::Sync)?;
            self.make_durable();
            return Ok(());
        }
        self.powered()?;
        self.operations += 1;
        match self.syncs {
            Syncs::Honest | Syncs::Lie => Ok(()),
            Syncs::Fail { seed } => {
                self.durable = survivors(&self.durable, &self.pending, &mut Rng::new(seed));
                self.pending.clear();
                Err(io::Error::other("the sync failed"))
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        state.powered()?;
        let at = to_usize(offset)?;
        let bytes = at.checked_add(out.len()).and_then(|end| state.current.get(at..end));
        let bytes = bytes.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "a read beyond the end of the disk"))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().change(Op::SetLen(to_usize(len)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.lock().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state.lock().change(Op::Write { at: to_usize(offset)?, bytes: data.into() })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Disk").field("len", &state.current.len()).field("operations", &state.operations).finish_non_exhaustive()
    }
}

fn to_usize(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_above| io::Error::new(io::ErrorKind::StorageFull, "beyond what memory can hold"))
}
