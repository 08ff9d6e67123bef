//! The join itself: rows of the delta first, then, below the floor, what the sender has seen and holds no more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::Hlc;
use crate::crdt::{Verdict, join_dots};
use crate::kv::commit::{Commit, Event, EventKind, unknown_replica};
use crate::kv::delta::{DeltaReader, Frames, Head, Item, WireDot, WireEntry};
use crate::kv::dots::DotSet;
use crate::kv::error::{Error, Result};
use crate::kv::identity::{Sent, note_points};
use crate::kv::kinds::{in_conflict, register};
use crate::kv::meta::Meta;
use crate::kv::mutant::{self, Mutant};
use crate::kv::path::{Leaf, Parsed};
use crate::kv::row::{Entry, LocalDot, Row};
use crate::kv::space::{Space, decode_row};
use crate::storage::Rows;

use super::doubles::ROW_BYTES;
use super::{Conflicts, follow_clock};

/// One merge under way.
pub(super) struct Merge<'a> {
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
    pub(super) conflicts: Conflicts,
}

impl<'a> Merge<'a> {
    pub(super) fn new(space: &'a Space, head: &'a Head, before: &'a Meta, commit: &mut Commit) -> Self {
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
    pub(super) fn step<F: Frames>(&mut self, reader: &mut DeltaReader<F>, commit: &mut Commit) -> Result<bool> {
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
        note_points(commit, self.head.claims());
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
    /// such dot, until the delta lists it as live; never more than the rows here need. Returns what it takes to drop all of it, about.
    pub(super) fn find_gone<F: Frames>(&mut self, mut reader: DeltaReader<F>) -> Result<u64> {
        let is_row = |item: &Option<Item>| matches!(item, Some(Item::Row { .. }));
        // Those that the delta has are joined with it as their rows are.
        let mut sent: BTreeMap<Bytes, Bytes> = self.sent_rows()?.collect::<io::Result<_>>()?;
        let mut item = reader.next_item()?;
        let (mut rows, mut weight) = (0, 0);
        for row in all_rows(self.space)? {
            let (path, bytes) = row?;
            rows += 1;
            weight += (ROW_BYTES + path.len()) as u64;
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
        let gone: usize = self.gone.replicas().map(|replica| self.gone.seqs(replica).count()).sum();
        // Each as much as a row takes on average.
        Ok((gone as u64).saturating_mul(weight / rows.max(1)))
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
    let id = |index| meta.id(index).ok_or_else(unknown_replica);
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
