//! How long a writer waits while a large delta is merged, and a reader.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tombolo::Store;
use tombolo::causal::VersionVector;
use tombolo::kv::Durability;
use tombolo::storage::{Backend, Entries, KeyRange, LogId, Memory, Read, Redb, Rows, TableId, Usage, Write};

use crate::document::Document;

/// How many rows are there already: what writers and the reader look at.
const OWN_ROWS: u64 = 10_000;
/// How long writers run before the merge, which is the baseline.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
enum Medium {
    Memory,
    Redb(Durability),
}

const MEDIA: [Medium; 3] = [Medium::Memory, Medium::Redb(Durability::Immediate), Medium::Redb(Durability::Deferred)];

/// How long something took, and when it began.
#[derive(Debug, Clone, Copy)]
struct Took {
    began: Instant,
    for_: Duration,
}

#[derive(Debug, Default)]
struct Timers {
    /// Nanoseconds in `commit_from`, without what it waits for its writes.
    backend: AtomicU64,
    /// Nanoseconds in which the writes of such a commit were made.
    making: AtomicU64,
}

/// A backend that looks at the clock: how long large commits take, and how long the making of their writes.
struct Timed<B> {
    inner: B,
    timers: Arc<Timers>,
}

impl<B: Backend> Read for Timed<B> {
    fn get(&self, table: TableId, key: &[u8]) -> io::Result<Option<bytes::Bytes>> {
        self.inner.get(table, key)
    }

    fn range(&self, table: TableId, range: KeyRange<'_>) -> io::Result<Rows<'_>> {
        self.inner.range(table, range)
    }

    fn at(&self, log: LogId, number: u64) -> io::Result<Option<bytes::Bytes>> {
        self.inner.at(log, number)
    }

    fn entries(&self, log: LogId, numbers: RangeInclusive<u64>) -> io::Result<Entries<'_>> {
        self.inner.entries(log, numbers)
    }
}

impl<B: Backend> Backend for Timed<B> {
    fn snapshot(&self) -> io::Result<Arc<dyn Read>> {
        self.inner.snapshot()
    }

    fn usage(&self) -> io::Result<Option<Usage>> {
        self.inner.usage()
    }

    fn erases_cheaply(&self) -> bool {
        self.inner.erases_cheaply()
    }

    fn commit(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        self.inner.commit(writes, sync)
    }

    fn commit_from(&self, writes: &mut dyn Iterator<Item = io::Result<Write>>, sync: bool) -> io::Result<()> {
        let (start, mut making) = (Instant::now(), Duration::ZERO);
        let mut timed = std::iter::from_fn(|| {
            let start = Instant::now();
            let write = writes.next();
            making += start.elapsed();
            write
        });
        let result = self.inner.commit_from(&mut timed, sync);
        let whole = start.elapsed();
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
        self.timers.making.fetch_add(nanos(making), Ordering::Relaxed);
        self.timers.backend.fetch_add(nanos(whole - making), Ordering::Relaxed);
        result
    }
}

/// Latencies of one kind, before the merge and during it.
#[derive(Debug, Default)]
struct Latencies {
    before: Vec<Duration>,
    during: Vec<Duration>,
}

impl Latencies {
    fn of(all: impl Iterator<Item = Took>, merge: Took) -> Self {
        let mut latencies = Self::default();
        for took in all {
            let end = took.began + took.for_;
            if end < merge.began {
                latencies.before.push(took.for_);
            } else if took.began <= merge.began + merge.for_ {
                latencies.during.push(took.for_);
            }
        }
        latencies.before.sort_unstable();
        latencies.during.sort_unstable();
        latencies
    }
}

fn longest(sorted: &[Duration]) -> Duration {
    sorted.last().copied().unwrap_or_default()
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}

/// A store of so many rows, as a delta.
fn delta(rows: u64) -> Vec<u8> {
    let store = Store::in_memory();
    for start in (0..rows).step_by(10_000) {
        let tx = store.begin().unwrap();
        (start..start + 10_000).for_each(|row| {
            let spread = row.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            tx.register::<String>(("row", spread)).set(&*format!("{row:024}")).unwrap();
        });
        tx.commit().unwrap();
    }
    store.delta_since(&VersionVector::new()).unwrap().as_ref().to_vec()
}

struct Outcome {
    merge: Took,
    writes: Latencies,
    reads: Latencies,
    timers: Arc<Timers>,
}

fn open(medium: Medium, folder: &Path, timers: &Arc<Timers>) -> Store {
    let timers = Arc::clone(timers);
    let store = match medium {
        Medium::Memory => Store::options().open_backend(Timed { inner: Memory::default(), timers }),
        Medium::Redb(durability) => {
            let inner = Redb::open(folder.join("store")).unwrap();
            Store::options().durability(durability).open_backend(Timed { inner, timers })
        }
    }
    .unwrap();
    store.transact(|tx| (0..OWN_ROWS).try_for_each(|row| tx.register::<u64>(("own", row)).set(&row))).unwrap();
    store
}

