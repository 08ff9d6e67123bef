//! Every short history of every type. A type takes a line in the list, and a rule.

mod histories;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use histories::{Checked, Histories, Seen};

use super::*;
use crate::causal::{CausalContext, Dot, ReplicaId, SEQ_MAX};

/// Two tests for each: one that is quick, and one of all histories of up to 6 operations on 2 replicas, and of 4 on 3, which takes
/// minutes and tells how many there are: `cargo test --lib crdt::tests::all -- --ignored --nocapture`.
macro_rules! every_history {
    ($($name:ident: $histories:expr;)+) => {
        mod short {
            use super::*;

            $(#[test]
            fn $name() {
                $histories.check(2, 4);
                $histories.check(3, 3);
            })+
        }

        mod all {
            use super::*;

            $(#[test]
            #[ignore = "takes minutes"]
            fn $name() {
                tell(stringify!($name), [$histories.check(2, 6), $histories.check(3, 4)]);
            })+
        }
    };
}

fn tell(name: &str, [two, three]: [Checked; 2]) {
    #[cfg(feature = "std")]
    std::println!("{name}\n  6 operations on 2 replicas: {two:?}\n  4 operations on 3 replicas: {three:?}");
    #[cfg(not(feature = "std"))]
    let _ = (name, two, three);
}

const SET: [TwoPhaseSetOp<u8>; 3] = [TwoPhaseSetOp::Insert(1), TwoPhaseSetOp::Remove(1), TwoPhaseSetOp::Insert(2)];
const SETS: [SetOp<u8>; 3] = [SetOp::Add(1), SetOp::Remove(1), SetOp::Add(2)];
const LWW_MAP: [LwwMapOp<u8, u8, u8>; 3] =
    [LwwMapOp::Set { stamp: 1, key: 1, value: 0 }, LwwMapOp::Set { stamp: 0, key: 1, value: 1 }, LwwMapOp::Remove(1)];
const RESET: [ResetCounterOp; 3] = [ResetCounterOp::Add(1), ResetCounterOp::Add(-1), ResetCounterOp::Reset];
const CAUSAL_COUNTER: [CausalCounterOp; 3] = [CausalCounterOp::Add(1), CausalCounterOp::Add(-3), CausalCounterOp::Reset];
const MAP: [OrMapOp<u8, Option<u8>>; 3] = [OrMapOp::Update(1, Some(1)), OrMapOp::Update(2, Some(1)), OrMapOp::Remove(1)];
const MAP_OF_COUNTERS: [OrMapOp<u8, CausalCounterOp>; 3] =
    [OrMapOp::Update(1, CausalCounterOp::Add(1)), OrMapOp::Update(1, CausalCounterOp::Reset), OrMapOp::Remove(1)];
const MAP_OF_MAPS: [OrMapOp<u8, OrMapOp<u8, Option<u8>>>; 3] =
    [OrMapOp::Update(1, OrMapOp::Update(1, Some(1))), OrMapOp::Update(1, OrMapOp::Remove(1)), OrMapOp::Remove(1)];
const PAIRS: [OrMultiMapOp<u8, u8>; 3] = [OrMultiMapOp::Insert(1, 1), OrMultiMapOp::Remove(1, 1), OrMultiMapOp::RemoveAll(1)];
const BOUNDED: [BoundedCounterOp; 3] = [
    BoundedCounterOp::Grant(2),
    BoundedCounterOp::Take(1),
    BoundedCounterOp::Transfer { to: ReplicaId::from_u128(2), amount: 1 },
];

