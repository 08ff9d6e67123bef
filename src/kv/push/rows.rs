//! The rows of a pushed transaction.
//!
//! ```text
//! body := row*                                                     row i has dot lo + i; sorted by path
//! row  := shared, suffix, WRITE length payload | STAMPED length rest | DELETE, count, (replica, seq)*: dropped
//! ```
//!
//! The payload of a `STAMPED` row begins with the stamp of the transaction, which is not said again.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::causal::{Dot, Hlc, ReplicaId, Transaction, VersionVector, read_place, read_seq};
use crate::codec::{DecodeError, FRAME_MAX, Reader, Writer};

use crate::kv::error::{Error, Result};
use crate::kv::kinds::register;
use crate::kv::meta::Meta;
use crate::kv::options::PAYLOAD_HARD_MAX;
use crate::kv::path::{Leaf, PATH_HARD_MAX, Parsed};
use crate::kv::row::LocalDot;

const WRITE: u8 = 1;
const DELETE: u8 = 2;
const STAMPED: u8 = 3;

/// A row of a transaction: what was written, and which entries it dropped.
#[derive(Debug)]
pub(crate) struct PushedRow {
    pub(crate) path: Bytes,
    pub(crate) payload: Option<Bytes>,
    pub(crate) dropped: SmallVec<[LocalDot; 1]>,
}

/// A committed transaction, before it is encoded.
#[derive(Debug)]
pub(crate) struct Draft {
    origin: ReplicaId,
    lo: u64,
    deps: VersionVector,
    rows: Vec<(PushedRow, SmallVec<[Dot; 1]>)>,
}

impl Draft {
    /// `before` and `after` the commit; `last_own`: after the origin's transaction before it.
    pub(crate) fn new(before: &Meta, after: &Meta, last_own: Option<&Meta>, rows: Vec<PushedRow>) -> Self {
        let me = after.me.unwrap_or_default();
        let gained = |index: u32, seq: u64| last_own.is_none_or(|last| seq > last.seq(index));
        let deps = before
            .replicas()
            .filter(|(_id, index, progress)| *index != me && gained(*index, progress.seq))
            .map(|(id, _index, progress)| (id, progress.seq))
            .collect();
        let full = |row: PushedRow| {
            let dropped = row.dropped.iter().filter_map(|dot| before.dot(*dot)).collect();
            (row, dropped)
        };
        let origin = after.id(me).unwrap_or_else(|| ReplicaId::from_u128(0));
        Self { origin, lo: before.seq(me) + 1, deps, rows: rows.into_iter().map(full).collect() }
    }

    /// `None`: the transaction is too large for a frame; a delta carries it.
    pub(crate) fn encode(&self) -> Option<Transaction> {
        let mut ids: Vec<ReplicaId> = self.deps.iter().map(|(id, _seq)| id).collect();
        ids.push(self.origin);
        ids.extend(self.rows.iter().flat_map(|(_row, dropped)| dropped).map(|dot| dot.replica));
        ids.sort_unstable();
        ids.dedup();
        let place = |id: ReplicaId| ids.binary_search(&id).ok().and_then(|place| u32::try_from(place).ok()).unwrap_or_default();
        // Of a transaction there is one stamp, in the payload of each of its registers.
        let stamp = self.rows.iter().find_map(|(row, _dropped)| {
            let payload = row.payload.as_ref()?;
            let leaf = Parsed::of(&row.path).ok()?.leaf;
            Some(register::split(payload).filter(|_| leaf == Leaf::Register)?.0)
        });
        let mut to = Writer::new();
        let mut last: &[u8] = &[];
        for (row, dropped) in &self.rows {
            let shared = last.iter().zip(&*row.path).take_while(|(a, b)| a == b).count();
            to.u64(shared as u64);
            to.bytes(row.path.get(shared..).unwrap_or_default());
            last = &row.path;
            match (&row.payload, row.payload.as_deref().and_then(register::split)) {
                (Some(_), Some((first, rest))) if stamp == Some(first) => {
                    to.u8(STAMPED);
                    to.bytes(rest);
                }
                (Some(payload), _) => {
                    to.u8(WRITE);
                    to.bytes(payload);
                }
                (None, _) => to.u8(DELETE),
            }
            to.u64(dropped.len() as u64);
            for dot in dropped {
                to.u64(u64::from(place(dot.replica)));
                to.u64(dot.seq);
            }
            if to.len() > FRAME_MAX {
                return None;
            }
        }
        let deps = self.deps.iter().map(|(id, seq)| (place(id), seq)).collect();
        let (origin, rows) = (place(self.origin), self.rows.len() as u64);
        let transaction = Transaction { ids, origin, lo: self.lo, rows, deps, stamp, body: to.into_vec().into() };
        let mut whole = Writer::new();
        transaction.encode(&mut whole);
        // With a space in front of it, and whatever else a message has.
        (whole.len() + 64 <= FRAME_MAX).then_some(transaction)
    }
}

