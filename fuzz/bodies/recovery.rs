//! A store in a file, some steps, and the file is damaged; or the rows in it are. Whatever is asked of it then is a typed error or right: nothing
//! panics, and nothing is read that was not written.
//!
//! ```text
//! input := how (1), count (1), step*, damage*
//! how   := what is left: the file of a process that died, a file that was closed, or rows that were changed below the checksums; and whether all
//!          of it is looked at in order
//! ```

use std::collections::BTreeSet;
use std::ops::Bound;

use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::sim::Disk;
use tombolo::storage::{Backend as _, Bytes, LogId, Memory, Read as _, Redb, TableId, Write};
use tombolo::system::Clock;
use tombolo::{Error, Store};

/// More would only be slower.
const STEPS_MAX: u8 = 8;
const BLOCK: usize = 4096;

/// Equal histories, equal bytes.
#[derive(Debug, Clone, Copy)]
struct Stopped;

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        1_735_689_600_000
    }
}

/// Takes an input apart. Beyond its end there are zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is done to the store: what and with which values.
#[derive(Debug, Clone, Copy)]
struct Step {
    what: u8,
    key: u8,
    value: u8,
}

impl Step {
    fn read(input: &mut Input<'_>) -> Self {
        let [what, key, value] = [(); 3].map(|()| input.byte());
        Self { what: what % 12, key: key % 5, value }
    }

    fn run(self, store: &Store, peer: &Store) -> Result<(), Error> {
        let Self { what, key, value } = self;
        match what {
            0 => store.register::<u8>(("r", key)).set(&value),
            // Over several pages.
            1 => store.register::<Vec<u8>>(("large", key)).set(&vec![value; 100 * usize::from(value)]),
            2 => store.counter(("c", key)).add(i64::from(value) - 100),
            3 => store.set::<u8>(("s", key)).insert(&value),
            4 => store.set::<u8>(("s", key)).clear(),
            5 => store.delete((if value % 2 == 0 { "r" } else { "c" }, key)).map(drop),
            6 => store.map("m").map(key).register::<u8>("field").set(&value),
            7 => store.lattice::<BTreeSet<u8>>("l").join(&[value].into()),
            8 => store.local().put(("local", key), &value),
            9 => store.transact(|tx| {
                (0..16).try_for_each(|at| tx.register::<u8>(("many", key, at)).set(&value))?;
                tx.flag("f").set(value % 2 == 0)
            }),
            10 => {
                peer.register::<u8>(("r", key)).set(&value)?;
                peer.set::<u8>(("s", key)).insert(&value)?;
                store.merge(peer.delta_since(&store.version()?)?).map(drop)
            }
            _ => match value % 3 {
                // Writes down what was given away.
                0 => peer.merge(store.delta_since(&peer.version()?)?).map(drop),
                1 => store.compact(),
                _ => store.forget_deletes(&store.version()?).map(drop),
            },
        }
    }
}

fn memory(id: u128) -> Store {
    Store::options().replica(ReplicaId::from_u128(id)).clock(Stopped).in_memory()
}

fn open(disk: &Disk) -> Result<Store, Error> {
    let backend = Redb::options().cache_bytes(1 << 20).with_backend(disk.clone())?;
    Store::options().replica(ReplicaId::from_u128(7)).clock(Stopped).open_backend(backend)
}

/// What a store holds after some of the steps, from one in memory.
struct State {
    store: Store,
    all: Vec<u8>,
    rows: Vec<(String, String)>,
}

impl State {
    fn after(steps: &[Step]) -> Self {
        let (store, peer) = (memory(7), memory(8));
        steps.iter().for_each(|step| step.run(&store, &peer).expect("memory does not fail"));
        let all = store.canonical().expect("memory does not fail").into_bytes();
        let rows = rows(&store).map(|row| row.expect("memory does not fail")).collect();
        Self { store, all, rows }
    }
}

