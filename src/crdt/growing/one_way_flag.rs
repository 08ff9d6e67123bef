//! A flag that goes on and stays on.

use serde::{Deserialize, Serialize};

use super::independent;
use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};

/// Off, then on for ever. Concurrent enables are one.
///
/// For facts that cannot be undone: an order has been shipped, a key has been revoked. Cost: none. Source: Almeida, Shoker,
/// Baquero, "Delta State Replicated Data Types" (2018): the booleans under "or".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OneWayFlag {
    on: bool,
}

independent!([] OneWayFlag: on);

impl crate::crdt::NonCausal for OneWayFlag {}

impl OneWayFlag {
    /// Off.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Puts it on. Returns the delta: a flag that is on.
    #[must_use = "the delta is what other replicas need"]
    pub const fn enable(&mut self) -> Self {
        self.on = true;
        Self { on: true }
    }

    /// Whether it is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }
}

/// There is one operation: to put it on.
impl Crdt for OneWayFlag {
    type Op = ();
    type Read = bool;

    fn apply(&mut self, _enable: &(), _me: ReplicaId) -> Result<Self, Refused> {
        Ok(self.enable())
    }

    fn read(&self) -> bool {
        self.on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<OneWayFlag>(&reachable(&[()], 40), &[()]);
    }

    #[test]
    fn once_on_it_stays_on() {
        let mut flag = OneWayFlag::new();
        assert!(!flag.is_on());
        let delta = flag.enable();
        assert!(flag.is_on() && !flag.join(&OneWayFlag::new()) && flag.is_on());
        let mut other = OneWayFlag::new();
        assert!(other.join(&delta) && !other.join(&delta) && other.is_on());
        assert_unreadable::<OneWayFlag>(&1_u8);
    }
}
