//! Hostile deltas whose form holds: claims, rows, deletes and live numbers of any kind, one after the other, between honest writes. Each is in as a
//! whole or changed nothing, and the store is whole and goes on to work.

use arbitrary::{Arbitrary, Unstructured};
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::key::KeyBuf;
use tombolo::codec::{FrameReader, Writer, write_frame};
use tombolo::kv::Delta;
use tombolo::{Error, Store};

/// Something that happens to the store.
#[derive(Debug, Arbitrary)]
enum Step {
    Batch(Batch),
    Write(u8),
    Forget,
    /// A batch of before, once more.
    Again(u8),
}

#[derive(Debug, Arbitrary)]
struct Batch {
    below_floor: bool,
    /// What it builds on is there.
    is_fitting: bool,
    claims: [Claim; 3],
    rows: Vec<Row>,
    live: Vec<(u8, Vec<(u8, u8)>)>,
    /// One byte of it may be another one.
    twist: (u16, u8),
}

#[derive(Debug, Arbitrary)]
struct Claim {
    base: u8,
    more: u8,
    floor: u8,
    points: Vec<(u8, u8)>,
}

#[derive(Debug, Arbitrary)]
struct Row {
    key: u8,
    kind: u8,
    element: u8,
    entries: Vec<(u8, u8, Payload)>,
    deletes: Vec<(u8, u8)>,
}

#[derive(Debug, Arbitrary)]
enum Payload {
    Stamped { ms: u32, value: u8 },
    Far(u64),
    Bytes(Vec<u8>),
}

impl Payload {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Stamped { ms, value } => [&(u64::from(*ms) << 16).to_be_bytes()[..], &[*value]].concat(),
            Self::Far(stamp) => [&stamp.to_be_bytes()[..], b"\xa1x"].concat(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// The replicas that batches speak of: the store itself, one that it knows, one that it does not.
const IDS: [u128; 3] = [1, 2, 3];

fn id(place: usize) -> ReplicaId {
    ReplicaId::from_u128(IDS[place])
}

impl Batch {
    fn write(&self, space: &[u8], version: &VersionVector) -> Vec<u8> {
        let mut to = Writer::new();
        to.raw(space);
        to.u8(u8::from(self.below_floor));
        to.raw(&[0; 16]);
        to.u64(IDS.len() as u64);
        let claims: Vec<(u64, u64)> = (0..IDS.len())
            .map(|place| {
                let Claim { base, more, .. } = &self.claims[place];
                let base = if self.is_fitting { version.get(id(place)).min(u64::from(*base)) } else { u64::from(*base) };
                (base, (base + u64::from(*more)).max(1))
            })
            .collect();
        for (place, (base, version)) in claims.iter().enumerate() {
            to.raw(&id(place).to_bytes());
            to.u64(*base);
            to.u64(*version);
            if self.below_floor {
                to.u64(u64::from(self.claims[place].floor).min(*version));
            }
            self.points(place, *version, &mut to);
        }
        let mut rows: Vec<(Vec<u8>, &Row)> = self.rows.iter().map(|row| (row.path(), row)).collect();
        rows.sort_by(|(path, _), (other, _)| path.cmp(other));
        rows.dedup_by(|(path, _), (other, _)| path == other);
        for (path, row) in rows {
            row.write(&path, &claims, &mut to);
        }
        if self.below_floor {
            let mut live: Vec<(usize, &[(u8, u8)])> =
                self.live.iter().map(|(place, runs)| (usize::from(*place) % IDS.len(), &runs[..])).collect();
            live.sort_by_key(|(place, _runs)| *place);
            live.dedup_by_key(|(place, _runs)| *place);
            for (place, runs) in live {
                self.live(place, runs, claims[place].0, &mut to);
            }
        }
        to.u8(0);
        let mut payload = to.into_vec();
        if let (place, byte) = self.twist
            && place % 8 == 7
        {
            let place = usize::from(place / 8) % payload.len();
            payload[place] = byte;
        }
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 0, 1, &payload);
        bytes
    }

    fn points(&self, place: usize, version: u64, to: &mut Writer) {
        let mut points: Vec<(u64, u8)> = self.claims[place].points.iter().map(|(seq, hash)| (u64::from(*seq), *hash)).collect();
        points.retain(|(seq, _hash)| (1..=version).contains(seq));
        points.sort_unstable();
        points.dedup_by_key(|(seq, _hash)| *seq);
        to.u64(points.len() as u64);
        let mut before = 0;
        for (seq, hash) in points {
            to.u64(seq - before);
            to.raw(&[hash; 8]);
            before = seq;
        }
    }

    fn live(&self, place: usize, runs: &[(u8, u8)], base: u64, to: &mut Writer) {
        let mut last = 0;
        let mut fitting = Vec::new();
        for (gap, more) in runs {
            let (first, end) = (last + 1 + u64::from(*gap), last + 1 + u64::from(*gap) + u64::from(*more));
            if end > base {
                break;
            }
            fitting.push((u64::from(*gap), end - first));
            last = end;
        }
        to.u8(3);
        to.u64(place as u64);
        to.u64(fitting.len() as u64);
        for (gap, more) in fitting {
            to.u64(gap << 1 | u64::from(more > 0));
            if more > 0 {
                to.u64(more - 1);
            }
        }
    }
}

impl Row {
    /// Registers, flags, lattices, elements of a set, a kind that nobody knows, and rows that are none.
    fn path(&self) -> Vec<u8> {
        let key = KeyBuf::from_key(["r", "c", "s", "new"][usize::from(self.key % 4)]).as_bytes().to_vec();
        match [1, 1, 3, 4, 5, 5, 7, 2, 99][usize::from(self.kind % 9)] {
            5 => [&key[..], &[5], KeyBuf::from_key(self.element).as_bytes()].concat(),
            kind => [&key[..], &[kind]].concat(),
        }
    }

