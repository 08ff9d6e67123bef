//! Deltas as streams: what is read in pieces, staged, or merged as it is found, ends as what is merged from memory does; and
//! whatever goes wrong on the way leaves nothing behind.

use std::io::{self, Read};
use std::ops::Bound;

use proptest::prelude::*;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::Writer;
use tombolo::storage::{Memory, Read as _, TableId};
use tombolo::{Error, Store};

use crate::deeds::{Deed, canonical, reading, run};
use crate::forge::{Forged, REGISTER, framed, frames, goes_on, path, stamped};
use crate::sync::replica;

/// A store that holds as good as nothing: all that is merged is staged and streamed, and all that is extracted is walked for.
fn tight(number: u128, medium: &Memory) -> Store {
    let options = Store::options().replica(ReplicaId::from_u128(number)).clock(Still).delta_memory(1);
    options.open_backend(medium.clone()).unwrap()
}

/// How many frames are staged in the first space of a file.
fn staged(medium: &Memory) -> usize {
    medium.range(TableId(16 + 15), (Bound::Unbounded, Bound::Unbounded)).unwrap().count()
}

/// Gives a few bytes at a time, and does something on the way.
struct Slowly<'a, F> {
    bytes: &'a [u8],
    at: usize,
    step: usize,
    on_the_way: F,
}

impl<'a, F: FnMut(usize) -> io::Result<()>> Slowly<'a, F> {
    fn new(bytes: &'a [u8], step: usize, on_the_way: F) -> Self {
        Self { bytes, at: 0, step, on_the_way }
    }
}

impl<F: FnMut(usize) -> io::Result<()>> Read for Slowly<'_, F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        (self.on_the_way)(self.at)?;
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(to.len()).min(self.step);
        to[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// The bytes of a delta that was streamed.
fn streamed(store: &Store, base: &VersionVector) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = store.write_delta_since(base, &mut bytes).unwrap();
    assert_eq!(count, bytes.len() as u64);
    bytes
}

/// Two stores of the same contents, which have seen a write that was deleted since: one in memory as ever, one that holds nothing.
struct Pair {
    plain: Store,
    tight: Store,
    medium: Memory,
}

impl Pair {
    fn new(first: Option<&[u8]>) -> Self {
        let medium = Memory::default();
        let pair = Self {
            plain: Store::options().replica(ReplicaId::from_u128(9)).clock(Still).in_memory(),
            tight: tight(9, &medium),
            medium,
        };
        for store in [&pair.plain, &pair.tight] {
            if let Some(first) = first {
                store.merge(first).unwrap();
            }
            store.register::<u64>("own").set(&1).unwrap();
            store.register::<u64>(3).set(&99).unwrap();
        }
        pair.agrees();
        pair
    }

    /// Merges bytes as a slice into one, and as a stream into the other: with the same end, and with nothing left.
    fn merge(&self, bytes: &[u8]) -> Result<bool, Error> {
        let plain = self.plain.merge(bytes);
        let tight = self.tight.merge_from(Slowly::new(bytes, 1_000, |_at| Ok(())));
        assert_eq!(staged(&self.medium), 0, "a stage that was left");
        self.agrees();
        match (plain, tight) {
            (Ok(plain), Ok(tight)) => {
                assert_eq!(plain, tight);
                Ok(plain.changed)
            }
            (Err(plain), Err(tight)) => {
                assert!(plain.to_string() == tight.to_string() || is_early(&tight), "{plain} and {tight}");
                Err(plain)
            }
            (plain, tight) => panic!("{plain:?} and {tight:?}"),
        }
    }

    fn agrees(&self) {
        self.tight.check().unwrap();
        let mut status = self.tight.status().unwrap();
        status.stamps_ahead = self.plain.status().unwrap().stamps_ahead;
        assert_eq!(self.plain.status().unwrap(), status);
        let all = self.plain.delta_since(&VersionVector::new()).unwrap();
        assert!(all.as_ref() == streamed(&self.tight, &VersionVector::new()), "other bytes");
        assert!(canonical(&self.plain) == canonical(&self.tight), "other canonical bytes");
    }
}

/// What a head tells already: a stream is not read on then.
fn is_early(error: &Error) -> bool {
    matches!(error, Error::Behind { .. } | Error::TooLarge { .. })
}

/// A delta of several frames, about half a megabyte, with what came before it.
fn several_frames() -> (Vec<u8>, Vec<u8>) {
    let store = replica(1);
    for key in 0..10_u64 {
        store.register::<Vec<u8>>(key).set(&vec![7; 30_000]).unwrap();
    }
    let first = canonical(&store);
    let base = store.version().unwrap();
    for key in 3..18_u64 {
        store.register::<Vec<u8>>(key).set(&vec![8; 40_000]).unwrap();
    }
    (0..2_000_u64).for_each(|key| store.set::<u64>("set").insert(&key).unwrap());
    store.delete(2).unwrap();
    store.forget_deletes(&store.version().unwrap()).unwrap();
    let later = store.delta_since(&base).unwrap().into_bytes();
    assert!(frames(&later).len() >= 3);
    (first, later)
}

