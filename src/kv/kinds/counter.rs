//! Counter: a sum, exact under any concurrency of adds and deletes, at one row for each contributor however hot it is.
//!
//! A part is written by its contributor alone, so it can be cumulative. A delete drops every part that it saw, and leaves for
//! each contributor but its own a *reset*: "of frame `f` I saw your entry `seq`, which held `cum`". The contributor takes it
//! into account at its next add. A reset is the only trace that a delete leaves, and it needs to know no members.
//!
//! ```text
//! part  (c, r)         := frame, cum, base_seq, base          worth cum - base
//! reset (c, r, reset)  := frame, seq, cum
//!
//! frame 0 stands for the entry's own number: a frame is named after the entry that began it
//! base  is the newest of what the part itself says and of the reset of the same frame
//! ```

use std::fmt;

use bytes::Bytes;

use crate::causal::ReplicaId;
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::cursor::{Cursor, Range};
use crate::kv::delete;
use crate::kv::error::{Error, Result};
use crate::kv::mutant::{self, Mutant};
use crate::kv::overlay::{Overlay, Replaces};
use crate::kv::path::{Leaf, Parsed, RESET, Spot, key_of};
use crate::kv::place::{Place, WritePlace};
use crate::kv::row::{Entry, LocalDot, Row};
use crate::kv::store::Store;

use super::undecodable;

/// The counter under a key. From [`Store::counter`].
///
/// ```
/// # let store = tombolo::Store::in_memory();
/// let visits = store.counter("visits");
/// visits.add(5)?;
/// visits.add(-2)?;
/// assert_eq!(visits.get()?, 3);
/// visits.reset()?;
/// assert_eq!(visits.get()?, 0);
/// # Ok::<(), tombolo::Error>(())
/// ```
#[derive(Clone)]
pub struct Counter<C = Store> {
    place: C,
    spot: Spot,
}

impl<C> fmt::Debug for Counter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.spot).finish()
    }
}

impl<C> Counter<C> {
    pub(crate) const fn new(place: C, spot: Spot) -> Self {
        Self { place, spot }
    }
}

impl<C: Place> Counter<C> {
    /// The sum; 0 if nothing was added. Cost: one row for each replica that has ever added.
    ///
    /// # Errors
    /// The key is none, what is stored is no counter, or the medium fails.
    pub fn get(&self) -> Result<i128> {
        sum(self.place.pin()?, self.spot.bytes()?)
    }
}

impl<C: WritePlace> Counter<C> {
    /// Adds, or takes away.
    ///
    /// # Errors
    /// What this replica has added to the counter does not fit 64 bits ([`Error::Overflow`]), the key is none, or the medium
    /// fails. Nothing was added.
    pub fn add(&self, amount: i64) -> Result<()> {
        self.place.write(|overlay| add(overlay, &self.spot, amount))
    }

    /// Cancels exactly what this replica has seen added. What was added concurrently stays.
    ///
    /// # Errors
    /// The key is none, or the medium fails. Nothing was cancelled.
    pub fn reset(&self) -> Result<()> {
        let range = Range::prefix(self.spot.bytes()?);
        self.place.write(|overlay| delete::rows(overlay, &range).map(drop))
    }
}

/// What a contributor has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of the entry that began it.
    pub(crate) frame: u64,
    pub(crate) cum: i64,
    /// Up to which of its entries it was reset, and what it held there. 0: never.
    pub(crate) base_seq: u64,
    pub(crate) base: i64,
}

impl Part {
    pub(crate) fn decode(entry: &Entry) -> Result<Self, DecodeError> {
        let mut from = Reader::new(&entry.payload);
        let frame = match from.u64()? {
            0 => entry.dot.seq,
            frame => frame,
        };
        let part = Self { frame, cum: from.i64()?, base_seq: from.u64()?, base: from.i64()? };
        from.finish()?;
        Ok(part)
    }

