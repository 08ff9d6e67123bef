//! Reads a delta, item by item, and trusts none of it.

use smallvec::SmallVec;

use crate::causal::{ReplicaId, SEQ_MAX};
use crate::codec::{DecodeError, FrameReader, Reader};
use crate::kv::digest::Digest;
use crate::kv::error::{Error, Result};
use crate::kv::options::{PAYLOAD_HARD_MAX, REPLICAS_MAX};
use crate::kv::path::{PATH_HARD_MAX, Parsed};
use crate::kv::space::SpaceId;

use super::{
    FLAG_FLOOR, FRAME_FIRST, FRAME_NEXT, Head, ITEM_CONT, ITEM_END, ITEM_LIVE, ITEM_ROW, Item, LAST, MORE, WireDot, WireEntry,
    WireReplica,
};

/// Reads a delta, and checks all that can be checked without a store.
#[derive(Debug)]
pub(crate) struct DeltaReader<'a> {
    frames: FrameReader<'a>,
    /// The payload of the current frame, and where it starts.
    frame: Reader<'a>,
    at: usize,
    head: Head,
    path: Vec<u8>,
    rows: u64,
    /// The last number of the last LIVE item.
    live: WireDot,
    live_began: bool,
    ended: bool,
}

impl<'a> DeltaReader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Result<Self> {
        let mut frames = FrameReader::new(input);
        let first = frames.next_frame().map_err(Error::malformed)?;
        let first = first.filter(|frame| frame.kind == FRAME_FIRST);
        let Some(first) = first else {
            return Err(Error::Malformed { at: 0, what: "not a delta" });
        };
        let mut frame = Reader::new(first.payload);
        let head = read_head(&mut frame).map_err(|error| shift(error, first.at))?;
        let live = WireDot { replica: 0, seq: 0 };
        let (path, at) = (Vec::new(), first.at);
        Ok(Self { frames, frame, at, head, path, rows: 0, live, live_began: false, ended: false })
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// The path of the row that came last.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next item; `None` at the end of a delta that is whole.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item<'a>>> {
        if self.ended {
            return Ok(None);
        }
        if self.frame.is_empty() {
            self.next_frame()?;
        }
        let item = self.item();
        item.map_err(|error| match error {
            ItemError::Frame(error) => error,
            ItemError::Item(error) => shift(error, self.at),
        })
    }

    fn next_frame(&mut self) -> Result<()> {
        match self.frames.next_frame().map_err(Error::malformed)? {
            Some(frame) if frame.kind == FRAME_NEXT => {
                self.frame = Reader::new(frame.payload);
                self.at = frame.at;
                Ok(())
            }
            Some(frame) => Err(Error::Malformed { at: frame.at as u64, what: "a frame that does not continue the delta" }),
            None => Err(Error::Malformed { at: self.at as u64, what: "the delta ends before its end" }),
        }
    }

    fn item(&mut self) -> Result<Option<Item<'a>>, ItemError> {
        match self.frame.u8()? {
            ITEM_ROW => self.row().map(Some),
            ITEM_LIVE => Ok(self.live().map(Some)?),
            ITEM_END => {
                self.frame.finish()?;
                self.ended = true;
                match self.frames.next_frame().map_err(Error::malformed)? {
                    None => Ok(None),
                    Some(_frame) => Err(self.frame.error("frames after the end of the delta").into()),
                }
            }
            _unknown => Err(self.frame.error("an item of no kind").into()),
        }
    }

    fn row(&mut self) -> Result<Item<'a>, ItemError> {
        if self.live_began {
            return Err(self.frame.error("a row behind the live numbers").into());
        }
        let parsed = self.row_path()?;
        let mut entries: SmallVec<[WireEntry<'a>; 1]> = SmallVec::new();
        let mut deletes: SmallVec<[WireDot; 1]> = SmallVec::new();
        loop {
            let more = self.frame.u8()?;
            if more != LAST && more != MORE {
                return Err(self.frame.error("a row that neither ends nor goes on").into());
            }
            let count = self.frame.len_up_to(usize::MAX, 2)?;
            for _ in 0..count {
                let dot = self.dot()?;
                if entries.last().is_some_and(|last| last.dot >= dot) {
                    return Err(self.frame.error("entries of a row are not in the order of their dots").into());
                }
                let above_base = self.replica(dot.replica).is_some_and(|replica| dot.seq > replica.base);
                let payload = if above_base { Some(self.frame.bytes(PAYLOAD_HARD_MAX)?) } else { None };
                entries.push(WireEntry { dot, payload });
            }
            self.deletes(&mut deletes)?;
            if more == LAST {
                break;
            }
            self.frame.finish()?;
            self.next_frame()?;
            if self.frame.u8()? != ITEM_CONT {
                return Err(self.frame.error("a row that does not go on").into());
            }
        }
        if deletes.iter().any(|dot| entries.binary_search_by_key(dot, |entry| entry.dot).is_ok()) {
            return Err(self.frame.error("an event that is both a write and a delete").into());
        }
        Ok(Item::Row { parsed, entries, deletes })
    }

    fn row_path(&mut self) -> Result<Parsed, DecodeError> {
        let shared = self.frame.up_to(self.path.len())?;
        let suffix = self.frame.bytes(PATH_HARD_MAX)?;
        let ascending = suffix > self.path.get(shared..).unwrap_or_default();
        if self.rows > 0 && !ascending {
            return Err(self.frame.error("rows are not in the order of their paths"));
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        self.rows += 1;
        Parsed::of(&self.path).map_err(|error| self.frame.error(error.what))
    }

    /// Adds those of one part of a row.
    fn deletes(&mut self, deletes: &mut SmallVec<[WireDot; 1]>) -> Result<(), DecodeError> {
        let count = self.frame.len_up_to(usize::MAX, 2)?;
        for _ in 0..count {
            let dot = self.dot()?;
            if deletes.last().is_some_and(|last| *last >= dot) {
                return Err(self.frame.error("deletes of a row are not in the order of their dots"));
            }
            if self.replica(dot.replica).is_some_and(|replica| dot.seq <= replica.base) {
                return Err(self.frame.error("a delete that is not above the base"));
            }
            deletes.push(dot);
        }
        Ok(())
    }

    fn live(&mut self) -> Result<Item<'a>, DecodeError> {
        let replica = self.frame.u32()?;
        let base = self.replica(replica).map(|replica| replica.base);
        let (true, Some(base)) = (self.head.below_floor, base) else {
            return Err(self.frame.error("live numbers of a replica that has none"));
        };
        if self.live_began && replica < self.live.replica {
            return Err(self.frame.error("live numbers are not in the order of the replicas"));
        }
        if !self.live_began || replica > self.live.replica {
            self.live = WireDot { replica, seq: 0 };
        }
        self.live_began = true;
        let count = self.frame.len_up_to(usize::MAX, 1)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let token = self.frame.u64()?;
            let more = if token & 1 == 1 { self.frame.u64()?.checked_add(1) } else { Some(0) };
            let start = self.live.seq.checked_add((token >> 1) + 1);
            let run = start.and_then(|start| Some((start, start.checked_add(more?)?)));
            let Some((start, end)) = run.filter(|(_start, end)| *end <= base) else {
                return Err(self.frame.error("live numbers out of order, or above the base"));
            };
            runs.push((start, end));
            self.live.seq = end;
        }
        Ok(Item::Live { replica, runs })
    }

    fn dot(&mut self) -> Result<WireDot, DecodeError> {
        let dot = WireDot { replica: self.frame.u32()?, seq: self.frame.u64()? };
        match self.replica(dot.replica) {
            Some(replica) if (1..=replica.version).contains(&dot.seq) => Ok(dot),
            Some(_) | None => Err(self.frame.error("an event that the delta's version does not have")),
        }
    }

    fn replica(&self, replica: u32) -> Option<&WireReplica> {
        self.head.replicas.get(replica as usize)
    }
}

