//! A register of which the latest write is read, and a register by stamp.

use alloc::collections::BTreeSet;
use alloc::string::ToString;

use serde::{Deserialize, Serialize};

use super::NONE;
use crate::causal::ReplicaId;
use crate::codec::msgpack;
use crate::crdt::{Causal, Crdt, DotFun, DotStore, Lattice, Refused};
use crate::laws::{Rng, Suite, Visible};

/// Writes know nothing of those before: the value is chosen by the id of who wrote.
pub(super) const BY_ID: u8 = 1;

/// All writes that no other write knew of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Register<const FAULT: u8> {
    causal: Causal<DotFun<u8>>,
}

impl<const FAULT: u8> Lattice for Register<FAULT> {
    fn bottom() -> Self {
        Self { causal: Causal::bottom() }
    }

    fn join(&mut self, other: &Self) -> bool {
        self.causal.join(&other.causal)
    }
}

impl<const FAULT: u8> Crdt for Register<FAULT> {
    type Op = u8;
    type Read = BTreeSet<u8>;

    fn apply(&mut self, op: &u8, me: ReplicaId) -> Result<Self, Refused> {
        let dot = self.causal.context().next(me).ok_or(Refused::Exhausted)?;
        let replaced = self.causal.store().dots().filter(|dot| FAULT != BY_ID || dot.replica == me).collect();
        let delta = Self { causal: Causal::new(DotFun::from_iter([(dot, *op)]), replaced) };
        self.join(&delta);
        Ok(delta)
    }

    fn read(&self) -> BTreeSet<u8> {
        let entries = self.causal.store().iter();
        if FAULT == BY_ID {
            entries.last().map(|(_, value)| *value).into_iter().collect()
        } else {
            entries.map(|(_, value)| *value).collect()
        }
    }
}

pub(super) fn suite<const FAULT: u8>() -> Suite<Register<FAULT>> {
    let spec = |visible: &Visible<u8>| {
        let latest = visible.iter().filter(|event| !visible.is_followed(event, |_| true));
        latest.map(|event| event.op).collect()
    };
    Suite::new(|rng: &mut Rng| u8::try_from(rng.below(4)).unwrap()).spec(spec)
}

/// Of equal stamps the own value stays.
pub(super) const TIES_KEPT: u8 = 1;
/// A value and none: none, and again the value, when it is joined once more.
pub(super) const JOIN_TO_NONE: u8 = 2;
/// A stamp wins by two, or else the greater value: a beats b, b beats c, c beats a.
pub(super) const CIRCLE: u8 = 3;
/// Bytes depend on how it came about.
pub(super) const BYTES_OF_HISTORY: u8 = 4;

/// The write with the highest stamp; of equal stamps, that of the greatest value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stamped<const FAULT: u8> {
    latest: Option<(u8, u8)>,
    joins: u8,
}

impl<const FAULT: u8> PartialEq for Stamped<FAULT> {
    fn eq(&self, other: &Self) -> bool {
        self.latest == other.latest
    }
}

impl<const FAULT: u8> Lattice for Stamped<FAULT> {
    fn bottom() -> Self {
        Self { latest: None, joins: 0 }
    }

    fn join(&mut self, other: &Self) -> bool {
        let (Some(theirs), ours) = (other.latest, self.latest) else { return false };
        let wins = ours.is_none_or(|ours| match FAULT {
            TIES_KEPT => theirs.0 > ours.0,
            CIRCLE if theirs.0.abs_diff(ours.0) < 2 => (theirs.1, theirs.0) > (ours.1, ours.0),
            _ => theirs > ours,
        });
        if FAULT == JOIN_TO_NONE && ours.is_some_and(|ours| ours.0 == theirs.0 && ours.1 != theirs.1) {
            self.latest = None;
            return true;
        }
        if wins {
            self.latest = Some(theirs);
            self.joins = if FAULT == BYTES_OF_HISTORY { self.joins.saturating_add(1) } else { 0 };
        }
        wins
    }
}

impl<const FAULT: u8> Crdt for Stamped<FAULT> {
    type Op = (u8, u8);
    type Read = Option<u8>;

    fn apply(&mut self, op: &(u8, u8), _me: ReplicaId) -> Result<Self, Refused> {
        let delta = Self { latest: Some(*op), joins: 0 };
        self.join(&delta);
        Ok(delta)
    }

    fn read(&self) -> Option<u8> {
        self.latest.map(|(_, value)| value)
    }
}

/// Without a specification: the algebra alone.
pub(super) fn unspecified<const FAULT: u8>() -> Suite<Stamped<FAULT>> {
    Suite::new(|rng: &mut Rng| (u8::try_from(rng.below(4)).unwrap(), u8::try_from(rng.below(3)).unwrap()))
}

pub(super) fn stamped<const FAULT: u8>() -> Suite<Stamped<FAULT>> {
    unspecified().spec(|visible| visible.iter().map(|event| event.op).max().map(|(_, value)| value))
}

/// The right one, whose reader takes what is never written.
pub(super) fn lenient() -> Suite<Stamped<NONE>> {
    stamped().codec_of(
        |state| msgpack::to_bytes(state).map_err(|error| error.to_string()),
        |bytes| msgpack::from_bytes(bytes).map_err(|error| error.to_string()),
    )
}