    fn encode(self) -> Bytes {
        let mut to = Writer::with_capacity(16);
        // A frame that this entry begins has no number yet.
        to.u64(if self.frame == LocalDot::PENDING.seq { 0 } else { self.frame });
        to.i64(self.cum);
        to.u64(self.base_seq);
        to.i64(self.base);
        Bytes::from(to.into_vec())
    }

    /// Takes a reset of the same frame into account, if it is newer.
    pub(crate) fn after(self, reset: Option<Reset>) -> Self {
        match reset {
            Some(reset) if reset.seq > self.base_seq => Self { base_seq: reset.seq, base: reset.cum, ..self },
            Some(_) | None => self,
        }
    }

    pub(crate) fn value(self) -> i128 {
        i128::from(self.cum) - i128::from(self.base)
    }
}

/// What a delete tells a contributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) frame: u64,
    pub(crate) seq: u64,
    pub(crate) cum: i64,
}

impl Reset {
    pub(crate) fn decode(entry: &Entry) -> Result<Self, DecodeError> {
        let mut from = Reader::new(&entry.payload);
        let reset = Self { frame: from.u64()?, seq: from.u64()?, cum: from.i64()? };
        from.finish()?;
        Ok(reset)
    }

    fn encode(self) -> Bytes {
        let mut to = Writer::with_capacity(16);
        to.u64(self.frame);
        to.u64(self.seq);
        to.i64(self.cum);
        Bytes::from(to.into_vec())
    }

    /// The newest reset of a frame in a row. `of` is the number of the entry that it is addressed to: whoever wrote a reset had seen
    /// that entry or one before it, so a reset of a later one is a lie, and must not hide the honest ones.
    pub(crate) fn newest(row: &Row, frame: u64, of: u64) -> Result<Option<Self>, DecodeError> {
        let mut newest: Option<Self> = None;
        for entry in row.entries() {
            let reset = Self::decode(entry)?;
            // By the sum besides, so that every store picks the same one whatever a row holds.
            let fits = reset.frame == frame && reset.seq <= of;
            if fits && newest.is_none_or(|newest| (newest.seq, newest.cum) < (reset.seq, reset.cum)) {
                newest = Some(reset);
            }
        }
        Ok(newest)
    }
}

/// The frame that an entry of a contributor's part is in, and what was added in it. `None`: it cannot be read.
pub(crate) fn frame_and_sum(entry: &Entry) -> Option<(u64, i64)> {
    Part::decode(entry).ok().map(|part| (part.frame, part.cum))
}

/// The payload of a part that begins with a sum.
pub(crate) fn first_part(cum: i64) -> Bytes {
    Part { frame: LocalDot::PENDING.seq, cum, base_seq: 0, base: 0 }.encode()
}

/// The payload of the reset that is addressed to an entry of a part. `None`: the entry cannot be read.
pub(crate) fn reset_for(entry: &Entry) -> Option<Bytes> {
    Part::decode(entry).ok().map(|part| Reset { frame: part.frame, seq: entry.dot.seq, cum: part.cum }.encode())
}

/// Takes the resets at a path, which are addressed to this replica, into account in its part, and drops them.
pub(crate) fn take_reset(overlay: &mut Overlay, reset_path: &[u8]) -> Result<()> {
    let Some(part_path) = reset_path.strip_suffix(&[RESET]) else { return Ok(()) };
    let (row, resets) = (overlay.row(part_path)?, overlay.row(reset_path)?);
    let own = last(&row).and_then(|entry| Some((entry.dot.seq, Part::decode(entry).ok()?)));
    if let Some((seq, part)) = own {
        // Resets that cannot be read say nothing to anybody.
        let reset = Reset::newest(&resets, part.frame, seq).ok().flatten();
        let after = part.after(reset);
        if after != part && !mutant::is(Mutant::ResetDroppedUnconsumed) {
            overlay.put(part_path, after.encode(), Replaces::All)?;
        }
    }
    overlay.delete_row(reset_path).map(drop)
}

/// The entry of a contributor's row that counts: the last. By its bytes besides: if somebody else wrote there, every store still
/// picks the same one, whatever indexes it gave to the two.
pub(crate) fn last(row: &Row) -> Option<&Entry> {
    row.entries().iter().max_by_key(|entry| (entry.dot.seq, &entry.payload))
}

