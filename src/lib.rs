//! An embeddable, CRDT-based, eventually consistent key-value library: every replica reads and writes locally, offline or not, and
//! replicas that were apart converge to byte-identical state. No server, no leader, no tombstones, no trust in clocks.
//!
//! ```
//! # #[cfg(feature = "std")]
//! # fn main() -> tombolo::Result<()> {
//! use tombolo::Store;
//!
//! let (phone, laptop) = (Store::in_memory(), Store::in_memory());
//! phone.counter("visits").add(2)?;
//! laptop.counter("visits").add(3)?;
//!
//! laptop.merge(phone.delta_since(&laptop.version()?)?)?;
//! phone.merge(laptop.delta_since(&phone.version()?)?)?;
//! assert_eq!(phone.counter("visits").get()?, 5);
//! assert_eq!(phone.digest()?, laptop.digest()?);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! # What converges, and what does not
//!
//! Replicas that have received the same updates, in any order, any number of times, hold equal bytes. A transaction is atomic at every
//! replica. Of concurrent writes each kind decides by a rule of its own: see [`kv::Kind`]. There is no uniqueness and no locking across
//! replicas. `docs/guarantees.md` has it in full.
//!
//! # Layers
//!
//! ```text
//!  node ──▶ replication, transport             a node runs the engine over transports
//!   │
//!  kv ────▶ crdt ──▶ causal ──▶ codec          sim checks kv against an oracle, laws check a crdt
//!   └─────▶ storage ───────────▶ codec          system: clock, randomness, files
//! ```
//!
//! [`kv`] is the store. `node` keeps it in step with those of peers. [`storage`] keeps its bytes: in memory, in a file, or where you like. [`crdt`], [`causal`], [`codec`] and [`laws`] are pure, and need
//! `alloc` only. With [`laws`] you prove a CRDT of your own: `docs/testing.md`. `docs/architecture.md` draws the whole.
//!
//! # Features
//!
//! `redb` (default): durable files. `std` (by `redb`): the store. `tcp` (default): nodes over TCP. `node` (by `tcp`): the node, over a transport of yours.
//! `replication` (by `node`): the engine that keeps stores in step. `stream`: a watch is a `Stream`. `proptest`: strategies for states and
//! histories of CRDTs. `sim`: the oracle, and a simulated network. Minimum Rust: 1.95.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod causal;
pub mod codec;
pub mod crdt;
#[cfg(feature = "std")]
pub mod kv;
pub mod laws;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "proptest")]
pub mod proptest;
#[cfg(feature = "replication")]
pub mod replication;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "std")]
pub mod storage;
#[cfg(feature = "std")]
pub mod system;
#[cfg(feature = "node")]
pub mod transport;

pub use causal::{ReplicaId, VersionVector};
#[cfg(feature = "std")]
pub use kv::{Delta, Error, Merged, Options, Result, Snapshot, Store, Tx};

/// The example of the README runs.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
