//! Random choices that repeat, and what a random history writes.

use core::ops::Bound;

use super::super::{Bytes, LogId, TableId, Write};
use super::model::{append, erase, text};
use super::{LOG, TABLE};

/// A seeded source of choices (xorshift64*), so that a failure repeats.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const TABLES: [TableId; 2] = [TableId(0), TABLE];
    pub(super) const LOGS: [LogId; 3] = [LOG, LogId { table: 3, lane: 6 }, LogId { table: 0, lane: 0 }];

    pub(super) fn new(seed: u64) -> Self {
        // Any state but 0; small seeds are spread.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.index(end + 1));
        }
    }

    pub(super) fn table(&mut self) -> TableId {
        if self.below(4) == 0 { TableId(0) } else { TABLE }
    }

    pub(super) fn log(&mut self) -> LogId {
        match self.below(8) {
            0 => LogId { table: 0, lane: 0 },
            1 => LogId { table: 3, lane: 6 },
            _ => LOG,
        }
    }

    /// Keys that repeat, and share prefixes.
    pub(super) fn key(&mut self) -> Bytes {
        let len = self.below(5);
        (0..len).map(|_| self.key_byte()).collect()
    }

    fn key_byte(&mut self) -> u8 {
        match self.below(4) {
            0 => 0,
            1 => b'a',
            2 => b'b',
            _ => 0xff,
        }
    }

    /// Mostly a dense stretch, at times far away.
    pub(super) fn number(&mut self) -> u64 {
        match self.below(10) {
            0 => u64::MAX - self.below(3),
            1 => (1 << 60) + self.below(100),
            _ => self.below(500),
        }
    }

    pub(super) fn bound<'a>(&mut self, key: &'a [u8]) -> Bound<&'a [u8]> {
        match self.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }

    /// The writes of one commit; mostly few, at times many.
    pub(super) fn writes(&mut self) -> Vec<Write> {
        let len = if self.below(30) == 0 { 200 } else { self.below(8) };
        (0..len).map(|_| self.write()).collect()
    }

    fn write(&mut self) -> Write {
        let value = text(&self.next().to_string());
        match self.below(6) {
            0 => Write::Remove { table: self.table(), key: self.key() },
            1 => erase(self.log(), self.number()),
            2 | 3 => append(self.log(), self.number(), &value),
            _ => Write::Put { table: self.table(), key: self.key(), value },
        }
    }
}

/// Keys in order that a wrong comparison would put in another: prefixes, zeros, high bytes, different lengths.
pub(super) fn awkward_keys() -> Vec<Bytes> {
    let keys: [&[u8]; 21] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\x01",
        b"\0\xff",
        b"\x01",
        b"\x01\0",
        b"1",
        b"10",
        b"2",
        b"A",
        b"a",
        b"a\0",
        b"a\0b",
        b"aa",
        b"b",
        b"\x7f",
        b"\x80",
        b"\xc3\xa9",
        b"\xff",
        b"\xff\xff",
    ];
    keys.into_iter().map(Bytes::from_static).collect()
}
