//! `merge`: a delta becomes one local transaction.
//!
//! ```text
//! require base <= vv                  else: ask again
//! require V[me] <= emitted            else: this file is an old copy, and takes a new id first
//! for (path, image) in rows:
//!    row = { c in row : c in image or c not in V } + { e in image : e not in vv }
//!    EVENTS += Write for the new dots, Delete for the row's deletes above vv
//! below the floor: drop every live d <= V that is neither in LIVE nor in rows; raise my floor to the sender's
//! vv = vv join V; commit
//! same version as the sender now: same digest, or say so
//! ```
//!
//! Everything is validated before anything is written: the delta is read once to its end, and then again (and once more, below
//! the floor). Nothing of it is kept in between but its head: not the rows, and not the live numbers, of which a store only
//! needs to know which of its own are not among them. A delta that comes from a stream waits in the file meanwhile
//! (`stage.rs`). What a large delta changes goes to the backend as it is found (`stream.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{Hlc, VersionVector};
use crate::crdt::{Verdict, join_dots};
use crate::storage::Rows;

use super::commit::{Commit, Event, EventKind};
use super::delta::{DeltaReader, Frames, Head, Item, Owned, SliceFrames, StreamFrames, WireDot, WireEntry};
use super::digest::Digest;
use super::dots::{ChunkKey, DotSet};
use super::error::{Error, Result};
use super::identity::{self, Sent, StoreEvent, note_marks};
use super::kinds::{in_conflict, register};
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::path::{Leaf, Parsed, RowPath};
use super::row::{Entry, LocalDot, Row};
use super::space::{Space, decode_row};
use super::stage::Stage;

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// Whether anything changed: rows, or what this store has seen.
    pub changed: bool,
    /// How many rows changed.
    pub rows: u64,
    /// Rows that changed, and hold concurrent writes of which only one is shown: values of a register that differ, a flag both
    /// enabled and disabled. Sorted; if there are more than 10,000, the first ones.
    pub conflicts: Vec<RowPath>,
    /// How many such rows there are, those that are not listed included.
    pub conflicts_total: u64,
    /// Whether the delta came from below the floor, so that it listed all that is live.
    pub below_floor: bool,
    /// Whether the sender, at the very version that this store has now, holds other contents
    /// ([`StoreEvent::Diverged`]).
    pub diverged: bool,
    /// What this store has seen now.
    pub version: VersionVector,
}

/// Rows in conflict: the first ones, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    paths: BTreeSet<RowPath>,
    total: u64,
}

impl Conflicts {
    /// The most that are listed: a merge of any size so takes a few MiB for them.
    const LISTED_MAX: usize = 10_000;

    pub(crate) fn add(&mut self, path: Bytes) {
        self.total += 1;
        self.paths.insert(RowPath::new(path));
        if self.paths.len() > Self::LISTED_MAX {
            self.paths.pop_last();
        }
    }

    pub(crate) fn into_list(self) -> (Vec<RowPath>, u64) {
        (self.paths.into_iter().collect(), self.total)
    }
}

/// A delta up to this size is not staged.
const IN_MEMORY_BYTES: usize = 1 << 20;

/// Merges a delta.
pub(crate) fn merge(space: &Arc<Space>, input: &[u8]) -> Result<Merged> {
    let frames = || SliceFrames::new(input);
    let mut reader = DeltaReader::new(frames())?;
    refuse_other_space(space, reader.head())?;
    let head = reader.head().clone();
    let read = read_to_end(&mut reader, space.file.settings.delta_memory)?;
    refuse_doubles(read.doubles, &frames)?;
    join(space, &head, &frames, read.weight)
}

