//! Up to 64 neighbouring entries of a log.

use core::slice;

use bytes::Bytes;

/// The last slot of a chunk.
pub(super) const SLOT_LAST: u32 = 63;

/// The index of the chunk that holds `number`.
pub(super) fn chunk_of(number: u64) -> u64 {
    number >> 6
}

/// The slot of `number` in its chunk.
pub(super) fn slot_of(number: u64) -> u32 {
    // The low byte holds the slot whatever the number is, so nothing can be lost.
    let [low, ..] = number.to_le_bytes();
    u32::from(low) & SLOT_LAST
}

/// The number in slot 0 of a chunk.
pub(super) fn first_number(chunk: u64) -> u64 {
    chunk << 6
}

/// Entries by slot. Only those present take space: a log that was swept down to one entry in 64 costs no 64 slots for each.
#[derive(Clone)]
pub(super) struct Chunk {
    /// Bit `n` is set if slot `n` has a value. Invariant: not 0, and as many bits as values.
    present: u64,
    /// The values of the slots that have one, in order.
    values: Vec<Bytes>,
}

impl Chunk {
    /// A chunk with one entry.
    pub(super) fn lone(slot: u32, value: Bytes) -> Self {
        Self { present: 1 << slot, values: vec![value] }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Bytes> {
        if self.present >> slot & 1 == 0 {
            return None;
        }
        self.values.get(self.rank(slot))
    }

    pub(super) fn set(&mut self, slot: u32, value: Bytes) {
        let rank = self.rank(slot);
        if self.present >> slot & 1 == 1
            && let Some(old) = self.values.get_mut(rank)
        {
            *old = value;
            return;
        }
        // A vector alone would double a copy of 33 values to 66 places; 64 are enough for ever.
        if self.values.len() == self.values.capacity() {
            let capacity = (self.values.len() + 1).next_power_of_two();
            self.values.reserve_exact(capacity - self.values.len());
        }
        self.present |= 1 << slot;
        self.values.insert(rank, value);
    }

    /// Removes the value of a slot. Returns whether the chunk is empty now, and must be dropped.
    pub(super) fn clear(&mut self, slot: u32) -> bool {
        if self.present >> slot & 1 == 1 {
            let rank = self.rank(slot);
            drop(self.values.remove(rank));
            self.present &= !(1 << slot);
            if self.values.len() * 4 <= self.values.capacity() {
                self.values.shrink_to(self.values.len() * 2);
            }
        }
        self.present == 0
    }

    /// The values of the slots `from..=to`, in order.
    pub(super) fn slots(&self, from: u32, to: u32) -> Slots<'_> {
        debug_assert!(from <= to && to <= SLOT_LAST, "slots {from}..={to}");
        let present = self.present & (u64::MAX << from) & (u64::MAX >> (SLOT_LAST - to));
        let start = self.rank(from);
        let end = start + present.count_ones() as usize;
        let values = self.values.get(start..end).unwrap_or_default();
        Slots { present, values: values.iter() }
    }

    /// How many slots before `slot` have a value.
    fn rank(&self, slot: u32) -> usize {
        (self.present & !(u64::MAX << slot)).count_ones() as usize
    }
}

/// Slots with their values.
pub(super) struct Slots<'a> {
    /// The slots still to come. Invariant: as many bits as `values` has items.
    present: u64,
    values: slice::Iter<'a, Bytes>,
}

impl<'a> Iterator for Slots<'a> {
    type Item = (u32, &'a Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.values.next()?;
        let slot = self.present.trailing_zeros();
        self.present &= !(1 << slot);
        Some((slot, value))
    }
}

impl DoubleEndedIterator for Slots<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let value = self.values.next_back()?;
        let slot = SLOT_LAST - self.present.leading_zeros();
        self.present &= !(1 << slot);
        Some((slot, value))
    }
}
