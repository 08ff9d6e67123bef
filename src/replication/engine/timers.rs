//! Who is to be woken when.

use std::collections::{BTreeMap, BTreeSet};

use crate::replication::config::Moment;

/// One timer for each key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    by_key: BTreeMap<K, Moment>,
    in_order: BTreeSet<(Moment, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(super) const fn new() -> Self {
        Self { by_key: BTreeMap::new(), in_order: BTreeSet::new() }
    }

    pub(super) fn set(&mut self, key: K, at: Moment) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            self.in_order.remove(&(before, key.clone()));
        }
        self.in_order.insert((at, key));
    }

    /// Sets it, unless it is set to an earlier moment.
    pub(super) fn set_by(&mut self, key: K, at: Moment) {
        if self.by_key.get(&key).is_none_or(|before| *before > at) {
            self.set(key, at);
        }
    }

    pub(super) fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.in_order.remove(&(at, key.clone()));
        }
    }

    /// Clears each that `is_gone` says of.
    pub(super) fn clear_all(&mut self, is_gone: impl Fn(&K) -> bool) {
        let gone: Vec<K> = self.by_key.keys().filter(|key| is_gone(key)).cloned().collect();
        gone.iter().for_each(|key| self.clear(key));
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.in_order.first().map(|(at, _key)| *at)
    }

    /// The next one that is due.
    pub(super) fn due(&mut self, now: Moment) -> Option<K> {
        let (at, key) = self.in_order.first().filter(|(at, _key)| *at <= now).cloned()?;
        self.by_key.remove(&key);
        self.in_order.remove(&(at, key.clone()));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_one_timer() {
        let at = Moment::from_micros;
        let mut timers = Timers::new();
        timers.set('a', at(5));
        timers.set('b', at(3));
        timers.set('a', at(9));
        timers.set_by('b', at(4));
        timers.set_by('a', at(7));
        timers.set('c', at(1));
        timers.clear(&'c');
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(
            [timers.due(at(2)), timers.due(at(8)), timers.due(at(8)), timers.due(at(8))],
            [None, Some('b'), Some('a'), None]
        );
        timers.set('a', at(1));
        timers.set('b', at(1));
        timers.clear_all(|key| *key == 'a');
        assert_eq!([timers.due(at(1)), timers.due(at(1))], [Some('b'), None]);
    }
}
