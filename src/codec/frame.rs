//! Frames: the unit in which bytes leave a store. Version first, checksum last.
//!
//! ```text
//! 0      2         3      4              8            8 + n        16 + n
//! ├ "tb" ┼ version ┼ kind ┼ n (u32, LE)  ┼ payload    ┼ XXH3-64    ┤
//! ```
//!
//! The checksum covers header and payload, and is seeded with the checksum of the frame before it. So a sequence of frames
//! that was cut, reordered or put together from two sequences does not verify.

use alloc::vec::Vec;

use twox_hash::XxHash3_64;

use super::DecodeError;

/// The most bytes that a payload may have: 16 MiB.
pub const FRAME_MAX: usize = 16 << 20;

/// The bytes of a frame in front of its payload: they tell its length ([`frame_len`]).
pub const FRAME_HEADER: usize = 8;

const MAGIC: [u8; 2] = *b"tb";
const VERSION: u8 = 1;
const TRAILER: usize = 8;

/// One frame, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is: the meaning is the caller's.
    pub kind: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Where the payload starts in the input: for errors that say where.
    pub at: usize,
}

/// Appends a frame. `chain` is 0 for the first of a sequence, then what the call before returned.
///
/// # Panics
/// The payload is above [`FRAME_MAX`]: whoever fills a frame checks that first.
pub fn write_frame(to: &mut Vec<u8>, chain: u64, kind: u8, payload: &[u8]) -> u64 {
    assert!(payload.len() <= FRAME_MAX, "a payload above FRAME_MAX");
    let start = to.len();
    let len = u32::try_from(payload.len()).expect("FRAME_MAX fits 32 bits");
    to.reserve(FRAME_HEADER + payload.len() + TRAILER);
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&[VERSION, kind]);
    to.extend_from_slice(&len.to_le_bytes());
    to.extend_from_slice(payload);
    let checksum = XxHash3_64::oneshot_with_seed(chain, to.get(start..).unwrap_or_default());
    to.extend_from_slice(&checksum.to_le_bytes());
    checksum
}

/// How many bytes a frame has, from its header to its checksum: what a stream must give before the frame can be read. At most
/// 16 bytes above [`FRAME_MAX`].
///
/// # Errors
/// The header is not one of a frame, is of another version, or of a frame above [`FRAME_MAX`].
pub fn frame_len(header: &[u8; FRAME_HEADER]) -> Result<usize, DecodeError> {
    let error = |what| DecodeError::new(0, what);
    let [m0, m1, version, _kind, l0, l1, l2, l3] = *header;
    if [m0, m1] != MAGIC {
        return Err(error("not a frame"));
    }
    if version != VERSION {
        return Err(error("a frame of another version of tombolo"));
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > FRAME_MAX {
        return Err(error("a frame above 16 MiB"));
    }
    Ok(FRAME_HEADER + len + TRAILER)
}

/// Reads a sequence of frames.
#[derive(Debug, Clone)]
pub struct FrameReader<'a> {
    input: &'a [u8],
    at: usize,
    chain: u64,
}

impl<'a> FrameReader<'a> {
    /// Reads from the start of `input`, the first frame of a sequence.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self::resume(input, 0)
    }

    /// Goes on within a sequence: `input` begins behind the frame after which [`chain`](Self::chain) was `chain`.
    #[must_use]
    pub const fn resume(input: &'a [u8], chain: u64) -> Self {
        Self { input, at: 0, chain }
    }

    /// The checksum of the frame that came last; 0 before the first.
    #[must_use]
    pub const fn chain(&self) -> u64 {
        self.chain
    }

    /// The next frame; `None` at the end of the input.
    ///
    /// # Errors
    /// The input ends within a frame, is of another version, or does not verify.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>, DecodeError> {
        let start = self.at;
        let error = |what| DecodeError::new(start, what);
        let rest = self.input.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let header = rest.first_chunk().ok_or_else(|| error("the input ends within a frame"))?;
        let whole = frame_len(header).map_err(|error| DecodeError::new(start, error.what))?;
        let frame = rest.get(..whole).ok_or_else(|| error("the input ends within a frame"))?;
        let (covered, checksum) = frame.split_last_chunk::<TRAILER>().ok_or_else(|| error("the input ends within a frame"))?;
        let expected = XxHash3_64::oneshot_with_seed(self.chain, covered);
        if u64::from_le_bytes(*checksum) != expected {
            return Err(error("a frame that was damaged on the way: its checksum differs"));
        }
        let [_, _, _, kind, ..] = *header;
        let payload = covered.get(FRAME_HEADER..).unwrap_or_default();
        self.chain = expected;
        self.at = start + whole;
        Ok(Some(Frame { kind, payload, at: start + FRAME_HEADER }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let mut bytes = Vec::new();
        let chain = write_frame(&mut bytes, 0, 7, b"first");
        write_frame(&mut bytes, chain, 8, b"");
        bytes
    }

    #[test]
    fn frames_round_trip_in_sequence() {
        let bytes = two();
        let mut frames = FrameReader::new(&bytes);
        assert_eq!(frames.next_frame(), Ok(Some(Frame { kind: 7, payload: b"first", at: 8 })));
        assert_eq!(frames.next_frame(), Ok(Some(Frame { kind: 8, payload: b"", at: 29 })));
        assert_eq!(frames.next_frame(), Ok(None));
    }

    #[test]
    fn a_sequence_is_read_frame_by_frame_as_well() {
        let bytes = two();
        let len = frame_len(bytes.first_chunk().unwrap()).unwrap();
        let mut first = FrameReader::new(&bytes[..len]);
        assert_eq!(first.next_frame(), Ok(Some(Frame { kind: 7, payload: b"first", at: 8 })));
        assert_eq!(first.next_frame(), Ok(None));
        let mut second = FrameReader::resume(&bytes[len..], first.chain());
        assert_eq!(second.next_frame(), Ok(Some(Frame { kind: 8, payload: b"", at: 8 })));
        assert!(FrameReader::resume(&bytes[len..], 0).next_frame().is_err());
    }

    #[test]
    fn one_flipped_bit_is_refused() {
        let bytes = two();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut frames = FrameReader::new(&bad);
            assert!((0..3).any(|_| frames.next_frame().is_err()), "bit {bit}");
        }
    }

    #[test]
    fn frames_of_two_sequences_do_not_mix() {
        let bytes = two();
        let second_alone = &bytes[21..];
        assert!(FrameReader::new(second_alone).next_frame().is_err());
    }
}
