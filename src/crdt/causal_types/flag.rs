//! Flags that go on and off.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::causal_type::{causal_type, remove, write};
use crate::causal::ReplicaId;
use crate::crdt::{Causal, Crdt, DotFun, DotSet, Refused};

/// A flag, off at first. Enable wins.
///
/// | concurrent | outcome |
/// |---|---|
/// | enable, disable | on |
///
/// For "somebody wants it": one who keeps it on is not overruled by one who has not heard of him. A disable takes no event, and
/// leaves no trace.
///
/// Cost: linear in the concurrent enables, of which one replica has one. Source: Almeida, Shoker, Baquero, "Delta State Replicated
/// Data Types" (2018), section 7.4.1, `EWFlag`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EwFlag(Causal<DotSet>);

causal_type!([] EwFlag, DotSet);

impl EwFlag {
    /// Switches it on at replica `me`. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn enable(&mut self, me: ReplicaId) -> Result<Self, Refused> {
        let seen: Vec<_> = self.0.store().iter().collect();
        write(&mut self.0, me, seen, |dot| DotSet::from_iter([dot])).map(Self)
    }

    /// Switches off what is seen to be on. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn disable(&mut self) -> Self {
        let seen = self.0.store().iter().collect();
        Self(remove(&mut self.0, seen))
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.0.store().is_empty()
    }
}

/// Whether to enable it.
impl Crdt for EwFlag {
    type Op = bool;
    type Read = bool;

    fn apply(&mut self, op: &bool, me: ReplicaId) -> Result<Self, Refused> {
        if *op { self.enable(me) } else { Ok(self.disable()) }
    }

    fn read(&self) -> bool {
        self.is_enabled()
    }
}

/// A flag, off at first. Disable wins.
///
/// | concurrent | outcome |
/// |---|---|
/// | enable, disable | off, until somebody who has seen the disable enables it |
///
/// For a veto. Unlike in the paper, it is off until it is enabled, and a disable that was overwritten is forgotten.
///
/// Cost: linear in the concurrent writes. Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.1,
/// `DWFlag`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DwFlag(Causal<DotFun<bool>>);

causal_type!([] DwFlag, DotFun<bool>);

impl DwFlag {
    /// Switches it on at replica `me`, over every disable that is seen. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn enable(&mut self, me: ReplicaId) -> Result<Self, Refused> {
        self.set(me, true)
    }

    /// Switches it off at replica `me`. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn disable(&mut self, me: ReplicaId) -> Result<Self, Refused> {
        self.set(me, false)
    }

    fn set(&mut self, me: ReplicaId, on: bool) -> Result<Self, Refused> {
        let seen: Vec<_> = self.0.store().iter().map(|(dot, _on)| dot).collect();
        write(&mut self.0, me, seen, |dot| DotFun::from_iter([(dot, on)])).map(Self)
    }

    /// Whether it is on: somebody enables it, and nobody disables it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.0.store().is_empty() && self.0.store().iter().all(|(_dot, on)| *on)
    }
}

/// Whether to enable it.
impl Crdt for DwFlag {
    type Op = bool;
    type Read = bool;

    fn apply(&mut self, op: &bool, me: ReplicaId) -> Result<Self, Refused> {
        self.set(me, *op)
    }

    fn read(&self) -> bool {
        self.is_enabled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Lattice;

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    #[test]
    fn an_enable_wins_over_a_disable_that_has_not_seen_it() {
        let (mut one, mut other) = (EwFlag::bottom(), EwFlag::bottom());
        assert!(!one.is_enabled());
        other.join(&one.enable(A).unwrap());
        assert!(one.is_enabled() && other.is_enabled());
        let (off, on) = (one.disable(), other.enable(B).unwrap());
        assert!(!one.is_enabled());
        assert!(one.join(&on) && one.is_enabled());
        other.join(&off);
        assert_eq!(one, other);
        other.join(&one.disable());
        assert!(!one.is_enabled() && !other.is_enabled());
    }

    #[test]
    fn a_disable_wins_until_somebody_who_has_seen_it_enables() {
        let (mut one, mut other) = (DwFlag::bottom(), DwFlag::bottom());
        assert!(!one.is_enabled());
        let (on, off) = (one.enable(A).unwrap(), other.disable(B).unwrap());
        assert!(one.is_enabled() && !other.is_enabled());
        assert!(one.join(&off) && other.join(&on));
        assert!(!one.is_enabled() && one == other);
        other.join(&one.enable(A).unwrap());
        assert!(one.is_enabled() && other.is_enabled());
        other.join(&one.disable(A).unwrap());
        assert!(!one.is_enabled() && !other.is_enabled());
    }
}
