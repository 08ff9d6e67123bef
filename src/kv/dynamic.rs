//! A value whose type is not known.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::codec::msgpack::DEPTH_MAX;

/// A value without its type, for those who list, inspect or export what a store holds.
///
/// It is read from whatever [`msgpack`](crate::codec::msgpack) wrote, nested at most [`DEPTH_MAX`] deep, and writes an equal
/// value: maps keep their order, an `f32` becomes an `f64`. An extension of MessagePack is read as its bytes.
///
/// Where text is written (`serde_json::to_writer`), keys that are not text become their [`Display`](fmt::Display).
///
/// Memory: 32 bytes for each value, besides texts and bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Dynamic {
    /// Nothing: `None` or `()`.
    #[default]
    Null,
    /// A bool.
    Bool(bool),
    /// An integer of whatever type. Those that fit neither `i64` nor `u64` are bytes in MessagePack, and read as such.
    Int(i128),
    /// A float. They compare as floats do: NaN does not equal itself.
    Float(f64),
    /// Text, or an enum variant without fields.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A sequence or a tuple.
    List(Vec<Self>),
    /// A map, or a struct by its fields' names, in the order in which they were written.
    Map(Vec<(Self, Self)>),
}

impl Serialize for Dynamic {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => to.serialize_i64(value),
                (_, Ok(value)) => to.serialize_u64(value),
                _ => to.serialize_i128(*value),
            },
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) => to.serialize_bytes(value),
            Self::List(values) => to.collect_seq(values),
            Self::Map(entries) => {
                let keys_are_text = to.is_human_readable();
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    if keys_are_text && !matches!(key, Self::Text(_)) {
                        map.serialize_entry(&key.to_string(), value)?;
                    } else {
                        map.serialize_entry(key, value)?;
                    }
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Dynamic {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Within { depth: DEPTH_MAX }.deserialize(from)
    }
}

/// Reads a value in which arrays and maps nest at most `depth` deep, whatever format it comes from.
#[derive(Clone, Copy)]
struct Within {
    depth: usize,
}

