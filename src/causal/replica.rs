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
