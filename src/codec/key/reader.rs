//! Takes parts from the front of bytes that anyone may have written.

use alloc::borrow::Cow;
use alloc::string::String;

use super::{PART_MIN, Part, tag};
use crate::codec::DecodeError;

/// Reads parts from the front of a slice; never past its end. After an error the position is undefined: give up the input.
#[derive(Debug, Clone)]
pub struct KeyReader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> KeyReader<'a> {
    /// Reads from the start of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Where the next part starts, in bytes from the start of the input.
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

    /// The next byte: the tag of a part, or a store's own byte if it is below [`PART_MIN`].
    #[must_use]
    pub fn peek_tag(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// Whether a part follows, be it a valid one or not, and neither the end nor a store's own byte.
    #[must_use]
    pub fn has_part(&self) -> bool {
        self.peek_tag().is_some_and(|tag| tag >= PART_MIN)
    }

    /// A bool.
    ///
    /// # Errors
    /// The next part is not one.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            tag::FALSE => Ok(false),
            tag::TRUE => Ok(true),
            _ => Err(self.error_at_tag("a bool is expected")),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// The next part is not one, or is outside of the type.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        self.fit()
    }

    /// An integer.
    ///
    /// # Errors
    /// The next part is not one, or is outside of the type.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.fit()
    }

    /// An integer that must fit its type.
    pub(super) fn fit<T: TryFrom<i128>>(&mut self) -> Result<T, DecodeError> {
        let at = self.at;
        T::try_from(self.wide()?).map_err(|_outside| DecodeError::new(at, "an integer outside of its type"))
    }

    /// An integer of up to 128 bits.
    ///
    /// # Errors
    /// The next part is not one.
    pub fn wide(&mut self) -> Result<i128, DecodeError> {
        let at = self.at;
        let tag = self.byte()?;
        if !(tag::INT_MIN..=tag::INT_MAX).contains(&tag) {
            return Err(DecodeError::new(at, "an integer is expected"));
        }
        let negative = tag < tag::INT;
        let flip = if negative { 0xff } else { 0x00 };
        let bytes = self.raw(tag.abs_diff(tag::INT).into())?;
        if bytes.first() == Some(&flip) {
            return Err(DecodeError::new(at, "an integer longer than it needs to be"));
        }
        let magnitude = bytes.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(byte ^ flip));
        let value = if negative { 0_i128.checked_sub_unsigned(magnitude) } else { i128::try_from(magnitude).ok() };
        value.ok_or_else(|| DecodeError::new(at, "an integer above 128 bits"))
    }

    /// Bytes. They are copied only if they hold `0x00` or `0x01`.
    ///
    /// # Errors
    /// The next part is not bytes.
    pub fn bytes(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        if self.byte()? != tag::BYTES {
            return Err(self.error_at_tag("bytes are expected"));
        }
        self.unescape()
    }

    /// Text. It is copied only if it holds `0x00` or `0x01`.
    ///
    /// # Errors
    /// The next part is not text, or not UTF-8.
    pub fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let at = self.at;
        if self.byte()? != tag::TEXT {
            return Err(self.error_at_tag("text is expected"));
        }
        let text = match self.unescape()? {
            Cow::Borrowed(bytes) => core::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.ok_or_else(|| DecodeError::new(at, "text that is not UTF-8"))
    }

    /// A 16-byte id.
    ///
    /// # Errors
    /// The next part is not one.
    pub fn id(&mut self) -> Result<[u8; 16], DecodeError> {
        if self.byte()? != tag::ID {
            return Err(self.error_at_tag("an id is expected"));
        }
        let at = self.at;
        self.raw(16)?.try_into().map_err(|_short| DecodeError::new(at, "the input ends within a part"))
    }

    /// The next part, of whatever type.
    ///
    /// # Errors
    /// There is none, or it is not valid.
    pub fn part(&mut self) -> Result<Part, DecodeError> {
        match self.peek_tag() {
            Some(tag::FALSE | tag::TRUE) => self.bool().map(Part::Bool),
            Some(tag::INT_MIN..=tag::INT_MAX) => self.wide().map(Part::Int),
            Some(tag::BYTES) => Ok(Part::Bytes(self.bytes()?.into_owned())),
            Some(tag::TEXT) => Ok(Part::Text(self.text()?.into_owned())),
            Some(tag::ID) => self.id().map(Part::Id),
            Some(_) => Err(DecodeError::new(self.at, "an unknown type of part")),
            None => Err(DecodeError::new(self.at, "a part is expected")),
        }
    }

    /// Checks the next part and goes behind it, without keeping it.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn skip_part(&mut self) -> Result<(), DecodeError> {
        match self.peek_tag() {
            Some(tag::BYTES) => self.bytes().map(drop),
            Some(tag::TEXT) => self.text().map(drop),
            _ => self.part().map(drop),
        }
    }

    /// Checks all parts up to the end or a store's own byte, goes behind them, and returns their bytes.
    ///
    /// # Errors
    /// One of them is not valid.
    pub fn skip_parts(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        while self.has_part() {
            self.skip_part()?;
        }
        Ok(self.input.get(start..self.at).unwrap_or_default())
    }

    /// The parts up to the end or a store's own byte. The first one that is not valid is the last item.
    #[must_use]
    pub fn parts(self) -> Parts<'a> {
        Parts { from: self, failed: false }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Something is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::new(self.at, "bytes after the end of a key")) }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek_tag().ok_or_else(|| DecodeError::new(self.at, "a part is expected"))?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `len` bytes.
    pub(crate) fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.rest().get(..len).ok_or_else(|| DecodeError::new(self.at, "the input ends within a part"))?;
        self.at += len;
        Ok(bytes)
    }

    fn error_at_tag(&self, what: &'static str) -> DecodeError {
        DecodeError::new(self.at.saturating_sub(1), what)
    }

    /// Content up to its end.
    fn unescape(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let mut whole = Cow::Borrowed(&[][..]);
        loop {
            let len = self.rest().iter().position(|byte| *byte <= tag::ESCAPE);
            let len = len.ok_or_else(|| DecodeError::new(self.input.len(), "the input ends within a part"))?;
            let piece = self.raw(len)?;
            match &mut whole {
                Cow::Borrowed(_) => whole = Cow::Borrowed(piece),
                Cow::Owned(bytes) => bytes.extend_from_slice(piece),
            }
            if self.byte()? == tag::END {
                return Ok(whole);
            }
            let at = self.at;
            match self.byte()?.checked_sub(1) {
                Some(special) if special <= tag::ESCAPE => whole.to_mut().push(special),
                _ => return Err(DecodeError::new(at, "an escape of what needs none")),
            }
        }
    }
}

/// The parts of a key, in order: see [`KeyReader::parts`].
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    from: KeyReader<'a>,
    failed: bool,
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || !self.from.has_part() {
            return None;
        }
        let part = self.from.part();
        self.failed = part.is_err();
        Some(part)
    }
}