/// Merges a delta that comes from a stream.
pub(crate) fn merge_from(space: &Arc<Space>, mut from: impl io::Read) -> Result<Merged> {
    let mut start = Vec::new();
    let limit = IN_MEMORY_BYTES.min(space.file.settings.delta_memory);
    from.by_ref().take(limit as u64 + 1).read_to_end(&mut start).map_err(Error::transfer)?;
    if start.len() <= limit {
        return merge(space, &start);
    }
    let frames = StreamFrames::new(io::Cursor::new(start).chain(from));
    let mut reader = DeltaReader::new(Incoming { frames, stage: Stage::new(space), is_wanted: true })?;
    refuse_other_space(space, reader.head())?;
    let head = reader.head().clone();
    // What can be known of the end already: nobody wants to stage gigabytes for an error, or for nothing.
    let is_wanted = !is_covered(&*space.meta()?, &head)?;
    reader.frames_mut().is_wanted = is_wanted;
    let read = read_to_end(&mut reader, space.file.settings.delta_memory)?;
    let mut stage = reader.into_frames().stage;
    if !is_wanted {
        // Checked to its end all the same, up to what needs the delta twice. What is covered stays so, unless this replica takes a
        // new id: then there is nothing of the delta to go on with.
        let (_guard, meta) = identity::lock(space, || head.claims())?;
        return if is_covered(&meta, &head)? {
            Ok(nothing_new(space, &meta, &head))
        } else {
            Err(Error::Behind { need: head.base() })
        };
    }
    stage.flush()?;
    let frames = || stage.frames();
    refuse_doubles(read.doubles, &frames)?;
    join(space, &head, &frames, read.weight)
}

/// The frames of a stream, which are staged as they come.
struct Incoming<'a, R> {
    frames: StreamFrames<R>,
    stage: Stage<'a>,
    is_wanted: bool,
}

impl<R: io::Read> Frames for Incoming<'_, R> {
    fn next_frame(&mut self) -> Result<Option<Owned>> {
        let Some((bytes, frame)) = self.frames.next_whole()? else { return Ok(None) };
        if self.is_wanted {
            self.stage.push(bytes)?;
        }
        Ok(Some(frame))
    }
}

/// Merges a delta that was read to its end without an error. `frames` gives it from the start. What a large one changes goes to the
/// backend as it is found, so that it may be more than memory holds.
fn join<F: Frames>(space: &Arc<Space>, head: &Head, frames: &impl Fn() -> F, weight: u64) -> Result<Merged> {
    let (guard, before) = identity::lock(space, || head.claims())?;
    if is_covered(&before, head)? {
        return Ok(nothing_new(space, &before, head));
    }
    let mut commit = Commit::new(space, (*before).clone());
    let mut merge = Merge::new(space, head, &before, &mut commit);
    if head.below_floor {
        merge.find_gone(DeltaReader::new(frames())?)?;
    }
    let mut reader = DeltaReader::new(frames())?;
    let step = |commit: &mut Commit| merge.step(&mut reader, commit);
    let is_large = weight > space.file.settings.delta_memory as u64;
    let (meta, rows) = if is_large { guard.commit_streamed(commit, step)? } else { guard.commit_steps(commit, step)? };
    let (conflicts, conflicts_total) = merge.conflicts.into_list();
    let (below_floor, version) = (head.below_floor, meta.version());
    let diverged = has_diverged(space, &meta, head);
    Ok(Merged { changed: true, rows, conflicts, conflicts_total, below_floor, diverged, version })
}

fn nothing_new(space: &Space, meta: &Meta, head: &Head) -> Merged {
    let (below_floor, version, diverged) = (head.below_floor, meta.version(), has_diverged(space, meta, head));
    Merged { changed: false, rows: 0, conflicts: Vec::new(), conflicts_total: 0, below_floor, diverged, version }
}

/// Whether a peer of the same version has other contents.
fn has_diverged(space: &Space, meta: &Meta, head: &Head) -> bool {
    let ours = Digest::of(meta);
    if ours == head.digest || !head.is_version_of(meta) {
        return false;
    }
    space.events.push(StoreEvent::Diverged { ours, theirs: head.digest });
    true
}

