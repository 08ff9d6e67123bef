//! The kinds: how each writes its rows, and reads them. Merging does not know them.

pub(crate) mod counter;
pub(crate) mod flag;
pub(crate) mod lattice;
pub(crate) mod map;
pub(crate) mod register;
pub(crate) mod set;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::msgpack;

use super::error::{Error, Result};
use super::path::{Leaf, key_of};
use super::row::Row;

/// A value for the row at `path`, as MessagePack.
pub(crate) fn encode_value<Q: Serialize + ?Sized>(path: &[u8], value: &Q) -> Result<Vec<u8>> {
    msgpack::to_bytes(value).map_err(|source| Error::Encode { key: key_of(path), source: Box::new(source) })
}

/// A value of the row at `path`.
pub(crate) fn decode_value<T: DeserializeOwned>(path: &[u8], bytes: &[u8]) -> Result<T> {
    msgpack::from_bytes(bytes).map_err(|source| undecodable(path, source))
}

/// The value at a path is not what its kind says.
pub(crate) fn undecodable(path: &[u8], source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode { key: key_of(path), source: Box::new(source) }
}

/// Whether a row holds writes that were concurrent and do not agree, so that a person may want to look: values of a register
/// of which only one is shown, or a flag both enabled and disabled.
pub(crate) fn in_conflict(leaf: Leaf, row: &Row) -> bool {
    let Some((first, rest)) = row.entries().split_first() else { return false };
    let differ = |of: fn(&[u8]) -> &[u8]| rest.iter().any(|entry| of(&entry.payload) != of(&first.payload));
    match leaf {
        Leaf::Register => differ(|payload| register::split(payload).map_or(payload, |(_stamp, value)| value)),
        Leaf::Flag | Leaf::VetoFlag => differ(|payload| payload),
        Leaf::CounterPart(_) | Leaf::CounterReset(_) | Leaf::Element | Leaf::Lattice | Leaf::Seal(_) | Leaf::Unknown(_) => {
            false
        }
    }
}
