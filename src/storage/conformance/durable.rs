//! What a durable backend must do besides.

use super::super::{Backend, Bytes};
use super::dice::Dice;
use super::model::*;
use super::{LOG, TABLE};

/// Checks that what was synced is there again. `open` is given the number of a storage: the first time it makes an empty one,
/// after that it opens the same again. The one before is always dropped first, with all that was read through it.
///
/// # Panics
/// As [`conformance`](super::conformance()) does.
pub fn conformance_durable<B: Backend>(open: impl Fn(u64) -> B) {
    synced_commits_are_there_again(&open);
    a_sync_covers_the_commits_before_it(&open);
    unsynced_commits_are_there_up_to_one_of_them(&open);
    random_histories_are_there_again(&open);
}

fn synced_commits_are_there_again<B: Backend>(open: &impl Fn(u64) -> B) {
    let law = Law("a synced commit is there after dropping and opening again");
    for round in 0..5_u64 {
        let backend = open(0);
        let expected: Vec<(u64, Bytes)> = (0..round).map(|number| (number, text("value"))).collect();
        law.same(&entries(&backend, LOG, 0..=u64::MAX), &expected, &format!("entries, round {round}"));
        let expected = if round == 0 { vec![] } else { vec![(text("round"), text(&(round - 1).to_string()))] };
        law.same(&rows(&backend, TABLE, ALL), &expected, &format!("rows, round {round}"));
        let value = text(&round.to_string());
        let writes = vec![append(LOG, round, &text("value")), put(TABLE, "round", &value), remove(TABLE, "removed")];
        commit(&backend, writes, true);
        commit(&backend, vec![put(TABLE, "removed", &value)], true);
        commit(&backend, vec![remove(TABLE, "removed")], true);
    }
}

fn a_sync_covers_the_commits_before_it<B: Backend>(open: &impl Fn(u64) -> B) {
    let law = Law("a synced commit makes those before it durable, even if it writes nothing itself");
    let backend = open(1);
    commit(&backend, vec![put(TABLE, "one", &text("1"))], false);
    commit(&backend, vec![append(LOG, 2, &text("2"))], false);
    commit(&backend, vec![put(TABLE, "three", &text("3"))], true);
    drop(backend);
    let backend = open(1);
    law.same(&get(&backend, TABLE, b"one"), &Some(text("1")), &"a row");
    law.same(&at(&backend, LOG, 2), &Some(text("2")), &"an entry");
    law.same(&get(&backend, TABLE, b"three"), &Some(text("3")), &"the synced row");
    commit(&backend, vec![put(TABLE, "four", &text("4"))], false);
    commit(&backend, Vec::new(), true);
    drop(backend);
    law.same(&get(&open(1), TABLE, b"four"), &Some(text("4")), &"a row before a sync of nothing");
}

fn unsynced_commits_are_there_up_to_one_of_them<B: Backend>(open: &impl Fn(u64) -> B) {
    let law = Law("of the commits after the last sync, all up to some one are there, each wholly");
    let backend = open(2);
    commit(&backend, vec![append(LOG, 0, &text("synced"))], true);
    for number in 1..=20 {
        commit(&backend, vec![append(LOG, number, &text("log")), put(TABLE, "row", &text(&number.to_string()))], false);
    }
    drop(backend);
    let backend = open(2);
    let numbers: Vec<u64> = entries(&backend, LOG, 0..=u64::MAX).into_iter().map(|(number, _)| number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    law.same(&numbers, &(0..=last).collect(), &"the log");
    let expected = (last > 0).then(|| text(&last.to_string()));
    law.same(&get(&backend, TABLE, b"row"), &expected, &format!("the row after {last} commits"));
}

fn random_histories_are_there_again<B: Backend>(open: &impl Fn(u64) -> B) {
    let law = Law("a random history that was synced is there again");
    let mut dice = Dice::new(10);
    let mut model = Model::default();
    for round in 0..5 {
        let backend = open(3);
        same_everywhere(law, &backend, &model, &mut dice, &format!("round {round}"));
        for step in 0..30 {
            let writes = dice.writes();
            model.apply(&writes);
            commit(&backend, writes, step == 29 || dice.below(5) == 0);
        }
    }
}
