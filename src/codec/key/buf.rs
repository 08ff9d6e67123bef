//! A whole key.

use alloc::boxed::Box;
use core::fmt;

use super::{Key, KeyReader, KeyWriter, OwnedKey, Part};
use crate::codec::DecodeError;

/// A key of whatever types, encoded. It prints as the value that made it: `"cart"` or `("cart", 7, "apple")`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBuf {
    /// Invariant: valid parts, and nothing else.
    bytes: Box<[u8]>,
}

impl KeyBuf {
    /// Of a key.
    #[must_use]
    pub fn from_key(key: impl Key) -> Self {
        let mut to = KeyWriter::new();
        key.encode(&mut to);
        Self { bytes: to.as_slice().into() }
    }

    /// Of encoded parts.
    ///
    /// # Errors
    /// They are not valid parts, or something else follows.
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = KeyReader::new(bytes);
        let parts = from.skip_parts()?;
        from.finish()?;
        Ok(Self { bytes: parts.into() })
    }

    /// The encoded parts.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key as a value of its type.
    ///
    /// # Errors
    /// It is of another type, or has more parts than that type.
    pub fn decode<K: OwnedKey>(&self) -> Result<K, DecodeError> {
        let mut from = KeyReader::new(&self.bytes);
        let key = K::decode(&mut from)?;
        from.finish()?;
        Ok(key)
    }

    /// Its parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        KeyReader::new(&self.bytes).parts().map_while(Result::ok)
    }

    /// Whether its first parts are those of `prefix`. Whole parts only: `"foobar"` does not start with `"foo"`.
    #[must_use]
    pub fn starts_with(&self, prefix: impl Key) -> bool {
        self.bytes.starts_with(Self::from_key(prefix).as_bytes())
    }
}

impl Key for KeyBuf {
    fn encode(&self, to: &mut KeyWriter) {
        to.raw(&self.bytes);
    }
}

/// Takes all parts that are left.
impl OwnedKey for KeyBuf {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.skip_parts().map(|parts| Self { bytes: parts.into() })
    }
}

impl fmt::Display for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.parts().peekable();
        let first = parts.next();
        if let (Some(only), None) = (&first, parts.peek()) {
            return write!(f, "{only}");
        }
        f.write_str("(")?;
        for (nth, part) in first.into_iter().chain(parts).enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{part}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
