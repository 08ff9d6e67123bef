//! A map by small numbers of something nested: of sets, or of counters. A remove takes away what it saw of a key.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt::Debug;

use crate::causal::ReplicaId;
use crate::crdt::{Causal, Crdt, DotFun, DotMap, Lattice, Refused};
use crate::laws::{Rng, Suite, Visible};

/// A replica goes on in its own entry: a new dot in place of its last one, with all that was at that one. Who removed the last
/// one has not seen the new, so what was removed is back.
pub(super) const GOES_ON_IN_ENTRY: u8 = 1;
/// A remove writes the opposite of what it saw: two of them at once take it away twice.
pub(super) const REMOVE_IS_OPPOSITE: u8 = 2;
/// A remove takes all that its replica has written to any key, since it keeps one number for the whole map.
pub(super) const ONE_NUMBER_FOR_ALL: u8 = 3;

/// What is nested: of each edit a value, which are read as one.
pub(super) trait Nested: Clone + Debug + Default + PartialEq {
    fn plus(&self, other: &Self) -> Self;
    fn opposite(&self) -> Self;
}

impl Nested for BTreeSet<u8> {
    fn plus(&self, other: &Self) -> Self {
        self.union(other).copied().collect()
    }

    fn opposite(&self) -> Self {
        self.clone()
    }
}

impl Nested for i64 {
    fn plus(&self, other: &Self) -> Self {
        self + other
    }

    fn opposite(&self) -> Self {
        -self
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Map<V, const FAULT: u8> {
    causal: Causal<DotMap<u8, DotFun<V>>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op<V> {
    Edit(u8, V),
    Remove(u8),
}

fn sum<'a, V: Nested + 'a>(values: impl Iterator<Item = &'a V>) -> V {
    values.fold(V::default(), |sum, value| sum.plus(value))
}

impl<V: Nested, const FAULT: u8> Lattice for Map<V, FAULT> {
    fn bottom() -> Self {
        Self { causal: Causal::bottom() }
    }

    fn join(&mut self, other: &Self) -> bool {
        self.causal.join(&other.causal)
    }
}

impl<V: Nested, const FAULT: u8> Map<V, FAULT> {
    fn edit(&self, key: u8, mut value: V, me: ReplicaId) -> Result<Self, Refused> {
        let dot = self.causal.context().next(me).ok_or(Refused::Exhausted)?;
        let entry = self.causal.store().get(&key).into_iter().flat_map(DotFun::iter);
        let own: BTreeMap<_, _> = entry.filter(|(old, _)| FAULT == GOES_ON_IN_ENTRY && old.replica == me).collect();
        value = value.plus(&sum(own.values().copied()));
        let store = DotMap::from_iter([(key, DotFun::from_iter([(dot, value)]))]);
        Ok(Self { causal: Causal::new(store, own.into_keys().collect()) })
    }
}

impl<V: Nested, const FAULT: u8> Crdt for Map<V, FAULT> {
    type Op = Op<V>;
    type Read = BTreeMap<u8, V>;

    fn apply(&mut self, op: &Op<V>, me: ReplicaId) -> Result<Self, Refused> {
        let entry = |key: &u8| self.causal.store().get(key).into_iter().flat_map(DotFun::iter);
        let delta = match op {
            Op::Edit(key, value) => self.edit(*key, value.clone(), me)?,
            Op::Remove(key) if FAULT == REMOVE_IS_OPPOSITE => {
                self.edit(*key, sum(entry(key).map(|(_, value)| value)).opposite(), me)?
            }
            Op::Remove(key) => {
                let mut seen: crate::causal::CausalContext = entry(key).map(|(dot, _)| dot).collect();
                if FAULT == ONE_NUMBER_FOR_ALL {
                    for dot in entry(key).map(|(dot, _)| dot) {
                        seen.insert_range(dot.replica, 1..=dot.seq);
                    }
                }
                Self { causal: Causal::new(DotMap::new(), seen) }
            }
        };
        self.join(&delta);
        Ok(delta)
    }

    fn read(&self) -> BTreeMap<u8, V> {
        let entries = self.causal.store().iter().map(|(key, entry)| (*key, sum(entry.iter().map(|(_, value)| value))));
        entries.filter(|(_, value)| *value != V::default()).collect()
    }
}

/// Of each key all edits that no remove of it has seen.
fn spec<V: Nested>(visible: &Visible<Op<V>>) -> BTreeMap<u8, V> {
    let mut map: BTreeMap<u8, V> = BTreeMap::new();
    for event in visible.iter() {
        if let Op::Edit(key, value) = &event.op
            && !visible.is_followed(event, |op| *op == Op::Remove(*key))
        {
            let entry = map.entry(*key).or_default();
            *entry = entry.plus(value);
        }
    }
    map
}

fn suite<V: Nested + 'static, const FAULT: u8>(value: impl Fn(&mut Rng) -> V + 'static) -> Suite<Map<V, FAULT>> {
    let op = move |rng: &mut Rng| {
        let key = u8::try_from(rng.below(2)).unwrap();
        if rng.chance(65) { Op::Edit(key, value(rng)) } else { Op::Remove(key) }
    };
    Suite::new(op).spec(spec)
}

pub(super) fn of_sets<const FAULT: u8>() -> Suite<Map<BTreeSet<u8>, FAULT>> {
    suite(|rng| BTreeSet::from([u8::try_from(rng.below(3)).unwrap()]))
}

pub(super) fn of_counters<const FAULT: u8>() -> Suite<Map<i64, FAULT>> {
    suite(|rng| *rng.pick(&[1, 3, 10]).unwrap())
}
