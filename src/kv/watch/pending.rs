//! Keys that have changed and were not told yet: each once, and no more than a cap.

use std::collections::BTreeMap;

use super::Change;
use crate::causal::ReplicaId;
use crate::kv::path::key_of;

/// How much is kept: whatever a peer sends, memory has a bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cap {
    pub(crate) keys: usize,
    /// Of all keys together.
    pub(crate) bytes: usize,
}

/// What is known of a key that has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch {
    pub(crate) by: Option<ReplicaId>,
    pub(crate) conflict: bool,
    /// The first and the last commit that changed it and are not told.
    first: u64,
    last: u64,
}

/// Keys that have changed.
#[derive(Debug)]
pub(crate) struct Pending {
    keys: BTreeMap<Box<[u8]>, Touch>,
    bytes: usize,
    cap: Cap,
}

impl Pending {
    pub(crate) const fn new(cap: Cap) -> Self {
        Self { keys: BTreeMap::new(), bytes: 0, cap }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.bytes = 0;
    }

    /// Whether a key is known to be in conflict already.
    pub(crate) fn in_conflict(&self, key: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|touch| touch.conflict)
    }

    /// A commit has changed a key. `false`: that is above the cap, and what is kept is not all any more.
    #[must_use]
    pub(crate) fn touch(&mut self, key: &[u8], by: Option<ReplicaId>, conflict: bool, commit: u64) -> bool {
        if let Some(touch) = self.keys.get_mut(key) {
            touch.by = touch.by.filter(|one| by == Some(*one));
            touch.conflict |= conflict;
            touch.last = commit;
            return true;
        }
        let bytes = self.bytes.saturating_add(key.len());
        if self.keys.len() >= self.cap.keys || bytes > self.cap.bytes {
            return false;
        }
        self.bytes = bytes;
        self.keys.insert(key.into(), Touch { by, conflict, first: commit, last: commit });
        true
    }

    /// Takes out what commits up to `commit` have changed. A key that a later one has changed as well stays besides.
    pub(crate) fn take_up_to(&mut self, commit: u64) -> Vec<Change> {
        let mut told = Vec::new();
        let bytes = &mut self.bytes;
        self.keys.retain(|key, touch| {
            if touch.first <= commit {
                told.push(Change { key: key_of(key), by: touch.by, conflict: touch.conflict });
                touch.first = commit + 1;
            }
            let stays = touch.last > commit;
            *bytes -= if stays { 0 } else { key.len() };
            stays
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::key::KeyBuf;

    fn key(number: u8) -> KeyBuf {
        KeyBuf::from_key(number)
    }

    fn told(pending: &mut Pending, commit: u64) -> Vec<(String, Option<u128>, bool)> {
        let by = |id: ReplicaId| u128::from_be_bytes(id.to_bytes());
        pending.take_up_to(commit).into_iter().map(|c| (c.key.to_string(), c.by.map(by), c.conflict)).collect()
    }

    #[test]
    fn a_key_that_a_later_commit_has_changed_is_told_and_stays() {
        let mut pending = Pending::new(Cap { keys: 10, bytes: 1_000 });
        let (a, b) = (Some(ReplicaId::from_u128(1)), Some(ReplicaId::from_u128(2)));
        for (number, by, conflict, commit) in
            [(2, a, false, 5), (1, a, true, 5), (1, a, false, 6), (2, b, false, 7), (3, None, false, 8)]
        {
            assert!(pending.touch(key(number).as_bytes(), by, conflict, commit));
        }
        assert_eq!(told(&mut pending, 4), []);
        assert_eq!(told(&mut pending, 6), [("1".to_owned(), Some(1), true), ("2".to_owned(), None, false)]);
        assert_eq!(told(&mut pending, 6), []);
        assert_eq!(told(&mut pending, 8), [("2".to_owned(), None, false), ("3".to_owned(), None, false)]);
        assert!(pending.is_empty());
        assert_eq!(pending.bytes, 0);
    }

    #[test]
    fn nothing_above_the_cap_is_kept() {
        let mut pending = Pending::new(Cap { keys: 2, bytes: 1_000 });
        assert!(pending.touch(b"a", None, false, 1) && pending.touch(b"b", None, false, 1));
        assert!(pending.touch(b"a", None, false, 2));
        assert!(!pending.touch(b"c", None, false, 2));
        let mut pending = Pending::new(Cap { keys: 10, bytes: 5 });
        assert!(pending.touch(b"aaa", None, false, 1));
        assert!(!pending.touch(b"bbb", None, false, 1));
        assert!(pending.touch(b"bb", None, false, 1));
        pending.clear();
        assert!(pending.touch(b"bbb", None, false, 1));
    }
}
