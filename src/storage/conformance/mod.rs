//! What every backend must do, as functions that panic with the law that broke.

mod dice;
mod durable;
mod isolation;
mod model;

use core::ops::Bound;
use std::sync::Arc;

use super::{Backend, Bytes, LogId, Read, TableId, Write};
use dice::{Dice, awkward_keys};
pub use durable::conformance_durable;
use isolation::{
    commits_are_atomic_to_other_threads, iterators_show_one_state, snapshots_are_frozen, streamed_commits_are_whole_or_nothing,
};
use model::*;

/// Checks that a backend keeps the laws of [`Read`] and [`Backend`]. `open` gives a fresh, empty one each time.
///
/// Covered: reads after commits, order and atomicity within a commit, byte order, every kind of bound from both ends, logs
/// with holes, tables and logs apart, snapshots frozen under thousands of commits, iterators that outlive a commit, readers
/// in other threads, large values, commits that are streamed, and random histories against a model. The random parts are seeded: a failure repeats.
///
/// It commits often; give it a medium whose `sync` is cheap if there is one. About a second.
///
/// # Panics
/// If a law breaks, or the backend returns an error: with the law, where, what was read, and what should have been. (A
/// backend whose commits wait for readers hangs: commits are made while iterators and snapshots are alive.)
pub fn conformance<B: Backend>(open: impl Fn() -> B) {
    reads_show_the_newest_commit(&open());
    later_writes_of_a_commit_win(&open());
    what_was_never_written_is_empty(&open());
    what_is_absent_can_be_removed(&open());
    keys_and_values_may_be_empty(&open());
    keys_come_in_byte_order(&open());
    bounds_hold_from_both_ends(&open());
    tables_and_logs_are_apart(&open());
    logs_have_holes_and_extremes(&open());
    large_values_and_commits_are_kept(&open());
    streamed_commits_are_whole_or_nothing(&open());
    snapshots_are_frozen(&open());
    iterators_show_one_state(&open());
    commits_are_atomic_to_other_threads(&open());
    for seed in 1..=SEEDS {
        random_histories_match_the_model(&open(), seed);
    }
}

const SEEDS: u64 = 8;

const TABLE: TableId = TableId(7);
const LOG: LogId = LogId { table: 3, lane: 5 };

fn reads_show_the_newest_commit(backend: &dyn Backend) {
    let law = Law("a read after a commit shows it, synced or not");
    for (round, sync) in [true, false, false, true].into_iter().enumerate() {
        let value = text(&format!("round {round}"));
        let writes = vec![put(TABLE, "key", &value), append(LOG, 1, &value)];
        commit(backend, writes, sync);
        law.same(&get(backend, TABLE, b"key"), &Some(value.clone()), &"get");
        law.same(&at(backend, LOG, 1), &Some(value.clone()), &"at");
        law.same(&rows(backend, TABLE, ALL), &vec![(text("key"), value.clone())], &"range");
        law.same(&entries(backend, LOG, 0..=u64::MAX), &vec![(1, value)], &"entries");
    }
    commit(backend, vec![remove(TABLE, "key"), erase(LOG, 1)], false);
    law.same(&get(backend, TABLE, b"key"), &None, &"get after a removal");
    law.same(&at(backend, LOG, 1), &None, &"at after a removal");
    law.same(&rows(backend, TABLE, ALL), &vec![], &"range after a removal");
    law.same(&entries(backend, LOG, 0..=u64::MAX), &vec![], &"entries after a removal");
    commit(backend, Vec::new(), false);
    commit(backend, Vec::new(), true);
    law.same(&rows(backend, TABLE, ALL), &vec![], &"range after commits of nothing");
}

