//! Lattice: a type of the user's that knows how to join. A write joins its delta with all it has seen.
//!
//! ```text
//! payload := value (MessagePack)      reads as the join of the live values
//! ```
//!
//! A value that survives a concurrent delete is the whole value that its writer saw, since the writer joined it into one. A type
//! that mints dots of its own must never be one: after a delete it would mint the same dots again, and a write would be lost.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;

use crate::codec::msgpack::Value;
use crate::crdt::{Lattice, NonCausal};
use crate::kv::error::Result;
use crate::kv::overlay::Replaces;
use crate::kv::path::Spot;
use crate::kv::place::{Place, WritePlace};
use crate::kv::row::Row;
use crate::kv::store::Store;

use super::{decode_value, encode_value};

/// The lattice under a key. From [`Store::lattice`].
///
/// ```
/// # let store = tombolo::Store::in_memory();
/// use std::collections::BTreeSet;
///
/// let seen = store.lattice::<BTreeSet<u64>>("seen");
/// seen.join(&[1, 2].into())?;
/// assert!(seen.join_if_new(&[2, 3].into())?);
/// assert!(!seen.join_if_new(&[1].into())?);
/// assert_eq!(seen.get()?, [1, 2, 3].into());
/// # Ok::<(), tombolo::Error>(())
/// ```
pub struct LatticeCell<T, C = Store> {
    place: C,
    spot: Spot,
    value: PhantomData<fn() -> T>,
}

impl<T, C: Clone> Clone for LatticeCell<T, C> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), spot: self.spot.clone(), value: PhantomData }
    }
}

impl<T, C> fmt::Debug for LatticeCell<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LatticeCell").field(&self.spot).finish()
    }
}

impl<T, C> LatticeCell<T, C> {
    pub(crate) const fn new(place: C, spot: Spot) -> Self {
        Self { place, spot, value: PhantomData }
    }
}

impl<T: Lattice + NonCausal + Value, C: Place> LatticeCell<T, C> {
    /// The join of everything written; the bottom if nothing was.
    ///
    /// # Errors
    /// What is stored is not a `T`, the key is none, or the medium fails.
    pub fn get(&self) -> Result<T> {
        let path = self.spot.bytes()?;
        read(path, &self.place.row(path)?)
    }
}

impl<T: Lattice + NonCausal + Value, C: WritePlace> LatticeCell<T, C> {
    /// Joins a delta into it.
    ///
    /// # Errors
    /// The result cannot be encoded or is too large, what is stored is not a `T`, the key is none, or the medium fails. Nothing
    /// was written.
    pub fn join(&self, delta: &T) -> Result<()> {
        self.write(delta, false).map(drop)
    }

    /// Joins a delta into it, and writes only if that changes what it reads. Returns whether it did.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_if_new(&self, delta: &T) -> Result<bool> {
        self.write(delta, true)
    }

    /// Forgets everything that this replica has seen joined into it.
    ///
    /// # Errors
    /// The key is none, or the medium fails. Nothing was deleted.
    pub fn delete(&self) -> Result<()> {
        let path = self.spot.bytes()?;
        self.place.write(|overlay| overlay.delete_row(path).map(drop))
    }

    fn write(&self, delta: &T, only_if_new: bool) -> Result<bool> {
        let path = self.spot.bytes()?;
        self.place.write(|overlay| {
            let mut value: T = read(path, &overlay.row(path)?)?;
            if !value.join(delta) && only_if_new {
                return Ok(false);
            }
            let value = encode_value(path, &value)?;
            overlay.fits(&value)?;
            overlay.put(path, Bytes::from(value), Replaces::All)?;
            Ok(true)
        })
    }
}

fn read<T: Lattice + Value>(path: &[u8], row: &Row) -> Result<T> {
    let mut value = T::bottom();
    for entry in row.entries() {
        value.join(&decode_value(path, &entry.payload)?);
    }
    Ok(value)
}
