//! A copy of a store that is kept by its changes alone: whatever a feed leaves out shows in it.

use std::collections::BTreeMap;

use tombolo::Snapshot;
use tombolo::codec::key::KeyBuf;
use tombolo::kv::Changes;

/// What a snapshot holds under a prefix: each key with its value and its entries.
pub(crate) fn full(snapshot: &Snapshot, prefix: &KeyBuf) -> BTreeMap<KeyBuf, String> {
    let keys = snapshot.scan(prefix).map(|entry| entry.unwrap().key().clone());
    keys.map(|key| (key.clone(), state(snapshot, &key).unwrap())).collect()
}

fn state(snapshot: &Snapshot, key: &KeyBuf) -> Option<String> {
    let entry = snapshot.scan(key).map(Result::unwrap).next().filter(|entry| entry.key() == key)?;
    Some(format!("{:?}\n{}", entry.value(), snapshot.inspect(key).unwrap()))
}

/// The copy.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    pub(crate) prefix: KeyBuf,
    pub(crate) map: BTreeMap<KeyBuf, String>,
    /// How often everything was read, and how often keys alone.
    pub(crate) all: u64,
    pub(crate) since: u64,
}

impl Shadow {
    pub(crate) fn of(prefix: KeyBuf) -> Self {
        Self { prefix, map: BTreeMap::new(), all: 0, since: 0 }
    }

    /// Takes in a batch, and is then where its snapshot is.
    pub(crate) fn fold(&mut self, changes: &Changes) {
        match changes {
            Changes::All { snapshot } => {
                self.all += 1;
                self.map = full(snapshot, &self.prefix);
            }
            Changes::Since { snapshot, keys } => {
                self.since += 1;
                assert!(keys.is_sorted_by(|a, b| a.key < b.key), "sorted, each once");
                for change in keys {
                    assert!(change.key.starts_with(&self.prefix));
                    match state(snapshot, &change.key) {
                        Some(state) => self.map.insert(change.key.clone(), state),
                        None => self.map.remove(&change.key),
                    };
                }
                assert_eq!(self.map, full(snapshot, &self.prefix), "a change that was not told");
            }
        }
    }
}
