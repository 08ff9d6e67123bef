//! `kill -9` at random moments: while they write, while they merge, while they open their files.

use super::cluster::{Cluster, local};
use super::{dice, millis};

const IN_EVERY_RUN: u64 = 24;

#[test]
fn processes_that_are_killed_at_any_moment_converge_and_keep_what_they_acknowledged() {
    let kills = std::env::var("TOMBOLO_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(IN_EVERY_RUN);
    let mut rng = dice("kill -9");
    let mut cluster = Cluster::start(local(3));
    cluster.tell_all("write");
    for _ in 0..kills {
        std::thread::sleep(millis(&mut rng, 0, 800));
        let running: Vec<usize> = cluster.all().filter(|place| cluster.is_running(*place)).collect();
        cluster.kill(*rng.pick(&running).unwrap());
        for place in cluster.all() {
            // Some are away while others are killed. One of them is always there.
            if !cluster.is_running(place) && (running.len() == 2 || rng.chance(60)) {
                cluster.launch(place);
                cluster.tell(place, "write");
            }
        }
    }
    for place in cluster.all() {
        if !cluster.is_running(place) {
            cluster.launch(place);
        }
    }
    let acknowledged = cluster.end("kill -9");
    assert!(acknowledged > kills * 5, "{acknowledged}");
}