/// What a store shows, the application's own keys too.
fn rows(store: &Store) -> impl Iterator<Item = Result<(String, String), Error>> {
    let shared = store.scan(()).map(|entry| {
        let entry = entry?;
        Ok((entry.key().to_string(), format!("{:?} {}", entry.kinds()?, entry.value()?)))
    });
    let local = (0..5_u8).filter_map(|key| {
        let value = store.local().get::<u8>(("local", key)).transpose()?;
        Some(value.map(|value| (format!("local {key}"), value.to_string())))
    });
    shared.chain(local)
}

pub(super) fn run(input: &[u8]) {
    let mut input = Input(input);
    let (how, is_in_order) = match input.byte() {
        how @ 0..128 => (how % 4, true),
        how => (how % 4, false),
    };
    let steps: Vec<Step> = (0..=input.byte() % STEPS_MAX).map(|_| Step::read(&mut input)).collect();
    if how == 3 {
        return rows_that_were_changed(&steps, input);
    }
    let disk = Disk::new();
    let (store, peer) = (open(&disk).expect("an empty disk"), memory(8));
    steps.iter().for_each(|step| step.run(&store, &peer).expect("a disk that does not fail"));
    let is_closed = how > 0;
    let died = disk.bytes();
    drop(store);
    let whole = if is_closed { disk.bytes() } else { died };
    let bytes = damage(&whole, input);
    // What the last commit has written is told from a commit that was cut short by nothing, in a file that was not closed.
    let mut states = vec![State::after(&steps)];
    if !is_closed {
        // A step may have changed nothing: the last commit is that of the last one that did.
        for count in (0..steps.len()).rev() {
            let before = State::after(&steps[..count]);
            let is_other = states.iter().all(|state| state.all != before.all || state.rows != before.rows);
            states.push(before);
            if is_other {
                break;
            }
        }
    }
    if is_made_anew(&bytes) {
        states.push(State::after(&[]));
    }
    let look = if is_in_order { look } else { look_in_any_order };
    look(&Disk::with_bytes(bytes), &states);
}

/// Changes the bytes of a file as the input says, in blocks where there is something.
fn damage(whole: &[u8], mut input: Input<'_>) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let is_live = |block: &&[u8]| *block != &[0; BLOCK][..block.len()];
    let live: Vec<usize> =
        (0..).step_by(BLOCK).zip(whole.chunks(BLOCK)).filter(|(_, block)| is_live(block)).map(|(at, _)| at).collect();
    while !input.is_empty() && !bytes.is_empty() {
        let what = input.byte();
        let mut block = |bytes: &[u8]| {
            let block = live.get(usize::from(input.byte()) % live.len().max(1)).copied().unwrap_or_default();
            if block < bytes.len() { block } else { 0 }
        };
        let (from, to) = (block(&bytes), if what % 8 > 4 { block(&bytes) } else { 0 });
        let at = (from + input.number() % BLOCK).min(bytes.len() - 1);
        let end = |start: usize, len: usize| (start + len).min(bytes.len());
        match what % 8 {
            0 => bytes[at] ^= 1 << (what >> 5),
            1 => bytes[at] = input.byte(),
            // Never to nothing: that is a new store.
            2 => bytes.truncate(at.max(1)),
            3 => {
                let end = end(from, BLOCK);
                bytes[from..end].fill(0);
            }
            4 => {
                let (start, end) = (at & !511, end(at & !511, 512));
                bytes[start..end].fill(what);
            }
            5 => {
                let len = BLOCK.min(bytes.len() - from.max(to));
                let kept = bytes[to..to + len].to_vec();
                bytes.copy_within(from..from + len, to);
                bytes[from..from + len].copy_from_slice(&kept);
            }
            6 => {
                let len = 512.min(bytes.len() - at).min(bytes.len() - to);
                bytes.copy_within(at..at + len, to);
            }
            _ => {
                // A block in the place of another.
                let len = BLOCK.min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
        }
    }
    bytes
}

/// Whether a file looks like a store whose making was cut short, which is made anew: see `docs/file-format.md`.
fn is_made_anew(bytes: &[u8]) -> bool {
    let is_zero = |range: core::ops::Range<usize>| {
        bytes[range.start.min(bytes.len())..range.end.min(bytes.len())].iter().all(|byte| *byte == 0)
    };
    let begins = is_zero(0..8) || bytes.starts_with(b"tombolo\x01");
    bytes.len() <= 64 * BLOCK && begins && is_zero(8..BLOCK + 9) && is_zero(BLOCK + 512..bytes.len())
}

/// A typed error that a damaged file may give.
fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Corrupt { .. } | Error::Io(_) | Error::Closed | Error::SyncFailed { .. })
}

