//! Real processes, each with a node over TCP and a durable file, under real faults: killed, stopped, cut off, on bad networks.
//!
//! ```text
//!   test ── faults: kill -9, SIGSTOP, links, packets ──▶ ┌─────────┐   TCP   ┌─────────┐
//!    │ ── commands, on stdin; answers, on stdout ──────▶ │ process │◀───────▶│ process │ …
//!    │                                                   └──┬───┬──┘         └─────────┘
//!    └── in the end: reads ────────────────▶ store ◀────────┘   └──▶ journal: what was acknowledged
//! ```
//!
//! | file | what |
//! |---|---|
//! | `child` | the process: this binary again |
//! | `deeds` | what it writes, and what must be there in the end |
//! | `cluster` | the processes, and what can be done to them |
//! | `killed`, `stopped`, `networks` | the scenarios |
//! | `namespaces` | a network of namespaces, and what can be done to its links |
//!
//! Each scenario ends alike: the faults are over, all replicas have equal digests and versions soon after, and every one of them has
//! everything that anybody had acknowledged. Faults are chosen from a seed, which is printed: `TOMBOLO_PROCESSES_SEED=7` for another.
//! `TOMBOLO_KILLS=200` kills that often. `TOMBOLO_NETWORK=1` makes it a failure where the machine has no namespaces.
#![expect(clippy::disallowed_methods, reason = "processes take real time")]

mod child;
mod cluster;
mod deeds;
mod killed;
mod namespaces;
mod networks;
mod stopped;

use std::time::Duration;

use tombolo::replication::Config;
use tombolo::sim::Rng;

/// The most that anything may take that is to happen soon.
const SOON: Duration = Duration::from_secs(30);

/// As the default, and ten times as fast: a connection is given up after 3 s of silence.
fn config() -> Config {
    let mut config = Config::default();
    config.exchange_every = Duration::from_secs(1);
    config.answer_timeout = Duration::from_secs(2);
    config.retry_max = Duration::from_secs(4);
    config
}

/// What decides the faults of a scenario.
fn dice(scenario: &str) -> Rng {
    let seed = std::env::var("TOMBOLO_PROCESSES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("{scenario}: seed {seed}");
    Rng::new(seed)
}

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + rng.below(to - from + 1))
}
