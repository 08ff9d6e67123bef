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

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, mem};

use common::measure::{Pair, take_turns, timed};
use common::report::{Budget, Report};
use criterion::{BatchSize, Criterion};
use hashbrown::HashMap;
use tombolo::ReplicaId;
use tombolo::codec::msgpack;
use tombolo::crdt::{Lattice, LwwMap, OrSet};

type Plain = HashMap<String, u64>;
type Map = LwwMap<String, u64, u64>;

const A: ReplicaId = ReplicaId::from_u128(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
const B: ReplicaId = ReplicaId::from_u128(0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F);
const SIZES: [u64; 3] = [100, 10_000, 1_000_000];
const SUBJECT: &str = "--subject";
const COPIES: u64 = 200;

/// 16 bytes, in no order.
fn key(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn keys(from: u64, count: u64) -> Vec<String> {
    (from..from + count).map(key).collect()
}

fn plain(keys: &[String]) -> Plain {
    keys.iter().cloned().zip(0..).collect()
}

/// As its replica wrote it.
fn map(me: ReplicaId, keys: &[String]) -> Map {
    let mut map = Map::new();
    add_all(&mut map, me, keys);
    map
}

fn add_all(map: &mut Map, me: ReplicaId, keys: &[String]) {
    for (key, value) in keys.iter().zip(0..) {
        let _unsent = map.set(me, 1, key.clone(), value).unwrap();
    }
}

fn insert_all(plain: &mut Plain, keys: &[String], first: u64) {
    for (key, value) in keys.iter().cloned().zip(first..) {
        black_box(plain.insert(key, value));
    }
}

/// What a plain collection does to hold all that two of them hold.
fn union(ours: &mut Plain, theirs: &Plain) {
    for (key, value) in theirs {
        ours.entry_ref(key.as_str()).or_insert(*value);
    }
}

/// Two sides on fresh copies of their states, which are made and dropped outside of what is timed.
fn fresh<T: Clone, U: Clone>(
    operations: u64,
    (ours, reference): (&T, &U),
    mut run: impl FnMut(&mut T),
    mut run_reference: impl FnMut(&mut U),
) -> Pair {
    // As many rounds as fit about a second.
    let rounds = u32::try_from((2_000_000 / operations.max(1)).clamp(7, 300)).unwrap();
    let once = |body: &mut dyn FnMut()| -> Duration { timed(body) };
    take_turns(
        rounds,
        u32::try_from(operations).unwrap(),
        || {
            let mut state = ours.clone();
            once(&mut || run(black_box(&mut state)))
        },
        || {
            let mut state = reference.clone();
            once(&mut || run_reference(black_box(&mut state)))
        },
    )
}

fn budget(count: u64, at_most: f64) -> Budget {
    if count == 10_000 { Budget::AtMost(at_most) } else { Budget::None }
}

/// What does an operation of one replica cost, with its delta made and dropped?
fn local(report: &mut Report) {
    report.part("local operations, each with its delta");
    for count in SIZES {
        let keys = keys(0, count);
        let (full, plain) = (map(A, &keys), plain(&keys));
        let pair =
            fresh(count, (&Map::new(), &Plain::new()), |map| add_all(map, A, &keys), |plain| insert_all(plain, &keys, 0));
        report.times(format!("add, {count}"), pair, budget(count, 2.0));
        report.because(BECAUSE_DELTA);
        let pair = fresh(count, (&full, &plain), |map| add_all(map, A, &keys), |plain| insert_all(plain, &keys, 1));
        report.times(format!("overwrite, {count}"), pair, budget(count, 2.0));
        report.because(BECAUSE_DELTA);
        let pair = fresh(
            count,
            (&full, &plain),
            |map| keys.iter().for_each(|key| assert!(black_box(map.get(key.as_str())).is_some())),
            |plain| keys.iter().for_each(|key| assert!(black_box(plain.get(key.as_str())).is_some())),
        );
        report.times(format!("get, {count}"), pair, budget(count, 1.2));
        report.because("Not profiled. An index names the entry: two places in memory where a plain table has one.");
        let pair = fresh(
            count,
            (&full, &plain),
            |map| keys.iter().for_each(|key| drop(black_box(map.remove(key.as_str())))),
            |plain| keys.iter().for_each(|key| assert!(plain.remove(key.as_str()).is_some())),
        );
        report.times(format!("remove, {count}"), pair, budget(count, 2.2));
        report.because(BECAUSE_DELTA);
    }
}

const BECAUSE_DELTA: &str = "Besides the table there are the dot's place, what has been seen, and a delta that owns its key.";

/// Does a merge cost what differs?
fn merges(report: &mut Report) {
    report.part("merges of states");
    for count in SIZES {
        let base = keys(0, count);
        let same = map(A, &base);
        let mut equal = same.clone();
        let mut other = plain(&base);
        let theirs = other.clone();
        let pair = take_turns(
            21,
            100,
            || timed(|| (0..100).for_each(|_| assert!(!equal.join(black_box(&same))))),
            || timed(|| union(black_box(&mut other), black_box(&theirs))),
        );
        report.amount(format!("equal, {count}"), pair.ours, "ns", "", Budget::AtMost(200.0));

        let few = (count / 100).max(1);
        let (news_a, news_b) = (keys(count, few), keys(count * 2, few));
        let (mut ours, mut theirs) = (same.clone(), same.clone());
        add_all(&mut ours, A, &news_a);
        add_all(&mut theirs, B, &news_b);
        let (mut plain_ours, mut plain_theirs) = (plain(&base), plain(&base));
        union(&mut plain_ours, &plain(&news_a));
        union(&mut plain_theirs, &plain(&news_b));
        let pair = fresh(
            count,
            (&ours, &plain_ours),
            |map| assert!(map.join(black_box(&theirs))),
            |plain| union(plain, black_box(&plain_theirs)),
        );
        report.times(format!("1 % new on each side, {count}"), pair, budget(count, 0.5));

        let others = keys(count * 3, count);
        let (disjoint, plain_disjoint) = (map(B, &others), plain(&others));
        let pair = fresh(
            count,
            (&same, &plain(&base)),
            |map| assert!(map.join(black_box(&disjoint))),
            |plain| union(plain, black_box(&plain_disjoint)),
        );
        report.times(format!("disjoint, {count}"), pair, budget(count, 1.5));
    }
    let delta_join = |count: u64| {
        let base = map(A, &keys(0, count));
        let mut writer = base.clone();
        let deltas: Vec<Map> = (0..100).map(|number| writer.set(B, 2, key(number * 97 % count), number).unwrap()).collect();
        (base, deltas)
    };
    let ((mut small_state, few), (mut large_state, many)) = (delta_join(1_000), delta_join(1_000_000));
    let join = |map: &mut Map, deltas: &[Map]| deltas.iter().for_each(|delta| assert!(map.join(black_box(delta))));
    // Both are undone by the next round's: the same writes again, as other events.
    let mut at = 0_u64;
    let mut again = |map: &mut Map, count: u64| -> Vec<Map> {
        at += 1;
        let mut writer = map.clone();
        (0..100).map(|number| writer.set(B, 2 + at, key(number * 97 % count), number).unwrap()).collect()
    };
    join(&mut large_state, &many);
    join(&mut small_state, &few);
    let (mut of_large, mut of_small) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let (many, few) = (again(&mut large_state, 1_000_000), again(&mut small_state, 1_000));
        of_large.push(timed(|| join(&mut large_state, &many)).as_secs_f64() * 1e7);
        of_small.push(timed(|| join(&mut small_state, &few)).as_secs_f64() * 1e7);
    }
    let (ours, reference) = (common::measure::median(of_large.into_iter()), common::measure::median(of_small.into_iter()));
    let pair = Pair { ours, reference, ratio: ours / reference };
    report.times("delta of one key, 1M : 1k", pair, Budget::AtMost(2.0));
    report.because(
        "By time; instructions were not counted. The entries of 1M keys are in memory, those of 1k in the nearest cache.",
    );
}

/// How many bytes is it, and how fast are they made and read?
fn bytes(report: &mut Report) {
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
fn memory(report: &mut Report) {
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
    report.because("By resident memory of a process: what the allocator keeps counts too.");
}

fn grown(subject: &str) -> Option<f64> {
    let output = Command::new(env::current_exe().unwrap()).args([SUBJECT, subject]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().ok()
}

fn subject(subject: &str) {
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

/// The same merges by criterion, to compare with another commit.
fn by_criterion(criterion: &mut Criterion) {
    let base = keys(0, 10_000);
    let (ours, other) = (map(A, &base), map(B, &keys(30_000, 10_000)));
    let mut newer = ours.clone();
    add_all(&mut newer, B, &keys(20_000, 100));
    for (which, theirs) in [("equal", &ours), ("newer_by_100", &newer), ("disjoint", &other)] {
        criterion.bench_function(&format!("merge_10000_entries_{which}"), |bencher| {
            bencher.iter_batched_ref(|| ours.clone(), |map| map.join(black_box(theirs)), BatchSize::LargeInput);
        });
    }
    criterion.bench_function("add_10000_entries", |bencher| {
        bencher.iter_batched_ref(Map::new, |map| add_all(map, A, &base), BatchSize::LargeInput);
    });
}

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
    // A test run (`cargo test --benches`) only wants to know that it builds.
    if !has("--bench") {
        return;
    }
    let mut report = Report::default();
    for part in [local, merges, bytes, memory] {
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
