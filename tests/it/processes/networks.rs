//! Bad networks: links that go down, that carry one way only, that are slow, and that lose packets.

use std::time::Duration;

use super::cluster::Cluster;
use super::namespaces::Network;
use super::{dice, millis};

/// Longer than a connection may be silent.
const LONG: Duration = Duration::from_millis(4_500);

#[test]
fn processes_converge_when_links_go_down_and_come_back_also_if_they_carry_one_way() {
    let Some(network) = Network::make(3) else { return };
    let mut rng = dice("links");
    let mut cluster = Cluster::start(network.places());
    cluster.tell_all("write");
    let peers = |cluster: &mut Cluster, place, count: &str| {
        cluster.until("a link that was lost, or is back", |cluster| cluster.ask(place, "peers") == count)
    };
    for place in cluster.all() {
        peers(&mut cluster, place, "2");
    }
    // One is cut off until it knows.
    let place = rng.index(3);
    network.set_link(place, "down");
    peers(&mut cluster, place, "0");
    network.set_link(place, "up");
    let back = peers(&mut cluster, place, "2");
    // One does not hear another one, which hears it.
    let place = rng.index(3);
    network.deafen(place, (place + 1 + rng.index(2)) % 3);
    std::thread::sleep(LONG);
    let lost = network.lost(place);
    assert!(lost > 0);
    network.heal();
    // For a moment that nobody notices, and for a while in which everybody does.
    for (from, to) in [(50, 500), (3_500, 4_500)] {
        network.set_bridge("down");
        std::thread::sleep(millis(&mut rng, from, to));
        network.set_bridge("up");
        std::thread::sleep(millis(&mut rng, 0, 500));
    }
    println!("links: back {back:.1?} after the link, {lost} packets went unheard");
    cluster.end("links");
}

#[test]
fn a_backlog_is_caught_up_over_a_slow_link_while_others_write() {
    const VALUES: u64 = 48;
    const KILOBITS: u64 = 8_000;
    let Some(network) = Network::make(3) else { return };
    let mut cluster = Cluster::start(network.places());
    network.set_link(2, "down");
    cluster.until("the link is lost", |cluster| cluster.ask(2, "peers") == "0");
    cluster.ask(0, &format!("bulk {VALUES}"));
    cluster.converge(&[0, 1]);
    cluster.ask(1, "write");
    cluster.ask(2, "write");
    network.slow_down(2, KILOBITS);
    network.set_link(2, "up");
    let took = cluster.until("the backlog", |cluster| cluster.ask(2, "bulks 0") == VALUES.to_string());
    let at_best = Duration::from_millis(VALUES * 63 * 8 * 1_000 / KILOBITS);
    assert!(took > at_best / 2, "the link is not slow: {took:?}, and {at_best:?} at best");
    network.speed_up(2);
    println!("slow link: {VALUES} values of 63 kB at {KILOBITS} kbit/s came after {took:.1?}, {at_best:.1?} at best");
    cluster.end("slow link");
}

#[test]
fn processes_that_all_write_converge_when_a_fifth_of_all_packets_was_lost() {
    const PERCENT: u64 = 20;
    let Some(network) = Network::make(3) else { return };
    let mut rng = dice("lost packets");
    let mut cluster = Cluster::start(network.places());
    cluster.tell_all("write");
    network.lose(PERCENT);
    std::thread::sleep(millis(&mut rng, 7_000, 9_000));
    let lost: Vec<u64> = cluster.all().map(|place| network.lost(place)).collect();
    assert!(lost.iter().all(|lost| *lost > 5), "{lost:?}");
    network.heal();
    println!("lost packets: {PERCENT} % of them, {lost:?}");
    cluster.end("lost packets");
}
