//! How large a state is: encoded, and in memory; also after much has come and gone.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::{env, fs, mem};

use tombolo::codec::msgpack;
use tombolo::crdt::OrSet;

use crate::common::report::{Budget, Report};
use crate::states::{A, Map, fresh, key, keys, map};

pub(crate) const SUBJECT: &str = "--subject";
const COPIES: u64 = 200;

/// How many bytes is it, and how fast are they made and read?
pub(crate) fn bytes(report: &mut Report) {
    report.part("bytes");
    let keys = keys(0, 10_000);
    let (map, sorted): (Map, BTreeMap<String, (u64, u64)>) =
        (map(A, &keys), keys.iter().cloned().zip((0..).map(|value| (1, value))).collect());
    let (ours, reference) = (msgpack::to_bytes(&map).unwrap(), msgpack::to_bytes(&sorted).unwrap());
    report.numbers("map of 10k, with stamps", (ours.len() as f64, reference.len() as f64), "B", Budget::AtMost(1.08));
    let pair = fresh(
        10_000,
        (&(), &()),
        |()| drop(black_box(msgpack::to_bytes(&map).unwrap())),
        |()| drop(black_box(msgpack::to_bytes(&sorted).unwrap())),
    );
    report.times("encode, an entry", pair, Budget::None);
    let pair = fresh(
        10_000,
        (&(), &()),
        |()| drop(black_box(msgpack::from_bytes::<Map>(&ours).unwrap())),
        |()| drop(black_box(msgpack::from_bytes::<BTreeMap<String, (u64, u64)>>(&reference).unwrap())),
    );
    report.times("decode, an entry", pair, Budget::None);
    let mut set = OrSet::new();
    for key in &keys {
        let _unsent = set.add(A, key.clone()).unwrap();
    }
    let reference = msgpack::to_bytes(&keys).unwrap().len() as f64;
    report.numbers("set of 10k", (msgpack::to_bytes(&set).unwrap().len() as f64, reference), "B", Budget::AtMost(1.08));
    let before = msgpack::to_bytes(&set).unwrap().len() as f64;
    churn(&mut set, false);
    let after = msgpack::to_bytes(&set).unwrap().len() as f64;
    report.numbers("set of 10k after 1M adds and removes of others : before", (after, before), "B", Budget::AtMost(1.02));
    churn(&mut set, true);
    let after = msgpack::to_bytes(&set).unwrap().len() as f64;
    report.numbers(
        "set of 10k, of which 1M adds and removes replaced all : before",
        (after, before),
        "B",
        Budget::AtMost(1.02),
    );
    report.because("What is live is no longer one run of numbers: each of its dots is a run of its own, in two bytes.");
}

/// A million adds and removes over those that stay, or of which each takes the place of one, in no order.
fn churn(set: &mut OrSet<String>, replace: bool) {
    let mut live: Vec<u64> = (0..10_000).collect();
    for number in 0..1_000_000 {
        let new = 10_000_000 + number;
        let _unsent = set.add(A, key(new)).unwrap();
        let gone = if replace {
            let at = usize::try_from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33).unwrap() % live.len();
            mem::replace(&mut live[at], new)
        } else {
            new
        };
        let _unsent = set.remove(&key(gone));
    }
}

/// How much memory has an entry?
pub(crate) fn memory(report: &mut Report) {
    report.part("memory of an entry, its key included");
    let Some(std) = grown("std") else {
        return report.note("Without `/proc` there are no numbers of memory.");
    };
    report.numbers(
        "String to u64, 10k, with stamps; std's HashMap of u64",
        (grown("map").unwrap(), std),
        "B",
        Budget::AtMost(1.3),
    );
    let (set, std_set) = (grown("set").unwrap(), grown("std set").unwrap());
    report.numbers("set of String, 10k; std's HashSet", (set, std_set), "B", Budget::None);
    report.numbers(
        "set of 10k after 1M adds and removes of others : before",
        (grown("churned").unwrap(), grown("one set").unwrap()),
        "B",
        Budget::AtMost(1.1),
    );
    report.numbers(
        "the same, all replaced : before",
        (grown("replaced").unwrap(), grown("one set").unwrap()),
        "B",
        Budget::AtMost(1.1),
    );
    report.because("By resident memory of a process: what the allocator keeps counts too. Of what is asked for it is 1.03 (`tests/heap.rs`).");
}

fn grown(subject: &str) -> Option<f64> {
    let output = Command::new(env::current_exe().unwrap()).args([SUBJECT, subject]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().ok()
}

pub(crate) fn subject(subject: &str) {
    let keys = keys(0, 10_000);
    let set = |keys: &[String]| {
        let mut set = OrSet::new();
        for key in keys {
            let _unsent = set.add(A, key.clone()).unwrap();
        }
        set
    };
    let Some(before) = resident() else { return };
    let mut copies = COPIES;
    match subject {
        "std" => (0..COPIES)
            .for_each(|_| mem::forget(keys.iter().cloned().zip(0..).collect::<std::collections::HashMap<String, u64>>())),
        "std set" => (0..COPIES).for_each(|_| mem::forget(keys.iter().cloned().collect::<std::collections::HashSet<String>>())),
        "map" => (0..COPIES).for_each(|_| mem::forget(map(A, &keys))),
        "set" => (0..COPIES).for_each(|_| mem::forget(set(&keys))),
        "one set" | "churned" | "replaced" => {
            copies = 20;
            let mut sets: Vec<_> = (0..copies).map(|_| set(&keys)).collect();
            if subject != "one set" {
                sets.iter_mut().for_each(|set| churn(set, subject == "replaced"));
            }
            mem::forget(sets);
        }
        _unknown => panic!("no subject {subject}"),
    }
    println!("{}", (resident().unwrap() - before) / (copies * 10_000) as f64);
}

/// Bytes of memory that this process has touched and not given back.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}