/// The places in a delta that are worth a look: all around the ends of frames, and some in between.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    for (_kind, payload) in frames(bytes) {
        ends.push(ends.last().unwrap() + payload.len() + 16);
    }
    let around = ends.iter().flat_map(|end| end.saturating_sub(20)..end + 20);
    let mut places: Vec<usize> = around.chain((0..bytes.len()).step_by(20_011)).filter(|at| *at < bytes.len()).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn a_stream_that_is_cut_or_damaged_leaves_nothing_behind() {
    let (first, later) = several_frames();
    let pair = Pair::new(Some(&first));
    for at in places(&later) {
        assert!(matches!(pair.merge(&later[..at]), Err(Error::Malformed { .. })), "cut at {at}");
        let mut flipped = later.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(matches!(pair.merge(&flipped), Err(Error::Malformed { .. })), "flipped at {at}");
    }
    assert!(matches!(pair.merge(&[&later[..], &[0]].concat()), Err(Error::Malformed { .. })));
    assert!(matches!(pair.merge(&[&later[..], &later[..]].concat()), Err(Error::Malformed { .. })));
    assert!(pair.merge(&later).unwrap());
    assert!(!pair.merge(&later).unwrap(), "a second time is no change");
    assert!(
        matches!(pair.merge(&later[..later.len() - 1]), Err(Error::Malformed { .. })),
        "even if there is nothing new in it"
    );
    goes_on(&pair.tight);
}