every_history! {
    all_adds_count: Histories::<GCounter>::new(&[0, 1, 2], |seen| seen.iter().map(|add| u128::from(add.op)).sum());
    all_adds_count_and_negative_ones: Histories::<PnCounter>::new(&[1, -1], |seen| seen.iter().map(|add| i128::from(add.op)).sum());
    a_reset_cancels_what_it_saw: Histories::<ResetCounter>::new(&RESET, what_no_reset_saw).whole();
    grants_less_takes: Histories::<BoundedCounter>::new(&BOUNDED, what_is_left);
    the_last_write_wins: Histories::<LwwRegister<u8, u8>>::new(&[(0, 1), (1, 0), (1, 1)], |seen| greatest(seen).map(|(_, value)| value));
    the_first_write_wins: Histories::<FirstWriteRegister<u8, u8>>::new(&[(0, 1), (1, 0), (1, 1)], |seen| least(seen).map(|(_, value)| value));
    the_last_deadline_wins: Histories::<Expiring<u8, u8>>::new(&[(0, 1), (1, 0), (1, 1)], greatest);
    the_greatest_stays: Histories::<Max<u8>>::new(&[0, 1, 2], greatest);
    the_least_stays: Histories::<Min<u8>>::new(&[0, 1, 2], least);
    once_on_always_on: Histories::<OneWayFlag>::new(&[()], |seen| seen.iter().next().is_some());
    all_elements_stay: Histories::<GSet<u8>>::new(&[1, 2], |seen| seen.iter().map(|insert| insert.op).collect());
    what_was_removed_stays_away: Histories::<TwoPhaseSet<u8>>::new(&SET, what_nobody_removed).whole();
    equal_items_are_one: Histories::<HyperLogLog<14>>::new(&[vec![1], vec![2]], how_many);
    enable_wins: Histories::<EwFlag>::new(&[true, false], is_on_for_somebody);
    disable_wins: Histories::<DwFlag>::new(&[true, false], is_on_for_all);
    an_add_wins: Histories::<OrSet<u8>>::new(&SETS, what_nobody_knew_and_removed);
    a_remove_wins: Histories::<RwSet<u8>>::new(&SETS, what_everybody_added_last);
    the_last_of_concurrent_writes_wins: Histories::<LwwMap<u8, u8, u8>>::new(&LWW_MAP, what_was_written_last);
    a_reset_takes_away_the_adds_that_it_saw: Histories::<CausalCounter>::new(&CAUSAL_COUNTER, what_no_reset_has_seen);
    an_update_of_a_key_wins_over_its_remove: Histories::<OrMap<u8, MvRegister<u8>>>::new(&MAP, every_concurrent_value_of_each_key);
    a_remove_of_a_key_takes_away_the_adds_that_it_saw: Histories::<OrMap<u8, CausalCounter>>::new(&MAP_OF_COUNTERS, what_no_remove_has_seen);
    a_remove_goes_all_the_way_down: Histories::<OrMap<u8, OrMap<u8, MvRegister<u8>>>>::new(&MAP_OF_MAPS, what_is_left_two_deep);
    an_insert_of_a_pair_wins: Histories::<OrMultiMap<u8, u8>>::new(&PAIRS, pairs_that_somebody_wants);
    every_concurrent_value_shows: Histories::<MvRegister<u8>>::new(&[Some(1), Some(2), None], every_concurrent_value);
}

fn greatest<Op: Ord + Clone>(seen: &Seen<'_, Op>) -> Option<Op> {
    seen.iter().map(|event| &event.op).max().cloned()
}

fn least<Op: Ord + Clone>(seen: &Seen<'_, Op>) -> Option<Op> {
    seen.iter().map(|event| &event.op).min().cloned()
}

fn what_no_reset_saw(seen: &Seen<'_, ResetCounterOp>) -> i128 {
    let mut sum = 0;
    for add in seen.iter() {
        let is_reset = |by: &histories::Event<_>| matches!(by.op, ResetCounterOp::Reset) && by.has_seen(add);
        if let ResetCounterOp::Add(amount) = add.op
            && !seen.iter().any(is_reset)
        {
            sum += i128::from(amount);
        }
    }
    sum
}

fn what_no_reset_has_seen(seen: &Seen<'_, CausalCounterOp>) -> i128 {
    let is_reset = |add: &histories::Event<_>| seen.iter().any(|by| by.op == CausalCounterOp::Reset && by.has_seen(add));
    let left = seen.iter().filter(|add| !is_reset(add));
    left.map(|add| if let CausalCounterOp::Add(amount) = add.op { i128::from(amount) } else { 0 }).sum()
}

fn what_is_left(seen: &Seen<'_, BoundedCounterOp>) -> u128 {
    let amount = |op| match op {
        BoundedCounterOp::Grant(amount) => i128::from(amount),
        BoundedCounterOp::Take(amount) => -i128::from(amount),
        BoundedCounterOp::Transfer { .. } => 0,
    };
    u128::try_from(seen.iter().map(|event| amount(event.op)).sum::<i128>()).unwrap()
}

