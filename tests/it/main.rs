//! The tests of the public surface, in one binary: one link instead of many.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test panics to fail; clippy knows tests only by their attribute, not their helpers"
)]

#[cfg(feature = "redb")]
mod backends;
mod copies;
mod cost;
mod deeds;
mod docs;
mod faults;
mod forge;
mod histories;
mod hostile;
mod hostile_push;
mod hostile_rows;
mod invariants;
mod kinds;
mod layers;
mod sync;
