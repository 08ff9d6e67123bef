//! What every backend must do, as functions that panic with the law that broke.

mod dice;
mod durable;
mod model;

use core::ops::Bound;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Backend, Bytes, LogId, Read, TableId, Write};
use dice::{Dice, awkward_keys};
pub use durable::conformance_durable;
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

fn streamed_commits_are_whole_or_nothing(backend: &dyn Backend) {
    let law = Law("a streamed commit reads the state before it, and is there as a whole, or after an error not at all");
    const WRITES: u64 = 5_000;
    let mut model = Model::default();
    let writes = vec![put(TABLE, "count", &text("0")), put(TABLE, "stays", &text("value")), append(LOG, 0, &text("first"))];
    model.apply(&writes);
    commit(backend, writes, true);
    for (round, sync) in [true, false].into_iter().enumerate() {
        let value = text(&format!("round {round}"));
        // What the stream is given depends on what it reads, at the newest state and in a snapshot, while it is taken.
        let writes_from = |number: u64| {
            let count = if number.is_multiple_of(2) {
                get(backend, TABLE, b"count")
            } else {
                get(&*snapshot(backend), TABLE, b"count")
            };
            law.same(&count, &get(&model, TABLE, b"count"), &format!("a read at write {number} of round {round}"));
            match number {
                1 => remove(TABLE, "stays"),
                2 => put(TABLE, "stays", &value),
                3 => put(TABLE, "count", &value),
                4 => append(LOG, 0, &value),
                _ => append(LOG, number, &value),
            }
        };
        for fails_at in [0, 1, WRITES / 2, WRITES] {
            let mut asked = 0;
            let error = backend.commit_from(
                &mut (0..).map(|number| {
                    law.holds(number <= fails_at, &"a stream is not asked again after its error");
                    asked = number;
                    if number == fails_at { Err(io::Error::other("the stream broke off")) } else { Ok(writes_from(number)) }
                }),
                sync,
            );
            let said = error.err().map(|error| error.to_string());
            law.same(&said.as_deref(), &Some("the stream broke off"), &format!("the error at write {fails_at}"));
            law.same(&asked, &fails_at, &"how far the stream was taken");
            same_range(law, backend, &model, TABLE, ALL, &mut Dice::new(11), &"after an error");
            same_entries(law, backend, &model, LOG, 0..=u64::MAX, &mut Dice::new(11), &"after an error");
        }
        let writes: Vec<Write> = (0..WRITES).map(writes_from).collect();
        opened(backend.commit_from(&mut (0..WRITES).map(|number| Ok(writes_from(number))), sync));
        model.apply(&writes);
        same_range(law, backend, &model, TABLE, ALL, &mut Dice::new(12), &"after the commit");
        same_entries(law, backend, &model, LOG, 0..=u64::MAX, &mut Dice::new(12), &"after the commit");
    }
}

fn snapshots_are_frozen(backend: &dyn Backend) {
    let law = Law("a snapshot shows the state that it was taken of, whatever is committed later");
    const ROUNDS: u32 = 2_000;
    let mut model = Model::default();
    let mut dice = Dice::new(9);
    let mut held: Vec<(u32, Arc<dyn Read>, Model)> = Vec::new();
    for round in 0..ROUNDS {
        let mut writes = Vec::new();
        for _ in 0..4 {
            let key = format!("key {:03}", dice.below(200));
            let number = dice.below(400);
            let value = text(&format!("round {round}"));
            match dice.below(4) {
                0 => writes.push(remove(TABLE, &key)),
                1 => writes.push(erase(LOG, number)),
                2 => writes.push(append(LOG, number, &value)),
                _ => writes.push(put(TABLE, &key, &value)),
            }
        }
        model.apply(&writes);
        commit(backend, writes, false);
        if round % 100 == 0 {
            held.push((round, snapshot(backend), model.clone()));
        }
    }
    // Remove all of it below the snapshots.
    let mut writes: Vec<Write> = model.rows(TABLE).map(|(key, _)| Write::Remove { table: TABLE, key }).collect();
    writes.extend(model.entries_of(LOG).map(|(number, _)| erase(LOG, number)));
    commit(backend, writes, false);
    law.same(&rows(backend, TABLE, ALL), &vec![], &"the newest state, with everything removed");
    for (round, snapshot, model) in &held {
        let place = format!("the snapshot of round {round} after {ROUNDS}");
        for (key, value) in model.rows(TABLE) {
            law.same(&get(&**snapshot, TABLE, &key), &Some(value), &place);
        }
        for (number, value) in model.entries_of(LOG) {
            law.same(&at(&**snapshot, LOG, number), &Some(value), &place);
        }
        same_range(law, &**snapshot, model, TABLE, ALL, &mut dice, &place);
        same_entries(law, &**snapshot, model, LOG, 0..=u64::MAX, &mut dice, &place);
    }
}