impl Within {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

/// A hint is not a promise: a vector grows beyond this by what is really read.
const RESERVED_MAX: usize = 1024;

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Dynamic, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Null)
    }

    fn visit_none<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Dynamic, D::Error> {
        self.inner()?.deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Dynamic, E> {
        Ok(Dynamic::Int(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Dynamic, E> {
        let value =
            i128::try_from(value).map_err(|_above| E::invalid_value(Unexpected::Other("an integer above i128"), &self))?;
        Ok(Dynamic::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Dynamic, E> {
        Ok(value.to_vec().into())
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Dynamic, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::with_capacity(from.size_hint().unwrap_or(0).min(RESERVED_MAX));
        while let Some(value) = from.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Dynamic::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Dynamic, A::Error> {
        let inner = self.inner()?;
        let mut entries = Vec::with_capacity(from.size_hint().unwrap_or(0).min(RESERVED_MAX));
        while let Some(entry) = from.next_entry_seed(inner, inner)? {
            entries.push(entry);
        }
        Ok(Dynamic::Map(entries))
    }

    /// What rmp-serde makes of an extension: its type and its bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Dynamic, D::Error> {
        let (_extension, bytes) = <(i8, Dynamic)>::deserialize(from)?;
        Ok(bytes)
    }
}

/// Like JSON, with bytes as `0x…`, and keys of any type.
impl fmt::Display for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Bytes(value) => {
                f.write_str("0x")?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::List(values) => {
                f.write_str("[")?;
                for (nth, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if nth > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (nth, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if nth > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

macro_rules! from {
    ($($of:ty => $to:expr;)*) => {$(
        impl From<$of> for Dynamic {
            fn from(value: $of) -> Self {
                $to(value)
            }
        }
    )*};
}

from! {
    bool => Self::Bool;
    i32 => |value| Self::Int(i128::from(value));
    i64 => |value| Self::Int(i128::from(value));
    u64 => |value| Self::Int(i128::from(value));
    f64 => Self::Float;
    &str => |value| Self::Text(String::from(value));
    String => Self::Text;
    Vec<u8> => Self::Bytes;
    Vec<Self> => Self::List;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::msgpack::{ValueError, check, from_bytes, to_bytes};

    #[derive(Serialize)]
    struct Note {
        title: &'static str,
        pinned: Option<bool>,
        size: (i8, u64, f64),
        color: Color,
    }

    #[derive(Serialize)]
    enum Color {
        Mix { red: u8 },
    }

    fn note() -> Dynamic {
        let note = Note { title: "t", pinned: None, size: (-1, u64::MAX, 0.5), color: Color::Mix { red: 1 } };
        from_bytes(&to_bytes(&note).unwrap()).unwrap()
    }

    #[test]
    fn a_value_prints_without_its_type() {
        assert_eq!(
            note().to_string(),
            r#"{"title": "t", "pinned": null, "size": [-1, 18446744073709551615, 0.5], "color": {"Mix": {"red": 1}}}"#
        );
        assert_eq!(Dynamic::from(vec![1.into(), vec![0xab_u8].into(), Dynamic::Map(vec![])]).to_string(), "[1, 0xab, {}]");
    }

    #[test]
    fn json_keeps_the_order_and_has_text_for_every_key() {
        assert_eq!(
            serde_json::to_string(&note()).unwrap(),
            r#"{"title":"t","pinned":null,"size":[-1,18446744073709551615,0.5],"color":{"Mix":{"red":1}}}"#
        );
        let keys =
            [Dynamic::from("z"), 7.into(), true.into(), Dynamic::Null, vec![1_u8].into(), vec![Dynamic::from("a")].into()];
        let map = Dynamic::Map(keys.into_iter().map(|key| (key, Dynamic::Bool(true))).collect());
        let mut json = Vec::new();
        serde_json::to_writer(&mut json, &map).unwrap();
        assert_eq!(json, br#"{"z":true,"7":true,"true":true,"null":true,"0x01":true,"[\"a\"]":true}"#);
        assert_eq!(from_bytes::<Dynamic>(&to_bytes(&map).unwrap()).unwrap(), map);
        assert_eq!(
            serde_json::from_str::<Dynamic>(r#"{"b": [1, -2, 0.5], "a": null}"#).unwrap().to_string(),
            r#"{"b": [1, -2, 0.5], "a": null}"#
        );
    }

    #[test]
    fn an_extension_is_its_bytes() {
        assert_eq!(from_bytes::<Dynamic>(b"\xd5\x07\x01\x02").unwrap(), vec![1_u8, 2].into());
        assert_eq!(
            from_bytes::<Dynamic>(b"\x92\xc7\x00\x07\x05").unwrap(),
            Dynamic::List(vec![Dynamic::Bytes(vec![]), 5.into()])
        );
    }

    #[test]
    fn any_format_is_read_within_the_depth_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let deepest: Dynamic = serde_json::from_str(&nested(DEPTH_MAX)).unwrap();
        assert_eq!(from_bytes::<Dynamic>(&to_bytes(&deepest).unwrap()).unwrap(), deepest);
        assert!(serde_json::from_str::<Dynamic>(&nested(DEPTH_MAX + 1)).is_err());
        assert!(matches!(to_bytes(&Dynamic::from(vec![deepest])), Err(ValueError::Unreadable { .. })));
    }

    #[test]
    fn floats_keep_their_bits() {
        for bits in [0x7ff8_0000_0000_0001, (-0.0_f64).to_bits()] {
            let Dynamic::Float(read) = from_bytes(&to_bytes(&Dynamic::Float(f64::from_bits(bits))).unwrap()).unwrap() else {
                panic!("a float is expected");
            };
            assert_eq!(read.to_bits(), bits);
        }
    }

    fn any_value() -> impl Strategy<Value = Dynamic> {
        let leaf = prop_oneof![
            Just(Dynamic::Null),
            any::<bool>().prop_map(Dynamic::from),
            any::<i64>().prop_map(Dynamic::from),
            any::<u64>().prop_map(Dynamic::from),
            any::<f64>().prop_map(Dynamic::from),
            any::<String>().prop_map(Dynamic::from),
            any::<Vec<u8>>().prop_map(Dynamic::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Dynamic::List),
                proptest::collection::vec((inner.clone(), inner), 0..6).prop_map(Dynamic::Map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_round_trip(value in any_value()) {
            let bytes = to_bytes(&value).unwrap();
            let read: Dynamic = from_bytes(&bytes).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(to_bytes(&read).unwrap(), bytes);
        }

        #[test]
        fn damaged_values_are_read_if_they_are_messagepack(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = to_bytes(&value).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(from_bytes::<Dynamic>(&bytes).is_ok(), check(&bytes).is_ok());
        }

        #[test]
        fn every_valid_messagepack_value_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(from_bytes::<Dynamic>(&bytes).is_ok(), check(&bytes).is_ok());
        }
    }
}
