//! SIGSTOP: the machine goes to sleep with its connections up. Nothing tells the others but its silence.

use super::cluster::{Cluster, local};
use super::{dice, millis};

#[test]
fn processes_go_on_without_those_that_sleep_and_these_catch_up_when_they_wake() {
    let mut rng = dice("SIGSTOP");
    let mut cluster = Cluster::start(local(4));
    let mut while_asleep = Vec::new();
    for count in [1, 2] {
        cluster.tell_all("write");
        std::thread::sleep(millis(&mut rng, 200, 700));
        let mut awake: Vec<usize> = cluster.all().collect();
        let asleep: Vec<usize> = (0..count).map(|_| awake.swap_remove(rng.index(awake.len()))).collect();
        asleep.iter().for_each(|place| cluster.signal(*place, "STOP"));
        let last = |cluster: &mut Cluster, place: usize| cluster.ask(place, &format!("last {place}")).parse::<u64>().unwrap();
        let before: Vec<u64> = awake.iter().map(|place| last(&mut cluster, *place)).collect();
        // Longer than a connection may be silent, and than an answer may take.
        let others = (awake.len() - 1).to_string();
        let gone = cluster
            .until("those asleep count as gone", |cluster| awake.iter().all(|place| cluster.ask(*place, "peers") == others));
        assert!(gone.as_secs() >= 2, "{gone:?}");
        for (place, before) in awake.iter().zip(before) {
            assert!(last(&mut cluster, *place) > before + 5, "it waits for those that sleep");
            cluster.ask(*place, "rest");
        }
        while_asleep.push(cluster.converge(&awake));
        asleep.iter().for_each(|place| cluster.signal(*place, "CONT"));
    }
    println!("SIGSTOP: the others were equal after {while_asleep:.1?}");
    cluster.end("SIGSTOP");
}
