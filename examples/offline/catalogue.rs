//! The catalogue: any JSON file of objects, read one record at a time.
//!
//! What a reader learns: how a type of one's own is a key, and that [`Dynamic`] holds any value whose type is not known.
//!
//! ```text
//! { "text/html": { "source": "iana" }, … }        a record is named as in the file
//! [ { "name": "Vila", "lat": "42.5" }, … ]        or by its place, or by a field of it
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tombolo::codec::DecodeError;
use tombolo::codec::key::{Key, KeyReader, KeyWriter, OwnedKey, Part};
use tombolo::kv::Dynamic;

use crate::Result;

/// The first part of the key of each record.
pub(crate) const CATALOGUE: &str = "catalogue";

/// A longer name is cut where it is printed.
const CHARS_SHOWN: usize = 60;

/// The name of a record: its name in the file, or its place there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Name {
    Number(u64),
    Text(String),
}

impl Key for Name {
    fn encode(&self, to: &mut KeyWriter) {
        match self {
            Self::Number(number) => number.encode(to),
            Self::Text(text) => text.encode(to),
        }
    }
}

impl OwnedKey for Name {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        match Part::decode(from)? {
            Part::Text(text) => Ok(Self::Text(text)),
            Part::Int(number) => {
                u64::try_from(number).map(Self::Number).map_err(|_negative| DecodeError::new(0, "a name below zero"))
            }
            Part::Bool(_) | Part::Bytes(_) | Part::Id(_) => Err(DecodeError::new(0, "a name is a text or a number")),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "#{number}"),
            Self::Text(text) => match text.char_indices().nth(CHARS_SHOWN) {
                Some((end, _char)) => write!(f, "{}…", text.get(..end).unwrap_or_default()),
                None => f.write_str(text),
            },
        }
    }
}

/// The fields of a record, as the file has them.
pub(crate) type Fields = Vec<(Dynamic, Dynamic)>;

/// A JSON file of objects, in memory as it is on disk: the records themselves are made one after the other.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Vec<u8>,
    file: String,
    key: Option<String>,
}

impl Source {
    /// Reads the file. `key` is the field that names the records of a list.
    pub(crate) fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
        Ok(Self { bytes, file, key: key.map(str::to_owned) })
    }

    /// Calls `visit` with each record. Names that come again are numbered.
    pub(crate) fn each(&self, mut visit: impl FnMut(Name, Fields) -> Result<()>) -> Result<()> {
        let text = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes);
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut failed = None;
        let records = Records { key: self.key.as_deref(), names: Names::default(), visit: &mut visit, failed: &mut failed };
        let end = records.deserialize(&mut json).and_then(|()| json.end());
        match (failed, end) {
            (Some(error), _) => Err(error),
            (None, end) => {
                Ok(end.map_err(|error| format!("{} must be JSON, an object or a list of objects: {error}", self.file))?)
            }
        }
    }
}

/// Gives each record a name of its own.
#[derive(Default)]
struct Names {
    /// How often a name came.
    times: BTreeMap<String, u64>,
}

impl Names {
    fn next(&mut self, text: String) -> Name {
        let times = self.times.get(&text).copied().unwrap_or(0) + 1;
        self.times.insert(text.clone(), times);
        if times == 1 {
            return Name::Text(text);
        }
        // The numbered name may be in the file too.
        self.next(format!("{text} ({times})"))
    }
}

/// Reads the file from its outside: an object of objects, or a list of them.
struct Records<'a, V> {
    key: Option<&'a str>,
    names: Names,
    visit: &'a mut V,
    /// What `visit` said; serde has no room for it.
    failed: &'a mut Option<crate::Error>,
}

impl<V: FnMut(Name, Fields) -> Result<()>> Records<'_, V> {
    fn record<E: serde::de::Error>(&mut self, name: Name, record: Dynamic) -> Result<(), E> {
        let Dynamic::Map(fields) = record else {
            return Err(E::custom(format_args!("record {name} is {}, not an object", what(&record))));
        };
        (self.visit)(name, fields).map_err(|error| {
            let said = E::custom(&error);
            *self.failed = Some(error);
            said
        })
    }

    fn name_in_list<E: serde::de::Error>(&mut self, place: u64, record: &Dynamic) -> Result<Name, E> {
        let (Some(key), Dynamic::Map(fields)) = (self.key, record) else { return Ok(Name::Number(place)) };
        let named = fields.iter().find_map(|(field, value)| (text_of(field) == key).then_some(value));
        match named {
            Some(Dynamic::Text(text)) => Ok(self.names.next(text.clone())),
            Some(value @ (Dynamic::Int(_) | Dynamic::Float(_) | Dynamic::Bool(_))) => Ok(self.names.next(value.to_string())),
            Some(_) | None => Err(E::custom(format_args!("record #{place} has no text or number in its field {key:?}"))),
        }
    }
}

