//! Pushed transactions that are well-formed and hostile, and random histories of deltas that nobody honest would send.

use proptest::prelude::*;
use tombolo::causal::{ReplicaId, SEQ_MAX, VersionVector};
use tombolo::codec::Writer;
use tombolo::kv::{Applied, StoreEvent};
use tombolo::{Error, Store};

use crate::forge::{COUNTER, FLAG, Forged, LATTICE, REGISTER, SET, WireDot, attack, framed, frames, goes_on, path, stamped};
use crate::sync::replica;

/// A transaction in the making: of replica `ids[origin]`, from its event `lo` on.
struct Transaction {
    to: Writer,
}

impl Transaction {
    fn new(ids: &[u128], origin: u64, lo: u64, deps: &[WireDot], rows: u64) -> Self {
        let space = frames(&Forged::new(&[(1, 0, 1)]).end()).remove(0).1;
        let mut to = Writer::new();
        to.raw(&space[..16]);
        to.u64(ids.len() as u64);
        ids.iter().for_each(|id| to.raw(&ReplicaId::from_u128(*id).to_bytes()));
        to.u64(origin);
        to.u64(lo);
        let mut this = Self { to };
        this.dots(deps);
        this.to.u64(rows << 1);
        this
    }

    /// With room for one row, of which it says that it has a stamp.
    fn stamped(mut self, stamp: &[u8]) -> Self {
        let without = self.to.len() - 1;
        let mut bytes = std::mem::take(&mut self.to).into_vec();
        bytes.truncate(without);
        self.to.raw(&bytes);
        self.to.u64(1 << 1 | 1);
        self.to.raw(stamp);
        self
    }

    fn row(mut self, path: &[u8], payload: Option<&[u8]>, dropped: &[WireDot]) -> Self {
        self.to.u64(0);
        self.to.bytes(path);
        match payload {
            Some(payload) => {
                self.to.u8(1);
                self.to.bytes(payload);
            }
            None => self.to.u8(2),
        }
        self.dots(dropped);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.to.raw(bytes);
        self
    }

    fn dots(&mut self, dots: &[WireDot]) {
        self.to.u64(dots.len() as u64);
        for (replica, seq) in dots {
            self.to.u64(*replica);
            self.to.u64(*seq);
        }
    }

    fn end(self) -> Vec<u8> {
        framed(&[(3, self.to.into_vec())])
    }
}

/// A store that has events 1 to 3 of replica 1, and two of its own, as replica 9.
fn victim() -> Store {
    let store = replica(9);
    let [a, b, c] = ["a", "b", "c"].map(|key| path(key, REGISTER));
    let value = stamped(1, &[1]);
    let delta = Forged::new(&[(1, 0, 3)]).write(&a, (0, 1), &value).write(&b, (0, 2), &value).write(&c, (0, 3), &value);
    store.merge(delta.end()).unwrap();
    store.register::<u64>("a").set(&2).unwrap();
    store.counter("n").add(1).unwrap();
    // A peer may know all of it.
    store.delta_since(&VersionVector::new()).unwrap();
    store
}

