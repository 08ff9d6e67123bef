//! Scans: the keys of a store or the fields of a map, in order.

use std::collections::BTreeSet;
use std::fmt;

use crate::codec::DecodeError;
use crate::codec::key::{Key, KeyBuf, KeyWriter, Part};
use crate::codec::msgpack::DEPTH_MAX;

use super::cursor::{Cursor, Range};
use super::dynamic::Dynamic;
use super::error::{Error, Result};
use super::kinds::{counter, decode_value, flag, register, undecodable};
use super::path::{Kind, Leaf, PART_MIN, Parsed, parts_len};
use super::place::Place;
use super::place::sealed::Reads;

/// Keys in order, lazily, and from both ends: as they are when the scan is made, however long it takes. In a transaction, what it
/// writes during the walk may show or not. A key comes once, with all its kinds. Cost: one seek for a key of any size.
///
/// From [`Store::scan`](super::Store::scan), [`Map::fields`](super::Map::fields) and their like.
pub struct Scan<C> {
    walk: Result<Cursor<C>, Option<Error>>,
    /// The map's own path; empty for a scan of keys.
    base: Vec<u8>,
}

impl<C: Place> Scan<C> {
    pub(crate) fn keys(place: &impl Reads<Pinned = C>, prefix: impl Key) -> Self {
        let mut to = KeyWriter::new();
        prefix.encode(&mut to);
        Self::of(place, Ok(Range::prefix(to.as_slice())), &[])
    }

    pub(crate) fn bytes(place: &impl Reads<Pinned = C>, first_part: &[u8]) -> Self {
        let mut to = KeyWriter::new();
        to.text_start(first_part);
        Self::of(place, Ok(Range::prefix(to.as_slice())), &[])
    }

    pub(crate) fn fields(place: &impl Reads<Pinned = C>, base: Result<&[u8]>) -> Self {
        match base {
            Ok(base) => Self::of(place, Ok(Range::prefix(base)), base),
            Err(error) => Self::of(place, Err(error), &[]),
        }
    }

    fn of(place: &impl Reads<Pinned = C>, range: Result<Range>, base: &[u8]) -> Self {
        let walk = range.and_then(|range| Ok(Cursor::new(place.pin()?, range))).map_err(Some);
        Self { walk, base: base.to_vec() }
    }

    /// Goes on behind a key: for pages. The next page starts with the key that follows, which may be a longer one that begins
    /// with the same parts.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// for key in 0..5_u64 {
    ///     store.counter(key).add(1)?;
    /// }
    /// let page: Vec<_> = store.scan(()).after(2_u64).map(|entry| entry.unwrap().key().to_string()).collect();
    /// assert_eq!(page, ["3", "4"]);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    #[must_use]
    pub fn after(mut self, key: impl Key) -> Self {
        if let Ok(cursor) = &mut self.walk {
            let mut to = KeyWriter::from_bytes(&self.base);
            key.encode(&mut to);
            let end = [to.as_slice(), &[PART_MIN]].concat();
            cursor.skip_to(&end);
        }
        self
    }

    fn step(&mut self, from_back: bool) -> Result<Option<Entry<C>>> {
        let base = self.base.len();
        let cursor = match &mut self.walk {
            Ok(cursor) => cursor,
            Err(error) => return error.take().map_or(Ok(None), Err),
        };
        loop {
            let next = if from_back { cursor.next_back()? } else { cursor.next()? };
            let Some((path, _row)) = next else { return Ok(None) };
            let corrupt = Error::corrupt("ROWS");
            let parsed = Parsed::of(&path).map_err(&corrupt)?;
            // The trace of a delete is nothing that a key holds.
            if matches!(parsed.leaf, Leaf::CounterReset(_)) {
                continue;
            }
            let len = parts_len(path.get(base..).unwrap_or_default()).map_err(&corrupt)?;
            let at = path.get(..base + len).unwrap_or_default();
            let key = KeyBuf::from_encoded(at.get(base..).unwrap_or_default()).map_err(&corrupt)?;
            if from_back {
                cursor.skip_back_to(&[at, &[0]].concat());
            } else {
                cursor.skip_to(&[at, &[PART_MIN]].concat());
            }
            return Ok(Some(Entry { key, at: at.to_vec(), place: cursor.place.clone() }));
        }
    }
}

impl<C: Place> Iterator for Scan<C> {
    type Item = Result<Entry<C>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(false).transpose()
    }
}

impl<C: Place> DoubleEndedIterator for Scan<C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(true).transpose()
    }
}

impl<C> fmt::Debug for Scan<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

/// A key that has something, or a field. From [`Scan`].
pub struct Entry<C> {
    key: KeyBuf,
    /// The path in front of its kinds.
    at: Vec<u8>,
    place: C,
}

impl<C: Place> Entry<C> {
    /// The key; of a field, relative to its map.
    #[must_use]
    pub const fn key(&self) -> &KeyBuf {
        &self.key
    }

