//! Seals: "this replica will write no more". A hint that lets those who are gone for good travel as part of a digest instead of one by
//! one. An event above a seal makes the replica active again; a seal refuses nothing, and nothing is dropped for it: to forget a
//! replica because everybody seems to know all of it brings deleted data back.
//!
//! ```text
//! path    := 0x01 id (16)        below all keys
//! payload := seq                 of concurrent ones, the highest counts
//! ```

use bytes::Bytes;

use crate::causal::{ReplicaId, SEQ_MAX, VersionVector};
use crate::codec::{DecodeError, Reader, Writer};

use super::cursor::{Cursor, Range};
use super::error::{Error, Result};
use super::overlay::{Overlay, Replaces};
use super::path::{Leaf, Parsed, SEAL};
use super::place::sealed::Reads;
use super::row::Row;

/// Seals a replica at its last event; not below an earlier seal.
pub(crate) fn seal(overlay: &mut Overlay, replica: ReplicaId, seq: u64) -> Result<()> {
    if !(1..=SEQ_MAX).contains(&seq) {
        return Err(Error::Refused("a replica is sealed at its last event, which has a number from 1 to 2^63"));
    }
    let path = [&[SEAL][..], &replica.to_bytes()].concat();
    if highest(&overlay.row(&path)?) >= seq {
        return Ok(());
    }
    let mut to = Writer::new();
    to.u64(seq);
    overlay.put(&path, Bytes::from(to.into_vec()), Replaces::All)
}

/// Every seal.
pub(crate) fn sealed<P: Reads>(place: P) -> Result<VersionVector> {
    let mut cursor = Cursor::new(place, Range::prefix(&[SEAL]));
    let mut sealed = VersionVector::new();
    while let Some((path, row)) = cursor.next()? {
        if let Leaf::Seal(replica) = Parsed::of(&path).map_err(Error::corrupt("ROWS"))?.leaf {
            sealed.advance(replica, highest(&row));
        }
    }
    Ok(sealed)
}

/// What a peer wrote that is no number seals nothing.
fn highest(row: &Row) -> u64 {
    let seq = |payload: &[u8]| -> Result<u64, DecodeError> {
        let mut from = Reader::new(payload);
        let seq = from.u64()?;
        from.finish()?;
        Ok(seq)
    };
    let seqs = row.entries().iter().filter_map(|entry| seq(&entry.payload).ok());
    seqs.filter(|seq| *seq <= SEQ_MAX).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Store;

    fn send(from: &Store, to: &Store) {
        to.merge(from.delta_since(&to.version().unwrap()).unwrap()).unwrap();
    }

    #[test]
    fn a_seal_travels_and_the_highest_counts() {
        let (a, b) = (Store::in_memory(), Store::in_memory());
        let gone = ReplicaId::from_u128(7);
        a.seal(gone, 5).unwrap();
        b.seal(gone, 9).unwrap();
        send(&a, &b);
        send(&b, &a);
        assert_eq!(a.canonical().unwrap(), b.canonical().unwrap());
        for store in [&a, &b] {
            assert_eq!(store.sealed().unwrap().get(gone), 9);
            store.check().unwrap();
        }
        a.seal(gone, 8).unwrap();
        assert_eq!(a.version().unwrap(), b.version().unwrap(), "nothing to say");
        assert!(matches!(a.seal(gone, 0), Err(Error::Refused(_))));
    }

    #[test]
    fn seals_are_no_keys() {
        let store = Store::in_memory();
        store.register::<u8>("a").set(&1).unwrap();
        store.seal(store.replica().unwrap().unwrap(), 1).unwrap();
        assert_eq!(store.scan(()).count(), 1);
        assert_eq!(store.delete_prefix(()).unwrap(), 1);
        assert_eq!(store.sealed().unwrap().len(), 1);
        // A replica that was sealed and writes again just does.
        store.register::<u8>("b").set(&1).unwrap();
        assert_eq!(store.register::<u8>("b").get().unwrap(), Some(1));
        store.check().unwrap();
    }
}
