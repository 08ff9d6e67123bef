use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, MapDeserializer};

use super::*;

type Model = BTreeSet<Dot>;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2_000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() }
}

fn dot(replica: u128, seq: u64) -> Dot {
    Dot::new(ReplicaId::from_u128(replica), seq)
}

/// Few numbers near each other, at both ends and just outside them.
fn seqs() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..14, 1 => SEQ_MAX - 4..=SEQ_MAX + 2, 1 => Just(u64::MAX)]
}

fn dots() -> impl Strategy<Value = Dot> {
    (0_u128..3, seqs()).prop_map(|(replica, seq)| dot(replica, seq))
}

fn events() -> impl Strategy<Value = Dot> {
    dots().prop_filter("it is an event", |dot| dot.is_event())
}

fn model() -> impl Strategy<Value = Model> {
    proptest::collection::btree_set(dots(), 0..24).prop_map(|dots| dots.into_iter().filter(|dot| dot.is_event()).collect())
}

fn context(model: &Model) -> CausalContext {
    model.iter().copied().collect()
}

fn dots_of(context: &CausalContext) -> Model {
    context.iter_intervals().flat_map(|(replica, seqs)| seqs.map(move |seq| Dot::new(replica, seq))).collect()
}

fn assert_invariant(context: &CausalContext) {
    let intervals: Vec<_> = context.iter_intervals().collect();
    for (_, seqs) in &intervals {
        assert!(1 <= *seqs.start() && seqs.start() <= seqs.end() && *seqs.end() <= SEQ_MAX, "{context:?}");
    }
    for pair in intervals.windows(2) {
        let (low, high) = (&pair[0], &pair[1]);
        assert!(low.0 < high.0 || low.0 == high.0 && low.1.end() + 1 < *high.1.start(), "{context:?}");
    }
    assert!(context.replicas().all(|(_, held)| !held.is_empty()), "{context:?}");
}

/// A replica, and of each interval the gap before it and the numbers besides its first.
type Encoded<'a> = (u128, &'a [(u64, u64)]);

