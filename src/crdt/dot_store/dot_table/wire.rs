//! As serde sees it: columns, ascending by dot. The dots are runs of numbers, so a key and its value take little besides themselves.

use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;

use serde::de::value::{Error as NoError, UnitDeserializer};
use serde::de::{Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use super::DotTable;
use crate::causal::CausalContext;
use crate::codec::DecodeError;

#[derive(Serialize)]
#[serde(rename = "DotTable", bound(serialize = "K: Serialize, V: Serialize"))]
struct Written<'a, K, V> {
    /// The live dots, as the bytes of a context.
    #[serde(with = "serde_bytes")]
    dots: Vec<u8>,
    keys: Keys<'a, K, V>,
    values: Values<'a, K, V>,
}

struct Keys<'a, K, V>(&'a DotTable<K, V>);
struct Values<'a, K, V>(&'a DotTable<K, V>);

impl<K: Serialize, V> Serialize for Keys<'_, K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut to = to.serialize_seq(Some(self.0.len()))?;
        for (_, key, _) in self.0.iter() {
            to.serialize_element(key)?;
        }
        to.end()
    }
}

impl<K, V: Serialize> Serialize for Values<'_, K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Values that are nothing, as in a set, are left out.
        let len = if size_of::<V>() == 0 { 0 } else { self.0.len() };
        let mut to = to.serialize_seq(Some(len))?;
        for (_, _, value) in self.0.iter().take(len) {
            to.serialize_element(value)?;
        }
        to.end()
    }
}

impl<K: Serialize, V: Serialize> Serialize for DotTable<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut dots = CausalContext::new();
        dots.extend(self.iter().map(|(dot, _, _)| dot));
        Written { dots: dots.to_bytes(), keys: Keys(self), values: Values(self) }.serialize(to)
    }
}

#[derive(Deserialize)]
#[serde(rename = "DotTable", bound(deserialize = "K: Deserialize<'de>, V: Deserialize<'de>"))]
struct Read<K, V> {
    #[serde(with = "serde_bytes")]
    dots: Vec<u8>,
    keys: Column<K>,
    values: Column<V>,
}

/// A list, of which a length that is only claimed takes no memory.
struct Column<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Column<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = Column<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column of a table")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Column<T>, A::Error> {
                let mut column = Vec::new();
                while let Some(element) = from.next_element()? {
                    column.push(element);
                }
                Ok(Column(column))
            }
        }

        from.deserialize_seq(Elements(PhantomData))
    }
}

impl<'de, K, V> Deserialize<'de> for DotTable<K, V>
where
    K: Deserialize<'de> + Hash + Eq,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Read { dots, keys: Column(keys), values: Column(values) } = Read::<K, V>::deserialize(from)?;
        from_columns(&dots, keys, values).map_err(serde::de::Error::custom)
    }
}

fn from_columns<'de, K: Hash + Eq, V: Deserialize<'de>>(
    dots: &[u8],
    keys: Vec<K>,
    values: Vec<V>,
) -> Result<DotTable<K, V>, DecodeError> {
    let dots = CausalContext::from_bytes(dots)?;
    // A few bytes can name very many dots: they are counted before one is made.
    let count = dots.iter_intervals().try_fold(0_u64, |count, (_, seqs)| count.checked_add(seqs.end() - seqs.start() + 1));
    if count != Some(keys.len() as u64) {
        return Err(DecodeError::new(0, "other dots than keys in a table"));
    }
    let values = if size_of::<V>() == 0 {
        if !values.is_empty() {
            return Err(DecodeError::new(0, "values in a table that has none"));
        }
        let nothing = || V::deserialize::<UnitDeserializer<NoError>>(().into_deserializer());
        keys.iter().map(|_| nothing()).collect::<Result<_, _>>().map_err(|_| DecodeError::new(0, "no values in a table"))?
    } else {
        values
    };
    if values.len() != keys.len() {
        return Err(DecodeError::new(0, "other values than keys in a table"));
    }
    let mut table = DotTable::new();
    if keys.len() > super::FEW_MAX {
        table.make_many(keys.len());
    }
    for ((dot, key), value) in dots.iter_dots().zip(keys).zip(values) {
        table.insert(dot, key, value);
    }
    Ok(table)
}