impl<'de, V: FnMut(Name, Fields) -> Result<()>> DeserializeSeed<'de> for Records<'_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, V: FnMut(Name, Fields) -> Result<()>> Visitor<'de> for Records<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<(), A::Error> {
        if self.key.is_some() {
            return Err(A::Error::custom("they have names, --key is for a list"));
        }
        while let Some((name, record)) = from.next_entry::<String, Dynamic>()? {
            let name = self.names.next(name);
            self.record(name, record)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut from: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(record) = from.next_element::<Dynamic>()? {
            let name = self.name_in_list(place, &record)?;
            self.record(name, record)?;
            place += 1;
        }
        Ok(())
    }
}

/// What is in a catalogue, without its values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// The records that have a value, in the order of the file.
    pub(crate) names: Vec<Name>,
    /// Records without any value: there is nothing to store of them.
    pub(crate) empty: u64,
    /// The field with a text that most records have; a new one, if none has any.
    pub(crate) text_field: String,
}

impl Contents {
    pub(crate) fn of(source: &Source) -> Result<Self> {
        let mut contents = Self::default();
        let mut texts: BTreeMap<String, u64> = BTreeMap::new();
        source.each(|name, fields| {
            if fields.iter().any(|(_field, value)| has_value(value)) {
                contents.names.push(name);
            } else {
                contents.empty += 1;
            }
            for (field, _text) in fields.iter().filter(|(_field, value)| matches!(value, Dynamic::Text(_))) {
                *texts.entry(text_of(field)).or_default() += 1;
            }
            Ok(())
        })?;
        if contents.names.is_empty() {
            return Err(format!("{} has no record with a value", source.file).into());
        }
        let most = texts.into_iter().max_by_key(|(_field, times)| *times);
        contents.text_field = most.map_or_else(|| "note".to_owned(), |(field, _times)| field);
        Ok(contents)
    }

    /// Adds records until there are `min`. Returns the ones added: the file does not have them.
    pub(crate) fn make_up(&mut self, min: usize) -> Vec<Name> {
        let missing = min.saturating_sub(self.names.len());
        let free = (1..).map(|number: u64| Name::Text(format!("made up {number}")));
        let made_up: Vec<Name> = free.filter(|name| !self.names.contains(name)).take(missing).collect();
        self.names.extend(made_up.iter().cloned());
        made_up
    }
}

/// Whether anything is stored of a value.
pub(crate) fn has_value(value: &Dynamic) -> bool {
    match value {
        Dynamic::Null => false,
        Dynamic::List(values) => !values.iter().all(|value| matches!(value, Dynamic::Null)),
        Dynamic::Map(fields) => fields.iter().any(|(_field, value)| has_value(value)),
        Dynamic::Bool(_) | Dynamic::Int(_) | Dynamic::Float(_) | Dynamic::Text(_) | Dynamic::Bytes(_) => true,
    }
}

/// The name of a field. In JSON it is a text always.
pub(crate) fn text_of(field: &Dynamic) -> String {
    match field {
        Dynamic::Text(text) => text.clone(),
        Dynamic::Null
        | Dynamic::Bool(_)
        | Dynamic::Int(_)
        | Dynamic::Float(_)
        | Dynamic::Bytes(_)
        | Dynamic::List(_)
        | Dynamic::Map(_) => field.to_string(),
    }
}

/// A value in words, for the errors.
const fn what(value: &Dynamic) -> &'static str {
    match value {
        Dynamic::Null => "null",
        Dynamic::Bool(_) => "a bool",
        Dynamic::Int(_) | Dynamic::Float(_) => "a number",
        Dynamic::Text(_) => "a text",
        Dynamic::Bytes(_) => "bytes",
        Dynamic::List(_) => "a list",
        Dynamic::Map(_) => "an object",
    }
}
