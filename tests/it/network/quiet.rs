//! What it costs when there is little or nothing to say.

use std::time::Duration;

use tombolo::Store;
use tombolo::causal::ReplicaId;
use tombolo::kv::Options;
use tombolo::replication::Config;
use tombolo::sim::{Faults, Rng};

use super::{Measured, store};

#[test]
fn a_hundred_idle_peers_cost_a_frame_and_a_wake_up_each_and_interval() {
    let config = Config::default();
    let interval = config.exchange_every;
    let links: Vec<[usize; 2]> = (1..=100).map(|node| [0, node]).collect();
    let mut measured = Measured::new(101, config, &links, &Faults::connection());
    let mut rng = Rng::new(4);
    measured.run(60_000_000, 20, &mut rng);
    assert!(measured.are_same());
    let (before, woken) = (*measured.network.counts(), measured.network.wakes(0));
    let day = Duration::from_secs(86_400);
    let night = measured.network.now() + u64::try_from(day.as_micros()).unwrap();
    measured.network.run_until(night);
    assert!(measured.are_same());
    let intervals = day.as_secs_f64() / interval.as_secs_f64() * 100.0;
    let after = measured.network.counts();
    let bytes = (after.bytes - before.bytes) as f64 / intervals / 2.0;
    let frames = (after.sent - before.sent) as f64 / intervals / 2.0;
    let wakes = (measured.network.wakes(0) - woken) as f64 / intervals;
    println!("each side, each peer and interval: {bytes:.1} B in {frames:.2} frames; {wakes:.2} wake-ups of the hub");
    assert!(bytes <= 64.0 && wakes <= 1.0);
}

/// Two replicas of as many rows, which are in step and linked.
fn two_with(rows: u64) -> Measured {
    let source = store(50);
    for chunk in 0..rows.div_ceil(1_000) {
        let tx = source.begin().unwrap();
        for row in chunk * 1_000..rows.min((chunk + 1) * 1_000) {
            tx.register::<u64>(("row", row)).set(&row).unwrap();
        }
        tx.commit().unwrap();
    }
    let all = source.delta_since(&tombolo::VersionVector::new()).unwrap();
    let links = [[0, 1]];
    let mut measured = Measured::new(2, Config::default(), &links, &Faults::connection());
    measured.network.cut(0, [true, true]);
    for store in &measured.stores {
        store.merge(&all).unwrap();
    }
    measured
}

fn mend(measured: &mut Measured) -> tombolo::sim::NetCounts {
    let before = *measured.network.counts();
    measured.network.heal(0);
    measured.run(4_000_000, 0, &mut Rng::new(0));
    let mut after = *measured.network.counts();
    (after.sent, after.bytes) = (after.sent - before.sent, after.bytes - before.bytes);
    after
}

#[test]
fn nothing_new_is_one_frame_each_way_of_at_most_64_bytes() {
    let mut measured = two_with(1_000);
    let counts = mend(&mut measured);
    println!("nothing new: {} frames, {} B", counts.sent, counts.bytes);
    assert_eq!(counts.sent, 2);
    assert!(counts.bytes <= 2 * 64);
}

#[test]
fn one_row_that_differs_of_a_million_is_less_than_a_kibibyte() {
    let mut measured = two_with(if cfg!(debug_assertions) { 100_000 } else { 1_000_000 });
    measured.stores[0].register::<u64>(("row", 77)).set(&1).unwrap();
    let counts = mend(&mut measured);
    println!("one row: {} frames, {} B", counts.sent, counts.bytes);
    assert!(measured.are_same());
    assert!(counts.bytes <= 1024, "{counts}");
}

/// A stamp a year ahead is stored and reported, moves no clock, and stops nobody: also not those who only relay it.
#[test]
fn a_clock_that_is_a_year_ahead_stops_nobody() {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let at = |ms: u64, number: u128| -> Options { Store::options().replica(ReplicaId::from_u128(number)).clock(Fixed(ms)) };
    let now = 1_800_000_000_000;
    let mut measured = Measured::new(0, Config::default(), &[], &Faults::connection());
    measured.stores = vec![at(now + YEAR_MS, 1).in_memory(), at(now, 2).in_memory(), at(now, 3).in_memory()];
    measured.versions = vec![tombolo::VersionVector::new(); 3];
    for store in &measured.stores {
        measured.network.add(store);
    }
    // The one with the clock, one who relays, and one at the other end.
    measured.network.link(0, 1, Faults::connection());
    measured.network.link(1, 2, Faults::connection());
    measured.run(1_000_000, 0, &mut Rng::new(0));
    for (node, value) in [(0, 1_u64), (2, 2), (1, 3), (0, 4), (2, 5)] {
        measured.stores[node].register::<u64>("shared").set(&value).unwrap();
        measured.stores[node].register::<u64>(("own", node as u64)).set(&value).unwrap();
        measured.network.committed(node);
        measured.run(2_000_000, 0, &mut Rng::new(0));
    }
    assert!(measured.are_same());
    for (node, store) in measured.stores.iter().enumerate() {
        assert_eq!(
            store.register::<u64>("shared").get().unwrap(),
            Some(5),
            "who has seen a write replaces it, whatever its stamp"
        );
        let time = store.register::<u64>(("own", 2_u64)).siblings().unwrap()[0].time;
        assert!(time.ms() < now + 60_000, "a clock has followed: {time}");
        assert_eq!(store.status().unwrap().stamps_ahead > 0, node != 0, "replica {node} has seen stamps from the future");
    }
}

#[derive(Debug)]
struct Fixed(u64);

impl tombolo::system::Clock for Fixed {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// A peer that is below the floor learns which rows are gone: it compares pages, and is not sent a list of a million numbers.
#[test]
fn a_hundred_rows_that_were_removed_below_the_floor_cost_at_most_70_kb() {
    let rows: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    let mut measured = two_with(rows);
    let mut rng = Rng::new(6);
    // Numbers that live are not all next to each other, in a store that was written to.
    for _ in 0..rows / 1_000 {
        let tx = measured.stores[0].begin().unwrap();
        (0..500).for_each(|_| tx.register::<u64>(("row", rng.below(rows))).set(&1).unwrap());
        tx.commit().unwrap();
    }
    let delta = measured.stores[0].delta_since(&measured.stores[1].version().unwrap()).unwrap();
    measured.stores[1].merge(delta).unwrap();
    let gone = measured.stores[0].begin().unwrap();
    (0..100).for_each(|_| {
        gone.delete(("row", rng.below(rows))).unwrap();
    });
    gone.commit().unwrap();
    measured.stores[0].forget_deletes(&measured.stores[0].version().unwrap()).unwrap();
    let listed = measured.stores[0].delta_since(&measured.stores[1].version().unwrap()).unwrap().as_ref().len();
    let counts = mend(&mut measured);
    println!("100 removed of {rows} below the floor: {} frames, {} B; as a list {listed} B", counts.sent, counts.bytes);
    assert!(measured.are_same());
    assert!(counts.bytes <= 70_000, "{counts}");
    assert!(listed as u64 > 3 * counts.bytes);
}
