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
//! Everything is validated before anything is written: the delta is read once to its end, and then again (twice, below the
//! floor). Nothing of it is kept in between but the head and the live numbers.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::{Hlc, VersionVector};
use crate::crdt::{Verdict, join_dots};

use super::commit::{Commit, Event, EventKind};
use super::delta::{DeltaReader, Head, Item, WireDot, WireEntry};
use super::digest::Digest;
use super::error::{Error, Result};
use super::identity::{self, Sent, StoreEvent, note_marks};
use super::kinds::{in_conflict, register};
use super::meta::Meta;
use super::mutant::{self, Mutant};
use super::path::{Leaf, Parsed, RowPath};
use super::row::{Entry, LocalDot, Row};
use super::space::{Space, decode_row};

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// Whether anything changed: rows, or what this store has seen.
    pub changed: bool,
    /// How many rows changed.
    pub rows: u64,
    /// Rows that changed, and hold concurrent writes of which only one is shown: values of a register that differ, a flag both
    /// enabled and disabled. Sorted.
    pub conflicts: Vec<RowPath>,
    /// Whether the delta came from below the floor, so that it listed all that is live.
    pub below_floor: bool,
    /// Whether the sender, at the very version that this store has now, holds other contents
    /// ([`StoreEvent::Diverged`](super::StoreEvent::Diverged)).
    pub diverged: bool,
    /// What this store has seen now.
    pub version: VersionVector,
}

/// Merges a delta.
pub(crate) fn merge(space: &Arc<Space>, input: &[u8]) -> Result<Merged> {
    let checked = Checked::of(space, input)?;
    let head = &checked.head;
    let (guard, meta) = identity::lock(space, || head.claims())?;
    if !head.replicas.iter().all(|replica| seen(&meta, replica.id) >= replica.base) {
        return Err(Error::Behind { need: head.base() });
    }
    let below_floor = head.below_floor;
    if head.replicas.iter().all(|replica| seen(&meta, replica.id) >= replica.version) {
        let (version, diverged) = (meta.version(), has_diverged(space, &meta, head));
        return Ok(Merged { changed: false, rows: 0, conflicts: Vec::new(), below_floor, diverged, version });
    }
    meta.room_for(head.replicas.iter().map(|replica| replica.id))?;
    let before = Arc::clone(&meta);
    let mut merge = Merge::new(space, &checked, &before);
    merge.rows(input)?;
    if below_floor {
        merge.below_floor(input)?;
    }
    let (commit, conflicts) = merge.finish();
    let rows = commit.rows_changed;
    let meta = guard.commit(commit)?;
    let diverged = has_diverged(space, &meta, head);
    Ok(Merged { changed: true, rows, conflicts, below_floor, diverged, version: meta.version() })
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

/// How much of a replica was seen.
fn seen(meta: &Meta, id: crate::causal::ReplicaId) -> u64 {
    meta.index(id).map_or(0, |index| meta.seq(index))
}

/// A delta that was read to its end without an error.
struct Checked {
    head: Head,
    /// The live numbers of each replica of the head, as ranges.
    live: Vec<Vec<(u64, u64)>>,
}

impl Checked {
    fn of(space: &Space, input: &[u8]) -> Result<Self> {
        let mut reader = DeltaReader::new(input)?;
        let head = reader.head().clone();
        if head.space != space.id {
            return Err(Error::WrongSpace { ours: space.id, theirs: head.space });
        }
        let mut live = vec![Vec::new(); head.replicas.len()];
        let mut dots: Vec<WireDot> = Vec::new();
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Row { entries, deletes, .. } => {
                    dots.extend(entries.iter().map(|entry| entry.dot));
                    dots.extend(deletes);
                }
                Item::Live { replica, runs } => {
                    if let Some(live) = live.get_mut(replica as usize) {
                        live.extend(runs);
                    }
                }
            }
        }
        dots.sort_unstable();
        if dots.array_windows().any(|[a, b]| a == b) {
            return Err(Error::Malformed { at: 0, what: "one event on two rows" });
        }
        Ok(Self { head, live })
    }

    /// Whether the sender has an event.
    fn has_seen(&self, dot: WireDot) -> bool {
        self.head.replicas.get(dot.replica as usize).is_some_and(|replica| dot.seq <= replica.version)
    }

    fn is_live(&self, dot: WireDot) -> bool {
        let runs = self.live.get(dot.replica as usize).map_or(&[][..], Vec::as_slice);
        let behind = runs.partition_point(|(_start, end)| *end < dot.seq);
        runs.get(behind).is_some_and(|(start, _end)| *start <= dot.seq)
    }
}

