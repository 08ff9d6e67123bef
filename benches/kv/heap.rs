//! Memory for each row, as the system sees it: each subject fills itself in a process of its own.

use std::process::Command;
use std::{env, fs, mem};

use tombolo::Store;

use crate::report::{Budget, Report};
use crate::rows::{key, map_with};

pub(crate) const FLAG: &str = "--subject";
const ROWS: u64 = 1_000_000;

pub(crate) fn run(report: &mut Report) {
    let Some(map) = grown("map") else {
        return report.note("Without `/proc` there are no numbers of memory.");
    };
    report.numbers("heap for each of 1M rows", (grown("store").unwrap(), map), "B", Budget::AtMost(2.0));
    let (few, churned) = (grown("few").unwrap(), grown("churned").unwrap());
    report.numbers(
        "heap of 100k rows after 1M adds and deletes of other keys : before",
        (churned, few),
        "B a row",
        Budget::AtMost(1.3),
    );
    report.because("Not profiled. Up to 12,500 delete events are kept for 100k rows, and the allocator keeps what it has had.");
}

/// Bytes for each row that a process grows by.
fn grown(subject: &str) -> Option<f64> {
    let output = Command::new(env::current_exe().unwrap()).args([FLAG, subject]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().ok()
}

/// Prints by how much this process grows for each row.
pub(crate) fn subject(subject: &str) {
    let before = resident();
    let rows = match subject {
        "map" => {
            mem::forget(map_with(ROWS));
            ROWS
        }
        "store" => {
            let store = Store::in_memory();
            // As the map is filled: a large transaction holds its rows twice for a moment.
            (0..ROWS / 1_000).for_each(|thousand| some(&store, thousand * 1_000));
            mem::forget(store);
            ROWS
        }
        "few" | "churned" => {
            let store = Store::in_memory();
            // In small transactions: what a large one frees again would hide the growth that is looked for.
            (0..ROWS / 10_000).for_each(|thousand| some(&store, thousand * 1_000));
            if subject == "churned" {
                for thousand in 1_000..2_000 {
                    some(&store, thousand * 1_000);
                    let gone = thousand * 1_000..(thousand + 1) * 1_000;
                    store.transact(|tx| gone.map(key).try_for_each(|key| tx.delete(&*key).map(drop))).unwrap();
                }
            }
            mem::forget(store);
            ROWS / 10
        }
        _unknown => panic!("no subject {subject}"),
    };
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("{}", (after - before) / rows as f64);
    }
}

fn some(store: &Store, from: u64) {
    let put = |number| (key(number), crate::rows::value(number));
    store
        .transact(|tx| (from..from + 1_000).map(put).try_for_each(|(key, value)| tx.register::<String>(&*key).set(&*value)))
        .unwrap();
}

/// Bytes of memory that this process has touched and not given back.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}
