//! `delta_since`: everything that a peer with a given version vector lacks, from a frozen state.
//!
//! ```text
//! touched = paths of the events above base            a range scan for each replica that differs
//! rows    = the complete image of each touched path, and its Delete events above base
//! base below the floor: also what is live up to base, since deletes may have been forgotten
//! base empty          : every row, and nothing else
//! ```
//!
//! Touched paths must come in their order, and may be more than memory holds. If they are, the rows are walked instead: what an
//! event above base has touched has a live entry above base, or a Delete event above base is the last word on it. For an event
//! that is neither was dropped by another one on the same path, which has seen it, and so is above base as well.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{Pages, VersionVector};

use super::commit::{Event, EventKind, unknown_replica};
use super::delta::{DeltaWriter, Head, WireDot, WireEntry, WireReplica, Written};
use super::digest::Digest;
use super::dots::DotSet;
use super::error::Result;
use super::identity::{Points, own_points};
use super::live::{self, Listing, LiveOf};
use super::mutant::{self, Mutant};
use super::row::{LocalDot, Row};
use super::space::{SpaceId, View, decode_row};

/// Which points of each history a delta has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointsOf {
    None,
    /// Those that a peer of its base does not have.
    Base,
    /// All that are known.
    #[cfg(feature = "replication")]
    All,
}

/// Writes the canonical form: a delta since nothing, without what two stores of one state may know differently.
pub(crate) fn write_canonical<W: io::Write>(view: &View, space: SpaceId, to: W) -> Result<Written<W>> {
    let written = write(view, space, &VersionVector::new(), Listing::Whole, PointsOf::None, usize::MAX, to)?;
    Ok(written.expect("what is listed whole is written"))
}

/// Writes the delta for a peer that has `base`. Cost: the events above `base`; every row if `base` is empty, below the floor, or
/// if what was touched takes more than `memory` bytes.
pub(crate) fn write_delta<W: io::Write>(
    view: &View,
    space: SpaceId,
    base: &VersionVector,
    memory: usize,
    to: W,
) -> Result<Written<W>> {
    let written = write(view, space, base, Listing::Whole, PointsOf::Base, memory, to)?;
    Ok(written.expect("what is listed whole is written"))
}

/// The same, or, if it would list much of what is live, the pages that the peer should compare first: nothing is written then.
#[cfg(feature = "replication")]
pub(crate) fn write_answer<W: io::Write>(
    view: &View,
    space: SpaceId,
    base: &VersionVector,
    listing: Listing<'_>,
    points: PointsOf,
    memory: usize,
    to: W,
) -> Result<Result<Written<W>, Pages>> {
    write(view, space, base, listing, points, memory, to)
}

fn write<W: io::Write>(
    view: &View,
    space: SpaceId,
    base: &VersionVector,
    listing: Listing<'_>,
    points: PointsOf,
    memory: usize,
    to: W,
) -> Result<Result<Written<W>, Pages>> {
    let fresh = base.is_empty();
    let mut replicas = Vec::new();
    // The place on the wire of each local index.
    let mut places = BTreeMap::new();
    let mut below_floor = fresh;
    for (id, index, progress) in view.meta.replicas().filter(|(_id, _index, progress)| progress.seq > 0) {
        places.insert(index, u32::try_from(replicas.len()).unwrap_or(u32::MAX));
        let floor = if fresh { progress.seq } else { progress.floor };
        below_floor |= floor > base.get(id);
        let base = base.get(id).min(progress.seq);
        let known = match view.meta.me {
            _any if points == PointsOf::None => None,
            // What leaves the file is noted as given away, up to here.
            Some(me) if me == index => Some(own_points(&*view.read, view.tables, progress.seq)?),
            Some(_) | None => view.meta.points(index).cloned(),
        };
        let known = known.unwrap_or_else(Points::none);
        let points = if points == PointsOf::Base { known.since(base) } else { known };
        replicas.push((index, WireReplica { id, base, version: progress.seq, floor, points }));
    }
    let live = if below_floor && !fresh { Some(LiveBelow::base(view, &replicas)?) } else { None };
    if let (Some(live), Listing::Short { page }) = (&live, listing)
        && let Some(pages) = live::pages_if_long(live.replicas(), page)
    {
        return Ok(Err(pages));
    }
    let digest = Digest::of(&view.meta);
    let head =
        Head { space, below_floor, digest, replicas: replicas.iter().map(|(_index, replica)| replica.clone()).collect() };
    let events = Events { view, replicas: &replicas };
    let mut writer = Extract { view, places, to: DeltaWriter::new(head, to) };
    if fresh {
        for row in view.read.range(view.tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
            let (path, bytes) = row?;
            writer.row(&path, &decode_row(&bytes)?, &[])?;
        }
        return writer.to.finish().map(Ok);
    }
    match events.touched(memory)? {
        Some(touched) => {
            for (path, deletes) in touched {
                writer.row(&path, &view.row(&path)?, &deletes)?;
            }
        }
        None => writer.walk(&events, memory)?,
    }
    if let Some(live) = live {
        for of in live.replicas() {
            match listing {
                Listing::Pages(pages) => writer.to.live(of.key, of.runs_but_for(pages.of(of.id)))?,
                Listing::Whole | Listing::Short { .. } => writer.to.live(of.key, of.runs())?,
            }
        }
    }
    writer.to.finish().map(Ok)
}