#[test]
fn a_reader_that_fails_or_a_writer_that_does_is_a_typed_error() {
    let (first, later) = several_frames();
    let medium = Memory::default();
    let store = tight(9, &medium);
    store.merge(&first).unwrap();
    let digest = store.digest().unwrap();
    let mut most = 0;
    for fails_at in (0..later.len()).step_by(50_000).chain([later.len()]) {
        let merged = store.merge_from(Slowly::new(&later, 7_000, |at| {
            most = most.max(staged(&medium));
            if at >= fails_at { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
        }));
        let Err(Error::Transfer { source }) = merged else { panic!("{merged:?}") };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!((store.digest().unwrap(), staged(&medium)), (digest, 0));
    }
    let merged = store.merge_from(Slowly::new(&later, 1, |_at| Ok(()))).unwrap();
    assert!(merged.changed && merged.below_floor);
    store.check().unwrap();

    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.0.min(bytes.len());
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let whole = usize::try_from(store.write_delta_since(&VersionVector::new(), io::sink()).unwrap()).unwrap();
    for room in [0, 1, whole / 2, whole - 1] {
        let written = store.write_delta_since(&VersionVector::new(), Full(room));
        assert!(matches!(written, Err(Error::Transfer { source }) if source.kind() == io::ErrorKind::StorageFull));
    }
    assert_eq!(store.write_delta_since(&VersionVector::new(), Full(whole)).unwrap(), whole as u64);
}

/// A delta above 1 MiB, of which the first frames are in the file when the last ones come.
fn large(number: u128) -> (Store, Vec<u8>) {
    let store = replica(number);
    for key in 0..24_u64 {
        store.register::<Vec<u8>>((number.to_string(), key)).set(&vec![7; 200_000]).unwrap();
    }
    let delta = canonical(&store);
    (store, delta)
}

#[test]
fn what_a_crash_has_left_of_a_stream_is_erased_when_the_space_is_opened() {
    let (_source, delta) = large(1);
    let medium = Memory::default();
    let open = |medium: &Memory| Store::options().replica(ReplicaId::from_u128(9)).open_backend(medium.clone()).unwrap();
    let store = open(&medium);
    store.counter("c").add(1).unwrap();
    let digest = store.digest().unwrap();
    // What the medium holds at each moment that a process could end.
    let mut left = Vec::new();
    let merged = store.merge_from(Slowly::new(&delta, 500_000, |_at| {
        left.push(medium.fork());
        Ok(())
    }));
    assert!(merged.unwrap().changed);
    assert!(left.iter().filter(|medium| staged(medium) > 0).count() > 2, "some of them have frames");
    for medium in left {
        let store = open(&medium);
        assert_eq!((staged(&medium), store.digest().unwrap()), (0, digest));
        store.check().unwrap();
        assert!(store.merge_from(&delta[..]).unwrap().changed);
        assert_eq!(staged(&medium), 0);
        store.check().unwrap();
    }
}

#[test]
fn two_streams_into_one_space_do_not_mix() {
    let ((one, first), (two, second)) = (large(1), large(2));
    let medium = Memory::default();
    let store = Store::options().open_backend(medium.clone()).unwrap();
    let other = store.space("other").unwrap();
    let mut inner = None;
    let merged = store.merge_from(Slowly::new(&first, 300_000, |at| {
        if at > 3_000_000 && inner.is_none() {
            assert!(staged(&medium) > 0);
            // Another delta, a broken one, and a write, while the first is under way.
            inner = Some(store.merge_from(&second[..]).unwrap());
            assert!(store.merge_from(&first[..4_000_000]).is_err());
            other.counter("c").add(1).unwrap();
        }
        Ok(())
    }));
    assert!(merged.unwrap().changed && inner.unwrap().changed);
    assert_eq!(staged(&medium), 0);
    store.check().unwrap();
    one.merge(&second).unwrap();
    two.merge(&first).unwrap();
    assert_eq!((store.digest().unwrap(), two.digest().unwrap()), (one.digest().unwrap(), one.digest().unwrap()));
}

#[test]
fn what_nobody_wants_is_not_staged() {
    let (source, delta) = large(1);
    let medium = Memory::default();
    let store = Store::options().open_backend(medium.clone()).unwrap();
    store.merge(&delta).unwrap();
    let watched = |delta: &[u8]| {
        let mut most = 0;
        let mut read = 0;
        let merged = store.merge_from(Slowly::new(delta, 100_000, |at| {
            (most, read) = (most.max(staged(&medium)), at);
            Ok(())
        }));
        assert_eq!((most, staged(&medium)), (0, 0));
        (merged, read)
    };
    let (merged, read) = watched(&delta);
    assert!(!merged.unwrap().changed);
    assert_eq!(read, delta.len(), "it was checked to its end");
    // One that starts beyond what is here is not even read.
    source.counter("c").add(1).unwrap();
    let base = source.version().unwrap();
    source.delta_since(&VersionVector::new()).unwrap();
    (0..12_u64).for_each(|key| source.register::<Vec<u8>>(key).set(&vec![1; 200_000]).unwrap());
    let behind = source.delta_since(&base).unwrap().into_bytes();
    let (merged, read) = watched(&behind);
    assert!(matches!(merged, Err(Error::Behind { .. })));
    assert!(read < behind.len());
}

#[test]
fn an_event_on_two_rows_is_found_however_many_passes_it_takes() {
    let value = stamped(1, &[1]);
    // Each in a chunk of its own; the last one twice.
    let seqs = [1, 70_000, 140_000, 210_000, 280_000_u64];
    let of = |last: u64| {
        let mut delta = Forged::new(&[(1, 0, 300_000), (2, 0, 300_000)]);
        for (key, seq) in (0_u64..).zip(seqs.iter().chain([&last])) {
            delta = delta.write(&path(key, REGISTER), (1, *seq), &value);
        }
        delta.row(&path(99_u64, REGISTER), &[], &[(0, last)]).end()
    };
    let pair = Pair::new(None);
    for twice in seqs {
        assert!(matches!(pair.merge(&of(twice)), Err(Error::Malformed { what: "one event on two rows", .. })), "{twice}");
    }
    assert!(pair.merge(&of(290_000)).unwrap());
}

#[test]
fn a_row_that_does_not_end_is_refused_before_it_fills_the_memory() {
    let head = frames(&Forged::new(&[(1, 0, 1 << 40)]).end()).remove(0).1;
    let row = path("a", REGISTER);
    let mut parts = Vec::new();
    for part in 0..6_u64 {
        let mut to = Writer::new();
        if part == 0 {
            to.raw(&head[..head.len() - 1]);
            to.u8(1);
            to.u64(0);
            to.bytes(&row);
        } else {
            to.u8(2);
        }
        // More; no entries; a million deletes.
        to.u8(1);
        to.u64(0);
        to.u64(1_000_000);
        for seq in 1..=1_000_000 {
            to.u64(0);
            to.u64(part * 1_000_000 + seq);
        }
        parts.push((if part == 0 { 1 } else { 2 }, to.into_vec()));
    }
    let bytes = framed(&parts);
    let mut read = 0;
    let store = replica(9);
    let merged = store.merge_from(Slowly::new(&bytes, 100_000, |at| {
        read = at;
        Ok(())
    }));
    assert!(matches!(merged, Err(Error::Malformed { what: "a row above 64 MiB", .. })), "{merged:?}");
    assert!(read < bytes.len());
    assert!(matches!(store.merge(&bytes), Err(Error::Malformed { what: "a row above 64 MiB", .. })));
}

#[test]
fn conflicts_are_listed_up_to_a_number_and_counted_beyond() {
    let (a, b) = (replica(1), replica(2));
    for (value, store) in [(1, &a), (2, &b)] {
        store.transact(|tx| (0..12_000_u32).try_for_each(|key| tx.register::<u8>(key).set(&value))).unwrap();
    }
    let merged = a.merge(canonical(&b)).unwrap();
    assert_eq!((merged.conflicts.len(), merged.conflicts_total, merged.rows), (10_000, 12_000, 12_000));
    assert_eq!(merged.conflicts[9_999].to_string(), "9999 register");
}

/// The same history with deltas in memory, and with streams between stores that hold as good as nothing.
struct Two {
    plain: Vec<Store>,
    tight: Vec<Store>,
    media: Vec<Memory>,
}

const REPLICAS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Commit(usize, Vec<Deed>),
    /// Since what the receiver has, since something older that it had, or since nothing.
    Send(usize, usize, prop::sample::Index),
    Forget(usize, u64),
}

