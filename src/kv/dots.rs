//! A set of dots that is small where dots are dense: about one bit for each.
//!
//! ```text
//! (replica, number >> 16)  ->  FEW   the low 16 bits of up to 4096 numbers, sorted     2 bytes each
//!                              MANY  a bit for each of the 65,536                       8 KiB
//! ```
//!
//! The worst case is a dot that is alone in its chunk: about a hundred bytes.
//!
//! Source: Chambi, Lemire, Kaser, Godin, "Better bitmap performance with Roaring bitmaps" (2016).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smallvec::SmallVec;

/// A replica, by whatever number its owner uses, and the upper bits of a number.
pub(crate) type ChunkKey = (u32, u64);

/// The numbers of a chunk.
const CHUNK_BITS: u32 = 16;
/// From here on a bitmap is smaller.
const FEW_MAX: usize = 4096;
const WORDS: usize = 1 << (CHUNK_BITS - 6);
/// What a chunk takes besides its numbers, about.
const CHUNK_BYTES: usize = 96;

/// A set of dots.
#[derive(Debug, Default)]
pub(crate) struct DotSet {
    /// Invariant: no chunk is empty.
    chunks: BTreeMap<ChunkKey, Chunk>,
    bytes: usize,
}

#[derive(Debug)]
enum Chunk {
    Few(SmallVec<[u16; 8]>),
    Many(Box<[u64; WORDS]>),
}

impl DotSet {
    /// The chunk that a dot is in.
    pub(crate) const fn key(replica: u32, seq: u64) -> ChunkKey {
        (replica, seq >> CHUNK_BITS)
    }

    /// Adds a dot. Returns whether it is new.
    pub(crate) fn insert(&mut self, replica: u32, seq: u64) -> bool {
        let chunk = match self.chunks.entry(Self::key(replica, seq)) {
            Entry::Occupied(chunk) => chunk.into_mut(),
            Entry::Vacant(place) => {
                self.bytes += CHUNK_BYTES;
                place.insert(Chunk::Few(SmallVec::new()))
            }
        };
        let before = chunk.bytes();
        let new = chunk.insert(low(seq));
        self.bytes = (self.bytes + chunk.bytes()).saturating_sub(before);
        new
    }

    /// Removes the dots of a replica from `first` to `last`. Cost: the chunks between that are there.
    pub(crate) fn remove(&mut self, replica: u32, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (first_key, last_key) = (Self::key(replica, first), Self::key(replica, last));
        let mut empty: SmallVec<[ChunkKey; 4]> = SmallVec::new();
        for (key, chunk) in self.chunks.range_mut(first_key..=last_key) {
            let from = if *key == first_key { low(first) } else { 0 };
            let to = if *key == last_key { low(last) } else { u16::MAX };
            let before = chunk.bytes();
            if chunk.remove(from, to) {
                empty.push(*key);
            }
            self.bytes = (self.bytes + chunk.bytes()).saturating_sub(before);
        }
        for key in empty {
            self.remove_chunk(key);
        }
    }

    pub(crate) fn contains(&self, replica: u32, seq: u64) -> bool {
        self.chunks.get(&Self::key(replica, seq)).is_some_and(|chunk| chunk.contains(low(seq)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The replicas that have a dot in the set, ascending.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = u32> + '_ {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (replica, _chunk) = *self.chunks.range((next?, 0)..).next()?.0;
            next = replica.checked_add(1);
            Some(replica)
        })
    }

    /// The numbers of a replica, ascending.
    pub(crate) fn seqs(&self, replica: u32) -> impl Iterator<Item = u64> + '_ {
        let chunks = self.chunks.range((replica, 0)..=(replica, u64::MAX));
        chunks.flat_map(|((_replica, upper), chunk)| chunk.numbers().map(move |low| upper << CHUNK_BITS | u64::from(low)))
    }

    /// What it takes in memory, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many chunks it has.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Takes the highest chunk away.
    pub(crate) fn pop_last(&mut self) -> Option<ChunkKey> {
        let key = *self.chunks.last_key_value()?.0;
        self.remove_chunk(key);
        Some(key)
    }

    fn remove_chunk(&mut self, key: ChunkKey) {
        if let Some(chunk) = self.chunks.remove(&key) {
            self.bytes = self.bytes.saturating_sub(CHUNK_BYTES + chunk.bytes());
        }
    }
}

impl Chunk {
    fn bytes(&self) -> usize {
        match self {
            Self::Few(numbers) if !numbers.spilled() => 0,
            Self::Few(numbers) => size_of::<u16>() * numbers.capacity(),
            Self::Many(_words) => size_of::<u64>() * WORDS,
        }
    }

