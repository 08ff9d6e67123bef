//! Traps that data types fall into and that no history shows: forged bytes, poison, ids, floats, other processes.
//!
//! `docs/testing.md` lists all traps by number, with their tests.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tombolo::causal::{CausalContext, Dot, Hlc, SEQ_MAX};
use tombolo::codec::msgpack::{from_bytes, from_canonical_bytes, to_bytes};
use tombolo::crdt::{
    BoundedCounter, Causal, CausalType, Crdt, DotFun, DotMap, DotSet, DwFlag, EwFlag, FirstWriteRegister, GCounter, GSet,
    Lattice, LwwRegister, Max, Min, MvRegister, OneWayFlag, PnCounter, Refused, ResetCounter, TwoPhaseSet,
};
use tombolo::laws::{Rng, Suite, replica_id};
use tombolo::proptest::{causal_contexts, dots, histories, version_vectors};
use tombolo::{ReplicaId, VersionVector};

const A: ReplicaId = ReplicaId::from_u128(1);
const B: ReplicaId = ReplicaId::from_u128(2);

fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..Config::default() }
}

// 15: poison.

/// A peer claims the last number of a replica: that replica is told that it has none left, and the others write on.
fn assert_poisoned_dot_is_told<T: CausalType + Crdt + Debug>(claimed: T::Store, op: &T::Op) {
    let mut poisoned = T::from_causal(Causal::new(claimed, CausalContext::new()));
    let before = poisoned.clone();
    assert_eq!(poisoned.apply(op, A), Err(Refused::Exhausted));
    assert_eq!(poisoned, before, "refused, and changed");
    poisoned.apply(op, B).unwrap();
    let mut after = before;
    after.apply(op, B).unwrap();
    assert_eq!(poisoned.read(), after.read());
}

#[test]
fn a_replica_whose_last_number_a_peer_claims_is_told_and_others_write_on() {
    let last = Dot::new(A, SEQ_MAX);
    assert_poisoned_dot_is_told::<MvRegister<u8>>(DotFun::from_iter([(last, 7)]), &Some(8));
    assert_poisoned_dot_is_told::<EwFlag>(DotSet::from_iter([last]), &true);
    assert_poisoned_dot_is_told::<DwFlag>(DotFun::from_iter([(last, false)]), &true);
}

#[test]
fn a_number_above_the_last_is_in_no_context() {
    let above = Dot::new(A, SEQ_MAX + 1);
    assert!(!CausalContext::new().insert(above));
    assert!(DotSet::from_iter([above]).is_empty());
    let forged = to_bytes(&[above]).unwrap();
    assert!(from_bytes::<DotSet>(&forged).is_err());
}

#[test]
fn a_total_at_its_end_is_told_to_its_replica_and_others_count_on() {
    let forged = to_bytes(&[(A, u64::MAX)]).unwrap();
    let mut counter: GCounter = from_canonical_bytes(&forged).unwrap();
    assert_eq!(counter.add(A, 1), Err(Refused::Overflow));
    counter.add(B, 1).unwrap();
    assert_eq!(counter.value(), u128::from(u64::MAX) + 1);
}

/// The register does not count by itself: who makes its stamps asks the clock for one above the last, and is told if there is none.
#[test]
fn a_stamp_at_the_end_of_time_has_no_next_one_and_any_other_is_written_over() {
    let mut register: LwwRegister<&str, Hlc> = LwwRegister::new();
    let _unsent = register.set(Hlc::from_bits(u64::MAX - 1), "from a peer");
    let next = register.stamp().and_then(|stamp| stamp.tick(0)).unwrap();
    let _unsent = register.set(next, "mine");
    assert_eq!(register.get(), Some(&"mine"));
    assert_eq!(register.stamp().unwrap().tick(0), None);
}

// 18: removes that come before what they remove.

