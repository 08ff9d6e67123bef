//! What replicas send, beside the published algorithms; and how long writers wait while a replica catches up.
//!
//! ```text
//! cargo bench --bench replication                     everything, in a few minutes
//! cargo bench --bench replication -- --write          and as docs/benchmarks-replication.md
//! cargo bench --bench replication -- --only pause     a part: exchange, pause
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, starts threads, and has nothing to measure if it fails"
)]

mod algorithms;
#[path = "../common/mod.rs"]
mod common;
mod exchange;
mod pause;

use common::document::Document;
use common::{document, report};

type Part = (&'static str, fn(&mut Document));

/// The parts of the document, in its order.
const PARTS: [Part; 2] = [("exchange", exchange::measure), ("pause", pause::measure)];

const HEAD: &str = "\
# Benchmarks of replication

What replicas send until all have everything, and how long writers wait for a large merge. Made by `cargo bench --bench replication -- --write`; do not edit. The
first part is counted, and the same on each machine; the second is timed.
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    // A test run (`cargo test --benches`) only wants to know that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut document = Document::default();
    for (name, measure) in PARTS {
        if only.is_none_or(|only| only == name) {
            measure(&mut document);
        }
    }
    document.print();
    if arguments.iter().any(|argument| argument == "--write") {
        document.write("benchmarks-replication.md", HEAD);
    }
}
