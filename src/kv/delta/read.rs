//! Reads a delta, item by item, and trusts none of it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{ReplicaId, SEQ_MAX};
use crate::codec::{DecodeError, Reader};
use crate::kv::digest::Digest;
use crate::kv::error::{Error, Result};
use crate::kv::identity::Points;
use crate::kv::options::{PAYLOAD_HARD_MAX, REPLICAS_MAX};
use crate::kv::path::{PATH_HARD_MAX, Parsed};
use crate::kv::space::SpaceId;

use super::frames::{Frames, Owned};
use super::{
    FLAG_FLOOR, FRAME_FIRST, FRAME_NEXT, Head, ITEM_CONT, ITEM_END, ITEM_LIVE, ITEM_ROW, Item, LAST, MORE, WireDot, WireEntry,
    WireReplica,
};

/// The most that the entries and deletes of one row may take, here or there. No [`Backend`](crate::storage::Backend) need keep
/// a larger value.
const ROW_MAX: usize = 64 << 20;

/// What an entry takes in memory besides its payload, about.
const ENTRY_BYTES: usize = 64;

/// Reads a delta, and checks all that can be checked without a store.
#[derive(Debug)]
pub(crate) struct DeltaReader<F> {
    frames: F,
    /// The payload of the current frame, how far it was read, and where it starts in the delta.
    frame: Bytes,
    position: usize,
    at: u64,
    head: Head,
    path: Vec<u8>,
    rows: u64,
    /// The last number of the last LIVE item.
    live: WireDot,
    live_began: bool,
    ended: bool,
}

impl<F: Frames> DeltaReader<F> {
    pub(crate) fn new(mut frames: F) -> Result<Self> {
        let first = frames.next_frame()?.filter(|frame| frame.kind == FRAME_FIRST);
        let Some(Owned { payload: frame, at, .. }) = first else {
            return Err(Error::Malformed { at: 0, what: "not a delta" });
        };
        let mut from = Reader::new(&frame);
        let head = read_head(&mut from).map_err(|error| shift(error, at))?;
        let position = from.position();
        let live = WireDot { replica: 0, seq: 0 };
        Ok(Self { frames, frame, position, at, head, path: Vec::new(), rows: 0, live, live_began: false, ended: false })
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// Where the frames come from.
    pub(crate) const fn frames_mut(&mut self) -> &mut F {
        &mut self.frames
    }

    pub(crate) fn into_frames(self) -> F {
        self.frames
    }

    /// The path of the row that came last.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next item; `None` at the end of a delta that is whole.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item>> {
        if self.ended {
            return Ok(None);
        }
        if self.position >= self.frame.len() {
            self.next_frame()?;
        }
        let item = self.item();
        item.map_err(|error| match error {
            ItemError::Frame(error) => error,
            ItemError::Item(error) => shift(error, self.at),
        })
    }

    fn next_frame(&mut self) -> Result<()> {
        match self.frames.next_frame()? {
            Some(frame) if frame.kind == FRAME_NEXT => {
                self.frame = frame.payload;
                self.position = 0;
                self.at = frame.at;
                Ok(())
            }
            Some(frame) => Err(Error::Malformed { at: frame.at, what: "a frame that does not continue the delta" }),
            None => Err(Error::Malformed { at: self.at, what: "the delta ends before its end" }),
        }
    }

    fn item(&mut self) -> Result<Option<Item>, ItemError> {
        let frame = self.frame.clone();
        let mut from = Reader::starting_at(&frame, self.position);
        match from.u8()? {
            ITEM_ROW => {
                self.position = from.position();
                self.row().map(Some)
            }
            ITEM_LIVE => {
                let item = self.live(&mut from)?;
                self.position = from.position();
                Ok(Some(item))
            }
            ITEM_END => {
                from.finish()?;
                self.ended = true;
                match self.frames.next_frame()? {
                    None => Ok(None),
                    Some(_frame) => Err(from.error("frames after the end of the delta").into()),
                }
            }
            _unknown => Err(from.error("an item of no kind").into()),
        }
    }

    fn row(&mut self) -> Result<Item, ItemError> {
        let mut frame = self.frame.clone();
        let mut from = Reader::starting_at(&frame, self.position);
        if self.live_began {
            return Err(from.error("a row behind the live numbers").into());
        }
        let parsed = self.row_path(&mut from)?;
        let mut image = Image { entries: SmallVec::new(), deletes: SmallVec::new(), bytes: 0 };
        loop {
            let more = self.part(&frame, &mut from, &mut image)?;
            if !more {
                self.position = from.position();
                break;
            }
            from.finish()?;
            self.next_frame()?;
            frame = self.frame.clone();
            from = Reader::new(&frame);
            if from.u8()? != ITEM_CONT {
                return Err(from.error("a row that does not go on").into());
            }
        }
        let Image { entries, deletes, .. } = image;
        if deletes.iter().any(|dot| entries.binary_search_by_key(dot, |entry| entry.dot).is_ok()) {
            let wrong = DecodeError::new(self.position, "an event that is both a write and a delete");
            return Err(wrong.into());
        }
        Ok(Item::Row { parsed, entries, deletes })
    }

