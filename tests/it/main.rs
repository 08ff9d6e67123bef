//! The tests of the public surface, in one binary: one link instead of many.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test panics to fail; clippy knows tests only by their attribute, not their helpers"
)]

#[cfg(feature = "redb")]
mod backends;
mod clusters;
mod copies;
mod cost;
#[cfg(feature = "redb")]
mod crash;
mod crdt_laws;
#[cfg(feature = "redb")]
mod damage;
mod deeds;
#[cfg(feature = "redb")]
mod disk_faults;
mod docs;
mod evidence;
mod faults;
mod forge;
mod fuzz_corpus;
mod golden;
mod histories;
mod hostile;
mod hostile_push;
mod hostile_rows;
mod identity;
mod inspect;
mod invariants;
#[cfg(feature = "redb")]
mod kill;
mod kinds;
#[cfg(all(feature = "tcp", feature = "redb", target_os = "linux"))]
mod large_sync;
mod layers;
mod local;
#[cfg(all(feature = "redb", target_os = "linux"))]
mod memory;
mod network;
#[cfg(feature = "tcp")]
mod node;
mod non_causal;
#[cfg(all(feature = "redb", feature = "tcp", target_os = "linux"))]
mod processes;
mod retention;
mod shadow;
mod streams;
mod sync;
mod traps;
mod watch;
mod watching;
