//! A transaction as its own difference: which events it is, and what must be there before it.
//!
//! ```text
//! transaction := count, id*, origin, lo, count, (replica, seq)*: deps, rows << 1 | stamped, [stamp (8, BE)], body
//! ```
//!
//! Replicas are named once, sorted by id; `origin`, the dependencies and the body refer to their places. What the body says is for
//! those who know what a row is.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::{Hlc, ReplicaId, SEQ_MAX};
use crate::codec::{DecodeError, Reader, Writer};

/// The events `lo..=hi` of one replica, which come together or not at all. Row `i` has event `lo + i`.
///
/// A replica that has `lo - 1` of the origin and the dependencies has everything that the transaction saw, and may take it. One
/// that has not must wait, or ask for a delta: to take it all the same shows states that never were.
#[derive(Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Sorted.
    pub(crate) ids: Vec<ReplicaId>,
    /// A place in `ids`, as those of `deps` are.
    pub(crate) origin: u32,
    pub(crate) lo: u64,
    /// At least 1.
    pub(crate) rows: u64,
    /// Sorted, without the origin.
    pub(crate) deps: Vec<(u32, u64)>,
    /// Of the origin's clock, where rows need one.
    pub(crate) stamp: Option<Hlc>,
    /// The rows.
    pub(crate) body: Bytes,
}

impl Transaction {
    /// Whose events these are.
    #[must_use]
    pub fn origin(&self) -> ReplicaId {
        self.id(self.origin).unwrap_or_else(|| ReplicaId::from_u128(0))
    }

    /// Its first event.
    #[must_use]
    pub const fn lo(&self) -> u64 {
        self.lo
    }

    /// Its last event.
    #[must_use]
    pub const fn hi(&self) -> u64 {
        self.lo + (self.rows - 1)
    }

    /// What must be there before it, besides the events of its origin before `lo`: of each replica, up to which event.
    pub fn deps(&self) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.deps.iter().filter_map(|(place, seq)| Some((self.id(*place)?, *seq)))
    }

    /// How many bytes it takes in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + size_of::<ReplicaId>() * self.ids.len()
            + size_of::<(u32, u64)>() * self.deps.len()
            + self.body.len()
    }

    pub(crate) fn id(&self, place: u32) -> Option<ReplicaId> {
        self.ids.get(place as usize).copied()
    }

    /// Its bytes, which need nothing to be read but themselves.
    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u64(self.ids.len() as u64);
        for id in &self.ids {
            to.raw(&id.to_bytes());
        }
        to.u64(u64::from(self.origin));
        to.u64(self.lo);
        self.encode_rest(to);
    }

    /// Reads to the end of the input.
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.len_up_to(u32::MAX as usize, 16)?;
        let mut ids: Vec<ReplicaId> = Vec::with_capacity(count);
        for _ in 0..count {
            let id = ReplicaId::from_bytes(from.array()?);
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(from.error("replicas are not in order"));
            }
            ids.push(id);
        }
        let origin = read_place(&ids, from)?;
        let lo = read_seq(from)?;
        Self::decode_rest(ids, origin, lo, from)
    }

    /// Everything behind `lo`.
    pub(crate) fn encode_rest(&self, to: &mut Writer) {
        to.u64(self.deps.len() as u64);
        for (place, seq) in &self.deps {
            to.u64(u64::from(*place));
            to.u64(*seq);
        }
        to.u64(self.rows << 1 | u64::from(self.stamp.is_some()));
        if let Some(stamp) = self.stamp {
            to.raw(&stamp.to_bits().to_be_bytes());
        }
        to.raw(&self.body);
    }

    pub(crate) fn decode_rest(ids: Vec<ReplicaId>, origin: u32, lo: u64, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut deps: Vec<(u32, u64)> = Vec::new();
        for _ in 0..from.len_up_to(usize::MAX, 2)? {
            let dep = (read_place(&ids, from)?, read_seq(from)?);
            if deps.last().is_some_and(|last| last.0 >= dep.0) || dep.0 == origin {
                return Err(from.error("dependencies are not in order"));
            }
            deps.push(dep);
        }
        let count = from.u64()?;
        let (rows, stamped) = (count >> 1, count & 1 == 1);
        // A row takes four bytes at least.
        if rows == 0 || rows > from.rest().len() as u64 / 4 || rows - 1 > SEQ_MAX - lo {
            return Err(from.error("a transaction without rows, of more than it has, or beyond the last sequence number"));
        }
        let stamp = if stamped { Some(Hlc::from_bits(u64::from_be_bytes(from.array()?))) } else { None };
        let body = Bytes::copy_from_slice(from.rest());
        Ok(Self { ids, origin, lo, rows, deps, stamp, body })
    }
}

pub(crate) fn read_place(ids: &[ReplicaId], from: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let place = from.u32()?;
    if (place as usize) < ids.len() { Ok(place) } else { Err(from.error("a replica that the transaction does not name")) }
}

pub(crate) fn read_seq(from: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let seq = from.u64()?;
    if (1..=SEQ_MAX).contains(&seq) { Ok(seq) } else { Err(from.error("a sequence number outside 1..=2^63")) }
}

/// Which events, and not what they hold: a log line must not show what an application stores.
impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("origin", &self.origin())
            .field("events", &(self.lo..=self.hi()))
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
