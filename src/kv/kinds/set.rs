//! Set: one row for each element, so that an insert into a set of a million elements touches one small row.
//!
//! ```text
//! payload := empty                    an element is in the set if its row is there
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use bytes::Bytes;

use crate::codec::key::{Key, KeyReader, OwnedKey};
use crate::kv::cursor::{Cursor, Range};
use crate::kv::delete;
use crate::kv::error::Result;
use crate::kv::overlay::Replaces;
use crate::kv::path::Spot;
use crate::kv::place::{Place, WritePlace, map_bound};
use crate::kv::store::Store;

use super::undecodable;

/// The set under a key. From [`Store::set`].
///
/// ```
/// # let store = tombolo::Store::in_memory();
/// let tags = store.set::<String>("tags");
/// for tag in ["c", "a", "b"] {
///     tags.insert(tag)?;
/// }
/// tags.remove("b")?;
/// assert!(tags.contains("a")? && tags.len()? == 2);
/// let after_a = tags.range("b".to_owned()..)?.collect::<tombolo::Result<Vec<_>>>()?;
/// assert_eq!(after_a, ["c"]);
/// let all = tags.iter()?.collect::<tombolo::Result<Vec<_>>>()?;
/// assert_eq!(all, ["a", "c"]);
/// tags.clear()?;
/// assert!(tags.is_empty()?);
/// # Ok::<(), tombolo::Error>(())
/// ```
pub struct Set<T, C = Store> {
    place: C,
    spot: Spot,
    element: PhantomData<fn() -> T>,
}

impl<T, C: Clone> Clone for Set<T, C> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), spot: self.spot.clone(), element: PhantomData }
    }
}

impl<T, C> fmt::Debug for Set<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Set").field(&self.spot).finish()
    }
}

impl<T, C> Set<T, C> {
    pub(crate) const fn new(place: C, spot: Spot) -> Self {
        Self { place, spot, element: PhantomData }
    }
}

impl<T: OwnedKey, C: Place> Set<T, C> {
    /// Whether an element is in the set.
    ///
    /// # Errors
    /// The key or the element is none, or the medium fails.
    pub fn contains<Q: Key + ?Sized>(&self, element: &Q) -> Result<bool>
    where
        T: Borrow<Q>,
    {
        Ok(!self.place.row(&self.spot.element(element)?)?.is_empty())
    }

    /// How many elements are in the set. Cost: reads them all.
    ///
    /// # Errors
    /// The key is none, or the medium fails.
    pub fn len(&self) -> Result<u64> {
        let mut cursor = Cursor::new(self.place.pin()?, Range::prefix(self.spot.bytes()?));
        let mut count = 0;
        while cursor.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Whether no element is in the set. Cost: reads one.
    ///
    /// # Errors
    /// The key is none, or the medium fails.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.place.rows(&Range::prefix(self.spot.bytes()?), false, 1)?.is_empty())
    }

    /// The elements, in order, lazily, and from both ends: as they are at this call, however long the walk takes. In a transaction,
    /// what it writes during the walk may show or not: a walk that inserts ahead of itself does not end.
    ///
    /// # Errors
    /// The key is none, or the medium fails.
    pub fn iter(&self) -> Result<Elements<T, C::Pinned>> {
        self.range(..)
    }

    /// The elements within bounds.
    ///
    /// # Errors
    /// As [`iter`](Self::iter).
    pub fn range<R: RangeBounds<T>>(&self, bounds: R) -> Result<Elements<T, C::Pinned>> {
        let base = self.spot.bytes()?;
        let encode = |element: &T| Ok(self.spot.element(element)?.to_vec());
        let (lo, hi) = (map_bound(bounds.start_bound(), encode)?, map_bound(bounds.end_bound(), encode)?);
        let range = Range::prefix(base).between(lo, hi);
        Ok(Elements { cursor: Cursor::new(self.place.pin()?, range), base: base.len(), element: PhantomData })
    }
}

impl<T: OwnedKey, C: WritePlace> Set<T, C> {
    /// Adds an element. Over a concurrent remove, the add wins.
    ///
    /// # Errors
    /// The key or the element is none or too long, or the medium fails. Nothing was written.
    pub fn insert<Q: Key + ?Sized>(&self, element: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        let path = self.spot.element(element)?;
        self.place.write(|overlay| overlay.put(&path, Bytes::new(), Replaces::All))
    }

    /// Removes an element, as far as this replica has seen it added.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove<Q: Key + ?Sized>(&self, element: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        let path = self.spot.element(element)?;
        self.place.write(|overlay| overlay.delete_row(&path).map(drop))
    }

    /// Removes every element that this replica has seen added.
    ///
    /// # Errors
    /// The set has more elements than a transaction may touch ([`Error::TooLarge`](crate::Error::TooLarge)), the key is none, or the medium fails.
    /// Nothing was removed.
    pub fn clear(&self) -> Result<()> {
        let range = Range::prefix(self.spot.bytes()?);
        self.place.write(|overlay| delete::rows(overlay, &range).map(drop))
    }
}

/// The elements of a set, in order. From [`Set::iter`] and [`Set::range`].
pub struct Elements<T, C> {
    cursor: Cursor<C>,
    /// The length of the set's own path.
    base: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: OwnedKey, C> Elements<T, C> {
    fn decode(&self, path: &[u8]) -> Result<T> {
        let mut from = KeyReader::new(path.get(self.base..).unwrap_or_default());
        let element = T::decode(&mut from).map_err(|error| undecodable(path, error))?;
        from.finish().map_err(|error| undecodable(path, error))?;
        Ok(element)
    }
}

impl<T: OwnedKey, C: Place> Iterator for Elements<T, C> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.cursor.next().transpose()?;
        Some(next.and_then(|(path, _row)| self.decode(&path)))
    }
}

impl<T: OwnedKey, C: Place> DoubleEndedIterator for Elements<T, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let next = self.cursor.next_back().transpose()?;
        Some(next.and_then(|(path, _row)| self.decode(&path)))
    }
}

impl<T, C> fmt::Debug for Elements<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").finish_non_exhaustive()
    }
}
