//! How many different items there were, about.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::order;
use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::crdt::{Crdt, Decompose, Lattice, NonCausal, Refused};

/// A sketch of a set: how many different items were added, about, in at most `2^P` bytes, however many they were.
///
/// Concurrent adds all count, and of equal items there is one: the sketch of a union is the join of the sketches. It can tell
/// neither which items it has, nor whether it has one.
///
/// | `P` | bytes, at most | standard error of the estimate |
/// |---|---|---|
/// | 4 | 16 | 30 % |
/// | 10 | 1,024 | 3.3 % |
/// | 12 | 4,096 | 1.6 % |
/// | 14 | 16,384 | 0.81 % |
/// | 18 | 262,144 | 0.20 % |
///
/// The error is `1.04 / sqrt(2^P)` of the number of items, and less while they are fewer than `2^P`; the first few are counted
/// exactly. It comes out too high by `1.1 / 2^P` on average, which shows only in the least of sketches. An eighth of `2^P` items
/// costs at most 4 bytes each. `P` is 4 to 18, part of the type: sketches of another precision cannot be joined, and do not compile.
///
/// An item is its bytes: replicas must write equal items as equal bytes (text in one normal form, numbers of one width and
/// byte order). The hash is `XXH3` of 64 bits with seed 0, the same in every process and on every platform. It is not secret:
/// who chooses items can choose them to be miscounted.
///
/// The estimate is the same on every platform, to the last bit: it takes nothing but sums, products, quotients and halves of
/// floats, which IEEE 754 rounds in one way. No logarithm is needed, and the square roots are our own.
///
/// Cost: an add is a hash, and a move of at most `2^P / 2` bytes while there are few; its delta is one register, 4 bytes. A join or
/// an estimate is linear in the bytes.
///
/// ```
/// use tombolo::crdt::{HyperLogLog, Lattice};
///
/// let (mut mine, mut yours) = (HyperLogLog::<12>::new(), HyperLogLog::<12>::new());
/// let delta = mine.add("anna");
/// let _unsent = yours.add("anna");
/// let _unsent = yours.add("bert");
/// assert!(!yours.join(&delta));
/// assert_eq!(yours.estimate(), 2);
/// ```
///
/// A precision out of range does not compile:
///
/// ```compile_fail
/// let _sketch = tombolo::crdt::HyperLogLog::<3>::new();
/// ```
///
/// Source: Flajolet, Fusy, Gandouet, Meunier, "`HyperLogLog`: the analysis of a near-optimal cardinality estimation algorithm"
/// (2007); the estimate, which needs no correction for few or for many items, is Ertl, "New cardinality estimation algorithms
/// for `HyperLogLog` sketches" (2017), the improved raw estimator.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Registers", into = "Registers")]
pub struct HyperLogLog<const P: u8> {
    registers: Registers,
}

/// The registers that are not 0. Invariant: `Few` if and only if at most [`FEW`](HyperLogLog::FEW) are not, so equal sketches
/// compare equal.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Registers {
    /// Each as its index and, in the [`RANK_BITS`] lowest bits, its rank. Invariant: sorted by index, each index once.
    Few(Vec<u32>),
    /// All `2^P`, with the zeros.
    All(Vec<u8>),
}

/// A rank is at most 61.
const RANK_BITS: u32 = 6;

const fn pack(index: u32, rank: u8) -> u32 {
    index << RANK_BITS | rank as u32
}

/// The index of a packed register, and its rank.
const fn unpack(packed: u32) -> (u32, u8) {
    let [low, ..] = packed.to_le_bytes();
    (packed >> RANK_BITS, low & ((1 << RANK_BITS) - 1))
}

impl<const P: u8> HyperLogLog<P> {
    /// How many registers there are.
    const COUNT: usize = {
        assert!(P >= 4 && P <= 18, "the precision of a HyperLogLog is 4 to 18");
        1 << P
    };

    /// With at most this many registers that are not 0, only those are kept: half as large as all of them would be.
    const FEW: usize = Self::COUNT / 8;

    /// The bits of a hash in which a rank counts zeros. The greatest rank is one more: all of them are 0.
    const ZEROS: u8 = 64 - P;

    /// Nothing added.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds an item. Returns the delta: its register; bottom if the sketch does not change, as when the item was there.
    #[must_use = "the delta is what other replicas need"]
    pub fn add(&mut self, item: impl AsRef<[u8]>) -> Self {
        let hash = XxHash3_64::oneshot(item.as_ref());
        let (index, rank) = Self::register(hash);
        if self.raise(index, rank) { Self { registers: Registers::Few(vec![pack(index, rank)]) } } else { Self::new() }
    }

