//! A table against the two stores that it is a faster form of, and what its speed must not cost.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::causal::ReplicaId;
use crate::crdt::{Causal, DotFun, DotMap, Lattice};
use crate::laws::Rng;

type Table = Causal<DotTable<u8, u64>>;
type Plain = Causal<DotMap<u8, DotFun<u64>>>;

fn replica(number: usize) -> ReplicaId {
    ReplicaId::from_u128(number as u128 + 1)
}

/// What both forms hold, in one order.
fn assert_same(table: &Table, plain: &Plain) {
    let mut of_plain: Vec<(Dot, u8, u64)> =
        plain.store().iter().flat_map(|(key, fun)| fun.iter().map(|(dot, value)| (dot, *key, *value))).collect();
    of_plain.sort_unstable();
    let of_table: Vec<(Dot, u8, u64)> = table.store().iter().map(|(dot, key, value)| (dot, *key, *value)).collect();
    assert_eq!(of_table, of_plain);
    assert_eq!(table.context(), plain.context());
    assert_eq!(table.store().keys(), plain.store().len());
    assert_eq!(table.store().len(), of_plain.len());
    assert_eq!((table.store().is_empty(), DotStore::is_empty(table.store())), (of_plain.is_empty(), of_plain.is_empty()));
    for key in 0..=u8::MAX {
        let expected: Vec<_> = plain.store().get(&key).map(|fun| fun.iter().collect()).unwrap_or_default();
        assert_eq!(table.store().get(&key), expected);
        assert_eq!(table.store().contains_key(&key), !expected.is_empty());
        let only = if expected.len() > 1 { Err(()) } else { Ok(expected.first().map(|(_, value)| *value)) };
        assert_eq!(table.store().only(&key), only);
    }
}

/// Both forms of one replica, or of one delta.
type Both = (Table, Plain);

fn write(both: &mut Both, me: ReplicaId, key: u8, value: u64, beside: bool) -> Both {
    let dot = both.1.context().next(me).unwrap();
    let seen: CausalContext =
        if beside { CausalContext::new() } else { both.1.store().get(&key).into_iter().flat_map(DotFun::dots).collect() };
    let plain = Causal::new([(key, DotFun::from_iter([(dot, value)]))].into_iter().collect(), seen.clone());
    let table = Causal::new(DotTable::single(dot, key, value), seen);
    // At the table itself, without a join.
    if beside {
        assert!(both.0.store.insert(dot, key, value));
    } else {
        both.0.store.write(dot, &key, value);
    }
    both.0.context.insert(dot);
    both.1.join(&plain);
    (table, plain)
}

fn remove(both: &mut Both, key: u8) -> Both {
    let seen = both.0.store.remove(&key);
    let expected: CausalContext = both.1.store().get(&key).into_iter().flat_map(DotFun::dots).collect();
    assert_eq!(seen, expected);
    let plain = Causal::new(DotMap::new(), seen.clone());
    both.1.join(&plain);
    (Causal::new(DotTable::new(), seen), plain)
}

#[test]
fn a_table_is_a_map_of_functions_through_any_history() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let keys = 1 + rng.below(60);
        let mut replicas: [Both; 3] = core::array::from_fn(|_| (Causal::bottom(), Causal::bottom()));
        let mut deltas: Vec<Both> = Vec::new();
        for step in 0..120 {
            let at = rng.index(3);
            let key = u8::try_from(rng.below(keys)).unwrap();
            match rng.below(10) {
                0..=3 => deltas.push(write(&mut replicas[at], replica(at), key, step, rng.chance(10))),
                4 => deltas.push(remove(&mut replicas[at], key)),
                5..=7 => {
                    // Late, twice, in any order; or two joined on the way.
                    let Some(delta) = rng.pick(&deltas).cloned() else { continue };
                    let mut delta = delta;
                    if rng.chance(30)
                        && let Some(other) = rng.pick(&deltas)
                    {
                        assert_eq!(delta.0.join(&other.0), delta.1.join(&other.1));
                        assert_same(&delta.0, &delta.1);
                    }
                    assert_eq!(replicas[at].0.join(&delta.0), replicas[at].1.join(&delta.1));
                }
                _ => {
                    let other = replicas[rng.index(3)].clone();
                    assert_eq!(replicas[at].0.join(&other.0), replicas[at].1.join(&other.1));
                }
            }
            assert_same(&replicas[at].0, &replicas[at].1);
        }
        for at in 0..3 {
            for (table, plain) in replicas.clone() {
                replicas[at].0.join(&table);
                replicas[at].1.join(&plain);
            }
            assert_same(&replicas[at].0, &replicas[at].1);
            #[cfg(feature = "std")]
            assert_bytes(&replicas[at].0);
        }
    }
}

