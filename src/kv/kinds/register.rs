//! Register: one value. A write replaces what its writer has seen; of concurrent writes the latest is shown, and all are kept
//! until the next write.
//!
//! ```text
//! payload := stamp (u64, BE), value (MessagePack)
//! shown   := max by (stamp, replica id, seq, bytes)          among what is live, that is, concurrent
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;

use crate::causal::{Dot, Hlc, ReplicaId};
use crate::codec::DecodeError;
use crate::codec::msgpack::Value;
use crate::kv::error::{Error, Result};
use crate::kv::overlay::Replaces;
use crate::kv::path::Spot;
use crate::kv::place::sealed::Reads;
use crate::kv::place::{Place, WritePlace};
use crate::kv::row::{Entry, LocalDot, Row};
use crate::kv::store::Store;

use super::{decode_value, encode_value, undecodable};

/// The stamp and the value of a payload.
pub(crate) fn split(payload: &[u8]) -> Option<(Hlc, &[u8])> {
    let (stamp, value) = payload.split_first_chunk::<8>()?;
    Some((Hlc::from_bits(u64::from_be_bytes(*stamp)), value))
}

/// The entry that is shown.
pub(crate) fn winner(row: &Row, id: impl Fn(u32) -> Result<ReplicaId>) -> Result<Option<&Entry>> {
    if let [only] = row.entries() {
        return Ok(Some(only));
    }
    let mut ranked = Vec::with_capacity(row.len());
    for entry in row.entries() {
        let stamp = split(&entry.payload).map(|(stamp, _value)| stamp);
        ranked.push((stamp, id(entry.dot.replica)?, entry.dot.seq, &entry.payload, entry));
    }
    let rank = |(stamp, id, seq, payload, _entry): &(Option<Hlc>, ReplicaId, u64, &Bytes, &Entry)| {
        (*stamp, *id, *seq, Bytes::clone(payload))
    };
    Ok(ranked.iter().max_by_key(|entry| rank(entry)).map(|(.., entry)| *entry))
}

/// One of the concurrent values of a register.
#[derive(Debug)]
pub struct Sibling<T> {
    /// The value; an error if it is not of the type asked for.
    pub value: Result<T>,
    /// Who wrote it.
    pub writer: ReplicaId,
    /// When, by the writer's clock.
    pub time: Hlc,
    /// Whether it is the one that [`Register::get`] shows.
    pub wins: bool,
}

/// What a read of a register saw: the values, and which writes they came from. [`Register::set_over`] replaces exactly those.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    /// The values, the shown one first. None: the register was empty.
    pub values: Vec<T>,
    path: Vec<u8>,
    dots: Vec<Dot>,
    /// It was read in this transaction, which had written to the register.
    within: Option<u64>,
}

/// The register under a key. From [`Store::register`].
///
/// ```
/// # let (a, b) = (tombolo::Store::in_memory(), tombolo::Store::in_memory());
/// a.register::<String>("title").set("Groceries")?;
/// b.register::<String>("title").set("Shopping")?;
/// a.merge(b.delta_since(&a.version()?)?)?;
/// let title = a.register::<String>("title");
/// // Both were written at the same time: one is shown, both are kept until somebody writes over what he has seen.
/// assert_eq!(title.siblings()?.len(), 2);
/// let seen = title.read()?;
/// title.set_over(&seen, &seen.values.join(" and "))?;
/// assert_eq!(title.siblings()?.len(), 1);
/// title.delete()?;
/// assert_eq!(title.get()?, None);
/// # Ok::<(), tombolo::Error>(())
/// ```
pub struct Register<T, C = Store> {
    place: C,
    spot: Spot,
    value: PhantomData<fn() -> T>,
}

impl<T, C: Clone> Clone for Register<T, C> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), spot: self.spot.clone(), value: PhantomData }
    }
}

impl<T, C> fmt::Debug for Register<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Register").field(&self.spot).finish()
    }
}

impl<T, C> Register<T, C> {
    pub(crate) const fn new(place: C, spot: Spot) -> Self {
        Self { place, spot, value: PhantomData }
    }
}

impl<T: Value, C: Place> Register<T, C> {
    /// The value that is shown; `None` if the register is empty.
    ///
    /// # Errors
    /// The value is not a `T` ([`Error::Decode`]), the key is none, or the medium fails.
    pub fn get(&self) -> Result<Option<T>> {
        let path = self.spot.bytes()?;
        let row = self.place.row(path)?;
        if row.len() <= 1 {
            return row.entries().first().map(|entry| value_of(path, entry)).transpose();
        }
        let place = self.place.pin()?;
        let row = place.row(path)?;
        winner(&row, |index| place.replica(index))?.map(|entry| value_of(path, entry)).transpose()
    }

