//! Bytes in and out: bounded decoding, order-preserving keys, frames with a checksum, MessagePack for user values.
//!
//! Everything that is decoded here may come from a hostile peer or a damaged disk. Each decoder ends in a valid value or in
//! a [`DecodeError`], within memory proportional to its input.

mod frame;
pub mod key;
#[cfg(feature = "std")]
pub mod msgpack;
mod varint;

use core::fmt;

pub use frame::{FRAME_HEADER, FRAME_MAX, Frame, FrameReader, frame_len, write_frame};
pub use varint::{Reader, Writer, varint_len};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// Where: the offset in the input, in bytes.
    pub at: u64,
    /// What is wrong there.
    pub what: &'static str,
}

impl DecodeError {
    /// An error at an offset.
    #[must_use]
    pub fn new(at: usize, what: &'static str) -> Self {
        Self { at: at as u64, what }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.what, self.at)
    }
}

impl core::error::Error for DecodeError {}
