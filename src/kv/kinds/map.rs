//! Map: rows below a prefix. Its fields are anything that a key can have, maps included.

use std::fmt;

use crate::codec::key::Key;
use crate::kv::cursor::Range;
use crate::kv::delete;
use crate::kv::error::Result;
use crate::kv::inspect::{self, Inspection};
use crate::kv::path::Spot;
use crate::kv::place::{Place, WritePlace, handles};
use crate::kv::scan::Scan;
use crate::kv::store::Store;

/// The map under a key. From [`Store::map`]. It is there as long as a field is.
///
/// ```
/// # let store = tombolo::Store::in_memory();
/// let card = store.map("card");
/// card.register::<String>("name").set("Ada")?;
/// card.map("address").register::<u64>("zip").set(&12_345)?;
/// assert_eq!(card.fields().count(), 2);
/// card.delete_field("address")?;
/// assert_eq!(card.fields().count(), 1);
/// card.delete()?;
/// assert_eq!(card.fields().count(), 0);
/// # Ok::<(), tombolo::Error>(())
/// ```
#[derive(Clone)]
pub struct Map<C = Store> {
    place: C,
    spot: Spot,
}

impl<C> fmt::Debug for Map<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Map").field(&self.spot).finish()
    }
}

impl<C> Map<C> {
    pub(crate) const fn new(place: C, spot: Spot) -> Self {
        Self { place, spot }
    }
}

impl<C: Clone> Map<C> {
    handles!(C, |this| this.place.clone(), |this, key, kind| this.spot.field(key, kind));
}

impl<C: Place> Map<C> {
    /// The fields, in order. Their keys are relative to the map.
    pub fn fields(&self) -> Scan<C::Pinned> {
        Scan::fields(&self.place, self.spot.bytes())
    }

    /// Everything under a field, down to the single entry: who wrote it, when, what it holds, and why it counts or is still there. For
    /// people: print it. Cost: reads everything under the field.
    ///
    /// # Errors
    /// The field or the map's key is none, the store is damaged, or the medium fails. A value that cannot be read is an error of its entry alone.
    pub fn inspect(&self, field: impl Key) -> Result<Inspection> {
        inspect::inspect(&self.place, self.spot.bytes(), field)
    }
}

impl<C: WritePlace> Map<C> {
    /// Deletes every field that this replica has seen. A field that was written concurrently survives, alone.
    ///
    /// # Errors
    /// The map has more rows than a transaction may touch, the key is none, or the medium fails. Nothing was deleted.
    pub fn delete(&self) -> Result<()> {
        let range = Range::prefix(self.spot.bytes()?);
        self.place.write(|overlay| delete::rows(overlay, &range).map(drop))
    }

    /// Deletes one field, of every kind. Returns whether there was anything.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_field(&self, field: impl Key) -> Result<bool> {
        let range = delete::key_range(self.spot.bytes()?, field)?;
        self.place.write(|overlay| Ok(delete::rows(overlay, &range)? > 0))
    }
}
