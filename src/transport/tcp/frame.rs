//! Frames in a stream of bytes.
//!
//! ```text
//! 0                        I am still here
//! length + 1 │ bytes       a frame; the length in LEB128, in as few bytes as it takes
//! ```
//!
//! The sign of life is the connection's own: the engine may be busy for long with one merge.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::error::TcpError;
use crate::transport::FRAME_BYTES_MAX;

/// What is read at once: no more is allocated before it is there.
const PIECE_BYTES: usize = 64 << 10;

/// Reads frames, and nothing beyond the one that is asked for but what a buffer holds.
pub(super) struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
    at: usize,
    /// How long nothing may come.
    patience: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) const fn new(from: R, patience: Duration) -> Self {
        Self { from, buffer: Vec::new(), at: 0, patience }
    }

    /// The next frame. Its memory grows with what has come, not with what was announced.
    ///
    /// # Errors
    /// The stream ended, failed, was silent for too long, or is no sequence of frames.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, TcpError> {
        let len = loop {
            match self.length().await? {
                0 => {}
                more => break more - 1,
            }
        };
        let mut frame = Vec::new();
        while frame.len() < len {
            if self.at == self.buffer.len() {
                self.fill().await?;
            }
            let there = self.buffer.get(self.at..).unwrap_or_default();
            let piece = there.get(..there.len().min(len - frame.len())).unwrap_or_default();
            // Twice as much each time, and never more than the frame: what waits for the node is counted by its length.
            let needs = frame.len() + piece.len();
            if frame.capacity() < needs {
                frame.reserve_exact(needs.max(2 * frame.len()).min(len) - frame.len());
            }
            frame.extend_from_slice(piece);
            self.at += piece.len();
        }
        Ok(frame)
    }

    async fn length(&mut self) -> Result<usize, TcpError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            if self.at == self.buffer.len() {
                self.fill().await?;
            }
            let byte = self.buffer.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return match value {
                    _ if byte == 0 && shift > 0 => Err(TcpError::BadLength { what: "not in as few bytes as it takes" }),
                    too_long if too_long > FRAME_BYTES_MAX + 1 => Err(TcpError::BadLength { what: "above the limit" }),
                    fine => Ok(fine),
                };
            }
        }
        Err(TcpError::BadLength { what: "above the limit" })
    }

    async fn fill(&mut self) -> Result<(), TcpError> {
        self.buffer.clear();
        self.at = 0;
        self.buffer.reserve(PIECE_BYTES);
        let read = timeout(self.patience, self.from.read_buf(&mut self.buffer)).await;
        match read.map_err(|_late| TcpError::Silent { for_: self.patience })?? {
            0 => Err(TcpError::Closed),
            _some => Ok(()),
        }
    }
}

/// Writes a frame.
///
/// # Errors
/// The stream failed, or the frame is longer than any.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(to: &mut W, frame: &[u8]) -> io::Result<()> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame above the limit"));
    }
    let (mut left, mut prefix, mut len) = (frame.len() + 1, [0_u8; 4], 0);
    for byte in &mut prefix {
        let more = if left >= 0x80 { 0x80 } else { 0 };
        *byte = (left & 0x7f).to_le_bytes()[0] | more;
        left >>= 7;
        len += 1;
        if left == 0 {
            break;
        }
    }
    to.write_all(prefix.get(..len).unwrap_or_default()).await?;
    to.write_all(frame).await
}

/// Says that this end is still here.
///
/// # Errors
/// The stream failed.
pub(super) async fn write_sign_of_life<W: AsyncWrite + Unpin>(to: &mut W) -> io::Result<()> {
    to.write_all(&[0]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn read(bytes: &[u8]) -> Result<Vec<u8>, TcpError> {
        FrameReader::new(bytes, PATIENCE).next().await
    }

    #[tokio::test]
    async fn frames_of_any_length_read_back() {
        let mut bytes = Vec::new();
        let frames: Vec<Vec<u8>> =
            [0, 1, 126, 127, 16_382, 16_383, 70_000, 2 << 20, FRAME_BYTES_MAX].map(|len| vec![5; len]).into();
        for frame in &frames {
            write_frame(&mut bytes, frame).await.unwrap();
            write_sign_of_life(&mut bytes).await.unwrap();
        }
        let mut reader = FrameReader::new(&*bytes, PATIENCE);
        for frame in &frames {
            assert!(reader.next().await.unwrap() == *frame);
        }
        assert!(matches!(reader.next().await, Err(TcpError::Closed)));
        assert!(write_frame(&mut bytes, &vec![0; FRAME_BYTES_MAX + 1]).await.is_err());
    }

    #[tokio::test]
    async fn lengths_above_the_limit_or_in_too_many_bytes_are_refused() {
        for bytes in [&[0xff, 0xff, 0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 1], &[0x81, 0], &[0x80, 0x80, 0]] {
            assert!(matches!(read(bytes).await, Err(TcpError::BadLength { .. })), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_was_only_announced_takes_no_memory() {
        let mut announced = Vec::new();
        write_frame(&mut announced, &vec![0; 16 << 20]).await.unwrap();
        let mut reader = FrameReader::new(&announced[..100], PATIENCE);
        assert!(matches!(reader.next().await, Err(TcpError::Closed)));
        assert!(reader.buffer.capacity() <= 2 * PIECE_BYTES);
    }

    #[tokio::test]
    async fn a_frame_takes_no_more_memory_than_its_length() {
        // Each starts somewhere else in a piece.
        let mut bytes = Vec::new();
        for _ in 0..20 {
            write_frame(&mut bytes, &vec![5; 70_000]).await.unwrap();
        }
        let mut reader = FrameReader::new(&*bytes, PATIENCE);
        for _ in 0..20 {
            assert_eq!(reader.next().await.unwrap().capacity(), 70_000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (here, _there) = tokio::io::duplex(10);
        assert!(matches!(FrameReader::new(here, PATIENCE).next().await, Err(TcpError::Silent { .. })));
    }
}