/// What is live up to the base, by place on the wire.
struct LiveBelow<'a> {
    live: DotSet,
    replicas: &'a [(u32, WireReplica)],
}

impl<'a> LiveBelow<'a> {
    fn base(view: &View, replicas: &'a [(u32, WireReplica)]) -> Result<Self> {
        let places: BTreeMap<u32, (u32, u64)> =
            (0..).zip(replicas).map(|(place, (index, replica))| (*index, (place, replica.base))).collect();
        let live = live::of_rows(view, |dot| {
            let (place, base) = *places.get(&dot.replica).ok_or_else(unknown_replica)?;
            Ok((dot.seq <= base).then_some((place, dot.seq)))
        })?;
        Ok(Self { live, replicas })
    }

    fn replicas(&self) -> impl Iterator<Item = LiveOf<'_>> + Clone {
        let of = |(key, (_index, replica)): (u32, &'a (u32, WireReplica))| LiveOf {
            live: &self.live,
            key,
            id: replica.id,
            upto: replica.base,
        };
        (0..).zip(self.replicas).map(of)
    }
}

/// The Delete events of a path that a peer lacks.
type Deletes = SmallVec<[LocalDot; 1]>;

/// What a path takes in a map besides its bytes, about.
const PATH_BYTES: usize = 128;

/// The events above the base.
struct Events<'a> {
    view: &'a View,
    /// By local index.
    replicas: &'a [(u32, WireReplica)],
}

