//! Bytes of a delta between the store and the network: in memory, or, when they are many, in a file.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

/// Bytes that are written once, and read at any place. Up to a limit they are in memory, beyond it in a nameless temporary file,
/// so that a slow peer pins neither memory nor a snapshot of the store.
pub struct Spool {
    file: SpooledTempFile,
    len: u64,
    /// Where the file stands.
    at: u64,
}

impl Spool {
    /// An empty one, which keeps up to `memory` bytes in memory.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        Self { file: tempfile::spooled_tempfile(memory), len: 0, at: 0 }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads up to `most` bytes from `offset` on.
    ///
    /// # Errors
    /// The temporary file fails.
    pub fn read_at(&mut self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let most = usize::try_from(self.len.saturating_sub(offset)).map_or(most, |left| left.min(most));
        self.seek_to(offset)?;
        let mut bytes = vec![0; most];
        self.file.read_exact(&mut bytes)?;
        self.at += most as u64;
        Ok(bytes)
    }

    /// All of it, from its start.
    ///
    /// # Errors
    /// The temporary file fails.
    pub fn reader(&mut self) -> io::Result<impl Read + '_> {
        self.seek_to(0)?;
        // It is read past what is noted.
        self.at = u64::MAX;
        Ok((&mut self.file).take(self.len))
    }

    fn seek_to(&mut self, at: u64) -> io::Result<()> {
        if self.at != at {
            self.at = u64::MAX;
            self.at = self.file.seek(SeekFrom::Start(at))?;
        }
        Ok(())
    }
}

/// Appends.
impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seek_to(self.len)?;
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        self.at = self.len;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("bytes", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_at_any_place_in_memory_and_in_a_file() {
        for memory in [0, 7, 1 << 20] {
            let mut spool = Spool::new(memory);
            assert!(spool.is_empty());
            spool.write_all(b"in the ").unwrap();
            assert_eq!(spool.read_at(3, 2).unwrap(), b"th");
            spool.write_all(b"beginning").unwrap();
            assert_eq!(spool.read_at(5, 2).unwrap(), b"e ");
            assert_eq!(spool.read_at(7, 4).unwrap(), b"begi");
            assert_eq!(spool.read_at(11, 100).unwrap(), b"nning");
            assert_eq!(spool.read_at(100, 1).unwrap(), b"");
            let mut whole = String::new();
            spool.reader().unwrap().read_to_string(&mut whole).unwrap();
            assert_eq!((whole.as_str(), spool.len()), ("in the beginning", 16));
            assert_eq!(spool.read_at(0, 2).unwrap(), b"in");
        }
    }
}
