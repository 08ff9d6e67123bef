//! What others may see of a commit: all of it or nothing, and nothing at all in what they hold already.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::dice::Dice;
use super::model::*;
use super::{LOG, TABLE};
use crate::storage::{Backend, Bytes, Read, Write};

pub(super) fn streamed_commits_are_whole_or_nothing(backend: &dyn Backend) {
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

pub(super) fn snapshots_are_frozen(backend: &dyn Backend) {
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

pub(super) fn iterators_show_one_state(backend: &dyn Backend) {
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

pub(super) fn commits_are_atomic_to_other_threads(backend: &dyn Backend) {
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
