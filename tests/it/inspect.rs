//! What `inspect` says agrees with what is read, and reads as people read.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tombolo::causal::{Dot, ReplicaId};
use tombolo::kv::{Dynamic, Inspection, Kind};
use tombolo::system::Clock;
use tombolo::{Error, Store};

use crate::deeds::{Deed, run};
use crate::sync::{exchange, replica, send};

/// A clock that stands.
#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

fn at(number: u128, ms: u64) -> Store {
    Store::options().replica(ReplicaId::from_u128(number)).clock(At(ms)).in_memory()
}

const NEW_YEAR: u64 = 1_767_225_600_000;

fn of(number: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{number:02}")
}

#[test]
fn it_prints_as_a_table() {
    let (a, b) = (at(1, NEW_YEAR), at(2, NEW_YEAR + 61_001));
    for (store, value) in [(&a, "Groceries"), (&b, "Food")] {
        let note = store.map(("note", 7));
        note.register::<String>("title").set(value).unwrap();
        note.flag("pinned").set(value == "Food").unwrap();
        note.counter("opens").add(2).unwrap();
        note.set::<String>("tags").insert(value).unwrap();
    }
    exchange(&a, &b);
    let (one, two) = (of(1), of(2));
    let expected = format!(
        "\
(\"note\", 7) map \"opens\" counter {one}
  * 2            by {one} event 3                             counts: all that its contributor has added, in one entry
(\"note\", 7) map \"opens\" counter {two}
  * 2            by {two} event 3                             counts: all that its contributor has added, in one entry
(\"note\", 7) map \"pinned\" flag
  * true         by {two} event 2                             of concurrent writes, enable wins
    false        by {one} event 2                             kept until the next write: a concurrent one enables, and that wins
(\"note\", 7) map \"tags\" set \"Food\"
  * \"Food\"       by {two} event 4                             in the set: an add that no remove has seen
(\"note\", 7) map \"tags\" set \"Groceries\"
  * \"Groceries\"  by {one} event 4                             in the set: an add that no remove has seen
(\"note\", 7) map \"title\" register
  * \"Food\"       by {two} event 1 at 2026-01-01 00:01:01.001  shown: none of the 2 replaces another, and its time is the latest
    \"Groceries\"  by {one} event 1 at 2026-01-01 00:00:00.000  kept until the next write: the shown one does not replace it, but its time is earlier"
    );
    let printed = a.inspect(("note", 7)).unwrap().to_string();
    assert_eq!(printed, expected);
    assert_eq!(printed, b.inspect(("note", 7)).unwrap().to_string());
    assert_eq!(printed, a.snapshot().unwrap().inspect(("note", 7)).unwrap().to_string());
    assert_eq!(a.inspect(("note", 8)).unwrap().to_string(), r#"("note", 8): nothing"#);
    assert!(a.inspect("note").unwrap().entries.is_empty());
    assert!(matches!(a.inspect(()), Err(Error::Refused(_))));

    let field = a.map(("note", 7)).inspect("title").unwrap();
    assert_eq!((field.key.to_string(), field.entries.len()), (r#""title""#.to_owned(), 2));
    let shown = &field.entries[0];
    assert_eq!(shown.dot, Some(Dot::new(ReplicaId::from_u128(2), 1)));
    assert_eq!(shown.time.unwrap().ms(), NEW_YEAR + 61_001);
    assert_eq!((shown.path.row_kind(), shown.value.as_ref().unwrap()), (Kind::Register, &Dynamic::from("Food")));
    assert!(a.map(("note", 7)).inspect(()).is_err());
}

fn whys(inspection: &Inspection) -> Vec<(bool, &str)> {
    inspection.entries.iter().map(|entry| (entry.wins, entry.why.as_str())).collect()
}

#[test]
fn ties_are_decided_by_the_writer_and_then_by_the_number() {
    let (a, b) = (at(1, NEW_YEAR), at(2, NEW_YEAR));
    let nothing = a.register::<u8>("x").read().unwrap();
    a.register::<u8>("x").set(&1).unwrap();
    b.register::<u8>("x").set(&2).unwrap();
    assert_eq!(whys(&a.inspect("x").unwrap()), [(true, "the only write that no later one has replaced or deleted")]);
    send(&b, &a);
    assert_eq!(
        whys(&a.inspect("x").unwrap()),
        [
            (true, "shown: none of the 2 replaces another, and at equal times its writer's id is the highest"),
            (
                false,
                "kept until the next write: the shown one does not replace it, but at an equal time its writer's id is lower"
            ),
        ]
    );
    let tx = a.begin().unwrap();
    tx.register::<u8>("x").set_over(&nothing, &3).unwrap();
    let inspection = tx.inspect("x").unwrap();
    assert_eq!(inspection.entries.iter().filter(|entry| entry.dot.is_none()).count(), 1);
    assert!(inspection.to_string().contains("in this transaction"));
    tx.commit().unwrap();
    assert_eq!(a.inspect("x").unwrap().entries.len(), 3);
}

#[test]
fn a_reset_is_shown_with_what_it_means() {
    let (a, b) = (replica(1), replica(2));
    a.counter("n").add(5).unwrap();
    exchange(&a, &b);
    a.counter("n").add(3).unwrap();
    b.delete("n").unwrap();
    send(&b, &a);
    let inspection = a.inspect("n").unwrap();
    let (one, two) = (of(1), of(2));
    assert_eq!(
        inspection.to_string(),
        format!(
            "\
\"n\" counter {one}
  * 3   by {one} event 2  counts: its contributor has added 8, of which deletes have cancelled 5
\"n\" counter reset of {one}
  * -5  by {two} event 2  a delete saw the contributor's entry 1, which held 5: so much of the part is cancelled, until the \
contributor adds and takes it into account"
        )
    );
    assert_eq!(inspection.entries[1].path.contributor(), Some(ReplicaId::from_u128(1)));
    assert!(inspection.entries[1].path.is_reset());
    // Where the part is gone, the reset takes nothing off.
    let told = b.inspect("n").unwrap();
    assert_eq!(told.entries.len(), 1);
    assert!(!told.entries[0].wins);
    assert!(told.entries[0].why.ends_with("no part of the contributor is here, so it takes nothing off"));
    a.counter("n").add(1).unwrap();
    assert_eq!(a.inspect("n").unwrap().entries.len(), 1);
}

/// What the winning entries add up to is what the handles read.
fn agrees(store: &Store) {
    for key in 0..3_u8 {
        let inspection = store.inspect(key).unwrap();
        let winning = |kind: Kind| inspection.entries.iter().filter(move |entry| entry.path.row_kind() == kind && entry.wins);
        let values = |kind| winning(kind).map(|entry| entry.value.as_ref().unwrap().clone()).collect::<Vec<_>>();
        let shown = store.register::<i32>(key).get().unwrap();
        assert_eq!(values(Kind::Register), shown.map(Dynamic::from).into_iter().collect::<Vec<_>>());
        let parts = winning(Kind::Counter).filter(|entry| !entry.path.is_reset());
        let sum: i128 = parts.map(|entry| if let Ok(Dynamic::Int(part)) = entry.value { part } else { panic!() }).sum();
        assert_eq!(sum, store.counter(key).get().unwrap());
        for (kind, flag) in [(Kind::Flag, store.flag(key)), (Kind::VetoFlag, store.veto_flag(key))] {
            let states: BTreeSet<String> = values(kind).iter().map(Dynamic::to_string).collect();
            let expected = flag.get().unwrap();
            assert!(states.is_empty() && !expected || states == BTreeSet::from([expected.to_string()]), "{inspection}");
        }
        let elements: BTreeSet<String> = values(Kind::Set).iter().map(Dynamic::to_string).collect();
        let read: BTreeSet<String> = store.set::<u8>(key).iter().unwrap().map(|element| element.unwrap().to_string()).collect();
        assert_eq!(elements, read);
        // Each entry comes once.
        let dots: BTreeSet<_> = inspection.entries.iter().map(|entry| entry.dot.unwrap()).collect();
        assert_eq!(dots.len(), inspection.entries.len());
    }
    let all: usize = store.scan(()).map(|entry| store.inspect(entry.unwrap().key()).unwrap().entries.len()).sum();
    assert!(all as u64 <= store.status().unwrap().entries);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_what_is_read(steps in proptest::collection::vec((0..3_usize, 0..3_usize, Deed::some()), 1..20)) {
        let stores = [replica(1), replica(2), replica(3)];
        for (at, to, deeds) in steps {
            run(&stores[at], &deeds).unwrap();
            agrees(&stores[at]);
            if at != to {
                send(&stores[at], &stores[to]);
                agrees(&stores[to]);
            }
        }
    }
}