/// What a call returned, if it did.
#[track_caller]
fn right<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if is_typed(&error) => None,
        Err(error) => panic!("{error:?}"),
    }
}

#[track_caller]
fn open_damaged(disk: &Disk) -> Option<Store> {
    match open(disk) {
        Err(Error::NewerFormat { .. }) => None,
        result => right(result),
    }
}

/// Reads what there is until something is an error, writes, and opens the file again.
fn look(disk: &Disk, states: &[State]) {
    let Some(store) = open_damaged(disk) else {
        // Somebody tries again. A repair may have begun: nothing older comes of that.
        if let Some(store) = open_damaged(disk) {
            look_at(&store, states);
        }
        return;
    };
    let mut state = look_at(&store, states);
    let written = right(store.register::<u8>("new").set(&1)).is_some();
    if written {
        assert!(right(store.register::<u8>("new").get()).is_none_or(|value| value == Some(1)));
        if let Some(state) = &mut state {
            state.register::<u8>("new").set(&1).expect("memory does not fail");
        }
    }
    drop(store);
    let Some(store) = open_damaged(disk) else { return };
    if let (true, Some(all), Some(state)) = (written, right(store.canonical()), &state) {
        assert!(all.into_bytes() == state.canonical().expect("memory does not fail").into_bytes(), "a write changed others");
    }
}

/// Everything that a store says of itself, and that it is so. Returns which of the states it is in, if that could be read.
fn look_at(store: &Store, states: &[State]) -> Option<Store> {
    let checked = right(store.check()).is_some();
    let read: Vec<Option<(String, String)>> = rows(store).map(right).collect();
    for row in read.iter().flatten() {
        assert!(states.iter().any(|state| state.rows.contains(row)), "{row:?} was never written");
    }
    if let Some(read) = read.into_iter().collect::<Option<Vec<_>>>() {
        assert!(states.iter().any(|state| state.rows == read), "rows are missing");
    }
    if let Some(digest) = right(store.digest()) {
        assert!(states.iter().any(|state| state.store.digest().expect("memory does not fail") == digest), "another digest");
    }
    if let Some(delta) = right(store.delta_since(&VersionVector::new())) {
        let peer = memory(9);
        peer.merge(delta).expect("what a store gives away is a delta");
        let all = peer.canonical().expect("memory does not fail").into_bytes();
        assert!(states.iter().any(|state| state.all == all), "garbage for a peer");
    }
    let all = right(store.canonical())?.into_bytes();
    let state = states.iter().find(|state| state.all == all);
    assert!(state.is_some() || !checked, "a state that never was");
    state.map(|state| state.store.clone())
}

/// The same without the check that comes first: what was not looked at is not known to be damaged.
fn look_in_any_order(disk: &Disk, states: &[State]) {
    let Some(store) = open_damaged(disk) else { return };
    let half: VersionVector =
        states[0].store.version().expect("memory does not fail").iter().map(|(id, seq)| (id, seq / 2)).collect();
    let _part = right(store.delta_since(&half));
    let _written = right(store.counter(("c", 0)).add(1));
    let _deleted = right(store.delete_prefix("m"));
    for key in 0..5_u8 {
        let value = right(store.register::<Vec<u8>>(("large", key)).get());
        if let Some(Some(value)) = value {
            let written: Vec<_> = states
                .iter()
                .filter_map(|state| state.store.register::<Vec<u8>>(("large", key)).get().expect("memory does not fail"))
                .collect();
            assert!(written.contains(&value), "a value that was never written");
        }
    }
    let _checked = right(store.check());
    let _synced = right(store.sync());
    let _compacted = right(store.compact());
}