/// The bytes of anything that the form can say, canonical or not.
fn bytes_of(replicas: &[Encoded<'_>]) -> Vec<u8> {
    let mut to = Writer::new();
    to.u64(replicas.len() as u64);
    for (replica, pairs) in replicas {
        to.raw(&replica.to_be_bytes());
        to.u64(pairs.len() as u64);
        for (gap, more) in *pairs {
            to.u64(*gap);
            to.u64(*more);
        }
    }
    to.into_vec()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn it_is_the_set_of_the_dots_that_were_inserted(inserted in proptest::collection::vec(dots(), 0..40)) {
        let (mut context, mut model) = (CausalContext::new(), Model::new());
        for dot in inserted {
            prop_assert_eq!(context.insert(dot), dot.is_event() && model.insert(dot));
            assert_invariant(&context);
            prop_assert!(context.contains(dot) == dot.is_event());
        }
        prop_assert_eq!(dots_of(&context), model);
    }

    #[test]
    fn a_range_is_each_of_its_events(ranges in proptest::collection::vec((0_u128..2, 0_u64..16, 0_u64..16), 0..8)) {
        let (mut context, mut model) = (CausalContext::new(), Model::new());
        for (replica, first, last) in ranges {
            let before = model.len();
            model.extend((first..=last).map(|seq| dot(replica, seq)).filter(|dot| dot.is_event()));
            prop_assert_eq!(context.insert_range(ReplicaId::from_u128(replica), first..=last), model.len() > before);
            assert_invariant(&context);
        }
        prop_assert_eq!(dots_of(&context), model);
    }

    #[test]
    fn join_is_union_and_says_whether_it_changed(a in model(), b in model()) {
        let mut joined = context(&a);
        let changed = joined.join(&context(&b));
        let union: Model = a.union(&b).copied().collect();
        assert_invariant(&joined);
        prop_assert_eq!(&joined, &context(&union));
        prop_assert_eq!(changed, union != a);
        prop_assert!(!joined.join(&context(&b)));
    }

    #[test]
    fn order_is_inclusion(a in model(), b in model(), of_both in any::<bool>()) {
        let a = if of_both { a.union(&b).copied().collect() } else { a };
        let (ours, theirs) = (context(&a), context(&b));
        prop_assert_eq!(ours.covers(&theirs), a.is_superset(&b));
        prop_assert_eq!(ours.is_disjoint(&theirs), a.is_disjoint(&b));
        let left = ours.minus(&theirs);
        assert_invariant(&left);
        prop_assert_eq!(dots_of(&left), a.difference(&b).copied().collect::<Model>());
        prop_assert_eq!(ours <= theirs, a.is_subset(&b));
        prop_assert_eq!(ours == theirs, a == b);
        prop_assert_eq!(ours < theirs, a.is_subset(&b) && a != b);
    }

    #[test]
    fn the_vector_ends_at_the_first_gap_and_next_is_above_all(model in model()) {
        let context = context(&model);
        let vector = context.vector();
        for replica in (0..3).map(ReplicaId::from_u128) {
            let gap = (1..).find(|seq| !model.contains(&Dot::new(replica, *seq))).unwrap();
            prop_assert_eq!(vector.get(replica), gap - 1);
            let last = model.iter().filter(|dot| dot.replica == replica).map(|dot| dot.seq).max().unwrap_or(0);
            prop_assert_eq!(context.next(replica), (last < SEQ_MAX).then(|| Dot::new(replica, last + 1)));
        }
        let prefix = CausalContext::from(vector.clone());
        prop_assert!(context.covers(&prefix));
        prop_assert_eq!(prefix.vector(), vector);
    }

    #[test]
    fn to_mint_is_to_add_the_next_event(mut model in model(), replica in 0_u128..4) {
        let mut context = context(&model);
        let next = context.next(ReplicaId::from_u128(replica));
        prop_assert_eq!(context.mint(ReplicaId::from_u128(replica)), next);
        model.extend(next);
        assert_invariant(&context);
        prop_assert_eq!(dots_of(&context), model);
    }

    /// What a write replaces and itself, in either order, near each other and not, of one replica and of two.
    #[test]
    fn a_context_of_one_or_two_events_is_what_inserting_them_makes(one in events(), other in events()) {
        prop_assert_eq!(CausalContext::of_one(one), CausalContext::from_iter([one]));
        prop_assert_eq!(CausalContext::of_two(one, other), CausalContext::from_iter([one, other]));
    }

    #[test]
    fn bytes_and_parts_round_trip(model in model()) {
        let context = context(&model);
        let bytes = context.to_bytes();
        for cut in 0..bytes.len() {
            prop_assert!(CausalContext::from_bytes(&bytes[..cut]).is_err());
        }
        prop_assert_eq!(CausalContext::from_bytes(&bytes), Ok(context.clone()));
        prop_assert_eq!(CausalContext::try_from(Parts::from(context.clone())), Ok(context));
    }

    #[test]
    fn whatever_bytes_decode_are_canonical(
        replicas in proptest::collection::vec((0_u128..3, proptest::collection::vec((seqs(), seqs()), 0..4)), 0..3),
        noise in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let replicas: Vec<_> = replicas.iter().map(|(replica, pairs)| (*replica, pairs.as_slice())).collect();
        let mut bytes = bytes_of(&replicas);
        if let Some((at, byte)) = noise {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(mut context) = CausalContext::from_bytes(&bytes) {
            assert_invariant(&context);
            prop_assert_eq!(context.to_bytes(), bytes);
            prop_assert!(!context.join(&context.clone()));
        }
    }

    #[test]
    fn whatever_parts_are_accepted_are_canonical(pairs in proptest::collection::vec((seqs(), seqs()), 0..4)) {
        let parts = Parts::from([(ReplicaId::from_u128(1), pairs)]);
        if let Ok(context) = CausalContext::try_from(parts.clone()) {
            assert_invariant(&context);
            prop_assert_eq!(Parts::from(context), parts);
        }
    }
}

#[test]
fn parts_that_are_no_canonical_set_are_refused() {
    let from = |pairs: &[(u64, u64)]| CausalContext::try_from(Parts::from([(ReplicaId::from_u128(1), pairs.to_vec())]));
    assert!(from(&[(1, 2), (4, SEQ_MAX)]).is_ok());
    let hostile: [&[(u64, u64)]; 9] = [
        &[],
        &[(0, 1)],
        &[(2, 1)],
        &[(1, SEQ_MAX + 1)],
        &[(u64::MAX, u64::MAX)],
        &[(1, 2), (2, 3)],
        &[(1, 2), (3, 4)],
        &[(5, 6), (1, 2)],
        &[(SEQ_MAX, SEQ_MAX), (SEQ_MAX + 2, SEQ_MAX + 2)],
    ];
    for pairs in hostile {
        assert!(from(pairs).is_err(), "{pairs:?}");
    }
}

#[test]
fn serde_goes_through_the_same_check() {
    let read = |pairs: Vec<(u64, u64)>| {
        let id = "00000000-0000-0000-0000-000000000001".to_string();
        let pairs: Vec<Vec<u64>> = pairs.into_iter().map(|(first, last)| vec![first, last]).collect();
        let map = MapDeserializer::<_, ValueError>::new([(id, pairs.into_deserializer())].into_iter());
        CausalContext::deserialize(map)
    };
    assert_eq!(read(vec![(1, 2), (4, 5)]), Ok([1, 2, 4, 5].into_iter().map(|seq| dot(1, seq)).collect()));
    assert!(read(vec![(4, 5), (1, 2)]).is_err());
    assert!(read(vec![(0, 5)]).is_err());
}

#[test]
fn hostile_bytes_are_refused() {
    assert_eq!(CausalContext::from_bytes(&[0]), Ok(CausalContext::new()));
    assert!(CausalContext::from_bytes(&bytes_of(&[(1, &[(0, 4), (0, 0)])])).is_ok());
    let hostile: [&[Encoded<'_>]; 6] = [
        &[(1, &[])],
        &[(2, &[(0, 0)]), (1, &[(0, 0)])],
        &[(1, &[(0, 0)]), (1, &[(5, 0)])],
        &[(1, &[(0, SEQ_MAX)])],
        &[(1, &[(u64::MAX, 0)])],
        &[(1, &[(0, SEQ_MAX - 1), (0, 0)])],
    ];
    for replicas in hostile {
        assert!(CausalContext::from_bytes(&bytes_of(replicas)).is_err(), "{replicas:?}");
    }
    assert!(CausalContext::from_bytes(&[bytes_of(&[(1, &[(0, 0)])]), vec![0]].concat()).is_err());
    // Counts above the input: of replicas, of intervals.
    assert!(CausalContext::from_bytes(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]).is_err());
    let mut counted = vec![1];
    counted.extend([7; 16]);
    counted.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    assert!(CausalContext::from_bytes(&counted).is_err());
}

#[test]
fn contexts_without_gaps_take_one_interval_a_replica() {
    let mut context = CausalContext::new();
    for seq in (1..=1_000).rev().step_by(2).chain((1..=1_000).step_by(2)) {
        assert!(context.insert(dot(1, seq)));
    }
    assert_eq!(context.iter_intervals().count(), 1);
    assert_eq!(context.to_bytes().len(), 1 + 16 + 1 + 1 + 2);
    assert_eq!(alloc::format!("{context:?}"), "{00000000-0000-0000-0000-000000000001: [1..=1000]}");
}

#[test]
fn a_replica_at_the_last_number_has_no_next() {
    assert_eq!(CausalContext::new().next(ReplicaId::from_u128(1)), Some(dot(1, 1)));
    let poisoned: CausalContext = [dot(1, SEQ_MAX)].into_iter().collect();
    assert_eq!(poisoned.next(ReplicaId::from_u128(1)), None);
    assert_eq!(poisoned.next(ReplicaId::from_u128(2)), Some(dot(2, 1)));
}