fn refuse_other_space(space: &Space, head: &Head) -> Result<()> {
    if head.space == space.id {
        return Ok(());
    }
    Err(Error::WrongSpace { ours: space.id, theirs: head.space })
}

/// Whether everything that a delta has is in already. Refuses one that cannot be merged into what is here.
fn is_covered(meta: &Meta, head: &Head) -> Result<bool> {
    if !head.replicas.iter().all(|replica| seen(meta, replica.id) >= replica.base) {
        return Err(Error::Behind { need: head.base() });
    }
    if head.replicas.iter().all(|replica| seen(meta, replica.id) >= replica.version) {
        return Ok(true);
    }
    meta.room_for(head.replicas.iter().map(|replica| replica.id))?;
    Ok(false)
}

/// How much of a replica was seen.
fn seen(meta: &Meta, id: crate::causal::ReplicaId) -> u64 {
    meta.index(id).map_or(0, |index| meta.seq(index))
}

/// A delta that was read to its end without an error.
struct WasRead {
    /// What its rows take as they are written, about. Paths share prefixes on the wire: it may be a hundred times as much.
    weight: u64,
    /// What is left of the search for an event on two rows.
    doubles: Option<Doubles>,
}

/// What a row takes as it is written besides its path and its payloads, and an entry or a delete of it, about.
const ROW_BYTES: usize = 128;

/// Reads a delta to its end, which checks all but one thing: that no event stands on two rows. That is looked for as far as
/// `memory` bytes reach.
fn read_to_end<F: Frames>(reader: &mut DeltaReader<F>, memory: usize) -> Result<WasRead> {
    let mut doubles = Doubles { dots: DotSet::default(), from: (0, 0), until: None, memory };
    let weight = doubles.look(reader)?;
    Ok(WasRead { weight, doubles: doubles.rest() })
}

/// Looks for an event on two rows in what is left, as often as it takes.
fn refuse_doubles<F: Frames>(mut rest: Option<Doubles>, frames: &impl Fn() -> F) -> Result<()> {
    while let Some(mut doubles) = rest {
        doubles.look(&mut DeltaReader::new(frames())?)?;
        rest = doubles.rest();
    }
    Ok(())
}

/// A search for an event on two rows: among the dots of some chunks, as many as fit into memory.
struct Doubles {
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

struct Merge<'a> {
    space: &'a Space,
    head: &'a Head,
    /// The state before.
    before: &'a Meta,
    /// The local index of each replica of the head.
    locals: Vec<u32>,
    /// The place in the head of each local index.
    wires: Vec<Option<u32>>,
    now_ms: u64,
    /// Below the floor: dots of rows that the delta does not have, which the sender has seen and holds no more. By their place in
    /// the head.
    gone: DotSet,
    /// The rows that may have some of them, once the rows of the delta are done.
    untouched: Option<Rows<'a>>,
    /// Paths of SENT that the delta has touched.
    sent_joined: BTreeSet<Bytes>,
    conflicts: Conflicts,
}

impl<'a> Merge<'a> {
    fn new(space: &'a Space, head: &'a Head, before: &'a Meta, commit: &mut Commit) -> Self {
        let locals: Vec<u32> = head.replicas.iter().map(|replica| commit.meta.index_or_new(replica.id)).collect();
        let mut wires = vec![None; locals.iter().max().map_or(0, |max| *max as usize + 1)];
        for (wire, local) in (0..).zip(&locals) {
            if let Some(slot) = wires.get_mut(*local as usize) {
                *slot = Some(wire);
            }
        }
        let now_ms = space.file.settings.clock.now_ms();
        let (gone, conflicts) = (DotSet::default(), Conflicts::default());
        let sent_joined = BTreeSet::new();
        Self { space, head, before, locals, wires, now_ms, gone, untouched: None, sent_joined, conflicts }
    }

