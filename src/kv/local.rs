//! Local keys: what an application keeps beside its replicated data, in the same commit. They never leave the file.
//!
//! ```text
//! LOCAL   key -> value (MessagePack)
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use serde::Serialize;

use crate::codec::key::{Key, KeyBuf, KeyWriter};
use crate::codec::msgpack::Value;

use super::cursor::Range;
use super::error::{Error, Limit, Result};
use super::kinds::{decode_value, encode_value};
use super::path::PATH_MAX;
use super::place::{Place, WritePlace};
use super::store::Store;

/// An application's own keys: of any `serde` type, in the same commits as everything else, and never replicated. How far an index
/// has come, what a window looked like, what is to be sent.
///
/// They are no part of the version, the digest or a delta, and no key of the store: `scan` and `delete_prefix` do not see them.
///
/// ```
/// # fn main() -> tombolo::Result<()> {
/// let store = tombolo::Store::in_memory();
/// store.transact(|tx| {
///     tx.register::<String>(("note", 7)).set("Groceries")?;
///     // Both, or none.
///     tx.local().put("last edited", &7)
/// })?;
/// assert_eq!(store.local().get::<u32>("last edited")?, Some(7));
///
/// let peer = tombolo::Store::in_memory();
/// peer.merge(store.delta_since(&peer.version()?)?)?;
/// assert_eq!(peer.local().get::<u32>("last edited")?, None);
/// # Ok(())
/// # }
/// ```
///
/// From [`Store::local`], [`Tx::local`](super::Tx::local) and [`Snapshot::local`](super::Snapshot::local).
#[derive(Clone)]
pub struct Local<C = Store> {
    place: C,
}

impl<C> fmt::Debug for Local<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

impl<C> Local<C> {
    pub(crate) const fn new(place: C) -> Self {
        Self { place }
    }
}

impl<C: Place> Local<C> {
    /// The value of a key.
    ///
    /// # Errors
    /// The value is not a `T` ([`Error::Decode`]), the key is none, or the medium fails.
    pub fn get<T: Value>(&self, key: impl Key) -> Result<Option<T>> {
        let key = encode(key)?;
        self.place.local(&key)?.map(|value| decode_value(&key, &value)).transpose()
    }

    /// The keys that begin with these parts, in order, as they are when the scan is made. `()` gives all. In a transaction, what it
    /// writes during the walk may show or not.
    ///
    /// ```
    /// # fn main() -> tombolo::Result<()> {
    /// let local = tombolo::Store::in_memory().local();
    /// local.put(("draft", 1), "Dear")?;
    /// local.put(("draft", 2), "Hello")?;
    /// local.put("draft of yesterday", "Bye")?;
    /// let drafts: Vec<String> = local.scan("draft").map(|entry| entry?.value()).collect::<tombolo::Result<_>>()?;
    /// assert_eq!(drafts, ["Dear", "Hello"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, prefix: impl Key) -> LocalScan<C::Pinned> {
        let mut to = KeyWriter::new();
        prefix.encode(&mut to);
        let place = self.place.pin().map_err(Some);
        LocalScan { place, range: Range::prefix(to.as_slice()), page: VecDeque::new() }
    }
}

impl<C: WritePlace> Local<C> {
    /// Sets the value of a key. A transaction that writes nothing else is a commit that no replica hears of.
    ///
    /// # Errors
    /// The value cannot be encoded or is too large, the key is none or too long, a limit of the transaction, or the medium fails.
    /// Nothing was written.
    pub fn put<Q: Serialize + ?Sized>(&self, key: impl Key, value: &Q) -> Result<()> {
        let key = encode(key)?;
        let value = encode_value(&key, value)?;
        self.place.write(|overlay| {
            overlay.fits(&value)?;
            overlay.put_local(&key, Some(Bytes::from(value.into_boxed_slice())))
        })
    }

    /// Deletes a key. Returns whether it was there.
    ///
    /// # Errors
    /// The key is none, a limit of the transaction, or the medium fails. Nothing was deleted.
    pub fn delete(&self, key: impl Key) -> Result<bool> {
        let key = encode(key)?;
        self.place.write(|overlay| {
            let there = overlay.local(&key)?.is_some();
            if there {
                overlay.put_local(&key, None)?;
            }
            Ok(there)
        })
    }
}

/// A key, or why it is none.
fn encode(key: impl Key) -> Result<Vec<u8>> {
    let mut to = KeyWriter::new();
    key.encode(&mut to);
    match to.as_slice().len() {
        0 => Err(Error::Refused("a key needs at least one part")),
        len if len > PATH_MAX => Err(Error::TooLarge { what: Limit::Key, is: len as u64, cap: PATH_MAX as u64 }),
        _fits => Ok(to.as_slice().to_vec()),
    }
}

/// Local keys in order, from [`Local::scan`].
pub struct LocalScan<C> {
    place: Result<C, Option<Error>>,
    /// What was not fetched.
    range: Range,
    page: VecDeque<(Bytes, Bytes)>,
}

impl<C: Place> LocalScan<C> {
    const PAGE: usize = 64;

    fn step(&mut self) -> Result<Option<LocalEntry>> {
        let place = match &mut self.place {
            Ok(place) => place,
            Err(error) => return error.take().map_or(Ok(None), Err),
        };
        if self.page.is_empty() {
            match place.locals(&self.range, Self::PAGE) {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    self.place = Err(None);
                    return Err(error);
                }
            }
            if let Some((last, _value)) = self.page.back() {
                self.range.start_at(Bound::Excluded(last.to_vec()));
            }
        }
        let Some((key, value)) = self.page.pop_front() else { return Ok(None) };
        let key = KeyBuf::from_encoded(&key).map_err(Error::corrupt("LOCAL"))?;
        Ok(Some(LocalEntry { key, value }))
    }
}

impl<C: Place> Iterator for LocalScan<C> {
    type Item = Result<LocalEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl<C> fmt::Debug for LocalScan<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalScan").finish_non_exhaustive()
    }
}

/// A local key and its value. From [`LocalScan`].
#[derive(Clone)]
pub struct LocalEntry {
    key: KeyBuf,
    value: Bytes,
}

impl LocalEntry {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &KeyBuf {
        &self.key
    }

    /// The value: of its type, or a [`Dynamic`](super::Dynamic).
    ///
    /// # Errors
    /// It is not a `T` ([`Error::Decode`]).
    pub fn value<T: Value>(&self) -> Result<T> {
        decode_value(self.key.as_bytes(), &self.value)
    }
}

/// A key, not its value: a log line must not show what an application stores.
impl fmt::Debug for LocalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEntry").field("key", &self.key).finish_non_exhaustive()
    }
}