    /// About how many different items were added: 0 if and only if there were none.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        // How many registers there are of each rank; of rank 0, none are counted.
        let mut counts = [0_u32; 62];
        for (_, rank) in self.iter() {
            if let Some(count) = counts.get_mut(usize::from(rank)) {
                *count += 1;
            }
        }
        let raised: u32 = counts.iter().sum();
        if raised == 0 {
            return 0;
        }
        let registers = f64::from(1_u32 << P);
        let share = |count: u32| f64::from(count) / registers;
        let mut falling = counts.iter().take(usize::from(Self::ZEROS) + 2).skip(1).rev().copied();
        let mut z = registers * tau(1.0 - share(falling.next().unwrap_or(0)));
        for count in falling {
            z = 0.5 * (z + f64::from(count));
        }
        z += registers * sigma(share((1 << P) - raised));
        // The constant is 1 / (2 ln 2).
        let estimate = 0.721_347_520_444_481_7 * registers * registers / z;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive, and the cast saturates")]
        let nearest = (estimate + 0.5) as u64;
        nearest
    }

    /// The register of a hash: its index is the first `P` bits, its rank the place of the first 1 in the others.
    #[expect(clippy::cast_possible_truncation, reason = "an index has 18 bits, and a rank is at most 61")]
    const fn register(hash: u64) -> (u32, u8) {
        let index = hash >> Self::ZEROS;
        let zeros = (hash << P | 1 << (P - 1)).leading_zeros();
        (index as u32, zeros as u8 + 1)
    }

    /// The registers that are not 0 and their ranks, sorted by index.
    fn iter(&self) -> impl Iterator<Item = (u32, u8)> + '_ {
        let (few, all): (&[u32], &[u8]) = match &self.registers {
            Registers::Few(few) => (few, &[]),
            Registers::All(all) => (&[], all),
        };
        let raised = (0..).zip(all).filter(|(_, rank)| **rank > 0);
        few.iter().map(|packed| unpack(*packed)).chain(raised.map(|(index, rank)| (index, *rank)))
    }

    fn rank(&self, index: u32) -> u8 {
        match &self.registers {
            Registers::Few(few) => find(few, index).ok().and_then(|at| few.get(at)).map_or(0, |packed| unpack(*packed).1),
            Registers::All(all) => all.get(index as usize).copied().unwrap_or(0),
        }
    }

    /// Raises a register. Returns whether it was lower.
    fn raise(&mut self, index: u32, rank: u8) -> bool {
        if self.rank(index) >= rank {
            return false;
        }
        match &mut self.registers {
            Registers::Few(few) => {
                match find(few, index) {
                    Ok(at) => few.iter_mut().skip(at).take(1).for_each(|packed| *packed = pack(index, rank)),
                    Err(at) => few.insert(at, pack(index, rank)),
                }
                self.unfold_if_many();
            }
            Registers::All(all) => all.iter_mut().skip(index as usize).take(1).for_each(|ours| *ours = rank),
        }
        true
    }

    /// Keeps all registers, with the zeros, once it is shorter.
    fn unfold_if_many(&mut self) {
        if matches!(&self.registers, Registers::Few(few) if few.len() > Self::FEW) {
            let mut all = vec![0; Self::COUNT];
            for (index, rank) in self.iter() {
                if let Some(register) = all.get_mut(index as usize) {
                    *register = rank;
                }
            }
            self.registers = Registers::All(all);
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (&self.registers, &other.registers) {
            (Registers::All(ours), Registers::All(theirs)) => ours.iter().zip(theirs).all(|(ours, theirs)| ours >= theirs),
            (Registers::Few(_), Registers::All(_)) => false,
            (_, Registers::Few(_)) => other.iter().all(|(index, rank)| self.rank(index) >= rank),
        }
    }
}

/// Where the register of an index is, or would be.
fn find(few: &[u32], index: u32) -> Result<usize, usize> {
    few.binary_search_by_key(&index, |packed| unpack(*packed).0)
}

/// `x + Σ x^(2^k) 2^(k-1)` over `k >= 1`, for `x < 1`: what the registers count that are 0.
fn sigma(mut x: f64) -> f64 {
    let (mut weight, mut sum, mut before) = (1.0, x, -1.0);
    while sum > before {
        before = sum;
        x *= x;
        sum += x * weight;
        weight *= 2.0;
    }
    sum
}

