//! What a store costs beside what it is made of: a `BTreeMap`, and a bare redb, of the same bytes. Answers the budgets of
//! docs/design.md as ratios within one run.
//!
//! ```text
//! cargo bench --bench kv                     the whole table, in about five minutes
//! cargo bench --bench kv -- --write          and as docs/benchmarks.md
//! cargo bench --bench kv -- --only durable   a part: memory, instructions, heap, durable, exchange
//! ```
//!
//! Not by criterion: it measures one thing after the other, and on a machine that does something else too the two sides of a
//! ratio then saw different machines. Here they take turns, a few milliseconds each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a benchmark reads the clock, starts threads, and has nothing to measure if it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod durable;
mod exchange;
mod heap;
mod instructions;
mod memory;
mod rows;

use common::{measure, report};
use report::Report;

type Part = (&'static str, fn(&mut Report));

/// The parts of the table, in its order.
const PARTS: [Part; 5] = [
    ("memory", memory::run),
    ("instructions", instructions::run),
    ("heap", heap::run),
    ("durable", durable::run),
    ("exchange", exchange::run),
];

const HEAD: &str = "\
# Benchmarks

What a store costs beside what it is made of. Made by `cargo bench --bench kv -- --write`; do not edit.

Each line is a ratio within one run: both sides take turns in batches of a few milliseconds, and the ratio is the median of the
rounds' own ratios, so that whatever else the machine does hits both. Times are medians too, and only good for their order of
magnitude. Rows are registers under keys of 44 bytes in random order with texts of 24; the reference is a `BTreeMap<Vec<u8>, Vec<u8>>` of
the same encoded bytes, or redb with one table of them.
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1).map(String::as_str);
    // Processes that this one starts of itself.
    if let Some((scenario, times)) = common::instructions::asked(&arguments) {
        return instructions::scenario(scenario, times);
    }
    if let Some(subject) = after(heap::FLAG) {
        return heap::subject(subject);
    }
    // A test run (`cargo test --benches`) only wants to know that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut report = Report::default();
    for (name, run) in PARTS {
        if after("--only").is_none_or(|only| only == name) {
            report.part(name);
            run(&mut report);
        }
    }
    report.print();
    if arguments.iter().any(|argument| argument == "--write") {
        report.write("benchmarks.md", HEAD);
    }
}
