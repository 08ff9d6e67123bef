//! Runs one history, and checks every step of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::slices::{Broken, check_join, equal, joined};
use super::step::Name;
use super::suite::Suite;
use super::{Event, Report, Rng, Situation, Step, Visible};
use crate::causal::ReplicaId;
use crate::crdt::Crdt;

/// A check of all triples costs the cube of it.
const SAMPLE: usize = 6;
/// All orders of so many last deltas.
const PERMUTED_MAX: usize = 5;

/// The id of a replica of a [`Suite`]'s histories, by its number: for operations that name one. Some are equal in the low half
/// of their bits, some in the high half, and they do not order as the replicas do.
#[must_use]
pub fn replica_id(number: usize) -> ReplicaId {
    const HIGH: u128 = 1 << 64;
    let ids = [2 * HIGH + 7, HIGH + 7, 2 * HIGH + 1, 7, u128::MAX, u128::MAX - HIGH];
    ReplicaId::from_u128(ids.get(number).copied().unwrap_or(number as u128))
}

struct Replica<T: Crdt> {
    state: T,
    visible: Visible<T::Op>,
    /// Messages that arrived, by number.
    arrived: BTreeSet<usize>,
    last_op: usize,
    cloned: bool,
}

struct Message<T: Crdt> {
    state: T,
    brings: Visible<T::Op>,
    from: usize,
    is_delta: bool,
}

/// A history as it goes.
pub(super) struct Run<'a, T: Crdt> {
    suite: &'a Suite<T>,
    replicas: BTreeMap<usize, Replica<T>>,
    messages: BTreeMap<usize, Message<T>>,
    all: Visible<T::Op>,
    states: Vec<T>,
    report: Report,
}

impl<'a, T: Crdt + Debug> Run<'a, T> {
    /// Runs a whole history. Returns what it met.
    pub(super) fn all(suite: &'a Suite<T>, replicas: usize, steps: &[(usize, Step<T::Op>)]) -> Result<Report, Broken> {
        let replica =
            || Replica { state: T::bottom(), visible: Visible::new(), arrived: BTreeSet::new(), last_op: 0, cloned: false };
        let mut run = Self {
            suite,
            replicas: (0..replicas).map(|slot| (slot, replica())).collect(),
            messages: BTreeMap::new(),
            all: Visible::new(),
            states: Vec::new(),
            report: Report::default(),
        };
        for (number, step) in steps {
            run.step(*number, step)?;
            run.report.steps += 1;
        }
        run.count_losses();
        run.exchange()?;
        run.permute()?;
        run.sample()?;
        run.report.cases = 1;
        Ok(run.report)
    }

    fn step(&mut self, number: usize, step: &Step<T::Op>) -> Result<(), Broken> {
        match step {
            Step::Apply { at, op } => self.apply(number, *at, op),
            Step::Send { from } => {
                if let Some(message) = self.state_of(*from) {
                    self.messages.insert(number, message);
                }
                Ok(())
            }
            Step::Sync { from, to } => {
                let Some(message) = self.state_of(*from) else { return Ok(()) };
                self.receive(&message, *to)
            }
            Step::Deliver { message: sent, to } => {
                let Some(message) = self.take(*sent, *to) else { return Ok(()) };
                self.receive(&message, *to)
            }
            Step::Group { messages, to } => {
                let mut group: Option<Message<T>> = None;
                for sent in messages {
                    let Some(message) = self.take(*sent, *to) else { continue };
                    if let Some(group) = &mut group {
                        group.state = joined(&group.state, &message.state)?;
                        group.brings.add(&message.brings);
                        self.report.meet(Situation::Group);
                    } else {
                        group = Some(message);
                    }
                }
                group.map_or(Ok(()), |group| self.receive(&group, *to))
            }
            Step::Restart { at } => self.restart(*at),
            Step::Clone { of, to } => {
                if let (Some(replica), false) = (self.replicas.get(of), self.replicas.contains_key(to)) {
                    let (state, visible) = (self.passed(&replica.state)?, replica.visible.clone());
                    let replica = Replica { state, visible, arrived: replica.arrived.clone(), last_op: 0, cloned: true };
                    self.replicas.insert(*to, replica);
                }
                Ok(())
            }
        }
    }

