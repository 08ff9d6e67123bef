//! Integers of 1 to 10 bytes, and a reader that never runs past its input.
//!
//! LEB128: seven bits a byte, low bits first, the high bit says that more follow. One value has one encoding: longer forms
//! are refused, so that equal bytes mean equal values.

use alloc::vec::Vec;

use super::DecodeError;

/// How many bytes [`Writer::u64`] takes for a value.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends values to a buffer.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// An empty buffer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A varint.
    pub fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    /// A signed integer: zigzag, then a varint, so that small magnitudes are short.
    pub fn i64(&mut self, value: i64) {
        self.u64(zigzag(value));
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A length, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }

    /// Empties the buffer, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

#[expect(clippy::cast_sign_loss, reason = "zigzag moves the sign into the lowest bit")]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[expect(clippy::cast_possible_wrap, reason = "zigzag moves the lowest bit into the sign")]
const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads values from the front of a slice. After an error the position is undefined: give up the input.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Reads from the middle of `input`; positions count from its start all the same.
    #[must_use]
    pub const fn starting_at(input: &'a [u8], at: usize) -> Self {
        Self { input, at }
    }

    /// Where the next value starts, in bytes from the start of the input.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// An error at the current position.
    #[must_use]
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError::new(self.at, what)
    }

    /// One byte.
    ///
    /// # Errors
    /// The input ends.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.rest().first().ok_or_else(|| self.error("the input ends within a value"))?;
        self.at += 1;
        Ok(byte)
    }

    /// A varint.
    ///
    /// # Errors
    /// The input ends, the value is above `u64::MAX`, or the encoding is longer than it needs to be.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::new(start, "an integer above 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if bits == 0 && shift > 0 {
                    return Err(DecodeError::new(start, "an integer longer than it needs to be"));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::new(start, "an integer above 64 bits"))
    }

    /// A varint that fits 32 bits.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), or the value is above `u32::MAX`.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        u32::try_from(self.u64()?).map_err(|_above| DecodeError::new(start, "an integer above 32 bits"))
    }

    /// A signed integer, as [`Writer::i64`] wrote it.
    ///
    /// # Errors
    /// As [`u64`](Self::u64).
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(unzigzag(self.u64()?))
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// The input is shorter.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.rest().get(..len).ok_or_else(|| self.error("the input ends within a value"))?;
        self.at += len;
        Ok(bytes)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// The input is shorter.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.raw(N)?.try_into().map_err(|_short| DecodeError::new(at, "the input ends within a value"))
    }

    /// A length, then that many bytes; at most `cap`.
    ///
    /// # Errors
    /// The input is shorter than the length says, or the length is above `cap`.
    pub fn bytes(&mut self, cap: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.len_up_to(cap, 1)?;
        self.raw(len)
    }

    /// A number of at most `cap`.
    ///
    /// # Errors
    /// The input ends, or the number is above.
    pub fn up_to(&mut self, cap: usize) -> Result<usize, DecodeError> {
        let start = self.at;
        let number = usize::try_from(self.u64()?).ok().filter(|number| *number <= cap);
        number.ok_or_else(|| DecodeError::new(start, "a number above its limit"))
    }

    /// A count of things that take at least `least` bytes each: refused if the rest of the input cannot hold them, or if it
    /// is above `cap`. So a caller may reserve room for the count.
    ///
    /// # Errors
    /// The count is above either.
    pub fn len_up_to(&mut self, cap: usize, least: usize) -> Result<usize, DecodeError> {
        let start = self.at;
        let count =
            usize::try_from(self.u64()?).map_err(|_above| DecodeError::new(start, "a count above the address space"))?;
        if count > cap {
            return Err(DecodeError::new(start, "a count above its limit"));
        }
        if count.checked_mul(least.max(1)).is_none_or(|bytes| bytes > self.rest().len()) {
            return Err(DecodeError::new(start, "a count above what the input can hold"));
        }
        Ok(count)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Something is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(self.error("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_in_as_many_bytes_as_promised() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut to = Writer::new();
            to.u64(value);
            assert_eq!(to.len(), varint_len(value));
            let mut from = Reader::new(to.as_slice());
            assert_eq!(from.u64(), Ok(value));
            assert_eq!(from.finish(), Ok(()));
        }
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            let mut to = Writer::new();
            to.i64(value);
            assert_eq!(Reader::new(to.as_slice()).i64(), Ok(value));
        }
    }

    #[test]
    fn one_value_has_one_encoding() {
        assert!(Reader::new(&[0x80, 0x00]).u64().is_err());
        assert!(Reader::new(&[0xff; 11]).u64().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).u64().is_err());
        assert!(Reader::new(&[0x80]).u64().is_err());
    }

    #[test]
    fn a_length_above_the_input_is_refused_before_anything_is_reserved() {
        let mut to = Writer::new();
        to.u64(u64::from(u32::MAX));
        assert!(Reader::new(to.as_slice()).bytes(usize::MAX).is_err());
        assert!(Reader::new(to.as_slice()).len_up_to(usize::MAX, 1).is_err());
    }
}
