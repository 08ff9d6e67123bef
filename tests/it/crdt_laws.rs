//! Every type, in random histories, against what it must read. A new type is a line of [`types`].
//!
//! `TOMBOLO_LAW_CASES=1000000` sets the histories of each, `TOMBOLO_LAW_TYPES=OrSet,RwSet` chooses some,
//! `TOMBOLO_LAW_EVIDENCE=docs/evidence/laws.json` keeps what was checked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::num::NonZero;
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tombolo::ReplicaId;
use tombolo::crdt::{
    BoundedCounter, BoundedCounterOp, CausalCounter, CausalCounterOp, Crdt, Decompose, DwFlag, EwFlag, Expiring,
    FirstWriteRegister, GCounter, GSet, HyperLogLog, LwwMap, LwwMapOp, LwwRegister, Max, Min, MvRegister, OneWayFlag, OrMap,
    OrMapOp, OrMultiMap, OrMultiMapOp, OrSet, PnCounter, ResetCounter, ResetCounterOp, RwSet, SetOp, TwoPhaseSet,
    TwoPhaseSetOp,
};
use tombolo::laws::{Event, Report, Rng, Situation, Suite, Visible, replica_id};

/// Histories of each type, where `TOMBOLO_LAW_CASES` does not say.
const CASES: u64 = 2_000;

type Run = Box<dyn FnOnce(u64) -> Result<Report, String> + Send>;

struct Type {
    name: &'static str,
    /// What never happens to it.
    unmet: &'static [Situation],
    run: Run,
}

/// Every type with its suite; where nothing can be refused, that is not met.
fn types() -> Vec<Type> {
    vec![
        refusing("GCounter", g_counter),
        refusing("PnCounter", pn_counter),
        refusing("ResetCounter", reset_counter),
        refusing("BoundedCounter", bounded_counter),
        total("LwwRegister", lww_register),
        total("FirstWriteRegister", first_write_register),
        total("Expiring", expiring),
        total("Max", || Suite::<Max<u64>>::new(number).spec(|visible| ops(visible).copied().max())),
        total("Min", || Suite::<Min<u64>>::new(number).spec(|visible| ops(visible).copied().min())),
        total("OneWayFlag", || Suite::<OneWayFlag>::new(|_| ()).spec(|visible| !visible.is_empty())),
        total("GSet", || Suite::<GSet<u64>>::new(number).spec(|visible| ops(visible).copied().collect())),
        total("TwoPhaseSet", two_phase_set),
        total("HyperLogLog", hyper_log_log),
        total("MvRegister", mv_register),
        total("EwFlag", ew_flag),
        total("DwFlag", dw_flag),
        total("OrSet", or_set),
        total("RwSet", rw_set),
        total("LwwMap", lww_map),
        total("CausalCounter", causal_counter),
        total("OrMap of registers", map_of_registers),
        total("OrMap of counters", map_of_counters),
        total("OrMap of maps", map_of_maps),
        total("OrMultiMap", or_multi_map),
    ]
}