    fn apply(&mut self, number: usize, at: usize, op: &T::Op) -> Result<(), Broken> {
        let Some(replica) = self.replicas.get_mut(&at) else { return Ok(()) };
        let before = replica.state.clone();
        let Ok(delta) = replica.state.apply(op, replica_id(at)) else {
            self.report.meet(Situation::Refused);
            return equal("refused operations change nothing", &replica.state, &before, format_args!("after {op:?}"));
        };
        let after = replica.state.clone();
        let seen = replica.visible.events.keys().copied().collect();
        let on_whole = replica.visible.is_whole();
        let event = Rc::new(Event { op: op.clone(), replica: replica_id(at), number, seen, on_whole });
        if self.all.len() > replica.visible.len() {
            self.report.meet(Situation::Concurrent);
        }
        if replica.cloned {
            self.report.meet(Situation::Clone);
        }
        let mut brings = replica.visible.clone();
        brings.events.retain(|_, earlier| (self.suite.brings)(&replica.visible, earlier, &event));
        brings.events.insert(number, Rc::clone(&event));
        replica.visible.events.insert(number, Rc::clone(&event));
        replica.last_op = number;
        self.all.events.insert(number, event);
        self.check_delta(&before, &delta, &after, at, op)?;
        self.messages.insert(number, Message { state: delta, brings, from: at, is_delta: true });
        self.check_replica(at)
    }

    fn check_delta(&mut self, before: &T, delta: &T, after: &T, at: usize, op: &T::Op) -> Result<(), Broken> {
        let of = format_args!("{before:?} joined with {delta:?}, the delta of {op:?}");
        equal("delta", &joined(before, delta)?, after, of)?;
        equal("delta is joined", &joined(after, delta)?, after, "the state after an operation, joined with its delta")?;
        equal("monotone", &joined(before, after)?, after, format_args!("the state before {op:?} joined with the state after"))?;
        equal("idempotent", &joined(delta, delta)?, delta, "a delta joined with itself")?;
        equal("idempotent", &joined(after, after)?, after, "the state after an operation joined with itself")?;
        for (slot, peer) in self.replicas.iter().filter(|(slot, _)| **slot != at) {
            let peer = joined(&peer.state, before)?;
            let of = format_args!("{} at {peer:?}, joined with {delta:?}, the delta of {op:?}", Name(*slot));
            equal("delta at a peer", &joined(&peer, delta)?, &joined(&peer, after)?, of)?;
            self.report.checks += 1;
        }
        self.report.checks += 5;
        Ok(())
    }

    fn receive(&mut self, message: &Message<T>, to: usize) -> Result<(), Broken> {
        let Some(replica) = self.replicas.get_mut(&to) else { return Ok(()) };
        let after = joined(&replica.state, &message.state)?;
        let of = format_args!("of {:?} and {:?}", replica.state, message.state);
        equal("commutative", &joined(&message.state, &replica.state)?, &after, of)?;
        equal("monotone", &joined(&replica.state, &after)?, &after, format_args!("with the join, {of}"))?;
        equal("monotone", &joined(&message.state, &after)?, &after, format_args!("with the join, {of}"))?;
        equal("idempotent", &joined(&after, &message.state)?, &after, format_args!("joined again, {of}"))?;
        replica.state = after;
        replica.visible.add(&message.brings);
        self.report.checks += 4;
        self.check_replica(to)
    }

    fn restart(&mut self, at: usize) -> Result<(), Broken> {
        let Some(replica) = self.replicas.get(&at) else { return Ok(()) };
        let state = self.passed(&replica.state)?;
        equal("restart", &state, &replica.state, "the state after a restart")?;
        self.report.meet(Situation::Restart);
        if let Some(replica) = self.replicas.get_mut(&at) {
            replica.state = state;
        }
        self.check_replica(at)
    }

