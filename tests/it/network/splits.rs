//! A split network: everybody goes on writing, and all comes together soon after it is mended.

use std::time::Duration;

use tombolo::replication::Config;
use tombolo::sim::{Faults, Network, Rng};

use super::Measured;

const REPLICAS: usize = 5;
const WRITES: u64 = 2_000;

fn all_with_all() -> Vec<[usize; 2]> {
    (0..REPLICAS).flat_map(|one| (one + 1..REPLICAS).map(move |other| [one, other])).collect()
}

/// Links between the first three and the other two.
fn between(network: &Network) -> Vec<usize> {
    (0..network.links()).filter(|link| network.ends(*link).iter().filter(|node| **node < 3).count() == 1).collect()
}

fn split_and_mend(faults: &Faults, killed: Option<usize>) {
    let config = Config::default();
    let within = 3 * config.exchange_every + Duration::from_secs(1);
    let mut measured = Measured::new(REPLICAS, config, &all_with_all(), faults);
    let mut rng = Rng::new(3);
    measured.run(3_000_000, 50, &mut rng);
    let cut = between(&measured.network);
    cut.iter().for_each(|link| measured.network.cut(*link, [true, true]));
    measured.run(10_000_000, WRITES / 2, &mut rng);
    if let Some(killed) = killed {
        measured.network.stop(killed);
    }
    measured.run(10_000_000, WRITES / 2, &mut rng);
    assert!(!measured.are_same(), "they were apart");
    cut.iter().for_each(|link| measured.network.heal(*link));
    if let Some(killed) = killed {
        measured.network.start(killed, &measured.stores[killed].clone());
    }
    let healed = measured.network.now();
    while !measured.are_same() {
        assert!(measured.network.now() - healed < u64::try_from(within.as_micros()).unwrap(), "not together within {within:?}");
        measured.run(100_000, 0, &mut rng);
    }
    for store in &measured.stores {
        let elements: Vec<u64> = store.set::<u64>("values").iter().unwrap().map(Result::unwrap).collect();
        assert_eq!(elements.len() as u64, WRITES / 2, "numbers repeat from one half to the other");
        store.check().unwrap();
    }
    println!("together after {:.1} s", (measured.network.now() - healed) as f64 / 1e6);
}

#[test]
fn two_sides_that_wrote_come_together_soon_after_the_network_does() {
    split_and_mend(&Faults::connection(), None);
    split_and_mend(&Faults::datagrams(), None);
}

#[test]
fn one_that_was_killed_during_a_split_catches_up() {
    split_and_mend(&Faults::connection(), Some(1));
    split_and_mend(&Faults::connection(), Some(4));
}

/// A first sync over a link that breaks again and again: what has come need not come again.
#[test]
fn an_answer_that_is_cut_short_goes_on_where_it_stopped() {
    let mut faults = Faults::connection();
    faults.bandwidth = 1_000_000;
    let mut measured = Measured::new(2, Config::default(), &[[0, 1]], &faults);
    let source = measured.stores[0].clone();
    for round in 0..50_u64 {
        let rows =
            |tx: &tombolo::Tx| (0..100_u64).try_for_each(|row| tx.register::<Vec<u8>>((round, row)).set(&vec![7; 1_000]));
        source.transact(rows).unwrap();
    }
    let whole = source.delta_since(&tombolo::VersionVector::new()).unwrap().as_ref().len() as u64;
    let mut rng = Rng::new(5);
    for _ in 0..3 {
        measured.run(1_500_000, 0, &mut rng);
        assert!(!measured.are_same(), "it was cut before its end");
        measured.network.cut(0, [true, true]);
        measured.run(4_000_000, 0, &mut rng);
        measured.network.heal(0);
    }
    let healed = measured.network.now();
    while !measured.are_same() {
        assert!(measured.network.now() - healed < 60_000_000, "they do not come together");
        measured.run(100_000, 0, &mut rng);
    }
    let bytes = measured.network.counts().bytes;
    println!("an answer of {whole} B took {bytes} B over a link that broke three times");
    // What is under way when the link breaks is lost: no more than its window, each time.
    assert!(bytes < whole + 3 * 400_000);
}