/// Long lanes are compared by the block: those that are the same, and those of which one side has lost a dot, or has one more.
#[test]
fn long_lanes_that_differ_in_a_few_dots_are_joined_as_maps_of_functions_are() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut base: Both = (Causal::bottom(), Causal::bottom());
        for number in 0..rng.below(900) {
            let key = u8::try_from(number % 250).unwrap();
            write(&mut base, replica(rng.index(2)), key, number, number < 600);
        }
        let mut sides = [base.clone(), base];
        for (at, side) in sides.iter_mut().enumerate() {
            for step in 0..rng.below(12) {
                let key = u8::try_from(rng.below(250)).unwrap();
                match rng.below(3) {
                    0 => drop(remove(side, key)),
                    1 => drop(write(side, replica(at), key, step, false)),
                    _ => drop(write(side, replica(2 + at), key, step, rng.chance(50))),
                }
            }
        }
        let [mut one, mut other] = sides;
        let before = one.clone();
        assert_eq!(one.0.join(&other.0), one.1.join(&other.1));
        assert_same(&one.0, &one.1);
        assert_eq!(other.0.join(&before.0), other.1.join(&before.1));
        assert_same(&other.0, &other.1);
        assert_eq!(one.0, other.0);
        assert!(!one.0.join(&other.0) && !one.0.join(&before.0));
    }
}

#[cfg(feature = "std")]
fn assert_bytes(table: &Table) {
    use crate::codec::msgpack;
    let bytes = msgpack::to_bytes(table).unwrap();
    let read: Table = msgpack::from_canonical_bytes(&bytes).unwrap();
    assert_eq!(&read, table);
    // In another order, it is the same.
    let entries: Vec<_> = table.store().iter().map(|(dot, key, value)| (dot, *key, *value)).collect();
    let reversed: DotTable<u8, u64> = entries.into_iter().rev().collect();
    assert_eq!(msgpack::to_bytes(&Causal::new(reversed, table.context().clone())).unwrap(), bytes);
}

#[test]
#[cfg(feature = "std")]
fn columns_that_do_not_fit_are_refused() {
    use crate::codec::msgpack;
    #[derive(serde::Serialize)]
    struct Forged {
        #[serde(with = "serde_bytes")]
        dots: Vec<u8>,
        keys: Vec<u8>,
        values: Vec<u64>,
    }
    let dots = |seqs: core::ops::RangeInclusive<u64>| {
        let mut dots = CausalContext::new();
        dots.insert_range(replica(0), seqs);
        dots.to_bytes()
    };
    let read = |dots, keys: &[u8], values: &[u64]| {
        let forged = Forged { dots, keys: keys.to_vec(), values: values.to_vec() };
        msgpack::from_bytes::<DotTable<u8, u64>>(&msgpack::to_bytes(&forged).unwrap())
    };
    assert_eq!(read(dots(1..=2), &[7, 8], &[1, 2]).unwrap().len(), 2);
    assert!(read(dots(1..=3), &[7, 8], &[1, 2]).is_err(), "more dots than keys");
    assert!(read(dots(1..=u64::MAX), &[7, 8], &[1, 2]).is_err(), "very many dots");
    assert!(read(dots(1..=2), &[7, 8], &[1]).is_err(), "fewer values");
    assert!(read(dots(1..=2), &[7, 8], &[1, 2, 3]).is_err(), "more values");
    assert!(read(Vec::from([1, 2]), &[7], &[1]).is_err(), "no dots");
    let set = Forged { dots: dots(1..=1), keys: Vec::from([7]), values: Vec::from([1]) };
    assert!(msgpack::from_bytes::<DotTable<u8, ()>>(&msgpack::to_bytes(&set).unwrap()).is_err(), "values in a set");
}

