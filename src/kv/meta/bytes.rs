//! META in bytes.

use bytes::Bytes;

use super::hash::progress_hash;
use super::{Meta, Progress};
use crate::causal::{Hlc, ReplicaId, SEQ_MAX};
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::error::Error;
use crate::kv::identity::Points;

impl Progress {
    fn encode(self, to: &mut Writer) {
        to.u64(self.seq);
        to.u64(self.floor);
        to.u64(self.evicted);
        to.u64(self.deletes);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (seq, floor, evicted, deletes) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
        if seq > SEQ_MAX || floor > seq || evicted > floor {
            return Err(from.error("a progress that cannot be"));
        }
        Ok(Self { seq, floor, evicted, deletes })
    }
}

/// Keys and values.
impl Meta {
    pub(crate) const STATE: &'static [u8] = b"s";
    const REPLICA: u8 = b'r';

    /// The key range of the replicas' rows.
    pub(crate) const REPLICAS: (&'static [u8], &'static [u8]) = (b"r", b"s");

    /// The key range of those that have taken over events.
    pub(crate) const TAKERS: (&'static [u8], &'static [u8]) = (b"t", b"u");

    pub(crate) fn replica_key(replica: u32) -> Bytes {
        let mut key = [Self::REPLICA; 5];
        if let Some(index) = key.last_chunk_mut() {
            *index = replica.to_be_bytes();
        }
        Bytes::copy_from_slice(&key)
    }

    /// The key that says that a replica has taken over events.
    pub(crate) fn taker_key(replica: u32) -> Bytes {
        Bytes::from([Self::TAKERS.0, &replica.to_be_bytes()].concat())
    }

    /// The replica of such a key.
    pub(crate) fn taker_of(key: &[u8]) -> Option<u32> {
        let index = key.strip_prefix(Self::TAKERS.0)?;
        Some(u32::from_be_bytes(index.try_into().ok()?))
    }

    pub(crate) fn encode_replica(&self, replica: u32) -> Option<Bytes> {
        let id = self.id(replica)?;
        let mut to = Writer::with_capacity(48);
        to.raw(&id.to_bytes());
        self.progress(replica).encode(&mut to);
        self.points(replica)?.encode(&mut to);
        Some(Bytes::from(to.into_vec()))
    }

    pub(crate) fn encode_state(&self) -> Bytes {
        let mut to = Writer::with_capacity(144);
        to.u64(self.me.map_or(0, |me| u64::from(me) + 1));
        self.me.map_or_else(Progress::default, |me| self.progress(me)).encode(&mut to);
        to.u64(self.hlc.to_bits());
        to.raw(&self.entries_digest.to_le_bytes());
        to.raw(&self.vector_digest.to_le_bytes());
        to.u64(self.rows);
        to.u64(self.entries);
        to.u64(self.deletes);
        to.u64(self.commit);
        to.u64(self.emitted);
        to.raw(&self.chain.to_le_bytes());
        to.u64(self.marks);
        to.u64(self.dead);
        to.u64(self.resets);
        to.u64(self.sent);
        Bytes::from(to.into_vec())
    }

    /// The commit number of an encoded state, without decoding the rest.
    pub(crate) fn commit_of(state: &[u8]) -> Result<u64, DecodeError> {
        Ok(Self::decode_state(state)?.0.commit)
    }

    fn decode_state(bytes: &[u8]) -> Result<(Self, Progress), DecodeError> {
        let mut from = Reader::new(bytes);
        let me = match from.u64()? {
            0 => None,
            index => Some(u32::try_from(index - 1).map_err(|_above| from.error("an index above 32 bits"))?),
        };
        let own = Progress::decode(&mut from)?;
        let meta = Self {
            me,
            hlc: Hlc::from_bits(from.u64()?),
            entries_digest: u128::from_le_bytes(from.array()?),
            vector_digest: u128::from_le_bytes(from.array()?),
            rows: from.u64()?,
            entries: from.u64()?,
            deletes: from.u64()?,
            commit: from.u64()?,
            emitted: from.u64()?,
            chain: u64::from_le_bytes(from.array()?),
            marks: from.u64()?,
            dead: from.u64()?,
            resets: from.u64()?,
            sent: from.u64()?,
            ..Self::default()
        };
        if meta.emitted > own.seq {
            return Err(from.error("more events given away than made"));
        }
        from.finish()?;
        Ok((meta, own))
    }

    /// From the rows of META.
    pub(crate) fn decode(
        state: Option<&[u8]>,
        replicas: impl Iterator<Item = Result<(Bytes, Bytes), Error>>,
    ) -> Result<Self, Error> {
        let corrupt = Error::corrupt("META");
        let (mut meta, own) = match state {
            Some(state) => Self::decode_state(state).map_err(&corrupt)?,
            None => Default::default(),
        };
        let mut digest = 0_u128;
        for row in replicas {
            let (key, value) = row?;
            let mut from = Reader::new(&value);
            let id = ReplicaId::from_bytes(from.array().map_err(&corrupt)?);
            let progress = Progress::decode(&mut from).map_err(&corrupt)?;
            let points = Points::decode(&mut from).map_err(&corrupt)?;
            from.finish().map_err(&corrupt)?;
            let index = meta.index_or_new(id);
            if key != Self::replica_key(index) || points.newest().is_some_and(|newest| newest.seq > progress.seq) {
                return Err(corrupt(from.error("a replica that cannot be")));
            }
            let progress = if meta.me == Some(index) { own } else { progress };
            digest = digest.wrapping_add(progress_hash(id, progress.seq));
            if let Some(slot) = meta.progress.get_mut(index as usize) {
                *slot = progress;
            }
            meta.set_points(index, points);
        }
        if digest != meta.vector_digest || meta.me.is_some_and(|me| meta.id(me).is_none()) {
            return Err(corrupt(DecodeError::new(0, "replicas that do not fit the state")));
        }
        Ok(meta)
    }
}