    /// Adds the next row to the commit. Returns whether there is more to add.
    fn step<F: Frames>(&mut self, reader: &mut DeltaReader<F>, commit: &mut Commit) -> Result<bool> {
        if self.untouched.is_none() {
            match reader.next_item()? {
                Some(Item::Row { parsed, entries, deletes }) => {
                    self.row(reader.path(), &parsed, &entries, &deletes, commit)?;
                    return Ok(true);
                }
                Some(Item::Live { .. }) => return Ok(true),
                None => {}
            }
        }
        if !self.gone.is_empty() {
            let untouched = match &mut self.untouched {
                Some(untouched) => untouched,
                none => none.insert(all_rows(self.space)?),
            };
            if let Some(row) = untouched.next() {
                let (path, bytes) = row?;
                self.drop_gone(path, &bytes, commit)?;
                return Ok(true);
            }
        }
        self.drop_gone_from_sent(commit)?;
        if self.head.below_floor && !mutant::is(Mutant::FloorNotRaised) {
            for (replica, local) in self.head.replicas.iter().zip(&self.locals) {
                // The sender's floor, not its vector: deletes between the two came along.
                if replica.floor > self.before.seq(*local) {
                    commit.raise_floor(*local, replica.floor);
                }
            }
        }
        for (replica, local) in self.head.replicas.iter().zip(&self.locals) {
            commit.advance(*local, replica.version);
        }
        note_marks(commit, self.head.claims());
        Ok(false)
    }

    /// Joins the image of a row.
    fn row(
        &mut self,
        path: &[u8],
        parsed: &Parsed,
        image: &[WireEntry],
        deletes: &[WireDot],
        commit: &mut Commit,
    ) -> Result<()> {
        let ours = self.space.row(path)?;
        let mut theirs: SmallVec<[(LocalDot, &WireEntry); 1]> =
            image.iter().map(|entry| Ok((self.local(entry.dot)?, entry))).collect::<Result<_>>()?;
        theirs.sort_unstable_by_key(|(dot, _entry)| *dot);

        let mut after = Row::default();
        let mut events: SmallVec<[(LocalDot, Event); 1]> = SmallVec::new();
        let before = self.before;
        let mut stamps: SmallVec<[Hlc; 1]> = SmallVec::new();
        let mut row_path: Option<Bytes> = None;
        join_dots(
            ours.dots(),
            theirs.iter().map(|(dot, _entry)| *dot),
            |dot| before.has_seen(*dot),
            |dot| self.sender_has_seen(*dot),
            |verdict| match verdict {
                Verdict::Keep(index) => after.push(ours.entries().get(index).expect("a position in ours").clone()),
                Verdict::Take(index) => {
                    let (dot, entry) = theirs.get(index).expect("a position in theirs");
                    let payload = entry.payload.clone().unwrap_or_default();
                    if parsed.leaf == Leaf::Register {
                        stamps.extend(register::split(&payload).map(|(stamp, _value)| stamp));
                    }
                    after.push(Entry { dot: *dot, payload });
                    let event = Event::new(EventKind::Write, path);
                    row_path.get_or_insert_with(|| event.path());
                    events.push((*dot, event));
                }
                Verdict::Drop(_index) | Verdict::Skip(_index) => {}
            },
        );
        if self.is_own_counter_row(parsed.leaf)
            && let Some(mut sent) = Sent::at(self.space, path)?
        {
            let path = Bytes::copy_from_slice(path);
            sent.row = self.image_joined(&sent.row, &theirs);
            sent.put(commit, &path, false);
            self.sent_joined.insert(path);
        }
        plant_mutants(parsed, &ours, &mut after, &commit.meta)?;
        for stamp in stamps {
            follow_clock(self.space, &mut commit.meta, stamp, self.now_ms);
        }

        let row_path = row_path.unwrap_or_else(|| Bytes::copy_from_slice(path));
        if commit.row(&row_path, &ours, &after)? && in_conflict(parsed.leaf, &after) {
            self.conflicts.add(row_path);
        }
        for (dot, event) in events {
            commit.event(dot, event);
        }
        for dot in deletes {
            let dot = self.local(*dot)?;
            if !self.before.has_seen(dot) && !mutant::is(Mutant::DeletesNotRelayed) {
                commit.event(dot, Event::new(EventKind::Delete, path));
            }
        }
        Ok(())
    }