    /// Reads one part of a row. Returns whether more follow. The payloads share the memory of `frame`.
    fn part(&self, frame: &Bytes, from: &mut Reader<'_>, image: &mut Image) -> Result<bool, DecodeError> {
        let more = from.u8()?;
        if more != LAST && more != MORE {
            return Err(from.error("a row that neither ends nor goes on"));
        }
        let count = from.len_up_to(usize::MAX, 2)?;
        for _ in 0..count {
            let dot = self.dot(from)?;
            if image.entries.last().is_some_and(|last| last.dot >= dot) {
                return Err(from.error("entries of a row are not in the order of their dots"));
            }
            let above_base = self.replica(dot.replica).is_some_and(|replica| dot.seq > replica.base);
            let payload = if above_base { Some(frame.slice_ref(from.bytes(PAYLOAD_HARD_MAX)?)) } else { None };
            image.grow(ENTRY_BYTES + payload.as_ref().map_or(0, Bytes::len), from)?;
            image.entries.push(WireEntry { dot, payload });
        }
        let count = from.len_up_to(usize::MAX, 2)?;
        for _ in 0..count {
            let dot = self.dot(from)?;
            if image.deletes.last().is_some_and(|last| *last >= dot) {
                return Err(from.error("deletes of a row are not in the order of their dots"));
            }
            if self.replica(dot.replica).is_some_and(|replica| dot.seq <= replica.base) {
                return Err(from.error("a delete that is not above the base"));
            }
            image.grow(size_of::<WireDot>(), from)?;
            image.deletes.push(dot);
        }
        Ok(more == MORE)
    }

    fn row_path(&mut self, from: &mut Reader<'_>) -> Result<Parsed, DecodeError> {
        let shared = from.up_to(self.path.len())?;
        let suffix = from.bytes(PATH_HARD_MAX)?;
        let ascending = suffix > self.path.get(shared..).unwrap_or_default();
        if self.rows > 0 && !ascending {
            return Err(from.error("rows are not in the order of their paths"));
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        self.rows += 1;
        Parsed::of(&self.path).map_err(|error| from.error(error.what))
    }

    fn live(&mut self, from: &mut Reader<'_>) -> Result<Item, DecodeError> {
        let replica = from.u32()?;
        let base = self.replica(replica).map(|replica| replica.base);
        let (true, Some(base)) = (self.head.below_floor, base) else {
            return Err(from.error("live numbers of a replica that has none"));
        };
        if self.live_began && replica < self.live.replica {
            return Err(from.error("live numbers are not in the order of the replicas"));
        }
        if !self.live_began || replica > self.live.replica {
            self.live = WireDot { replica, seq: 0 };
        }
        self.live_began = true;
        let count = from.len_up_to(usize::MAX, 1)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let token = from.u64()?;
            let more = if token & 1 == 1 { from.u64()?.checked_add(1) } else { Some(0) };
            let start = self.live.seq.checked_add((token >> 1) + 1);
            let run = start.and_then(|start| Some((start, start.checked_add(more?)?)));
            let Some((start, end)) = run.filter(|(_start, end)| *end <= base) else {
                return Err(from.error("live numbers out of order, or above the base"));
            };
            runs.push((start, end));
            self.live.seq = end;
        }
        Ok(Item::Live { replica, runs })
    }

    fn dot(&self, from: &mut Reader<'_>) -> Result<WireDot, DecodeError> {
        let dot = WireDot { replica: from.u32()?, seq: from.u64()? };
        match self.replica(dot.replica) {
            Some(replica) if (1..=replica.version).contains(&dot.seq) => Ok(dot),
            Some(_) | None => Err(from.error("an event that the delta's version does not have")),
        }
    }

    fn replica(&self, replica: u32) -> Option<&WireReplica> {
        self.head.replicas.get(replica as usize)
    }
}

/// A row, as far as it was read.
struct Image {
    entries: SmallVec<[WireEntry; 1]>,
    deletes: SmallVec<[WireDot; 1]>,
    /// What it takes in memory, about. Invariant: at most [`ROW_MAX`].
    bytes: usize,
}

impl Image {
    /// Refuses a row that nobody could keep, before it fills the memory.
    fn grow(&mut self, bytes: usize, from: &Reader<'_>) -> Result<(), DecodeError> {
        self.bytes += bytes;
        if self.bytes > ROW_MAX { Err(from.error("a row above 64 MiB")) } else { Ok(()) }
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

fn shift(error: DecodeError, at: u64) -> Error {
    Error::Malformed { at: error.at.saturating_add(at), what: error.what }
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
        let points = Points::decode(from)?;
        let newest = points.newest().map_or(0, |newest| newest.seq);
        if version == 0 || version > SEQ_MAX || base > version || floor > version || newest > version {
            return Err(from.error("a claim of events that cannot be"));
        }
        replicas.push(WireReplica { id, base, version, floor, points });
    }
    Ok(Head { space, below_floor, digest, replicas })
}
