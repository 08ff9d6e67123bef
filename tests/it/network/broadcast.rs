//! A hundred writes a second on 25 replicas whose links take 100 ms: the limits of a public series of challenges for distributed systems.

use std::time::Duration;

use tombolo::replication::Config;
use tombolo::sim::{Faults, Rng};

use super::{Measured, mesh};

const REPLICAS: usize = 25;
const WRITES: u64 = 2_000;

/// Messages for each write, and how long it takes until all have it: the median, the longest.
fn measure(push_window: Duration, have_after: Duration) -> (f64, Duration, Duration) {
    let mut config = Config::default();
    config.push_window = push_window;
    config.have_after = have_after;
    let faults = Faults::connection().with_latency(100_000..=100_000);
    let mut measured = Measured::new(REPLICAS, config, &mesh(REPLICAS, 7), &faults);
    let mut rng = Rng::new(1);
    // The tree finds itself.
    measured.run(5_000_000, 100, &mut rng);
    let (start, before) = (measured.network.now(), measured.network.counts().sent);
    measured.run(20_000_000, WRITES, &mut rng);
    measured.run(3_000_000, 0, &mut rng);
    let messages = (measured.network.counts().sent - before) as f64 / WRITES as f64;
    let (median, longest) = measured.latencies(start);
    assert!(measured.are_same());
    println!("received {:?} of {}", measured.received(), (WRITES + 100) * (REPLICAS as u64 - 1));
    println!("{messages:.1} messages a write, median {median:?}, longest {longest:?}");
    (messages, median, longest)
}

#[test]
fn few_messages_reach_all_within_two_seconds() {
    let (messages, median, longest) = measure(Duration::from_millis(150), Duration::from_millis(500));
    assert!(messages < 20.0 && median < Duration::from_secs(1) && longest < Duration::from_secs(2));
}

#[test]
fn some_more_reach_all_within_six_tenths_of_a_second() {
    let (messages, median, longest) = measure(Duration::from_millis(10), Duration::from_millis(500));
    assert!(messages < 30.0 && median < Duration::from_millis(400) && longest < Duration::from_millis(600));
}