#[test]
fn removes_that_come_first_hold_and_leave_one_interval_behind() {
    let mut writer = EwFlag::bottom();
    let mut deltas = Vec::new();
    for _ in 0..1_000 {
        deltas.push(writer.enable(A).unwrap());
        deltas.push(writer.disable());
    }
    let mut reader = EwFlag::bottom();
    let (enables, disables): (Vec<_>, Vec<_>) = deltas.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    for (_, delta) in disables.iter().rev().chain(enables.iter().rev()) {
        reader.join(delta);
        assert!(!reader.is_enabled(), "what was removed came back");
    }
    assert_eq!(reader, writer);
    assert_eq!(reader.as_causal().context().iter_intervals().count(), 1);
}

// 19, 20: forms that no constructor makes.

fn assert_refused<T: DeserializeOwned + Debug>(form: &impl Serialize) {
    let read = from_bytes::<T>(&to_bytes(form).unwrap());
    assert!(read.is_err(), "{read:?} was read");
}

#[test]
fn a_context_with_intervals_that_are_none_is_not_read() {
    for intervals in
        [&[(5_u64, 3_u64)][..], &[(1, 4), (3, 9)], &[(1, 4), (5, 9)], &[(0, 4)], &[(1, SEQ_MAX + 1)], &[(6, 7), (1, 2)], &[]]
    {
        assert_refused::<CausalContext>(&std::collections::BTreeMap::from([(A, intervals)]));
    }
    let right = std::collections::BTreeMap::from([(A, [(1_u64, 4_u64), (6, 9)])]);
    assert!(from_bytes::<CausalContext>(&to_bytes(&right).unwrap()).is_ok());
}

#[test]
fn a_store_that_no_constructor_makes_is_not_read() {
    let (a, b) = (Dot::new(A, 1), Dot::new(B, 1));
    assert_refused::<DotSet>(&[b, a]);
    assert_refused::<DotSet>(&[a, a]);
    assert_refused::<DotSet>(&[Dot::new(A, 0)]);
    assert_refused::<DotFun<u8>>(&[(b, 1), (a, 1)]);
    assert_refused::<DotMap<u8, DotSet>>(&[(1, DotSet::new())]);
    assert_refused::<DotMap<u8, DotSet>>(&[(2, DotSet::from_iter([a])), (1, DotSet::from_iter([b]))]);
    // A live dot that was not seen.
    assert_refused::<EwFlag>(&(DotSet::from_iter([a]), CausalContext::new()));
    let right = (DotSet::from_iter([a]), CausalContext::from_iter([a]));
    assert!(from_bytes::<EwFlag>(&to_bytes(&right).unwrap()).is_ok());
}

