//! `changes_since`: which keys have changed since a version, from the events above it.
//!
//! Every change of a row leaves an event above the version, at the path: the write that is there now, or the delete. But for
//! deletes below the floor, and what a restored or copied file has lost: then anything may have changed.

use std::ops::Bound;
use std::sync::Arc;

use super::pending::{Cap, Pending};
use super::{Change, Changes};
use crate::causal::VersionVector;
use crate::codec::key::{Key, KeyWriter};
use crate::kv::commit::{Event, unknown_replica};
use crate::kv::error::{Error, Result};
use crate::kv::kinds::in_conflict;
use crate::kv::meta::Meta;
use crate::kv::mutant::{self, Mutant};
use crate::kv::path::{Leaf, Parsed, is_own};
use crate::kv::snapshot::Snapshot;
use crate::kv::space::{Space, View};

/// Above this, reading everything is not much more work.
const CAP: Cap = Cap { keys: 1_000_000, bytes: 64 << 20 };

/// The keys that begin with `prefix` and have changed since a version.
pub(crate) fn changes_since(space: &Arc<Space>, since: &VersionVector, prefix: impl Key) -> Result<Changes> {
    let view = space.counted_view()?;
    // What an index has taken in must not be lost by a crash of the store: the index would be ahead of it.
    space.file.make_durable()?;
    let mut to = KeyWriter::new();
    prefix.encode(&mut to);
    let keys = changed(&view, since, to.as_slice())?;
    // The mark that goes with the snapshot must not be of a later moment than the keys.
    let view = if mutant::is(Mutant::MarkAfterRead) { space.view()? } else { view };
    let snapshot = Snapshot::new(view);
    Ok(match keys {
        Some(keys) => Changes::Since { snapshot, keys },
        None => Changes::All { snapshot },
    })
}

/// Whether this replica had another id then, and took events of that back: their numbers may stand for others now.
fn is_from_before_a_new_id(view: &View, since: &VersionVector) -> Result<bool> {
    let (from, to) = Meta::TAKERS;
    for row in view.read.range(view.tables.meta(), (Bound::Included(from), Bound::Excluded(to)))? {
        let id = Meta::taker_of(&row?.0).and_then(|replica| view.meta.id(replica)).ok_or_else(unknown_replica)?;
        if since.get(id) == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `None`: it cannot be told.
fn changed(view: &View, since: &VersionVector, prefix: &[u8]) -> Result<Option<Vec<Change>>> {
    let meta = &view.meta;
    let forgotten = meta.replicas().any(|(id, _index, progress)| progress.floor > since.get(id));
    if since.is_empty() || forgotten || !meta.version().covers(since) || is_from_before_a_new_id(view, since)? {
        return Ok(None);
    }
    let mut pending = Pending::new(CAP);
    for (id, index, progress) in meta.replicas() {
        let from = since.get(id) + 1;
        if from > progress.seq {
            continue;
        }
        for event in view.read.entries(view.tables.events(index), from..=progress.seq)? {
            let path = Event::decode(event?.1)?.path();
            if !path.starts_with(prefix) || is_own(&path) {
                continue;
            }
            let parsed = Parsed::of(&path).map_err(Error::corrupt("EVENTS"))?;
            let key = path.get(..parsed.key_len()).unwrap_or_default();
            let may_be = matches!(parsed.leaf, Leaf::Register | Leaf::Flag | Leaf::VetoFlag) && !pending.in_conflict(key);
            let conflict = may_be && in_conflict(parsed.leaf, &view.row(&path)?);
            if !pending.touch(key, Some(id), conflict, meta.commit) {
                return Ok(None);
            }
        }
    }
    Ok(Some(pending.take_up_to(meta.commit)))
}