    /// Every concurrent value, the shown one first, then by time.
    ///
    /// # Errors
    /// The key is none, or the medium fails.
    pub fn siblings(&self) -> Result<Vec<Sibling<T>>> {
        let (path, place) = (self.spot.bytes()?, self.place.pin()?);
        let row = place.row(path)?;
        let shown = winner(&row, |index| place.replica(index))?.map(|entry| entry.dot);
        let mut siblings = Vec::with_capacity(row.len());
        for entry in row.entries() {
            siblings.push(Sibling {
                value: value_of(path, entry),
                writer: place.replica(entry.dot.replica)?,
                time: split(&entry.payload).map_or(Hlc::ZERO, |(stamp, _)| stamp),
                wins: shown == Some(entry.dot),
            });
        }
        siblings.sort_by_key(|sibling| std::cmp::Reverse((sibling.wins, sibling.time, sibling.writer)));
        Ok(siblings)
    }

    /// The values together with what [`set_over`](Self::set_over) needs.
    ///
    /// # Errors
    /// A value is not a `T` ([`Error::Decode`]), the key is none, or the medium fails.
    pub fn read(&self) -> Result<Seen<T>> {
        let (path, place) = (self.spot.bytes()?, self.place.pin()?);
        let row = place.row(path)?;
        let shown = winner(&row, |index| place.replica(index))?.map(|entry| entry.dot);
        let (mut values, mut dots) = (Vec::with_capacity(row.len()), Vec::with_capacity(row.len()));
        for entry in row.entries() {
            let value = value_of(path, entry)?;
            values.insert(if shown == Some(entry.dot) { 0 } else { values.len() }, value);
            // What a transaction reads of its own writes it replaces anyway.
            if entry.dot != LocalDot::PENDING {
                dots.push(Dot::new(place.replica(entry.dot.replica)?, entry.dot.seq));
            }
        }
        let own = row.entries().iter().any(|entry| entry.dot == LocalDot::PENDING);
        let within = if own { place.transaction() } else { None };
        Ok(Seen { values, path: path.to_vec(), dots, within })
    }
}

impl<T: Value, C: WritePlace> Register<T, C> {
    /// Writes a value over everything that this replica has seen here.
    ///
    /// # Errors
    /// The value cannot be encoded or is too large, the key is none, or the medium fails. Nothing was written.
    pub fn set<Q: Serialize + ?Sized>(&self, value: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        self.write(value, None)
    }

    /// Writes a value over exactly what was read. What has come since stays beside it, as a sibling: a form that was open while
    /// a merge arrived loses nothing.
    ///
    /// # Errors
    /// As [`set`](Self::set); or `seen` was read from another key, or in another transaction that had written here.
    pub fn set_over<Q: Serialize + ?Sized>(&self, seen: &Seen<T>, value: &Q) -> Result<()>
    where
        T: Borrow<Q>,
    {
        if seen.path != self.spot.bytes()? {
            return Err(Error::Refused("what was seen was read from another key"));
        }
        self.write(value, Some(seen))
    }

    fn write<Q: Serialize + ?Sized>(&self, value: &Q, over: Option<&Seen<T>>) -> Result<()> {
        let path = self.spot.bytes()?;
        let value = encode_value(path, value)?;
        self.place.write(|overlay| {
            overlay.fits(&value)?;
            let stamp = overlay.stamp()?;
            let payload = Bytes::from([&stamp.to_bits().to_be_bytes()[..], &value].concat());
            match over {
                None => overlay.put(path, payload, Replaces::All),
                Some(seen) => {
                    if seen.within.is_some_and(|transaction| transaction != overlay.id()) {
                        return Err(Error::Refused("what was seen is a write of another transaction: read it again"));
                    }
                    let mut dots: Vec<_> = seen.dots.iter().filter_map(|dot| overlay.meta().local_dot(*dot)).collect();
                    dots.sort_unstable();
                    overlay.put(path, payload, Replaces::Only(&dots))
                }
            }
        })
    }

    /// Empties the register: everything that this replica has seen here goes.
    ///
    /// # Errors
    /// The key is none, or the medium fails. Nothing was deleted.
    pub fn delete(&self) -> Result<()> {
        let path = self.spot.bytes()?;
        self.place.write(|overlay| overlay.delete_row(path).map(drop))
    }
}

/// The value of an entry.
pub(crate) fn value_of<T: Value>(path: &[u8], entry: &Entry) -> Result<T> {
    match split(&entry.payload) {
        Some((_stamp, value)) => decode_value(path, value),
        None => Err(undecodable(path, DecodeError::new(0, "a register without a stamp"))),
    }
}
