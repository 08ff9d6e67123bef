//! Where a handle reads and writes: a [`Store`], a transaction, a snapshot.

use std::ops::Bound;

use super::error::Result;
use super::snapshot::Snapshot;
use super::store::Store;
use super::tx::Tx;

/// Where handles read: [`Store`], [`&Tx`](Tx) and [`Snapshot`]. Sealed.
pub trait Place: sealed::Reads {}

/// Where handles also write: [`Store`] and [`&Tx`](Tx). Sealed.
pub trait WritePlace: Place + sealed::Writes {}

impl Place for Store {}
impl Place for &Tx {}
impl Place for Snapshot {}
impl WritePlace for Store {}
impl WritePlace for &Tx {}

pub(crate) mod sealed {
    use bytes::Bytes;

    use crate::causal::ReplicaId;
    use crate::kv::cursor::Range;
    use crate::kv::error::Result;
    use crate::kv::overlay::Overlay;
    use crate::kv::row::Row;

    #[expect(unnameable_types, reason = "seals `Place`")]
    pub trait Reads: Clone {
        /// The same place, standing still: what reads several rows reads them all at one moment. A transaction is itself, and moves
        /// with its own writes alone.
        type Pinned: super::Place;

        fn pin(&self) -> Result<Self::Pinned>;

        fn row(&self, path: &[u8]) -> Result<Row>;

        /// Up to `max` rows of a range, from the front or the back. Of a place that is not pinned: as of now.
        fn rows(&self, range: &Range, from_back: bool, max: usize) -> Result<Vec<(Bytes, Row)>>;

        /// The value of a local key.
        fn local(&self, key: &[u8]) -> Result<Option<Bytes>>;

        /// Up to `max` local keys of a range with their values.
        fn locals(&self, range: &Range, max: usize) -> Result<Vec<(Bytes, Bytes)>>;

        /// The replica of an index in a row. Only of a pinned place is the answer of the same moment as the row.
        fn replica(&self, index: u32) -> Result<ReplicaId>;

        /// The transaction that this place is in.
        fn transaction(&self) -> Option<u64> {
            None
        }
    }

    #[expect(unnameable_types, reason = "seals `WritePlace`")]
    pub trait Writes: Reads {
        /// Runs `body` in a transaction: in one of its own, or in the one that this place is.
        fn write<R>(&self, body: impl FnOnce(&mut Overlay) -> Result<R>) -> Result<R>;
    }
}

/// Bounds of owned values, encoded.
pub(crate) fn map_bound<T>(bound: Bound<&T>, encode: impl FnOnce(&T) -> Result<Vec<u8>>) -> Result<Bound<Vec<u8>>> {
    Ok(match bound {
        Bound::Included(value) => Bound::Included(encode(value)?),
        Bound::Excluded(value) => Bound::Excluded(encode(value)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

/// The handles, on everything that has them.
macro_rules! handles {
    ($place:ty, |$this:ident| $at:expr, |$spot_this:ident, $key:ident, $kind:ident| $spot:expr) => {
        /// The register under a key: one value of any `serde` type.
        pub fn register<T: $crate::codec::msgpack::Value>(
            &self,
            key: impl $crate::codec::key::Key,
        ) -> $crate::kv::Register<T, $place> {
            $crate::kv::Register::new(self.at(), self.spot(key, $crate::kv::Kind::Register))
        }

        /// The counter under a key: a sum to which every replica adds.
        pub fn counter(&self, key: impl $crate::codec::key::Key) -> $crate::kv::Counter<$place> {
            $crate::kv::Counter::new(self.at(), self.spot(key, $crate::kv::Kind::Counter))
        }

        /// The flag under a key. Of concurrent writes, enable wins.
        pub fn flag(&self, key: impl $crate::codec::key::Key) -> $crate::kv::Flag<$place> {
            $crate::kv::Flag::new(self.at(), self.spot(key, $crate::kv::Kind::Flag), false)
        }

        /// The veto flag under a key. Of concurrent writes, disable wins.
        pub fn veto_flag(&self, key: impl $crate::codec::key::Key) -> $crate::kv::Flag<$place> {
            $crate::kv::Flag::new(self.at(), self.spot(key, $crate::kv::Kind::VetoFlag), true)
        }

        /// The set under a key. Of a concurrent add and remove, add wins.
        pub fn set<T: $crate::codec::key::OwnedKey>(&self, key: impl $crate::codec::key::Key) -> $crate::kv::Set<T, $place> {
            $crate::kv::Set::new(self.at(), self.spot(key, $crate::kv::Kind::Set))
        }

        /// The map under a key. Its fields are handles again.
        pub fn map(&self, key: impl $crate::codec::key::Key) -> $crate::kv::Map<$place> {
            $crate::kv::Map::new(self.at(), self.spot(key, $crate::kv::Kind::Map))
        }

        /// The lattice under a key: a type of your own that knows how to join.
        pub fn lattice<T: $crate::crdt::Lattice + $crate::crdt::NonCausal + $crate::codec::msgpack::Value>(
            &self,
            key: impl $crate::codec::key::Key,
        ) -> $crate::kv::LatticeCell<T, $place> {
            $crate::kv::LatticeCell::new(self.at(), self.spot(key, $crate::kv::Kind::Lattice))
        }

        fn at(&self) -> $place {
            let $this = self;
            $at
        }

        fn spot(&self, $key: impl $crate::codec::key::Key, $kind: $crate::kv::Kind) -> $crate::kv::path::Spot {
            let $spot_this = self;
            $spot
        }
    };
}

pub(crate) use handles;
