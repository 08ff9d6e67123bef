//! `kill -9`: a process with four writers is killed again and again over one file. What it has acknowledged is there.
//! `TOMBOLO_KILLS=200` kills it that often.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tombolo::sim::Rng;
use tombolo::{Error, Store, Tx};

const IN_EVERY_RUN: u64 = 20;
pub(crate) const WRITERS: u64 = 4;
const FILE: &str = "TOMBOLO_KILL_FILE";

/// The transaction with a number of one writer.
pub(crate) fn write(store: &Store, writer: u64, number: u64) -> Result<(), Error> {
    store.transact(|tx| put(tx, writer, number))
}

/// What is in that transaction.
pub(crate) fn put(tx: &Tx, writer: u64, number: u64) -> Result<(), Error> {
    tx.register::<u64>(("last", writer)).set(&number)?;
    tx.counter("all").add(1)?;
    tx.set::<u64>(("kept", writer)).insert(&number)?;
    tx.map(("item", writer)).register::<u64>(number).set(&number)?;
    if number > 3 {
        tx.set::<u64>(("kept", writer)).remove(&(number - 3))?;
        tx.map(("item", writer)).delete_field(number - 3)?;
    }
    Ok(())
}

pub(crate) fn last(store: &Store, writer: u64) -> u64 {
    store.register::<u64>(("last", writer)).get().unwrap().unwrap_or_default()
}

/// Not a test: what the test below runs in a process of its own. It tells of each transaction once it is acknowledged.
#[test]
#[ignore = "the process that another test kills"]
fn writes_until_it_is_killed() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Store::open(file).unwrap();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                let first = last(store, writer) + 1;
                for number in first..first + 10_000 {
                    write(store, writer, number).unwrap();
                    // Fails when nobody listens any more.
                    println!("ack {writer} {number}");
                }
            });
        }
    });
}

fn child(file: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = concat!(module_path!(), "::writes_until_it_is_killed");
    let name = name.split_once("::").unwrap().1;
    command.args([name, "--exact", "--ignored", "--nocapture"]).env(FILE, file);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Nothing is half done: each transaction counted, and left the last three numbers.
pub(crate) fn check(store: &Store, acknowledged: &BTreeMap<u64, u64>) {
    store.check().unwrap();
    let mut all = 0;
    for writer in 0..WRITERS {
        let last = last(store, writer);
        let told = acknowledged.get(&writer).copied().unwrap_or_default();
        assert!(last >= told, "writer {writer}: {told} was acknowledged, {last} is there");
        all += i128::from(last);
        let three: Vec<u64> = (last.saturating_sub(2).max(1)..=last).collect();
        let kept: Vec<u64> = store.set::<u64>(("kept", writer)).iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(kept, three);
        let item = |number: &u64| store.map(("item", writer)).register::<u64>(number).get().unwrap();
        assert!(three.iter().all(|number| item(number) == Some(*number)));
        assert_eq!(store.map(("item", writer)).fields().count(), three.len());
    }
    assert_eq!(store.counter("all").get().unwrap(), all);
}

#[test]
fn a_process_that_is_killed_has_lost_nothing_that_it_acknowledged() {
    let kills = std::env::var("TOMBOLO_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(IN_EVERY_RUN);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.tombolo");
    let (mut rng, mut acknowledged, mut total) = (Rng::new(kills), BTreeMap::new(), 0_u64);
    for kill in 0..kills {
        let mut child = child(&file);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: String| {
            let mut words = line.split(' ').skip_while(|word| !word.ends_with("ack")).skip(1);
            if let (Some(writer), Some(number)) = (words.next(), words.next()) {
                acknowledged.insert(writer.parse().unwrap(), number.parse().unwrap());
                total += 1;
            }
        };
        // Some are killed while they open the file.
        let wait_for = if rng.chance(20) { 0 } else { rng.below(60) };
        (0..wait_for).filter_map(|_line| lines.next()).for_each(|line| take(line.unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had told before it ended. The last line may be cut off.
        lines.map_while(Result::ok).filter(|line| line.split(' ').count() == 3).for_each(take);
        if rng.chance(50) || kill + 1 == kills {
            check(&Store::open(&file).unwrap(), &acknowledged);
        }
    }
    println!("{kills} kills, {total} acknowledged: {acknowledged:?}");
    assert!(total > kills * 5, "{total}");
}
