//! Appends parts.

use smallvec::SmallVec;

use super::tag;

/// A buffer that parts are appended to. Keys of up to 64 bytes need no allocation.
///
/// It only ever holds whole parts: a [`Key`](super::Key) of one's own cannot write bytes that do not decode.
#[derive(Debug, Default, Clone)]
pub struct KeyWriter {
    bytes: SmallVec<[u8; 64]>,
}

impl KeyWriter {
    /// An empty key.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: SmallVec::new() }
    }

    /// A bool.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { tag::TRUE } else { tag::FALSE });
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        self.wide(value.into());
    }

    /// An integer: the same key as [`int`](Self::int) for the same number.
    pub fn uint(&mut self, value: u64) {
        self.wide(value.into());
    }

    /// An integer of up to 128 bits: the same key as [`int`](Self::int) for the same number.
    pub fn wide(&mut self, value: i128) {
        let magnitude = value.unsigned_abs();
        let flip = if value < 0 { 0xff } else { 0x00 };
        let bytes = magnitude.to_be_bytes();
        let bytes = bytes.get(magnitude.leading_zeros() as usize / 8..).unwrap_or_default();
        let len = u8::try_from(bytes.len()).unwrap_or(tag::INT_LEN_MAX);
        self.bytes.push(if value < 0 { tag::INT - len } else { tag::INT + len });
        self.bytes.extend(bytes.iter().map(|byte| byte ^ flip));
    }

    /// Bytes of any length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.bytes_start(value);
        self.bytes.push(tag::END);
    }

    /// Text.
    pub fn text(&mut self, value: &str) {
        self.text_start(value.as_bytes());
        self.bytes.push(tag::END);
    }

    /// A 16-byte id.
    pub fn id(&mut self, value: [u8; 16]) {
        self.bytes.push(tag::ID);
        self.bytes.extend_from_slice(&value);
    }

    /// The encoded parts.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn escape(&mut self, value: &[u8]) {
        for piece in value.split_inclusive(|byte| *byte <= tag::ESCAPE) {
            match piece.split_last() {
                Some((special, ordinary)) if *special <= tag::ESCAPE => {
                    self.bytes.extend_from_slice(ordinary);
                    self.bytes.extend_from_slice(&[tag::ESCAPE, special + 1]);
                }
                _ => self.bytes.extend_from_slice(piece),
            }
        }
    }
}

/// For a store, which puts bytes of its own behind keys. Not public: see the promise at the type.
#[allow(dead_code, reason = "without `std` there is no store")]
impl KeyWriter {
    /// Behind bytes that are there already.
    pub(crate) fn from_bytes(prefix: &[u8]) -> Self {
        Self { bytes: SmallVec::from_slice(prefix) }
    }

    /// The start of bytes, without their end: every longer value begins with it.
    pub(crate) fn bytes_start(&mut self, value: &[u8]) {
        self.bytes.push(tag::BYTES);
        self.escape(value);
    }

    /// The start of a text, without its end: every longer value begins with it. `value` may end within a character.
    pub(crate) fn text_start(&mut self, value: &[u8]) {
        self.bytes.push(tag::TEXT);
        self.escape(value);
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was written, owned.
    pub(crate) fn into_inner(self) -> SmallVec<[u8; 64]> {
        self.bytes
    }
}
