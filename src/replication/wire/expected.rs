//! What a link has said before, so that it need not be said again.

use std::collections::BTreeMap;

use crate::causal::{Hlc, ReplicaId, Transaction, VersionVector};

use super::REPLICAS_MAX;

/// The state of one direction of an ordered link, for one store. Both sides keep it, and change it alike.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The base of the last PULL.
    pub(super) base: VersionVector,
    /// Of each origin the end and the stamp of the last transaction.
    last: BTreeMap<ReplicaId, (u64, u64)>,
}

/// What the next transaction of an origin probably has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Next {
    /// Its first event.
    pub(super) lo: u64,
    /// Its stamp is not far above this one.
    pub(super) stamp: u64,
}

impl Expected {
    pub(super) fn next(&self, origin: ReplicaId) -> Next {
        let (end, stamp) = self.last.get(&origin).copied().unwrap_or_default();
        Next { lo: end + 1, stamp }
    }

    pub(super) fn note(&mut self, transaction: &Transaction) {
        // The memory for it is bounded: of those who come later, nothing is expected.
        if self.last.len() >= REPLICAS_MAX && !self.last.contains_key(&transaction.origin()) {
            return;
        }
        let before = self.last.get(&transaction.origin()).map_or(0, |(_end, stamp)| *stamp);
        let stamp = transaction.stamp.map_or(before, Hlc::to_bits);
        self.last.insert(transaction.origin(), (transaction.hi(), stamp));
    }
}

/// A difference modulo 2^64, near zero either way.
#[expect(clippy::cast_possible_wrap, reason = "differences wrap around")]
pub(super) const fn difference(value: u64, expected: u64) -> i64 {
    value.wrapping_sub(expected) as i64
}

#[expect(clippy::cast_sign_loss, reason = "differences wrap around")]
pub(super) const fn sum(expected: u64, difference: i64) -> u64 {
    expected.wrapping_add(difference as u64)
}
