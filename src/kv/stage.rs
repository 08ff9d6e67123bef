//! Where a large delta waits until it is whole: frames in a table of the file, which nobody reads but the merge that wrote them.
//!
//! ```text
//! stream ──▶ frame, verified ──▶ STAGE  lane, number (BE u32 each) ─▶ the frame      commits without a sync
//!                                  │
//!                     end of the stream: the merge reads them, as one commit
//!                                  │
//!                     then, and after any error: erased; after a crash, when the space is opened
//! ```
//!
//! Each merge has a lane of its own, so that two at once do not mix. The frames are no state: nothing else looks at them, and
//! whether they survive a crash does not matter.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::codec::{DecodeError, Frame, FrameReader};
use crate::storage::Write;

use super::delta::{Frames, Owned};
use super::error::{Error, Result};
use super::space::Space;

/// How many bytes of frames are held before they are written.
const PENDING_BYTES: usize = 1 << 20;
/// How many writes a commit of the stage has at most, about.
const PENDING_WRITES: usize = 4096;

/// The frames of one delta on their way in. Erased when it is dropped.
pub(crate) struct Stage<'a> {
    space: &'a Space,
    lane: u32,
    frames: u32,
    pending: Vec<Write>,
    pending_bytes: usize,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(space: &'a Space) -> Self {
        let lane = space.stages.fetch_add(1, Ordering::Relaxed);
        Self { space, lane, frames: 0, pending: Vec::new(), pending_bytes: 0 }
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, frame: Bytes) -> Result<()> {
        // Those before it, and not it: what its first frame says may still end the merge.
        if self.pending_bytes >= PENDING_BYTES || self.pending.len() >= PENDING_WRITES {
            self.flush()?;
        }
        let key = key(self.lane, self.frames);
        self.frames = self.frames.checked_add(1).ok_or(Error::Refused("a delta of more than 2^32 frames"))?;
        self.pending_bytes += frame.len();
        self.pending.push(Write::Put { table: self.space.tables.stage(), key, value: frame });
        Ok(())
    }

    /// Writes what is held.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        self.space.file.commit_unsynced(std::mem::take(&mut self.pending))
    }

    /// The frames, from the first one on.
    pub(crate) const fn frames(&self) -> StagedFrames<'a> {
        StagedFrames { space: self.space, lane: self.lane, number: 0, frames: self.frames, chain: 0, at: 0 }
    }

    /// Erases what was written, as far as that works: what is left is erased when the space is opened.
    fn erase(&mut self) -> Result<()> {
        let unwritten = u32::try_from(std::mem::take(&mut self.pending).len()).unwrap_or(u32::MAX);
        let table = self.space.tables.stage();
        let mut numbers = (0..self.frames.saturating_sub(unwritten)).peekable();
        while numbers.peek().is_some() {
            let keys = numbers.by_ref().take(PENDING_WRITES).map(|number| key(self.lane, number));
            self.space.file.commit_unsynced(keys.map(|key| Write::Remove { table, key }).collect())?;
        }
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // A file that fails here is closed, or opened anew: then it is erased.
        drop(self.erase());
    }
}

/// Erases what a crash has left.
pub(crate) fn erase_leftovers(space: &Space) -> Result<()> {
    let table = space.tables.stage();
    loop {
        let left = space.backend().range(table, (Bound::Unbounded, Bound::Unbounded))?;
        let writes = left.take(PENDING_WRITES).map(|row| Ok(Write::Remove { table, key: row?.0 }));
        let writes: Vec<Write> = writes.collect::<Result<_>>()?;
        if writes.is_empty() {
            return Ok(());
        }
        space.file.commit_unsynced(writes)?;
    }
}

fn key(lane: u32, number: u32) -> Bytes {
    Bytes::copy_from_slice(&(u64::from(lane) << 32 | u64::from(number)).to_be_bytes())
}

/// Reads staged frames. What the file holds is not trusted: they are verified once more.
pub(crate) struct StagedFrames<'a> {
    space: &'a Space,
    lane: u32,
    number: u32,
    frames: u32,
    chain: u64,
    at: u64,
}

impl Frames for StagedFrames<'_> {
    fn next_frame(&mut self) -> Result<Option<Owned>> {
        if self.number == self.frames {
            return Ok(None);
        }
        let corrupt = Error::corrupt("STAGE");
        let bytes = self.space.backend().get(self.space.tables.stage(), &key(self.lane, self.number))?;
        let bytes = bytes.ok_or_else(|| corrupt(DecodeError::new(0, "a frame of the delta is gone")))?;
        let mut frames = FrameReader::resume(&bytes, self.chain);
        let frame = frames.next_frame().map_err(&corrupt)?;
        let Some(Frame { kind, payload, at }) = frame else {
            return Err(corrupt(DecodeError::new(0, "a frame of the delta is empty")));
        };
        let owned = Owned { kind, payload: bytes.slice_ref(payload), at: self.at + at as u64 };
        self.chain = frames.chain();
        self.number += 1;
        self.at += bytes.len() as u64;
        Ok(Some(owned))
    }
}
