//! The types that are keys.

use alloc::string::String;
use alloc::vec::Vec;

use uuid::Uuid;

use super::{Key, KeyReader, KeyWriter, OwnedKey};
use crate::codec::DecodeError;

impl<K: Key + ?Sized> Key for &K {
    fn encode(&self, to: &mut KeyWriter) {
        (**self).encode(to);
    }
}

impl Key for str {
    fn encode(&self, to: &mut KeyWriter) {
        to.text(self);
    }
}

impl Key for String {
    fn encode(&self, to: &mut KeyWriter) {
        to.text(self);
    }
}

impl OwnedKey for String {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.text().map(Into::into)
    }
}

impl Key for [u8] {
    fn encode(&self, to: &mut KeyWriter) {
        to.bytes(self);
    }
}

impl Key for Vec<u8> {
    fn encode(&self, to: &mut KeyWriter) {
        to.bytes(self);
    }
}

impl OwnedKey for Vec<u8> {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.bytes().map(Into::into)
    }
}

impl Key for bool {
    fn encode(&self, to: &mut KeyWriter) {
        to.bool(*self);
    }
}

impl OwnedKey for bool {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.bool()
    }
}

/// An id, not bytes.
impl Key for [u8; 16] {
    fn encode(&self, to: &mut KeyWriter) {
        to.id(*self);
    }
}

impl OwnedKey for [u8; 16] {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.id()
    }
}

impl Key for Uuid {
    fn encode(&self, to: &mut KeyWriter) {
        to.id(self.into_bytes());
    }
}

impl OwnedKey for Uuid {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.id().map(Self::from_bytes)
    }
}

// Not usize and isize: a key that one replica can read, all can.
macro_rules! integers {
    ($($int:ident)*) => {$(
        impl Key for $int {
            fn encode(&self, to: &mut KeyWriter) {
                to.wide((*self).into());
            }
        }

        impl OwnedKey for $int {
            fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
                from.fit()
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64 i128);

/// No parts: what all keys begin with.
impl Key for () {
    fn encode(&self, _to: &mut KeyWriter) {}
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),+))*) => {$(
        impl<$($part: Key),+> Key for ($($part,)+) {
            fn encode(&self, to: &mut KeyWriter) {
                $(self.$at.encode(to);)+
            }
        }

        impl<$($part: OwnedKey),+> OwnedKey for ($($part,)+) {
            fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
                Ok(($($part::decode(from)?,)+))
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