/// Tables and logs of the file and of its first space: see `docs/file-format.md`.
const TABLES: [u32; 7] = [0, 16, 17, 18, 19, 20, 31];
const LOGS: [(u32, u32); 5] = [(16, 0), (16, 1), (17, 0), (18, 0), (16, 2)];

/// Rows that carry the right checksums and are not as the store wrote them. What they say is not known to be wrong: but no panic, and no
/// memory beyond what is there.
fn rows_that_were_changed(steps: &[Step], mut input: Input<'_>) {
    let memory_backend = Memory::default();
    let options = || Store::options().replica(ReplicaId::from_u128(7)).clock(Stopped);
    let store = options().open_backend(memory_backend.clone()).expect("an empty backend");
    let peer = memory(8);
    steps.iter().for_each(|step| step.run(&store, &peer).expect("memory does not fail"));
    drop(store);
    while !input.is_empty() {
        if let Some(write) = changed_row(&memory_backend, &mut input) {
            memory_backend.commit(vec![write], true).expect("memory does not fail");
        }
    }
    let Ok(store) = options().open_backend(memory_backend) else { return };
    drop(store.check());
    rows(&store).for_each(drop);
    for key in 0..5_u8 {
        drop((store.inspect(("c", key)), store.inspect(("r", key)), store.set::<u8>(("s", key)).iter().map(Iterator::count)));
    }
    drop((store.digest(), store.status(), store.sealed(), store.canonical()));
    drop(store.changes_since(&VersionVector::new(), ()).map(|changes| format!("{changes:?}")));
    if let Ok(delta) = store.delta_since(&VersionVector::new()) {
        drop(memory(9).merge(delta));
    }
    if let Ok(version) = peer.version() {
        drop(store.delta_since(&version));
    }
    drop(peer.register::<u8>("late").set(&1));
    drop(store.version().and_then(|version| peer.delta_since(&version)).and_then(|delta| store.merge(delta)));
    for (what, key) in (0..12).zip([0, 1, 2, 3, 4].into_iter().cycle()) {
        drop(Step { what, key, value: 3 }.run(&store, &peer));
    }
    drop(store.forget_deletes(&peer.version().expect("memory does not fail")));
    drop(store.check());
}

/// A row of the backend, and a change to it.
fn changed_row(backend: &Memory, input: &mut Input<'_>) -> Option<Write> {
    let (place, number, what) = (input.byte(), usize::from(input.byte()), input.byte());
    let count = TABLES.len() + LOGS.len();
    let place = usize::from(place) % count;
    if let Some(table) = TABLES.get(place) {
        let table = TableId(*table);
        let rows: Vec<(Bytes, Bytes)> = backend.range(table, (Bound::Unbounded, Bound::Unbounded)).ok()?.flatten().collect();
        let (key, value) = rows.get(number % rows.len().max(1))?.clone();
        return Some(match what % 8 {
            0 => Write::Remove { table, key },
            1 => Write::Put { table, key: changed(&key, what / 8, input), value },
            _ => Write::Put { table, key, value: changed(&value, what / 8, input) },
        });
    }
    let (table, lane) = *LOGS.get(place - TABLES.len())?;
    let log = LogId { table, lane };
    let entries: Vec<(u64, Bytes)> = backend.entries(log, 0..=u64::MAX).ok()?.flatten().collect();
    let (number, value) = entries.get(number % entries.len().max(1))?.clone();
    Some(match what % 8 {
        0 => Write::Erase { log, number },
        1 => Write::Append { log, number: if what > 127 { u64::MAX } else { number ^ 1 << (what / 8) }, value },
        _ => Write::Append { log, number, value: changed(&value, what / 8, input) },
    })
}

fn changed(bytes: &[u8], what: u8, input: &mut Input<'_>) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = usize::from(input.byte()) % bytes.len().max(1);
    match (what % 4, bytes.get_mut(at)) {
        (0, _) | (_, None) => bytes.truncate(at),
        (1, Some(_)) => bytes.insert(at, input.byte()),
        (2, Some(byte)) => *byte ^= 1 << (what / 4),
        (_, Some(byte)) => *byte = input.byte(),
    }
    bytes.into()
}
