//! Reads a delta to its end before anything of it is merged: that no event stands on two rows takes several passes, if the delta is larger
//! than the memory for it.

use bytes::Bytes;

use crate::kv::delta::{DeltaReader, Frames, Item, WireDot};
use crate::kv::dots::{ChunkKey, DotSet};
use crate::kv::error::{Error, Result};

/// A delta that was read to its end without an error.
pub(super) struct WasRead {
    /// What its rows take as they are written, about. Paths share prefixes on the wire: it may be a hundred times as much.
    pub(super) weight: u64,
    /// What is left of the search for an event on two rows.
    pub(super) doubles: Option<Doubles>,
}

/// What a row takes as it is written besides its path and its payloads, and an entry or a delete of it, about.
pub(super) const ROW_BYTES: usize = 128;

/// Reads a delta to its end, which checks all but one thing: that no event stands on two rows. That is looked for as far as
/// `memory` bytes reach.
pub(super) fn read_to_end<F: Frames>(reader: &mut DeltaReader<F>, memory: usize) -> Result<WasRead> {
    let mut doubles = Doubles { dots: DotSet::default(), from: (0, 0), until: None, memory };
    let weight = doubles.look(reader)?;
    Ok(WasRead { weight, doubles: doubles.rest() })
}

/// Looks for an event on two rows in what is left, as often as it takes.
pub(super) fn refuse_doubles<F: Frames>(mut rest: Option<Doubles>, frames: &impl Fn() -> F) -> Result<()> {
    while let Some(mut doubles) = rest {
        doubles.look(&mut DeltaReader::new(frames())?)?;
        rest = doubles.rest();
    }
    Ok(())
}

/// A search for an event on two rows: among the dots of some chunks, as many as fit into memory.
pub(super) struct Doubles {
    dots: DotSet,
    from: ChunkKey,
    /// The chunk before which they end.
    until: Option<ChunkKey>,
    memory: usize,
}

impl Doubles {
    /// Reads a delta to its end. Returns what its rows take as they are written.
    fn look<F: Frames>(&mut self, reader: &mut DeltaReader<F>) -> Result<u64> {
        let mut weight = 0;
        while let Some(item) = reader.next_item()? {
            if let Item::Row { entries, deletes, .. } = item {
                let payloads: usize = entries.iter().filter_map(|entry| entry.payload.as_ref()).map(Bytes::len).sum();
                let each = ROW_BYTES + reader.path().len();
                weight += (each * (1 + entries.len() + deletes.len()) + payloads) as u64;
                entries.iter().map(|entry| entry.dot).chain(deletes).try_for_each(|dot| self.note(dot))?;
            }
        }
        Ok(weight)
    }

    fn note(&mut self, dot: WireDot) -> Result<()> {
        let key = DotSet::key(dot.replica, dot.seq);
        if key < self.from || self.until.is_some_and(|until| key >= until) {
            return Ok(());
        }
        if !self.dots.insert(dot.replica, dot.seq) {
            return Err(Error::Malformed { at: 0, what: "one event on two rows" });
        }
        while self.dots.bytes() > self.memory && self.dots.chunks() > 1 {
            self.until = self.dots.pop_last();
        }
        Ok(())
    }

    fn rest(self) -> Option<Self> {
        let Self { until, memory, .. } = self;
        until.map(|from| Self { dots: DotSet::default(), from, until: None, memory })
    }
}
