//! The load: the records of a catalogue, as typed rows.
//!
//! What a reader learns: how data without a schema becomes handles, and how a bulk load is cut into transactions.
//!
//! ```text
//! text, number        register          { "source": "iana" }
//! true, false         flag              { "compressible": true }
//! list of scalars     set               { "extensions": ["json", "map"] }
//! object              map               and so on, to any depth
//! null                nothing
//! other lists         register          a list that holds objects, lists or long texts is one value
//! ```

use serde::{Deserialize, Serialize};
use tombolo::codec::key::Part;
use tombolo::kv::{Dynamic, Map};
use tombolo::{Store, Tx};

use crate::catalogue::{CATALOGUE, Fields, Name, Source, has_value, text_of};
use crate::{Result, in_full, review};

/// How many records one transaction of the load writes.
const RECORDS_PER_TRANSACTION: u64 = 1_000;

/// A longer text is no element of a set: an element is part of a key, and keys have a limit.
const ELEMENT_BYTES_MAX: usize = 256;

/// What a load wrote.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) records: u64,
    pub(crate) transactions: u64,
    pub(crate) registers: u64,
    pub(crate) flags: u64,
    /// Elements of sets.
    pub(crate) elements: u64,
    pub(crate) reviews: u64,
}

/// Writes the records of a file, in transactions of a thousand, and a review of every `review_every`-th of them.
pub(crate) fn load(
    store: &Store,
    source: &Source,
    review_every: u64,
    mut progress: impl FnMut(u64) -> Result<()>,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut open: Option<Tx> = None;
    source.each(|name, fields| {
        if !fields.iter().any(|(_field, value)| has_value(value)) {
            return Ok(());
        }
        let tx = match open.take() {
            Some(tx) => tx,
            None => store.begin()?,
        };
        let reviewed = loaded.records.is_multiple_of(review_every);
        let written = loaded.write(&tx, &name, &fields, reviewed);
        written.map_err(|error| format!("record {name} cannot be stored: {}", in_full(&error)))?;
        if loaded.records.is_multiple_of(RECORDS_PER_TRANSACTION) {
            tx.commit()?;
            loaded.transactions += 1;
            progress(loaded.records)?;
        } else {
            open = Some(tx);
        }
        Ok(())
    })?;
    if let Some(tx) = open {
        tx.commit()?;
        loaded.transactions += 1;
        progress(loaded.records)?;
    }
    Ok(loaded)
}

/// Writes records that the file does not have, each with a text and a review.
pub(crate) fn make_up(store: &Store, names: &[Name], text_field: &str, loaded: &mut Loaded) -> Result<()> {
    let fields = vec![(text_field.into(), "made up".into())];
    Ok(store.transact(|tx| names.iter().try_for_each(|name| loaded.write(tx, name, &fields, true)))?)
}

impl Loaded {
    fn write(&mut self, tx: &Tx, name: &Name, fields: &Fields, reviewed: bool) -> tombolo::Result<()> {
        let record = tx.map((CATALOGUE, name));
        self.write_fields(&record, fields)?;
        self.records += 1;
        if reviewed {
            review::write(&record)?;
            self.reviews += 1;
        }
        Ok(())
    }

    fn write_fields(&mut self, map: &Map<&Tx>, fields: &Fields) -> tombolo::Result<()> {
        for (field, value) in fields {
            let field = text_of(field);
            match value {
                Dynamic::Null => {}
                Dynamic::Bool(on) => {
                    let flag = map.flag(field);
                    if *on { flag.enable() } else { flag.disable() }?;
                    self.flags += 1;
                }
                Dynamic::Map(fields) => self.write_fields(&map.map(field), fields)?,
                Dynamic::List(values) if let Some(elements) = elements(values) => {
                    let set = map.set::<Part>(field);
                    elements.iter().try_for_each(|element| set.insert(element))?;
                    self.elements += elements.len() as u64;
                }
                Dynamic::List(_) | Dynamic::Int(_) | Dynamic::Float(_) | Dynamic::Text(_) | Dynamic::Bytes(_) => {
                    map.register::<Dynamic>(field).set(value)?;
                    self.registers += 1;
                }
            }
        }
        Ok(())
    }
}

/// A list as the elements of a set, without its nulls. `None`: it cannot be one.
fn elements(values: &[Dynamic]) -> Option<Vec<Part>> {
    values.iter().filter(|value| **value != Dynamic::Null).map(element).collect()
}

fn element(value: &Dynamic) -> Option<Part> {
    Some(match value {
        Dynamic::Bool(value) => Part::Bool(*value),
        Dynamic::Int(value) => Part::Int(*value),
        Dynamic::Float(value) => Part::Text(value.to_string()),
        Dynamic::Text(value) if value.len() <= ELEMENT_BYTES_MAX => Part::Text(value.clone()),
        Dynamic::Null | Dynamic::Text(_) | Dynamic::Bytes(_) | Dynamic::List(_) | Dynamic::Map(_) => return None,
    })
}
