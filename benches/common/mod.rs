//! What the benchmarks share that print ratios.
#![allow(dead_code, reason = "each uses its part")]

pub(crate) mod document;
pub(crate) mod instructions;
pub(crate) mod measure;
pub(crate) mod report;