/// Writers write and a reader reads, while a delta is merged.
fn run(medium: Medium, writers: u64, delta: &[u8], is_streamed: bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let timers = Arc::<Timers>::default();
    let store = open(medium, folder.path(), &timers);
    let has_ended = AtomicBool::new(false);
    let timed = |body: &mut dyn FnMut()| {
        let began = Instant::now();
        body();
        Took { began, for_: began.elapsed() }
    };
    thread::scope(|scope| {
        let (store, has_ended) = (&store, &has_ended);
        let writer = |nth: u64| {
            move || {
                let (mut all, mut number) = (Vec::new(), 0);
                while !has_ended.load(Ordering::Relaxed) {
                    let row = (number * writers + nth) % OWN_ROWS;
                    all.push(timed(&mut || store.register::<u64>(("own", row)).set(&number).unwrap()));
                    number += 1;
                }
                all
            }
        };
        let reader = move || {
            let (mut all, mut row) = (Vec::new(), 0);
            while !has_ended.load(Ordering::Relaxed) {
                row = (row + 7_919) % OWN_ROWS;
                all.push(timed(&mut || assert!(store.register::<u64>(("own", row)).get().unwrap().is_some())));
                // It is there to see a pause, not to take a processor from the writers.
                thread::sleep(Duration::from_micros(200));
            }
            all
        };
        let writers: Vec<_> = (0..writers).map(|nth| scope.spawn(writer(nth))).collect();
        let reader = scope.spawn(reader);
        thread::sleep(BEFORE);
        let before = (timers.backend.load(Ordering::Relaxed), timers.making.load(Ordering::Relaxed));
        let merge = timed(&mut || {
            let merged = if is_streamed { store.merge_from(delta) } else { store.merge(delta) };
            assert!(merged.unwrap().changed);
        });
        timers.backend.fetch_sub(before.0, Ordering::Relaxed);
        timers.making.fetch_sub(before.1, Ordering::Relaxed);
        thread::sleep(AFTER);
        has_ended.store(true, Ordering::Relaxed);
        let writes = writers.into_iter().flat_map(|writer| writer.join().unwrap());
        let (writes, reads) = (Latencies::of(writes, merge), Latencies::of(reader.join().unwrap().into_iter(), merge));
        Outcome { merge, writes, reads, timers: Arc::clone(&timers) }
    })
}

pub(crate) fn measure(to: &mut Document) {
    to.part("How long writers wait for a large merge");
    to.say(CONDITIONS);
    if cfg!(debug_assertions) {
        to.say("This run was of a build with debug assertions: parts of the whole count, and not the times.");
    }
    let mut lines = Vec::new();
    for rows in [100_000, 1_000_000] {
        let delta = delta(rows);
        for medium in MEDIA {
            for is_streamed in [false, true] {
                for writers in [1, 4] {
                    let Outcome { merge, writes, reads, timers } = run(medium, writers, &delta, is_streamed);
                    let what = format!(
                        "{} rows, {}, {}, {writers} writing",
                        if rows == 100_000 { "10^5" } else { "10^6" },
                        match medium {
                            Medium::Memory => "memory",
                            Medium::Redb(Durability::Deferred) => "redb, deferred",
                            Medium::Redb(_) => "redb",
                        },
                        if is_streamed { "merge_from" } else { "merge" },
                    );
                    let nanos = |timer: &AtomicU64| Duration::from_nanos(timer.load(Ordering::Relaxed));
                    let cells = [
                        merge.for_,
                        longest(&writes.during),
                        p99(&writes.during),
                        longest(&writes.before),
                        p99(&writes.before),
                        longest(&reads.during),
                        longest(&reads.before),
                        nanos(&timers.making),
                        nanos(&timers.backend),
                    ];
                    let cells = cells.map(milliseconds);
                    let counts = [writes.during.len().to_string(), writes.before.len().to_string()];
                    eprintln!("  {what}: {cells:?} {counts:?}");
                    lines.push([what].into_iter().chain(cells).chain(counts).collect::<Vec<_>>());
                }
            }
        }
    }
    to.table(&COLUMNS, &lines);
    to.say(MEANING);
}

fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    match milliseconds {
        ..0.01 => "< 0.01".to_owned(),
        0.01..10.0 => format!("{milliseconds:.2}"),
        _ => format!("{milliseconds:.0}"),
    }
}

const COLUMNS: [&str; 12] = [
    "",
    "merge",
    "longest write",
    "p99",
    "without: longest",
    "p99",
    "longest get",
    "without",
    "making the rows",
    "backend",
    "writes during it",
    "before",
];

const CONDITIONS: &str = "\
Writers commit one row each, one transaction after the other, over 10,000 rows that are there; a reader reads one of these rows every 0.2 ms. After a second of that, which
is the baseline, a delta of 10^5 or 10^6 new rows is merged. All in milliseconds, of one run each; two cores run it all, so up to six threads wait for a processor, too.
*redb* is with the default durability, where each commit waits for an fsync; *deferred* is without. *Making the rows* and *backend* are parts of the merge: the commit's own
reading of the delta, comparing and encoding, and what the backend takes for its writes. What is left of the merge goes to the first reading of the delta, which checks
all of it, to the staging of a stream, and to waiting.
";

const MEANING: &str = "\
What it means: there is one writer at a time, and a batch is atomic. A merge holds the writer lock from the moment when its delta is checked until its commit is done, so
the longest write is about the whole merge less the first reading and the staging, and grows with the rows. Writes that come before that are not held up, which is why
their 99th percentile can be small while the longest is not. A `get` waits for nobody: what it loses is the processor.

What could be done: a delta cannot be cut into several, since what was overwritten is gone, and a part of a store under the whole vector would lose data. But comparing and
encoding could be done against a snapshot before the lock is taken, and again only for what was written meanwhile: that leaves the backend's part under the lock, which on
redb is most of it.
";
