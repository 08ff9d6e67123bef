//! Every short history of a type, against a rule that knows only which operations were seen.
//!
//! A history is its operations, in what order each replica did its own, and which others' each had received before: any, since
//! deltas arrive in any order, get lost, and come with states. It is run once, in one of the orders that it allows. At each
//! step, every set of its deltas is what some replica may hold, so each is joined in every order, and compared:
//!
//! | checked | of |
//! |---|---|
//! | an operation is the join of its delta, or is refused and changes nothing | each operation |
//! | the same deltas make the same state, in whatever order and however often they come; no join goes down | each set |
//! | it reads what the rule says | each set that has all that its operations had seen |
//! | a state that is sent brings what its deltas do | each set, and the state of whoever wrote last |
//! | the laws of joins, orders and parts | all sets of up to three operations |

use alloc::vec::Vec;
use core::fmt::Debug;

use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Decompose};
use crate::laws::{decompose_laws, join_laws, order_laws};

/// A set of events, by their numbers.
type Set = usize;

/// An operation that was done.
#[derive(Debug, Clone)]
pub(super) struct Event<Op> {
    pub(super) op: Op,
    number: usize,
    replica: usize,
    /// What its replica had received, or done itself.
    seen: Set,
}

impl<Op> Event<Op> {
    /// Who did it.
    pub(super) const fn replica(&self) -> usize {
        self.replica
    }

    /// Whether the other one was seen when it was done.
    pub(super) const fn has_seen(&self, other: &Self) -> bool {
        self.seen >> other.number & 1 == 1
    }
}

/// What a replica has received, or done itself.
#[derive(Debug)]
pub(super) struct Seen<'a, Op> {
    events: &'a [Event<Op>],
    set: Set,
}

impl<'a, Op> Seen<'a, Op> {
    /// The operations, each after all that it has seen.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Event<Op>> + Clone {
        let set = self.set;
        self.events.iter().filter(move |event| set >> event.number & 1 == 1)
    }

    /// Those that no other one has seen.
    pub(super) fn newest(&self) -> impl Iterator<Item = &'a Event<Op>> {
        self.iter().filter(|event| !self.iter().any(|later| later.has_seen(event)))
    }

    /// Whether all is here that any of them has seen.
    fn is_closed(&self) -> bool {
        self.iter().all(|event| event.seen & !self.set == 0)
    }

    /// Whether that was so too when each of them was done.
    fn was_closed(&self) -> bool {
        self.iter().all(|event| Seen { events: self.events, set: event.seen }.is_closed())
    }
}

/// What must be read, from what was seen.
pub(super) type Rule<T> = fn(&Seen<'_, <T as Crdt>::Op>) -> <T as Crdt>::Read;

/// How much was checked.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Checked {
    /// Different ones.
    pub(super) histories: u64,
    /// Of each history, the sets that a replica may hold.
    pub(super) views: u64,
    /// Of each history, what all replicas may hold: the states of the whole.
    pub(super) worlds: u64,
}

/// Checks a type.
pub(super) struct Histories<'a, T: Crdt> {
    ops: &'a [T::Op],
    rule: Rule<T>,
    /// Whether the rule needs that everybody had all, at each operation, that those before him had.
    whole: bool,
    replicas: usize,
    events: Vec<Event<T::Op>>,
    deltas: Vec<T>,
    /// For each set, the join of its deltas.
    states: Vec<T>,
    checked: Checked,
}

impl<'a, T: Crdt + Decompose + Debug> Histories<'a, T> {
    pub(super) const fn new(ops: &'a [T::Op], rule: Rule<T>) -> Self {
        let checked = Checked { histories: 0, views: 0, worlds: 0 };
        Self { ops, rule, whole: false, replicas: 0, events: Vec::new(), deltas: Vec::new(), states: Vec::new(), checked }
    }

    /// For types in which a delta says more than its operation did (a total), or less (nothing, where that was known): the rule is
    /// asked only where everybody had all, at each operation, that those before him had.
    pub(super) const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Checks every history of at most so many operations on so many replicas. Panics with what is wrong.
    pub(super) fn check(mut self, replicas: usize, ops: usize) -> Checked {
        self.replicas = replicas;
        self.states.push(T::bottom());
        self.go_on(ops);
        self.checked
    }