impl Step {
    fn any() -> impl Strategy<Value = Self> {
        let store = || 0..REPLICAS;
        prop_oneof![
            4 => (store(), Deed::some()).prop_map(|(at, deeds)| Self::Commit(at, deeds)),
            4 => (store(), store(), any::<prop::sample::Index>()).prop_map(|(from, to, old)| Self::Send(from, to, old)),
            1 => (store(), 0..20_u64).prop_map(|(at, up_to)| Self::Forget(at, up_to)),
        ]
    }
}

impl Two {
    fn new() -> Self {
        let media: Vec<Memory> = vec![(); REPLICAS].into_iter().map(|()| Memory::default()).collect();
        let clock = || Still;
        let plain =
            (1..).take(REPLICAS).map(|id| Store::options().clock(clock()).replica(ReplicaId::from_u128(id)).in_memory());
        let tight = (1..).zip(&media).map(|(id, medium)| {
            let options = Store::options().clock(clock()).replica(ReplicaId::from_u128(id)).delta_memory(1);
            options.open_backend(medium.clone()).unwrap()
        });
        Self { plain: plain.collect(), tight: tight.collect(), media: media.clone() }
    }

    fn step(&self, step: &Step, versions: &mut [Vec<VersionVector>]) {
        match step {
            Step::Commit(at, deeds) => {
                let one = run(&self.plain[*at], deeds).unwrap();
                assert!(one == run(&self.tight[*at], deeds).unwrap());
                // The others may or may not be able to take it; both worlds alike.
                for (plain, tight) in self.plain.iter().zip(&self.tight) {
                    let bytes = one.as_deref().unwrap_or_default();
                    assert_eq!(plain.apply(bytes).ok(), tight.apply(bytes).ok());
                }
            }
            Step::Send(from, to, old) => {
                let base = old.get(&versions[*to]).clone();
                let delta = self.plain[*from].delta_since(&base).unwrap();
                let bytes = streamed(&self.tight[*from], &base);
                assert!(delta.as_ref() == bytes, "other bytes");
                let merged = self.plain[*to].merge(&delta).unwrap();
                assert_eq!(merged, self.tight[*to].merge_from(Slowly::new(&bytes, 50, |_at| Ok(()))).unwrap());
                assert_eq!(staged(&self.media[*to]), 0);
            }
            Step::Forget(at, up_to) => {
                let version = self.plain[*at].version().unwrap();
                let up_to: VersionVector = version.iter().map(|(id, seq)| (id, seq.min(*up_to))).collect();
                let forgotten = self.plain[*at].forget_deletes(&up_to).unwrap();
                assert_eq!(forgotten, self.tight[*at].forget_deletes(&up_to).unwrap());
            }
        }
        for ((plain, tight), versions) in self.plain.iter().zip(&self.tight).zip(versions) {
            tight.check().unwrap();
            assert_eq!(plain.status().unwrap(), tight.status().unwrap());
            let all = plain.delta_since(&VersionVector::new()).unwrap();
            assert!(all.as_ref() == streamed(tight, &VersionVector::new()));
            assert!(canonical(plain) == canonical(tight));
            assert_eq!(reading(plain), reading(tight));
            versions.push(plain.version().unwrap());
        }
    }
}

/// A clock that stands, so that both worlds give the same stamps.
#[derive(Debug)]
struct Still;

impl tombolo::system::Clock for Still {
    fn now_ms(&self) -> u64 {
        1_000
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_do_what_slices_do_in_every_history(steps in proptest::collection::vec(Step::any(), 1..30)) {
        let two = Two::new();
        let mut versions = vec![vec![VersionVector::new()]; REPLICAS];
        for step in &steps {
            two.step(step, &mut versions);
        }
    }
}