/// Whatever bytes are accepted are a value whose every use returns.
fn assert_survives<T>(values: impl Strategy<Value = T>, use_it: impl Fn(&mut T, &T))
where
    T: Serialize + DeserializeOwned + Clone + Debug + PartialEq,
{
    let edits =
        proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(1_u8), Just(255), any::<u8>()]), 1..3);
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(config(2_000));
    let outcome = runner.run(&(values, edits), |(value, edits)| {
        let mut bytes = to_bytes(&value).unwrap();
        prop_assert_eq!(&from_canonical_bytes::<T>(&bytes).unwrap(), &value);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = bytes[at].wrapping_add(byte);
        }
        if let Ok(mut forged) = from_bytes::<T>(&bytes) {
            let text = format!("{forged:?}");
            prop_assert_eq!(&forged, &from_canonical_bytes::<T>(&to_bytes(&forged).unwrap()).unwrap(), "{}", text);
            use_it(&mut forged, &value);
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(accepted.get() > 20, "only {} were accepted", accepted.get());
}

#[test]
fn forged_contexts_and_vectors_can_be_used() {
    assert_survives(causal_contexts(), |forged, other| {
        assert_eq!(CausalContext::from_bytes(&forged.to_bytes()).as_ref(), Ok(&*forged));
        let (next, vector, minus) = (forged.next(A), forged.vector(), forged.minus(other));
        assert!(next.is_none_or(|dot| !forged.contains(dot)));
        assert!(forged.covers(&minus) && minus.is_disjoint(other) && forged.covers(&vector.into()));
        forged.join(other);
        assert!(forged.covers(other));
    });
    assert_survives(version_vectors(), |forged, other| {
        assert_eq!(VersionVector::from_bytes(&forged.to_bytes()).as_ref(), Ok(&*forged));
        forged.join(other);
        assert!(forged.covers(other));
    });
}

#[test]
fn forged_stores_can_be_used() {
    let sets = || proptest::collection::vec(dots(), 0..5).prop_map(DotSet::from_iter);
    let maps = proptest::collection::vec((0..4_u8, sets()), 0..4).prop_map(DotMap::from_iter);
    assert_survives(maps.prop_map(|map: DotMap<u8, DotSet>| Causal::new(map, CausalContext::new())), |forged, other| {
        forged.join(other);
        assert!(matches!(other.partial_cmp(forged), Some(Ordering::Less | Ordering::Equal)));
    });
    assert_survives(proptest::collection::vec((dots(), 0..9_u8), 0..5).prop_map(DotFun::from_iter), |forged, _| {
        for dot in forged.iter().map(|(dot, _)| dot).collect::<Vec<_>>() {
            assert!(forged.remove(dot).is_some());
        }
        assert!(forged.is_empty());
    });
}

#[test]
fn the_native_path_of_contexts_and_vectors_checks_what_serde_checks() {
    let bytes = proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..60);
    let mut runner = TestRunner::new(config(5_000));
    let outcome = runner.run(&(bytes, causal_contexts()), |(bytes, other)| {
        if let Ok(context) = CausalContext::from_bytes(&bytes) {
            prop_assert_eq!(context.to_bytes(), &*bytes);
            prop_assert_eq!(&from_canonical_bytes::<CausalContext>(&to_bytes(&context).unwrap()).unwrap(), &context);
            prop_assert!(context.minus(&other).is_disjoint(&other));
        }
        if let Ok(vector) = VersionVector::from_bytes(&bytes) {
            prop_assert_eq!(vector.to_bytes(), &*bytes);
            prop_assert_eq!(&from_canonical_bytes::<VersionVector>(&to_bytes(&vector).unwrap()).unwrap(), &vector);
        }
        Ok(())
    });
    outcome.unwrap();
}

// 21: a length is not believed.

/// Reserving what these lengths announce would end the process.
fn assert_no_length_is_believed<T: DeserializeOwned + Debug>() {
    for tag in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        let mut bytes = vec![tag, 0xff, 0xff, 0xff, 0xff];
        bytes.resize(15, 0);
        assert!(from_bytes::<T>(&bytes).is_err());
        // The same inside of a pair.
        assert!(from_bytes::<T>(&[&[0x92], &bytes[..]].concat()).is_err());
    }
}

#[test]
fn a_length_of_four_billion_with_ten_bytes_behind_it_is_refused() {
    assert_no_length_is_believed::<GCounter>();
    assert_no_length_is_believed::<PnCounter>();
    assert_no_length_is_believed::<ResetCounter>();
    assert_no_length_is_believed::<BoundedCounter>();
    assert_no_length_is_believed::<LwwRegister<String, u64>>();
    assert_no_length_is_believed::<FirstWriteRegister<String, u64>>();
    assert_no_length_is_believed::<Max<Vec<u64>>>();
    assert_no_length_is_believed::<Min<Vec<u64>>>();
    assert_no_length_is_believed::<OneWayFlag>();
    assert_no_length_is_believed::<GSet<u64>>();
    assert_no_length_is_believed::<GSet<()>>();
    assert_no_length_is_believed::<TwoPhaseSet<u64>>();
    assert_no_length_is_believed::<MvRegister<String>>();
    assert_no_length_is_believed::<EwFlag>();
    assert_no_length_is_believed::<DwFlag>();
    assert_no_length_is_believed::<VersionVector>();
    assert_no_length_is_believed::<CausalContext>();
    for count in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]] {
        let bytes = [count, &[1; 10]].concat();
        assert!(VersionVector::from_bytes(&bytes).is_err());
        assert!(CausalContext::from_bytes(&bytes).is_err());
    }
}

// 31: ids that are equal in part.

