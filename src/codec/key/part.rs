//! One part, for those who do not know the types of a key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{Key, KeyReader, KeyWriter, OwnedKey};
use crate::codec::DecodeError;

/// A part of a key whose type is known only now. Parts compare as their bytes do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A bool.
    Bool(bool),
    /// An integer of whatever type.
    Int(i128),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A 16-byte id.
    Id([u8; 16]),
}

impl Key for Part {
    fn encode(&self, to: &mut KeyWriter) {
        match self {
            Self::Bool(value) => to.bool(*value),
            Self::Int(value) => to.wide(*value),
            Self::Bytes(value) => to.bytes(value),
            Self::Text(value) => to.text(value),
            Self::Id(value) => to.id(*value),
        }
    }
}

impl OwnedKey for Part {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.part()
    }
}

/// Text as a Rust literal, bytes as `0x…`, an id as a UUID.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Bytes(value) => {
                f.write_str("0x")?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Id(value) => write!(f, "{}", uuid::Uuid::from_bytes(*value)),
        }
    }
}