#[test]
fn a_transaction_against_the_rules_is_malformed() {
    let (a, b) = (path("a", REGISTER), path("b", REGISTER));
    let value = stamped(2, &[3]);
    let value = Some(&value[..]);
    let len = u8::try_from(a.len()).unwrap();
    let one = |lo, rows| Transaction::new(&[1], 0, lo, &[], rows);
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("no rows", one(4, 0).end()),
        ("event 0", one(0, 1).row(&a, value, &[]).end()),
        ("an event above 2^63", one(SEQ_MAX + 1, 1).row(&a, value, &[]).end()),
        ("an end above 2^63", one(SEQ_MAX, 2).row(&a, value, &[]).row(&b, value, &[]).end()),
        ("2^32 rows", Transaction::new(&[1], 0, 4, &[], 1 << 32).end()),
        ("2^63 - 1 rows", Transaction::new(&[1], 0, 4, &[], u64::MAX >> 1).end()),
        ("a stamp that it does not have", one(4, 1).raw(&[0, len]).raw(&a).raw(&[3, 1, 0, 0]).end()),
        ("a stamp that is cut", Transaction::new(&[1], 0, 4, &[], 0).stamped(&[0; 7]).end()),
        ("more rows than it says", one(4, 1).row(&a, value, &[]).row(&b, value, &[]).end()),
        ("fewer rows than it says", one(4, 2).row(&a, value, &[]).end()),
        ("rows out of order", one(4, 2).row(&b, value, &[]).row(&a, value, &[]).end()),
        ("a row twice", one(4, 2).row(&a, value, &[]).row(&a, None, &[]).end()),
        ("a path that is none", one(4, 1).row(b"nonsense", value, &[]).end()),
        ("neither a write nor a delete", one(4, 1).raw(&[0, len]).raw(&a).raw(&[4, 0]).end()),
        ("an origin that it does not name", Transaction::new(&[1], 1, 4, &[], 1).row(&a, value, &[]).end()),
        ("replicas out of order", Transaction::new(&[2, 1], 0, 4, &[], 1).row(&a, value, &[]).end()),
        ("a replica twice", Transaction::new(&[1, 1], 0, 4, &[], 1).row(&a, value, &[]).end()),
        ("a dependency on itself", Transaction::new(&[1], 0, 4, &[(0, 3)], 1).row(&a, value, &[]).end()),
        ("dependencies out of order", Transaction::new(&[1, 2, 9], 0, 4, &[(2, 1), (1, 1)], 1).row(&a, value, &[]).end()),
        ("a dependency twice", Transaction::new(&[1, 9], 0, 4, &[(1, 1), (1, 1)], 1).row(&a, value, &[]).end()),
        ("a dependency on event 0", Transaction::new(&[1, 9], 0, 4, &[(1, 0)], 1).row(&a, value, &[]).end()),
        ("a dependency above 2^63", Transaction::new(&[1, 7], 0, 4, &[(1, SEQ_MAX + 1)], 1).row(&a, value, &[]).end()),
        ("a drop of what it writes itself", one(4, 1).row(&a, value, &[(0, 4)]).end()),
        ("a drop of event 0", one(4, 1).row(&a, value, &[(0, 0)]).end()),
        ("a drop that it does not depend on", Transaction::new(&[1, 2], 0, 4, &[], 1).row(&a, value, &[(1, 1)]).end()),
        ("a drop of more than this store has", Transaction::new(&[1, 9], 0, 4, &[(1, 2)], 1).row(&a, value, &[(1, 3)]).end()),
        ("2^32 drops", one(4, 1).raw(&[0, len]).raw(&a).raw(&[2, 0x80, 0x80, 0x80, 0x80, 0x10]).end()),
        ("a delta's frame", framed(&[(1, frames(&one(4, 1).row(&a, value, &[]).end()).remove(0).1)])),
    ];
    let victim = victim();
    for (name, bytes) in bad {
        assert!(matches!(attack(&victim, &bytes), Err(Error::Malformed { .. })), "{name}");
    }
    goes_on(&victim);
    assert!(attack(&victim, &one(4, 1).row(&a, value, &[(0, 1)]).end()).unwrap());
    goes_on(&victim);
}

#[test]
fn a_transaction_out_of_turn_waits_and_says_for_what() {
    let victim = victim();
    let a = path("a", REGISTER);
    let row = |transaction: Transaction| transaction.row(&a, None, &[]).end();
    let waits = |bytes: &[u8]| match victim.apply(bytes).unwrap() {
        Applied::Waits { need } => need.iter().map(|(_id, seq)| seq).collect::<Vec<_>>(),
        other @ (Applied::Merged(_) | Applied::Covered) => panic!("{other:?}"),
    };
    assert_eq!(waits(&row(Transaction::new(&[1], 0, 5, &[], 1))), [4]);
    assert_eq!(waits(&row(Transaction::new(&[1, 7], 0, 4, &[(1, SEQ_MAX)], 1))), [3, SEQ_MAX]);
    assert_eq!(waits(&row(Transaction::new(&[7], 0, SEQ_MAX, &[], 1))), [SEQ_MAX - 1]);
    assert!(matches!(victim.apply(row(Transaction::new(&[1], 0, 3, &[], 1))), Ok(Applied::Covered)));
    assert!(matches!(victim.apply(row(Transaction::new(&[9], 0, 1, &[], 1))), Ok(Applied::Covered)));
    for mine in [Transaction::new(&[9], 0, 3, &[], 1), Transaction::new(&[1, 9], 0, 4, &[(1, 3)], 1)] {
        let bytes = row(mine);
        assert!(attack(&victim, &bytes).unwrap());
    }
    let events = victim.take_events();
    assert!(
        matches!(*events, [StoreEvent::Diverged { .. }, StoreEvent::IdentityRotated { new: None, replayed: 0, .. }]),
        "{events:?}"
    );
    goes_on(&victim);
}

#[test]
fn a_transaction_that_drops_what_lies_elsewhere_drops_nothing() {
    let victim = victim();
    let a = path("a", REGISTER);
    // Event 2 of replica 1 is on row "b".
    assert!(attack(&victim, &Transaction::new(&[1], 0, 4, &[], 1).row(&a, None, &[(0, 2), (0, 2), (0, 1)]).end()).unwrap());
    assert_eq!(victim.register::<u64>("b").get().unwrap(), Some(1));
    assert_eq!(victim.register::<u64>("a").get().unwrap(), Some(2));
    goes_on(&victim);
}

/// Events: the place of their replica, and their number.
type Dots = Vec<(usize, u64)>;

/// A hostile delta between a store's version and anything: replicas, versions and events of small numbers, so that they meet.
#[derive(Debug, Clone)]
struct Blow {
    replicas: Vec<(u64, u64, u64)>,
    rows: Vec<(usize, Dots, Dots)>,
    floor: bool,
    live: Vec<(usize, u64, u64)>,
    own: u8,
}