    /// What a restart leaves of a state.
    fn passed(&self, state: &T) -> Result<T, Broken> {
        self.suite.codec.as_ref().map_or_else(|| Ok(state.clone()), |codec| codec.pass(state))
    }

    /// The state is the join of what arrived, in whatever order; and it reads what the specification says.
    fn check_replica(&mut self, at: usize) -> Result<(), Broken> {
        let Some(replica) = self.replicas.get(&at) else { return Ok(()) };
        let mut join = T::bottom();
        for message in replica.visible.events.keys().filter_map(|number| self.messages.get(number)) {
            join.join(&message.state);
        }
        equal("state is the join of its deltas", &replica.state, &join, format_args!("at {}", Name(at)))?;
        self.check_bytes(&replica.state, &join)?;
        // A delta takes away what its replica had when it was made, not what was gone by then: that can show until all has come.
        if let Some(spec) = self.suite.spec.as_ref().filter(|_| replica.visible.is_whole()) {
            let of = format_args!("read at {} of {:?}", Name(at), replica.state);
            equal("specification", &replica.state.read(), &spec(&replica.visible), of)?;
        }
        self.states.push(replica.state.clone());
        self.report.checks += 2;
        Ok(())
    }

    fn check_bytes(&self, a: &T, b: &T) -> Result<(), Broken> {
        let Some(codec) = &self.suite.codec else { return Ok(()) };
        equal("equal bytes", &codec.bytes(a)?, &codec.bytes(b)?, format_args!("of {a:?}, made in two orders"))
    }

    fn state_of(&self, from: usize) -> Option<Message<T>> {
        let replica = self.replicas.get(&from)?;
        Some(Message { state: replica.state.clone(), brings: replica.visible.clone(), from, is_delta: false })
    }

    /// A message as it arrives, and what is met by that.
    fn take(&mut self, sent: usize, to: usize) -> Option<Message<T>> {
        let message = self.messages.get(&sent)?;
        let origin = self.replicas.get(&message.from).map_or(0, |replica| replica.last_op);
        let replica = self.replicas.get_mut(&to)?;
        let later = replica.arrived.iter().rev().take_while(|other| **other > sent);
        let mut later = later.filter_map(|other| self.messages.get(other));
        if !replica.arrived.contains(&sent) && later.any(|other| other.from == message.from) {
            self.report.meet(Situation::Reordering);
        }
        if origin > sent {
            self.report.meet(Situation::Late);
        }
        let mut seen = message.brings.iter().flat_map(|event| &event.seen);
        if message.is_delta && seen.any(|before| !replica.visible.events.contains_key(before)) {
            self.report.meet(Situation::Gap);
        }
        if !replica.arrived.insert(sent) {
            self.report.meet(Situation::Repetition);
        }
        let Message { state, brings, from, is_delta } = message;
        Some(Message { state: state.clone(), brings: brings.clone(), from: *from, is_delta: *is_delta })
    }

    fn count_losses(&mut self) {
        for number in self.messages.keys() {
            if self.replicas.values().all(|replica| !replica.arrived.contains(number)) {
                self.report.meet(Situation::Loss);
            }
        }
    }

    /// All exchange with all, twice: then all are equal.
    fn exchange(&mut self) -> Result<(), Broken> {
        let slots: Vec<usize> = self.replicas.keys().copied().collect();
        for (from, to) in [(); 2].iter().flat_map(|()| slots.iter().flat_map(|from| slots.iter().map(move |to| (*from, *to)))) {
            if let Some(message) = self.state_of(from).filter(|_| from != to) {
                self.receive(&message, to)?;
            }
        }
        let Some(first) = self.replicas.get(&0) else { return Ok(()) };
        for (slot, replica) in &self.replicas {
            let of = format_args!("at {} after an exchange of all with all, against A", Name(*slot));
            equal("convergence", &replica.state, &first.state, of)?;
            equal("convergence", &replica.state.read(), &first.state.read(), format_args!("read {of}"))?;
            self.check_bytes(&replica.state, &first.state)?;
            self.report.checks += 2;
        }
        Ok(())
    }

