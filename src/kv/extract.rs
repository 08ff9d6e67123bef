//! `delta_since`: everything that a peer with a given version vector lacks, from a frozen state.
//!
//! ```text
//! touched = paths of the events above base            a range scan for each replica that differs
//! rows    = the complete image of each touched path, and its Delete events above base
//! base below the floor: also what is live up to base, since deletes may have been forgotten
//! base empty          : every row, and nothing else
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::causal::VersionVector;

use super::commit::{Event, EventKind, unknown_replica};
use super::delta::{Delta, DeltaWriter, Head, WireDot, WireEntry, WireReplica};
use super::digest::Digest;
use super::error::Result;
use super::mutant::{self, Mutant};
use super::row::{LocalDot, Row};
use super::space::{SpaceId, View, decode_row};

/// The canonical form: a delta since nothing, without what two stores of one state may know differently.
pub(crate) fn canonical(view: &View, space: SpaceId) -> Result<Delta> {
    extract(view, space, &VersionVector::new(), false)
}

/// The delta for a peer that has `base`. Cost: the events above `base`; every row if `base` is empty or below the floor.
pub(crate) fn delta_since(view: &View, space: SpaceId, base: &VersionVector) -> Result<Delta> {
    extract(view, space, base, true)
}

fn extract(view: &View, space: SpaceId, base: &VersionVector, with_marks: bool) -> Result<Delta> {
    let fresh = base.is_empty();
    let mut replicas = Vec::new();
    // The place on the wire of each local index.
    let mut places = BTreeMap::new();
    let mut below_floor = fresh;
    for (id, index, progress) in view.meta.replicas().filter(|(_id, _index, progress)| progress.seq > 0) {
        places.insert(index, u32::try_from(replicas.len()).unwrap_or(u32::MAX));
        let floor = if fresh { progress.seq } else { progress.floor };
        below_floor |= floor > base.get(id);
        let (mark_seq, mark) = match view.meta.me {
            _any if !with_marks => (0, 0),
            // What leaves the file is noted as given away, up to here.
            Some(me) if me == index => (progress.seq, view.meta.chain),
            Some(_) | None => (progress.mark_seq, progress.mark),
        };
        let base = base.get(id).min(progress.seq);
        replicas.push((index, WireReplica { id, base, version: progress.seq, floor, mark_seq, mark }));
    }
    let digest = Digest::of(&view.meta);
    let head = Head { space, below_floor, digest, replicas: replicas.iter().map(|(_index, replica)| *replica).collect() };
    let mut writer = Extract { view, places, to: DeltaWriter::new(head) };
    if fresh {
        for row in view.read.range(view.tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
            let (path, bytes) = row?;
            writer.row(&path, &decode_row(&bytes)?, &[])?;
        }
        return Ok(writer.to.finish());
    }
    for (path, deletes) in touched(view, &replicas)? {
        writer.row(&path, &view.row(&path)?, &deletes)?;
    }
    if below_floor {
        writer.live()?;
    }
    Ok(writer.to.finish())
}

/// The paths of the events above the base, each with its deletes among them.
fn touched(view: &View, replicas: &[(u32, WireReplica)]) -> Result<BTreeMap<Bytes, SmallVec<[LocalDot; 1]>>> {
    let mut touched: BTreeMap<Bytes, SmallVec<[LocalDot; 1]>> = BTreeMap::new();
    for (index, replica) in replicas.iter().filter(|(_index, replica)| replica.base < replica.version) {
        for event in view.read.entries(view.tables.events(*index), replica.base + 1..=replica.version)? {
            let (seq, bytes) = event?;
            let event = Event::decode(bytes)?;
            let deletes = touched.entry(event.path()).or_default();
            if event.kind == EventKind::Delete {
                deletes.push(LocalDot { replica: *index, seq });
            }
        }
    }
    Ok(touched)
}

struct Extract<'a> {
    view: &'a View,
    places: BTreeMap<u32, u32>,
    to: DeltaWriter,
}

impl Extract<'_> {
    fn row(&mut self, path: &[u8], row: &Row, deletes: &[LocalDot]) -> Result<()> {
        let mut entries: SmallVec<[WireEntry<'_>; 1]> = SmallVec::with_capacity(row.len());
        for entry in row.entries() {
            let dot = self.wire(entry.dot)?;
            let above_base = self.is_above_base(dot);
            if above_base || !mutant::is(Mutant::PartialRows) {
                entries.push(WireEntry { dot, payload: above_base.then_some(&*entry.payload) });
            }
        }
        // All that touched the path may be Write events that wait to be erased: they say nothing.
        if deletes.is_empty() && entries.iter().all(|entry| entry.payload.is_none()) {
            return Ok(());
        }
        entries.sort_unstable_by_key(|entry| entry.dot);
        let mut dots: SmallVec<[WireDot; 1]> = deletes.iter().map(|dot| self.wire(*dot)).collect::<Result<_>>()?;
        dots.sort_unstable();
        self.to.row(path, &entries, &dots);
        Ok(())
    }

    /// What is live up to the base.
    fn live(&mut self) -> Result<()> {
        let mut live: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for row in self.view.read.range(self.view.tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
            let (_path, bytes) = row?;
            for dot in decode_row(&bytes)?.dots() {
                let dot = self.wire(dot)?;
                if !self.is_above_base(dot) {
                    live.entry(dot.replica).or_default().push(dot.seq);
                }
            }
        }
        for (replica, mut seqs) in live {
            seqs.sort_unstable();
            self.to.live(replica, &seqs);
        }
        Ok(())
    }

    fn wire(&self, dot: LocalDot) -> Result<WireDot> {
        let replica = *self.places.get(&dot.replica).ok_or_else(unknown_replica)?;
        Ok(WireDot { replica, seq: dot.seq })
    }

    fn is_above_base(&self, dot: WireDot) -> bool {
        self.to.head().replicas.get(dot.replica as usize).is_some_and(|replica| dot.seq > replica.base)
    }
}