struct Merge<'a> {
    space: &'a Space,
    checked: &'a Checked,
    /// The state before.
    before: &'a Meta,
    commit: Commit,
    /// The local index of each replica of the head.
    locals: Vec<u32>,
    /// The place in the head of each local index.
    wires: Vec<Option<u32>>,
    now_ms: u64,
    conflicts: BTreeSet<RowPath>,
    /// Paths of SENT that the delta has touched.
    sent_joined: BTreeSet<Bytes>,
}

impl<'a> Merge<'a> {
    fn new(space: &'a Space, checked: &'a Checked, before: &'a Meta) -> Self {
        let mut commit = Commit::new(space, before.clone());
        let locals: Vec<u32> = checked.head.replicas.iter().map(|replica| commit.meta.index_or_new(replica.id)).collect();
        let mut wires = vec![None; locals.iter().max().map_or(0, |max| *max as usize + 1)];
        for (wire, local) in (0..).zip(&locals) {
            if let Some(slot) = wires.get_mut(*local as usize) {
                *slot = Some(wire);
            }
        }
        let now_ms = space.file.settings.clock.now_ms();
        Self { space, checked, before, commit, locals, wires, now_ms, conflicts: BTreeSet::new(), sent_joined: BTreeSet::new() }
    }

    fn rows(&mut self, input: &[u8]) -> Result<()> {
        let mut reader = DeltaReader::new(input)?;
        while let Some(item) = reader.next_item()? {
            if let Item::Row { parsed, entries, deletes } = item {
                self.row(reader.path(), &parsed, &entries, &deletes)?;
            }
        }
        Ok(())
    }

