//! Transactions that came before what they build on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::causal::{ReplicaId, Transaction, VersionVector};
use crate::replication::io::PeerId;

/// Each waits for one event: the first of those that it needs and that are not in. When that is, it is tried again, and goes in or waits
/// for the next one. So what is done for a transaction depends on what it needs, and not on how many wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    for_event: BTreeMap<(ReplicaId, u64), Vec<Early>>,
    bytes: usize,
}

/// A transaction that is early.
#[derive(Debug, Clone)]
pub(super) struct Early {
    pub(super) transaction: Arc<Transaction>,
    /// Who sent it.
    pub(super) from: PeerId,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.for_event.is_empty()
    }

    /// `need`: what must be in before it, of which `version` has not everything. Returns whether it is here now, and was not before.
    pub(super) fn insert(&mut self, early: Early, need: &VersionVector, version: &VersionVector, bytes_max: usize) -> bool {
        let Some(event) = need.iter().find(|(id, seq)| version.get(*id) < *seq) else { return false };
        let weight = early.transaction.weight();
        if self.bytes + weight > bytes_max {
            return false;
        }
        let same = self.for_event.entry(event).or_default();
        let is_here = |other: &Early| {
            other.transaction.origin() == early.transaction.origin() && other.transaction.lo() == early.transaction.lo()
        };
        let is_new = !same.iter().any(is_here);
        if is_new {
            same.push(early);
            self.bytes += weight;
        }
        is_new
    }

    /// Those whose event of `replica` is in, now that it is in up to `seq`.
    pub(super) fn take(&mut self, replica: ReplicaId, seq: u64) -> Vec<Early> {
        let keys: Vec<(ReplicaId, u64)> = self.for_event.range((replica, 0)..=(replica, seq)).map(|(key, _)| *key).collect();
        let taken: Vec<Early> = keys.iter().filter_map(|key| self.for_event.remove(key)).flatten().collect();
        self.bytes -= taken.iter().map(|early| early.transaction.weight()).sum::<usize>();
        taken
    }

    /// Those whose event is in, of any replica.
    pub(super) fn take_all(&mut self, version: &VersionVector) -> Vec<Early> {
        let mut replicas: Vec<ReplicaId> = self.for_event.keys().map(|(replica, _seq)| *replica).collect();
        replicas.dedup();
        replicas.into_iter().flat_map(|replica| self.take(replica, version.get(replica))).collect()
    }
}
