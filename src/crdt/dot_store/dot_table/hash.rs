//! Hashes that never leave the process: where a key is looked for, and digests of what is live.

use core::hash::{BuildHasher, Hash};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// The same for all tables, so that hashes and digests of two of them compare; another one in each process, so that nobody outside can
/// choose keys or dots that collide.
#[inline]
fn state() -> SeedableRandomState {
    SeedableRandomState::with_seed(0x9E37_79B9_7F4A_7C15, SharedSeed::global_random())
}

/// The hash of a key, as its entry keeps it.
#[inline]
pub(super) fn of_key<Q: Hash + ?Sized>(key: &Q) -> u32 {
    let hash = state().hash_one(key);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let half = (hash ^ (hash >> 32)) as u32;
    half
}

/// As the index wants it: places come from the low bits, tags from the highest.
pub(super) const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

/// The hash of a sequence number, to be added up.
#[inline]
pub(super) fn of_seq(seq: u64) -> u64 {
    state().hash_one(seq)
}
