//! The values of applications: MessagePack with field names and enums by name, so that schemas evolve.
//!
//! A field that was added reads as its default (`#[serde(default)]`) from older values; a field that was removed is passed
//! over in them. Floats keep their bits, those of NaN and of `-0.0` too.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DecodeError, Reader};

/// How deep arrays and maps may nest: enough for what people write, little enough for any stack.
pub const DEPTH_MAX: usize = 64;

/// What a register holds: any type that serde can write and read.
pub trait Value: Serialize + DeserializeOwned {}

impl<T: Serialize + DeserializeOwned> Value for T {}

/// A value that cannot be written, or bytes that cannot be read as one. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Its type refused to be written.
    #[error("the value refuses to be encoded")]
    Unwritable {
        /// What its `Serialize` said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What it wrote could not be read again: nested above [`DEPTH_MAX`], or with other lengths than it announced.
    #[error("the encoded value could not be read again")]
    Unreadable {
        /// Where in the encoded value.
        source: DecodeError,
    },
    /// The bytes are not one MessagePack value within the limits.
    #[error("not one MessagePack value")]
    Malformed {
        /// Where in the bytes.
        source: DecodeError,
    },
    /// The bytes are one MessagePack value, of another type.
    #[error("a value of another type")]
    Mismatched {
        /// What the type's `Deserialize` said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes are a value of the type, which is written as other bytes.
    #[error("not the bytes that the value is written as")]
    NotCanonical {
        /// The first byte that differs.
        source: DecodeError,
    },
}

/// Writes a value. Whatever it returns, [`check`] accepts.
///
/// # Errors
/// [`ValueError::Unwritable`] or [`ValueError::Unreadable`].
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ValueError> {
    // Most values fit, and need not be moved as they grow.
    let mut bytes = Vec::with_capacity(64);
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|source| ValueError::Unwritable { source: source.into() })?;
    check(&bytes).map_err(|source| ValueError::Unreadable { source })?;
    Ok(bytes)
}

/// Reads a value that is all of `bytes`.
///
/// Memory: proportional to the input, since no length is believed before [`check`]: at worst each byte becomes one element
/// of `T`, in a vector that grows by doubling.
///
/// # Errors
/// [`ValueError::Malformed`] or [`ValueError::Mismatched`].
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    check(bytes).map_err(|source| ValueError::Malformed { source })?;
    rmp_serde::from_slice(bytes).map_err(|source| ValueError::Mismatched { source: source.into() })
}

/// Reads a value that is all of `bytes`, if [`to_bytes`] writes it as just these bytes.
///
/// MessagePack has several forms of most values: a 7 in one byte or in nine, a struct with its fields in any order, or as an array.
/// [`from_bytes`] takes them all, so a peer can make many byte strings of one value. Use this one before what was decoded, or
/// its bytes, are hashed, compared, signed or called canonical; use [`from_bytes`] where schemas evolve, since bytes of an older
/// schema are mostly not those of the newer one.
///
/// ```
/// use tombolo::codec::msgpack::{ValueError, from_bytes, from_canonical_bytes};
/// assert_eq!(from_canonical_bytes::<u64>(&[7]).unwrap(), 7);
/// assert_eq!(from_bytes::<u64>(&[0xcd, 0, 7]).unwrap(), 7);
/// assert!(matches!(from_canonical_bytes::<u64>(&[0xcd, 0, 7]), Err(ValueError::NotCanonical { .. })));
/// ```
///
/// # Errors
/// [`ValueError::NotCanonical`], and those of [`from_bytes`] and [`to_bytes`].
///
/// Cost: the value is written once more, about as much again as reading it, with memory for a second copy of the bytes.
pub fn from_canonical_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    let value = from_bytes(bytes)?;
    let canonical = to_bytes(&value)?;
    if canonical == bytes {
        return Ok(value);
    }
    let same = canonical.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
    Err(ValueError::NotCanonical { source: DecodeError::new(same, "another form of the same value") })
}

/// Checks that bytes are exactly one MessagePack value: every length within the input, text in UTF-8, nested at most
/// [`DEPTH_MAX`] deep, and nothing behind it. It neither allocates nor recurses.
///
/// # Errors
/// They are not.
///
/// Cost: linear in the input.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut from = Reader::new(bytes);
    // How many values are still to come in each open array or map, outermost first.
    let mut open = [0_u64; DEPTH_MAX];
    let mut depth = 0;
    loop {
        let at = from.position();
        if let Some(count) = pass_value(&mut from)? {
            if count > from.rest().len() as u64 {
                return Err(DecodeError::new(at, "a count above what the input can hold"));
            }
            *open.get_mut(depth).ok_or_else(|| DecodeError::new(at, "nested too deep"))? = count;
            depth += 1;
        }
        loop {
            match depth.checked_sub(1).and_then(|innermost| open.get_mut(innermost)) {
                None => return from.finish(),
                Some(0) => depth -= 1,
                Some(left) => {
                    *left -= 1;
                    break;
                }
            }
        }
    }
}

/// Goes behind a value, or behind the head of an array or a map: then returns how many values are in it.
fn pass_value(from: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    let at = from.position();
    let tag = from.u8()?;
    let (content, values) = match tag {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, None),
        0xcc | 0xd0 => (1, None),
        0xcd | 0xd1 => (2, None),
        0xca | 0xce | 0xd2 => (4, None),
        0xcb | 0xcf | 0xd3 => (8, None),
        0x80..=0x8f => (0, Some(2 * u64::from(tag & 0x0f))),
        0x90..=0x9f => (0, Some(u64::from(tag & 0x0f))),
        0xdc => (0, Some(head(from, 2)?)),
        0xdd => (0, Some(head(from, 4)?)),
        0xde => (0, Some(2 * head(from, 2)?)),
        0xdf => (0, Some(2 * head(from, 4)?)),
        0xc4 => (head(from, 1)?, None),
        0xc5 => (head(from, 2)?, None),
        0xc6 => (head(from, 4)?, None),
        // An extension has one byte more, its type.
        0xc7 => (1 + head(from, 1)?, None),
        0xc8 => (1 + head(from, 2)?, None),
        0xc9 => (1 + head(from, 4)?, None),
        0xd4..=0xd8 => (1 + (1 << (tag - 0xd4)), None),
        0xa0..=0xbf => return pass_text(from, u64::from(tag & 0x1f)),
        0xd9 => return head(from, 1).and_then(|len| pass_text(from, len)),
        0xda => return head(from, 2).and_then(|len| pass_text(from, len)),
        0xdb => return head(from, 4).and_then(|len| pass_text(from, len)),
        0xc1 => return Err(DecodeError::new(at, "a type that MessagePack does not have")),
    };
    raw(from, content)?;
    Ok(values)
}

fn pass_text(from: &mut Reader<'_>, len: u64) -> Result<Option<u64>, DecodeError> {
    let at = from.position();
    match core::str::from_utf8(raw(from, len)?) {
        Ok(_) => Ok(None),
        Err(error) => Err(DecodeError::new(at + error.valid_up_to(), "text that is not UTF-8")),
    }
}

/// A length or a count of `width` bytes.
fn head(from: &mut Reader<'_>, width: usize) -> Result<u64, DecodeError> {
    Ok(from.raw(width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn raw<'a>(from: &mut Reader<'a>, len: u64) -> Result<&'a [u8], DecodeError> {
    let len = usize::try_from(len).map_err(|_above| from.error("a length above the address space"))?;
    from.raw(len)
}

#[cfg(test)]
mod tests;