/// A remove counts if an insert had been seen; an insert that had seen such a remove did nothing.
fn what_nobody_removed(seen: &Seen<'_, TwoPhaseSetOp<u8>>) -> BTreeSet<u8> {
    let inserts = |of: u8| seen.iter().filter(move |event| event.op == TwoPhaseSetOp::Insert(of));
    let removes = |of: u8| seen.iter().filter(move |event| event.op == TwoPhaseSetOp::Remove(of));
    let is_removed = |of: u8| removes(of).any(|remove| inserts(of).any(|insert| remove.has_seen(insert)));
    [1, 2].into_iter().filter(|of| inserts(*of).next().is_some() && !is_removed(*of)).collect()
}

fn of_set(op: &SetOp<u8>) -> u8 {
    match op {
        SetOp::Add(element) | SetOp::Remove(element) => *element,
    }
}

/// A later add takes the place of those that it has seen; a remove takes them away.
fn what_nobody_knew_and_removed(seen: &Seen<'_, SetOp<u8>>) -> BTreeSet<u8> {
    let is_over = |event: &histories::Event<SetOp<u8>>| {
        seen.iter().any(|later| of_set(&later.op) == of_set(&event.op) && later.has_seen(event))
    };
    let live = seen.iter().filter_map(|add| match add.op {
        SetOp::Add(element) => (!is_over(add)).then_some(element),
        SetOp::Remove(_) => None,
    });
    live.collect()
}

fn what_everybody_added_last(seen: &Seen<'_, SetOp<u8>>) -> BTreeSet<u8> {
    let newest = |element| {
        let all = move || seen.iter().filter(move |event| of_set(&event.op) == element);
        all().filter(move |event| !all().any(|later| later.has_seen(event)))
    };
    let is_there =
        |element: &u8| newest(*element).next().is_some() && newest(*element).all(|event| event.op == SetOp::Add(*element));
    [1, 2].into_iter().filter(is_there).collect()
}

fn what_was_written_last(seen: &Seen<'_, LwwMapOp<u8, u8, u8>>) -> BTreeMap<u8, u8> {
    let newest = seen.newest().filter_map(|event| match event.op {
        LwwMapOp::Set { stamp, value, .. } => Some((stamp, value)),
        LwwMapOp::Remove(_) => None,
    });
    newest.max().map(|(_, value)| (1, value)).into_iter().collect()
}

/// So few are counted exactly.
fn how_many(seen: &Seen<'_, Vec<u8>>) -> u64 {
    seen.iter().map(|add| &add.op).collect::<BTreeSet<_>>().len() as u64
}

/// A disable removes what it has seen, and is no event itself.
fn is_on_for_somebody(seen: &Seen<'_, bool>) -> bool {
    seen.iter().any(|enable| enable.op && !seen.iter().any(|later| later.has_seen(enable)))
}

fn is_on_for_all(seen: &Seen<'_, bool>) -> bool {
    seen.newest().next().is_some() && seen.newest().all(|newest| newest.op)
}

/// In the order of their writers, of whom each has one.
fn every_concurrent_value(seen: &Seen<'_, Option<u8>>) -> Vec<u8> {
    let mut newest: Vec<_> = seen.newest().collect();
    newest.sort_by_key(|event| event.replica());
    newest.iter().filter_map(|event| event.op).collect()
}

/// Of each key, of what nobody has seen who did something to it.
fn every_concurrent_value_of_each_key(seen: &Seen<'_, OrMapOp<u8, Option<u8>>>) -> BTreeMap<u8, Vec<u8>> {
    let mut values: BTreeMap<u8, Vec<(usize, u8)>> = BTreeMap::new();
    for event in seen.iter() {
        let OrMapOp::Update(key, Some(value)) = event.op else { continue };
        let is_of_key = |op: &_| matches!(op, OrMapOp::Update(of, _) | OrMapOp::Remove(of) if *of == key);
        if !seen.iter().any(|later| is_of_key(&later.op) && later.has_seen(event)) {
            values.entry(key).or_default().push((event.replica(), value));
        }
    }
    values.values_mut().for_each(|values| values.sort_unstable());
    values.into_iter().map(|(key, values)| (key, values.into_iter().map(|(_, value)| value).collect())).collect()
}