#[test]
fn ids_that_differ_in_one_bit_are_two_replicas() {
    for bit in 0..128 {
        let (one, other) = (ReplicaId::from_u128(0), ReplicaId::from_u128(1 << bit));
        let mut counter = GCounter::new();
        counter.add(one, 1).unwrap();
        counter.add(other, 1).unwrap();
        assert_eq!(counter.value(), 2, "bit {bit}");
        let (mut left, mut right) = (MvRegister::bottom(), MvRegister::bottom());
        left.set(one, 1).unwrap();
        right.set(other, 2).unwrap();
        left.join(&right);
        assert_eq!(left.values().count(), 2, "bit {bit}");
    }
}

#[test]
fn histories_have_ids_that_are_equal_in_either_half() {
    let halves = |id: ReplicaId| id.to_bytes().split_at(8).0 == replica_id(0).to_bytes().split_at(8).0;
    assert!(halves(replica_id(2)) && !halves(replica_id(1)));
    assert_eq!(replica_id(0).to_bytes()[8..], replica_id(1).to_bytes()[8..]);
    assert!(replica_id(0) > replica_id(1));
}

// 33: nothing depends on the process.

/// Set in the processes that the test starts.
const CHILD: &str = "TOMBOLO_TRANSCRIPT";

/// A hash of the bytes of all states of some histories of a type.
fn transcript<T: Serialize>(states: impl Strategy<Value = Vec<T>>) -> u64 {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config(1), rng);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..100 {
        let states = proptest::strategy::ValueTree::current(&states.new_tree(&mut runner).unwrap());
        for byte in states.iter().flat_map(|state| to_bytes(state).unwrap()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn the_same_histories_give_the_same_bytes_in_every_process() {
    if std::env::var(CHILD).is_ok() {
        let hashes = [
            transcript(histories::g_counters()),
            transcript(histories::pn_counters()),
            transcript(histories::reset_counters()),
            transcript(histories::bounded_counters()),
            transcript(histories::g_sets("[a-c]{1,2}")),
            transcript(histories::two_phase_sets("[a-c]{1,2}")),
            transcript(histories::mv_registers("[a-c]{1,2}")),
            transcript(histories::ew_flags()),
            transcript(histories::dw_flags()),
            transcript(histories::or_sets("[a-p]{1,2}")),
            transcript(histories::rw_sets("[a-p]{1,2}")),
            transcript(histories::or_maps_of_registers("[a-p]{1,2}", 0_u8..3)),
            transcript(histories::or_multi_maps("[a-p]{1,2}", 0_u8..3)),
            transcript(histories::lww_maps("[a-p]{1,2}", 0_u8..3, 0_u8..3)),
            transcript(causal_contexts().prop_map(|context| vec![context])),
        ];
        println!("transcript {hashes:x?}");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let name = "traps::the_same_histories_give_the_same_bytes_in_every_process";
    let transcripts = (0..8).map(|_| {
        let output = Command::new(&program).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split_once("transcript ")).map(|(_, hashes)| hashes.to_owned());
        line.unwrap_or_else(|| panic!("no transcript in {text}"))
    });
    let transcripts: std::collections::BTreeSet<String> = transcripts.collect();
    assert_eq!(transcripts.len(), 1, "{transcripts:?}");
}

// 35: floats.

/// A float in the total order of IEEE 754, with its bits as they are: what an application does that wants floats.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Float(f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Plain floats do not compile: see the examples that fail, at the types.
#[test]
fn floats_in_a_total_order_obey_the_laws_with_every_nan_and_both_zeros() {
    let float = |rng: &mut Rng| {
        let bits = [0.0_f64.to_bits(), (-0.0_f64).to_bits(), f64::NAN.to_bits(), 0xfff8_0000_0000_0001, 0x7ff0_0000_0000_0001];
        Float(f64::from_bits(*rng.pick(&bits).unwrap()))
    };
    Suite::<Max<Float>>::new(float).order().decompose().codec().cases(200).run();
    Suite::<Min<Float>>::new(float).order().decompose().codec().cases(200).run();
    Suite::<GSet<Float>>::new(float).order().decompose().codec().cases(200).run();
    Suite::<LwwRegister<Float, u8>>::new(move |rng| (u8::from(rng.chance(50)), float(rng)))
        .order()
        .decompose()
        .codec()
        .cases(200)
        .run();
    Suite::<MvRegister<Float>>::new(move |rng| Some(float(rng))).order().decompose().codec().cases(200).run();
}
