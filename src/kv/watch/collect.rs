//! Which keys a commit changes: noted while it is made, if somebody watches.

use bytes::Bytes;

use super::pending::Cap;
use crate::causal::ReplicaId;
use crate::kv::kinds::in_conflict;
use crate::kv::meta::Meta;
use crate::kv::path::{Parsed, is_own};
use crate::kv::row::{LocalDot, Row};

/// What is kept for one watcher, and noted of one commit. Above it everything may have changed.
pub(super) const CAP: Cap = Cap { keys: 65_536, bytes: 16 << 20 };

/// What a commit has changed.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The number of the commit.
    pub(crate) commit: u64,
    /// `None`: nobody took note, or it was too much.
    pub(crate) keys: Option<Vec<ChangedKey>>,
}

/// A key that a commit has changed. It may come more than once.
#[derive(Debug)]
pub(crate) struct ChangedKey {
    pub(crate) key: Bytes,
    pub(crate) by: Option<ReplicaId>,
    pub(crate) conflict: bool,
}

/// Whose events have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Nobody's so far.
    None,
    One(u32),
    Several,
}

/// The rows of one key, as far as they have come.
#[derive(Debug)]
struct Key {
    key: Bytes,
    by: By,
    conflict: bool,
}

/// Takes note of a commit in the making.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    keys: Vec<Key>,
    bytes: usize,
    /// The row that changed last, and whose events have changed it.
    row: Option<(Bytes, By)>,
    too_much: bool,
}

impl Collector {
    /// A row has changed. Its events come right after.
    pub(crate) fn row(&mut self, path: &Bytes, after: &Row) {
        self.end_row();
        if self.too_much || is_own(path) {
            return;
        }
        let Ok(parsed) = Parsed::of(path) else {
            self.give_up();
            return;
        };
        let key = path.slice(..parsed.key_len());
        let conflict = in_conflict(parsed.leaf, after);
        match self.keys.last_mut().filter(|last| last.key == key) {
            Some(last) => last.conflict |= conflict,
            None => {
                // A slice keeps the whole path.
                self.bytes += path.len();
                self.keys.push(Key { key, by: By::None, conflict });
            }
        }
        self.row = Some((path.clone(), By::None));
        if self.keys.len() > CAP.keys || self.bytes > CAP.bytes {
            self.give_up();
        }
    }

    /// An event, of a row that has changed or of another.
    pub(crate) fn event(&mut self, dot: LocalDot, path: &[u8]) {
        if let Some((_path, by)) = self.row.as_mut().filter(|(row, _by)| **row == *path) {
            *by = match *by {
                By::None => By::One(dot.replica),
                By::One(one) if one == dot.replica => By::One(one),
                By::One(_) | By::Several => By::Several,
            };
        }
    }

    fn give_up(&mut self) {
        *self = Self { too_much: true, ..Self::default() };
    }

    /// The first row of a key says who, and every other one must agree.
    fn end_row(&mut self) {
        let Some((_path, by)) = self.row.take() else { return };
        let Some(key) = self.keys.last_mut() else { return };
        key.by = match (key.by, by) {
            // A row that changed without an event: what was forgotten here and there says not by whom.
            (_, By::None) => By::Several,
            (By::None, by) => by,
            (before, by) if before == by => by,
            (_, _) => By::Several,
        };
    }

    /// What the commit has changed. `meta` knows the replicas.
    pub(crate) fn finish(mut self, meta: &Meta) -> Option<Vec<ChangedKey>> {
        self.end_row();
        if self.too_much {
            return None;
        }
        let named = |by| match by {
            By::One(replica) => meta.id(replica),
            By::None | By::Several => None,
        };
        let changed = |Key { key, by, conflict }| ChangedKey { key, by: named(by), conflict };
        Some(self.keys.into_iter().map(changed).collect())
    }
}