fn refusing<T>(name: &'static str, suite: fn() -> Suite<T>) -> Type
where
    T: Crdt + Decompose + Debug + Serialize + DeserializeOwned + 'static,
{
    // The suite is made where it runs: it cannot be sent.
    let run = move |cases| suite().order().decompose().codec().cases(cases).check().map_err(|failure| failure.to_string());
    Type { name, unmet: &[], run: Box::new(run) }
}

fn total<T>(name: &'static str, suite: fn() -> Suite<T>) -> Type
where
    T: Crdt + Decompose + Debug + Serialize + DeserializeOwned + 'static,
{
    Type { unmet: &[Situation::Refused], ..refusing(name, suite) }
}

fn ops<Op>(visible: &Visible<Op>) -> impl Iterator<Item = &Op> {
    visible.iter().map(|event| &event.op)
}

/// Few, so that they meet, and both ends.
fn number(rng: &mut Rng) -> u64 {
    *rng.pick(&[0, 1, 2, u64::MAX - 1, u64::MAX]).unwrap()
}

/// Mostly small ones, which add up; and those at which a total overflows.
fn amount(rng: &mut Rng) -> u64 {
    *rng.pick(&[0, 1, 1, 2, 3, 5, u64::MAX - 1, u64::MAX]).unwrap()
}

fn signed_amount(rng: &mut Rng) -> i64 {
    *rng.pick(&[0, 1, -1, 2, -3, i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]).unwrap()
}

/// Few stamps and few values, so that stamps are equal and values are not.
fn stamped(rng: &mut Rng) -> (u64, u8) {
    (*rng.pick(&[1, 2, 0, u64::MAX - 1, u64::MAX]).unwrap(), *rng.pick(&[0, 1, u8::MAX]).unwrap())
}

/// Mostly three, so that they meet; sometimes others, so that there are many.
fn element(rng: &mut Rng) -> u8 {
    let elements = if rng.chance(70) { 3 } else { 30 };
    u8::try_from(rng.below(elements)).unwrap()
}

fn set_op(rng: &mut Rng) -> SetOp<u8> {
    let element = element(rng);
    if rng.chance(60) { SetOp::Add(element) } else { SetOp::Remove(element) }
}

/// What was added, and not removed by someone who knew of that.
fn or_set() -> Suite<OrSet<u8>> {
    Suite::new(set_op).spec(|visible| {
        let live = visible.iter().filter_map(|event| match event.op {
            SetOp::Add(element) => (!visible.is_followed(event, |op| *op == SetOp::Remove(element))).then_some(element),
            SetOp::Remove(_) => None,
        });
        live.collect()
    })
}

/// What was added, and removed by nobody whose remove no add has known.
fn rw_set() -> Suite<RwSet<u8>> {
    let of = |op: &SetOp<u8>| match op {
        SetOp::Add(element) | SetOp::Remove(element) => *element,
    };
    Suite::new(set_op).spec(move |visible| {
        let newest = |event: &&Event<SetOp<u8>>| !visible.is_followed(event, |op| of(op) == of(&event.op));
        let added: BTreeSet<u8> = ops(visible).map(of).collect();
        let is_there = |element: &u8| {
            let newest = visible.iter().filter(|event| of(&event.op) == *element).filter(newest);
            newest.map(|event| matches!(event.op, SetOp::Add(_))).reduce(|one, other| one && other).unwrap_or(false)
        };
        added.into_iter().filter(is_there).collect()
    })
}

/// Of the writes of a key that nobody has known and written over or removed, that of the greatest stamp.
fn lww_map() -> Suite<LwwMap<u8, u8, u64>> {
    let op = |rng: &mut Rng| {
        let (stamp, value) = stamped(rng);
        let key = element(rng);
        if rng.chance(70) { LwwMapOp::Set { stamp, key, value } } else { LwwMapOp::Remove(key) }
    };
    let of = |op: &LwwMapOp<u8, u8, u64>| match op {
        LwwMapOp::Set { key, .. } | LwwMapOp::Remove(key) => *key,
    };
    Suite::new(op).spec(move |visible| {
        let mut written = BTreeMap::new();
        for event in visible.iter().filter(|event| !visible.is_followed(event, |op| of(op) == of(&event.op))) {
            if let LwwMapOp::Set { stamp, key, value } = event.op {
                let won = written.entry(key).or_insert((stamp, value));
                *won = (stamp, value).max(*won);
            }
        }
        written.into_iter().map(|(key, (_, value))| (key, value)).collect()
    })
}

/// A delta has the total of its replica; that of 0 has nothing, with all counters.
fn g_counter() -> Suite<GCounter> {
    Suite::new(amount)
        .spec(|visible| ops(visible).map(|amount| u128::from(*amount)).sum())
        .brings(|_, earlier, event| event.op != 0 && earlier.replica == event.replica)
}

/// Of each replica two totals, one up and one down; a delta has one of them.
fn pn_counter() -> Suite<PnCounter> {
    Suite::new(signed_amount)
        .spec(|visible| ops(visible).map(|amount| i128::from(*amount)).sum())
        .brings(|_, earlier, event| event.op != 0 && earlier.replica == event.replica && (earlier.op < 0) == (event.op < 0))
}

fn reset_counter() -> Suite<ResetCounter> {
    use ResetCounterOp::{Add, Reset};
    let op = |rng: &mut Rng| if rng.chance(75) { Add(signed_amount(rng)) } else { Reset };
    let is_live =
        |visible: &Visible<ResetCounterOp>, event: &Event<ResetCounterOp>| !visible.is_followed(event, |op| *op == Reset);
    let is_one_total = |a: &Event<ResetCounterOp>, b: &Event<ResetCounterOp>| match (a.op, b.op) {
        (Add(one), Add(other)) => a.replica == b.replica && (one < 0) == (other < 0),
        _ => false,
    };
    Suite::new(op)
        .spec(move |visible| {
            let live = visible.iter().filter(|event| is_live(visible, event));
            live.map(|event| if let Add(amount) = event.op { i128::from(amount) } else { 0 }).sum()
        })
        // A reset brings every total that is not reset as a whole.
        .brings(move |known, earlier, event| match event.op {
            Add(amount) => amount != 0 && is_one_total(earlier, event),
            Reset => known.iter().any(|add| add.op != Add(0) && is_one_total(earlier, add) && is_live(known, add)),
        })
}

fn bounded_counter() -> Suite<BoundedCounter> {
    use BoundedCounterOp::{Grant, Take, Transfer};
    let op = |rng: &mut Rng| {
        let amount = amount(rng);
        match rng.below(4) {
            0 | 1 => Grant(amount),
            2 => Take(amount.min(3)),
            _ => Transfer { to: replica_id(rng.index(5)), amount: amount.min(3) },
        }
    };
    Suite::new(op)
        .spec(|visible| {
            let sum = ops(visible).map(|op| match op {
                Grant(amount) => i128::from(*amount),
                Take(amount) => -i128::from(*amount),
                Transfer { .. } => 0,
            });
            u128::try_from(sum.sum::<i128>()).expect("never below 0")
        })
        // A delta brings the rights that it draws on, back to their grants.
        .brings(|known, earlier, event| match (earlier.op, event.op) {
            (_, Grant(0) | Take(0) | Transfer { amount: 0, .. }) => false,
            (_, Transfer { to, .. }) if to == event.replica => false,
            (Grant(_), Grant(_)) => earlier.replica == event.replica,
            (_, Grant(_)) => false,
            (Take(_), op) => matches!(op, Take(_)) && earlier.replica == event.replica,
            (Grant(_), _) => sources(known, event.replica).contains(&earlier.replica),
            (Transfer { to, .. }, Transfer { to: now_to, .. }) if (earlier.replica, to) == (event.replica, now_to) => true,
            (Transfer { to, .. }, _) => sources(known, event.replica).contains(&to),
        })
}

/// Who has given rights to a replica, and to those, and so on; and itself.
fn sources(known: &Visible<BoundedCounterOp>, replica: ReplicaId) -> BTreeSet<ReplicaId> {
    let mut sources = BTreeSet::from([replica]);
    loop {
        let given = known.iter().filter(|event| {
            matches!(event.op, BoundedCounterOp::Transfer { to, amount } if amount > 0 && to != event.replica && sources.contains(&to))
        });
        let more: BTreeSet<ReplicaId> = given.map(|event| event.replica).collect();
        if more.is_subset(&sources) {
            return sources;
        }
        sources.extend(more);
    }
}

fn lww_register() -> Suite<LwwRegister<u8, u64>> {
    Suite::new(stamped).spec(|visible| ops(visible).max().map(|(_, value)| *value))
}

fn first_write_register() -> Suite<FirstWriteRegister<u8, u64>> {
    Suite::new(stamped).spec(|visible| ops(visible).max_by_key(|op| Reverse(*op)).map(|(_, value)| *value))
}

fn expiring() -> Suite<Expiring<u8, u64>> {
    Suite::new(stamped).spec(|visible| ops(visible).max().copied())
}

/// So few are counted exactly. A delta of what was there is bottom, which brings nothing.
fn hyper_log_log() -> Suite<HyperLogLog<14>> {
    let item = |rng: &mut Rng| rng.pick(&[&b""[..], b"a", b"b", b"ab", &[0; 100]]).unwrap().to_vec();
    Suite::new(item).spec(|visible| ops(visible).collect::<BTreeSet<_>>().len() as u64)
}

/// What was inserted, and never removed by one who had seen it inserted.
fn two_phase_set() -> Suite<TwoPhaseSet<u64>> {
    use TwoPhaseSetOp::{Insert, Remove};
    let op = |rng: &mut Rng| {
        let element = number(rng);
        if rng.chance(60) { Insert(element) } else { Remove(element) }
    };
    Suite::new(op).spec(|visible| {
        let inserts =
            visible.iter().filter_map(|event| if let Insert(element) = event.op { Some((event, element)) } else { None });
        let removed: BTreeSet<u64> = inserts
            .clone()
            .filter(|(event, element)| visible.is_followed(event, |op| *op == Remove(*element)))
            .map(|(_, element)| element)
            .collect();
        inserts.map(|(_, element)| element).filter(|element| !removed.contains(element)).collect()
    })
}

/// What no other operation has seen.
fn newest<Op>(visible: &Visible<Op>) -> impl Iterator<Item = &Event<Op>> {
    visible.iter().filter(|event| !visible.is_followed(event, |_| true))
}

/// Every value that is not written over or cleared; a replica has at most one. By replica.
fn mv_register() -> Suite<MvRegister<u8>> {
    let op = |rng: &mut Rng| rng.chance(80).then(|| *rng.pick(&[0, 1, u8::MAX]).unwrap());
    Suite::new(op).spec(|visible: &Visible<Option<u8>>| {
        let values: BTreeMap<ReplicaId, u8> =
            newest(visible).filter_map(|event| event.op.map(|value| (event.replica, value))).collect();
        values.into_values().collect()
    })
}

/// Some enable was not followed by a disable.
fn ew_flag() -> Suite<EwFlag> {
    Suite::new(|rng| rng.chance(60))
        .spec(|visible| visible.iter().any(|event| event.op && !visible.is_followed(event, |op| !op)))
}

/// There is a newest write, and each is an enable.
fn dw_flag() -> Suite<DwFlag> {
    Suite::new(|rng| rng.chance(60)).spec(|visible| newest(visible).next().is_some() && newest(visible).all(|event| event.op))
}

/// The sum of the adds that no reset has seen. The same as of a reset counter; but a delta is one add, and no total.
fn causal_counter() -> Suite<CausalCounter> {
    use CausalCounterOp::{Add, Reset};
    let op = |rng: &mut Rng| if rng.chance(75) { Add(signed_amount(rng)) } else { Reset };
    Suite::new(op).spec(|visible| {
        let live = visible.iter().filter(|event| !visible.is_followed(event, |op| *op == Reset));
        live.map(|event| if let Add(amount) = event.op { i128::from(amount) } else { 0 }).sum()
    })
}

/// What no later operation takes away, of those that had seen it.
fn left<'a, Op>(visible: &'a Visible<Op>, takes: impl Fn(&Op, &Op) -> bool + 'a) -> impl Iterator<Item = &'a Event<Op>> {
    visible.iter().filter(move |event| !visible.is_followed(event, |later| takes(later, &event.op)))
}

/// One of two keys.
fn key(rng: &mut Rng) -> u8 {
    *rng.pick(&[0, u8::MAX]).unwrap()
}

fn map_op<Op>(rng: &mut Rng, update: impl Fn(&mut Rng) -> Op) -> OrMapOp<u8, Op> {
    let key = key(rng);
    if rng.chance(75) { OrMapOp::Update(key, update(rng)) } else { OrMapOp::Remove(key) }
}

const fn key_of<Op>(op: &OrMapOp<u8, Op>) -> u8 {
    match op {
        OrMapOp::Update(key, _) | OrMapOp::Remove(key) => *key,
    }
}

fn write(rng: &mut Rng) -> Option<u8> {
    rng.chance(85).then(|| *rng.pick(&[0, 1, u8::MAX]).unwrap())
}

/// Of each key the writes that nothing has seen that was done to the key.
fn map_of_registers() -> Suite<OrMap<u8, MvRegister<u8>>> {
    Suite::new(|rng| map_op(rng, write)).spec(|visible| {
        let mut values: BTreeMap<u8, BTreeMap<ReplicaId, u8>> = BTreeMap::new();
        for event in left(visible, |later, op| key_of(later) == key_of(op)) {
            if let OrMapOp::Update(key, Some(value)) = event.op {
                values.entry(key).or_default().insert(event.replica, value);
            }
        }
        values.into_iter().map(|(key, values)| (key, values.into_values().collect())).collect()
    })
}

/// Of each key the sum of the adds that no remove and no reset of it has seen.
fn map_of_counters() -> Suite<OrMap<u8, CausalCounter>> {
    use CausalCounterOp::{Add, Reset};
    let count = |rng: &mut Rng| if rng.chance(85) { Add(signed_amount(rng)) } else { Reset };
    Suite::new(move |rng| map_op(rng, count)).spec(|visible| {
        let takes = |later: &OrMapOp<u8, CausalCounterOp>, op: &_| {
            matches!(later, OrMapOp::Remove(_) | OrMapOp::Update(_, Reset)) && key_of(later) == key_of(op)
        };
        let mut sums = BTreeMap::new();
        for event in left(visible, takes) {
            // To add 0 is to do nothing, and makes no key.
            if let OrMapOp::Update(key, Add(amount)) = event.op
                && amount != 0
            {
                *sums.entry(key).or_default() += i128::from(amount);
            }
        }
        sums
    })
}

/// Of each key, and each key below it, the writes that nothing has seen that was done to either.
fn map_of_maps() -> Suite<OrMap<u8, OrMap<u8, MvRegister<u8>>>> {
    type Op = OrMapOp<u8, OrMapOp<u8, Option<u8>>>;
    let takes = |later: &Op, op: &Op| match (later, op) {
        (OrMapOp::Update(_, later_below), OrMapOp::Update(_, below)) => {
            key_of(later) == key_of(op) && key_of(later_below) == key_of(below)
        }
        _ => key_of(later) == key_of(op),
    };
    Suite::new(|rng| map_op(rng, |rng| map_op(rng, write))).spec(move |visible| {
        let mut values: BTreeMap<u8, BTreeMap<u8, BTreeMap<ReplicaId, u8>>> = BTreeMap::new();
        for event in left(visible, takes) {
            if let OrMapOp::Update(key, OrMapOp::Update(below, Some(value))) = event.op {
                values.entry(key).or_default().entry(below).or_default().insert(event.replica, value);
            }
        }
        let read = |values: BTreeMap<u8, BTreeMap<ReplicaId, u8>>| {
            values.into_iter().map(|(key, values)| (key, values.into_values().collect())).collect()
        };
        values.into_iter().map(|(key, values)| (key, read(values))).collect()
    })
}

/// The pairs of which some insert was seen by no remove, neither of the pair nor of the key.
fn or_multi_map() -> Suite<OrMultiMap<u8, u64>> {
    use OrMultiMapOp::{Insert, Remove, RemoveAll};
    let op = |rng: &mut Rng| {
        let (key, value) = (key(rng), *rng.pick(&[0, u64::MAX]).unwrap());
        match rng.below(6) {
            0 => RemoveAll(key),
            1 => Remove(key, value),
            _ => Insert(key, value),
        }
    };
    Suite::new(op).spec(|visible| {
        let takes = |later: &OrMultiMapOp<u8, u64>, op: &OrMultiMapOp<u8, u64>| match (later, op) {
            (Remove(key, value), Insert(of, what)) => (key, value) == (of, what),
            (RemoveAll(key), Insert(of, _)) => key == of,
            _ => false,
        };
        let mut pairs: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        for event in left(visible, takes) {
            if let Insert(key, value) = event.op {
                pairs.entry(key).or_default().insert(value);
            }
        }
        pairs
    })
}

/// Runs some types, on as many threads as there are cores, and tells of each as soon as it is through.
fn check(types: Vec<Type>, cases: u64, tell: impl Fn(&str, &Report) + Sync) {
    let waiting = Mutex::new(types);
    let work = || {
        loop {
            let Some(Type { name, unmet, run }) = waiting.lock().unwrap().pop() else { return };
            let report = run(cases).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            // Few histories need not meet everything.
            assert!(cases < 100 || report.unmet() == unmet, "{name} never met {:?}", report.unmet());
            tell(name, &report);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// Writes what was checked of a type, in place of what the file says of it. A long run that is stopped keeps what is through.
fn write_evidence(path: &str, name: &str, report: &Report) {
    let mut evidence: BTreeMap<String, serde_json::Value> =
        std::fs::read(path).map_or_else(|_| BTreeMap::new(), |bytes| serde_json::from_slice(&bytes).expect("evidence"));
    let met: serde_json::Map<_, _> =
        Situation::ALL.into_iter().map(|situation| (format!("{situation:?}"), report.count(situation).into())).collect();
    let checked = json!({ "cases": report.cases, "steps": report.steps, "checks": report.checks, "met": met });
    evidence.insert(name.to_owned(), checked);
    std::fs::write(path, format!("{:#}\n", json!(evidence))).unwrap();
}

#[test]
fn every_type_obeys_the_laws_and_reads_what_its_specification_says() {
    let cases = std::env::var("TOMBOLO_LAW_CASES").map_or(CASES, |cases| cases.parse().expect("a number of histories"));
    let path = std::env::var("TOMBOLO_LAW_EVIDENCE").ok();
    let mut chosen = types();
    if let Ok(names) = std::env::var("TOMBOLO_LAW_TYPES") {
        let names: Vec<&str> = names.split(',').collect();
        chosen.retain(|known| names.contains(&known.name));
        assert_eq!(chosen.len(), names.len(), "not all of {names:?} are types");
    }
    println!("{:20} {:>8} {:>10} {:>12}", "type", "cases", "steps", "checks");
    let told = Mutex::new(());
    check(chosen, cases, |name, report| {
        let _one_at_a_time = told.lock().unwrap();
        println!("{name:20} {:>8} {:>10} {:>12}", report.cases, report.steps, report.checks);
        if let Some(path) = &path {
            write_evidence(path, name, report);
        }
    });
}