    /// The kinds under the key. Mostly one. Cost: one seek for each.
    ///
    /// # Errors
    /// The store is damaged, or the medium fails.
    pub fn kinds(&self) -> Result<Vec<Kind>> {
        kinds_at(&self.place, &self.at)
    }

    /// The value without a type: of a key with one kind its value, of a key with several a map from kinds to values. What a
    /// register shows, a counter's sum, a flag's state, a set's elements, a map's fields. A lattice with concurrent values
    /// is a list of them; a kind that this version does not know is null. Cost: reads everything under the key.
    ///
    /// ```
    /// # let store = tombolo::Store::in_memory();
    /// store.map("card").register::<String>("street").set("Main Street")?;
    /// let entry = store.scan(()).next().expect("one")?;
    /// assert_eq!(entry.value()?.to_string(), r#"{"street": "Main Street"}"#);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// A value is not readable, maps nest deeper than [`DEPTH_MAX`], the store is damaged, or the medium fails.
    pub fn value(&self) -> Result<Dynamic> {
        self.value_within(DEPTH_MAX)
    }

    /// A path has room for hundreds of maps in maps, and a peer may fill it: the stack has not.
    fn value_within(&self, depth: usize) -> Result<Dynamic> {
        value_at(&self.place, &self.at, depth)
    }
}

impl<C> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).finish_non_exhaustive()
    }
}

fn kinds_at<C: Place>(place: &C, at: &[u8]) -> Result<Vec<Kind>> {
    let mut cursor = Cursor::new(place.clone(), Range::key(at));
    let mut kinds = Vec::new();
    while let Some((path, _row)) = cursor.next()? {
        let parsed = Parsed::of(&path).map_err(Error::corrupt("ROWS"))?;
        let Some(kind) = path.get(at.len()).copied().and_then(Kind::from_byte) else { continue };
        if !matches!(parsed.leaf, Leaf::CounterReset(_)) {
            kinds.push(kind);
            cursor.skip_to(&[at, &[kind.byte() + 1]].concat());
        }
    }
    Ok(kinds)
}

fn value_at<C: Place>(place: &C, at: &[u8], depth: usize) -> Result<Dynamic> {
    let mut values = Vec::new();
    for kind in kinds_at(place, at)? {
        let path = [at, &[kind.byte()]].concat();
        values.push((Dynamic::Text(kind.to_string()), value_of(place, &path, kind, depth)?));
    }
    Ok(if values.len() == 1 { values.remove(0).1 } else { Dynamic::Map(values) })
}

fn value_of<C: Place>(place: &C, path: &[u8], kind: Kind, depth: usize) -> Result<Dynamic> {
    Ok(match kind {
        Kind::Register => {
            let row = place.row(path)?;
            let shown = register::winner(&row, |index| place.replica(index))?;
            shown.map_or(Ok(Dynamic::Null), |entry| register::value_of(path, entry))?
        }
        Kind::Counter => Dynamic::Int(counter::sum(place.clone(), path)?),
        Kind::Flag | Kind::VetoFlag => Dynamic::Bool(flag::read(path, &place.row(path)?, kind == Kind::VetoFlag)?),
        Kind::Set => {
            let mut cursor = Cursor::new(place.clone(), Range::prefix(path));
            let mut elements = Vec::new();
            while let Some((element, _row)) = cursor.next()? {
                let key = KeyBuf::from_encoded(element.get(path.len()..).unwrap_or_default());
                elements.push(dynamic_key(&key.map_err(|error| undecodable(path, error))?));
            }
            Dynamic::List(elements)
        }
        Kind::Map => {
            let too_deep = || undecodable(path, DecodeError::new(path.len(), "maps nested too deep"));
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let mut fields = Vec::new();
            for field in Scan::fields(place, Ok(path)) {
                let field = field?;
                fields.push((dynamic_key(field.key()), field.value_within(depth)?));
            }
            Dynamic::Map(fields)
        }
        Kind::Lattice => {
            let row = place.row(path)?;
            // By their bytes: a row's own order follows indexes, which are not those of another store.
            let payloads: BTreeSet<_> = row.entries().iter().map(|entry| &entry.payload).collect();
            let mut values = payloads.into_iter().map(|payload| decode_value(path, payload)).collect::<Result<Vec<_>>>()?;
            if values.len() == 1 { values.remove(0) } else { Dynamic::List(values) }
        }
        Kind::Unknown(_) => Dynamic::Null,
    })
}

/// A key as a value: one part alone, several as a list.
pub(crate) fn dynamic_key(key: &KeyBuf) -> Dynamic {
    let mut parts: Vec<Dynamic> = key.parts().map(dynamic_part).collect();
    if parts.len() == 1 { parts.remove(0) } else { Dynamic::List(parts) }
}

fn dynamic_part(part: Part) -> Dynamic {
    match part {
        Part::Bool(value) => Dynamic::Bool(value),
        Part::Int(value) => Dynamic::Int(value),
        Part::Bytes(value) => Dynamic::Bytes(value),
        Part::Text(value) => Dynamic::Text(value),
        Part::Id(value) => Dynamic::Text(uuid::Uuid::from_bytes(value).to_string()),
    }
}