    /// Every order of the last deltas gives the same state: of all, and of the replica that made the most.
    fn permute(&mut self) -> Result<(), Broken> {
        let mut made: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for number in self.all.events.keys() {
            if let Some(message) = self.messages.get(number) {
                made.entry(message.from).or_default().push(*number);
            }
        }
        let all: Vec<usize> = self.all.events.keys().copied().collect();
        let busiest = made.into_values().max_by_key(Vec::len).unwrap_or_default();
        for (numbers, count) in [(all, PERMUTED_MAX), (busiest, PERMUTED_MAX - 1)] {
            let last = numbers.get(numbers.len().saturating_sub(count)..).unwrap_or_default();
            let rest = self.all.events.keys().filter(|number| !last.contains(number));
            let mut base = T::bottom();
            for message in rest.filter_map(|number| self.messages.get(number)) {
                base.join(&message.state);
            }
            let expected = self.replicas.get(&0).map_or_else(T::bottom, |replica| replica.state.clone());
            let mut order = last.to_vec();
            let checked = permutations(&mut order, 0, &mut |order| {
                let mut state = base.clone();
                for message in order.iter().filter_map(|number| self.messages.get(number)) {
                    state.join(&message.state);
                }
                if state != expected {
                    equal("permutation", &state, &expected, format_args!("the deltas of steps {order:?} in this order"))?;
                }
                Ok(())
            })?;
            self.report.checks += checked;
        }
        Ok(())
    }

    /// Some of all states that were seen, and of all deltas.
    fn sample(&mut self) -> Result<(), Broken> {
        let deltas = self.messages.values().map(|message| &message.state);
        let seen: Vec<&T> = self.states.iter().chain(deltas).collect();
        let stride = (seen.len() / SAMPLE).max(1);
        let sample: Vec<T> = seen.into_iter().step_by(stride).take(SAMPLE).cloned().collect();
        self.report.checks += check_join(&sample)?;
        for check in &self.suite.checks {
            self.report.checks += check(&sample)?;
        }
        if let Some(codec) = &self.suite.codec {
            let mut rng = Rng::new(sample.len() as u64 + self.report.steps);
            for (state, other) in sample.iter().zip(sample.iter().skip(1)) {
                codec.pass(state)?;
                self.report.checks += 2 + codec.mutate(state, other, &mut rng)?;
            }
        }
        Ok(())
    }
}

/// Calls with every order of `items` from `at` on. Returns how many there are.
fn permutations(items: &mut [usize], at: usize, check: &mut impl FnMut(&[usize]) -> Result<(), Broken>) -> Result<u64, Broken> {
    if at == items.len() {
        return check(items).map(|()| 1);
    }
    let mut checked = 0;
    for with in at..items.len() {
        items.swap(at, with);
        checked += permutations(items, at + 1, check)?;
        items.swap(at, with);
    }
    Ok(checked)
}

/// The history again, in case it panics: that is a broken law too.
#[cfg(feature = "std")]
pub(super) fn caught<T: Crdt + Debug>(
    suite: &Suite<T>,
    replicas: usize,
    steps: &[(usize, Step<T::Op>)],
) -> Result<Report, Broken> {
    let run = std::panic::AssertUnwindSafe(|| Run::all(suite, replicas, steps));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Broken::new("no panic", "no panic".into(), text))
    })
}

/// Without `std` a panic cannot be caught.
#[cfg(not(feature = "std"))]
pub(super) fn caught<T: Crdt + Debug>(
    suite: &Suite<T>,
    replicas: usize,
    steps: &[(usize, Step<T::Op>)],
) -> Result<Report, Broken> {
    Run::all(suite, replicas, steps)
}