fn iterators_show_one_state(backend: &dyn Backend) {
    let law = Law("an iterator shows the state of its creation to its end");
    let mut model = Model::default();
    let number_key = |number: u64| format!("key {number:04}");
    let writes: Vec<Write> = (0..1000)
        .flat_map(|number| [put(TABLE, &number_key(number), &text("old")), append(LOG, number, &text("old"))])
        .collect();
    model.apply(&writes);
    commit(backend, writes, false);
    let mut rows_left = opened(backend.range(TABLE, ALL));
    let mut entries_left = opened(backend.entries(LOG, 0..=u64::MAX));
    let (mut rows_found, mut entries_found) = (Vec::new(), Vec::new());
    for round in 0..10 {
        rows_found.extend(rows_left.by_ref().take(50).map(opened));
        entries_found.extend(entries_left.by_ref().take(50).map(opened));
        let writes = (0..1000).step_by(3).flat_map(|number| {
            let key = number_key((number + round) % 1000);
            let number = (number + 2 * round) % 1000;
            [
                remove(TABLE, &key),
                erase(LOG, number),
                put(TABLE, &format!("{key} new"), &text("new")),
                append(LOG, number + 1, &text("new")),
            ]
        });
        commit(backend, writes.collect(), false);
    }
    rows_found.extend(rows_left.map(opened));
    entries_found.extend(entries_left.map(opened));
    law.same(&rows_found, &rows(&model, TABLE, ALL), &"rows");
    law.same(&entries_found, &entries(&model, LOG, 0..=u64::MAX), &"entries");
}

fn commits_are_atomic_to_other_threads(backend: &dyn Backend) {
    let law = Law("another thread sees all of a commit or nothing of it, and never goes back");
    const COMMITS: u64 = 200;
    /// How often each reader must have seen a newer commit: only then did it read while commits were made.
    const ADVANCES: u64 = 10;
    const ROWS: u64 = 64;
    let writes_of = |commit: u64| -> Vec<Write> {
        let value = text(&commit.to_string());
        let rows = (0..ROWS).map(|row| put(TABLE, &format!("key {row}"), &value));
        let entries = (0..ROWS).map(|number| append(LOG, number * 50, &value));
        rows.chain(entries).collect()
    };
    let number_of = |value: &Bytes| -> Option<u64> { core::str::from_utf8(value).ok()?.parse().ok() };
    let uniform = |read: &dyn Read, place: &str| -> u64 {
        let mut values: Vec<Bytes> = rows(read, TABLE, ALL).into_iter().map(|(_, value)| value).collect();
        if place == "a snapshot" {
            values.extend(entries(read, LOG, 0..=u64::MAX).into_iter().map(|(_, value)| value));
            law.same(&values.len(), &usize::try_from(2 * ROWS).unwrap_or(0), &format!("{place}: rows and entries"));
        }
        values.dedup();
        law.same(&values.len(), &1, &format!("{place}: different commits at once, {values:?}"));
        values.first().and_then(number_of).unwrap_or(0)
    };
    commit(backend, writes_of(0), true);
    let done = AtomicBool::new(false);
    let advances = [AtomicU64::new(0), AtomicU64::new(0)];
    let last = thread::scope(|scope| {
        let readers = [true, false].into_iter().zip(&advances).map(|(frozen, advances)| {
            let done = &done;
            scope.spawn(move || {
                let _finish = Finish(done);
                let mut newest = 0;
                while !done.load(Ordering::Acquire) {
                    let found = if frozen { uniform(&*snapshot(backend), "a snapshot") } else { uniform(backend, "one range") };
                    law.holds(found >= newest, &format!("commit {found} was read after commit {newest}"));
                    if found > newest {
                        newest = found;
                        advances.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        // However this thread ends, the readers must; and if a reader breaks the law, this thread must.
        let finish = Finish(&done);
        let seen = || advances.iter().all(|advances| advances.load(Ordering::Relaxed) >= ADVANCES);
        let mut number = 0;
        while !done.load(Ordering::Acquire) && (number < COMMITS || !seen()) {
            number += 1;
            commit(backend, writes_of(number), number % 50 == 0);
        }
        drop(finish);
        for reader in readers {
            if let Err(panic) = reader.join() {
                resume_unwind(panic);
            }
        }
        number
    });
    law.same(&uniform(&*snapshot(backend), "a snapshot"), &last, &"after the last commit");
}

/// Tells the other threads to stop, however this one ends.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
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