/// What the rows of a counter add up to.
pub(crate) fn sum<P: Place>(place: P, base: &[u8]) -> Result<i128> {
    let mut cursor = Cursor::new(place, Range::prefix(base));
    let mut total = 0_i128;
    let mut part: Option<(ReplicaId, u64, Part)> = None;
    while let Some((path, row)) = cursor.next()? {
        let bad = |error: DecodeError| undecodable(&path, error);
        // The reset of a contributor stands right behind its part.
        match Parsed::of(&path).map_err(bad)?.leaf {
            Leaf::CounterPart(id) => {
                total += part.take().map_or(0, |(_id, _seq, part)| part.value());
                part = match last(&row) {
                    Some(entry) => Some((id, entry.dot.seq, Part::decode(entry).map_err(bad)?)),
                    None => None,
                };
            }
            Leaf::CounterReset(id) => {
                // A reset whose part is gone says nothing more.
                if let Some((_of, seq, open)) = part.as_mut().filter(|(of, _seq, _part)| *of == id) {
                    *open = open.after(Reset::newest(&row, open.frame, *seq).map_err(bad)?);
                }
            }
            Leaf::Register | Leaf::Flag | Leaf::VetoFlag | Leaf::Element | Leaf::Lattice | Leaf::Seal(_) | Leaf::Unknown(_) => {
            }
        }
    }
    Ok(total + part.map_or(0, |(_id, _seq, part)| part.value()))
}

fn add(overlay: &mut Overlay, spot: &Spot, amount: i64) -> Result<()> {
    let (_index, me) = overlay.me()?;
    let (path, reset_path) = (spot.counter_row(me, false)?, spot.counter_row(me, true)?);
    let bad = |error: DecodeError| undecodable(&path, error);
    let (row, reset_row) = (overlay.row(&path)?, overlay.row(&reset_path)?);
    let fresh = Part { frame: LocalDot::PENDING.seq, cum: 0, base_seq: 0, base: 0 };
    let part = match last(&row) {
        None => fresh,
        Some(entry) => {
            let part = Part::decode(entry).map_err(bad)?;
            let reset = Reset::newest(&reset_row, part.frame, entry.dot.seq).map_err(bad)?;
            let consumed = if mutant::is(Mutant::ResetDroppedUnconsumed) { part } else { part.after(reset) };
            let all_was_reset = consumed.base_seq == entry.dot.seq;
            let starts_over = if mutant::is(Mutant::NewFrameAtNetZero) { consumed.value() == 0 } else { all_was_reset };
            if starts_over { fresh } else { consumed }
        }
    };
    let overflow = || Error::Overflow { key: key_of(&path) };
    let part = Part { cum: part.cum.checked_add(amount).ok_or_else(overflow)?, ..part };
    // The part before the reset: without room for both, the reset must stay.
    overlay.put(&path, part.encode(), Replaces::All)?;
    if !reset_row.is_empty() {
        overlay.delete_row(&reset_path)?;
    }
    Ok(())
}

/// Deletes the part of a contributor, in a row that was just read: addresses a reset to the contributor, and drops it.
pub(crate) fn delete_part(overlay: &mut Overlay, path: Bytes, row: Row, contributor: ReplicaId) -> Result<()> {
    let (_index, me) = overlay.me()?;
    let reset_path = [&path, &[RESET][..]].concat();
    if contributor == me {
        overlay.delete_row(&reset_path)?;
    } else if !mutant::is(Mutant::ResetsNotAddressed)
        && let Some(entry) = last(&row)
        // A part that cannot be read cannot be reset either; it goes all the same.
        && let Ok(part) = Part::decode(entry)
    {
        let reset = Reset { frame: part.frame, seq: entry.dot.seq, cum: part.cum };
        overlay.put(&reset_path, reset.encode(), Replaces::All)?;
    }
    overlay.delete_known(path, row);
    Ok(())
}