impl Events<'_> {
    fn each(&self, mut visit: impl FnMut(LocalDot, Event) -> bool) -> Result<bool> {
        for (index, replica) in self.replicas.iter().filter(|(_index, replica)| replica.base < replica.version) {
            for event in self.view.read.entries(self.view.tables.events(*index), replica.base + 1..=replica.version)? {
                let (seq, bytes) = event?;
                if !visit(LocalDot { replica: *index, seq }, Event::decode(bytes)?) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The paths of the events, each with its deletes among them. `None`: they take more than `memory` bytes.
    fn touched(&self, memory: usize) -> Result<Option<BTreeMap<Bytes, Deletes>>> {
        let mut touched: BTreeMap<Bytes, Deletes> = BTreeMap::new();
        let mut bytes = 0;
        let whole = self.each(|dot, event| {
            bytes += note(&mut touched, dot, &event);
            bytes <= memory
        })?;
        Ok(whole.then_some(touched))
    }

    /// The paths of the Delete events from a path on, each with its deletes, and the path before which they end: as many as fit
    /// into `memory` bytes, at least one.
    fn deletes(&self, from: Option<&Bytes>, memory: usize) -> Result<(BTreeMap<Bytes, Deletes>, Option<Bytes>)> {
        let mut deletes: BTreeMap<Bytes, Deletes> = BTreeMap::new();
        let (mut bytes, mut until) = (0, None);
        self.each(|dot, event| {
            let path = event.path();
            let within = from.is_none_or(|from| path >= *from) && until.as_ref().is_none_or(|until| path < *until);
            if within && event.kind == EventKind::Delete {
                bytes += note(&mut deletes, dot, &event);
            }
            while bytes > memory && deletes.len() > 1 {
                let Some((path, dots)) = deletes.pop_last() else { break };
                bytes -= PATH_BYTES + path.len() + size_of::<LocalDot>() * dots.len();
                until = Some(path);
            }
            true
        })?;
        Ok((deletes, until))
    }
}

/// Adds an event to the paths. Returns how many bytes more they take, about.
fn note(paths: &mut BTreeMap<Bytes, Deletes>, dot: LocalDot, event: &Event) -> usize {
    let path = event.path();
    let path_bytes = path.len() + PATH_BYTES;
    let mut bytes = 0;
    let deletes = paths.entry(path).or_insert_with(|| {
        bytes = path_bytes;
        Deletes::new()
    });
    if event.kind == EventKind::Delete {
        bytes += size_of::<LocalDot>();
        deletes.push(dot);
    }
    bytes
}

struct Extract<'a, W> {
    view: &'a View,
    places: BTreeMap<u32, u32>,
    to: DeltaWriter<W>,
}

impl<W: io::Write> Extract<'_, W> {
    /// Writes what was touched, beside a walk over all rows.
    fn walk(&mut self, events: &Events<'_>, memory: usize) -> Result<()> {
        let mut from: Option<Bytes> = None;
        loop {
            let (deletes, until) = events.deletes(from.as_ref(), memory)?;
            let mut deletes = deletes.into_iter().peekable();
            let start = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let end = until.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for row in self.view.read.range(self.view.tables.rows(), (start, end))? {
                let (path, bytes) = row?;
                while let Some((path, dots)) = deletes.next_if(|(deleted, _dots)| *deleted < path) {
                    self.row(&path, &Row::default(), &dots)?;
                }
                let dots = deletes.next_if(|(deleted, _dots)| *deleted == path);
                let row = decode_row(&bytes)?;
                if dots.is_some() || self.has_above_base(&row)? {
                    self.row(&path, &row, &dots.map(|(_path, dots)| dots).unwrap_or_default())?;
                }
            }
            for (path, dots) in deletes {
                self.row(&path, &Row::default(), &dots)?;
            }
            if until.is_none() {
                return Ok(());
            }
            from = until;
        }
    }

    fn has_above_base(&self, row: &Row) -> Result<bool> {
        for dot in row.dots() {
            if self.is_above_base(self.wire(dot)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn row(&mut self, path: &[u8], row: &Row, deletes: &[LocalDot]) -> Result<()> {
        let mut entries: SmallVec<[WireEntry; 1]> = SmallVec::with_capacity(row.len());
        for entry in row.entries() {
            let dot = self.wire(entry.dot)?;
            let above_base = self.is_above_base(dot);
            if above_base || !mutant::is(Mutant::PartialRows) {
                entries.push(WireEntry { dot, payload: above_base.then(|| entry.payload.clone()) });
            }
        }
        // All that touched the path may be Write events that wait to be erased: they say nothing.
        if deletes.is_empty() && entries.iter().all(|entry| entry.payload.is_none()) {
            return Ok(());
        }
        entries.sort_unstable_by_key(|entry| entry.dot);
        let mut dots: SmallVec<[WireDot; 1]> = deletes.iter().map(|dot| self.wire(*dot)).collect::<Result<_>>()?;
        dots.sort_unstable();
        self.to.row(path, &entries, &dots)
    }

    fn wire(&self, dot: LocalDot) -> Result<WireDot> {
        let replica = *self.places.get(&dot.replica).ok_or_else(unknown_replica)?;
        Ok(WireDot { replica, seq: dot.seq })
    }

    fn is_above_base(&self, dot: WireDot) -> bool {
        self.to.head().replicas.get(dot.replica as usize).is_some_and(|replica| dot.seq > replica.base)
    }
}
