//! Types that are wrong, each as one was in the wild, beside their right twins: the suite must tell them apart.
//!
//! A type is right where its `FAULT` is [`NONE`]. `docs/testing.md` lists the traps by number; `tests.rs` says which type here
//! falls into which.

mod counter;
mod map;
mod register;
mod set;
mod tests;

/// The right twin.
const NONE: u8 = 0;