/// `(1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3` over `k >= 1`: what the registers count that are full.
fn tau(mut x: f64) -> f64 {
    let (mut weight, mut rest, mut before) = (1.0, 1.0 - x, 2.0);
    while rest < before {
        before = rest;
        x = root(x);
        weight *= 0.5;
        rest -= (1.0 - x) * (1.0 - x) * weight;
    }
    rest / 3.0
}

/// The square root of a number from 0 to 1, by Newton's steps from above: `core` has none.
fn root(x: f64) -> f64 {
    let (mut root, mut before) = (if x > 0.0 { 1.0 } else { 0.0 }, 2.0);
    while 0.0 < root && root < before {
        before = root;
        root = 0.5 * (root + x / root);
    }
    before.min(root)
}

/// Register by register, the greater rank.
impl<const P: u8> Lattice for HyperLogLog<P> {
    fn bottom() -> Self {
        const { assert!(Self::COUNT > 0) }
        Self { registers: Registers::Few(Vec::new()) }
    }

    fn join(&mut self, other: &Self) -> bool {
        if let (Registers::All(ours), Registers::All(theirs)) = (&mut self.registers, &other.registers) {
            let mut changed = false;
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                changed |= *ours < *theirs;
                *ours = (*ours).max(*theirs);
            }
            return changed;
        }
        if self.covers(other) {
            return false;
        }
        if let Registers::Few(ours) = &mut self.registers {
            // Two sorted runs: the sort merges them, and leaves the greater of two ranks behind the lesser.
            ours.extend(other.iter().map(|(index, rank)| pack(index, rank)));
            ours.sort();
            ours.dedup_by(|next, kept| {
                let is_same = unpack(*next).0 == unpack(*kept).0;
                *kept = if is_same { *next } else { *kept };
                is_same
            });
            self.unfold_if_many();
        } else {
            for (index, rank) in other.iter() {
                self.raise(index, rank);
            }
        }
        true
    }

    fn is_bottom(&self) -> bool {
        matches!(&self.registers, Registers::Few(few) if few.is_empty())
    }
}

impl<const P: u8> NonCausal for HyperLogLog<P> {}

impl<const P: u8> Default for HyperLogLog<P> {
    fn default() -> Self {
        Self::bottom()
    }
}

impl<const P: u8> PartialOrd for HyperLogLog<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        order(self.covers(other), other.covers(self))
    }
}

/// Its parts are its registers.
impl<const P: u8> Decompose for HyperLogLog<P> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.iter().map(|(index, rank)| Self { registers: Registers::Few(vec![pack(index, rank)]) })
    }

    fn minus(&self, other: &Self) -> Self {
        let new = self.iter().filter(|(index, rank)| *rank > other.rank(*index));
        let mut minus = Self { registers: Registers::Few(new.map(|(index, rank)| pack(index, rank)).collect()) };
        minus.unfold_if_many();
        minus
    }
}

/// An operation is an item to add, as bytes.
impl<const P: u8> Crdt for HyperLogLog<P> {
    type Op = Vec<u8>;
    type Read = u64;

    fn apply(&mut self, item: &Vec<u8>, _me: ReplicaId) -> Result<Self, Refused> {
        Ok(self.add(item))
    }

    fn read(&self) -> u64 {
        self.estimate()
    }
}

impl<const P: u8> TryFrom<Registers> for HyperLogLog<P> {
    type Error = DecodeError;

    fn try_from(registers: Registers) -> Result<Self, DecodeError> {
        let is_small = match &registers {
            Registers::Few(few) => few.len() <= Self::FEW && few.is_sorted_by(|low, high| unpack(*low).0 < unpack(*high).0),
            Registers::All(all) => all.len() == Self::COUNT && all.iter().filter(|rank| **rank > 0).count() > Self::FEW,
        };
        let sketch = Self { registers };
        let is_raised = |(index, rank)| (index as usize) < Self::COUNT && (1..=Self::ZEROS + 1).contains(&rank);
        if is_small && sketch.iter().all(is_raised) {
            Ok(sketch)
        } else {
            Err(DecodeError::new(0, "not the registers of a sketch of this precision"))
        }
    }
}

impl<const P: u8> From<HyperLogLog<P>> for Registers {
    fn from(sketch: HyperLogLog<P>) -> Self {
        sketch.registers
    }
}

impl<const P: u8> fmt::Debug for HyperLogLog<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