    /// Joins the image of a row.
    fn row(&mut self, path: &[u8], parsed: &Parsed, image: &[WireEntry<'_>], deletes: &[WireDot]) -> Result<()> {
        let ours = self.space.row(path)?;
        let mut theirs: SmallVec<[(LocalDot, WireEntry<'_>); 1]> =
            image.iter().map(|entry| Ok((self.local(entry.dot)?, *entry))).collect::<Result<_>>()?;
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
                    let payload = Bytes::copy_from_slice(entry.payload.unwrap_or_default());
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
            sent.row = self.image_joined(&sent.row, &theirs);
            sent.put(&mut self.commit, &Bytes::copy_from_slice(path), false);
            self.sent_joined.insert(Bytes::copy_from_slice(path));
        }
        self.plant_mutants(parsed, &ours, &mut after)?;
        for stamp in stamps {
            follow_clock(self.space, &mut self.commit.meta, stamp, self.now_ms);
        }

        let row_path = row_path.unwrap_or_else(|| Bytes::copy_from_slice(path));
        if self.commit.row(&row_path, &ours, &after)? && in_conflict(parsed.leaf, &after) {
            self.conflicts.insert(RowPath::new(row_path));
        }
        for (dot, event) in events {
            self.commit.event(dot, event);
        }
        for dot in deletes {
            let dot = self.local(*dot)?;
            if !self.before.has_seen(dot) && !mutant::is(Mutant::DeletesNotRelayed) {
                self.commit.event(dot, Event::new(EventKind::Delete, path));
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
    fn image_joined(&self, ours: &Row, theirs: &[(LocalDot, WireEntry<'_>)]) -> Row {
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
                    after.push(Entry { dot: *dot, payload: Bytes::copy_from_slice(entry.payload.unwrap_or_default()) });
                }
                Verdict::Drop(_index) | Verdict::Skip(_index) => {}
            },
        );
        after
    }

    /// Rows that the delta does not have: drops what the sender has seen and no longer holds.
    fn below_floor(&mut self, input: &[u8]) -> Result<()> {
        let mut reader = DeltaReader::new(input)?;
        let mut touched = next_row(&mut reader)?;
        let (space, tables) = (self.space, self.space.tables);
        for row in space.backend().range(tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
            let (path, bytes) = row?;
            while touched.as_deref().is_some_and(|touched| touched < &*path) {
                touched = next_row(&mut reader)?;
            }
            if touched.as_deref() == Some(&*path) {
                continue;
            }
            let ours = decode_row(&bytes)?;
            let mut after = ours.clone();
            after.retain(|entry| !self.is_gone(entry.dot));
            if self.commit.row(&path, &ours, &after)? {
                let leaf = Parsed::of(&path).map_err(Error::corrupt("ROWS"))?.leaf;
                if in_conflict(leaf, &after) {
                    self.conflicts.insert(RowPath::new(path));
                }
            }
        }
        if self.before.sent > 0 {
            for row in space.backend().range(tables.sent(), (Bound::Unbounded, Bound::Unbounded))? {
                let (path, bytes) = row?;
                let mut sent = Sent::decode(&bytes)?;
                sent.row.retain(|entry| !self.is_gone(entry.dot));
                if !self.sent_joined.contains(&path) {
                    sent.put(&mut self.commit, &path, false);
                }
            }
        }
        if !mutant::is(Mutant::FloorNotRaised) {
            for (replica, local) in self.checked.head.replicas.iter().zip(&self.locals) {
                // The sender's floor, not its vector: deletes between the two came along.
                if replica.floor > self.before.seq(*local) {
                    self.commit.raise_floor(*local, replica.floor);
                }
            }
        }
        Ok(())
    }

    /// Whether the sender has seen an entry and has it no more.
    fn is_gone(&self, dot: LocalDot) -> bool {
        let Some(wire) = self.wire(dot) else { return false };
        let base = self.checked.head.replicas.get(wire.replica as usize).map_or(0, |replica| replica.base);
        let restricted = mutant::is(Mutant::LiveRestrictedToBase) && dot.seq > base;
        self.checked.has_seen(wire) && !self.checked.is_live(wire) && !restricted
    }

    fn sender_has_seen(&self, dot: LocalDot) -> bool {
        self.wire(dot).is_some_and(|wire| self.checked.has_seen(wire))
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

    fn plant_mutants(&self, parsed: &Parsed, ours: &Row, after: &mut Row) -> Result<()> {
        let id = |index| self.commit.meta.id(index).ok_or_else(super::commit::unknown_replica);
        if mutant::is(Mutant::LosersPrunedAtMerge) && parsed.leaf == Leaf::Register {
            let shown = register::winner(after, id)?.map(|entry| entry.dot);
            after.retain(|entry| Some(entry.dot) == shown);
        }
        if mutant::is(Mutant::CausalityReplacedByIdOrder) {
            let rank = |entry: &Entry| (self.commit.meta.id(entry.dot.replica), entry.dot.seq);
            let all = ours.entries().iter().chain(after.entries());
            if let Some(highest) = all.max_by_key(|entry| rank(entry)).cloned() {
                *after = Row::default();
                after.push(highest);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> (Commit, Vec<RowPath>) {
        for (replica, local) in self.checked.head.replicas.iter().zip(&self.locals) {
            self.commit.advance(*local, replica.version);
        }
        note_marks(&mut self.commit, self.checked.head.claims());
        (self.commit, self.conflicts.into_iter().collect())
    }
}

/// Moves the clock over a stamp that came, or counts it if it is beyond the drift limit.
pub(crate) fn follow_clock(space: &Space, meta: &mut Meta, stamp: Hlc, now_ms: u64) {
    if stamp.ahead_of(now_ms) > space.file.settings.limits.clock_drift_ms {
        space.stamps_ahead.fetch_add(1, Ordering::Relaxed);
    } else {
        meta.hlc = meta.hlc.max(stamp);
    }
}

fn next_row(reader: &mut DeltaReader<'_>) -> Result<Option<Vec<u8>>> {
    while let Some(item) = reader.next_item()? {
        if matches!(item, Item::Row { .. }) {
            return Ok(Some(reader.path().to_vec()));
        }
    }
    Ok(None)
}
