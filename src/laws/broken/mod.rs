//! Types that are wrong, each as one was in the wild, beside their right twins: the suite must tell them apart.
//!
//! A type is right where its `FAULT` is [`NONE`].

mod counter;
mod register;
mod set;
mod tests;

/// The right twin.
const NONE: u8 = 0;
