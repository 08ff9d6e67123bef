use core::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::storage::conformance;

const TABLE: TableId = TableId(1);
const LOG: LogId = LogId { table: 1, lane: 2 };

fn put(number: u64) -> Write {
    let key = Bytes::from(format!("key {number:06}"));
    Write::Put { table: TABLE, value: key.clone(), key }
}

fn append(number: u64) -> Write {
    Write::Append { log: LOG, number, value: Bytes::from_static(b"value") }
}

#[test]
fn memory_keeps_the_laws_of_storage() {
    conformance(Memory::default);
}

#[test]
fn a_clone_is_the_same_store() {
    let memory = Memory::default();
    let clone = memory.clone();
    clone.commit(vec![put(1), append(1)], false).unwrap();
    assert!(memory.get(TABLE, b"key 000001").unwrap().is_some());
    assert!(memory.at(LOG, 1).unwrap().is_some());
}

#[test]
fn debug_shows_no_contents() {
    let memory = Memory::default();
    memory.commit(vec![put(1), append(1)], false).unwrap();
    assert_eq!(format!("{memory:?}"), "Memory { rows: 1, log_chunks: 1, .. }");
}

/// A copied row counts its bytes once more: so the reference counts of rows say how much of the tree was copied.
#[test]
fn a_commit_under_a_snapshot_copies_what_it_touches_and_no_more() {
    const ROWS: u64 = 10_000;
    let memory = Memory::default();
    memory.commit((0..ROWS).map(put).collect(), false).unwrap();
    memory.commit((0..ROWS).map(append).collect(), false).unwrap();
    let before = memory.state();
    memory.commit(vec![put(5_000), append(5_000)], false).unwrap();
    let after = memory.state();

    let places = |state: &State| -> Vec<*const Bytes> {
        let rows = state.tables.get(&TABLE).unwrap();
        rows.values().map(core::ptr::from_ref).collect()
    };
    let moved = places(&before).iter().zip(places(&after)).filter(|&(before, after)| *before != after).count();
    assert!((1..=16).contains(&moved), "one leaf was to be copied, but {moved} rows moved");
    let chunks = before.chunks.values().zip(after.chunks.values());
    let copied = chunks.filter(|(before, after)| !Arc::ptr_eq(before, after)).count();
    assert_eq!(copied, 1, "chunks copied");
}

#[test]
fn a_commit_without_a_snapshot_copies_nothing() {
    let memory = Memory::default();
    memory.commit((0..1_000).map(put).chain((0..1_000).map(append)).collect(), false).unwrap();
    let places = || -> Vec<*const Bytes> {
        let state = memory.newest.read();
        let rows = state.tables.get(&TABLE).unwrap().values().map(core::ptr::from_ref);
        rows.chain(state.chunks.values().map(|chunk| chunk.get(0).map_or(core::ptr::null(), core::ptr::from_ref))).collect()
    };
    let before = places();
    for number in 0..1_000 {
        memory.commit(vec![put(number), append(number)], false).unwrap();
    }
    assert_eq!(before, places());
}

#[test]
fn entries_far_apart_take_one_chunk_each() {
    let memory = Memory::default();
    memory.commit([0, 1 << 60, u64::MAX].map(append).to_vec(), false).unwrap();
    assert_eq!(memory.state().chunks.len(), 3);
    memory.commit(vec![Write::Erase { log: LOG, number: 1 << 60 }], false).unwrap();
    assert_eq!(memory.state().chunks.len(), 2);
}

#[test]
fn what_is_empty_again_takes_nothing() {
    let memory = Memory::default();
    memory.commit((0..1_000).flat_map(|number| [put(number), append(number)]).collect(), false).unwrap();
    let removals = (0..1_000).flat_map(|number| {
        let key = Bytes::from(format!("key {number:06}"));
        [Write::Remove { table: TABLE, key }, Write::Erase { log: LOG, number }]
    });
    memory.commit(removals.collect(), false).unwrap();
    let state = memory.state();
    assert!(state.tables.is_empty() && state.chunks.is_empty());
}

#[test]
fn a_large_commit_under_way_holds_up_no_reader() {
    let memory = Memory::default();
    memory.commit(vec![put(0)], false).unwrap();
    // What a large commit holds while it works.
    let committing = memory.newest.upgradable_read();
    assert!(memory.newest.try_read().is_some());
    assert!(memory.get(TABLE, b"key 000000").unwrap().is_some());
    drop(committing);
}

fn bound() -> impl Strategy<Value = Bound<u64>> {
    prop_oneof![(0..300_u64).prop_map(Bound::Included), (0..300_u64).prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

proptest! {
    /// The pages of an owning iterator must fit together wherever the two ends meet.
    #[test]
    fn owning_and_borrowing_iterators_agree(
        numbers in prop::collection::btree_set(0..300_u64, 0..300),
        start in bound(),
        end in bound(),
        steps in prop::collection::vec(any::<bool>(), 310),
    ) {
        let memory = Memory::default();
        memory.commit(numbers.iter().flat_map(|&number| [put(number), append(number)]).collect(), false).unwrap();
        let state = memory.state();
        let key = |number| format!("key {number:06}").into_bytes();
        let (start_key, end_key) = (start.map(key), end.map(key));
        let range = (start_key.as_ref().map(Vec::as_slice), end_key.as_ref().map(Vec::as_slice));
        let (mut owning, mut borrowing) = (memory.range(TABLE, range).unwrap(), state.range(TABLE, range).unwrap());
        let first = if let Bound::Included(number) = start { number } else { 0 };
        let last = if let Bound::Included(number) = end { number } else { u64::MAX };
        let (mut owning_log, mut borrowing_log) = (memory.entries(LOG, first..=last).unwrap(), state.entries(LOG, first..=last).unwrap());
        for front in steps {
            let (one, other) = if front { (owning.next(), borrowing.next()) } else { (owning.next_back(), borrowing.next_back()) };
            prop_assert_eq!(one.transpose().unwrap(), other.transpose().unwrap());
            let (one, other) = if front { (owning_log.next(), borrowing_log.next()) } else { (owning_log.next_back(), borrowing_log.next_back()) };
            prop_assert_eq!(one.transpose().unwrap(), other.transpose().unwrap());
        }
    }
}
