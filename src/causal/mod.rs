//! Who wrote what, and what has been seen.
//!
//! | term | meaning |
//! |---|---|
//! | [`ReplicaId`] | who writes |
//! | [`Dot`] | one event: a replica, and the number of the event at that replica |
//! | [`VersionVector`] | "I have every event of `r` up to `n`", for each `r`; no exceptions |
//! | [`CausalContext`] | any set of events: a vector, and intervals beyond it |
//! | [`Transaction`] | events of a replica that come together or not at all, and what must be there before them |
//! | [`Pages`] | fingerprints of a set of events, by which two sides find where their sets differ |
//! | [`Hlc`] | a time stamp that follows causality and stays near the wall clock |
//!
//! Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7 (dots and causal contexts);
//! Kulkarni et al., "Logical Physical Clocks" (2014), for [`Hlc`].

mod context;
mod dot;
mod hlc;
mod pages;
mod replica;
#[cfg_attr(not(feature = "std"), expect(dead_code, reason = "a store writes and reads them"))]
mod transaction;
mod version_vector;

pub use context::CausalContext;
pub(crate) use context::Intervals;
pub use dot::{Dot, SEQ_MAX};
pub use hlc::Hlc;
pub use pages::{Page, Pages};
pub use replica::ReplicaId;
pub use transaction::Transaction;
#[cfg(feature = "std")]
pub(crate) use transaction::{read_place, read_seq};
pub use version_vector::VersionVector;