impl Blow {
    fn any() -> impl Strategy<Value = Self> {
        let dots = |count| proptest::collection::vec((0..3_usize, 1..12_u64), 0..count);
        (
            proptest::collection::vec((0..6_u64, 0..5_u64, 0..12_u64), 3),
            proptest::collection::vec((0..12_usize, dots(4), dots(3)), 0..6),
            any::<bool>(),
            proptest::collection::vec((0..3_usize, 1..4_u64, 0..3_u64), 0..4),
            any::<u8>(),
        )
            .prop_map(|(replicas, rows, floor, live, own)| Self { replicas, rows, floor, live, own })
    }

    /// The delta: what would be malformed is left out.
    fn against(&self, store: &Store, paths: &[Vec<u8>]) -> Vec<u8> {
        let has = store.version().unwrap();
        let head: Vec<_> = (1_u128..)
            .zip(&self.replicas)
            .map(|(id, (back, more, floor))| {
                let has = has.get(ReplicaId::from_u128(id));
                let base = has.saturating_sub(*back);
                let version = (base + more).max(1);
                (id, base, version, (*floor).min(version))
            })
            .collect();
        let mut forged = if self.floor {
            Forged::below_floor(&head)
        } else {
            Forged::new(&head.iter().map(|(id, base, version, _)| (*id, *base, *version)).collect::<Vec<_>>())
        };
        let mut used = std::collections::BTreeSet::new();
        let mut rows = std::collections::BTreeMap::new();
        for (path, entries, deletes) in &self.rows {
            let fresh = |dots: &[(usize, u64)], used: &mut std::collections::BTreeSet<_>, above_base: bool| {
                let mut dots: Dots = dots
                    .iter()
                    .filter(|(at, seq)| *seq <= head[*at].2 && (!above_base || *seq > head[*at].1) && used.insert((*at, *seq)))
                    .copied()
                    .collect();
                dots.sort_unstable();
                dots
            };
            rows.entry(&paths[*path]).or_insert_with(|| {
                let entries = fresh(entries, &mut used, false);
                (entries, fresh(deletes, &mut used, true))
            });
        }
        for (path, (entries, deletes)) in rows {
            let mut to = Writer::new();
            to.u8(1);
            to.u64(0);
            to.bytes(path);
            to.u8(0);
            to.u64(entries.len() as u64);
            for (at, seq) in entries {
                to.u64(at as u64);
                to.u64(seq);
                if seq > head[at].1 {
                    to.bytes(&[&[self.own][..], &seq.to_be_bytes()].concat());
                }
            }
            to.u64(deletes.len() as u64);
            for (at, seq) in deletes {
                to.u64(at as u64);
                to.u64(seq);
            }
            forged = forged.raw(to.as_slice());
        }
        if self.floor {
            forged = forged.raw(&self.live_items(&head));
        }
        forged.end()
    }

    fn live_items(&self, head: &[(u128, u64, u64, u64)]) -> Vec<u8> {
        let mut to = Writer::new();
        for (at, (_id, base, ..)) in head.iter().enumerate() {
            let (mut last, mut runs) = (0, Vec::new());
            for (_at, gap, more) in self.live.iter().filter(|(of, ..)| *of == at) {
                if last + gap + more <= *base {
                    runs.push((*gap, *more));
                    last += gap + more;
                }
            }
            to.u8(3);
            to.u64(at as u64);
            to.u64(runs.len() as u64);
            for (gap, more) in runs {
                to.u64((gap - 1) << 1 | u64::from(more > 0));
                if more > 0 {
                    to.u64(more - 1);
                }
            }
        }
        to.into_vec()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_of_hostile_deltas_leaves_a_whole_store(blows in proptest::collection::vec(Blow::any(), 1..8)) {
        let kinds = [REGISTER, FLAG, LATTICE, 0x1e];
        let mut paths: Vec<_> = kinds.iter().flat_map(|kind| ["a", "b"].map(|key| path(key, *kind))).collect();
        for contributor in [3_u128, 9] {
            let part = [path("c", COUNTER), ReplicaId::from_u128(contributor).to_bytes().to_vec()].concat();
            paths.extend([part.clone(), [part, vec![1]].concat()]);
        }
        paths[7] = [path("b", SET), vec![0x20]].concat();
        let store = replica(9);
        for blow in &blows {
            match blow.own % 8 {
                0 => store.register::<u64>("a").set(&1).unwrap(),
                1 => drop(store.delete("a").unwrap()),
                2 => drop(store.counter("c").add(3)),
                3 => drop(store.delete_prefix(()).unwrap()),
                4 => drop(store.forget_deletes(&store.version().unwrap()).unwrap()),
                _ => {}
            }
            let delta = blow.against(&store, &paths);
            prop_assert!(attack(&store, &delta).is_ok());
            prop_assert!(!store.merge(&delta).unwrap().changed);
        }
        goes_on(&store);
    }
}
