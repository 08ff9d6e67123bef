//! Keys: one part or a tuple of parts, encoded so that the order of the bytes is the order of the values.
//!
//! | part | bytes |
//! |---|---|
//! | bool | `0x20` false, `0x21` true |
//! | integer >= 0 | `0x38 + n`, then its `n` big-endian bytes; the first is not zero, and zero has none |
//! | integer < 0 | `0x38 - n`, then the `n` big-endian bytes of its magnitude, each complemented |
//! | bytes | `0x50`, the bytes with `0x00` written as `0x01 0x01` and `0x01` as `0x01 0x02`, then `0x00` |
//! | text | `0x60`, its UTF-8 likewise, then `0x00` |
//! | id | `0x70`, then its 16 bytes |
//!
//! - All integer types are alike: `7_u8` and `7_i64` are one key. Integers have at most 16 bytes and fit `i128`.
//! - The order is bool, integer, bytes, text, id; a key sorts before the keys that it begins.
//! - One value has one encoding: whatever else decodes to an error, so equal bytes mean equal keys.
//! - A part starts with `0x20..=0x7F`. A byte below [`PART_MIN`] never starts one, so a store may put a byte of its own there,
//!   directly behind a key.
//! - **No part begins another.** So a key begins with the parts `p` exactly if its bytes begin with those of `p`, whatever
//!   follows them.
//!
//! ```
//! use tombolo::codec::key::KeyBuf;
//!
//! let key = KeyBuf::from_key(("cart", 7, "apple"));
//! assert_eq!(key.to_string(), r#"("cart", 7, "apple")"#);
//! assert_eq!(key.decode::<(String, u32, String)>()?, ("cart".to_owned(), 7, "apple".to_owned()));
//! assert!(key.starts_with(("cart", 7)));
//! assert!(!key.starts_with("ca"));
//! # Ok::<(), tombolo::codec::DecodeError>(())
//! ```

mod buf;
mod impls;
mod part;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use buf::KeyBuf;
pub use part::Part;
pub use reader::{KeyReader, Parts};
pub use writer::KeyWriter;

use super::DecodeError;

/// A key, or a part of one: text, bytes, an integer, a bool, a 16-byte id, or a tuple of up to eight of them. Tuples within
/// tuples flatten: `("a", ("b", 1))` and `("a", "b", 1)` are one key.
///
/// A slice or vector of bytes is bytes; an array of sixteen is an id, as a [`Uuid`](uuid::Uuid) is. They are different keys. Other
/// arrays are none: write `&b"abc"[..]`. Nor are `usize` and `isize`, since a key that one replica can read, all can.
///
/// For a type of one's own: write its parts in the order in which its values compare. A type that borrows another
/// ([`Borrow`](core::borrow::Borrow)) must write what the other writes.
pub trait Key {
    /// Appends its parts.
    fn encode(&self, to: &mut KeyWriter);
}

/// A key that can be read back.
pub trait OwnedKey: Key + Sized {
    /// Takes its parts from the front of `from`.
    ///
    /// # Errors
    /// The next parts are of other types, out of its range, or not parts at all.
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError>;
}

/// The least byte that starts a part.
pub const PART_MIN: u8 = 0x20;

mod tag {
    pub(super) const FALSE: u8 = 0x20;
    pub(super) const TRUE: u8 = 0x21;
    /// Zero. An integer's tag is this plus or minus how many bytes it takes.
    pub(super) const INT: u8 = 0x38;
    pub(super) const INT_LEN_MAX: u8 = 16;
    pub(super) const INT_MIN: u8 = INT - INT_LEN_MAX;
    pub(super) const INT_MAX: u8 = INT + INT_LEN_MAX;
    pub(super) const BYTES: u8 = 0x50;
    pub(super) const TEXT: u8 = 0x60;
    pub(super) const ID: u8 = 0x70;
    /// Ends bytes and text.
    pub(super) const END: u8 = 0x00;
    /// Escapes itself and [`END`] in bytes and text: what follows is the escaped byte plus one.
    pub(super) const ESCAPE: u8 = 0x01;
}
