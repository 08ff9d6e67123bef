//! States of every type, as operations and joins lead to them.

use core::fmt::Debug;
use core::hash::Hash;

use ::proptest::collection::vec;
use ::proptest::option;
use ::proptest::prelude::*;

use super::replica_ids;
use crate::crdt::{
    BoundedCounter, BoundedCounterOp, CausalCounter, CausalCounterOp, Crdt, DwFlag, EwFlag, Expiring, FirstWriteRegister,
    GCounter, GSet, HyperLogLog, LwwMap, LwwMapOp, LwwRegister, Max, Min, MvRegister, OneWayFlag, OrMap, OrMapOp, OrMultiMap,
    OrMultiMapOp, OrSet, PnCounter, ResetCounter, ResetCounterOp, RwSet, SetOp, TwoPhaseSet, TwoPhaseSetOp,
};
use crate::laws::replica_id;

/// How many replicas make a state.
const REPLICAS: usize = 3;

/// A state or a delta of any type, from a strategy of its operations: what up to 12 operations at three replicas that join each
/// other now and then lead to. It shrinks by leaving out operations.
///
/// Two values that are drawn apart are of two worlds: each has its own first event of each replica. To join some, draw them
/// from one: [`history_of`].
pub fn states_of<T: Crdt + Debug>(ops: impl Strategy<Value = T::Op>) -> impl Strategy<Value = T> {
    (history_of(ops), any::<bool>()).prop_map(|(mut history, is_delta): (Vec<T>, bool)| {
        let last = history.pop();
        last.filter(|_| is_delta).or_else(|| history.pop()).unwrap_or_else(T::bottom)
    })
}

/// All states and deltas of one history, which may be joined: at first bottom, then of each operation the state and the delta.
///
/// ```
/// use proptest::prelude::*;
/// use tombolo::crdt::MvRegister;
/// use tombolo::laws::join_laws;
/// use tombolo::proptest::history_of;
///
/// proptest!(ProptestConfig::with_cases(20), |(states in history_of::<MvRegister<u8>>(prop::option::of(0_u8..3)))| {
///     join_laws(&states);
/// });
/// ```
pub fn history_of<T: Crdt + Debug>(ops: impl Strategy<Value = T::Op>) -> impl Strategy<Value = Vec<T>> {
    vec((0..REPLICAS, option::of(0..REPLICAS), ops), 0..12).prop_map(|steps| {
        let mut replicas: Vec<T> = (0..REPLICAS).map(|_| T::bottom()).collect();
        let mut history = Vec::from([T::bottom()]);
        for (at, from, op) in steps {
            let other = from.and_then(|from| replicas.get(from)).cloned();
            let Some(replica) = replicas.get_mut(at) else { continue };
            if let Some(other) = other {
                replica.join(&other);
            }
            // One that is refused changes nothing.
            if let Ok(delta) = replica.apply(&op, replica_id(at)) {
                history.extend([replica.clone(), delta]);
            }
        }
        history
    })
}

/// Of each type two functions: their name, the strategies that they take, the type, and its operations.
macro_rules! states {
    ($($name:ident($($of:ident: $Of:ident),*) -> $type:ty = $ops:expr;)+) => {
        $(
            #[doc = concat!("A `", stringify!($type), "`: see [`states_of`].")]
            pub fn $name<$($Of: Strategy<Value: Ord + Hash + Clone>),*>($($of: $Of),*) -> impl Strategy<Value = $type> {
                states_of::<$type>($ops)
            }
        )+

        /// Of each type all states and deltas of one history: see [`history_of`].
        pub mod histories {
            use super::*;

            $(
                #[doc = concat!("Of a `", stringify!($type), "`: see [`history_of`].")]
                pub fn $name<$($Of: Strategy<Value: Ord + Hash + Clone>),*>($($of: $Of),*) -> impl Strategy<Value = Vec<$type>> {
                    history_of::<$type>($ops)
                }
            )+
        }
    };
}