fn later_writes_of_a_commit_win(backend: &dyn Backend) {
    let law = Law("later writes of one commit win over earlier ones");
    let (one, two) = (text("one"), text("two"));
    let writes = vec![
        put(TABLE, "put twice", &one),
        put(TABLE, "put twice", &two),
        put(TABLE, "put, removed", &one),
        remove(TABLE, "put, removed"),
        remove(TABLE, "removed, put"),
        put(TABLE, "removed, put", &one),
        append(LOG, 1, &one),
        append(LOG, 1, &two),
        append(LOG, 2, &one),
        erase(LOG, 2),
        erase(LOG, 3),
        append(LOG, 3, &one),
    ];
    // Twice: the second time there is something to overwrite.
    for round in 1..=2 {
        commit(backend, writes.clone(), false);
        let expected = vec![(text("put twice"), two.clone()), (text("removed, put"), one.clone())];
        law.same(&rows(backend, TABLE, ALL), &expected, &format!("rows, round {round}"));
        let expected = vec![(1, two.clone()), (3, one.clone())];
        let found = entries(backend, LOG, 0..=u64::MAX);
        law.same(&found, &expected, &format!("entries, round {round}"));
    }
}

fn what_was_never_written_is_empty(backend: &dyn Backend) {
    let law = Law("a table or log that was never written reads as empty");
    let check = |read: &dyn Read, place: &str| {
        law.same(&get(read, TABLE, b"key"), &None, &format!("get, {place}"));
        law.same(&get(read, TABLE, b""), &None, &format!("get of the empty key, {place}"));
        law.same(&rows(read, TABLE, ALL), &vec![], &format!("range, {place}"));
        law.same(&at(read, LOG, 0), &None, &format!("at, {place}"));
        law.same(&entries(read, LOG, 0..=u64::MAX), &vec![], &format!("entries, {place}"));
    };
    check(backend, "before any commit");
    let empty = snapshot(backend);
    commit(backend, vec![put(TableId(0), "key", &text("value")), append(LogId { lane: 0, ..LOG }, 0, &text("value"))], true);
    check(backend, "after a commit elsewhere");
    check(&*empty, "in a snapshot of the empty state");
    commit(backend, vec![put(TABLE, "key", &text("value")), append(LOG, 0, &text("value"))], true);
    check(&*empty, "in a snapshot of the empty state, after the first write");
    commit(backend, vec![remove(TABLE, "key"), erase(LOG, 0)], true);
    check(backend, "after everything was removed");
}

fn what_is_absent_can_be_removed(backend: &dyn Backend) {
    let law = Law("removing what is absent changes nothing");
    commit(backend, vec![remove(TABLE, "key"), erase(LOG, 4)], false);
    commit(backend, vec![put(TABLE, "key", &text("value")), append(LOG, 4, &text("value"))], false);
    commit(backend, vec![remove(TABLE, "ke"), remove(TABLE, "keys"), erase(LOG, 3), erase(LOG, 5), erase(LOG, 4 + 64)], false);
    law.same(&rows(backend, TABLE, ALL), &vec![(text("key"), text("value"))], &"rows");
    law.same(&entries(backend, LOG, 0..=u64::MAX), &vec![(4, text("value"))], &"entries");
}

fn keys_and_values_may_be_empty(backend: &dyn Backend) {
    let law = Law("keys and values may be empty");
    commit(backend, vec![put(TABLE, "", &text("")), put(TABLE, "key", &text("")), append(LOG, 0, &text(""))], false);
    law.same(&get(backend, TABLE, b""), &Some(text("")), &"get of the empty key");
    law.same(&at(backend, LOG, 0), &Some(text("")), &"at");
    let expected = vec![(text(""), text("")), (text("key"), text(""))];
    law.same(&rows(backend, TABLE, ALL), &expected, &"range");
    law.same(
        &rows(backend, TABLE, (Bound::Included(b""), Bound::Included(b""))),
        &vec![(text(""), text(""))],
        &"range of the empty key",
    );
    law.same(
        &rows(backend, TABLE, (Bound::Excluded(b""), Bound::Unbounded)),
        &vec![(text("key"), text(""))],
        &"range after the empty key",
    );
    commit(backend, vec![remove(TABLE, "")], false);
    law.same(&get(backend, TABLE, b""), &None, &"get of the empty key, removed");
}

