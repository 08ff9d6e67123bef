//! What digests and histories are made of.

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::causal::ReplicaId;
use crate::kv::row::Entry;

/// What one live entry adds to the digest. `scratch` is any buffer, for its memory.
pub(crate) fn entry_hash(id: ReplicaId, path: &[u8], entry: &Entry, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.reserve(32 + path.len() + entry.payload.len());
    scratch.extend_from_slice(&id.to_bytes());
    scratch.extend_from_slice(&entry.dot.seq.to_le_bytes());
    // Two parts of any length: the length of the first keeps them apart.
    scratch.extend_from_slice(&(path.len() as u64).to_le_bytes());
    scratch.extend_from_slice(path);
    scratch.extend_from_slice(&entry.payload);
    XxHash3_128::oneshot(scratch)
}

/// What a delete adds to the history of its replica.
pub(crate) fn delete_hash(id: ReplicaId, seq: u64, path: &[u8], scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&id.to_bytes());
    scratch.extend_from_slice(&seq.to_le_bytes());
    // No path is so long: apart from every write.
    scratch.extend_from_slice(&u64::MAX.to_le_bytes());
    scratch.extend_from_slice(path);
    XxHash3_128::oneshot(scratch)
}

/// The hash of a history with one more event.
pub(crate) fn link(chain: u64, event: u128) -> u64 {
    XxHash3_64::oneshot_with_seed(chain, &event.to_le_bytes())
}

/// What one replica adds to the digest; nothing before its first event.
pub(crate) fn progress_hash(id: ReplicaId, seq: u64) -> u128 {
    if seq == 0 {
        return 0;
    }
    let mut input = [0; 24];
    let (first, second) = input.split_at_mut(16);
    first.copy_from_slice(&id.to_bytes());
    second.copy_from_slice(&seq.to_le_bytes());
    XxHash3_128::oneshot(&input)
}