    fn go_on(&mut self, left: usize) {
        self.count();
        for replica in (0..self.replicas).filter(|_| left > 0) {
            let known = self.known(replica);
            for seen in (0..self.states.len()).filter(|seen| seen & known == known) {
                if !self.is_first_order(replica, seen) {
                    continue;
                }
                for op in self.ops {
                    if self.apply(op, replica, seen) {
                        self.go_on(left - 1);
                        self.events.pop();
                        self.deltas.pop();
                        self.states.truncate(self.states.len() / 2);
                    }
                }
            }
        }
    }

    fn count(&mut self) {
        self.checked.histories += 1;
        self.checked.views += self.states.len() as u64;
        let free = |replica| self.events.len() - self.known(replica).count_ones() as usize;
        self.checked.worlds += 1 << (0..self.replicas).map(free).sum::<usize>();
    }

    /// What a replica has seen for sure: what it did itself, and what it then had seen.
    fn known(&self, replica: usize) -> Set {
        self.events.iter().rfind(|event| event.replica == replica).map_or(0, |event| event.seen | 1 << event.number)
    }

    /// Of the orders in which operations can be done that have not seen each other, one is run: the one in which nothing could
    /// be done earlier, in place of an operation of a later replica.
    fn is_first_order(&self, replica: usize, seen: Set) -> bool {
        let unseen = self.events.iter().rev().take_while(|event| seen >> event.number & 1 == 0);
        unseen.clone().all(|event| event.replica < replica)
    }

    /// Does an operation at a replica that has seen so much, and checks all that comes of it. Whether it was not refused.
    fn apply(&mut self, op: &T::Op, replica: usize, seen: Set) -> bool {
        let before = &self.states[seen];
        let mut after = before.clone();
        let Ok(delta) = after.apply(op, ReplicaId::from_u128(replica as u128 + 1)) else {
            assert_eq!(after, *before, "refused, and changed");
            return false;
        };
        assert_eq!(joined(before, &delta), after, "{op:?} at {before:?} is not its delta {delta:?}");
        let number = self.events.len();
        self.events.push(Event { op: op.clone(), number, replica, seen });
        self.deltas.push(delta);
        for others in 0..1 << number {
            self.arrive(others);
        }
        let sent = seen | 1 << number;
        for set in 0..self.states.len() {
            let state = joined(&self.states[set], &self.states[sent]);
            assert_eq!(state, self.states[set | sent], "{set:b} and the state {sent:b} of {:?}", self.events);
        }
        if number < 3 {
            join_laws(&self.states);
            order_laws(&self.states);
            decompose_laws(&self.states);
        }
        true
    }

    /// The last delta, at a replica that has others.
    fn arrive(&mut self, others: Set) {
        let last = self.events.len() - 1;
        let (before, delta, set) = (&self.states[others], &self.deltas[last], others | 1 << last);
        let state = joined(before, delta);
        assert!(*before <= state && *delta <= state, "not above {before:?} and {delta:?}: {state:?}");
        for (number, delta) in self.deltas.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1) {
            let without = if number == last { others } else { set & !(1 << number) };
            let late = joined(&self.states[without], delta);
            assert_eq!(late, state, "delta {number} of {set:b} came last, of {:?}", self.events);
            assert!(!late.clone().join(delta), "delta {number} of {set:b} came twice, of {:?}", self.events);
        }
        let seen = Seen { events: &self.events, set };
        if seen.is_closed() && (!self.whole || seen.was_closed()) {
            assert_eq!(state.read(), (self.rule)(&seen), "of {state:?}, which has {seen:?}");
        }
        self.states.push(state);
    }
}

fn joined<T: Crdt + Debug>(a: &T, b: &T) -> T {
    let mut joined = a.clone();
    let changed = joined.join(b);
    assert_eq!(changed, joined != *a, "the join of {b:?} into {a:?} says wrongly whether it changed");
    joined
}
