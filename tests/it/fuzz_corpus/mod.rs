//! What the fuzzers have found worth keeping, without a fuzzer: each input in `fuzz/corpus` and `fuzz/regressions` goes through the body of its target,
//! which `fuzz/bodies` has for both. `TOMBOLO_FUZZ_SEEDS=write` makes the first inputs anew.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../fuzz/bodies/batches.rs"]
mod batches;
#[path = "../../../fuzz/bodies/decoders.rs"]
mod decoders;
#[path = "../../../fuzz/bodies/engine.rs"]
mod engine;
#[path = "../../../fuzz/bodies/history.rs"]
mod history;
#[path = "../../../fuzz/bodies/keys.rs"]
mod keys;
#[path = "../../../fuzz/bodies/merge.rs"]
mod merge;
#[cfg(feature = "redb")]
#[path = "../../../fuzz/bodies/recovery.rs"]
mod recovery;

/// More than a small corpus has: what a fuzzer makes in a night belongs elsewhere.
const BYTES_MAX: u64 = 200_000;

fn folder(kind: &str, target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", kind, target].iter().collect()
}

/// The files of a folder, sorted; none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(target: &str, run: impl Fn(&[u8])) {
    if std::env::var_os("TOMBOLO_FUZZ_SEEDS").is_some_and(|what| what == "write") {
        seeds::write(&folder("corpus", target), target);
    }
    let corpus = files(&folder("corpus", target));
    assert!(corpus.len() >= 10, "{target}: {} inputs", corpus.len());
    let mut bytes = 0;
    for path in corpus.iter().chain(&files(&folder("regressions", target))) {
        // Shown if it fails.
        println!("{}", path.display());
        let input = fs::read(path).unwrap();
        bytes += input.len() as u64;
        run(&input);
    }
    assert!(bytes <= BYTES_MAX, "{target}: {bytes} bytes");
}

#[test]
fn keys_and_vectors() {
    replay("keys", keys::run);
}

#[test]
fn merges() {
    replay("merge", merge::run);
}

#[test]
fn hostile_batches() {
    replay("batches", batches::run);
}

#[test]
fn histories() {
    replay("history", history::run);
}

#[test]
fn engines() {
    replay("engine", engine::run);
}

/// The fuzzer bounds the memory, too: it has an allocator that counts.
#[test]
fn decoders() {
    replay("decoders", |input| {
        decoders::run(input, |what| {
            what();
            0
        });
    });
}

#[cfg(feature = "redb")]
#[test]
fn recovery() {
    replay("recovery", recovery::run);
}

/// Each target has a body that is replayed here, and each body a target.
#[test]
fn every_target_is_replayed() {
    let names = |folder: &str| -> Vec<String> {
        files(&[env!("CARGO_MANIFEST_DIR"), "fuzz", folder].iter().collect::<PathBuf>())
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names("fuzz_targets"), names("bodies"));
    assert_eq!(names("bodies"), ["batches.rs", "decoders.rs", "engine.rs", "history.rs", "keys.rs", "merge.rs", "recovery.rs"]);
}