fn keys_come_in_byte_order(backend: &dyn Backend) {
    let law = Law("keys come in byte order, a prefix first");
    let ordered: Vec<Bytes> = awkward_keys();
    let mut shuffled = ordered.clone();
    Dice::new(1).shuffle(&mut shuffled);
    let writes = shuffled.into_iter().map(|key| Write::Put { table: TABLE, value: key.clone(), key });
    commit(backend, writes.collect(), false);
    let forward: Vec<Bytes> = rows(backend, TABLE, ALL).into_iter().map(|(key, _)| key).collect();
    law.same(&forward, &ordered, &"forward");
    for key in &ordered {
        law.same(&get(backend, TABLE, key), &Some(key.clone()), key);
    }
}

fn bounds_hold_from_both_ends(backend: &dyn Backend) {
    let law = Law("a range gives the keys between its bounds, from either end, each once");
    let present: Vec<Bytes> = awkward_keys().into_iter().step_by(2).collect();
    let mut model = Model::default();
    let writes: Vec<Write> = present.into_iter().map(|key| Write::Put { table: TABLE, value: key.clone(), key }).collect();
    model.apply(&writes);
    commit(backend, writes, false);
    let probes = awkward_keys();
    let mut bounds = vec![Bound::Unbounded];
    bounds.extend(probes.iter().map(|key| Bound::Included(&**key)));
    bounds.extend(probes.iter().map(|key| Bound::Excluded(&**key)));
    let frozen = snapshot(backend);
    let mut dice = Dice::new(2);
    for &start in &bounds {
        for &end in &bounds {
            same_range(law, backend, &model, TABLE, (start, end), &mut dice, &"newest");
            same_range(law, &*frozen, &model, TABLE, (start, end), &mut dice, &"snapshot");
        }
    }
}

fn tables_and_logs_are_apart(backend: &dyn Backend) {
    let law = Law("tables, logs and lanes do not meet, whatever their numbers");
    let numbers = [0, 1, 3, 255, 256, 257, 65_536, u32::MAX - 1, u32::MAX];
    let mut model = Model::default();
    let mut writes = Vec::new();
    for table in numbers {
        writes.push(put(TableId(table), "key", &text(&format!("row of {table}"))));
        for lane in numbers {
            let log = LogId { table, lane };
            writes.push(append(log, 0, &text(&format!("first of {table}, {lane}"))));
            writes.push(append(log, u64::MAX, &text(&format!("last of {table}, {lane}"))));
        }
    }
    Dice::new(3).shuffle(&mut writes);
    model.apply(&writes);
    commit(backend, writes, false);
    let check = |model: &Model| {
        for table in numbers {
            let table = TableId(table);
            same_range(law, backend, model, table, ALL, &mut Dice::new(4), &format!("{table:?}"));
            for lane in numbers {
                let log = LogId { table: table.0, lane };
                same_entries(law, backend, model, log, 0..=u64::MAX, &mut Dice::new(5), &format!("{log:?}"));
                same_entries(law, backend, model, log, 1..=u64::MAX - 1, &mut Dice::new(6), &format!("{log:?}"));
            }
        }
    };
    check(&model);
    let removals = vec![
        remove(TableId(256), "key"),
        erase(LogId { table: 256, lane: 0 }, 0),
        erase(LogId { table: 0, lane: 256 }, u64::MAX),
    ];
    model.apply(&removals);
    commit(backend, removals, false);
    check(&model);
}

