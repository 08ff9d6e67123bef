//! Replicas, and events of theirs. Few ids and low numbers, so that they meet; and the highest ones.

use ::proptest::collection::vec;
use ::proptest::prelude::*;

use crate::causal::{CausalContext, Dot, ReplicaId, SEQ_MAX, VersionVector};
use crate::laws::replica_id;

/// Six ids, the least and the greatest among them, and some that differ in few bits.
pub fn replica_ids() -> impl Strategy<Value = ReplicaId> + Clone {
    prop_oneof![6 => (0..6_usize).prop_map(replica_id), 1 => Just(ReplicaId::from_u128(0))]
}

/// Numbers that an event can have.
fn seqs() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![8 => 1..8_u64, 1 => Just(SEQ_MAX - 1), 1 => Just(SEQ_MAX)]
}

/// Events.
pub fn dots() -> impl Strategy<Value = Dot> + Clone {
    (replica_ids(), seqs()).prop_map(|(replica, seq)| Dot::new(replica, seq))
}

/// Sets of events without gaps.
pub fn version_vectors() -> impl Strategy<Value = VersionVector> + Clone {
    vec((replica_ids(), seqs()), 0..5).prop_map(VersionVector::from_iter)
}

/// Sets of events, mostly with gaps.
pub fn causal_contexts() -> impl Strategy<Value = CausalContext> + Clone {
    vec((dots(), 0..4_u64), 0..8).prop_map(|ranges| {
        let mut context = CausalContext::new();
        for (dot, more) in ranges {
            context.insert_range(dot.replica, dot.seq..=dot.seq.saturating_add(more));
        }
        context
    })
}
