//! What replicas say to each other: bytes, exact.

use tombolo::causal::VersionVector;
use tombolo::codec::{Writer, write_frame};
use tombolo::{Store, Tx};

use crate::report::{Budget, Report};
use crate::rows::{key, lots, path, payload, store_with, value};

const MANY: u64 = 1_000_000;

pub(crate) fn run(report: &mut Report) {
    let (a, b) = (store_with(MANY), Store::in_memory());
    exchange(&a, &b);

    // One frame each way: a vector, and a delta that has nothing.
    let (asked, both) = (asked(&b.version().unwrap()) as f64, exchange(&a, &b).0);
    report.amount("nothing new: the question", asked, "B", "", Budget::AtMost(64.0));
    report.amount("nothing new: the answer", both - asked, "B", "", Budget::AtMost(64.0));
    report.because(NOTHING);

    a.register::<String>(&*key(77)).set("another text of 24 bytes").unwrap();
    let one = exchange(&a, &b);
    assert_eq!(one.1, 1);
    report.amount("1 of 1M rows differs, one round trip", one.0, "B", "a vector, and the answer", Budget::AtMost(1024.0));

    pushed(report, &a, &b);

    // 10,000 overwrites of 100 keys.
    for number in 0..10_000 {
        a.register::<String>(&*key(number % 100)).set(&*value(number)).unwrap();
    }
    let caught_up = exchange(&a, &b);
    report.numbers(
        "rows sent after 10,000 overwrites of 100 keys : keys",
        (caught_up.1 as f64, 100.0),
        "rows",
        Budget::AtMost(1.0),
    );
    report.amount("bytes of each of them", caught_up.0 / 100.0, "B", "", Budget::None);

    // Live numbers in many runs, and deletes that the sender has forgotten before the peer comes.
    let lot = lots(MANY);
    for _ in 0..30 {
        let overwrite = |tx: &Tx| (0..10_000).try_for_each(|_| tx.register::<String>(&*key(lot())).set(&*value(0)));
        a.transact(overwrite).unwrap();
    }
    exchange(&a, &b);
    for number in 0..100 {
        a.delete(&*key(number * 9_999)).unwrap();
    }
    a.forget_deletes(&a.version().unwrap()).unwrap();
    let below = exchange(&a, &b);
    report.amount(
        "below the floor, 100 removed of 1M rows, a quarter of them written twice",
        below.0,
        "B",
        "a vector, and the answer",
        Budget::AtMost(1_600_000.0),
    );
    report.because(BELOW);
    a.register::<String>(&*key(5)).set(&*value(5)).unwrap();
    let after = exchange(&a, &b);
    report.amount("1 differing row after that", after.0, "B", "", Budget::AtMost(70_000.0));
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
}

/// A frame around what a peer asks with.
fn asked(version: &VersionVector) -> usize {
    let (mut to, mut frame) = (Writer::new(), Vec::new());
    to.raw(&version.to_bytes());
    write_frame(&mut frame, 0, 1, to.as_slice());
    frame.len()
}

/// `b` asks, `a` answers. How many bytes that were, and how many rows.
fn exchange(a: &Store, b: &Store) -> (f64, u64) {
    let version = b.version().unwrap();
    let delta = a.delta_since(&version).unwrap();
    b.merge(&delta).unwrap();
    ((asked(&version) + delta.as_ref().len()) as f64, delta.rows())
}

fn pushed(report: &mut Report, a: &Store, b: &Store) {
    let (key, text) = (key(78), "some other text, 24 long");
    let tx = a.begin().unwrap();
    tx.register::<String>(&*key).set(text).unwrap();
    let pushed = tx.commit_and_push().unwrap().unwrap();
    b.apply(&pushed).unwrap();
    let mut empty = Vec::new();
    write_frame(&mut empty, 0, 1, &[]);
    let besides = pushed.as_ref().len() - empty.len() - path(&key).len() - payload(text).len();
    report.amount("a pushed row, besides frame, path and payload", besides as f64, "B", "to all", Budget::AtMost(48.0));
    report.because(PUSHED);
}

const NOTHING: &str = "The head of a delta names the space, the digest and each replica with its id and mark: 16 + 16 + 33 bytes, and 16 of the frame.";
const BELOW: &str = "What is live is listed in runs, and there are many.";
const PUSHED: &str = "Space, id of the writer, its place and numbers.";