fn what_no_remove_has_seen(seen: &Seen<'_, OrMapOp<u8, CausalCounterOp>>) -> BTreeMap<u8, i128> {
    let mut sums = BTreeMap::new();
    for event in seen.iter() {
        let OrMapOp::Update(key, CausalCounterOp::Add(amount)) = event.op else { continue };
        let resets = |op: &_| *op == OrMapOp::Remove(key) || *op == OrMapOp::Update(key, CausalCounterOp::Reset);
        if !seen.iter().any(|later| resets(&later.op) && later.has_seen(event)) {
            *sums.entry(key).or_default() += i128::from(amount);
        }
    }
    sums
}

/// All do something at or above the one place.
fn what_is_left_two_deep(seen: &Seen<'_, OrMapOp<u8, OrMapOp<u8, Option<u8>>>>) -> BTreeMap<u8, BTreeMap<u8, Vec<u8>>> {
    let newest = seen.newest().filter(|event| matches!(event.op, OrMapOp::Update(1, OrMapOp::Update(1, Some(1)))));
    let values = vec![1; newest.count()];
    if values.is_empty() { BTreeMap::new() } else { [(1, [(1, values)].into())].into() }
}

/// All are of the one pair. An insert takes the place of those that it saw.
fn pairs_that_somebody_wants(seen: &Seen<'_, OrMultiMapOp<u8, u8>>) -> BTreeMap<u8, BTreeSet<u8>> {
    let is_there = seen.newest().any(|event| event.op == OrMultiMapOp::Insert(1, 1));
    if is_there { [(1, [1].into())].into() } else { BTreeMap::new() }
}

/// Against numbers that were counted another way: by a search through all that can happen, an operation, the delivery of one
/// delta or of a state at a time.
#[test]
fn no_history_is_left_out_and_none_is_run_twice() {
    let of = |replicas, ops| {
        let checked = Histories::<OneWayFlag>::new(&[()], |seen| seen.iter().next().is_some()).check(replicas, ops);
        (checked.histories, checked.worlds)
    };
    assert_eq!([of(2, 2), of(2, 3), of(2, 4), of(2, 5)], [(8, 21), (24, 93), (86, 461), (366, 2_573)]);
    assert_eq!([of(3, 2), of(3, 3)], [(16, 157), (86, 2_189)]);
}

/// One total for all: a lattice, with the right deltas, and wrong.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
struct Shared(u64);

impl Lattice for Shared {
    fn bottom() -> Self {
        Self(0)
    }

    fn join(&mut self, other: &Self) -> bool {
        let changed = other.0 > self.0;
        self.0 = self.0.max(other.0);
        changed
    }
}

impl Decompose for Shared {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        (self.0 > 0).then(|| self.clone()).into_iter()
    }
}

impl Crdt for Shared {
    type Op = u64;
    type Read = u64;

    fn apply(&mut self, amount: &u64, _me: ReplicaId) -> Result<Self, Refused> {
        self.0 += amount;
        Ok(self.clone())
    }

    fn read(&self) -> u64 {
        self.0
    }
}

#[test]
#[should_panic(expected = "of Shared(1), which has Seen")]
fn a_counter_that_loses_concurrent_adds_is_caught() {
    Histories::<Shared>::new(&[1], |seen| seen.iter().map(|add| add.op).sum()).check(2, 2);
}

#[test]
fn a_replica_without_numbers_left_is_refused_and_nothing_changes() {
    let me = ReplicaId::from_u128(1);
    let last = Dot::new(me, SEQ_MAX);
    let mut register = MvRegister::from_causal(Causal::new(DotFun::from_iter([(last, 7)]), CausalContext::new()));
    let before = register.clone();
    assert_eq!(register.set(me, 8), Err(Refused::Exhausted));
    assert_eq!(register, before);
    assert!(register.set(ReplicaId::from_u128(2), 8).is_ok());
    assert_eq!(register.values().collect::<Vec<_>>(), [&8]);
}
