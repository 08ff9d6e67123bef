//! The process: a store, a node, a writer, and whoever tells it what to do.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tombolo::Store;
use tombolo::node::{Node, PeerState};

use super::config;
use super::deeds::{Journal, write, write_bulk};
use crate::kill;

/// What a process is told in its environment.
pub(super) const FOLDER: &str = "TOMBOLO_PROCESS_FOLDER";
pub(super) const PLACE: &str = "TOMBOLO_PROCESS_PLACE";
pub(super) const LISTEN: &str = "TOMBOLO_PROCESS_LISTEN";
pub(super) const PEERS: &str = "TOMBOLO_PROCESS_PEERS";

/// What starts it.
pub(super) const TEST: &str = "processes::child::runs_a_node_until_it_is_told_to_end";

/// Before an answer: the test harness prints lines, too.
pub(super) const ANSWER: &str = "» ";

/// Between two writes, so that a few processes leave room for other tests.
const PACE: Duration = Duration::from_millis(2);

/// Not a test: what the tests of this module run in processes of their own. It ends when its stdin does.
#[test]
#[ignore = "the process that other tests kill, stop and cut off"]
fn runs_a_node_until_it_is_told_to_end() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let told = |name| std::env::var(name).unwrap();
    let place: u64 = told(PLACE).parse().unwrap();
    let file = |ending| Path::new(&folder).join(format!("{place}.{ending}"));
    let runtime = Runtime::new().unwrap();
    let store = Store::open(file("tombolo")).unwrap();
    let peers = told(PEERS);
    let builder = Node::builder(store.clone()).listen(told(LISTEN)).config(config());
    let builder = peers.split_whitespace().fold(builder, |builder, peer| builder.peer(peer));
    let node = runtime.block_on(builder.start()).unwrap();
    let writer = Writer::default();
    std::thread::scope(|scope| {
        let journal = Journal::open(&file("journal"));
        scope.spawn(|| writer.run(&store, place, journal));
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let answer = obey(&line, &store, place, &writer, &runtime, &node);
            // The first line of the harness has no end.
            println!("\n{ANSWER}{line}: {answer}");
            std::io::stdout().flush().unwrap();
        }
        writer.set(Order::End);
    });
    runtime.block_on(node.shutdown()).unwrap();
}

fn obey(line: &str, store: &Store, place: u64, writer: &Writer, runtime: &Runtime, node: &Node) -> String {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["write"] => writer.set(Order::Write),
        ["rest"] => writer.set(Order::Rest),
        ["bulk", values] => write_bulk(store, place, values.parse().unwrap()).unwrap(),
        ["bulks", writer] => return store.scan(("bulk", writer.parse::<u64>().unwrap())).count().to_string(),
        ["last", writer] => return kill::last(store, writer.parse().unwrap()).to_string(),
        // Both of one moment.
        ["state"] => {
            let status = store.status().unwrap();
            return format!("{} {:?}", status.digest, status.version.to_bytes());
        }
        ["peers"] => {
            let status = runtime.block_on(node.status()).unwrap();
            return status.peers.iter().filter(|peer| peer.state == PeerState::Up).count().to_string();
        }
        _ => panic!("not a command: {line}"),
    }
    "done".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    #[default]
    Rest,
    Write,
    End,
}

/// Writes one number after the other, while it is to.
#[derive(Default)]
struct Writer {
    /// What it is to do, and whether it is in the middle of a write.
    order: (Mutex<(Order, bool)>, Condvar),
}

impl Writer {
    /// Returns when it rests, if it is to.
    fn set(&self, order: Order) {
        let (lock, changed) = &self.order;
        let mut state = lock.lock().unwrap();
        state.0 = order;
        changed.notify_all();
        drop(changed.wait_while(state, |(order, is_writing)| *order != Order::Write && *is_writing).unwrap());
    }

    fn run(&self, store: &Store, place: u64, mut journal: Journal) {
        let (lock, changed) = &self.order;
        let mut number = kill::last(store, place);
        loop {
            let mut state = changed.wait_while(lock.lock().unwrap(), |(order, _)| *order == Order::Rest).unwrap();
            if state.0 == Order::End {
                return;
            }
            state.1 = true;
            drop(state);
            number += 1;
            write(store, place, number).unwrap();
            journal.acknowledge(number);
            lock.lock().unwrap().1 = false;
            changed.notify_all();
            std::thread::sleep(PACE);
        }
    }
}