states! {
    g_counters() -> GCounter = amounts();
    pn_counters() -> PnCounter = signed_amounts();
    reset_counters() -> ResetCounter =
        prop_oneof![3 => signed_amounts().prop_map(ResetCounterOp::Add), 1 => Just(ResetCounterOp::Reset)];
    bounded_counters() -> BoundedCounter = prop_oneof![
        2 => amounts().prop_map(BoundedCounterOp::Grant),
        2 => amounts().prop_map(BoundedCounterOp::Take),
        1 => (replica_ids(), amounts()).prop_map(|(to, amount)| BoundedCounterOp::Transfer { to, amount }),
    ];
    lww_registers(values: V, stamps: S) -> LwwRegister<V::Value, S::Value> = (stamps, values);
    first_write_registers(values: V, stamps: S) -> FirstWriteRegister<V::Value, S::Value> = (stamps, values);
    expirings(values: V, deadlines: D) -> Expiring<V::Value, D::Value> = (deadlines, values);
    maxima(values: V) -> Max<V::Value> = values;
    minima(values: V) -> Min<V::Value> = values;
    one_way_flags() -> OneWayFlag = Just(());
    g_sets(elements: E) -> GSet<E::Value> = elements;
    two_phase_sets(elements: E) -> TwoPhaseSet<E::Value> = (any::<bool>(), elements)
        .prop_map(|(is_new, element)| if is_new { TwoPhaseSetOp::Insert(element) } else { TwoPhaseSetOp::Remove(element) });
    hyper_log_logs() -> HyperLogLog<10> = vec(0..3_u8, 0..2);
    mv_registers(values: V) -> MvRegister<V::Value> = option::weighted(0.8, values);
    ew_flags() -> EwFlag = any::<bool>();
    dw_flags() -> DwFlag = any::<bool>();
    or_sets(elements: E) -> OrSet<E::Value> = set_ops(elements);
    rw_sets(elements: E) -> RwSet<E::Value> = set_ops(elements);
    lww_maps(keys: K, values: V, stamps: S) -> LwwMap<K::Value, V::Value, S::Value> = (option::weighted(0.7, stamps), keys, values)
        .prop_map(|(stamp, key, value)| match stamp {
            Some(stamp) => LwwMapOp::Set { stamp, key, value },
            None => LwwMapOp::Remove(key),
        });
    causal_counters() -> CausalCounter =
        prop_oneof![3 => signed_amounts().prop_map(CausalCounterOp::Add), 1 => Just(CausalCounterOp::Reset)];
    or_maps_of_registers(keys: K, values: V) -> OrMap<K::Value, MvRegister<V::Value>> = map_ops(keys, option::weighted(0.8, values));
    or_maps_of_counters(keys: K) -> OrMap<K::Value, CausalCounter> =
        map_ops(keys, option::weighted(0.8, signed_amounts()).prop_map(|add| add.map_or(CausalCounterOp::Reset, CausalCounterOp::Add)));
    or_multi_maps(keys: K, values: V) -> OrMultiMap<K::Value, V::Value> = (keys, values, 0..5).prop_map(|(key, value, kind)| match kind {
        0 => OrMultiMapOp::RemoveAll(key),
        1 => OrMultiMapOp::Remove(key, value),
        _ => OrMultiMapOp::Insert(key, value),
    });
}

fn set_ops<T: Clone + Debug>(elements: impl Strategy<Value = T>) -> impl Strategy<Value = SetOp<T>> {
    (option::weighted(0.6, Just(())), elements).prop_map(|(add, element)| match add {
        Some(()) => SetOp::Add(element),
        None => SetOp::Remove(element),
    })
}

fn map_ops<K: Debug, O: Debug>(
    keys: impl Strategy<Value = K>,
    ops: impl Strategy<Value = O>,
) -> impl Strategy<Value = OrMapOp<K, O>> {
    let remove_or_update = |(key, op): (K, Option<O>)| match op {
        Some(op) => OrMapOp::Update(key, op),
        None => OrMapOp::Remove(key),
    };
    (keys, option::weighted(0.75, ops)).prop_map(remove_or_update)
}

/// Small ones mostly, so that they meet; and those at which a total overflows.
fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..4_u64, 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX)]
}

fn signed_amounts() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -3..4_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}
