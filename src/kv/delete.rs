//! Deletes: of a key, of a prefix, of what is in a map or a set.

use crate::codec::key::{Key, KeyWriter};

use super::cursor::Range;
use super::error::{Error, Result};
use super::kinds::counter;
use super::overlay::Overlay;
use super::path::{Leaf, Parsed, RESET};

/// The rows of one key, of every kind; of one field, in the map at `base`.
pub(crate) fn key_range(base: &[u8], key: impl Key) -> Result<Range> {
    let mut to = KeyWriter::from_bytes(base);
    key.encode(&mut to);
    if to.as_slice().len() == base.len() {
        return Err(Error::Refused("a key needs at least one part"));
    }
    Ok(Range::key(to.as_slice()))
}

/// Deletes what a transaction sees in a range of rows. Returns how many rows had something. All or nothing.
pub(crate) fn rows(overlay: &mut Overlay, range: &Range) -> Result<u64> {
    let rows = overlay.chunk(range, false, usize::MAX)?;
    let leaf = |path: &[u8]| Parsed::of(path).map_or(Leaf::Unknown(0), |parsed| parsed.leaf);
    // A counter's part leaves a reset.
    let more = rows.iter().map(|(path, _row)| {
        let part = matches!(leaf(path), Leaf::CounterPart(_)) && !overlay.has_touched(&[path, &[RESET][..]].concat());
        u64::from(!overlay.has_touched(path)) + u64::from(part)
    });
    overlay.room_for(more.sum())?;
    let mut deleted = 0;
    for (path, row) in rows {
        match leaf(&path) {
            Leaf::CounterPart(contributor) => counter::delete_part(overlay, path, row, contributor)?,
            // It tells a contributor of an earlier delete, and that stays true.
            Leaf::CounterReset(_contributor) => continue,
            Leaf::Register | Leaf::Flag | Leaf::VetoFlag | Leaf::Element | Leaf::Lattice | Leaf::Seal(_) | Leaf::Unknown(_) => {
                overlay.delete_known(path, row);
            }
        }
        deleted += 1;
    }
    Ok(deleted)
}