/// An error within a frame, whose place is still relative to it, or one that is whole.
enum ItemError {
    Frame(Error),
    Item(DecodeError),
}

impl From<DecodeError> for ItemError {
    fn from(error: DecodeError) -> Self {
        Self::Item(error)
    }
}

impl From<Error> for ItemError {
    fn from(error: Error) -> Self {
        Self::Frame(error)
    }
}

fn shift(error: DecodeError, at: usize) -> Error {
    Error::Malformed { at: error.at.saturating_add(at as u64), what: error.what }
}

fn read_head(from: &mut Reader<'_>) -> Result<Head, DecodeError> {
    let space = SpaceId::from_bytes(from.array()?);
    let below_floor = match from.u8()? {
        0 => false,
        FLAG_FLOOR => true,
        _unknown => return Err(from.error("a flag that this version does not know")),
    };
    let digest = Digest::from_bytes(from.array()?);
    let count = from.len_up_to(REPLICAS_MAX, 19)?;
    let mut replicas: Vec<WireReplica> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ReplicaId::from_bytes(from.array()?);
        if replicas.last().is_some_and(|last| last.id >= id) {
            return Err(from.error("replicas are not in order"));
        }
        let (base, version) = (from.u64()?, from.u64()?);
        let floor = if below_floor { from.u64()? } else { 0 };
        let mark_seq = from.u64()?;
        let mark = if mark_seq > 0 { u64::from_le_bytes(from.array()?) } else { 0 };
        if version == 0 || version > SEQ_MAX || base > version || floor > version || mark_seq > version {
            return Err(from.error("a claim of events that cannot be"));
        }
        replicas.push(WireReplica { id, base, version, floor, mark_seq, mark });
    }
    Ok(Head { space, below_floor, digest, replicas })
}