    fn write(&self, path: &[u8], claims: &[(u64, u64)], to: &mut Writer) {
        // In the range that the claims allow, mostly.
        let dot = |place: u8, seq: u8| {
            let place = usize::from(place) % IDS.len();
            (place as u64, u64::from(seq) % claims[place].1 + 1)
        };
        let is_above_base =
            |(place, seq): (u64, u64)| claims.iter().zip(0..).any(|((base, _version), at)| at == place && seq > *base);
        let mut entries: Vec<((u64, u64), Vec<u8>)> =
            self.entries.iter().map(|(place, seq, payload)| (dot(*place, *seq), payload.bytes())).collect();
        entries.sort_by_key(|(dot, _payload)| *dot);
        entries.dedup_by_key(|(dot, _payload)| *dot);
        let mut deletes: Vec<(u64, u64)> = self.deletes.iter().map(|(place, seq)| dot(*place, *seq)).collect();
        deletes.retain(|dot| is_above_base(*dot) && entries.iter().all(|(entry, _payload)| entry != dot));
        deletes.sort_unstable();
        deletes.dedup();
        to.u8(1);
        to.u64(0);
        to.bytes(path);
        to.u8(0);
        to.u64(entries.len() as u64);
        for (dot, payload) in entries {
            to.u64(dot.0);
            to.u64(dot.1);
            if is_above_base(dot) {
                to.bytes(&payload);
            }
        }
        to.u64(deletes.len() as u64);
        for (place, seq) in deletes {
            to.u64(place);
            to.u64(seq);
        }
    }
}

fn all(of: &Store) -> Delta {
    of.delta_since(&VersionVector::new()).unwrap()
}

fn space_of(store: &Store) -> Vec<u8> {
    let bytes = all(store).into_bytes();
    let first = FrameReader::new(&bytes).next_frame().unwrap().unwrap();
    first.payload[..16].to_vec()
}

/// Who is let in may leave a sum that nobody can read, or add to: that is told, and it can be deleted.
fn add(store: &Store, amount: i64) {
    match store.counter("c").add(amount) {
        Ok(()) => {}
        Err(Error::Decode { .. } | Error::Overflow { .. }) => {
            assert!(store.delete("c").unwrap());
            store.counter("c").add(amount).unwrap();
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn attack(store: &Store, bytes: &[u8]) {
    let (before, canonical) = (store.status().unwrap(), store.canonical().unwrap());
    match store.merge(bytes) {
        Ok(merged) if merged.changed => {
            assert!(store.status().unwrap().floor.covers(&before.floor), "a floor shrank");
            // Merged once more, it has nothing new.
            assert!(!store.merge(bytes).is_ok_and(|again| again.changed), "it changes something twice");
        }
        Ok(_nothing_new) => {}
        Err(_refused) if store.status().unwrap().version != before.version => {
            // It told the store that it is a copy: that has a new id before anything is merged, and refuses what does not fit then.
            assert!(!store.take_events().is_empty(), "a refused delta changed the version");
        }
        Err(_refused) => assert!(store.canonical().unwrap() == canonical, "a refused delta changed the store"),
    }
    store.check().unwrap();
}

pub(super) fn run(input: &[u8]) {
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let store = Store::options().replica(id(0)).in_memory();
    let friend = Store::options().replica(id(1)).in_memory();
    for store in [&store, &friend] {
        store.register::<u8>("r").set(&1).unwrap();
        store.counter("c").add(2).unwrap();
        (0..4).for_each(|element| store.set::<u8>("s").insert(&element).unwrap());
    }
    store.merge(all(&friend)).unwrap();
    let space = space_of(&store);
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for step in steps.iter().take(12) {
        match step {
            Step::Batch(batch) => {
                let bytes = batch.write(&space, &store.version().unwrap());
                attack(&store, &bytes);
                batches.push(bytes);
            }
            Step::Again(which) if !batches.is_empty() => attack(&store, &batches[usize::from(*which) % batches.len()]),
            Step::Again(_none) => {}
            Step::Write(value) => {
                add(&store, i64::from(*value));
                store.set::<u8>("s").insert(&(value % 8)).unwrap();
                store.delete(["r", "new"][usize::from(value % 2)]).unwrap();
            }
            Step::Forget => drop(store.forget_deletes(&store.version().unwrap()).unwrap()),
        }
    }
    // It goes on to work: it writes, and a newcomer has all of it.
    add(&store, 1);
    let newcomer = Store::options().replica(ReplicaId::from_u128(9)).in_memory();
    newcomer.merge(all(&store)).unwrap();
    assert!(newcomer.canonical().unwrap() == store.canonical().unwrap(), "a newcomer has something else");
    newcomer.check().unwrap();
}
