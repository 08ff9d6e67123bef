//! Where the frames of a delta come from: bytes in memory, or a stream.

use std::io::{self, Read as _};

use bytes::Bytes;

use crate::codec::{FRAME_HEADER, Frame, FrameReader, frame_len};
use crate::kv::error::{Error, Result};

/// A frame, verified, that owns its bytes: what is read from it may share them.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
    /// Where the payload starts in the delta.
    pub(crate) at: u64,
}

/// Gives the frames of a delta, one at a time.
pub(crate) trait Frames {
    /// The next frame, verified; `None` at the end of the input.
    fn next_frame(&mut self) -> Result<Option<Owned>>;
}

/// The frames of a delta that is in memory.
#[derive(Debug)]
pub(crate) struct SliceFrames<'a> {
    frames: FrameReader<'a>,
}

impl<'a> SliceFrames<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { frames: FrameReader::new(input) }
    }
}

impl Frames for SliceFrames<'_> {
    fn next_frame(&mut self) -> Result<Option<Owned>> {
        let frame = self.frames.next_frame().map_err(Error::malformed)?;
        // One copy for a frame, so that no payload in it needs one of its own.
        let owned = |frame: Frame<'_>| {
            let Frame { kind, payload, at } = frame;
            Owned { kind, payload: Bytes::copy_from_slice(payload), at: at as u64 }
        };
        Ok(frame.map(owned))
    }
}

/// The frames of a delta that comes from a stream.
#[derive(Debug)]
pub(crate) struct StreamFrames<R> {
    from: R,
    at: u64,
    chain: u64,
}

impl<R: io::Read> StreamFrames<R> {
    pub(crate) const fn new(from: R) -> Self {
        Self { from, at: 0, chain: 0 }
    }

    /// The next frame, and all its bytes, from the header to the checksum. Memory: those bytes, as they come; what a header
    /// claims is not believed.
    pub(crate) fn next_whole(&mut self) -> Result<Option<(Bytes, Owned)>> {
        let start = self.at;
        let error = |what| Error::Malformed { at: start, what };
        let mut bytes = Vec::new();
        self.read_up_to(FRAME_HEADER, &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = bytes.first_chunk().ok_or_else(|| error("the input ends within a frame"))?;
        let whole = frame_len(header).map_err(|wrong| error(wrong.what))?;
        self.read_up_to(whole, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut frames = FrameReader::resume(&bytes, self.chain);
        let Some(frame) = frames.next_frame().map_err(|wrong| error(wrong.what))? else {
            return Err(error("the input ends within a frame"));
        };
        let owned = Owned { kind: frame.kind, payload: bytes.slice_ref(frame.payload), at: start + frame.at as u64 };
        self.chain = frames.chain();
        self.at = start + whole as u64;
        Ok(Some((bytes, owned)))
    }

    /// Reads until `to` has `len` bytes, or the input ends.
    fn read_up_to(&mut self, len: usize, to: &mut Vec<u8>) -> Result<()> {
        let more = len.saturating_sub(to.len()) as u64;
        self.from.by_ref().take(more).read_to_end(to).map_err(Error::transfer)?;
        Ok(())
    }
}