    /// Whether a row is one of this replica's own that SENT may have.
    fn is_own_counter_row(&self, leaf: Leaf) -> bool {
        let me = self.before.me.and_then(|me| self.before.id(me));
        self.before.sent > 0 && matches!(leaf, Leaf::CounterPart(of) | Leaf::CounterReset(of) if me == Some(of))
    }

    /// A row of SENT, joined with the image as the row itself is.
    fn image_joined(&self, ours: &Row, theirs: &[(LocalDot, &WireEntry)]) -> Row {
        let mut after = Row::default();
        join_dots(
            ours.dots(),
            theirs.iter().map(|(dot, _entry)| *dot),
            |dot| self.before.has_seen(*dot),
            |dot| self.sender_has_seen(*dot),
            |verdict| match verdict {
                Verdict::Keep(index) => after.push(ours.entries().get(index).expect("a position in ours").clone()),
                Verdict::Take(index) => {
                    let (dot, entry) = theirs.get(index).expect("a position in theirs");
                    after.push(Entry { dot: *dot, payload: entry.payload.clone().unwrap_or_default() });
                }
                Verdict::Drop(_index) | Verdict::Skip(_index) => {}
            },
        );
        after
    }

    /// Finds what the sender has seen and no longer holds, in the rows that the delta does not have. Memory: about a bit for each
    /// such dot, until the delta lists it as live; never more than the rows here need.
    fn find_gone<F: Frames>(&mut self, mut reader: DeltaReader<F>) -> Result<()> {
        let is_row = |item: &Option<Item>| matches!(item, Some(Item::Row { .. }));
        // Those that the delta has are joined with it as their rows are.
        let mut sent: BTreeMap<Bytes, Bytes> = self.sent_rows()?.collect::<io::Result<_>>()?;
        let mut item = reader.next_item()?;
        for row in all_rows(self.space)? {
            let (path, bytes) = row?;
            while is_row(&item) && reader.path() < &*path {
                sent.remove(reader.path());
                item = reader.next_item()?;
            }
            if is_row(&item) && reader.path() == &*path {
                continue;
            }
            decode_row(&bytes)?.dots().for_each(|dot| self.may_be_gone(dot));
        }
        while is_row(&item) {
            sent.remove(reader.path());
            item = reader.next_item()?;
        }
        for bytes in sent.values() {
            Sent::decode(bytes)?.row.dots().for_each(|dot| self.may_be_gone(dot));
        }
        while let Some(next) = item {
            if let Item::Live { replica, runs } = next {
                runs.iter().for_each(|(start, end)| self.gone.remove(replica, *start, *end));
            }
            item = reader.next_item()?;
        }
        Ok(())
    }

    fn may_be_gone(&mut self, dot: LocalDot) {
        let base = |wire: WireDot| self.head.replicas.get(wire.replica as usize).map_or(0, |replica| replica.base);
        let restricted = |wire| mutant::is(Mutant::LiveRestrictedToBase) && dot.seq > base(wire);
        if let Some(wire) = self.wire(dot).filter(|wire| self.has_seen(*wire) && !restricted(*wire)) {
            self.gone.insert(wire.replica, wire.seq);
        }
    }

