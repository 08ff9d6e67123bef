//! The digest of a store's canonical form.

use std::fmt;

use super::meta::Meta;

/// 128 bits that stand for the canonical form of a space: its live entries with full replica ids, and its version vector.
/// Equal state, equal digest; it is kept with each commit, so reading it costs O(1).
///
/// It is a sum of XXH3-128 hashes, one for each entry and each replica: it finds faults, and is no defence against somebody who
/// makes two states of one digest on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl Digest {
    pub(crate) const fn of(meta: &Meta) -> Self {
        Self(meta.entries_digest.wrapping_add(meta.vector_digest))
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