/// What a row takes as it is written besides its path and its payload, about.
const ROW_BYTES: usize = 128;

/// Checks every row, and tells what they take as they are written, about: paths share prefixes, and a transaction so may have rows
/// that take a hundred times its size.
pub(super) fn weight(transaction: &Transaction) -> Result<u64> {
    let mut rows = IncomingRows::new(transaction);
    let mut weight = 0;
    while let Some(row) = rows.next_row()? {
        weight += (ROW_BYTES + rows.path().len() + row.payload.map_or(0, |payload| payload.len())) as u64;
    }
    Ok(weight)
}

/// Reads the rows of a transaction, of which one at a time is there.
pub(super) struct IncomingRows<'a> {
    transaction: &'a Transaction,
    from: Reader<'a>,
    /// The number of the next row.
    next: u64,
    path: Vec<u8>,
}

pub(super) struct IncomingRow<'a> {
    pub(super) parsed: Parsed,
    pub(super) seq: u64,
    pub(super) payload: Option<Payload<'a>>,
    pub(super) dropped: Dropped<'a>,
}

/// What a row holds now: the stamp of the transaction, if it begins with that, and the rest.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    stamp: Option<Hlc>,
    rest: &'a [u8],
}

impl Payload<'_> {
    fn len(&self) -> usize {
        self.stamp.map_or(0, |_stamp| 8) + self.rest.len()
    }

    pub(super) fn to_bytes(self) -> Bytes {
        let Some(stamp) = self.stamp else { return Bytes::copy_from_slice(self.rest) };
        let mut bytes = BytesMut::with_capacity(self.len());
        bytes.put_u64(stamp.to_bits());
        bytes.put_slice(self.rest);
        bytes.freeze()
    }
}

impl<'a> IncomingRows<'a> {
    pub(super) fn new(transaction: &'a Transaction) -> Self {
        Self { transaction, from: Reader::new(&transaction.body), next: transaction.lo(), path: Vec::new() }
    }

    /// The path of the row that came last.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(super) fn next_row(&mut self) -> Result<Option<IncomingRow<'a>>> {
        self.try_next_row().map_err(Error::malformed)
    }

    fn try_next_row(&mut self) -> Result<Option<IncomingRow<'a>>, DecodeError> {
        let (transaction, from, seq) = (self.transaction, &mut self.from, self.next);
        if seq > transaction.hi() {
            from.finish()?;
            return Ok(None);
        }
        let shared = from.up_to(self.path.len())?;
        let suffix = from.bytes(PATH_HARD_MAX)?;
        if seq > transaction.lo() && suffix <= self.path.get(shared..).unwrap_or_default() {
            return Err(from.error("rows are not in the order of their paths"));
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(suffix);
        let parsed = Parsed::of(&self.path).map_err(|error| from.error(error.what))?;
        let payload = match from.u8()? {
            WRITE => Some(Payload { stamp: None, rest: from.bytes(PAYLOAD_HARD_MAX)? }),
            STAMPED => {
                let stamp = transaction.stamp.ok_or_else(|| from.error("a stamp that the transaction does not have"))?;
                Some(Payload { stamp: Some(stamp), rest: from.bytes(PAYLOAD_HARD_MAX - 8)? })
            }
            DELETE => None,
            _unknown => return Err(from.error("neither a write nor a delete")),
        };
        let left = from.len_up_to(usize::MAX, 2)?;
        let dropped = Dropped { transaction, from: from.clone(), left };
        let mut dots = dropped.clone();
        while let Some(dot) = dots.try_next()? {
            if dot.replica == transaction.origin() && dot.seq >= transaction.lo() {
                return Err(dots.from.error("a transaction that drops what it writes itself"));
            }
        }
        *from = dots.from;
        self.next += 1;
        Ok(Some(IncomingRow { parsed, seq, payload, dropped }))
    }
}

/// The dots that a row drops.
#[derive(Clone)]
pub(super) struct Dropped<'a> {
    transaction: &'a Transaction,
    from: Reader<'a>,
    left: usize,
}

impl Dropped<'_> {
    fn try_next(&mut self) -> Result<Option<Dot>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let ids = &self.transaction.ids;
        let place = read_place(ids, &mut self.from)?;
        let seq = read_seq(&mut self.from)?;
        Ok(self.transaction.id(place).map(|replica| Dot::new(replica, seq)))
    }
}

/// Those of a row that was read are whole.
impl Iterator for Dropped<'_> {
    type Item = Dot;

    fn next(&mut self) -> Option<Dot> {
        self.try_next().ok().flatten()
    }
}