    /// The rows of SENT; few, and mostly none.
    fn sent_rows(&self) -> Result<Rows<'a>> {
        if self.before.sent == 0 {
            return Ok(Box::new(std::iter::empty()));
        }
        Ok(self.space.backend().range(self.space.tables.sent(), (Bound::Unbounded, Bound::Unbounded))?)
    }

    /// Drops what is gone from the rows of SENT that the delta does not have.
    fn drop_gone_from_sent(&self, commit: &mut Commit) -> Result<()> {
        for row in self.sent_rows()? {
            let (path, bytes) = row?;
            let mut sent = Sent::decode(&bytes)?;
            let before = sent.row.len();
            sent.row.retain(|entry| !self.wire(entry.dot).is_some_and(|wire| self.gone.contains(wire.replica, wire.seq)));
            if sent.row.len() != before && !self.sent_joined.contains(&path) {
                sent.put(commit, &path, false);
            }
        }
        Ok(())
    }

    /// Drops what is gone from a row.
    fn drop_gone(&mut self, path: Bytes, bytes: &Bytes, commit: &mut Commit) -> Result<()> {
        let ours = decode_row(bytes)?;
        let is_gone = |dot| self.wire(dot).is_some_and(|wire| self.gone.contains(wire.replica, wire.seq));
        if !ours.dots().any(is_gone) {
            return Ok(());
        }
        let mut after = ours.clone();
        after.retain(|entry| !is_gone(entry.dot));
        let leaf = Parsed::of(&path).map_err(Error::corrupt("ROWS"))?.leaf;
        if commit.row(&path, &ours, &after)? && in_conflict(leaf, &after) {
            self.conflicts.add(path);
        }
        Ok(())
    }

    /// Whether the sender has an event.
    fn has_seen(&self, dot: WireDot) -> bool {
        self.head.replicas.get(dot.replica as usize).is_some_and(|replica| dot.seq <= replica.version)
    }

    fn sender_has_seen(&self, dot: LocalDot) -> bool {
        self.wire(dot).is_some_and(|wire| self.has_seen(wire))
    }

    fn wire(&self, dot: LocalDot) -> Option<WireDot> {
        let replica = self.wires.get(dot.replica as usize).copied().flatten()?;
        Some(WireDot { replica, seq: dot.seq })
    }

    fn local(&self, dot: WireDot) -> Result<LocalDot> {
        let replica = self.locals.get(dot.replica as usize).copied();
        let replica = replica.ok_or(Error::Malformed { at: 0, what: "an event of a replica that the head does not have" })?;
        Ok(LocalDot { replica, seq: dot.seq })
    }
}

fn plant_mutants(parsed: &Parsed, ours: &Row, after: &mut Row, meta: &Meta) -> Result<()> {
    let id = |index| meta.id(index).ok_or_else(super::commit::unknown_replica);
    if mutant::is(Mutant::LosersPrunedAtMerge) && parsed.leaf == Leaf::Register {
        let shown = register::winner(after, id)?.map(|entry| entry.dot);
        after.retain(|entry| Some(entry.dot) == shown);
    }
    if mutant::is(Mutant::CausalityReplacedByIdOrder) {
        let rank = |entry: &Entry| (meta.id(entry.dot.replica), entry.dot.seq);
        let all = ours.entries().iter().chain(after.entries());
        if let Some(highest) = all.max_by_key(|entry| rank(entry)).cloned() {
            *after = Row::default();
            after.push(highest);
        }
    }
    Ok(())
}

fn all_rows(space: &Space) -> Result<Rows<'_>> {
    Ok(space.backend().range(space.tables.rows(), (Bound::Unbounded, Bound::Unbounded))?)
}

/// Moves the clock over a stamp that came, or counts it if it is beyond the drift limit.
pub(crate) fn follow_clock(space: &Space, meta: &mut Meta, stamp: Hlc, now_ms: u64) {
    if stamp.ahead_of(now_ms) > space.file.settings.limits.clock_drift_ms {
        space.stamps_ahead.fetch_add(1, Ordering::Relaxed);
    } else {
        meta.hlc = meta.hlc.max(stamp);
    }
}