    fn insert(&mut self, number: u16) -> bool {
        match self {
            Self::Few(numbers) => {
                // Mostly they come in order.
                let at = match numbers.last() {
                    Some(last) if *last < number => Err(numbers.len()),
                    Some(_) | None => numbers.binary_search(&number),
                };
                let Err(at) = at else { return false };
                if numbers.len() < FEW_MAX {
                    numbers.insert(at, number);
                    return true;
                }
                let mut words = Box::new([0; WORDS]);
                for number in numbers.iter().copied().chain([number]) {
                    *word(&mut words, number) |= bit(number);
                }
                *self = Self::Many(words);
                true
            }
            Self::Many(words) => {
                let word = word(words, number);
                let new = *word & bit(number) == 0;
                *word |= bit(number);
                new
            }
        }
    }

    /// Removes numbers. Returns whether none is left.
    fn remove(&mut self, from: u16, to: u16) -> bool {
        match self {
            Self::Few(numbers) => {
                let start = numbers.partition_point(|number| *number < from);
                let end = numbers.partition_point(|number| *number <= to);
                numbers.drain(start..end);
                numbers.is_empty()
            }
            Self::Many(words) => {
                let (first, last) = (usize::from(from >> 6), usize::from(to >> 6));
                for (at, word) in words.iter_mut().enumerate().take(last + 1).skip(first) {
                    let above = if at == first { u64::MAX << (from & 63) } else { u64::MAX };
                    let below = if at == last { u64::MAX >> (63 - (to & 63)) } else { u64::MAX };
                    *word &= !(above & below);
                }
                words.iter().all(|word| *word == 0)
            }
        }
    }

    fn contains(&self, number: u16) -> bool {
        match self {
            Self::Few(numbers) => numbers.binary_search(&number).is_ok(),
            Self::Many(words) => words.get(usize::from(number >> 6)).is_some_and(|word| word & bit(number) != 0),
        }
    }

    fn numbers(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Self::Few(numbers) => Box::new(numbers.iter().copied()),
            Self::Many(words) => Box::new(
                (0..=u16::MAX)
                    .filter(|number| words.get(usize::from(*number >> 6)).is_some_and(|word| word & bit(*number) != 0)),
            ),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
const fn low(seq: u64) -> u16 {
    seq as u16
}

const fn bit(number: u16) -> u64 {
    1 << (number & 63)
}

fn word(words: &mut [u64; WORDS], number: u16) -> &mut u64 {
    words.get_mut(usize::from(number >> 6)).expect("there is a word for each 64 numbers of 16 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Numbers that sit close, far apart, and at the edges of chunks.
    fn number(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = *seed >> 33;
        match dice % 4 {
            0 => dice % 70_000,
            1 => (1 << 16) * (dice % 5) + dice % 3,
            2 => ((1 << 16) * (dice % 5 + 1)).saturating_sub(dice % 3 + 1),
            _ => (1 << 62) + (dice % 100) * 40_000,
        }
    }

    #[test]
    fn it_is_a_set_whatever_comes() {
        let (mut set, mut model, mut seed) = (DotSet::default(), BTreeSet::new(), 1);
        for step in 0..60_000_u32 {
            let replica = step % 2;
            if step % 500 == 499 {
                let first = number(&mut seed);
                let last = first.saturating_add(number(&mut seed) % 3_000);
                set.remove(replica, first, last);
                model.retain(|(r, n)| *r != replica || !(first..=last).contains(n));
                set.remove(replica, last + 1, first);
            } else {
                let number = number(&mut seed);
                assert_eq!(set.insert(replica, number), model.insert((replica, number)), "{replica} {number}");
            }
        }
        let all: BTreeSet<(u32, u64)> =
            set.replicas().flat_map(|replica| set.seqs(replica).map(move |seq| (replica, seq))).collect();
        assert!(all == model && all.len() > 10_000);
        assert!(model.iter().all(|(replica, seq)| set.contains(*replica, *seq)));
        assert!(model.iter().all(|(replica, seq)| set.contains(*replica, seq + 1) == model.contains(&(*replica, seq + 1))));
        set.remove(0, 0, u64::MAX);
        assert_eq!(set.replicas().collect::<Vec<_>>(), [1]);
        while let Some(key) = set.pop_last() {
            assert!(set.chunks.keys().all(|left| *left < key));
        }
        assert!(set.is_empty());
        assert_eq!(set.bytes(), 0);
    }

    #[test]
    fn a_dense_dot_takes_little_more_than_a_bit() {
        let mut set = DotSet::default();
        (1..=1_000_000).for_each(|seq| assert!(set.insert(7, seq)));
        assert!(set.bytes() < 140_000, "{}", set.bytes());
        let mut sparse = DotSet::default();
        (1..=1000).for_each(|seq| assert!(sparse.insert(7, seq << 20)));
        assert!(sparse.bytes() <= 100_000, "{}", sparse.bytes());
    }
}
