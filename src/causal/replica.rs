//! Who writes.

use core::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::DecodeError;
use crate::codec::key::{Key, KeyReader, KeyWriter, OwnedKey};

/// A replica: 128 random bits, made when a space is first written to. Never derived from a host, a device or a user, since
/// a name that can come back would come back with other events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(Uuid);

impl ReplicaId {
    /// From its 16 bytes. Ids order as their bytes do.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// From a number: for tests, where small ids read well.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl Key for ReplicaId {
    fn encode(&self, to: &mut KeyWriter) {
        to.id(self.to_bytes());
    }
}

impl OwnedKey for ReplicaId {
    fn decode(from: &mut KeyReader<'_>) -> Result<Self, DecodeError> {
        from.id().map(Self::from_bytes)
    }
}

impl From<Uuid> for ReplicaId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<ReplicaId> for Uuid {
    fn from(id: ReplicaId) -> Self {
        id.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;
    use crate::codec::key::KeyBuf;

    /// A replica's own part of a key is found by its id, and listed in the order of ids.
    #[test]
    fn an_id_in_a_key_comes_back_and_sorts_as_ids_do() {
        let ids = [0, 1, 255, 256, u128::MAX].map(ReplicaId::from_u128);
        let keys = ids.map(|id| KeyBuf::from_key(("cursor", id)));
        assert!(ids.is_sorted() && keys.is_sorted_by(|low, high| low.as_bytes() < high.as_bytes()));
        for (id, key) in ids.into_iter().zip(keys) {
            assert_eq!(key.decode::<(String, ReplicaId)>(), Ok(("cursor".into(), id)));
        }
    }

    #[test]
    fn an_id_is_its_uuid_and_its_bytes() {
        let id = ReplicaId::from_u128(0x0102);
        assert_eq!(Uuid::from(id), Uuid::from_u128(0x0102));
        assert_eq!((ReplicaId::from(Uuid::from(id)), ReplicaId::from_bytes(id.to_bytes())), (id, id));
    }
}
