//! Writes a delta, in frames of about equal size.

use std::io;

use crate::codec::{Writer, write_frame};
use crate::kv::error::{Error, Result};

use super::{
    FLAG_FLOOR, FRAME_CUT, FRAME_FIRST, FRAME_NEXT, Head, ITEM_CONT, ITEM_END, ITEM_LIVE, ITEM_ROW, LAST, MORE, WireDot,
    WireEntry,
};

/// What became of a delta that was written.
#[derive(Debug)]
pub(crate) struct Written<W> {
    pub(crate) to: W,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) replicas: usize,
}

/// Writes a delta, and holds one frame of it.
#[derive(Debug)]
pub(crate) struct DeltaWriter<W> {
    to: W,
    bytes: u64,
    chain: u64,
    /// The frame that was cut last, for its memory.
    out: Vec<u8>,
    frame: Writer,
    kind: u8,
    path: Vec<u8>,
    rows: u64,
    head: Head,
}

impl<W: io::Write> DeltaWriter<W> {
    pub(crate) fn new(head: Head, to: W) -> Self {
        let mut frame = Writer::new();
        frame.raw(&head.space.to_bytes());
        frame.u8(if head.below_floor { FLAG_FLOOR } else { 0 });
        frame.raw(&head.digest.to_bytes());
        frame.u64(head.replicas.len() as u64);
        for replica in &head.replicas {
            frame.raw(&replica.id.to_bytes());
            frame.u64(replica.base);
            frame.u64(replica.version);
            if head.below_floor {
                frame.u64(replica.floor);
            }
            replica.points.encode(&mut frame);
        }
        Self { to, bytes: 0, chain: 0, out: Vec::new(), frame, kind: FRAME_FIRST, path: Vec::new(), rows: 0, head }
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// One row: its live entries, sorted, with payloads where the dot is above the base; and its deletes.
    pub(crate) fn row(&mut self, path: &[u8], entries: &[WireEntry], deletes: &[WireDot]) -> Result<()> {
        const DELETES: usize = 16 << 10;
        self.cut_if_long()?;
        let shared = self.path.iter().zip(path).take_while(|(a, b)| a == b).count();
        self.frame.u8(ITEM_ROW);
        self.frame.u64(shared as u64);
        self.frame.bytes(path.get(shared..).unwrap_or_default());
        self.path.clear();
        self.path.extend_from_slice(path);
        self.rows += 1;
        let (mut entries, mut deletes) = (entries, deletes);
        loop {
            let mut bytes = 0;
            let fits = entries.iter().take_while(|entry| {
                let before = bytes;
                bytes += entry.payload.as_ref().map_or(0, |payload| payload.len()) + 16;
                before == 0 || before < FRAME_CUT
            });
            let (now, later) = entries.split_at(fits.count());
            let (dead, dead_later) = deletes.split_at(deletes.len().min(DELETES));
            (entries, deletes) = (later, dead_later);
            let last = entries.is_empty() && deletes.is_empty();
            self.frame.u8(if last { LAST } else { MORE });
            self.frame.u64(now.len() as u64);
            for entry in now {
                self.dot(entry.dot);
                if let Some(payload) = &entry.payload {
                    self.frame.bytes(payload);
                }
            }
            self.frame.u64(dead.len() as u64);
            for dot in dead {
                self.dot(*dot);
            }
            if last {
                return Ok(());
            }
            self.cut()?;
            self.frame.u8(ITEM_CONT);
        }
    }

    /// The live numbers of one replica, as runs: ascending, each above the one before.
    pub(crate) fn live(&mut self, replica: u32, live: impl Iterator<Item = (u64, u64)>) -> Result<()> {
        const RUNS: usize = 64 << 10;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut last = 0;
        for run in live {
            if runs.len() == RUNS {
                last = self.live_part(replica, last, &runs)?;
                runs.clear();
            }
            runs.push(run);
        }
        if !runs.is_empty() {
            self.live_part(replica, last, &runs)?;
        }
        Ok(())
    }

    /// One item of live numbers, all above `last`. Returns the highest.
    fn live_part(&mut self, replica: u32, mut last: u64, runs: &[(u64, u64)]) -> Result<u64> {
        self.cut_if_long()?;
        self.frame.u8(ITEM_LIVE);
        self.frame.u64(u64::from(replica));
        self.frame.u64(runs.len() as u64);
        for (start, end) in runs {
            let more = end - start;
            // At least 1, and at most 2^63: less one, it has room for the bit.
            let gap = start - last;
            self.frame.u64((gap - 1) << 1 | u64::from(more > 0));
            if more > 0 {
                self.frame.u64(more - 1);
            }
            last = *end;
        }
        Ok(last)
    }

    /// Ends the delta. What it was written to is not flushed.
    pub(crate) fn finish(mut self) -> Result<Written<W>> {
        self.frame.u8(ITEM_END);
        self.cut()?;
        Ok(Written { to: self.to, bytes: self.bytes, rows: self.rows, replicas: self.head.replicas.len() })
    }

    fn dot(&mut self, dot: WireDot) {
        self.frame.u64(u64::from(dot.replica));
        self.frame.u64(dot.seq);
    }

    fn cut_if_long(&mut self) -> Result<()> {
        if self.frame.len() >= FRAME_CUT {
            self.cut()?;
            // A frame stands on its own: its first path is whole.
            self.path.clear();
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<()> {
        self.out.clear();
        self.chain = write_frame(&mut self.out, self.chain, self.kind, self.frame.as_slice());
        self.to.write_all(&self.out).map_err(Error::transfer)?;
        self.bytes += self.out.len() as u64;
        self.kind = FRAME_NEXT;
        self.frame.clear();
        Ok(())
    }
}