fn logs_have_holes_and_extremes(backend: &dyn Backend) {
    let law = Law("a log gives the numbers that are there, in order, from 0 to the highest");
    let numbers = [
        0,
        1,
        2,
        5,
        31,
        62,
        63,
        64,
        65,
        127,
        128,
        129,
        191,
        255,
        256,
        1000,
        1 << 16,
        u64::from(u32::MAX),
        1 << 32,
        1 << 60,
        u64::MAX - 64,
        u64::MAX - 1,
        u64::MAX,
    ];
    let mut model = Model::default();
    let mut writes: Vec<Write> = numbers.iter().map(|&number| append(LOG, number, &text(&number.to_string()))).collect();
    Dice::new(7).shuffle(&mut writes);
    model.apply(&writes);
    // One by one: a log is mostly written so.
    for write in writes {
        commit(backend, vec![write], false);
    }
    let mut dice = Dice::new(8);
    let check = |model: &Model, dice: &mut Dice| {
        let probes = numbers.iter().flat_map(|&number| [number.saturating_sub(1), number, number.saturating_add(1)]);
        let probes: Vec<u64> = probes.collect();
        for &first in &probes {
            law.same(&at(backend, LOG, first), &at(model, LOG, first), &format!("at {first}"));
            for &last in &probes {
                // Inverted ones too: they give nothing.
                same_entries(law, backend, model, LOG, first..=last, dice, &"newest");
            }
        }
    };
    check(&model, &mut dice);
    let erasures: Vec<Write> = numbers.iter().step_by(2).map(|&number| erase(LOG, number)).collect();
    model.apply(&erasures);
    commit(backend, erasures, false);
    check(&model, &mut dice);
}

fn large_values_and_commits_are_kept(backend: &dyn Backend) {
    let law = Law("values of 1 MiB, keys of 4 KiB and commits of 20,000 writes are kept");
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| place.to_le_bytes().into_iter().fold(0, u8::wrapping_add)).collect();
    let large = Bytes::from(large);
    let key = Bytes::from(vec![0xAB; 4096]);
    commit(backend, vec![Write::Put { table: TABLE, key: key.clone(), value: large.clone() }, append(LOG, 9, &large)], true);
    // Not `same`: nobody reads a megabyte in a panic.
    law.holds(get(backend, TABLE, &key).as_ref() == Some(&large), &"a row of 1 MiB");
    law.holds(at(backend, LOG, 9).as_ref() == Some(&large), &"an entry of 1 MiB");
    commit(backend, vec![Write::Remove { table: TABLE, key }, erase(LOG, 9)], false);

    let number_key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut writes: Vec<Write> = Vec::new();
    for number in 0..10_000 {
        let key = number_key(number);
        writes.push(Write::Append { log: LOG, number: number.into(), value: key.clone() });
        writes.push(Write::Put { table: TABLE, value: key.clone(), key });
    }
    let before = snapshot(backend);
    commit(backend, writes, false);
    law.same(&rows(backend, TABLE, ALL).len(), &10_000, &"rows of a large commit");
    law.same(&entries(backend, LOG, 0..=u64::MAX).len(), &10_000, &"entries of a large commit");
    law.same(&rows(&*before, TABLE, ALL).len(), &0, &"rows before a large commit");
    for number in (0..10_000).step_by(997) {
        let key = number_key(number);
        law.same(&get(backend, TABLE, &key), &Some(key.clone()), &number);
        law.same(&at(backend, LOG, number.into()), &Some(key), &number);
    }
}

fn random_histories_match_the_model(backend: &dyn Backend, seed: u64) {
    let law = Law("a random history reads as the model says");
    const STEPS: u32 = 250;
    let mut dice = Dice::new(seed);
    let mut model = Model::default();
    let mut held: Vec<(u32, Arc<dyn Read>, Model)> = Vec::new();
    for step in 0..STEPS {
        let writes = dice.writes();
        model.apply(&writes);
        commit(backend, writes, dice.below(50) == 0);
        let place = format!("seed {seed}, step {step}, newest");
        same_somewhere(law, backend, &model, &mut dice, &place);
        if dice.below(10) == 0 {
            held.push((step, snapshot(backend), model.clone()));
        }
        if held.len() > 10 {
            drop(held.swap_remove(dice.index(held.len())));
        }
        if !held.is_empty() {
            let index = dice.index(held.len());
            if let Some((taken, snapshot, model)) = held.get(index) {
                let place = format!("seed {seed}, step {step}, snapshot of step {taken}");
                same_somewhere(law, &**snapshot, model, &mut dice, &place);
            }
        }
    }
    same_everywhere(law, backend, &model, &mut dice, &format!("seed {seed}, at the end"));
    for (taken, snapshot, model) in &held {
        same_everywhere(law, &**snapshot, model, &mut dice, &format!("seed {seed}, snapshot of step {taken} at the end"));
    }
}

#[cfg(test)]
mod tests;