#[test]
fn a_dot_that_is_no_event_or_is_live_is_not_assigned() {
    let mut table = DotTable::new();
    for seq in [0, u64::MAX] {
        assert!(!table.insert(Dot::new(replica(0), seq), 'a', 1));
        assert!(table.write(Dot::new(replica(0), seq), &'a', 1).is_empty());
        assert!(DotTable::single(Dot::new(replica(0), seq), 'a', 1).is_empty());
    }
    for seq in 1..=20 {
        assert!(table.insert(Dot::new(replica(0), seq), 'a', seq));
        assert!(!table.insert(Dot::new(replica(0), seq), 'b', 0));
        assert!(table.write(Dot::new(replica(0), seq), &'c', 0).is_empty());
    }
    assert_eq!((table.len(), table.keys()), (20, 1));
    let values: BTreeMap<_, _> = table.get(&'a').into_iter().collect();
    assert_eq!(values.into_values().copied().collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_table_that_was_emptied_gives_its_memory_back() {
    let mut table: DotTable<String, u64> = DotTable::new();
    for seq in 1..=10_000 {
        table.insert(Dot::new(replica(0), seq), format!("key {seq}"), seq);
    }
    for seq in 1..=9_990 {
        assert_eq!(table.remove(&*format!("key {seq}")).iter_intervals().count(), 1);
    }
    let Form::Many(many) = &table.form else { panic!("ten entries have an index") };
    assert!(many.capacity() <= 128, "{}", many.capacity());
    assert_eq!(table.iter().map(|(_, _, value)| *value).collect::<Vec<_>>(), (9_991..=10_000).collect::<Vec<_>>());
}

#[test]
fn tables_are_equal_if_each_entry_is() {
    let table = |entries: &[(u64, char, u64)]| -> DotTable<char, u64> {
        entries.iter().map(|(seq, key, value)| (Dot::new(replica(0), *seq), *key, *value)).collect()
    };
    let one = table(&[(1, 'a', 1), (2, 'b', 2)]);
    assert_eq!(one, table(&[(2, 'b', 2), (1, 'a', 1)]));
    for other in
        [&[(1, 'a', 1), (2, 'b', 3)][..], &[(1, 'a', 1), (2, 'c', 2)], &[(1, 'a', 1), (3, 'b', 2)], &[(1, 'a', 1)], &[]]
    {
        assert_ne!(one, table(other));
    }
}

/// Two keys of one hash are two keys: nobody can count on hashes that differ.
#[test]
fn keys_of_one_hash_are_told_apart() {
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Colliding(u64);
    impl Hash for Colliding {
        fn hash<H: core::hash::Hasher>(&self, _to: &mut H) {}
    }
    let mut rng = Rng::new(7);
    let (mut table, mut plain) = (DotTable::new(), BTreeMap::<u64, Vec<Dot>>::new());
    for step in 1..=3_000 {
        let (key, dot) = (rng.below(100), Dot::new(replica(0), step));
        let expected: CausalContext = plain.get(&key).into_iter().flatten().copied().collect();
        match rng.below(4) {
            0 => {
                assert_eq!(table.remove(&Colliding(key)), expected);
                plain.remove(&key);
            }
            1 if expected.is_empty() || rng.chance(10) => {
                assert!(table.insert(dot, Colliding(key), step));
                plain.entry(key).or_default().push(dot);
            }
            _ => {
                assert_eq!(table.write(dot, &Colliding(key), step), expected);
                plain.insert(key, Vec::from([dot]));
            }
        }
        let other = rng.below(100);
        let found: CausalContext = table.get(&Colliding(other)).into_iter().map(|(dot, _value)| dot).collect();
        assert_eq!(found, plain.get(&other).into_iter().flatten().copied().collect::<CausalContext>(), "step {step}");
        assert_eq!(table.contains_key(&Colliding(other)), plain.contains_key(&other));
    }
}

/// Long enough for what happens once in many thousand operations: an index that is full of what was removed, lanes of holes, dots that
/// come late, a table that grows and is emptied.
#[test]
fn a_table_is_a_map_of_functions_for_a_long_time() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let mut replicas: [Both; 2] = core::array::from_fn(|_| (Causal::bottom(), Causal::bottom()));
        let mut under_way: Vec<Both> = Vec::new();
        let (mut keys, mut adds) = (60, 50);
        for step in 0..60_000 {
            if step % 5_000 == 0 {
                keys = *rng.pick(&[60, 120, 200, 256]).unwrap();
                adds = *rng.pick(&[5, 45, 50, 60]).unwrap();
            }
            let at = rng.index(2);
            let key = u8::try_from(rng.below(keys)).unwrap();
            let delta = if rng.below(100) < adds {
                write(&mut replicas[at], replica(at), key, step, rng.chance(5))
            } else {
                remove(&mut replicas[at], key)
            };
            under_way.push(delta);
            if rng.chance(30) || under_way.len() > 40 {
                let (table, plain) = under_way.swap_remove(rng.index(under_way.len()));
                for both in &mut replicas {
                    assert_eq!(both.0.join(&table), both.1.join(&plain));
                }
            }
            let (table, plain) = &replicas[at];
            let expected: Vec<_> = plain.store().get(&key).map(|fun| fun.iter().collect()).unwrap_or_default();
            assert_eq!(table.store().get(&key), expected, "seed {seed}, step {step}, key {key}");
            if step % 1_000 == 0 {
                assert_same(table, plain);
            }
        }
    }
}

/// The index fills with what was removed and is made again, with the entry that it is made again for.
#[test]
fn what_comes_is_found_whenever_the_index_is_made_again() {
    for live in [60, 150, 300, 1_000] {
        let mut table = DotTable::new();
        let key = |number: u64| format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for number in 1..=200_000_u64 {
            table.write(Dot::new(replica(0), number), &key(number), number);
            assert_eq!(table.only(&key(number)), Ok(Some(&number)), "of {live}");
            if let Some(gone) = number.checked_sub(live).filter(|gone| *gone > 0) {
                assert_eq!(table.remove(&key(gone)), CausalContext::of_one(Dot::new(replica(0), gone)), "of {live}");
            }
        }
        assert_eq!(table.len() as u64, live);
    }
}
