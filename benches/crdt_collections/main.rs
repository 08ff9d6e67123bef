//! What a set and a map that converge cost beside the collections that they are made of: `hashbrown`'s, and std's for memory.
//!
//! ```text
//! cargo bench --bench crdt_collections              the table, then criterion of the same operations
//! cargo bench --bench crdt_collections -- --table   the table alone
//! cargo bench --bench crdt_collections -- --write   and as docs/benchmarks-crdt.md
//! ```
//!
//! The two sides of a line of the table take turns: see `common/measure.rs`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    reason = "a benchmark reads the clock, compares with hash tables, and has nothing to measure if it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod merges;
mod operations;
mod size;
mod states;

use std::env;

use common::instructions::asked;
use common::report::Report;
use criterion::Criterion;
use merges::by_criterion;
use operations::scenario;
use size::{SUBJECT, subject};

const HEAD: &str = "\
# Benchmarks of the data types

What a set and a map that converge cost beside plain collections. Made by `cargo bench --bench crdt_collections -- --write`; do not
edit.

Each line is a ratio within one run: both sides take turns, and the ratio is the median of the rounds' own ratios. The map is a
`LwwMap<String, u64, u64>` with keys of 16 bytes; it makes and drops a delta with each write. The reference is `hashbrown::HashMap` of the same
keys and values, without stamps; its union is a loop over the other's entries. Times of a merge are per entry of a side.
";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let Some(name) = arguments.iter().skip_while(|argument| *argument != SUBJECT).nth(1) {
        return subject(name);
    }
    if let Some((name, times)) = asked(&arguments) {
        return scenario(name, times);
    }
    // A test run (`cargo test --benches`) only wants to know that it builds.
    if !has("--bench") {
        return;
    }
    let mut report = Report::default();
    for part in [operations::local, operations::instructions, merges::merges, size::bytes, size::memory] {
        part(&mut report);
    }
    report.print();
    if has("--write") {
        report.write("benchmarks-crdt.md", HEAD);
    }
    if !has("--table") && !has("--write") {
        let mut criterion = Criterion::default().configure_from_args();
        by_criterion(&mut criterion);
        criterion.final_summary();
    }
}
